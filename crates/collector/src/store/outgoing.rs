//! Blocks on their way to somebody else, in the order in which they were committed.
//!
//! A cursor is the id of the last block that was taken. Ids only grow, also past blocks that are gone, and
//! no block beyond a cursor is merged into one before it, so nothing is skipped. A search engine holds
//! retention up until it has a block; an export does not: what retention deletes before it was exported is
//! counted, and becomes a finding.

use rusqlite::{Connection, OptionalExtension as _, params};
use weir_audit::{EngineId, Event, Finding, FindingCode, Hash, Timestamp};

use super::backlog;
use super::clock::Now;
use super::ingest::Ingest;
use super::query::events;
use super::schema::unpack;
use super::{Collector, CollectorError};

/// Whom blocks go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// The search engine.
    Forwarded,
    /// A receiver of events in another form.
    Exported,
}

impl Cursor {
    /// Its name in `meta`.
    fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Exported => "exported",
        }
    }
}

/// The highest id that a deleted block had.
const DELETED: &str = "deleted";
/// How many events retention deleted before they were exported, as long as nobody was told.
const OVERTAKEN: &str = "overtaken";

/// A block that was not taken yet.
pub(crate) struct Outgoing {
    pub(crate) id: i64,
    pub(crate) engine: EngineId,
    pub(crate) epoch: u32,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) events: Vec<Event>,
}

/// How an export stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// When the first event that was not exported happened.
    pub since: Option<Timestamp>,
    /// How many events retention deleted before they were exported, since the store was opened.
    pub lost: u64,
}

impl Collector {
    /// The next blocks beyond a cursor: at most `most`, and beyond the first no more than `bytes` of sealed
    /// frames.
    ///
    /// # Errors
    /// When the store failed.
    pub(crate) fn outgoing(
        &self,
        cursor: Cursor,
        most: usize,
        bytes: usize,
    ) -> Result<Vec<Outgoing>, CollectorError> {
        let mut reader = self.reader()?;
        // One snapshot: blocks are merged meanwhile.
        let reader = reader.transaction()?;
        let place = number(&reader, cursor.name())?.unwrap_or_default();
        let mut select = reader.prepare(
            "SELECT b.id, k.text, b.epoch, b.first_seq, b.last_seq, b.previous, b.raw, b.data
             FROM blocks b JOIN keys k ON k.id = b.engine WHERE b.id > ?1 ORDER BY b.id LIMIT ?2",
        )?;
        let mut rows = select.query(params![place, most])?;
        let (mut blocks, mut room) = (Vec::new(), bytes);
        while let Some(row) = rows.next()? {
            let (id, raw): (i64, i64) = (row.get(0)?, row.get(6)?);
            let size = usize::try_from(raw).unwrap_or(usize::MAX);
            if !blocks.is_empty() && size > room {
                break;
            }
            room = room.saturating_sub(size);
            let engine: String = row.get(1)?;
            let engine = engine.parse().map_err(|_| CollectorError::Damaged(id))?;
            let (data, previous): (Vec<u8>, _) = (row.get(7)?, Hash(row.get(5)?));
            let read =
                unpack(id, raw, &data).and_then(|frames| events(id, &engine, previous, &frames));
            let events = match read {
                Ok(events) => events,
                // It stays as it is, for whoever verifies; what comes after it is not held up.
                Err(error @ (CollectorError::Damaged(_) | CollectorError::Decode(_))) => {
                    tracing::error!(block = id, %error, "evidence that cannot be read is not handed on");
                    Vec::new()
                }
                Err(error) => return Err(error),
            };
            blocks.push(Outgoing {
                id,
                engine,
                epoch: row.get(2)?,
                first_seq: row.get(3)?,
                last_seq: row.get(4)?,
                events: events.into_iter().flatten().collect(),
            });
        }
        Ok(blocks)
    }

    /// Remembers that blocks up to `block` were taken.
    ///
    /// # Errors
    /// When the store failed.
    pub(crate) fn taken(&self, cursor: Cursor, block: i64) -> Result<(), CollectorError> {
        self.writer().move_to(cursor, block)
    }

    /// How the export stands.
    ///
    /// # Errors
    /// When the store failed.
    pub fn behind(&self) -> Result<Behind, CollectorError> {
        let lost = self.writer().overtaken;
        let reader = self.reader()?;
        let place = number(&reader, Cursor::Exported.name())?.unwrap_or_default();
        let since: Option<u64> = reader
            .query_row(
                "SELECT first_time FROM blocks WHERE id > ?1 ORDER BY id LIMIT 1",
                [place],
                |row| row.get(0),
            )
            .optional()?;
        Ok(Behind {
            since: since.map(Timestamp::from_micros),
            lost,
        })
    }
}

impl Ingest {
    /// Blocks up to this one may be merged: nobody waits for them by themselves.
    pub(super) fn mergeable(&self) -> Result<i64, CollectorError> {
        let exported = self.place(self.exporting, Cursor::Exported)?;
        Ok(self.settled()?.min(exported))
    }

    /// Blocks up to this one may be deleted.
    pub(super) fn settled(&self) -> Result<i64, CollectorError> {
        self.place(self.forwarding, Cursor::Forwarded)
    }

    fn place(&self, wanted: bool, cursor: Cursor) -> Result<i64, CollectorError> {
        if wanted {
            Ok(number(&self.store, cursor.name())?.unwrap_or_default())
        } else {
            Ok(i64::MAX)
        }
    }

    fn move_to(&self, cursor: Cursor, block: i64) -> Result<(), CollectorError> {
        set(&self.store, cursor.name(), block)
    }

    /// An export that is off holds nothing up, so its cursor means nothing once it is on again: then it
    /// begins with what is kept.
    pub(super) fn forget_export(store: &Connection) -> Result<(), CollectorError> {
        let gone = store.execute(
            "DELETE FROM meta WHERE name = ?1",
            [Cursor::Exported.name()],
        )?;
        if gone > 0 {
            tracing::warn!(
                "events are exported no more; an export that is begun again starts over"
            );
        }
        Ok(())
    }

    /// Tells of what retention deleted before it was exported.
    pub(super) fn tell_overtaken(&mut self, now: Now) -> Result<(), CollectorError> {
        let events = match number(&self.store, OVERTAKEN)? {
            Some(events) if events > 0 => events,
            _ => return Ok(()),
        };
        let message =
            format!("retention deleted {events} events before they were exported over OTLP");
        let finding = Finding {
            code: FindingCode::Other,
            message: message.into(),
            subject: None,
            engine: None,
        };
        self.find(vec![finding], now)?;
        self.overtaken = self.overtaken.saturating_add(events.unsigned_abs());
        self.store
            .execute("DELETE FROM meta WHERE name = ?1", [OVERTAKEN])?;
        Ok(())
    }
}

/// A block that is being deleted.
pub(super) struct Gone {
    pub(super) id: i64,
    pub(super) events: u64,
}

/// Remembers which blocks are deleted: none gets their ids, and what was not exported is counted.
pub(super) fn delete(
    store: &Connection,
    exporting: bool,
    gone: impl Iterator<Item = Gone>,
) -> Result<(), CollectorError> {
    let place = number(store, Cursor::Exported.name())?.unwrap_or_default();
    let (mut highest, mut lost) = (number(store, DELETED)?.unwrap_or_default(), 0_i64);
    for Gone { id, events } in gone {
        highest = highest.max(id);
        if exporting && id > place {
            lost = lost.saturating_add_unsigned(events);
        }
    }
    set(store, DELETED, highest)?;
    if lost > 0 {
        let before = number(store, OVERTAKEN)?.unwrap_or_default();
        set(store, OVERTAKEN, before.saturating_add(lost))?;
    }
    Ok(())
}

/// The id of the next block.
pub(super) fn next_id(store: &Connection) -> Result<i64, CollectorError> {
    let kept: Option<i64> = store
        .prepare_cached("SELECT max(id) FROM blocks")?
        .query_row([], |row| row.get(0))?;
    let deleted = number(store, DELETED)?.unwrap_or_default();
    // Merging takes ids away at the end, too.
    let followed = backlog::mark(store)?;
    Ok(kept.unwrap_or_default().max(deleted).max(followed) + 1)
}

pub(super) fn number(store: &Connection, name: &str) -> Result<Option<i64>, CollectorError> {
    let text: Option<String> = store
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(text.and_then(|text| text.parse().ok()))
}

pub(super) fn set(store: &Connection, name: &str, value: i64) -> Result<(), CollectorError> {
    store
        .prepare_cached("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2")?
        .execute(params![name, value.to_string()])?;
    Ok(())
}
