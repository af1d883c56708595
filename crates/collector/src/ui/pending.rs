//! Browsers that are not logged in yet: what ties a form, and the answer of a provider, to one of them.
//!
//! Invariants
//! - A visit is a cookie; its form token follows from it and from a key of this process, so that
//!   nothing is kept of visitors who only look.
//! - A login at a provider is finished by the browser that began it, once, within [`LIFE`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;
use weir_oidc::Pending;

use super::secret::{self, Mark};

/// How long a person may take at the provider.
pub(super) const LIFE: Duration = Duration::from_secs(900);
const MOST: usize = 1024;

struct Begun {
    visit: Mark,
    login: Pending,
    next: String,
    at: Instant,
}

pub(super) struct Logins {
    key: hmac::Key,
    begun: Mutex<HashMap<Mark, Begun>>,
}

impl Default for Logins {
    fn default() -> Self {
        // Without randomness no visit begins either (`secret::fresh`), so that no token is made of this.
        let mut bytes = [0; 32];
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
            begun: Mutex::default(),
        }
    }
}

impl Logins {
    /// The form token of a visit.
    pub(super) fn csrf(&self, visit: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, visit.as_bytes()))
    }

    /// Keeps a login until its answer comes.
    pub(super) fn begin(&self, visit: &str, login: Pending, next: &str) {
        let now = Instant::now();
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.len() >= MOST {
            begun.retain(|_, begun| now.duration_since(begun.at) < LIFE);
        }
        if begun.len() >= MOST {
            let oldest = begun.iter().min_by_key(|(_, begun)| begun.at);
            if let Some(state) = oldest.map(|(state, _)| *state) {
                begun.remove(&state);
            }
        }
        begun.insert(
            secret::mark(login.state()),
            Begun {
                visit: secret::mark(visit),
                login,
                next: next.to_owned(),
                at: now,
            },
        );
    }

    /// The login of an answer, if this browser began it; it is there no more.
    pub(super) fn take(&self, visit: &str, state: &str) -> Option<(Pending, String)> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let found = begun.remove(&secret::mark(state))?;
        let good = found.visit == secret::mark(visit) && found.at.elapsed() < LIFE;
        good.then_some((found.login, found.next))
    }
}
