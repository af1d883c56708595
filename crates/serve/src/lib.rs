//! A port with TLS: accept, handshake, HTTP/1 or HTTP/2, drain. Controller and collector serve with it.
//!
//! Invariants
//! - Everything that a client can make us hold is bounded: connections, those of one address, the time
//!   of a handshake, header bytes, streams of a connection.
//! - A connection ends no later than its [`Site`] believes in it, such as when the certificate ends
//!   that it was made with.
//! - One on which nothing is asked for ends, where its site says so, and makes room for others.
//! - After the stop, requests that run are answered, for a while; nothing new is taken.
//!
//! Refuses: to know what is asked, and by whom.

mod crowd;
mod pace;
mod running;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use http_body_util::combinators::BoxBody;
use hyper::body::{Bytes, Incoming};
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

use crowd::Crowd;
pub use pace::{Pace, Paced};
use running::Running;

const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(10);
const MAX_HEADER_BYTES: u32 = 64 << 10;
/// A dead peer is noticed within the sum of these.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The body of an answer.
pub type Body = BoxBody<Bytes, Infallible>;

/// Until when a connection is believed; none for as long as it lasts.
pub type Until = Option<SystemTime>;

/// What a port lets in.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Connections of one address; more are closed.
    pub per_address: usize,
    /// Requests at once on one connection.
    pub streams: u32,
    /// How long a connection may be open with no request on it; none for as long as it likes.
    pub idle: Option<Duration>,
    /// How long running requests have once a connection must end.
    pub drain: Duration,
}

/// What those may take who must leave room for others.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Connections of all of them at once; more are closed.
    pub connections: usize,
    /// Connections of one address.
    pub per_address: usize,
}

/// What is served on one port.
pub trait Site: Send + Sync + 'static {
    /// Who is connected.
    type Client: Clone + Send + Sync + 'static;

    /// What whoever is at that address shares with their like; none for those who may take all.
    fn share(&self, _: IpAddr) -> Option<Share> {
        None
    }

    /// The TLS of the next connection; without any, it is closed.
    fn tls(&self) -> Option<Arc<ServerConfig>>;

    /// Who a connection is, and until when.
    ///
    /// # Errors
    /// Why it is closed.
    fn admit(
        &self,
        address: SocketAddr,
        session: &ServerConnection,
    ) -> Result<(Self::Client, Until), String>;

    /// Answers one request.
    fn answer(
        &self,
        client: Self::Client,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves until `stop` is true, then lets requests end.
pub async fn serve<S: Site>(
    listener: TcpListener,
    site: Arc<S>,
    bounds: Bounds,
    stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let crowd = Crowd::default();
    let shared = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    let mut stopped = pin!(told(stop.clone()));
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        tokio::select! {
            () = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            (Ok(slot), accepted) = accept => match accepted {
                Ok((stream, address)) => {
                    let share = site.share(address.ip());
                    let most = share.map_or(bounds.per_address, |share| share.per_address);
                    let Some(place) = crowd.enter(address.ip(), most) else {
                        tracing::debug!(%address, "too many connections of one address");
                        continue;
                    };
                    let part = share.map(|share| Part::take(&shared, share.connections));
                    let Some(part) = part.map_or(Some(None), |part| part.map(Some)) else {
                        tracing::debug!(%address, "too many connections of those who share");
                        continue;
                    };
                    let (site, stop) = (Arc::clone(&site), stop.clone());
                    connections.spawn(async move {
                        let served = connection(stream, address, site, bounds, stop).await;
                        if let Err(error) = served {
                            tracing::debug!(%address, %error, "a connection ended");
                        }
                        drop((slot, place, part));
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
    while connections.join_next().await.is_some() {}
}

/// One connection of those who share.
struct Part(Arc<AtomicUsize>);

impl Part {
    /// One of so many, if one is left.
    fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        let took = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        took.ok().map(|_| Self(Arc::clone(taken)))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the stop, or for the end of whoever would tell.
async fn told(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection<S: Site>(
    stream: TcpStream,
    address: SocketAddr,
    site: Arc<S>,
    bounds: Bounds,
    stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let config = site.tls().ok_or("there is no TLS yet")?;
    let mut stopped = pin!(told(stop));
    let stream = tokio::select! {
        stream = handshake(stream, config) => stream.map_err(|error| error.to_string())?,
        () = &mut stopped => return Ok(()),
    };
    let session = stream.get_ref().1;
    let (client, until) = site.admit(address, session)?;
    let http2 = session.alpn_protocol() == Some(b"h2");
    let running = Running::default();
    let over = {
        let running = running.clone();
        async move {
            tokio::select! {
                () = stopped => {}
                () = passed(until) => {}
                () = running.idle(bounds.idle) => {}
            }
        }
    };
    let service = service_fn(move |request| {
        let (site, client, one) = (Arc::clone(&site), client.clone(), running.one());
        async move {
            let answer = site.answer(client, request).await;
            Ok::<_, Infallible>(answer.map(|body| one.until_sent(body)))
        }
    });
    let io = TokioIo::new(stream);
    let ended = if http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(bounds.streams)
            .max_header_list_size(MAX_HEADER_BYTES)
            .keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .serve_connection(io, service);
        drained(connection, over, bounds.drain, |one| {
            one.graceful_shutdown()
        })
        .await
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(MAX_HEADER_BYTES as usize)
            .serve_connection(io, service);
        drained(connection, over, bounds.drain, |one| {
            one.graceful_shutdown()
        })
        .await
    };
    ended.map_err(|error| error.to_string())
}

async fn handshake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await?
}

async fn passed(until: Until) {
    match until {
        Some(until) => {
            let left = until.duration_since(SystemTime::now()).unwrap_or_default();
            tokio::time::sleep(left).await;
        }
        None => std::future::pending().await,
    }
}

/// A connection to its end: its own, or some time after `over`.
async fn drained<C>(
    connection: C,
    over: impl Future<Output = ()>,
    patience: Duration,
    shut: impl FnOnce(Pin<&mut C>),
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = over => shut(connection.as_mut()),
    }
    let ended = tokio::time::timeout(patience, connection).await;
    ended.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_share_take_no_more_than_their_part() {
        let taken = Arc::default();
        let mut parts: Vec<Part> = (0..3).filter_map(|_| Part::take(&taken, 3)).collect();
        assert_eq!(parts.len(), 3);
        assert!(Part::take(&taken, 3).is_none());
        parts.pop();
        assert!(Part::take(&taken, 3).is_some());
        assert_eq!(taken.load(Ordering::Relaxed), 2);
    }
}
