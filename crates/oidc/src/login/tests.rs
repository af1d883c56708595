use std::sync::{Arc, Mutex};

use base64::engine::general_purpose::STANDARD as B64;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::OidcConfig;
use crate::verify::tests::{Key, config, es256};

/// A provider of one login, that says whatever a test has it say.
struct Fake {
    url: String,
    key: Key,
    /// What the token endpoint says next, and what it was asked.
    says: Arc<Mutex<(u16, String)>>,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn fake() -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let key = es256("k");
    let document = json!({"issuer": url, "authorization_endpoint": format!("{url}/auth?tenant=1"),
        "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/keys")});
    let keys = json!({"keys": [key.public()]}).to_string();
    let fake = Fake {
        url,
        key,
        says: Arc::default(),
        asked: Arc::default(),
    };
    let (says, asked) = (Arc::clone(&fake.says), Arc::clone(&fake.asked));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = request(&mut stream).await;
            let (status, body) = if request.starts_with("GET /.well-known/") {
                (200, document.to_string())
            } else if request.starts_with("GET /keys ") {
                (200, keys.clone())
            } else {
                asked.lock().unwrap().push(request);
                says.lock().unwrap().clone()
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    fake
}

async fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    }
}

impl Fake {
    fn login(&self, client: ClientSettings) -> Login {
        let config = OidcConfig {
            issuer: self.url.clone(),
            allow_http: true,
            ..config()
        };
        Login::new(Verifier::new(&config).unwrap(), client)
    }

    /// A token for the login with this nonce.
    fn token(&self, nonce: &str) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let claims = json!({"iss": self.url, "sub": "u-1", "aud": "weir", "exp": now + 60,
            "iat": now, "nonce": nonce});
        self.key.sign(&json!({"alg": "ES256", "kid": "k"}), &claims)
    }

    fn says(&self, status: u16, body: &Value) {
        *self.says.lock().unwrap() = (status, body.to_string());
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().drain(..).collect()
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

fn value(pairs: &[(String, String)], name: &str) -> String {
    let found: Vec<_> = pairs.iter().filter(|(have, _)| have == name).collect();
    assert_eq!(found.len(), 1, "{name} in {pairs:?}");
    found[0].1.clone()
}

const BACK: &str = "https://weir.example/login/oidc/return";

#[tokio::test]
async fn a_login_goes_to_the_provider_and_comes_back_with_a_proof() {
    let fake = fake().await;
    let dir = std::env::temp_dir().join(format!("weir-oidc-{}", std::process::id()));
    std::fs::write(&dir, "s:e/c%ret\n").unwrap();
    let login = fake.login(ClientSettings {
        secret_file: Some(dir.clone()),
        scopes: vec!["email".into(), "groups".into()],
    });
    let (pending, url) = login.begin(BACK).await.unwrap();
    let (base, query) = url.split_once("?tenant=1&").unwrap();
    assert_eq!(base, format!("{}/auth", fake.url));
    let sent = pairs(query);
    assert_eq!(value(&sent, "response_type"), "code");
    assert_eq!(value(&sent, "scope"), "openid email groups");
    assert_eq!(value(&sent, "redirect_uri"), BACK);
    assert_eq!(value(&sent, "code_challenge_method"), "S256");
    let (state, nonce) = (value(&sent, "state"), value(&sent, "nonce"));
    assert!(state.len() == 43 && nonce.len() == 43 && state != nonce);

    fake.says(
        200,
        &json!({"id_token": fake.token(&nonce), "access_token": "x", "refresh_token": "r"}),
    );
    let returned = Returned::read(&format!("code=c%20d&state={state}")).unwrap();
    let logged = login.finish(pending, returned).await.unwrap();
    assert_eq!(logged.claims.subject, "u-1");
    assert_eq!(logged.refresh_token.as_deref(), Some("r"));

    let asked = fake.asked().pop().unwrap();
    let (head, form) = asked.split_once("\r\n\r\n").unwrap();
    let form = pairs(form);
    assert_eq!(value(&form, "grant_type"), "authorization_code");
    assert_eq!(value(&form, "code"), "c d");
    assert_eq!(value(&form, "redirect_uri"), BACK);
    assert_eq!(
        challenge(&value(&form, "code_verifier")),
        value(&sent, "code_challenge")
    );
    let basic = B64.encode("weir:s%3Ae%2Fc%25ret");
    assert!(
        head.contains(&format!("authorization: Basic {basic}")),
        "{head}"
    );
    assert!(!asked.contains("client_secret"));
    std::fs::remove_file(dir).unwrap();
}

#[tokio::test]
async fn an_answer_that_is_not_this_logins_is_refused_and_its_code_is_not_spent() {
    let fake = fake().await;
    let login = fake.login(ClientSettings::default());
    let (_, other) = login.begin(BACK).await.unwrap();
    let other = value(&pairs(&other), "state");
    for query in [
        "code=c".to_owned(),
        "code=c&state=".to_owned(),
        format!("code=c&state={other}"),
    ] {
        let (pending, _) = login.begin(BACK).await.unwrap();
        let refused = login.finish(pending, Returned::read(&query).unwrap()).await;
        assert!(matches!(refused, Err(LoginError::State)), "{query}");
    }
    for rest in ["", "&code=", "&code=c&iss=https%3A%2F%2Fevil.example"] {
        let (pending, _) = login.begin(BACK).await.unwrap();
        let query = format!("state={}{rest}", pending.state());
        let refused = login.finish(pending, Returned::read(&query).unwrap()).await;
        assert!(matches!(refused, Err(LoginError::Answer(_))), "{query}");
    }
    assert!(matches!(
        Returned::read("code=a&state=s&code=b"),
        Err(LoginError::Answer(_))
    ));
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn the_nonce_of_another_login_and_tokens_of_another_kind_log_nobody_in() {
    let fake = fake().await;
    let login = fake.login(ClientSettings::default());
    let (_, earlier) = login.begin(BACK).await.unwrap();
    let stale = fake.token(&value(&pairs(&earlier), "nonce"));
    for answer in [
        json!({"id_token": stale}),
        json!({"id_token": "x"}),
        json!({"access_token": stale}),
        json!([]),
    ] {
        fake.says(200, &answer);
        let (pending, _) = login.begin(BACK).await.unwrap();
        let query = format!("code=c&state={}", pending.state());
        let refused = login.finish(pending, Returned::read(&query).unwrap()).await;
        assert!(refused.is_err(), "{answer}");
    }
}

#[tokio::test]
async fn what_a_provider_says_against_a_login_is_told_in_plain_letters() {
    let fake = fake().await;
    let login = fake.login(ClientSettings::default());
    let (pending, _) = login.begin(BACK).await.unwrap();
    let query = format!(
        "state={}&error=access_denied&error_description=%3Cb%3E%1b[31m{}",
        pending.state(),
        "x".repeat(900)
    );
    let Err(error) = login.finish(pending, Returned::read(&query).unwrap()).await else {
        panic!("it was refused");
    };
    let text = error.to_string();
    assert!(
        text.contains("access_denied: <b>?[31mxxx") && text.len() < 260,
        "{text}"
    );

    fake.says(
        400,
        &json!({"error": "invalid_grant", "error_description": "used"}),
    );
    let (pending, _) = login.begin(BACK).await.unwrap();
    let query = format!("code=c&state={}", pending.state());
    let Err(error) = login.finish(pending, Returned::read(&query).unwrap()).await else {
        panic!("it was refused");
    };
    assert!(
        error.to_string().ends_with("invalid_grant: used"),
        "{error}"
    );
}

#[tokio::test]
async fn a_new_proof_must_be_of_the_same_person() {
    let fake = fake().await;
    let login = fake.login(ClientSettings::default());
    fake.says(200, &json!({"id_token": fake.token("whatever")}));
    let again = login.refresh("r", "u-1").await.unwrap();
    assert_eq!(
        again.refresh_token.as_deref(),
        Some("r"),
        "the old one still counts"
    );
    assert!(login.refresh("r", "u-2").await.is_err());
    let form = pairs(fake.asked()[0].split_once("\r\n\r\n").unwrap().1);
    assert_eq!(value(&form, "grant_type"), "refresh_token");
    assert_eq!(value(&form, "client_id"), "weir");
}
