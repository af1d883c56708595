//! Which functions return nothing but a function of their arguments.
//!
//! A built-in one does unless it runs SQL from text, reads files or large objects. One that is
//! written in SQL or PL/pgSQL does if its source names no labelled relation, builds no statement at
//! run time and calls no function that is not trusted itself. One in C does if an extension brought
//! it and its name is not known to run SQL or reach elsewhere. No other does.

use std::collections::{HashMap, HashSet};

use weir_sql::builtin::{self, FunctionClass};

use super::query::FunctionRow;

/// Bytes of a name that count (`NAMEDATALEN` less its end).
const MAX_NAME: usize = 63;

/// The functions that are not part of the server, by name.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    trusted: HashMap<Box<str>, bool>,
    labelled: HashSet<Box<str>>,
}

impl Functions {
    pub(super) fn build(rows: Vec<FunctionRow<'_>>, labelled: HashSet<Box<str>>) -> Self {
        let mut by_name: HashMap<&str, Vec<&FunctionRow<'_>>> = HashMap::new();
        for row in &rows {
            by_name.entry(row.name).or_default().push(row);
        }
        let mut suspects: HashSet<&str> = by_name
            .iter()
            .filter(|(name, rows)| {
                is_risky(name) || rows.iter().any(|row| !is_harmless(row, &labelled))
            })
            .map(|(name, _)| *name)
            .collect();
        loop {
            let before = suspects.len();
            for (name, rows) in &by_name {
                let calls_suspect = |row: &&FunctionRow<'_>| {
                    row.is_source()
                        && words(row.source).any(|word| suspects.contains(word.as_str()))
                };
                if !suspects.contains(name) && rows.iter().any(calls_suspect) {
                    suspects.insert(name);
                }
            }
            if suspects.len() == before {
                break;
            }
        }
        let verdict = |name: &&str| (Box::from(*name), !suspects.contains(name));
        let trusted = by_name.keys().map(verdict).collect();
        Self { trusted, labelled }
    }

    /// Whether a call by this name can be trusted.
    pub(crate) fn is_trusted(&self, schema: Option<&str>, name: &str) -> bool {
        match self.trusted.get(name) {
            Some(trusted) if schema != Some("pg_catalog") => *trusted && !is_risky(name),
            _ => !is_risky(name),
        }
    }
}

impl Functions {
    /// Whether a block of code names nothing labelled and calls nothing that is not trusted.
    pub(crate) fn is_harmless(&self, language: Option<&str>, source: &str) -> bool {
        matches!(language, Some("sql" | "plpgsql"))
            && is_harmless_source(source, &self.labelled)
            && words(source).all(|word| self.trusted.get(word.as_str()) != Some(&false))
    }
}

fn is_risky(name: &str) -> bool {
    use FunctionClass::{ExecutesSql, LargeObject, Network, ReadsFiles, Wal};
    matches!(
        builtin::class(name),
        Some(ExecutesSql | ReadsFiles | LargeObject | Network | Wal)
    )
}

fn is_harmless(row: &FunctionRow<'_>, labelled: &HashSet<Box<str>>) -> bool {
    if row.is_source() {
        return is_harmless_source(row.source, labelled);
    }
    matches!(row.language, "c" | "internal") && row.from_extension
}

fn is_harmless_source(source: &str, labelled: &HashSet<Box<str>>) -> bool {
    if has_unicode_names(source) || labelled.iter().any(|name| in_quotes(name, source)) {
        return false;
    }
    words(source)
        .all(|word| word != "execute" && !labelled.contains(word.as_str()) && !is_risky(&word))
}

/// Whether a source may spell names by code points (`U&"\0063ustomers"`).
fn has_unicode_names(source: &str) -> bool {
    source.contains("U&\"") || source.contains("u&\"")
}

/// Whether a name that [`words`] cannot find, since it is no plain word, stands in quotes.
pub(crate) fn in_quotes(name: &str, source: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    !name.chars().all(plain) && source.contains(&name.replace('"', "\"\""))
}

/// The identifiers in a source text as they stand and as the server folds and cuts them; comments
/// and strings are read like code, which can only find more.
pub(crate) fn words(source: &str) -> impl Iterator<Item = String> {
    source
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
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
