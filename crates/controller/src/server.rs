//! TLS connections to requests: accepting, bounds, drain.
//!
//! Invariants: everything a client can make us hold is bounded (connections, handshakes, headers,
//! bodies, streams); a connection ends no later than the certificate that it showed.
//! Refuses: to know what is asked; see [`public`] and [`control`].

pub(crate) mod control;
pub(crate) mod http;
pub(crate) mod public;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ServerConfig, ServerConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::http::Body;

const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(10);
const MAX_HEADER_BYTES: u32 = 64 << 10;
/// Requests at once on one connection.
const MAX_STREAMS: u32 = 64;
/// A dead peer is noticed within the sum of these.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));
/// How long running requests have once a connection must end.
const DRAIN: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is served on one port.
pub(crate) trait Port: Send + Sync + 'static {
    /// Who is connected.
    type Caller: Clone + Send + Sync + 'static;
    /// Connections at once; more wait in the kernel's queue.
    const MAX_CONNECTIONS: usize;

    /// The TLS of the next connection.
    fn tls(&self) -> Arc<ServerConfig>;
    /// Who a connection is, and until when; an error ends it.
    fn caller(&self, session: &ServerConnection) -> Result<(Self::Caller, Until), String>;
    /// Answers one request.
    fn answer(
        &self,
        caller: Self::Caller,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Until when a connection is believed; none for as long as it lasts.
pub(crate) type Until = Option<SystemTime>;

/// Serves until `stop`, then lets requests end.
pub(crate) async fn serve<P: Port>(
    listener: TcpListener,
    port: Arc<P>,
    stop: watch::Receiver<bool>,
) {
    let mut stopped = stop.clone();
    let slots = Arc::new(Semaphore::new(P::MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        tokio::select! {
            () = told(&mut stopped) => break,
            Some(_) = connections.join_next() => {}
            (Ok(slot), accepted) = accept => match accepted {
                Ok((stream, address)) => {
                    let (port, stop) = (Arc::clone(&port), stop.clone());
                    connections.spawn(async move {
                        if let Err(error) = connection(stream, port, stop).await {
                            tracing::debug!(%address, %error, "a connection ended");
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits for the end, or for the end of whoever would tell.
async fn told(stop: &mut watch::Receiver<bool>) {
    _ = stop.wait_for(|stop| *stop).await;
}

async fn connection<P: Port>(
    stream: TcpStream,
    port: Arc<P>,
    stop: watch::Receiver<bool>,
) -> Result<(), String> {
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let handshake = TlsAcceptor::from(port.tls()).accept(stream);
    let stream = tokio::time::timeout(HANDSHAKE, handshake)
        .await
        .map_err(|_| "the handshake takes too long".to_owned())?
        .map_err(|error| error.to_string())?;
    let session = stream.get_ref().1;
    let (caller, until) = port.caller(session)?;
    let end = async {
        let mut stop = stop;
        let left = until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
        let expired = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = told(&mut stop) => {}
            () = expired => {}
        }
    };
    if session.alpn_protocol() == Some(b"h2") {
        over_http2(stream, port, caller, end).await
    } else {
        over_http1(stream, port, caller, end).await
    }
}

async fn over_http2<P: Port>(
    stream: TlsStream<TcpStream>,
    port: Arc<P>,
    caller: P::Caller,
    end: impl Future<Output = ()>,
) -> Result<(), String> {
    let service = service_fn(move |request| {
        let (port, caller) = (Arc::clone(&port), caller.clone());
        async move { Ok::<_, Infallible>(port.answer(caller, request).await) }
    });
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
        () = end => connection.as_mut().graceful_shutdown(),
    }
    match tokio::time::timeout(DRAIN, connection).await {
        Ok(ended) => ended.map_err(|error| error.to_string()),
        Err(_) => Ok(()),
    }
}

async fn over_http1<P: Port>(
    stream: TlsStream<TcpStream>,
    port: Arc<P>,
    caller: P::Caller,
    end: impl Future<Output = ()>,
) -> Result<(), String> {
    let service = service_fn(move |request| {
        let (port, caller) = (Arc::clone(&port), caller.clone());
        async move { Ok::<_, Infallible>(port.answer(caller, request).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
        () = end => connection.as_mut().graceful_shutdown(),
    }
    match tokio::time::timeout(DRAIN, connection).await {
        Ok(ended) => ended.map_err(|error| error.to_string()),
        Err(_) => Ok(()),
    }
}
