use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use jsonwebtoken::EncodingKey;
use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};
use weir_fetch::Endpoint;

use super::*;

pub(crate) fn config() -> OidcConfig {
    OidcConfig {
        issuer: "https://id.example".into(),
        client_id: "weir".into(),
        username_claim: None,
        username_prefix: None,
        groups_claim: Some("groups".into()),
        groups_prefix: "oidc:".into(),
        algorithms: vec!["ES256".into(), "RS256".into()],
        ca_file: None,
        allow_http: false,
    }
}

pub(crate) fn provider() -> Provider {
    Provider {
        authorization: "https://id.example/auth".into(),
        token: Endpoint::parse("https://id.example/token", false).unwrap(),
        states_issuer: false,
        takes_basic: true,
        keys: Endpoint::parse("https://id.example/keys", false).unwrap(),
    }
}

pub(crate) struct Key {
    encoding: EncodingKey,
    jwk: Value,
}

pub(crate) fn es256(kid: &str) -> Key {
    let random = SystemRandom::new();
    let made = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(made, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(made, document.as_ref()).unwrap();
    let point = pair.public_key().as_ref();
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": kid,
        "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..65])});
    Key {
        encoding: EncodingKey::from_ec_der(document.as_ref()),
        jwk,
    }
}

impl Key {
    pub(crate) fn jwk(&self) -> Jwk {
        serde_json::from_value(self.jwk.clone()).unwrap()
    }

    pub(crate) fn public(&self) -> &Value {
        &self.jwk
    }

    /// A token with this head.
    pub(crate) fn sign(&self, head: &Value, claims: &Value) -> String {
        let body = format!(
            "{}.{}",
            B64.encode(head.to_string()),
            B64.encode(claims.to_string())
        );
        let algorithm = Algorithm::ES256;
        let signature =
            jsonwebtoken::crypto::sign(body.as_bytes(), &self.encoding, algorithm).unwrap();
        format!("{body}.{signature}")
    }
}

const NOW: u64 = 1_800_000_000;

fn claims() -> Value {
    json!({"iss": "https://id.example", "sub": "u-1", "aud": "weir", "exp": NOW + 300,
        "iat": NOW - 5, "nonce": "n", "groups": ["a", "b"], "email": "jane@corp.example"})
}

fn head() -> Value {
    json!({"alg": "ES256", "typ": "JWT", "kid": "k"})
}

/// What a verifier that knows `key` says, at a fixed time.
fn judged(config: &OidcConfig, key: &Jwk, token: &str) -> Result<Claims, Refusal> {
    let config = Checked::try_from(config).unwrap();
    let sealed = Sealed::read(&config, token)?;
    let keys = [key.clone()];
    let algorithm = sealed.header.alg;
    let signed = sealed.open(keys.iter().filter(|key| serves(key, algorithm)))?;
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    claims::check(&config, signed, Some("n"), now)
}

fn with(change: impl Fn(&mut Value)) -> Result<Claims, Refusal> {
    with_config(&config(), change)
}

fn with_config(config: &OidcConfig, change: impl Fn(&mut Value)) -> Result<Claims, Refusal> {
    let key = es256("k");
    let mut claims = claims();
    change(&mut claims);
    judged(config, &key.jwk(), &key.sign(&head(), &claims))
}

fn set(name: &'static str, value: Value) -> impl Fn(&mut Value) {
    move |claims| match &value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value.clone(),
    }
}

#[test]
fn a_good_token_says_who_its_bearer_is() {
    let claims = with(|_| {}).unwrap();
    assert_eq!(claims.subject, "u-1");
    assert_eq!(claims.username, "https://id.example#u-1");
    assert_eq!(claims.groups, ["oidc:a", "oidc:b"]);
    assert_eq!(claims.expires, UNIX_EPOCH + Duration::from_secs(NOW + 300));
}

#[test]
fn each_claim_that_is_missing_foreign_or_of_another_form_is_refused() {
    let cases = [
        ("iss", json!("https://id.example/"), Refusal::Issuer),
        ("iss", json!(["https://id.example"]), Refusal::Form),
        ("iss", Value::Null, Refusal::Form),
        ("aud", json!("other"), Refusal::Audience),
        ("aud", json!([]), Refusal::Audience),
        ("aud", json!(["other"]), Refusal::Audience),
        ("aud", Value::Null, Refusal::Form),
        ("aud", json!(7), Refusal::Form),
        ("aud", json!(["weir", "other"]), Refusal::Party),
        ("azp", json!("other"), Refusal::Party),
        ("exp", json!(NOW), Refusal::Expired),
        ("exp", json!(NOW - 1), Refusal::Expired),
        ("exp", json!(-1), Refusal::Form),
        ("exp", json!(1e300), Refusal::Form),
        ("exp", json!("2100-01-01"), Refusal::Form),
        ("exp", Value::Null, Refusal::Form),
        ("iat", json!(NOW + 61), Refusal::Early),
        ("iat", Value::Null, Refusal::Form),
        ("nbf", json!(NOW + 61), Refusal::Early),
        ("nonce", json!("other"), Refusal::Nonce),
        ("nonce", json!(""), Refusal::Nonce),
        ("nonce", Value::Null, Refusal::Nonce),
        ("sub", json!(""), Refusal::Form),
        ("sub", Value::Null, Refusal::Form),
        ("sub", json!("a\u{202e}b"), Refusal::Username),
        ("sub", json!("a\nb"), Refusal::Username),
        ("sub", json!("x".repeat(1025)), Refusal::Username),
        ("groups", json!([1]), Refusal::Groups),
        ("groups", json!([""]), Refusal::Groups),
        ("groups", json!({"a": 1}), Refusal::Groups),
        ("groups", json!(vec!["g"; 2049]), Refusal::Groups),
        (
            "events",
            json!({"http://schemas.openid.net/event/backchannel-logout": {}}),
            Refusal::Form,
        ),
    ];
    for (claim, value, refusal) in cases {
        assert_eq!(
            with(set(claim, value.clone())),
            Err(refusal),
            "{claim} {value}"
        );
    }
    assert!(
        with(|claims| {
            claims["aud"] = json!(["other", "weir"]);
            claims["azp"] = json!("weir");
        })
        .is_ok()
    );
    assert!(
        with(set("nbf", json!(NOW + 59))).is_ok(),
        "a clock that is a little ahead"
    );
}

#[test]
fn names_that_kubernetes_keeps_for_itself_come_from_no_provider() {
    let mut bare = config();
    bare.username_prefix = Some("-".into());
    bare.groups_prefix = String::new();
    let admin = with_config(&bare, set("sub", json!("system:admin")));
    assert_eq!(admin, Err(Refusal::Reserved));
    let member = with_config(&bare, set("groups", json!(["system:masters", "dev"])));
    assert_eq!(member.unwrap().groups, ["dev"]);
    bare.username_prefix = Some("sys".into());
    let joined = with_config(&bare, set("sub", json!("tem:admin")));
    assert_eq!(joined, Err(Refusal::Reserved), "made of prefix and claim");
}

#[test]
fn an_address_that_is_not_verified_names_nobody() {
    let mut mail = config();
    mail.username_claim = Some("email".into());
    assert_eq!(
        with_config(&mail, |_| {}).unwrap().username,
        "jane@corp.example"
    );
    let unverified = with_config(&mail, set("email_verified", json!(false)));
    assert_eq!(unverified, Err(Refusal::Unverified));
    assert_eq!(
        with_config(&mail, set("email", Value::Null)),
        Err(Refusal::Username)
    );
    assert_eq!(
        with_config(&mail, set("email", json!(["a@b"]))),
        Err(Refusal::Username)
    );
}

#[test]
fn one_group_may_stand_alone_and_none_may_be_named() {
    assert_eq!(with(set("groups", json!("a"))).unwrap().groups, ["oidc:a"]);
    assert!(with(set("groups", Value::Null)).unwrap().groups.is_empty());
    let mut without = config();
    without.groups_claim = None;
    assert!(with_config(&without, |_| {}).unwrap().groups.is_empty());
}

#[test]
fn heads_that_ask_for_another_reading_are_refused() {
    let key = es256("k");
    let cases = [
        (json!({"alg": "ES256", "typ": "at+jwt"}), Refusal::Kind),
        (json!({"alg": "ES256", "typ": "logout+jwt"}), Refusal::Kind),
        (
            json!({"alg": "ES256", "crit": ["b64"], "b64": false}),
            Refusal::Kind,
        ),
        (json!({"alg": "ES384"}), Refusal::Algorithm),
        (json!({"alg": "HS256"}), Refusal::Algorithm),
        (json!({"alg": "RS256"}), Refusal::Key),
        (json!({"alg": "none"}), Refusal::Form),
        (json!({"alg": "es256"}), Refusal::Form),
        (json!({}), Refusal::Form),
    ];
    for (head, refusal) in cases {
        let token = key.sign(&head, &claims());
        assert_eq!(
            judged(&config(), &key.jwk(), &token),
            Err(refusal),
            "{head}"
        );
    }
    for typ in [
        json!({"alg": "ES256"}),
        json!({"alg": "ES256", "typ": "jwt"}),
    ] {
        assert!(judged(&config(), &key.jwk(), &key.sign(&typ, &claims())).is_ok());
    }
}

#[test]
fn a_key_in_the_head_is_not_believed() {
    let (key, theirs) = (es256("k"), es256("k"));
    let head = json!({"alg": "ES256", "kid": "k", "jwk": theirs.public(),
        "jku": "https://evil.example/keys"});
    let token = theirs.sign(&head, &claims());
    assert_eq!(
        judged(&config(), &key.jwk(), &token),
        Err(Refusal::Signature)
    );
}

#[test]
fn every_changed_byte_of_a_token_is_noticed() {
    let key = es256("k");
    let jwk = key.jwk();
    let token = key.sign(&head(), &claims());
    assert!(judged(&config(), &jwk, &token).is_ok());
    let last_of_signature = token.len() - 1;
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        // The last character of a signature of 64 bytes carries two bits.
        if at != last_of_signature {
            assert!(judged(&config(), &jwk, &changed).is_err(), "byte {at}");
        }
        assert!(
            judged(&config(), &jwk, &token[..at]).is_err(),
            "cut at {at}"
        );
    }
    for odd in ["", ".", "..", "...", "a.b", "é.é.é", &"a".repeat(65_537)] {
        assert_eq!(judged(&config(), &jwk, odd), Err(Refusal::Form));
    }
}

#[test]
fn a_key_serves_only_the_algorithm_that_it_says() {
    let mut jwk = es256("k").public().clone();
    let read = |jwk: &Value| serde_json::from_value::<Jwk>(jwk.clone()).unwrap();
    assert!(serves(&read(&jwk), Algorithm::ES256));
    for other in [
        Algorithm::RS256,
        Algorithm::ES384,
        Algorithm::EdDSA,
        Algorithm::HS256,
    ] {
        assert!(!serves(&read(&jwk), other));
    }
    jwk["alg"] = json!("ES384");
    assert!(!serves(&read(&jwk), Algorithm::ES256));
    let secret = json!({"kty": "oct", "k": "c2VjcmV0"});
    assert!(!serves(&read(&secret), Algorithm::HS256));
}
