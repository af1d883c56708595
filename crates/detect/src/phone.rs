//! Telephone numbers in the forms that people write: international with `+`
//! or `00`, North American 3-3-4, national with a trunk 0. Bare digits need a
//! word beside them.

use crate::context::says;
use crate::run::{Run, gap_before};
use crate::text::{Text, is_word};

const WORDS: &[&str] = &[
    "phone",
    "tel",
    "telephone",
    "mobile",
    "cell",
    "fax",
    "call",
    "phone number",
    "phone_number",
    "telefon",
    "mob",
    "whatsapp",
    "sms",
    "ph",
    "phone no",
    "contact number",
    "msisdn",
];

/// What other numbers are called.
const OTHER: &[&str] = &[
    "isbn",
    "issn",
    "sku",
    "ref",
    "reference",
    "order",
    "part",
    "serial",
    "sn",
    "invoice",
    "inv",
    "case",
    "ticket",
    "account",
    "acct",
    "ean",
    "upc",
    "gtin",
    "code",
    "item",
    "lot",
    "batch",
    "po",
    "tracking",
    "version",
    "imei",
    "vat",
    "patent",
    "doi",
    "model",
    "ndc",
];

/// Where a number begins and ends that has its first digit at `i`.
pub(crate) fn find(text: Text<'_>, i: usize, run: &Run) -> Option<(usize, usize)> {
    if run.len() < 7 {
        return None;
    }
    let start = opening(text, i)?;
    let plus = text.slice(start..i).contains(&b'+');
    let len = if plus {
        international(run)?
    } else {
        north_american(text, i, run)
            .or_else(|| trunk(text, i, run))
            .or_else(|| prefixed(text, i, run))
            .or_else(|| named(text, i, run))?
    };
    let end = run.end(len);
    if run.continues(text, len) || (says(text, i, OTHER) && !says(text, i, WORDS)) {
        return None;
    }
    let end = extension(text, end).unwrap_or(end);
    let tail = text.at(end);
    let clock = tail == b':' && text.at(end + 1).is_ascii_digit();
    if clock || is_word(tail) || (matches!(tail, b'-' | b'/') && is_word(text.at(end + 1)) && !plus)
    {
        return None;
    }
    Some((start, end))
}

/// Where the signs before the first digit begin; `None` inside of a word or
/// of a longer number.
fn opening(text: Text<'_>, i: usize) -> Option<usize> {
    let start = text.run_back(i, 2, |b| matches!(b, b'+' | b'('));
    let before = text.led(start);
    let tied = matches!(before, b'-' | b'.' | b'/' | b'_' | b'#') && is_word(text.before2(start));
    if is_word(before) || tied || matches!(before, b'$' | b'#') {
        return None;
    }
    // Digits right before a blank belong to the same list of numbers.
    (start < i || !matches!(gap_before(text, i), b'-' | b'.' | b'/')).then_some(start)
}

fn international(run: &Run) -> Option<usize> {
    if run.digit(0) == 0 {
        return None;
    }
    let break_at = (1..run.len())
        .find(|k| matches!(run.gap(*k), b'\n' | b'_' | b'+'))
        .unwrap_or(run.len());
    if run.digit(0) == 1 && break_at >= 11 {
        return Some(11);
    }
    let len = (8..=15)
        .rev()
        .find(|n| *n <= break_at && (*n == run.len() || run.gap(*n) != 0))?;
    let groups = run.groups(len);
    // A year of more than four digits: `+10000-01-01`.
    let date =
        matches!(groups.sizes(), [_, 2, 2]) && run.gap(len - 1) == 0 && run.gap(len - 2) == b'-';
    // Degrees and minutes: `+4042-07403`.
    let place = matches!(groups.sizes(), [4, 5] | [6, 7]);
    // Two decimals: `+51.5074-000.1278`.
    let has = |sign| (1..len).any(|k| run.gap(k) == sign);
    let place = place || has(b'.') && has(b'-');
    (!date && !place && (groups.sizes().len() > 1 || len >= 10)).then_some(len)
}

fn north_american(text: Text<'_>, i: usize, run: &Run) -> Option<usize> {
    let skip = usize::from(run.digit(0) == 1 && run.gap(1) != 0);
    let (area, exchange) = (run.digit(skip), run.digit(skip + 3));
    let (first, second) = (run.gap(skip + 3), run.gap(skip + 6));
    if first == 0 || second == 0 {
        return None;
    }
    let sizes = run.groups(skip + 10);
    let grouped = match sizes.sizes() {
        [3, 3, 4] => skip == 0,
        [1, 3, 3, 4] => skip == 1,
        _ => false,
    };
    let alike =
        first == second || first == b')' || matches!((first, second), (b' ' | b'/' | b'.', b'-'));
    let digits = (2..=9).contains(&area) && (2..=9).contains(&exchange);
    let known = matches!(second, b'-' | b'.' | b' ' | b'/');
    let next = run.gap(skip + 10);
    let longer = next != 0 && (next == second || next == b'-') && !matches!(next, b' ');
    let before = gap_before(text, i);
    let tied = before != 0 && before != b' ';
    (grouped && alike && digits && known && !longer && !tied).then_some(skip + 10)
}

/// `020 7946 0123`, `07700 900123`, `01 99 00 12 34`.
fn trunk(text: Text<'_>, i: usize, run: &Run) -> Option<usize> {
    let len = (1..run.len())
        .find(|k| matches!(run.gap(*k), b'\n' | b'_' | b'+'))
        .unwrap_or(run.len());
    if run.digit(0) != 0 || run.digit(1) == 0 || !(10..=12).contains(&len) {
        return None;
    }
    let groups = run.groups(len);
    let pairs = groups.sizes() == [2, 2, 2, 2, 2];
    let area = groups.sizes().first().copied().unwrap_or(0);
    let date = groups.sizes().starts_with(&[2, 2, 4]);
    let shape = !date
        && (2..=5).contains(&area)
        && (2..=5).contains(&groups.sizes().len())
        && groups.sizes().iter().all(|size| *size > 1);
    let signs = (1..len).all(|k| match run.gap(k) {
        0 | b' ' | b'-' | b'(' | b')' => true,
        b'/' => k == usize::from(area),
        b'.' => pairs,
        _ => false,
    });
    (shape && signs && gap_before(text, i) == 0).then_some(len)
}

/// `0044 20 7946 0123`.
fn prefixed(text: Text<'_>, i: usize, run: &Run) -> Option<usize> {
    let len = run.len();
    let country = run.gap(1) == 0 && run.gap(2) == 0 && (3..=5).any(|k| run.gap(k) != 0);
    let zeros = run.digits(2) == [0, 0] && run.digit(2) != 0;
    let signs = (1..len).all(|k| matches!(run.gap(k), 0 | b' ' | b'-' | b'(' | b')'));
    (zeros
        && country
        && signs
        && gap_before(text, i) == 0
        && (11..=17).contains(&len)
        && !run.continues(text, len))
    .then_some(len)
}

/// Digits that a word beside them calls a number to dial.
fn named(text: Text<'_>, i: usize, run: &Run) -> Option<usize> {
    let len = (1..run.len())
        .find(|k| matches!(run.gap(*k), b'\n' | b'_' | b'+'))
        .unwrap_or(run.len());
    let repeated = run.digits(len).iter().all(|d| *d == run.digit(0));
    ((7..=15).contains(&len) && !repeated && says(text, i, WORDS)).then_some(len)
}

/// The end of ` ext. 77` and the like.
fn extension(text: Text<'_>, end: usize) -> Option<usize> {
    let mut at = text.run(end, 2, |b| matches!(b, b' ' | b','));
    let word = ["extension", "ext", "x", "#"].iter().find(|word| {
        text.slice(at..at + word.len())
            .eq_ignore_ascii_case(word.as_bytes())
    })?;
    at = text.run(at + word.len(), 3, |b| matches!(b, b'.' | b' ' | b':'));
    let stop = text.run(at, 6, |b| b.is_ascii_digit());
    (stop > at).then_some(stop)
}
