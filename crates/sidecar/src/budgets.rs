//! The budgets' counters: policy's ledger in memory, its buckets on disk before rows go out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use weir_gateway::ports::{Budgets, Pending};
use weir_policy::{Amount, BudgetKey, Counters, LedgerRow, Timestamp, Usage, Wanted, WindowLedger};
use weir_uplink::{CounterRow, CounterStore, LedgerError};

/// Persistent budgets.
pub struct StoredBudgets {
    ledger: Mutex<WindowLedger>,
    store: CounterStore,
    /// A charge could not be stored: until a reset, every budget counts as used up.
    lost: AtomicBool,
}

/// What counters say that cannot be trusted.
struct UsedUp;

impl Counters for UsedUp {
    fn used(&self, _key: &BudgetKey, _now: Timestamp) -> Amount {
        Amount {
            rows: u64::MAX,
            bytes: u64::MAX,
            statements: u64::MAX,
        }
    }
}

/// Separates a budget's key, its window and what is counted in a stored key.
const SEPARATOR: char = '\u{1f}';

impl StoredBudgets {
    /// Opens the counters in `dir`.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        let (store, rows) = CounterStore::open(dir.join("budgets"))?;
        let ledger = WindowLedger::from_rows(merge(&rows));
        Ok(Self {
            ledger: Mutex::new(ledger),
            store,
            lost: AtomicBool::new(false),
        })
    }

    /// Sets every counter to nothing.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn reset(&self) -> Result<(), LedgerError> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.reset()?;
        ledger.reset();
        self.lost.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl Budgets for StoredBudgets {
    fn read(&self, with: &mut dyn FnMut(&dyn Counters)) {
        if self.lost.load(Ordering::Relaxed) {
            return with(&UsedUp);
        }
        with(&*self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn charge(&self, now: Timestamp, usage: &[Usage]) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        for used in usage {
            let row = ledger.charge(&used.key, now, used.amount);
            for stored in write(&row) {
                let put = self
                    .store
                    .put(&stored.key, stored.bucket, stored.rows, stored.bytes);
                if let Err(error) = put {
                    self.lost.store(true, Ordering::Relaxed);
                    tracing::error!(%error, "a budget could not be stored: budgets count as used up");
                }
            }
        }
    }

    /// Nobody shares these: what is used up is.
    fn replenish<'a>(&'a self, _wanted: &'a [Wanted]) -> Pending<'a, bool> {
        Box::pin(std::future::ready(false))
    }
}

/// Statements are counted in a row of their own: a stored row has two numbers.
fn write(row: &LedgerRow) -> [CounterRow; 2] {
    let key = |what: char| format!("{}{SEPARATOR}{}{SEPARATOR}{what}", row.key, row.per_ms);
    [
        CounterRow {
            key: key('r').into_bytes(),
            bucket: row.bucket_ms,
            rows: row.amount.rows,
            bytes: row.amount.bytes,
        },
        CounterRow {
            key: key('s').into_bytes(),
            bucket: row.bucket_ms,
            rows: row.amount.statements,
            bytes: 0,
        },
    ]
}

/// The buckets that the stored rows make up, each whole.
fn merge(rows: &[CounterRow]) -> Vec<LedgerRow> {
    let mut buckets: BTreeMap<(String, u64, u64), Amount> = BTreeMap::new();
    for row in rows.iter().filter_map(read) {
        let amount = buckets
            .entry((row.key, row.per_ms, row.bucket_ms))
            .or_default();
        *amount = amount.plus(row.amount);
    }
    buckets
        .into_iter()
        .map(|((key, per_ms, bucket_ms), amount)| LedgerRow {
            key,
            per_ms,
            bucket_ms,
            amount,
        })
        .collect()
}

fn read(row: &CounterRow) -> Option<LedgerRow> {
    let text = std::str::from_utf8(&row.key).ok()?;
    let mut parts = text.rsplitn(3, SEPARATOR);
    let (what, per, key) = (parts.next()?, parts.next()?, parts.next()?);
    let amount = match what {
        "s" => Amount {
            statements: row.rows,
            ..Amount::default()
        },
        _ => Amount {
            rows: row.rows,
            bytes: row.bytes,
            ..Amount::default()
        },
    };
    let per_ms = per.parse().ok()?;
    Some(LedgerRow {
        key: key.to_owned(),
        per_ms,
        bucket_ms: row.bucket,
        amount,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_survives_being_stored() {
        let amount = Amount {
            rows: 5,
            bytes: 70,
            statements: 2,
        };
        let row = LedgerRow {
            key: "a\u{1f}b".into(),
            per_ms: 3_600_000,
            bucket_ms: 60_000,
            amount,
        };
        assert_eq!(merge(&write(&row)), vec![row]);
    }
}
