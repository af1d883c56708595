//! Signatures of messages, by the Standard Webhooks specification, section "Signature scheme".

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How a symmetric key begins.
const PREFIX: &str = "whsec_";
/// Bytes of a key, at least and at most.
const LENGTH: (usize, usize) = (24, 64);
/// Keys at once: the one in use, and those that it replaces or is replaced by.
const MOST: usize = 4;

/// Why a key cannot be used. What it holds is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error("there is no key in it")]
    Empty,
    /// There are too many.
    #[error("there are more than {MOST} keys in it")]
    TooMany,
    /// It is no key.
    #[error("a key is `{PREFIX}` and Base64")]
    Form,
    /// It is too short or too long.
    #[error("a key has {} to {} bytes", LENGTH.0, LENGTH.1)]
    Length,
}

/// The keys that messages are signed with, all of them: receivers know one of them while it rotates.
pub struct Keys(Vec<hmac::Key>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// Keys with white space between them, each `whsec_` and the Base64 of 24 to 64 bytes.
    ///
    /// # Errors
    /// When there is none, or one of them is no key.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let keys: Result<Vec<_>, _> = text.split_whitespace().map(key).collect();
        let keys = keys?;
        match keys.len() {
            0 => Err(KeyError::Empty),
            n if n > MOST => Err(KeyError::TooMany),
            _ => Ok(Self(keys)),
        }
    }

    /// The value of `webhook-signature`: `v1,` and Base64, once for each key.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut content = format!("{id}.{timestamp}.").into_bytes();
        content.extend_from_slice(body);
        let signatures = self.0.iter().map(|key| {
            let tag = hmac::sign(key, &content);
            format!("v1,{}", STANDARD.encode(tag.as_ref()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

fn key(text: &str) -> Result<hmac::Key, KeyError> {
    let encoded = text.strip_prefix(PREFIX).ok_or(KeyError::Form)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| KeyError::Form)?;
    if !(LENGTH.0..=LENGTH.1).contains(&bytes.len()) {
        return Err(KeyError::Length);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_the_reference_implementations_has_their_signature() {
        let keys = Keys::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn while_a_key_rotates_both_sign() {
        let both = Keys::parse(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nwhsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\n",
        );
        let signed = both.unwrap().sign("msg_1", 1, b"{}");
        let all: Vec<&str> = signed.split(' ').collect();
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|one| one.starts_with("v1,")) && all[0] != all[1]);
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let wrong = |text: &str| Keys::parse(text).unwrap_err();
        assert_eq!(wrong(" \n"), KeyError::Empty);
        assert_eq!(wrong("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), KeyError::Form);
        assert_eq!(wrong("whsec_!"), KeyError::Form);
        assert_eq!(wrong("whsec_c2hvcnQ="), KeyError::Length);
        let one = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw ";
        assert_eq!(wrong(&one.repeat(5)), KeyError::TooMany);
        assert_eq!(format!("{:?}", Keys::parse(one).unwrap()), "Keys(1)");
    }
}
