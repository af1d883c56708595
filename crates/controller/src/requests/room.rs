//! How many requests a pod may have waiting, and how large they may be together.
//!
//! Invariant: what is over counts no more, whoever ended it; what is being made counts before the API
//! server has it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use weir_api::kinds::{AccessRequestPhase, AccessRequestSpec};

use super::phase::phase;
use super::{Entry, RequestError, WAITING_PER_POD, WEIGHT_PER_POD};

/// Requests and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) requests: usize,
    pub(super) bytes: usize,
}

/// What is being made, by the UID of its pod.
pub(super) type Making = Arc<Mutex<BTreeMap<String, Load>>>;

/// Counts as one request until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    making: Making,
    uid: String,
    weight: usize,
}

impl Room {
    /// Takes room for a request of this weight, where `waiting` wait.
    pub(super) fn take(
        making: &Making,
        uid: &str,
        weight: usize,
        waiting: Load,
    ) -> Result<Self, RequestError> {
        let mut all = making.lock().unwrap_or_else(PoisonError::into_inner);
        let load = all.get(uid).copied().unwrap_or_default();
        if waiting.requests + load.requests >= WAITING_PER_POD {
            return Err(RequestError::TooMany);
        }
        if waiting.bytes + load.bytes + weight > WEIGHT_PER_POD {
            return Err(RequestError::TooLarge);
        }
        let more = Load {
            requests: load.requests + 1,
            bytes: load.bytes + weight,
        };
        all.insert(uid.to_owned(), more);
        drop(all);
        Ok(Self {
            making: Arc::clone(making),
            uid: uid.to_owned(),
            weight,
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut all = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(load) = all.get_mut(&self.uid) {
            load.requests -= 1;
            load.bytes -= self.weight;
            if load.requests == 0 {
                all.remove(&self.uid);
            }
        }
    }
}

/// Those that wait now.
pub(super) fn waiting<'a>(entries: impl Iterator<Item = &'a Entry>, now: Timestamp) -> Load {
    let waits = |entry: &&Entry| {
        entry.terms.is_some_and(|terms| {
            phase(terms, entry.status.as_ref(), now) == AccessRequestPhase::Pending
        })
    };
    entries
        .filter(waits)
        .fold(Load::default(), |load, entry| Load {
            requests: load.requests + 1,
            bytes: load.bytes + entry.weight,
        })
}

/// About how many bytes a request takes.
pub(super) fn weight(spec: &AccessRequestSpec) -> usize {
    serde_json::to_string(spec).map_or(0, |text| text.len())
}
