//! Whether an ID token proves who somebody is.

use std::sync::Arc;
use std::time::SystemTime;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::{Map, Value};
use weir_fetch::Fetcher;

use crate::claims::{self, Claims};
use crate::config::{Checked, ConfigError, OidcConfig};
use crate::discovery::{self, Provider};
use crate::keys::{Ask, Keys, Known};

/// A token with every group of a large company is a quarter of this.
const MAX_TOKEN: usize = 64 << 10;

/// Why a token proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no ID token.
    #[error("it is not an ID token")]
    Form,
    /// It is a token of another kind, by its `typ` or `crit`.
    #[error("it is a token of another kind")]
    Kind,
    /// The algorithm is not one of those that are believed.
    #[error("its algorithm is not allowed")]
    Algorithm,
    /// No key of the issuer has that name.
    #[error("its key is not one of the issuer's")]
    Key,
    /// It is not what the issuer signed.
    #[error("its signature does not hold")]
    Signature,
    /// Somebody else issued it.
    #[error("it is from another issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("it is for another client")]
    Audience,
    /// It was given to somebody else.
    #[error("it was issued to another client")]
    Party,
    /// It has expired.
    #[error("it has expired")]
    Expired,
    /// It is from the future.
    #[error("it does not count yet")]
    Early,
    /// It belongs to another login.
    #[error("it belongs to another login")]
    Nonce,
    /// There is no usable user name in it.
    #[error("the claim that names the user is missing or is no name")]
    Username,
    /// The address may be somebody else's.
    #[error("the e-mail address is not verified")]
    Unverified,
    /// The groups are no list of names.
    #[error("the claim with the groups is no list of names")]
    Groups,
    /// The name is one that Kubernetes keeps for itself.
    #[error("the user name begins with system:, which no provider may give")]
    Reserved,
}

/// Why nothing is known of a token's bearer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The token proves nothing.
    #[error("the ID token is refused: {0}")]
    Refused(#[from] Refusal),
    /// The provider's keys are not known, so nothing can be told.
    #[error("the identity provider cannot be asked: {0}")]
    Unavailable(String),
}

/// Judges the ID tokens of one provider for one client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verifier {
    config: Arc<Checked>,
    keys: Arc<Keys<Discovery>>,
}

impl Verifier {
    /// Nothing is asked before the first token.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn new(config: &OidcConfig) -> Result<Self, ConfigError> {
        let fetcher = Fetcher::new(config.ca_file.clone());
        let config = Arc::new(Checked::try_from(config)?);
        let discovery = Discovery {
            config: Arc::clone(&config),
            fetcher,
        };
        Ok(Self {
            config,
            keys: Arc::new(Keys::new(discovery)),
        })
    }

    /// Who the bearer of a token is.
    ///
    /// # Errors
    /// When it proves nothing, or when the provider's keys are not known.
    pub async fn verify(&self, id_token: &str) -> Result<Claims, VerifyError> {
        self.check(id_token, None).await
    }

    /// Who logged in, if the token is the answer to the login with this nonce.
    pub(crate) async fn check(
        &self,
        id_token: &str,
        nonce: Option<&str>,
    ) -> Result<Claims, VerifyError> {
        let sealed = Sealed::read(&self.config, id_token)?;
        let mut known = self.known().await?;
        if sealed.keys(&known).next().is_none()
            && let Some(newer) = self.keys.newer(&known).await
        {
            known = newer;
        }
        let signed = sealed.open(sealed.keys(&known))?;
        Ok(claims::check(
            &self.config,
            signed,
            nonce,
            SystemTime::now(),
        )?)
    }

    pub(crate) async fn known(&self) -> Result<Arc<Known>, VerifyError> {
        self.keys.current().await.map_err(VerifyError::Unavailable)
    }

    pub(crate) fn config(&self) -> &Checked {
        &self.config
    }

    pub(crate) fn fetcher(&self) -> &Fetcher {
        &self.keys.asks().fetcher
    }
}

/// The provider, by its documents.
#[derive(Debug)]
pub(crate) struct Discovery {
    config: Arc<Checked>,
    fetcher: Fetcher,
}

impl Ask for Discovery {
    async fn ask(&self) -> Result<(Provider, Vec<Jwk>), String> {
        discovery::discover(&self.fetcher, &self.config).await
    }
}

/// A token of which nothing is believed but what it says of its signature.
struct Sealed<'a> {
    token: &'a str,
    header: Header,
}

impl<'a> Sealed<'a> {
    fn read(config: &Checked, token: &'a str) -> Result<Self, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::Form);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Form)?;
        let typ = header.typ.as_deref();
        if !typ.is_none_or(|typ| typ.eq_ignore_ascii_case("jwt")) || header.crit.is_some() {
            return Err(Refusal::Kind);
        }
        if !config.algorithms.contains(&header.alg) {
            return Err(Refusal::Algorithm);
        }
        Ok(Self { token, header })
    }

    /// The keys that may have made it: of its name and for its algorithm.
    fn keys<'k>(&self, known: &'k Known) -> impl Iterator<Item = &'k Jwk> {
        let (name, algorithm) = (self.header.kid.clone(), self.header.alg);
        known.keys.iter().filter(move |key| {
            let named = key.common.key_id.as_ref().zip(name.as_ref());
            named.is_none_or(|(have, wanted)| have == wanted) && serves(key, algorithm)
        })
    }

    /// What it says, if one of the keys has signed it.
    fn open<'k>(&self, keys: impl Iterator<Item = &'k Jwk>) -> Result<Map<String, Value>, Refusal> {
        // The signature only: claims are checked as one, by `claims`.
        let mut validation = Validation::new(self.header.alg);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let mut refusal = Refusal::Key;
        for key in keys {
            refusal = Refusal::Signature;
            let Ok(key) = DecodingKey::from_jwk(key) else {
                continue;
            };
            match jsonwebtoken::decode::<Map<String, Value>>(self.token, &key, &validation) {
                Ok(token) => return Ok(token.claims),
                Err(error) if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::Json(_)) => {
                    refusal = Refusal::Form;
                }
                Err(_) => {}
            }
        }
        Err(refusal)
    }
}

/// Whether a key is one for this algorithm, and says nothing else.
fn serves(key: &Jwk, algorithm: Algorithm) -> bool {
    let stated = key.common.key_algorithm.as_ref();
    if stated.is_some_and(|stated| stated.to_string().parse() != Ok(algorithm)) {
        return false;
    }
    match &key.algorithm {
        AlgorithmParameters::RSA(_) => matches!(
            algorithm,
            Algorithm::RS256
                | Algorithm::RS384
                | Algorithm::RS512
                | Algorithm::PS256
                | Algorithm::PS384
                | Algorithm::PS512
        ),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => algorithm == Algorithm::ES256,
            EllipticCurve::P384 => algorithm == Algorithm::ES384,
            _ => false,
        },
        AlgorithmParameters::OctetKeyPair(key) => {
            key.curve == EllipticCurve::Ed25519 && algorithm == Algorithm::EdDSA
        }
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests;
