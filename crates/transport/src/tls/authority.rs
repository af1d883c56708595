//! The instance's certificate authority, and the leaves it mints.
//!
//! Invariants: the key file has mode 0600 and is written before its
//! certificate; a reloaded authority signs with the same key (clients read
//! roots once); the cache of leaves is bounded and forgets the oldest; a leaf
//! is minted anew well before it expires.
//! Refuses: a key that others can read.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::ServerConfig;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::noticed::Noticed;
use super::{TlsError, end_point_hash, provider};

const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca.key";
const LEAF_CACHE: usize = 256;
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const LEAF_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// A cached leaf is used for this long, then minted anew.
const LEAF_USE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Clocks of clients may be behind.
const BACKDATE: Duration = Duration::from_secs(24 * 3600);

/// The names a leaf must carry: DNS names and the dialled address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct LeafNames {
    dns: Vec<String>,
    ip: Option<IpAddr>,
}

/// An ALPN list, and whether clients are asked for a certificate.
type Asked = (Vec<Vec<u8>>, bool);

/// A minted certificate with its key.
#[derive(Debug)]
pub struct Leaf {
    key: Arc<CertifiedKey>,
    end_point: Vec<u8>,
    minted: Instant,
    configs: Mutex<HashMap<Asked, Arc<ServerConfig>>>,
}

/// A certificate authority that lives as long as its files.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    leaves: HashMap<LeafNames, Arc<Leaf>>,
    order: VecDeque<LeafNames>,
}

impl LeafNames {
    /// DNS names (those that are not valid are left out) and an address.
    pub fn new<'a>(dns: impl IntoIterator<Item = &'a str>, ip: Option<IpAddr>) -> Self {
        let mut names = Self {
            dns: Vec::new(),
            ip,
        };
        for name in dns {
            names.add(name);
        }
        names.dns.sort();
        names
    }

    /// The same names and one more, as asked for by SNI.
    #[must_use]
    pub fn with(&self, name: &str) -> Self {
        let mut names = self.clone();
        names.add(name);
        names.dns.sort();
        names
    }

    fn add(&mut self, name: &str) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let valid = rustls_pki_types::DnsName::try_from(name.as_str()).is_ok();
        if valid && !self.dns.contains(&name) {
            self.dns.push(name);
        }
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority in memory.
    ///
    /// # Errors
    /// When the library cannot make a key.
    pub fn create(common_name: &str) -> Result<Self, TlsError> {
        Ok(Self::generate(common_name)?.0)
    }

    /// The authority in `dir` (`ca.pem`, `ca.key`), made when there is none.
    ///
    /// # Errors
    /// [`TlsError::File`], also when the key is readable by others.
    pub fn load_or_create(dir: &Path, common_name: &str) -> Result<Self, TlsError> {
        let (certificate, key) = (dir.join(CERTIFICATE_FILE), dir.join(KEY_FILE));
        match (fs::read_to_string(&key), fs::read_to_string(&certificate)) {
            (Ok(key_pem), Ok(pem)) => {
                let mode = fs::metadata(&key).map_err(file(&key))?.permissions().mode();
                if mode & 0o077 != 0 {
                    let source = io::Error::other("the key is accessible to others");
                    return Err(TlsError::File { path: key, source });
                }
                Self::from_pem(&pem, &key_pem)
            }
            (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                let (authority, key_pem) = Self::generate(common_name)?;
                fs::create_dir_all(dir).map_err(file(dir))?;
                write(&key, &key_pem, 0o600).map_err(file(&key))?;
                write(&certificate, &authority.pem, 0o644).map_err(file(&certificate))?;
                Ok(authority)
            }
            (Err(source), _) => Err(TlsError::File { path: key, source }),
            (_, Err(source)) => Err(TlsError::File {
                path: certificate,
                source,
            }),
        }
    }

    /// An authority from its two PEM texts.
    ///
    /// # Errors
    /// [`TlsError::Mint`] when they do not parse.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, TlsError> {
        use rustls_pki_types::pem::PemObject;
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|e| TlsError::Configuration(format!("authority: {e}")))?;
        let cache = Mutex::default();
        Ok(Self {
            issuer,
            pem: certificate.to_owned(),
            der,
            cache,
        })
    }

    /// The certificate that clients must trust.
    pub fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// The certificate in DER.
    pub fn ca_der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// A leaf for these names, from the cache or minted.
    ///
    /// # Errors
    /// When the library cannot make a key or sign.
    pub fn mint(&self, names: &LeafNames) -> Result<Arc<Leaf>, TlsError> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = cache.leaves.get(names).filter(|leaf| leaf.is_fresh()) {
            return Ok(leaf.clone());
        }
        let leaf = Arc::new(self.make(names)?);
        if cache.leaves.insert(names.clone(), leaf.clone()).is_none() {
            cache.order.push_back(names.clone());
        }
        if cache.order.len() > LEAF_CACHE
            && let Some(oldest) = cache.order.pop_front()
        {
            cache.leaves.remove(&oldest);
        }
        Ok(leaf)
    }

    fn generate(common_name: &str) -> Result<(Self, String), TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        lifetime(&mut params, AUTHORITY_LIFE);
        let certificate = params.self_signed(&key)?;
        let key_pem = key.serialize_pem();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        let issuer = Issuer::new(params, key);
        Ok((
            Self {
                issuer,
                pem,
                der,
                cache: Mutex::default(),
            },
            key_pem,
        ))
    }

    fn make(&self, names: &LeafNames) -> Result<Leaf, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let subject = names
            .dns
            .first()
            .cloned()
            .or_else(|| names.ip.map(|ip| ip.to_string()));
        params.distinguished_name.push(
            DnType::CommonName,
            subject.unwrap_or_else(|| String::from("weir")),
        );
        for name in &names.dns {
            let name = name.as_str().try_into()?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params
            .subject_alt_names
            .extend(names.ip.map(SanType::IpAddress));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        lifetime(&mut params, LEAF_LIFE);
        let der = params.signed_by(&key, &self.issuer)?.der().clone();
        let end_point = end_point_hash(&der)
            .ok_or_else(|| TlsError::Configuration(String::from("leaf has no end point hash")))?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = provider().key_provider.load_private_key(private)?;
        let certified = CertifiedKey::new(vec![der, self.der.clone()], signer);
        Ok(Leaf {
            key: Arc::new(certified),
            end_point,
            minted: Instant::now(),
            configs: Mutex::default(),
        })
    }
}

impl Leaf {
    /// Certificate chain and key, for rustls.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        self.key.clone()
    }

    /// SHA-256 of the certificate: `tls-server-end-point` of RFC 5929.
    pub fn end_point(&self) -> &[u8] {
        &self.end_point
    }

    /// The server configuration for this leaf, made once for each ALPN list, and once more where clients
    /// are asked for a certificate.
    pub(super) fn server_config(
        &self,
        alpn: &[&[u8]],
        asks: bool,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.to_vec()).collect();
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (alpn, asks);
        if let Some(config) = configs.get(&key) {
            return Ok(config.clone());
        }
        let resolver = rustls::sign::SingleCertAndKey::from(self.key.clone());
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        let config = match asks {
            true => config.with_client_cert_verifier(Arc::new(Noticed)),
            false => config.with_no_client_auth(),
        };
        let mut config = config.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols.clone_from(&key.0);
        let config = Arc::new(config);
        configs.insert(key, config.clone());
        Ok(config)
    }

    fn is_fresh(&self) -> bool {
        self.minted.elapsed() < LEAF_USE
    }
}

fn lifetime(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + life).into();
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { path, source }
}
