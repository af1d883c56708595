//! One budget: what was taken, and who may take how much until when. Pure.
//!
//! A holder counts what it takes from the beginning of its epoch, and its lease is a ceiling of that
//! count. So an answer that was lost changes nothing: what was settled is not settled again, and what
//! the holder goes on taking of its old lease stays leased.
//!
//! Invariants: what is settled and what is leased never exceed the limit together; a lease that
//! ended without a settlement counts as spent; when its holder comes back after all, only what it
//! took beyond that is added; a request that was overtaken by a later one is not heard. The clock is
//! an argument, and one that steps back frees nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_policy::{Amount, BudgetKey, Counters as _, LedgerRow, Timestamp, WindowLedger};

use crate::control::{Lease, LeaseAsk};

/// How long a lease is good for.
const LEASE: Duration = Duration::from_secs(30);

/// The ledger of one budget as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseLedger {
    /// The window in milliseconds.
    #[serde(default)]
    per_ms: u64,
    rows: Vec<LedgerRow>,
    /// By UID of the pod.
    holders: BTreeMap<String, Holder>,
}

/// One holder's count, and how far it may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Holder {
    epoch: u64,
    sequence: u64,
    /// So much of its count is in the window.
    settled: Amount,
    /// So far it may count until the lease ends.
    ceiling: Amount,
    ends_ms: u64,
}

impl Holder {
    const fn leased(&self) -> Amount {
        self.ceiling.minus(self.settled)
    }

    /// Whether it can no longer be owed anything for its lease.
    const fn is_over(&self, per_ms: u64, now: Timestamp) -> bool {
        now.0 >= self.ends_ms.saturating_add(per_ms)
    }
}

impl LeaseLedger {
    /// Settles what a holder took and leases it what it wants, as far as the limit allows.
    pub fn lease(&mut self, holder: &str, ask: &LeaseAsk, now: Timestamp) -> Lease {
        let key = BudgetKey::stored(&ask.key, Duration::from_millis(ask.per_ms));
        let length = millis(LEASE);
        self.per_ms = ask.per_ms;
        let mut window = WindowLedger::from_rows(std::mem::take(&mut self.rows));
        // The holder's own lease is settled by what it says, however late it is.
        let others = self.holders.iter_mut().filter(|(name, _)| *name != holder);
        for (_, held) in others {
            if held.ends_ms <= now.0 {
                charge(&mut window, &key, now, held.leased());
                held.settled = held.settled.most(held.ceiling);
            }
        }
        self.holders
            .retain(|_, held| !held.is_over(ask.per_ms, now));
        window.prune(now);
        let known = self.holders.get(holder).copied();
        let overtaken =
            known.is_some_and(|known| known.epoch == ask.epoch && ask.sequence <= known.sequence);
        let taken = ask.settled.plus(ask.spent);
        if !overtaken {
            let spent = match known {
                Some(known) if known.epoch == ask.epoch => taken.minus(known.settled),
                Some(lost) => {
                    // Nobody knows how far the old count went.
                    charge(&mut window, &key, now, lost.leased());
                    ask.spent
                }
                None => ask.spent,
            };
            charge(&mut window, &key, now, spent);
        }
        let others = self.holders.iter().filter(|(name, _)| *name != holder);
        let leased = others.fold(Amount::default(), |sum, (_, held)| sum.plus(held.leased()));
        let used = window.used(&key, now).plus(leased);
        let mut granted = Amount::default();
        if !overtaken {
            granted = ask.want.least(ask.limit.minus(used)).most(ask.keeps);
            let held = Holder {
                epoch: ask.epoch,
                sequence: ask.sequence,
                settled: taken,
                ceiling: taken.plus(granted),
                ends_ms: now.0.saturating_add(length),
            };
            self.holders.insert(holder.to_owned(), held);
        }
        self.rows = window.rows().collect();
        Lease {
            key: ask.key.clone(),
            used,
            granted,
            expires_in_ms: length,
            failed: None,
        }
    }

    /// Whether nothing in it counts any more.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        let mut window = WindowLedger::from_rows(self.rows.iter().cloned());
        window.prune(now);
        let mut holders = self.holders.values();
        window.rows().next().is_none() && holders.all(|held| held.is_over(self.per_ms, now))
    }
}

fn charge(window: &mut WindowLedger, key: &BudgetKey, now: Timestamp, amount: Amount) {
    if !amount.is_zero() {
        window.charge(key, now, amount);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn rows(rows: u64) -> Amount {
        Amount {
            rows,
            ..Amount::default()
        }
    }

    fn ask() -> LeaseAsk {
        LeaseAsk {
            key: "s|target:t|*|3600000ms".to_owned(),
            per_ms: HOUR,
            limit: rows(100),
            epoch: 1,
            ..LeaseAsk::default()
        }
    }

    struct World {
        ledger: LeaseLedger,
        counts: BTreeMap<String, (u64, u64)>,
        now: u64,
    }

    impl World {
        fn new() -> Self {
            Self {
                ledger: LeaseLedger::default(),
                counts: BTreeMap::new(),
                now: 1_000 * HOUR,
            }
        }

        /// Asks against a limit of 100 rows an hour; goes through storage.
        fn ask(&mut self, holder: &str, spent: u64, want: u64) -> Lease {
            let stored = serde_json::to_string(&self.ledger).unwrap();
            self.ledger = serde_json::from_str(&stored).unwrap();
            let (sequence, settled) = self.counts.entry(holder.to_owned()).or_default();
            *sequence += 1;
            let ask = LeaseAsk {
                spent: rows(spent),
                want: rows(want),
                sequence: *sequence,
                settled: rows(*settled),
                ..ask()
            };
            *settled += spent;
            self.ledger.lease(holder, &ask, Timestamp(self.now))
        }

        fn granted(&mut self, holder: &str, spent: u64, want: u64) -> u64 {
            self.ask(holder, spent, want).granted.rows
        }

        fn after(&mut self, duration: Duration) -> &mut Self {
            self.now += millis(duration);
            self
        }
    }

    #[test]
    fn five_holders_share_one_budget() {
        let mut world = World::new();
        let granted: Vec<u64> = ["a", "b", "c", "d", "e"]
            .iter()
            .map(|holder| world.granted(holder, 0, 30))
            .collect();
        assert_eq!(granted, [30, 30, 30, 10, 0]);
        let lease = world.ask("e", 0, 30);
        assert_eq!((lease.used, lease.granted), (rows(100), rows(0)));
    }

    #[test]
    fn a_ledger_is_over_when_neither_its_window_nor_its_leases_count() {
        let mut world = World::new();
        assert_eq!(world.granted("a", 5, 10), 10);
        let over = |world: &World| world.ledger.is_over(Timestamp(world.now));
        assert!(!over(&world));
        assert!(!over(world.after(Duration::from_millis(HOUR))));
        assert!(over(world.after(Duration::from_millis(HOUR / 60) + LEASE)));
    }

    #[test]
    fn what_was_not_taken_goes_back_at_settlement() {
        let mut world = World::new();
        assert_eq!(world.granted("a", 0, 100), 100);
        assert_eq!(world.granted("b", 0, 50), 0);
        assert_eq!(world.granted("a", 20, 0), 0);
        assert_eq!(world.granted("b", 0, 100), 80);
    }

    #[test]
    fn a_restart_refills_nothing() {
        let mut world = World::new();
        assert_eq!(world.granted("a", 0, 100), 100);
        // The same pod, which settled what its spool says.
        assert_eq!(world.granted("a", 100, 100), 0);
        assert_eq!(world.granted("b", 0, 1), 0);
    }

    #[test]
    fn a_lease_that_ended_unsettled_counts_as_spent() {
        let mut world = World::new();
        assert_eq!(world.granted("gone", 0, 60), 60);
        let lease = world.after(LEASE).ask("b", 0, 100);
        assert_eq!((lease.used, lease.granted), (rows(60), rows(40)));
    }

    #[test]
    fn who_comes_back_late_is_not_charged_twice() {
        let mut world = World::new();
        assert_eq!(world.granted("late", 0, 60), 60);
        assert_eq!(world.after(LEASE).granted("b", 0, 10), 10);
        // It took less than it was charged with: nothing comes back. It took more: that counts.
        let lease = world.ask("late", 50, 0);
        assert_eq!(lease.used, rows(70));
        assert_eq!(world.granted("late", 0, 60), 30);
        assert_eq!(world.after(LEASE).ask("b", 10, 0).used, rows(100));
        assert_eq!(world.ask("late", 35, 0).used, rows(105));
    }

    #[test]
    fn the_own_lease_is_settled_by_what_was_taken_even_when_it_ended() {
        let mut world = World::new();
        assert_eq!(world.granted("a", 0, 60), 60);
        assert_eq!(world.after(LEASE * 2).ask("a", 5, 0).used, rows(5));
    }

    #[test]
    fn the_window_passes_and_a_clock_that_steps_back_frees_nothing() {
        let mut world = World::new();
        assert_eq!(world.granted("a", 0, 100), 100);
        assert_eq!(world.granted("a", 100, 0), 0);
        world.now -= 2 * HOUR;
        assert_eq!(world.granted("b", 0, 10), 0);
        world.now += 2 * HOUR;
        world.after(Duration::from_millis(HOUR + HOUR / 60));
        assert_eq!(world.granted("b", 0, 100), 100);
    }

    #[test]
    fn an_answer_that_was_lost_is_not_settled_twice() {
        let (mut ledger, now) = (LeaseLedger::default(), Timestamp(HOUR));
        let mut lease = |sequence, settled, spent, keeps, want| {
            let ask = LeaseAsk {
                sequence,
                settled: rows(settled),
                spent: rows(spent),
                keeps: rows(keeps),
                want: rows(want),
                ..ask()
            };
            ledger.lease("a", &ask, now)
        };
        assert_eq!(lease(1, 0, 0, 0, 50).granted, rows(50));
        lease(2, 0, 20, 30, 40);
        let again = lease(3, 0, 25, 25, 40);
        assert_eq!((again.used, again.granted), (rows(25), rows(40)));
    }

    #[test]
    fn what_a_holder_keeps_while_it_asks_stays_leased() {
        let mut world = World::new();
        assert_eq!(world.granted("a", 0, 60), 60);
        let ask = LeaseAsk {
            sequence: 9,
            spent: rows(10),
            keeps: rows(50),
            ..ask()
        };
        world.ledger.lease("a", &ask, Timestamp(world.now));
        assert_eq!(world.granted("b", 0, 100), 40);
    }

    #[test]
    fn a_request_that_was_overtaken_is_not_heard() {
        let mut world = World::new();
        world.granted("a", 0, 10);
        let late = LeaseAsk {
            sequence: 1,
            ..ask()
        };
        assert_eq!(world.granted("a", 5, 80), 80);
        let before = world.ledger.clone();
        let lease = world.ledger.lease("a", &late, Timestamp(world.now));
        assert_eq!(lease.granted, rows(0));
        assert_eq!(world.ledger, before);
    }

    #[test]
    fn a_count_that_was_lost_spends_its_lease() {
        let mut world = World::new();
        assert_eq!(world.granted("a", 0, 60), 60);
        let fresh = LeaseAsk {
            epoch: 2,
            sequence: 1,
            want: rows(100),
            ..ask()
        };
        let lease = world.ledger.lease("a", &fresh, Timestamp(world.now));
        assert_eq!((lease.used, lease.granted), (rows(60), rows(40)));
    }

    #[test]
    fn every_measure_is_limited_by_itself() {
        let ask = LeaseAsk {
            key: "k".to_owned(),
            per_ms: HOUR,
            spent: Amount {
                rows: 90,
                bytes: 0,
                statements: 1,
            },
            want: Amount {
                rows: 50,
                bytes: 50,
                statements: 50,
            },
            limit: Amount {
                rows: 100,
                bytes: u64::MAX,
                statements: 3,
            },
            ..LeaseAsk::default()
        };
        let lease = LeaseLedger::default().lease("a", &ask, Timestamp(HOUR));
        assert_eq!(
            lease.granted,
            Amount {
                rows: 10,
                bytes: 50,
                statements: 2
            }
        );
    }
}
