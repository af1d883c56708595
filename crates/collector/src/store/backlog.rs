//! What follows the blocks: the rows by which they are found, the sums of their days, and how sessions grew.
//!
//! A block is committed with its batch, and with it what its events are about (`block_index`). The rows that lead
//! from keys and sessions to blocks, and sums, are many for each block and lie far apart, so they are written
//! for many blocks at once, in the order in which they lie.
//!
//! Invariants
//! - A mark says up to which block they are written; it moves in the transaction that writes them. So nothing is
//!   counted twice, and nothing that was acknowledged is missing, wherever a process ends.
//! - Every search looks at all blocks beyond the mark, of which there are never more than [`MOST_BLOCKS`].
//! - Sums of blocks beyond the mark, and how their sessions grew, are in memory: at most [`MOST_SUMS`] and those of
//!   one batch. They are made again from the blocks when a store is opened. Whoever reads them has them written
//!   first. They are of one day of the store's own, so that what forgets by age forgets them when it would have.
//! - No block beyond the mark is merged or deleted.

use rusqlite::{Connection, OptionalExtension as _, params};
use weir_audit::{EngineId, Event, Hash, Timestamp};

use super::CollectorError;
use super::clock::own_day;
use super::facets::{Mentioned, mentioned};
use super::index::{BlockIndex, SessionDeltas};
use super::ingest::signed;
use super::keys::{Keys, Known};
use super::outgoing::{number, set};
use super::query::events;
use super::rollup::{Counts, Sums};
use super::schema::unpack;
use super::sessions::{Growths, line_of};

/// The mark's name in `meta`.
const MARK: &str = "followed";
/// Blocks beyond the mark.
const MOST_BLOCKS: i64 = 64;
/// Sums that are kept in memory.
const MOST_SUMS: usize = 30_000;

/// What is not written yet.
pub(super) struct Backlog {
    mark: i64,
    pending: Pending,
    /// The store's own day on which all of it came.
    day: i64,
}

/// What is to be written of blocks.
#[derive(Default)]
pub(super) struct Pending {
    /// Blocks that this process stored, and what they are about.
    pub(super) blocks: Vec<(i64, Mentioned)>,
    pub(super) sums: Sums,
    pub(super) sessions: Growths,
}

impl Pending {
    fn len(&self) -> usize {
        self.sums.len() + self.sessions.len()
    }

    fn merge(&mut self, others: Self) {
        self.blocks.extend(others.blocks);
        self.sums.merge(others.sums);
        self.sessions.merge(others.sessions);
    }

    /// Writes sums and sessions, which came on a day of the store's own.
    fn save(&self, store: &Connection, day: i64) -> Result<(), CollectorError> {
        self.sums.save(store, day)?;
        self.sessions.save(store)
    }
}

impl Backlog {
    /// What the process before left, made again from its blocks.
    pub(super) fn open(store: &Connection) -> Result<Self, CollectorError> {
        let mark = mark(store)?;
        let (pending, received) = beyond(store, mark)?;
        Ok(Self {
            mark,
            pending,
            day: own_day(received),
        })
    }

    /// Whether it is to be written, once `more` belong to it, of blocks up to `last` that came at `own`.
    pub(super) fn is_full(&self, more: &Pending, (last, own): (i64, i64)) -> bool {
        let another_day = self.pending.len() > 0 && own_day(own) != self.day;
        let sums = self.pending.len() + more.len();
        another_day || last - self.mark >= MOST_BLOCKS || sums >= MOST_SUMS
    }

    /// Whether every block up to `last` was followed.
    pub(super) fn is_empty(&self, last: i64) -> bool {
        last <= self.mark
    }

    /// Takes what is to be written of blocks that were committed and came at `own`.
    pub(super) fn add(&mut self, more: Pending, own: i64) {
        self.pending.merge(more);
        self.day = own_day(own);
    }

    /// Everything up to `last` was written, and that was committed.
    pub(super) fn clear(&mut self, last: i64) {
        *self = Self {
            mark: last,
            pending: Pending::default(),
            day: self.day,
        };
    }

    /// Writes everything up to `last`: what it has, and `more`, which came at `own` of the store's own time.
    pub(super) fn write(
        &self,
        store: &Connection,
        keys: &mut Keys<'_>,
        more: &Pending,
        (last, own): (i64, i64),
    ) -> Result<(), CollectorError> {
        let known = self.pending.blocks.iter().chain(&more.blocks);
        let first = known.clone().map(|(id, _)| *id).min();
        let others: Vec<i64> = store
            .prepare_cached("SELECT id FROM blocks WHERE id > ?1 AND id < ?2")?
            .query_map([self.mark, first.unwrap_or(last + 1)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut about = Vec::new();
        for block in others {
            about.extend(stored(store, keys, block)?.map(|known| (block, known)));
        }
        lead_to(store, about.iter().chain(known))?;
        self.write_sums(store)?;
        more.save(store, own_day(own))?;
        set(store, MARK, last)
    }

    /// Writes the sums that it has, and how sessions grew.
    pub(super) fn write_sums(&self, store: &Connection) -> Result<(), CollectorError> {
        self.pending.save(store, self.day)
    }
}

/// Up to which block rows and sums are written.
pub(super) fn mark(store: &Connection) -> Result<i64, CollectorError> {
    Ok(number(store, MARK)?.unwrap_or_default())
}

/// A store of a version that wrote everything with each block has no backlog.
pub(super) fn nothing_is_behind(store: &Connection) -> Result<(), CollectorError> {
    set(store, MARK, newest(store)?)
}

/// Version 6 had a backlog, but wrote with each block how sessions grew.
pub(super) fn sessions_are_not_behind(store: &Connection) -> Result<(), CollectorError> {
    let mut backlog = Backlog::open(store)?;
    backlog.pending.sessions = Growths::default();
    let (known, last) = (Known::default(), newest(store)?);
    backlog.write(
        store,
        &mut Keys::new(&known),
        &Pending::default(),
        (last, 0),
    )
}

fn newest(store: &Connection) -> Result<i64, CollectorError> {
    let newest = "SELECT coalesce(max(id), 0) FROM blocks";
    Ok(store.query_row(newest, [], |row| row.get(0))?)
}

/// Writes the rows by which blocks are found.
pub(super) fn lead_to<'a>(
    store: &Connection,
    blocks: impl IntoIterator<Item = &'a (i64, Mentioned)>,
) -> Result<(), CollectorError> {
    let (mut by_key, mut by_session) = (Vec::new(), Vec::new());
    for (block, Mentioned { keys, sessions }) in blocks {
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

/// What a block of another process is about, by its index.
fn stored(
    store: &Connection,
    keys: &mut Keys<'_>,
    block: i64,
) -> Result<Option<Mentioned>, CollectorError> {
    let facets: Option<Vec<u8>> = store
        .prepare_cached("SELECT facets FROM block_index WHERE block = ?1")?
        .query_row([block], |row| row.get(0))
        .optional()?;
    match facets.and_then(|facets| mentioned(&facets)) {
        Some(known) => Ok(Some(known)),
        None => made_again(store, keys, block),
    }
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
            index.add(events);
        }
        found = Some(index.save(store, keys, block)?);
        Ok(())
    })?;
    Ok(found)
}

/// What is to be written of blocks beyond a mark, and when the last of them came.
fn beyond(store: &Connection, mark: i64) -> Result<(Pending, i64), CollectorError> {
    let known = Known::default();
    let (mut keys, mut pending, mut last) = (Keys::new(&known), Pending::default(), 0);
    each_block(
        store,
        "b.id > ?1",
        mark,
        &mut |(engine, received), events| {
            last = last.max(received);
            let today = Timestamp::from_micros(received.max(0).unsigned_abs());
            let (mut sessions, mut counts) = (SessionDeltas::default(), Counts::default());
            for events in &events {
                counts.add(events);
                sessions.add(events);
            }
            counts.add_to(&mut pending.sums, store, &mut keys, today)?;
            for (id, delta) in sessions.iter().filter(|(_, delta)| delta.session.is_some()) {
                if line_of(store, *id)?.is_some_and(|(owner, _)| owner == engine) {
                    pending.sessions.add(*id, delta);
                }
            }
            Ok(())
        },
    )?;
    Ok((pending, last))
}

/// Takes whose a block is, when it came by the store's own time, and its events, frame by frame.
type TakeBlock<'a> = dyn FnMut((i64, i64), Vec<Vec<Event>>) -> Result<(), CollectorError> + 'a;

/// Hands over such blocks in their order.
fn each_block(
    store: &Connection,
    such: &str,
    place: i64,
    take: &mut TakeBlock<'_>,
) -> Result<(), CollectorError> {
    let mut select = store.prepare(&format!(
        "SELECT b.id, k.text, b.previous, b.raw, b.data, b.received, b.engine FROM blocks b
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
            Ok(events) => take((row.get(6)?, received), events)?,
            // It stays as it is, for whoever verifies.
            Err(error @ (CollectorError::Damaged(_) | CollectorError::Decode(_))) => {
                tracing::error!(block, %error, "evidence that cannot be read is not in the sums");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
