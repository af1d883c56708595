//! Logins replayed from real servers and clients, against each other, and
//! with everything cut short.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

mod captured;
mod hostile;

const NONCE_C: [u8; NONCE_LEN] = [7; NONCE_LEN];
const NONCE_S: [u8; NONCE_LEN] = [9; NONCE_LEN];

fn secret(password: &str) -> Arc<Secret> {
    Arc::new(Secret::derive(
        password.as_bytes(),
        b"0123456789abcdef",
        4096,
    ))
}

/// The body of a whole message of this type.
fn body(message: &[u8], kind: u8) -> &[u8] {
    assert_eq!(message[0], kind);
    let len = u32::from_be_bytes(message[1..5].try_into().unwrap()) as usize;
    assert_eq!(len, message.len() - 1, "length counts itself and the body");
    &message[5..]
}

fn ask<'a>(message: &'a [u8]) -> AuthRequest<'a> {
    AuthRequest::parse(body(message, b'R')).unwrap()
}

fn sent(action: Action) -> Vec<u8> {
    match action {
        Action::Send(bytes) => bytes,
        other => panic!("expected bytes, got {other:?}"),
    }
}

fn continued(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Continue(bytes) => bytes,
        other => panic!("expected a challenge, got {other:?}"),
    }
}

/// Runs both roles against each other; what went over the wire, in order.
fn run(mut up: Upstream, mut down: Downstream) -> Result<Vec<Vec<u8>>, ClientError> {
    let mut wire = vec![down.offer()];
    loop {
        let action = up.on_auth(ask(wire.last().unwrap())).unwrap();
        let Action::Send(answer) = action else {
            assert_eq!(action, Action::Wait);
            let ok = authentication_ok();
            assert_eq!(up.on_auth(ask(&ok)).unwrap(), Action::Done);
            return Ok(wire);
        };
        let reply = down.on_response(body(&answer, b'p'));
        wire.push(answer);
        wire.push(match reply? {
            Reply::Continue(bytes) | Reply::Accepted(bytes) => bytes,
        });
    }
}

fn upstream(password: &str, binding: Option<&[u8]>) -> Upstream {
    Upstream::new("app", password, NONCE_C, binding.map(<[u8]>::to_vec))
}

fn downstream(password: &str, binding: Option<&[u8]>) -> Downstream {
    Downstream::new(secret(password), NONCE_S, binding.map(<[u8]>::to_vec))
}

#[test]
fn both_roles_agree_without_channel_binding() {
    let wire = run(upstream("pw", None), downstream("pw", None)).unwrap();
    assert_eq!(wire.len(), 5);
    assert!(wire[1].starts_with(b"p\0\0\0\x36SCRAM-SHA-256\0"));
}

#[test]
fn both_roles_agree_with_channel_binding() {
    let hash = [3; 32];
    let wire = run(upstream("pw", Some(&hash)), downstream("pw", Some(&hash))).unwrap();
    assert!(body(&wire[1], b'p').starts_with(b"SCRAM-SHA-256-PLUS\0"));
}

#[test]
fn a_client_without_binding_may_log_in_where_binding_is_offered() {
    run(upstream("pw", None), downstream("pw", Some(&[3; 32]))).unwrap();
}

#[test]
fn a_client_that_could_bind_says_so_where_binding_is_not_offered() {
    let wire = run(upstream("pw", Some(&[3; 32])), downstream("pw", None)).unwrap();
    assert!(
        body(&wire[1], b'p').ends_with(format!("y,,n=,r={}", STANDARD.encode(NONCE_C)).as_bytes())
    );
}

#[test]
fn a_wrong_password_is_28p01_in_postgresql_words() {
    let error = run(upstream("no", None), downstream("pw", None)).unwrap_err();
    assert_eq!(error, ClientError::Password);
    assert_eq!(error.sqlstate(), "28P01");
    assert_eq!(
        error.message("app"),
        "password authentication failed for user \"app\""
    );
}

#[test]
fn another_certificate_is_a_failed_binding() {
    let error = run(
        upstream("pw", Some(&[3; 32])),
        downstream("pw", Some(&[4; 32])),
    )
    .unwrap_err();
    assert_eq!(error, ClientError::Binding);
}

#[test]
fn a_stripped_offer_is_noticed() {
    let mut up = upstream("pw", Some(&[3; 32]));
    let mut down = downstream("pw", Some(&[3; 32]));
    let stripped = downstream("pw", None).offer();
    let answer = sent(up.on_auth(ask(&stripped)).unwrap());
    let error = down.on_response(body(&answer, b'p')).unwrap_err();
    assert_eq!(error, ClientError::Downgrade);
    assert_eq!(error.sqlstate(), "28000");
}

#[test]
fn plus_is_refused_where_it_was_not_offered() {
    let mut up = upstream("pw", Some(&[3; 32]));
    let offer = downstream("pw", Some(&[3; 32])).offer();
    let answer = sent(up.on_auth(ask(&offer)).unwrap());
    let error = downstream("pw", None).on_response(body(&answer, b'p'));
    assert_eq!(error, Err(ClientError::Mechanism));
}

#[test]
fn a_client_may_send_its_first_message_after_an_empty_challenge() {
    let mut down = downstream("pw", None);
    let empty = continued(
        down.on_response(b"SCRAM-SHA-256\0\xff\xff\xff\xff")
            .unwrap(),
    );
    assert_eq!(empty, b"R\0\0\0\x08\0\0\0\x0b");
    let challenge = continued(down.on_response(b"n,,n=,r=abc").unwrap());
    assert!(body(&challenge, b'R').starts_with(b"\0\0\0\x0br=abc"));
}

/// The exchange printed in RFC 7677, section 3. Its nonces are not Base64, so
/// it goes through the arithmetic rather than the state machines.
#[test]
fn rfc_7677_example_holds() {
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let auth = format!(
        "n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}"
    );
    let proof = scram::Proof::new(b"pencil", &salt, 4096, auth.as_bytes());
    assert_eq!(
        STANDARD.encode(proof.client),
        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    assert_eq!(
        STANDARD.encode(proof.server_signature),
        "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    );
    let secret = Secret::derive(b"pencil", &salt, 4096);
    assert!(secret.accepts(auth.as_bytes(), &proof.client));
    assert_eq!(
        secret.server_signature(auth.as_bytes()),
        proof.server_signature
    );
}

#[test]
fn debug_output_holds_no_secret() {
    let text = format!(
        "{:?} {:?} {:?}",
        upstream("hunter2", None),
        downstream("hunter2", None),
        secret("hunter2")
    );
    assert!(!text.contains("hunter2"));
    assert!(!text.contains(&STANDARD.encode(NONCE_C)));
    assert!(!text.contains("stored_key"));
}
