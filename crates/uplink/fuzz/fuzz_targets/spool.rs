//! What an earlier process left: whatever happened to a segment, the spool opens, keeps every
//! frame before the damage, says that there was some, and goes on with a whole chain.
#![no_main]

#[path = "../../src/spool/segment.rs"]
#[allow(dead_code, reason = "the target reads one segment")]
mod segment;

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use segment::Head;
use weir_audit::{
    Body, EngineId, FindingCode, FrameBuilder, FrameReader, Hash, Heartbeat, Record, Timestamp,
    genesis, link,
};
use weir_fuzz::{Input, at_most};
use weir_uplink::{Spool, SpoolConfig};

static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    // In memory where that is possible: a spool syncs what it writes.
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    memory.expect("a directory")
});

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    match input.byte() % 8 {
        // Opening a spool takes as long as very many heads.
        0 => reopened(input, DIR.path()),
        _ => head(input.rest()),
    }
});

/// A head, whatever it says, is whole or none, and takes no more memory than it has bytes.
fn head(body: &[u8]) {
    let length = (body.len() as u32).to_le_bytes();
    let sum = link(&Hash([0; 32]), body).0;
    let bytes = [b"WEIRSPL1", &length[..], body, &sum].concat();
    let decoded = at_most(4 * bytes.len() + 4096, || Head::decode(&bytes));
    let Some((head, end)) = decoded else {
        return;
    };
    assert_eq!(end, bytes.len());
    assert!(
        head.open.len() * 8 <= body.len() && body.contains(&head.engine.as_str().as_bytes()[0])
    );
    assert!(Head::decode(&bytes[..end - 1]).is_none(), "half a head");
    assert!(Head::decode(body).is_none() || body.starts_with(b"WEIRSPL1"));
}

fn reopened(mut input: Input<'_>, dir: &Path) {
    let engine: EngineId = "e1".parse().unwrap();
    for (_, path) in segment::list(dir).expect("the directory is there") {
        std::fs::remove_file(path).expect("a file of ours");
    }
    let previous = genesis(&engine);
    let head = Head {
        engine: engine.clone(),
        previous,
        last: (0, 0),
        open: Vec::new(),
    };
    let (_, first) = segment::create(dir, 1, &head).expect("a segment");
    let start = first.start as usize;
    let mut bytes = segment::read(&first.path).expect("its head");
    let mut ends = vec![(0, start)];
    let (mut hash, mut seq) = (previous, 1);
    for _ in 0..input.byte() % 4 {
        let beat = Heartbeat {
            open_sessions: u64::from(input.byte()),
        };
        let records = vec![
            Record::engine(Timestamp::from_micros(1), beat);
            usize::from(input.byte() % 3) + 1
        ];
        let mut builder = FrameBuilder::new(1, seq);
        records.iter().for_each(|record| builder.push(record));
        let frame = builder.seal(hash).expect("a frame");
        frame.write_to(&mut bytes);
        (hash, seq) = (frame.hash(), seq + records.len() as u64);
        ends.push((frame.last_seq(), bytes.len()));
    }
    let whole = bytes.clone();
    match input.byte() % 3 {
        0 => bytes.truncate(input.below(bytes.len() + 1)),
        1 => {
            let place = input.below(bytes.len());
            bytes[place] ^= input.byte();
        }
        _ => bytes.extend_from_slice(input.rest()),
    }
    std::fs::write(&first.path, &bytes).expect("the segment");
    // The first byte that is not as it was: frames that end before it are whole.
    let damage = whole.iter().zip(&bytes).take_while(|(a, b)| a == b).count();
    let kept = ends.iter().rev().find(|(_, end)| *end <= damage).copied();
    let hurt = kept.is_none_or(|(_, end)| end != bytes.len());
    open(dir, &engine);
    let events = events(dir, &engine);
    let has = |code| {
        let found = |body: &Body| matches!(body, Body::Finding(finding) if finding.code == code);
        events.iter().any(|(_, body)| found(body))
    };
    assert_eq!(
        has(FindingCode::TornTail),
        hurt,
        "damage is a finding, and nothing else is"
    );
    let old = events
        .iter()
        .filter(|(epoch, body)| *epoch == 1 && matches!(body, Body::Heartbeat(_)));
    assert_eq!(
        old.count() as u64,
        kept.map_or(0, |(seq, _)| seq),
        "whole frames are kept"
    );
    assert!(matches!(events.last(), Some((_, Body::EngineStopped(_)))));
    // A second start finds what the first one repaired.
    open(dir, &engine);
    let again = self::events(dir, &engine);
    let torn = |(_, body): &&(u32, Body)| matches!(body, Body::Finding(finding) if finding.code == FindingCode::TornTail);
    assert_eq!(
        again.iter().filter(torn).count(),
        usize::from(hurt),
        "repaired once"
    );
}

fn open(dir: &Path, engine: &EngineId) {
    let config = SpoolConfig {
        engine: Some(engine.clone()),
        ..SpoolConfig::new(dir)
    };
    Spool::open(config).expect("a damaged spool opens").close();
}

/// The events of all segments, which have to be one whole chain each.
fn events(dir: &Path, engine: &EngineId) -> Vec<(u32, Body)> {
    let mut events = Vec::new();
    for (_, path) in segment::list(dir).expect("the directory is there") {
        let bytes = segment::read(&path).expect("a segment");
        let (head, start) = Head::decode(&bytes).expect("a repaired segment has a head");
        let mut reader = FrameReader::new(&bytes[start..], head.previous);
        while let Some(frame) = reader.next_frame().expect("a repaired segment is whole") {
            let found = frame.events(engine).expect("own events");
            events.extend(found.into_iter().map(|event| (event.id.epoch, event.body)));
        }
    }
    events
}
