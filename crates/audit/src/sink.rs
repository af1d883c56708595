//! Where evidence goes: the seam between a spool and a collector.

use std::sync::Arc;

use crate::frame::Frame;
use crate::identity::EngineId;

/// Frames of one engine, in order.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The engine.
    pub engine: EngineId,
    /// Its frames.
    pub frames: Vec<Frame>,
}

/// What a collector has committed for good: everything up to this event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ack {
    /// The epoch of the last event.
    pub epoch: u32,
    /// Its sequence number.
    pub seq: u64,
}

/// A collector that could not take a batch; it is sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the collector did not take evidence: {0}")]
pub struct SinkError(pub Arc<str>);

/// Takes evidence. Batches may come twice: `(engine, epoch, sequence)` says what is known.
pub trait CollectorSink: Send + Sync {
    /// Commits a batch durably.
    ///
    /// # Errors
    /// When it is not committed.
    fn ingest(&self, batch: &Batch) -> Result<Ack, SinkError>;
}
