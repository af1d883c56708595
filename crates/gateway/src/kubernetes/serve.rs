//! One connection to a Kubernetes API from accept to record.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use weir_audit::{ConnectionClosed, ConnectionOpened, Names, Record, Session as AuditSession};
use weir_policy::{ClientTls, Credentials, Target, TlsMode};
use weir_transport::tls::{LeafNames, Rewound, Stream, terminate_noticing};

use super::refusal::Refusal;
use super::upstream::Upstream;
use crate::engine::{Route, Shared};
use crate::evidence::Evidence;
use crate::incoming::Incoming;
use crate::judge::Judge;
use crate::leash::Leash;
use crate::values::KnownScanner;
use crate::{millis, wall_clock};

/// How long a client may take to its first bytes.
const HEAD: Duration = Duration::from_secs(30);
/// How long a connection of HTTP/1 may wait for its next request, head and all: longer than API servers let
/// it, so that clients meet what they know.
const IDLE: Duration = Duration::from_secs(100);
/// Most bytes of objects that the requests of one connection hold at once, and the unit in which they are
/// counted.
const OBJECTS: usize = 16 << 20;
pub(super) const ROOM: usize = 1 << 10;
/// Most bytes of a request's head.
const MAX_HEAD: usize = 128 << 10;
/// Most headers of a request.
const MAX_HEADERS: usize = 256;
/// Most requests at once on one connection: what API servers take, so that none waits for another.
pub(super) const STREAMS: u32 = 100;
/// Most that a client may be ahead of the server: in one request, and in all of a connection, so that
/// requests that wait leave the others their room.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// Most that waits for a client that does not read, for each request.
const SEND_BUFFER: usize = 64 << 10;
/// A peer that has vanished is noticed within the sum of these.
pub(super) const KEEP_ALIVE: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(20));
/// How HTTP/2 begins where nobody has agreed on it before.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the requests of one connection share.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) audit: Arc<AuditSession>,
    pub(super) target: String,
    pub(super) credentials: Credentials,
    pub(super) upstream: Upstream,
    /// The client has shown a certificate.
    pub(super) certified: bool,
    /// Whom budgets and lists belong to.
    pub(super) whose: String,
    pub(super) client: std::net::SocketAddr,
    pub(super) depth: u8,
    pub(super) leash: Leash,
    /// Room for the objects of requests, in units of [`ROOM`].
    pub(super) objects: Arc<Semaphore>,
    /// What looks for values in answers.
    pub(super) scanner: KnownScanner,
    judge: Mutex<Option<Judge>>,
    streams: Mutex<JoinSet<()>>,
    statements: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
}

impl Session {
    /// The number of the next request.
    pub(super) fn next_number(&self) -> u64 {
        self.statements.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Calls `with` on what judges.
    ///
    /// # Errors
    /// No policy permits the target.
    pub(super) fn with_judge<T>(&self, with: impl FnOnce(&mut Judge) -> T) -> Result<T, Refusal> {
        let mut judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
        if judge.is_none() {
            *judge = judge_of(&self.shared, &self.target);
        }
        match judge.as_mut() {
            Some(judge) => Ok(with(judge)),
            None => {
                let barred = self.shared.barred();
                let reason = barred.as_deref();
                Err(Refusal::unjudged(
                    reason.unwrap_or("no policy permits this target"),
                ))
            }
        }
    }

    /// Keeps the connection's end waiting for a stream that it has become.
    pub(super) fn keep(&self, stream: impl Future<Output = ()> + Send + 'static) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.spawn(stream);
    }

    /// Waits for the streams that the connection has become.
    async fn streamed(&self) {
        let taken = {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *streams)
        };
        taken.join_all().await;
    }

    pub(super) fn evidence(&self) -> Evidence {
        Evidence {
            sink: Arc::clone(&self.shared.sink),
            session: Arc::clone(&self.audit),
            budgets: Arc::clone(&self.shared.budgets),
        }
    }

    fn record(&self, body: impl Into<weir_audit::Body>) {
        let record = Record::session(wall_clock(), Arc::clone(&self.audit), body);
        self.shared.sink.record(record);
    }
}

fn judge_of(shared: &Arc<Shared>, target: &str) -> Option<Judge> {
    let (subject, _) = shared.identities.current().ok()?;
    let bundle = shared.policies.current();
    let (id, _) = bundle.target_named(target)?;
    let scope = shared.scopes.find(&bundle, &subject, id, millis())?;
    Some(Judge::new(shared, scope, target, bundle.revision()))
}

/// Serves one connection.
pub(crate) async fn serve(shared: &Arc<Shared>, incoming: Incoming, route: Route) {
    let bundle = Arc::clone(&route.bundle);
    let Some(target) = bundle.target(route.target) else {
        return;
    };
    let id = shared.next_session();
    let audit = Arc::new(incoming.session(id, Some(&target.name), Some("kubernetes")));
    let refused = |reason: &str| {
        tracing::info!(session = %audit.id, %reason, "connection refused");
        shared.refused(Arc::clone(&audit), reason, Names::empty());
    };
    if let Some(reason) = &target.refused {
        return refused(reason);
    }
    let brokered = matches!(target.credentials, Credentials::Brokered { .. });
    let verified = matches!(
        target.upstream_tls.mode,
        TlsMode::VerifyCA | TlsMode::VerifyFull
    );
    if route.way.is_led() && brokered && !verified {
        // Whoever runs the host in between could answer in the server's place, and would be told the token.
        return refused(
            "a brokered token through another host needs upstreamTLS with verification",
        );
    }
    let Incoming {
        stream,
        peer,
        leash,
        identity,
        ..
    } = incoming;
    let accepted = tokio::select! {
        pulled = leash.pulled() => return refused(&pulled.recorded()),
        accepted = accept(shared, stream, target, &route) => accepted,
    };
    let Accepted {
        stream,
        is_http2: http2,
        certified,
    } = match accepted {
        Ok(accepted) => accepted,
        Err(reason) => return refused(&reason),
    };
    let upstream = match Upstream::new(&route, target, &*shared.credentials, http2) {
        Ok(upstream) => upstream,
        Err(reason) => return refused(&reason),
    };
    let client_tls = !matches!(stream, Client::Plain(..));
    let session = Arc::new(Session {
        objects: Arc::new(Semaphore::new(OBJECTS / ROOM)),
        judge: Mutex::new(judge_of(shared, &target.name)),
        scanner: KnownScanner::default(),
        shared: Arc::clone(shared),
        audit: Arc::clone(&audit),
        target: target.name.clone(),
        credentials: target.credentials.clone(),
        upstream,
        certified,
        whose: identity.name.to_string(),
        client: peer.client(),
        depth: peer.depth(),
        leash,
        streams: Mutex::default(),
        statements: AtomicU64::new(0),
        rows: AtomicU64::new(0),
        bytes_in: AtomicU64::new(0),
        bytes_out: AtomicU64::new(0),
    });
    let policies = session.with_judge(|judge| judge.policies());
    session.record(ConnectionOpened {
        client_tls,
        upstream_tls: session.upstream.is_tls(),
        policies: policies.unwrap_or_default(),
    });
    let started = Instant::now();
    let reason = match stream {
        Client::Plain(stream) => run(&session, stream, http2).await,
        Client::Tls(stream) => run(&session, *stream, http2).await,
    };
    session.streamed().await;
    session.record(ConnectionClosed {
        statements: session.statements.load(Ordering::Relaxed),
        rows: session.rows.load(Ordering::Relaxed),
        bytes_in: session.bytes_in.load(Ordering::Relaxed),
        bytes_out: session.bytes_out.load(Ordering::Relaxed),
        duration_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        reason: reason.into(),
    });
}

/// A client, and what was learned of it.
struct Accepted {
    stream: Client,
    is_http2: bool,
    certified: bool,
}

enum Client {
    Plain(Rewound),
    Tls(Box<Stream>),
}

/// Learns what the client speaks: TLS with a certificate of Weir's or none, HTTP/2 or HTTP/1.
async fn accept(
    shared: &Shared,
    mut stream: TcpStream,
    target: &Target,
    route: &Route,
) -> Result<Accepted, String> {
    let mut first = bytes::BytesMut::with_capacity(PREFACE.len());
    let read = async {
        while first.is_empty() || (PREFACE.starts_with(&first) && first.len() < PREFACE.len()) {
            if stream
                .read_buf(&mut first)
                .await
                .map_err(|error| error.to_string())?
                == 0
            {
                break;
            }
        }
        Ok::<_, String>(())
    };
    match tokio::time::timeout(HEAD, read).await {
        Ok(read) => read?,
        Err(_) => return Err("the client said nothing".to_owned()),
    }
    let is_tls = first.first() == Some(&0x16);
    let is_http2 = first.starts_with(PREFACE);
    let local = stream.local_addr().ok();
    let stream = Rewound::with_prefix(Bytes::from(first), stream);
    if !is_tls {
        return Ok(Accepted {
            stream: Client::Plain(stream),
            is_http2,
            certified: false,
        });
    }
    if target.client_tls == ClientTls::Refuse {
        return Err("the target refuses TLS".to_owned());
    }
    let names = target.client_names();
    let ip = route.place.ip().or_else(|| local.map(|local| local.ip()));
    let names = LeafNames::new(names.iter().map(String::as_str), ip);
    let alpn: [&[u8]; 2] = [b"h2", b"http/1.1"];
    let terminated = terminate_noticing(stream, &shared.authority, &names, &alpn).await;
    let terminated = terminated.map_err(|error| error.to_string())?;
    let is_http2 = terminated.alpn.as_deref() == Some(b"h2");
    let certified = terminated.certified;
    let stream = Stream::from(terminated.stream);
    Ok(Accepted {
        stream: Client::Tls(Box::new(stream)),
        is_http2,
        certified,
    })
}

/// Answers requests to the end of the connection; why it ended.
async fn run<S>(session: &Arc<Session>, stream: S, http2: bool) -> String
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = {
        let session = Arc::clone(session);
        service_fn(move |request| {
            // What is on its way is larger than what waits afterwards, and goes before that.
            let answered = Box::pin(super::exchange::answer(Arc::clone(&session), request));
            async move { Ok::<_, Infallible>(answered.await) }
        })
    };
    let io = TokioIo::new(stream);
    let leash = &session.leash;
    if http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        return tokio::select! {
            pulled = leash.pulled() => pulled.recorded(),
            ended = &mut connection => ending(&ended),
            () = leash.draining() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    pulled = leash.pulled() => pulled.recorded(),
                    ended = connection => ending(&ended),
                }
            }
        };
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .preserve_header_case(true)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        pulled = leash.pulled() => pulled.recorded(),
        ended = &mut connection => ending(&ended),
        () = leash.draining() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                pulled = leash.pulled() => pulled.recorded(),
                ended = connection => ending(&ended),
            }
        }
    }
}

fn ending(ended: &hyper::Result<()>) -> String {
    use std::error::Error as _;
    match ended {
        Ok(()) => "closed".to_owned(),
        Err(error) => match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}
