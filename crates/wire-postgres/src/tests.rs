#![allow(missing_docs)]
use crate::{ProtocolError, backend, frame::Header, frontend, message, startup};

fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = (cells.len() as u16).to_be_bytes().to_vec();
    for cell in cells {
        match cell {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(bytes) => {
                body.extend((bytes.len() as u32).to_be_bytes());
                body.extend(*bytes);
            }
        }
    }
    body
}

#[test]
fn refuses_impossible_lengths() {
    for length in [0_u32, 3, 0x4000_0000, 0x7fff_ffff, 0xffff_ffff] {
        let mut bytes = vec![b'Q'];
        bytes.extend(length.to_be_bytes());
        assert!(
            matches!(Header::peek(&bytes), Err(ProtocolError::Length { .. })),
            "{length}"
        );
    }
    assert_eq!(
        Header::peek(b"S\0\0\0\x04"),
        Ok(Some(Header {
            tag: b'S',
            total: 5
        }))
    );
    assert_eq!(Header::peek(b"S\0\0\0"), Ok(None));
}

#[test]
fn startup_round_trips_and_is_bounded() {
    let startup = startup::Startup {
        version: (3, 2),
        parameters: vec![
            (b"user".to_vec(), b"app".to_vec()),
            (b"options".to_vec(), b"-c x=1".to_vec()),
        ],
    };
    let bytes = startup.encode();
    for cut in 0..bytes.len() {
        assert_eq!(startup::parse(&bytes[..cut]), Ok(None), "cut at {cut}");
    }
    let (first, used) = startup::parse(&bytes).unwrap().unwrap();
    assert_eq!(
        (first, used),
        (startup::FirstPacket::Startup(startup), bytes.len())
    );
    assert!(startup::parse(&[0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(startup::parse(&[0, 0, 0, 4]).is_err());
    assert_eq!(
        startup::parse(&startup::ssl_request()).unwrap(),
        Some((startup::FirstPacket::SslRequest, 8))
    );
    let key = startup::CancelKey {
        pid: 7,
        secret: vec![1; 32],
    };
    assert_eq!(
        startup::parse(&key.encode()).unwrap(),
        Some((
            startup::FirstPacket::Cancel(key.clone()),
            key.encode().len()
        ))
    );
}

#[test]
fn every_truncated_body_is_an_error() {
    let mut bind = Vec::new();
    bind.extend(b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x01\0\x01");
    assert_eq!(
        frontend::bind(&bind).unwrap().parameters,
        vec![(Some(&b"ab"[..]), true), (None, true)]
    );
    for cut in 0..bind.len() {
        assert!(frontend::bind(&bind[..cut]).is_err(), "bind cut at {cut}");
    }
    let parse = b"s\0select 1\0\0\x01\0\0\0\x17";
    for cut in 0..parse.len() {
        assert!(
            frontend::parse(&parse[..cut]).is_err(),
            "parse cut at {cut}"
        );
    }
    let fields = b"\0\x01id\0\0\0\x40\x00\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
    let read = backend::row_description(fields).unwrap();
    assert_eq!(
        (read[0].table_oid, read[0].attribute, read[0].type_oid),
        (16384, 1, 23)
    );
    for cut in 0..fields.len() {
        assert!(
            backend::row_description(&fields[..cut]).is_err(),
            "fields cut at {cut}"
        );
    }
}

#[test]
fn counts_are_checked_before_allocation() {
    assert_eq!(
        backend::row_description(&[0x7f, 0xff]),
        Err(ProtocolError::Count)
    );
    assert!(frontend::bind(b"\0\0\x7f\xff").is_err());
    assert!(frontend::bind(b"\0\0\xff\xff").is_err());
}

#[test]
fn counts_are_unsigned() {
    let most = [b"\0\0\0\0\xff\xff".as_slice(), &[0xff; 4 * 65535], b"\0\0"].concat();
    assert_eq!(frontend::bind(&most).unwrap().parameters.len(), 65535);
    let typed = [b"\0select 1\0\xff\xff".as_slice(), &[0; 4 * 65535]].concat();
    assert!(frontend::parse(&typed).is_ok());
}

#[test]
fn a_masked_row_replaces_only_its_cells() {
    let body = row(&[Some(b"7"), Some(b"774-21-9036"), None, Some(b"")]);
    let mut out = Vec::new();
    let masks = [
        (0, "same"),
        (1, "***"),
        (2, "not shown"),
        (3, ""),
        (9, "none such"),
    ];
    message::masked_row(&mut out, &body, &masks, |mask, _, out| match *mask {
        "" => message::Cell::Null,
        "same" => {
            out.extend_from_slice(b"thrown away");
            message::Cell::Same
        }
        text => {
            out.extend_from_slice(text.as_bytes());
            message::Cell::Value
        }
    })
    .unwrap();
    assert_eq!(out[5..], row(&[Some(b"7"), Some(b"***"), None, None])[..]);
    for cut in 0..body.len() {
        let mut out = b"kept".to_vec();
        assert!(
            message::masked_row(&mut out, &body[..cut], &masks, |_, _, _| {
                message::Cell::Null
            })
            .is_err()
        );
        assert_eq!(out, b"kept");
    }
}

#[test]
fn a_scrubbed_error_keeps_no_data() {
    let mut raw = Vec::new();
    message::error(
        &mut raw,
        "ERROR",
        &message::Report {
            sqlstate: "22P02",
            message: "bad 774-21",
            detail: Some("774-21"),
            hint: None,
        },
    );
    let mut out = Vec::new();
    message::scrubbed(&mut out, b'E', &raw[5..], "withheld");
    let fields = backend::Fields::new(&out[5..]);
    assert_eq!(fields.find(b'C'), Some(&b"22P02"[..]));
    assert!(!out.windows(6).any(|w| w == b"774-21"));
}

#[test]
fn a_name_beyond_ascii_is_seen_wherever_it_stands_and_nothing_else_is() {
    use frontend::{has_foreign_name, tag};
    for (tag, body) in [
        (tag::PARSE, &b"\xc3\xa4\0SELECT 1\0\0\0"[..]),
        (tag::BIND, b"\xe4\0\0\0\0\0\0\0\0"),
        (tag::BIND, b"p\0\xe4\0\0\0\0\0\0\0"),
        (tag::EXECUTE, b"\xe4\0\0\0\0\0"),
        (tag::DESCRIBE, b"S\xe4\0"),
        (tag::CLOSE, b"P\xe4\0"),
    ] {
        assert!(has_foreign_name(tag, body), "{body:?}");
    }
    for (tag, body) in [
        (tag::PARSE, &b"s\0SELECT '\xe4'\0\0\0"[..]),
        (tag::BIND, b"p\0s\0\0\0\0\x01\0\0\0\x01\xe4\0\0"),
        (tag::EXECUTE, b"p\0\xff\xff\xff\xff"),
        (tag::CLOSE, b"Ss\0"),
        (tag::QUERY, b"SELECT '\xe4'\0"),
    ] {
        assert!(!has_foreign_name(tag, body), "{body:?}");
    }
}

#[test]
fn decoders_survive_any_bytes() {
    let mut state = 0x9e37_79b9_u32;
    for _ in 0..20_000 {
        let mut bytes = Vec::new();
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        for _ in 0..(state >> 26) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.push(if state & 0x300 == 0 {
                0
            } else {
                (state >> 24) as u8
            });
        }
        let _ = Header::peek(&bytes);
        let _ = startup::parse(&bytes);
        let _ = frontend::bind(&bytes);
        let _ = frontend::parse(&bytes);
        let _ = frontend::named(&bytes);
        let _ = backend::row_description(&bytes);
        let _ = backend::Fields::new(&bytes).count();
        let _ = message::masked_row(&mut Vec::new(), &bytes, &[(1, ())], |(), _, _| {
            message::Cell::Null
        });
    }
}
