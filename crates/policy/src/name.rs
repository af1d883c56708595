//! Names and globs: how a policy writes "this table, those columns".
//!
//! `*` stands for any run of characters and `?` for one, outside double quotes. A part in double
//! quotes is literal (`legal."Tax Ids"`, `"a.b"."c"`), a doubled quote inside stands for one. A
//! plain part must be what SQL leaves as it is: anything that SQL would fold or reject is an error
//! here, so that a pattern never misses in silence.

use std::fmt;

use serde::{Deserialize, Serialize};

/// In what a command may run: a value that is not known and that nobody chooses who writes a command,
/// such as the home of a user of the host. What is not known otherwise is `*`.
pub const HOST_VALUE: u8 = 6;

/// Why a pattern is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(pub String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

/// A pattern for one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Glob {
    /// Exactly this text.
    Literal(String),
    /// Text with `*` and `?`.
    Wild(String),
}

impl Glob {
    /// A glob over free text (labels, subjects, settings): no quoting, no folding.
    pub fn free(text: &str) -> Glob {
        if text.contains(['*', '?']) {
            Glob::Wild(text.to_owned())
        } else {
            Glob::Literal(text.to_owned())
        }
    }

    /// The glob that matches everything.
    pub fn any() -> Glob {
        Glob::Wild("*".to_owned())
    }

    /// One SQL identifier: plain with wildcards, or in double quotes and literal.
    pub fn identifier(text: &str) -> Result<Glob, PatternError> {
        match split_parts(text)?.as_slice() {
            [one] => Ok(one.clone()),
            parts => Err(PatternError(format!(
                "`{text}` has {} parts where one name is expected; put double quotes around a name \
                 that contains a dot",
                parts.len()
            ))),
        }
    }

    /// Whether the pattern holds for the name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Glob::Literal(text) => text == name,
            Glob::Wild(text) => wild(text.as_bytes(), name.as_bytes()),
        }
    }

    /// Whether the pattern holds for bytes that need not be text.
    pub(crate) fn matches_bytes(&self, name: &[u8]) -> bool {
        match self {
            Glob::Literal(text) => text.as_bytes() == name,
            Glob::Wild(text) => wild(text.as_bytes(), name),
        }
    }

    /// Whether the pattern holds for some text that `name`, itself a pattern, may stand for.
    pub(crate) fn may_match(&self, name: &str) -> bool {
        self.may_match_bytes(name.as_bytes())
    }

    /// As [`may_match`](Glob::may_match), for bytes. Of what the pattern says literally, something has to
    /// stand outside of [`HOST_VALUE`]s: `*shadow*` is not meant by `echo $HOME`.
    pub(crate) fn may_match_bytes(&self, name: &[u8]) -> bool {
        let open = |byte: &u8| matches!(*byte, b'*' | b'?' | HOST_VALUE);
        if !name.iter().any(open) {
            return self.matches_bytes(name);
        }
        let (text, literal) = match self {
            Glob::Literal(text) => (text, true),
            Glob::Wild(text) => (text, false),
        };
        let any = !literal && text.bytes().all(|byte| matches!(byte, b'*' | b'?'));
        let met = meet(text.as_bytes(), literal, name);
        if any { met.any } else { met.outside }
    }

    /// Whether the pattern has no wildcard.
    pub fn is_literal(&self) -> bool {
        matches!(self, Glob::Literal(_))
    }

    /// The pattern's text, without quotes.
    pub fn text(&self) -> &str {
        match self {
            Glob::Literal(text) | Glob::Wild(text) => text,
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A pattern for a relation: `schema.table`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TablePattern {
    /// The schema.
    pub schema: Glob,
    /// The table, view or sequence.
    pub table: Glob,
}

impl TablePattern {
    /// Parses `schema.table`. A bare table name is refused: say `*.table` for "in any schema".
    pub fn parse(text: &str) -> Result<TablePattern, PatternError> {
        match split_parts(text)?.as_slice() {
            [schema, table] => Ok(TablePattern {
                schema: schema.clone(),
                table: table.clone(),
            }),
            [_] => Err(PatternError(format!(
                "`{text}` names no schema; write `public.{text}`, or `*.{text}` for any schema"
            ))),
            _ => Err(PatternError(format!("`{text}` is not `schema.table`"))),
        }
    }

    /// Whether the pattern holds for a relation whose schema is known.
    pub fn matches(&self, schema: &str, table: &str) -> bool {
        self.table.matches(table) && self.schema.matches(schema)
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// A pattern for a function: `name` (in any schema) or `schema.name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FunctionPattern {
    /// The schema; none for any.
    pub schema: Option<Glob>,
    /// The name.
    pub name: Glob,
}

impl FunctionPattern {
    /// Parses `name` or `schema.name`.
    pub fn parse(text: &str) -> Result<FunctionPattern, PatternError> {
        match split_parts(text)?.as_slice() {
            [name] => Ok(FunctionPattern {
                schema: None,
                name: name.clone(),
            }),
            [schema, name] => Ok(FunctionPattern {
                schema: Some(schema.clone()),
                name: name.clone(),
            }),
            _ => Err(PatternError(format!(
                "`{text}` is not `name` or `schema.name`"
            ))),
        }
    }
}

/// Splits `a."b.c".d*` at the dots outside quotes.
fn split_parts(text: &str) -> Result<Vec<Glob>, PatternError> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_part(text, quoted)?,
            None => plain_part(text, rest)?,
        };
        parts.push(part);
        if after.is_empty() {
            return Ok(parts);
        }
        rest = after
            .strip_prefix('.')
            .ok_or_else(|| PatternError(format!("`{text}` has text after a closing quote")))?;
    }
}

fn quoted_part<'a>(whole: &str, mut rest: &'a str) -> Result<(Glob, &'a str), PatternError> {
    let mut name = String::new();
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            return Err(PatternError(format!(
                "`{whole}` has a quote that is not closed"
            )));
        };
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None if name.is_empty() => {
                return Err(PatternError(format!("`{whole}` has an empty name")));
            }
            None => return Ok((Glob::Literal(name), after)),
        }
    }
}

fn plain_part<'a>(whole: &str, rest: &'a str) -> Result<(Glob, &'a str), PatternError> {
    let (part, after) = rest.split_at(rest.find(['.', '"']).unwrap_or(rest.len()));
    if part.is_empty() {
        return Err(PatternError(format!("`{whole}` has an empty name")));
    }
    let plain = |c: char| {
        c.is_lowercase()
            || c.is_ascii_digit()
            || matches!(c, '_' | '$' | '*' | '?')
            || !c.is_ascii()
    };
    if let Some(odd) = part.chars().find(|c| !plain(*c) || c.is_uppercase()) {
        return Err(PatternError(format!(
            "`{part}` contains `{odd}`, which an unquoted name cannot; write \"{part}\" in double \
             quotes if the name is really spelt so"
        )));
    }
    Ok((Glob::free(part), after))
}

/// Glob matching with one level of backtracking: linear memory, no recursion.
fn wild(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                t += 1;
                while text.get(t).is_some_and(|b| b & 0xC0 == 0x80) {
                    t += 1;
                }
            }
            Some(byte) if Some(byte) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    p = after;
                    t = from + 1;
                    retry = Some((after, t));
                }
                None => return false,
            },
        }
    }
    pattern
        .get(p..)
        .is_some_and(|rest| rest.iter().all(|b| *b == b'*'))
}

/// How what is left of a pattern and of a name may meet.
#[derive(Clone, Copy, Default)]
struct Met {
    /// They may.
    any: bool,
    /// They may, with something literal of the pattern outside of the host's own values.
    outside: bool,
}

impl Met {
    const fn or(self, other: Met) -> Met {
        Met {
            any: self.any || other.any,
            outside: self.outside || other.outside,
        }
    }

    /// Something literal was met before it.
    const fn behind_text(self) -> Met {
        Met {
            any: self.any,
            outside: self.any,
        }
    }
}

/// Whether a pattern, which may be all literal, and a name with text that is not known in it may stand
/// for the same text. `?` counts as any text here, which finds too much only.
fn meet(left: &[u8], literal: bool, right: &[u8]) -> Met {
    let wide = |byte: u8| !literal && matches!(byte, b'*' | b'?');
    let unknown = |byte: u8| matches!(byte, b'*' | b'?' | HOST_VALUE);
    // Row by row: whether what is left of both sides may be equal.
    let mut above = vec![Met::default(); right.len() + 1];
    for row in (0..=left.len()).rev() {
        let mut this = vec![Met::default(); right.len() + 1];
        for column in (0..=right.len()).rev() {
            let (l, r) = (left.get(row).copied(), right.get(column).copied());
            let at = |list: &[Met], index: usize| list.get(index).copied().unwrap_or_default();
            let met = match (l, r) {
                (None, None) => Met {
                    any: true,
                    outside: false,
                },
                (Some(l), _) if wide(l) => at(&above, column).or(at(&this, column + 1)),
                (Some(_), Some(HOST_VALUE)) => at(&this, column + 1).or(at(&above, column)),
                (Some(_), Some(r)) if unknown(r) => {
                    at(&this, column + 1).or(at(&above, column).behind_text())
                }
                (None, Some(r)) if unknown(r) => at(&this, column + 1),
                (Some(l), Some(r)) if l == r => at(&above, column + 1).behind_text(),
                _ => Met::default(),
            };
            if let Some(cell) = this.get_mut(column) {
                *cell = met;
            }
        }
        above = this;
    }
    above.first().copied().unwrap_or_default()
}
