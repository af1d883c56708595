//! E-mail addresses as people use them: a practical part of RFC 5321's
//! syntax, with addresses in any script.

use crate::text::{Text, is_word};

/// The longest local part and domain (RFC 5321, section 4.5.3.1).
const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = 255;

/// Endings that name files, not domains.
const FILES: &[&str] = &[
    "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "bmp", "tiff", "css", "js", "mjs", "ts",
    "tsx", "jsx", "json", "html", "htm", "xml", "yaml", "yml", "toml", "txt", "csv", "pdf", "log",
    "conf", "service", "socket", "timer", "target", "mount",
];

/// Where an address begins and ends around the `@` at `i`.
pub(crate) fn find(text: Text<'_>, i: usize) -> Option<(usize, usize)> {
    let start = local(text, i)?;
    let end = domain(text, i + 1)?;
    if text.at(end) == b'@' {
        return None;
    }
    // `git@host:path` and `ssh://git@host` name a login, not a mailbox.
    let login = text.slice(start..i).eq_ignore_ascii_case(b"git")
        || text.slice(start.saturating_sub(3)..start) == b"://";
    (!login).then_some((start, end))
}

fn local(text: Text<'_>, i: usize) -> Option<usize> {
    if text.before(i) == b'"' {
        let start = text.run_back(i - 1, MAX_LOCAL, |b| b != b'"' && b >= b' ');
        return (text.before(start) == b'"' && start < i - 1).then(|| start - 1);
    }
    let start = text.run_back(i, MAX_LOCAL, |b| {
        is_word(b) || b"._%+-'~!#$*^{}|`".contains(&b)
    });
    // Quotes and marks around an address are not part of it.
    let start = text.run(start, i - start, |b| !is_word(b) && b != b'_' && b != b'+');
    let name = text.slice(start..i);
    let dots = name.windows(2).any(|pair| pair == b"..") || name.last() == Some(&b'.');
    (!name.is_empty() && !dots).then_some(start)
}

fn domain(text: Text<'_>, at: usize) -> Option<usize> {
    if text.at(at) == b'[' {
        let end = text.run(at + 1, 60, |b| {
            b.is_ascii_hexdigit() || b".:IPv".contains(&b)
        });
        let literal = text.slice(at + 1..end);
        let long = literal.len() >= 7 && literal.iter().any(u8::is_ascii_digit);
        return (text.at(end) == b']' && long).then_some(end + 1);
    }
    let end = text.run(at, MAX_DOMAIN, |b| is_word(b) || matches!(b, b'.' | b'-'));
    // A full stop or a dash may follow the address.
    let end = text.run_back(end, end - at, |b| matches!(b, b'.' | b'-'));
    let name = text.slice(at..end);
    let mut labels = name.rsplit(|b| *b == b'.');
    let top = labels.next()?;
    let mut count = 0;
    for label in labels {
        count += 1;
        if label.is_empty() || label.len() > 63 || label.first() == Some(&b'-') {
            return None;
        }
    }
    (count > 0 && is_top(top)).then_some(end)
}

fn is_top(label: &[u8]) -> bool {
    let coded = label.len() > 4
        && label
            .get(..4)
            .is_some_and(|p| p.eq_ignore_ascii_case(b"xn--"));
    let plain = (2..=24).contains(&label.len())
        && label.iter().all(|b| b.is_ascii_alphabetic() || *b >= 0x80)
        && !FILES
            .iter()
            .any(|file| label.eq_ignore_ascii_case(file.as_bytes()));
    coded || plain
}
