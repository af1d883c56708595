//! What the controller reports about a resource.

use serde::{Deserialize, Serialize};

/// What the controller found out about the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceStatus {
    /// The generation of the object that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crds", schemars(range(min = 0)))]
    pub observed_generation: Option<i64>,
    /// Conditions. `Ready` says whether the object is in force, and if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crds", schemars(length(max = 16), transform = crate::crd::rules::by_type))]
    pub conditions: Vec<Condition>,
}

/// One condition, in the sense of the conventions of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// What the condition is about, such as `Ready`.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "crds", schemars(length(min = 1, max = 316), regex(pattern = crate::crd::patterns::CONDITION_TYPE)))]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The reason of the last change as one word for programs, such as `UnknownTarget`.
    #[cfg_attr(feature = "crds", schemars(length(min = 1, max = 1024), regex(pattern = crate::crd::patterns::CONDITION_REASON)))]
    pub reason: String,
    /// The same for people.
    #[cfg_attr(feature = "crds", schemars(length(max = 32768)))]
    pub message: String,
    /// The generation of the object that the condition is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crds", schemars(range(min = 0)))]
    pub observed_generation: Option<i64>,
    /// When `status` last changed (RFC 3339).
    #[cfg_attr(feature = "crds", schemars(length(max = 64), extend("format" = "date-time")))]
    pub last_transition_time: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It is not known.
    Unknown,
}
