//! Identities that are cut off: whatever policies say, they reach nothing.

use serde::{Deserialize, Serialize};

use crate::operation::Subject;
use crate::rule::SubjectSelector;

/// One cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Who ordered it; empty where nobody is known.
    pub by: String,
    /// Whom it cuts off.
    pub subjects: Vec<SubjectSelector>,
    /// Who let them in again, and why.
    pub lifted: Option<Lifting>,
}

/// The end of a quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifting {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Quarantine {
    /// Whether it cuts this subject off.
    pub fn selects(&self, subject: &Subject) -> bool {
        self.lifted.is_none() && self.subjects.iter().any(|one| one.selects(subject))
    }
}
