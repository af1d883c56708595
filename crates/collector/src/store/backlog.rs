//! What follows the blocks: the rows by which they are found, and the sums of their days.
//!
//! A block is committed with its batch, and with it what its events are about (`block_index`). The rows that lead
//! from keys and sessions to blocks, and sums, are many for each block and lie far apart, so they are written
//! for many blocks at once, in the order in which they lie.
//!
//! Invariants
//! - A mark says up to which block they are written; it moves in the transaction that writes them. So nothing is
//!   counted twice, and nothing that was acknowledged is missing, wherever a process ends.
//! - Every search looks at all blocks beyond the mark, of which there are never more than [`MOST_BLOCKS`].
//! - Sums of blocks beyond the mark are in memory, at most [`MOST_SUMS`] and those of one batch, and are made again
//!   from the blocks when a store is opened. Whoever reads sums has them written first. They are of one day of the
//!   store's own, so that what forgets by age forgets them when it would have.
//! - No block beyond the mark is merged or deleted.

use std::collections::HashMap;

use rusqlite::{Connection, params};
use weir_audit::{EngineId, Event, Hash, Timestamp};

use super::CollectorError;
use super::clock::own_day;
use super::facets::{Mentioned, mentioned};
use super::index::BlockIndex;
use super::ingest::{Keys, signed};
use super::outgoing::{number, set};
use super::query::events;
use super::rollup::{Rollup, Sums};
use super::schema::unpack;

/// The mark's name in `meta`.
const MARK: &str = "followed";
/// Blocks beyond the mark.
const MOST_BLOCKS: i64 = 64;
/// Sums that are kept in memory.
const MOST_SUMS: usize = 30_000;

/// What is not written yet.
pub(super) struct Backlog {
    mark: i64,
    sums: Sums,
    /// The store's own day on which all of it came.
    day: i64,
}

impl Backlog {
    /// What the process before left, made again from its blocks.
    pub(super) fn open(store: &Connection) -> Result<Self, CollectorError> {
        let mark = mark(store)?;
        let (sums, received) = sums_beyond(store, mark)?;
        Ok(Self {
            mark,
            sums,
            day: own_day(received),
        })
    }

    /// Whether it is to be written, once `more` belong to it, of blocks up to `last` that came at `own`.
    pub(super) fn is_full(&self, more: &Sums, (last, own): (i64, i64)) -> bool {
        let another_day = self.sums.len() > 0 && own_day(own) != self.day;
        another_day || last - self.mark >= MOST_BLOCKS || self.sums.len() + more.len() >= MOST_SUMS
    }

    /// Whether every block up to `last` was followed.
    pub(super) fn is_empty(&self, last: i64) -> bool {
        last <= self.mark
    }

    /// Takes the sums of blocks that were committed and came at `own`.
    pub(super) fn add(&mut self, sums: Sums, own: i64) {
        self.sums.merge(sums);
        self.day = own_day(own);
    }

    /// Everything up to `last` was written, and that was committed.
    pub(super) fn clear(&mut self, last: i64) {
        *self = Self {
            mark: last,
            sums: Sums::default(),
            day: self.day,
        };
    }

    /// Writes everything up to `last`: what it has, and `more`, which came at `own` of the store's own time.
    pub(super) fn write(
        &self,
        store: &Connection,
        keys: &mut Keys<'_>,
        more: &Sums,
        (last, own): (i64, i64),
    ) -> Result<(), CollectorError> {
        let blocks: Vec<i64> = store
            .prepare_cached("SELECT id FROM blocks WHERE id > ?1 AND id <= ?2")?
            .query_map([self.mark, last], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        lead_to(store, keys, &blocks)?;
        self.write_sums(store)?;
        more.save(store, own_day(own))?;
        set(store, MARK, last)
    }

    /// Writes the sums that it has.
    pub(super) fn write_sums(&self, store: &Connection) -> Result<(), CollectorError> {
        self.sums.save(store, self.day)
    }
}

/// Up to which block rows and sums are written.
pub(super) fn mark(store: &Connection) -> Result<i64, CollectorError> {
    Ok(number(store, MARK)?.unwrap_or_default())
}

/// A store of a version that wrote everything with each block has no backlog.
pub(super) fn nothing_is_behind(store: &Connection) -> Result<(), CollectorError> {
    let last = store.query_row("SELECT coalesce(max(id), 0) FROM blocks", [], |row| {
        row.get(0)
    })?;
    set(store, MARK, last)
}

/// Writes the rows by which blocks are found.
pub(super) fn lead_to(
    store: &Connection,
    keys: &mut Keys<'_>,
    blocks: &[i64],
) -> Result<(), CollectorError> {
    let (mut by_key, mut by_session) = (Vec::new(), Vec::new());
    let mut select = store.prepare_cached("SELECT facets FROM block_index WHERE block = ?1")?;
    for block in blocks {
        let mut facets = select.query_map([block], |row| row.get::<_, Vec<u8>>(0))?;
        let known = facets.next().transpose()?;
        drop(facets);
        let known = match known.and_then(|facets| mentioned(&facets)) {
            Some(known) => Some(known),
            None => made_again(store, keys, *block)?,
        };
        let Some(Mentioned { keys, sessions }) = known else {
            continue;
        };
        by_key.extend(keys.iter().map(|key| (key.cast_signed(), *block)));
        by_session.extend(sessions.iter().map(|session| (signed(*session), *block)));
    }
    for (sql, mut rows) in [
        (
            "INSERT OR IGNORE INTO block_keys(key, block) VALUES (?1, ?2)",
            by_key,
        ),
        (
            "INSERT OR IGNORE INTO block_sessions VALUES (?1, ?2)",
            by_session,
        ),
    ] {
        rows.sort_unstable();
        let mut insert = store.prepare_cached(sql)?;
        for (from, block) in rows {
            insert.execute([from, block])?;
        }
    }
    Ok(())
}

/// What a block is about whose index cannot be read; `None` if its events cannot be read either.
fn made_again(
    store: &Connection,
    keys: &mut Keys<'_>,
    block: i64,
) -> Result<Option<Mentioned>, CollectorError> {
    let mut found = None;
    each_block(store, "b.id = ?1", block, &mut |_, events| {
        let mut index = BlockIndex::default();
        for events in &events {
            index.add(events, &mut HashMap::new());
        }
        found = mentioned(&index.save(store, keys, block)?);
        Ok(())
    })?;
    Ok(found)
}

/// The sums, and when the last that they count came.
fn sums_beyond(store: &Connection, mark: i64) -> Result<(Sums, i64), CollectorError> {
    let cached = HashMap::new();
    let (mut keys, mut sums, mut last) = (Keys::new(&cached), Sums::default(), 0);
    each_block(store, "b.id > ?1", mark, &mut |received, events| {
        last = last.max(received);
        let today = Timestamp::from_micros(received.max(0).unsigned_abs());
        let mut rollup = Rollup::new(today);
        events.iter().for_each(|events| rollup.add(events));
        rollup.sums(store, &mut keys, &mut sums)
    })?;
    Ok((sums, last))
}

/// Hands over when each such block came, by the store's own time, and its events, frame by frame.
fn each_block(
    store: &Connection,
    such: &str,
    place: i64,
    take: &mut dyn FnMut(i64, Vec<Vec<Event>>) -> Result<(), CollectorError>,
) -> Result<(), CollectorError> {
    let mut select = store.prepare(&format!(
        "SELECT b.id, k.text, b.previous, b.raw, b.data, b.received FROM blocks b
         JOIN keys k ON k.id = b.engine WHERE {such} ORDER BY b.id"
    ))?;
    let mut rows = select.query(params![place])?;
    while let Some(row) = rows.next()? {
        let (block, text, data): (i64, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(4)?);
        let (previous, raw, received): (_, i64, i64) = (row.get(2)?, row.get(3)?, row.get(5)?);
        let engine = text.parse().map_err(|_| CollectorError::Damaged(block));
        let read = engine.and_then(|engine: EngineId| {
            events(block, &engine, Hash(previous), &unpack(block, raw, &data)?)
        });
        match read {
            Ok(events) => take(received, events)?,
            // It stays as it is, for whoever verifies.
            Err(error @ (CollectorError::Damaged(_) | CollectorError::Decode(_))) => {
                tracing::error!(block, %error, "evidence that cannot be read is not in the sums");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
