//! Logins: whatever the other side says, nobody gets in without the password, an honest pair
//! always agrees, and a pair whose messages were changed on the way never does.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use weir_fuzz::Input;
use weir_wire_postgres::frame::HEADER;
use weir_wire_postgres::login::{
    Action, AuthRequest, Downstream, MAX_PASSWORD_LEN, MAX_REQUEST_LEN, MAX_SASL_LEN, NONCE_LEN,
    Reply, SaslInitialResponse, Secret, Upstream, authentication_ok, password_message,
    sasl_response,
};

const PASSWORD: &[u8] = b"placeholder";
static SECRET: LazyLock<Arc<Secret>> =
    LazyLock::new(|| Arc::new(Secret::derive(PASSWORD, b"0123456789abcdef", 1)));

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 => views(input.rest()),
        1 => hostile_client(input),
        2 => hostile_server(input),
        _ => between(input),
    }
});

fn views(body: &[u8]) {
    if let Ok(request) = AuthRequest::parse(body) {
        assert!(body.len() <= MAX_REQUEST_LEN);
        if let AuthRequest::Sasl(offer) = request {
            let length: usize = offer.iter().map(|name| name.len() + 1).sum();
            assert_eq!(length + 5, body.len(), "a mechanism that no reader sees");
        }
    }
    if let Ok(initial) = SaslInitialResponse::parse(body) {
        let length = initial.mechanism.len() + 5 + initial.data.map_or(0, <[u8]>::len);
        assert!(length == body.len() && length <= MAX_SASL_LEN);
    }
    if let Ok(password) = password_message(body) {
        assert_eq!([password, b"\0"].concat(), body);
        assert!(body.len() <= MAX_PASSWORD_LEN);
    }
    assert_eq!(sasl_response(body).is_ok(), body.len() <= MAX_SASL_LEN);
}

fn nonce(input: &mut Input<'_>) -> [u8; NONCE_LEN] {
    std::array::from_fn(|_| input.byte())
}

fn binding(choice: u8) -> Option<Vec<u8>> {
    (choice & 1 == 1).then(|| vec![choice; 32])
}

/// A client that does not know the password, and says anything.
fn hostile_client(mut input: Input<'_>) {
    let mut down = Downstream::new(
        Arc::clone(&SECRET),
        nonce(&mut input),
        binding(input.byte()),
    );
    let mut failed = false;
    for _ in 0..4 {
        match down.on_response(input.short()) {
            Ok(Reply::Accepted(_)) => panic!("accepted without the password"),
            Ok(Reply::Continue(_)) => assert!(!failed, "went on after an error"),
            Err(error) => {
                failed = true;
                assert_eq!(error.sqlstate().len(), 5);
            }
        }
    }
}

/// A server that does not know the password, and says anything.
fn hostile_server(mut input: Input<'_>) {
    let mut up = Upstream::new("app", PASSWORD, nonce(&mut input), binding(input.byte()));
    let (mut scram, mut failed) = (false, false);
    for _ in 0..4 {
        let Ok(request) = AuthRequest::parse(input.short()) else {
            return;
        };
        scram |= matches!(request, AuthRequest::Sasl(_));
        if let AuthRequest::SaslContinue(data) = request
            && data
                .windows(8)
                .any(|w| w.starts_with(b",i=") && w[3..].iter().all(u8::is_ascii_digit))
        {
            return; // allowed, and slow: millions of iterations
        }
        match up.on_auth(request) {
            Ok(Action::Done) => assert!(!scram, "believed a server that proved nothing"),
            Ok(_) => assert!(!failed, "went on after an error"),
            Err(_) => failed = true,
        }
    }
}

/// Somebody between an honest client and an honest server who changes at most one byte.
fn between(mut input: Input<'_>) {
    let (nonces, choice) = ([nonce(&mut input), nonce(&mut input)], input.byte());
    let (bindings, password) = ([binding(choice), binding(choice >> 4)], input.short());
    let (message, place, change) = (input.byte() % 8, input.below(1024), input.byte());
    let secret = Arc::new(Secret::derive(
        password,
        b"salt",
        u32::from(input.byte()) + 1,
    ));
    let same = bindings[0] == bindings[1] || bindings.contains(&None);
    // A client that cannot bind sees no difference in the offer that it could complain of.
    let blind = bindings[0].is_none();
    let [theirs, ours] = bindings;
    let mut up = Upstream::new("app", password, nonces[0], theirs);
    let mut down = Downstream::new(secret, nonces[1], ours);
    let (mut turn, mut changed) = (0, false);
    let mut carry = |wire: &mut Vec<u8>| {
        let body = HEADER + 4;
        if turn == message && wire.len() > body && !(turn == 0 && blind) {
            let place = body + place % (wire.len() - body);
            changed |= change != 0;
            wire[place] ^= change;
        }
        turn += 1;
    };
    let (mut wire, mut accepted) = (down.offer(), false);
    let agreed = loop {
        carry(&mut wire);
        let Ok(request) = AuthRequest::parse(&wire[HEADER..]) else {
            break false;
        };
        match up.on_auth(request) {
            Ok(Action::Send(answer)) => wire = answer,
            Ok(Action::Wait) if accepted => {
                let ok = authentication_ok();
                let ok = AuthRequest::parse(&ok[HEADER..]).unwrap();
                break up.on_auth(ok) == Ok(Action::Done);
            }
            _ => break false,
        }
        carry(&mut wire);
        match down.on_response(&wire[HEADER..]) {
            Ok(Reply::Continue(next)) => wire = next,
            Ok(Reply::Accepted(last)) => (wire, accepted) = (last, true),
            Err(_) => break false,
        }
    };
    if changed {
        assert!(!agreed, "byte {place} of message {message} was changed");
    } else {
        assert_eq!(agreed, same, "an honest pair on one connection agrees");
    }
}
