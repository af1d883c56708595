//! The only place that calls the C parser: guards before, error sorting after.
//!
//! The parser keeps its state in thread-local variables, so threads do not wait for each
//! other. Depth is bounded by the decoder, which refuses trees of more than 100 messages; nothing
//! behind this module sees a deeper tree.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_query::ParserOptions;
use pg_query::protobuf::{ParseResult, ScanToken, Token};

use crate::{LexSettings, MAX_TEXT, OpaqueReason, SyntaxError};

/// Why there is no tree.
#[derive(Debug)]
pub(crate) enum Rejection {
    /// The grammar says no.
    Syntax(SyntaxError),
    /// Not judged.
    Opaque(OpaqueReason),
}

impl From<OpaqueReason> for Rejection {
    fn from(reason: OpaqueReason) -> Self {
        Self::Opaque(reason)
    }
}

/// At most this many candidate positions are tried to find the cursor of a syntax error.
const MAX_CURSOR_PROBES: usize = 32;

/// Longest text for which the cursor of a syntax error is looked for.
const MAX_CURSOR_TEXT: usize = 64 << 10;

/// Parses a whole text.
pub(crate) fn parse(text: &str, lex: &LexSettings) -> Result<ParseResult, Rejection> {
    if text.len() > MAX_TEXT {
        return Err(OpaqueReason::TooLarge.into());
    }
    if text.as_bytes().contains(&0) {
        return Err(OpaqueReason::NulByte.into());
    }
    match run(text, lex) {
        Ok(tree) => Ok(tree),
        Err(Failure::Opaque(reason)) => Err(reason.into()),
        Err(Failure::Grammar(message)) => {
            let cursor = cursor(text, lex, &message);
            Err(Rejection::Syntax(SyntaxError { message, cursor }))
        }
    }
}

/// The tokens of a text, comments among them.
pub(crate) fn tokens(text: &str) -> Option<Vec<ScanToken>> {
    guarded(|| pg_query::scan_tokens(text))?.ok()
}

/// See `crate::reads_alike`.
pub(crate) fn reads_alike(text: &str) -> bool {
    if !text.contains('\\') {
        return true;
    }
    let is_escaped = |token: &ScanToken| {
        let range = usize::try_from(token.start)
            .ok()
            .zip(usize::try_from(token.end).ok());
        let found = range.and_then(|(start, end)| text.get(start..end));
        let is_string = matches!(token.token(), Token::Sconst | Token::Usconst);
        is_string
            && found.is_none_or(|found| !found.starts_with(['e', 'E', '$']) && found.contains('\\'))
    };
    tokens(text).is_some_and(|tokens| !tokens.iter().any(is_escaped))
}

/// See `Script::fingerprint`.
pub(crate) fn fingerprint(text: &str, lex: &LexSettings) -> Option<String> {
    guarded(|| pg_query::fingerprint(text, options(lex), 0))?
        .ok()
        .map(|print| print.hex)
}

/// See `crate::normalize`.
pub(crate) fn normalize(text: &str, lex: &LexSettings) -> Option<String> {
    if !lex.standard_conforming_strings && text.contains('\\') {
        return None;
    }
    parse(text, lex).ok()?;
    guarded(|| pg_query::normalize(text))?.ok()
}

enum Failure {
    Grammar(String),
    Opaque(OpaqueReason),
}

fn options(lex: &LexSettings) -> ParserOptions {
    let quiet = ParserOptions::DISABLE_ESCAPE_STRING_WARNING;
    if lex.standard_conforming_strings {
        quiet
    } else {
        quiet | ParserOptions::DISABLE_STANDARD_CONFORMING_STRINGS
    }
}

/// Runs the C library, and survives a panic of the wrapper around it.
fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

fn run(text: &str, lex: &LexSettings) -> Result<ParseResult, Failure> {
    let outcome = guarded(|| pg_query::parse(text, options(lex)))
        .ok_or(Failure::Opaque(OpaqueReason::Internal))?;
    match outcome {
        Ok(result) => Ok(result.protobuf),
        Err(pg_query::Error::Parse(message)) => Err(sort_message(message)),
        Err(pg_query::Error::Decode(_)) => Err(Failure::Opaque(OpaqueReason::TooDeep)),
        Err(_) => Err(Failure::Opaque(OpaqueReason::Internal)),
    }
}

/// The library reports its own limits as if they were errors of the text.
fn sort_message(message: String) -> Failure {
    if message.starts_with("stack depth limit exceeded")
        || message.starts_with("parse tree is nested too deeply")
        || message.starts_with("memory exhausted")
    {
        Failure::Opaque(OpaqueReason::TooDeep)
    } else if message.starts_with("Failed to open pipe")
        || message.starts_with("out of memory")
        || message.starts_with("invalid memory alloc")
    {
        Failure::Opaque(OpaqueReason::Internal)
    } else {
        Failure::Grammar(message)
    }
}

/// Finds where the error is, which the wrapper drops. The grammar reports an error at the
/// first token that cannot follow, so the text up to that token fails differently from the
/// text that includes it.
fn cursor(text: &str, lex: &LexSettings, message: &str) -> Option<u32> {
    if message.ends_with(" at end of input") {
        return position(text, text.len());
    }
    let (_, near) = message.split_once(" at or near \"")?;
    let near = near.strip_suffix('"')?;
    if text.len() > MAX_CURSOR_TEXT {
        return None;
    }
    let Some(tokens) = tokens(text) else {
        // The scanner itself fails: the near text runs to the end of what it read.
        return text
            .ends_with(near)
            .then(|| position(text, text.len() - near.len()))
            .flatten();
    };
    let candidates: Vec<&ScanToken> = tokens
        .iter()
        .filter(|token| slice(text, token.start, token.end) == Some(near))
        .collect();
    let (mut low, mut high) = (0, candidates.len().checked_sub(1)?);
    for _ in 0..MAX_CURSOR_PROBES {
        if low >= high {
            break;
        }
        let middle = low + (high - low) / 2;
        let end = candidates.get(middle).map(|token| token.end)?;
        let fails = match slice(text, 0, end).map(|prefix| run(prefix, lex)) {
            Some(Err(Failure::Grammar(found))) => found == message,
            _ => false,
        };
        if fails {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let start = candidates.get(low).map(|token| token.start)?;
    position(text, usize::try_from(start).ok()?)
}

fn slice(text: &str, start: i32, end: i32) -> Option<&str> {
    text.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

/// Byte offset to a position in characters, from 1.
fn position(text: &str, offset: usize) -> Option<u32> {
    u32::try_from(text.get(..offset)?.chars().count() + 1).ok()
}
