//! Each way to tamper with a record, done to a real store and found.

use rusqlite::{Connection, params};

use super::*;
use crate::{EngineReport, OwnKey, Status};

/// Frames that are handed in so that each batch is a leaf of its own; small blocks are not merged yet.
fn record(store: &Collector, engine: &EngineId, count: u64) -> Vec<Frame> {
    let frames = chain(
        1,
        genesis(engine),
        5,
        &(0..count).map(beat).collect::<Vec<_>>(),
    );
    for frames in frames.chunks(2) {
        hand_in(store, engine, frames).unwrap();
    }
    frames
}

fn direct(dir: &tempfile::TempDir) -> Connection {
    Connection::open(dir.path().join("evidence.db")).unwrap()
}

fn of(report: &ChainReport, engine: &EngineId) -> EngineReport {
    let mut engines = report.engines.iter();
    engines.find(|one| one.engine == *engine).unwrap().clone()
}

/// Status and events of each range.
fn ranges(report: &ChainReport, engine: &EngineId) -> Vec<(Status, u64, u64)> {
    let ranges = of(report, engine).ranges;
    ranges
        .iter()
        .map(|range| (range.status, range.first_seq, range.last_seq))
        .collect()
}

#[test]
fn an_untouched_record_is_complete_and_signed() {
    let (_dir, store) = fresh();
    record(&store, &engine(), 40);
    let report = store.verify().unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!(ranges(&report, &engine()), [(Status::Complete, 1, 40)]);
    assert_eq!(report.log.size, 4);
    assert!(report.log.key.starts_with("weir.dev/log/collector_"));
}

#[test]
fn a_deleted_row_is_missing_with_engine_and_sequence() {
    let (dir, store) = fresh();
    record(&store, &engine(), 40);
    direct(&dir)
        .execute("DELETE FROM blocks WHERE first_seq = 11", [])
        .unwrap();
    let report = store.verify().unwrap();
    assert!(!report.ok);
    assert_eq!(
        ranges(&report, &engine()),
        [
            (Status::Complete, 1, 10),
            (Status::Missing, 11, 20),
            (Status::Complete, 21, 40)
        ]
    );
    let problem = &of(&report, &engine()).problems[0];
    assert!(
        problem.contains("missing epoch 1 events 11 to 20"),
        "{problem}"
    );
}

#[test]
fn the_newest_rows_deleted_are_truncated() {
    let (dir, store) = fresh();
    record(&store, &engine(), 40);
    direct(&dir)
        .execute("DELETE FROM blocks WHERE first_seq > 20", [])
        .unwrap();
    let report = store.verify().unwrap();
    assert_eq!(
        ranges(&report, &engine()),
        [(Status::Complete, 1, 20), (Status::Truncated, 21, 40)]
    );
    // Every trace of the newest events, entries of the log and ranges included.
    direct(&dir)
        .execute_batch(
            "DELETE FROM log_leaves WHERE number >= 2;
             UPDATE ranges SET last_seq = 20, hash = (SELECT hash FROM blocks WHERE last_seq = 20)",
        )
        .unwrap();
    let report = store.verify().unwrap();
    assert_eq!(ranges(&report, &engine()), [(Status::Complete, 1, 20)]);
    let problem = &report.log.problems[0];
    assert!(
        !report.ok && problem.contains("has 2 entries, and had 4"),
        "{problem}"
    );
}

/// Packs a block again after `change`.
fn repack(store: &Connection, first: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let (id, raw, data): (i64, i64, Vec<u8>) = store
        .query_row(
            "SELECT id, raw, data FROM blocks WHERE first_seq = ?1",
            [first],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    let mut bytes = schema::unpack(id, raw, &data).unwrap();
    change(&mut bytes);
    let data = zstd::bulk::compress(&bytes, 3).unwrap();
    store
        .execute(
            "UPDATE blocks SET raw = ?2, data = ?3 WHERE id = ?1",
            params![id, bytes.len(), data],
        )
        .unwrap();
}

#[test]
fn an_edited_row_is_altered_and_it_says_where() {
    let (dir, store) = fresh();
    record(&store, &engine(), 40);
    // The last byte of the block: in its second frame.
    repack(&direct(&dir), 11, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let report = store.verify().unwrap();
    assert_eq!(
        ranges(&report, &engine()),
        [
            (Status::Complete, 1, 10),
            (Status::Altered, 11, 20),
            (Status::Complete, 21, 40)
        ]
    );
    let problem = &of(&report, &engine()).problems[0];
    assert!(problem.contains("events 16 to 20 in block"), "{problem}");
}

/// Somebody who knows the format: one event changed, and every link behind it made to fit.
#[test]
fn an_event_changed_with_every_later_link_rewritten_is_found_in_its_own_range() {
    let (dir, store) = fresh();
    let frames = record(&store, &engine(), 40);
    let mut records: Vec<Record> = (0..40).map(beat).collect();
    records[12] = beat(999);
    let forged = chain(1, genesis(&engine()), 5, &records);
    assert_ne!(forged[7].hash(), frames[7].hash());
    let direct = direct(&dir);
    for (place, frames) in forged.chunks(2).enumerate() {
        let first = place as u64 * 10 + 1;
        repack(&direct, first, |bytes| {
            bytes.clear();
            frames.iter().for_each(|frame| frame.write_to(bytes));
        });
        direct
            .execute(
                "UPDATE blocks SET hash = ?2, previous = ?3 WHERE first_seq = ?1",
                params![first, frames[1].hash().0, frames[0].previous().0],
            )
            .unwrap();
    }
    direct
        .execute("UPDATE ranges SET hash = ?1", [forged[7].hash().0])
        .unwrap();
    let report = store.verify().unwrap();
    let got = ranges(&report, &engine());
    assert_eq!(got[0], (Status::Complete, 1, 10), "{report:?}");
    assert_eq!(got[1].0, Status::Altered);
    assert!(!report.ok);
    // The entries of the log changed as well, so that they fit: the signatures do not, nor does the root.
    let texts: Vec<(u64, String)> = direct
        .prepare("SELECT number, leaf FROM log_leaves ORDER BY number")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for ((number, text), frames) in texts.iter().zip(forged.chunks(2)) {
        let weir_audit::proof::Leaf::Range(mut leaf) = text.parse().unwrap() else {
            panic!("{text}");
        };
        (leaf.previous, leaf.hash) = (frames[0].previous(), frames[1].hash());
        let text = weir_audit::proof::Leaf::Range(leaf).to_string();
        direct
            .execute(
                "UPDATE log_leaves SET leaf = ?2 WHERE number = ?1",
                params![number, text],
            )
            .unwrap();
    }
    let report = store.verify().unwrap();
    assert!(!report.ok);
    let problem = &report.log.problems[0];
    assert!(problem.contains("not those that were signed"), "{problem}");
    let engine = of(&report, &engine());
    assert!(
        engine
            .ranges
            .iter()
            .any(|range| range.status == Status::Altered),
        "{engine:?}"
    );
}

#[test]
fn old_events_put_in_again_as_new_are_found() {
    let (dir, store) = fresh();
    let frames = record(&store, &engine(), 20);
    // By handing them in: they are known, and nothing changes.
    hand_in(&store, &engine(), &frames[..2]).unwrap();
    assert!(store.verify().unwrap().ok);
    let direct = direct(&dir);
    let copy = |first: &str, epoch: &str| {
        direct
            .execute_batch(&format!(
                "INSERT INTO blocks(engine, epoch, first_seq, last_seq, first_time, last_time,
                   previous, hash, level, raw, data)
                 SELECT engine, {epoch}, {first}, last_seq, first_time, last_time, previous, hash, level,
                   raw, data FROM blocks WHERE first_seq = 1 LIMIT 1"
            ))
            .unwrap();
    };
    copy("21", "1");
    let report = store.verify().unwrap();
    assert!(!report.ok);
    let problem = &of(&report, &engine()).problems;
    assert!(
        problem[0].contains("in no entry of the log") || problem[0].contains("again"),
        "{problem:?}"
    );
    direct
        .execute("DELETE FROM blocks WHERE first_seq = 21", [])
        .unwrap();
    assert!(store.verify().unwrap().ok);
    // As of a new epoch, sealed anew.
    let again = chain(
        2,
        frames[3].hash(),
        5,
        &(0..5).map(beat).collect::<Vec<_>>(),
    );
    copy("1", "2");
    let mut bytes = Vec::new();
    again[0].write_to(&mut bytes);
    direct
        .execute(
            "UPDATE blocks SET raw = ?1, data = ?2 WHERE epoch = 2",
            params![bytes.len(), zstd::bulk::compress(&bytes, 3).unwrap()],
        )
        .unwrap();
    let report = store.verify().unwrap();
    let problem = &of(&report, &engine()).problems;
    assert!(
        problem[0].contains("epoch 2") && problem[0].contains("no entry"),
        "{problem:?}"
    );
}

#[test]
fn two_chains_spliced_are_found() {
    let (dir, store) = fresh();
    let (one, other): (EngineId, EngineId) = ("pod_1".parse().unwrap(), "pod_2".parse().unwrap());
    record(&store, &one, 20);
    let frames = chain(
        1,
        genesis(&other),
        5,
        &(100..120).map(beat).collect::<Vec<_>>(),
    );
    for frames in frames.chunks(2) {
        hand_in(&store, &other, frames).unwrap();
    }
    assert!(store.verify().unwrap().ok);
    // The second half of one is now the other's.
    direct(&dir)
        .execute_batch(
            "UPDATE blocks SET data = (SELECT o.data FROM blocks o WHERE o.first_seq = 11
               AND o.engine <> blocks.engine),
             raw = (SELECT o.raw FROM blocks o WHERE o.first_seq = 11 AND o.engine <> blocks.engine)
             WHERE first_seq = 11 AND engine = (SELECT id FROM keys WHERE text = 'pod_1')",
        )
        .unwrap();
    let report = store.verify().unwrap();
    assert!(!report.ok);
    assert_eq!(
        ranges(&report, &one),
        [(Status::Complete, 1, 10), (Status::Altered, 11, 20)]
    );
    assert_eq!(ranges(&report, &other), [(Status::Complete, 1, 20)]);
}

#[test]
fn a_chain_that_another_key_signed_is_found() {
    let (_dir, store) = fresh();
    let frames = record(&store, &engine(), 20);
    // Whoever has the log's key and the store, and not the engine's key.
    let more = chain_after(&frames, 10);
    let strange = tempfile::tempdir().unwrap();
    let key = OwnKey::load_or_create(strange.path(), &engine()).unwrap();
    let batch = Batch {
        engine: engine(),
        frames: more.clone(),
    };
    let signed = key.sign(&batch).unwrap();
    store
        .ingest_signed(&batch, &signed, &mut |_| Ok(()))
        .unwrap();
    let report = store.verify().unwrap();
    assert!(!report.ok);
    assert_eq!(
        ranges(&report, &engine()),
        [(Status::Complete, 1, 20), (Status::Altered, 21, 30)]
    );
    let problem = &of(&report, &engine()).problems[0];
    assert!(problem.contains("certificate is not valid"), "{problem}");
}

#[test]
fn what_nobody_signed_is_not_called_complete() {
    let (_dir, store) = fresh();
    let frames = record(&store, &engine(), 20);
    let batch = Batch {
        engine: engine(),
        frames: chain_after(&frames, 10),
    };
    store.ingest(&batch).unwrap();
    let report = store.verify().unwrap();
    assert!(!report.ok);
    assert_eq!(
        ranges(&report, &engine()),
        [(Status::Complete, 1, 20), (Status::Unsigned, 21, 30)]
    );
}

fn chain_after(frames: &[Frame], count: u64) -> Vec<Frame> {
    let last = frames.last().unwrap();
    let records: Vec<Record> = (0..count).map(beat).collect();
    let mut builder = FrameBuilder::new(1, last.last_seq() + 1);
    records.iter().for_each(|record| builder.push(record));
    vec![builder.seal(last.hash()).unwrap()]
}

#[test]
fn a_store_put_back_to_an_older_copy_is_found_when_it_opens_and_ever_after() {
    let (dir, store) = fresh();
    let frames = record(&store, &engine(), 20);
    drop(store);
    let path = dir.path().join("evidence.db");
    let config = || CollectorConfig {
        max_age: None,
        ..CollectorConfig::default()
    };
    // A clean close has put everything into the one file.
    let copy = std::fs::read(&path).unwrap();
    let store = Collector::open(dir.path(), config()).unwrap();
    hand_in(&store, &engine(), &chain_after(&frames, 10)).unwrap();
    store.maintain().unwrap();
    assert!(store.verify().unwrap().ok);
    drop(store);
    std::fs::write(&path, copy).unwrap();
    let store = Collector::open(dir.path(), config()).unwrap();
    assert_eq!(findings(&store), [FindingCode::Tampered]);
    let report = store.verify().unwrap();
    assert!(!report.ok, "{report:?}");
    // The log outgrows what it was: the old checkpoint is not its beginning.
    let other = chain_after(&frames, 11);
    hand_in(&store, &engine(), &other).unwrap();
    for n in 0..3 {
        hand_in(
            &store,
            &"pod_1".parse().unwrap(),
            &chain(n + 1, Hash([7; 32]), 5, &[beat(1)]),
        )
        .unwrap();
    }
    store.maintain().unwrap();
    drop(store);
    let store = Collector::open(dir.path(), config()).unwrap();
    let problems = store.verify().unwrap().log.problems;
    assert!(
        problems
            .iter()
            .any(|problem| problem.contains("not those that were signed")),
        "{problems:?}"
    );
}

#[test]
fn edited_tiles_and_entries_of_the_log_are_found() {
    let (dir, store) = fresh();
    let frames = chain(
        1,
        genesis(&engine()),
        1,
        &(0..600).map(beat).collect::<Vec<_>>(),
    );
    for frame in &frames {
        send(&store, std::slice::from_ref(frame));
    }
    let report = store.verify().unwrap();
    assert!(report.ok && report.log.size == 600, "{report:?}");
    let direct = direct(&dir);
    direct
        .execute_batch("CREATE TABLE kept AS SELECT * FROM log_nodes; CREATE TABLE leaves AS SELECT * FROM log_leaves; CREATE TABLE notes AS SELECT * FROM log_checkpoints")
        .unwrap();
    for sql in [
        "UPDATE log_nodes SET hash = zeroblob(32) WHERE level = 1 AND number = 1",
        "DELETE FROM log_nodes WHERE level = 1 AND number = 0",
        "DELETE FROM log_leaves WHERE number = 300",
        "UPDATE log_leaves SET leaf = (SELECT leaf FROM log_leaves WHERE number = 301) WHERE number = 300",
        "DELETE FROM log_checkpoints",
        "UPDATE log_checkpoints SET note = replace(note, '600', '599')",
    ] {
        direct.execute_batch(sql).unwrap();
        let report = store.verify().unwrap();
        assert!(
            !report.ok && !report.log.problems.is_empty(),
            "{sql}: {report:?}"
        );
        direct
            .execute_batch(
                "DELETE FROM log_nodes; INSERT INTO log_nodes SELECT * FROM kept;
                 DELETE FROM log_leaves; INSERT INTO log_leaves SELECT * FROM leaves;
                 DELETE FROM log_checkpoints; INSERT INTO log_checkpoints SELECT * FROM notes",
            )
            .unwrap();
        assert!(store.verify().unwrap().ok);
    }
}

#[test]
fn retention_is_an_entry_of_the_log_and_nothing_else_may_delete() {
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
            Record::engine(
                now.plus(Duration::from_secs(n * 180)),
                Heartbeat { open_sessions: n },
            )
        })
        .collect();
    let frames = chain(1, genesis(&engine()), 5, &records);
    for frames in frames.chunks(2) {
        send(&store, frames);
        hands.pass(1800);
    }
    store.maintain().unwrap();
    let report = store.verify().unwrap();
    assert!(report.ok, "{report:?}");
    let got = of(&report, &engine());
    assert_eq!(
        ranges(&report, &engine()),
        [(Status::Deleted, 1, 20), (Status::Complete, 21, 40)]
    );
    assert!(
        got.ranges[0].detail.as_ref().unwrap().contains("age 3600s"),
        "{got:?}"
    );
    // The same by hand, said in the store's own table but not in the log.
    let direct = direct(&dir);
    direct
        .execute_batch(
            "UPDATE pruned SET last_seq = 30, hash = (SELECT hash FROM blocks WHERE last_seq = 30);
             DELETE FROM blocks WHERE last_seq <= 30",
        )
        .unwrap();
    let report = store.verify().unwrap();
    assert_eq!(
        ranges(&report, &engine()),
        [
            (Status::Deleted, 1, 20),
            (Status::Missing, 21, 30),
            (Status::Complete, 31, 40)
        ]
    );
}

/// Whoever writes to the store can drop the log; what is there is in no entry of the one that begins then.
#[test]
fn a_store_whose_log_was_dropped_is_not_believed() {
    let (dir, store) = fresh();
    record(&store, &engine(), 20);
    drop(store);
    let direct = direct(&dir);
    direct
        .execute_batch(
            "DROP TABLE log_leaves; DROP TABLE log_nodes; DROP TABLE log_signatures;
             DROP TABLE log_chains; DROP TABLE log_roots; DROP TABLE log_checkpoints;",
        )
        .unwrap();
    drop(direct);
    std::fs::remove_file(dir.path().join("log.checkpoint")).unwrap();
    let config = CollectorConfig {
        max_age: None,
        ..CollectorConfig::default()
    };
    let store = Collector::open(dir.path(), config).unwrap();
    let report = store.verify().unwrap();
    assert!(!report.ok, "{report:?}");
    assert_eq!(
        ranges(&report, &engine()),
        [(Status::Altered, 1, 10), (Status::Altered, 11, 20)]
    );
}

#[test]
fn tiles_are_served_as_the_checkpoint_says() {
    use weir_audit::proof::{Checkpoint, Note, Tile, merkle};
    let (_dir, store) = fresh();
    let frames = chain(
        1,
        genesis(&engine()),
        1,
        &(0..300).map(beat).collect::<Vec<_>>(),
    );
    for frame in &frames {
        send(&store, std::slice::from_ref(frame));
    }
    let proof = store.proof().unwrap();
    let note: Note = proof.checkpoint.parse().unwrap();
    let checkpoint: Checkpoint = note.text.parse().unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (300, proof.root));
    let tile =
        |path: &str| -> Option<Vec<u8>> { store.tile(path.parse::<Tile>().unwrap()).unwrap() };
    // The root from the two tiles of level 0, and from the entries.
    let mut hashes = tile("0/000").unwrap();
    hashes.extend(tile("0/001.p/44").unwrap());
    let mut tree = merkle::Frontier::default();
    let (all, _) = hashes.as_chunks::<32>();
    all.iter().for_each(|hash| tree.push(Hash(*hash)));
    assert_eq!(tree.root(), checkpoint.root);
    let mut entries = tile("entries/000").unwrap();
    entries.extend(tile("entries/001.p/44").unwrap());
    let (mut rest, mut again) = (entries.as_slice(), merkle::Frontier::default());
    while let Some((length, tail)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        again.push(merkle::leaf_hash(&tail[..length]));
        rest = &tail[length..];
    }
    assert_eq!(again.root(), checkpoint.root);
    // The one full tile's root is at the level above.
    assert_eq!(tile("1/000.p/1").unwrap().len(), 32);
    for none in [
        "0/001.p/45",
        "0/001",
        "0/002.p/1",
        "1/000.p/2",
        "2/000.p/1",
        "entries/001.p/45",
    ] {
        assert_eq!(tile(none), None, "{none}");
    }
}
