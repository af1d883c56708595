//! Ways to hide a value.
//!
//! All of them work on text; a caller that hides typed data checks that the
//! type can carry the result (null is not text, and is the caller's to write).
//! None of them fails: what cannot be shown in part is hidden whole.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::Span;

/// What stands for a hidden character.
pub const MARK: char = '*';

const MARK_BYTE: u8 = b'*';

/// What hides a value whose length is not to be told.
const WHOLE: &str = "********";

/// Characters that a token has.
const TOKEN_LEN: usize = 16;

/// SHA-256's block, the longest key that is used as it is.
const BLOCK_LEN: usize = 64;

/// The character for five bits in the lower-case alphabet of RFC 4648's Base32.
const fn base32(bits: u8) -> u8 {
    if bits < 26 {
        b'a' + bits
    } else {
        b'2' - 26 + bits
    }
}

/// Shows the first and the last characters and hides those between.
///
/// Only letters and digits count and are hidden; separators stay where they
/// are, so `123-45-6789` with the last four shown is `***-**-6789`. A value
/// with fewer than twice as many letters and digits as would be shown is
/// hidden whole, as eight marks that do not tell its length: showing most of
/// a short value would be showing it. Characters are code points.
#[must_use]
pub fn partial(text: &str, keep_first: usize, keep_last: usize) -> String {
    let mut out = Vec::with_capacity(text.len());
    partial_into(text, keep_first, keep_last, &mut out);
    String::from_utf8(out).unwrap_or_else(|_| WHOLE.to_owned())
}

/// As [`partial`], appended to a buffer that the caller uses again.
pub fn partial_into(text: &str, keep_first: usize, keep_last: usize, out: &mut Vec<u8>) {
    let is_ascii = text.is_ascii();
    let total = if is_ascii {
        // In bytes, which the processor adds up sixteen at a time.
        let count = |some: &[u8]| -> u8 {
            let counts = some
                .iter()
                .map(|byte| u8::from(byte.is_ascii_alphanumeric()));
            counts.sum()
        };
        let text = text.as_bytes().chunks(255);
        text.map(|some| usize::from(count(some))).sum()
    } else {
        text.chars().filter(|c| c.is_alphanumeric()).count()
    };
    let kept = keep_first.saturating_add(keep_last);
    if total == 0 || total < kept.saturating_mul(2) {
        out.extend_from_slice(WHOLE.as_bytes());
        return;
    }
    if is_ascii {
        partial_ascii(text.as_bytes(), keep_first, keep_last, out);
        return;
    }
    let mut seen = 0;
    for c in text.chars() {
        seen += usize::from(c.is_alphanumeric());
        let shown = !c.is_alphanumeric() || seen <= keep_first || seen > total - keep_last;
        let c = if shown { c } else { MARK };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// [`partial_into`] for the usual text: copied whole, then marked between what is kept.
fn partial_ascii(text: &[u8], keep_first: usize, keep_last: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(text);
    let copied = out.get_mut(start..).unwrap_or_default();
    let counts = |byte: &u8| byte.is_ascii_alphanumeric();
    // Where the first hidden character is, and where the last one ends.
    let positions = || copied.iter().enumerate().filter(|(_, byte)| counts(byte));
    let hidden_from = positions().nth(keep_first).map(|(at, _)| at);
    let hidden_to = positions().rev().nth(keep_last).map(|(at, _)| at + 1);
    if let (Some(from), Some(to)) = (hidden_from, hidden_to) {
        for byte in copied.get_mut(from..to).unwrap_or_default() {
            *byte = if counts(byte) { MARK_BYTE } else { *byte };
        }
    }
}

/// Eight marks, whatever the value was.
#[must_use]
pub fn constant() -> &'static str {
    WHOLE
}

/// A key for tokens, made ready once.
#[derive(Clone)]
pub struct TokenKey(Hmac<Sha256>);

impl TokenKey {
    /// Takes key bytes of any length; 32 random ones are right.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        let mut block = [0; BLOCK_LEN];
        let hashed: [u8; 32];
        let key = if key.len() > BLOCK_LEN {
            hashed = <Sha256 as sha2::Digest>::digest(key).into();
            &hashed
        } else {
            key
        };
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        Self(Hmac::new(&block.into()))
    }

    /// A name for the value that is the same each time and for the same key,
    /// and tells nothing else: 80 bits of HMAC-SHA-256, as 16 characters of
    /// Base32. Equal values have equal tokens, so joins and counts still work.
    #[must_use]
    pub fn token(&self, value: &[u8]) -> [u8; TOKEN_LEN] {
        let mac: [u8; 32] = self
            .0
            .clone()
            .chain_update(value)
            .finalize()
            .into_bytes()
            .into();
        let mut out = [0; TOKEN_LEN];
        // Five bytes are eight characters.
        for (bytes, characters) in mac.chunks_exact(5).zip(out.chunks_exact_mut(8)) {
            let bits = bytes
                .iter()
                .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
            for (at, character) in (0..8).rev().zip(characters) {
                *character = base32((bits >> (5 * at) & 31) as u8);
            }
        }
        out
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}

/// One token, for a key that is not used again; see [`TokenKey::token`].
#[must_use]
pub fn token(key: &[u8], value: &[u8]) -> String {
    TokenKey::new(key)
        .token(value)
        .map(char::from)
        .iter()
        .collect()
}

/// Hides these spans (as [`scan`](crate::scan) gives them) and leaves the rest
/// as it is. Letters and digits in a span become marks, one for one; other
/// ASCII in it stays, so the shape of the text is kept. Bytes that are not
/// UTF-8 become one mark each.
#[must_use]
pub fn mask_spans(bytes: &[u8], spans: &[Span]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for span in spans {
        let start = span.start.max(at);
        out.extend_from_slice(bytes.get(at..start).unwrap_or(&[]));
        let end = span.end.max(start);
        for chunk in bytes.get(start..end).unwrap_or(&[]).utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_ascii() && !c.is_ascii_alphanumeric() {
                    out.extend(u8::try_from(c));
                } else {
                    out.extend(u8::try_from(MARK));
                }
            }
            out.extend(chunk.invalid().iter().map(|_| b'*'));
        }
        at = end;
    }
    out.extend_from_slice(bytes.get(at..).unwrap_or(&[]));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan;

    #[test]
    fn partial_keeps_the_ends_and_the_separators() {
        assert_eq!(partial("805-36-9215", 0, 4), "***-**-9215");
        assert_eq!(partial("4000 0067 3905 1240", 4, 4), "4000 **** **** 1240");
        assert_eq!(partial("zora@example.test", 1, 0), "z***@*******.****");
    }

    #[test]
    fn partial_hides_short_values_whole() {
        assert_eq!(partial("1234567", 0, 4), "********");
        assert_eq!(partial("12345678", 0, 4), "****5678");
        assert_eq!(partial("", 0, 4), "********");
        assert_eq!(partial("---", 0, 0), "********");
        assert_eq!(partial("abc", usize::MAX, 2), "********");
    }

    #[test]
    fn partial_is_the_same_whatever_the_alphabet() {
        for (first, last) in [(0, 0), (0, 1), (2, 0), (3, 4), (7, 7)] {
            for text in ["a-1-b-2-c-3-d-4", "..x..", "abcdefghijklmn", " 12 34 "] {
                let shown = partial(text, first, last);
                let greek = partial(&text.replace('x', "ξ").replace('a', "α"), first, last);
                let latin = greek.replace('ξ', "x").replace('α', "a");
                assert_eq!(shown, latin, "{text} {first} {last}");
            }
        }
    }

    #[test]
    fn partial_counts_characters_not_bytes() {
        assert_eq!(partial("Zoë Müller", 2, 2), "Zo* ****er");
        assert_eq!(partial("日本語日本語", 1, 1), "日****語");
    }

    #[test]
    fn tokens_depend_on_key_and_value_only() {
        let token_a = token(b"key", b"805-36-9215");
        assert_eq!(token_a.len(), 16);
        assert_eq!(token_a, token(b"key", b"805-36-9215"));
        assert_ne!(token_a, token(b"key", b"805-36-9216"));
        assert_ne!(token_a, token(b"other", b"805-36-9215"));
        assert_ne!(token(&[1; 65], b""), token(&[1; 64], b""));
    }

    /// RFC 4231, test case 2, in Base32.
    #[test]
    fn tokens_are_hmac_sha_256() {
        let token = token(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(token, "lpomcrv7mb2u42qe");
    }

    #[test]
    fn spans_are_masked_in_place() {
        let text = "mail zora@example.test; tax id 805-36-9215 é";
        let masked = mask_spans(text.as_bytes(), &scan(text.as_bytes()));
        assert_eq!(
            String::from_utf8(masked).unwrap(),
            "mail ****@*******.****; tax id ***-**-**** é"
        );
    }
}
