//! What is wrong with a resource, and where.

use std::fmt;
use std::sync::Arc;

/// One finding about a resource file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the object can be used in spite of it.
    pub severity: Severity,
    /// What kind of finding it is, for programs.
    pub reason: Reason,
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

/// Whether an object can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It can; someone should know.
    Warning,
    /// It can as far as it goes; something that it names is not there, or not any more.
    Unready,
    /// It cannot.
    Error,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What kind of finding it is: the reason of a condition, as one word for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name),+ }

        impl Reason {
            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$name => stringify!($name)),+ }
            }
        }
    };
}

reasons! {
    /// The object is wrong in itself.
    Invalid,
    /// It asks for what this version does not enforce.
    Unenforced,
    /// Something in it can never apply.
    NeverApplies,
    /// It names a Target that is not there.
    UnknownTarget,
    /// It names a DataLabel that is not there.
    UnknownLabel,
    /// It names a rule that is not there.
    UnknownRule,
    /// It names a Service that has no address.
    UnresolvedService,
    /// Another Target has the same address, so that connections to it are refused.
    AddressConflict,
    /// No ClusterGuardPolicy grants the Target to anybody.
    NotGranted,
    /// It is over.
    Expired,
    /// It works, but perhaps not as its author thinks.
    Advice,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Warning => "warning",
            Severity::Unready => "not ready",
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
