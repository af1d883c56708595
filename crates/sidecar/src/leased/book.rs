//! What this sidecar may take of each window budget. Pure: the time is an argument.
//!
//! Invariants: without a lease that is in force nothing is left; a lease is a ceiling of what was
//! taken since the epoch began, and it is lowered before the controller is told, never after; it ends
//! here no later than at the controller, because it counts from before the request was sent.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use weir_policy::{Amount, BudgetKey, Wanted};
use weir_uplink::control::{Lease, LeaseAsk};

/// How long an answer holds that nothing more can be had, and how long nothing is asked after there
/// was no answer.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// What was taken is settled at least this often.
pub(super) const SETTLE: Duration = Duration::from_secs(5);
/// At least so long between two unasked exchanges about one budget.
const PAUSE: Duration = Duration::from_millis(50);
/// A lease is this part of what all together have left,
const SHARE: u64 = 8;
/// but at least this part of the limit.
const LEAST: u64 = 64;

const UNLIMITED: Amount = Amount {
    rows: u64::MAX,
    bytes: u64::MAX,
    statements: u64::MAX,
};

/// All budgets that were asked for.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: HashMap<BudgetKey, Entry>,
}

/// One budget.
#[derive(Clone, Debug)]
struct Entry {
    /// What was taken since the epoch began.
    taken: Amount,
    /// So much of it the controller has answered for.
    settled: Amount,
    /// The limits that were asked for last.
    limit: Amount,
    told: Option<Told>,
    held: Option<Held>,
    /// When an exchange was last tried.
    tried: Option<Instant>,
    /// When there was last no answer, if there was none since.
    failed: Option<Instant>,
}

/// What the controller said last.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Taken by all, and leased to others,
    used: Amount,
    /// when this sidecar had taken so much.
    at: Amount,
    when: Instant,
}

/// A lease.
#[derive(Clone, Copy, Debug)]
struct Held {
    ceiling: Amount,
    granted: Amount,
    from: Instant,
    ends: Instant,
}

/// Why a budget is talked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// More is needed: at least so much.
    Grow(Amount),
    /// What was taken is settled; what is not used goes back.
    Settle,
    /// Everything goes back.
    GiveUp,
}

/// One budget of a request that is on its way.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) key: BudgetKey,
    at: Amount,
    before: Option<Held>,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            taken: Amount::default(),
            settled: Amount::default(),
            limit: UNLIMITED,
            told: None,
            held: None,
            tried: None,
            failed: None,
        }
    }
}

impl Book {
    /// Adds what an earlier process took and settled.
    pub(super) fn restore(&mut self, key: BudgetKey, taken: Amount, settled: Amount) {
        let entry = self.entries.entry(key).or_default();
        (entry.taken, entry.settled) = (taken, settled);
    }

    /// How much may be taken before this limit is reached.
    pub(super) fn left(&self, key: &BudgetKey, limit: Amount, now: Instant) -> Amount {
        let entry = self.entries.get(key);
        let left = entry.map(|entry| entry.left(limit, now));
        left.unwrap_or_else(|| limited(limit, Amount::default(), u64::MAX))
    }

    /// What all have taken, as far as it is known here.
    pub(super) fn used(&self, key: &BudgetKey) -> Option<Amount> {
        let entry = self.entries.get(key)?;
        let told = entry.told?;
        Some(told.used.plus(entry.taken.minus(told.at)))
    }

    /// Whether more might be left, and the controller cannot say.
    pub(super) fn is_withheld(&self, key: &BudgetKey, limit: Amount) -> bool {
        let is_reached = |used: Amount| {
            let rest = limit.minus(used);
            rest.rows == 0 || rest.bytes == 0 || rest.statements == 0
        };
        let failed = |entry: &Entry| entry.failed.is_some();
        self.entries.get(key).is_some_and(failed) && !self.used(key).is_some_and(is_reached)
    }

    /// Counts what was taken. The whole count, and whether there is something to talk about.
    pub(super) fn take(&mut self, key: &BudgetKey, amount: Amount, now: Instant) -> (Amount, bool) {
        let entry = self.entries.entry(key.clone()).or_default();
        let was_settled = !entry.is_dirty();
        entry.taken = entry.taken.plus(amount);
        (entry.taken, was_settled || entry.is_half_used(now))
    }

    /// Whether nothing of what is wanted is lacking.
    pub(super) fn satisfies(&self, wanted: &Wanted, now: Instant) -> bool {
        self.left(&wanted.key, wanted.limit, now)
            .covers(wanted.need)
    }

    /// The budgets to ask about, so that what is wanted may be had.
    pub(super) fn lacking(&mut self, wanted: &[Wanted], now: Instant) -> Vec<(BudgetKey, Purpose)> {
        let mut lacking: Vec<(BudgetKey, Amount, Amount)> = Vec::new();
        for want in wanted {
            let hopeless = self
                .entries
                .get(&want.key)
                .is_some_and(|entry| entry.is_hopeless(want.limit, want.need, now));
            if self.satisfies(want, now) || hopeless {
                continue;
            }
            // The smallest limit that is not reached: nothing beyond it could be used.
            match lacking.iter_mut().find(|(key, ..)| *key == want.key) {
                Some((_, limit, need)) => {
                    *limit = limit.least(want.limit);
                    *need = need.most(want.need);
                }
                None => lacking.push((want.key.clone(), want.limit, want.need)),
            }
        }
        let mut asks = Vec::with_capacity(lacking.len());
        for (key, limit, need) in lacking {
            let entry = self.entries.entry(key.clone()).or_default();
            let newer = |new, old| if new == u64::MAX { old } else { new };
            entry.limit = measures(limit, entry.limit, newer);
            asks.push((key, Purpose::Grow(need)));
        }
        asks
    }

    /// When there is next something to say unasked.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let times = self.entries.values().filter_map(|entry| entry.due(now));
        times.map(|(at, _)| at).min()
    }

    /// What is to be said unasked now.
    pub(super) fn due(&self, now: Instant) -> Vec<(BudgetKey, Purpose)> {
        let due = |(key, entry): (&BudgetKey, &Entry)| {
            let (at, purpose) = entry.due(now)?;
            (at <= now).then(|| (key.clone(), purpose))
        };
        self.entries.iter().filter_map(due).collect()
    }

    /// All that is leased or not settled, to be given up.
    pub(super) fn all(&self) -> Vec<(BudgetKey, Purpose)> {
        let open = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_dirty() || entry.held.is_some());
        open.map(|(key, _)| (key.clone(), Purpose::GiveUp))
            .collect()
    }

    /// What is said about one budget. From here on nothing is taken of what it gives up.
    pub(super) fn ask(
        &mut self,
        key: &BudgetKey,
        purpose: Purpose,
        now: Instant,
    ) -> (LeaseAsk, Sent) {
        let entry = self.entries.entry(key.clone()).or_default();
        let sent = Sent {
            key: key.clone(),
            at: entry.taken,
            before: entry.held,
        };
        let purpose = match purpose {
            // A lease is not made smaller for a controller that may not hear of it.
            Purpose::Settle if entry.failed.is_some() => Purpose::Grow(Amount::default()),
            purpose => purpose,
        };
        let (want, keeps) = entry.terms(purpose, now);
        entry.tried = Some(now);
        entry.held = entry
            .held_at(now)
            .filter(|_| !keeps.is_zero())
            .map(|held| Held {
                ceiling: entry.taken.plus(keeps),
                ..held
            });
        let ask = LeaseAsk {
            key: key.as_str().to_owned(),
            per_ms: u64::try_from(key.per().as_millis()).unwrap_or(u64::MAX),
            spent: entry.taken.minus(entry.settled),
            want,
            limit: entry.limit,
            settled: entry.settled,
            keeps,
            ..LeaseAsk::default()
        };
        (ask, sent)
    }

    /// An answer. What is settled now, to be kept.
    pub(super) fn answered(&mut self, sent: &Sent, lease: &Lease, asked: Instant) -> Amount {
        let entry = self.entries.entry(sent.key.clone()).or_default();
        entry.failed = None;
        entry.settled = sent.at;
        entry.told = Some(Told {
            used: lease.used,
            at: sent.at,
            when: asked,
        });
        entry.held = (!lease.granted.is_zero()).then(|| Held {
            ceiling: sent.at.plus(lease.granted),
            granted: lease.granted,
            from: asked,
            ends: asked + Duration::from_millis(lease.expires_in_ms),
        });
        entry.settled
    }

    /// There was no answer. What was given up comes back only if the request never left.
    pub(super) fn unanswered(&mut self, sent: &Sent, unsent: bool, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&sent.key) {
            entry.failed = Some(now);
            if unsent {
                entry.held = sent.before;
            }
        }
    }
}

impl Entry {
    fn is_dirty(&self) -> bool {
        self.taken != self.settled
    }

    fn held_at(&self, now: Instant) -> Option<Held> {
        self.held.filter(|held| now < held.ends)
    }

    /// What is left of the lease.
    fn leased(&self, now: Instant) -> Amount {
        let held = self.held_at(now);
        held.map_or_else(Amount::default, |held| held.ceiling.minus(self.taken))
    }

    /// What all together have left, as far as it is known here.
    fn rest(&self, limit: Amount) -> Option<Amount> {
        let told = self.told?;
        Some(limit.minus(told.used).minus(self.taken.minus(told.at)))
    }

    fn left(&self, limit: Amount, now: Instant) -> Amount {
        let rest = self.rest(limit).unwrap_or_default();
        limited(limit, self.leased(now).least(rest), u64::MAX)
    }

    /// Whether so much cannot be had, as the controller said just now, or did not say.
    fn is_hopeless(&self, limit: Amount, need: Amount, now: Instant) -> bool {
        if self.failed.is_some_and(|failed| now < failed + RETRY) {
            return true;
        }
        let is_fresh = self.told.is_some_and(|told| now < told.when + RETRY);
        is_fresh && self.rest(limit).is_some_and(|rest| !rest.covers(need))
    }

    /// Whether half of some measure of the lease is taken.
    fn is_half_used(&self, now: Instant) -> bool {
        let Some(held) = self.held_at(now) else {
            return false;
        };
        let left = held.ceiling.minus(self.taken);
        left.rows < held.granted.rows.div_ceil(2)
            || left.bytes < held.granted.bytes.div_ceil(2)
            || left.statements < held.granted.statements.div_ceil(2)
    }

    /// When there is next something to say unasked, and what.
    fn due(&self, now: Instant) -> Option<(Instant, Purpose)> {
        let (at, purpose) = self.wish(now)?;
        let again = self.failed.map_or(at, |failed| at.max(failed + RETRY));
        Some((again, purpose))
    }

    fn wish(&self, now: Instant) -> Option<(Instant, Purpose)> {
        let settles = self.tried.map_or(now, |tried| tried + SETTLE);
        let Some(held) = self.held_at(now) else {
            // What an earlier process left may still be leased to it.
            let is_open = self.is_dirty() || self.tried.is_none();
            return is_open.then_some((settles, Purpose::Settle));
        };
        let half = held.from + held.ends.duration_since(held.from) / 2;
        if !self.is_dirty() {
            let least = measures(self.limit, self.limit, |limit, _| limit / LEAST);
            if settles < half && !least.covers(limited(self.limit, self.leased(now), 0)) {
                return Some((settles, Purpose::Settle));
            }
            let again = self.tried.map_or(now, |tried| tried + PAUSE);
            return Some((half.max(again), Purpose::GiveUp));
        }
        let settle = (half.min(settles), Purpose::Settle);
        let one = limited(
            self.limit,
            Amount {
                rows: 1,
                bytes: 1,
                statements: 1,
            },
            0,
        );
        if !self.is_half_used(now) || self.is_hopeless(self.limit, one, now) {
            return Some(settle);
        }
        let grow = self.tried.map_or(now, |tried| tried + PAUSE);
        if grow <= settle.0 {
            return Some((grow, Purpose::Grow(Amount::default())));
        }
        Some(settle)
    }

    /// What is wanted, and what is kept until the answer.
    fn terms(&self, purpose: Purpose, now: Instant) -> (Amount, Amount) {
        let part = |of: Amount, by: u64| measures(of, of, |a, _| a / by);
        let least = part(self.limit, LEAST);
        let rest = self.rest(self.limit).unwrap_or(self.limit);
        let share = part(rest, SHARE).most(least);
        let leased = self.leased(now);
        let (want, keeps) = match purpose {
            Purpose::Grow(need) => (share.most(need), leased),
            Purpose::Settle => {
                let recent = self.taken.minus(self.settled);
                let want = recent.plus(recent).most(least).least(share);
                (want, leased.least(want))
            }
            Purpose::GiveUp => (Amount::default(), Amount::default()),
        };
        (limited(self.limit, want, 0), limited(self.limit, keeps, 0))
    }
}

fn measures(a: Amount, b: Amount, with: impl Fn(u64, u64) -> u64) -> Amount {
    Amount {
        rows: with(a.rows, b.rows),
        bytes: with(a.bytes, b.bytes),
        statements: with(a.statements, b.statements),
    }
}

/// An amount where there is a limit, `otherwise` where there is none.
fn limited(limit: Amount, amount: Amount, otherwise: u64) -> Amount {
    measures(limit, amount, |limit, amount| {
        if limit == u64::MAX { otherwise } else { amount }
    })
}
