//! Events about Weir itself: holds, policy, budgets, findings, the engine's life.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identity::SessionId;
use crate::statement::Value;
use crate::text::{Names, Timestamp};

/// A hold was raised: a statement waits for a person.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccessRequestCreated {
    /// Its name, such as `weir-7k2qd`.
    pub name: Arc<str>,
    /// The statement's number in its session.
    pub number: u64,
    /// The statement in full, whatever the record level: the reviewer must see it.
    pub statement: Arc<str>,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Value>,
    /// Fingerprint of the statement's shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<u64>,
    /// `policy/rule` names that ask for approval.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub rules: Names,
    /// Why.
    pub reason: Arc<str>,
    /// Data labels concerned.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub labels: Names,
    /// Rows delivered before the hold.
    pub rows: u64,
    /// Expected rows, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<u64>,
    /// Who may decide; empty: any operator.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub groups: Names,
    /// How many different people must approve.
    pub approvals: u32,
    /// Denied when nobody decided until then.
    pub deadline: Timestamp,
    /// Who may decide besides the members of `groups`.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub users: Names,
    /// What the statement or command does, such as `Delete`.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub effects: Names,
    /// The tables that it touches.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub tables: Names,
    /// The columns that carry labels, by label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<LabelledColumns>,
    /// Bytes delivered before the hold.
    #[serde(default)]
    pub bytes: u64,
    /// The request in at most three lines for people: who, what, how much and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub summary: Vec<Arc<str>>,
    /// The widest that an approval may be.
    #[serde(default)]
    pub binding: Binding,
    /// For how many minutes a shape may be approved, where it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_minutes: Option<u32>,
    /// The statement with its free literals replaced: what an approval of the shape would permit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Arc<str>>,
    /// The literals and parameters of this statement that would be free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub free_literals: Vec<Arc<str>>,
    /// What decides beside the text: role and search path, what a name stands for, the object of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Arc<str>>,
}

/// Columns that carry one label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledColumns {
    /// The label.
    pub label: Arc<str>,
    /// Its columns, with their tables.
    pub columns: Names,
}

/// What an approval is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// The very statement that waited.
    #[default]
    Exact,
    /// Statements of its shape, for some minutes.
    Shape,
}

/// How an approver was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The API server authenticated them.
    Kubernetes,
    /// An ID token that the controller, or the engine itself, verified.
    Oidc,
    /// The operators' socket: the kernel says who is at the other end.
    Socket,
    /// A button in Slack, whose signature was verified.
    Slack,
}

/// Somebody approved or denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRequestDecided {
    /// The request.
    pub name: Arc<str>,
    /// Who decided, as the operator's socket or an ID token proved it.
    pub approver: Arc<str>,
    /// What was decided.
    #[serde(flatten)]
    pub ruling: Ruling,
    /// Approvals so far.
    pub approvals: u32,
    /// Approvals needed.
    pub needed: u32,
    /// What an approval is good for.
    #[serde(default)]
    pub binding: Binding,
    /// For how many minutes, where it is good for a shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u32>,
    /// How the approver was proved, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// Why it was approved, in the approver's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Arc<str>>,
}

/// More of the same wait for a request that was raised before: one identity, one shape, one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRequestRepeated {
    /// The request.
    pub name: Arc<str>,
    /// The session of whoever waits now as well is the event's; this is its statement's number.
    pub number: u64,
    /// How many have waited for it, the first one included.
    pub count: u32,
}

/// One person's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ruling", rename_all = "snake_case")]
pub enum Ruling {
    /// Go on, to the statement's end or for so many rows.
    Approve {
        /// Row limit of the approval.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows: Option<u64>,
    },
    /// Stop.
    Deny {
        /// What the client is told.
        reason: Arc<str>,
    },
}

/// A hold ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRequestClosed {
    /// The request.
    pub name: Arc<str>,
    /// How it ended.
    pub closing: Closing,
    /// How long it was held.
    pub held_ms: u64,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closing {
    /// Enough people approved.
    Approved,
    /// Somebody denied.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// The client left or cancelled.
    ClientGone,
    /// The engine stopped.
    Stopped,
    /// The same client asked for something else instead, or the policy no longer holds it.
    Superseded,
}

/// Another policy bundle is in force, or one was refused and the last good one stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChanged {
    /// The revision in force afterwards.
    pub revision: u64,
    /// Digest of the bundle in force afterwards.
    pub digest: Arc<str>,
    /// Why the new one was refused; absent when it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Arc<str>>,
}

/// An operator reset the budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetsReset {
    /// Who.
    pub operator: Arc<str>,
}

/// The engine's identity was cut off, or let back in; or somebody ordered that, or lifted an order, whoever it hits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineChanged {
    /// The quarantine in force afterwards, or the one that ended.
    pub name: Arc<str>,
    /// The identity; of an order, [whom it names](QuarantineChanged::order).
    pub subject: Arc<str>,
    /// Why; of one that ended, why it was.
    pub reason: Arc<str>,
    /// Who ordered it.
    pub by: Arc<str>,
    /// Whether it is in force.
    pub on: bool,
}

impl QuarantineChanged {
    const WHOEVER: &'static str = "whoever is ";

    /// The subject of an order, which names no identity but says which are meant.
    #[must_use]
    pub fn order(whom: &str) -> String {
        format!("{}{whom}", Self::WHOEVER)
    }

    /// Whether it is an order, by an operator or in the cluster, and not what became of an engine's identity.
    #[must_use]
    pub fn is_order(&self) -> bool {
        self.subject.starts_with(Self::WHOEVER)
    }
}

/// Something an auditor must look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing.
    pub code: FindingCode,
    /// In one sentence.
    pub message: Arc<str>,
    /// The session concerned, when it is not the event's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SessionId>,
    /// The engine concerned, when it is not the event's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Arc<str>>,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingCode {
    /// Events are missing from a sequence.
    Gap,
    /// A gap was closed by late events.
    GapClosed,
    /// A frame does not continue the chain.
    ChainBroken,
    /// The spool ended in half a frame, which was cut off.
    TornTail,
    /// An engine ended without saying so.
    UncleanShutdown,
    /// A session began and never ended.
    UnclosedSession,
    /// An engine stopped sending.
    EngineSilent,
    /// An engine could not keep evidence and refused work.
    SpoolFull,
    /// Events were lost because no room was left for them.
    EventsLost,
    /// A governed protocol to a destination that no Target names.
    UngovernedProtocol,
    /// A connection to a destination that no Target names was relayed.
    UnmatchedRelayed,
    /// A server's host key was trusted on first use, as its Target says.
    HostKeyTrusted,
    /// A server showed a host key that is not the one it must have.
    HostKeyRefused,
    /// Anything else.
    Other,
    /// A pod enrolled with a second key: somebody else may have its token.
    SecondKey,
    /// A pod runs without Weir where Weir is enforced.
    UnprotectedPod,
    /// An engine's clock and the collector's do not agree.
    ClockSkew,
    /// A policy allows more than it did before.
    PolicyLoosened,
    /// A PolicyException is over: what it lifted is in force again.
    ExceptionExpired,
    /// An identity was refused again and again.
    RepeatedDenials,
    /// An image sent a statement of a shape that was never seen from it.
    NewShape,
    /// A row or a table that nobody has a reason to read was read.
    HoneyRowRead,
    /// A governed pod runs and sends no evidence.
    NoStream,
    /// Evidence that was committed is not what it was.
    Tampered,
}

/// How soon somebody must look at a finding.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    Info,
    /// When there is time.
    Low,
    /// Today.
    #[default]
    Medium,
    /// Within the hour.
    High,
    /// Now.
    Critical,
}

impl Severity {
    /// As events and configuration name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl FindingCode {
    /// All of them, in the order in which they are documented.
    pub const ALL: &'static [Self] = &[
        Self::Gap,
        Self::GapClosed,
        Self::ChainBroken,
        Self::Tampered,
        Self::TornTail,
        Self::UncleanShutdown,
        Self::UnclosedSession,
        Self::EngineSilent,
        Self::NoStream,
        Self::ClockSkew,
        Self::EventsLost,
        Self::SpoolFull,
        Self::HostKeyTrusted,
        Self::HostKeyRefused,
        Self::UngovernedProtocol,
        Self::UnmatchedRelayed,
        Self::SecondKey,
        Self::UnprotectedPod,
        Self::PolicyLoosened,
        Self::ExceptionExpired,
        Self::RepeatedDenials,
        Self::NewShape,
        Self::HoneyRowRead,
        Self::Other,
    ];

    /// As events name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::GapClosed => "gap_closed",
            Self::ChainBroken => "chain_broken",
            Self::TornTail => "torn_tail",
            Self::UncleanShutdown => "unclean_shutdown",
            Self::UnclosedSession => "unclosed_session",
            Self::EngineSilent => "engine_silent",
            Self::SpoolFull => "spool_full",
            Self::EventsLost => "events_lost",
            Self::UngovernedProtocol => "ungoverned_protocol",
            Self::UnmatchedRelayed => "unmatched_relayed",
            Self::HostKeyTrusted => "host_key_trusted",
            Self::HostKeyRefused => "host_key_refused",
            Self::Other => "other",
            Self::SecondKey => "second_key",
            Self::UnprotectedPod => "unprotected_pod",
            Self::ClockSkew => "clock_skew",
            Self::PolicyLoosened => "policy_loosened",
            Self::ExceptionExpired => "exception_expired",
            Self::RepeatedDenials => "repeated_denials",
            Self::NewShape => "new_shape",
            Self::HoneyRowRead => "honey_row_read",
            Self::NoStream => "no_stream",
            Self::Tampered => "tampered",
        }
    }

    /// How soon somebody must look at it.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::GapClosed | Self::HostKeyTrusted | Self::ExceptionExpired | Self::NewShape => {
                Severity::Info
            }
            Self::TornTail
            | Self::UncleanShutdown
            | Self::UnclosedSession
            | Self::UnmatchedRelayed => Severity::Low,
            Self::EngineSilent
            | Self::ClockSkew
            | Self::UngovernedProtocol
            | Self::RepeatedDenials
            | Self::Other => Severity::Medium,
            Self::Gap
            | Self::NoStream
            | Self::SpoolFull
            | Self::EventsLost
            | Self::HostKeyRefused
            | Self::SecondKey
            | Self::UnprotectedPod
            | Self::PolicyLoosened => Severity::High,
            Self::ChainBroken | Self::HoneyRowRead | Self::Tampered => Severity::Critical,
        }
    }
}

/// Somebody read evidence. It is recorded by the collector, in its own chain, before the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceRead {
    /// Who, as the cluster, the operators' socket or a token proved it.
    pub reader: Arc<str>,
    /// From where, if not from this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Arc<str>>,
    /// What: a path of the API, such as `/v1/sessions/…/replay`.
    pub path: Arc<str>,
    /// The query string, as it was sent; empty for none.
    #[serde(default)]
    pub query: Arc<str>,
    /// The namespace that the reader was confined to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
}

/// An engine started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStarted {
    /// Weir's version.
    pub version: Arc<str>,
    /// The epoch before this one, if the spool knew one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
}

/// How the previous epoch ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its number.
    pub epoch: u32,
    /// The last sequence number that was found.
    pub last_seq: u64,
    /// Whether it ended in order.
    pub clean: bool,
}

/// An engine stopped in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStopped {}

/// The engine lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Sessions that are open.
    pub open_sessions: u64,
}
