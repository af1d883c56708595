//! What is written for many blocks at once: it is found and counted before, and once.

use super::*;

const IDENTITIES: u64 = 5;

/// Six events in a batch, of sessions that take turns.
fn batches(count: u64) -> Vec<Frame> {
    let records: Vec<Record> = (0..count * 6)
        .map(|n| {
            let who = n % IDENTITIES;
            let session = session(100 + who, &format!("identity{who}"));
            let decision = if n.is_multiple_of(7) {
                Decision::Deny
            } else {
                Decision::Permit
            };
            statement(n, &session, &format!("select {n}"), decision)
        })
        .collect();
    chain(1, genesis(&engine()), 6, &records)
}

fn send_each(store: &Collector, frames: &[Frame]) {
    for frame in frames {
        send(store, std::slice::from_ref(frame));
    }
}

/// Everything that the sums say, and what searches by what blocks are about find.
fn said(store: &Collector) -> (String, Vec<usize>) {
    let of = |identity: &str| Filter {
        identity: Some(identity.into()),
        limit: Some(10_000),
        ..Filter::default()
    };
    let mut found: Vec<usize> = (0..IDENTITIES)
        .map(|n| {
            store
                .query(&of(&format!("identity{n}")))
                .unwrap()
                .events
                .len()
        })
        .collect();
    let denied = Filter {
        decision: Some("deny".into()),
        table: Some("public.customers".into()),
        ..of("identity1")
    };
    found.push(store.query(&denied).unwrap().events.len());
    let by_session = Filter {
        session: Some(SessionId::new(101)),
        limit: Some(10_000),
        ..Filter::default()
    };
    found.push(store.query(&by_session).unwrap().events.len());
    let lines = store.sessions(&SessionFilter::default()).unwrap().sessions;
    found.extend(
        lines
            .iter()
            .map(|line| usize::try_from(line.statements).unwrap()),
    );
    let mut replayed = 0;
    let take = &mut |_| {
        replayed += 1;
        true
    };
    store.replay(SessionId::new(101), None, take).unwrap();
    found.push(replayed);
    (said_by_sums(store) + &format!("{lines:?}"), found)
}

fn said_by_sums(store: &Collector) -> String {
    let (from, until) = (Timestamp::from_micros(0), Timestamp::from_micros(T0 * 2));
    let overview = store.overview(from, until, None).unwrap();
    format!("{overview:?}")
}

/// As kill -9 leaves it.
fn killed(dir: &std::path::Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn open(dir: &std::path::Path) -> Collector {
    let config = CollectorConfig {
        max_age: None,
        ..CollectorConfig::default()
    };
    Collector::open(dir, config).unwrap()
}

fn one(dir: &std::path::Path, sql: &str) -> i64 {
    let direct = rusqlite::Connection::open(dir.join("evidence.db")).unwrap();
    direct.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Blocks to which no row leads, and those to which one does.
fn blocks(dir: &std::path::Path) -> (i64, i64) {
    let led_to = "FROM blocks WHERE id IN (SELECT block FROM block_keys)";
    let led_to = one(dir, &format!("SELECT count(*) {led_to}"));
    (one(dir, "SELECT count(*) FROM blocks") - led_to, led_to)
}

#[test]
fn what_is_not_followed_yet_is_found_and_counted() {
    let (dir, store) = fresh();
    let frames = batches(10);
    send_each(&store, &frames);
    assert_eq!(blocks(dir.path()), (10, 0));
    assert_eq!(one(dir.path(), "SELECT count(*) FROM daily"), 0);
    let found = |store: &Collector| said(store).1;
    // Searches come first here: to read sums has them written.
    let by_identity = Filter {
        identity: Some("identity1".into()),
        ..Filter::default()
    };
    assert_eq!(store.query(&by_identity).unwrap().events.len(), 12);
    let before = said(&store);
    assert_eq!(before.1[..7], [12, 12, 12, 12, 12, 2, 12]);
    assert_eq!(before.1[7..], [12; 6]);
    assert_eq!(blocks(dir.path()), (0, 10));
    assert_eq!(said(&store), before);
    send_each(&store, &frames);
    assert_eq!(found(&store), before.1);
    drop(store);
    assert_eq!(said(&open(dir.path())), before);
}

#[test]
fn few_blocks_are_not_followed_at_any_time() {
    let (dir, store) = fresh();
    let mut most = 0;
    for (n, frame) in batches(100).into_iter().enumerate() {
        // Each is too large to be merged.
        let a = session(1, "reporter");
        let text: String = (0..150_000_u64)
            .map(|k| char::from(b'a' + (k.wrapping_mul(k + n as u64) % 23) as u8))
            .collect();
        let large = [statement(n as u64, &a, &text, Decision::Permit)];
        let other: EngineId = format!("engine_{n}").parse().unwrap();
        hand_in(&store, &other, &chain(1, genesis(&other), 1, &large)).unwrap();
        send(&store, &[frame]);
        most = most.max(blocks(dir.path()).0);
    }
    assert!((32..=64).contains(&most), "{most}");
    let reporter = Filter {
        identity: Some("reporter".into()),
        limit: Some(1000),
        ..Filter::default()
    };
    assert_eq!(store.query(&reporter).unwrap().events.len(), 100);
    let (_, found) = said(&store);
    assert_eq!(found[..5], [120; 5]);
}

#[test]
fn a_process_that_is_killed_loses_no_sum_and_counts_nothing_twice() {
    let (dir, store) = fresh();
    let frames = batches(40);
    let (_whole, reference) = fresh();
    send_each(&reference, &frames);
    for (from, until) in [(0, 3), (3, 20), (20, 40)] {
        send_each(&store, &frames[from..until]);
        let copy = killed(dir.path());
        let again = open(copy.path());
        send_each(&again, &frames[until..]);
        assert_eq!(said(&again), said(&reference), "{until}");
        // Also when it ends as soon as sums were written.
        let copy = killed(copy.path());
        assert_eq!(said(&open(copy.path())), said(&reference), "{until}");
    }
}

#[test]
fn what_a_refused_batch_says_is_not_counted() {
    let (_dir, store) = fresh();
    let frames = batches(4);
    send_each(&store, &frames[..2]);
    let before = said(&store);
    let batch = Batch {
        engine: engine(),
        frames: frames[2..].to_vec(),
    };
    let mut seen = 0;
    let refused = store.commit(&batch, None, &mut |_| {
        seen += 1;
        if seen < 9 {
            Ok(())
        } else {
            Err("not this one".into())
        }
    });
    assert!(matches!(refused, Err(CollectorError::Refused(_))));
    assert_eq!(said(&store), before);
    send_each(&store, &frames[2..]);
    let (_whole, reference) = fresh();
    send_each(&reference, &frames);
    assert_eq!(said(&store), said(&reference));
}

#[test]
fn sums_are_whole_where_nothing_can_be_written() {
    let (_whole, reference) = fresh();
    let (_dir, store) = fresh();
    let frames = batches(10);
    send_each(&reference, &frames);
    send_each(&store, &frames);
    let read_only = |on: bool| {
        let writer = store.writer();
        writer.store.pragma_update(None, "query_only", on).unwrap();
    };
    read_only(true);
    for _ in 0..2 {
        assert_eq!(said(&store), said(&reference));
    }
    read_only(false);
    assert_eq!(said(&store), said(&reference));
}

#[test]
fn a_session_grows_by_what_its_own_engine_says_also_when_it_is_made_again() {
    let (dir, store) = fresh();
    let (_whole, reference) = fresh();
    let other: EngineId = "other".parse().unwrap();
    let claimed = [statement(
        1,
        &session(100, "identity0"),
        "select",
        Decision::Deny,
    )];
    for store in [&reference, &store] {
        send_each(store, &batches(3));
        hand_in(store, &other, &chain(1, genesis(&other), 1, &claimed)).unwrap();
    }
    let copy = killed(dir.path());
    let again = open(copy.path());
    let line = again.session(100).unwrap().unwrap();
    assert_eq!((line.statements, line.denials), (0, 0));
    let lines = |store: &Collector| store.sessions(&SessionFilter::default()).unwrap();
    assert_eq!(lines(&again), lines(&reference));
    let line = again.session(100).unwrap().unwrap();
    assert_eq!((line.statements, line.denials), (4, 1));
}

/// Version 6 wrote with each block how sessions grew.
#[test]
fn sessions_of_version_6_are_not_counted_again() {
    let (_whole, reference) = fresh();
    let (dir, store) = fresh();
    for store in [&reference, &store] {
        send_each(store, &batches(10));
    }
    let copy = killed(dir.path());
    let old = rusqlite::Connection::open(copy.path().join("evidence.db")).unwrap();
    for line in reference
        .sessions(&SessionFilter::default())
        .unwrap()
        .sessions
    {
        old.execute(
            "UPDATE sessions SET last = ?2, statements = ?3, rows = ?4, bytes = ?5, denials = ?6 WHERE id = ?1",
            rusqlite::params![
                line.session.id.as_u64().cast_signed(),
                line.last.as_micros(),
                line.statements,
                line.rows,
                line.bytes,
                line.denials
            ],
        )
        .unwrap();
    }
    old.pragma_update(None, "user_version", 6).unwrap();
    drop(old);
    let again = open(copy.path());
    assert_eq!(blocks(copy.path()), (0, 10));
    assert_eq!(said(&again), said(&reference));
}

/// By that day sums are forgotten.
#[test]
fn sums_are_of_the_day_on_which_their_events_came() {
    let dir = tempfile::tempdir().unwrap();
    let day = |n: u32| at(Timestamp::from_micros(T0).plus(DAY * n));
    let received = |dir: &std::path::Path, n: u64| {
        one(
            dir,
            &format!(
                "SELECT received FROM daily_tables WHERE identity =
            (SELECT id FROM keys WHERE kind = 1 AND text = 'day{n}')"
            ),
        )
    };
    let store = open(dir.path());
    for n in 0..3_u32 {
        let who = session(u64::from(n), &format!("day{n}"));
        let engine: EngineId = format!("engine_{n}").parse().unwrap();
        let frames = chain(
            1,
            genesis(&engine),
            1,
            &[statement(1, &who, "select", Decision::Permit)],
        );
        let batch = Batch { engine, frames };
        let mut allow = |_: &Event| Ok(());
        let mut maker = Maker::new(&batch.engine, false, &mut allow);
        let ready = maker.all(&batch.frames);
        let mut writer = store.writer();
        writer
            .ingest(&batch, ready, &mut maker, None, day(n))
            .unwrap();
    }
    let first = clock::own_day(day(0).own);
    assert_eq!(received(dir.path(), 0), first);
    // The last is made again from its block.
    let copy = killed(dir.path());
    let again = open(copy.path());
    said_by_sums(&again);
    for n in 0..3 {
        assert_eq!(
            received(copy.path(), n),
            first + i64::try_from(n).unwrap(),
            "{n}"
        );
    }
}
