//! On whose behalf this engine works.
//!
//! Either a name from the configuration, or a token in a file, verified against the issuer's keys
//! (a JWKS file, or OpenID Connect discovery). The file is read again when it changes.
//!
//! Invariants
//! - Expired, not yet valid, of another issuer or audience, signed with an unknown key or with an
//!   algorithm other than RS256, ES256 or EdDSA: an error, and the engine refuses connections.
//! - A token that was good does not outlive its expiry, nor its replacement in the file: a bad
//!   file is an error even while the token before it would still be valid.
//! - The key's own type limits the algorithms, so no token chooses how it is verified.

mod discovery;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use tokio::sync::Notify;
use weir_audit::{Identity, Names};

const LEEWAY: u64 = 5;
const MAX_FILE: u64 = 1 << 20;
const KEYS_AGE: Duration = Duration::from_secs(300);
const KEYS_RETRY: Duration = Duration::from_secs(10);

/// Where the identity comes from.
#[derive(Clone, Debug)]
pub enum IdentityConfig {
    /// A name, trusted because the configuration is.
    Configured(Arc<Identity>),
    /// A token file.
    Token(TokenConfig),
}

/// How a token file is verified.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// The file.
    pub path: PathBuf,
    /// The only issuer that counts.
    pub issuer: String,
    /// The audience that the token must be for.
    pub audience: String,
    /// The issuer's keys.
    pub keys: KeySource,
}

/// Where the issuer's keys are.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A JWKS file.
    File(PathBuf),
    /// OpenID Connect discovery below the issuer's URL: https, or http on loopback.
    Discovery {
        /// Roots to trust; the system's bundle when absent.
        ca_file: Option<PathBuf>,
    },
}

/// Why there is no identity. Connections are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: Arc<str>,
    },
    /// The token is not valid.
    #[error("the identity token is not valid: {0}")]
    Invalid(Arc<str>),
    /// No key of the issuer fits the token.
    #[error("the issuer's keys do not have the key that signed the identity token")]
    UnknownKey,
    /// The issuer's keys cannot be had.
    #[error("the issuer's keys cannot be had: {0}")]
    Keys(Arc<str>),
}

/// Answers who this engine works for, at each connection.
pub struct IdentitySource {
    config: IdentityConfig,
    state: Mutex<State>,
    want_keys: Notify,
}

#[derive(Default)]
struct State {
    keys: Option<Arc<JwkSet>>,
    keys_error: Option<Arc<str>>,
    keys_stamp: Option<Stamp>,
    token_stamp: Option<Stamp>,
    verified: Option<(Arc<Identity>, u64)>,
}

/// Tells one version of a file from the next.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

#[derive(Deserialize)]
struct Claims {
    exp: u64,
    sub: String,
    iss: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: Option<bool>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default, rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: Option<Arc<str>>,
    serviceaccount: Option<Named>,
    pod: Option<Named>,
    node: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: Arc<str>,
    uid: Option<Arc<str>>,
}

impl IdentitySource {
    /// A source; reads nothing yet.
    #[must_use]
    pub fn new(config: IdentityConfig) -> Self {
        Self {
            config,
            state: Mutex::default(),
            want_keys: Notify::new(),
        }
    }

    /// The identity now. Cheap while the file does not change: one `stat`.
    ///
    /// # Errors
    /// When there is none; the connection must be refused.
    pub fn current(&self) -> Result<Arc<Identity>, IdentityError> {
        let token = match &self.config {
            IdentityConfig::Configured(identity) => return Ok(Arc::clone(identity)),
            IdentityConfig::Token(token) => token,
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(u64::MAX, |d| d.as_secs());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&token.path)?;
        if state.token_stamp != Some(stamp) {
            state.verified = None;
        }
        if let KeySource::File(path) = &token.keys
            && state.keys_stamp != Some(Stamp::of(path)?)
        {
            state.verified = None;
        }
        if let Some((identity, expires)) = &state.verified
            && now <= expires.saturating_add(LEEWAY)
        {
            return Ok(Arc::clone(identity));
        }
        state.verified = None;
        let keys = self.keys(token, &mut state)?;
        let (identity, expires) = verify(token, &keys).inspect_err(|error| {
            if *error == IdentityError::UnknownKey {
                self.want_keys.notify_one();
            }
        })?;
        let identity = Arc::new(identity);
        state.token_stamp = Some(stamp);
        state.verified = Some((Arc::clone(&identity), expires));
        Ok(identity)
    }

    /// Fetches the issuer's keys, where they come by discovery.
    ///
    /// # Errors
    /// When they cannot be had; the ones that were had before stay in use.
    pub async fn refresh_keys(&self) -> Result<(), IdentityError> {
        let IdentityConfig::Token(token) = &self.config else {
            return Ok(());
        };
        let KeySource::Discovery { ca_file } = &token.keys else {
            return Ok(());
        };
        let fetched = discovery::fetch_keys(&token.issuer, ca_file.as_deref()).await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(keys) => {
                state.keys = Some(Arc::new(keys));
                state.keys_error = None;
                state.verified = None;
                Ok(())
            }
            Err(reason) => {
                let reason: Arc<str> = reason.into();
                state.keys_error = Some(Arc::clone(&reason));
                Err(IdentityError::Keys(reason))
            }
        }
    }

    /// Keeps the issuer's keys fresh; never ends. Needed for discovery only.
    pub async fn keep_fresh(&self) {
        loop {
            let pause = match self.refresh_keys().await {
                Ok(()) => KEYS_AGE,
                Err(error) => {
                    tracing::warn!(%error, "identity keys");
                    KEYS_RETRY
                }
            };
            let _ = tokio::time::timeout(pause, self.want_keys.notified()).await;
            // An unknown key asks for new keys at most this often.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn keys(&self, token: &TokenConfig, state: &mut State) -> Result<Arc<JwkSet>, IdentityError> {
        if let KeySource::File(path) = &token.keys {
            let stamp = Stamp::of(path)?;
            if state.keys_stamp != Some(stamp) {
                let text = read(path)?;
                let keys = serde_json::from_str(&text)
                    .map_err(|error| IdentityError::Keys(error.to_string().into()))?;
                state.keys = Some(Arc::new(keys));
                state.keys_stamp = Some(stamp);
            }
        }
        state.keys.clone().ok_or_else(|| {
            self.want_keys.notify_one();
            let why = state.keys_error.clone();
            IdentityError::Keys(why.unwrap_or_else(|| "not fetched yet".into()))
        })
    }
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, IdentityError> {
        use std::os::unix::fs::MetadataExt as _;
        let meta = std::fs::metadata(path).map_err(|error| unread(path, &error))?;
        Ok(Self {
            modified: meta.modified().ok(),
            length: meta.len(),
            inode: meta.ino(),
        })
    }
}

fn unread(path: &Path, error: &std::io::Error) -> IdentityError {
    IdentityError::Read {
        path: path.to_owned(),
        reason: error.to_string().into(),
    }
}

fn read(path: &Path) -> Result<String, IdentityError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
        .map_err(|error| unread(path, &error))?;
    Ok(text)
}

fn verify(config: &TokenConfig, keys: &JwkSet) -> Result<(Identity, u64), IdentityError> {
    let invalid = |error: jsonwebtoken::errors::Error| {
        IdentityError::Invalid(error.to_string().to_ascii_lowercase().into())
    };
    let text = read(&config.path)?;
    let token = text.trim();
    let header = jsonwebtoken::decode_header(token).map_err(invalid)?;
    let mut failure = IdentityError::UnknownKey;
    for jwk in &keys.keys {
        let named = jwk.common.key_id.as_ref().zip(header.kid.as_ref());
        if named.is_some_and(|(have, wanted)| have != wanted) {
            continue;
        }
        let Some(algorithm) = algorithm(jwk).filter(|algorithm| *algorithm == header.alg) else {
            continue;
        };
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_audience(&[&config.audience]);
        validation.set_issuer(&[&config.issuer]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let key = DecodingKey::from_jwk(jwk).map_err(invalid)?;
        match jsonwebtoken::decode::<Claims>(token, &key, &validation) {
            Ok(token) => return Ok(identity(token.claims)),
            Err(error) => failure = invalid(error),
        }
    }
    Err(failure)
}

/// The one algorithm for which this key is used.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Some(Algorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Some(Algorithm::EdDSA)
        }
        _ => None,
    }
}

fn identity(claims: Claims) -> (Identity, u64) {
    let kubernetes = claims.kubernetes;
    let (namespace, account, pod, node) =
        kubernetes.map_or((None, None, None, None), |kubernetes| {
            let name = |named: Option<Named>| named.map(|named| named.name);
            (
                kubernetes.namespace,
                name(kubernetes.serviceaccount),
                kubernetes.pod,
                name(kubernetes.node),
            )
        });
    let (pod, uid) = pod.map_or((None, None), |pod| (Some(pod.name), pod.uid));
    let email = claims
        .email
        .filter(|_| claims.email_verified != Some(false));
    let subject: Arc<str> = claims.sub.into();
    let identity = Identity {
        name: Arc::clone(&subject),
        namespace,
        service_account: account,
        pod,
        uid,
        workload: None,
        node,
        images: Names::default(),
        issuer: Some(claims.iss.into()),
        subject: Some(subject),
        email: email.map(Into::into),
        owner: None,
        groups: claims.groups.into_iter().collect::<Names>(),
    };
    (identity, claims.exp)
}

#[cfg(test)]
mod tests;
