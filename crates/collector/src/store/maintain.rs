//! Upkeep: small blocks are merged, silence becomes a finding.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use weir_audit::{EngineId, Finding, FindingCode, Hash, SessionId};

use super::backlog;
use super::clock::{Now, own_day};
use super::facets::{Mentioned, mentioned};
use super::index::BlockIndex;
use super::ingest::{Ingest, LARGE, PASSING, SETTLED, signed};
use super::keys::Keys;
use super::query::events;
use super::schema::unpack;
use super::{CollectorConfig, CollectorError, pack};

/// How hard zstd tries with what is not packed again.
const LASTING: i32 = 6;
/// So many blocks of one level become one of the next.
const FAN: usize = 32;
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
    received: i64,
    bytes: Vec<u8>,
}

/// Whether an engine has so many small blocks that they are to be merged. (An index of small blocks is used only
/// where its condition is written out.)
pub(super) fn has_many_small(
    store: &Connection,
    engine: i64,
    level: i64,
    settled: i64,
) -> Result<bool, CollectorError> {
    let count: usize = store
        .prepare_cached(
            "SELECT count(*) FROM blocks WHERE engine = ?1 AND level = ?2 AND level < 9 AND id <= ?3",
        )?
        .query_row(params![engine, level, settled], |row| row.get(0))?;
    Ok(count >= FAN)
}

/// Merges an engine's small blocks, so that slow traffic is kept as compactly as fast traffic. None of them is
/// in the backlog.
pub(super) fn merge_small(
    store: &Connection,
    keys: &mut Keys<'_>,
    engine: (i64, &EngineId),
    settled: i64,
) -> Result<(), CollectorError> {
    for level in 0..3 {
        if !has_many_small(store, engine.0, level, settled)? {
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
        "SELECT id, epoch, last_seq, previous, hash, first_time, last_time, raw, data, received
         FROM blocks WHERE engine = ?1 AND level = ?2 AND level < 9 AND id <= ?3 ORDER BY epoch, first_seq
         LIMIT {MERGED}"
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
            received: row.get(9)?,
            bytes: unpack(id, row.get(7)?, &data)?,
        };
        let size: usize = run.iter().map(|small| small.bytes.len()).sum();
        let fits = run.last().is_some_and(|last| {
            let continues = last.epoch == small.epoch && last.hash == small.previous;
            // A block goes when the last of it is old enough, so that it holds a day's at most.
            let day = own_day(last.received) == own_day(small.received);
            continues && day && size < 2 * LARGE
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
        SETTLED
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
    let received = run.iter().map(|small| small.received).max();
    let effort = if level == SETTLED { LASTING } else { PASSING };
    let data = pack::compress(&bytes, effort)?;
    store
        .prepare_cached(
            "UPDATE blocks SET last_seq = ?2, hash = ?3, first_time = ?4, last_time = ?5,
             level = ?6, raw = ?7, data = ?8, received = ?9 WHERE id = ?1",
        )?
        .execute(params![
            first.id,
            last.last_seq,
            last.hash,
            first_time,
            last_time,
            level,
            bytes.len(),
            data,
            received
        ])?;
    for other in run.iter().skip(1) {
        delete(store, other.id)?;
    }
    let mut index = BlockIndex::default();
    let events = events(first.id, name, Hash(first.previous), &bytes)?;
    for events in &events {
        index.add(events);
    }
    let mentioned = index.save(store, keys, first.id)?;
    backlog::lead_to(store, &[(first.id, mentioned)])
}

/// Deletes a block and what is known of it; says which sessions it mentioned.
pub(super) fn delete(store: &Connection, block: i64) -> Result<Vec<i64>, CollectorError> {
    let facets: Option<Vec<u8>> = store
        .prepare_cached("SELECT facets FROM block_index WHERE block = ?1")?
        .query_row([block], |row| row.get(0))
        .optional()?;
    let sessions = match facets.and_then(|facets| mentioned(&facets)) {
        Some(Mentioned { keys, sessions }) => {
            for key in keys {
                store
                    .prepare_cached("DELETE FROM block_keys WHERE key = ?1 AND block = ?2")?
                    .execute(params![key.cast_signed(), block])?;
            }
            let sessions: Vec<i64> = sessions.into_iter().map(signed).collect();
            for session in &sessions {
                store
                    .prepare_cached("DELETE FROM block_sessions WHERE session = ?1 AND block = ?2")?
                    .execute([*session, block])?;
            }
            sessions
        }
        // Damaged: everything is looked through.
        None => {
            store.execute("DELETE FROM block_keys WHERE block = ?1", [block])?;
            let mut select =
                store.prepare("DELETE FROM block_sessions WHERE block = ?1 RETURNING session")?;
            let sessions = select.query_map([block], |row| row.get(0))?;
            sessions.collect::<Result<_, _>>()?
        }
    };
    for sql in [
        "DELETE FROM block_index WHERE block = ?1",
        "DELETE FROM blocks WHERE id = ?1",
    ] {
        store.prepare_cached(sql)?.execute([block])?;
    }
    Ok(sessions)
}

impl Ingest {
    pub(super) fn maintain(
        &mut self,
        config: &CollectorConfig,
        now: Now,
    ) -> Result<(), CollectorError> {
        let gone = now.before(config.silence.saturating_mul(ABANDONED));
        let mut findings = self.unclosed(gone)?;
        findings.extend(self.silent(now.before(config.silence))?);
        if !findings.is_empty() {
            self.find(findings, now)?;
        }
        self.prune(config, now)?;
        self.tell_overtaken(now)
    }

    /// Sessions of epochs that are over, and of engines that will hardly come back.
    fn unclosed(&self, gone: i64) -> Result<Vec<Finding>, CollectorError> {
        let mut select = self.store.prepare_cached(
            "SELECT s.id, k.text FROM sessions s JOIN engines e ON e.engine = s.engine
             JOIN keys k ON k.id = s.engine
             WHERE s.closed IS NULL AND (s.epoch < e.epoch OR e.stopped
               OR (e.silent AND e.seen < ?1)) LIMIT 1000",
        )?;
        let found = select.query_map([gone], |row| {
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

    fn silent(&self, since: i64) -> Result<Vec<Finding>, CollectorError> {
        let mut update = self.store.prepare_cached(
            "UPDATE engines SET silent = 1 WHERE silent = 0 AND stopped = 0 AND seen < ?1
             AND engine <> coalesce((SELECT k.id FROM keys k JOIN meta m ON m.value = k.text
                            WHERE m.name = 'engine' AND k.kind = 0), -1)
             RETURNING (SELECT text FROM keys WHERE id = engine)",
        )?;
        let found = update.query_map([since], |row| {
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
}
