//! The admin endpoints: `/metrics`, `/healthz`, `/readyz`.
//!
//! Plain HTTP/1.1, meant for loopback or the pod's network. Everything a
//! client can make us hold is bounded: connections, header bytes, the time to
//! send a header, the age of a connection. Bodies are refused unread.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::{Readiness, Registry};

/// Connections served at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// Bytes of request line and headers.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Header fields in one request.
const MAX_HEADERS: usize = 64;
/// How long a client may take to send one request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one connection may live, idle or not.
const MAX_AGE: Duration = Duration::from_secs(300);
/// How long requests may take to end once we shut down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// How long to wait when the kernel has no socket for us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the endpoints listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
}

/// The admin server, bound and not serving yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    registry: Registry,
    readiness: Readiness,
}

impl Admin {
    /// Takes the address, so that a mistake in it ends the process early.
    pub async fn bind(
        config: AdminConfig,
        registry: Registry,
        readiness: Readiness,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(config.address).await?;
        let state = Arc::new(State {
            registry,
            readiness,
        });
        Ok(Self { listener, state })
    }

    /// Takes over a listening socket, for a process that could not bind it any more.
    ///
    /// # Errors
    /// The socket cannot be registered with the runtime.
    pub fn on(
        listener: std::net::TcpListener,
        registry: Registry,
        readiness: Readiness,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let state = Arc::new(State {
            registry,
            readiness,
        });
        Ok(Self { listener, state })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` is ready, then lets running requests end.
    /// Idle connections are closed at once, others after five seconds.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accept = async {
                let slot = slots.clone().acquire_owned().await;
                (slot, self.listener.accept().await)
            };
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                (Ok(slot), accepted) = accept => match accepted {
                    Ok((stream, _)) => {
                        let state = self.state.clone();
                        let stopped = stopped.clone();
                        connections.spawn(async move {
                            connection(stream, state, stopped).await;
                            drop(slot);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "admin endpoint cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.listener);
        // Fails only when no connection is left to hear it.
        let _ = stop.send(true);
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, all).await;
    }
}

async fn connection(stream: TcpStream, state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let response = answer(&state, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEADER_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stopped.wait_for(|stopped| *stopped) => None,
        () = tokio::time::sleep(MAX_AGE) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(SHUTDOWN_GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended");
    }
}

fn answer(state: &State, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !request.body().is_end_stream() {
        let mut response = text(StatusCode::PAYLOAD_TOO_LARGE, "no body is expected\n");
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
        return response;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allow = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allow);
        return response;
    }
    match request.uri().path() {
        "/metrics" => metrics(&state.registry),
        "/healthz" => json(StatusCode::OK, &serde_json::json!({"status": "ok"})),
        "/readyz" => ready(&state.readiness),
        _ => text(StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n"),
    }
}

fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    match registry.render() {
        Ok(body) => reply(
            StatusCode::OK,
            HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
            Bytes::from(body),
        ),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be rendered");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics cannot be rendered\n",
            )
        }
    }
}

fn ready(readiness: &Readiness) -> Response<Full<Bytes>> {
    let report = readiness.report();
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::json!({
        "ready": report.ready,
        "draining": report.draining,
        "waiting": report.waiting,
    });
    json(status, &body)
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let kind = HeaderValue::from_static("application/json");
    reply(status, kind, Bytes::from(format!("{body}\n")))
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    reply(status, kind, Bytes::from_static(body.as_bytes()))
}

fn reply(status: StatusCode, kind: HeaderValue, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
