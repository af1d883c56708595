//! What a client sends: framing does not depend on how bytes arrive, and a view that was read
//! says everything that the message says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{Input, at_most};
use weir_wire_postgres::ProtocolError;
use weir_wire_postgres::frame::{HEADER, Header, MAX_MESSAGE};
use weir_wire_postgres::frontend::{self, Named, tag};
use weir_wire_postgres::message::message;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (cut, piece) = (input.byte(), input.byte());
    let stream = input.rest();
    let whole = frames(stream, usize::MAX);
    assert_eq!(
        whole,
        frames(stream, usize::from(piece).max(1)),
        "pieces of {piece}"
    );
    for (kind, body) in whole.0 {
        // A parameter takes at least four bytes, and a slice with a flag outside.
        let bound = 16 * body.len() + 4096;
        at_most(bound, || view(kind, body, usize::from(cut)));
    }
});

/// Tags and bodies.
type Messages<'a> = Vec<(u8, &'a [u8])>;

/// The messages of a stream that arrives in pieces of `piece` bytes, and how it ends.
fn frames(stream: &[u8], piece: usize) -> (Messages<'_>, Result<(), ProtocolError>) {
    let (mut found, mut at, mut arrived) = (Vec::new(), 0, 0);
    loop {
        arrived = stream.len().min(usize::saturating_add(arrived, piece));
        loop {
            match Header::peek(&stream[at..arrived]) {
                Err(error) => return (found, Err(error)),
                Ok(Some(header)) => {
                    assert!((HEADER..=MAX_MESSAGE + 1).contains(&header.total));
                    if header.total > arrived - at {
                        break;
                    }
                    found.push((header.tag, &stream[at + HEADER..at + header.total]));
                    at += header.total;
                }
                Ok(None) => break,
            }
        }
        if arrived == stream.len() {
            return (found, Ok(()));
        }
    }
}

/// Reads a body as its tag says, writes it again, and cuts it.
fn view(kind: u8, body: &[u8], cut: usize) {
    let cut = &body[..cut % (body.len() + 1)];
    let mut again = Vec::new();
    match kind {
        tag::QUERY => {
            let Ok(text) = frontend::query(body) else {
                return;
            };
            message(&mut again, kind, |out| put(out, text));
            assert!(cut == body || frontend::query(cut).is_err());
        }
        tag::PARSE => {
            let Ok(parse) = frontend::parse(body) else {
                return;
            };
            message(&mut again, kind, |out| {
                put(out, parse.name);
                put(out, parse.query);
                // The parameter types, which Weir does not look at.
                out.extend_from_slice(&body[parse.name.len() + parse.query.len() + 2..]);
            });
            assert!(cut == body || frontend::parse(cut).is_err());
        }
        tag::BIND => {
            let Ok(bind) = frontend::bind(body) else {
                return;
            };
            assert!(bind.parameters.len() * 4 <= body.len());
            again = written_bind(&bind, body);
            assert!(cut == body || frontend::bind(cut).is_err());
        }
        tag::EXECUTE => {
            let Ok(execute) = frontend::execute(body) else {
                return;
            };
            message(&mut again, kind, |out| {
                put(out, execute.portal);
                out.extend_from_slice(&execute.max_rows.to_be_bytes());
            });
            assert!(cut == body || frontend::execute(cut).is_err());
        }
        tag::DESCRIBE | tag::CLOSE => {
            let (letter, name) = match frontend::named(body) {
                Ok(Named::Statement(name)) => (b'S', name),
                Ok(Named::Portal(name)) => (b'P', name),
                Err(_) => return,
            };
            message(&mut again, kind, |out| {
                out.push(letter);
                put(out, name);
            });
            assert!(cut == body || frontend::named(cut).is_err());
        }
        tag::FUNCTION_CALL => {
            let oid = frontend::function_oid(body);
            assert_eq!(oid.is_ok(), body.len() >= 4);
            return;
        }
        _ => return,
    }
    assert_eq!(again[HEADER..], *body, "the view left something out");
    let header = Header {
        tag: kind,
        total: again.len(),
    };
    assert_eq!(Header::peek(&again), Ok(Some(header)));
}

fn put(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}

/// A `Bind` with the parameter formats of `body`, where they are as sent, and all else from the view.
fn written_bind(bind: &frontend::Bind<'_>, body: &[u8]) -> Vec<u8> {
    let mut again = Vec::new();
    message(&mut again, tag::BIND, |out| {
        put(out, bind.portal);
        put(out, bind.statement);
        let formats = usize::from(u16::from_be_bytes([
            body[out.len() - HEADER],
            body[out.len() - HEADER + 1],
        ]));
        let start = out.len() - HEADER;
        out.extend_from_slice(&body[start..start + 2 + 2 * formats]);
        out.extend_from_slice(&(bind.parameters.len() as u16).to_be_bytes());
        for (index, (value, binary)) in bind.parameters.iter().enumerate() {
            let place = match formats {
                0 => None,
                1 => Some(0),
                _ => Some(index),
            };
            let code = place.map(|place| &body[start + 2 + 2 * place..start + 4 + 2 * place]);
            assert_eq!(*binary, code == Some(&[0, 1][..]));
            match value {
                None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
                Some(value) => {
                    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                    out.extend_from_slice(value);
                }
            }
        }
        out.extend_from_slice(&(bind.result_formats.len() as u16).to_be_bytes());
        for code in &bind.result_formats {
            out.extend_from_slice(&code.to_be_bytes());
        }
    });
    again
}
