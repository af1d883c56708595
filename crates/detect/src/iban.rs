//! IBANs (ISO 13616): a country that has them, its length, check digits.

use crate::text::{Text, is_word};

/// Country and length, from the SWIFT registry; sorted.
const COUNTRIES: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// Where an IBAN begins and ends whose check digits begin at `i`.
pub(crate) fn find(text: Text<'_>, i: usize) -> Option<(usize, usize)> {
    if !text.at(i + 1).is_ascii_digit() {
        return None;
    }
    // `DE89 …`, `DE 89 …`.
    let start = i.checked_sub(2 + usize::from(text.before(i) == b' '))?;
    find_from(text, start)
}

/// The same where every character stands alone, `D E 8 9 …`, and the digit is at `i`.
pub(crate) fn spaced(text: Text<'_>, i: usize) -> Option<(usize, usize)> {
    let start = i.checked_sub(4)?;
    let country = [text.at(start), text.at(start + 2)];
    let letters = country.iter().all(u8::is_ascii_alphabetic) && text.at(start + 1) == b' ';
    (letters && !is_word(text.led(start))).then_some(())?;
    let country = country.map(|b| b.to_ascii_uppercase());
    let length = length(country)?;
    Some((start, read(text, start, length)?))
}

fn find_from(text: Text<'_>, start: usize) -> Option<(usize, usize)> {
    let country = [
        text.at(start).to_ascii_uppercase(),
        text.at(start + 1).to_ascii_uppercase(),
    ];
    let called = || {
        text.slice(start.saturating_sub(4)..start)
            .eq_ignore_ascii_case(b"iban")
    };
    if !country.iter().all(u8::is_ascii_uppercase) || is_word(text.led(start)) && !called() {
        return None;
    }
    let end = read(text, start, length(country)?)?;
    (!is_word(text.at(end))).then_some((start, end))
}

fn length(country: [u8; 2]) -> Option<usize> {
    let index = COUNTRIES
        .binary_search_by_key(&&country, |(name, _)| *name)
        .ok()?;
    COUNTRIES.get(index).map(|(_, length)| *length)
}

/// Reads `length` characters from `start`, short separators allowed, and
/// checks them; where they end.
fn read(text: Text<'_>, start: usize, length: usize) -> Option<usize> {
    // The four characters at the front count last.
    let mut head = [0; 4];
    let mut remainder = 0;
    let mut at = start;
    for k in 0..length {
        if k > 0 {
            let blanks = text.run(at, 3, |b| matches!(b, b' ' | b'\n' | b'\t' | b'\r'));
            at = if blanks > at {
                blanks
            } else {
                at + usize::from(matches!(text.at(at), b'-' | b'.' | b'_' | b'/' | b'+'))
            };
        }
        let b = text.at(at).to_ascii_uppercase();
        if !b.is_ascii_alphanumeric() {
            return None;
        }
        match head.get_mut(k) {
            Some(slot) => *slot = b,
            None => remainder = fold(remainder, b),
        }
        at += 1;
    }
    let remainder = head.iter().fold(remainder, |r, b| fold(r, *b));
    (remainder == 1).then_some(at)
}

fn fold(remainder: u32, b: u8) -> u32 {
    match b {
        b'0'..=b'9' => (remainder * 10 + u32::from(b - b'0')) % 97,
        _ => (remainder * 100 + u32::from(b.saturating_sub(b'A')) + 10) % 97,
    }
}
