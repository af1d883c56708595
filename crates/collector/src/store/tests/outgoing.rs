//! Blocks on their way: nothing is skipped, and what is lost is counted.

use super::*;

fn exporting(max_age: Option<Duration>) -> (tempfile::TempDir, Collector) {
    let dir = tempfile::tempdir().unwrap();
    let config = CollectorConfig {
        max_age,
        exporting: true,
        ..CollectorConfig::default()
    };
    let store = Collector::open(dir.path(), config).unwrap();
    (dir, store)
}

/// Frames of one event each, from `first` on, at some time.
fn beats(previous: &mut Hash, first: u64, many: u64, at: Timestamp) -> Vec<Frame> {
    (first..first + many)
        .map(|seq| {
            let mut builder = FrameBuilder::new(1, seq);
            let beat = Record::engine(at, Heartbeat { open_sessions: seq });
            builder.push(&beat);
            let frame = builder.seal(*previous).unwrap();
            *previous = frame.hash();
            frame
        })
        .collect()
}

/// Takes what there is, at most `turns` times; the numbers of the events.
fn take(store: &Collector, turns: usize) -> Vec<u64> {
    let mut taken = Vec::new();
    for _ in 0..turns {
        let blocks = store.outgoing(Cursor::Exported, 7, 1 << 20).unwrap();
        let Some(last) = blocks.last() else { break };
        store.taken(Cursor::Exported, last.id).unwrap();
        let events = blocks.iter().flat_map(|block| &block.events);
        taken.extend(events.filter_map(|event| match &event.body {
            Body::Heartbeat(beat) => Some(beat.open_sessions),
            _ => None,
        }));
    }
    taken
}

fn blocks(store: &Collector) -> i64 {
    let reader = store.reader().unwrap();
    let count = reader.query_row("SELECT count(*) FROM blocks", [], |row| row.get(0));
    count.unwrap()
}

#[test]
fn every_event_is_taken_once_in_order_while_blocks_are_merged() {
    let (_dir, store) = exporting(None);
    let now = Timestamp::from(SystemTime::now());
    let mut previous = genesis(&engine());
    let mut taken = Vec::new();
    for turn in 0..20 {
        for frame in beats(&mut previous, 1 + turn * 50, 50, now) {
            send(&store, &[frame]);
        }
        taken.extend(take(&store, 5));
    }
    assert!(blocks(&store) < 700, "{} blocks", blocks(&store));
    taken.extend(take(&store, usize::MAX));
    assert_eq!(taken, (1..=1000).collect::<Vec<u64>>());
    // What was taken is merged once there is more.
    for frame in beats(&mut previous, 1001, 50, now) {
        send(&store, &[frame]);
        take(&store, 9);
    }
    assert!(blocks(&store) < 150, "{} blocks", blocks(&store));
    assert!(store.verify().unwrap().ok);
}

#[test]
fn what_retention_deletes_first_is_a_finding_with_a_count_and_no_id_comes_again() {
    let hour = Duration::from_secs(3600);
    let (_dir, store) = exporting(Some(hour));
    let now = Timestamp::from(SystemTime::now());
    let mut previous = genesis(&engine());
    for frame in beats(&mut previous, 1, 10, now.minus(2 * hour)) {
        send(&store, &[frame]);
    }
    assert_eq!(take(&store, 1), (1..=7).collect::<Vec<u64>>());
    assert_eq!(store.behind().unwrap().since, Some(now.minus(2 * hour)));
    let maintain = |hours| {
        let config = &store.inner.config;
        let later = now.plus(hours * hour);
        store.writer().maintain(config, at(later)).unwrap();
    };
    maintain(2);
    assert_eq!(store.behind().unwrap().lost, 3);
    maintain(2);
    assert_eq!(store.behind().unwrap().lost, 3);
    let filter = Filter {
        kind: Some("finding".into()),
        text: Some("retention deleted 3 events".into()),
        ..Filter::default()
    };
    assert_eq!(store.query(&filter).unwrap().events.len(), 1);
    // Everything that there was is gone, and so is the finding now; what comes next is beyond the cursor.
    take(&store, usize::MAX);
    maintain(5);
    assert_eq!(blocks(&store), 0);
    for frame in beats(&mut previous, 11, 2, now) {
        send(&store, &[frame]);
    }
    assert_eq!(take(&store, usize::MAX), [11, 12]);
}

#[test]
fn an_export_that_was_off_begins_with_what_is_kept() {
    let (dir, store) = exporting(None);
    let now = Timestamp::from(SystemTime::now());
    let mut previous = genesis(&engine());
    beats(&mut previous, 1, 3, now)
        .into_iter()
        .for_each(|frame| {
            send(&store, &[frame]);
        });
    assert_eq!(take(&store, usize::MAX), [1, 2, 3]);
    drop(store);
    let open = |exporting| {
        let config = CollectorConfig {
            exporting,
            ..CollectorConfig::default()
        };
        Collector::open(dir.path(), config).unwrap()
    };
    let again = open(true);
    assert_eq!(take(&again, usize::MAX), [0; 0], "the cursor is kept");
    drop(again);
    drop(open(false));
    assert_eq!(take(&open(true), usize::MAX), [1, 2, 3]);
}
