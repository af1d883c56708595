//! Words beside a value that say what it is.

use crate::text::Text;

/// How far back a word may be.
const WINDOW: usize = 40;

/// Whether one of these words (lower case) stands before `i` and speaks of
/// what is there: close by, with no other value in between.
pub(crate) fn says(text: Text<'_>, i: usize, words: &[&str]) -> bool {
    // Another value, or another field, ends the reach of words before it.
    let from = text.run_back(i, WINDOW, |b| {
        !(b.is_ascii_digit() || matches!(b, b',' | b';' | b'\n' | b'|'))
    });
    let source = text.slice(from..i);
    if !source.iter().any(u8::is_ascii_alphabetic) {
        return false;
    }
    let mut buffer = [0; WINDOW];
    for (to, b) in buffer.iter_mut().zip(source) {
        *to = b.to_ascii_lowercase();
    }
    let window = buffer.get(..source.len()).unwrap_or(&[]);
    // Every place where a word begins.
    let mut inside = false;
    for (at, b) in window.iter().enumerate() {
        let letter = b.is_ascii_alphabetic();
        if letter && !inside && begins(window.get(at..).unwrap_or(&[]), words) {
            return true;
        }
        inside = letter;
    }
    false
}

/// Whether one of the words, whole, is what the window begins with.
fn begins(window: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| {
        window
            .strip_prefix(word.as_bytes())
            .is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphabetic))
    })
}
