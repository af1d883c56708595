//! Continuity: gaps, other histories, and what is altered at rest.

use super::*;

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
fn a_batch_of_very_many_gaps_leaves_a_few_findings_and_their_number() {
    let (_dir, store) = fresh();
    let records: Vec<_> = (0..200).map(beat).collect();
    let frames = chain(1, genesis(&engine()), 1, &records);
    let batch = Batch {
        engine: engine(),
        frames: frames.into_iter().skip(1).step_by(2).collect(),
    };
    store.ingest(&batch).unwrap();
    assert_eq!(findings(&store), [FindingCode::Gap; 9]);
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
fn of_a_run_that_is_known_in_part_the_rest_is_stored() {
    let records: Vec<_> = (0..24).map(beat).collect();
    let frames = chain(1, genesis(&engine()), 4, &records);
    for known in [0..2, 2..4, 4..6, 0..6] {
        let (_dir, store) = fresh();
        send(&store, &frames[known.clone()]);
        send(&store, &frames);
        assert_eq!(count(&store), 24, "{known:?}");
        let report = store.verify().unwrap();
        assert!(report.ok, "{report:?}");
        let closed = findings(&store).contains(&FindingCode::GapClosed);
        assert_eq!(closed, known.start > 0, "{known:?}");
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
fn a_verification_says_how_much_it_does_not_list() {
    let (_dir, store) = fresh();
    let records: Vec<_> = (0..1200).map(beat).collect();
    let frames = chain(1, genesis(&engine()), 1, &records);
    let batch = Batch {
        engine: engine(),
        frames: frames.into_iter().skip(1).step_by(2).collect(),
    };
    store.ingest(&batch).unwrap();
    let report = store.verify().unwrap();
    let engine = report.engines.iter().find(|one| one.engine == engine());
    let engine = engine.unwrap();
    assert_eq!((engine.ranges.len(), engine.more_ranges), (1000, 200));
    assert_eq!((engine.problems.len(), engine.more_problems), (100, 1100));
}
