use super::*;

/// What a reader makes of bytes that come in chunks of this size.
fn read(
    mut reader: Reader,
    bytes: &[u8],
    chunk: usize,
) -> Result<(Vec<Event>, usize), WebSocketError> {
    let (mut input, mut events) = (BytesMut::new(), Vec::new());
    for part in bytes.chunks(chunk.max(1)) {
        input.extend_from_slice(part);
        while let Some(event) = reader.feed(&mut input)? {
            events.push(event);
        }
    }
    Ok((events, input.len()))
}

/// Messages and control frames, pieces joined.
fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    let mut open = false;
    for event in events {
        let Event::Piece(piece) = event else {
            all.push(event);
            continue;
        };
        assert_eq!(piece.first, !open, "the first piece says so");
        open = !piece.last;
        let before = all.iter_mut().rev().find_map(|event| match event {
            Event::Piece(before) if !before.last => Some(before),
            _ => None,
        });
        match before {
            Some(before) => {
                before.data = [&before.data[..], &piece.data[..]].concat().into();
                before.last = piece.last;
            }
            None => all.push(Event::Piece(piece)),
        }
    }
    all
}

fn message(kind: Kind, data: &[u8]) -> Event {
    Event::Piece(Piece {
        kind,
        first: true,
        last: true,
        data: Bytes::copy_from_slice(data),
    })
}

fn written(opcode: Opcode, mask: Option<[u8; 4]>, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    frame(opcode, mask, b"", payload, &mut out);
    out
}

#[test]
fn reads_the_examples_of_the_rfc() {
    let hello = b"\x81\x05\x48\x65\x6c\x6c\x6f";
    let masked = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let fragments = b"\x01\x03\x48\x65\x6c\x80\x02\x6c\x6f";
    let wanted = vec![message(Kind::Text, b"Hello")];
    for (reader, bytes) in [
        (Reader::of_server(), &hello[..]),
        (Reader::of_client(), &masked[..]),
        (Reader::of_server(), &fragments[..]),
    ] {
        let (events, left) = read(reader, bytes, bytes.len()).unwrap();
        assert_eq!((joined(events), left), (wanted.clone(), 0));
    }
    assert_eq!(&written(Opcode::Text, None, b"Hello")[..], hello);
    let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
    assert_eq!(&written(Opcode::Text, mask, b"Hello")[..], masked);
    let ping = b"\x89\x05\x48\x65\x6c\x6c\x6f";
    let (events, _) = read(Reader::of_server(), ping, 9).unwrap();
    assert_eq!(events, [Event::Ping(Bytes::from_static(b"Hello"))]);
}

#[test]
fn what_is_written_is_read_again_however_it_is_cut() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, MAX_PIECE, 100_000] {
        let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
        for mask in [None, Some([1, 2, 3, 4])] {
            let bytes = written(Opcode::Binary, mask, &payload);
            let reader = || match mask {
                None => Reader::of_server(),
                Some(_) => Reader::of_client(),
            };
            for chunk in [1, 2, 3, 7, 1000, bytes.len()] {
                let (events, left) = read(reader(), &bytes, chunk).unwrap();
                for event in &events {
                    let Event::Piece(piece) = event else { panic!() };
                    assert!(piece.data.len() <= MAX_PIECE);
                }
                let wanted = vec![message(Kind::Binary, &payload)];
                assert_eq!((joined(events), left), (wanted, 0), "{length} by {chunk}");
            }
        }
    }
}

#[test]
fn a_control_frame_may_come_inside_a_message() {
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(b"\x02\x02ab\x00\x00");
    frame(Opcode::Ping, None, b"", b"!", &mut bytes);
    bytes.extend_from_slice(b"\x80\x01c");
    close(CLOSE_NORMAL, "bye", None, &mut bytes);
    for chunk in 1..bytes.len() {
        let (events, left) = read(Reader::of_server(), &bytes, chunk).unwrap();
        let wanted = [
            message(Kind::Binary, b"abc"),
            Event::Ping(Bytes::from_static(b"!")),
            Event::Close(Bytes::from_static(b"\x03\xe8bye")),
        ];
        assert_eq!((joined(events), left), (wanted.to_vec(), 0));
    }
    assert_eq!(close_code(b"\x03\xe8bye"), Some(CLOSE_NORMAL));
    assert_eq!(close_code(b"\x03"), None);
}

#[test]
fn a_message_without_bytes_is_one_piece() {
    let (events, _) = read(Reader::of_server(), b"\x02\x00\x00\x00\x80\x00", 1).unwrap();
    assert_eq!(joined(events), [message(Kind::Binary, b"")]);
    let (events, _) = read(Reader::of_server(), b"\x82\x00", 2).unwrap();
    assert_eq!(events, [message(Kind::Binary, b"")]);
}

#[test]
fn hostile_frames_are_refused_as_soon_as_their_header_is_there() {
    use WebSocketError as E;
    for (bytes, wanted) in [
        (&b"\xc2\x80"[..], E::Reserved),
        (b"\xa2\x80", E::Reserved),
        (b"\x83\x80", E::Opcode(3)),
        (b"\x8f\x80", E::Opcode(15)),
        (b"\x82\x05", E::Mask),
        (b"\x09\x80", E::Control),
        (b"\x89\xfe", E::Control),
        (b"\x88\xff", E::Control),
        (b"\x82\xfe\x00\x7d", E::Length),
        (b"\x82\xff\0\0\0\0\0\0\xff\xff", E::Length),
        (b"\x82\xff\x80\0\0\0\0\0\0\0", E::Length),
        (b"\x80\x80\0\0\0\0", E::Order),
        (b"\x02\x80\0\0\0\0\x02\x80\0\0\0\0", E::Order),
    ] {
        let found = read(Reader::of_client(), bytes, 1).map(|(events, _)| events);
        assert_eq!(found, Err(wanted), "{bytes:x?}");
        assert!(read(Reader::of_client(), &bytes[..bytes.len() - 1], 1).is_ok());
    }
    let masked = read(Reader::of_server(), b"\x82\x80\0\0\0\0", 1);
    assert_eq!(masked.map(|_| ()), Err(E::Mask));
}

#[test]
fn a_frame_of_an_exabyte_needs_no_memory() {
    let mut reader = Reader::of_server();
    let mut input = BytesMut::from(&b"\x82\x7f\x0f\xff\xff\xff\xff\xff\xff\xff"[..]);
    assert_eq!(reader.feed(&mut input), Ok(None));
    for _ in 0..1000 {
        input.extend_from_slice(&[7; 1000]);
        match reader.feed(&mut input).unwrap() {
            Some(Event::Piece(piece)) => {
                assert_eq!((piece.data.len(), piece.last), (MAX_PIECE, false))
            }
            event => assert_eq!(event, None),
        }
        assert!(input.len() < MAX_PIECE);
    }
}

#[test]
fn texts_of_control_frames_are_cut_to_what_they_may_hold() {
    let mut out = BytesMut::new();
    close(CLOSE_POLICY, &"ä".repeat(100), Some([9; 4]), &mut out);
    let (events, left) = read(Reader::of_client(), &out, 1).unwrap();
    let [Event::Close(payload)] = &events[..] else {
        panic!()
    };
    assert_eq!((payload.len(), left), (124, 0));
    assert!(std::str::from_utf8(&payload[2..]).is_ok());
    assert!(written(Opcode::Pong, None, &[0; 500]).len() == 2 + MAX_CONTROL);
}
