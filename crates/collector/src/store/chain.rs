//! Which events of an engine are known, and whether what arrives continues them.
//!
//! A *range* is a run of linked frames. One range per epoch, each continuing the epoch before, is a
//! complete record; anything else is a finding.

use rusqlite::{Connection, OptionalExtension as _, params};
use weir_audit::{EngineId, FindingCode, Frame, Hash, genesis};

use super::CollectorError;

pub(super) struct Found {
    pub(super) code: FindingCode,
    pub(super) message: String,
}

/// What became of frames.
pub(super) enum Placed {
    /// They are known already, or contradict what is known: they are not stored.
    Ignored,
    /// Some of them, perhaps: each is to be placed by itself.
    Apart,
    /// They are new.
    New,
}

/// Whether a frame is the next one behind another.
pub(super) fn continues(one: &Frame, next: &Frame) -> bool {
    one.epoch() == next.epoch()
        && one.hash() == next.previous()
        && one.last_seq().checked_add(1) == Some(next.first_seq())
}

struct Range {
    first: u64,
    last: u64,
    previous: Hash,
    hash: Hash,
}

/// Places a run of frames, each of which [`continues`] the one before.
pub(super) fn place(
    store: &Connection,
    engine: &EngineId,
    key: i64,
    run: &[Frame],
    found: &mut Vec<Found>,
) -> Result<Placed, CollectorError> {
    let [frame, more @ ..] = run else {
        return Ok(Placed::Ignored);
    };
    let end = more.last().unwrap_or(frame);
    let (first, last) = (frame.first_seq(), end.last_seq());
    let at = format!("{engine} epoch {} event {first}", frame.epoch());
    let before = neighbour(store, key, frame.epoch(), first, "first_seq <= ?3", "DESC")?;
    let after = neighbour(store, key, frame.epoch(), first, "first_seq > ?3", "ASC")?;
    let overlaps = before.as_ref().is_some_and(|before| before.last >= first)
        || after.as_ref().is_some_and(|after| after.first <= last);
    if overlaps && !more.is_empty() {
        return Ok(Placed::Apart);
    }
    if let Some(before) = &before
        && before.last >= first
    {
        if before.last < last {
            let message = format!("frame at {at} overlaps what is known; it was not stored");
            found.push(Found {
                code: FindingCode::ChainBroken,
                message,
            });
        }
        return Ok(Placed::Ignored);
    }
    if after.as_ref().is_some_and(|after| after.first <= last) {
        let message = format!("frame at {at} overlaps what is known; it was not stored");
        found.push(Found {
            code: FindingCode::ChainBroken,
            message,
        });
        return Ok(Placed::Ignored);
    }
    let adjacent = before.filter(|before| before.last + 1 == first);
    let continues = adjacent
        .as_ref()
        .is_some_and(|before| before.hash == frame.previous());
    if !continues {
        judge_start(store, engine, key, frame, adjacent.is_some(), &at, found)?;
    }
    let start = adjacent.filter(|_| continues);
    let (from, previous) = start.map_or((first, frame.previous()), |before| {
        (before.first, before.previous)
    });
    let mut to = (last, end.hash());
    if let Some(after) = after.filter(|after| last + 1 == after.first) {
        if after.previous == end.hash() {
            remove(store, key, frame.epoch(), after.first)?;
            to = (after.last, after.hash);
            let message = format!("late events before {} of {at} closed a gap", after.first);
            found.push(Found {
                code: FindingCode::GapClosed,
                message,
            });
        } else {
            let message = format!("events after {last} of {at} do not continue the chain");
            found.push(Found {
                code: FindingCode::ChainBroken,
                message,
            });
        }
    }
    store
        .prepare_cached(
            "INSERT OR REPLACE INTO ranges(engine, epoch, first_seq, last_seq, previous, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![key, frame.epoch(), from, to.0, previous.0, to.1.0])?;
    Ok(Placed::New)
}

/// A frame that continues no known frame of its epoch.
fn judge_start(
    store: &Connection,
    engine: &EngineId,
    key: i64,
    frame: &Frame,
    adjacent: bool,
    at: &str,
    found: &mut Vec<Found>,
) -> Result<(), CollectorError> {
    let first = frame.first_seq();
    if adjacent {
        let message = format!("{at} does not continue the chain");
        found.push(Found {
            code: FindingCode::ChainBroken,
            message,
        });
        return Ok(());
    }
    if first > 1 {
        let message = format!(
            "events before {first} of {engine} epoch {} are missing",
            frame.epoch()
        );
        found.push(Found {
            code: FindingCode::Gap,
            message,
        });
        return Ok(());
    }
    if frame.previous() == genesis(engine) {
        return Ok(());
    }
    let linked: Option<i64> = store
        .prepare_cached(
            "SELECT 1 FROM ranges WHERE engine = ?1 AND epoch < ?2 AND hash = ?3
             UNION ALL SELECT 1 FROM pruned WHERE engine = ?1 AND hash = ?3 LIMIT 1",
        )?
        .query_row(params![key, frame.epoch(), frame.previous().0], |row| {
            row.get(0)
        })
        .optional()?;
    if linked.is_none() {
        let message = format!("{at} continues events that were never received");
        found.push(Found {
            code: FindingCode::Gap,
            message,
        });
    }
    Ok(())
}

fn neighbour(
    store: &Connection,
    key: i64,
    epoch: u32,
    first: u64,
    side: &str,
    order: &str,
) -> Result<Option<Range>, CollectorError> {
    let sql = format!(
        "SELECT first_seq, last_seq, previous, hash FROM ranges
         WHERE engine = ?1 AND epoch = ?2 AND {side} ORDER BY first_seq {order} LIMIT 1"
    );
    let range = store
        .prepare_cached(&sql)?
        .query_row(params![key, epoch, first], |row| {
            Ok(Range {
                first: row.get(0)?,
                last: row.get(1)?,
                previous: Hash(row.get(2)?),
                hash: Hash(row.get(3)?),
            })
        })
        .optional()?;
    Ok(range)
}

fn remove(store: &Connection, key: i64, epoch: u32, first: u64) -> Result<(), CollectorError> {
    store
        .prepare_cached("DELETE FROM ranges WHERE engine = ?1 AND epoch = ?2 AND first_seq = ?3")?
        .execute(params![key, epoch, first])?;
    Ok(())
}
