//! Evidence outside of its store: whole, and tampered with.

use weir_audit::proof::{Checkpoint, Note, VerifierKey};

use super::*;
use crate::{BundleError, BundleReport, Selection, Status, Trusted, verify_bundle};

fn export(store: &Collector, selection: &Selection) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.export(selection, &mut bytes).unwrap();
    bytes
}

fn all(store: &Collector) -> Vec<u8> {
    export(store, &Selection::default())
}

fn judge(bundle: &[u8], trusted: &Trusted) -> BundleReport {
    verify_bundle(bundle, trusted).unwrap()
}

fn key(store: &Collector) -> VerifierKey {
    store.log_key().public().clone()
}

/// What an auditor who knows this collector trusts.
fn trusted(store: &Collector) -> Trusted {
    let own = crate::OwnKey::load_or_create(keys(), &engine()).unwrap();
    Trusted {
        key: Some(key(store)),
        roots: Some(own.roots().to_vec()),
        ..Trusted::default()
    }
}

fn note(store: &Collector) -> Note {
    store.proof().unwrap().checkpoint.parse().unwrap()
}

/// Batches of two frames of five events, an hour apart.
fn hours(store: &Collector, count: u64) -> Vec<Frame> {
    const HOUR: u64 = 3_600_000_000;
    let records: Vec<Record> = (0..count)
        .map(|n| {
            let at = Timestamp::from_micros(T0 + n / 10 * HOUR + n);
            Record::engine(at, Heartbeat { open_sessions: n })
        })
        .collect();
    let frames = chain(1, genesis(&engine()), 5, &records);
    for frames in frames.chunks(2) {
        send(store, frames);
    }
    frames
}

fn ranges(report: &BundleReport) -> Vec<(Status, u64, u64)> {
    let engines = &report.report.engines;
    let own = engines.iter().find(|one| one.engine == engine()).unwrap();
    let ranges = own.ranges.iter();
    ranges
        .map(|range| (range.status, range.first_seq, range.last_seq))
        .collect()
}

#[test]
fn a_whole_record_is_verified_without_its_store() {
    let (_dir, store) = fresh();
    hours(&store, 100);
    let report = judge(&all(&store), &trusted(&store));
    assert!(report.report.ok, "{report:?}");
    assert!(report.key_given && report.roots_given);
    assert_eq!(ranges(&report), [(Status::Complete, 1, 100)]);
    assert_eq!(
        (report.bundle.first, report.bundle.end, report.bundle.size),
        (0, 10, 10)
    );
    // Without anything to trust it says that it took the bundle's word.
    let report = judge(&all(&store), &Trusted::default());
    assert!(report.report.ok && !report.key_given && !report.roots_given);
}

#[test]
fn a_period_is_verified_by_itself() {
    let (_dir, store) = fresh();
    hours(&store, 100);
    let hour = |n: u64| Some(Timestamp::from_micros(T0 + n * 3_600_000_000));
    let period = Selection {
        since: hour(3),
        until: hour(5),
        ..Selection::default()
    };
    let report = judge(&export(&store, &period), &trusted(&store));
    assert!(report.report.ok, "{report:?}");
    assert_eq!((report.bundle.first, report.bundle.end), (3, 5));
    assert_eq!(ranges(&report), [(Status::Complete, 31, 50)]);
    // Merged blocks reach further than the period.
    let frames = chain_of(&store, 320);
    assert!(!frames.is_empty());
    let report = judge(&export(&store, &period), &trusted(&store));
    assert!(report.report.ok, "{report:?}");
    assert_eq!(ranges(&report), [(Status::Complete, 31, 50)]);
    // Nothing happened then.
    let period = Selection {
        since: hour(5_000),
        ..Selection::default()
    };
    let report = judge(&export(&store, &period), &trusted(&store));
    assert!(
        report.report.ok && report.report.engines.is_empty(),
        "{report:?}"
    );
}

/// Goes on with the chain in small batches, so that blocks are merged.
fn chain_of(store: &Collector, count: u64) -> Vec<Frame> {
    let (mut previous, mut first): (Hash, u64) = {
        let writer = store.writer();
        let sql = "SELECT hash, last_seq + 1 FROM ranges r JOIN keys k ON k.id = r.engine
                   WHERE k.text = 'e1'";
        writer
            .store
            .query_row(sql, [], |row| Ok((Hash(row.get(0)?), row.get(1)?)))
            .unwrap()
    };
    let mut frames = Vec::new();
    for n in 0..count {
        let record = Record::engine(
            Timestamp::from_micros(T0 + 90 * 3_600_000_000 + n),
            Heartbeat { open_sessions: n },
        );
        let mut builder = FrameBuilder::new(1, first);
        builder.push(&record);
        let frame = builder.seal(previous).unwrap();
        (previous, first) = (frame.hash(), first + 1);
        send(store, std::slice::from_ref(&frame));
        frames.push(frame);
    }
    frames
}

#[test]
fn what_was_deleted_from_the_store_is_missing_from_its_bundle() {
    let (dir, store) = fresh();
    hours(&store, 100);
    let direct = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
    direct
        .execute("DELETE FROM blocks WHERE first_seq = 41", [])
        .unwrap();
    let report = judge(&all(&store), &trusted(&store));
    assert!(!report.report.ok);
    assert_eq!(
        ranges(&report),
        [
            (Status::Complete, 1, 40),
            (Status::Missing, 41, 50),
            (Status::Complete, 51, 100)
        ]
    );
    direct
        .execute("DELETE FROM blocks WHERE first_seq > 80", [])
        .unwrap();
    let report = judge(&all(&store), &trusted(&store));
    assert_eq!(ranges(&report).last(), Some(&(Status::Truncated, 81, 100)));
    // And from the log: there is no proof any more.
    direct
        .execute("DELETE FROM log_leaves WHERE number = 9", [])
        .unwrap();
    let failed = store.export(&Selection::default(), Vec::new());
    assert!(matches!(failed, Err(CollectorError::Log(_))), "{failed:?}");
}

#[test]
fn no_byte_of_a_bundle_can_be_changed_or_cut_off_unnoticed() {
    let (_dir, store) = fresh();
    hours(&store, 20);
    let (bundle, trusted) = (all(&store), trusted(&store));
    for end in 0..bundle.len() {
        let cut = verify_bundle(&bundle[..end], &trusted);
        assert!(
            matches!(cut, Err(BundleError::Cut | BundleError::Form(_))),
            "{end}: {cut:?}"
        );
    }
    for place in 0..bundle.len() {
        let mut changed = bundle.clone();
        changed[place] ^= 1;
        let report = verify_bundle(changed.as_slice(), &trusted);
        assert!(!report.is_ok_and(|report| report.report.ok), "{place}");
    }
}

#[test]
fn another_key_or_another_root_is_not_believed() {
    let (_dir, store) = fresh();
    hours(&store, 20);
    let (_other_dir, other) = fresh();
    let bundle = all(&store);
    let stranger = Trusted {
        key: Some(key(&other)),
        ..trusted(&store)
    };
    let report = judge(&bundle, &stranger);
    assert!(!report.report.ok);
    assert!(
        report.report.log.problems[0].contains("not signed"),
        "{report:?}"
    );
    let dir = tempfile::tempdir().unwrap();
    let forged = crate::OwnKey::load_or_create(dir.path(), &engine()).unwrap();
    let stranger = Trusted {
        roots: Some(forged.roots().to_vec()),
        ..trusted(&store)
    };
    let report = judge(&bundle, &stranger);
    assert!(!report.report.ok);
    assert_eq!(ranges(&report), [(Status::Altered, 1, 20)]);
}

/// Whoever has the store and the log's key can sign a shorter log. A checkpoint that was kept elsewhere
/// shows it.
#[test]
fn a_log_that_was_cut_and_signed_again_does_not_continue_a_kept_checkpoint() {
    let (dir, store) = fresh();
    let frames = hours(&store, 100);
    let kept = Trusted {
        checkpoints: vec![note(&store)],
        ..trusted(&store)
    };
    // It grows: the kept checkpoint is its beginning, with and without a proof.
    let more = chain_of(&store, 3);
    assert_eq!(more.len(), 3);
    let report = judge(&all(&store), &kept);
    assert!(report.report.ok, "{report:?}");
    let size = note(&store).text.parse::<Checkpoint>().unwrap().size;
    assert_eq!(size, 13);
    let newest = Selection {
        entries: Some((11, 13)),
        ..Selection::default()
    };
    let report = judge(&export(&store, &newest), &kept);
    assert!(!report.report.ok && report.report.log.problems.is_empty());
    let missing = &report.not_shown[0];
    assert!(missing.contains("make it with --checkpoint"), "{missing}");
    let proven = Selection {
        old: vec![10],
        ..newest
    };
    let report = judge(&export(&store, &proven), &kept);
    assert!(report.report.ok, "{report:?}");
    drop(store);
    // The last five hours go, everywhere, and the log is signed as if it had ended there.
    let path = dir.path().join("evidence.db");
    let direct = rusqlite::Connection::open(&path).unwrap();
    direct
        .execute_batch(
            "DELETE FROM log_leaves WHERE number >= 5; DELETE FROM blocks WHERE first_seq > 50;
             UPDATE ranges SET last_seq = 50, hash = (SELECT hash FROM blocks WHERE last_seq = 50)",
        )
        .unwrap();
    let log = crate::LogKey::load_or_create(
        &dir.path().join("log.key"),
        kept.key.as_ref().unwrap().name.as_str(),
    )
    .unwrap();
    let mut tree = weir_audit::proof::merkle::Frontier::default();
    let texts: Vec<String> = direct
        .prepare("SELECT leaf FROM log_leaves ORDER BY number")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for text in &texts {
        tree.push(weir_audit::proof::merkle::leaf_hash(text.as_bytes()));
    }
    let shorter = Checkpoint {
        origin: log.name().to_owned(),
        size: 5,
        root: tree.root(),
    };
    direct
        .execute(
            "UPDATE log_checkpoints SET size = 5, note = ?1",
            [log.sign(&shorter.to_string()).to_string()],
        )
        .unwrap();
    drop(direct);
    std::fs::remove_file(dir.path().join("log.checkpoint")).unwrap();
    let config = CollectorConfig {
        max_age: None,
        ..CollectorConfig::default()
    };
    let store = Collector::open(dir.path(), config).unwrap();
    // By itself it is a record, only a shorter one.
    assert!(store.verify().unwrap().ok);
    let report = judge(&all(&store), &kept);
    assert!(!report.report.ok);
    let problem = &report.report.log.problems[0];
    assert!(problem.contains("has 5 entries, and had 10"), "{problem}");
    // It grows past the kept size with other events.
    let mut records: Vec<Record> = (0..50).map(beat).collect();
    records.rotate_left(1);
    let last = &frames[9];
    for (place, record) in records.iter().enumerate() {
        let mut builder = FrameBuilder::new(2, 1);
        builder.push(record);
        let frame = builder.seal(last.hash()).unwrap();
        let engine: EngineId = format!("other{place}").parse().unwrap();
        hand_in(&store, &engine, &[frame]).unwrap();
    }
    let report = judge(&all(&store), &kept);
    let problems = &report.report.log.problems;
    assert!(
        problems
            .iter()
            .any(|problem| problem.contains("not those that were signed")),
        "{problems:?}"
    );
}

#[test]
fn deletion_by_retention_is_proven_in_a_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let config = CollectorConfig {
        max_age: Some(Duration::from_secs(3600)),
        ..CollectorConfig::default()
    };
    let hands = clock::tests::Hands::at(1_800_000_000);
    let store = Collector::open_by(dir.path(), config, Box::new(hands.clone())).unwrap();
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let records: Vec<Record> = (0..40)
        .map(|n| {
            let at = now.plus(Duration::from_secs(n * 180));
            Record::engine(at, Heartbeat { open_sessions: n })
        })
        .collect();
    for frames in chain(1, genesis(&engine()), 5, &records).chunks(2) {
        send(&store, frames);
        hands.pass(1800);
    }
    store.maintain().unwrap();
    // Of the deleted half only: the entry that says so is beyond it, and comes along.
    let half = Selection {
        entries: Some((0, 2)),
        ..Selection::default()
    };
    for selection in [Selection::default(), half] {
        let report = judge(&export(&store, &selection), &trusted(&store));
        assert!(report.report.ok, "{report:?}");
        assert_eq!(ranges(&report)[0], (Status::Deleted, 1, 20));
    }
}

#[test]
fn what_is_no_bundle_is_refused() {
    for bytes in [&b""[..], b"weir-evidence/9\n", b"PK\x03\x04 and more of it"] {
        let refused = verify_bundle(bytes, &Trusted::default());
        assert!(matches!(refused, Err(BundleError::Form(_))), "{refused:?}");
    }
    // A length that nothing follows takes no memory.
    let mut huge = b"weir-evidence/2\nm".to_vec();
    huge.extend_from_slice(&(200_u32 << 20).to_be_bytes());
    let refused = verify_bundle(huge.as_slice(), &Trusted::default());
    assert!(matches!(refused, Err(BundleError::Cut)), "{refused:?}");
}

/// A million events, as sidecars under load hand them in. Run with `--ignored`; prints what it took.
#[test]
#[ignore = "takes half a minute: run by hand, and by make bench"]
fn a_million_events_are_verified_in_ten_seconds() {
    let (_dir, store) = fresh();
    let session = session(1, "reporter");
    let (mut previous, mut first) = (genesis(&engine()), 1);
    for batch in 0..1000_u64 {
        let records: Vec<Record> = (0..1000)
            .map(|n| {
                let n = batch * 1000 + n;
                statement(
                    n,
                    &session,
                    &format!("SELECT * FROM orders WHERE id = {n}"),
                    Decision::Permit,
                )
            })
            .collect();
        let mut frames = Vec::new();
        for records in records.chunks(100) {
            let mut builder = FrameBuilder::new(1, first);
            records.iter().for_each(|record| builder.push(record));
            let frame = builder.seal(previous).unwrap();
            (previous, first) = (frame.hash(), frame.last_seq() + 1);
            frames.push(frame);
        }
        send(&store, &frames);
    }
    let began = std::time::Instant::now();
    let report = store.verify().unwrap();
    let live = began.elapsed();
    assert!(report.ok && report.log.size >= 1000);
    let began = std::time::Instant::now();
    let bundle = all(&store);
    let exported = began.elapsed();
    let began = std::time::Instant::now();
    let offline = judge(&bundle, &trusted(&store));
    let judged = began.elapsed();
    assert!(offline.report.ok);
    assert_eq!(ranges(&offline), [(Status::Complete, 1, 1_000_000)]);
    println!(
        "1,000,000 events: verified in the store in {live:.2?}, exported ({} bytes) in {exported:.2?}, verified offline in {judged:.2?}",
        bundle.len()
    );
    assert!(live < Duration::from_secs(10) && judged < Duration::from_secs(10));
}
