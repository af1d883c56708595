//! Secrets that their neighbourhood names: `password=…`, `"secretKey": "…"`,
//! `Authorization: Bearer …`, `scheme://user:password@host`.

use crate::Kind;
use crate::text::{Text, distinct, is_word};

/// The longest key and value that are looked at.
const MAX_KEY: usize = 48;
const MAX_VALUE: usize = 512;

/// What a key promises about its value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// A password, of any length and look.
    Password,
    /// A generated secret: long, and not a word.
    Secret,
    /// An HTTP authorization: a scheme and a secret.
    Authorization,
}

/// A secret that the sign (`=` or `:`) at `i` assigns to a key.
pub(crate) fn value(text: Text<'_>, i: usize) -> Option<(usize, usize, Kind)> {
    // `a != b`, `a == b` and `a <= b` compare; `=>` and `:=` assign.
    if matches!(text.before(i), b'!' | b'=' | b'<' | b'>' | b':') {
        return None;
    }
    let (promise, aws) = key(text, i)?;
    let sign = match (text.at(i), text.at(i + 1)) {
        (b'=', b'=') | (b':', b':') => return None,
        (b'=', b'>') | (b':', b'=') => i + 2,
        _ => i + 1,
    };
    let mut at = text.run(sign, 4, |b| matches!(b, b' ' | b'\t'));
    let spaced = at > sign && text.at(i) == b':';
    at += usize::from(text.at(at) == b'\\');
    let quote = text.at(at);
    let quoted = matches!(quote, b'"' | b'\'' | b'`');
    let (start, end) = if quoted {
        let start = at + 1;
        let end = text.run(start, MAX_VALUE, |b| b != quote && b >= b' ');
        (start, end - usize::from(text.before(end) == b'\\'))
    } else {
        let start = match promise {
            Promise::Authorization => scheme(text, at),
            _ => at,
        };
        let end = bare(text, start);
        (start, end)
    };
    let found = text.slice(start..end);
    if placeholder(found, text.at(end)) {
        return None;
    }
    let shaped = found.len() == 40 && found.iter().all(|b| is_base64(*b));
    if shaped && (aws || promise == Promise::Secret) && distinct(found) > 12 && mixed(found) {
        return Some((start, end, Kind::AwsSecretKey));
    }
    if promise == Promise::Password && !quoted && spaced && prose(text, found, end) {
        return None;
    }
    believe(text, promise, start, end)
}

/// A secret in the element whose name ends at the `>` at `i`:
/// `<password>hunter2</password>`.
pub(crate) fn element(text: Text<'_>, i: usize) -> Option<(usize, usize, Kind)> {
    let (promise, _) = key(text, i)?;
    let name = text.run_back(i, MAX_KEY, |b| b != b'<' && b != b'>' && b >= b' ');
    let (start, end) = (
        i + 1,
        text.run(i + 1, MAX_VALUE, |b| b != b'<' && b >= b' '),
    );
    let closed = text.before(name) == b'<' && text.at(end) == b'<' && text.at(end + 1) == b'/';
    believe(text, promise, start, end).filter(|_| closed)
}

/// A secret in the quotes that open at `i`, as statements have it:
/// `PASSWORD 'hunter2'`, `IDENTIFIED BY 'hunter2'`.
pub(crate) fn quoted(text: Text<'_>, i: usize) -> Option<(usize, usize, Kind)> {
    if text.before(i) != b' ' {
        return None;
    }
    let last = text.run_back(i, 3, |b| b == b' ');
    let word = text.run_back(last, 12, |b| b.is_ascii_alphabetic());
    let before = text.run_back(word, 3, |b| b == b' ');
    let by = text.slice(word..last).eq_ignore_ascii_case(b"by")
        && text
            .slice(before.saturating_sub(10)..before)
            .eq_ignore_ascii_case(b"identified");
    if !by && !text.slice(word..last).eq_ignore_ascii_case(b"password") {
        return None;
    }
    let end = text.run(i + 1, MAX_VALUE, |b| b != b'\'' && b >= b' ');
    believe(text, Promise::Password, i + 1, end).filter(|_| text.at(end) == b'\'')
}

/// A secret behind a command's option, which begins at `i`: `--password x`.
pub(crate) fn option(text: Text<'_>, i: usize) -> Option<(usize, usize, Kind)> {
    let name = text.run(i, MAX_KEY, |b| {
        b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
    });
    if text.at(name) != b' ' || is_word(text.before(i)) {
        return None;
    }
    let (promise, _) = key(text, name)?;
    let start = text.run(name, 4, |b| b == b' ');
    let quote = text.at(start);
    let (start, end) = if matches!(quote, b'"' | b'\'') {
        (
            start + 1,
            text.run(start + 1, MAX_VALUE, |b| b != quote && b >= b' '),
        )
    } else {
        (start, bare(text, start))
    };
    believe(text, promise, start, end).filter(|_| quote != b'-')
}

/// The value as a finding, where it looks like what was promised.
fn believe(
    text: Text<'_>,
    promise: Promise,
    start: usize,
    end: usize,
) -> Option<(usize, usize, Kind)> {
    let value = text.slice(start..end);
    let real = !placeholder(value, text.at(end))
        && (promise == Promise::Password
            || value.len() >= 8 && distinct(value) > 5 && mixed(value));
    real.then_some((start, end, Kind::Password))
}

/// The end of a value without quotes: a blank, or a delimiter that does not
/// stand inside of a word. `Tr0ub4dor&3` is one value, `abc&user=x` is not.
fn bare(text: Text<'_>, start: usize) -> usize {
    let mut end = start;
    while end - start < MAX_VALUE && text.at(end) > b' ' {
        if is_delimiter(text.at(end)) {
            let next = text.at(end + 1);
            let word = text.run(end + 1, MAX_KEY, |b| {
                b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')
            });
            let key = word > end + 1 && matches!(text.at(word), b'=' | b':' | b'"');
            if next <= b' ' || is_delimiter(next) || key {
                break;
            }
        }
        end += 1;
    }
    end
}

fn is_delimiter(b: u8) -> bool {
    b",;&\"'`)]}".contains(&b)
}

/// What the key before the sign promises, and whether it speaks of AWS.
fn key(text: Text<'_>, i: usize) -> Option<(Promise, bool)> {
    let end = text.run_back(i, 3, |b| b == b' ');
    let end = text.run_back(end, 2, |b| matches!(b, b'"' | b'\'' | b'`' | b'\\' | b']'));
    // The last letters of every key below.
    let last = [text.before2(end), text.before(end)].map(|b| b.to_ascii_lowercase());
    if !matches!(
        &last,
        b"rd"
            | b"wd"
            | b"se"
            | b"rt"
            | b"de"
            | b"ss"
            | b"pw"
            | b"et"
            | b"ey"
            | b"en"
            | b"al"
            | b"ls"
            | b"on"
            | b"er"
            | b"th"
    ) {
        return None;
    }
    let start = text.run_back(end, MAX_KEY, |b| {
        b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')
    });
    promise(text.slice(start..end))
}

/// What a name promises about its value, and whether it speaks of AWS.
pub(crate) fn promise(raw: &[u8]) -> Option<(Promise, bool)> {
    let mut buffer = [0; MAX_KEY];
    let mut len = 0;
    for b in raw.iter().filter(|b| b.is_ascii_alphanumeric()) {
        if let Some(slot) = buffer.get_mut(len) {
            *slot = b.to_ascii_lowercase();
            len += 1;
        }
    }
    let name = buffer.get(..len).unwrap_or(&[]);
    let ends = |words: &[&str]| words.iter().any(|word| name.ends_with(word.as_bytes()));
    let aws = name.windows(3).any(|w| w == b"aws");
    let last = raw
        .rsplit(|b| matches!(b, b'_' | b'-' | b'.'))
        .next()
        .unwrap_or(&[]);
    let promise = if ends(&["password", "passwd", "passphrase", "passwort", "passcode"])
        || ["pwd", "pass", "pw", "userpass", "dbpass"]
            .iter()
            .any(|word| last.eq_ignore_ascii_case(word.as_bytes()))
        || ends(&["pgpass", "userpwd", "dbpwd"])
    {
        Promise::Password
    } else if ends(&[
        "secret",
        "secretkey",
        "secretaccesskey",
        "apikey",
        "accesskey",
        "accountkey",
        "privatekey",
        "signingkey",
        "encryptionkey",
        "authkey",
        "token",
        "credential",
        "credentials",
        "apisecret",
        "masterkey",
        "sharedaccesskey",
    ]) {
        Promise::Secret
    } else if ends(&["authorization", "bearer", "xauth"]) {
        Promise::Authorization
    } else {
        return None;
    };
    Some((promise, aws))
}

/// Past the scheme of an authorization.
fn scheme(text: Text<'_>, at: usize) -> usize {
    for name in ["bearer ", "basic ", "token ", "apikey "] {
        if text
            .slice(at..at + name.len())
            .eq_ignore_ascii_case(name.as_bytes())
        {
            return text.run(at + name.len(), 4, |b| b == b' ');
        }
    }
    at
}

/// A value that stands for one: `<redacted>`, `${PASSWORD}`, `****`, `null`.
fn placeholder(value: &[u8], next: u8) -> bool {
    let plain = value
        .iter()
        .filter(|b| !matches!(b, b'*' | b'x' | b'X' | b'.' | b'-' | b'_' | b'#' | b'?'))
        .count();
    let symbols = !value
        .iter()
        .any(|b| b.is_ascii_alphanumeric() || *b >= 0x80);
    if plain == 0 || symbols && distinct(value) < 6 {
        return true;
    }
    let words: &[&str] = &[
        "null",
        "nil",
        "none",
        "undefined",
        "true",
        "false",
        "redacted",
        "masked",
        "hidden",
        "string",
        "required",
        "optional",
        "yes",
        "no",
        "empty",
        "removed",
        "filtered",
        "unset",
        "str",
        "text",
        "varchar",
        "placeholder",
        "example",
        "os",
        "env",
        "process",
    ];
    let inner: &[u8] = value
        .strip_prefix(b"[")
        .or_else(|| value.strip_prefix(b"("))
        .unwrap_or(value);
    let inner = inner
        .strip_suffix(b"]")
        .or_else(|| inner.strip_suffix(b")"))
        .unwrap_or(inner);
    let tail = inner.iter().rev().take_while(|b| b.is_ascii_punctuation());
    let inner = inner.get(..inner.len() - tail.count()).unwrap_or(&[]);
    let word = words
        .iter()
        .any(|word| inner.eq_ignore_ascii_case(word.as_bytes()));
    let template = match value {
        [b'<', .., b'>'] | [b'$', b'{' | b'(', ..] | [b'{', ..] | [b'[', .., b']'] => true,
        [b'%', .., b'%' | b's'] => true,
        // Parameters of statements.
        [b':', name @ ..] => name.iter().all(|b| b.is_ascii_alphabetic() || *b == b'_'),
        [b'@', b'p', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        [b'$', name @ ..] => {
            !name.is_empty()
                && name
                    .iter()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_')
        }
        [b'<' | b'[' | b'(', ..] => matches!(next, b'>' | b']' | b')' | b' '),
        _ => false,
    };
    // `getpass()`, `os.environ['X']`, `process.env.X`.
    let code = value.contains(&b'(')
        || [
            &b"os."[..],
            b"process.env",
            b"env.",
            b"config.",
            b"self.",
            b"this.",
            b"secrets.",
        ]
        .iter()
        .any(|prefix| value.starts_with(prefix));
    word || template || code
}

/// Whether a value after a colon reads on as a sentence.
fn prose(text: Text<'_>, value: &[u8], end: usize) -> bool {
    let word = value.iter().all(u8::is_ascii_alphabetic);
    word && text.at(end) == b' ' && text.at(end + 1).is_ascii_lowercase()
}

fn is_base64(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')
}

/// Whether it looks generated: digits, or both cases at some length; not a
/// path in a program.
fn mixed(value: &[u8]) -> bool {
    let digit = value.iter().any(u8::is_ascii_digit);
    let upper = value.iter().any(u8::is_ascii_uppercase);
    let lower = value.iter().any(u8::is_ascii_lowercase);
    let code = value.windows(2).any(|pair| pair == b"::" || pair == b"->")
        || matches!(value.first(), Some(b'&' | b'*' | b'<' | b'@'));
    (digit || (upper && lower && value.len() >= 20 && distinct(value) > 14)) && !code
}

/// User and password in the authority behind `://`, whose colon is at `i`.
pub(crate) fn url(text: Text<'_>, i: usize) -> Option<(usize, usize)> {
    let start = i + 3;
    let end = text.run(start, MAX_VALUE, |b| {
        b > b' '
            && !matches!(
                b,
                b'/' | b'?' | b'"' | b'\'' | b'`' | b'<' | b'>' | b',' | b'\\'
            )
    });
    let authority = text.slice(start..end);
    let at = authority.iter().rposition(|b| *b == b'@')?;
    let user = authority.get(..at)?;
    let colon = memchr::memchr(b':', user)?;
    let password = user.get(colon + 1..)?;
    let host = authority.get(at + 1).copied().unwrap_or(0);
    let named = host.is_ascii_alphanumeric()
        || matches!(host, b'[' | b':' | b'-')
        || host >= 0x80
        || host == 0;
    (named && !password.is_empty() && !placeholder(password, 0)).then_some((start, start + at))
}
