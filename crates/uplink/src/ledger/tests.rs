use super::*;

fn row(key: &str, bucket: u64, rows: u64, bytes: u64) -> CounterRow {
    CounterRow {
        key: key.as_bytes().to_vec(),
        bucket,
        rows,
        bytes,
    }
}

#[test]
fn the_last_amount_of_a_bucket_counts_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("budgets");
    let (store, rows) = CounterStore::open(&path).unwrap();
    assert_eq!(rows, []);
    store.put(b"a", 1, 1000, 5).unwrap();
    store.put(b"a", 1, 2000, 9).unwrap();
    store.put(b"a", 2, 7, 7).unwrap();
    store.put(b"b", 1, 1, 1).unwrap();
    drop(store);
    let (_, rows) = CounterStore::open(&path).unwrap();
    assert_eq!(
        rows,
        [row("a", 1, 2000, 9), row("a", 2, 7, 7), row("b", 1, 1, 1)]
    );
}

#[test]
fn a_reservation_outlives_a_process_that_is_killed_right_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("budgets");
    let (store, _) = CounterStore::open(&path).unwrap();
    store.put(b"a", 1, 1000, 0).unwrap();
    // Nothing is dropped in order: what is in the file now is what a killed process leaves.
    std::mem::forget(store);
    let (_, rows) = CounterStore::open(&path).unwrap();
    assert_eq!(rows, [row("a", 1, 1000, 0)]);
}

#[test]
fn a_torn_tail_keeps_every_earlier_amount() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("budgets");
    let (store, _) = CounterStore::open(&path).unwrap();
    store.put(b"a", 1, 1000, 0).unwrap();
    let first = std::fs::metadata(&path).unwrap().len();
    store.put(b"a", 1, 2000, 0).unwrap();
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    for length in usize::try_from(first).unwrap()..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let (store, rows) = CounterStore::open(&path).unwrap();
        assert_eq!(rows, [row("a", 1, 1000, 0)], "cut at {length}");
        store.put(b"a", 1, 3000, 0).unwrap();
        drop(store);
        let (_, rows) = CounterStore::open(&path).unwrap();
        assert_eq!(rows, [row("a", 1, 3000, 0)], "cut at {length}");
    }
}

#[test]
fn reset_forgets_and_old_buckets_go_when_the_file_is_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("budgets");
    let (store, _) = CounterStore::open(&path).unwrap();
    for bucket in 0..100_000u64 {
        store.put(b"some budget of somebody", bucket, 1, 1).unwrap();
        store.forget_before(bucket).unwrap();
    }
    assert!(std::fs::metadata(&path).unwrap().len() < 2 * COMPACT_BYTES);
    store.reset().unwrap();
    store.put(b"b", 1, 1, 1).unwrap();
    drop(store);
    let (_, rows) = CounterStore::open(&path).unwrap();
    assert_eq!(rows, [row("b", 1, 1, 1)]);
}

#[test]
fn an_amount_that_stays_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("budgets");
    let (store, _) = CounterStore::open(&path).unwrap();
    let length = || std::fs::metadata(&path).unwrap().len();
    store.put(b"a", 1, 0, 0).unwrap();
    let first = length();
    assert!(first > 0);
    store.put(b"a", 1, 0, 0).unwrap();
    assert_eq!(length(), first);
    store.put(b"a", 1, 1, 0).unwrap();
    assert_eq!(length(), 2 * first);
    // What was reset or forgotten is not known any more.
    store.reset().unwrap();
    store.put(b"a", 1, 1, 0).unwrap();
    assert_eq!(length(), first);
    store.forget_before(2).unwrap();
    store.put(b"a", 1, 1, 0).unwrap();
    assert_eq!(length(), 2 * first);
}
