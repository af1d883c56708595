//! Claims about commands: attacks are seen or opaque, everyday commands are neither.

use super::word::ANY;
use super::*;

mod attacks;
mod benign;
mod counted;
mod dull;
mod elsewhere;
mod everyday;
mod further;
mod plain;
mod reread;

fn of(text: &str) -> Command {
    analyze(text.as_bytes(), &[("LC_X", "x")])
}

/// None of the texts gets past a rule against the tools of a dump.
fn all_are_refused(texts: &[&str]) {
    let missed: Vec<&&str> = texts
        .iter()
        .filter(|text| refused(text).is_none())
        .collect();
    assert!(missed.is_empty(), "{} missed: {missed:#?}", missed.len());
}

/// Each of the texts passes a rule against the tools of a dump.
fn none_is_refused(texts: &[&str]) {
    let refused: Vec<(&str, String)> = texts
        .iter()
        .filter_map(|text| Some((*text, refused(text)?)))
        .collect();
    assert!(
        refused.is_empty(),
        "{} refused: {refused:#?}",
        refused.len()
    );
}

/// Each of the texts runs what the client sends later, or is opaque.
fn all_read_the_client(texts: &[&str]) {
    let missed: Vec<&&str> = texts
        .iter()
        .filter(|text| !of(text).shell && of(text).opaque.is_none())
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Whether a rule against the tools of a dump would refuse it.
fn refused(text: &str) -> Option<String> {
    let command = of(text);
    let tool = |pattern: &&String| {
        let pattern = pattern.replace('*', &ANY.to_string());
        ["pg_dump", "mysqldump", "mongodump"]
            .iter()
            .any(|tool| word::may_be(&pattern, tool))
    };
    let named = command.programs.iter().find(tool).cloned();
    let mentioned = |word: &&String| {
        let tools = ["pg_dump", "mysqldump", "mongodump"];
        tools.contains(&word.as_str())
    };
    let named = named.or_else(|| command.mentions.iter().find(mentioned).cloned());
    named.or(command.opaque)
}
