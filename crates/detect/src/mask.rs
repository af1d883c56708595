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
    partial_into(text.as_bytes(), keep_first, keep_last, &mut out);
    String::from_utf8(out).unwrap_or_else(|_| WHOLE.to_owned())
}

/// As [`partial`], appended to a buffer that the caller uses again; `None`, with nothing appended,
/// where the bytes are not UTF-8.
pub fn partial_into(
    value: &[u8],
    keep_first: usize,
    keep_last: usize,
    out: &mut Vec<u8>,
) -> Option<()> {
    if let Some(short) = Short::read(value) {
        short.show(keep_first, keep_last, out);
        return Some(());
    }
    let text = std::str::from_utf8(value).ok()?;
    let total = text.chars().filter(|c| c.is_alphanumeric()).count();
    if hides_whole(total, keep_first, keep_last) {
        out.extend_from_slice(WHOLE.as_bytes());
        return Some(());
    }
    let mut seen = 0;
    for c in text.chars() {
        seen += usize::from(c.is_alphanumeric());
        let shown = !c.is_alphanumeric() || seen <= keep_first || seen > total - keep_last;
        let c = if shown { c } else { MARK };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(())
}

/// Whether so few of `total` letters and digits would be hidden that all are.
fn hides_whole(total: usize, keep_first: usize, keep_last: usize) -> bool {
    total == 0 || total < keep_first.saturating_add(keep_last).saturating_mul(2)
}

/// A value of few bytes, all of them ASCII, as almost all that are masked in part: it is read as
/// words of eight bytes, all of whose bytes are looked at together.
struct Short {
    words: [Word; Self::WORDS],
    length: usize,
    /// How many letters and digits there are.
    total: u8,
}

/// Eight bytes of a value.
#[derive(Clone, Copy, Default)]
struct Word {
    bytes: u64,
    /// The highest bit of each byte that is a letter or digit.
    counted: u64,
    /// In each byte, how many letters and digits there are up to it, and itself.
    seen: u64,
}

/// A word with this value in each byte.
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

impl Short {
    const WORDS: usize = 4;

    fn read(value: &[u8]) -> Option<Self> {
        if value.len() > 8 * Self::WORDS {
            return None;
        }
        let mut short = Self {
            words: [Word::default(); Self::WORDS],
            length: value.len(),
            total: 0,
        };
        let (whole, rest) = value.as_chunks();
        let whole = whole.iter().map(|eight| u64::from_le_bytes(*eight));
        let words = whole.chain((!rest.is_empty()).then(|| last_word(value, rest)));
        for (word, bytes) in short.words.iter_mut().zip(words) {
            if bytes & each(0x80) != 0 {
                return None;
            }
            // A letter differs from its other case in one bit.
            let counted = between(bytes, b'0', b'9') | between(bytes | each(0x20), b'a', b'z');
            // The product adds up the bytes below each byte; at most 32 are counted in all.
            let seen = (counted >> 7).wrapping_mul(each(1)) + each(short.total);
            short.total = (seen >> 56) as u8;
            *word = Word {
                bytes,
                counted,
                seen,
            };
        }
        Some(short)
    }

    fn show(&self, keep_first: usize, keep_last: usize, out: &mut Vec<u8>) {
        let total = usize::from(self.total);
        if hides_whole(total, keep_first, keep_last) {
            out.extend_from_slice(WHOLE.as_bytes());
            return;
        }
        // Both are places of counted bytes, of which there are few.
        let (first, last) = ((keep_first + 1) as u8, (total - keep_last) as u8);
        let end = out.len() + self.length;
        let mut shown = [0; 8 * Self::WORDS];
        let (written, _) = shown.as_chunks_mut();
        for (eight, word) in written.iter_mut().zip(&self.words) {
            let hidden = word.counted & between(word.seen, first, last);
            let hide = (hidden >> 7) * 0xff;
            *eight = (word.bytes & !hide | each(MARK_BYTE) & hide).to_le_bytes();
        }
        // A copy of a known length needs no call.
        out.extend_from_slice(&shown);
        out.truncate(end);
    }
}

/// The bytes that are left of a value, as a word that ends in zeros.
fn last_word(value: &[u8], rest: &[u8]) -> u64 {
    match value.last_chunk() {
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        None => rest
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// The highest bit of each byte that lies in a range; all bytes and both ends must be below 0x80.
const fn between(word: u64, first: u8, last: u8) -> u64 {
    (word + each(0x80 - first)) & !(word + each(0x7f - last)) & each(0x80)
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

    /// Every byte of ASCII at every place of short and long values, against the rule as it is said.
    #[test]
    fn partial_is_the_same_for_values_of_all_lengths() {
        let alphabet: Vec<char> = (0..=127_u8).map(char::from).collect();
        for length in 0..=70 {
            let turn = |at: usize| alphabet[(at * 37 + length * 11) % alphabet.len()];
            let text: String = (0..length).map(turn).collect();
            for (first, last) in [(0, 0), (0, 4), (1, 0), (3, 2), (9, 9)] {
                let places: Vec<usize> = (0..length)
                    .filter(|at| text.as_bytes()[*at].is_ascii_alphanumeric())
                    .collect();
                let hides_all = places.is_empty() || places.len() < 2 * (first + last);
                let mut told = text.clone().into_bytes();
                for at in places.iter().skip(first).rev().skip(last) {
                    told[*at] = b'*';
                }
                let told = if hides_all { WHOLE.into() } else { told };
                assert_eq!(partial(&text, first, last).as_bytes(), told, "{text:?}");
            }
        }
    }

    #[test]
    fn partial_shows_nothing_of_what_is_not_text() {
        let mut out = b"before".to_vec();
        for length in [4, 40] {
            assert_eq!(partial_into(&vec![0xff; length], 1, 1, &mut out), None);
        }
        assert_eq!(out, b"before");
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
