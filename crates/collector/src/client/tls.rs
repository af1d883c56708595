//! An API behind TLS, over whatever stream the caller can open: a TCP connection, or a tunnel
//! through the Kubernetes API server.
//!
//! It refuses a server that the given roots do not vouch for under the given name; there is no
//! way to switch that off.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use hyper::http::HeaderValue;
use rustls::client::ResolvesClientCert;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ClientError, connect};

/// A byte stream to the collector.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream that is being opened.
pub type Opening = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// What the client proves and what it demands.
pub struct TlsOptions {
    /// What messages call the place, such as `weir-collector.weir-system`.
    pub place: String,
    /// The name that the server's certificate must bear.
    pub server_name: String,
    /// Who may have issued it.
    pub roots: Vec<CertificateDer<'static>>,
    /// A client certificate: a resolver, because that is what a kubeconfig's loader gives.
    pub certificate: Option<Arc<dyn ResolvesClientCert>>,
    /// A bearer token; it counts before the certificate.
    pub bearer: Option<String>,
}

/// [`TlsOptions`], checked, with a way to open streams.
#[derive(Clone)]
pub(super) struct TlsPlace {
    pub(super) place: Arc<str>,
    pub(super) bearer: Option<HeaderValue>,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    open: Arc<dyn Fn() -> Opening + Send + Sync>,
}

impl fmt::Debug for TlsPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsPlace")
            .field("place", &self.place)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl TlsPlace {
    pub(super) fn new(
        options: TlsOptions,
        open: Arc<dyn Fn() -> Opening + Send + Sync>,
    ) -> Result<Self, ClientError> {
        let wrong = |error: &dyn fmt::Display| connect(&options.place, error);
        let name = ServerName::try_from(options.server_name).map_err(|error| wrong(&error))?;
        let mut roots = RootCertStore::empty();
        for root in options.roots {
            roots.add(root).map_err(|error| wrong(&error))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong(&error))?
            .with_root_certificates(roots);
        let mut config = match options.certificate {
            Some(resolver) => config.with_client_cert_resolver(resolver),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let bearer = match options.bearer {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                    .map_err(|_| wrong(&"the bearer token is not one"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self {
            place: options.place.into(),
            bearer,
            name,
            config: Arc::new(config),
            open,
        })
    }

    pub(super) async fn connect(&self) -> io::Result<TlsStream<Box<dyn Stream>>> {
        let stream = (self.open)().await?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.name.clone(), stream).await
    }

    /// What the `Host` header says.
    pub(super) fn host(&self) -> String {
        self.name.to_str().into_owned()
    }
}
