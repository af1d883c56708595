//! `Quarantine`: identities that are cut off at once, whatever policies say.

use serde::{Deserialize, Serialize};

use super::guard_policy::SubjectSpec;

/// Cuts identities off: in every sidecar, within a second, their sessions end and new connections are
/// refused, to every destination. `lifted` lets them in again, and so does deleting it; both are evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QuarantineSpec {
    /// Whom it cuts off: one of these selectors must hold.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub subjects: Vec<SubjectSpec>,
    /// Why. Auditors read this, and clients do not.
    #[cfg_attr(feature = "crds", schemars(length(min = 1, max = 1024)))]
    pub reason: String,
    /// Who ordered it. In a cluster it is whom the API server authenticated, whatever is written here.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 1024)))]
    pub by: String,
    /// Given once they are let in again. The object stays, so that it says what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted: Option<LiftingSpec>,
}

/// The end of a quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LiftingSpec {
    /// Why.
    #[cfg_attr(feature = "crds", schemars(length(min = 1, max = 1024)))]
    pub reason: String,
    /// Who. In a cluster it is whom the API server authenticated, whatever is written here.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 1024)))]
    pub by: String,
}
