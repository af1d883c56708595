//! One attempt: a connection, a request, an answer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::endpoint::{Endpoint, EndpointError};
use crate::message::Message;
use crate::sign::{KeyError, Keys};

/// How long an attempt may take, from the look-up to the answer's head.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where messages go and what they are signed with.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// `https://HOST[:PORT]/PATH`.
    pub url: String,
    /// File with the keys; see [`Keys::parse`].
    pub key_file: PathBuf,
    /// PEM file with the authorities of the receiver. Without it: Mozilla's, which are compiled in.
    pub ca_file: Option<PathBuf>,
    /// Whether plain HTTP may be spoken to loopback and to Services of the cluster.
    pub allow_http: bool,
}

/// Why an attempt failed. Nothing of the URL but its host is in it.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The key cannot be used.
    #[error("the key in {}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: KeyError,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The authorities cannot be used.
    #[error("the authorities of the receiver: {0}")]
    Roots(String),
    /// The receiver cannot be reached.
    #[error("the receiver cannot be reached: {0}")]
    Unreachable(io::Error),
    /// The connection broke.
    #[error("the receiver hung up: {0}")]
    Broken(#[from] hyper::Error),
    /// The receiver took too long.
    #[error("the receiver did not answer within {} s", PATIENCE.as_secs())]
    Timeout,
    /// The receiver does not want it.
    #[error("the receiver answered {0}")]
    Refused(StatusCode),
    /// The message cannot be a request.
    #[error("the message cannot be sent: {0}")]
    Message(#[from] hyper::http::Error),
}

/// A receiver.
#[derive(Clone, Debug)]
pub struct Webhook {
    endpoint: Endpoint,
    key_file: PathBuf,
    ca_file: Option<PathBuf>,
}

impl Webhook {
    /// A receiver; nothing is read or dialled yet.
    ///
    /// # Errors
    /// When messages may not go to the URL.
    pub fn new(config: WebhookConfig) -> Result<Self, EndpointError> {
        Ok(Self {
            endpoint: Endpoint::parse(&config.url, config.allow_http)?,
            key_file: config.key_file,
            ca_file: config.ca_file,
        })
    }

    /// Host and port, for people.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.endpoint.host, self.endpoint.port)
    }

    /// Reads the files as an attempt would, so that a mistake is noticed at the start.
    ///
    /// # Errors
    /// When an attempt would fail.
    pub async fn check(&self) -> Result<(), SendError> {
        self.keys().await?;
        self.roots().await.map(drop)
    }

    /// Sends a message once. Delivered is what the receiver answered with a status of success.
    ///
    /// # Errors
    /// When it was not delivered, or that is not known.
    pub async fn send(&self, message: &Message) -> Result<(), SendError> {
        let keys = self.keys().await?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let timestamp = since.unwrap_or_default().as_secs();
        let request = Request::post(&self.endpoint.path)
            .header(HOST, &self.endpoint.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &*message.id)
            .header("webhook-timestamp", timestamp)
            .header(
                "webhook-signature",
                keys.sign(&message.id, timestamp, &message.body),
            )
            .body(Full::new(message.body.clone()))?;
        let exchange = tokio::time::timeout(PATIENCE, self.exchange(request));
        let status = exchange.await.map_err(|_| SendError::Timeout)??;
        if status.is_success() {
            Ok(())
        } else {
            Err(SendError::Refused(status))
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, SendError> {
        let Endpoint {
            tls, host, port, ..
        } = &self.endpoint;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(SendError::Unreachable)?;
        if !tls {
            return over(stream, request).await;
        }
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|error| SendError::Unreachable(io::Error::other(error)))?;
        let config = config(self.roots().await?)?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        over(stream.map_err(SendError::Unreachable)?, request).await
    }

    async fn keys(&self) -> Result<Keys, SendError> {
        let path = &self.key_file;
        Keys::parse(&read(path).await?).map_err(|source| SendError::Key {
            path: path.clone(),
            source,
        })
    }

    async fn roots(&self) -> Result<RootCertStore, SendError> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.ca_file else {
            roots.add_parsable_certificates(TLS_SERVER_ROOT_CERTS.iter().cloned());
            return Ok(roots);
        };
        let pem = read(path).await?;
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| SendError::Roots(error.to_string()))?;
            let added = roots.add(certificate);
            added.map_err(|error| SendError::Roots(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(SendError::Roots("no certificate in the file".to_owned()));
        }
        Ok(roots)
    }
}

async fn read(path: &Path) -> Result<String, SendError> {
    let text = tokio::fs::read_to_string(path).await;
    text.map_err(|source| SendError::File {
        path: path.to_owned(),
        source,
    })
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, SendError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SendError::Roots(error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn over<S>(stream: S, request: Request<Full<Bytes>>) -> Result<StatusCode, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = sender.send_request(request);
    tokio::pin!(connection, answer);
    // The answer's body is nobody's business: the connection goes with this call.
    tokio::select! {
        answer = &mut answer => Ok(answer?.status()),
        ended = &mut connection => {
            ended?;
            Ok(answer.await?.status())
        }
    }
}
