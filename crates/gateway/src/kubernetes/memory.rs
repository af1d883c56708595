//! What is remembered from one request to the next: how much of a list was delivered up to where it
//! goes on, and what was refused a moment ago.
//!
//! Bounded: the oldest is forgotten first. What was forgotten is as if it had never been issued.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use weir_policy::Amount;

use super::refusal::Refusal;
use crate::ports::Ruling;

/// Lists that may go on.
const MAX_LISTS: usize = 4096;
/// Refusals that are remembered, and how long: clients fall back from one transport to the next.
const MAX_REFUSED: usize = 256;
const REFUSED: Duration = Duration::from_secs(10);

type Key = [u8; 32];

/// Requests that people decide about while their clients come again, and how long a ruling is kept.
const MAX_ASKED: usize = 1024;
const RULED: Duration = Duration::from_secs(300);

/// What is known of a request that people were asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// They have not decided; the request's name.
    Waits(Arc<str>),
    /// They have, which this takes.
    Ruled(Arc<str>, Ruling),
}

/// One of them.
struct Question {
    name: Arc<str>,
    ruling: Option<(Ruling, Instant)>,
}

/// What the sessions of an engine remember together.
#[derive(Default)]
pub(crate) struct Memory {
    asked: Mutex<HashMap<Key, Question>>,
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
        known
            .find(|(have, _)| *have == key)
            .map(|(_, amount)| *amount)
    }

    /// What people say of a request that they were asked about before.
    pub(super) fn asked(&self, whose: &str, what: &str) -> Option<Asked> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = |question: &Question| match &question.ruling {
            Some((_, at)) => at.elapsed() < RULED,
            None => true,
        };
        asked.retain(|_, question| kept(question));
        let key = key(whose, what);
        if asked.get(&key)?.ruling.is_none() {
            return asked.get(&key).map(|it| Asked::Waits(Arc::clone(&it.name)));
        }
        let question = asked.remove(&key)?;
        question
            .ruling
            .map(|(ruling, _)| Asked::Ruled(question.name, ruling))
    }

    /// People are asked about a request. Not where too many are.
    pub(super) fn ask(&self, whose: &str, what: &str, name: &Arc<str>) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let question = Question {
            name: Arc::clone(name),
            ruling: None,
        };
        let fits = asked.len() < MAX_ASKED;
        if fits {
            asked.insert(key(whose, what), question);
        }
        fits
    }

    /// They have said so.
    pub(super) fn ruled(&self, whose: &str, what: &str, ruling: Ruling) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(question) = asked.get_mut(&key(whose, what)) {
            question.ruling = Some((ruling, Instant::now()));
        }
    }

    /// What a stream was refused with.
    pub(super) fn was_refused(&self, whose: &str, what: &str, refusal: &Refusal, audit_id: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|(_, at, ..)| at.elapsed() < REFUSED);
        if refused.len() >= MAX_REFUSED {
            refused.pop_front();
        }
        let refusal = (
            key(whose, what),
            Instant::now(),
            refusal.clone(),
            audit_id.to_owned(),
        );
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
    fn a_ruling_is_given_once_to_whom_it_was_asked_for() {
        let memory = Memory::default();
        let name: Arc<str> = "weir-1".into();
        assert_eq!(memory.asked("a", "exec"), None);
        assert!(memory.ask("a", "exec", &name));
        assert_eq!(memory.asked("b", "exec"), None);
        assert_eq!(
            memory.asked("a", "exec"),
            Some(Asked::Waits(Arc::clone(&name)))
        );
        memory.ruled("a", "exec", Ruling::Approved(None));
        let ruled = Asked::Ruled(name, Ruling::Approved(None));
        assert_eq!(memory.asked("a", "exec"), Some(ruled));
        assert_eq!(memory.asked("a", "exec"), None);
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
