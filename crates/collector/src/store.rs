//! The embedded store.
//!
//! One writer connection behind a mutex, for which nothing is done that can be done before; each read opens a
//! read-only connection of its own, so a long query never stops ingest.

mod backlog;
mod chain;
mod clock;
mod facets;
mod fast;
mod holds;
mod index;
mod ingest;
mod keys;
mod maintain;
mod migrate;
mod outgoing;
mod overview;
mod pack;
mod query;
mod ready;
mod retention;
mod rollup;
mod round;
mod schema;
mod seen;
mod sessions;
mod texts;
mod turns;
mod verify;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustls_pki_types::CertificateDer;
use tokio::sync::{broadcast, watch};
use weir_audit::proof::{Checkpoint, Note, Tile, merkle};
use weir_audit::{
    Ack, Batch, DecodeError, EngineId, Event, EvidenceRead, Finding, FindingCode, Hash, Record,
    Timestamp,
};

use crate::clickhouse::{ClickHouse, ClickHouseConfig};
use crate::log::{LATEST, LogKey, Signed, Tree, kept};
use ready::Maker;

pub use outgoing::Behind;
pub(crate) use outgoing::{Cursor, Outgoing};
pub use overview::{Day, FindingCount, HoldTotals, LabelDay, Overview, PolicyCount, Traffic};
pub use query::{EventPage, Filter};
pub(crate) use round::Round;
pub(crate) use schema::unpack as unpack_block;
pub use seen::{Saw, SawBy, SawFilter, SawIn, SawLabels, SawPerhaps};
pub use sessions::{SessionFilter, SessionPage, SessionSummary};
pub(crate) use turns::Reach;
pub use verify::{ChainReport, LogReport, Vouched};

/// Bounds of a collector.
#[derive(Clone, Debug)]
pub struct CollectorConfig {
    /// Evidence older than this is deleted; `None` keeps it.
    pub max_age: Option<Duration>,
    /// The store's bound on disk; the oldest evidence is deleted above it.
    pub max_bytes: u64,
    /// An engine that said nothing for so long is a finding.
    pub silence: Duration,
    /// Bytes of the store that its writer keeps in memory.
    pub cache: u32,
    /// Where searches are answered, if not here.
    pub clickhouse: Option<ClickHouseConfig>,
    /// Whether events are exported: their blocks are merged only then.
    pub exporting: bool,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            max_age: Some(Duration::from_secs(90 * 24 * 3600)),
            max_bytes: 16 << 30,
            silence: Duration::from_secs(180),
            cache: 2 << 20,
            clickhouse: None,
            exporting: false,
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
    /// The log of proofs failed.
    #[error("the log of proofs failed: {0}")]
    Log(String),
    /// The log's key cannot be used.
    #[error(transparent)]
    Key(#[from] crate::log::KeyError),
    /// The search engine did not do what it was asked.
    #[error("the search engine failed: {0}")]
    Engine(String),
    /// The cursor is not one that was given.
    #[error("the cursor is not valid")]
    Cursor,
    /// The question cannot be asked so.
    #[error("{0}")]
    Question(String),
    /// Others read so much that this must wait.
    #[error("too many read at once: try again")]
    Busy,
    /// No such session.
    #[error("no session {0}")]
    NoSession(String),
    /// A value that cannot be written.
    #[error("evidence could not be described: {0}")]
    Json(#[from] serde_json::Error),
}

impl CollectorError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Store(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            Self::Io(error) => error.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }

    /// Whether the store failed, and not only over this one thing.
    fn is_of_the_store(&self) -> bool {
        match self {
            Self::Store(error) => error.sqlite_error_code().is_some(),
            Self::Io(_) => true,
            _ => false,
        }
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Up to where it was committed.
    pub ack: Ack,
    /// Bytes of the lines of sessions that are new.
    pub lines: usize,
}

/// The log of proofs as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// How many entries it has.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// When it last grew.
    pub time: Timestamp,
    /// The key that verifies its checkpoints: `NAME+ID+KEY`.
    pub key: String,
    /// Its newest checkpoint, a signed note.
    pub checkpoint: String,
    /// Who else vouches for which size of it.
    pub vouched: Vec<Vouched>,
}

/// The open store; cheap to clone.
#[derive(Clone)]
pub struct Collector {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    path: PathBuf,
    config: CollectorConfig,
    far: Option<ClickHouse>,
    log_key: Arc<LogKey>,
    /// What was said of tampering lately.
    told: Mutex<Vec<(String, std::time::Instant)>>,
    writer: Mutex<ingest::Ingest>,
    tail: broadcast::Sender<Arc<[Event]>>,
    /// Whether the last write was kept.
    writable: watch::Sender<bool>,
    turns: turns::Turns,
    /// Held while the store is open, and released last.
    _lock: File,
}

impl Collector {
    /// Opens or creates the store in `dir`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(dir: &Path, config: CollectorConfig) -> Result<Self, CollectorError> {
        Self::open_by(dir, config, Box::new(clock::Machine))
    }

    /// The same, with these clocks.
    fn open_by(
        dir: &Path,
        config: CollectorConfig,
        clocks: Box<dyn clock::Clocks>,
    ) -> Result<Self, CollectorError> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let lock = lock(dir)?;
        let path = dir.join("evidence.db");
        let far = config.clickhouse.clone().map(ClickHouse::new).transpose()?;
        let mut writer = ingest::Ingest::new(
            schema::open(&path, config.cache)?,
            dir,
            (far.is_some(), config.exporting),
            clocks,
        )?;
        if let Some(why) = kept::compare(&writer.store, dir, writer.log_key().public())? {
            let finding = Finding {
                code: FindingCode::Tampered,
                message: why.into(),
                subject: None,
                engine: None,
            };
            let now = writer.now();
            writer.find(vec![finding], now)?;
        }
        // A full disk closes no store: what is there can be read, and what comes is refused.
        if let Err(error) = writer
            .look_at_clocks()
            .and_then(|()| kept::write(&writer.store, dir))
        {
            tracing::error!(%error, "the evidence store cannot be written");
        }
        let (tail, _) = broadcast::channel(1024);
        let log_key = Arc::clone(writer.log_key());
        let writer = Mutex::new(writer);
        Ok(Self {
            inner: Arc::new(Inner {
                dir: dir.to_owned(),
                path,
                config,
                far,
                log_key,
                told: Mutex::default(),
                writer,
                tail,
                writable: watch::Sender::new(true),
                turns: turns::Turns::default(),
                _lock: lock,
            }),
        })
    }

    /// Commits a batch durably for which nobody vouches: [`Collector::verify`] will say so. Frames that are
    /// known already are ignored.
    ///
    /// # Errors
    /// When nothing of the batch was committed.
    pub fn ingest(&self, batch: &Batch) -> Result<Ack, CollectorError> {
        let taken = self.commit(batch, None, &mut |_| Ok(()));
        taken.map(|taken| taken.ack)
    }

    /// Commits a batch durably if `check` has nothing against any of its new events. Frames that are known
    /// already are ignored.
    ///
    /// # Errors
    /// When nothing of the batch was committed; [`CollectorError::Refused`] with what `check` said.
    pub fn ingest_signed(
        &self,
        batch: &Batch,
        signed: &Signed,
        check: &mut dyn FnMut(&Event) -> Result<(), String>,
    ) -> Result<Taken, CollectorError> {
        self.commit(batch, Some(signed), check)
    }

    fn commit(
        &self,
        batch: &Batch,
        signed: Option<&Signed>,
        check: &mut dyn FnMut(&Event) -> Result<(), String>,
    ) -> Result<Taken, CollectorError> {
        // Before it is this batch's turn to be written.
        let mut maker = Maker::new(&batch.engine, self.listeners() > 0, check);
        let mut ready = maker.all(&batch.frames);
        let mut writer = self.writer();
        // Somebody began to follow meanwhile.
        if !maker.keep && self.listeners() > 0 {
            maker.keep = true;
            ready = maker.all(&batch.frames);
        }
        let now = writer.now();
        let done = writer.ingest(batch, ready, &mut maker, signed, now);
        drop(writer);
        let done = self.wrote(done)?;
        if !done.events.is_empty() {
            let _ = self.inner.tail.send(done.events.into());
        }
        Ok(Taken {
            ack: done.ack,
            lines: done.lines,
        })
    }

    /// Remembers whose certificates are believed, so that signatures can be verified for as long as the
    /// events are kept.
    ///
    /// # Errors
    /// When the store failed.
    pub fn trust(&self, roots: &[CertificateDer<'_>]) -> Result<(), CollectorError> {
        let now = Timestamp::from(std::time::SystemTime::now());
        self.writer().trust(roots, now)
    }

    /// The key that signs the log.
    #[must_use]
    pub fn log_key(&self) -> &LogKey {
        &self.inner.log_key
    }

    /// Records a finding of the collector itself.
    ///
    /// # Errors
    /// When the store failed.
    pub fn report(&self, finding: Finding) -> Result<(), CollectorError> {
        self.report_all(vec![finding])
    }

    /// The same for several: one transaction.
    ///
    /// # Errors
    /// When the store failed: none of them was recorded then.
    pub fn report_all(&self, findings: Vec<Finding>) -> Result<(), CollectorError> {
        let mut writer = self.writer();
        let now = writer.now();
        self.wrote(writer.find(findings, now))?;
        self.tell(writer.take_found());
        Ok(())
    }

    /// Tells followers of findings of the collector's own.
    fn tell(&self, found: Vec<Event>) {
        if !found.is_empty() {
            let _ = self.inner.tail.send(found.into());
        }
    }

    /// How many follow what is committed.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.inner.tail.receiver_count()
    }

    /// Where the store is: files that belong to it may lie there, too.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// How the collector's own engine is called; it stays the same as long as the store.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        self.writer().name()
    }

    /// Whether an engine is this collector itself.
    #[must_use]
    pub fn is_own(&self, engine: &EngineId) -> bool {
        engine.as_str().starts_with(crate::log::OWN)
    }

    /// Records that somebody reads evidence; they get it after this.
    ///
    /// # Errors
    /// When the store failed: nothing may be read then.
    pub fn read_by(&self, read: EvidenceRead) -> Result<(), CollectorError> {
        let mut writer = self.writer();
        let now = writer.now();
        self.wrote(writer.note(vec![Record::engine(now.wall, read)], now))
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
        let mut writer = self.writer();
        let done = writer.look_at_clocks().and_then(|()| {
            let now = writer.now();
            writer.maintain(&self.inner.config, now)
        });
        self.tell(writer.take_found());
        let done = done.and_then(|()| kept::write(&writer.store, &self.inner.dir));
        self.wrote(done)
    }

    /// Whether the store keeps what it is given: false from a write that failed, for want of room or
    /// otherwise, until one does not.
    #[must_use]
    pub fn writable(&self) -> watch::Receiver<bool> {
        self.inner.writable.subscribe()
    }

    /// Writes something, to see whether the store keeps it.
    ///
    /// # Errors
    /// When it does not.
    pub fn probe(&self) -> Result<(), CollectorError> {
        let mut writer = self.writer();
        self.wrote(writer.look_at_clocks())
    }

    /// How many seconds this machine's clock is ahead of the time that passed, or behind it, since it was set; 0
    /// while they agree.
    #[must_use]
    pub fn clock_offset(&self) -> i64 {
        self.writer().clock_offset()
    }

    /// Notes whether a write was kept. That evidence was refused, or cannot be written down, says nothing of the
    /// store.
    fn wrote<T>(&self, done: Result<T, CollectorError>) -> Result<T, CollectorError> {
        let kept = match &done {
            Ok(_) => true,
            Err(error) if error.is_of_the_store() => false,
            Err(_) => return done,
        };
        self.inner
            .writable
            .send_if_modified(|writable| std::mem::replace(writable, kept) != kept);
        done
    }

    /// What the log is, and who vouches for it.
    ///
    /// # Errors
    /// When the store failed.
    pub fn proof(&self) -> Result<Proof, CollectorError> {
        let reader = self.reader()?;
        let mut kept = Tree(&reader).checkpoints()?;
        let latest = kept.iter().position(|stored| stored.name == LATEST);
        let latest = latest.map(|place| kept.swap_remove(place));
        let latest = latest.ok_or_else(|| CollectorError::Log("it has no checkpoint".into()))?;
        let mut vouched: Vec<Vouched> = kept.iter().map(Vouched::of).collect();
        vouched.sort_by(|a, b| a.by.cmp(&b.by));
        Ok(Proof {
            size: latest.checkpoint.size,
            root: latest.checkpoint.root,
            time: Timestamp::from_micros(latest.time),
            key: self.inner.log_key.public().to_string(),
            checkpoint: latest.note.to_string(),
            vouched,
        })
    }

    /// A tile of the log, or a bundle of its entries, as C2SP tlog-tiles has them; `None` if the log has no
    /// such tile.
    ///
    /// # Errors
    /// When the store failed.
    pub fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, CollectorError> {
        Tree(&self.reader()?).tile(tile)
    }

    /// The newest checkpoint behind a proof that the log of `old` entries is its beginning, as C2SP
    /// tlog-witness sends both; `None` if the log was never so long.
    ///
    /// # Errors
    /// When the store failed.
    pub fn continued(&self, old: u64) -> Result<Option<String>, CollectorError> {
        crate::log::continued(&self.reader()?, old)
    }

    /// Remembers a checkpoint that somebody else has now: `archive`, or `witness NAME`.
    ///
    /// # Errors
    /// When the store failed.
    pub(crate) fn vouch(&self, by: &str, note: &Note) -> Result<(), CollectorError> {
        let checkpoint: Checkpoint = note.text.parse().map_err(|_| damaged_note())?;
        let now = Timestamp::from(std::time::SystemTime::now());
        Tree(&self.writer().store).keep(by, &checkpoint, note, now.as_micros())
    }

    /// Compares the log with a checkpoint of its own that somebody else has. `Some` says in words how the
    /// log lost what it had; the checkpoint is remembered then, and it is a finding.
    ///
    /// # Errors
    /// When the store failed.
    pub(crate) fn contradicted(
        &self,
        by: &str,
        note: &Note,
    ) -> Result<Option<String>, CollectorError> {
        let checkpoint: Checkpoint = note.text.parse().map_err(|_| damaged_note())?;
        let reader = self.reader()?;
        let tree = Tree(&reader);
        let size = tree.size()?;
        let why = if checkpoint.size > size {
            format!(
                "the log has {size} entries, and the {by} has {} of it: its end is gone",
                checkpoint.size
            )
        } else if merkle::root_of(&tree, 0, checkpoint.size)? != checkpoint.root {
            format!(
                "the first {} entries of the log are not those that the {by} has",
                checkpoint.size
            )
        } else {
            return Ok(None);
        };
        let name = format!("{by}, at {}", checkpoint.size);
        if tree.checkpoint(&name)?.is_none() {
            self.vouch(&name, note)?;
            self.tampered(&name, &why)?;
        }
        Ok(Some(why))
    }

    /// Says in the collector's chain that the record was tampered with; of each `subject` once in an hour.
    ///
    /// # Errors
    /// When the store failed.
    pub(crate) fn tampered(&self, subject: &str, why: &str) -> Result<(), CollectorError> {
        let again = Duration::from_secs(3600);
        {
            let mut told = self
                .inner
                .told
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let now = std::time::Instant::now();
            told.retain(|(_, at)| now.duration_since(*at) < again);
            if told.iter().any(|(said, _)| said == subject) {
                return Ok(());
            }
            told.push((subject.to_owned(), now));
        }
        self.report(Finding {
            code: FindingCode::Tampered,
            message: why.into(),
            subject: None,
            engine: None,
        })
    }

    /// Whether blocks are to be forwarded to a search engine: [`Collector::forward`].
    #[must_use]
    pub fn forwards(&self) -> bool {
        self.inner.far.is_some()
    }

    /// Where searches are answered, if not here.
    pub(crate) fn far(&self) -> Option<&ClickHouse> {
        self.inner.far.as_ref()
    }

    /// How long evidence is kept.
    pub(crate) fn max_age(&self) -> Option<Duration> {
        self.inner.config.max_age
    }

    fn writer(&self) -> MutexGuard<'_, ingest::Ingest> {
        self.inner
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader's snapshot in which sums count everything that was acknowledged.
    pub(crate) fn counted(&self) -> Result<Connection, CollectorError> {
        let mut writer = self.writer();
        let Err(error) = writer.follow() else {
            drop(writer);
            let reader = self.reader()?;
            reader.execute_batch("BEGIN")?;
            return Ok(reader);
        };
        tracing::error!(%error, "sums cannot be written");
        // They are added to what this reader sees. It never commits, so that needs no room on the disk.
        let reader = Connection::open(&self.inner.path)?;
        reader.busy_timeout(Duration::from_secs(5))?;
        reader.execute_batch("PRAGMA cache_spill = OFF; BEGIN IMMEDIATE")?;
        writer.add_sums(&reader)?;
        Ok(reader)
    }

    /// Has everything written that follows the blocks.
    pub(crate) fn follow(&self) -> Result<(), CollectorError> {
        self.writer().follow()
    }

    pub(crate) fn reader(&self) -> Result<Connection, CollectorError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(&self.inner.path, flags)?;
        reader.busy_timeout(Duration::from_secs(5))?;
        Ok(reader)
    }
}

fn damaged_note() -> CollectorError {
    CollectorError::Log("a checkpoint cannot be read".into())
}

/// What answers and search engines are made of.
pub(crate) mod parts {
    pub(crate) use super::holds::SHOWN;
    pub(crate) use super::index::text_of;
    pub(crate) use super::overview::{Days, IN_DAYS, cut, day_name, rule_name, sum};
    pub(crate) use super::query::{DEFAULT_LIMIT, MAX_LIMIT, parse_cursor};
    pub(crate) use super::rollup::{begin_of, day_of};
    pub(crate) use super::sessions::parse_cursor as parse_session_cursor;
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

#[cfg(test)]
mod tests;
