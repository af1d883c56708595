//! The sending side of scp: the same files however the stream is cut, and as many bytes as were
//! announced.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::Input;
use weir_wire_ssh::scp::{Event, Sender};

/// Files and how many bytes each got; none where the stream is broken.
fn files(chunks: &[&[u8]]) -> Option<Vec<(Vec<u8>, u64, u64)>> {
    let (mut sender, mut events) = (Sender::new(false), Vec::new());
    let mut files: Vec<(Vec<u8>, u64, u64)> = Vec::new();
    for chunk in chunks {
        events.clear();
        let done = sender.feed(chunk, &mut events);
        for event in &events {
            match event {
                Event::File { path, size, .. } => {
                    assert!(!path.split(|b| *b == b'/').any(|part| part == b".."));
                    files.push((path.clone(), *size, 0));
                }
                Event::Data(range) => {
                    assert!(
                        chunk
                            .get(range.clone())
                            .is_some_and(|data| !data.is_empty())
                    );
                    if let Some(file) = files.last_mut() {
                        file.2 += range.len() as u64;
                        assert!(file.2 <= file.1);
                    }
                }
                Event::FileEnd { .. } => {
                    assert!(files.last().is_some_and(|file| file.1 == file.2));
                }
                _ => {}
            }
        }
        done.ok()?;
    }
    Some(files)
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let size = input.below(64) + 1;
    let stream = input.rest();
    let chunks: Vec<&[u8]> = stream.chunks(size).collect();
    let whole = files(&[stream]);
    assert_eq!(files(&chunks), whole);
});
