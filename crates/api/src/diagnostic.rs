//! What is wrong with a resource, and where.

use std::fmt;
use std::sync::Arc;

/// One finding about a resource file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the resources can be used in spite of it.
    pub severity: Severity,
    /// The file.
    pub file: Arc<str>,
    /// The line, from 1; 0 when the file as a whole is meant.
    pub line: u64,
    /// The column in characters, from 1; 0 when the file as a whole is meant.
    pub column: u64,
    /// The field (`spec.rules[2].match.labels[0]`); empty when the file as a whole is meant.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What may have been meant.
    pub suggestion: Option<String>,
}

/// Whether resources can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// They can; someone should know.
    Warning,
    /// They cannot.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}: ", self.severity)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, " ({suggestion})"),
            None => Ok(()),
        }
    }
}

/// "did you mean …" for a word that is not in the list, or the list when it is short.
pub(crate) fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let folded = word.to_lowercase();
    let close = known
        .iter()
        .map(|name| (strsim::jaro_winkler(&folded, &name.to_lowercase()), *name))
        .filter(|(score, _)| *score >= 0.82)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match close {
        Some((_, name)) => Some(format!("did you mean `{name}`?")),
        None if known.is_empty() => None,
        None if known.len() <= 12 => Some(format!("known: {}", known.join(", "))),
        None => None,
    }
}
