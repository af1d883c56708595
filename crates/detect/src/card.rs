//! Payment card numbers: an issuer's range, a length that it uses, and a Luhn
//! digit (ISO/IEC 7812-1). Track data counts as a whole (ISO/IEC 7813).

use crate::context::says;
use crate::run::{Run, gap_before};
use crate::text::Text;

/// What card numbers are called.
const WORDS: &[&str] = &[
    "card",
    "pan",
    "cc",
    "ccn",
    "ccnum",
    "visa",
    "mastercard",
    "amex",
    "credit",
    "debit",
];

/// Where a number begins and ends that has its first digit at `i`.
pub(crate) fn find(text: Text<'_>, i: usize, run: &Run) -> Option<(usize, usize)> {
    if run.len() < 12 || matches!(text.before(i), b'+' | b'$') {
        return None;
    }
    let prefix = run.digits(6).iter().fold(0, |n, d| n * 10 + u32::from(*d));
    let lengths = lengths(prefix)?;
    let len = (12..=19)
        .rev()
        .filter(|n| lengths & (1 << n) != 0 && *n <= run.len())
        .find(|n| luhn(run.digits(*n)) && stands_alone(text, i, run, *n))?;
    if says(
        text,
        i,
        &["imei", "imeisv", "meid", "isbn", "ean", "gtin", "upc"],
    ) {
        return None;
    }
    let end = run.end(len);
    Some(track(text, i, end).unwrap_or((i, end)))
}

/// The lengths that the issuer of these six digits uses, as a bit set.
fn lengths(prefix: u32) -> Option<u32> {
    const fn bits(from: u32, to: u32) -> u32 {
        (1 << (to + 1)) - (1 << from)
    }
    Some(match prefix {
        // Visa.
        400_000..500_000 => 1 << 13 | 1 << 16 | 1 << 19,
        // Mastercard, both series.
        510_000..560_000 | 222_100..272_100 => 1 << 16,
        // American Express.
        340_000..350_000 | 370_000..380_000 => 1 << 15,
        // Diners Club.
        300_000..306_000 | 309_500..309_600 | 380_000..400_000 => bits(14, 19),
        360_000..370_000 => bits(14, 19),
        // JCB.
        352_800..359_000 => bits(16, 19),
        // Discover.
        601_100..601_200 | 644_000..650_000 | 650_000..660_000 => 1 << 16 | 1 << 19,
        // UnionPay.
        620_000..630_000 => bits(16, 19),
        // Mir.
        220_000..220_500 => bits(16, 19),
        // Maestro.
        501_800..501_900
        | 502_000..502_100
        | 503_800..503_900
        | 589_300..589_400
        | 630_400..630_500
        | 675_900..676_000
        | 676_100..676_400 => bits(12, 19),
        // Verve and RuPay.
        506_099..506_199 | 507_865..507_965 | 508_500..509_000 => 1 << 16 | 1 << 19,
        606_985..607_985 | 608_001..608_501 | 817_200..820_200 => 1 << 16,
        // UnionPay's other range; Dankort; Elo; Hipercard; Troy; Uzcard and Humo.
        810_000..817_200 => bits(16, 19),
        501_900..502_000 | 979_200..979_300 | 860_000..860_100 | 986_000..986_100 => 1 << 16,
        504_175 | 506_699..506_779 | 509_000..510_000 | 606_282 | 636_297 | 636_368 => 1 << 16,
        _ => return None,
    })
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(k, d)| match (k % 2, u32::from(*d)) {
            (0, d) => d,
            (_, d) if d > 4 => d * 2 - 9,
            (_, d) => d * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether the first `n` digits are a number of their own, and not a part of
/// a longer one or of an identifier.
fn stands_alone(text: Text<'_>, i: usize, run: &Run, n: usize) -> bool {
    if run.continues(text, n) {
        return false;
    }
    let groups = run.groups(n);
    let sizes = groups.sizes();
    let (before, after) = (text.led(i), text.at(run.end(n)));
    let whole = sizes.len() == 1;
    // Beside letters only an unbroken number of full length is believed,
    // because its checks are strong enough.
    let letter = |b: u8| b.is_ascii_alphabetic() && !(b == b'B' && text.before2(i) == b'%');
    if (letter(before) || after.is_ascii_alphabetic()) && !(whole && n >= 15) {
        return false;
    }
    if matches!(before, b'x' | b'X') && text.before2(i) == b'0' {
        return false;
    }
    let mut kinds = (1..n).map(|k| run.gap(k)).filter(|gap| *gap != 0);
    let kind = kinds.next().unwrap_or(0);
    let uniform =
        kinds.all(|other| other == kind || matches!((kind, other), (b' ', b'-') | (b'-', b' ')));
    let common = matches!(
        sizes,
        [4, 4, 4, 4] | [4, 4, 4, 4, 3] | [4, 6, 5] | [4, 6, 4] | [4, 4, 5] | [4, 3, 3, 3] | [6, 13]
    ) || sizes.iter().all(|size| *size == 1);
    let tidy = match kind {
        0 => true,
        b' ' | b'-' => common || sizes.iter().all(|size| (2..=8).contains(size)),
        _ => common,
    };
    // What ties it to digits before and behind.
    let ties = [run.gap(n), gap_before(text, i)];
    let free = ties.iter().all(|tie| match tie {
        0 => true,
        b' ' | b'\n' => whole || common || *tie != kind,
        b'/' | b'(' | b')' => *tie != kind,
        _ => !whole && *tie != kind,
    });
    let identifier = matches!(before, b'-' | b'.')
        && text.before2(i).is_ascii_alphanumeric()
        && !(whole && says(text, i, WORDS));
    uniform && tidy && free && !identifier
}

/// Track 1 (`%B…^…^…?`) or track 2 (`;…=…?`) around the number.
fn track(text: Text<'_>, i: usize, end: usize) -> Option<(usize, usize)> {
    let (start, stop) = match (text.before2(i), text.before(i), text.at(end)) {
        (b'%', b'B' | b'b', b'^') => (i - 2, text.run(end, 80, |b| b != b'?' && b >= b' ')),
        (_, b'B' | b'b', b'^') => (i - 1, text.run(end, 80, |b| b != b'?' && b >= b' ')),
        (_, b';', b'=') => (i - 1, text.run(end + 1, 40, |b| b.is_ascii_digit())),
        (_, _, b'=') => {
            let stop = text.run(end + 1, 40, |b| b.is_ascii_digit());
            if stop < end + 8 {
                return None;
            }
            (i, stop)
        }
        _ => return None,
    };
    Some((start, stop + usize::from(text.at(stop) == b'?')))
}
