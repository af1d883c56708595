//! One HTTP/2 connection to the controller, made when it is needed and made anew when it breaks.
//!
//! Invariants: answers are bounded before they are read; every request has a deadline; a renewed
//! certificate is used from the next request on.

use std::net::IpAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::net::TcpStream;

use super::ControlError;

/// How long connecting may take: look-up, TCP and TLS.
const CONNECT: Duration = Duration::from_secs(5);
/// The same for an address that may be out of date.
const KNOWN: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Most bytes of an answer; streams are bounded a line at a time.
const MAX_ANSWER: usize = 4 << 20;
/// Most bytes of an answer with many requests; the controller sends no more than half of it.
const MAX_BULK: usize = 32 << 20;
/// Most bytes of the reason that comes with a refusal.
const MAX_REASON: usize = 512;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name, which its certificate must bear.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Where it may be found without looking its name up. They are tried first, and prove nothing.
    pub addresses: Vec<IpAddr>,
}

impl Endpoint {
    /// What to dial, one after the other: the addresses that are known, then what the name stands for.
    fn ways(&self) -> impl Iterator<Item = (String, Duration)> {
        let known = self.addresses.iter().map(|ip| (ip.to_string(), KNOWN));
        known.chain([(self.host.clone(), CONNECT)])
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

pub(crate) type Sender = SendRequest<Full<Bytes>>;

/// Connects; the connection lives as long as what it serves.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    config: Arc<ClientConfig>,
) -> Result<Sender, ControlError> {
    let unreachable = |reason: String| ControlError::Unreachable {
        endpoint: endpoint.to_string(),
        reason,
    };
    let name = ServerName::try_from(endpoint.host.clone())
        .map_err(|error| ControlError::configuration("the controller's name")(&error))?;
    let tls = tokio_rustls::TlsConnector::from(config);
    let connect = async |host: &str| {
        let tcp = TcpStream::connect((host, endpoint.port)).await?;
        tcp.set_nodelay(true)?;
        tls.connect(name.clone(), tcp).await
    };
    let mut failures = Vec::new();
    let mut found = None;
    for (host, patience) in endpoint.ways() {
        let reason = match tokio::time::timeout(patience, connect(&host)).await {
            Ok(Ok(stream)) => {
                found = Some(stream);
                break;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer".to_owned(),
        };
        failures.push(if endpoint.addresses.is_empty() {
            reason
        } else {
            format!("{host}: {reason}")
        });
    }
    let stream = found.ok_or_else(|| unreachable(failures.join("; ")))?;
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the controller ended");
        }
    });
    Ok(sender)
}

/// A request with a JSON body, or none.
pub(crate) fn request<B: Serialize>(
    endpoint: &Endpoint,
    method: Method,
    path: &str,
    body: Option<&B>,
) -> Result<Request<Full<Bytes>>, ControlError> {
    let wrong = |error: &dyn std::fmt::Display| ControlError::Answer(error.to_string());
    let bytes = match body {
        Some(body) => Bytes::from(serde_json::to_vec(body).map_err(|error| wrong(&error))?),
        None => Bytes::new(),
    };
    Request::builder()
        .method(method)
        .uri(format!("https://{endpoint}{path}"))
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(Full::new(bytes))
        .map_err(|error| wrong(&error))
}

/// Adds a bearer token.
pub(crate) fn authorize(
    request: &mut Request<Full<Bytes>>,
    token: &str,
) -> Result<(), ControlError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|error| ControlError::configuration("the token")(&error))?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(())
}

/// Sends a request; an answer that is no success is an error with its reason.
pub(crate) async fn send(
    sender: &mut Sender,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, ControlError> {
    let sent = async {
        sender.ready().await?;
        sender.send_request(request).await
    };
    let response = match tokio::time::timeout(ANSWER, sent).await {
        Ok(response) => response.map_err(|error| broken(&error))?,
        Err(_) => return Err(ControlError::Timeout),
    };
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let body = body(response).await.unwrap_or_default();
    let reason = reason(&body);
    Err(ControlError::Refused {
        status,
        reason: reason.trim().chars().take(MAX_REASON).collect(),
    })
}

/// The words of a refusal: its `message`, or all of it.
fn reason(body: &[u8]) -> String {
    let refusal: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = refusal
        .as_ref()
        .and_then(|body| body.get("message")?.as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

/// Reads an answer whole.
pub(crate) async fn body(response: Response<Incoming>) -> Result<Bytes, ControlError> {
    whole(response, MAX_ANSWER).await
}

/// Reads an answer whole that carries many statements.
pub(crate) async fn bulk(response: Response<Incoming>) -> Result<Bytes, ControlError> {
    whole(response, MAX_BULK).await
}

async fn whole(response: Response<Incoming>, most: usize) -> Result<Bytes, ControlError> {
    let read = Limited::new(response.into_body(), most).collect();
    match tokio::time::timeout(ANSWER, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(ControlError::Broken(error.to_string())),
        Err(_) => Err(ControlError::Timeout),
    }
}

/// Reads an answer in JSON.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ControlError> {
    serde_json::from_slice(body).map_err(|error| ControlError::Answer(error.to_string()))
}

/// What broke, with its cause: hyper's own text names only the kind.
pub(crate) fn broken(error: &hyper::Error) -> ControlError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    ControlError::Broken(text)
}
