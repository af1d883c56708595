//! Which session a CancelRequest means.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use weir_wire_postgres::startup::CancelKey;

type Key = (String, CancelKey);

/// The sessions by target and cancel key.
#[derive(Default)]
pub(crate) struct CancelRegistry {
    sessions: Arc<Mutex<HashMap<Key, Arc<Notify>>>>,
}

/// A session's place in the registry; dropping it leaves.
pub(super) struct Registered {
    sessions: Arc<Mutex<HashMap<Key, Arc<Notify>>>>,
    key: Key,
}

impl CancelRegistry {
    /// Enters a session.
    pub(super) fn enter(&self, target: &str, key: &CancelKey, bell: Arc<Notify>) -> Registered {
        let key = (target.to_owned(), key.clone());
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(key.clone(), bell);
        Registered {
            sessions: Arc::clone(&self.sessions),
            key,
        }
    }

    /// Rings for the session with this key. Nothing is kept: a session that is not held just now
    /// never hears of it.
    pub(super) fn ring(&self, target: &str, key: &CancelKey) {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = sessions.get(&(target.to_owned(), key.clone())) {
            bell.notify_waiters();
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(&self.key);
    }
}
