//! The spool: evidence on disk, bounded, until the collector has committed it.
//!
//! [`AuditHandle::record`] queues in memory and wakes nobody; the writer thread seals what is
//! queued into frames (sequence, chain), writes them within 50 ms and syncs them within 250 ms.
//! `Blocking` waits for the sync ([`AuditHandle::append_durable`], one sync for all who wait);
//! `BlockingStrict` waits until the collector has committed.
//!
//! Invariants
//! - Sequence numbers are given under the queue's lock, so the caller knows the audit id at once.
//! - Memory is bounded: above [`SpoolConfig::queue_bytes`] the handle is unhealthy and the engine
//!   must refuse new statements; above twice that, events are refused, counted, and reported.
//! - Disk is bounded: above [`SpoolConfig::max_bytes`], or when the disk is full, the handle is
//!   unhealthy until the collector has taken what is there. A reserve of 16 MiB above the bound
//!   takes the ends of statements that already run.
//! - A segment is deleted only after the collector acknowledged its last event.

mod queue;
mod recover;
mod segment;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use weir_audit::{
    EngineId, EngineStarted, EngineStopped, EventId, Finding, FindingCode, Record, SessionId,
    Timestamp,
};

pub(crate) use queue::Shared;
pub(crate) use segment::Segment;

/// How strictly evidence is kept before work goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// In the spool within a second; a crash may lose that second, and the gap is reported.
    #[default]
    Batch,
    /// On disk before the caller goes on.
    Blocking,
    /// Committed by the collector before the caller goes on.
    BlockingStrict,
}

/// Bounds and places of a spool.
#[derive(Clone, Debug)]
pub struct SpoolConfig {
    /// Directory of segments; created with mode 0700.
    pub dir: PathBuf,
    /// Name of the engine; drawn once and kept in the directory when absent.
    pub engine: Option<EngineId>,
    /// Version to state in `EngineStarted`.
    pub version: Arc<str>,
    /// Bound of the segments on disk.
    pub max_bytes: u64,
    /// Bound of one segment.
    pub segment_bytes: u64,
    /// Bound of what is queued in memory.
    pub queue_bytes: usize,
    /// How long `BlockingStrict` waits for the collector.
    pub audit_timeout: Duration,
    /// How often an idle engine says that it lives.
    pub heartbeat: Duration,
}

impl SpoolConfig {
    /// The defaults: 256 MiB of segments of 8 MiB, 16 MiB queued, 5 s, 30 s.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            engine: None,
            version: env!("CARGO_PKG_VERSION").into(),
            max_bytes: 256 << 20,
            segment_bytes: 8 << 20,
            queue_bytes: 16 << 20,
            audit_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(30),
        }
    }
}

/// Why evidence cannot be kept. Every variant means: refuse the work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// The spool holds as much as it may, because the collector has not taken it.
    #[error("the audit spool is full")]
    Full,
    /// The disk under the spool is full or cannot be written.
    #[error("the audit spool cannot be written: {0}")]
    Disk(Arc<str>),
    /// More is queued than may be.
    #[error("the audit queue is full")]
    Backlog,
    /// The collector did not commit in time.
    #[error("the audit collector did not acknowledge in time")]
    Timeout,
    /// The spool was closed.
    #[error("the audit spool is closed")]
    Closed,
    /// The directory cannot be opened.
    #[error("cannot open the audit spool {path}: {reason}")]
    Open {
        /// The directory or file.
        path: PathBuf,
        /// Why not.
        reason: Arc<str>,
    },
}

impl SpoolError {
    pub(crate) fn open(path: &Path, error: &io::Error) -> Self {
        Self::Open {
            path: path.to_owned(),
            reason: error.to_string().into(),
        }
    }
}

/// What a spool holds; for status and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolStatus {
    /// The engine.
    pub engine: EngineId,
    /// Its epoch.
    pub epoch: u32,
    /// Last sequence number that was given.
    pub last_seq: u64,
    /// Last sequence number on disk.
    pub durable_seq: u64,
    /// Last sequence number that the collector committed.
    pub acknowledged_seq: u64,
    /// Bytes of segments on disk.
    pub disk_bytes: u64,
    /// Bytes queued in memory.
    pub queued_bytes: usize,
    /// Events that were refused for want of room since the start.
    pub lost: u64,
    /// Why it is unhealthy, if it is.
    pub problem: Option<SpoolError>,
}

/// An open spool; owns the writer thread. Dropping it without [`Spool::close`] writes what is
/// queued but states no orderly end.
pub struct Spool {
    handle: AuditHandle,
    writer: Option<JoinHandle<()>>,
}

impl Spool {
    /// Opens the directory, verifies and repairs what an earlier process left, and starts a new
    /// epoch. What was found (torn tail, unclean end, unclosed sessions) becomes findings.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process uses it.
    pub fn open(config: SpoolConfig) -> Result<Self, SpoolError> {
        let recovered = recover::recover(&config)?;
        let now = Timestamp::from(SystemTime::now());
        let mut first = vec![Record::engine(
            now,
            EngineStarted {
                version: Arc::clone(&config.version),
                previous: recovered.previous,
            },
        )];
        first.extend(
            recovered
                .findings
                .iter()
                .cloned()
                .map(|body| Record::engine(now, body)),
        );
        let shared = Arc::new(Shared::new(&config, &recovered));
        for record in first {
            shared.push(record, true)?;
        }
        let writer = writer::Writer::new(Arc::clone(&shared), &config, recovered)?;
        let thread = std::thread::Builder::new()
            .name("weir-spool".into())
            .spawn(move || writer.run())
            .map_err(|error| SpoolError::open(&config.dir, &error))?;
        Ok(Self {
            handle: AuditHandle { shared },
            writer: Some(thread),
        })
    }

    /// A handle for engines.
    #[must_use]
    pub fn handle(&self) -> AuditHandle {
        self.handle.clone()
    }

    /// States an orderly end and writes everything to disk. Events recorded later are refused.
    pub fn close(mut self) {
        let at = Timestamp::from(SystemTime::now());
        if self
            .handle
            .shared
            .push(Record::engine(at, EngineStopped {}), true)
            .is_err()
        {
            tracing::error!("the audit spool could not record the engine's end");
        }
        self.stop();
    }

    fn stop(&mut self) {
        self.handle.shared.stop();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the audit spool's writer ended badly");
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Hands events to the spool; cheap to clone.
#[derive(Clone)]
pub struct AuditHandle {
    pub(crate) shared: Arc<Shared>,
}

impl AuditHandle {
    /// Whether evidence can be kept; two atomic loads. The engine asks before each statement and
    /// refuses it otherwise.
    ///
    /// # Errors
    /// Why not.
    pub fn healthy(&self) -> Result<(), SpoolError> {
        self.shared.healthy()
    }

    /// Queues an event (`Batch`). It is accepted above the healthy bound too, up to twice that, so
    /// that statements which already run can be concluded.
    ///
    /// # Errors
    /// When no room is left at all or the spool is closed; the loss is counted and reported.
    pub fn record(&self, record: Record) -> Result<EventId, SpoolError> {
        self.shared.push(record, false).map(|seq| self.id(seq))
    }

    /// Queues an event as soon as there is room.
    ///
    /// # Errors
    /// When the spool is closed or cannot be written.
    pub async fn record_async(&self, record: Record) -> Result<EventId, SpoolError> {
        self.shared.room().await?;
        self.record(record)
    }

    /// Queues an event and waits until it is on disk (`Blocking`).
    ///
    /// # Errors
    /// When it cannot be written; it may still be written later.
    pub async fn append_durable(&self, record: Record) -> Result<EventId, SpoolError> {
        let seq = self.shared.push(record, true)?;
        self.shared.durable(seq).await?;
        Ok(self.id(seq))
    }

    /// Queues an event and waits until the collector has committed it (`BlockingStrict`).
    ///
    /// # Errors
    /// [`SpoolError::Timeout`] after the configured time.
    pub async fn append_acknowledged(&self, record: Record) -> Result<EventId, SpoolError> {
        let seq = self.shared.push(record, true)?;
        self.shared.acknowledged(seq).await?;
        Ok(self.id(seq))
    }

    /// Queues an event and waits for as much as `delivery` asks.
    ///
    /// # Errors
    /// As the method for that delivery.
    pub async fn deliver(&self, delivery: Delivery, record: Record) -> Result<EventId, SpoolError> {
        match delivery {
            Delivery::Batch => self.record(record),
            Delivery::Blocking => self.append_durable(record).await,
            Delivery::BlockingStrict => self.append_acknowledged(record).await,
        }
    }

    /// Waits until everything recorded so far is committed by the collector.
    ///
    /// # Errors
    /// As [`AuditHandle::append_acknowledged`].
    pub async fn flush(&self) -> Result<(), SpoolError> {
        let seq = self.shared.hurry();
        self.shared.acknowledged(seq).await
    }

    /// Records a finding of the engine itself.
    ///
    /// # Errors
    /// As [`AuditHandle::record`].
    pub fn finding(
        &self,
        code: FindingCode,
        message: impl Into<Arc<str>>,
    ) -> Result<EventId, SpoolError> {
        let finding = Finding {
            code,
            message: message.into(),
            subject: None,
            engine: None,
        };
        self.record(Record::engine(SystemTime::now().into(), finding))
    }

    /// A session id that no other session has.
    #[must_use]
    pub fn next_session(&self) -> SessionId {
        self.shared.next_session()
    }

    /// The engine's name.
    #[must_use]
    pub fn engine(&self) -> &EngineId {
        &self.shared.engine
    }

    /// What the spool holds.
    #[must_use]
    pub fn status(&self) -> SpoolStatus {
        self.shared.status()
    }

    fn id(&self, seq: u64) -> EventId {
        EventId {
            engine: self.shared.engine.clone(),
            epoch: self.shared.epoch,
            seq,
        }
    }
}

#[cfg(test)]
mod tests;
