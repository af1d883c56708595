//! The certificate that proves who this process is, and the key behind it.
//!
//! Invariants: the key is made once and stays in its file, mode 0600, so that a restarted process is
//! the same one; the certificate is swapped whole, and whoever dials next uses the new one; an
//! expired certificate proves nothing.
//! Refuses: a key that others can read; a certificate for another key; a trust domain that was not
//! asked for.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Attested, ControlError, Enrolment};

/// The protocol that client and server agree on.
const ALPN: &[u8] = b"h2";

/// A P-256 key in a file.
pub struct Key {
    pair: KeyPair,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl Key {
    /// The key in `path`, made when there is none.
    ///
    /// # Errors
    /// [`ControlError::File`], also when others can read it.
    pub fn load_or_create(path: &Path) -> Result<Self, ControlError> {
        let failed = |source| ControlError::File {
            path: path.to_owned(),
            source,
        };
        match fs::read_to_string(path) {
            Ok(pem) => {
                let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(failed(io::Error::other("the key is accessible to others")));
                }
                let pair = KeyPair::from_pem(&pem)
                    .map_err(|error| ControlError::configuration("the identity's key")(&error))?;
                Ok(Self { pair })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate()?;
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(failed)?;
                file.write_all(key.pair.serialize_pem().as_bytes())
                    .map_err(failed)?;
                file.sync_all().map_err(failed)?;
                Ok(key)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// A key in memory.
    ///
    /// # Errors
    /// When the library cannot make one.
    pub fn generate() -> Result<Self, ControlError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|error| ControlError::configuration("the identity's key")(&error))?;
        Ok(Self { pair })
    }

    /// A certificate signing request in PEM, with an empty subject: the controller fills it in.
    ///
    /// # Errors
    /// When the library cannot sign.
    pub fn signing_request(&self) -> Result<String, ControlError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .serialize_request(&self.pair)
            .and_then(|request| request.pem())
            .map_err(|error| ControlError::configuration("the signing request")(&error))
    }

    /// This key with a certificate of its own making in `path`, made when there is none: for an engine
    /// that no controller attests. The certificate names it and never expires.
    ///
    /// # Errors
    /// When the file cannot be used, or its certificate is of another key.
    pub fn self_signed(self, path: &Path, name: &str) -> Result<SelfSigned, ControlError> {
        const WHAT: &str = "the signing certificate";
        let failed = |source| ControlError::File {
            path: path.to_owned(),
            source,
        };
        let pem = match fs::read_to_string(path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut params = CertificateParams::default();
                params.distinguished_name = rcgen::DistinguishedName::new();
                params
                    .distinguished_name
                    .push(rcgen::DnType::CommonName, name);
                let made = params.self_signed(&self.pair);
                let pem = made
                    .map_err(|error| ControlError::configuration(WHAT)(&error))?
                    .pem();
                fs::write(path, &pem).map_err(failed)?;
                pem
            }
            Err(error) => return Err(failed(error)),
        };
        let certificate = certificates(WHAT, &pem)?.swap_remove(0);
        let signer = provider()
            .key_provider
            .load_private_key(self.private())
            .map_err(|error| ControlError::configuration(WHAT)(&error))?;
        let certified = CertifiedKey::new(vec![certificate.clone()], signer);
        certified
            .keys_match()
            .map_err(|error| ControlError::configuration(WHAT)(&error))?;
        Ok(SelfSigned {
            certified,
            certificate,
        })
    }

    fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pair.serialize_der()))
    }
}

/// A key with a certificate of its own making.
#[derive(Debug)]
pub struct SelfSigned {
    certified: CertifiedKey,
    certificate: CertificateDer<'static>,
}

impl SelfSigned {
    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signs as [`crate::ingest::SCHEME`] says.
    ///
    /// # Errors
    /// When the library cannot.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ControlError> {
        let wrong = |reason: String| ControlError::Configuration {
            what: "the signing key",
            reason,
        };
        let signer = self.certified.key.choose_scheme(&[crate::ingest::SCHEME]);
        let signer = signer.ok_or_else(|| wrong("it is of another kind".to_owned()))?;
        let signed = signer.sign(message);
        signed.map_err(|error| wrong(error.to_string()))
    }
}

/// A granted identity; its certificate is swapped when it is renewed.
pub struct Identity {
    current: RwLock<Arc<Current>>,
    renewed: watch::Sender<u64>,
}

struct Current {
    attested: Arc<Attested>,
    certified: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    config: Arc<ClientConfig>,
    life: Duration,
    expires: Instant,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.current().attested.name)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// An identity as it was granted at `asked`, when the request for it was sent.
    ///
    /// # Errors
    /// [`ControlError::Configuration`] when certificate, roots and key do not belong together.
    pub fn new(key: &Key, enrolment: &Enrolment, asked: Instant) -> Result<Self, ControlError> {
        Ok(Self {
            current: RwLock::new(Arc::new(Current::new(key, enrolment, asked)?)),
            renewed: watch::Sender::new(0),
        })
    }

    /// Takes over a renewed certificate.
    ///
    /// # Errors
    /// As [`Identity::new`]; the old certificate stays.
    pub fn renew(
        &self,
        key: &Key,
        enrolment: &Enrolment,
        asked: Instant,
    ) -> Result<(), ControlError> {
        let next = Arc::new(Current::new(key, enrolment, asked)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        self.renewed.send_modify(|generation| *generation += 1);
        Ok(())
    }

    /// For the next connection to controller or collector: this identity's certificate, their roots,
    /// HTTP/2.
    #[must_use]
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current().config)
    }

    /// The certificate with its key, for a server that serves with it.
    #[must_use]
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current().certified)
    }

    /// Whose certificates controller, collector and pods bear: two roots while they rotate.
    #[must_use]
    pub fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.current().roots)
    }

    /// Who was attested; nobody once the certificate has expired.
    #[must_use]
    pub fn attested(&self) -> Option<Arc<Attested>> {
        let current = self.current();
        (Instant::now() < current.expires).then(|| Arc::clone(&current.attested))
    }

    /// When the certificate expires.
    #[must_use]
    pub fn expires(&self) -> Instant {
        self.current().expires
    }

    /// When to renew: a third of its life is left.
    #[must_use]
    pub fn renew_at(&self) -> Instant {
        let current = self.current();
        current.expires - current.life / 3
    }

    /// Counts renewals; changes with each.
    #[must_use]
    pub fn renewals(&self) -> watch::Receiver<u64> {
        self.renewed.subscribe()
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Current {
    fn new(key: &Key, enrolment: &Enrolment, asked: Instant) -> Result<Self, ControlError> {
        let wrong = ControlError::configuration("the granted certificate");
        let chain = certificates("the granted certificate", &enrolment.certificate)?;
        let signer = provider()
            .key_provider
            .load_private_key(key.private())
            .map_err(|error| ControlError::configuration("the identity's key")(&error))?;
        let certified = CertifiedKey::new(chain, signer);
        certified.keys_match().map_err(|error| wrong(&error))?;
        let certified = Arc::new(certified);
        let resolver = SingleCertAndKey::from(Arc::clone(&certified));
        let roots = roots(&enrolment.roots)?;
        let verifying = verifying(Arc::clone(&roots))?;
        let mut config = verifying.with_client_cert_resolver(Arc::new(resolver));
        finish(&mut config);
        let life = Duration::from_secs(enrolment.expires_in_seconds);
        Ok(Self {
            attested: Arc::new(enrolment.identity.clone()),
            certified,
            roots,
            config: Arc::new(config),
            life,
            expires: asked + life,
        })
    }
}

/// A client that has no certificate yet: for enrolment.
pub(crate) fn anonymous(pem: &str) -> Result<Arc<ClientConfig>, ControlError> {
    let mut config = verifying(roots(pem)?)?.with_no_client_auth();
    finish(&mut config);
    Ok(Arc::new(config))
}

type Verifying = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn roots(pem: &str) -> Result<Arc<RootCertStore>, ControlError> {
    const WHAT: &str = "the controller's roots";
    let mut store = RootCertStore::empty();
    for root in certificates(WHAT, pem)? {
        store
            .add(root)
            .map_err(|error| ControlError::configuration(WHAT)(&error))?;
    }
    Ok(Arc::new(store))
}

fn verifying(roots: Arc<RootCertStore>) -> Result<Verifying, ControlError> {
    let versions = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| ControlError::configuration("TLS")(&error))?;
    Ok(versions.with_root_certificates(roots))
}

fn finish(config: &mut ClientConfig) {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
}

fn certificates(
    what: &'static str,
    pem: &str,
) -> Result<Vec<CertificateDer<'static>>, ControlError> {
    let wrong = |reason: String| ControlError::Configuration { what, reason };
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let parsed = parsed.map_err(|error| wrong(error.to_string()))?;
    if parsed.is_empty() {
        return Err(wrong("no certificate in it".to_owned()));
    }
    Ok(parsed)
}

/// The one cryptography provider of this process.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .clone()
}
