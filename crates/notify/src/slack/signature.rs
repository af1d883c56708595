//! Whether a request is Slack's: version 0 of its signatures.
//!
//! By Slack's documentation, `X-Slack-Signature` is `v0=` and the HMAC-SHA256, in hexadecimal, over
//! `v0:TIMESTAMP:BODY` with the app's signing secret; `X-Slack-Request-Timestamp` is in seconds.
//!
//! Invariants: signatures are compared in constant time; a request counts for five minutes and once.
//! When too many are remembered to tell a repetition, none counts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::{constant_time, hmac};

/// Seconds that a request may be old, or ahead.
const FRESH: u64 = 300;
/// Requests that are remembered.
const REMEMBERED: usize = 16_384;

type Tag = [u8; 32];

/// Why a request is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unbelieved {
    /// A header is missing, or is not what it should be.
    #[error("the request has no signature")]
    Unsigned,
    #[error("the request is too old, or its clock is wrong")]
    Stale,
    #[error("the signature is wrong")]
    Forged,
    #[error("the request came before")]
    Repeated,
    #[error("too many requests in five minutes")]
    TooMany,
}

/// The requests of the last minutes.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<Tag, u64>>);

impl Seen {
    /// Whether a request with these headers and this body is Slack's and new. `now` is in seconds.
    pub(crate) fn believe(
        &self,
        secret: &[u8],
        (timestamp, signature): (&str, &str),
        body: &[u8],
        now: u64,
    ) -> Result<(), Unbelieved> {
        let at: u64 = timestamp.parse().map_err(|_| Unbelieved::Unsigned)?;
        let given = signature.strip_prefix("v0=").and_then(hexadecimal);
        let given = given.ok_or(Unbelieved::Unsigned)?;
        if now.abs_diff(at) > FRESH {
            return Err(Unbelieved::Stale);
        }
        let mut signed = format!("v0:{timestamp}:").into_bytes();
        signed.extend_from_slice(body);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let right = hmac::sign(&key, &signed);
        constant_time::verify_slices_are_equal(right.as_ref(), &given)
            .map_err(|_| Unbelieved::Forged)?;
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, at| now.abs_diff(*at) <= FRESH);
        if seen.contains_key(&given) {
            return Err(Unbelieved::Repeated);
        }
        if seen.len() >= REMEMBERED {
            return Err(Unbelieved::TooMany);
        }
        seen.insert(given, at);
        Ok(())
    }
}

fn hexadecimal(text: &str) -> Option<Tag> {
    let bytes = text.as_bytes();
    let mut tag = Tag::default();
    if bytes.len() != tag.len() * 2 {
        return None;
    }
    for (byte, pair) in tag.iter_mut().zip(bytes.chunks_exact(2)) {
        let digits = std::str::from_utf8(pair).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of Slack's documentation, "Verifying requests from Slack".
    const SECRET: &[u8] = b"8f742231b10e8888abcd99yyyzzz85a5";
    const AT: &str = "1531420618";
    const NOW: u64 = 1_531_420_618;
    const BODY: &[u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
        &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
        &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands\
        %2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    #[test]
    fn the_documentations_example_is_believed_once() {
        let seen = Seen::default();
        let given = (AT, SIGNATURE);
        assert_eq!(seen.believe(SECRET, given, BODY, NOW + 10), Ok(()));
        assert_eq!(
            seen.believe(SECRET, given, BODY, NOW + 20),
            Err(Unbelieved::Repeated)
        );
        let upper = SIGNATURE.to_uppercase().replace("V0=", "v0=");
        assert_eq!(
            seen.believe(SECRET, (AT, &upper), BODY, NOW),
            Err(Unbelieved::Repeated)
        );
    }

    #[test]
    fn old_and_early_requests_are_not_believed() {
        for now in [NOW - 301, NOW + 301, 0, u64::MAX] {
            let answer = Seen::default().believe(SECRET, (AT, SIGNATURE), BODY, now);
            assert_eq!(answer, Err(Unbelieved::Stale), "{now}");
        }
        for now in [NOW - 300, NOW + 300] {
            let answer = Seen::default().believe(SECRET, (AT, SIGNATURE), BODY, now);
            assert_eq!(answer, Ok(()), "{now}");
        }
    }

    #[test]
    fn what_was_changed_is_forged() {
        let seen = Seen::default();
        let mut body = BODY.to_vec();
        body[10] ^= 1;
        let forged = Err(Unbelieved::Forged);
        assert_eq!(seen.believe(SECRET, (AT, SIGNATURE), &body, NOW), forged);
        assert_eq!(seen.believe(b"other", (AT, SIGNATURE), BODY, NOW), forged);
        assert_eq!(
            seen.believe(SECRET, ("1531420619", SIGNATURE), BODY, NOW),
            forged
        );
        assert_eq!(seen.believe(SECRET, (AT, SIGNATURE), BODY, NOW), Ok(()));
    }

    #[test]
    fn what_is_no_signature_is_none() {
        let short = &SIGNATURE[..64];
        let plus = format!("v0=+{}", &SIGNATURE[4..]);
        let v1 = SIGNATURE.replace("v0", "v1");
        for (at, signature) in [
            ("", SIGNATURE),
            ("x", SIGNATURE),
            (AT, ""),
            (AT, short),
            (AT, &plus),
            (AT, &v1),
            ("+1531420618x", SIGNATURE),
        ] {
            let answer = Seen::default().believe(SECRET, (at, signature), BODY, NOW);
            assert_eq!(answer, Err(Unbelieved::Unsigned), "{at} {signature}");
        }
    }
}
