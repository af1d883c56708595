use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weir_audit::{
    Batch, Body, BudgetsReset, ConnectionClosed, ConnectionOpened, Decision, EngineId,
    EngineStarted, EngineStopped, FindingCode, Frame, FrameBuilder, Hash, Heartbeat, Identity,
    Names, Record, Session, SessionId, Statement, StatementFinished, Timestamp, genesis,
};

use super::*;
use crate::OwnSink;
use weir_audit::CollectorSink as _;

mod cluster;
mod files;
mod proof;

const T0: u64 = 1_700_000_000_000_000;

fn engine() -> EngineId {
    "e1".parse().unwrap()
}

fn session(number: u64, identity: &str) -> Arc<Session> {
    Arc::new(Session {
        id: SessionId::new(number),
        identity: Arc::new(Identity::named(identity)),
        target: Some("orders-db".into()),
        ..Session::default()
    })
}

fn statement(n: u64, session: &Arc<Session>, text: &str, decision: Decision) -> Record {
    let statement = Statement {
        number: n,
        text: Some(text.into()),
        decision,
        tables: ["public.customers"].into_iter().collect(),
        labels: if n.is_multiple_of(2) {
            ["pii.ssn"].into_iter().collect()
        } else {
            Names::empty()
        },
        ..Statement::default()
    };
    let finished = StatementFinished {
        statement,
        rows: 3,
        bytes: 10,
        ..Default::default()
    };
    Record::session(
        Timestamp::from_micros(T0 + n),
        Arc::clone(session),
        finished,
    )
}

fn beat(n: u64) -> Record {
    Record::engine(
        Timestamp::from_micros(T0 + n),
        Heartbeat { open_sessions: n },
    )
}

/// Seals records into frames of `per` events each.
fn chain(epoch: u32, previous: Hash, per: usize, records: &[Record]) -> Vec<Frame> {
    let (mut previous, mut first) = (previous, 1);
    let mut frames = Vec::new();
    for records in records.chunks(per) {
        let mut builder = FrameBuilder::new(epoch, first);
        records.iter().for_each(|record| builder.push(record));
        let frame = builder.seal(previous).unwrap();
        previous = frame.hash();
        first = frame.last_seq() + 1;
        frames.push(frame);
    }
    frames
}

fn send(store: &Collector, frames: &[Frame]) -> Ack {
    hand_in(store, &engine(), frames).unwrap()
}

/// Hands in as an engine does: signed with its own key, run by run.
fn hand_in(
    store: &Collector,
    engine: &EngineId,
    frames: &[Frame],
) -> Result<Ack, weir_audit::SinkError> {
    let batch = Batch {
        engine: engine.clone(),
        frames: frames.to_vec(),
    };
    let sink = {
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        OwnSink::open(store.clone(), keys(), engine).unwrap()
    };
    sink.ingest(&batch)
}

/// Where the keys of all tests' engines are.
fn keys() -> &'static std::path::Path {
    static KEYS: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    KEYS.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

fn fresh() -> (tempfile::TempDir, Collector) {
    let dir = tempfile::tempdir().unwrap();
    let config = CollectorConfig {
        max_age: None,
        ..CollectorConfig::default()
    };
    let store = Collector::open(dir.path(), config).unwrap();
    (dir, store)
}

fn findings(store: &Collector) -> Vec<FindingCode> {
    let filter = Filter {
        kind: Some("finding".into()),
        ..Filter::default()
    };
    let code = |event: &Event| match &event.body {
        Body::Finding(finding) => finding.code,
        other => panic!("{other:?}"),
    };
    let mut codes: Vec<_> = store
        .query(&filter)
        .unwrap()
        .events
        .iter()
        .map(code)
        .collect();
    codes.reverse();
    codes
}

fn count(store: &Collector) -> usize {
    let filter = Filter {
        kind: Some("heartbeat".into()),
        limit: Some(10_000),
        ..Filter::default()
    };
    store.query(&filter).unwrap().events.len()
}

#[test]
fn duplicates_are_acknowledged_and_ignored() {
    let (_dir, store) = fresh();
    let frames = chain(
        1,
        genesis(&engine()),
        3,
        &(0..30).map(beat).collect::<Vec<_>>(),
    );
    for _ in 0..3 {
        assert_eq!(send(&store, &frames), Ack { epoch: 1, seq: 30 });
        assert_eq!(send(&store, &frames[4..5]), Ack { epoch: 1, seq: 15 });
    }
    assert_eq!(count(&store), 30);
    assert_eq!(findings(&store), []);
    assert!(store.verify().unwrap().ok);
}

#[test]
fn a_gap_is_found_when_it_opens_and_when_late_events_close_it() {
    let (_dir, store) = fresh();
    let frames = chain(
        1,
        genesis(&engine()),
        5,
        &(0..40).map(beat).collect::<Vec<_>>(),
    );
    send(&store, &frames[..2]);
    send(&store, &frames[4..6]);
    assert_eq!(findings(&store), [FindingCode::Gap]);
    let report = store.verify().unwrap();
    assert!(!report.ok, "{report:?}");
    send(&store, &frames[3..4]);
    assert_eq!(
        findings(&store),
        [FindingCode::Gap, FindingCode::Gap, FindingCode::GapClosed]
    );
    send(&store, &frames[2..3]);
    send(&store, &frames[6..]);
    assert_eq!(findings(&store).last(), Some(&FindingCode::GapClosed));
    assert_eq!(count(&store), 40);
    let report = store.verify().unwrap();
    assert!(report.ok, "{report:?}");
}

#[test]
fn batches_in_any_order_end_in_the_same_record() {
    let frames = chain(
        1,
        genesis(&engine()),
        4,
        &(0..32).map(beat).collect::<Vec<_>>(),
    );
    for turn in 0..24 {
        let (_dir, store) = fresh();
        let mut order: Vec<usize> = (0..frames.len()).collect();
        // A different permutation each turn.
        for place in (1..order.len()).rev() {
            order.swap(place, (turn * 7 + place * 13) % (place + 1));
        }
        for place in order {
            send(&store, &frames[place..=place]);
        }
        assert_eq!(count(&store), 32);
        let report = store.verify().unwrap();
        assert!(report.ok, "{report:?}");
    }
}

#[test]
fn a_frame_of_another_history_breaks_the_chain_and_is_reported() {
    let (_dir, store) = fresh();
    let records: Vec<_> = (0..20).map(beat).collect();
    let mut frames = chain(1, genesis(&engine()), 5, &records);
    let mut other = records.clone();
    other[3] = beat(99);
    frames[2] = chain(1, genesis(&engine()), 5, &other)[2].clone();
    send(&store, &frames[..3]);
    assert_eq!(findings(&store), [FindingCode::ChainBroken]);
    assert!(!store.verify().unwrap().ok);
}

#[test]
fn a_new_epoch_must_continue_the_old_one() {
    let (_dir, store) = fresh();
    let first = chain(
        1,
        genesis(&engine()),
        5,
        &(0..10).map(beat).collect::<Vec<_>>(),
    );
    let second = chain(
        2,
        first[1].hash(),
        5,
        &(0..10).map(beat).collect::<Vec<_>>(),
    );
    send(&store, &first);
    send(&store, &second);
    assert_eq!(findings(&store), []);
    let third = chain(3, Hash([7; 32]), 5, &[beat(1)]);
    send(&store, &third);
    assert_eq!(findings(&store), [FindingCode::Gap]);
    let report = store.verify().unwrap();
    let engine = report
        .engines
        .iter()
        .find(|report| report.engine == engine())
        .unwrap();
    assert_eq!((engine.epochs, engine.problems.len()), (3, 1), "{report:?}");
    assert!(engine.problems[0].contains("missing epoch 2 events 11"));
}

#[test]
fn what_is_altered_or_removed_at_rest_is_found() {
    let (dir, store) = fresh();
    let frames = chain(
        1,
        genesis(&engine()),
        100,
        &(0..3000).map(beat).collect::<Vec<_>>(),
    );
    for frames in frames.chunks(10) {
        send(&store, frames);
    }
    assert!(store.verify().unwrap().ok);
    let direct = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
    let alter = |sql: &str| {
        direct.execute_batch("SAVEPOINT s").unwrap();
        direct.execute_batch(sql).unwrap();
        direct.execute_batch("RELEASE s").unwrap();
    };
    let row = "(SELECT id FROM blocks ORDER BY first_seq LIMIT 1 OFFSET 1)";
    direct
        .execute_batch("CREATE TABLE kept AS SELECT * FROM blocks")
        .unwrap();
    for sql in [
        format!("DELETE FROM blocks WHERE id = {row}"),
        "DELETE FROM blocks WHERE first_seq = (SELECT max(first_seq) FROM blocks)".to_owned(),
        format!(
            "UPDATE blocks SET data = (SELECT data FROM blocks WHERE id <> {row} LIMIT 1) WHERE id = {row}"
        ),
        format!("UPDATE blocks SET data = x'00' WHERE id = {row}"),
    ] {
        alter(&sql);
        assert!(!store.verify().unwrap().ok, "{sql}");
        alter("DELETE FROM blocks; INSERT INTO blocks SELECT * FROM kept");
        assert!(store.verify().unwrap().ok);
    }
    // One event changed by somebody who packs the block again.
    let (id, raw, data): (i64, i64, Vec<u8>) = direct
        .query_row(
            &format!("SELECT id, raw, data FROM blocks WHERE id = {row}"),
            [],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
        )
        .unwrap();
    let mut bytes = schema::unpack(id, raw, &data).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    let data = zstd::bulk::compress(&bytes, 3).unwrap();
    direct
        .execute(
            "UPDATE blocks SET data = ?1 WHERE id = ?2",
            rusqlite::params![data, id],
        )
        .unwrap();
    let report = store.verify().unwrap();
    assert!(
        !report.ok && report.engines[0].problems.len() < 10,
        "{report:?}"
    );
}

#[test]
fn every_filter_finds_what_it_names_and_nothing_else() {
    let (_dir, store) = fresh();
    let (a, b) = (session(1, "reporter"), session(2, "importer"));
    let records: Vec<Record> = (0..200)
        .map(|n| {
            let session = if n % 4 == 0 { &b } else { &a };
            let decision = if n % 10 == 0 {
                Decision::Deny
            } else {
                Decision::Permit
            };
            statement(n, session, &format!("SELECT {n} FROM Customers"), decision)
        })
        .collect();
    for frame in chain(1, genesis(&engine()), 7, &records) {
        send(&store, &[frame]);
    }
    let find = |filter: Filter| {
        let page = store
            .query(&Filter {
                limit: Some(1000),
                ..filter
            })
            .unwrap();
        let numbers: Vec<u64> = page
            .events
            .iter()
            .map(|event| match &event.body {
                Body::StatementFinished(finished) => finished.statement.number,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(numbers.is_sorted_by(|a, b| a > b), "newest first");
        numbers.len()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(find(Filter::default()), 200);
    assert_eq!(
        find(Filter {
            identity: some("importer"),
            ..Filter::default()
        }),
        50
    );
    assert_eq!(
        find(Filter {
            identity: some("nobody"),
            ..Filter::default()
        }),
        0
    );
    assert_eq!(
        find(Filter {
            target: some("orders-db"),
            ..Filter::default()
        }),
        200
    );
    assert_eq!(
        find(Filter {
            table: some("public.customers"),
            ..Filter::default()
        }),
        200
    );
    assert_eq!(
        find(Filter {
            label: some("pii.ssn"),
            ..Filter::default()
        }),
        100
    );
    assert_eq!(
        find(Filter {
            label: some("pii.*"),
            ..Filter::default()
        }),
        100
    );
    assert_eq!(
        find(Filter {
            decision: some("deny"),
            ..Filter::default()
        }),
        20
    );
    assert_eq!(
        find(Filter {
            text: some("select 17 from CUST"),
            ..Filter::default()
        }),
        1
    );
    assert_eq!(
        find(Filter {
            text: some("drop"),
            ..Filter::default()
        }),
        0
    );
    assert_eq!(
        find(Filter {
            session: Some(SessionId::new(2)),
            ..Filter::default()
        }),
        50
    );
    assert_eq!(
        find(Filter {
            since: Some(Timestamp::from_micros(T0 + 50)),
            until: Some(Timestamp::from_micros(T0 + 60)),
            ..Filter::default()
        }),
        10
    );
    let both = Filter {
        decision: some("deny"),
        identity: some("reporter"),
        ..Filter::default()
    };
    assert_eq!(find(both), 10);
}

#[test]
fn pages_cover_everything_once() {
    let (_dir, store) = fresh();
    let a = session(1, "reporter");
    // Equal times: the identity of the event decides the order.
    let records: Vec<Record> = (0..103)
        .map(|n| Record {
            at: Timestamp::from_micros(T0 + n / 10),
            ..statement(n, &a, "x", Decision::Permit)
        })
        .collect();
    for frame in chain(1, genesis(&engine()), 9, &records) {
        send(&store, &[frame]);
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = store
            .query(&Filter {
                limit: Some(10),
                cursor,
                ..Filter::default()
            })
            .unwrap();
        seen.extend(page.events.iter().map(|event| event.id.seq));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=103).rev().collect::<Vec<_>>());
    let bad = Filter {
        cursor: Some("x".into()),
        ..Filter::default()
    };
    assert!(matches!(store.query(&bad), Err(CollectorError::Cursor)));
}

#[test]
fn a_session_adds_up_over_batches_and_replays_in_order() {
    let (_dir, store) = fresh();
    let (a, b) = (session(1, "reporter"), session(2, "importer"));
    let mut records = vec![Record::session(
        Timestamp::from_micros(T0),
        Arc::clone(&a),
        ConnectionOpened::default(),
    )];
    for n in 1..50 {
        records.push(statement(
            n,
            if n % 5 == 0 { &b } else { &a },
            "x",
            Decision::Deny,
        ));
    }
    let closed = ConnectionClosed {
        reason: "client closed".into(),
        ..Default::default()
    };
    records.push(Record::session(
        Timestamp::from_micros(T0 + 60),
        Arc::clone(&a),
        closed,
    ));
    for frame in chain(1, genesis(&engine()), 4, &records) {
        send(&store, std::slice::from_ref(&frame));
        send(&store, &[frame]);
    }
    let page = store.sessions(&SessionFilter::default()).unwrap();
    assert_eq!(page.sessions.len(), 2);
    let filter = SessionFilter {
        identity: Some("reporter".into()),
        ..Default::default()
    };
    let found = store.sessions(&filter).unwrap().sessions.pop().unwrap();
    assert_eq!(
        (found.statements, found.rows, found.bytes, found.denials),
        (40, 120, 400, 40)
    );
    assert_eq!(found.outcome.as_deref(), Some("client closed"));
    assert_eq!(found.opened, Timestamp::from_micros(T0));
    let mut seqs = Vec::new();
    store
        .replay(a.id, None, &mut |event| {
            seqs.push(event.id.seq);
            true
        })
        .unwrap();
    assert_eq!(seqs.len(), 42);
    assert!(seqs.is_sorted());
    let missing = store.replay(SessionId::new(9), None, &mut |_| true);
    assert!(matches!(missing, Err(CollectorError::NoSession(_))));
}

#[test]
fn unclosed_sessions_and_silent_engines_become_findings_once() {
    let (_dir, store) = fresh();
    let now = Timestamp::from(SystemTime::now());
    let opened = Record::session(now, session(1, "reporter"), ConnectionOpened::default());
    let first = chain(1, genesis(&engine()), 9, &[opened]);
    send(&store, &first);
    store.maintain().unwrap();
    assert_eq!(findings(&store), [], "it may still be closed");
    let started = EngineStarted {
        version: "1".into(),
        previous: None,
    };
    send(
        &store,
        &chain(2, first[0].hash(), 9, &[Record::engine(now, started)]),
    );
    store.maintain().unwrap();
    store.maintain().unwrap();
    assert_eq!(findings(&store), [FindingCode::UnclosedSession]);
    let later = now.plus(Duration::from_secs(3600));
    for _ in 0..2 {
        store.writer().maintain(&store.inner.config, later).unwrap();
    }
    assert_eq!(
        findings(&store),
        [FindingCode::UnclosedSession, FindingCode::EngineSilent]
    );
}

#[test]
fn an_engine_that_stopped_in_order_is_not_silent() {
    let (_dir, store) = fresh();
    let now = Timestamp::from(SystemTime::now());
    send(
        &store,
        &chain(
            1,
            genesis(&engine()),
            9,
            &[Record::engine(now, EngineStopped {})],
        ),
    );
    let later = now.plus(Duration::from_secs(3600));
    store.writer().maintain(&store.inner.config, later).unwrap();
    assert_eq!(findings(&store), []);
}

#[test]
fn slow_traffic_is_merged_into_large_blocks_and_still_verifies() {
    let (dir, store) = fresh();
    let a = session(1, "reporter");
    let records: Vec<Record> = (0..3000)
        .map(|n| statement(n, &a, "select 1", Decision::Permit))
        .collect();
    for frame in chain(1, genesis(&engine()), 1, &records) {
        send(&store, &[frame]);
    }
    let direct = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
    let blocks: i64 = direct
        .query_row("SELECT count(*) FROM blocks", [], |row| row.get(0))
        .unwrap();
    assert!(blocks < 100, "{blocks} blocks");
    assert!(store.verify().unwrap().ok);
    let filter = Filter {
        label: Some("pii.ssn".into()),
        limit: Some(10_000),
        ..Filter::default()
    };
    assert_eq!(store.query(&filter).unwrap().events.len(), 1500);
}

#[test]
fn retention_drops_the_oldest_and_what_stays_still_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let config = CollectorConfig {
        max_age: Some(Duration::from_secs(3600)),
        max_bytes: 400_000,
        ..CollectorConfig::default()
    };
    let store = Collector::open(dir.path(), config).unwrap();
    let now = Timestamp::from(SystemTime::now());
    let noise = |n: u64| -> Arc<str> {
        (0..40u64)
            .map(|k| {
                format!(
                    "{:016x}",
                    (n * 41 + k + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                )
            })
            .collect::<String>()
            .into()
    };
    let records: Vec<Record> = (0..2000)
        .map(|n| {
            let at = now.minus(Duration::from_secs(7200 - n * 3));
            Record::engine(at, BudgetsReset { operator: noise(n) })
        })
        .collect();
    let frames = chain(1, genesis(&engine()), 20, &records);
    frames.chunks(5).for_each(|frames| {
        send(&store, frames);
    });
    store.maintain().unwrap();
    let all = Filter {
        limit: Some(10_000),
        ..Filter::default()
    };
    let left = store.query(&all).unwrap().events;
    let oldest = left.last().unwrap().time;
    assert!(!left.is_empty() && left.len() < 1000, "{}", left.len());
    assert!(oldest >= now.minus(Duration::from_secs(3600 + 400)));
    assert!(store.writer().maintain(&store.inner.config, now).is_ok());
    let report = store.verify().unwrap();
    assert!(report.ok && report.engines[0].pruned, "{report:?}");
    // What was dropped is not taken again.
    send(&store, &frames[..1]);
    assert_eq!(store.query(&all).unwrap().events.len(), left.len());
}

#[test]
fn many_threads_ingest_and_read_at_once() {
    let (_dir, store) = fresh();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                let engine: EngineId = format!("engine_{n}").parse().unwrap();
                let frames = chain(
                    1,
                    genesis(&engine),
                    5,
                    &(0..200).map(beat).collect::<Vec<_>>(),
                );
                for frame in frames {
                    let batch = Batch {
                        engine: engine.clone(),
                        frames: vec![frame],
                    };
                    hand_in(&store, &batch.engine, &batch.frames).unwrap();
                    hand_in(&store, &batch.engine, &batch.frames).unwrap();
                }
            });
        }
        let store = store.clone();
        scope.spawn(move || {
            for _ in 0..20 {
                assert!(store.verify().unwrap().ok);
                count(&store);
            }
        });
    });
    assert_eq!(count(&store), 800);
    assert_eq!(findings(&store), []);
}

#[test]
fn an_acknowledged_event_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let frames = chain(
        1,
        genesis(&engine()),
        5,
        &(0..10).map(beat).collect::<Vec<_>>(),
    );
    let store = Collector::open(dir.path(), CollectorConfig::default()).unwrap();
    send(&store, &frames);
    // As kill -9 leaves it: nothing is closed; the files as they are, WAL included.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let again = Collector::open(copy.path(), CollectorConfig::default()).unwrap();
    assert_eq!(count(&again), 10);
    assert!(again.verify().unwrap().ok);
}

#[tokio::test]
async fn tail_hears_what_is_committed() {
    let (_dir, store) = fresh();
    let mut tail = store.tail();
    let frames = chain(
        1,
        genesis(&engine()),
        5,
        &(0..10).map(beat).collect::<Vec<_>>(),
    );
    send(&store, &frames);
    assert_eq!(tail.recv().await.unwrap().len(), 10);
    send(&store, &frames);
    assert!(tail.try_recv().is_err(), "nothing new");
}
