//! The first packet: bounded, whole or not there, and the same bytes when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{Input, at_most};
use weir_wire_postgres::frame::MAX_STARTUP;
use weir_wire_postgres::startup::{FirstPacket, parse, ssl_request};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let cut = input.below(MAX_STARTUP);
    let bytes = input.rest();
    // A parameter takes two bytes in a packet, and two vectors outside.
    let parsed = at_most(64 * bytes.len() + 4096, || parse(bytes));
    let Ok(Some((packet, used))) = parsed else {
        return;
    };
    assert!((8..=MAX_STARTUP.min(bytes.len())).contains(&used));
    assert_eq!(
        parse(&bytes[..cut.min(used - 1)]),
        Ok(None),
        "half a packet"
    );
    assert_eq!(
        parse(&bytes[..used]),
        Ok(Some((packet.clone(), used))),
        "what follows counts"
    );
    match packet {
        FirstPacket::SslRequest => assert_eq!(bytes[..used], ssl_request()),
        FirstPacket::GssEncRequest => assert_eq!(used, 8),
        FirstPacket::Cancel(key) => assert_eq!(bytes[..used], key.encode()),
        FirstPacket::Startup(startup) => assert_eq!(bytes[..used], startup.encode()),
    }
});
