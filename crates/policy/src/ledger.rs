//! Window counters: how much a subject has taken within the last hour.
//!
//! A window is a ring of buckets, each a sixtieth of the period. A bucket counts until its *end* is
//! a full period old, so a window may count up to 1/60 longer than asked and never refills early;
//! a clock that steps back cannot free anything. The ledger knows no clock and no disk: the caller
//! passes the time in and stores the [`LedgerRow`]s it is given.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Buckets per window.
const BUCKETS: u64 = 60;

/// Wall-clock time in milliseconds since 1970.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

/// Which budget is meant: subject x target or label x what is counted x window. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetKey {
    name: Arc<str>,
    per: Duration,
}

impl BudgetKey {
    /// `over` is `target:NAME` or `label:NAME`; `selector` is `*` or a digest of what is counted.
    pub fn new(subject: &str, over: &str, selector: &str, per: Duration) -> BudgetKey {
        let name = format!("{subject}|{over}|{selector}|{}ms", millis(per)).into();
        BudgetKey { name, per }
    }

    /// A key as a [`LedgerRow`] stores it.
    pub fn stored(name: &str, per: Duration) -> BudgetKey {
        BudgetKey {
            name: name.into(),
            per,
        }
    }

    /// The stored form, unique per budget.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The window.
    pub const fn per(&self) -> Duration {
        self.per
    }
}

impl fmt::Display for BudgetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// An amount taken from a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Rows delivered.
    pub rows: u64,
    /// Bytes of rows delivered.
    pub bytes: u64,
    /// Statements started.
    pub statements: u64,
}

impl Amount {
    /// Whether nothing was taken.
    pub const fn is_zero(&self) -> bool {
        self.rows == 0 && self.bytes == 0 && self.statements == 0
    }

    /// The sum, which stops at the largest number rather than wrap.
    #[must_use]
    pub const fn plus(self, other: Amount) -> Amount {
        Amount {
            rows: self.rows.saturating_add(other.rows),
            bytes: self.bytes.saturating_add(other.bytes),
            statements: self.statements.saturating_add(other.statements),
        }
    }

    /// What is left of it beyond `other`, nothing where that is more.
    #[must_use]
    pub const fn minus(self, other: Amount) -> Amount {
        Amount {
            rows: self.rows.saturating_sub(other.rows),
            bytes: self.bytes.saturating_sub(other.bytes),
            statements: self.statements.saturating_sub(other.statements),
        }
    }

    /// The smaller of both, measure by measure.
    #[must_use]
    pub fn least(self, other: Amount) -> Amount {
        Amount {
            rows: self.rows.min(other.rows),
            bytes: self.bytes.min(other.bytes),
            statements: self.statements.min(other.statements),
        }
    }

    /// The larger of both, measure by measure.
    #[must_use]
    pub fn most(self, other: Amount) -> Amount {
        Amount {
            rows: self.rows.max(other.rows),
            bytes: self.bytes.max(other.bytes),
            statements: self.statements.max(other.statements),
        }
    }

    /// Whether `other` fits into it.
    pub const fn covers(self, other: Amount) -> bool {
        self.rows >= other.rows && self.bytes >= other.bytes && self.statements >= other.statements
    }
}

/// Something taken from a window budget, to be charged and stored by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Which budget.
    pub key: BudgetKey,
    /// How much.
    pub amount: Amount,
}

/// What a window budget lacks for something to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which budget.
    pub key: BudgetKey,
    /// The limit that would be passed; the largest number where it sets none.
    pub limit: Amount,
    /// The least that is needed.
    pub need: Amount,
}

/// What decisions ask of the counters.
pub trait Counters {
    /// How much of this budget is taken within the window that ends now. A counter that cannot be
    /// read must answer with the largest amount: a lost ledger refills nothing.
    fn used(&self, key: &BudgetKey, now: Timestamp) -> Amount;

    /// How much may be taken before `limit` is reached. Where a budget is shared out, this may be
    /// less than what all together have left, and more can be had.
    fn left(&self, key: &BudgetKey, limit: Amount, now: Timestamp) -> Amount {
        limit.minus(self.used(key, now))
    }

    /// Whether nothing is left only because it is not known what others have taken.
    fn is_withheld(&self, _key: &BudgetKey, _limit: Amount, _now: Timestamp) -> bool {
        false
    }
}

/// Counters, and what will have been taken of them before: what the statements take that go first.
#[derive(Clone, Copy)]
pub struct Ahead<'a> {
    /// The counters.
    pub counters: &'a dyn Counters,
    /// What is taken before.
    pub taken: &'a [Usage],
}

impl Ahead<'_> {
    fn of(&self, key: &BudgetKey) -> Amount {
        let of_key = self.taken.iter().filter(|usage| usage.key == *key);
        of_key.fold(Amount::default(), |sum, usage| sum.plus(usage.amount))
    }

    /// What is wanted in all for something to happen behind what is taken before.
    pub fn wanted(&self, wanted: &[Wanted]) -> Vec<Wanted> {
        let behind = |wanted: &Wanted| Wanted {
            need: wanted.need.plus(self.of(&wanted.key)),
            ..wanted.clone()
        };
        wanted.iter().map(behind).collect()
    }
}

impl Counters for Ahead<'_> {
    fn used(&self, key: &BudgetKey, now: Timestamp) -> Amount {
        self.counters.used(key, now).plus(self.of(key))
    }

    fn left(&self, key: &BudgetKey, limit: Amount, now: Timestamp) -> Amount {
        self.counters.left(key, limit, now).minus(self.of(key))
    }

    fn is_withheld(&self, key: &BudgetKey, limit: Amount, now: Timestamp) -> bool {
        self.counters.is_withheld(key, limit, now)
    }
}

/// Counters of a place where nothing is counted: explain and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCounters;

impl Counters for NoCounters {
    fn used(&self, _key: &BudgetKey, _now: Timestamp) -> Amount {
        Amount::default()
    }
}

/// One stored bucket. `(key, bucket)` is unique; the amount is absolute, so a row is upserted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// [`BudgetKey::as_str`].
    pub key: String,
    /// The window in milliseconds.
    pub per_ms: u64,
    /// When the bucket starts, in milliseconds since 1970.
    pub bucket_ms: u64,
    /// What was taken in it.
    pub amount: Amount,
}

/// All window counters of one process.
#[derive(Clone, Debug, Default)]
pub struct WindowLedger {
    series: BTreeMap<BudgetKey, VecDeque<Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    start: u64,
    amount: Amount,
}

impl WindowLedger {
    /// An empty ledger.
    pub fn new() -> WindowLedger {
        WindowLedger::default()
    }

    /// A ledger from stored rows, in any order.
    pub fn from_rows(rows: impl IntoIterator<Item = LedgerRow>) -> WindowLedger {
        let mut ledger = WindowLedger::new();
        for row in rows {
            let key = BudgetKey::stored(&row.key, Duration::from_millis(row.per_ms));
            let buckets = ledger.series.entry(key).or_default();
            buckets.push_back(Bucket {
                start: row.bucket_ms,
                amount: row.amount,
            });
        }
        for buckets in ledger.series.values_mut() {
            buckets
                .make_contiguous()
                .sort_unstable_by_key(|bucket| bucket.start);
        }
        ledger
    }

    /// Every bucket, for a full save.
    pub fn rows(&self) -> impl Iterator<Item = LedgerRow> {
        self.series
            .iter()
            .flat_map(|(key, buckets)| buckets.iter().map(move |bucket| row(key, bucket)))
    }

    /// Takes an amount and returns the bucket as it is now, to be stored.
    pub fn charge(&mut self, key: &BudgetKey, now: Timestamp, amount: Amount) -> LedgerRow {
        let width = width(key.per);
        let start = now.0 - now.0 % width;
        let buckets = self.series.entry(key.clone()).or_default();
        while buckets
            .front()
            .is_some_and(|oldest| expired(oldest, key.per, now))
        {
            buckets.pop_front();
        }
        match buckets.back_mut() {
            // A clock that stepped back charges the newest bucket.
            Some(newest) if newest.start >= start => {
                newest.amount = newest.amount.plus(amount);
                row(key, newest)
            }
            _ => {
                let bucket = Bucket { start, amount };
                buckets.push_back(bucket);
                row(key, &bucket)
            }
        }
    }

    /// Forgets buckets that no longer count, and says which, so that stored rows can go too.
    pub fn prune(&mut self, now: Timestamp) -> Vec<LedgerRow> {
        let mut gone = Vec::new();
        for (key, buckets) in &mut self.series {
            while let Some(oldest) = buckets.front().filter(|b| expired(b, key.per, now)) {
                gone.push(row(key, oldest));
                buckets.pop_front();
            }
        }
        self.series.retain(|_, buckets| !buckets.is_empty());
        gone
    }

    /// Empties every budget. Only an operator may ask for this, and it is evidence.
    pub fn reset(&mut self) {
        self.series.clear();
    }
}

impl Counters for WindowLedger {
    fn used(&self, key: &BudgetKey, now: Timestamp) -> Amount {
        let buckets = self.series.get(key).into_iter().flatten();
        buckets
            .filter(|bucket| !expired(bucket, key.per, now))
            .fold(Amount::default(), |sum, bucket| sum.plus(bucket.amount))
    }
}

fn row(key: &BudgetKey, bucket: &Bucket) -> LedgerRow {
    LedgerRow {
        key: key.as_str().to_owned(),
        per_ms: millis(key.per),
        bucket_ms: bucket.start,
        amount: bucket.amount,
    }
}

fn expired(bucket: &Bucket, per: Duration, now: Timestamp) -> bool {
    let end = bucket.start.saturating_add(width(per));
    end.saturating_add(millis(per)) <= now.0
}

fn width(per: Duration) -> u64 {
    (millis(per) / BUCKETS).max(1)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
