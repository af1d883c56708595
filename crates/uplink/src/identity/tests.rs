use std::io::Write as _;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const ISSUER: &str = "https://issuer.example";

struct Key {
    algorithm: Algorithm,
    encoding: EncodingKey,
    jwk: Value,
}

fn es256(kid: &str) -> Key {
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
    let point = pair.public_key().as_ref();
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": kid,
        "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..65])});
    Key {
        algorithm: Algorithm::ES256,
        encoding: EncodingKey::from_ec_der(document.as_ref()),
        jwk,
    }
}

fn eddsa(kid: &str) -> Key {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": kid,
        "x": B64.encode(pair.public_key().as_ref())});
    Key {
        algorithm: Algorithm::EdDSA,
        encoding: EncodingKey::from_ed_der(document.as_ref()),
        jwk,
    }
}

fn rs256(kid: &str) -> Key {
    let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let _ = &RSA_PKCS1_SHA256;
    let der = pair.as_der().unwrap();
    // PKCS#8 wraps the PKCS#1 key that the encoder wants in a fixed head of 26 bytes.
    let encoding = EncodingKey::from_rsa_der(&der.as_ref()[26..]);
    let public = pair.public_key();
    let jwk = json!({"kty": "RSA", "kid": kid,
        "n": B64.encode(public.modulus().big_endian_without_leading_zero()),
        "e": B64.encode(public.exponent().big_endian_without_leading_zero())});
    Key {
        algorithm: Algorithm::RS256,
        encoding,
        jwk,
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "repo:corp/app", "aud": "weir", "exp": now() + 600,
        "email": "ci@corp.example", "groups": ["ci", "dev"]})
}

fn sign(key: &Key, kid: &str, claims: &Value) -> String {
    let mut header = Header::new(key.algorithm);
    header.kid = Some(kid.to_owned());
    jsonwebtoken::encode(&header, claims, &key.encoding).unwrap()
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(keys: &[&Key]) -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        files.keys(keys);
        files
    }

    /// As a projected volume does it: a new file under the old name.
    fn put(&self, name: &str, text: &str) {
        let mut file = tempfile::NamedTempFile::new_in(self.dir.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.persist(self.dir.path().join(name)).unwrap();
    }

    fn keys(&self, keys: &[&Key]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk.clone()).collect();
        self.put("keys", &json!({"keys": keys}).to_string());
    }

    fn config(&self, keys: KeySource, issuer: &str) -> IdentitySource {
        IdentitySource::new(IdentityConfig::Token(TokenConfig {
            path: self.dir.path().join("token"),
            issuer: issuer.to_owned(),
            audience: "weir".to_owned(),
            keys,
        }))
    }

    fn source(&self) -> IdentitySource {
        self.config(KeySource::File(self.dir.path().join("keys")), ISSUER)
    }
}

#[test]
fn each_algorithm_proves_an_identity() {
    for key in [es256("k"), eddsa("k"), rs256("k")] {
        let files = Files::new(&[&es256("other"), &key]);
        files.put("token", &format!("{}\n", sign(&key, "k", &claims())));
        let identity = files.source().current().unwrap();
        assert_eq!(&*identity.name, "repo:corp/app");
        assert_eq!(identity.issuer.as_deref(), Some(ISSUER));
        assert_eq!(identity.email.as_deref(), Some("ci@corp.example"));
        assert!(identity.groups.contains("ci"));
    }
}

#[test]
fn refuses_what_is_expired_early_foreign_or_incomplete() {
    let key = es256("k");
    let files = Files::new(&[&key]);
    let source = files.source();
    let cases = [
        ("exp", json!(now() - 60)),
        ("nbf", json!(now() + 60)),
        ("aud", json!("other")),
        ("aud", Value::Null),
        ("iss", json!("https://evil.example")),
        ("sub", Value::Null),
        ("exp", Value::Null),
    ];
    for (claim, value) in cases {
        let mut changed = claims();
        match value {
            Value::Null => drop(changed.as_object_mut().unwrap().remove(claim)),
            value => changed[claim] = value,
        }
        files.put("token", &sign(&key, "k", &changed));
        let error = source.current().unwrap_err();
        assert!(
            matches!(error, IdentityError::Invalid(_)),
            "{claim}: {error}"
        );
    }
}

#[test]
fn refuses_unknown_keys_and_keys_used_with_another_algorithm() {
    let (key, stranger) = (es256("k"), es256("k"));
    let files = Files::new(&[&key]);
    let source = files.source();
    files.put("token", &sign(&stranger, "k", &claims()));
    assert!(matches!(source.current(), Err(IdentityError::Invalid(_))));
    files.put("token", &sign(&stranger, "unheard-of", &claims()));
    assert_eq!(source.current(), Err(IdentityError::UnknownKey));
    // A shared secret made of the public key, and no signature at all.
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k".into());
    let secret = EncodingKey::from_secret(key.jwk["x"].as_str().unwrap().as_bytes());
    files.put(
        "token",
        &jsonwebtoken::encode(&header, &claims(), &secret).unwrap(),
    );
    assert_eq!(source.current(), Err(IdentityError::UnknownKey));
    let none = B64.encode(r#"{"alg":"none","kid":"k"}"#);
    files.put(
        "token",
        &format!("{none}.{}.", B64.encode(claims().to_string())),
    );
    assert!(matches!(source.current(), Err(IdentityError::Invalid(_))));
}

#[test]
fn follows_the_file_as_token_and_keys_rotate() {
    let (old, new) = (es256("old"), eddsa("new"));
    let files = Files::new(&[&old]);
    let source = files.source();
    assert!(matches!(source.current(), Err(IdentityError::Read { .. })));
    files.put("token", &sign(&old, "old", &claims()));
    source.current().unwrap();
    let mut changed = claims();
    changed["sub"] = json!("somebody else");
    files.put("token", &sign(&new, "new", &changed));
    assert_eq!(
        source.current(),
        Err(IdentityError::UnknownKey),
        "the old identity is gone"
    );
    files.keys(&[&old, &new]);
    assert_eq!(&*source.current().unwrap().name, "somebody else");
    files.keys(&[&old]);
    assert_eq!(
        source.current(),
        Err(IdentityError::UnknownKey),
        "a withdrawn key"
    );
    files.put("token", "not a token");
    assert!(matches!(source.current(), Err(IdentityError::Invalid(_))));
}

#[test]
fn a_token_that_was_good_ends_with_its_expiry() {
    let key = es256("k");
    let files = Files::new(&[&key]);
    let source = files.source();
    let mut short = claims();
    short["exp"] = json!(now() - LEEWAY + 1);
    files.put("token", &sign(&key, "k", &short));
    source.current().unwrap();
    std::thread::sleep(Duration::from_millis(2200));
    assert!(source.current().is_err());
}

#[test]
fn a_kubernetes_token_names_namespace_account_and_pod() {
    let key = rs256("k");
    let files = Files::new(&[&key]);
    let mut kube = claims();
    kube["kubernetes.io"] = json!({"namespace": "billing", "serviceaccount": {"name": "reporter"},
        "pod": {"name": "reporter-1"}});
    kube["email_verified"] = json!(false);
    files.put("token", &sign(&key, "k", &kube));
    let identity = files.source().current().unwrap();
    assert_eq!(identity.namespace.as_deref(), Some("billing"));
    assert_eq!(identity.service_account.as_deref(), Some("reporter"));
    assert_eq!(identity.pod.as_deref(), Some("reporter-1"));
    assert_eq!(identity.email, None, "an unverified address proves nothing");
}

async fn issuer(keys: Value, states: Option<&str>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let document =
        json!({"issuer": states.unwrap_or(&url), "jwks_uri": format!("{url}/keys")}).to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let body = if request.starts_with("GET /keys ") {
                keys.to_string()
            } else {
                assert!(request.starts_with("GET /.well-known/openid-configuration "));
                document.clone()
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn discovery_finds_the_issuers_keys() {
    let key = es256("k");
    let url = issuer(json!({"keys": [key.jwk.clone()]}), None).await;
    let files = Files::new(&[]);
    let source = files.config(KeySource::Discovery { ca_file: None }, &url);
    let mut claims = claims();
    claims["iss"] = json!(url);
    files.put("token", &sign(&key, "k", &claims));
    assert!(
        matches!(source.current(), Err(IdentityError::Keys(_))),
        "no keys yet: refused"
    );
    source.refresh_keys().await.unwrap();
    source.current().unwrap();
}

#[tokio::test]
async fn discovery_refuses_another_issuer_and_plain_http_elsewhere() {
    let url = issuer(json!({"keys": []}), Some("https://other.example")).await;
    let files = Files::new(&[]);
    for issuer in [
        url.as_str(),
        "http://192.0.2.1",
        "ftp://localhost",
        "nonsense",
    ] {
        let source = files.config(KeySource::Discovery { ca_file: None }, issuer);
        assert!(
            matches!(source.refresh_keys().await, Err(IdentityError::Keys(_))),
            "{issuer}"
        );
    }
}
