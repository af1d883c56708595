//! The log of proofs: one leaf for each run of events that was accepted, and for each that retention
//! deleted; a tree over them, and its root as a signed checkpoint.
//!
//! Invariants
//! - A leaf is committed with the events that it is about, or not at all; so is the checkpoint over it.
//! - Leaves are never changed or deleted, whatever retention does to events.
//! - What a signature is stored for was verified: [`Signed`] cannot be had otherwise.
//!
//! It refuses to decide what is accepted: the store does, and signs what it did.

mod bundle;
mod export;
pub(crate) mod judge;
pub(crate) mod kept;
mod key;
mod offline;
mod signed;
mod tree;

pub use bundle::{BundleError, Manifest};
pub use export::Selection;
pub use judge::{EngineReport, RangeReport, Status};
pub use key::{KeyError, LogKey};
pub(crate) use key::{verify_cosignature, verify_note};
pub use offline::{BundleReport, Trusted, verify_bundle};
pub(crate) use signed::unpack as unpack_chain;
pub use signed::{Chain, OwnKey, OwnSink, SignatureError, Signed, Signer};
pub(crate) use tree::{Stored, Tree};

use rusqlite::{Connection, OptionalExtension as _, params};
use std::sync::Arc;
use weir_audit::proof::{Checkpoint, Evidence, Leaf, Note, RangeLeaf, RetentionLeaf, merkle};
use weir_audit::{EngineId, Frame, Hash, Timestamp};

use crate::CollectorError;

/// The name of the newest checkpoint in the store.
pub(crate) const LATEST: &str = "latest";

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS log_leaves(number INTEGER PRIMARY KEY, engine INTEGER NOT NULL,
  epoch INTEGER NOT NULL, first_seq INTEGER NOT NULL, first_time INTEGER NOT NULL,
  last_time INTEGER NOT NULL, leaf TEXT NOT NULL, signature INTEGER);
CREATE INDEX IF NOT EXISTS log_leaves_engine ON log_leaves(engine, epoch, first_seq);
CREATE TABLE IF NOT EXISTS log_nodes(level INTEGER NOT NULL, number INTEGER NOT NULL,
  hash BLOB NOT NULL, PRIMARY KEY(level, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log_signatures(id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL, hash BLOB NOT NULL, time INTEGER NOT NULL, signature BLOB NOT NULL,
  chain INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS log_chains(id INTEGER PRIMARY KEY, certificates BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS log_roots(certificate BLOB PRIMARY KEY, seen INTEGER NOT NULL)
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log_checkpoints(name TEXT PRIMARY KEY, size INTEGER NOT NULL,
  time INTEGER NOT NULL, note TEXT NOT NULL) WITHOUT ROWID;
";

/// Consecutive, linked frames of one epoch that were accepted together.
pub(crate) struct Run {
    pub(crate) epoch: u32,
    first_seq: u64,
    last_seq: u64,
    previous: Hash,
    hash: Hash,
    first_time: Timestamp,
    last_time: Timestamp,
}

impl Run {
    /// Adds an accepted frame with the earliest and latest time of its events.
    pub(crate) fn add(runs: &mut Vec<Self>, frame: &Frame, times: (Timestamp, Timestamp)) {
        if let Some(run) = runs.last_mut()
            && run.epoch == frame.epoch()
            && run.hash == frame.previous()
            && run.last_seq + 1 == frame.first_seq()
        {
            (run.last_seq, run.hash) = (frame.last_seq(), frame.hash());
            run.first_time = run.first_time.min(times.0);
            run.last_time = run.last_time.max(times.1);
            return;
        }
        runs.push(Self {
            epoch: frame.epoch(),
            first_seq: frame.first_seq(),
            last_seq: frame.last_seq(),
            previous: frame.previous(),
            hash: frame.hash(),
            first_time: times.0,
            last_time: times.1,
        });
    }
}

/// The end of the log, where it grows. A copy grows with a transaction and replaces the original when
/// that is committed.
#[derive(Clone)]
pub(crate) struct Log {
    key: Arc<LogKey>,
    tree: merkle::Frontier,
    grown: bool,
}

impl Log {
    /// Opens the log in a store, or begins one over what the store has.
    pub(crate) fn open(store: &mut Connection, key: Arc<LogKey>) -> Result<Self, CollectorError> {
        store.execute_batch(TABLES)?;
        let tree = Tree(store);
        let size = tree.size()?;
        let mut peaks = Vec::new();
        let mut from = 0;
        for level in (0..64).rev().filter(|level| size >> level & 1 == 1) {
            peaks.push(merkle::root_of(&tree, from, from + (1 << level))?);
            from += 1 << level;
        }
        let tree = merkle::Frontier::new(size, peaks).unwrap_or_default();
        let mut log = Self {
            key,
            tree,
            grown: false,
        };
        let signed = store
            .query_row(
                "SELECT 1 FROM log_checkpoints WHERE name = ?1",
                [LATEST],
                |_| Ok(()),
            )
            .optional()?;
        if signed.is_none() && size == 0 {
            let transaction = store.transaction()?;
            log.adopt(&transaction)?;
            log.grown = true;
            log.seal(&transaction, std::time::SystemTime::now().into())?;
            transaction.commit()?;
        }
        Ok(log)
    }

    pub(crate) fn key(&self) -> &Arc<LogKey> {
        &self.key
    }

    /// What was in the store before there was a log.
    fn adopt(&mut self, store: &Connection) -> Result<(), CollectorError> {
        let now: Timestamp = std::time::SystemTime::now().into();
        let mut select = store.prepare(
            "SELECT k.text, r.engine, r.epoch, r.first_seq, r.last_seq, r.previous, r.hash,
             coalesce(min(b.first_time), 0), coalesce(max(b.last_time), 0)
             FROM ranges r JOIN keys k ON k.id = r.engine LEFT JOIN blocks b
               ON b.engine = r.engine AND b.epoch = r.epoch
               AND b.first_seq BETWEEN r.first_seq AND r.last_seq
             GROUP BY r.engine, r.epoch, r.first_seq ORDER BY r.engine, r.epoch, r.first_seq",
        )?;
        let ranges: Vec<(i64, RangeLeaf)> = select
            .query_map([], |row| {
                let engine: String = row.get(0)?;
                let leaf = RangeLeaf {
                    engine: engine.parse().map_err(|_| rusqlite::Error::InvalidQuery)?,
                    epoch: row.get(2)?,
                    first_seq: row.get(3)?,
                    last_seq: row.get(4)?,
                    previous: Hash(row.get(5)?),
                    hash: Hash(row.get(6)?),
                    first_time: Timestamp::from_micros(row.get(7)?),
                    last_time: Timestamp::from_micros(row.get(8)?),
                    received: now,
                    evidence: Evidence::Adopted,
                };
                Ok((row.get(1)?, leaf))
            })?
            .collect::<Result<_, _>>()?;
        for (key, leaf) in ranges {
            self.append(store, key, &Leaf::Range(leaf), None)?;
        }
        let mut select = store.prepare(
            "SELECT k.text, p.engine, p.epoch, p.last_seq, p.hash FROM pruned p
             JOIN keys k ON k.id = p.engine ORDER BY p.engine",
        )?;
        let deleted: Vec<(i64, RetentionLeaf)> = select
            .query_map([], |row| {
                let engine: String = row.get(0)?;
                let leaf = RetentionLeaf {
                    engine: engine.parse().map_err(|_| rusqlite::Error::InvalidQuery)?,
                    epoch: row.get(2)?,
                    last_seq: row.get(3)?,
                    hash: Hash(row.get(4)?),
                    newest: Timestamp::from_micros(0),
                    at: now,
                    reason: "before the log".into(),
                };
                Ok((row.get(1)?, leaf))
            })?
            .collect::<Result<_, _>>()?;
        for (key, leaf) in deleted {
            self.append(store, key, &Leaf::Retention(leaf), None)?;
        }
        Ok(())
    }

    /// Writes that runs of an engine were accepted. `own` are the collector's own events.
    pub(crate) fn accept(
        &mut self,
        store: &Connection,
        (engine, key): (&EngineId, i64),
        runs: Vec<Run>,
        vouched: Vouched<'_>,
        now: Timestamp,
    ) -> Result<(), CollectorError> {
        if runs.is_empty() {
            return Ok(());
        }
        let (evidence, signature) = match vouched {
            Vouched::Own => (Evidence::Own, None),
            Vouched::Nobody => (Evidence::None, None),
            Vouched::Engine(signed) => {
                let id = save_signature(store, signed)?;
                (Evidence::Signed(signed.evidence()), Some(id))
            }
        };
        for run in runs {
            let leaf = Leaf::Range(RangeLeaf {
                engine: engine.clone(),
                epoch: run.epoch,
                first_seq: run.first_seq,
                last_seq: run.last_seq,
                previous: run.previous,
                hash: run.hash,
                first_time: run.first_time,
                last_time: run.last_time,
                received: now,
                evidence,
            });
            self.append(store, key, &leaf, signature)?;
        }
        Ok(())
    }

    /// Writes that retention deleted everything of an engine up to an event.
    pub(crate) fn delete(
        &mut self,
        store: &Connection,
        key: i64,
        deleted: RetentionLeaf,
    ) -> Result<(), CollectorError> {
        self.append(store, key, &Leaf::Retention(deleted), None)
    }

    fn append(
        &mut self,
        store: &Connection,
        key: i64,
        leaf: &Leaf,
        signature: Option<i64>,
    ) -> Result<(), CollectorError> {
        let number = self.tree.size();
        let text = leaf.to_string();
        let (epoch, first, times) = match leaf {
            Leaf::Range(range) => {
                let times = (range.first_time, range.last_time);
                (range.epoch, range.first_seq, times)
            }
            // Sorts before every range.
            Leaf::Retention(deleted) => (0, 0, (deleted.at, deleted.at)),
        };
        store
            .prepare_cached("INSERT INTO log_leaves VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
            .execute(params![
                number,
                key,
                epoch,
                first,
                times.0.as_micros(),
                times.1.as_micros(),
                text,
                signature
            ])?;
        self.tree.push(merkle::leaf_hash(text.as_bytes()));
        self.grown = true;
        Tree(store).complete_levels(self.tree.size())
    }

    /// Signs the log as it is, if it has grown.
    pub(crate) fn seal(
        &mut self,
        store: &Connection,
        now: Timestamp,
    ) -> Result<(), CollectorError> {
        if !std::mem::take(&mut self.grown) {
            return Ok(());
        }
        let note = self.checkpoint();
        store
            .prepare_cached("INSERT OR REPLACE INTO log_checkpoints VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                LATEST,
                self.tree.size(),
                now.as_micros(),
                note.to_string()
            ])?;
        Ok(())
    }

    fn checkpoint(&self) -> Note {
        self.key.sign(
            &Checkpoint {
                origin: self.key.name().to_owned(),
                size: self.tree.size(),
                root: self.tree.root(),
            }
            .to_string(),
        )
    }
}

/// Who vouches for events.
#[derive(Clone, Copy)]
pub(crate) enum Vouched<'a> {
    /// The collector: they are its own.
    Own,
    /// Their engine, by a signature.
    Engine(&'a Signed),
    /// Nobody.
    Nobody,
}

fn save_signature(store: &Connection, signed: &Signed) -> Result<i64, CollectorError> {
    let certificates = signed::pack(signed.chain());
    store
        .prepare_cached("INSERT OR IGNORE INTO log_chains(certificates) VALUES (?1)")?
        .execute([&certificates])?;
    let chain: i64 = store
        .prepare_cached("SELECT id FROM log_chains WHERE certificates = ?1")?
        .query_row([&certificates], |row| row.get(0))?;
    let head = signed.head();
    store
        .prepare_cached(
            "INSERT INTO log_signatures(epoch, seq, hash, time, signature, chain)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            head.epoch,
            head.seq,
            head.hash.0,
            head.time.as_micros(),
            signed.signature(),
            chain
        ])?;
    Ok(store.last_insert_rowid())
}
