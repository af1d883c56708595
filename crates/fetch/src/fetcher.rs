//! One attempt: a connection, a request, an answer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HeaderMap;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::endpoint::Endpoint;

const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 1 << 20;

/// Why there is no answer. Nothing of the URL is in it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The file with the authorities cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The authorities cannot be used.
    #[error("the authorities of the server: {0}")]
    Roots(String),
    /// The server cannot be reached.
    #[error("the server cannot be reached: {0}")]
    Unreachable(io::Error),
    /// The connection broke.
    #[error("the server hung up: {0}")]
    Broken(#[from] hyper::Error),
    /// The server took too long.
    #[error("the server did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The answer is longer than may be.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

/// What a server said, whatever the status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Sends requests; nothing is kept from one to the next.
#[derive(Clone, Debug)]
pub struct Fetcher {
    ca_file: Option<PathBuf>,
    patience: Duration,
    max_answer: usize,
}

impl Fetcher {
    /// `ca_file` is a PEM file with the only authorities that count. Without it: Mozilla's, which are
    /// compiled in. A request may take 10 s, and an answer have 1 MiB.
    #[must_use]
    pub fn new(ca_file: Option<PathBuf>) -> Self {
        Self {
            ca_file,
            patience: PATIENCE,
            max_answer: MAX_ANSWER,
        }
    }

    /// Other bounds: of a request's time, and of an answer's bytes.
    #[must_use]
    pub fn bounded(self, patience: Duration, max_answer: usize) -> Self {
        Self {
            patience,
            max_answer,
            ..self
        }
    }

    /// Reads the authorities as a request would, so that a mistake is noticed at the start.
    ///
    /// # Errors
    /// When a request would fail.
    pub async fn check(&self) -> Result<(), FetchError> {
        self.roots().await.map(drop)
    }

    /// Sends a request that [`Endpoint::request`] began, once.
    ///
    /// # Errors
    /// When there is no answer, or not all of it. What the server did is not known then.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        request: Request<Bytes>,
    ) -> Result<Answer, FetchError> {
        self.in_time(self.exchange(endpoint, request, async |answer| self.read(answer).await))
            .await
    }

    /// Sends a request of whose answer only the status counts; its body is not read.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn tell(
        &self,
        endpoint: &Endpoint,
        request: Request<Bytes>,
    ) -> Result<StatusCode, FetchError> {
        self.in_time(self.exchange(endpoint, request, async |answer| Ok(answer.status())))
            .await
    }

    async fn in_time<T>(
        &self,
        exchange: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        let done = tokio::time::timeout(self.patience, exchange).await;
        done.map_err(|_| FetchError::Timeout(self.patience))?
    }

    async fn exchange<T>(
        &self,
        endpoint: &Endpoint,
        request: Request<Bytes>,
        take: impl AsyncFnOnce(Response<Incoming>) -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        let host = &endpoint.host;
        let stream = TcpStream::connect((host.as_str(), endpoint.port)).await;
        let stream = stream.map_err(FetchError::Unreachable)?;
        if !endpoint.tls {
            return over(stream, request, take).await;
        }
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|error| FetchError::Unreachable(io::Error::other(error)))?;
        let config = config(self.roots().await?)?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        over(stream.map_err(FetchError::Unreachable)?, request, take).await
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Answer, FetchError> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, self.max_answer).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return FetchError::TooLarge(self.max_answer);
            }
            match error.downcast::<hyper::Error>() {
                Ok(error) => FetchError::Broken(*error),
                Err(error) => FetchError::Unreachable(io::Error::other(error)),
            }
        })?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }

    async fn roots(&self) -> Result<RootCertStore, FetchError> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.ca_file else {
            roots.add_parsable_certificates(TLS_SERVER_ROOT_CERTS.iter().cloned());
            return Ok(roots);
        };
        let pem = read(path).await?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| FetchError::Roots(error.to_string()))?;
            let added = roots.add(certificate);
            added.map_err(|error| FetchError::Roots(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(FetchError::Roots("no certificate in the file".to_owned()));
        }
        Ok(roots)
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, FetchError> {
    let bytes = tokio::fs::read(path).await;
    bytes.map_err(|source| FetchError::File {
        path: path.to_owned(),
        source,
    })
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, FetchError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::Roots(error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn over<S, T>(
    stream: S,
    request: Request<Bytes>,
    take: impl AsyncFnOnce(Response<Incoming>) -> Result<T, FetchError>,
) -> Result<T, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async { take(sender.send_request(request.map(Full::new)).await?).await };
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended?;
            answer.await
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::Method;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers one request with these bytes and keeps the connection open; says what it read.
    async fn server(answer: Vec<u8>) -> (Endpoint, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = Endpoint::parse(&format!("http://{address}/a?b=c"), true).unwrap();
        let read = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = vec![0; 4096];
            let n = stream.read(&mut read).await.unwrap();
            let _ = stream.write_all(&answer).await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            String::from_utf8(read[..n].to_vec()).unwrap()
        });
        (endpoint, read)
    }

    fn ask(endpoint: &Endpoint) -> Request<Bytes> {
        let request = endpoint.request(Method::POST);
        request.body(Bytes::from_static(b"question")).unwrap()
    }

    #[tokio::test]
    async fn a_request_goes_out_whole_and_its_answer_comes_back() {
        let (endpoint, read) =
            server(b"HTTP/1.1 418 T\r\ncontent-length: 2\r\nx: y\r\n\r\nno".to_vec()).await;
        let answer = Fetcher::new(None).send(&endpoint, ask(&endpoint)).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 418);
        assert_eq!(
            (&answer.headers["x"], &answer.body[..]),
            (&hyper::header::HeaderValue::from_static("y"), &b"no"[..])
        );
        let read = read.await.unwrap();
        assert!(read.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{read}");
        assert!(
            read.contains(&format!("host: {}\r\n", endpoint.authority())),
            "{read}"
        );
        assert!(read.ends_with("\r\n\r\nquestion"), "{read}");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_cut_off_and_its_status_counts_where_that_is_all() {
        let endless = |n: usize| {
            let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
            answer.resize(n, b'x');
            answer
        };
        let fetcher = Fetcher::new(None).bounded(Duration::from_secs(5), 1000);
        let (endpoint, _read) = server(endless(100_000)).await;
        let answer = fetcher.send(&endpoint, ask(&endpoint)).await;
        assert!(
            matches!(answer, Err(FetchError::TooLarge(1000))),
            "{answer:?}"
        );
        let (endpoint, _read) = server(endless(100_000)).await;
        assert_eq!(fetcher.tell(&endpoint, ask(&endpoint)).await.unwrap(), 200);
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_takes_no_longer_than_the_bound() {
        let (endpoint, _read) = server(Vec::new()).await;
        let fetcher = Fetcher::new(None).bounded(Duration::from_millis(50), 1000);
        let answer = fetcher.send(&endpoint, ask(&endpoint)).await;
        assert!(matches!(answer, Err(FetchError::Timeout(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn authorities_that_cannot_be_read_are_noticed_before_a_request() {
        let fetcher = Fetcher::new(Some("/nonexistent/ca.pem".into()));
        assert!(matches!(
            fetcher.check().await,
            Err(FetchError::File { .. })
        ));
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("ca.pem");
        std::fs::write(&empty, "").unwrap();
        let fetcher = Fetcher::new(Some(empty));
        assert!(matches!(fetcher.check().await, Err(FetchError::Roots(_))));
    }
}
