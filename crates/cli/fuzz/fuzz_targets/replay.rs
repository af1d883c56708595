//! Recorded values on a terminal: nothing that a client or a server sent can steer it, and what
//! is shortened fits.
#![no_main]

#[path = "../../src/commands/text.rs"]
#[allow(dead_code, reason = "the target looks at recorded values only")]
mod text;
#[path = "../../src/commands/values.rs"]
#[allow(dead_code, reason = "the target looks at recorded values only")]
mod values;

use libfuzzer_sys::fuzz_target;
use weir_audit::{Column, Value};
use weir_fuzz::{Input, utf8};

/// The types that are decoded, and one that is not.
const TYPES: [u32; 19] = [
    16, 20, 21, 23, 26, 700, 701, 18, 19, 25, 114, 705, 1042, 3802, 2950, 1082, 1114, 1184, 1700,
];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let column = Column {
        name: "c".into(),
        type_id: TYPES[input.below(TYPES.len())],
        binary: input.byte() & 1 == 1,
        masked: false,
    };
    let room = usize::from(input.byte());
    let bytes = input.rest();
    let cell = values::result_cell(Some(bytes), Some(&column));
    harmless(&cell);
    harmless(&values::value(&Value::text(bytes)));
    harmless(&values::value(&Value::Binary(bytes.into())));
    let sent = utf8(bytes);
    harmless(&text::one_line(sent));
    text::lines(sent).split(['\n', '\t']).for_each(harmless);
    let plain = text::one_line(sent);
    let short = text::shorten(&plain, room);
    harmless(&short);
    let mark = text::width(&text::shorten(&plain, 0));
    assert!(
        text::width(&short) <= room.max(mark),
        "{short:?} is wider than {room}"
    );
});

/// No control sequence, and nothing that changes the order in which text is read.
fn harmless(shown: &str) {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!shown.contains(steers), "{}", shown.escape_unicode());
}
