//! The token that a pod's programs see in place of their service account's.
//!
//! It is a well-formed JWT with the claims of the real one and an `exp` that moves, so that clients which
//! read their token find what they look for. Its signature is Weir's (HS256 over a key that lives as long
//! as the pod), so no API server takes it: it is worth something on this pod's own connections only,
//! where the engine puts the real token in its place. Nothing is kept: a placeholder is known by its
//! signature.
//!
//! Says nothing about tokens of others: whatever this key did not sign is foreign.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The one header, as it is written: what differs from it is not Weir's.
const HEADER: &str = r#"{"alg":"HS256","kid":"weir-placeholder","typ":"JWT"}"#;
/// Longest token that is looked at, in bytes. Service account tokens have about a thousand.
const MAX_TOKEN: usize = 8 << 10;
/// How long after its `exp` a placeholder is still taken, in seconds, as API servers do.
const LEEWAY: u64 = 60;
/// How long a placeholder is good at least, in seconds: longer than clients keep a token in memory.
const SHORTEST: u64 = 600;

/// Whom a placeholder names, as the token does that it stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaceholderClaims {
    /// `iss`: the cluster's issuer.
    pub issuer: String,
    /// `sub`: `system:serviceaccount:NAMESPACE:NAME`.
    pub subject: String,
    /// `aud`: the API server's audiences.
    pub audiences: Vec<String>,
    /// The pod's namespace.
    pub namespace: String,
    /// The service account's name.
    pub service_account: String,
    /// The service account's UID; empty where it is not known.
    pub service_account_uid: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub pod_uid: String,
}

impl PlaceholderClaims {
    /// The claims of a service account token, as far as it has them. Nothing is verified: they are only
    /// shown again to those who would have seen the token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let payload = token.split('.').nth(1);
        let claims = payload.and_then(decode).unwrap_or_default();
        let text = |pointer: &str| {
            let found = claims.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let audiences = match claims.get("aud") {
            Some(Value::Array(list)) => list
                .iter()
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect(),
            Some(Value::String(one)) => vec![one.clone()],
            _ => Vec::new(),
        };
        Self {
            issuer: text("/iss"),
            subject: text("/sub"),
            audiences,
            namespace: text("/kubernetes.io/namespace"),
            service_account: text("/kubernetes.io/serviceaccount/name"),
            service_account_uid: text("/kubernetes.io/serviceaccount/uid"),
            pod: text("/kubernetes.io/pod/name"),
            pod_uid: text("/kubernetes.io/pod/uid"),
        }
    }

    fn payload(&self, now: u64, lifetime: u64) -> Value {
        json!({
            "aud": self.audiences,
            "exp": now.saturating_add(lifetime),
            "iat": now,
            "iss": self.issuer,
            "kubernetes.io": {
                "namespace": self.namespace,
                "pod": {"name": self.pod, "uid": self.pod_uid},
                "serviceaccount": {"name": self.service_account, "uid": self.service_account_uid},
            },
            "nbf": now,
            "sub": self.subject,
        })
    }
}

/// Makes placeholders, and knows those that it made.
pub struct Placeholders {
    key: hmac::Key,
}

/// Never shows the key.
impl fmt::Debug for Placeholders {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Placeholders")
            .finish_non_exhaustive()
    }
}

impl Placeholders {
    /// Length of the key, in bytes.
    pub const KEY: usize = 32;

    /// With a key that nobody else has. Programs keep their placeholder across a restart of the sidecar,
    /// so the key lives as long as the pod.
    #[must_use]
    pub fn new(key: &[u8; Self::KEY]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// A placeholder that is good from `now`, in seconds since 1970, for `lifetime` seconds.
    #[must_use]
    pub fn mint(&self, who: &PlaceholderClaims, now: u64, lifetime: u64) -> String {
        let mut token = URL_SAFE_NO_PAD.encode(HEADER);
        token.push('.');
        let payload = who.payload(now, lifetime).to_string();
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = hmac::sign(&self.key, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// A placeholder for a service account token, good from `now`, in seconds since 1970: it names whom the
    /// token names, and lives as long.
    #[must_use]
    pub fn stand_in(&self, token: &str, now: u64) -> String {
        let payload = token.split('.').nth(1).and_then(decode);
        let expiry = payload.and_then(|claims| claims.get("exp")?.as_u64());
        let left = expiry.unwrap_or_default().saturating_sub(now);
        self.mint(&PlaceholderClaims::of(token), now, left.max(SHORTEST))
    }

    /// Whether this key made the token and it is good at `now`, in seconds since 1970, with a minute of
    /// leeway. The time that the answer takes does not depend on what the signature should have been.
    #[must_use]
    pub fn is_ours(&self, token: &str, now: u64) -> bool {
        self.expiry(token)
            .is_some_and(|expiry| now <= expiry.saturating_add(LEEWAY))
    }

    /// The `exp` of a token that this key made.
    fn expiry(&self, token: &str) -> Option<u64> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).ok()?;
        if URL_SAFE_NO_PAD.decode(header).ok()? != HEADER.as_bytes() {
            return None;
        }
        decode(payload)?.get("exp")?.as_u64()
    }
}

fn decode(part: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests;
