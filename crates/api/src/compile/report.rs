//! Findings while compiling, and what each of them means for its object.

use super::References;
use crate::diagnostic::{Diagnostic, Reason, Severity};
use crate::load::at;
use crate::tree::Origin;

/// Collects findings.
#[derive(Debug)]
pub(crate) struct Report {
    diagnostics: Vec<Diagnostic>,
    references: References,
}

impl Report {
    pub(crate) const fn new(references: References) -> Report {
        Report {
            diagnostics: Vec::new(),
            references,
        }
    }

    pub(super) const fn references(&self) -> References {
        self.references
    }

    /// Where the findings of the next object begin.
    pub(super) const fn mark(&self) -> usize {
        self.diagnostics.len()
    }

    /// The first error since then.
    pub(super) fn error_since(&self, mark: usize) -> Option<&str> {
        let since = self.diagnostics.get(mark..).unwrap_or_default();
        let error = since.iter().find(|found| found.severity == Severity::Error);
        error.map(|found| found.message.as_str())
    }

    /// Everything, in the order of the files.
    pub(super) fn finish(self) -> Vec<Diagnostic> {
        let mut diagnostics = self.diagnostics;
        diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        diagnostics
    }

    /// The object is wrong in itself.
    pub(super) fn error(&mut self, origin: &Origin, field: &str, message: impl Into<String>) {
        self.error_with(origin, field, message, None);
    }

    pub(super) fn error_with(
        &mut self,
        origin: &Origin,
        field: &str,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        let kind = (Severity::Error, Reason::Invalid);
        self.push(origin, field, kind, message.into(), suggestion);
    }

    /// It can never apply, whatever else there is.
    pub(super) fn never(&mut self, origin: &Origin, field: &str, message: impl Into<String>) {
        let kind = (Severity::Error, Reason::NeverApplies);
        self.push(origin, field, kind, message.into(), None);
    }

    /// The schema can say it, this version cannot do it.
    pub(super) fn unenforced(&mut self, origin: &Origin, field: &str, what: &str) {
        let kind = (Severity::Error, Reason::Unenforced);
        let message = format!("{what} is not enforced by this version of Weir");
        self.push(origin, field, kind, message, None);
    }

    /// It does not fit with the other objects.
    pub(super) fn reference(
        &mut self,
        origin: &Origin,
        field: &str,
        reason: Reason,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        let severity = match self.references {
            References::Strict => Severity::Error,
            References::Lenient => Severity::Unready,
        };
        self.push(
            origin,
            field,
            (severity, reason),
            message.into(),
            suggestion,
        );
    }

    /// It is right, and still not what is in force.
    pub(super) fn notice(
        &mut self,
        origin: &Origin,
        field: &str,
        reason: Reason,
        message: impl Into<String>,
    ) {
        let severity = match self.references {
            References::Strict => Severity::Warning,
            References::Lenient => Severity::Unready,
        };
        self.push(origin, field, (severity, reason), message.into(), None);
    }

    pub(super) fn warning(&mut self, origin: &Origin, field: &str, message: impl Into<String>) {
        self.warn(origin, field, Reason::Advice, message);
    }

    pub(super) fn warn(
        &mut self,
        origin: &Origin,
        field: &str,
        reason: Reason,
        message: impl Into<String>,
    ) {
        let kind = (Severity::Warning, reason);
        self.push(origin, field, kind, message.into(), None);
    }

    fn push(
        &mut self,
        origin: &Origin,
        field: &str,
        kind: (Severity, Reason),
        message: String,
        suggestion: Option<String>,
    ) {
        self.diagnostics
            .push(at(origin, field, kind, message, suggestion));
    }
}
