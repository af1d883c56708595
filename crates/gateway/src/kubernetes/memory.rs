//! What is remembered from one request to the next: how much of a list was delivered up to where it
//! goes on, and what was refused a moment ago.
//!
//! Bounded: the oldest is forgotten first. What was forgotten is as if it had never been issued.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use weir_policy::Amount;

use super::refusal::Refusal;
use crate::ports::Ruled;

/// Lists that may go on.
const MAX_LISTS: usize = 4096;
/// Refusals that are remembered, and how long: clients fall back from one transport to the next.
const MAX_REFUSED: usize = 256;
const REFUSED: Duration = Duration::from_secs(10);

type Key = [u8; 32];

/// Requests that people decide about while their clients come again, and how long a ruling is kept.
const MAX_ASKED: usize = 1024;
const RULED: Duration = Duration::from_secs(300);

/// What is known of a request that people are to be asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nobody has asked: whoever gets this asks.
    First,
    /// They have not decided; the request's name, once it has one.
    Waits(Option<Arc<str>>),
    /// They have, which this takes.
    Ruled(Ruled),
    /// People are asked about too many.
    Full,
}

/// One of them.
#[derive(Default)]
struct Question {
    name: Option<Arc<str>>,
    ruled: Option<(Ruled, Instant)>,
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

    /// What people say of a request, if they were asked. Of many that ask the same at once one is
    /// told to ask them.
    pub(super) fn ask(&self, whose: &str, what: &str) -> Asked {
        let mut asked = self.asked();
        let kept = |question: &Question| match &question.ruled {
            Some((_, at)) => at.elapsed() < RULED,
            None => true,
        };
        asked.retain(|_, question| kept(question));
        let full = asked.len() >= MAX_ASKED;
        match asked.entry(key(whose, what)) {
            Entry::Vacant(_) if full => Asked::Full,
            Entry::Vacant(vacant) => {
                vacant.insert(Question::default());
                Asked::First
            }
            Entry::Occupied(mut question) => match question.get_mut().ruled.take() {
                Some((ruled, _)) => {
                    question.remove();
                    Asked::Ruled(ruled)
                }
                None => Asked::Waits(question.get().name.clone()),
            },
        }
    }

    /// They are asked, under this name.
    pub(super) fn waits(&self, whose: &str, what: &str, name: &Arc<str>) {
        if let Some(question) = self.asked().get_mut(&key(whose, what)) {
            question.name = Some(Arc::clone(name));
        }
    }

    /// They could not be asked.
    pub(super) fn not_asked(&self, whose: &str, what: &str) {
        self.asked().remove(&key(whose, what));
    }

    /// They have said so.
    pub(super) fn ruled(&self, whose: &str, what: &str, ruled: Ruled) {
        if let Some(question) = self.asked().get_mut(&key(whose, what)) {
            question.ruled = Some((ruled, Instant::now()));
        }
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<Key, Question>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
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
    use crate::ports::Ruling;

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
    fn of_those_who_ask_the_same_one_asks_people_and_one_takes_what_they_say() {
        let memory = Memory::default();
        let name: Arc<str> = "weir-x".into();
        assert_eq!(memory.ask("a", "exec"), Asked::First);
        assert_eq!(memory.ask("a", "exec"), Asked::Waits(None));
        assert_eq!(memory.ask("b", "exec"), Asked::First);
        memory.waits("a", "exec", &name);
        let waits = Asked::Waits(Some(Arc::clone(&name)));
        assert_eq!(memory.ask("a", "exec"), waits);
        let ruled = Ruled {
            name,
            ruling: Ruling::Approved(None),
        };
        memory.ruled("a", "exec", ruled.clone());
        assert_eq!(memory.ask("a", "exec"), Asked::Ruled(ruled));
        assert_eq!(memory.ask("a", "exec"), Asked::First);
    }

    #[test]
    fn whoever_could_not_ask_leaves_it_to_the_next() {
        let memory = Memory::default();
        assert_eq!(memory.ask("a", "exec"), Asked::First);
        memory.not_asked("a", "exec");
        assert_eq!(memory.ask("a", "exec"), Asked::First);
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
