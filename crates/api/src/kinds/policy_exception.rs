//! `PolicyException`: a loosening with an owner, a reason and an end.

use serde::{Deserialize, Serialize};

use super::guard_policy::SubjectSpec;

/// Rules that do not bind some subjects for some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyExceptionSpec {
    /// Who answers for it.
    pub owner: String,
    /// Why it is needed.
    pub reason: String,
    /// When it ends (RFC 3339).
    pub expires: String,
    /// Whom it frees.
    pub subjects: Vec<SubjectSpec>,
    /// Targets by name or glob.
    pub targets: Vec<String>,
    /// Rules that do not bind, as `policy/rule`.
    pub rules: Vec<String>,
}
