//! A TLS port: accept, handshake, HTTP, drain.
//!
//! Invariants
//! - Everything that a client can make us hold is bounded: connections, the time of a handshake,
//!   header bytes, streams of a connection.
//! - A connection ends when the certificate that it was made with ends.
//! - After the shutdown, requests that run are answered; nothing new is taken.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::combinators::BoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::peer;

const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADER: Duration = Duration::from_secs(10);
const MAX_HEADER_BYTES: u32 = 32 << 10;
const STREAMS: u32 = 16;
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests may take to end after the shutdown.
const DRAIN: Duration = Duration::from_secs(10);

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// A connection whose handshake is done.
pub(crate) struct Connected {
    pub(crate) address: SocketAddr,
    /// The client's certificate, verified.
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

/// What is served on a port.
pub(crate) trait Site: Clone + Send + Sync + 'static {
    /// A client, as its connection shows it.
    type Client: Send + Sync + 'static;

    /// The TLS settings of the moment; without any, connections are closed.
    fn tls(&self) -> Option<Arc<ServerConfig>>;

    /// Who it is; `None` closes the connection.
    fn admit(&self, connected: Connected) -> Option<Self::Client>;

    /// Answers a request.
    fn answer(
        &self,
        client: Arc<Self::Client>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves until `stop` is true, then lets requests end.
pub(crate) async fn serve<S: Site>(
    listener: TcpListener,
    site: S,
    connections: usize,
    stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(connections));
    let mut running = JoinSet::new();
    let mut ended = pin!(told(stop.clone()));
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        tokio::select! {
            () = &mut ended => break,
            Some(_) = running.join_next() => {}
            (Ok(slot), accepted) = accept => match accepted {
                Ok((stream, address)) => {
                    let (site, stop) = (site.clone(), stop.clone());
                    running.spawn(async move {
                        connection(stream, address, site, stop).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a port cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let all = async { while running.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, all).await;
}

async fn told(mut stop: watch::Receiver<bool>) {
    // The sender goes only with the process.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection<S: Site>(
    stream: TcpStream,
    address: SocketAddr,
    site: S,
    stop: watch::Receiver<bool>,
) {
    let Some(config) = site.tls() else { return };
    let stream = match handshake(stream, config).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%address, %error, "a handshake failed");
            return;
        }
    };
    let tls = stream.get_ref().1;
    let h2 = tls.alpn_protocol() == Some(b"h2");
    let certificate = tls
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|leaf| leaf.clone().into_owned());
    let Some(left) = certificate.as_ref().map_or(Some(Duration::MAX), left) else {
        return;
    };
    let connected = Connected {
        address,
        certificate,
    };
    let Some(client) = site.admit(connected) else {
        return;
    };
    let client = Arc::new(client);
    let service = service_fn(move |request| {
        let (site, client) = (site.clone(), Arc::clone(&client));
        async move { Ok::<_, Infallible>(site.answer(client, request).await) }
    });
    let io = TokioIo::new(stream);
    let over = async {
        tokio::select! {
            () = told(stop) => {}
            () = tokio::time::sleep(left) => {}
        }
    };
    let done = if h2 {
        let served = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .serve_connection(io, service);
        let mut served = pin!(served);
        tokio::select! {
            done = served.as_mut() => done,
            () = over => {
                served.as_mut().graceful_shutdown();
                match tokio::time::timeout(DRAIN, served).await {
                    Ok(done) => done,
                    Err(_) => return,
                }
            }
        }
    } else {
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER)
            .max_buf_size(MAX_HEADER_BYTES as usize)
            .serve_connection(io, service);
        let mut served = pin!(served);
        tokio::select! {
            done = served.as_mut() => done,
            () = over => {
                served.as_mut().graceful_shutdown();
                match tokio::time::timeout(DRAIN, served).await {
                    Ok(done) => done,
                    Err(_) => return,
                }
            }
        }
    };
    if let Err(error) = done {
        tracing::debug!(%address, %error, "a connection ended");
    }
}

async fn handshake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await?
}

/// How long a certificate is still good for.
fn left(certificate: &CertificateDer<'static>) -> Option<Duration> {
    let ends = peer::ends(certificate).ok()?;
    ends.duration_since(SystemTime::now()).ok()
}
