//! `AccessRequest`: one hold, and what people decided. Made by Weir, never read from files.

use serde::{Deserialize, Serialize};

/// What waits for a decision. Immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessRequestSpec {
    /// Who asks, as attested.
    pub requester: Requester,
    /// The Target.
    pub target: String,
    /// The policy that holds it.
    pub policy: String,
    /// The rule that holds it.
    pub rule: String,
    /// The full statement or command.
    pub statement: String,
    /// Its parameters as text.
    #[serde(default)]
    pub parameters: Vec<Option<String>>,
    /// Its shape.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// How many rows the server expects.
    #[serde(default)]
    pub estimated_rows: Option<u64>,
    /// Why it is held.
    pub reason: String,
    /// Until when it waits (RFC 3339).
    pub deadline: String,
    /// What an approval is good for.
    #[serde(default)]
    pub binding: Binding,
    /// Groups of which an approver must be in one.
    pub groups: Vec<String>,
    /// How many different people must approve.
    pub count: u32,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requester {
    /// The identity.
    pub name: String,
    /// Its namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its service account.
    #[serde(default)]
    pub service_account: Option<String>,
    /// Its pod.
    #[serde(default)]
    pub pod: Option<String>,
}

/// What an approval is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Binding {
    /// This very statement.
    #[default]
    Exact,
    /// Statements of the same shape.
    Shape,
}

/// Where a request stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRequestStatus {
    /// Where it stands.
    pub phase: AccessRequestPhase,
    /// What people decided.
    #[serde(default)]
    pub decisions: Vec<ApproverDecision>,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[serde(deny_unknown_fields)]
pub struct ApproverDecision {
    /// Who, as authenticated.
    pub approver: String,
    /// What.
    pub decision: RequestDecision,
    /// When (RFC 3339).
    pub at: String,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// For how many rows; none for all.
    #[serde(default)]
    pub rows: Option<u64>,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestDecision {
    /// Yes.
    Approve,
    /// No.
    Deny,
}
