//! Statement text to facts, judged by PostgreSQL's own grammar.
//!
//! `analyze` parses a text with the server's grammar and answers what each statement does
//! (`Effect`s, relations, functions, settings), and, through `Lineage`, which columns flow
//! where. It is pure and deterministic, never panics and never overflows the stack; what it
//! cannot judge is `Analysis::Opaque` or `Statement::opaque`, never silently harmless.
//!
//! It does not look anything up: names are as written, and what they mean is asked of the
//! caller's `Oracle`.

use std::sync::Arc;

mod build;
pub mod builtin;
mod collect;
mod effect;
mod facts;
mod ir;
mod lineage;
mod parse;
mod shape;
mod trace;
mod types;
mod where_clause;

#[cfg(test)]
mod tests;

pub use collect::is_collecting;
pub use effect::{Effect, EffectSet};
pub use facts::{
    Access, Code, CopyDirection, CopyEndpoint, CopySpec, Cursor, DefinitionColumn, Explain, Fetch,
    FunctionRef, Prepared, RelationRef, Rename, Script, SettingChange, SettingTarget, Statement,
    Transaction, WhereClause,
};
pub use lineage::{
    Column, ColumnUse, Derivation, Destination, Lineage, Oracle, Origin, OutputColumn, OutputItem,
    Outputs, Traced, Use,
};

pub use shape::Shape;
pub use types::own_type;

/// Longest text that is analysed, in bytes.
pub const MAX_TEXT: usize = 1 << 20;

/// Stack that `analyze` and `Lineage::trace` are given in tests, in bytes, whatever the text.
/// An unoptimised build was seen to need less than half of it. Threads of 2 MiB, the default of
/// most runtimes, are not enough for every text in such a build.
pub const STACK: usize = 4 << 20;

/// What of the session changes how text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LexSettings {
    /// `standard_conforming_strings`, as the server last reported it.
    pub standard_conforming_strings: bool,
}

impl Default for LexSettings {
    fn default() -> Self {
        Self {
            standard_conforming_strings: true,
        }
    }
}

/// The answer to `analyze`.
#[derive(Clone, Debug)]
pub enum Analysis {
    /// The text is understood; single statements may still be opaque.
    Parsed(Arc<Script>),
    /// The server's grammar rejects the text.
    SyntaxError(SyntaxError),
    /// The text was not judged.
    Opaque(OpaqueReason),
}

/// A syntax error as the server reports it (SQLSTATE 42601 where `message` begins with
/// `syntax error`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The server's primary message.
    pub message: String,
    /// Position in characters, from 1, where it could be found.
    pub cursor: Option<u32>,
}

/// Why a text was not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpaqueReason {
    /// Longer than `MAX_TEXT`.
    #[error("the statement is too large to be judged")]
    TooLarge,
    /// Nested too deeply, or too long a chain of operators.
    #[error("the statement is nested too deeply to be judged")]
    TooDeep,
    /// Contains a NUL byte, which the protocol cannot carry.
    #[error("the statement contains a zero byte")]
    NulByte,
    /// The parser failed for a reason of its own.
    #[error("the statement could not be judged")]
    Internal,
}

/// Judges a text of zero or more statements.
///
/// Needs `STACK` bytes of stack, whatever the text.
pub fn analyze(text: &str, lex: &LexSettings) -> Analysis {
    match parse::parse(text, lex) {
        Ok(tree) => Analysis::Parsed(Arc::new(build::script(&tree, text))),
        Err(parse::Rejection::Syntax(error)) => Analysis::SyntaxError(error),
        Err(parse::Rejection::Opaque(reason)) => Analysis::Opaque(reason),
    }
}

impl Script {
    /// The fingerprint of the text that this is the analysis of: equal for texts that differ in
    /// constants only, as 16 hex digits. Parses again.
    pub fn fingerprint(&self, text: &str, lex: &LexSettings) -> Option<String> {
        parse::fingerprint(text, lex)
    }
}

/// Whether a text is the same whatever `standard_conforming_strings` is: no backslash stands in a string that is
/// not written as `E'…'`.
pub fn reads_alike(text: &str) -> bool {
    parse::reads_alike(text)
}

/// The text with constants replaced by `$n`. Parses again. `None` where the text cannot be
/// parsed.
pub fn normalize(text: &str, lex: &LexSettings) -> Option<String> {
    parse::normalize(text, lex)
}
