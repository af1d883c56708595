//! `ClusterGuardPolicy` and `GuardPolicy`: who may do what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_policy::{DefaultAction, Delivery, Mode, RecordLevel};

use super::rule::RuleSpec;

/// Grants subjects the use of targets, and says what they may do there. Where several policies
/// apply, any Deny wins, the smallest limit, the strictest mask and the strongest audit hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::cluster_guard_policy))]
#[serde(deny_unknown_fields)]
pub struct ClusterGuardPolicySpec {
    /// Whether the rules bind.
    #[serde(default = "enforce")]
    pub mode: Mode,
    /// What happens to operations that none of the rules names.
    #[serde(default = "allow")]
    pub default: DefaultAction,
    /// Whom the policy selects: one of these selectors must hold.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub subjects: Vec<SubjectSpec>,
    /// What the policy grants: Targets by name or glob.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub targets: Vec<String>,
    /// How what the subjects do is recorded.
    #[serde(default)]
    pub audit: AuditSpec,
    /// The rules. Their order does not matter.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 100), transform = crate::crd::rules::by_name))]
    pub rules: Vec<RuleSpec>,
}

/// Tightens what the subjects of its own namespace may do. It grants nothing: that takes a
/// ClusterGuardPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::guard_policy))]
#[serde(deny_unknown_fields)]
pub struct GuardPolicySpec {
    /// Whether the rules bind.
    #[serde(default = "enforce")]
    pub mode: Mode,
    /// Whom of the namespace the policy selects: one of these selectors must hold. Left out:
    /// everybody.
    #[serde(default)]
    pub subjects: Vec<LocalSubjectSpec>,
    /// Where the policy applies: Targets by name or glob.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub targets: Vec<String>,
    /// How what the subjects do is recorded.
    #[serde(default)]
    pub audit: AuditSpec,
    /// The rules; none of them may allow. Their order does not matter.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 100), transform = crate::crd::rules::by_name))]
    pub rules: Vec<RuleSpec>,
}

const fn enforce() -> Mode {
    Mode::Enforce
}

const fn allow() -> DefaultAction {
    DefaultAction::Allow
}

/// Selects subjects: every given field must hold, and in a list one entry must. `*` and `?` are
/// wildcards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::subject))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubjectSpec {
    /// Identity names, such as `spiffe://cluster.local/ns/billing/sa/*`; in standalone as its
    /// configuration calls them.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 1024))))]
    pub names: Vec<String>,
    /// Namespaces of pods.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Service accounts of pods.
    #[serde(default)]
    pub service_accounts: Vec<String>,
    /// Names of pods.
    #[serde(default)]
    pub pods: Vec<String>,
    /// Groups of a verified token.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Claims of a verified token, all of which must hold.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
}

/// Selects subjects of the policy's own namespace: every given field must hold, and in a list one
/// entry must. `*` and `?` are wildcards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::local_subject))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalSubjectSpec {
    /// Service accounts of pods.
    #[serde(default)]
    pub service_accounts: Vec<String>,
    /// Names of pods.
    #[serde(default)]
    pub pods: Vec<String>,
}

/// How something is recorded. The strongest of all policies that apply holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AuditSpec {
    /// How much is recorded.
    #[serde(default = "commands")]
    pub record: RecordLevel,
    /// How surely it is recorded.
    #[serde(default = "batch")]
    pub delivery: Delivery,
    /// DataLabels by name or glob. Of their values that a client of a database receives in clear, keyed
    /// fingerprints (HMAC-SHA-256) are kept for each statement, so that `weir query --saw VALUE` can
    /// tell who received a value that no store holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(
        feature = "crds",
        schemars(length(max = 100), inner(length(min = 1, max = 253)))
    )]
    pub fingerprints: Vec<String>,
}

const fn commands() -> RecordLevel {
    RecordLevel::Commands
}

const fn batch() -> Delivery {
    Delivery::Batch
}

impl Default for AuditSpec {
    fn default() -> AuditSpec {
        AuditSpec {
            record: commands(),
            delivery: batch(),
            fingerprints: Vec::new(),
        }
    }
}
