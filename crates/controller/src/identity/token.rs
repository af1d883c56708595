//! A service-account token, checked against the cluster's keys.
//!
//! Pure but for the clock of `jsonwebtoken`. Invariant: the key's own type limits the algorithms,
//! so no token chooses how it is verified.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// Longer tokens are refused unread.
const MAX_TOKEN: usize = 16 << 10;
/// Seconds by which clocks may differ.
const LEEWAY: u64 = 10;

/// Whom a token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) namespace: String,
    pub(crate) service_account: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
}

/// Why a token is not believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token is not a signed token")]
    Malformed,
    #[error("no key of the cluster signed the token")]
    UnknownKey,
    #[error("the token is not valid here: {0}")]
    Invalid(String),
    #[error("the token is not bound to a pod")]
    NoPod,
    #[error("the token contradicts itself")]
    Contradiction,
}

#[derive(Deserialize)]
struct Wire {
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Named,
    pod: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    uid: String,
}

/// The key that a token says it was signed with.
pub(crate) fn key_id(token: &str) -> Result<Option<String>, TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::Malformed);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
    Ok(header.kid)
}

/// Verifies a token: signature, issuer, audience, time, and that it names one pod.
pub(crate) fn verify(
    token: &str,
    keys: &JwkSet,
    issuer: &str,
    audience: &str,
) -> Result<Claims, TokenError> {
    let key = match key_id(token)? {
        Some(id) => keys.find(&id),
        // Without a name only a single key can be meant.
        None => match keys.keys.as_slice() {
            [only] => Some(only),
            _ => None,
        },
    };
    let key = key.ok_or(TokenError::UnknownKey)?;
    let algorithm = algorithm_of(key).ok_or(TokenError::UnknownKey)?;
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY;
    validation.validate_nbf = true;
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let decoding = DecodingKey::from_jwk(key).map_err(|_| TokenError::UnknownKey)?;
    let wire = jsonwebtoken::decode::<Wire>(token, &decoding, &validation)
        .map_err(|error| TokenError::Invalid(error.to_string()))?
        .claims;
    let kubernetes = wire.kubernetes.ok_or(TokenError::NoPod)?;
    let pod = kubernetes.pod.ok_or(TokenError::NoPod)?;
    let account = kubernetes.serviceaccount;
    let subject = format!(
        "system:serviceaccount:{}:{}",
        kubernetes.namespace, account.name
    );
    if wire.sub != subject || pod.uid.is_empty() || account.uid.is_empty() {
        return Err(TokenError::Contradiction);
    }
    Ok(Claims {
        namespace: kubernetes.namespace,
        service_account: account.name,
        pod: pod.name,
        uid: pod.uid,
    })
}

fn algorithm_of(key: &Jwk) -> Option<Algorithm> {
    match &key.algorithm {
        AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => Some(Algorithm::ES256),
            EllipticCurve::P384 => Some(Algorithm::ES384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(pair) => match pair.curve {
            EllipticCurve::Ed25519 => Some(Algorithm::EdDSA),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
