use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://kubernetes.default.svc";

struct Cluster {
    key: EncodingKey,
    keys: JwkSet,
}

fn cluster() -> Cluster {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let key = EncodingKey::from_ec_der(&pair.serialize_der());
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some("k1".to_owned());
    Cluster {
        key,
        keys: JwkSet { keys: vec![jwk] },
    }
}

fn claims() -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    json!({
        "iss": ISSUER,
        "aud": ["weir.dev"],
        "sub": "system:serviceaccount:billing:reporter",
        "exp": now + 600,
        "nbf": now - 1,
        "iat": now - 1,
        "kubernetes.io": {
            "namespace": "billing",
            "serviceaccount": {"name": "reporter", "uid": "sa-uid"},
            "pod": {"name": "reporter-7d9f", "uid": "pod-uid"},
        },
    })
}

impl Cluster {
    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("k1".to_owned());
        encode(&header, claims, &self.key).unwrap()
    }

    fn verify(&self, claims: &Value) -> Result<Claims, TokenError> {
        verify(&self.sign(claims), &self.keys, ISSUER, "weir.dev")
    }

    fn refuses(&self, pointer: &str, value: Value) -> TokenError {
        let mut claims = claims();
        *claims.pointer_mut(pointer).unwrap() = value;
        self.verify(&claims).unwrap_err()
    }
}

#[test]
fn a_token_names_its_pod() {
    assert_eq!(
        cluster().verify(&claims()).unwrap(),
        Claims {
            namespace: "billing".into(),
            service_account: "reporter".into(),
            pod: "reporter-7d9f".into(),
            uid: "pod-uid".into(),
        }
    );
}

#[test]
fn another_audience_issuer_or_time_is_refused() {
    let cluster = cluster();
    let invalid = |error| matches!(error, TokenError::Invalid(_));
    assert!(invalid(
        cluster.refuses("/aud", json!(["https://kubernetes.default.svc"]))
    ));
    assert!(invalid(
        cluster.refuses("/iss", json!("https://other.example"))
    ));
    assert!(invalid(cluster.refuses("/exp", json!(1_000_000))));
    assert!(invalid(cluster.refuses("/nbf", json!(99_999_999_999_u64))));
}

#[test]
fn another_clusters_key_is_refused() {
    let (ours, theirs) = (cluster(), cluster());
    // Of the same name.
    let token = theirs.sign(&claims());
    let refused = verify(&token, &ours.keys, ISSUER, "weir.dev");
    assert!(matches!(refused, Err(TokenError::Invalid(_))));
    let none = JwkSet { keys: Vec::new() };
    let refused = verify(&token, &none, ISSUER, "weir.dev");
    assert_eq!(refused, Err(TokenError::UnknownKey));
}

#[test]
fn a_token_that_is_bound_to_no_pod_is_refused() {
    let cluster = cluster();
    assert_eq!(
        cluster.refuses("/kubernetes.io/pod", Value::Null),
        TokenError::NoPod
    );
    assert_eq!(
        cluster.refuses("/kubernetes.io", Value::Null),
        TokenError::NoPod
    );
    let mut without = claims();
    without["kubernetes.io"]
        .as_object_mut()
        .unwrap()
        .remove("pod");
    assert_eq!(cluster.verify(&without), Err(TokenError::NoPod));
}

#[test]
fn a_token_that_contradicts_itself_is_refused() {
    let other = json!("system:serviceaccount:billing:admin");
    assert_eq!(cluster().refuses("/sub", other), TokenError::Contradiction);
}

#[test]
fn what_is_not_signed_is_refused() {
    let cluster = cluster();
    let token = cluster.sign(&claims());
    let (rest, _) = token.rsplit_once('.').unwrap();
    for odd in [
        String::new(),
        "a.b.c".to_owned(),
        rest.to_owned(),
        "x".repeat(MAX_TOKEN + 1),
    ] {
        assert_eq!(
            verify(&odd, &cluster.keys, ISSUER, "weir.dev"),
            Err(TokenError::Malformed)
        );
    }
    // {"alg":"none"}
    let (_, payload) = rest.split_once('.').unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{payload}.");
    assert!(verify(&none, &cluster.keys, ISSUER, "weir.dev").is_err());
    // HMAC with a public key as its secret.
    let forged = encode(
        &Header {
            kid: Some("k1".to_owned()),
            ..Header::new(Algorithm::HS256)
        },
        &claims(),
        &EncodingKey::from_secret(b"public"),
    );
    let refused = verify(&forged.unwrap(), &cluster.keys, ISSUER, "weir.dev");
    assert!(matches!(refused, Err(TokenError::Invalid(_))));
}
