//! Ingest: one transaction and one sync per batch.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use rustls_pki_types::CertificateDer;
use weir_audit::{
    Ack, Batch, Body, EngineId, Event, Finding, FindingCode, Frame, FrameBuilder, Hash, Record,
    SessionId, Timestamp, genesis,
};

use super::CollectorError;
use super::backlog::{Backlog, Pending};
use super::chain::{self, Found, Placed};
use super::clock::{Clock, Clocks, Now};
use super::keys::{Keys, Kind, Known};
use super::maintain::{has_many_small, merge_small};
use super::outgoing;
use super::ready::{Block, Maker, Ready, stop};
use super::retention;
use super::round::Round;
use super::sessions::{Saved, save_session};
use crate::log::{Log, LogKey, OWN, Run, Signed, Vouched};

/// How hard zstd tries with a block that is soon merged.
pub(super) const PASSING: i32 = 1;
/// Blocks of at least this size are never merged.
pub(super) const LARGE: usize = 128 << 10;
/// The level of a block that is not merged any more.
pub(super) const SETTLED: i64 = 9;

/// The writer's side of the store.
pub(super) struct Ingest {
    pub(super) store: Connection,
    own: EngineId,
    known: Known,
    pub(super) log: Log,
    /// Whether blocks are forwarded to a search engine.
    pub(super) forwarding: bool,
    /// Whether they are exported.
    pub(super) exporting: bool,
    /// How many events were deleted before they were exported.
    pub(super) overtaken: u64,
    /// Findings of the collector's own, for those who follow.
    found: Vec<Event>,
    pub(super) clock: Clock,
    /// The day up to which sums are forgotten.
    pub(super) forgotten: Option<i64>,
    backlog: Backlog,
}

pub(super) struct Done {
    pub(super) ack: Ack,
    pub(super) lines: usize,
    pub(super) events: Vec<Event>,
}

/// Whose frames are stored.
struct Source<'a> {
    engine: &'a EngineId,
    /// Who vouches for them.
    vouched: Vouched<'a>,
}

impl Ingest {
    pub(super) fn new(
        mut store: Connection,
        dir: &Path,
        (forwarding, exporting): (bool, bool),
        clocks: Box<dyn Clocks>,
    ) -> Result<Self, CollectorError> {
        let drawn = SessionId::new(RandomState::new().hash_one("collector")).to_string();
        let drawn = format!("{OWN}{}", drawn.get(7..).unwrap_or(&drawn));
        store.execute("INSERT OR IGNORE INTO meta VALUES ('engine', ?1)", [&drawn])?;
        let own: String =
            store.query_row("SELECT value FROM meta WHERE name = 'engine'", [], |row| {
                row.get(0)
            })?;
        let own: EngineId = own.parse().map_err(std::io::Error::other)?;
        let key = LogKey::load_or_create(&dir.join("log.key"), &format!("weir.dev/log/{own}"))?;
        let log = Log::open(&mut store, Arc::new(key))?;
        if !exporting {
            Self::forget_export(&store)?;
        }
        let clock = Clock::new(clocks, retention::kept_time(&store)?);
        let backlog = Backlog::open(&store)?;
        Ok(Self {
            store,
            own,
            known: Known::default(),
            log,
            forwarding,
            exporting,
            overtaken: 0,
            found: Vec::new(),
            clock,
            forgotten: None,
            backlog,
        })
    }

    pub(super) fn name(&self) -> String {
        self.own.to_string()
    }

    /// The time, by the wall clock and by the store's own.
    pub(super) fn now(&mut self) -> Now {
        self.clock.now()
    }

    /// The findings that were added to the collector's own chain since this was called last.
    pub(super) fn take_found(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.found)
    }

    pub(super) fn log_key(&self) -> &Arc<LogKey> {
        self.log.key()
    }

    pub(super) fn trust(
        &mut self,
        roots: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(), CollectorError> {
        for root in roots {
            self.store
                .prepare_cached("INSERT OR IGNORE INTO log_roots VALUES (?1, ?2)")?
                .execute(params![root.as_ref(), now.as_micros()])?;
        }
        Ok(())
    }

    /// Stores what was made `ready` of a batch, if nothing new in it is refused.
    pub(super) fn ingest(
        &mut self,
        batch: &Batch,
        ready: Vec<Ready<'_>>,
        maker: &mut Maker<'_>,
        signed: Option<&Signed>,
        now: Now,
    ) -> Result<Done, CollectorError> {
        let mut done = Done {
            ack: Ack { epoch: 0, seq: 0 },
            lines: 0,
            events: Vec::new(),
        };
        let own = self.own.clone();
        self.transaction(now, |store, work| {
            let mut found = Vec::new();
            let source = Source {
                engine: &batch.engine,
                vouched: signed.map_or(Vouched::Nobody, Vouched::Engine),
            };
            store_frames(store, work, &source, (ready, maker), now, &mut found)?;
            done.lines = work.lines;
            for frame in &batch.frames {
                done.ack = done.ack.max(Ack {
                    epoch: frame.epoch(),
                    seq: frame.last_seq(),
                });
            }
            report(store, work, (&own, &batch.engine), found, now, maker.keep)?;
            done.events = std::mem::take(&mut work.events);
            Ok(())
        })?;
        Ok(done)
    }

    /// Stores findings of the collector itself.
    pub(super) fn find(&mut self, findings: Vec<Finding>, now: Now) -> Result<(), CollectorError> {
        let records = findings
            .into_iter()
            .map(|one| Record::engine(now.wall, one));
        self.note(records.collect(), now)
    }

    /// Adds to the collector's own chain.
    pub(super) fn note(&mut self, records: Vec<Record>, now: Now) -> Result<(), CollectorError> {
        let own = self.own.clone();
        let mut found = Vec::new();
        self.transaction(now, |store, work| {
            record(store, work, &own, records, now, true)?;
            let events = std::mem::take(&mut work.events).into_iter();
            found.extend(events.filter(is_finding));
            Ok(())
        })?;
        self.found.extend(found);
        Ok(())
    }

    /// Writes what follows the blocks.
    pub(super) fn follow(&mut self) -> Result<(), CollectorError> {
        let last = outgoing::next_id(&self.store)? - 1;
        if self.backlog.is_empty(last) {
            return Ok(());
        }
        let transaction = self.store.transaction()?;
        let mut keys = Keys::new(&self.known);
        self.backlog
            .write(&transaction, &mut keys, &Pending::default(), (last, 0))?;
        transaction.commit()?;
        self.backlog.clear(last);
        Ok(())
    }

    /// Writes sums that are not written yet into another transaction.
    pub(super) fn add_sums(&self, store: &Connection) -> Result<(), CollectorError> {
        self.backlog.write_sums(store)
    }

    fn transaction(
        &mut self,
        now: Now,
        act: impl FnOnce(&Connection, &mut Work<'_>) -> Result<(), CollectorError>,
    ) -> Result<(), CollectorError> {
        let settled = self.mergeable()?;
        let transaction = self.store.transaction()?;
        let mut work = Work {
            keys: Keys::new(&self.known),
            log: self.log.clone(),
            lines: 0,
            pending: Pending::default(),
            small: Vec::new(),
            events: Vec::new(),
        };
        act(&transaction, &mut work)?;
        let Work {
            mut keys,
            mut log,
            pending,
            small,
            ..
        } = work;
        let mut merged = Vec::new();
        for (key, engine) in small {
            if has_many_small(&transaction, key, 0, settled)? {
                merged.push((key, engine));
            }
        }
        let last = outgoing::next_id(&transaction)? - 1;
        let followed = !merged.is_empty() || self.backlog.is_full(&pending, (last, now.own));
        if followed {
            self.backlog
                .write(&transaction, &mut keys, &pending, (last, now.own))?;
        }
        for (key, engine) in &merged {
            merge_small(&transaction, &mut keys, (*key, engine), settled)?;
        }
        let new = keys.into_new();
        log.seal(&transaction, std::time::SystemTime::now().into())?;
        transaction.commit()?;
        self.log = log;
        self.known.remember(new);
        if followed {
            self.backlog.clear(last);
        } else {
            self.backlog.add(pending, now.own);
        }
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if let Err(error) = self.follow() {
            tracing::warn!(%error, "sums are made again when the evidence store is opened");
        }
    }
}

fn is_finding(event: &Event) -> bool {
    matches!(event.body, Body::Finding(_))
}

/// What a transaction works on.
struct Work<'a> {
    keys: Keys<'a>,
    /// What becomes the log when the transaction is committed.
    log: Log,
    /// Bytes of sessions' lines that are new.
    lines: usize,
    pending: Pending,
    /// Engines of which small blocks were stored.
    small: Vec<(i64, EngineId)>,
    /// What was stored, where somebody wants it.
    events: Vec<Event>,
}

fn store_frames(
    store: &Connection,
    work: &mut Work<'_>,
    from: &Source<'_>,
    (ready, maker): (Vec<Ready<'_>>, &mut Maker<'_>),
    now: Now,
    found: &mut Vec<Found>,
) -> Result<(), CollectorError> {
    let engine = from.engine;
    let key = work.keys.number_of(store, Kind::Engine, engine.as_str())?;
    let mut storing = Storing {
        engine: (engine, key),
        own: matches!(from.vouched, Vouched::Own),
        now,
        runs: Vec::new(),
    };
    for ready in ready {
        match chain::place(store, engine, key, ready.frames, found)? {
            Placed::Ignored => {}
            Placed::New => {
                storing.note(store, &ready, found)?;
                storing.add(store, work, ready, found)?;
            }
            Placed::Apart => {
                let mut new = Vec::new();
                for frame in ready.frames {
                    let alone = std::slice::from_ref(frame);
                    let placed = chain::place(store, engine, key, alone, found)?;
                    new.push(matches!(placed, Placed::New));
                    if let Placed::New = placed {
                        let stop = stop(&frame.events(engine)?);
                        note_engine(store, (engine, key), frame, stop, now, found)?;
                    }
                }
                let mut rest = ready.frames;
                for together in new.chunk_by(|one, next| one == next) {
                    let (frames, behind) = rest.split_at(together.len());
                    rest = behind;
                    if together.first() == Some(&true) {
                        storing.add(store, work, maker.run(frames), found)?;
                    }
                }
            }
        }
    }
    let received = now.wall;
    work.log
        .accept(store, (engine, key), storing.runs, from.vouched, received)
}

/// What of a batch was stored.
struct Storing<'a> {
    engine: (&'a EngineId, i64),
    /// Whether the engine is the collector: it alone says what became of other engines' sessions.
    own: bool,
    now: Now,
    runs: Vec<Run>,
}

impl Storing<'_> {
    /// Keeps whether the engine stopped, by frames that were placed.
    fn note(
        &self,
        store: &Connection,
        ready: &Ready<'_>,
        found: &mut Vec<Found>,
    ) -> Result<(), CollectorError> {
        // Where nothing stops before the end, the end says what all of them say.
        let before = ready.stops.len().saturating_sub(1);
        let quiet = ready.stops.iter().take(before).all(Option::is_none);
        let skipped = if quiet { before } else { 0 };
        for (frame, stop) in ready.frames.iter().zip(&ready.stops).skip(skipped) {
            note_engine(store, self.engine, frame, *stop, self.now, found)?;
        }
        Ok(())
    }

    /// Stores frames that were placed.
    fn add(
        &mut self,
        store: &Connection,
        work: &mut Work<'_>,
        ready: Ready<'_>,
        found: &mut Vec<Found>,
    ) -> Result<(), CollectorError> {
        ready.allowed?;
        let ((engine, key), now) = (self.engine, self.now);
        self.runs.extend(ready.runs);
        work.events.extend(ready.events);
        let (keys, pending) = (&mut work.keys, &mut work.pending);
        ready
            .counts
            .add_to(&mut pending.sums, store, keys, now.latest())?;
        for block in ready.blocks {
            if block.level == 0 && work.small.iter().all(|(known, _)| *known != key) {
                work.small.push((key, engine.clone()));
            }
            save_block(store, work, (key, now), block)?;
        }
        let keys = &mut work.keys;
        ready.holds.save(store, keys, (key, now.own))?;
        let mut others = HashSet::new();
        for (id, delta) in ready.sessions.iter() {
            match save_session(store, keys, (key, self.own), *id, delta)? {
                Saved::Known => {}
                Saved::Grown => work.pending.sessions.add(*id, delta),
                Saved::New(bytes) => {
                    work.lines += bytes;
                    work.pending.sessions.add(*id, delta);
                }
                Saved::Anothers => {
                    others.insert(*id);
                    let id = SessionId::new(*id);
                    found.push(Found {
                        code: FindingCode::Other,
                        message: format!(
                            "{engine} claims session {id}, which another engine opened"
                        ),
                    });
                }
            }
        }
        ready.seen.save(store, keys, &others, now.own)
    }
}

fn save_block(
    store: &Connection,
    work: &mut Work<'_>,
    (engine, now): (i64, Now),
    block: Block,
) -> Result<(), CollectorError> {
    let first_time = block.index.first_time.unwrap_or_default();
    let id = outgoing::next_id(store)?;
    store
        .prepare_cached(
            "INSERT INTO blocks(engine, epoch, first_seq, last_seq, first_time, last_time,
             previous, hash, level, raw, data, received, id)
             VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)",
        )?
        .execute(params![
            engine,
            block.epoch,
            block.first_seq,
            block.last_seq,
            first_time.as_micros(),
            block.index.last_time.as_micros(),
            block.previous.0,
            block.hash.0,
            block.level,
            block.raw,
            block.data,
            now.own,
            id
        ])?;
    let mentioned = block.index.save(store, &mut work.keys, id)?;
    work.pending.blocks.push((id, mentioned));
    Ok(())
}

/// SQLite's integers are signed.
pub(super) fn signed(id: u64) -> i64 {
    id.cast_signed()
}

/// Keeps whether an engine stopped: an epoch is over with the event that says so. One that goes on all the same
/// has not stopped, and that it said so is a finding.
fn note_engine(
    store: &Connection,
    (engine, key): (&EngineId, i64),
    frame: &Frame,
    stop: Option<u64>,
    now: Now,
    found: &mut Vec<Found>,
) -> Result<(), CollectorError> {
    let epoch = frame.epoch();
    let stopped: bool = store
        .prepare_cached(
            "INSERT INTO engines VALUES (?1, ?2, ?3, ?4, 0) ON CONFLICT(engine) DO UPDATE SET
             stopped = CASE WHEN ?2 < epoch THEN stopped WHEN ?2 > epoch THEN ?4
                       ELSE max(stopped, ?4) END,
             epoch = max(epoch, ?2), seen = max(seen, ?3), silent = 0
             RETURNING stopped AND epoch = ?2",
        )?
        .query_row(params![key, epoch, now.own, stop.is_some()], |row| {
            row.get(0)
        })?;
    if !stopped {
        return Ok(());
    }
    let newest: u64 = store
        .prepare_cached(
            "SELECT last_seq FROM ranges WHERE engine = ?1 AND epoch = ?2
             ORDER BY first_seq DESC LIMIT 1",
        )?
        .query_row(params![key, epoch], |row| row.get(0))?;
    // Late events of before its end close a gap, and say nothing of what it did then.
    let goes_on = match stop {
        Some(stop) => stop < newest,
        None => frame.last_seq() == newest,
    };
    if goes_on {
        store
            .prepare_cached("UPDATE engines SET stopped = 0 WHERE engine = ?1")?
            .execute([key])?;
        found.push(Found {
            code: FindingCode::Other,
            message: format!(
                "engine {engine} said that it had stopped, and went on in the same epoch {epoch}, up to \
                 event {newest}"
            ),
        });
    }
    Ok(())
}

fn report(
    store: &Connection,
    work: &mut Work<'_>,
    (own, about): (&EngineId, &EngineId),
    found: Vec<Found>,
    now: Now,
    keep: bool,
) -> Result<(), CollectorError> {
    let mut round = Round::default();
    round.add(found.into_iter().map(|found| Finding {
        code: found.code,
        message: found.message.into(),
        subject: None,
        engine: Some(about.as_str().into()),
    }));
    let findings = round.take().unwrap_or_default().into_iter();
    let records = findings.map(|finding| Record::engine(now.wall, finding));
    record(store, work, own, records.collect(), now, keep)
}

fn record(
    store: &Connection,
    work: &mut Work<'_>,
    own: &EngineId,
    records: Vec<Record>,
    now: Now,
    keep: bool,
) -> Result<(), CollectorError> {
    if records.is_empty() {
        return Ok(());
    }
    for record in &records {
        if let Body::Finding(finding) = &record.body {
            tracing::warn!(code = ?finding.code, "finding: {}", finding.message);
        }
    }
    let key = work.keys.number_of(store, Kind::Engine, own.as_str())?;
    let last: Option<(u64, [u8; 32])> = store
        .prepare_cached(
            "SELECT last_seq, hash FROM ranges WHERE engine = ?1 AND epoch = 1
             ORDER BY first_seq DESC LIMIT 1",
        )?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (last, previous) = last.map_or((0, genesis(own)), |(seq, hash)| (seq, Hash(hash)));
    let mut builder = FrameBuilder::new(1, last + 1);
    records.iter().for_each(|record| builder.push(record));
    let frames: Vec<Frame> = builder.seal(previous).into_iter().collect();
    let from = Source {
        engine: own,
        vouched: Vouched::Own,
    };
    let mut allow = |_: &Event| Ok(());
    let mut maker = Maker::new(own, keep, &mut allow);
    let ready = maker.all(&frames);
    let found = &mut Vec::new();
    store_frames(store, work, &from, (ready, &mut maker), now, found)
}
