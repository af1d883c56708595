//! What a server sends, and what Weir makes of its errors: no field that can carry data is left,
//! no field is longer than allowed, and the message stays one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{Input, at_most};
use weir_wire_postgres::backend::{self, Fields, MAX_COLUMNS};
use weir_wire_postgres::frame::{HEADER, Header};
use weir_wire_postgres::message;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (kind, cut, most) = (input.byte(), input.byte(), input.below(600));
    let body = input.rest();
    match kind % 4 {
        0 => columns(body, usize::from(cut)),
        1 => small(body),
        2 => scrubbed(body),
        _ => shortened(body, most),
    }
});

fn columns(body: &[u8], cut: usize) {
    let read = at_most(8 * body.len() + 4096, || backend::row_description(body));
    let Ok(fields) = read else {
        return;
    };
    assert!(fields.len() <= MAX_COLUMNS);
    let mut again = (fields.len() as u16).to_be_bytes().to_vec();
    for field in &fields {
        again.extend_from_slice(&field.name);
        again.push(0);
        again.extend_from_slice(&field.table_oid.to_be_bytes());
        again.extend_from_slice(&field.attribute.to_be_bytes());
        again.extend_from_slice(&field.type_oid.to_be_bytes());
        // The type's length and modifier, which Weir does not look at.
        let skipped = &body[again.len()..again.len() + 6];
        again.extend_from_slice(skipped);
        let format = &body[again.len()..again.len() + 2];
        assert_eq!(field.binary, format == [0, 1]);
        again.extend_from_slice(format);
    }
    assert_eq!(again, body, "the view left something out");
    let cut = &body[..cut % body.len()];
    assert!(backend::row_description(cut).is_err(), "half a description");
}

fn small(body: &[u8]) {
    assert_eq!(
        backend::ready(body).is_ok(),
        matches!(body, [b'I' | b'T' | b'E'])
    );
    if let Ok(key) = backend::backend_key(body) {
        assert_eq!([&key.pid.to_be_bytes()[..], &key.secret].concat(), body);
        assert!((4..=256).contains(&key.secret.len()));
    }
    if let Ok((name, value)) = backend::parameter_status(body) {
        assert!(body.starts_with(&[name, b"\0", value, b"\0"].concat()));
    }
    if let Ok(tag) = backend::command_tag(body) {
        assert!(body.starts_with(&[tag, b"\0"].concat()));
    }
}

/// The fields of a message that Weir wrote, which has to be whole.
fn fields(written: &[u8]) -> Vec<(u8, &[u8])> {
    let whole = Header {
        tag: b'E',
        total: written.len(),
    };
    assert_eq!(Header::peek(written), Ok(Some(whole)));
    let body = &written[HEADER..];
    let found: Vec<_> = Fields::new(body).collect();
    let length: usize = found.iter().map(|(_, value)| value.len() + 2).sum();
    assert_eq!(length + 1, body.len(), "bytes that no reader sees");
    found
}

fn scrubbed(body: &[u8]) {
    let mut out = Vec::new();
    message::scrubbed(&mut out, b'E', body, "withheld");
    let before: Vec<_> = Fields::new(body)
        .filter(|(code, _)| b"SVCFLRM".contains(code))
        .collect();
    let after = fields(&out);
    assert_eq!(before.len(), after.len());
    for ((was, value), (is, kept)) in before.into_iter().zip(after) {
        assert_eq!(was, is);
        assert_eq!(kept, if is == b'M' { b"withheld" } else { value });
    }
}

fn shortened(body: &[u8], most: usize) {
    let mut out = Vec::new();
    message::cut(&mut out, b'E', body, most);
    for ((was, value), (is, kept)) in Fields::new(body).zip(fields(&out)) {
        assert_eq!(was, is);
        if value.len() <= most {
            assert_eq!(value, kept);
            continue;
        }
        assert!(
            kept.len() <= most + 40,
            "{} bytes of at most {most}",
            kept.len()
        );
        assert!(kept.ends_with(b" bytes withheld)"));
        if std::str::from_utf8(value).is_ok() {
            assert!(
                std::str::from_utf8(kept).is_ok(),
                "cut inside of a character"
            );
        }
    }
}
