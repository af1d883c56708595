//! The pass over the bytes: a table says which bytes can be part of a value's
//! anchor (a digit, `@`, `:`, `=`, `_`, `-`, `'`, `>`, and three letters that
//! tokens have near their start); everything else is skipped at memory speed.

use crate::normalize::{Normalized, normalize};
use crate::run::Run;
use crate::text::Text;
use crate::{Kind, KindSet, Span, address, assign, card, date, email, iban, phone, ssn, token};

/// Finds every kind of value.
#[must_use]
pub fn scan(bytes: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    scan_into(bytes, KindSet::ALL, &mut spans);
    spans
}

/// Finds these kinds of values, and appends their spans: in order, not
/// overlapping. Values are looked at whole: a caller that cuts text in pieces
/// loses what lies on the cut.
pub fn scan_into(bytes: &[u8], kinds: KindSet, spans: &mut Vec<Span>) {
    if kinds.is_empty() {
        return;
    }
    let mut scanner = Scanner { found: Vec::new() };
    let normalized = normalize(bytes);
    scanner.run(Text(normalized.as_ref().map_or(bytes, |n| &n.bytes)));
    spans.extend(
        scanner
            .found
            .into_iter()
            .filter(|span| kinds.contains(span.kind))
            .map(|span| back(span, normalized.as_ref())),
    );
}

fn back(span: Span, normalized: Option<&Normalized>) -> Span {
    match normalized {
        None => span,
        Some(normalized) => Span {
            start: normalized.start(span.start),
            end: normalized.end(span.end),
            kind: span.kind,
        },
    }
}

/// What an anchor byte may begin or lie in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Anchor {
    None,
    Digit,
    At,
    Colon,
    Equals,
    Underscore,
    Dash,
    Quote,
    Bracket,
    /// The first `I` of AKIA and of ASIA.
    Aws,
    Google,
    Jwt,
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const ANCHORS: [Anchor; 256] = {
    let mut table = [Anchor::None; 256];
    let mut digit = b'0';
    while digit <= b'9' {
        table[digit as usize] = Anchor::Digit;
        digit += 1;
    }
    table[b'@' as usize] = Anchor::At;
    table[b':' as usize] = Anchor::Colon;
    table[b'=' as usize] = Anchor::Equals;
    table[b'_' as usize] = Anchor::Underscore;
    table[b'-' as usize] = Anchor::Dash;
    table[b'\'' as usize] = Anchor::Quote;
    table[b'>' as usize] = Anchor::Bracket;
    table[b'I' as usize] = Anchor::Aws;
    table[b'z' as usize] = Anchor::Google;
    table[b'J' as usize] = Anchor::Jwt;
    table
};

struct Scanner {
    found: Vec<Span>,
}

impl Scanner {
    fn run(&mut self, text: Text<'_>) {
        let mut at = 0;
        while let Some(rest) = text.0.get(at..) {
            let Some(skip) = rest.iter().position(|b| anchor(*b) != Anchor::None) else {
                break;
            };
            at += skip;
            at = self.look(text, at, anchor(text.at(at)));
        }
    }

    /// Looks at one anchor; where to go on.
    fn look(&mut self, text: Text<'_>, at: usize, anchor: Anchor) -> usize {
        let found = match anchor {
            Anchor::None => None,
            Anchor::Digit => return self.digits(text, at),
            Anchor::At => email::find(text, at).map(|(start, end)| (start, end, Kind::Email)),
            Anchor::Colon => colon(text, at),
            Anchor::Equals => assign::value(text, at).map(|value| refine(text, value)),
            Anchor::Underscore => token::prefixed(text, at).or_else(|| token::dotted(text, at)),
            Anchor::Dash => dash(text, at),
            Anchor::Quote => assign::quoted(text, at),
            Anchor::Bracket => assign::element(text, at),
            Anchor::Aws => token::aws(text, at)
                .map(|(s, e)| (s, e, Kind::AwsAccessKeyId))
                .or_else(|| token::dotted(text, at)),
            Anchor::Google => token::google(text, at)
                .map(|(s, e)| (s, e, Kind::GoogleApiKey))
                .or_else(|| token::dotted(text, at)),
            Anchor::Jwt => token::jwt(text, at)
                .map(|(s, e)| (s, e, Kind::Jwt))
                .or_else(|| token::dotted(text, at)),
        };
        match found {
            Some((start, end, kind)) => {
                self.push(Span { start, end, kind });
                // The `@` behind a URL's password is no address.
                let skip = usize::from(kind == Kind::UrlPassword);
                (end + skip).max(at + 1)
            }
            None => at + 1,
        }
    }

    /// Looks at a group of digits; past it, or past what was found.
    fn digits(&mut self, text: Text<'_>, at: usize) -> usize {
        let group = text.run(at, usize::MAX, |b| b.is_ascii_digit());
        if let Some((start, end, kind)) = number(text, at, group) {
            self.push(Span { start, end, kind });
            return end.max(group);
        }
        if group - at == 4 && is_iso_date(text, group, text.at(group)) {
            return group + 6;
        }
        group
    }

    /// Adds a span; it takes the place of earlier ones that it touches, whole.
    fn push(&mut self, mut span: Span) {
        while let Some(last) = self.found.last().copied() {
            if last.end <= span.start {
                break;
            }
            span.start = span.start.min(last.start);
            span.end = span.end.max(last.end);
            self.found.pop();
        }
        self.found.push(span);
    }
}

fn anchor(b: u8) -> Anchor {
    ANCHORS.get(usize::from(b)).copied().unwrap_or(Anchor::None)
}

/// What the group of digits from `at` to `group` begins.
fn number(text: Text<'_>, at: usize, group: usize) -> Option<(usize, usize, Kind)> {
    let next = text.at(group);
    let len = group - at;
    let alone = !matches!(
        next,
        b' ' | b'-' | b'.' | b'/' | b'(' | b')' | b'\n' | b'\r' | b'\t' | b'_' | b'+' | b'\\'
    );
    let letters = match text.before(at) {
        b'a'..=b'z' | b'A'..=b'Z' => len >= 2 && text.before2(at).is_ascii_alphabetic(),
        b' ' => text.before2(at).is_ascii_uppercase(),
        _ => false,
    };
    if letters && let Some((start, end)) = iban_at(text, at, len) {
        return Some((start, end, Kind::Iban));
    }
    // Most numbers in text are short and by themselves.
    if len > 24 || alone && len < 7 {
        let day = len <= 2 && matches!(next, b',' | b't' | b's' | b'n' | b'r');
        return if day { dated(text, at) } else { None };
    }
    let tie = text.before(at);
    let tied = matches!(tie, b'-' | b'.') && text.before2(at).is_ascii_digit();
    if next == b'.'
        && len <= 3
        && let Some(end) = address::ipv4(text, at)
    {
        return Some((at, end, Kind::Ipv4));
    }
    // The rest of a date or a decimal: what was tied to it has been looked at.
    if tied || is_decimal(text, group, next) {
        return None;
    }
    if len == 4 && is_iso_date(text, group, next) {
        return dated(text, at);
    }
    let run = Run::read(text, at);
    if let Some((start, end)) = card::find(text, at, &run) {
        return Some((start, end, Kind::Card));
    }
    if let Some(end) = ssn::find(text, at, &run) {
        return Some((at, end, Kind::Ssn));
    }
    if let Some((start, end)) = phone::find(text, at, &run) {
        return Some((start, end, Kind::Phone));
    }
    dated(text, at)
}

/// An IBAN whose check digits begin at `at`, in a group of `len`.
fn iban_at(text: Text<'_>, at: usize, len: usize) -> Option<(usize, usize)> {
    if len == 1 {
        iban::spaced(text, at)
    } else {
        iban::find(text, at)
    }
}

/// Whether the group is the front of `183456.78`.
fn is_decimal(text: Text<'_>, group: usize, next: u8) -> bool {
    let end = text.run(group + 1, 20, |b| b.is_ascii_digit());
    next == b'.'
        && end > group + 1
        && !matches!(
            text.at(end),
            b'.' | b'-' | b' ' | b'/' | b'(' | b'_' | b'\n'
        )
}

/// Whether the group of four is the front of `2024-09-17`.
fn is_iso_date(text: Text<'_>, group: usize, next: u8) -> bool {
    next == b'-'
        && text.at(group + 3) == b'-'
        && [1, 2, 4, 5]
            .iter()
            .all(|k| text.at(group + k).is_ascii_digit())
        && !text.at(group + 6).is_ascii_digit()
        && !matches!(text.at(group + 6), b'-' | b'.' | b'/')
}

fn dated(text: Text<'_>, at: usize) -> Option<(usize, usize, Kind)> {
    let (start, end) = date::find(text, at)?;
    Some((start, end, Kind::DateOfBirth))
}

fn colon(text: Text<'_>, at: usize) -> Option<(usize, usize, Kind)> {
    if text.at(at + 1) == b'/' && text.at(at + 2) == b'/' {
        return assign::url(text, at).map(|(start, end)| (start, end, Kind::UrlPassword));
    }
    if let Some((start, end)) = address::ipv6(text, at) {
        return Some((start, end, Kind::Ipv6));
    }
    assign::value(text, at).map(|value| refine(text, value))
}

fn dash(text: Text<'_>, at: usize) -> Option<(usize, usize, Kind)> {
    if text.at(at + 1) == b'-' {
        return match token::private_key(text, at) {
            Some(end) => Some((at, end, Kind::PrivateKey)),
            None => assign::option(text, at).map(|value| refine(text, value)),
        };
    }
    let putty = token::putty(text, at).map(|(start, end)| (start, end, Kind::PrivateKey));
    putty
        .or_else(|| token::prefixed(text, at))
        .or_else(|| token::dotted(text, at))
}

/// Gives an assigned secret the name of what it is, where that is known.
fn refine(text: Text<'_>, (start, end, kind): (usize, usize, Kind)) -> (usize, usize, Kind) {
    let value = text.slice(start..end);
    let known = match value {
        [b'e', b'y', b'J', ..] => token::jwt(text, start + 2).map(|(_, e)| (e, Kind::Jwt)),
        [b'A', _, b'I', ..] => token::aws(text, start + 2).map(|(_, e)| (e, Kind::AwsAccessKeyId)),
        [b'A', b'I', b'z', ..] => {
            token::google(text, start + 2).map(|(_, e)| (e, Kind::GoogleApiKey))
        }
        [b'-', ..] => token::private_key(text, start).map(|e| (e, Kind::PrivateKey)),
        _ => value
            .iter()
            .take(10)
            .position(|b| matches!(b, b'_' | b'-'))
            .and_then(|sign| token::prefixed(text, start + sign))
            .filter(|(from, _, _)| *from == start)
            .map(|(_, e, kind)| (e, kind)),
    };
    match known {
        Some((stop, kind)) => (start, stop.max(end), kind),
        None => (start, end, kind),
    }
}
