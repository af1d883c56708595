//! The canonical event, and the record that an engine hands in.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::Wire;
use crate::control::{
    AccessRequestClosed, AccessRequestCreated, AccessRequestDecided, AccessRequestRepeated,
    BudgetsReset, EngineStarted, EngineStopped, EvidenceRead, Finding, Heartbeat, PolicyChanged,
    QuarantineChanged,
};
use crate::file::FileTransferred;
use crate::identity::{EngineId, Session};
use crate::kubernetes::KubernetesAnswered;
use crate::recording::RecordingChunk;
use crate::seen::{Fingerprint, LabelledValuesSeen};
use crate::statement::{StatementFinished, StatementStarted};
use crate::text::{ParseError, Timestamp};

/// What an engine hands in: an event that has no place in the sequence yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When it happened.
    pub at: Timestamp,
    /// In which session; absent for events of the engine itself.
    pub session: Option<Arc<Session>>,
    /// What happened.
    pub body: Body,
}

impl Record {
    /// A record of the engine itself.
    #[must_use]
    pub fn engine(at: Timestamp, body: impl Into<Body>) -> Self {
        Self {
            at,
            session: None,
            body: body.into(),
        }
    }

    /// A record of a session.
    #[must_use]
    pub fn session(at: Timestamp, session: Arc<Session>, body: impl Into<Body>) -> Self {
        Self {
            at,
            session: Some(session),
            body: body.into(),
        }
    }

    /// About how many bytes it holds in memory, shared text included.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.body.held()
    }

    /// Cuts what is beyond the bounds of [`Event::is_bounded`], so that it says so; what is within them stays
    /// shared.
    pub fn bound(&mut self) {
        self.session.bound();
        self.body.bound();
    }
}

/// One event of the record, as it is stored, queried and shipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The version that it was written in: [`crate::SCHEMA`], or an older one that is still read.
    pub schema: u16,
    /// Engine, epoch and sequence number.
    pub id: EventId,
    /// When it happened, by the engine's clock.
    pub time: Timestamp,
    /// In which session; absent for events of the engine itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Arc<Session>>,
    /// What happened; its `kind` says which.
    #[serde(flatten)]
    pub body: Body,
}

impl Event {
    /// About how many bytes it takes when it is written out: what it shares with others is counted in full.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.session.weight() + Wire::weight(&self.body)
    }

    /// Whether its session and its lists of names are within their bounds, as they are in each
    /// event that an engine writes: half a mebibyte of names, 32 KiB of session.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.session.is_bounded() && self.body.is_bounded()
    }
}

/// Engine, epoch (one per process start) and sequence number (from 1 in each epoch); shown as
/// `engine-epoch-sequence`. It is the *audit id* that a refused client is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The engine.
    pub engine: EngineId,
    /// Its epoch.
    pub epoch: u32,
    /// The place in the epoch.
    pub seq: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.engine, self.epoch, self.seq)
    }
}

impl FromStr for EventId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::new("event id", text);
        let mut parts = text.splitn(3, '-');
        let (Some(engine), Some(epoch), Some(seq)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        Ok(Self {
            engine: engine.parse()?,
            epoch: epoch.parse().map_err(|_| bad())?,
            seq: seq.parse().map_err(|_| bad())?,
        })
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// A session began.
    ConnectionOpened(ConnectionOpened),
    /// A session ended.
    ConnectionClosed(ConnectionClosed),
    /// A connection was refused before a session began.
    ConnectionRefused(ConnectionRefused),
    /// A statement is about to run (`Blocking` and `BlockingStrict` only).
    StatementStarted(Box<StatementStarted>),
    /// A statement ended, however it ended; exactly one per statement.
    StatementFinished(Box<StatementFinished>),
    /// A piece of what the client received or sent.
    RecordingChunk(RecordingChunk),
    /// A file went through a session.
    FileTransferred(Box<FileTransferred>),
    /// A request to a Kubernetes API was answered.
    KubernetesAnswered(Box<KubernetesAnswered>),
    /// A statement's client received labelled values in clear.
    LabelledValuesSeen(Box<LabelledValuesSeen>),
    /// A hold was raised.
    AccessRequestCreated(Box<AccessRequestCreated>),
    /// Somebody approved or denied.
    AccessRequestDecided(AccessRequestDecided),
    /// A hold ended.
    AccessRequestClosed(AccessRequestClosed),
    /// One more waits for a request that was raised before.
    AccessRequestRepeated(AccessRequestRepeated),
    /// Another policy bundle is in force, or one was refused.
    PolicyChanged(PolicyChanged),
    /// An operator reset the budgets.
    BudgetsReset(BudgetsReset),
    /// The engine's identity was cut off, or let back in.
    QuarantineChanged(Box<QuarantineChanged>),
    /// Something an auditor must look at.
    Finding(Finding),
    /// An engine started: the first event of an epoch.
    EngineStarted(EngineStarted),
    /// An engine stopped in order: the last event of an epoch.
    EngineStopped(EngineStopped),
    /// The engine lives; sent while there is nothing else to say.
    Heartbeat(Heartbeat),
    /// Somebody read evidence: recorded before they got it.
    EvidenceRead(Box<EvidenceRead>),
}

impl Body {
    /// The `kind` in JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ConnectionOpened(_) => "connection_opened",
            Self::ConnectionClosed(_) => "connection_closed",
            Self::ConnectionRefused(_) => "connection_refused",
            Self::StatementStarted(_) => "statement_started",
            Self::StatementFinished(_) => "statement_finished",
            Self::RecordingChunk(_) => "recording_chunk",
            Self::FileTransferred(_) => "file_transferred",
            Self::KubernetesAnswered(_) => "kubernetes_answered",
            Self::LabelledValuesSeen(_) => "labelled_values_seen",
            Self::AccessRequestCreated(_) => "access_request_created",
            Self::AccessRequestDecided(_) => "access_request_decided",
            Self::AccessRequestClosed(_) => "access_request_closed",
            Self::AccessRequestRepeated(_) => "access_request_repeated",
            Self::PolicyChanged(_) => "policy_changed",
            Self::BudgetsReset(_) => "budgets_reset",
            Self::QuarantineChanged(_) => "quarantine_changed",
            Self::Finding(_) => "finding",
            Self::EngineStarted(_) => "engine_started",
            Self::EngineStopped(_) => "engine_stopped",
            Self::Heartbeat(_) => "heartbeat",
            Self::EvidenceRead(_) => "evidence_read",
        }
    }

    fn held(&self) -> usize {
        match self {
            Self::StatementStarted(started) => {
                size_of::<StatementStarted>() + started.statement.weight()
            }
            Self::StatementFinished(finished) => {
                size_of::<StatementFinished>() + finished.statement.weight()
            }
            Self::RecordingChunk(chunk) => chunk.rows.byte_len(),
            Self::FileTransferred(file) => size_of::<FileTransferred>() + file.path.len(),
            Self::LabelledValuesSeen(seen) => seen.values.len() * size_of::<Fingerprint>(),
            Self::AccessRequestCreated(request) => {
                size_of::<AccessRequestCreated>() + request.statement.len()
            }
            _ => 0,
        }
    }
}

/// A session began: the server accepted the login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionOpened {
    /// Whether the client's side is encrypted.
    pub client_tls: bool,
    /// Whether the server's side is encrypted and verified.
    pub upstream_tls: bool,
    /// Policies that select this subject and target.
    #[serde(default, skip_serializing_if = "crate::Names::is_empty")]
    pub policies: crate::Names,
}

/// A session ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionClosed {
    /// Statements that were finished in it.
    pub statements: u64,
    /// Rows that the client received.
    pub rows: u64,
    /// Bytes that the client sent.
    pub bytes_in: u64,
    /// Bytes that the client received.
    pub bytes_out: u64,
    /// How long it lasted.
    pub duration_us: u64,
    /// Why it ended, in a few words: `client closed`, `server closed`, `drained`, an error.
    pub reason: Arc<str>,
}

/// A connection was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionRefused {
    /// Why, as the client was told.
    pub reason: Arc<str>,
    /// `policy/rule` names that refused it, if a rule did.
    #[serde(default, skip_serializing_if = "crate::Names::is_empty")]
    pub rules: crate::Names,
}

macro_rules! into_body {
    ($($variant:ident),*; boxed $($boxed:ident),*) => {
        $(impl From<$variant> for Body {
            fn from(body: $variant) -> Self { Self::$variant(body) }
        })*
        $(impl From<$boxed> for Body {
            fn from(body: $boxed) -> Self { Self::$boxed(Box::new(body)) }
        })*
    };
}

into_body!(
    ConnectionOpened, ConnectionClosed, ConnectionRefused, RecordingChunk, AccessRequestDecided,
    AccessRequestClosed, AccessRequestRepeated, PolicyChanged, BudgetsReset, Finding, EngineStarted, EngineStopped,
    Heartbeat;
    boxed StatementStarted, StatementFinished, FileTransferred, KubernetesAnswered,
    AccessRequestCreated, EvidenceRead, QuarantineChanged, LabelledValuesSeen
);
