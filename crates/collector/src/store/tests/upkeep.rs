//! Merging, and what becomes a finding by itself.

use super::*;

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
        store
            .writer()
            .maintain(&store.inner.config, at(later))
            .unwrap();
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
    store
        .writer()
        .maintain(&store.inner.config, at(later))
        .unwrap();
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

/// Each of these makes the collector unready for everybody, so it must be the store that failed.
#[test]
fn only_a_failure_of_the_store_itself_says_that_it_keeps_nothing() {
    let (_dir, store) = fresh();
    let writable = store.writable();
    let failed = |error: CollectorError| {
        store.wrote::<()>(Err(error)).unwrap_err();
        !*writable.borrow()
    };
    let unkept = rusqlite::Error::ToSqlConversionFailure("too large".into());
    assert!(!failed(unkept.into()));
    let unread = rusqlite::Error::IntegralValueOutOfRange(0, -1);
    assert!(!failed(unread.into()));
    assert!(!failed(CollectorError::Refused("forged".into())));
    let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
    assert!(failed(rusqlite::Error::SqliteFailure(full, None).into()));
    store.probe().unwrap();
    assert!(*writable.borrow());
    assert!(failed(std::io::Error::other("no").into()));
}
