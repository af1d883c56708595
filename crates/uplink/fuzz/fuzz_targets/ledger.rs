//! Budget counters on disk: whatever follows them in the file, what was stated is used, the last
//! statement counts, and stating more loses nothing.
#![no_main]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weir_fuzz::Input;
use weir_uplink::{CounterRow, CounterStore};

static FILE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let dir = memory.expect("a directory");
    let file = dir.path().join("budgets");
    (dir, file)
});

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    std::fs::write(&FILE.1, b"").expect("the file");
    let mut wanted = BTreeMap::new();
    let mut ends = vec![(0, wanted.clone())];
    let (store, rows) = CounterStore::open(&FILE.1).expect("an empty file opens");
    assert!(rows.is_empty());
    for _ in 0..input.byte() % 8 {
        let (key, bucket) = (input.short().to_vec(), u64::from(input.byte()));
        let (rows, bytes) = (u64::from(input.byte()), u64::MAX - u64::from(input.byte()));
        store
            .put(&key, bucket, rows, bytes)
            .expect("room on the disk");
        wanted.insert((key, bucket), (rows, bytes));
        let length = std::fs::metadata(&FILE.1).expect("the file").len();
        ends.push((length as usize, wanted.clone()));
    }
    drop(store);
    let mut bytes = std::fs::read(&FILE.1).expect("the file");
    let whole = bytes.clone();
    if input.byte() & 1 == 0 {
        bytes.truncate(input.below(bytes.len() + 1));
    } else if !bytes.is_empty() {
        let place = input.below(bytes.len());
        bytes[place] ^= input.byte();
    }
    bytes.extend_from_slice(input.rest());
    std::fs::write(&FILE.1, &bytes).expect("the file");
    let damage = whole.iter().zip(&bytes).take_while(|(a, b)| a == b).count();
    let kept = ends
        .iter()
        .rev()
        .find(|(end, _)| *end <= damage)
        .expect("the empty front");
    let (store, rows) = CounterStore::open(&FILE.1).expect("a damaged file opens");
    assert_eq!(table(rows), kept.1, "what was stated before the damage");
    store.put(b"more", 1, 2, 3).expect("room on the disk");
    drop(store);
    let mut after = kept.1.clone();
    after.insert((b"more".to_vec(), 1), (2, 3));
    let (_store, rows) = CounterStore::open(&FILE.1).expect("a repaired file opens");
    assert_eq!(table(rows), after, "stating more loses nothing");
});

fn table(rows: Vec<CounterRow>) -> BTreeMap<(Vec<u8>, u64), (u64, u64)> {
    rows.into_iter()
        .map(|row| ((row.key, row.bucket), (row.rows, row.bytes)))
        .collect()
}
