//! The issuer's own description, and its keys.
//!
//! It refuses a description of another issuer, and endpoints that may not be asked.

use bytes::Bytes;
use http::{Method, StatusCode, header};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use serde::Deserialize;
use weir_fetch::{Endpoint, Fetcher};

use crate::config::Checked;

/// Keys of one issuer that are looked at; more are left out.
const MAX_KEYS: usize = 256;

/// What a provider says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    /// Where browsers are sent: a checked URL.
    pub(crate) authorization: String,
    pub(crate) token: Endpoint,
    /// Whether its answers say who answers (RFC 9207).
    pub(crate) states_issuer: bool,
    /// Whether a client may show its secret in a header.
    pub(crate) takes_basic: bool,
    pub(crate) keys: Endpoint,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// Asks for the description and the keys.
pub(crate) async fn discover(
    fetcher: &Fetcher,
    config: &Checked,
) -> Result<(Provider, Vec<Jwk>), String> {
    let provider = provider(&get(fetcher, &config.document).await?, config)?;
    let keys = keys(&get(fetcher, &provider.keys).await?)?;
    Ok((provider, keys))
}

async fn get(fetcher: &Fetcher, endpoint: &Endpoint) -> Result<Bytes, String> {
    let request = endpoint
        .request(Method::GET)
        .header(header::ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    let answer = fetcher.send(endpoint, request).await;
    let failed = |reason: String| format!("{}: {reason}", endpoint.place());
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    if answer.status != StatusCode::OK {
        return Err(failed(format!("status {}", answer.status.as_u16())));
    }
    Ok(answer.body)
}

fn provider(document: &[u8], config: &Checked) -> Result<Provider, String> {
    let document: Document = serde_json::from_slice(document)
        .map_err(|error| format!("the provider's description: {error}"))?;
    if document.issuer != config.issuer {
        return Err("the provider's description states another issuer".to_owned());
    }
    let endpoint = |name: &str, url: &str| {
        Endpoint::parse(url, config.allow_http)
            .map_err(|error| format!("the provider's {name}: {error}"))
    };
    endpoint("authorization_endpoint", &document.authorization_endpoint)?;
    if document.authorization_endpoint.contains('#') {
        return Err("the provider's authorization_endpoint: it has a fragment".to_owned());
    }
    let methods = document.token_endpoint_auth_methods_supported;
    Ok(Provider {
        token: endpoint("token_endpoint", &document.token_endpoint)?,
        keys: endpoint("jwks_uri", &document.jwks_uri)?,
        authorization: document.authorization_endpoint,
        states_issuer: document.authorization_response_iss_parameter_supported,
        takes_basic: methods
            .is_none_or(|methods| methods.iter().any(|one| one == "client_secret_basic")),
    })
}

/// The keys of a set that can sign; one that nobody here understands takes none of the others along.
fn keys(set: &[u8]) -> Result<Vec<Jwk>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set =
        serde_json::from_slice(set).map_err(|error| format!("the provider's keys: {error}"))?;
    let readable = set.keys.into_iter().take(MAX_KEYS);
    let readable = readable.filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    let signs = |key: &Jwk| {
        let used = key.common.public_key_use.as_ref();
        used.is_none_or(|used| *used == PublicKeyUse::Signature)
    };
    Ok(readable.filter(signs).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::verify::tests::config;

    fn described(change: impl Fn(&mut Value)) -> Result<Provider, String> {
        let mut document = json!({"issuer": "https://id.example",
            "authorization_endpoint": "https://id.example/auth",
            "token_endpoint": "https://id.example/token",
            "jwks_uri": "https://keys.example/jwks"});
        change(&mut document);
        let checked = Checked::try_from(&config()).unwrap();
        provider(document.to_string().as_bytes(), &checked)
    }

    #[test]
    fn takes_what_the_issuer_says_of_itself() {
        let provider = described(|_| {}).unwrap();
        assert_eq!(provider.authorization, "https://id.example/auth");
        assert!(provider.takes_basic && !provider.states_issuer);
        let methods = json!(["client_secret_post"]);
        let change = |document: &mut Value| {
            document["token_endpoint_auth_methods_supported"] = methods.clone();
            document["authorization_response_iss_parameter_supported"] = json!(true);
        };
        let provider = described(change).unwrap();
        assert!(!provider.takes_basic && provider.states_issuer);
    }

    #[test]
    fn refuses_another_issuer_and_endpoints_without_tls() {
        for (member, value) in [
            ("issuer", "https://id.example/"),
            ("issuer", "https://evil.example"),
            ("authorization_endpoint", "http://id.example/auth"),
            ("authorization_endpoint", "javascript:alert(1)"),
            ("authorization_endpoint", "https://id.example/auth#x"),
            ("token_endpoint", "http://id.example/token"),
            ("token_endpoint", "file:///etc/passwd"),
            ("jwks_uri", "http://169.254.169.254/"),
        ] {
            let refused = described(|document| document[member] = json!(value));
            assert!(refused.is_err(), "{member} {value}");
        }
        let missing = described(|document| {
            document.as_object_mut().unwrap().remove("jwks_uri");
        });
        assert!(missing.is_err());
    }

    #[test]
    fn a_key_that_is_odd_or_encrypts_is_left_out_alone() {
        let set = json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "good", "x": "eA", "y": "eQ"},
            {"kty": "EC", "crv": "P-256", "kid": "enc", "use": "enc", "x": "eA", "y": "eQ"},
            {"kid": 7}, "x", null,
        ]});
        let keys = keys(set.to_string().as_bytes()).unwrap();
        let names: Vec<_> = keys
            .iter()
            .map(|key| key.common.key_id.as_deref())
            .collect();
        assert_eq!(names, [Some("good")]);
        assert!(super::keys(b"{}").is_err() && super::keys(b"<html>").is_err());
    }
}
