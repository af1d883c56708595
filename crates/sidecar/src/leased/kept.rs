//! Counts on disk: what was taken and what of it was settled, since the epoch began.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use weir_policy::{Amount, BudgetKey};
use weir_uplink::{CounterRow, CounterStore, LedgerError};

/// Separates a budget's key, its window and what is counted in a stored key.
const SEPARATOR: char = '\u{1f}';
/// The row of the epoch and its sequence.
const EPOCH: &[u8] = b"epoch";

/// What a stored row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Taken,
    Settled,
}

/// The open file.
pub(super) struct Kept {
    store: CounterStore,
    pub(super) epoch: u64,
}

/// What an earlier process left.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) sequence: u64,
    /// Taken and settled, by budget.
    pub(super) counts: HashMap<BudgetKey, (Amount, Amount)>,
}

impl Kept {
    /// Opens the counts in `dir`, or begins an epoch.
    pub(super) fn open(dir: &Path) -> Result<(Self, Left), LedgerError> {
        let path = dir.join("leases");
        let (store, rows) = CounterStore::open(&path)?;
        let mut left = Left::default();
        let mut epoch = None;
        for row in rows {
            if row.key == EPOCH {
                (epoch, left.sequence) = (Some(row.rows), row.bytes);
            } else if let Some((key, count, amount)) = read(&row) {
                let (taken, settled) = left.counts.entry(key).or_default();
                let counted = match count {
                    Count::Taken => taken,
                    Count::Settled => settled,
                };
                *counted = counted.plus(amount);
            }
        }
        let epoch = match epoch {
            Some(epoch) => epoch,
            None => random().map_err(|error| LedgerError {
                path,
                reason: error.to_string().into(),
            })?,
        };
        let kept = Self { store, epoch };
        kept.put_sequence(left.sequence)?;
        Ok((kept, left))
    }

    /// Keeps the number of the request that is sent next.
    pub(super) fn put_sequence(&self, sequence: u64) -> Result<(), LedgerError> {
        self.store.put(EPOCH, 0, self.epoch, sequence)
    }

    /// Keeps a count; it outlives the process when this returns.
    pub(super) fn put(
        &self,
        key: &BudgetKey,
        count: Count,
        amount: Amount,
    ) -> Result<(), LedgerError> {
        for row in write(key, count, amount) {
            self.store.put(&row.key, row.bucket, row.rows, row.bytes)?;
        }
        Ok(())
    }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Statements are counted in a row of their own: a stored row has two numbers.
fn write(key: &BudgetKey, count: Count, amount: Amount) -> [CounterRow; 2] {
    let (rows, statements) = match count {
        Count::Taken => ('r', 's'),
        Count::Settled => ('R', 'S'),
    };
    let row = |what: char, rows, bytes| {
        let per = key.per().as_millis();
        CounterRow {
            key: format!("{key}{SEPARATOR}{per}{SEPARATOR}{what}").into_bytes(),
            bucket: 0,
            rows,
            bytes,
        }
    };
    [
        row(rows, amount.rows, amount.bytes),
        row(statements, amount.statements, 0),
    ]
}

fn read(row: &CounterRow) -> Option<(BudgetKey, Count, Amount)> {
    let text = std::str::from_utf8(&row.key).ok()?;
    let mut parts = text.rsplitn(3, SEPARATOR);
    let (what, per, key) = (parts.next()?, parts.next()?, parts.next()?);
    let key = BudgetKey::stored(key, Duration::from_millis(per.parse().ok()?));
    let count = match what {
        "r" | "s" => Count::Taken,
        "R" | "S" => Count::Settled,
        _ => return None,
    };
    let amount = match what {
        "s" | "S" => Amount {
            statements: row.rows,
            ..Amount::default()
        },
        _ => Amount {
            rows: row.rows,
            bytes: row.bytes,
            ..Amount::default()
        },
    };
    Some((key, count, amount))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_being_stored() {
        let dir = tempfile::tempdir().unwrap();
        let key = BudgetKey::new("s\u{1f}", "target:t", "*", Duration::from_secs(60));
        let amount = |n| Amount {
            rows: n,
            bytes: 10 * n,
            statements: 2,
        };
        let epoch = {
            let (kept, left) = Kept::open(dir.path()).unwrap();
            assert_eq!((left.sequence, left.counts.len()), (0, 0));
            kept.put(&key, Count::Taken, amount(5)).unwrap();
            kept.put(&key, Count::Taken, amount(7)).unwrap();
            kept.put(&key, Count::Settled, amount(5)).unwrap();
            kept.put_sequence(9).unwrap();
            kept.epoch
        };
        let (kept, left) = Kept::open(dir.path()).unwrap();
        assert_eq!((kept.epoch, left.sequence), (epoch, 9));
        assert_eq!(left.counts, [(key, (amount(7), amount(5)))].into());
    }
}
