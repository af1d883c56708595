//! Verification of what is at rest, from the sealed bytes alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use weir_audit::{EngineId, Frame, FrameReader, Hash, genesis};

use super::schema::unpack;
use super::{Collector, CollectorError};

const MAX_PROBLEMS: usize = 100;

/// Whether the record is complete and unaltered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainReport {
    /// Whether no engine has a problem.
    pub ok: bool,
    /// Each engine's part.
    pub engines: Vec<EngineReport>,
}

/// One engine's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineReport {
    /// The engine.
    pub engine: EngineId,
    /// Epochs seen.
    pub epochs: u32,
    /// Frames verified.
    pub frames: u64,
    /// Events verified.
    pub events: u64,
    /// The last link.
    pub head: String,
    /// Whether retention cut the beginning off.
    pub pruned: bool,
    /// What is missing or does not chain; at most 100.
    pub problems: Vec<String>,
}

/// Where a chain stands.
struct Walk {
    report: EngineReport,
    hash: Hash,
    at: (u32, u64),
}

impl Collector {
    /// Verifies every link of every engine from what is at rest.
    ///
    /// # Errors
    /// When the store cannot be read; damage is a problem in the report.
    pub fn verify(&self) -> Result<ChainReport, CollectorError> {
        let mut reader = self.reader()?;
        // One snapshot for blocks and ranges.
        let reader = reader.transaction()?;
        let mut walks: HashMap<i64, Walk> = HashMap::new();
        let mut select = reader.prepare(
            "SELECT b.engine, k.text, b.id, b.epoch, b.first_seq, b.raw, b.data
             FROM blocks b JOIN keys k ON k.id = b.engine ORDER BY b.engine, b.epoch, b.first_seq",
        )?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let key: i64 = row.get(0)?;
            let text: String = row.get(1)?;
            let id: i64 = row.get(2)?;
            let walk = match walks.entry(key) {
                Entry::Occupied(walk) => walk.into_mut(),
                Entry::Vacant(free) => {
                    let engine = text.parse().map_err(|_| CollectorError::Damaged(id))?;
                    free.insert(Walk::begin(&reader, key, engine)?)
                }
            };
            let data: Vec<u8> = row.get(6)?;
            match unpack(id, row.get(5)?, &data) {
                Ok(bytes) => walk.block(id, &bytes),
                Err(_) => walk.problem(format!("block {id} cannot be unpacked")),
            }
        }
        for (key, walk) in &mut walks {
            walk.end(&reader, *key)?;
        }
        let mut engines: Vec<EngineReport> = walks.into_values().map(|walk| walk.report).collect();
        engines.sort_by(|a, b| a.engine.cmp(&b.engine));
        let ok = engines.iter().all(|engine| engine.problems.is_empty());
        Ok(ChainReport { ok, engines })
    }
}

impl Walk {
    fn begin(reader: &Connection, key: i64, engine: EngineId) -> Result<Self, CollectorError> {
        use rusqlite::OptionalExtension as _;
        let pruned: Option<(u32, u64, [u8; 32])> = reader
            .query_row(
                "SELECT epoch, last_seq, hash FROM pruned WHERE engine = ?1",
                [key],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()?;
        let (hash, at) = match pruned {
            Some((epoch, last, hash)) => (Hash(hash), (epoch, last)),
            None => (genesis(&engine), (0, 0)),
        };
        let report = EngineReport {
            engine,
            epochs: 0,
            frames: 0,
            events: 0,
            head: hash.to_string(),
            pruned: pruned.is_some(),
            problems: Vec::new(),
        };
        Ok(Self { report, hash, at })
    }

    fn block(&mut self, id: i64, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut reader = FrameReader::new(rest, self.hash);
            let error = loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => self.frame(&frame),
                    Ok(None) => return,
                    Err(error) => break error,
                }
            };
            let (epoch, last) = self.at;
            self.problem(format!(
                "after epoch {epoch} event {last}, in block {id}: {error}"
            ));
            // Go on behind the frame, with the link that it claims, to find what else is wrong.
            let Some((hash, behind)) = claimed(rest.get(reader.offset()..).unwrap_or_default())
            else {
                return;
            };
            self.hash = hash;
            rest = behind;
        }
    }

    fn frame(&mut self, frame: &Frame) {
        let (epoch, last) = self.at;
        let next = if frame.epoch() == epoch { last + 1 } else { 1 };
        if frame.epoch() < epoch || frame.first_seq() != next {
            self.problem(format!(
                "epoch {} event {} follows epoch {epoch} event {last}",
                frame.epoch(),
                frame.first_seq()
            ));
        }
        if frame.epoch() != epoch {
            self.report.epochs += 1;
        }
        self.at = (frame.epoch(), frame.last_seq());
        self.hash = frame.hash();
        self.report.head = frame.hash().to_string();
        self.report.frames += 1;
        self.report.events += frame.count();
    }

    /// What was acknowledged last must be there.
    fn end(&mut self, reader: &Connection, key: i64) -> Result<(), CollectorError> {
        let (epoch, last): (u32, u64) = reader.query_row(
            "SELECT epoch, last_seq FROM ranges WHERE engine = ?1
             ORDER BY epoch DESC, first_seq DESC LIMIT 1",
            [key],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        if (epoch, last) != self.at {
            let have = self.at;
            self.problem(format!(
                "epoch {epoch} event {last} was acknowledged, but the record ends at epoch {} event {}",
                have.0, have.1
            ));
        }
        Ok(())
    }

    fn problem(&mut self, problem: String) {
        if self.report.problems.len() < MAX_PROBLEMS {
            self.report.problems.push(problem);
        }
    }
}

/// The link that a stored frame claims, and what is behind it.
fn claimed(bytes: &[u8]) -> Option<(Hash, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (hash, rest) = rest.split_first_chunk::<32>()?;
    let behind = rest.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)?;
    Some((Hash(*hash), behind))
}
