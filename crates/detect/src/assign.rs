//! Secrets that their neighbourhood names: `password=…`, `"secretKey": "…"`,
//! `Authorization: Bearer …`, `scheme://user:password@host`.

use crate::Kind;
use crate::text::{Text, distinct, is_word};

/// The longest key and value that are looked at, and how long a value can be that is believed by then.
const MAX_KEY: usize = 48;
const MAX_VALUE: usize = 512;
const MAX_LONG: usize = 16 * 1024;

/// The most blanks around a sign: tables of settings are lined up.
const MAX_BLANKS: usize = 24;

/// What a key promises about its value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// A password, of any length and look.
    Password,
    /// A generated secret: long, and not a word.
    Secret,
    /// An HTTP authorization: a scheme and a secret.
    Authorization,
    /// A name and a password in Base64, as registries have it.
    Encoded,
}

/// A secret that the sign (`=` or `:`) at `i` assigns to a key.
pub(crate) fn value(text: Text<'_>, i: usize) -> Option<(usize, usize, Kind)> {
    // `a != b`, `a == b` and `a <= b` compare; `=>` and `:=` assign.
    if matches!(text.before(i), b'!' | b'=' | b'<' | b'>' | b':') {
        return None;
    }
    let end = key_end(text, i);
    let last = last_two(text, end);
    let found = if ends_like_key(last) {
        key(text, end)
    } else if last == *b"ue" {
        paired(text, end)
    } else {
        None
    };
    let typed = || (text.at(i) == b'=').then(|| declared(text, i)).flatten();
    let (promise, aws) = found.or_else(typed)?;
    assigned(text, i, promise, aws)
}

/// The secret that the sign at `i` assigns to a key that promises one.
#[inline(never)]
fn assigned(text: Text<'_>, i: usize, promise: Promise, aws: bool) -> Option<(usize, usize, Kind)> {
    let sign = match (text.at(i), text.at(i + 1)) {
        (b'=', b'=') | (b':', b':') => return None,
        (b'=', b'>') | (b':', b'=') => i + 2,
        _ => i + 1,
    };
    let at = text.run(sign, MAX_BLANKS, is_blank);
    let spaced = at > sign && text.at(i) == b':';
    let (opening, end) = closing(text, at);
    let quoted = end.is_some();
    let (start, end) = match end {
        Some(end) => (opening, end),
        None => {
            let start = match promise {
                Promise::Authorization => scheme(text, opening),
                _ => block(text, opening).unwrap_or(opening),
            };
            (start, bare(text, start))
        }
    };
    let found = text.slice(start..end);
    if placeholder(found, text.at(end)) {
        return None;
    }
    let shaped = found.len() == 40 && found.iter().all(|b| is_base64(*b));
    let example = found.ends_with(b"EXAMPLEKEY");
    if shaped && (aws || promise == Promise::Secret) && distinct(found) > 12 && mixed(found) {
        return (!example).then_some((start, end, Kind::AwsSecretKey));
    }
    let name = name(text, i);
    if promise == Promise::Password
        && !quoted
        && (spaced && prose(text, found, end) || passed(name, found, text.at(i)))
    {
        return None;
    }
    believe(text, promise, start, end)
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

/// Where a value begins that is written at `at`, and where it ends if it has quotes.
fn closing(text: Text<'_>, at: usize) -> (usize, Option<usize>) {
    let open = text.run(at, 3, |b| b == b'\\');
    let quote = text.at(open);
    if !matches!(quote, b'"' | b'\'' | b'`') {
        return (open, None);
    }
    let start = open + 1;
    if open > at {
        let end = text.run(start, MAX_VALUE, |b| b != quote && b >= b' ');
        let end = text.run_back(end, (end - start).min(3), |b| b == b'\\');
        return (start, Some(end));
    }
    let mut end = start;
    while end - start < MAX_VALUE {
        let b = text.at(end);
        let doubled = b == b'\'' && end > start && text.at(end + 1) == b;
        if b == b'\\' || doubled && b == quote {
            end += 2;
        } else if b == quote || b < b' ' {
            break;
        } else {
            end += 1;
        }
    }
    (start, Some(end.min(text.len())))
}

/// Where the text begins that YAML's `|` or `>` at `at` announces, on the next line.
fn block(text: Text<'_>, at: usize) -> Option<usize> {
    let sign = text.run(at, 2, |b| matches!(b, b'|' | b'>' | b'-' | b'+'));
    let line = text.run(sign, 2, |b| matches!(b, b'\r' | b'\n'));
    let known = matches!(text.at(at), b'|' | b'>') && line > sign;
    known.then(|| text.run(line, MAX_KEY, is_blank))
}

/// Whether `pass` and `pwd` mean something else: how a test went, where a shell stands.
fn passed(name: &[u8], value: &[u8], sign: u8) -> bool {
    let count = value.len() < 4 && value.iter().all(u8::is_ascii_digit);
    let place = matches!(value, [b'/' | b'~', ..] | [_, b':', b'\\', ..]);
    name == b"PASS" && sign == b':'
        || name.eq_ignore_ascii_case(b"pass") && count
        || (name.eq_ignore_ascii_case(b"pwd") || name.eq_ignore_ascii_case(b"oldpwd")) && place
}

/// What the name promises whose type stands before the `=` at `i`: `password: string = "…"`.
#[inline(never)]
fn declared(text: Text<'_>, i: usize) -> Option<(Promise, bool)> {
    closing(text, text.run(i + 1, 2, is_blank)).1?;
    let kind = text.run_back(i, MAX_KEY, |b| {
        b.is_ascii_alphanumeric() || b" _<>&'|.?".contains(&b)
    });
    let sign = kind.checked_sub(1).filter(|sign| text.at(*sign) == b':')?;
    key(text, key_end(text, sign))
}

/// What the field beside `value` names, which ends at `end`: `{"name": "DB_PASSWORD", "value": "…"}`,
/// `<property name="password" value="…"/>`.
#[inline(never)]
fn paired(text: Text<'_>, end: usize) -> Option<(Promise, bool)> {
    let start = end.checked_sub(5)?;
    if !text.slice(start..end).eq_ignore_ascii_case(b"value") || is_name(text.before(start)) {
        return None;
    }
    let is_between = |b: u8| is_blank(b) || b"\"'\\,\r\n".contains(&b);
    let end = text.run_back(start, MAX_BLANKS, is_between);
    let first = text.run_back(end, MAX_KEY, is_name);
    let sign = text.run_back(first, 4, |b| is_between(b) && b != b',');
    let what = name(text, sign.checked_sub(1)?);
    let named = [&b"name"[..], b"key", b"id", b"property"]
        .iter()
        .any(|word| what.eq_ignore_ascii_case(word));
    (named && matches!(text.before(sign), b':' | b'=')).then_some(())?;
    promise(text.slice(first..end))
}

/// A secret in the element whose name ends at the `>` at `i`:
/// `<password>hunter2</password>`.
pub(crate) fn element(text: Text<'_>, i: usize) -> Option<(usize, usize, Kind)> {
    let (promise, _) = key(text, key_end(text, i))?;
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
    let promise = match text.before(i) {
        b' ' => stated(text, i),
        b'(' => {
            let word = text.run_back(i - 1, MAX_KEY, is_name);
            promise(text.slice(word..i - 1)).map(|(promise, _)| promise)
        }
        _ => None,
    }?;
    let (start, end) = closing(text, i);
    let end = end?;
    believe(text, promise, start, end).filter(|_| text.at(end) == b'\'')
}

/// What stands before the blank and the quote at `i` promises: `PASSWORD`, `IDENTIFIED BY`,
/// `IDENTIFIED WITH plugin BY`, `SET PASSWORD FOR user =`, and a name in quotes of its own and a comma.
fn stated(text: Text<'_>, i: usize) -> Option<Promise> {
    let last = text.run_back(i, 3, |b| b == b' ');
    let word = |end: usize| text.run_back(end, MAX_KEY, is_name);
    let is = |from: usize, to: usize, name: &[u8]| text.slice(from..to).eq_ignore_ascii_case(name);
    let before = |at: usize| text.run_back(at, 3, |b| b == b' ');
    match text.before(last) {
        b',' if text.before2(last) == b'\'' => {
            let end = last - 2;
            let start = word(end);
            let (promise, _) =
                promise(text.slice(start..end)).filter(|_| text.before(start) == b'\'')?;
            // In texts for people a word stands beside the name.
            let (first, stop) = closing(text, i);
            let plain = |b: &u8| b.is_ascii_alphabetic() || *b == b' ';
            let words = text.slice(first..stop?).iter().all(plain);
            (!words).then_some(promise)
        }
        b'=' => {
            let from = last.saturating_sub(96);
            let head = text.slice(from..last).to_ascii_lowercase();
            memchr::memmem::find(&head, b"set password for ").map(|_| Promise::Password)
        }
        _ => {
            let first = word(last);
            if is(first, last, b"password") {
                return Some(Promise::Password);
            }
            if !is(first, last, b"by") {
                return None;
            }
            let end = before(first);
            let start = word(end);
            let plugin = before(start);
            let with = word(plugin);
            let known = is(start, end, b"identified")
                || is(with, plugin, b"with") && {
                    let end = before(with);
                    is(word(end), end, b"identified")
                };
            known.then_some(Promise::Password)
        }
    }
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
    let at = text.run(name, 4, |b| b == b' ');
    let (start, end) = closing(text, at);
    let end = end.unwrap_or_else(|| bare(text, start));
    believe(text, promise, start, end).filter(|_| text.at(at) != b'-')
}

/// The value as a finding, where it looks like what was promised.
fn believe(
    text: Text<'_>,
    promise: Promise,
    start: usize,
    end: usize,
) -> Option<(usize, usize, Kind)> {
    let value = text.slice(start..end);
    let random = || value.len() >= 8 && distinct(value) > 5 && mixed(value);
    let real = match promise {
        Promise::Password => true,
        Promise::Secret | Promise::Authorization => random(),
        Promise::Encoded => random() && value.iter().all(|b| is_base64(*b)),
    };
    if !real || placeholder(value, text.at(end)) {
        return None;
    }
    let end = if end - start < MAX_VALUE {
        end
    } else {
        text.run(end, MAX_LONG, |b| is_base64(b) || is_name(b))
    };
    Some((start, end, Kind::Password))
}

/// The end of a value without quotes: a blank, or a delimiter that does not
/// stand inside of a word. `Tr0ub4dor&3` is one value, `abc&user=x` is not.
fn bare(text: Text<'_>, start: usize) -> usize {
    let mut end = start;
    while end - start < MAX_VALUE && text.at(end) > b' ' {
        if is_delimiter(text.at(end)) {
            let next = text.at(end + 1);
            let word = text.run(end + 1, MAX_KEY, is_name);
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

fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')
}

/// Where the key ends whose sign is at `i`.
fn key_end(text: Text<'_>, i: usize) -> usize {
    let end = text.run_back(i, MAX_BLANKS, is_blank);
    text.run_back(end, 3, |b| {
        matches!(b, b'"' | b'\'' | b'`' | b'\\' | b']' | b'[')
    })
}

/// The key whose sign is at `i`.
fn name(text: Text<'_>, i: usize) -> &[u8] {
    let end = key_end(text, i);
    text.slice(text.run_back(end, MAX_KEY, is_name)..end)
}

fn last_two(text: Text<'_>, end: usize) -> [u8; 2] {
    [text.before2(end), text.before(end)].map(|b| b.to_ascii_lowercase())
}

/// Whether these are the last letters of a key that promises something.
pub(crate) fn ends_like_key(last: [u8; 2]) -> bool {
    matches!(
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
            | b"ig"
            | b"re"
            | b"ha"
            | b"na"
    )
}

/// What the key that ends at `end` promises, and whether it speaks of AWS.
fn key(text: Text<'_>, end: usize) -> Option<(Promise, bool)> {
    if !ends_like_key(last_two(text, end)) {
        return None;
    }
    let start = text.run_back(end, MAX_KEY, is_name);
    let name = text.slice(start..end);
    promise(name).or_else(|| {
        let query = matches!(text.before(start), b'?' | b'&');
        let signed = [&b"sig"[..], b"X-Amz-Signature", b"X-Goog-Signature"];
        if query && signed.iter().any(|word| name.eq_ignore_ascii_case(word)) {
            Some((Promise::Secret, false))
        } else {
            (name == b"auth" && text.before(start) == b'"').then_some((Promise::Encoded, false))
        }
    })
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
    let promise = if ends(&[
        "password",
        "passwd",
        "passphrase",
        "passwort",
        "passcode",
        "kennwort",
        "wachtwoord",
        "motdepasse",
        "contrasena",
        "senha",
    ]) || ["pwd", "pass", "pw", "userpass", "dbpass"]
        .iter()
        .any(|word| last.eq_ignore_ascii_case(word.as_bytes()))
        || ends(&["pgpass", "userpwd", "dbpwd", "bindpw", "rootpw"])
    {
        Promise::Password
    } else if ends(&[
        "secret",
        "secretkey",
        "secretkeybase",
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
        "password",
        "os",
        "env",
        "process",
    ];
    let mut inner = value;
    while let [
        b'!'..=b'/' | b':'..=b'@' | b'['..=b'`' | b'{'..=b'~',
        rest @ ..,
    ] = inner
    {
        inner = rest;
    }
    while let [
        rest @ ..,
        b'!'..=b'/' | b':'..=b'@' | b'['..=b'`' | b'{'..=b'~',
    ] = inner
    {
        inner = rest;
    }
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
        // Types: `&str`, `Option<String>`.
        [b'&', kind @ ..] => kind.iter().all(|b| b.is_ascii_alphabetic() || *b == b'\''),
        [b'A'..=b'Z', kind @ .., b'>'] => {
            kind.contains(&b'<')
                && kind
                    .iter()
                    .all(|b| b.is_ascii_alphabetic() || b"<>&', ".contains(b))
        }
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
    // `args.password`: a path in a program that ends in such a name.
    let path = value.contains(&b'.')
        && value
            .iter()
            .all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'.'))
        && promise(value).is_some();
    word || template || code || path
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
        || value.contains(&b'[')
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
    // The digest of a container image.
    let named = named && !authority.get(at + 1..)?.starts_with(b"sha256:");
    (named && !password.is_empty() && !placeholder(password, 0)).then_some((start, start + at))
}
