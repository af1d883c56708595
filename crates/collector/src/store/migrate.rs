//! What older versions of the store did not keep is made from the evidence that they did.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, Row, params};
use weir_audit::{Body, EngineId, Event, FrameReader, Hash};

use super::CollectorError;
use super::index::Kind;
use super::ingest::Keys;
use super::rollup::Rollup;
use super::schema::unpack;

/// Sums are written after so many blocks.
const STEP: usize = 64;

/// Versions before 3 kept no sums, no holds, and did not index approvers.
pub(super) fn sums(store: &Connection) -> Result<(), CollectorError> {
    let now = std::time::SystemTime::now().into();
    let cached = HashMap::new();
    let mut keys = Keys::new(&cached);
    let mut select = store.prepare(
        "SELECT b.id, b.engine, k.text, b.previous, b.raw, b.data FROM blocks b
         JOIN keys k ON k.id = b.engine ORDER BY b.engine, b.epoch, b.first_seq",
    )?;
    let mut rows = select.query([])?;
    let mut open: Option<(i64, usize, Rollup)> = None;
    while let Some(row) = rows.next()? {
        let (block, engine): (i64, i64) = (row.get(0)?, row.get(1)?);
        let text: String = row.get(2)?;
        let data: Vec<u8> = row.get(5)?;
        let events = text
            .parse()
            .map_err(|_| CollectorError::Damaged(block))
            .and_then(|name| all(block, &name, row, &data));
        let events = match events {
            Ok(events) => events,
            // It stays as it is, for whoever verifies.
            Err(error @ (CollectorError::Damaged(_) | CollectorError::Decode(_))) => {
                tracing::error!(block, %error, "evidence that cannot be read is not in the sums");
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some((of, _, rollup)) =
            open.take_if(|(of, blocks, _)| *of != engine || *blocks >= STEP)
        {
            rollup.save(store, &mut keys, of)?;
        }
        let (_, blocks, rollup) = open.get_or_insert_with(|| (engine, 0, Rollup::new(now)));
        *blocks += 1;
        let mut approvers = HashSet::new();
        for events in &events {
            for event in events {
                if let Body::AccessRequestDecided(decided) = &event.body {
                    approvers.insert(decided.approver.clone());
                }
            }
            rollup.add(events);
        }
        for approver in approvers {
            let key = keys.number(store, Kind::Approver, &approver)?;
            store
                .prepare_cached("INSERT OR IGNORE INTO block_keys(key, block) VALUES (?1, ?2)")?
                .execute(params![key, block])?;
        }
    }
    if let Some((engine, _, rollup)) = open {
        rollup.save(store, &mut keys, engine)?;
    }
    Ok(())
}

/// The events of a block, frame by frame.
fn all(
    block: i64,
    engine: &EngineId,
    row: &Row<'_>,
    data: &[u8],
) -> Result<Vec<Vec<Event>>, CollectorError> {
    let bytes = unpack(block, row.get(4)?, data)?;
    let mut frames = FrameReader::new(&bytes, Hash(row.get(3)?));
    let mut events = Vec::new();
    while let Some(frame) = frames
        .next_frame()
        .map_err(|_| CollectorError::Damaged(block))?
    {
        events.push(frame.events(engine)?);
    }
    Ok(events)
}
