//! The embedded store.
//!
//! One writer connection behind a mutex; each read opens a read-only connection of its own, so a
//! long query never stops ingest.

mod chain;
mod holds;
mod index;
mod ingest;
mod maintain;
mod migrate;
mod overview;
mod query;
mod rollup;
mod schema;
mod sessions;
mod verify;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::broadcast;
use weir_audit::{
    Ack, Batch, CollectorSink, DecodeError, Event, EvidenceRead, Finding, Record, SinkError,
};

pub use overview::{Day, FindingCount, HoldTotals, LabelDay, Overview, PolicyCount, Traffic};
pub use query::{EventPage, Filter};
pub use sessions::{SessionFilter, SessionPage, SessionSummary};
pub use verify::{ChainReport, EngineReport};

/// Bounds of a collector.
#[derive(Clone, Debug)]
pub struct CollectorConfig {
    /// Evidence older than this is deleted; `None` keeps it.
    pub max_age: Option<Duration>,
    /// The store's bound on disk; the oldest evidence is deleted above it.
    pub max_bytes: u64,
    /// An engine that said nothing for so long is a finding.
    pub silence: Duration,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            max_age: Some(Duration::from_secs(90 * 24 * 3600)),
            max_bytes: 16 << 30,
            silence: Duration::from_secs(180),
        }
    }
}

/// Why the collector cannot answer or take evidence.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The store failed.
    #[error("the evidence store failed: {0}")]
    Store(#[from] rusqlite::Error),
    /// Another process has it open.
    #[error("the evidence store {0} is in use by another collector")]
    InUse(PathBuf),
    /// An event may not be kept.
    #[error("evidence was refused: {0}")]
    Refused(String),
    /// A file could not be used.
    #[error("the evidence store failed: {0}")]
    Io(#[from] std::io::Error),
    /// Evidence is in a form that this version does not know.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A block at rest is damaged.
    #[error("evidence at rest is damaged: block {0}")]
    Damaged(i64),
    /// The cursor is not one that was given.
    #[error("the cursor is not valid")]
    Cursor,
    /// The question cannot be asked so.
    #[error("{0}")]
    Question(String),
    /// No such session.
    #[error("no session {0}")]
    NoSession(String),
    /// A value that cannot be written.
    #[error("evidence could not be described: {0}")]
    Json(#[from] serde_json::Error),
}

/// The open store; cheap to clone.
#[derive(Clone)]
pub struct Collector {
    inner: Arc<Inner>,
}

struct Inner {
    /// Held while the store is open.
    _lock: File,
    path: PathBuf,
    config: CollectorConfig,
    writer: Mutex<ingest::Ingest>,
    tail: broadcast::Sender<Arc<[Event]>>,
}

impl Collector {
    /// Opens or creates the store in `dir`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(dir: &Path, config: CollectorConfig) -> Result<Self, CollectorError> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let lock = lock(dir)?;
        let path = dir.join("evidence.db");
        let writer = Mutex::new(ingest::Ingest::new(schema::open(&path)?)?);
        let (tail, _) = broadcast::channel(1024);
        Ok(Self {
            inner: Arc::new(Inner {
                _lock: lock,
                path,
                config,
                writer,
                tail,
            }),
        })
    }

    /// Commits a batch durably. Frames that are known already are ignored.
    ///
    /// # Errors
    /// When nothing of the batch was committed.
    pub fn ingest(&self, batch: &Batch) -> Result<Ack, CollectorError> {
        self.ingest_checked(batch, &mut |_| Ok(()))
    }

    /// Commits a batch durably if `check` has nothing against any of its new events.
    ///
    /// # Errors
    /// When nothing of the batch was committed; [`CollectorError::Refused`] with what `check` said.
    pub fn ingest_checked(
        &self,
        batch: &Batch,
        check: &mut dyn FnMut(&Event) -> Result<(), String>,
    ) -> Result<Ack, CollectorError> {
        let now = std::time::SystemTime::now().into();
        let wanted = self.inner.tail.receiver_count() > 0;
        let done = self.writer().ingest(batch, now, wanted, check)?;
        if wanted && !done.events.is_empty() {
            let _ = self.inner.tail.send(done.events.into());
        }
        Ok(done.ack)
    }

    /// Records a finding of the collector itself.
    ///
    /// # Errors
    /// When the store failed.
    pub fn report(&self, finding: Finding) -> Result<(), CollectorError> {
        let now = std::time::SystemTime::now().into();
        self.writer().find(vec![finding], now)
    }

    /// Records that somebody reads evidence; they get it after this.
    ///
    /// # Errors
    /// When the store failed: nothing may be read then.
    pub fn read_by(&self, read: EvidenceRead) -> Result<(), CollectorError> {
        let now = std::time::SystemTime::now().into();
        self.writer().note(vec![Record::engine(now, read)], now)
    }

    /// How many bytes the store takes.
    ///
    /// # Errors
    /// When the store failed.
    pub fn size(&self) -> Result<u64, CollectorError> {
        self.writer().size()
    }

    /// Events from now on, in batches. A subscriber that falls behind is told how far.
    #[must_use]
    pub fn tail(&self) -> broadcast::Receiver<Arc<[Event]>> {
        self.inner.tail.subscribe()
    }

    /// Looks for silent engines and unclosed sessions, and applies retention. Call it every minute
    /// or so.
    ///
    /// # Errors
    /// When the store failed.
    pub fn maintain(&self) -> Result<(), CollectorError> {
        let now = std::time::SystemTime::now().into();
        self.writer().maintain(&self.inner.config, now)
    }

    fn writer(&self) -> MutexGuard<'_, ingest::Ingest> {
        self.inner
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reader(&self) -> Result<Connection, CollectorError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(&self.inner.path, flags)?;
        reader.busy_timeout(Duration::from_secs(5))?;
        Ok(reader)
    }
}

/// What answers to questions are made of.
pub(crate) mod answering {
    pub(crate) use super::overview::{Days, IN_DAYS, rule_name, sum};
    pub(crate) use super::rollup::{begin_of, day_of};
}

fn lock(dir: &Path) -> Result<File, CollectorError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CollectorError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

impl CollectorSink for Collector {
    fn ingest(&self, batch: &Batch) -> Result<Ack, SinkError> {
        Self::ingest(self, batch).map_err(|error| SinkError(error.to_string().into()))
    }
}

#[cfg(test)]
mod tests;
