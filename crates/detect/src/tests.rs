//! What is found and what is left alone, by kind.

use super::*;

mod forms;
mod found;
mod left_alone;
mod robust;

/// The findings as (text, kind).
fn find(text: &str) -> Vec<(&str, &'static str)> {
    scan(text.as_bytes())
        .into_iter()
        .map(|span| (&text[span.start..span.end], span.kind.name()))
        .collect()
}

/// Claims that the only finding in the text is this part of it.
#[track_caller]
fn only(text: &str, part: &str, kind: &str) {
    assert_eq!(find(text), [(part, kind)], "in {text:?}");
}

#[track_caller]
fn nothing(text: &str) {
    assert_eq!(find(text), [], "in {text:?}");
}

/// Token-like strings are put together here, so that secret scanners on code
/// hosts do not take them for real ones.
fn joined(parts: &[&str]) -> String {
    parts.concat()
}
