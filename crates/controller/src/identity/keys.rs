//! The cluster's token keys and issuer, asked from its API server.
//!
//! Invariants: keys are fetched again when a token names one that is not known, but not more often
//! than every ten seconds, so that forged tokens cost the API server nothing.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use kube::Client;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::EnrolError;
use super::token::{Claims, key_id, verify};

const FRESH: Duration = Duration::from_secs(3600);
const RETRY: Duration = Duration::from_secs(10);

/// The keys.
pub(crate) struct Keys {
    client: Client,
    issuer: Option<String>,
    known: Mutex<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    keys: Arc<JwkSet>,
    issuer: Arc<str>,
    at: Instant,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

impl Keys {
    /// `issuer` is asked from the API server where it is not given.
    pub(crate) fn new(client: Client, issuer: Option<String>) -> Self {
        Self {
            client,
            issuer,
            known: Mutex::default(),
        }
    }

    /// Verifies a token against them.
    pub(crate) async fn verify(&self, token: &str, audience: &str) -> Result<Claims, EnrolError> {
        let id = key_id(token)?;
        let known = self.known(id.as_deref()).await?;
        Ok(verify(token, &known.keys, &known.issuer, audience)?)
    }

    async fn known(&self, id: Option<&str>) -> Result<Known, EnrolError> {
        let mut known = self.known.lock().await;
        if let Some(known) = &*known {
            let has = id.is_none_or(|id| known.keys.find(id).is_some());
            let age = known.at.elapsed();
            if (has && age < FRESH) || age < RETRY {
                return Ok(known.clone());
            }
        }
        match self.fetch().await {
            Ok(fetched) => Ok(known.insert(fetched).clone()),
            Err(error) => match &mut *known {
                // Old keys are better than none; they are only ever believed together with the
                // API server's own review.
                Some(known) => {
                    tracing::warn!(%error, "the cluster's token keys cannot be fetched again");
                    known.at = Instant::now();
                    Ok(known.clone())
                }
                None => Err(error),
            },
        }
    }

    async fn fetch(&self) -> Result<Known, EnrolError> {
        let keys = self.ask("/openid/v1/jwks").await?;
        let keys = serde_json::from_str(&keys).map_err(unavailable)?;
        let issuer = match &self.issuer {
            Some(issuer) => issuer.clone(),
            None => {
                let discovery = self.ask("/.well-known/openid-configuration").await?;
                let discovery: Discovery = serde_json::from_str(&discovery).map_err(unavailable)?;
                discovery.issuer
            }
        };
        Ok(Known {
            keys: Arc::new(keys),
            issuer: issuer.into(),
            at: Instant::now(),
        })
    }

    async fn ask(&self, path: &str) -> Result<String, EnrolError> {
        let request = hyper::Request::get(path).body(Vec::new());
        let request = request.map_err(unavailable)?;
        self.client.request_text(request).await.map_err(unavailable)
    }
}

fn unavailable(error: impl std::fmt::Display) -> EnrolError {
    EnrolError::Unavailable(format!("the cluster's token keys: {error}"))
}
