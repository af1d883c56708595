//! Evidence: what happened, as typed values, and the form in which it is kept.
//!
//! Role: the one place that knows what an audit event is. [`Record`] is what an engine hands in on
//! its hot path (a few reference counts, no formatting); [`Event`] is the same record once it has
//! an identity ([`EventId`]: engine, epoch, sequence); [`Frame`] is a sealed run of events, linked
//! to the one before it by SHA-256.
//!
//! Invariants
//! - The form is versioned ([`SCHEMA`]); a reader refuses a version that it does not know, and
//!   still reads those from [`OLDEST_SCHEMA`] on.
//! - Sequence numbers start at 1 in each epoch and have no holes: a hole is a finding.
//! - Every length and count that is read back is checked against what is left to read.
//! - Results and literals are in an event only if the record level of the policy put them there,
//!   and results only as the client saw them, after masks.
//!
//! It refuses to do IO, to read a clock, or to know a protocol.
//!
//! Signatures are over heads of chains, beside the events ([`proof`]). Reserved for later, absent today:
//! `ocsf` (the mapping to the Open Cybersecurity Schema Framework). No event has a field of that
//! name until then.

mod alert;
mod bounds;
mod channel;
mod codec;
mod control;
mod echo;
mod event;
mod file;
mod frame;
mod identity;
mod kubernetes;
pub mod proof;
mod recording;
mod seen;
mod sink;
mod statement;
mod text;

pub use alert::Alert;
pub use channel::ChannelRecorder;
pub use codec::DecodeError;
pub use control::{
    AccessRequestClosed, AccessRequestCreated, AccessRequestDecided, AccessRequestRepeated,
    Binding, BudgetsReset, Closing, EngineStarted, EngineStopped, EvidenceRead, Finding,
    FindingCode, Heartbeat, LabelledColumns, PolicyChanged, Previous, QuarantineChanged, Ruling,
    Severity, Via,
};
pub use echo::{EchoFilter, MAX_HELD, MAX_LINE, Typed};
pub use event::{
    Body, ConnectionClosed, ConnectionOpened, ConnectionRefused, Event, EventId, Record,
};
pub use file::{Digest, Direction, FileDigest, FileTransferred, TransferProtocol};
pub use frame::{Frame, FrameBuilder, FrameError, FrameReader, Hash, MAX_FRAME, genesis, link};
pub use identity::{EngineId, Identity, Session, SessionId};
pub use kubernetes::KubernetesAnswered;
pub use recording::{Cell, ChunkBuilder, Column, Moment, RecordedRows, RecordingChunk, Stream};
pub use seen::{Fingerprint, FingerprintKey, LabelKey, LabelledValuesSeen, canonical};
pub use sink::{Ack, Batch, CollectorSink, SinkError};
pub use statement::{Decision, Outcome, Statement, StatementFinished, StatementStarted, Value};
pub use text::{Names, ParseError, Timestamp};

/// The version of the event schema and of the encoding in frames.
pub const SCHEMA: u16 = 5;

/// The oldest version that is still read. Versions 3 and 4 added kinds, streams and findings and
/// changed none; fields that 5 added have their defaults in an older frame. So whoever reads 5 reads
/// all of them.
pub const OLDEST_SCHEMA: u16 = 2;
