//! Loosenings: rules that do not bind some subjects on some targets until a moment.
//!
//! An exception only ever takes a rule away. It grants nothing, so that it cannot stand in for a
//! policy that lets a subject reach a target; of an Allow rule it lifts the limits alone; what is
//! refused without a rule (`(opaque)`, `(default)` …) has no name that it could lift.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ledger::Timestamp;
use crate::name::Glob;
use crate::operation::Subject;
use crate::rule::{RuleName, SubjectSelector};

/// One loosening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// Its name.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
    /// Why it is needed.
    pub reason: String,
    /// The first moment at which it is over.
    pub until: Timestamp,
    /// Whom it frees.
    pub subjects: Vec<SubjectSelector>,
    /// Where it frees them: targets by name.
    pub targets: Vec<Glob>,
    /// The rules that do not bind, as [`RuleName`] is displayed.
    pub rules: Vec<String>,
}

impl Exception {
    /// Whether it is about this subject on this target.
    pub fn selects(&self, subject: &Subject, target: &str) -> bool {
        self.targets.iter().any(|glob| glob.matches(target))
            && self.subjects.iter().any(|s| s.selects(subject))
    }

    /// Whether it names this rule; an implicit one cannot be named.
    pub fn names(&self, rule: &RuleName) -> bool {
        let full = rule.to_string();
        !rule.rule.starts_with('(') && self.rules.contains(&full)
    }

    /// Whether it is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until <= now
    }
}

/// A rule that would have had a say, and the exception that kept it from having one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifted {
    /// The exception's name.
    pub exception: Arc<str>,
    /// The rule.
    pub rule: RuleName,
}

impl std::fmt::Display for Lifted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} lifts {}", self.exception, self.rule)
    }
}

/// An exception, as a rule of a scope knows it.
#[derive(Clone, Debug)]
pub(crate) struct Lift {
    pub(crate) exception: Arc<str>,
    pub(crate) until: Timestamp,
}
