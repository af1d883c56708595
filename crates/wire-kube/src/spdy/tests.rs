use miniz_oxide::MZFlush;
use miniz_oxide::deflate::core::CompressorOxide;
use miniz_oxide::deflate::stream::deflate;

use super::*;

/// What spdystream 0.5.1 writes of the frames of [`golden_frames`].
const GOLDEN: &str = "\
    80030001000000290000000100000000000078f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a\
    6800000000ffff800300010100001700000003000000000000c22e555c92929907000000ffff80030001\
    0000002f00000005000000034000022555060606ce2248ac6682523ba33986625091940829dd8bc019c9\
    d4c4d808000000ffff800300020000000e000000016260606000000000ffff000000010000000568656c\
    6c6f0000000101000000800300080000001300000003821acd0892644e624806000000ffff8003000600\
    0000040000000180030003000000080000000300000005800300040000000c0000000101000004000000\
    648003000900000008000000010001000080030007000000080000000300000000";

fn golden_frames() -> Vec<Frame> {
    vec![
        Frame::SynStream {
            stream: 1,
            associated: 0,
            priority: 0,
            fin: false,
            unidirectional: false,
            headers: Headers::new(&[("streamtype", "error")]),
        },
        Frame::SynStream {
            stream: 3,
            associated: 0,
            priority: 0,
            fin: true,
            unidirectional: false,
            headers: Headers::new(&[("streamtype", "stdin")]),
        },
        Frame::SynStream {
            stream: 5,
            associated: 3,
            priority: 2,
            fin: false,
            unidirectional: false,
            headers: Headers::new(&[("requestid", "7"), ("streamtype", "data"), ("port", "5432")]),
        },
        reply(1),
        data(1, false, b"hello"),
        data(1, true, b""),
        Frame::Headers {
            stream: 3,
            fin: false,
            headers: Headers::new(&[("a", "b\0c")]),
        },
        Frame::Ping(1),
        Frame::Rst {
            stream: 3,
            status: CANCEL,
        },
        Frame::Settings(vec![(1, 4, 100)]),
        Frame::WindowUpdate {
            stream: 1,
            delta: 65536,
        },
        Frame::GoAway { last: 3, status: 0 },
    ]
}

fn reply(stream: u32) -> Frame {
    Frame::SynReply {
        stream,
        fin: false,
        headers: Headers::default(),
    }
}

fn data(stream: u32, fin: bool, bytes: &'static [u8]) -> Frame {
    let data = Bytes::from_static(bytes);
    Frame::Data { stream, fin, data }
}

fn golden() -> Vec<u8> {
    let pairs = GOLDEN.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

/// The frames of bytes that come in chunks of this size, pieces of data joined, and what is left.
fn read(bytes: &[u8], chunk: usize) -> Result<(Vec<Frame>, usize), SpdyError> {
    let (mut reader, mut input) = (Reader::default(), BytesMut::new());
    let mut frames: Vec<Frame> = Vec::new();
    for part in bytes.chunks(chunk.max(1)) {
        input.extend_from_slice(part);
        while let Some(frame) = reader.feed(&mut input)? {
            match (frames.last_mut(), frame) {
                (
                    Some(Frame::Data {
                        stream,
                        fin: before_fin,
                        data: before,
                    }),
                    Frame::Data {
                        stream: same,
                        fin,
                        data,
                    },
                ) if *stream == same && !*before_fin && !data.is_empty() => {
                    *before = [&before[..], &data[..]].concat().into();
                    *before_fin = fin;
                }
                (_, frame) => frames.push(frame),
            }
        }
    }
    Ok((frames, input.len()))
}

fn written(frames: &[Frame]) -> BytesMut {
    let (mut writer, mut out) = (Writer::default(), BytesMut::new());
    for frame in frames {
        writer.frame(frame, &mut out);
    }
    out
}

#[test]
fn reads_what_spdystream_writes_however_it_is_cut() {
    let bytes = golden();
    for chunk in 1..=bytes.len() {
        let (frames, left) = read(&bytes, chunk).unwrap();
        assert_eq!((frames, left), (golden_frames(), 0), "by {chunk}");
    }
}

#[test]
fn reads_what_it_writes() {
    let mut frames = golden_frames();
    let long: Box<str> = "x".repeat(20_000).into();
    for stream in 0..50 {
        frames.push(Frame::SynReply {
            stream: 7 + stream,
            fin: true,
            headers: Headers::new(&[("long", &long), ("streamtype", "data")]),
        });
    }
    let bytes = written(&frames);
    for chunk in [1, 13, 4096, bytes.len()] {
        assert_eq!(read(&bytes, chunk).unwrap(), (frames.clone(), 0));
    }
}

#[test]
fn values_are_found_by_name() {
    let headers = Headers::new(&[("streamType", "data"), ("port", "80\x0081")]);
    assert_eq!(headers.first("streamtype"), Some("data"));
    assert_eq!(headers.first("port"), Some("80"));
    assert_eq!(headers.first("requestid"), None);
    assert_eq!((headers.len(), headers.is_empty()), (2, false));
}

#[test]
fn data_of_any_length_comes_in_pieces_and_ends_once() {
    let mut out = BytesMut::new();
    let long = vec![7; 3 * MAX_PIECE + 1];
    Writer::data(9, true, &long, &mut out);
    let (frames, left) = read(&out, 1000).unwrap();
    let [Frame::Data { stream, fin, data }] = &frames[..] else {
        panic!("{}", frames.len())
    };
    assert_eq!((*stream, *fin, &data[..], left), (9, true, &long[..], 0));

    let mut reader = Reader::default();
    let mut input = BytesMut::from(&b"\0\0\0\x01\x01\xff\xff\xff"[..]);
    assert_eq!(reader.feed(&mut input), Ok(None));
    let mut taken = 0;
    while taken < 0xff_ffff {
        input.extend_from_slice(&[0; 65536][..65536.min(0xff_ffff - taken)]);
        while let Some(frame) = reader.feed(&mut input).unwrap() {
            let Frame::Data { fin, data, .. } = frame else {
                panic!()
            };
            assert!(data.len() <= MAX_PIECE);
            taken += data.len();
            assert_eq!(fin, taken == 0xff_ffff);
        }
        assert!(input.len() < MAX_PIECE);
    }
}

#[test]
fn a_frame_that_is_cut_short_waits_for_the_rest() {
    let bytes = golden();
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end], end).is_ok(), "cut at {end}");
    }
}

#[test]
fn hostile_frames_are_refused() {
    use SpdyError as E;
    let control = |kind: u8, body: &[u8]| {
        let mut frame = vec![0x80, 3, 0, kind, 0, 0, 0, body.len() as u8];
        frame.extend_from_slice(body);
        frame
    };
    for (bytes, wanted) in [
        (
            b"\x80\x02\0\x06\0\0\0\x04\0\0\0\x01".to_vec(),
            E::Version(2),
        ),
        (control(5, b""), E::Type(5)),
        (control(10, b""), E::Type(10)),
        (b"\x80\x03\0\x01\0\xff\xff\xff".to_vec(), E::Length),
        (b"\0\0\0\0\0\0\0\x01x".to_vec(), E::Zero),
        (control(3, &[0; 8]), E::Zero),
        (control(6, &[0; 4]), E::Zero),
        (control(6, &[1; 5]), E::Length),
        (control(3, &[1; 7]), E::Length),
        (control(7, &[0; 4]), E::Length),
        (control(4, b"\xff\xff\xff\xff"), E::Length),
        (control(4, b"\0\0\0\x02\0\0\0\x01\0\0\0\x01"), E::Length),
        (control(1, b"\0\0\0\x01\0\0\0\0\0"), E::Length),
        (control(2, b"\0\0\0\x01"), E::Compression),
        (control(2, b"\0\0\0\x01\x78\x21"), E::Compression),
        (control(2, b"\0\0\0\x01\x78\x20\0\0\0\x01"), E::Compression),
        (
            control(2, b"\0\0\0\x01\x78\x20\xe3\xc6\xa7\xc2\x07"),
            E::Compression,
        ),
        (
            control(2, b"\0\0\0\x01\x78\x20\xe3\xc6\xa7\xc2"),
            E::Headers,
        ),
    ] {
        let found = read(&bytes, 1).map(|(frames, _)| frames);
        assert_eq!(found, Err(wanted), "{bytes:x?}");
    }
}

/// A first header block of these bytes, deflated by `miniz_oxide` and flushed this way.
fn block(plain: &[u8], flush: MZFlush) -> Vec<u8> {
    let mut compressor = CompressorOxide::default();
    let mut deflated = vec![0; 40_000];
    let result = deflate(&mut compressor, plain, &mut deflated, flush);
    assert_eq!(result.bytes_consumed, plain.len());
    let mut body = b"\0\0\0\x01".to_vec();
    body.extend_from_slice(&deflated[..result.bytes_written]);
    let length = (body.len() as u32).to_be_bytes();
    let mut frame = vec![0x80, 3, 0, 2, 0, length[1], length[2], length[3]];
    frame.extend_from_slice(&body);
    frame
}

#[test]
fn hostile_header_blocks_are_refused() {
    use SpdyError as E;
    for (plain, wanted) in [
        (b"\0\0\0\x01".to_vec(), E::Headers),
        (b"\xff\xff\xff\xff".to_vec(), E::Headers),
        (b"\0\0\0\x01\xff\xff\xff\xffa".to_vec(), E::Headers),
        (
            b"\0\0\0\x01\0\0\0\x01a\xff\xff\xff\xff".to_vec(),
            E::Headers,
        ),
        (b"\0\0\0\0more".to_vec(), E::Headers),
        (b"\0\0\0\x01\0\0\0\0\0\0\0\0".to_vec(), E::Name),
        (b"\0\0\0\x01\0\0\0\x01A\0\0\0\0".to_vec(), E::Name),
        (
            b"\0\0\0\x02\0\0\0\x01a\0\0\0\0\0\0\0\x01a\0\0\0\0".to_vec(),
            E::Name,
        ),
        (vec![0; 10 << 20], E::Headers),
    ] {
        let found = read(&block(&plain, MZFlush::Sync), usize::MAX).map(|(frames, _)| frames);
        let shown = &plain[..plain.len().min(20)];
        assert_eq!(found, Err(wanted), "{shown:x?}");
    }
    let fine = block(b"\0\0\0\x01\0\0\0\x01a\0\0\0\x01b", MZFlush::Sync);
    let headers = Headers::new(&[("a", "b")]);
    let wanted = Frame::SynReply {
        stream: 1,
        fin: false,
        headers,
    };
    assert_eq!(read(&fine, 1), Ok((vec![wanted], 0)));
}

#[test]
fn a_stream_that_ends_is_refused() {
    let found = read(&block(b"\0\0\0\0", MZFlush::Finish), usize::MAX);
    assert_eq!(found, Err(SpdyError::Compression));
}
