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
mod known;
mod offline;
mod problems;
mod seal;
mod signed;
mod tree;

pub use bundle::{BundleError, Manifest, read_bundle};
pub use export::Selection;
pub use judge::{EngineReport, RangeReport, Status};
pub(crate) use key::verify_cosignature;
pub use key::{KeyError, LogKey, verify_note};
pub use offline::{BundleReport, Trusted, verify_bundle};
pub(crate) use problems::Problems;
pub(crate) use signed::unpack as unpack_chain;
pub use signed::{Chain, OwnKey, OwnSink, SignatureError, Signed, Signer};
pub(crate) use tree::{Stored, Tree};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::sync::Arc;
use weir_audit::proof::{Checkpoint, Evidence, Leaf, Note, RangeLeaf, RetentionLeaf, merkle};
use weir_audit::{EngineId, Frame, Hash, Timestamp};

use crate::CollectorError;

/// What the names of collectors as engines begin with.
pub(crate) const OWN: &str = "collector_";
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
    /// Opens the log in a store, or begins one. Evidence that is there without a log is in no entry of it, and is
    /// found by every verification.
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
            log.grown = true;
            log.seal(&transaction, std::time::SystemTime::now().into())?;
            transaction.commit()?;
        }
        Ok(log)
    }

    pub(crate) fn key(&self) -> &Arc<LogKey> {
        &self.key
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

/// The body of C2SP tlog-witness' `add-checkpoint` for a witness that has seen `old` entries.
pub(crate) fn continued(store: &Connection, old: u64) -> Result<Option<String>, CollectorError> {
    let tree = Tree(store);
    let latest = tree.checkpoint(LATEST)?;
    let Some(latest) = latest.filter(|latest| latest.checkpoint.size >= old) else {
        return Ok(None);
    };
    let mut body = format!("old {old}\n");
    for hash in merkle::prove_consistency(&tree, old, latest.checkpoint.size)? {
        body.push_str(&STANDARD.encode(hash.0));
        body.push('\n');
    }
    body.push('\n');
    body.push_str(&latest.note.to_string());
    Ok(Some(body))
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
