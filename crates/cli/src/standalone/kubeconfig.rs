//! What `kubectl` and client libraries need to reach the API servers behind Weir's listeners.
//!
//! The token in it is a placeholder: worth something at this Weir alone, which puts the real one in its
//! place. Clients that have none at all ask people for a name and a password.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use weir_gateway::{PlaceholderClaims, Placeholders};
use weir_policy::{Bundle, Protocol};

use super::config::Config;

/// How long a placeholder is good for; a new one is written at each start.
const LIFETIME: u64 = 365 * 86_400;

/// The file's content; none where no listener leads to an API server.
pub(super) fn kubeconfig(
    bundle: &Bundle,
    config: &Config,
    placeholders: &Placeholders,
    ca_pem: &str,
) -> Option<String> {
    let listeners: Vec<(&str, SocketAddr)> = config
        .listeners
        .iter()
        .filter(|listener| {
            let target = bundle.target_named(&listener.target);
            target.is_some_and(|(_, target)| target.protocol == Protocol::Kubernetes)
        })
        .map(|listener| (listener.target.as_str(), listener.address))
        .collect();
    let (first, _) = listeners.first()?;
    let clusters: Vec<Value> = listeners
        .iter()
        .map(|(name, address)| {
            let server = format!("https://{address}");
            let ca = STANDARD.encode(ca_pem);
            json!({"name": name, "cluster": {"server": server, "certificate-authority-data": ca}})
        })
        .collect();
    let contexts: Vec<Value> = listeners
        .iter()
        .map(|(name, _)| json!({"name": name, "context": {"cluster": name, "user": "weir"}}))
        .collect();
    let token = placeholders.mint(&claims(), now(), LIFETIME);
    let file = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": clusters,
        "contexts": contexts,
        "users": [{"name": "weir", "user": {"token": token}}],
        "current-context": first,
    });
    Some(format!("{file:#}\n"))
}

fn claims() -> PlaceholderClaims {
    PlaceholderClaims {
        issuer: "weir".to_owned(),
        subject: "weir:placeholder".to_owned(),
        audiences: vec!["weir".to_owned()],
        ..PlaceholderClaims::default()
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
