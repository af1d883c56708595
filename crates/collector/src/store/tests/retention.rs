//! What is deleted, when, and by whose clock.

use super::clock::tests::Hands;
use super::*;

const NOW: u64 = 1_800_000_000;
const HOUR: u64 = 3600;
const YEAR: u64 = 365 * 24 * HOUR;

fn kept_for(max_age: Duration) -> CollectorConfig {
    CollectorConfig {
        max_age: Some(max_age),
        ..CollectorConfig::default()
    }
}

pub(super) fn open(dir: &std::path::Path, max_age: Duration, hands: &Hands) -> Collector {
    Collector::open_by(dir, kept_for(max_age), Box::new(hands.clone())).unwrap()
}

fn seconds(at: u64) -> Timestamp {
    Timestamp::from_micros(at * 1_000_000)
}

/// A session of one statement, all at one time by the engine's clock.
fn told_at(number: u64, time: Timestamp) -> Vec<Record> {
    let session = session(number, "reporter");
    let mut told = vec![
        Record::session(time, Arc::clone(&session), ConnectionOpened::default()),
        statement(number, &session, "select 1", Decision::Permit),
        Record::session(time, session, ConnectionClosed::default()),
    ];
    for record in &mut told {
        record.at = time;
    }
    told
}

/// Events but the collector's own, sessions, and statements in the sums.
fn left(store: &Collector) -> (usize, usize, u64) {
    let filter = Filter {
        target: Some("orders-db".into()),
        limit: Some(10_000),
        ..Filter::default()
    };
    let far = Timestamp::from_micros(u64::MAX);
    let sums = store.overview(Timestamp::default(), far, None).unwrap();
    assert!(store.verify().unwrap().ok);
    (
        store.query(&filter).unwrap().events.len(),
        store
            .sessions(&SessionFilter {
                limit: Some(10_000),
                ..SessionFilter::default()
            })
            .unwrap()
            .sessions
            .len(),
        sums.traffic.iter().map(|line| line.statements).sum(),
    )
}

#[test]
fn an_engines_clock_has_no_say_in_how_long_its_evidence_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::at(NOW);
    let store = open(dir.path(), 90 * DAY, &hands);
    for (number, time) in [NOW, NOW + 10 * YEAR, NOW - 10 * YEAR, 0]
        .into_iter()
        .enumerate()
    {
        let engine: EngineId = format!("e{number}").parse().unwrap();
        let records = told_at(number as u64 + 1, seconds(time));
        hand_in(&store, &engine, &chain(1, genesis(&engine), 9, &records)).unwrap();
    }
    for _ in 0..89 {
        hands.pass(24 * HOUR);
        store.maintain().unwrap();
        assert_eq!(left(&store), (12, 4, 4));
    }
    for _ in 0..3 {
        hands.pass(24 * HOUR);
        store.maintain().unwrap();
    }
    assert_eq!(left(&store), (0, 0, 0));
}

#[test]
fn slow_traffic_is_kept_no_longer_than_other_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::at(NOW);
    let store = open(dir.path(), 90 * DAY, &hands);
    let engine = engine();
    let records: Vec<Record> = (0..1200)
        .flat_map(|n| told_at(n + 1, seconds(NOW)))
        .collect();
    // Twenty sessions on each of sixty days, each handed in alone.
    for frame in chain(1, genesis(&engine), 3, &records) {
        hand_in(&store, &engine, &[frame]).unwrap();
        hands.pass(24 * HOUR / 20);
    }
    for day in 1..=90 {
        hands.pass(24 * HOUR);
        store.maintain().unwrap();
        let left = left(&store).1;
        let due = 20 * (90 - day).min(60);
        assert!(
            (due..=due + 40).contains(&left),
            "{left}, not {due}, after {day} days"
        );
    }
}

#[test]
fn a_clock_that_jumps_deletes_nothing_early_and_keeps_nothing_for_ever() {
    for there in [NOW + YEAR, NOW - YEAR, 300_000_000] {
        let dir = tempfile::tempdir().unwrap();
        let hands = Hands::at(NOW);
        let store = open(dir.path(), 90 * DAY, &hands);
        let first = chain(1, genesis(&engine()), 9, &told_at(1, seconds(NOW)));
        send(&store, &first);
        hands.set(there);
        for _ in 0..10 {
            hands.pass(10);
            store.maintain().unwrap();
        }
        assert_eq!(left(&store), (3, 1, 1), "{there}");
        assert_eq!(findings(&store), [FindingCode::ClockSkew]);
        assert!(store.clock_offset().unsigned_abs() >= YEAR);
        // What comes meanwhile is kept as long as the rest.
        let second = chain(2, first[0].hash(), 9, &told_at(2, seconds(NOW + 60)));
        send(&store, &second);
        hands.set(NOW + 100);
        store.maintain().unwrap();
        assert_eq!((left(&store), store.clock_offset()), ((6, 2, 2), 0));
        assert_eq!(findings(&store), [FindingCode::ClockSkew]);
        hands.pass(89 * 24 * HOUR);
        store.maintain().unwrap();
        assert_eq!(left(&store), (6, 2, 2));
        hands.pass(3 * 24 * HOUR);
        store.maintain().unwrap();
        assert_eq!(left(&store), (0, 0, 0));
    }
}

#[test]
fn a_start_with_a_wrong_clock_deletes_nothing_early_and_keeps_nothing_for_ever() {
    for there in [NOW + YEAR, NOW - YEAR, 0] {
        let dir = tempfile::tempdir().unwrap();
        let hands = Hands::at(NOW);
        let store = open(dir.path(), 90 * DAY, &hands);
        send(
            &store,
            &chain(1, genesis(&engine()), 9, &told_at(1, seconds(NOW))),
        );
        drop(store);
        hands.set(there);
        let store = open(dir.path(), 90 * DAY, &hands);
        assert_eq!(findings(&store), [FindingCode::ClockSkew]);
        // It is believed after a day, and that makes nothing older.
        for _ in 0..88 {
            hands.pass(24 * HOUR);
            store.maintain().unwrap();
        }
        assert_eq!(
            (left(&store), store.clock_offset()),
            ((3, 1, 1), 0),
            "{there}"
        );
        drop(store);
        let store = open(dir.path(), 90 * DAY, &hands);
        store.maintain().unwrap();
        assert_eq!(left(&store), (3, 1, 1), "{there}");
        for _ in 0..4 {
            hands.pass(24 * HOUR);
            store.maintain().unwrap();
        }
        assert_eq!(left(&store), (0, 0, 0), "{there}");
    }
}

#[test]
fn no_engine_falls_silent_because_the_collectors_clock_jumped() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::at(NOW);
    let store = open(dir.path(), 90 * DAY, &hands);
    let opened = Record::session(
        seconds(NOW),
        session(1, "reporter"),
        ConnectionOpened::default(),
    );
    send(&store, &chain(1, genesis(&engine()), 9, &[opened]));
    hands.set(NOW + YEAR);
    store.maintain().unwrap();
    assert_eq!(findings(&store), [FindingCode::ClockSkew]);
}

#[test]
fn what_came_late_into_a_chain_holds_back_what_follows_it_and_no_other_chain() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::at(NOW);
    let store = open(dir.path(), 90 * DAY, &hands);
    let records: Vec<Record> = (0..30).map(beat).collect();
    let frames = chain(1, genesis(&engine()), 10, &records);
    let other: EngineId = "other".parse().unwrap();
    send(&store, &frames[1..]);
    hand_in(
        &store,
        &other,
        &chain(1, genesis(&other), 10, &records[..10]),
    )
    .unwrap();
    hands.pass(24 * HOUR);
    send(&store, &frames[..1]);
    hands.pass(89 * 24 * HOUR + 60);
    store.maintain().unwrap();
    assert_eq!(count(&store), 30, "the other chain is gone");
    hands.pass(24 * HOUR);
    store.maintain().unwrap();
    assert_eq!(count(&store), 0);
    assert!(store.verify().unwrap().ok);
}

#[test]
fn retention_drops_the_oldest_and_what_stays_still_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::at(NOW);
    let config = CollectorConfig {
        max_bytes: 480_000,
        ..kept_for(Duration::from_secs(HOUR))
    };
    let store = Collector::open_by(dir.path(), config, Box::new(hands.clone())).unwrap();
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
        .map(|n| Record::engine(seconds(NOW + n * 3), BudgetsReset { operator: noise(n) }))
        .collect();
    let frames = chain(1, genesis(&engine()), 20, &records);
    frames.chunks(5).for_each(|frames| {
        send(&store, frames);
        hands.pass(300);
    });
    store.maintain().unwrap();
    let all = Filter {
        limit: Some(10_000),
        ..Filter::default()
    };
    let left = store.query(&all).unwrap().events;
    let oldest = left.last().unwrap().time;
    assert!(!left.is_empty() && left.len() < 1000, "{}", left.len());
    assert!(oldest >= seconds(NOW + 6000 - HOUR - 400));
    store.maintain().unwrap();
    let report = store.verify().unwrap();
    assert!(report.ok && report.engines[1].pruned, "{report:?}");
    // What was dropped is not taken again.
    send(&store, &frames[..1]);
    assert_eq!(store.query(&all).unwrap().events.len(), left.len());
}

#[test]
fn an_older_store_learns_from_its_log_when_its_evidence_came() {
    let (dir, store) = fresh();
    for (number, time) in [5, NOW, 10 * NOW].into_iter().enumerate() {
        let engine: EngineId = format!("e{number}").parse().unwrap();
        let records = told_at(number as u64 + 1, seconds(time));
        hand_in(&store, &engine, &chain(1, genesis(&engine), 1, &records)).unwrap();
    }
    drop(store);
    let received = |direct: &rusqlite::Connection| -> Vec<(i64, i64)> {
        let mut select = direct.prepare("SELECT id, received FROM blocks").unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    };
    let direct = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
    let before = received(&direct);
    assert!(before.len() >= 3);
    direct.execute_batch(BEFORE_RECEIVED).unwrap();
    drop(direct);
    let store = Collector::open(dir.path(), kept_for(90 * DAY)).unwrap();
    store.maintain().unwrap();
    // The sums of the engine whose clock is behind go, as they did.
    assert_eq!(left(&store), (9, 3, 2));
    assert_eq!(received(&store.reader().unwrap()), before);
}
