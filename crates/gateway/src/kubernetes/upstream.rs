//! The connection to the API server that stands behind one connection of a client.
//!
//! It speaks the client's own version of HTTP, so that what can be upgraded stays so and streams stay
//! streams. It is made when the first request passes, and made anew where the server has closed it.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Mutex;
use weir_policy::Target;
use weir_transport::listen::keep_alive;
use weir_transport::tls::{Stream, UpstreamTls, originate};

use super::answer::Failed;
use super::serve::{KEEP_ALIVE, STREAMS};
use crate::engine::Route;
use crate::place::Way;
use crate::ports::Credentials;
use crate::tls;

/// A request's body on its way to the server.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, Failed>;

/// Most that a stream, and all of a connection's together, may be ahead of the client. The sum has room for
/// all of them: answers that nobody reads, or that people decide about, leave the others theirs.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// Most bytes of headers of the server's.
const MAX_HEADERS: u32 = 64 << 10;

/// How a Target's API server is reached.
pub(super) struct Upstream {
    way: Way,
    tls: Option<UpstreamTls>,
    http2: bool,
    authority: String,
    kept: Mutex<Kept>,
    /// How often the server could not be reached.
    failures: AtomicU64,
}

/// The connection, and why there is none.
#[derive(Default)]
struct Kept {
    sender: Option<Sender>,
    failure: String,
}

enum Sender {
    One(http1::SendRequest<Outgoing>),
    Two(http2::SendRequest<Outgoing>),
}

impl Upstream {
    /// Reads the Target's settings.
    ///
    /// # Errors
    /// They cannot be used.
    pub(super) fn new(
        route: &Route,
        target: &Target,
        credentials: &dyn Credentials,
        http2: bool,
    ) -> Result<Self, String> {
        let alpn: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
        let tls = tls::of_target(target, &route.place, credentials, alpn)
            .map_err(|error| error.to_string())?;
        let name = tls::name_of(target, &route.place);
        Ok(Self {
            way: route.way.clone(),
            tls,
            http2,
            authority: match name.parse::<std::net::Ipv6Addr>() {
                Ok(ip) => format!("[{ip}]"),
                Err(_) => name,
            },
            kept: Mutex::default(),
            failures: AtomicU64::new(0),
        })
    }

    /// What the server is called in requests.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether requests go as HTTP/2.
    pub(super) const fn is_http2(&self) -> bool {
        self.http2
    }

    /// Whether the server's side is encrypted and verified.
    pub(super) const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// The server cannot be reached, or fails.
    pub(super) async fn send(
        &self,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, String> {
        loop {
            let failures = self.failures.load(Ordering::Acquire);
            let mut kept = self.kept.lock().await;
            let known = match kept.sender.take() {
                Some(sender) => sender.still().await,
                None => None,
            };
            let is_known = known.is_some();
            let mut sender = match known {
                Some(sender) => sender,
                // Whoever waited while the server was not reached waits for no second time of that.
                None if self.failures.load(Ordering::Acquire) != failures => {
                    return Err(kept.failure.clone());
                }
                None => match Box::pin(self.connect()).await {
                    Ok(sender) => sender,
                    Err(why) => {
                        kept.failure.clone_from(&why);
                        self.failures.fetch_add(1, Ordering::Release);
                        return Err(why);
                    }
                },
            };
            let answered = match &mut sender {
                Sender::Two(two) => {
                    let answer = two.try_send_request(request);
                    kept.sender = Some(sender);
                    drop(kept);
                    answer.await
                }
                // One at a time: the next request waits for the answer's head, and for its body in `still`.
                Sender::One(one) => {
                    let answered = one.try_send_request(request).await;
                    kept.sender = Some(sender);
                    answered
                }
            };
            // What never left for a server that has closed meanwhile goes to a new connection.
            request = match answered {
                Ok(response) => return Ok(response),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) if is_known => unsent,
                    _ => return Err(describe(failed.error())),
                },
            };
        }
    }

    /// Sends a request over a connection of its own.
    ///
    /// # Errors
    /// The server cannot be reached, or fails.
    pub(super) async fn send_alone(
        &self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, String> {
        let answer = match Box::pin(self.connect()).await? {
            Sender::One(mut one) => one.send_request(request).await,
            Sender::Two(mut two) => two.send_request(request).await,
        };
        answer.map_err(|error| describe(&error))
    }

    async fn connect(&self) -> Result<Sender, String> {
        let socket = self.way.dial().await.map_err(|error| error.to_string())?;
        keep_alive(&socket).map_err(|error| error.to_string())?;
        let stream = match &self.tls {
            None => Stream::from(socket),
            Some(tls) => {
                let stream = originate(socket, tls).await;
                stream.map_err(|error| error.to_string())?.into()
            }
        };
        let io = TokioIo::new(stream);
        if self.http2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(MAX_HEADERS)
                .keep_alive_interval(KEEP_ALIVE.0)
                .keep_alive_timeout(KEEP_ALIVE.1)
                .handshake(io)
                .await
                .map_err(|error| describe(&error))?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "the connection to an API server ended");
                }
            });
            return Ok(Sender::Two(sender));
        }
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .handshake(io)
            .await
            .map_err(|error| describe(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "the connection to an API server ended");
            }
        });
        Ok(Sender::One(sender))
    }
}

impl Sender {
    /// The connection again, once it takes the next request; none where it is closed.
    async fn still(self) -> Option<Self> {
        match self {
            Self::One(mut one) => one.ready().await.is_ok().then_some(Self::One(one)),
            Self::Two(mut two) => two.ready().await.is_ok().then_some(Self::Two(two)),
        }
    }
}

fn describe(error: &hyper::Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
