//! What older versions of the store did not keep is made from the evidence that they did.

use rusqlite::{Connection, OptionalExtension as _, params};
use weir_audit::proof::Leaf;
use weir_audit::{EngineId, Hash, Timestamp};

use super::CollectorError;
use super::backlog;
use super::holds::HoldNotes;
use super::index::BlockIndex;
use super::keys::{Keys, Known};
use super::query::events;
use super::rollup::{self, Counts, Sums};
use super::schema::unpack;

/// Sums are written after so many blocks.
const STEP: usize = 64;

/// When blocks and holds came, in microseconds of the store's own time, and the day when something last
/// counted into a sum. Indexes from blocks to keys are gone: facets say what a block mentions.
const RECEIVED: &str = "
ALTER TABLE blocks ADD COLUMN received INTEGER NOT NULL DEFAULT 0;
CREATE INDEX blocks_received ON blocks(received);
ALTER TABLE holds ADD COLUMN received INTEGER NOT NULL DEFAULT 0;
CREATE INDEX holds_received ON holds(received);
ALTER TABLE daily ADD COLUMN received INTEGER NOT NULL DEFAULT 0;
ALTER TABLE daily_labels ADD COLUMN received INTEGER NOT NULL DEFAULT 0;
ALTER TABLE daily_tables ADD COLUMN received INTEGER NOT NULL DEFAULT 0;
ALTER TABLE daily_rules ADD COLUMN received INTEGER NOT NULL DEFAULT 0;
ALTER TABLE daily_findings ADD COLUMN received INTEGER NOT NULL DEFAULT 0;
DROP INDEX IF EXISTS block_keys_block;
DROP INDEX IF EXISTS block_sessions_block;
";

/// Makes room for what [`received`] finds out.
pub(super) fn add_received(store: &Connection) -> Result<(), CollectorError> {
    Ok(store.execute_batch(RECEIVED)?)
}

/// Versions before 5 did not know when evidence came: the log of proofs says it. Where it does not, the engine's
/// clock is believed once more, but not about the future.
pub(super) fn received(store: &Connection) -> Result<(), CollectorError> {
    let now = Timestamp::from(std::time::SystemTime::now()).as_micros();
    blocks_received(store, now)?;
    store.execute(
        "UPDATE holds SET received = coalesce((SELECT max(b.received) FROM block_sessions s
           JOIN blocks b ON b.id = s.block WHERE s.session = holds.session), min(raised, ?1))",
        [now],
    )?;
    for table in rollup::NAMES {
        store.execute(
            &format!("UPDATE {table} SET received = min(day, ?1)"),
            [rollup::day_of(Timestamp::from_micros(now))],
        )?;
    }
    // They go with their last block from now on; of these the size left none.
    store.execute(
        "DELETE FROM sessions WHERE NOT EXISTS (SELECT 1 FROM block_sessions b WHERE b.session = sessions.id)",
        [],
    )?;
    Ok(())
}

fn blocks_received(store: &Connection, now: u64) -> Result<(), CollectorError> {
    let logged: bool = store.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'log_leaves'",
        [],
        |row| row.get(0),
    )?;
    if !logged {
        store.execute("UPDATE blocks SET received = min(last_time, ?1)", [now])?;
        return Ok(());
    }
    let mut leaf = store.prepare(
        "SELECT leaf FROM log_leaves WHERE engine = ?1 AND epoch = ?2 AND first_seq <= ?3
         ORDER BY first_seq DESC LIMIT 1",
    )?;
    let mut update = store.prepare("UPDATE blocks SET received = ?2 WHERE id = ?1")?;
    let mut select = store.prepare("SELECT id, engine, epoch, last_seq, last_time FROM blocks")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (id, last_time): (i64, u64) = (row.get(0)?, row.get(4)?);
        let place = params![
            row.get::<_, i64>(1)?,
            row.get::<_, i64>(2)?,
            row.get::<_, i64>(3)?
        ];
        let text: Option<String> = leaf.query_row(place, |row| row.get(0)).optional()?;
        let received = match text.map(|text| text.parse()) {
            Some(Ok(Leaf::Range(range))) => range.received.as_micros(),
            _ => last_time,
        };
        update.execute(params![id, received.min(now)])?;
    }
    Ok(())
}

/// Versions before 3 kept no `sums`, no holds, and did not index approvers; those before 4 did not
/// index events within blocks.
pub(super) fn from_evidence(store: &Connection, sums: bool) -> Result<(), CollectorError> {
    let wall = Timestamp::from(std::time::SystemTime::now());
    let known = Known::default();
    let mut keys = Keys::new(&known);
    let mut select = store.prepare(
        "SELECT b.id, b.engine, k.text, b.previous, b.raw, b.data FROM blocks b
         JOIN keys k ON k.id = b.engine ORDER BY b.engine, b.epoch, b.first_seq",
    )?;
    let mut rows = select.query([])?;
    let mut open: Option<(i64, usize, Counted)> = None;
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
            index.add(events);
        }
        let mentioned = index.save(store, &mut keys, block)?;
        backlog::lead_to(store, &[(block, mentioned)])?;
        if !sums {
            continue;
        }
        if let Some((of, _, counted)) =
            open.take_if(|(of, blocks, _)| *of != engine || *blocks >= STEP)
        {
            counted.save(store, &mut keys, of)?;
        }
        let (_, blocks, counted) = open.get_or_insert_with(|| (engine, 0, Counted::default()));
        *blocks += 1;
        let mut counts = Counts::default();
        for events in &events {
            counts.add(events);
            counted.holds.add(events);
        }
        counts.add_to(&mut counted.sums, store, &mut keys, wall)?;
    }
    if let Some((engine, _, counted)) = open {
        counted.save(store, &mut keys, engine)?;
    }
    Ok(())
}

/// What some blocks of an engine say.
#[derive(Default)]
struct Counted {
    sums: Sums,
    holds: HoldNotes,
}

impl Counted {
    fn save(
        self,
        store: &Connection,
        keys: &mut Keys<'_>,
        engine: i64,
    ) -> Result<(), CollectorError> {
        self.sums.save(store, 0)?;
        self.holds.save(store, keys, (engine, 0))
    }
}
