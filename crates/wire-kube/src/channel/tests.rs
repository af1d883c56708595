use super::*;
use crate::websocket::{self, Kind, Reader};

fn version(name: &str) -> Subprotocol {
    Subprotocol::parse(Some(name)).unwrap()
}

/// What comes of WebSocket bytes of a server's that come in chunks of this size, data of one channel
/// joined.
fn events(name: &str, bytes: &[u8], chunk: usize) -> Result<Vec<Event>, ChannelError> {
    let (mut reader, mut demux) = (Reader::of_server(), Demux::new(version(name)));
    let (mut input, mut all) = (BytesMut::new(), Vec::<Event>::new());
    for part in bytes.chunks(chunk) {
        input.extend_from_slice(part);
        while let Some(event) = reader.feed(&mut input).unwrap() {
            let websocket::Event::Piece(piece) = event else {
                panic!()
            };
            let Some(event) = demux.take(piece)? else {
                continue;
            };
            match (all.last_mut(), event) {
                (Some(Event::Data(last, before)), Event::Data(channel, data))
                    if *last == channel =>
                {
                    *before = [&before[..], &data[..]].concat().into();
                }
                (_, event) => all.push(event),
            }
        }
    }
    Ok(all)
}

fn data(channel: u8, bytes: &'static [u8]) -> Event {
    Event::Data(channel, Bytes::from_static(bytes))
}

#[test]
fn knows_the_names_of_all_versions_and_no_others() {
    for (name, version, base64) in [
        (None, 1, false),
        (Some(""), 1, false),
        (Some("channel.k8s.io"), 1, false),
        (Some("base64.channel.k8s.io"), 1, true),
        (Some("v2.channel.k8s.io"), 2, false),
        (Some("v3.channel.k8s.io"), 3, false),
        (Some("v4.channel.k8s.io"), 4, false),
        (Some("v4.base64.channel.k8s.io"), 4, true),
        (Some("v5.channel.k8s.io"), 5, false),
    ] {
        let wanted = Subprotocol { version, base64 };
        assert_eq!(Subprotocol::parse(name), Some(wanted), "{name:?}");
    }
    for name in [
        "v6.channel.k8s.io",
        "v1.channel.k8s.io",
        "V5.channel.k8s.io",
        "v5.base64.channel.k8s.io",
        "binary.k8s.io",
        "SPDY/3.1+portforward.k8s.io",
        " v5.channel.k8s.io",
    ] {
        assert_eq!(Subprotocol::parse(Some(name)), None, "{name}");
    }
}

#[test]
fn messages_come_apart_however_they_are_cut() {
    let all = "a text that is long enough to be cut at many places";
    for name in ["v5.channel.k8s.io", "v4.base64.channel.k8s.io"] {
        let mut bytes = BytesMut::new();
        let version = version(name);
        version.message(STDOUT, b"", None, &mut bytes);
        version.message(STDOUT, all.as_bytes(), None, &mut bytes);
        version.message(ERROR, b"{}", None, &mut bytes);
        for chunk in 1..=bytes.len() {
            let found = events(name, &bytes, chunk).unwrap();
            let wanted = vec![data(STDOUT, all.as_bytes()), data(ERROR, b"{}")];
            assert_eq!(found, wanted, "{name} by {chunk}");
        }
    }
}

#[test]
fn a_message_of_nothing_but_a_channel_says_that_the_stream_is_there() {
    let bytes = b"\x82\x01\x01\x82\x00";
    let found = events("v5.channel.k8s.io", bytes, 1).unwrap();
    assert_eq!(found, [data(STDOUT, b"")]);
}

#[test]
fn only_the_fifth_version_closes_channels() {
    let mut bytes = BytesMut::new();
    assert!(version("v5.channel.k8s.io").close(STDIN, None, &mut bytes));
    assert!(!version("v4.channel.k8s.io").close(STDIN, None, &mut BytesMut::new()));
    for chunk in 1..=4 {
        let found = events("v5.channel.k8s.io", &bytes, chunk).unwrap();
        assert_eq!(found, [Event::Close(STDIN)]);
    }
    let found = events("v4.channel.k8s.io", &bytes, 4).unwrap();
    assert_eq!(found, [data(255, b"\0")]);
    for wrong in [&b"\x82\x01\xff"[..], b"\x82\x03\xff\0\0"] {
        let found = events("v5.channel.k8s.io", wrong, 9);
        assert_eq!(found, Err(ChannelError::Close));
    }
}

#[test]
fn base64_is_what_go_decodes() {
    // The example of wsstream's documentation: "foo\n" on standard input.
    let example = b"\x81\x09\x30Zm9vCgo=";
    let found = events("base64.channel.k8s.io", example, 1).unwrap();
    assert_eq!(found, [data(STDIN, b"foo\n\n")]);
    for (text, decoded) in [
        (&b"1"[..], Some(&b""[..])),
        (b"1YQ==", Some(b"a")),
        (b"1YW\nI=", Some(b"ab")),
        (b"1YQ", None),
        (b"1YQ==YQ==", None),
        (b"1YQ==\nY", None),
        (b"1Y$==", None),
        (b"1YR==", None),
    ] {
        for cut in 0..=text.len() {
            let mut demux = Demux::new(version("base64.channel.k8s.io"));
            let mut found = Ok(Vec::new());
            for (part, last) in [(&text[..cut], false), (&text[cut..], true)] {
                let event = demux.take(Piece {
                    kind: Kind::Text,
                    first: !last,
                    last,
                    data: Bytes::from_static(part),
                });
                match (&mut found, event) {
                    (Ok(all), Ok(Some(Event::Data(channel, data)))) => {
                        assert_eq!(channel, STDOUT);
                        all.extend_from_slice(&data);
                    }
                    (Ok(_), Ok(None)) => {}
                    (_, event) => found = Err(event),
                }
            }
            assert_eq!(found.ok().as_deref(), decoded, "{text:?} cut at {cut}");
        }
    }
}

#[test]
fn a_client_that_is_masked_and_fragments_is_read_and_written_as_one_frame() {
    let mut bytes = BytesMut::new();
    version("v4.channel.k8s.io").message(STDIN, b"ls\n", Some([1, 2, 3, 4]), &mut bytes);
    assert_eq!(bytes.len(), 2 + 4 + 1 + 3);
    let mut reader = Reader::of_client();
    let Ok(Some(websocket::Event::Piece(piece))) = reader.feed(&mut bytes) else {
        panic!()
    };
    assert_eq!(&piece.data[..], b"\0ls\n");
    let mut demux = Demux::new(version("v4.channel.k8s.io"));
    let piece = |first, last, data| Piece {
        kind: Kind::Binary,
        first,
        last,
        data: Bytes::from_static(data),
    };
    let first = demux.take(piece(true, false, b"\0rm -")).unwrap();
    let second = demux.take(piece(false, true, b"\x01x")).unwrap();
    assert_eq!(first, Some(data(STDIN, b"rm -")));
    assert_eq!(second, Some(data(STDIN, b"\x01x")), "no channel of its own");
}

#[test]
fn sizes_are_read_however_they_are_cut() {
    let bytes = b"{\"Width\":80,\"Height\":24}\n{\"width\":132,\"height\":50}{\"Width\":1,\"x\":2}";
    for cut in 0..bytes.len() {
        let mut sizes = Sizes::default();
        let mut found = sizes.take(&bytes[..cut]).unwrap();
        found.extend(sizes.take(&bytes[cut..]).unwrap());
        assert_eq!(found, [(80, 24), (132, 50), (1, 0)]);
    }
    assert_eq!(Sizes::default().take(b"[]}"), Err(ChannelError::Size));
    assert_eq!(
        Sizes::default().take(b"{\"Width\":-1}"),
        Err(ChannelError::Size)
    );
    assert_eq!(
        Sizes::default().take(&[b' '; 2000]),
        Err(ChannelError::Size)
    );
}

#[test]
fn the_error_channel_says_how_a_command_ended() {
    let four = version("v4.channel.k8s.io");
    let code = br#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: exit status 7","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
    for (text, wanted) in [
        (&b""[..], Exit::Code(0)),
        (br#"{"metadata":{},"status":"Success"}"#, Exit::Code(0)),
        (code, Exit::Code(7)),
        (
            br#"{"status":"Failure","message":"no such container"}"#,
            Exit::Failed("no such container".to_owned()),
        ),
        (b"text", Exit::Failed("text".to_owned())),
    ] {
        assert_eq!(exit(four, text), wanted);
    }
    let one = version("channel.k8s.io");
    assert_eq!(exit(one, b"{}"), Exit::Failed("{}".to_owned()));
    let said = refusal(four, "rule \"x\": no");
    assert_eq!(exit(four, &said), Exit::Failed("rule \"x\": no".to_owned()));
    assert_eq!(refusal(one, "no"), b"no");
}

#[test]
fn ports_are_what_the_kubelet_takes() {
    let ports = |values: &[&str]| parse_ports(values.iter().copied()).ok();
    assert_eq!(ports(&["80,443", "5432"]), Some(vec![80, 443, 5432]));
    for wrong in [
        &[][..],
        &[""],
        &["80,"],
        &["0"],
        &["65536"],
        &["+80"],
        &["a"],
    ] {
        assert_eq!(ports(wrong), None, "{wrong:?}");
    }
    assert_eq!(
        ports(&["1"; MAX_PORTS]).map(|all| all.len()),
        Some(MAX_PORTS)
    );
    assert_eq!(ports(&["1"; MAX_PORTS + 1]), None);
    for number in 0..254 {
        assert_eq!(ForwardChannel::of(number).number(), Some(number));
    }
    assert_eq!(ForwardChannel::of(255).number(), None);
    assert_eq!(forward_port(0x1538), [0x38, 0x15]);
}
