//! What older versions of the store did not keep is made from the evidence that they did.

use std::collections::HashMap;

use rusqlite::Connection;
use weir_audit::{EngineId, Hash};

use super::CollectorError;
use super::index::BlockIndex;
use super::ingest::Keys;
use super::query::events;
use super::rollup::Rollup;
use super::schema::unpack;

/// Sums are written after so many blocks.
const STEP: usize = 64;

/// Versions before 3 kept no `sums`, no holds, and did not index approvers; those before 4 did not
/// index events within blocks.
pub(super) fn from_evidence(store: &Connection, sums: bool) -> Result<(), CollectorError> {
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
        let decoded = text
            .parse()
            .map_err(|_| CollectorError::Damaged(block))
            .and_then(|name: EngineId| {
                let bytes = unpack(block, row.get(4)?, &data)?;
                events(block, &name, Hash(row.get(3)?), &bytes)
            });
        let events = match decoded {
            Ok(events) => events,
            // It stays as it is, for whoever verifies.
            Err(error @ (CollectorError::Damaged(_) | CollectorError::Decode(_))) => {
                tracing::error!(block, %error, "evidence that cannot be read is not in the sums");
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut index = BlockIndex::default();
        for events in &events {
            index.add(events, &mut HashMap::new());
        }
        index.save(store, &mut keys, block)?;
        if !sums {
            continue;
        }
        if let Some((of, _, rollup)) =
            open.take_if(|(of, blocks, _)| *of != engine || *blocks >= STEP)
        {
            rollup.save(store, &mut keys, of)?;
        }
        let (_, blocks, rollup) = open.get_or_insert_with(|| (engine, 0, Rollup::new(now)));
        *blocks += 1;
        for events in &events {
            rollup.add(events);
        }
    }
    if let Some((engine, _, rollup)) = open {
        rollup.save(store, &mut keys, engine)?;
    }
    Ok(())
}
