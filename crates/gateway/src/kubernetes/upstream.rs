//! The connection to the API server that stands behind one connection of a client.
//!
//! It speaks the client's own version of HTTP, so that what can be upgraded stays so and streams stay
//! streams. It is made when the first request passes, and made anew where the server has closed it.
//!
//! Beside one of HTTP/2 there may be one of HTTP/1 for what is only read and ends soon: a server answers there with
//! less work, head and body at once. It carries one request at a time; whatever comes meanwhile, and what could not
//! be read there, goes over HTTP/2.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri, Version, request};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use weir_policy::Target;
use weir_transport::listen::keep_alive;
use weir_transport::tls::{Stream, UpstreamTls, originate};

use super::answer::{Failed, full};
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
/// Most bytes of an answer over HTTP/1 that are read at once.
const READ_BUFFER: usize = 64 << 10;
/// How long a connection for reading may lie idle: servers, and what stands before them, forget it later.
const READS_IDLE: Duration = Duration::from_secs(30);

/// How a Target's API server is reached.
pub(super) struct Upstream {
    way: Way,
    tls: Option<UpstreamTls>,
    http2: bool,
    authority: String,
    kept: Mutex<Kept>,
    /// How often the server could not be reached.
    failures: AtomicU64,
    /// The connection for reading, and when it was used last.
    reads: Mutex<Option<(http1::SendRequest<Outgoing>, Instant)>>,
    /// The server does not speak HTTP/1.
    two_only: AtomicBool,
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
            reads: Mutex::default(),
            // Each connection through another host is one more for that to carry.
            two_only: AtomicBool::new(route.way.is_led()),
        })
    }

    /// The version of HTTP in which requests go.
    pub(super) const fn version(&self) -> Version {
        match self.http2 {
            true => Version::HTTP_2,
            false => Version::HTTP_11,
        }
    }

    /// Whether requests go as HTTP/2.
    pub(super) const fn is_http2(&self) -> bool {
        self.http2
    }

    /// Whether the server's side is encrypted and verified.
    pub(super) const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// A request as this version of HTTP has it: `head` holds the headers that the server is told.
    ///
    /// # Errors
    /// It cannot be sent on.
    pub(super) fn request(
        &self,
        head: request::Parts,
        version: Version,
    ) -> Result<Request<Outgoing>, String> {
        let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let two = version == Version::HTTP_2;
        let uri = match two {
            true => Uri::builder()
                .scheme("https")
                .authority(self.authority.as_str())
                .path_and_query(target)
                .build(),
            false => Uri::builder().path_and_query(target).build(),
        };
        let uri = uri.map_err(|_| "the path cannot be sent on".to_owned())?;
        let mut request = Request::from_parts(head, full(Bytes::new()));
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        let headers = request.headers_mut();
        headers.remove(HOST);
        if !two {
            let host = HeaderValue::try_from(&self.authority);
            let host = host.map_err(|_| "the target has no name".to_owned())?;
            headers.insert(HOST, host);
        }
        if let Some(value) = headers.get_mut(AUTHORIZATION) {
            // HTTP/2 says what is sensitive in full with each request. A token is too long to be guessed
            // whole, which is all that a header's table could tell, and that of a connection is one client's:
            // the server's own clients have it named once, too.
            value.set_sensitive(!two);
        }
        Ok(request)
    }

    /// Sends a request that only reads, has no object and ends soon, over the connection for that, where one is free.
    /// None: it goes with [`Upstream::send`]. It does so as well where that connection ends before an answer comes,
    /// since nothing has changed by then.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub(super) async fn read(
        &self,
        head: &request::Parts,
    ) -> Result<Option<Response<Incoming>>, String> {
        if !self.http2 || self.two_only.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let Ok(mut reads) = self.reads.try_lock() else {
            return Ok(None);
        };
        let kept = reads.take().filter(|(reader, used)| {
            let idle = reader.is_ready() && used.elapsed() > READS_IDLE;
            !reader.is_closed() && !idle
        });
        let is_known = kept.is_some();
        let mut reader = match kept {
            // It is busy with an answer.
            Some((reader, used)) if !reader.is_ready() => {
                *reads = Some((reader, used));
                return Ok(None);
            }
            Some((reader, _)) => reader,
            None => match Box::pin(self.connect_to_read()).await? {
                Some(reader) => reader,
                None => return Ok(None),
            },
        };
        let mut request = self.request(head.clone(), Version::HTTP_11)?;
        request.headers_mut().remove(CONTENT_LENGTH);
        let Ok(answer) = reader.try_send_request(request).await else {
            // One that has only begun was not closed for being idle: what it is told is not understood.
            self.two_only.fetch_or(!is_known, Ordering::Relaxed);
            return Ok(None);
        };
        *reads = Some((reader, Instant::now()));
        Ok(Some(answer))
    }

    /// A connection for reading. None: the server does not speak HTTP/1.
    async fn connect_to_read(&self) -> Result<Option<http1::SendRequest<Outgoing>>, String> {
        let socket = self.dial().await?;
        let begun = async {
            let stream = match &self.tls {
                None => Stream::from(socket),
                Some(tls) => {
                    let tls = tls.with_alpn(&[b"http/1.1"]);
                    originate(socket, &tls).await.ok()?.into()
                }
            };
            one(stream, false).await.ok()
        };
        let reader = begun.await;
        if reader.is_none() {
            self.two_only.store(true, Ordering::Relaxed);
        }
        Ok(reader)
    }

    async fn dial(&self) -> Result<TcpStream, String> {
        let socket = self.way.dial().await.map_err(|error| error.to_string())?;
        keep_alive(&socket).map_err(|error| error.to_string())?;
        Ok(socket)
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
        let socket = self.dial().await?;
        let stream = match &self.tls {
            None => Stream::from(socket),
            Some(tls) => {
                let stream = originate(socket, tls).await;
                stream.map_err(|error| error.to_string())?.into()
            }
        };
        if self.http2 {
            let io = TokioIo::new(stream);
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
        let sender = one(stream, true).await.map_err(|error| describe(&error))?;
        Ok(Sender::One(sender))
    }
}

/// Begins HTTP/1, with names of headers as clients wrote them where that is asked for.
async fn one(stream: Stream, cases: bool) -> Result<http1::SendRequest<Outgoing>, hyper::Error> {
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(cases)
        .max_buf_size(READ_BUFFER)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "the connection to an API server ended");
        }
    });
    Ok(sender)
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
