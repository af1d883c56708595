//! What a client is told when Weir refuses, and how it is told in step with the server.

use weir_policy::RuleName;
use weir_wire_postgres::message::{self, Report};

/// A refusal in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) sqlstate: &'static str,
    pub(super) message: String,
    pub(super) detail: Option<String>,
    pub(super) hint: Option<String>,
    pub(super) rules: Vec<RuleName>,
    /// The statement may be refused only because it has a name that does not exist, which the
    /// server says better.
    pub(super) may_be_mistake: bool,
}

impl Refusal {
    /// Refused by a rule.
    pub(super) fn denied(rule: &RuleName, reason: &str, hint: Option<String>) -> Self {
        Self {
            sqlstate: "42501",
            message: format!(
                "denied by policy \"{}\" rule \"{}\": {reason}",
                rule.policy, rule.rule
            ),
            detail: None,
            hint,
            rules: vec![rule.clone()],
            may_be_mistake: false,
        }
    }

    /// Refused because something that is needed to judge is missing.
    pub(super) fn unjudged(reason: &str) -> Self {
        Self {
            sqlstate: "42501",
            message: format!("denied by policy: {reason}"),
            detail: None,
            hint: None,
            rules: Vec::new(),
            may_be_mistake: false,
        }
    }

    /// Refused because an open transaction has locked what must be read before it can be judged.
    pub(super) fn locked() -> Self {
        Self {
            sqlstate: "55P03",
            message: "weir: this cannot be judged while an open transaction holds a lock on a table or view whose \
                      definition must be read for that"
                .to_owned(),
            hint: Some("Try again when that transaction has ended.".to_owned()),
            ..Self::cancelled()
        }
    }

    /// Ended because a session has changed what it may name since it was judged.
    pub(super) fn redefined() -> Self {
        Self {
            sqlstate: "40001",
            message: "weir: another session has changed the definition of what this may name since it was judged"
                .to_owned(),
            hint: Some("Run it again.".to_owned()),
            ..Self::cancelled()
        }
    }

    /// Refused because it waited too long for others who change, or use, what it names.
    pub(super) fn in_use(what: &str) -> Self {
        Self {
            sqlstate: "55P03",
            message: format!("weir: {what} in other sessions"),
            hint: Some("Try again when they have ended.".to_owned()),
            ..Self::cancelled()
        }
    }

    /// Refused because evidence of it could not be kept.
    pub(super) fn unrecorded(reason: &str) -> Self {
        Self {
            sqlstate: "53100",
            ..Self::unjudged(&format!("evidence cannot be kept: {reason}"))
        }
    }

    /// Ended by the client's own cancel request while it was held.
    pub(super) fn cancelled() -> Self {
        Self {
            sqlstate: "57014",
            message: "canceling statement due to user request".to_owned(),
            detail: None,
            hint: None,
            rules: Vec::new(),
            may_be_mistake: false,
        }
    }

    /// The connection is ended from outside of it.
    pub(super) fn ended(told: &str) -> Self {
        Self {
            sqlstate: "57P01",
            message: format!("terminating connection: {told}"),
            ..Self::cancelled()
        }
    }

    /// The same of a prepared statement that nobody has made, in the words in which the server says so: some
    /// drivers prepare again then.
    pub(super) fn of_missing_statement(self, name: &[u8]) -> Self {
        let message = match String::from_utf8_lossy(name) {
            name if name.is_empty() => "unnamed prepared statement does not exist".to_owned(),
            name => format!("prepared statement \"{name}\" does not exist"),
        };
        Self {
            sqlstate: "26000",
            message,
            ..self
        }
    }

    /// The same of a portal.
    pub(super) fn of_missing_portal(self, name: &[u8]) -> Self {
        let name = String::from_utf8_lossy(name);
        Self {
            sqlstate: "34000",
            message: format!("portal \"{name}\" does not exist"),
            ..self
        }
    }

    /// Adds where the evidence is.
    pub(super) fn with_audit_id(mut self, session: &str, number: u64) -> Self {
        if self.sqlstate == "42501" {
            self.detail = Some(format!("audit id {session}/{number}"));
        }
        self
    }

    /// Appends the ErrorResponse.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.write_as(out, "ERROR");
    }

    /// Appends the ErrorResponse that ends the session.
    pub(super) fn write_fatal(&self, out: &mut Vec<u8>) {
        self.write_as(out, "FATAL");
    }

    fn write_as(&self, out: &mut Vec<u8>, severity: &str) {
        let report = Report {
            sqlstate: self.sqlstate,
            message: &self.message,
            detail: self.detail.as_deref(),
            hint: self.hint.as_deref(),
        };
        message::error(out, severity, &report);
    }
}
