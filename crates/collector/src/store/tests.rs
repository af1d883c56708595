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

mod backlog;
mod bundle;
mod chain;
mod cluster;
mod files;
mod find;
mod forged;
mod outgoing;
mod overview;
mod proof;
mod ready;
mod report;
mod retention;
mod seen;
mod upkeep;

const DAY: Duration = Duration::from_secs(24 * 3600);
const T0: u64 = 1_700_000_000_000_000;

/// Makes a store what version 2 left.
const BEFORE_SUMS: &str = "
DROP TABLE daily; DROP TABLE daily_labels; DROP TABLE daily_tables; DROP TABLE daily_rules;
DROP TABLE daily_findings; DROP TABLE holds; DROP TABLE rulings; DROP TABLE block_index;
DROP INDEX sessions_identity; DROP INDEX blocks_received; ALTER TABLE blocks DROP COLUMN received;
DELETE FROM block_keys WHERE key IN (SELECT id FROM keys WHERE kind > 7);
DELETE FROM keys WHERE kind > 7; PRAGMA user_version = 2;";

/// Makes a store what version 4 left.
const BEFORE_RECEIVED: &str = "
DROP INDEX blocks_received; ALTER TABLE blocks DROP COLUMN received;
DROP INDEX holds_received; ALTER TABLE holds DROP COLUMN received;
ALTER TABLE daily DROP COLUMN received; ALTER TABLE daily_labels DROP COLUMN received;
ALTER TABLE daily_tables DROP COLUMN received; ALTER TABLE daily_rules DROP COLUMN received;
ALTER TABLE daily_findings DROP COLUMN received; DELETE FROM meta WHERE name = 'clock';
PRAGMA user_version = 4;";

/// That moment, by clocks that agree.
fn at(time: Timestamp) -> clock::Now {
    clock::Now {
        wall: time,
        own: i64::try_from(time.as_micros()).unwrap(),
        meant: time,
    }
}

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
