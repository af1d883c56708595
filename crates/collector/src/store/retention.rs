//! What is old goes, and what is too much.
//!
//! Invariants
//! - Age is counted by the store's own time, from when evidence was received: no engine's clock has a say, and no
//!   jump of this machine's (`clock`).
//! - Chains are cut from their beginning only, so what stays can still be verified. Each cut is in the log of
//!   proofs, in the transaction that makes it.
//! - A session's line goes with the last block that has an event of it; sums and holds go by age alone.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension as _, params};
use weir_audit::proof::RetentionLeaf;
use weir_audit::{EngineId, Finding, FindingCode, Hash, Timestamp};

use super::clock::{Kept, News, Now, own_day};
use super::ingest::Ingest;
use super::maintain::delete;
use super::outgoing::{self, Gone};
use super::{CollectorConfig, CollectorError, rollup};

/// Blocks that one transaction deletes.
const STEP: usize = 64;

/// A block that retention deletes.
struct Oldest {
    id: i64,
    engine: i64,
    epoch: u32,
    first_seq: u64,
    last_seq: u64,
    hash: Hash,
    last_time: u64,
}

impl Ingest {
    /// Compares the machine's clocks, says what is new about them, and keeps the time.
    pub(super) fn look_at_clocks(&mut self) -> Result<(), CollectorError> {
        match self.clock.look() {
            None => {}
            Some(News::Apart(seconds)) => {
                let (by, side) = (
                    seconds.unsigned_abs(),
                    if seconds > 0 { "ahead" } else { "behind" },
                );
                let finding = Finding {
                    code: FindingCode::ClockSkew,
                    message: format!(
                        "the collector's clock is {by} s {side} of the time that passed: it was set, or the \
                         collector did not run; until they agree evidence grows old only by the time that passes"
                    )
                    .into(),
                    subject: None,
                    engine: None,
                };
                let now = self.now();
                self.find(vec![finding], now)?;
            }
            Some(News::Agreed) => {
                tracing::info!("the collector's clock agrees with the time that passed")
            }
            Some(News::Believed) => {
                tracing::warn!("the collector's clock was steady for a day: it is believed again");
            }
        }
        self.keep_time()
    }

    /// How many seconds the wall clock is ahead of the time that passed, or behind it.
    pub(super) fn clock_offset(&self) -> i64 {
        self.clock.offset()
    }

    fn keep_time(&mut self) -> Result<(), CollectorError> {
        let Kept { newest, ahead } = self.clock.kept();
        self.store.execute(
            "INSERT INTO meta VALUES ('clock', ?1) ON CONFLICT DO UPDATE SET value = ?1",
            [format!("{newest} {ahead}")],
        )?;
        Ok(())
    }

    /// Deletes what is older than the configuration says, and then the oldest until the rest is small enough.
    pub(super) fn prune(
        &mut self,
        config: &CollectorConfig,
        now: Now,
    ) -> Result<(), CollectorError> {
        self.follow()?;
        if let Some(age) = config.max_age {
            let before = now.before(age);
            let reason = format!("age {}s", age.as_secs());
            while self.prune_step((before, u64::MAX), &reason, now.wall)? {}
            // Sums are kept by the day.
            if self.forgotten.replace(own_day(before)) != Some(own_day(before)) {
                rollup::forget(&self.store, before)?;
            }
        }
        let reason = format!("size {}", config.max_bytes);
        loop {
            let over = self.size()?.saturating_sub(config.max_bytes);
            if over == 0 || !self.prune_step((i64::MAX, over), &reason, now.wall)? {
                return Ok(());
            }
        }
    }

    /// How many bytes the store takes.
    pub(super) fn size(&self) -> Result<u64, CollectorError> {
        let number = |name: &str| {
            self.store
                .pragma_query_value(None, name, |row| row.get::<_, u64>(0))
        };
        let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
        Ok(pages.saturating_mul(number("page_size")?))
    }

    /// Deletes some of the oldest blocks that were received before a time, of so many bytes at most; false if
    /// there are none.
    fn prune_step(
        &mut self,
        which: (i64, u64),
        reason: &str,
        at: Timestamp,
    ) -> Result<bool, CollectorError> {
        let (mut log, settled) = (self.log.clone(), self.settled()?);
        let transaction = self.store.transaction()?;
        let oldest = oldest(&transaction, which, settled)?;
        let gone = oldest.iter().map(|block| Gone {
            id: block.id,
            events: block.last_seq.saturating_sub(block.first_seq) + 1,
        });
        outgoing::delete(&transaction, self.exporting, gone)?;
        let mut cuts: BTreeMap<i64, &Oldest> = BTreeMap::new();
        for block in &oldest {
            forget_block(&transaction, block.id)?;
            transaction.execute(
                "INSERT INTO pruned VALUES (?1, ?2, ?3, ?4) ON CONFLICT(engine) DO UPDATE SET
                 epoch = ?2, last_seq = ?3, hash = ?4 WHERE (?2, ?3) > (epoch, last_seq)",
                params![block.engine, block.epoch, block.last_seq, block.hash.0],
            )?;
            let cut = cuts.entry(block.engine).or_insert(block);
            if (cut.epoch, cut.last_seq) < (block.epoch, block.last_seq) {
                *cut = block;
            }
        }
        for (engine, cut) in cuts {
            let deleted = RetentionLeaf {
                engine: name_of(&transaction, cut)?,
                epoch: cut.epoch,
                last_seq: cut.last_seq,
                hash: cut.hash,
                newest: Timestamp::from_micros(cut.last_time),
                at,
                reason: reason.to_owned(),
            };
            log.delete(&transaction, engine, deleted)?;
        }
        log.seal(&transaction, at)?;
        transaction.commit()?;
        self.log = log;
        self.store
            .execute_batch("PRAGMA incremental_vacuum(4096)")?;
        Ok(!oldest.is_empty())
    }
}

/// What the store kept of its clock.
pub(super) fn kept_time(store: &Connection) -> Result<Option<Kept>, CollectorError> {
    let received: Option<i64> =
        store.query_row("SELECT max(received) FROM blocks", [], |row| row.get(0))?;
    let text: Option<String> = store
        .query_row("SELECT value FROM meta WHERE name = 'clock'", [], |row| {
            row.get(0)
        })
        .optional()?;
    let kept = text.and_then(|text| {
        let (newest, ahead) = text.split_once(' ')?;
        Some((newest.parse().ok()?, ahead.parse().ok()?))
    });
    Ok(match (kept, received) {
        (Some((newest, ahead)), received) => Some(Kept {
            newest: received.map_or(newest, |received| received.max(newest)),
            ahead,
        }),
        (None, Some(newest)) => Some(Kept { newest, ahead: 0 }),
        (None, None) => None,
    })
}

/// Blocks at the beginning of their chains that were received before `before`, the longest ago first: as many
/// as have `bytes`.
fn oldest(
    store: &Connection,
    (before, bytes): (i64, u64),
    settled: i64,
) -> Result<Vec<Oldest>, CollectorError> {
    let mut heads: HashMap<i64, Option<(u32, u64)>> = HashMap::new();
    let (mut found, mut freed) = (Vec::new(), 0u64);
    let mut select = store.prepare_cached(
        "SELECT id, engine, epoch, first_seq, last_seq, hash, last_time, length(data) FROM blocks
         INDEXED BY blocks_received WHERE received < ?1 AND id <= ?2 ORDER BY received, id",
    )?;
    let mut rows = select.query([before, settled])?;
    while let Some(row) = rows.next()? {
        let block = Oldest {
            id: row.get(0)?,
            engine: row.get(1)?,
            epoch: row.get(2)?,
            first_seq: row.get(3)?,
            last_seq: row.get(4)?,
            hash: Hash(row.get(5)?),
            last_time: row.get(6)?,
        };
        let place = (block.epoch, block.first_seq);
        let head = match heads.get(&block.engine) {
            Some(head) => *head,
            None => head_after(store, block.engine, None)?,
        };
        // What came late into a chain is younger than what follows it, and must go first.
        if head.is_none_or(|head| place > head) {
            heads.insert(block.engine, head);
            continue;
        }
        heads.insert(block.engine, head_after(store, block.engine, Some(place))?);
        found.push(block);
        freed = freed.saturating_add(row.get(7)?);
        if found.len() == STEP || freed >= bytes {
            break;
        }
    }
    Ok(found)
}

/// The first block of a chain behind a place.
fn head_after(
    store: &Connection,
    engine: i64,
    place: Option<(u32, u64)>,
) -> Result<Option<(u32, u64)>, CollectorError> {
    let (epoch, seq) = place.map_or((-1, 0), |(epoch, seq)| (i64::from(epoch), seq));
    let head = store
        .prepare_cached(
            "SELECT epoch, first_seq FROM blocks WHERE engine = ?1 AND (epoch, first_seq) > (?2, ?3)
             ORDER BY epoch, first_seq LIMIT 1",
        )?
        .query_row(params![engine, epoch, seq], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(head)
}

fn name_of(store: &Connection, block: &Oldest) -> Result<EngineId, CollectorError> {
    let name: String = store
        .prepare_cached("SELECT text FROM keys WHERE id = ?1")?
        .query_row([block.engine], |row| row.get(0))?;
    name.parse().map_err(|_| CollectorError::Damaged(block.id))
}

fn forget_block(store: &Connection, block: i64) -> Result<(), CollectorError> {
    for session in delete(store, block)? {
        store
            .prepare_cached(
                "DELETE FROM sessions WHERE id = ?1
                 AND NOT EXISTS (SELECT 1 FROM block_sessions WHERE session = ?1)",
            )?
            .execute([session])?;
    }
    Ok(())
}
