//! Upkeep: small blocks are merged, old evidence goes, silence becomes a finding.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, params};
use weir_audit::proof::RetentionLeaf;
use weir_audit::{EngineId, Finding, FindingCode, Hash, SessionId, Timestamp};

use super::index::BlockIndex;
use super::ingest::{Ingest, Keys, LARGE};
use super::outgoing::{self, Gone};
use super::query::events;
use super::schema::unpack;
use super::{CollectorConfig, CollectorError, rollup};

/// So many blocks of one level become one of the next.
const FAN: usize = 32;
const PRUNE_STEP: usize = 64;
/// So many are read to be merged at once: there are more after somebody whom they go to was away.
const MERGED: usize = 1024;
/// The sessions of an engine that was silent so many times as long as it takes to be a finding will
/// not be closed any more: its pod is gone.
const ABANDONED: u32 = 20;

struct Small {
    id: i64,
    epoch: u32,
    last_seq: u64,
    previous: [u8; 32],
    hash: [u8; 32],
    last_time: i64,
    first_time: i64,
    bytes: Vec<u8>,
}

/// A block that retention deletes.
struct Oldest {
    id: i64,
    engine: i64,
    epoch: u32,
    first_seq: u64,
    last_seq: u64,
    hash: Hash,
    last_time: u64,
    name: String,
}

/// Merges an engine's small blocks, so that slow traffic is kept as compactly as fast traffic.
pub(super) fn merge_small(
    store: &Connection,
    keys: &mut Keys<'_>,
    engine: (i64, &EngineId),
    settled: i64,
) -> Result<(), CollectorError> {
    for level in 0..3 {
        let count: usize = store
            .prepare_cached(
                "SELECT count(*) FROM blocks WHERE engine = ?1 AND level = ?2 AND id <= ?3",
            )?
            .query_row(params![engine.0, level, settled], |row| row.get(0))?;
        if count < FAN {
            return Ok(());
        }
        merge_level(store, keys, engine, level, settled)?;
    }
    Ok(())
}

fn merge_level(
    store: &Connection,
    keys: &mut Keys<'_>,
    (engine, name): (i64, &EngineId),
    level: i64,
    settled: i64,
) -> Result<(), CollectorError> {
    let mut select = store.prepare_cached(&format!(
        "SELECT id, epoch, last_seq, previous, hash, first_time, last_time, raw, data FROM blocks
         WHERE engine = ?1 AND level = ?2 AND id <= ?3 ORDER BY epoch, first_seq LIMIT {MERGED}"
    ))?;
    let mut rows = select.query(params![engine, level, settled])?;
    let mut run: Vec<Small> = Vec::new();
    let mut runs: Vec<Vec<Small>> = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let data: Vec<u8> = row.get(8)?;
        let small = Small {
            id,
            epoch: row.get(1)?,
            last_seq: row.get(2)?,
            previous: row.get(3)?,
            hash: row.get(4)?,
            first_time: row.get(5)?,
            last_time: row.get(6)?,
            bytes: unpack(id, row.get(7)?, &data)?,
        };
        let size: usize = run.iter().map(|small| small.bytes.len()).sum();
        let fits = run.last().is_some_and(|last| {
            last.epoch == small.epoch && last.hash == small.previous && size < 2 * LARGE
        });
        if !fits && !run.is_empty() {
            runs.push(std::mem::take(&mut run));
        }
        run.push(small);
    }
    drop(rows);
    runs.push(run);
    for run in runs {
        merge_run(store, keys, level, name, &run)?;
    }
    Ok(())
}

/// The first block of a run takes in the others.
fn merge_run(
    store: &Connection,
    keys: &mut Keys<'_>,
    level: i64,
    name: &EngineId,
    run: &[Small],
) -> Result<(), CollectorError> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        return Ok(());
    };
    let bytes: Vec<u8> = run
        .iter()
        .flat_map(|small| small.bytes.iter().copied())
        .collect();
    let level = if bytes.len() >= LARGE || level == 2 {
        9
    } else {
        level + 1
    };
    if first.id == last.id {
        store
            .prepare_cached("UPDATE blocks SET level = ?2 WHERE id = ?1")?
            .execute(params![first.id, level])?;
        return Ok(());
    }
    let first_time = run.iter().map(|small| small.first_time).min();
    let last_time = run.iter().map(|small| small.last_time).max();
    let data = zstd::bulk::compress(&bytes, 6)?;
    store
        .prepare_cached(
            "UPDATE blocks SET last_seq = ?2, hash = ?3, first_time = ?4, last_time = ?5,
             level = ?6, raw = ?7, data = ?8 WHERE id = ?1",
        )?
        .execute(params![
            first.id,
            last.last_seq,
            last.hash,
            first_time,
            last_time,
            level,
            bytes.len(),
            data
        ])?;
    for other in run.iter().skip(1) {
        delete(store, other.id)?;
    }
    let mut index = BlockIndex::default();
    let events = events(first.id, name, Hash(first.previous), &bytes)?;
    for events in &events {
        index.add(events, &mut HashMap::new());
    }
    index.save(store, keys, first.id)
}

fn delete(store: &Connection, block: i64) -> Result<(), CollectorError> {
    for sql in [
        "DELETE FROM block_keys WHERE block = ?1",
        "DELETE FROM block_sessions WHERE block = ?1",
        "DELETE FROM block_index WHERE block = ?1",
        "DELETE FROM blocks WHERE id = ?1",
    ] {
        store.prepare_cached(sql)?.execute([block])?;
    }
    Ok(())
}

impl Ingest {
    pub(super) fn maintain(
        &mut self,
        config: &CollectorConfig,
        now: Timestamp,
    ) -> Result<(), CollectorError> {
        let gone = now.minus(config.silence.saturating_mul(ABANDONED));
        let mut findings = self.unclosed(gone)?;
        findings.extend(self.silent(now.minus(config.silence))?);
        if !findings.is_empty() {
            self.find(findings, now)?;
        }
        self.prune(config, now)
    }

    /// Sessions of epochs that are over, and of engines that will hardly come back.
    fn unclosed(&self, gone: Timestamp) -> Result<Vec<Finding>, CollectorError> {
        let mut select = self.store.prepare_cached(
            "SELECT s.id, k.text FROM sessions s JOIN engines e ON e.engine = s.engine
             JOIN keys k ON k.id = s.engine
             WHERE s.closed IS NULL AND (s.epoch < e.epoch OR e.stopped
               OR (e.silent AND e.seen < ?1)) LIMIT 1000",
        )?;
        let found = select.query_map([gone.as_micros()], |row| {
            let (id, engine): (i64, String) = (row.get(0)?, row.get(1)?);
            let id = SessionId::new(id.cast_unsigned());
            Ok(Finding {
                code: FindingCode::UnclosedSession,
                message: format!("session {id} began and its end was never recorded").into(),
                subject: Some(id),
                engine: Some(engine.into()),
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn silent(&self, since: Timestamp) -> Result<Vec<Finding>, CollectorError> {
        let mut update = self.store.prepare_cached(
            "UPDATE engines SET silent = 1 WHERE silent = 0 AND stopped = 0 AND seen < ?1
             AND engine <> coalesce((SELECT k.id FROM keys k JOIN meta m ON m.value = k.text
                            WHERE m.name = 'engine' AND k.kind = 0), -1)
             RETURNING (SELECT text FROM keys WHERE id = engine)",
        )?;
        let found = update.query_map([since.as_micros()], |row| {
            let engine: Arc<str> = row.get::<_, String>(0)?.into();
            Ok(Finding {
                code: FindingCode::EngineSilent,
                message: format!("engine {engine} stopped sending and did not say why").into(),
                subject: None,
                engine: Some(engine),
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn prune(&mut self, config: &CollectorConfig, now: Timestamp) -> Result<(), CollectorError> {
        if let Some(age) = config.max_age {
            let before = now.minus(age).as_micros();
            let reason = format!("age {}s", age.as_secs());
            while self.prune_step(("last_time < ?1", before), &reason, now)? {}
            self.store
                .execute("DELETE FROM sessions WHERE last < ?1", [before])?;
            rollup::forget(&self.store, now.minus(age))?;
        }
        let reason = format!("size {}", config.max_bytes);
        while self.size()? > config.max_bytes && self.prune_step(("?1", 1), &reason, now)? {}
        self.tell_overtaken(now)
    }

    pub(super) fn size(&self) -> Result<u64, CollectorError> {
        let number = |name: &str| {
            self.store
                .pragma_query_value(None, name, |row| row.get::<_, u64>(0))
        };
        let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
        Ok(pages.saturating_mul(number("page_size")?))
    }

    /// Deletes some of the oldest blocks, remembers their last link, and says so in the log. Chains are cut
    /// from their beginning only, so what stays can still be verified.
    fn prune_step(
        &mut self,
        (which, value): (&str, u64),
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, CollectorError> {
        let (mut log, settled) = (self.log.clone(), self.settled()?);
        let transaction = self.store.transaction()?;
        let oldest: Vec<Oldest> = transaction
            .prepare_cached(&format!(
                "SELECT id, engine, epoch, last_seq, hash, last_time,
                   (SELECT text FROM keys WHERE keys.id = engine), first_seq FROM blocks b WHERE {which} AND b.id <= ?2
                 AND NOT EXISTS (SELECT 1 FROM blocks o WHERE o.engine = b.engine
                   AND (o.epoch, o.first_seq) < (b.epoch, b.first_seq) AND NOT (o.last_time <= b.last_time))
                 ORDER BY last_time, epoch, first_seq LIMIT {PRUNE_STEP}"
            ))?
            .query_map(params![value, settled], |row| {
                Ok(Oldest {
                    id: row.get(0)?,
                    engine: row.get(1)?,
                    epoch: row.get(2)?,
                    last_seq: row.get(3)?,
                    hash: Hash(row.get(4)?),
                    last_time: row.get(5)?,
                    name: row.get(6)?,
                    first_seq: row.get(7)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        let gone = oldest.iter().map(|block| Gone {
            id: block.id,
            events: block.last_seq.saturating_sub(block.first_seq) + 1,
        });
        outgoing::delete(&transaction, self.exporting, gone)?;
        let mut cuts: BTreeMap<i64, &Oldest> = BTreeMap::new();
        for block in &oldest {
            delete(&transaction, block.id)?;
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
                engine: cut
                    .name
                    .parse()
                    .map_err(|_| CollectorError::Damaged(cut.id))?,
                epoch: cut.epoch,
                last_seq: cut.last_seq,
                hash: cut.hash,
                newest: Timestamp::from_micros(cut.last_time),
                at: now,
                reason: reason.to_owned(),
            };
            log.delete(&transaction, engine, deleted)?;
        }
        log.seal(&transaction, now)?;
        transaction.commit()?;
        self.log = log;
        self.store
            .execute_batch("PRAGMA incremental_vacuum(4096)")?;
        Ok(!oldest.is_empty())
    }
}
