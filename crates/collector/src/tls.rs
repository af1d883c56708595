//! What the collector proves itself with, and the TLS settings that follow it.
//!
//! Invariants
//! - TLS 1.3 only, and nothing is resumed: every connection is verified against today's roots.
//! - Settings are made anew when the certificate, the roots or the cluster's client CA change.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::sync::watch;

use crate::peer::Pod;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate, key or root is not usable.
    #[error("a certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    /// There is no root to verify clients with.
    #[error("clients cannot be verified: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// What should be certificates in PEM is not.
    #[error("not certificates in PEM: {0}")]
    Pem(String),
}

/// The collector's certificate with its key, and Weir's own roots.
pub struct Credentials {
    certified: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    certificates: Vec<CertificateDer<'static>>,
    /// The namespace that the certificate names: Weir's own.
    namespace: Option<Arc<str>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// The credentials of the moment; `None` before the first enrolment. A renewal is a new `Arc`.
pub type Current = watch::Receiver<Option<Arc<Credentials>>>;

impl Credentials {
    /// From a certificate with its key, and the roots in PEM.
    ///
    /// # Errors
    /// When the roots are not certificates.
    pub fn new(certified: Arc<CertifiedKey>, roots: &[u8]) -> Result<Self, TlsError> {
        let certificates = certificates_from(roots)?;
        let roots = Arc::new(store_of(&certificates)?);
        let own = certified.cert.first();
        let own = own.and_then(|leaf| Pod::of_any_domain(leaf).ok());
        Ok(Self {
            certified,
            roots,
            certificates,
            namespace: own.map(|pod| pod.namespace),
        })
    }

    /// The namespace that the collector runs in, as its own certificate says: the controller's, too.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Weir's own roots: two while they rotate.
    pub(crate) fn roots(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Settings of a server that demands a certificate of Weir's own.
    pub(crate) fn for_sidecars(&self) -> Result<ServerConfig, TlsError> {
        let roots = Arc::clone(&self.roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
        self.server(verifier, &[b"h2"])
    }

    /// Settings of a server whose clients may show a certificate of the cluster's.
    pub(crate) fn for_auditors(
        &self,
        cluster: Option<Arc<RootCertStore>>,
    ) -> Result<ServerConfig, TlsError> {
        let verifier = match cluster {
            Some(roots) => WebPkiClientVerifier::builder_with_provider(roots, provider())
                .allow_unauthenticated()
                .build()?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        self.server(verifier, &[b"h2", b"http/1.1"])
    }

    fn server(
        &self,
        verifier: Arc<dyn ClientCertVerifier>,
        protocols: &[&[u8]],
    ) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(
                &self.certified,
            ))));
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// Settings that are made once for each version of what they come from.
pub(crate) struct Following<T> {
    made: Mutex<Option<Made<T>>>,
}

struct Made<T> {
    from: (Arc<Credentials>, T),
    config: Arc<ServerConfig>,
}

impl<T: PartialEq + Clone> Following<T> {
    pub(crate) fn new() -> Self {
        Self {
            made: Mutex::new(None),
        }
    }

    /// The settings for the credentials of the moment and for `other`. `None` if there are no
    /// credentials, or, with a line in the log, if no settings can be made of them.
    pub(crate) fn get(
        &self,
        current: &Current,
        other: &T,
        make: impl FnOnce(&Credentials) -> Result<ServerConfig, TlsError>,
    ) -> Option<Arc<ServerConfig>> {
        let credentials = current.borrow().clone()?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made
            && Arc::ptr_eq(&made.from.0, &credentials)
            && made.from.1 == *other
        {
            return Some(Arc::clone(&made.config));
        }
        match make(&credentials) {
            Ok(config) => {
                let config = Arc::new(config);
                *made = Some(Made {
                    from: (credentials, other.clone()),
                    config: Arc::clone(&config),
                });
                Some(config)
            }
            Err(error) => {
                tracing::error!(%error, "connections are refused");
                None
            }
        }
    }
}

/// Roots from PEM; at least one.
pub(crate) fn roots_from(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    store_of(&certificates_from(pem)?)
}

fn certificates_from(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Pem(error.to_string()))?;
    if certificates.is_empty() {
        return Err(TlsError::Pem("none is in it".to_owned()));
    }
    Ok(certificates)
}

fn store_of(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone())?;
    }
    Ok(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
