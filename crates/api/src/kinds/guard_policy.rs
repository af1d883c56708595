//! `ClusterGuardPolicy` and `GuardPolicy`: who may do what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_policy::{DefaultAction, Delivery, Mode, RecordLevel};

use super::rule::RuleSpec;

/// Grants subjects a target, and says what they may do there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterGuardPolicySpec {
    /// Whether its rules bind. Default `Enforce`.
    #[serde(default = "enforce")]
    pub mode: Mode,
    /// What happens to operations that no Allow rule covers. Default `Allow`.
    #[serde(default = "allow")]
    pub default: DefaultAction,
    /// Whom it selects; at least one.
    pub subjects: Vec<SubjectSpec>,
    /// Targets by name or glob; at least one.
    pub targets: Vec<String>,
    /// How it is recorded.
    #[serde(default)]
    pub audit: AuditSpec,
    /// Its rules.
    #[serde(default)]
    pub rules: Vec<RuleSpec>,
}

/// Tightens what the subjects of its own namespace may do. It grants nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardPolicySpec {
    /// Whether its rules bind. Default `Enforce`.
    #[serde(default = "enforce")]
    pub mode: Mode,
    /// Whom of the namespace it selects. Default: all.
    #[serde(default)]
    pub subjects: Vec<LocalSubjectSpec>,
    /// Targets by name or glob; at least one.
    pub targets: Vec<String>,
    /// How it is recorded.
    #[serde(default)]
    pub audit: AuditSpec,
    /// Its rules; none of them may allow.
    #[serde(default)]
    pub rules: Vec<RuleSpec>,
}

const fn enforce() -> Mode {
    Mode::Enforce
}

const fn allow() -> DefaultAction {
    DefaultAction::Allow
}

/// Selects subjects: all given fields must hold, in a list one must. Globs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubjectSpec {
    /// Identity names, as in the configuration of standalone.
    #[serde(default)]
    pub names: Vec<String>,
    /// Kubernetes namespaces.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Kubernetes service accounts.
    #[serde(default)]
    pub service_accounts: Vec<String>,
    /// Kubernetes pods.
    #[serde(default)]
    pub pods: Vec<String>,
    /// Groups of a verified token.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Claims of a verified token, all of which must hold.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
}

/// Selects subjects within a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalSubjectSpec {
    /// Service accounts.
    #[serde(default)]
    pub service_accounts: Vec<String>,
    /// Pods.
    #[serde(default)]
    pub pods: Vec<String>,
}

/// How it is recorded. The strongest of all policies that apply holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSpec {
    /// How much. Default `Commands`.
    #[serde(default = "commands")]
    pub record: RecordLevel,
    /// How surely. Default `Batch`.
    #[serde(default = "batch")]
    pub delivery: Delivery,
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
        }
    }
}
