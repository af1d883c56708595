//! Social security numbers: 3-2-4 digits in ranges that were ever issued.
//!
//! <https://www.ssa.gov/employer/randomization.html>

use crate::context::says;
use crate::run::{Run, gap_before};
use crate::text::{Text, is_word};

/// Numbers that were published and are nobody's.
const SPECIMENS: [[u8; 9]; 4] = [
    [0, 7, 8, 0, 5, 1, 1, 2, 0],
    [2, 1, 9, 0, 9, 9, 9, 9, 9],
    [4, 5, 7, 5, 5, 5, 4, 6, 2],
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
];

const WORDS: &[&str] = &[
    "ssn",
    "ss",
    "ss#",
    "social",
    "social security",
    "socialsecurity",
    "socialsecuritynumber",
    "ssnumber",
    "ssnnumber",
    "ssnno",
    "soc. sec",
    "tax id",
    "taxid",
    "tax_id",
    "tin",
    "taxpayer",
    "itin",
    "soc sec",
    "national_id",
];

/// The end of a number that begins at `i`.
pub(crate) fn find(text: Text<'_>, i: usize, run: &Run) -> Option<usize> {
    if run.len() < 9 || run.continues(text, 9) || !issued(run.digits(9)) {
        return None;
    }
    let end = run.end(9);
    let before = text.led(i);
    if is_word(before) || is_word(text.at(end)) || before == b'+' {
        return None;
    }
    let groups = run.groups(9);
    let tie = match groups.sizes() {
        [3, 2, 4] => join(run.gap(3), run.gap(5))?,
        [1, 1, 1, 1, 1, 1, 1, 1, 1] if spaced(run) => b'-',
        [9] if says(text, i, WORDS) => return Some(end),
        [1, 1, 1, 1, 1, 1, 1, 1, 1] if says(text, i, WORDS) => b' ',
        _ => return None,
    };
    // More digits behind the same separator: a longer code, not a number.
    if run.gap(9) == tie || gap_before(text, i) == tie {
        return None;
    }
    // Part of a code (`ORD-774-21-9036`), unless that is what it is called; a slash separates parts of a path.
    let led = matches!(before, b'-' | b'.') && is_word(text.before2(i)) && !says(text, i, WORDS)
        || before == b'/' && text.before2(i).is_ascii_digit();
    let (sign, after) = (text.at(end), text.at(end + 1));
    let joined = sign == b'-' && is_word(after) || sign == b'/' && after.is_ascii_digit();
    (!led && !joined).then_some(end)
}

/// The separator that both gaps are, where they agree.
fn join(first: u8, second: u8) -> Option<u8> {
    match (first, second) {
        (a, b) if a == b && matches!(a, b'-' | b' ' | b'.' | b'/' | b'_' | b'\n') => Some(a),
        (b'-', b' ') | (b' ', b'-') => Some(b'-'),
        _ => None,
    }
}

/// `8 0 0 - 9 3 - 7 6 7 2`: dashes where they belong, spaces elsewhere.
fn spaced(run: &Run) -> bool {
    (1..9).all(|k| {
        let gap = run.gap(k);
        if k == 3 || k == 5 {
            gap == b'-' || gap == b'.' || gap == b'/'
        } else {
            gap == b' '
        }
    })
}

fn issued(digits: &[u8]) -> bool {
    let [a, b, c, d, e, serial @ ..] = digits else {
        return false;
    };
    let area = u16::from(*a) * 100 + u16::from(*b) * 10 + u16::from(*c);
    let repeated = digits.iter().all(|digit| digit == a);
    (1..900).contains(&area)
        && area != 666
        && (*d, *e) != (0, 0)
        && serial != [0, 0, 0, 0]
        && !repeated
        && !SPECIMENS.iter().any(|specimen| specimen == digits)
}
