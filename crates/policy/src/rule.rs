//! Policies and rules as plain data: what the compiler makes of the resources.
//!
//! Invariant: everything here is already validated; nothing fails when it is used.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::effect::EffectSet;
use crate::kubernetes::KubernetesMatch;
use crate::label::Mask;
use crate::name::{FunctionPattern, Glob, TablePattern};
use crate::operation::{Access, Subject, UseSet};
use crate::ssh::SshMatch;

/// A rule's full name: `policy/rule`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleName {
    /// The policy; a namespaced one is written `namespace:name`.
    pub policy: Arc<str>,
    /// The rule. Implicit refusals are in parentheses: `(opaque)`, `(default)`.
    pub rule: Arc<str>,
}

impl RuleName {
    /// A name from its parts.
    pub fn new(policy: &str, rule: &str) -> RuleName {
        RuleName {
            policy: policy.into(),
            rule: rule.into(),
        }
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.policy, self.rule)
    }
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name; `namespace:name` for a namespaced one.
    pub name: String,
    /// Whether it can grant a subject access to a target (cluster policies), or only tighten.
    pub grants: bool,
    /// Whether its rules bind.
    pub mode: Mode,
    /// What happens to operations that no rule of this policy allows.
    pub default: DefaultAction,
    /// Whom it selects.
    pub subjects: Vec<SubjectSelector>,
    /// Which targets it selects, by name.
    pub targets: Vec<Glob>,
    /// How much is recorded.
    pub record: RecordLevel,
    /// How surely it is recorded.
    pub delivery: Delivery,
    /// Labels of whose values fingerprints are kept, where a client received them in clear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fingerprints: Vec<Glob>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// Whether it selects this subject.
    pub fn is_about(&self, subject: &Subject) -> bool {
        self.subjects.iter().any(|s| s.selects(subject))
    }

    /// Whether it selects the target of this name.
    pub fn is_on(&self, target: &str) -> bool {
        self.targets.iter().any(|glob| glob.matches(target))
    }
}

/// Whether a policy's rules bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Mode {
    /// Only says what it would have done.
    Observe,
    /// Binds.
    Enforce,
}

/// What a policy does with operations that none of its rules allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum DefaultAction {
    /// Permit them.
    Allow,
    /// Refuse them: Allow rules are the list.
    Deny,
}

/// How much is recorded; later is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RecordLevel {
    /// Who, when, where, how much.
    Metadata,
    /// And the commands.
    Commands,
    /// And the results as the client saw them.
    Full,
}

/// How surely it is recorded; later is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Delivery {
    /// Within a second.
    Batch,
    /// On disk before the effect.
    Blocking,
    /// Committed by the collector before the effect.
    BlockingStrict,
}

/// Selects subjects. All given fields must hold; in a list one must.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectSelector {
    /// Identity names.
    pub names: Vec<Glob>,
    /// Namespaces.
    pub namespaces: Vec<Glob>,
    /// Service accounts.
    pub service_accounts: Vec<Glob>,
    /// Pods.
    pub pods: Vec<Glob>,
    /// Groups, one of which the subject must have.
    pub groups: Vec<Glob>,
    /// Claims, all of which the subject must have.
    pub claims: BTreeMap<String, Glob>,
}

impl SubjectSelector {
    /// Whether the subject is selected. A selector without any field selects nobody.
    pub fn selects(&self, subject: &Subject) -> bool {
        fn one(globs: &[Glob], value: Option<&str>) -> bool {
            globs.is_empty() || value.is_some_and(|v| globs.iter().any(|g| g.matches(v)))
        }
        *self != SubjectSelector::default()
            && one(&self.names, Some(&subject.name))
            && one(&self.namespaces, subject.namespace.as_deref())
            && one(&self.service_accounts, subject.service_account.as_deref())
            && one(&self.pods, subject.pod.as_deref())
            && (self.groups.is_empty()
                || subject
                    .groups
                    .iter()
                    .any(|have| self.groups.iter().any(|g| g.matches(have))))
            && self.claims.iter().all(|(key, want)| {
                subject
                    .claims
                    .get(key)
                    .is_some_and(|have| want.matches(have))
            })
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name, unique within the policy.
    pub name: String,
    /// What it applies to.
    pub matches: Match,
    /// What it does; none for a rule that only limits.
    pub action: Option<Action>,
    /// A mask that tightens the labels' own.
    pub mask: Option<Mask>,
    /// Limits on what it applies to.
    pub limits: Vec<LimitSpec>,
    /// Who approves, for `RequireApproval` and `on_exceed`.
    pub approval: Option<Approval>,
    /// What the client is told.
    pub reason: Option<String>,
    /// What the client is advised to do.
    pub hint: Option<String>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Action {
    /// Lifts implicit refusals and counts as permission under `default: Deny`.
    Allow,
    /// Refuses.
    Deny,
    /// Holds for people.
    RequireApproval,
    /// Masks result columns that carry the rule's labels.
    Mask,
}

/// What a rule applies to. All given fields must hold. In a list one must hold, except in Allow
/// rules, where the operation must lie within the lists as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// Effects; empty = not given.
    pub effects: EffectSet,
    /// Tables; empty = not given.
    pub tables: Vec<TablePattern>,
    /// Tables that do not count: the rule is off when everything touched is in here.
    pub except_tables: Vec<TablePattern>,
    /// Restricts `tables` and `except_tables` to those read or those written.
    pub access: Option<Access>,
    /// Labels, by name; empty = not given.
    pub labels: Vec<Glob>,
    /// Labels that the compiler made for the rule's columns.
    pub columns: Vec<String>,
    /// How the labels are used; empty = in any way.
    pub uses: UseSet,
    /// Functions; empty = not given.
    pub functions: Vec<FunctionPattern>,
    /// Settings; empty = not given.
    pub settings: Vec<Glob>,
    /// The WHERE clause of an UPDATE or DELETE.
    pub where_clause: Option<WhereTest>,
    /// Names what could not be understood.
    pub opaque: bool,
    /// Names result columns whose origin is not proven.
    pub unproven: bool,
    /// What happens over SSH. Left out of the text that budgets are named after when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshMatch>,
    /// What is asked of the Kubernetes API; left out likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesMatch>,
}

/// A test of the WHERE clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum WhereTest {
    /// There is none.
    Missing,
    /// It holds for every row.
    Ineffective,
    /// Either.
    MissingOrIneffective,
}

/// A limit as a rule states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitSpec {
    /// The window; none for "per statement".
    pub per: Option<Duration>,
    /// Rows delivered.
    pub rows: Option<u64>,
    /// Bytes of rows delivered.
    pub bytes: Option<u64>,
    /// Statements started; only with a window.
    pub statements: Option<u64>,
    /// What happens beyond it.
    pub on_exceed: Exceed,
}

/// What happens beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Exceed {
    /// The statement ends with an error.
    Deny,
    /// It is held for people.
    RequireApproval,
    /// It goes on, slowly.
    Throttle {
        /// The rate.
        rows_per_second: u64,
    },
}

/// Who has to say yes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Approval {
    /// Groups of which an approver must be in one, unless `users` names them.
    pub groups: Vec<String>,
    /// Who may approve beside the members of the groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// How many different people.
    pub count: u32,
    /// How long the statement waits; then it is refused.
    pub deadline: Duration,
    /// Whether a request to the Kubernetes API is answered at once, to be asked again, rather than waits.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
    /// Whether the server is asked how many rows it expects before people are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimate: bool,
    /// For how many minutes at most the shape of a statement may be approved; only the statement where
    /// there is no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape_minutes: Option<u32>,
}
