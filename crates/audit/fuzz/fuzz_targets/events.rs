//! Events as JSON, as clients of the collector read them, and the texts of ids and times.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_audit::{EngineId, Event, EventId, FrameBuilder, Record, SessionId, Timestamp, genesis};
use weir_fuzz::utf8;

fuzz_target!(|data: &[u8]| {
    let text = utf8(data);
    same::<EngineId>(text);
    same::<EventId>(text);
    same::<SessionId>(text);
    same::<Timestamp>(text);
    let Ok(event) = serde_json::from_str::<Event>(text) else {
        return;
    };
    let json = serde_json::to_string(&event).expect("an event has a form in JSON");
    assert_eq!(
        serde_json::from_str::<Event>(&json).ok().as_ref(),
        Some(&event),
        "{json}"
    );
    let record = Record {
        at: event.time,
        session: event.session.clone(),
        body: event.body.clone(),
    };
    assert!(record.weight() >= size_of::<Record>());
    if event.id.seq == 0 {
        return;
    }
    let mut builder = FrameBuilder::new(event.id.epoch, event.id.seq);
    builder.push(&record);
    let frame = builder
        .seal(genesis(&event.id.engine))
        .expect("a frame with an event");
    let sealed = frame
        .events(&event.id.engine)
        .expect("a frame that Weir sealed");
    assert_eq!((&sealed[0].id, sealed[0].time), (&event.id, event.time));
    assert_eq!(
        (&sealed[0].session, &sealed[0].body),
        (&event.session, &event.body)
    );
});

/// A text that is read is read again as what it was.
fn same<T: std::str::FromStr + std::fmt::Display + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let again = value.to_string();
        assert!(
            again.parse::<T>().is_ok_and(|same| same == value),
            "{text} became {again}"
        );
    }
}
