//! Verification of what is at rest: of the log from its entries, of events from their sealed bytes.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use weir_audit::proof::{Evidence, Head, Leaf, VerifierKey, merkle};
use weir_audit::{EngineId, Hash, Timestamp};

use super::schema::unpack;
use super::{Collector, CollectorError};
use crate::log::Problems;
use crate::log::judge::{Claim, EngineReport, Judge, Leaves, Signature, is_zero};
use crate::log::{Chain, LATEST, Signer, Stored, Tree, unpack_chain, verify_note};

/// Whether the record is complete and unaltered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainReport {
    /// Whether there is no problem.
    pub ok: bool,
    /// The log of proofs.
    pub log: LogReport,
    /// Each engine's part.
    pub engines: Vec<EngineReport>,
}

/// The log of proofs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReport {
    /// The key that verifies its checkpoints: `NAME+ID+KEY`.
    pub key: String,
    /// How many entries it has.
    pub size: u64,
    /// The newest checkpoint, a signed note.
    pub checkpoint: String,
    /// Who else vouches for which size of it: archives and witnesses.
    pub vouched: Vec<Vouched>,
    /// What is missing or altered in it; at most 100.
    pub problems: Vec<String>,
    /// How many problems there are beyond those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_problems: u64,
}

/// A checkpoint that somebody else has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// `archive`, or a witness's name.
    pub by: String,
    /// The size of the log then.
    pub size: u64,
    /// When.
    pub time: Timestamp,
}

impl Vouched {
    pub(super) fn of(stored: &Stored) -> Self {
        Self {
            by: stored.name.clone(),
            size: stored.checkpoint.size,
            time: Timestamp::from_micros(stored.time),
        }
    }
}

impl Collector {
    /// Verifies the log, and every event that the log says is there, from what is at rest.
    ///
    /// # Errors
    /// When the store cannot be read; damage is a problem in the report.
    pub fn verify(&self) -> Result<ChainReport, CollectorError> {
        let mut reader = self.reader()?;
        // One snapshot for everything.
        let reader = reader.transaction()?;
        let key = self.log_key().public().clone();
        let log = log(&reader, &key)?;
        let own = self.log_key().name();
        let signer = signer(&reader)?;
        let mut chains = HashMap::new();
        let mut engines = Vec::new();
        for (number, name) in names(&reader)? {
            let Ok(engine) = name.parse::<EngineId>() else {
                continue;
            };
            let leaves = leaves(&reader, number, &engine, &mut chains)?;
            let mut judge = Judge::new(engine, own, leaves, &signer);
            blocks(&reader, number, &mut judge)?;
            let mut report = judge.end();
            cut(&reader, number, &mut report)?;
            engines.push(report);
        }
        engines.sort_by(|a, b| a.engine.cmp(&b.engine));
        let intact = engines.iter().all(|engine| engine.problems.is_empty());
        Ok(ChainReport {
            ok: intact && log.problems.is_empty(),
            log,
            engines,
        })
    }
}

/// The roots that this collector ever trusted.
pub(crate) fn signer(reader: &Connection) -> Result<Signer, CollectorError> {
    let roots: Vec<Vec<u8>> = reader
        .prepare("SELECT certificate FROM log_roots ORDER BY seen, certificate")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Signer::new(roots.into_iter().map(Into::into).collect())
        .map_err(|error| CollectorError::Log(error.to_string()))
}

/// Engines with a leaf or a block.
fn names(reader: &Connection) -> Result<Vec<(i64, String)>, CollectorError> {
    let names = reader
        .prepare(
            "SELECT id, text FROM keys WHERE kind = 0 AND (
               EXISTS (SELECT 1 FROM log_leaves WHERE engine = id)
               OR EXISTS (SELECT 1 FROM blocks WHERE engine = id)) ORDER BY id",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    Ok(names)
}

/// The log from its first entry to its last, against every checkpoint that is known.
fn log(reader: &Connection, key: &VerifierKey) -> Result<LogReport, CollectorError> {
    let mut problems = Problems::default();
    let kept = Tree(reader).checkpoints()?;
    let mut roots: BTreeMap<u64, Option<Hash>> = kept
        .iter()
        .map(|stored| (stored.checkpoint.size, None))
        .collect();
    let mut tree = merkle::Frontier::default();
    let mut nodes = reader.prepare("SELECT hash FROM log_nodes WHERE level = 1 AND number = ?1")?;
    let mut group = merkle::Frontier::default();
    let mut select = reader.prepare(
        "SELECT l.number, l.leaf, k.text FROM log_leaves l LEFT JOIN keys k ON k.id = l.engine
         ORDER BY l.number",
    )?;
    let mut rows = select.query([])?;
    if let Some(root) = roots.get_mut(&0) {
        *root = Some(tree.root());
    }
    while let Some(row) = rows.next()? {
        let (number, text): (u64, String) = (row.get(0)?, row.get(1)?);
        let engine: Option<String> = row.get(2)?;
        if number != tree.size() {
            problems.add(format!(
                "entries {} to {} of the log are missing",
                tree.size(),
                number.saturating_sub(1)
            ));
            break;
        }
        match text.parse::<Leaf>() {
            Ok(leaf) if engine.as_deref() == Some(leaf.engine().as_str()) => {}
            _ => problems.add(format!("entry {number} of the log was altered")),
        }
        let hash = merkle::leaf_hash(text.as_bytes());
        tree.push(hash);
        group.push(hash);
        if group.size() == 256 {
            let have: Option<[u8; 32]> = nodes
                .query_row([number / 256], |row| row.get(0))
                .optional()?;
            if have != Some(group.root().0) {
                problems.add(format!(
                    "entries {} to {number} of the log are not those of their tile",
                    number - 255
                ));
            }
            group = merkle::Frontier::default();
        }
        if let Some(root) = roots.get_mut(&tree.size()) {
            *root = Some(tree.root());
        }
    }
    for stored in &kept {
        let root = roots.get(&stored.checkpoint.size).copied().flatten();
        compare(stored, root, tree.size(), key, &mut problems);
    }
    let upper = upper_nodes(reader, tree.size())?;
    problems.extend(upper);
    let latest = kept.iter().find(|stored| stored.name == LATEST);
    if latest.is_none() {
        problems.add("the log has no checkpoint");
    }
    if latest.is_some_and(|latest| latest.checkpoint.size < tree.size()) {
        problems.add("the log has entries beyond its newest checkpoint");
    }
    let vouched = kept.iter().filter(|stored| stored.name != LATEST);
    Ok(LogReport {
        key: key.to_string(),
        size: tree.size(),
        checkpoint: latest
            .map(|latest| latest.note.to_string())
            .unwrap_or_default(),
        vouched: vouched.map(Vouched::of).collect(),
        problems: problems.listed,
        more_problems: problems.more,
    })
}

/// What a checkpoint says, and what the entries say.
fn compare(
    stored: &Stored,
    root: Option<Hash>,
    size: u64,
    key: &VerifierKey,
    problems: &mut Problems,
) {
    let (name, checkpoint) = (&stored.name, &stored.checkpoint);
    if verify_note(&stored.note, key).is_err() || checkpoint.origin != key.name {
        problems.add(format!(
            "the checkpoint {name:?} is not signed by the log's key"
        ));
    } else if checkpoint.size > size {
        problems.add(format!(
            "the log has {size} entries, and had {} ({name}): its end is gone",
            checkpoint.size
        ));
    } else if root.is_some_and(|root| root != checkpoint.root) {
        problems.add(format!(
            "the first {} entries of the log are not those that were signed ({name})",
            checkpoint.size
        ));
    }
}

/// Tiles above the first level.
fn upper_nodes(reader: &Connection, size: u64) -> Result<Vec<String>, CollectorError> {
    let mut problems = Vec::new();
    let mut select =
        reader.prepare("SELECT number, hash FROM log_nodes WHERE level = ?1 ORDER BY number")?;
    let mut below: Vec<(u64, Hash)> = Vec::new();
    for level in 1..8_u32 {
        let have: Vec<(u64, Hash)> = select
            .query_map([level], |row| Ok((row.get(0)?, Hash(row.get(1)?))))?
            .collect::<Result<_, _>>()?;
        let whole = have.iter().zip(0..).all(|((at, _), place)| *at == place);
        if !whole || have.len() as u64 != size >> (8 * level) {
            problems.push(format!("tiles of level {level} of the log are missing"));
            break;
        }
        let (full, _) = below.as_chunks::<256>();
        for (tile, (number, hash)) in full.iter().zip(&have) {
            let mut tree = merkle::Frontier::default();
            tile.iter().for_each(|(_, hash)| tree.push(*hash));
            if tree.root() != *hash {
                problems.push(format!(
                    "tile {number} of level {level} of the log was altered"
                ));
            }
        }
        below = have;
    }
    Ok(problems)
}

/// What the log says about an engine. Entries that cannot be read are reported with the log.
fn leaves(
    reader: &Connection,
    number: i64,
    engine: &EngineId,
    chains: &mut HashMap<i64, Option<Chain>>,
) -> Result<Leaves, CollectorError> {
    let mut claims = Vec::new();
    let mut deleted = Vec::new();
    let mut select = reader.prepare(
        "SELECT l.leaf, s.epoch, s.seq, s.hash, s.time, s.signature, s.chain, l.number
         FROM log_leaves l LEFT JOIN log_signatures s ON s.id = l.signature
         WHERE l.engine = ?1 ORDER BY l.epoch, l.first_seq, l.number",
    )?;
    let mut rows = select.query([number])?;
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        let number: u64 = row.get(7)?;
        match text.parse() {
            Ok(Leaf::Retention(leaf)) => deleted.push((number, leaf)),
            Ok(Leaf::Range(leaf)) => {
                let signature = match leaf.evidence {
                    Evidence::Signed(_) => signature(reader, engine, row, chains)?,
                    Evidence::Own | Evidence::None => None,
                };
                claims.push(Claim {
                    number,
                    leaf,
                    signature,
                });
            }
            Err(_) => {}
        }
    }
    Ok(Leaves {
        claims,
        deleted,
        is_all: true,
    })
}

fn signature(
    reader: &Connection,
    engine: &EngineId,
    row: &rusqlite::Row<'_>,
    chains: &mut HashMap<i64, Option<Chain>>,
) -> Result<Option<Signature>, CollectorError> {
    let Some(number) = row.get::<_, Option<i64>>(6)? else {
        return Ok(None);
    };
    let chain = match chains.get(&number) {
        Some(chain) => chain.clone(),
        None => {
            let packed: Option<Vec<u8>> = reader
                .prepare_cached("SELECT certificates FROM log_chains WHERE id = ?1")?
                .query_row([number], |row| row.get(0))
                .optional()?;
            let chain = packed.and_then(|packed| unpack_chain(&packed));
            chains.insert(number, chain.clone());
            chain
        }
    };
    let head = Head {
        engine: engine.clone(),
        epoch: row.get(1)?,
        seq: row.get(2)?,
        hash: Hash(row.get(3)?),
        time: Timestamp::from_micros(row.get(4)?),
    };
    let bytes = row.get(5)?;
    Ok(chain.map(|chain| Signature { head, bytes, chain }))
}

fn blocks(reader: &Connection, number: i64, judge: &mut Judge<'_>) -> Result<(), CollectorError> {
    let mut select = reader.prepare(
        "SELECT id, epoch, first_seq, raw, data FROM blocks WHERE engine = ?1
         ORDER BY epoch, first_seq",
    )?;
    let mut rows = select.query([number])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let place = (row.get(1)?, row.get(2)?);
        let data: Vec<u8> = row.get(4)?;
        match unpack(id, row.get(3)?, &data) {
            Ok(bytes) => judge.block(&id.to_string(), place, &bytes),
            Err(_) => judge.unreadable(&id.to_string(), place, "it cannot be unpacked"),
        }
    }
    Ok(())
}

/// What upkeep says that it deleted must be in the log.
fn cut(reader: &Connection, number: i64, report: &mut EngineReport) -> Result<(), CollectorError> {
    let pruned: Option<i64> = reader
        .query_row("SELECT 1 FROM pruned WHERE engine = ?1", [number], |row| {
            row.get(0)
        })
        .optional()?;
    if pruned.is_some() && !report.pruned {
        let problem = "events were deleted as by retention, and the log does not say so";
        report.problems.push(problem.into());
    }
    Ok(())
}
