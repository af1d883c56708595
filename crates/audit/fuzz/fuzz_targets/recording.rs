//! Recorded rows: a chunk holds what the client saw, cell by cell, and no more than it may.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_audit::ChunkBuilder;
use weir_fuzz::{Input, at_most};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let limit = input.below(2048);
    let mut builder = ChunkBuilder::new(limit);
    let mut rows = Vec::new();
    while !input.is_empty() {
        let body = input.short();
        let before = builder.is_empty();
        match cells(body) {
            Some(cells) => {
                assert!(builder.push_data_row(body), "a row is refused");
                rows.push(cells);
            }
            None => {
                assert!(!builder.push_data_row(body), "no row is taken for one");
                assert_eq!(builder.is_empty(), before);
            }
        }
        if builder.is_full() {
            chunk(&mut builder, &mut rows, limit);
        }
    }
    chunk(&mut builder, &mut rows, limit);
});

fn chunk(builder: &mut ChunkBuilder, rows: &mut Vec<Vec<Option<&[u8]>>>, limit: usize) {
    let chunk = builder.take();
    assert!(builder.is_empty());
    // A chunk is full when it reaches its limit, and one row goes at most that far beyond it: a
    // cell that is cut keeps a byte, its length, and the row's count.
    let widest = rows.iter().map(Vec::len).max().unwrap_or(0);
    assert!(
        chunk.byte_len() <= 2 * limit.max(64) + 6 * widest + 3,
        "{} bytes",
        chunk.byte_len()
    );
    let decoded = at_most(64 * chunk.byte_len() + 4096, || chunk.decode()).expect("own rows");
    assert_eq!(decoded.len(), rows.len());
    for (kept, row) in decoded.iter().zip(rows.drain(..)) {
        assert_eq!(kept.len(), row.len());
        for (kept, cell) in kept.iter().zip(row) {
            let same = kept.is_some() == cell.is_some();
            let front = kept
                .zip(cell)
                .is_none_or(|(kept, cell)| cell.starts_with(kept));
            assert!(same && front && (chunk.is_truncated() || *kept == cell));
        }
    }
}

/// The cells of a row, read without the code under test.
fn cells(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut cells = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        if length == -1 {
            (rest, _) = (after, cells.push(None));
            continue;
        }
        let (cell, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
        (rest, _) = (after, cells.push(Some(cell)));
    }
    rest.is_empty().then_some(cells)
}
