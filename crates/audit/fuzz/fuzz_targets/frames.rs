//! Stored frames: whatever the payload says, it is read within bounds; events survive their frame
//! and their JSON; a chain is read up to the first byte that was changed or lost, and no further.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_audit::{
    EngineId, Event, Frame, FrameBuilder, FrameError, FrameReader, MAX_FRAME, Record, genesis, link,
};
use weir_fuzz::{Input, at_most};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (place, change) = (input.below(4096), input.byte());
    let payload = input.rest();
    let engine: EngineId = "e1".parse().unwrap();
    let start = genesis(&engine);
    let hash = link(&start, payload);
    let Ok(frame) = Frame::verify(start, hash, payload.to_vec()) else {
        return;
    };
    // The smallest event takes three bytes in a frame; room for some is made before they are read.
    let bound = payload.len() * 8 * size_of::<Event>() + (1 << 19);
    let Ok(events) = at_most(bound, || frame.events(&engine)) else {
        return;
    };
    assert_eq!(events.len() as u64, frame.count());
    assert_eq!(
        events.last().map(|event| event.id.seq),
        Some(frame.last_seq())
    );
    let records: Vec<Record> = events.iter().map(record).collect();
    let mut builder = FrameBuilder::new(frame.epoch(), frame.first_seq());
    records.iter().for_each(|record| builder.push(record));
    let again = builder.seal(hash).expect("a frame with events");
    assert_eq!(again.events(&engine).as_ref(), Ok(&events), "sealed again");
    for event in &events {
        let json = serde_json::to_vec(event).expect("an event has a form in JSON");
        let back: Event = serde_json::from_slice(&json).expect("JSON that Weir wrote");
        assert_eq!(back, *event, "{}", String::from_utf8_lossy(&json));
    }
    chain(&[frame, again], place, change);
});

fn record(event: &Event) -> Record {
    Record {
        at: event.time,
        session: event.session.clone(),
        body: event.body.clone(),
    }
}

fn chain(frames: &[Frame; 2], place: usize, change: u8) {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.write_to(&mut bytes));
    let first = frames[0].stored_len();
    let start = frames[0].previous();
    assert_eq!(read(&bytes, start), (2, bytes.len(), None));
    let place = place % bytes.len();
    let whole = usize::from(place >= first);
    let cut = read(&bytes[..place], start);
    let torn = (place != 0 && place != first).then_some(FrameError::Torn);
    assert_eq!(cut, (whole, whole * first, torn));
    if change != 0 {
        bytes[place] ^= change;
        let (frames, offset, error) = read(&bytes, start);
        assert_eq!((frames, offset), (whole, whole * first));
        assert!(error.is_some(), "a changed byte is not noticed");
    }
}

/// How many frames there are, where they end, and why they end there.
fn read(bytes: &[u8], start: weir_audit::Hash) -> (usize, usize, Option<FrameError>) {
    let mut reader = FrameReader::new(bytes, start);
    let mut frames = 0;
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                assert!(frame.payload().len() <= MAX_FRAME);
                frames += 1;
            }
            Ok(None) => return (frames, reader.offset(), None),
            Err(error) => return (frames, reader.offset(), Some(error)),
        }
    }
}
