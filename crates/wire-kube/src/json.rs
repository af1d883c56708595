//! JSON, RFC 8259: what tokens are, without trees.
//!
//! Stricter than Go's decoder in one point: strings have to be UTF-8.

use memchr::{memchr, memchr2};

/// Why a text cannot be read on. Nothing after it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is no JSON.
    #[error("not valid JSON at byte {0}")]
    Syntax(u64),
    /// A string or number is longer than the limit.
    #[error("a JSON string is longer than {0} bytes")]
    TooLong(usize),
    /// Lists and objects are nested too deep.
    #[error("JSON is nested deeper than {0}")]
    TooDeep(usize),
    /// It ends in the middle.
    #[error("JSON ends too early")]
    Incomplete,
}

/// Not a valid token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invalid;

/// How far [`plain_end`] looks.
const SHORT: usize = 40;

/// How many blanks a text begins with.
#[inline]
pub(crate) fn blank(bytes: &[u8]) -> usize {
    let blank = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t');
    let begins = |at: usize| {
        let rest = bytes.get(at..).unwrap_or_default();
        let end = rest.iter().position(|b| !blank(b));
        at + end.unwrap_or(rest.len())
    };
    // An end of a line and what sets the next one in, as for people.
    let [first, set_in @ ..] = bytes else {
        return 0;
    };
    if !blank(first) {
        return 0;
    }
    let (eights, _) = set_in.as_chunks::<8>();
    let spaces = eights.iter().take_while(|eight| **eight == [b' '; 8]);
    begins(1 + 8 * spaces.count())
}

/// The place of the quote that ends a string, where that is near and the string has neither escapes nor
/// controls.
#[inline]
pub(crate) fn plain_end(bytes: &[u8]) -> Option<usize> {
    let near = bytes.get(..SHORT).unwrap_or(bytes);
    let stop = |b: &u8| matches!(b, b'"' | b'\\') || *b < b' ';
    let at = near.iter().position(stop)?;
    (near.get(at) == Some(&b'"')).then_some(at)
}

/// The place of the quote that ends a string, in bytes that begin within it. `escaped` says that a
/// backslash was the last byte, before and after.
pub(crate) fn string_end(bytes: &[u8], escaped: &mut bool) -> Option<usize> {
    if bytes.is_empty() {
        return None;
    }
    let mut at = usize::from(std::mem::take(escaped));
    loop {
        let rest = bytes.get(at..)?;
        let found = at + memchr2(b'"', b'\\', rest)?;
        if bytes.get(found) == Some(&b'"') {
            return Some(found);
        }
        at = found + 2;
        if at > bytes.len() {
            *escaped = true;
            return None;
        }
    }
}

/// The text of a string, from what stands between its quotes. `buffer` is used where it has escapes.
/// Half a surrogate pair becomes U+FFFD, as in Go.
pub(crate) fn text<'a>(raw: &'a [u8], buffer: &'a mut String) -> Result<&'a str, Invalid> {
    // No branch in the loop: it is vectorised.
    if raw.iter().fold(false, |found, b| found | (*b < b' ')) {
        return Err(Invalid);
    }
    let raw = std::str::from_utf8(raw).map_err(|_| Invalid)?;
    if memchr(b'\\', raw.as_bytes()).is_none() {
        return Ok(raw);
    }
    buffer.clear();
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        buffer.push_str(plain);
        let mut chars = escape.chars();
        let c = match chars.next().ok_or(Invalid)? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (c, after) = unicode(chars.as_str())?;
                chars = after.chars();
                c
            }
            _ => return Err(Invalid),
        };
        buffer.push(c);
        rest = chars.as_str();
    }
    buffer.push_str(rest);
    Ok(buffer)
}

/// The character behind `\u`, and what follows.
fn unicode(text: &str) -> Result<(char, &str), Invalid> {
    let (first, rest) = hex(text)?;
    if let Some(c) = char::from_u32(first) {
        return Ok((c, rest));
    }
    if first < 0xdc00
        && let Some(second) = rest.strip_prefix("\\u")
    {
        let (second, after) = hex(second)?;
        if (0xdc00..0xe000).contains(&second) {
            let pair = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            return Ok((char::from_u32(pair).ok_or(Invalid)?, after));
        }
    }
    Ok((char::REPLACEMENT_CHARACTER, rest))
}

fn hex(text: &str) -> Result<(u32, &str), Invalid> {
    let (digits, rest) = text.split_at_checked(4).ok_or(Invalid)?;
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Invalid);
    }
    let number = u32::from_str_radix(digits, 16).map_err(|_| Invalid)?;
    Ok((number, rest))
}

/// Writes a text as a string, with its quotes.
pub(crate) fn write(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest
        .iter()
        .position(|b| matches!(b, b'"' | b'\\') || *b < b' ')
    {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((special, tail)) = tail.split_first() else {
            break;
        };
        match special {
            b'"' | b'\\' => out.extend([b'\\', *special]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            control => {
                let digit = |n: u8| *b"0123456789abcdef".get(usize::from(n)).unwrap_or(&b'0');
                out.extend(b"\\u00");
                out.extend([digit(control >> 4), digit(control & 15)]);
            }
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// A token that is neither string nor bracket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Null,
    Bool,
    Number,
}

/// Reads one.
pub(crate) fn scalar(raw: &[u8]) -> Result<Scalar, Invalid> {
    match raw {
        b"null" => Ok(Scalar::Null),
        b"true" | b"false" => Ok(Scalar::Bool),
        _ if is_number(raw) => Ok(Scalar::Number),
        _ => Err(Invalid),
    }
}

/// Whether a byte may stand in a number or a word.
#[inline]
pub(crate) fn is_scalar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')
}

fn is_number(raw: &[u8]) -> bool {
    let rest = raw.strip_prefix(b"-").unwrap_or(raw);
    let Some(mut rest) = digits(rest) else {
        return false;
    };
    let whole = raw.strip_prefix(b"-").unwrap_or(raw);
    if whole.first() == Some(&b'0') && whole.len() - rest.len() > 1 {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        match digits(fraction) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', exponent @ ..] => exponent,
            exponent => exponent,
        };
        match digits(exponent) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

/// What follows one or more digits.
fn digits(bytes: &[u8]) -> Option<&[u8]> {
    let count = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    bytes.get(count..).filter(|_| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_strings_as_the_standard_says() {
        for (raw, expected) in [
            ("", Some("")),
            ("plain \u{e9}\u{1f600}", Some("plain \u{e9}\u{1f600}")),
            (r#"a\"b\\c\/d"#, Some("a\"b\\c/d")),
            (r"\b\f\n\r\t", Some("\u{8}\u{c}\n\r\t")),
            (r"pa\u0073\u0053word", Some("pasSword")),
            (r"\ud83d\ude00", Some("\u{1f600}")),
            (r"\ud83d", Some("\u{fffd}")),
            (r"\ud83dx", Some("\u{fffd}x")),
            (r"\ude00\ud83d", Some("\u{fffd}\u{fffd}")),
            (r"\ud83d\u0041", Some("\u{fffd}A")),
            (r"\ud83d\ud83d\ude00", Some("\u{fffd}\u{1f600}")),
            (r"\x", None),
            (r"\u12", None),
            (r"\u+123", None),
            (r"\", None),
            ("a\nb", None),
        ] {
            let mut buffer = String::new();
            assert_eq!(text(raw.as_bytes(), &mut buffer).ok(), expected, "{raw}");
        }
        assert_eq!(text(b"\xff", &mut String::new()), Err(Invalid));
    }

    #[test]
    fn writes_what_it_reads_back() {
        let all: String = (0..0x180).filter_map(char::from_u32).collect();
        let mut out = Vec::new();
        write(&all, &mut out);
        let inner = &out[1..out.len() - 1];
        assert_eq!(text(inner, &mut String::new()), Ok(all.as_str()));
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), all);
    }

    #[test]
    fn finds_the_end_however_it_is_cut() {
        let bytes = br#"a\"b\\"rest"#;
        for cut in 0..=bytes.len() {
            let mut escaped = false;
            let (one, two) = bytes.split_at(cut);
            let end = string_end(one, &mut escaped)
                .or_else(|| string_end(two, &mut escaped).map(|end| end + cut));
            assert_eq!(end, Some(6), "{cut}");
        }
    }

    #[test]
    fn numbers_are_those_of_json() {
        for good in [
            "0",
            "-0",
            "10",
            "1.5",
            "-1.5e+10",
            "1E9",
            "123456789012345678901234567890",
        ] {
            assert_eq!(scalar(good.as_bytes()), Ok(Scalar::Number), "{good}");
        }
        for bad in [
            "", "-", "01", "-01", "1.", ".5", "1e", "1e+", "+1", "0x1", "NaN", "tru", "True", "1-1",
        ] {
            assert_eq!(scalar(bad.as_bytes()), Err(Invalid), "{bad}");
        }
    }
}
