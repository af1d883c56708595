//! IP addresses, as the standard library parses them, outside of versions and
//! identifiers.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::context::says;
use crate::text::{Text, is_word};

/// The end of an IPv4 address that begins at `i`, with its prefix length.
pub(crate) fn ipv4(text: Text<'_>, i: usize) -> Option<usize> {
    let end = text.run(i, 16, |b| b.is_ascii_digit() || b == b'.');
    // A full stop at the end of a sentence.
    let end = end - usize::from(text.before(end) == b'.');
    let address: Ipv4Addr = std::str::from_utf8(text.slice(i..end)).ok()?.parse().ok()?;
    if address.is_unspecified() || !parts(text, i, end) {
        return None;
    }
    if says(
        text,
        i,
        &[
            "version", "ver", "release", "build", "v", "firmware", "section", "sec", "oid",
            "chapter", "clause",
        ],
    ) {
        return None;
    }
    Some(prefix(text, end, 2))
}

/// Whether the bytes around are not of the same word or number.
fn parts(text: Text<'_>, i: usize, end: usize) -> bool {
    let before = text.led(i);
    let after = text.at(end);
    let joined = match after {
        b'.' => text.at(end + 1).is_ascii_digit(),
        b'-' | b'+' => text.at(end + 1).is_ascii_alphabetic(),
        b'_' => true,
        other => is_word(other),
    };
    let led = match before {
        b'.' | b'_' | b'+' => true,
        b'-' => text.before2(i).is_ascii_alphabetic(),
        b'/' => product(text, i - 1),
        other => is_word(other),
    };
    !joined && !led
}

/// Whether the slash at `i` ends the name of a product: `Chrome/120.0.0.0`, not `/hosts/10.0.0.1`.
fn product(text: Text<'_>, i: usize) -> bool {
    let start = text.run_back(i, 32, |b| b.is_ascii_alphanumeric() || b == b'_');
    text.at(start).is_ascii_uppercase()
        && start < i
        && matches!(text.before(start), 0 | b' ' | b'"')
}

/// Where an IPv6 address begins and ends around the colon at `i`.
pub(crate) fn ipv6(text: Text<'_>, i: usize) -> Option<(usize, usize)> {
    let inside = |b: u8| b.is_ascii_hexdigit() || b == b':';
    if !inside(text.at(i + 1)) && text.before(i) != b':' {
        return None;
    }
    // The time of day, 10:00 or 10:00:00.
    let two = |at: usize| text.at(at).is_ascii_digit() && text.at(at + 1).is_ascii_digit();
    if two(i + 1) {
        let end = i
            + 3
            + if text.at(i + 3) == b':' && two(i + 4) {
                3
            } else {
                0
            };
        if !inside(text.at(end)) {
            return None;
        }
    }
    let start = text.run_back(i, 5, |b| b.is_ascii_hexdigit());
    let end = text.run(i, 46, |b| inside(b) || b == b'.');
    // Eight groups, or fewer with a gap; a dotted tail counts for two.
    let (mut colons, mut gap, mut dotted) = (0, false, false);
    for at in i..end {
        let b = text.at(at);
        colons += u32::from(b == b':');
        gap |= b == b':' && text.at(at + 1) == b':';
        dotted |= b == b'.';
    }
    if !gap && colons < if dotted { 6 } else { 7 } {
        return None;
    }
    // A sentence's full stop, or the colon of a prompt, may follow.
    let end = (end.saturating_sub(2)..=end).rev().find(|end| {
        std::str::from_utf8(text.slice(start..*end))
            .is_ok_and(|part| part.parse::<Ipv6Addr>().is_ok())
    })?;
    let rest = text.at(end);
    if is_word(rest) || (matches!(rest, b':' | b'.') && is_word(text.at(end + 1))) {
        return None;
    }
    if is_word(text.led(start)) || matches!(text.before(start), b'_' | b'.' | b':' | b'$') {
        return None;
    }
    // `a::b` is a path in a program more often than an address.
    let address = text.slice(start..end);
    // Eight bytes: the identifier of an adapter.
    if address.split(|b| *b == b':').all(|group| group.len() == 2) {
        return None;
    }
    let colons = address.iter().filter(|b| **b == b':').count();
    // Short groups only: a slice or a cast, `[0::2]`, `1::`, unless loopback.
    let long = address.split(|b| *b == b':').any(|group| group.len() > 2);
    if address != b"::1" && !long && colons < 4
        || !address.iter().any(u8::is_ascii_digit) && colons < 4
    {
        return None;
    }
    let zone = text.run(end + 1, 16, |b| b.is_ascii_alphanumeric() || b == b'-');
    let end = if rest == b'%' && zone > end + 1 {
        zone
    } else {
        end
    };
    Some((start, prefix(text, end, 3)))
}

/// Past a prefix length of at most so many digits.
fn prefix(text: Text<'_>, end: usize, digits: usize) -> usize {
    let stop = text.run(end + 1, digits, |b| b.is_ascii_digit());
    let found = text.at(end) == b'/' && stop > end + 1 && !is_word(text.at(stop));
    if found { stop } else { end }
}
