//! The buffers between two sides: whatever is approved, replaced and written in whatever pieces,
//! bytes leave in order, each once, and what was not approved never leaves.
#![no_main]

#[path = "../../src/buffer.rs"]
#[allow(dead_code, reason = "the target does not read from a socket")]
mod buffer;

use buffer::{Inbox, Outbox};
use libfuzzer_sys::fuzz_target;
use weir_fuzz::Input;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (mut inbox, mut out) = (Inbox::default(), Outbox::default());
    // What has left, and what should have: every byte that was not discarded, in order.
    let (mut left, mut wanted, mut unjudged) = (Vec::new(), Vec::new(), Vec::new());
    while !input.is_empty() {
        let count = usize::from(input.byte());
        match input.byte() % 7 {
            0 => {
                let bytes = input.short();
                inbox.room(count).extend_from_slice(bytes);
                inbox.arrived(bytes.len());
                unjudged.extend_from_slice(bytes);
            }
            1 => {
                inbox.approve(count);
                wanted.extend(unjudged.drain(..count.min(unjudged.len())));
            }
            2 => {
                inbox.discard(count, &mut out);
                unjudged.drain(..count.min(unjudged.len()));
            }
            3 => {
                // A replacement goes behind what was approved before it.
                inbox.spill(&mut out);
                let replacement = vec![count as u8; count * 100];
                out.end().extend_from_slice(&replacement);
                wanted.extend(replacement);
            }
            4 => {
                let some = (count * 100).min(out.unsent().len());
                left.extend_from_slice(&out.unsent()[..some]);
                out.written(some);
            }
            5 => out.keep_room(count % 2 == 0),
            _ if out.unsent().is_empty() => {
                let some = count.min(inbox.approved().len());
                left.extend_from_slice(&inbox.approved()[..some]);
                inbox.written(count);
            }
            _ => {}
        }
        assert_eq!(inbox.unjudged(), unjudged);
        assert_eq!(inbox.len(), inbox.approved().len() + unjudged.len());
    }
    left.extend_from_slice(out.unsent());
    left.extend_from_slice(inbox.approved());
    assert_eq!(left, wanted);
});
