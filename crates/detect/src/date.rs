//! Dates that the text beside them calls a date of birth.

use crate::context::says;
use crate::run::Run;
use crate::text::{Text, is_word};

const WORDS: &[&str] = &[
    "dob",
    "d.o.b",
    "born",
    "birth",
    "birthdate",
    "birthday",
    "birth_date",
    "birth date",
    "geboren",
    "date of birth",
    "date_of_birth",
    "dateofbirth",
    "bday",
    "birthdate",
    "geburtsdatum",
    "geb",
    "naissance",
    "nacimiento",
    "nascita",
];

const MONTHS: [&[u8]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

/// Where a date begins and ends whose first digit is at `i`.
pub(crate) fn find(text: Text<'_>, i: usize) -> Option<(usize, usize)> {
    // The word is what is rare, so it is looked for first; a month may stand
    // between it and the day.
    if !says(text, i, WORDS) {
        return None;
    }
    let (start, end) = written(text, i).or_else(|| numeric(text, i, &Run::read(text, i)))?;
    let free = !is_word(text.before(start)) && !is_word(text.at(end));
    free.then_some((start, end))
}

fn numeric(text: Text<'_>, i: usize, run: &Run) -> Option<(usize, usize)> {
    for len in (4..=8).rev() {
        if run.len() < len || run.continues(text, len) {
            continue;
        }
        let groups = run.groups(len);
        let gaps = |first: usize, second: usize| {
            run.gap(first) == run.gap(second) && matches!(run.gap(first), b'-' | b'/' | b'.' | b' ')
        };
        let fits = match groups.sizes() {
            [4, a @ 1..=2, 1..=2] => gaps(4, 4 + usize::from(*a)),
            [a @ 1..=2, b @ 1..=2, 2 | 4] => gaps(usize::from(*a), usize::from(a + b)),
            [8] => true,
            _ => false,
        };
        if fits {
            return Some((i, run.end(len)));
        }
    }
    None
}

/// `19 March 1981`, `19th of Mar. 1981`, `March 19, 1981`.
fn written(text: Text<'_>, i: usize) -> Option<(usize, usize)> {
    let day = text.run(i, 3, |b| b.is_ascii_digit());
    if day - i > 2 {
        return None;
    }
    let blank = |b: u8| matches!(b, b' ' | b'-' | b'.' | b',' | b'/');
    let suffix = text.run(day, 2, |b| b.is_ascii_lowercase());
    let at = text.run(suffix, 3, blank);
    let word = text.run(at, 10, |b| b.is_ascii_alphabetic());
    let (start, tail) = if month(text.slice(at..word)) {
        (i, word)
    } else {
        let stop = text.run_back(i, 2, blank);
        let start = text.run_back(stop, 10, |b| b.is_ascii_alphabetic());
        if !month(text.slice(start..stop)) {
            return None;
        }
        (start, suffix)
    };
    let year = text.run(tail, 3, blank);
    let end = text.run(year, 4, |b| b.is_ascii_digit());
    (end - year == 4 || end - year == 2).then_some((start, end))
}

fn month(word: &[u8]) -> bool {
    word.get(..3)
        .is_some_and(|head| MONTHS.iter().any(|month| head.eq_ignore_ascii_case(month)))
}
