//! What first bytes speak: the verdict does not depend on how they arrive.
#![no_main]

#[path = "../../src/sniff.rs"]
mod sniff;

use libfuzzer_sys::fuzz_target;
use sniff::Sniffed;

fuzz_target!(|data: &[u8]| {
    settled(data, sniff::client);
    settled(data, sniff::server);
});

/// A verdict that was given for the first bytes holds for all that follow.
fn settled(bytes: &[u8], judge: fn(&[u8]) -> Sniffed) {
    let last = judge(bytes);
    for end in 0..bytes.len() {
        let early = judge(&bytes[..end]);
        assert!(
            early == Sniffed::More || early == last,
            "{early:?} of {end} bytes, then {last:?}"
        );
    }
}
