//! One budget: what was taken, and who may take how much until when. Pure.
//!
//! Invariants: what is settled and what is leased never exceed the limit together; a lease that
//! ended without a settlement counts as spent; when its holder comes back after all, only what it
//! took beyond that is added. The clock is an argument, and one that steps back frees nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_policy::{Amount, BudgetKey, Counters as _, LedgerRow, Timestamp, WindowLedger};
use weir_uplink::control::{Lease, LeaseAsk};

/// How long a lease is good for.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// The ledger of one budget as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ledger {
    /// The window in milliseconds.
    #[serde(default)]
    per_ms: u64,
    rows: Vec<LedgerRow>,
    /// By UID of the pod.
    leases: BTreeMap<String, Held>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Held {
    granted: Amount,
    ends_ms: u64,
    /// It ended without a settlement, and was charged.
    #[serde(default)]
    charged: bool,
}

impl Ledger {
    /// Settles what a holder took and leases it what it wants, as far as the limit allows.
    pub(crate) fn lease(&mut self, holder: &str, ask: &LeaseAsk, now: Timestamp) -> Lease {
        let key = BudgetKey::stored(&ask.key, Duration::from_millis(ask.per_ms));
        self.per_ms = ask.per_ms;
        let mut window = WindowLedger::from_rows(std::mem::take(&mut self.rows));
        // The holder's own lease is settled by what it says, however late it is.
        let spent = match self.leases.remove(holder) {
            Some(held) if held.charged => minus(ask.spent, held.granted),
            _ => ask.spent,
        };
        if !spent.is_zero() {
            window.charge(&key, now, spent);
        }
        for held in self.leases.values_mut() {
            if !held.charged && held.ends_ms <= now.0 {
                window.charge(&key, now, held.granted);
                held.charged = true;
            }
        }
        let per = ask.per_ms;
        self.leases.retain(|_, held| !held.is_over(per, now));
        window.prune(now);
        let others = self.leases.values().filter(|held| !held.charged);
        let leased = others.fold(Amount::default(), |sum, held| sum.plus(held.granted));
        let used = window.used(&key, now).plus(leased);
        let granted = smaller(ask.want, minus(ask.limit, used));
        let length = millis(LEASE);
        if !granted.is_zero() {
            let held = Held {
                granted,
                ends_ms: now.0.saturating_add(length),
                charged: false,
            };
            self.leases.insert(holder.to_owned(), held);
        }
        self.rows = window.rows().collect();
        Lease {
            key: ask.key.clone(),
            used,
            granted,
            expires_in_ms: length,
        }
    }
}

impl Ledger {
    /// Whether nothing in it counts any more.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        let mut window = WindowLedger::from_rows(self.rows.iter().cloned());
        window.prune(now);
        let mut leases = self.leases.values();
        window.rows().next().is_none() && leases.all(|held| held.is_over(self.per_ms, now))
    }
}

impl Held {
    /// Whether its holder can no longer be owed anything for it.
    const fn is_over(&self, per_ms: u64, now: Timestamp) -> bool {
        now.0 >= self.ends_ms.saturating_add(per_ms)
    }
}

const fn minus(a: Amount, b: Amount) -> Amount {
    Amount {
        rows: a.rows.saturating_sub(b.rows),
        bytes: a.bytes.saturating_sub(b.bytes),
        statements: a.statements.saturating_sub(b.statements),
    }
}

fn smaller(a: Amount, b: Amount) -> Amount {
    Amount {
        rows: a.rows.min(b.rows),
        bytes: a.bytes.min(b.bytes),
        statements: a.statements.min(b.statements),
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

    struct World {
        ledger: Ledger,
        now: u64,
    }

    impl World {
        fn new() -> Self {
            Self {
                ledger: Ledger::default(),
                now: 1_000 * HOUR,
            }
        }

        /// Asks against a limit of 100 rows an hour; goes through storage.
        fn ask(&mut self, holder: &str, spent: u64, want: u64) -> Lease {
            let stored = serde_json::to_string(&self.ledger).unwrap();
            self.ledger = serde_json::from_str(&stored).unwrap();
            let ask = LeaseAsk {
                key: "s|target:t|*|3600000ms".to_owned(),
                per_ms: HOUR,
                spent: rows(spent),
                want: rows(want),
                limit: rows(100),
            };
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
    fn a_ledger_is_over_when_neither_its_window_nor_its_leases_count() {
        let mut world = World::new();
        assert_eq!(world.granted("a", 5, 10), 10);
        let over = |world: &World| world.ledger.is_over(Timestamp(world.now));
        assert!(!over(&world));
        assert!(!over(world.after(Duration::from_millis(HOUR))));
        assert!(over(world.after(Duration::from_millis(HOUR / 60) + LEASE)));
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
        };
        let lease = Ledger::default().lease("a", &ask, Timestamp(HOUR));
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
