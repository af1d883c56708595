//! The other end of the API, for the command line.

mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpStream, UnixStream};

pub use tls::{Opening, Stream, TlsOptions};

/// Where the API is.
#[derive(Clone, Debug)]
pub struct Client {
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Socket(PathBuf),
    Tcp(String, Arc<str>),
    Tls(Box<tls::TlsPlace>),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("cannot reach weir at {place}: {reason}")]
    Connect {
        /// The socket or address.
        place: String,
        /// Why not.
        reason: String,
    },
    /// The API refused.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The `error` in the answer.
        error: String,
        /// The `message` in the answer.
        message: String,
    },
    /// What came could not be kept.
    #[error("what weir sent cannot be kept: {0}")]
    Take(String),
    /// The answer is not what was expected.
    #[error("weir's answer cannot be read: {0}")]
    Answer(String),
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    message: String,
}

/// Joins a path and the parameters that have a value.
#[must_use]
pub fn path_with(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let mut out = path.to_owned();
    let mut sign = '?';
    for (name, value) in parameters {
        if let Some(value) = value {
            out.push(sign);
            out.push_str(name);
            out.push('=');
            out.push_str(&crate::api::encode(value));
            sign = '&';
        }
    }
    out
}

impl Client {
    /// Over the operators' socket: everything.
    #[must_use]
    pub fn socket(path: &Path) -> Self {
        Self {
            place: Place::Socket(path.to_owned()),
        }
    }

    /// Over TCP: reading only.
    #[must_use]
    pub fn tcp(address: impl Into<String>, token: impl Into<Arc<str>>) -> Self {
        Self {
            place: Place::Tcp(address.into(), token.into()),
        }
    }

    /// Over TLS, on streams that `open` opens, one for each request: reading only.
    ///
    /// # Errors
    /// When roots, name, certificate or token cannot be used.
    pub fn tls(
        options: TlsOptions,
        open: impl Fn() -> Opening + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let place = tls::TlsPlace::new(options, Arc::new(open))?;
        Ok(Self {
            place: Place::Tls(Box::new(place)),
        })
    }

    /// Reads a path.
    ///
    /// # Errors
    /// When there is no answer, a refusal, or another answer than expected.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        parse(self.send(Method::GET, path, Bytes::new()).await?).await
    }

    /// Reads bytes as they come.
    ///
    /// # Errors
    /// When there is no answer, a refusal, or `take` fails.
    pub async fn bytes(
        &self,
        path: &str,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ClientError> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(answer)?.into_data() {
                take(&data).map_err(|error| ClientError::Take(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// Acts on a path.
    ///
    /// # Errors
    /// When there is no answer, a refusal, or another answer than expected.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(answer)?;
        parse(self.send(Method::POST, path, body.into()).await?).await
    }

    /// Reads newline-delimited JSON and hands on each value until `take` returns false or the
    /// stream ends.
    ///
    /// # Errors
    /// When there is no answer, a refusal, or a line that is not what was expected.
    pub async fn stream<T: DeserializeOwned>(
        &self,
        path: &str,
        mut take: impl FnMut(T) -> bool,
    ) -> Result<(), ClientError> {
        let mut body = self
            .send(Method::GET, path, Bytes::new())
            .await?
            .into_body();
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(answer)?.into_data() else {
                continue;
            };
            pending.extend_from_slice(&data);
            let mut from = 0;
            while let Some(end) = memchr::memchr(b'\n', pending.get(from..).unwrap_or_default()) {
                let line = pending.get(from..from + end).unwrap_or_default();
                if !take(serde_json::from_slice(line).map_err(answer)?) {
                    return Ok(());
                }
                from += end + 1;
            }
            pending.drain(..from);
        }
        Ok(())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder().method(method).uri(path);
        let response = match &self.place {
            Place::Socket(socket) => {
                let place = socket.display().to_string();
                let stream = UnixStream::connect(socket)
                    .await
                    .map_err(|e| connect(&place, &e))?;
                request = request.header(header::HOST, "weir");
                exchange(stream, request, body, &place).await?
            }
            Place::Tcp(address, token) => {
                let stream = TcpStream::connect(address)
                    .await
                    .map_err(|e| connect(address, &e))?;
                request = request
                    .header(header::HOST, address.as_str())
                    .header(header::AUTHORIZATION, format!("Bearer {token}"));
                exchange(stream, request, body, address).await?
            }
            Place::Tls(place) => {
                let stream = place
                    .connect()
                    .await
                    .map_err(|e| connect(&place.place, &e))?;
                request = request.header(header::HOST, place.host());
                if let Some(bearer) = &place.bearer {
                    request = request.header(header::AUTHORIZATION, bearer);
                }
                exchange(stream, request, body, &place.place).await?
            }
        };
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let Refused { error, message } = parse(response).await?;
        Err(ClientError::Refused {
            status,
            error,
            message,
        })
    }
}

async fn exchange<S>(
    stream: S,
    request: hyper::http::request::Builder,
    body: Bytes,
    place: &str,
) -> Result<Response<Incoming>, ClientError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let request = request.body(Full::new(body)).map_err(answer)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| connect(place, &error))?;
    tokio::spawn(connection);
    sender
        .send_request(request)
        .await
        .map_err(|error| connect(place, &error))
}

async fn parse<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, ClientError> {
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(answer)?
        .to_bytes();
    serde_json::from_slice(&body).map_err(answer)
}

fn answer(error: impl std::fmt::Display) -> ClientError {
    ClientError::Answer(error.to_string())
}

fn connect(place: &str, error: &(impl std::fmt::Display + ?Sized)) -> ClientError {
    ClientError::Connect {
        place: place.to_owned(),
        reason: error.to_string(),
    }
}
