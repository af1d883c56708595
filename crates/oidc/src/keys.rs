//! The provider and its keys, as long as they are believed.
//!
//! Invariants
//! - One question at a time, and none within [`RETRY`] of the one before: whoever shows tokens with
//!   made-up key names makes no traffic.
//! - What is older than [`FRESH`] is asked for again; what is older than [`BELIEVED`] is not used,
//!   whether or not the provider can be reached.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::Jwk;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::discovery::Provider;

/// The provider is asked no more often.
pub const RETRY: Duration = Duration::from_secs(10);
const FRESH: Duration = Duration::from_secs(600);
const BELIEVED: Duration = Duration::from_secs(3600);

/// What one answer of the provider said.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) provider: Provider,
    pub(crate) keys: Vec<Jwk>,
    at: Instant,
}

/// Asks the provider.
pub(crate) trait Ask: Send + Sync {
    fn ask(&self) -> impl Future<Output = Result<(Provider, Vec<Jwk>), String>> + Send;
}

#[derive(Debug)]
pub(crate) struct Keys<A> {
    ask: A,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: Option<Arc<Known>>,
    asked: Option<Instant>,
    /// Why there is nothing newer.
    failure: String,
}

impl<A: Ask> Keys<A> {
    pub(crate) fn new(ask: A) -> Self {
        Self {
            ask,
            state: Mutex::default(),
        }
    }

    pub(crate) fn asks(&self) -> &A {
        &self.ask
    }

    /// What is believed now.
    ///
    /// # Errors
    /// Why there is nothing.
    pub(crate) async fn current(&self) -> Result<Arc<Known>, String> {
        let mut state = self.state.lock().await;
        let fresh = |known: &Arc<Known>| known.at.elapsed() < FRESH;
        if !state.known.as_ref().is_some_and(fresh) {
            self.renew(&mut state).await;
        }
        let believed = |known: &&Arc<Known>| known.at.elapsed() < BELIEVED;
        let known = state.known.as_ref().filter(believed).cloned();
        known.ok_or_else(|| state.failure.clone())
    }

    /// Something else than `seen`, in which a key was missing; none if there is nothing newer.
    pub(crate) async fn newer(&self, seen: &Arc<Known>) -> Option<Arc<Known>> {
        let mut state = self.state.lock().await;
        let same = |known: &Arc<Known>| Arc::ptr_eq(known, seen);
        if state.known.as_ref().is_some_and(same) {
            self.renew(&mut state).await;
        }
        state.known.clone().filter(|known| !same(known))
    }

    async fn renew(&self, state: &mut State) {
        if state.asked.is_some_and(|asked| asked.elapsed() < RETRY) {
            return;
        }
        state.asked = Some(Instant::now());
        // Whoever waits may go away: then this stays true until the next question.
        state.failure = "the identity provider did not answer".to_owned();
        match self.ask.ask().await {
            Ok((provider, keys)) => {
                let at = Instant::now();
                state.known = Some(Arc::new(Known { provider, keys, at }));
            }
            Err(reason) => {
                tracing::warn!(%reason, "the identity provider cannot be asked");
                state.failure = reason;
            }
        }
    }
}

#[cfg(test)]
mod tests;
