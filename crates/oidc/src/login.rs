//! The authorization code flow with PKCE, from the client's side.
//!
//! Invariants
//! - State, nonce and code verifier are made anew for each login, kept by this side, and used once:
//!   [`Login::finish`] takes them away.
//! - The browser brings back a code and nothing that is believed; who logged in is what the ID token
//!   says that the provider hands to this client in exchange.
//!
//! It refuses answers with another state, of another issuer, with a parameter twice, and tokens that
//! belong to another login.

use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{Method, StatusCode, header};
use serde::Deserialize;

use crate::claims::Claims;
use crate::discovery::Provider;
use crate::secret;
use crate::verify::{Refusal, Verifier, VerifyError};

const MAX_SECRET_FILE: u64 = 64 << 10;
/// What a provider's own words may add to a message.
const MAX_WORDS: usize = 200;

/// How this client presents itself.
#[derive(Clone, Debug, Default)]
pub struct ClientSettings {
    /// A file with the client's secret, read at each use; a public client has none.
    pub secret_file: Option<PathBuf>,
    /// Scopes beside `openid`.
    pub scopes: Vec<String>,
}

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The answer belongs to no login that this side began.
    #[error("this answer belongs to no login that was begun here")]
    State,
    /// The answer is not one of the provider's.
    #[error("the identity provider's answer cannot be used: {0}")]
    Answer(&'static str),
    /// The provider says no, or the person did.
    #[error("the identity provider refuses: {0}")]
    Denied(String),
    /// The token proves nothing, or nothing can be told.
    #[error(transparent)]
    Token(#[from] VerifyError),
    /// The code cannot be exchanged.
    #[error("the identity provider gives no token: {0}")]
    Exchange(String),
    /// There is no randomness, or the client's secret cannot be read.
    #[error("{0}")]
    Local(String),
}

/// A login that has begun. Keep it where only this browser's answer finds it, and drop it after some
/// minutes.
pub struct Pending {
    state: String,
    nonce: String,
    verifier: String,
    redirect: String,
}

impl Pending {
    /// What the provider sends back with its answer.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.state
    }
}

/// Somebody logged in.
pub struct LoggedIn {
    /// Who.
    pub claims: Claims,
    /// The proof, for whoever verifies it again.
    pub id_token: String,
    /// What a new proof is asked for with, if the provider gave something.
    pub refresh_token: Option<String>,
}

/// What a browser brings back from the provider.
#[derive(Clone, Default)]
pub struct Returned {
    code: Option<String>,
    state: Option<String>,
    issuer: Option<String>,
    error: Option<String>,
    description: Option<String>,
}

impl Returned {
    /// Reads the query of the redirect URL.
    ///
    /// # Errors
    /// When a parameter is given twice.
    pub fn read(query: &str) -> Result<Self, LoginError> {
        let mut returned = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "code" => &mut returned.code,
                "state" => &mut returned.state,
                "iss" => &mut returned.issuer,
                "error" => &mut returned.error,
                "error_description" => &mut returned.description,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(LoginError::Answer("a parameter is given twice"));
            }
        }
        Ok(returned)
    }

    /// Which login it says to answer.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// Logs people in at one provider. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Login {
    verifier: Verifier,
    client: ClientSettings,
}

impl Login {
    /// A client of the verifier's provider.
    #[must_use]
    pub fn new(verifier: Verifier, client: ClientSettings) -> Self {
        Self { verifier, client }
    }

    /// The provider, as it states itself.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.verifier.config().issuer
    }

    /// Begins a login that comes back to `redirect`: what to keep, and where the browser goes.
    ///
    /// # Errors
    /// When the provider is not known, or there is no randomness.
    pub async fn begin(&self, redirect: &str) -> Result<(Pending, String), LoginError> {
        let known = self.verifier.known().await?;
        let fresh = || secret::fresh().ok_or_else(|| LoginError::Local("no randomness".into()));
        let pending = Pending {
            state: fresh()?,
            nonce: fresh()?,
            verifier: fresh()?,
            redirect: redirect.to_owned(),
        };
        let scope = std::iter::once("openid")
            .chain(self.client.scopes.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" ");
        let query = Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.verifier.config().client_id)
            .append_pair("redirect_uri", redirect)
            .append_pair("scope", &scope)
            .append_pair("state", &pending.state)
            .append_pair("nonce", &pending.nonce)
            .append_pair("code_challenge", &challenge(&pending.verifier))
            .append_pair("code_challenge_method", "S256")
            .finish();
        let base = &known.provider.authorization;
        let joint = if base.contains('?') { '&' } else { '?' };
        Ok((pending, format!("{base}{joint}{query}")))
    }

    /// Ends a login with what the browser brought back.
    ///
    /// # Errors
    /// When nobody is logged in. The login is over in any case.
    pub async fn finish(
        &self,
        pending: Pending,
        returned: Returned,
    ) -> Result<LoggedIn, LoginError> {
        let state = returned.state.as_deref();
        if !state.is_some_and(|state| secret::same(state, &pending.state)) {
            return Err(LoginError::State);
        }
        let known = self.verifier.known().await?;
        match &returned.issuer {
            Some(issuer) if *issuer != self.verifier.config().issuer => {
                return Err(LoginError::Answer("it is another provider's"));
            }
            None if known.provider.states_issuer => {
                return Err(LoginError::Answer("it does not say whose it is"));
            }
            _ => {}
        }
        if let Some(error) = returned.error {
            return Err(LoginError::Denied(words(
                &error,
                returned.description.as_deref(),
            )));
        }
        let code = returned.code.filter(|code| !code.is_empty());
        let code = code.ok_or(LoginError::Answer("it has no code"))?;
        let form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code),
            ("redirect_uri", pending.redirect),
            ("code_verifier", pending.verifier),
        ];
        let tokens = self.ask(&known.provider, form).await?;
        self.logged_in(tokens, Some(&pending.nonce)).await
    }

    /// Asks for a new proof of somebody who logged in before.
    ///
    /// # Errors
    /// When there is none, or when it is of somebody else.
    pub async fn refresh(&self, token: &str, subject: &str) -> Result<LoggedIn, LoginError> {
        let known = self.verifier.known().await?;
        let form = vec![
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", token.to_owned()),
        ];
        let tokens = self.ask(&known.provider, form).await?;
        let mut again = self.logged_in(tokens, None).await?;
        if again.claims.subject != subject {
            return Err(VerifyError::Refused(Refusal::Nonce).into());
        }
        again.refresh_token = again.refresh_token.or_else(|| Some(token.to_owned()));
        Ok(again)
    }

    async fn logged_in(&self, tokens: Tokens, nonce: Option<&str>) -> Result<LoggedIn, LoginError> {
        let claims = self.verifier.check(&tokens.id_token, nonce).await?;
        Ok(LoggedIn {
            claims,
            id_token: tokens.id_token,
            refresh_token: tokens.refresh_token,
        })
    }

    async fn ask(
        &self,
        provider: &Provider,
        mut form: Vec<(&'static str, String)>,
    ) -> Result<Tokens, LoginError> {
        let client = &self.verifier.config().client_id;
        let secret = self.secret().await?;
        let mut request = provider
            .token
            .request(Method::POST)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        match secret {
            Some(secret) if provider.takes_basic => {
                let login = STANDARD.encode(format!("{}:{}", encoded(client), encoded(&secret)));
                request = request.header(header::AUTHORIZATION, format!("Basic {login}"));
            }
            Some(secret) => {
                form.push(("client_id", client.clone()));
                form.push(("client_secret", secret));
            }
            None => {
                form.push(("client_id", client.clone()));
            }
        }
        let request = request
            .body(Bytes::from(
                Serializer::new(String::new()).extend_pairs(form).finish(),
            ))
            .map_err(|error| LoginError::Local(error.to_string()))?;
        let answer = self.verifier.fetcher().send(&provider.token, request).await;
        let answer = answer.map_err(|error| LoginError::Exchange(error.to_string()))?;
        if answer.status != StatusCode::OK {
            return Err(LoginError::Exchange(said(answer.status, &answer.body)));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|_| LoginError::Exchange("its answer has no ID token".to_owned()))
    }

    async fn secret(&self) -> Result<Option<String>, LoginError> {
        let Some(path) = self.client.secret_file.clone() else {
            return Ok(None);
        };
        let shown = path.display().to_string();
        let read = tokio::task::spawn_blocking(move || {
            use std::io::Read as _;
            let mut text = String::new();
            let file = std::fs::File::open(path)?;
            file.take(MAX_SECRET_FILE).read_to_string(&mut text)?;
            std::io::Result::Ok(text.trim().to_owned())
        });
        let failed = |reason: String| LoginError::Local(format!("cannot read {shown}: {reason}"));
        let secret = read.await.map_err(|error| failed(error.to_string()))?;
        let secret = secret.map_err(|error| failed(error.to_string()))?;
        if secret.is_empty() {
            return Err(failed("it is empty".to_owned()));
        }
        Ok(Some(secret))
    }
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    refresh_token: Option<String>,
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

/// As RFC 6749 has a client's name and secret encoded inside of the header.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Why the token endpoint refuses, in its own words if it has any.
fn said(status: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Said {
        error: String,
        error_description: Option<String>,
    }
    match serde_json::from_slice::<Said>(body) {
        Ok(said) => words(&said.error, said.error_description.as_deref()),
        Err(_) => format!("status {}", status.as_u16()),
    }
}

/// Somebody else's words: short, and in printable ASCII, which is what RFC 6749 allows.
fn words(error: &str, description: Option<&str>) -> String {
    let all = match description {
        Some(description) => format!("{error}: {description}"),
        None => error.to_owned(),
    };
    let printable = |c: char| if (' '..='~').contains(&c) { c } else { '?' };
    all.chars().take(MAX_WORDS).map(printable).collect()
}

#[cfg(test)]
mod tests;
