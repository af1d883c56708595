use super::*;

const NOW: u64 = 1_764_000_000;
const HOUR: u64 = 3600;

fn ours() -> Placeholders {
    Placeholders::new(&[7; 32])
}

fn claims() -> PlaceholderClaims {
    PlaceholderClaims {
        issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
        subject: "system:serviceaccount:billing:reporter".to_owned(),
        audiences: vec!["https://kubernetes.default.svc.cluster.local".to_owned()],
        namespace: "billing".to_owned(),
        service_account: "reporter".to_owned(),
        service_account_uid: "11111111-2222-3333-4444-555555555555".to_owned(),
        pod: "reporter-0".to_owned(),
        pod_uid: "66666666-7777-8888-9999-000000000000".to_owned(),
    }
}

fn signed(placeholders: &Placeholders, header: &str, payload: &str) -> String {
    let mut token = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = hmac::sign(&placeholders.key, token.as_bytes());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    token
}

#[test]
fn a_placeholder_is_a_token_with_the_claims_of_the_one_it_stands_for() {
    let token = ours().mint(&claims(), NOW, HOUR);
    assert_eq!(token.split('.').count(), 3);
    let header = decode(token.split('.').next().unwrap()).unwrap();
    assert_eq!(header["typ"], "JWT");
    assert_eq!(PlaceholderClaims::of(&token), claims());
    let payload = decode(token.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(payload["iat"], NOW);
    assert_eq!(payload["nbf"], NOW);
    assert_eq!(payload["exp"], NOW + HOUR);
}

#[test]
fn a_verifier_of_tokens_takes_it_with_the_key_and_not_with_another() {
    // what python, java and go libraries do: HMAC over the first two parts
    let token = ours().mint(&claims(), NOW, HOUR);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let verify = |key: [u8; 32]| {
        hmac::verify(
            &hmac::Key::new(hmac::HMAC_SHA256, &key),
            signed.as_bytes(),
            &signature,
        )
    };
    assert!(verify([7; 32]).is_ok());
    assert!(verify([8; 32]).is_err());
}

#[test]
fn is_good_until_a_minute_after_its_end() {
    let token = ours().mint(&claims(), NOW, HOUR);
    for (at, good) in [
        (NOW, true),
        (NOW + HOUR, true),
        (NOW + HOUR + LEEWAY, true),
        (NOW + HOUR + LEEWAY + 1, false),
        (u64::MAX, false),
    ] {
        assert_eq!(ours().is_ours(&token, at), good, "{}", at - NOW);
    }
}

#[test]
fn is_known_after_a_restart_and_by_no_other_pod() {
    let token = ours().mint(&claims(), NOW, HOUR);
    assert!(Placeholders::new(&[7; 32]).is_ours(&token, NOW));
    assert!(!Placeholders::new(&[8; 32]).is_ours(&token, NOW));
}

#[test]
fn a_token_that_was_changed_anywhere_is_not_ours() {
    let token = ours().mint(&claims(), NOW, HOUR);
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(!ours().is_ours(&changed, NOW), "byte {at}");
        assert!(!ours().is_ours(&token[..at], NOW), "cut at {at}");
    }
    for changed in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        format!("{token}."),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}.{token}"),
        format!(".{token}"),
        "é.é.é".to_owned(),
    ] {
        assert!(!ours().is_ours(&changed, NOW), "{changed:?}");
    }
}

#[test]
fn a_signature_without_an_end_or_under_another_header_is_not_enough() {
    let good = signed(&ours(), HEADER, &format!(r#"{{"exp":{NOW}}}"#));
    assert!(ours().is_ours(&good, NOW));
    for (header, payload) in [
        (HEADER, "{}".to_owned()),
        (HEADER, r#"{"exp":"9999999999"}"#.to_owned()),
        (HEADER, r#"{"exp":-1}"#.to_owned()),
        (HEADER, "not json".to_owned()),
        (r#"{"alg":"none"}"#, format!(r#"{{"exp":{NOW}}}"#)),
    ] {
        let token = signed(&ours(), header, &payload);
        assert!(!ours().is_ours(&token, NOW), "{header} {payload}");
    }
}

#[test]
fn a_token_beyond_any_that_is_made_is_not_looked_at() {
    let long = format!(r#"{{"exp":{NOW},"x":"{}"}}"#, "x".repeat(MAX_TOKEN));
    assert!(!ours().is_ours(&signed(&ours(), HEADER, &long), NOW));
}

#[test]
fn claims_that_a_token_lacks_stay_empty() {
    for token in ["", "a", "a.b.c", "a.e30.c", "..", "opaque-token"] {
        assert_eq!(
            PlaceholderClaims::of(token),
            PlaceholderClaims::default(),
            "{token}"
        );
    }
    let one = URL_SAFE_NO_PAD.encode(r#"{"aud":"api","sub":"s"}"#);
    let claims = PlaceholderClaims::of(&format!("h.{one}.s"));
    assert_eq!(claims.audiences, ["api"]);
    assert_eq!(claims.subject, "s");
}

#[test]
fn a_stand_in_names_whom_the_token_names_and_lives_as_long() {
    let expiry = |token: &str| decode(token.split('.').nth(1).unwrap()).unwrap()["exp"].clone();
    let real = Placeholders::new(&[9; 32]).mint(&claims(), NOW - 100, 8760 * HOUR);
    let token = ours().stand_in(&real, NOW);
    assert!(ours().is_ours(&token, NOW) && !ours().is_ours(&real, NOW));
    assert_eq!(PlaceholderClaims::of(&token), claims());
    assert_eq!(expiry(&token), NOW - 100 + 8760 * HOUR);
    for short in ["opaque", &real] {
        let late = NOW + 9000 * HOUR;
        assert_eq!(expiry(&ours().stand_in(short, late)), late + SHORTEST);
    }
}

#[test]
fn a_key_is_never_shown() {
    assert_eq!(format!("{:?}", ours()), "Placeholders { .. }");
}
