//! WebSocket frames of both sides and the channels inside, cut anywhere: what is said is the same however
//! the stream is cut, and is read again as it is written.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use weir_fuzz::{Input, at_most};
use weir_wire_kube::channel::{
    ChannelError, Demux, ERROR, Event, RESIZE, Sizes, Subprotocol, exit, parse_ports, refusal,
};
use weir_wire_kube::websocket::{self, MAX_CONTROL, MAX_PIECE, Reader, WebSocketError};

const NAMES: [&str; 5] = [
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "v5.channel.k8s.io",
];

#[derive(Debug, PartialEq)]
enum Failed {
    Frame(WebSocketError),
    Channel(ChannelError),
}

/// What was said on each channel; none where it was closed.
type Said = Vec<(u8, Option<Vec<u8>>)>;

/// What bytes say that come in these chunks: data that follows other data of its channel is joined.
fn said<'a>(
    is_client: bool,
    version: Subprotocol,
    chunks: impl Iterator<Item = &'a [u8]>,
) -> (Said, Option<Failed>) {
    let mut reader = match is_client {
        true => Reader::of_client(),
        false => Reader::of_server(),
    };
    let (mut demux, mut input) = (Demux::new(version), BytesMut::new());
    let mut all: Said = Vec::new();
    for chunk in chunks {
        input.extend_from_slice(chunk);
        loop {
            let event = match reader.feed(&mut input) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => return (all, Some(Failed::Frame(error))),
            };
            let piece = match event {
                websocket::Event::Piece(piece) => piece,
                websocket::Event::Ping(payload)
                | websocket::Event::Pong(payload)
                | websocket::Event::Close(payload) => {
                    assert!(payload.len() <= MAX_CONTROL);
                    continue;
                }
            };
            assert!(piece.data.len() <= MAX_PIECE);
            match demux.take(piece) {
                Err(error) => return (all, Some(Failed::Channel(error))),
                Ok(None) => {}
                Ok(Some(Event::Close(channel))) => all.push((channel, None)),
                Ok(Some(Event::Data(channel, data))) => match all.last_mut() {
                    Some((last, Some(before))) if *last == channel => before.extend(&data),
                    _ => all.push((channel, Some(data.to_vec()))),
                },
            }
        }
    }
    (all, None)
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let is_client = input.byte() & 1 == 0;
    let Some(version) = Subprotocol::parse(Some(NAMES[input.below(NAMES.len())])) else {
        panic!("a name that is known");
    };
    let chunk = usize::from(input.byte()).max(1);
    let bytes = input.rest();
    let (all, failed) = at_most(64 * data.len() + (1 << 20), || {
        said(is_client, version, [bytes].into_iter())
    });
    let cut = said(is_client, version, bytes.chunks(chunk));
    assert_eq!(cut, (all.clone(), failed));

    let mask = is_client.then_some([1, 2, 3, 4]);
    let (mut out, mut sizes) = (BytesMut::new(), Sizes::default());
    for (channel, data) in &all {
        match data {
            Some(data) => {
                version.message(*channel, data, mask, &mut out);
                if *channel == RESIZE {
                    let _ = sizes.take(data);
                }
                if *channel == ERROR {
                    let _ = exit(version, data);
                    let text = String::from_utf8_lossy(data);
                    assert!(text.is_empty() || !refusal(version, &text).is_empty());
                    let _ = parse_ports([&*text].into_iter());
                }
            }
            None => assert!(version.close(*channel, mask, &mut out)),
        }
    }
    assert_eq!(
        said(is_client, version, [&out[..]].into_iter()),
        (all, None)
    );
});
