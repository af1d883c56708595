//! SPDY of both sides, cut anywhere: frames are the same however the stream is cut, stay within their
//! bounds, and are read again as they are written.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use weir_fuzz::{Input, at_most};
use weir_wire_kube::spdy::{Frame, MAX_CONTROL, MAX_HEADERS, MAX_PIECE, Reader, SpdyError, Writer};

/// The frames of bytes that come in these chunks.
fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<SpdyError>) {
    let (mut reader, mut input) = (Reader::default(), BytesMut::new());
    let mut frames = Vec::new();
    for chunk in chunks {
        input.extend_from_slice(chunk);
        loop {
            match reader.feed(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(input.len() <= MAX_PIECE.max(MAX_CONTROL) + 8 + chunk.len());
    }
    (frames, None)
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let chunk = usize::from(input.byte()).max(1);
    let bytes = input.rest();
    let (frames, error) = at_most(64 * data.len() + 8 * MAX_HEADERS + (1 << 20), || {
        read([bytes].into_iter())
    });
    assert_eq!(read(bytes.chunks(chunk)), (frames.clone(), error));
    let (mut writer, mut out) = (Writer::default(), BytesMut::new());
    for frame in &frames {
        if let Frame::Data { data, .. } = frame {
            assert!(data.len() <= MAX_PIECE);
        }
        writer.frame(frame, &mut out);
    }
    assert_eq!(read([&out[..]].into_iter()), (frames, None));
});
