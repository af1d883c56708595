//! Who was given a value.

use weir_audit::{Fingerprint, FingerprintKey, LabelledValuesSeen};

use super::clock::tests::Hands;
use super::cluster::{in_namespace, named, opened, send_as};
use super::*;

fn of(label: &str, value: &str) -> Fingerprint {
    FingerprintKey::new(b"secret")
        .of_label(label)
        .fingerprint(value)
}

fn seen(n: u64, session: &Arc<Session>, values: &[&str], beyond: u64, uncertain: u64) -> Record {
    let event = LabelledValuesSeen {
        statement: n,
        label: "pii.ssn".into(),
        values: values.iter().map(|value| of("pii.ssn", value)).collect(),
        beyond,
        uncertain,
    };
    let at = Timestamp::from_micros(T0 + n * 1_000_000);
    Record::session(at, Arc::clone(session), event)
}

fn saw(store: &Collector, value: &str, namespace: Option<&str>) -> Saw {
    let filter = SawFilter {
        namespace: namespace.map(str::to_owned),
        values: vec![("pii.ssn".to_owned(), of("pii.ssn", value))],
        ..SawFilter::default()
    };
    store.saw(&filter).unwrap()
}

fn who(saw: &Saw) -> Vec<(&str, u64)> {
    let by = saw.identities.iter();
    by.map(|by| (by.identity.as_str(), by.statements)).collect()
}

#[test]
fn who_was_given_a_value_is_told_by_namespace_and_time() {
    let (_dir, store) = fresh();
    let (one, two) = (in_namespace(1, "shop"), in_namespace(2, "ops"));
    let records = [
        opened(0, &one),
        seen(1, &one, &["a", "b"], 0, 0),
        // A later event of the same statement, and another statement.
        seen(1, &one, &["c"], 0, 0),
        seen(2, &one, &["a"], 0, 0),
    ];
    send_as(&store, &named("e1"), 1, &records);
    send_as(
        &store,
        &named("e2"),
        1,
        &[opened(0, &two), seen(3, &two, &["a"], 0, 0)],
    );
    assert_eq!(store.saw_labels(None).unwrap().names, ["pii.ssn"]);
    let all = saw(&store, "a", None);
    assert_eq!(who(&all), [("ops/app", 1), ("shop/app", 2)]);
    assert_eq!(all.statements[0].statement, 3);
    assert_eq!(all.statements[0].target.as_deref(), Some("orders-db"));
    assert!(!all.more && all.perhaps.is_empty());
    assert_eq!(who(&saw(&store, "a", Some("ops"))), [("ops/app", 1)]);
    assert_eq!(who(&saw(&store, "c", Some("ops"))), []);
    assert_eq!(who(&saw(&store, "a", Some("unknown"))), []);
    assert_eq!(who(&saw(&store, "d", None)), []);
    let filter = SawFilter {
        since: Some(Timestamp::from_micros(T0 + 2_000_000)),
        until: Some(Timestamp::from_micros(T0 + 3_000_000)),
        values: vec![("pii.ssn".to_owned(), of("pii.ssn", "a"))],
        ..SawFilter::default()
    };
    assert_eq!(who(&store.saw(&filter).unwrap()), [("shop/app", 1)]);
    // The same value under a label of which nothing is kept.
    let other = SawFilter {
        values: vec![("pii.pan".to_owned(), of("pii.pan", "a"))],
        ..SawFilter::default()
    };
    assert_eq!(who(&store.saw(&other).unwrap()), []);
}

#[test]
fn who_may_have_been_given_it_is_told_in_their_namespace_alone() {
    let (_dir, store) = fresh();
    let (one, two) = (in_namespace(1, "shop"), in_namespace(2, "ops"));
    let records = [
        opened(0, &one),
        seen(1, &one, &["a"], 7, 0),
        seen(1, &one, &[], 1, 2),
        seen(2, &one, &[], 0, 1),
    ];
    send_as(&store, &named("e1"), 1, &records);
    send_as(
        &store,
        &named("e2"),
        1,
        &[opened(0, &two), seen(1, &two, &["a"], 0, 0)],
    );
    let perhaps = saw(&store, "z", None).perhaps;
    assert_eq!(perhaps.len(), 1);
    let one = &perhaps[0];
    assert_eq!(
        (
            one.identity.as_str(),
            one.statements,
            one.beyond,
            one.uncertain
        ),
        ("shop/app", 2, 8, 3)
    );
    assert_eq!(saw(&store, "z", Some("ops")).perhaps, []);
}

#[test]
fn an_engine_says_nothing_of_sessions_that_are_anothers() {
    let (_dir, store) = fresh();
    let one = in_namespace(1, "shop");
    send_as(&store, &named("e1"), 1, &[opened(0, &one)]);
    send_as(&store, &named("e2"), 1, &[seen(1, &one, &["a"], 5, 0)]);
    let answer = saw(&store, "a", None);
    assert_eq!(who(&answer), []);
    assert_eq!(answer.perhaps, []);
}

#[test]
fn what_is_too_old_by_the_stores_own_time_is_forgotten() {
    let (dir, hands) = (tempfile::tempdir().unwrap(), Hands::at(1_800_000_000));
    let store = retention::open(dir.path(), 90 * DAY, &hands);
    let one = in_namespace(1, "shop");
    send_as(
        &store,
        &named("e1"),
        1,
        &[opened(0, &one), seen(1, &one, &["a"], 8, 0)],
    );
    let rows = || -> i64 {
        let reader = store.reader().unwrap();
        let count = "SELECT (SELECT count(*) FROM seen) + (SELECT count(*) FROM seen_more)";
        reader.query_row(count, [], |row| row.get(0)).unwrap()
    };
    for days in 0..90 {
        // The engine's clock is years behind: it has no say.
        assert_eq!(rows(), 2, "after {days} days");
        hands.pass(24 * 3600);
        store.maintain().unwrap();
    }
    for _ in 0..3 {
        hands.pass(24 * 3600);
        store.maintain().unwrap();
    }
    assert_eq!(rows(), 0);
}

/// An event of an engine's own clock, in a session of its own.
fn seen_at(micros: u64, session: &Arc<Session>, statement: u64, label: &str) -> Record {
    let event = LabelledValuesSeen {
        statement,
        label: label.into(),
        values: vec![of(label, "a")],
        beyond: 1,
        uncertain: 0,
    };
    Record::session(Timestamp::from_micros(micros), Arc::clone(session), event)
}

#[test]
fn clocks_from_the_beginning_to_the_end_of_time_cost_an_answer_nothing() {
    let (_dir, store) = fresh();
    let one = in_namespace(1, "shop");
    let mut records = vec![opened(0, &one)];
    records.extend([0, T0, i64::MAX.unsigned_abs()].map(|at| seen_at(at, &one, at, "pii.ssn")));
    // Each on a day of its own.
    let day = 24 * 3600 * 1_000_000;
    records.extend((1..2000).map(|n| seen_at(n * day, &one, n, "pii.ssn")));
    send_as(&store, &named("e1"), 1, &records);
    let began = std::time::Instant::now();
    let all = saw(&store, "a", None);
    let took = began.elapsed();
    // Each day there is would take minutes.
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(who(&all), [("shop/app", 2002)]);
    assert_eq!(all.perhaps[0].statements, 2002);
    assert_eq!(all.identities[0].first, Timestamp::from_micros(0));
    let filter = SawFilter {
        since: Some(Timestamp::from_micros(T0)),
        until: Some(Timestamp::from_micros(T0 + 1)),
        values: vec![("pii.ssn".to_owned(), of("pii.ssn", "a"))],
        ..SawFilter::default()
    };
    assert_eq!(who(&store.saw(&filter).unwrap()), [("shop/app", 1)]);
}

#[test]
fn more_labels_than_a_question_takes_are_left_out_by_number_and_can_be_named() {
    let (_dir, store) = fresh();
    let one = in_namespace(1, "shop");
    let long = "x".repeat(LONG);
    let mut records = vec![opened(0, &one), seen_at(T0, &one, 1, "pii.ssn")];
    records.extend((0..5000).map(|n| seen_at(T0, &one, 2, &format!("a{n}"))));
    records.extend([seen_at(T0, &one, 3, &long), seen_at(T0, &one, 4, "pii.pan")]);
    send_as(&store, &named("e1"), 1, &records);
    let labels = store.saw_labels(None).unwrap();
    assert_eq!((labels.names.len(), labels.left_out), (4096, 5003 - 4096));
    assert!(labels.names.is_sorted() && labels.names.contains(&"pii.ssn".to_owned()));
    // What came late is still found by its name.
    let named = store.saw_labels(Some("pii.*")).unwrap();
    assert_eq!(
        (named.names, named.left_out),
        (vec!["pii.pan".into(), "pii.ssn".into()], 0)
    );
    assert_eq!(
        store.saw_labels(Some("typo")).unwrap(),
        SawLabels::default()
    );
}

/// Longer than the name of any label.
const LONG: usize = 254;

#[test]
fn statements_beyond_what_is_told_apart_are_counted_as_more() {
    let (_dir, store) = fresh();
    let one = in_namespace(1, "shop");
    send_as(&store, &named("e1"), 1, &[opened(0, &one)]);
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100002)
        INSERT INTO seen_more SELECT 19675, k.id, s.id, i, i, 1, 0, 19675
        FROM n, sessions s, (SELECT id FROM keys WHERE kind = 4 AND text = 'pii.ssn') k";
    send_as(&store, &named("e1"), 2, &[seen(100_002, &one, &[], 1, 0)]);
    store.writer().store.execute(fill, []).unwrap();
    let answer = saw(&store, "z", None);
    assert!(answer.more);
    let perhaps = &answer.perhaps[0];
    assert_eq!((perhaps.statements, perhaps.beyond), (100_000, 100_003));
}

#[test]
fn a_label_is_forgotten_with_its_last_fingerprint() {
    let (dir, hands) = (tempfile::tempdir().unwrap(), Hands::at(1_800_000_000));
    let store = retention::open(dir.path(), 90 * DAY, &hands);
    let one = in_namespace(1, "shop");
    let old = [
        opened(0, &one),
        seen_at(T0, &one, 1, "old"),
        seen_at(T0, &one, 1, "kept"),
    ];
    send_as(&store, &named("e1"), 1, &old);
    hands.pass(60 * 24 * 3600);
    send_as(&store, &named("e1"), 2, &[seen_at(T0, &one, 2, "kept")]);
    assert_eq!(store.saw_labels(None).unwrap().names, ["kept", "old"]);
    for _ in 0..40 {
        hands.pass(24 * 3600);
        store.maintain().unwrap();
    }
    assert_eq!(store.saw_labels(None).unwrap().names, ["kept"]);
}

/// Not run by default: ten million fingerprints take minutes.
#[test]
#[ignore = "a measurement"]
fn ten_million_fingerprints_are_searched_at_once() {
    let (dir, store) = fresh();
    let one = in_namespace(1, "shop");
    send_as(&store, &named("e1"), 1, &[opened(0, &one)]);
    {
        let writer = store.writer();
        let fill = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999999)
            INSERT INTO seen SELECT 19675 + i % 90, (i * 2654435761) & 4611686018427387903, 1, 1, i, 0, 0 FROM n";
        writer.store.execute_batch("BEGIN").unwrap();
        writer.store.execute(fill, []).unwrap();
        writer.store.execute_batch("COMMIT").unwrap();
    }
    let filter = SawFilter {
        values: (0..20).map(|n| (format!("l{n}"), Fingerprint(n))).collect(),
        ..SawFilter::default()
    };
    let mut took: Vec<Duration> = (0..20)
        .map(|_| {
            let start = std::time::Instant::now();
            store.saw(&filter).unwrap();
            start.elapsed()
        })
        .collect();
    took.sort();
    let size = std::fs::metadata(dir.path().join("evidence.db"))
        .unwrap()
        .len();
    println!(
        "median {:?}, slowest {:?}, {} bytes a row",
        took[10],
        took[19],
        size / 10_000_000
    );
    assert!(took[10] < Duration::from_millis(300), "{took:?}");
}
