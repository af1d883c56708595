//! `AccessRequest`: one hold, and what people decided. Made by Weir, never read from files.
//!
//! Unlike what people write, it tolerates fields that it does not know: processes of two versions
//! talk in it during an upgrade. An enumeration with a value that is not known is refused.

use serde::{Deserialize, Serialize};

use super::status::Condition;

/// One statement or command that waits for people to decide. Weir makes it; reviewers decide it;
/// nobody changes what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::immutable))]
#[serde(rename_all = "camelCase")]
pub struct AccessRequestSpec {
    /// Who asks, as attested and not as claimed.
    pub requester: Requester,
    /// The request in at most three lines: who asks for what, how much it is, why it is held.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 3), inner(length(max = 256))))]
    pub summary: Vec<String>,
    /// The Target.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub target: String,
    /// The policy whose rule holds it.
    #[cfg_attr(feature = "crds", schemars(length(min = 1, max = 317)))]
    pub policy: String,
    /// The rule that holds it.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub rule: String,
    /// The full statement or command.
    #[cfg_attr(feature = "crds", schemars(length(max = 1_048_576)))]
    pub statement: String,
    /// The statement's parameters as text, in order; null for NULL.
    #[serde(default)]
    #[cfg_attr(
        feature = "crds",
        schemars(length(max = 1024), inner(length(max = 8192)))
    )]
    pub parameters: Vec<Option<String>>,
    /// The shape of the statement: equal for statements that differ in literals only.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// The DataLabels that it touches.
    #[serde(default)]
    pub labels: Vec<String>,
    /// How many rows the server expects.
    #[serde(default)]
    pub estimated_rows: Option<u64>,
    /// How many rows were delivered before it was held.
    #[serde(default)]
    pub delivered_rows: Option<u64>,
    /// Why it is held.
    #[cfg_attr(feature = "crds", schemars(length(max = 1024)))]
    pub reason: String,
    /// Until when it waits, as an RFC 3339 time. Undecided by then, it is refused.
    #[cfg_attr(feature = "crds", schemars(length(max = 64), extend("format" = "date-time")))]
    pub deadline: String,
    /// What an approval is good for.
    #[serde(default)]
    pub binding: Binding,
    /// The groups of which an approver must be in one.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub groups: Vec<String>,
    /// How many different people must approve.
    #[cfg_attr(feature = "crds", schemars(range(min = 1)))]
    pub count: u32,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Requester {
    /// The identity, such as `spiffe://cluster.local/ns/billing/sa/reporter`.
    #[cfg_attr(feature = "crds", schemars(length(min = 1, max = 1024)))]
    pub name: String,
    /// The namespace of its pod.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 63)))]
    pub namespace: Option<String>,
    /// The service account of its pod.
    #[serde(default)]
    pub service_account: Option<String>,
    /// Its pod.
    #[serde(default)]
    pub pod: Option<String>,
}

/// What an approval is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
pub enum Binding {
    /// This very statement.
    #[default]
    Exact,
    /// Statements of the same shape.
    Shape,
}

/// Where a request stands, and what people decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AccessRequestStatus {
    /// Where the request stands.
    pub phase: AccessRequestPhase,
    /// What people decided, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crds", schemars(length(max = 32)))]
    pub decisions: Vec<ApproverDecision>,
    /// The generation of the object that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crds", schemars(range(min = 0)))]
    pub observed_generation: Option<i64>,
    /// Conditions. `Ready` is true once the request is decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crds", schemars(length(max = 16), transform = crate::crd::rules::by_type))]
    pub conditions: Vec<Condition>,
    /// What reviewers were told of it, in order: `created`, `decided-1` and so on, `closed` by the
    /// webhook, `slack:created`, `email:created` and so on by the others. What could not be delivered
    /// ends with `-failed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crds", schemars(length(max = 128), inner(length(max = 32))))]
    pub notified: Vec<String>,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
pub enum AccessRequestPhase {
    /// It waits.
    Pending,
    /// It was granted.
    Approved,
    /// It was refused.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// The requester went away.
    Withdrawn,
}

/// One person's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
pub struct ApproverDecision {
    /// Who decided, as the API server or the identity provider authenticated them.
    #[cfg_attr(feature = "crds", schemars(length(min = 1, max = 1024)))]
    pub approver: String,
    /// What they decided.
    pub decision: RequestDecision,
    /// When they decided (RFC 3339).
    #[cfg_attr(feature = "crds", schemars(length(max = 64), extend("format" = "date-time")))]
    pub at: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crds", schemars(length(max = 1024)))]
    pub reason: Option<String>,
    /// For how many rows. Left out: for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
pub enum RequestDecision {
    /// Yes.
    Approve,
    /// No.
    Deny,
}
