//! Merging, and what becomes a finding by itself.

use super::cluster::opened;
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
fn an_engine_that_goes_on_after_it_said_that_it_stopped_is_found_and_can_fall_silent() {
    let now = Timestamp::from(SystemTime::now());
    let stop = || Record::engine(now, EngineStopped {});
    let beat = || Record::engine(now, Heartbeat::default());
    let later = now.plus(Duration::from_secs(3600));
    // In the frame of its end, and in a later one; as a whole, and where the beginning is known.
    for (known, per, records) in [
        (1, 9, vec![beat(), stop(), beat()]),
        (1, 1, vec![beat(), stop(), beat()]),
        (0, 1, vec![beat(), stop(), beat()]),
        (1, 1, vec![stop(), beat(), stop(), beat(), beat()]),
        (0, 1, vec![stop(), beat(), stop(), beat(), beat()]),
    ] {
        let (_dir, store) = fresh();
        let frames = chain(1, genesis(&engine()), per, &records);
        let ends = records.len() / 2;
        for frames in [&frames[..known], &frames] {
            let batch = Batch {
                engine: engine(),
                frames: frames.to_vec(),
            };
            store.ingest(&batch).unwrap();
        }
        let found = findings(&store);
        assert_eq!(found, vec![FindingCode::Other; ends], "{known} {per}");
        store
            .writer()
            .maintain(&store.inner.config, at(later))
            .unwrap();
        assert_eq!(findings(&store).last(), Some(&FindingCode::EngineSilent));
    }
    // One that says it again has stopped; so has one of which earlier events come late, or another epoch.
    let (_dir, store) = fresh();
    let frames = chain(1, genesis(&engine()), 1, &[beat(), beat(), stop()]);
    send(&store, &frames[2..]);
    send(&store, &frames[..2]);
    let next = chain(2, frames[2].hash(), 1, &[beat(), stop()]);
    send(&store, &next);
    send(&store, &next);
    let found = findings(&store);
    assert!(!found.contains(&FindingCode::Other), "{found:?}");
    store
        .writer()
        .maintain(&store.inner.config, at(later))
        .unwrap();
    assert_eq!(findings(&store), found);
}

/// A frame has a text once for any number of sessions.
#[test]
fn the_line_of_a_session_is_short_however_long_what_is_said_of_it() {
    let (dir, store) = fresh();
    let long: Arc<str> = "ä".repeat(1000).into();
    let names: Names = (0..500).map(|n| format!("group-{n}")).collect();
    let told = Arc::new(Session {
        identity: Arc::new(Identity {
            groups: names.clone(),
            images: names,
            owner: Some(Arc::clone(&long)),
            ..Identity::named("a")
        }),
        application: Some(Arc::clone(&long)),
        database: Some(Arc::clone(&long)),
        ..Session::clone(&session(1, "a"))
    });
    let closed = ConnectionClosed {
        reason: Arc::clone(&long),
        ..ConnectionClosed::default()
    };
    let time = Timestamp::from_micros(T0);
    let records = [
        opened(1, &told),
        Record::session(time, Arc::clone(&told), closed),
    ];
    send(&store, &chain(1, genesis(&engine()), 9, &records));
    let direct = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
    let bytes: usize = direct
        .query_row(
            "SELECT length(CAST(context AS BLOB)) + length(CAST(outcome AS BLOB)) FROM sessions",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(bytes < 5000, "{bytes}");
    let lines = store.sessions(&SessionFilter::default()).unwrap().sessions;
    let line = &lines[0].session;
    assert!(line.database.as_deref().unwrap().ends_with("ä…"));
    assert_eq!(line.identity.groups.iter().next(), Some("group-0"));
    let rest = line.identity.groups.iter().last().unwrap();
    assert!(rest.starts_with("… and "), "{rest}");
    // The events have all of it.
    let events = store.query(&Filter::default()).unwrap().events;
    assert!(
        events
            .iter()
            .all(|event| event.session.as_ref() == Some(&told))
    );
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
