//! Peers that lie, cut messages short or send them out of order.

use super::*;

fn challenged(binding: Option<&[u8]>) -> (Upstream, String) {
    let mut up = upstream("pw", binding);
    let first = sent(up.on_auth(ask(&downstream("pw", binding).offer())).unwrap());
    let text = String::from_utf8_lossy(body(&first, b'p')).into_owned();
    let nonce = text.rsplit_once("r=").unwrap().1.to_owned();
    (up, nonce)
}

fn server_first(text: &str) -> Result<Action, UpstreamError> {
    let (mut up, nonce) = challenged(None);
    let text = text.replace('@', &nonce);
    up.on_auth(AuthRequest::SaslContinue(text.as_bytes()))
}

#[test]
fn ok_before_the_server_has_proven_itself_is_an_error() {
    let (mut up, _) = challenged(None);
    assert_eq!(up.on_auth(AuthRequest::Ok), Err(UpstreamError::Unproven));
    let (mut up, nonce) = challenged(None);
    let first = format!("r={nonce}x,s=c2FsdA==,i=1");
    sent(
        up.on_auth(AuthRequest::SaslContinue(first.as_bytes()))
            .unwrap(),
    );
    assert_eq!(up.on_auth(AuthRequest::Ok), Err(UpstreamError::Unproven));
    assert_eq!(up.on_auth(AuthRequest::Ok), Err(UpstreamError::OutOfOrder));
}

#[test]
fn a_wrong_server_signature_is_an_error() {
    let wrong = format!("v={}", STANDARD.encode([0; 32]));
    for (last, error) in [
        (wrong.as_str(), UpstreamError::Signature),
        ("v=AAAA", UpstreamError::Signature),
        ("v=", UpstreamError::Signature),
        ("e=other-error", UpstreamError::Refused),
        ("v=!", UpstreamError::Malformed("server-final-message")),
        ("", UpstreamError::Malformed("server-final-message")),
    ] {
        let (mut up, nonce) = challenged(None);
        let first = format!("r={nonce}x,s=c2FsdA==,i=1");
        sent(
            up.on_auth(AuthRequest::SaslContinue(first.as_bytes()))
                .unwrap(),
        );
        assert_eq!(
            up.on_auth(AuthRequest::SaslFinal(last.as_bytes())),
            Err(error)
        );
    }
}

#[test]
fn iteration_counts_out_of_bounds_are_refused_without_computing() {
    for i in ["0", "10000001", "4294967296", "99999999999999999999999"] {
        let error = server_first(&format!("r=@x,s=c2FsdA==,i={i}"));
        assert_eq!(error, Err(UpstreamError::Iterations), "{i}");
    }
    for i in ["", "-1", "+1", "1x", " 1"] {
        let error = server_first(&format!("r=@x,s=c2FsdA==,i={i}"));
        assert_eq!(
            error,
            Err(UpstreamError::Malformed("server-first-message")),
            "{i}"
        );
    }
}

#[test]
fn a_server_nonce_has_to_continue_ours() {
    for text in [
        "r=@,s=c2FsdA==,i=1",
        "r=x@,s=c2FsdA==,i=1",
        "r=,s=c2FsdA==,i=1",
    ] {
        assert!(
            matches!(server_first(text), Err(UpstreamError::Malformed(_))),
            "{text}"
        );
    }
    assert!(server_first("r=@x,s=c2FsdA==,i=1,x=extension").is_ok());
}

#[test]
fn a_mandatory_extension_is_refused() {
    assert!(server_first("m=x,r=@x,s=c2FsdA==,i=1").is_err());
    let error = downstream("pw", None).on_response(b"SCRAM-SHA-256\0\0\0\0\x0fn,,m=x,n=,r=abc");
    assert_eq!(
        error,
        Err(ClientError::Unsupported(
            "client requires an unsupported SCRAM extension"
        ))
    );
}

#[test]
fn methods_that_cannot_be_brokered_are_named() {
    for (code, name) in [
        (2, "Kerberos"),
        (7, "GSSAPI"),
        (9, "SSPI"),
        (6, "an unknown"),
        (13, "an unknown"),
    ] {
        let result = AuthRequest::parse(&[0, 0, 0, code])
            .and_then(|request| upstream("pw", None).on_auth(request));
        assert_eq!(result, Err(UpstreamError::Unsupported(name)));
    }
    let offer = AuthRequest::parse(b"\0\0\0\x0aOAUTHBEARER\0\0").unwrap();
    assert_eq!(
        upstream("pw", None).on_auth(offer),
        Err(UpstreamError::Mechanism)
    );
    let plus_only = AuthRequest::parse(b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0\0").unwrap();
    assert_eq!(
        upstream("pw", None).on_auth(plus_only),
        Err(UpstreamError::Mechanism)
    );
}

#[test]
fn a_server_may_ask_only_once() {
    let mut up = upstream("pw", None);
    sent(up.on_auth(AuthRequest::CleartextPassword).unwrap());
    assert_eq!(
        up.on_auth(AuthRequest::CleartextPassword),
        Err(UpstreamError::OutOfOrder)
    );
    assert_eq!(up.on_auth(AuthRequest::Ok), Err(UpstreamError::OutOfOrder));
}

#[test]
fn a_password_with_a_zero_byte_is_not_cut_short() {
    let mut up = upstream("a\0b", None);
    assert_eq!(
        up.on_auth(AuthRequest::CleartextPassword),
        Err(UpstreamError::ZeroByte)
    );
}

#[test]
fn every_request_cut_short_is_an_error_or_shorter_data() {
    let whole: [&[u8]; 4] = [
        b"\0\0\0\0",
        b"\0\0\0\x05abcd",
        b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0",
        b"\0\0\0\x03",
    ];
    for message in whole {
        assert!(AuthRequest::parse(message).is_ok());
        for end in 0..message.len() {
            assert!(
                AuthRequest::parse(&message[..end]).is_err(),
                "{message:?} to {end}"
            );
        }
        let long = [message, b"x"].concat();
        assert!(AuthRequest::parse(&long).is_err());
    }
    assert!(AuthRequest::parse(b"\0\0\0\x0a").is_err());
    assert_eq!(AuthRequest::parse(b"\0\0\0\x0a\0").map(|_| ()), Ok(()));
    for list in [
        &b"\0\0\0\x0a\0\0"[..],
        b"\0\0\0\x0aA\0\0B\0\0",
        b"\0\0\0\x0aA\0\0\0",
    ] {
        assert!(AuthRequest::parse(list).is_err());
    }
}

#[test]
fn long_messages_are_refused_unread() {
    let long = [b"\0\0\0\x0b".as_slice(), &vec![b'x'; MAX_REQUEST_LEN]].concat();
    assert_eq!(
        AuthRequest::parse(&long),
        Err(UpstreamError::Malformed("too long"))
    );
    assert!(sasl_response(&vec![0; MAX_SASL_LEN + 1]).is_err());
    assert!(password_message(&vec![0; MAX_PASSWORD_LEN + 1]).is_err());
}

#[test]
fn every_sasl_initial_response_cut_short_is_an_error() {
    let whole = b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc";
    let parsed = SaslInitialResponse::parse(whole).unwrap();
    assert_eq!(parsed.data, Some(&b"n,,n=,r=abc"[..]));
    for end in 0..whole.len() {
        assert!(SaslInitialResponse::parse(&whole[..end]).is_err(), "{end}");
    }
    assert!(SaslInitialResponse::parse(b"A\0\xff\xff\xff\xfe").is_err());
    assert!(SaslInitialResponse::parse(b"A\0\xff\xff\xff\xffx").is_err());
    assert!(SaslInitialResponse::parse(b"A\0\x7f\xff\xff\xffx").is_err());
}

#[test]
fn a_password_message_ends_in_its_only_zero() {
    assert_eq!(password_message(b"pw\0"), Ok(&b"pw"[..]));
    assert_eq!(password_message(b"\0"), Ok(&b""[..]));
    for bad in [&b""[..], b"pw", b"p\0w\0", b"pw\0\0"] {
        assert!(password_message(bad).is_err());
    }
}

#[test]
fn every_client_first_cut_short_is_an_error_or_a_shorter_nonce() {
    let whole = "n,,n=,r=abc";
    for end in 0..whole.len() {
        let mut down = downstream("pw", None);
        down.on_response(b"SCRAM-SHA-256\0\xff\xff\xff\xff")
            .unwrap();
        let result = down.on_response(&whole.as_bytes()[..end]);
        assert_eq!(result.is_ok(), end > "n,,n=,r=".len(), "{end}");
    }
}

#[test]
fn every_client_final_cut_short_is_an_error() {
    let last = run_to_final();
    let end = last.len();
    for cut in 0..=end {
        let mut down = at_final();
        let result = down.on_response(&last[..cut]);
        assert_eq!(result.is_ok(), cut == end, "{cut}");
        assert_eq!(down.on_response(&last), Err(ClientError::OutOfOrder));
    }
}

#[test]
fn a_bit_flipped_anywhere_in_client_final_is_an_error() {
    let last = run_to_final();
    for at in 0..last.len() {
        let mut bad = last.clone();
        bad[at] ^= 1;
        let error = at_final().on_response(&bad);
        assert!(error.is_err(), "{at}: {error:?}");
    }
}

#[test]
fn client_first_is_read_as_postgresql_reads_it() {
    for (text, error) in [
        ("n,a=root,n=,r=abc", "0A000"),
        ("p=tls-unique,,n=,r=abc", "08P01"),
        ("p=tls-server-end-point,,n=,r=abc", "08P01"),
        ("q,,n=,r=abc", "08P01"),
        ("n,,r=abc", "08P01"),
        ("n,,n=,r=a b", "08P01"),
        ("n,,n=,r=", "08P01"),
        ("n,,n=,r=abc,", "08P01"),
        ("n,,n=,r=ab\0c", "08P01"),
        ("n,,n=,r=\u{e9}", "08P01"),
    ] {
        let mut down = downstream("pw", None);
        down.on_response(b"SCRAM-SHA-256\0\xff\xff\xff\xff")
            .unwrap();
        let result = down.on_response(text.as_bytes()).unwrap_err();
        assert_eq!(result.sqlstate(), error, "{text:?}: {result:?}");
    }
}

/// A server that waits for the last message of [`run_to_final`].
fn at_final() -> Downstream {
    let mut up = upstream("pw", None);
    let mut down = downstream("pw", None);
    let first = sent(up.on_auth(ask(&down.offer())).unwrap());
    down.on_response(body(&first, b'p')).unwrap();
    down
}

fn run_to_final() -> Vec<u8> {
    let wire = run(upstream("pw", None), downstream("pw", None)).unwrap();
    body(&wire[3], b'p').to_vec()
}
