//! From the store into a bundle.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;

use rusqlite::{Connection, params};
use weir_audit::proof::{Leaf, merkle};
use weir_audit::{Hash, Timestamp};

use super::bundle::{BlockAt, BundleWriter, Manifest, Section, SignatureAt};
use super::seal::BundleSeal;
use super::{LATEST, Tree};
use crate::{Collector, CollectorError};

/// Which part of the record a bundle is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Events at or after this time.
    pub since: Option<Timestamp>,
    /// Events before this time.
    pub until: Option<Timestamp>,
    /// Entries of the log from this one up to another.
    pub entries: Option<(u64, u64)>,
    /// The sizes of checkpoints that the reader has already: the bundle proves that each is of a beginning of
    /// this log.
    pub old: Vec<u64>,
}

/// The part of an engine's chain that a bundle holds.
struct Span {
    first: (u32, u64),
    last: (u32, u64),
}

impl Collector {
    /// Writes a bundle: entries of the log and their events, with everything that proves them.
    ///
    /// # Errors
    /// When the store failed, or `out` did.
    pub fn export(
        &self,
        selection: &Selection,
        out: impl Write,
    ) -> Result<Manifest, CollectorError> {
        let mut reader = self.reader()?;
        // One snapshot for all of it.
        let reader = reader.transaction()?;
        let tree = Tree(&reader);
        let latest = tree.checkpoint(LATEST)?;
        let latest = latest.ok_or_else(|| CollectorError::Log("it has no checkpoint".into()))?;
        let size = latest.checkpoint.size;
        let (first, end) = chosen(&reader, selection, size)?;
        let manifest = Manifest {
            origin: latest.checkpoint.origin.clone(),
            key: self.log_key().public().to_string(),
            size,
            first,
            end,
            since: selection.since,
            until: selection.until,
            made: std::time::SystemTime::now().into(),
        };
        let spans = spans(&reader, first, end)?;
        let wanted = wanted(&reader, (first, end), &spans)?;
        let mut bundle = BundleWriter::new(out)?;
        bundle.put(&Section::Manifest(manifest.clone()))?;
        for root in roots(&reader)? {
            bundle.put(&Section::Root(root))?;
        }
        let chains = chains(&reader, &wanted)?;
        for (_, packed) in &chains {
            bundle.put(&Section::Chain(packed.clone()))?;
        }
        bundle.put(&Section::Checkpoint(latest.note.to_string()))?;
        let mut olds: BTreeSet<u64> = selection.old.iter().copied().collect();
        for other in tree.checkpoints()? {
            if other.name != LATEST {
                bundle.put(&Section::Other(other.note.to_string()))?;
                olds.insert(other.checkpoint.size);
            }
        }
        for old in olds.range(..=size) {
            let proof = merkle::prove_consistency(&tree, *old, size)?;
            bundle.put(&Section::Consistency(*old, proof))?;
        }
        let places: HashMap<i64, u32> = chains
            .iter()
            .zip(0..)
            .map(|((id, _), n)| (*id, n))
            .collect();
        for number in &wanted {
            leaf(&reader, *number, &places, &mut bundle)?;
        }
        let numbers: Vec<u64> = wanted.into_iter().collect();
        bundle.put(&Section::Proof(merkle::prove(&tree, size, &numbers)?))?;
        for (engine, span) in &spans {
            blocks(&reader, *engine, span, &mut bundle)?;
        }
        let root = latest.checkpoint.root;
        bundle.end(|content| {
            let seal = BundleSeal::of(&manifest, &root, content);
            self.log_key().sign(&seal.to_string())
        })?;
        Ok(manifest)
    }

    /// The entries that hold every event of a period, in a log of `size`: the first one, and the first behind them.
    ///
    /// # Errors
    /// When the store failed.
    pub(crate) fn entries_of(
        &self,
        since: Timestamp,
        until: Timestamp,
        size: u64,
    ) -> Result<(u64, u64), CollectorError> {
        let period = Selection {
            since: Some(since),
            until: Some(until),
            ..Selection::default()
        };
        chosen(&self.reader()?, &period, size)
    }
}

/// The run of entries that holds every event of the selection.
fn chosen(
    reader: &Connection,
    selection: &Selection,
    size: u64,
) -> Result<(u64, u64), CollectorError> {
    if let Some((first, end)) = selection.entries {
        return Ok((first.min(size), end.min(size)));
    }
    if selection.since.is_none() && selection.until.is_none() {
        return Ok((0, size));
    }
    let micros = |time: Option<Timestamp>, other: i64| {
        time.map_or(other, |time| {
            i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
        })
    };
    let found: (Option<u64>, Option<u64>) = reader.query_row(
        "SELECT min(number), max(number) FROM log_leaves WHERE last_time >= ?1 AND first_time < ?2
         AND number < ?3",
        params![
            micros(selection.since, 0),
            micros(selection.until, i64::MAX),
            size
        ],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(match found {
        (Some(first), Some(last)) => (first, last + 1),
        _ => (size, size),
    })
}

/// How far each engine's chain reaches in a run of entries, and in those that their signatures are over.
fn spans(reader: &Connection, first: u64, end: u64) -> Result<BTreeMap<i64, Span>, CollectorError> {
    let mut spans: BTreeMap<i64, Span> = BTreeMap::new();
    let mut select = reader.prepare(
        "SELECT l.engine, l.leaf, s.epoch, s.seq FROM log_leaves l
         LEFT JOIN log_signatures s ON s.id = l.signature WHERE l.number >= ?1 AND l.number < ?2",
    )?;
    let mut rows = select.query(params![first, end])?;
    while let Some(row) = rows.next()? {
        let text: String = row.get(1)?;
        // What cannot be read is found by whoever verifies.
        if let Ok(Leaf::Range(leaf)) = text.parse() {
            let (first, last) = ((leaf.epoch, leaf.first_seq), (leaf.epoch, leaf.last_seq));
            let signed: Option<(u32, u64)> = row
                .get::<_, Option<u32>>(2)?
                .zip(row.get::<_, Option<u64>>(3)?);
            let last = signed.map_or(last, |signed| signed.max(last));
            let span = spans.entry(row.get(0)?).or_insert(Span { first, last });
            span.first = span.first.min(first);
            span.last = span.last.max(last);
        }
    }
    Ok(spans)
}

/// The run, what came late into the chains that it is of, and what retention deleted of them.
fn wanted(
    reader: &Connection,
    (first, end): (u64, u64),
    spans: &BTreeMap<i64, Span>,
) -> Result<BTreeSet<u64>, CollectorError> {
    let mut wanted: BTreeSet<u64> = (first..end).collect();
    let mut between = reader.prepare(
        "SELECT number FROM log_leaves WHERE engine = ?1 AND (epoch, first_seq) >= (?2, ?3)
         AND (epoch, first_seq) <= (?4, ?5)",
    )?;
    let mut deleted = reader.prepare(
        "SELECT number FROM log_leaves WHERE engine = ?1 AND epoch = 0 AND first_seq = 0",
    )?;
    for (engine, span) in spans {
        let chain = params![engine, span.first.0, span.first.1, span.last.0, span.last.1];
        for number in between.query_map(chain, |row| row.get(0))? {
            wanted.insert(number?);
        }
        for number in deleted.query_map([engine], |row| row.get(0))? {
            wanted.insert(number?);
        }
    }
    Ok(wanted)
}

fn roots(reader: &Connection) -> Result<Vec<Vec<u8>>, CollectorError> {
    let mut select =
        reader.prepare("SELECT certificate FROM log_roots ORDER BY seen, certificate")?;
    let roots = select.query_map([], |row| row.get(0))?;
    Ok(roots.collect::<Result<_, _>>()?)
}

/// The certificate chains of the entries' signatures.
fn chains(
    reader: &Connection,
    wanted: &BTreeSet<u64>,
) -> Result<Vec<(i64, Vec<u8>)>, CollectorError> {
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
        return Ok(Vec::new());
    };
    let mut select = reader.prepare(
        "SELECT id, certificates FROM log_chains WHERE id IN (
           SELECT s.chain FROM log_leaves l JOIN log_signatures s ON s.id = l.signature
           WHERE l.number >= ?1 AND l.number <= ?2) ORDER BY id",
    )?;
    let chains = select.query_map([first, last], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(chains.collect::<Result<_, _>>()?)
}

fn leaf<W: Write>(
    reader: &Connection,
    number: u64,
    chains: &HashMap<i64, u32>,
    bundle: &mut BundleWriter<W>,
) -> Result<(), CollectorError> {
    let mut select = reader.prepare_cached(
        "SELECT l.leaf, s.epoch, s.seq, s.hash, s.time, s.signature, s.chain
         FROM log_leaves l LEFT JOIN log_signatures s ON s.id = l.signature WHERE l.number = ?1",
    )?;
    let mut rows = select.query([number])?;
    let row = rows.next()?;
    let row = row.ok_or_else(|| CollectorError::Log(format!("entry {number} is missing")))?;
    bundle.put(&Section::Leaf(number, row.get(0)?))?;
    let chain: Option<i64> = row.get(6)?;
    if let Some(chain) = chain.and_then(|chain| chains.get(&chain)) {
        bundle.put(&Section::Signature(SignatureAt {
            epoch: row.get(1)?,
            seq: row.get(2)?,
            hash: Hash(row.get(3)?),
            time: row.get(4)?,
            bytes: row.get(5)?,
            chain: *chain,
        }))?;
    }
    Ok(())
}

/// The blocks that an engine's span touches.
fn blocks<W: Write>(
    reader: &Connection,
    engine: i64,
    span: &Span,
    bundle: &mut BundleWriter<W>,
) -> Result<(), CollectorError> {
    let mut select = reader.prepare_cached(
        "SELECT k.text, b.id, b.epoch, b.first_seq, b.raw, b.data FROM blocks b
         JOIN keys k ON k.id = b.engine WHERE b.engine = ?1 AND (b.epoch, b.last_seq) >= (?2, ?3)
         AND (b.epoch, b.first_seq) <= (?4, ?5) ORDER BY b.epoch, b.first_seq",
    )?;
    let mut rows = select.query(params![
        engine,
        span.first.0,
        span.first.1,
        span.last.0,
        span.last.1
    ])?;
    while let Some(row) = rows.next()? {
        bundle.put(&Section::Block(BlockAt {
            engine: row.get(0)?,
            name: row.get(1)?,
            epoch: row.get(2)?,
            first_seq: row.get(3)?,
            raw: row.get(4)?,
            data: row.get(5)?,
        }))?;
    }
    Ok(())
}
