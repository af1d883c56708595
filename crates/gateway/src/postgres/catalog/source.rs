//! What code does, as far as its words tell: they can only find more than there is.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;

use weir_sql::{Analysis, LexSettings};

use super::functions::{is_keeper, is_risky};

/// Bytes of a name that count (`NAMEDATALEN` less its end).
const MAX_NAME: usize = 63;

/// Whether code may put many records into one value: by an aggregate, or piece by piece in a loop.
pub(crate) fn collects(source: &str) -> bool {
    let has = |wanted: fn(&str) -> bool| words(source).any(|word| wanted(&word));
    let adds = source.contains("||") || has(joins);
    has(weir_sql::is_collecting)
        || each_word(source, "array", |rest| !rest.starts_with('['))
        || adds && has(|word| matches!(word, "loop" | "recursive"))
}

/// Whether a function of the server's of this name may put one value into another.
fn joins(name: &str) -> bool {
    name.starts_with("array_")
        || name.starts_with("concat")
        || name.starts_with("jsonb_")
        || matches!(
            name,
            "byteacat"
                | "format"
                | "lpad"
                | "overlay"
                | "regexp_replace"
                | "replace"
                | "rpad"
                | "textcat"
                | "xmlconcat"
        )
}

/// Whether a source has a word of a statement that stores something, or may hide one. A cursor or a
/// prepared statement that code makes is there for the session.
pub(crate) fn stores_by_words(source: &str) -> bool {
    const STORING: [&str; 15] = [
        "insert",
        "update",
        "delete",
        "merge",
        "copy",
        "notify",
        "create",
        "alter",
        "comment",
        "execute",
        "call",
        "do",
        "open",
        "prepare",
        "deallocate",
    ];
    has_unicode_names(source)
        || words(source).any(|word| STORING.contains(&word.as_str()) || is_keeper(&word))
}

/// Whether a source names one of these.
pub(super) fn names_any<N: Borrow<str> + Eq + Hash>(source: &str, names: &HashSet<N>) -> bool {
    words(source).any(|word| names.contains(word.as_str()))
        || names.iter().any(|name| in_quotes(name.borrow(), source))
}

/// Whether a source may catch errors.
pub(super) fn catches(source: &str) -> bool {
    let has = |wanted: &str| words(source).any(|word| word == wanted);
    has("exception") && has("when")
}

pub(super) fn is_harmless_source(source: &str, labelled: &HashSet<Box<str>>) -> bool {
    if has_unicode_names(source)
        || runs_text(source)
        || reads_cursors(source)
        || labelled.iter().any(|name| in_quotes(name, source))
    {
        return false;
    }
    words(source).all(|word| {
        !matches!(word.as_str(), "execute" | "deallocate")
            && !labelled.contains(word.as_str())
            && (labelled.is_empty() || !word.starts_with("pg_toast"))
            && !is_risky(&word)
    })
}

/// Whether code defines other code, which nobody has read: its text can be spelled in many ways.
pub(super) fn defines_code(source: &str) -> bool {
    const KINDS: [&str; 11] = [
        "function",
        "procedure",
        "routine",
        "aggregate",
        "operator",
        "cast",
        "trigger",
        "rule",
        "policy",
        "conversion",
        "transform",
    ];
    let has = |wanted: &dyn Fn(&str) -> bool| words(source).any(|word| wanted(&word));
    has(&|word| matches!(word, "create" | "alter")) && has(&|word| KINDS.contains(&word))
}

/// Whether code may run a block that it holds as a string, in which words can be spelled in many ways: the word `DO`
/// with a string behind it, a language, or a comment that may hide one.
fn runs_text(source: &str) -> bool {
    each_word(source, "do", |rest| {
        let word: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
        let behind = rest.get(word.len()..).unwrap_or_default();
        rest.starts_with(['\'', '$', '-', '/'])
            || word.eq_ignore_ascii_case("language")
            || matches!(word.as_str(), "e" | "E" | "u" | "U" | "n" | "N")
                && behind.starts_with(['\'', '&'])
    })
}

/// Whether code may read what a cursor returns: the session may have opened it over anything. `FETCH FIRST 5 ROWS`
/// opens none.
fn reads_cursors(source: &str) -> bool {
    let limits = |rest: &str| {
        let mut words = rest.split_ascii_whitespace();
        let first = words.next().unwrap_or_default().to_ascii_lowercase();
        let second = words.next().unwrap_or_default().to_ascii_lowercase();
        matches!(first.as_str(), "first" | "next")
            && (second.starts_with(|c: char| c.is_ascii_digit())
                || matches!(second.as_str(), "row" | "rows"))
    };
    each_word(source, "fetch", |rest| !limits(rest))
        || each_word(source, "move", |_| true)
        || each_word(source, "current", |rest| {
            rest.starts_with(['-', '/'])
                || rest
                    .get(..2)
                    .is_some_and(|of| of.eq_ignore_ascii_case("of"))
        })
}

/// Whether something holds behind one of the places where a word stands, blanks left out.
fn each_word(source: &str, word: &str, holds: impl Fn(&str) -> bool) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut from = 0;
    source.split(|c| !is_part(c)).any(|found| {
        let start = from;
        from = start + found.len();
        from += source
            .get(from..)
            .and_then(|rest| rest.chars().next())
            .map_or(0, char::len_utf8);
        let rest = source.get(start + found.len()..).unwrap_or_default();
        found.eq_ignore_ascii_case(word) && holds(rest.trim_start())
    })
}

/// Whether code may put a function where it runs without being called.
pub(super) fn attaches(source: &str) -> bool {
    let has = |wanted: &dyn Fn(&str) -> bool| words(source).any(|word| wanted(&word));
    has(&|word| matches!(word, "create" | "alter"))
        && has(&|word| {
            matches!(
                word,
                "domain" | "type" | "index" | "check" | "generated" | "using" | "statistics"
            )
        })
}

/// Whether code may change how the session's texts are read.
pub(crate) fn rereads(source: &str) -> bool {
    let has = |wanted: &dyn Fn(&str) -> bool| words(source).any(|word| wanted(&word));
    let may = |word: &str| {
        matches!(
            word,
            "standard_conforming_strings"
                | "client_encoding"
                | "set_config"
                | "pg_settings"
                | "reset"
                | "discard"
        )
    };
    has(&may) || has(&|word| word == "set") && has(&|word| word == "names")
}

/// Whether a source may spell names by code points (`U&"\0063ustomers"`).
fn has_unicode_names(source: &str) -> bool {
    source.contains("U&\"") || source.contains("u&\"")
}

/// Whether a name that [`words`] cannot find, since it is no plain word, stands in a source: in
/// quotes, or as it is, since the server takes every character beyond ASCII for a letter.
pub(crate) fn in_quotes(name: &str, source: &str) -> bool {
    let stands = |source: &str, name: &str| source.contains(&name.replace('"', "\"\""));
    !is_word(name) && (stands(source, name) || stands(&source.to_lowercase(), &name.to_lowercase()))
}

pub(super) fn is_word(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_alphanumeric() || c == '_' || c == '$')
}

/// The identifiers in a source text as they stand and as the server folds and cuts them; comments
/// and strings are read like code, which can only find more. What stands beside a dollar may be beside a quote.
pub(crate) fn words(source: &str) -> impl Iterator<Item = String> {
    source
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
        .flat_map(|word| {
            let parts = word.split('$').filter(move |part| part.len() < word.len());
            std::iter::once(word).chain(parts)
        })
        .filter(|word| !word.is_empty())
        .flat_map(|word| {
            let cut = word
                .char_indices()
                .map(|(at, c)| at + c.len_utf8())
                .take_while(|end| *end <= MAX_NAME)
                .last()
                .unwrap_or(0);
            let cut = word.get(..cut).unwrap_or(word);
            [cut.to_owned(), cut.to_lowercase(), cut.to_ascii_lowercase()]
        })
}

/// Whether the text of a function in SQL makes a relation by `SELECT … INTO`, or may.
pub(super) fn selects_into(body: &str) -> bool {
    if !words(body).any(|word| word == "into") {
        return false;
    }
    match weir_sql::analyze(body, &LexSettings::default()) {
        Analysis::Parsed(script) => {
            let mut statements = script.statements.iter();
            statements.any(|statement| statement.changes_schema || statement.opaque.is_some())
        }
        _ => true,
    }
}
