//! Labelled values that a client received, as fingerprints: who saw a value can be told without keeping it.
//!
//! A fingerprint is HMAC-SHA-256 of the value's text, cut to 64 bits, under a key of its label's own,
//! which is derived from a secret that is never in a store: whoever has fingerprints alone can neither
//! read nor guess a value, nor tell that it stands under two labels. Of 10 million stored fingerprints
//! one answers for a value that is none of theirs with a probability of 5 in 10^13, and nobody without
//! the secret can make two values meet.
//!
//! It refuses to keep a value, and to make a fingerprint of what has no text.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;

use crate::text::ParseError;

/// What a secret is turned into a key for; a fixed key, so that nothing that is made *with* the secret
/// for other purposes can be a key of a label.
const PURPOSE: &[u8] = b"weir.dev/labelled-values/1";

/// The fingerprint of a value: 64 bits, shown as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let value = u64::from_str_radix(text, 16);
        value
            .map(Self)
            .map_err(|_| ParseError::new("fingerprint", text))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Values of one label that a statement's client received in clear, since the last such event of the
/// statement; before its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledValuesSeen {
    /// The number of the statement.
    pub statement: u64,
    /// The label.
    pub label: Arc<str>,
    /// Distinct values, each once in all events of the statement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Fingerprint>,
    /// Cells whose value is not among them because the statement had too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub beyond: u64,
    /// Cells that may show more than their fingerprint says: computed from labelled values, or of a form
    /// that has no one text.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uncertain: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Makes the keys of labels.
#[derive(Clone)]
pub struct FingerprintKey(Hmac<Sha256>);

impl FingerprintKey {
    /// A key from a secret of any length; 32 random bytes are right.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let root: [u8; 32] = hmac(PURPOSE)
            .chain_update(secret)
            .finalize()
            .into_bytes()
            .into();
        Self(hmac(&root))
    }

    /// The key of a label.
    #[must_use]
    pub fn of_label(&self, label: &str) -> LabelKey {
        let mac = self.0.clone().chain_update(label.as_bytes());
        let key: [u8; 32] = mac.finalize().into_bytes().into();
        LabelKey(hmac(&key))
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey")
    }
}

/// Makes fingerprints of the values of one label.
#[derive(Clone)]
pub struct LabelKey(Hmac<Sha256>);

impl LabelKey {
    /// The fingerprint of a value's [canonical] text.
    #[must_use]
    pub fn fingerprint(&self, text: &str) -> Fingerprint {
        let text = canonical(text);
        let mac = self.0.clone().chain_update(text.as_bytes());
        let mac: [u8; 32] = mac.finalize().into_bytes().into();
        let first = mac.iter().take(8);
        Fingerprint(first.fold(0, |all, byte| all << 8 | u64::from(*byte)))
    }
}

impl fmt::Debug for LabelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LabelKey")
    }
}

/// A key of at most a block's length.
fn hmac(key: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new(&block.into())
}

/// The one text of a value: as PostgreSQL prints it, without white space around it, and a moment with an
/// offset in UTC.
#[must_use]
pub fn canonical(text: &str) -> Cow<'_, str> {
    let text = text.trim_ascii();
    let bytes = text.as_bytes();
    let dashes = (bytes.get(4), bytes.get(7));
    if bytes.len() < 20 || dashes != (Some(&b'-'), Some(&b'-')) {
        return text.into();
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(moment) => moment
            .strftime("%Y-%m-%d %H:%M:%S%.f+00")
            .to_string()
            .into(),
        Err(_) => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_one_text_and_other_values_keep_theirs() {
        for same in [
            "2024-01-02 03:04:05.25+00",
            "2024-01-02 05:04:05.250+02",
            "2024-01-02T03:04:05.25Z",
            " 2024-01-01 22:04:05.25-05:00\n",
        ] {
            assert_eq!(canonical(same), "2024-01-02 03:04:05.25+00", "{same}");
        }
        assert_eq!(
            canonical("2024-01-02 03:04:05+00"),
            "2024-01-02 03:04:05+00"
        );
        for kept in [
            "805-36-9215",
            "2024-01-02 03:04:05.123",
            "",
            "Zora  X",
            "2024-01-02",
        ] {
            assert_eq!(canonical(kept), kept);
        }
    }

    #[test]
    fn a_fingerprint_depends_on_secret_label_and_value_alone() {
        let of = |secret: &[u8], label: &str, value: &str| {
            let key = FingerprintKey::new(secret);
            key.of_label(label).fingerprint(value)
        };
        let one = of(b"s", "pii.ssn", "805-36-9215");
        assert_eq!(one, of(b"s", "pii.ssn", " 805-36-9215 "));
        for other in [
            of(b"t", "pii.ssn", "805-36-9215"),
            of(b"s", "pii.pan", "805-36-9215"),
            of(b"s", "pii.ssn", "805-36-9216"),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(one.to_string().parse(), Ok(one));
        assert_eq!(one.to_string().len(), 16);
    }

    #[test]
    fn no_key_is_shown() {
        let key = FingerprintKey::new(b"secret");
        assert_eq!(
            format!("{key:?} {:?}", key.of_label("l")),
            "FingerprintKey LabelKey"
        );
    }
}
