//! Who: the attested identity, the engine that saw it, and the session it is seen in.
//!
//! Invariant: an [`Identity`] comes from configuration or from a verified token, never from what a
//! client claims; the database user is an attribute of the [`Session`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::{Names, ParseError};

/// The attested identity on whose behalf a session runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The name that policies and auditors use.
    pub name: Arc<str>,
    /// Kubernetes namespace, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Kubernetes service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Arc<str>>,
    /// Pod name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Arc<str>>,
    /// UID of the pod: another pod of the same name is another identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Arc<str>>,
    /// What the pod belongs to, such as `Deployment/reporter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Arc<str>>,
    /// The node that the pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// Images of the pod's containers, with digests once they are known.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub images: Names,
    /// The token's issuer, when the identity was proved by a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Arc<str>>,
    /// The token's subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Arc<str>>,
    /// E-mail address, when the token carries a verified one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Arc<str>>,
    /// The person or account that owns the workload; it may not approve the workload's requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Arc<str>>,
    /// Groups, as the issuer states them.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub groups: Names,
}

impl Identity {
    /// An identity that has only a name.
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// The same for sessions: one with very long lists or texts has them cut there; what says whose it is stays.
    #[must_use]
    pub fn for_sessions(self: Arc<Self>) -> Arc<Self> {
        if crate::bounds::identity_fits(&self) {
            return self;
        }
        let mut cut = (*self).clone();
        crate::bounds::cut_identity(&mut cut);
        Arc::new(cut)
    }
}

/// What stays the same over a session's life; shared by all its events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Unique over all engines.
    pub id: SessionId,
    /// Who, attested.
    pub identity: Arc<Identity>,
    /// Name of the Target; absent for connections that match none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Arc<str>>,
    /// `postgresql`, `mysql`, `ssh`, `kubernetes`, `tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Arc<str>>,
    /// Database name as the client asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Arc<str>>,
    /// Database user as the client claims it, or as the broker logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// Where the client connected from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Arc<str>>,
    /// Where the client meant to connect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Arc<str>>,
    /// `application_name` or its like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<Arc<str>>,
}

/// Names a session; shown as 13 characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// The digit that is shown as `x`.
const X: u64 = 29;

impl SessionId {
    /// From its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The first id from a number on that has no `x` in its text. A refused client is shown the id, and
    /// tests that send `x` somewhere, and look for it in what comes back, must not find it there.
    #[must_use]
    pub const fn from_number(mut number: u64) -> Self {
        let mut digit = 13;
        while digit > 0 {
            digit -= 1;
            let shift = digit * 5;
            if number >> shift & 31 == X {
                number = ((number >> shift) + 1) << shift;
            }
        }
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::with_capacity(13);
        for digit in (0..13).rev() {
            let index = usize::try_from((self.0 >> (digit * 5)) & 31).unwrap_or_default();
            out.push(ALPHABET.get(index).copied().map_or('0', char::from));
        }
        f.pad(&out)
    }
}

impl FromStr for SessionId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::new("session id", text);
        if text.len() != 13 {
            return Err(bad());
        }
        let mut number: u64 = 0;
        for byte in text.bytes() {
            let digit = ALPHABET
                .iter()
                .position(|have| *have == byte.to_ascii_lowercase())
                .and_then(|digit| u64::try_from(digit).ok())
                .ok_or_else(bad)?;
            number = number
                .checked_mul(32)
                .and_then(|n| n.checked_add(digit))
                .ok_or_else(bad)?;
        }
        Ok(Self(number))
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Names an engine: the process lineage that owns one sequence of frames.
///
/// 1 to 64 characters of `a-z`, `0-9` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineId(Arc<str>);

impl EngineId {
    /// The engine of a pod: one chain for each pod, whatever restarts in it.
    ///
    /// # Errors
    /// The UID has other characters than digits, lower-case letters and hyphens, or is too long.
    pub fn of_pod(uid: &str) -> Result<Self, ParseError> {
        if uid.contains('_') {
            return Err(ParseError::new("pod UID", uid));
        }
        format!("pod_{}", uid.replace('-', "_")).parse()
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EngineId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(valid) {
            return Err(ParseError::new("engine id", text));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for EngineId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EngineId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
