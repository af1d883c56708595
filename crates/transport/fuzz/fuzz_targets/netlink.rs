//! The kernel's replies: walked within their bytes to an end, and what Weir itself writes is read
//! back as it was meant.
#![no_main]

#[path = "../../src/netlink.rs"]
#[allow(dead_code, reason = "the target asks no kernel")]
mod netlink;

use libfuzzer_sys::fuzz_target;
use netlink::{Batch, attributes, messages};
use weir_fuzz::Input;

fuzz_target!(|data: &[u8]| {
    let mut room = data.len() / 16 + 1;
    let _ = messages(data, |_, _, payload| {
        room = room.checked_sub(1).expect("a message takes its header");
        nested(payload, 4);
        true
    });
    written(Input::new(data));
});

fn nested(payload: &[u8], depth: usize) {
    let mut room = payload.len() / 4;
    for (kind, value) in attributes(payload) {
        room = room.checked_sub(1).expect("an attribute takes its header");
        assert!(kind < 1 << 14 && value.len() + 4 <= payload.len());
        if depth > 0 {
            nested(value, depth - 1);
        }
    }
}

/// A message with some attributes, the last of them nested.
fn written(mut input: Input<'_>) {
    let (kind, header) = (u16::from(input.byte()), [input.byte(); 4]);
    let (mut batch, mut wanted) = (Batch::new(), Vec::new());
    batch.message(kind, 0, &header, |attrs| {
        while !input.is_empty() && wanted.len() < 8 {
            let (name, value) = (u16::from(input.byte()), input.short());
            attrs.bytes(name, value);
            wanted.push((name, value));
        }
        attrs.nest(7, |inner| {
            wanted
                .iter()
                .for_each(|(name, value)| inner.bytes(*name, value))
        });
    });
    let mut read = 0;
    let end = messages(batch.bytes(), |found, seq, payload| {
        assert_eq!((found, seq, &payload[..4]), (kind, 1, &header[..]));
        let mut found: Vec<_> = attributes(&payload[4..]).collect();
        let (name, inner) = found.pop().expect("the nest");
        assert_eq!((name, &found), (7, &wanted));
        assert_eq!(attributes(inner).collect::<Vec<_>>(), wanted);
        read += 1;
        true
    });
    assert!(end.is_ok() && read == 1);
}
