//! What is remembered from one request to the next: how much of a list was delivered up to where it
//! goes on, and what was refused a moment ago.
//!
//! Bounded: the oldest is forgotten first. What was forgotten is as if it had never been issued.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use weir_policy::Amount;

use super::refusal::Refusal;

/// Lists that may go on.
const MAX_LISTS: usize = 4096;
/// Refusals that are remembered, and how long: clients fall back from one transport to the next.
const MAX_REFUSED: usize = 256;
const REFUSED: Duration = Duration::from_secs(10);

type Key = [u8; 32];

/// What the sessions of an engine remember together.
#[derive(Default)]
pub(crate) struct Memory {
    lists: Mutex<VecDeque<(Key, Amount)>>,
    refused: Mutex<VecDeque<(Key, Instant, Refusal, String)>>,
}

impl Memory {
    /// A list that somebody reads goes on with this token, after so much.
    pub(super) fn list_goes_on(&self, whose: &str, token: &str, delivered: Amount) {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.len() >= MAX_LISTS {
            lists.pop_front();
        }
        lists.push_back((key(whose, token), delivered));
    }

    /// How much was delivered of a list before the page that this token asks for; none where it was not
    /// issued here, or is forgotten.
    pub(super) fn delivered_before(&self, whose: &str, token: &str) -> Option<Amount> {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(whose, token);
        let mut known = lists.iter().rev();
        known.find(|(have, _)| *have == key).map(|(_, amount)| *amount)
    }

    /// What a stream was refused with.
    pub(super) fn was_refused(&self, whose: &str, what: &str, refusal: &Refusal, audit_id: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|(_, at, ..)| at.elapsed() < REFUSED);
        if refused.len() >= MAX_REFUSED {
            refused.pop_front();
        }
        let refusal = (key(whose, what), Instant::now(), refusal.clone(), audit_id.to_owned());
        refused.push_back(refusal);
    }

    /// The refusal of the same a moment ago, which this takes.
    pub(super) fn take_refusal(&self, whose: &str, what: &str) -> Option<(Refusal, String)> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|(_, at, ..)| at.elapsed() < REFUSED);
        let key = key(whose, what);
        let at = refused.iter().position(|(have, ..)| *have == key)?;
        let (_, _, refusal, audit_id) = refused.remove(at)?;
        Some((refusal, audit_id))
    }
}

fn key(whose: &str, what: &str) -> Key {
    let mut digest = Sha256::new();
    digest.update((whose.len() as u64).to_le_bytes());
    digest.update(whose);
    digest.update(what);
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_only_for_whom_it_was_begun() {
        let memory = Memory::default();
        let amount = Amount {
            rows: 500,
            ..Amount::default()
        };
        memory.list_goes_on("a", "token", amount);
        assert_eq!(memory.delivered_before("a", "token"), Some(amount));
        assert_eq!(memory.delivered_before("b", "token"), None);
        assert_eq!(memory.delivered_before("a", "other"), None);
        for i in 0..MAX_LISTS {
            memory.list_goes_on("a", &i.to_string(), amount);
        }
        assert_eq!(memory.delivered_before("a", "token"), None);
    }

    #[test]
    fn a_refusal_is_repeated_once() {
        let memory = Memory::default();
        let refusal = Refusal::bad_request("no");
        memory.was_refused("a", "exec", &refusal, "1/2");
        assert!(memory.take_refusal("b", "exec").is_none());
        let (_, id) = memory.take_refusal("a", "exec").unwrap();
        assert_eq!(id, "1/2");
        assert!(memory.take_refusal("a", "exec").is_none());
    }
}
