//! Serving.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc};
use weir_audit::{Ruling, SessionId};

use super::operator::{Approver, Decide, Operator, OperatorError};
use super::routes::{Found, Query, To, find};
use crate::{Collector, CollectorError};

const MAX_CONNECTIONS: usize = 256;
const MAX_BODY: usize = 64 << 10;
const HEADER_PATIENCE: Duration = Duration::from_secs(10);

type Body = BoxBody<Bytes, Infallible>;

/// What the API serves.
#[derive(Clone)]
pub struct Api {
    collector: Collector,
    operator: Option<Arc<dyn Operator>>,
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve on {path}: {source}")]
pub struct ServeError {
    path: PathBuf,
    source: io::Error,
}

/// Who is asking.
#[derive(Clone)]
enum Caller {
    Operator(Approver),
    Reader,
}

impl Api {
    /// An API over a store, and the engine beside it if there is one.
    #[must_use]
    pub fn new(collector: Collector, operator: Option<Arc<dyn Operator>>) -> Self {
        Self {
            collector,
            operator,
        }
    }

    async fn serve<S>(self, stream: S, caller: Caller, token: Option<Arc<str>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request| {
            let (api, caller, token) = (self.clone(), caller.clone(), token.clone());
            async move { Ok::<_, Infallible>(api.answer(request, &caller, token.as_deref()).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_PATIENCE)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "an API connection ended");
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        token: Option<&str>,
    ) -> Response<Body> {
        if let Some(token) = token
            && !bears(&request, token)
        {
            return error(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "a bearer token is needed",
            );
        }
        self.route(request, caller).await.unwrap_or_else(
            |Refusal {
                 status,
                 code,
                 message,
             }| { error(status, code, &message) },
        )
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
    ) -> Result<Response<Body>, Refusal> {
        let path = request.uri().path().to_owned();
        let (to, varying) = match find(request.method().as_str(), &path) {
            Found::Route(to, varying) => (to, varying),
            Found::Method => return Err(Refusal::method()),
            Found::Nothing => return Err(Refusal::not_found("no such path")),
        };
        let query = Query::parse(request.uri().query()).map_err(Refusal::bad)?;
        match to {
            To::Events => {
                let filter = query.events().map_err(Refusal::bad)?;
                json(&self.blocking(move |store| store.query(&filter)).await?)
            }
            To::Sessions => {
                let filter = query.sessions().map_err(Refusal::bad)?;
                json(&self.blocking(move |store| store.sessions(&filter)).await?)
            }
            To::Verify => {
                query.finish().map_err(Refusal::bad)?;
                json(&self.blocking(|store| store.verify()).await?)
            }
            To::Replay => {
                query.finish().map_err(Refusal::bad)?;
                let session = varying
                    .parse()
                    .map_err(|_| Refusal::not_found("no such session"))?;
                self.replay(session).await
            }
            To::Tail => {
                let filter = query.events().map_err(Refusal::bad)?;
                Ok(self.tail(filter))
            }
            To::Requests => {
                query.finish().map_err(Refusal::bad)?;
                json(&serde_json::json!({"requests": self.operator()?.requests()}))
            }
            To::Status => {
                query.finish().map_err(Refusal::bad)?;
                json(&self.operator()?.status())
            }
            To::Approve | To::Deny | To::ResetBudgets => {
                let Caller::Operator(approver) = caller else {
                    return Err(Refusal::read_only());
                };
                let body = body(request).await?;
                self.act(to, varying, approver, &body).await
            }
        }
    }

    async fn act(
        &self,
        to: To,
        name: &str,
        approver: &Approver,
        body: &[u8],
    ) -> Result<Response<Body>, Refusal> {
        let decide: Decide = if body.iter().all(u8::is_ascii_whitespace) {
            Decide::default()
        } else {
            serde_json::from_slice(body).map_err(|error| Refusal::bad(error.to_string()))?
        };
        let operator = self.operator()?;
        let ruling = match to {
            To::ResetBudgets => {
                operator.reset_budgets(approver).await?;
                return json(&serde_json::json!({"reset": true}));
            }
            To::Deny => {
                let reason = decide.reason.filter(|reason| !reason.trim().is_empty());
                let reason =
                    reason.ok_or_else(|| Refusal::bad("a denial needs a reason".into()))?;
                Ruling::Deny {
                    reason: reason.into(),
                }
            }
            _ => Ruling::Approve { rows: decide.rows },
        };
        json(&operator.decide(name, approver, ruling).await?)
    }

    fn operator(&self) -> Result<&dyn Operator, Refusal> {
        self.operator.as_deref().ok_or_else(|| Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "unavailable",
            message: "no engine runs beside this collector".into(),
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Collector) -> Result<T, CollectorError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let store = self.collector.clone();
        let done = tokio::task::spawn_blocking(move || act(&store)).await;
        done.map_err(|error| Refusal::failed(error.to_string()))?
            .map_err(Refusal::from)
    }

    async fn replay(&self, session: SessionId) -> Result<Response<Body>, Refusal> {
        let (sender, mut lines) = mpsc::channel::<Bytes>(64);
        let store = self.collector.clone();
        let reading = tokio::task::spawn_blocking(move || {
            store.replay(session, &mut |event| {
                line(&event).is_some_and(|line| sender.blocking_send(line).is_ok())
            })
        });
        // The first line, or why there is none.
        let first = lines.recv().await;
        if first.is_none() {
            reading
                .await
                .map_err(|error| Refusal::failed(error.to_string()))??;
        }
        Ok(stream(first, lines))
    }

    fn tail(&self, filter: crate::Filter) -> Response<Body> {
        let (sender, lines) = mpsc::channel::<Bytes>(64);
        let mut events = self.collector.tail();
        tokio::spawn(async move {
            use tokio::sync::broadcast::error::RecvError;
            loop {
                let batch = tokio::select! {
                    batch = events.recv() => batch,
                    () = sender.closed() => return,
                };
                let out: Vec<Bytes> = match batch {
                    Ok(batch) => batch
                        .iter()
                        .filter(|event| filter.keeps(event))
                        .filter_map(line)
                        .collect(),
                    Err(RecvError::Lagged(batches)) => {
                        line(&serde_json::json!({"kind": "lagged", "batches": batches}))
                            .into_iter()
                            .collect()
                    }
                    Err(RecvError::Closed) => return,
                };
                for line in out {
                    if sender.send(line).await.is_err() {
                        return;
                    }
                }
            }
        });
        stream(None, lines)
    }
}

/// Serves the whole API on a unix socket; the approver is the peer's OS user. Never returns while
/// it works; drop the future to stop.
///
/// # Errors
/// When the socket cannot be made.
pub async fn serve_socket(api: Api, path: &Path) -> Result<(), ServeError> {
    let failed = |source| ServeError {
        path: path.to_owned(),
        source,
    };
    let hidden = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden).map_err(failed)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&hidden, path).map_err(failed)?;
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return Ok(());
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the operators' socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let approver = match stream.peer_cred() {
            Ok(peer) => approver(peer.uid()),
            Err(error) => {
                tracing::warn!(%error, "a peer of the operators' socket has no user");
                continue;
            }
        };
        let api = api.clone();
        tokio::spawn(async move {
            api.serve(stream, Caller::Operator(approver), None).await;
            drop(permit);
        });
    }
}

/// Serves the reading part of the API over TCP to holders of `token`. Never returns while it
/// works; drop the future to stop.
///
/// # Errors
/// Never for a single connection.
pub async fn serve_tcp(api: Api, listener: TcpListener, token: Arc<str>) -> io::Result<()> {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return Ok(());
        };
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the collector's address");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (api, token) = (api.clone(), Arc::clone(&token));
        tokio::spawn(async move {
            api.serve(stream, Caller::Reader, Some(token)).await;
            drop(permit);
        });
    }
}

fn approver(uid: u32) -> Approver {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    Approver {
        name: name.unwrap_or_else(|| format!("uid:{uid}")).into(),
        uid,
    }
}

fn bears(request: &Request<Incoming>, token: &str) -> bool {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .map(|value| value.as_bytes());
    let given = given
        .and_then(|given| given.strip_prefix(b"Bearer "))
        .unwrap_or_default();
    // Every byte is compared, so that the time says nothing about where they differ.
    let differs = given
        .iter()
        .zip(token.as_bytes())
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    !token.is_empty() && given.len() == token.len() && differs == 0
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    Ok(body
        .map_err(|error| Refusal::bad(error.to_string()))?
        .to_bytes())
}

struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn bad(message: String) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "bad_request",
            message,
        }
    }

    fn not_found(message: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "not_found",
            message: message.into(),
        }
    }

    fn method() -> Self {
        let message = "the path has no such method".into();
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "method_not_allowed",
            message,
        }
    }

    fn read_only() -> Self {
        let message = "decisions are taken on the operators' socket".into();
        Self {
            status: StatusCode::FORBIDDEN,
            code: "forbidden",
            message,
        }
    }

    fn failed(message: String) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "failed",
            message,
        }
    }
}

impl From<CollectorError> for Refusal {
    fn from(error: CollectorError) -> Self {
        let message = error.to_string();
        match error {
            CollectorError::Cursor => Self::bad(message),
            CollectorError::NoSession(_) => Self::not_found(&message),
            _ => Self::failed(message),
        }
    }
}

impl From<OperatorError> for Refusal {
    fn from(error: OperatorError) -> Self {
        let (status, code) = match error {
            OperatorError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            OperatorError::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            OperatorError::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            OperatorError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self {
            status,
            code,
            message: error.to_string(),
        }
    }
}

fn line(value: &impl Serialize) -> Option<Bytes> {
    let mut bytes = serde_json::to_vec(value).ok()?;
    bytes.push(b'\n');
    Some(bytes.into())
}

fn stream(first: Option<Bytes>, lines: mpsc::Receiver<Bytes>) -> Response<Body> {
    let frames = Lines { first, lines };
    let mut response = Response::new(StreamBody::new(frames).boxed());
    let kind = header::HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

struct Lines {
    first: Option<Bytes>,
    lines: mpsc::Receiver<Bytes>,
}

impl futures_core::Stream for Lines {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return std::task::Poll::Ready(Some(Ok(Frame::data(first))));
        }
        self.lines
            .poll_recv(context)
            .map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

fn json(value: &impl Serialize) -> Result<Response<Body>, Refusal> {
    let bytes = serde_json::to_vec(value).map_err(|error| Refusal::failed(error.to_string()))?;
    Ok(with(StatusCode::OK, bytes))
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = serde_json::json!({"error": code, "message": message});
    with(status, body.to_string().into_bytes())
}

fn with(status: StatusCode, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(bytes)).boxed());
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
