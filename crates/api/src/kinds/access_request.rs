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
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::access_request))]
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
    /// What it speaks: `postgresql`, `ssh` or `kubernetes`.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 63)))]
    pub protocol: Option<String>,
    /// The database, as the client asked for it.
    #[serde(default)]
    pub database: Option<String>,
    /// The user at the Target, as the client claims it or as Weir logs in. It proves nothing.
    #[serde(default)]
    pub login: Option<String>,
    /// The session that it is of, as evidence names it.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 63)))]
    pub session: Option<String>,
    /// The number of the statement in its session.
    #[serde(default)]
    pub number: Option<u64>,
    /// The policy whose rule holds it.
    #[cfg_attr(feature = "crds", schemars(length(min = 1, max = 317)))]
    pub policy: String,
    /// The rule that holds it.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub rule: String,
    /// The full statement or command.
    #[cfg_attr(feature = "crds", schemars(length(max = 1_048_576)))]
    pub statement: String,
    /// What decides beside the statement's own text, in Weir's words: the role and the search path that
    /// it runs with, the text that a prepared statement or cursor stands for, the object that a request
    /// to a Kubernetes API carries.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 262_144)))]
    pub detail: Option<String>,
    /// The statement's parameters as text, in order; null for NULL.
    #[serde(default)]
    #[cfg_attr(
        feature = "crds",
        schemars(length(max = 1024), inner(length(max = 8192)))
    )]
    pub parameters: Vec<Option<String>>,
    /// A number for the shape of the statement: equal for statements that differ in literals only.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// What it does, such as `Read` or `Delete`.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 63))))]
    pub effects: Vec<String>,
    /// The tables that it touches. Where there are too many to name, the last entry says how many
    /// more there are.
    #[serde(default)]
    #[cfg_attr(
        feature = "crds",
        schemars(length(max = 256), inner(length(max = 512)))
    )]
    pub tables: Vec<String>,
    /// The DataLabels that it touches.
    #[serde(default)]
    pub labels: Vec<String>,
    /// The columns behind those labels, as far as they are known.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::by_label))]
    pub columns: Vec<LabelledColumns>,
    /// How many rows the server expects.
    #[serde(default)]
    pub estimated_rows: Option<u64>,
    /// How many rows were delivered before it was held.
    #[serde(default)]
    pub delivered_rows: Option<u64>,
    /// How many bytes were delivered before it was held.
    #[serde(default)]
    pub delivered_bytes: Option<u64>,
    /// Why it is held.
    #[cfg_attr(feature = "crds", schemars(length(max = 1024)))]
    pub reason: String,
    /// Until when it waits, as an RFC 3339 time. Undecided by then, it is refused.
    #[cfg_attr(feature = "crds", schemars(length(max = 64), extend("format" = "date-time")))]
    pub deadline: String,
    /// The widest that an approval may be: of this very statement, or of its shape.
    #[serde(default)]
    pub binding: Binding,
    /// With `binding: Shape`: for how many minutes a shape may be approved at most.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(range(min = 1)))]
    pub max_minutes: Option<u32>,
    /// With `binding: Shape`: the statement with its free literals replaced. An approval of the shape
    /// lets through whatever reads like it.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 1_048_576)))]
    pub shape: Option<String>,
    /// With `binding: Shape`: the literals and parameters of this statement that would be free. Where
    /// there are too many to name, the last entry says how many more there are.
    #[serde(default)]
    #[cfg_attr(
        feature = "crds",
        schemars(length(max = 256), inner(length(max = 1024)))
    )]
    pub free_literals: Vec<String>,
    /// The groups of which an approver must be in one, unless `users` names them.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Who may approve beside the members of `groups`.
    #[serde(default)]
    pub users: Vec<String>,
    /// How many different people must approve.
    #[cfg_attr(feature = "crds", schemars(range(min = 1)))]
    pub count: u32,
}

/// Columns that carry one label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LabelledColumns {
    /// The label.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub label: String,
    /// Its columns, such as `public.customers.ssn`. Where there are too many to name, the last entry
    /// says how many more there are.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 512))))]
    pub columns: Vec<String>,
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
    /// What its pod belongs to, such as `Deployment/reports`.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 317)))]
    pub workload: Option<String>,
}

/// What an approval is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
pub enum Binding {
    /// This very statement, once.
    #[default]
    Exact,
    /// Statements of the same shape, by the same identity, login, role and search path, on the same Target
    /// under the same terms of the rule, for some minutes.
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
    /// How many more of the same wait for this request: same identity, Target, rule and shape.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeats: u32,
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
    /// The requester asks for something else instead, or the policy no longer holds it.
    Superseded,
}

/// One person's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::approver_decision))]
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
    /// What an approval is good for. Left out: this very statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// With `binding: Shape`: for how many minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crds", schemars(range(min = 1)))]
    pub minutes: Option<u32>,
    /// How the approver was proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<DecisionVia>,
}

/// How an approver was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DecisionVia {
    /// The API server authenticated them.
    Kubernetes,
    /// An ID token of the identity provider, which Weir verified.
    Oidc,
    /// The socket of a standalone engine: the kernel says who is at the other end.
    Socket,
    /// A button in Slack, whose signature was verified.
    Slack,
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

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
