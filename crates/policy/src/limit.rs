//! Limits, and the meter that counts a result against them.
//!
//! The meter is told of each row *before* it is delivered and answers whether it may be. A row that
//! would cross a limit is not counted and not delivered. The next stop is computed once, so a row
//! within the limits costs two comparisons. Where a window is used up *here*, the meter says so first:
//! more of it may be had before the limit counts as reached. A row that may hold many records counts as
//! so many as would fit into it. The meter knows no clock: throttling is a
//! rate that the caller keeps.

use std::sync::Arc;

use crate::ledger::{Amount, BudgetKey, Counters, Timestamp, Usage, Wanted};
use crate::rule::{Approval, RuleName};

/// One limit that binds a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Who set it.
    pub rule: RuleName,
    /// What it counts over.
    pub scope: LimitScope,
    /// Rows.
    pub rows: Option<u64>,
    /// Bytes.
    pub bytes: Option<u64>,
    /// Statements; judged before the statement runs, never by the meter.
    pub statements: Option<u64>,
    /// What happens beyond it.
    pub on_exceed: OnExceed,
}

/// What a limit counts over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitScope {
    /// One statement, over all its Executes and FETCHes.
    Statement,
    /// A window shared by all statements with this key.
    Window(BudgetKey),
}

/// What happens beyond a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnExceed {
    /// The statement ends with an error.
    Deny,
    /// It is held.
    RequireApproval(Approval),
    /// It goes on at this rate.
    Throttle {
        /// Rows per second.
        rows_per_second: u64,
    },
}

impl Limit {
    /// Its numbers; the largest number where it sets none.
    pub fn amount(&self) -> Amount {
        Amount {
            rows: self.rows.unwrap_or(u64::MAX),
            bytes: self.bytes.unwrap_or(u64::MAX),
            statements: self.statements.unwrap_or(u64::MAX),
        }
    }

    /// What is told to the client when what is left of it could not be learned.
    pub fn describe_withheld(&self) -> String {
        let what = self.numbers();
        format!("its part of the budget of {what} cannot be leased now")
    }

    /// What is told to the client that would store many records in one row.
    pub fn describe_uncounted(&self) -> String {
        let what = self.numbers();
        format!("it stores many records in one row, which the limit of {what} cannot count")
    }

    /// What is told to the client that compares with more values than are left.
    pub fn describe_comparisons(&self, values: u64) -> String {
        let reached = self.describe();
        format!(
            "it compares with up to {values} values, which count as so many statements: {reached}"
        )
    }

    /// What is told to the client that asks for something whose size is known to be above it.
    pub fn describe_size(&self) -> String {
        format!("it is larger than the limit of {}", self.numbers())
    }

    const fn is_foreseeable(&self) -> bool {
        matches!(self.scope, LimitScope::Statement)
            && self.bytes.is_some()
            && !matches!(self.on_exceed, OnExceed::Throttle { .. })
    }

    /// What is told to the client that asks for more rows than it allows, by the server's own estimate.
    pub fn describe_expected(&self, rows: u64) -> String {
        format!(
            "the server expects about {} rows, and the limit is {}",
            grouped(rows),
            self.numbers()
        )
    }

    /// What is told to the client when it is reached.
    pub fn describe(&self) -> String {
        format!("the limit of {} is reached", self.numbers())
    }

    fn numbers(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.rows.map(|n| format!("{n} rows")));
        parts.extend(self.bytes.map(|n| format!("{n} bytes")));
        parts.extend(self.statements.map(|n| format!("{n} statements")));
        let per = match &self.scope {
            LimitScope::Statement => "per statement".to_owned(),
            LimitScope::Window(key) => format!("per {} s", key.per().as_secs_f64()),
        };
        format!("{} {per}", parts.join(" or "))
    }
}

/// A number with its thousands grouped.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What to do with the row that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Deliver it.
    Continue,
    /// Deliver it, at no more than this rate.
    Throttle {
        /// Rows per second.
        rows_per_second: u64,
    },
    /// Do not deliver it yet: a window has too little left here. Ask for what is [wanted], then
    /// announce it again.
    ///
    /// [wanted]: Meter::wanted
    Replenish,
    /// Do not deliver it: limit number so-and-so is reached. It was not counted; after a release
    /// announce it again.
    Exceeded(usize),
}

/// How far an approval reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// To the statement's end.
    ToEnd,
    /// For so many rows more.
    Rows(u64),
}

/// Bytes of a row that may hold many records for each of which it counts as a row: as few as a small
/// record has on the wire.
const RECORD: u64 = 8;

/// Counts one statement's result.
#[derive(Clone, Debug)]
pub struct Meter {
    limits: Vec<Arc<Limit>>,
    stops: Vec<Stop>,
    keys: Vec<BudgetKey>,
    total: Amount,
    charged: Amount,
    /// Bytes that count in windows only.
    spared: u64,
    next: Stop,
    rate: Option<u64>,
    /// More was asked for in vain when so much was left.
    asked: Option<Room>,
    /// Whether a row may hold many records.
    collected: bool,
}

/// Rows and bytes before the next stop.
type Room = (u64, u64);

/// Totals up to which delivery may go on, and whether a release set them.
#[derive(Clone, Copy, Debug)]
struct Stop {
    rows: u64,
    bytes: u64,
    released: bool,
}

const NO_STOP: Stop = Stop {
    rows: u64::MAX,
    bytes: u64::MAX,
    released: true,
};

impl Meter {
    /// A meter for one statement that is about to run. The statement itself is one to charge.
    pub fn new(limits: &[Arc<Limit>], counters: &dyn Counters, now: Timestamp) -> Meter {
        let mut keys: Vec<BudgetKey> = limits
            .iter()
            .filter_map(|limit| match &limit.scope {
                LimitScope::Window(key) => Some(key.clone()),
                LimitScope::Statement => None,
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let fresh = Stop {
            rows: 0,
            bytes: 0,
            released: false,
        };
        let mut meter = Meter {
            stops: vec![fresh; limits.len()],
            limits: limits.to_vec(),
            keys,
            total: Amount {
                statements: 1,
                ..Amount::default()
            },
            charged: Amount::default(),
            spared: 0,
            next: NO_STOP,
            rate: None,
            asked: None,
            collected: false,
        };
        meter.refresh(counters, now);
        meter
    }

    /// The same meter for rows each of which may hold many records, or not.
    #[must_use]
    pub const fn of_collected(mut self, collected: bool) -> Meter {
        self.collected = collected;
        self
    }

    /// The same for what goes on after so much of it was delivered and charged before.
    #[must_use]
    pub fn after(mut self, before: Amount, counters: &dyn Counters, now: Timestamp) -> Meter {
        for total in [&mut self.total, &mut self.charged] {
            total.rows = total.rows.saturating_add(before.rows);
            total.bytes = total.bytes.saturating_add(before.bytes);
        }
        self.refresh(counters, now);
        self
    }

    /// As how many rows `rows` of them with so many bytes together count.
    const fn weight(&self, rows: u64, bytes: u64) -> u64 {
        let records = bytes / RECORD;
        if self.collected && records > rows {
            records
        } else {
            rows
        }
    }

    /// Whether others count towards its limits too.
    pub fn shares(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The limits by number.
    pub fn limits(&self) -> &[Arc<Limit>] {
        &self.limits
    }

    /// Everything delivered so far.
    pub const fn total(&self) -> Amount {
        self.total
    }

    /// Announces one row.
    #[inline]
    pub fn row(&mut self, bytes: u64) -> Step {
        if self.rows(1, bytes) {
            return Step::Continue;
        }
        self.crossing(bytes)
    }

    /// Announces `rows` rows of `bytes` together. True: deliver them all. False: none was counted,
    /// announce them one by one.
    #[inline]
    pub fn rows(&mut self, rows: u64, bytes: u64) -> bool {
        let after_rows = self.total.rows.saturating_add(self.weight(rows, bytes));
        let after_bytes = self.total.bytes.saturating_add(bytes);
        let fits = self.fits(rows, bytes);
        if fits {
            self.total.rows = after_rows;
            self.total.bytes = after_bytes;
        }
        fits
    }

    /// Whether so many rows of so many bytes together might be delivered now. None is counted.
    #[inline]
    pub fn fits(&self, rows: u64, bytes: u64) -> bool {
        let after_rows = self.total.rows.saturating_add(self.weight(rows, bytes));
        let after_bytes = self.total.bytes.saturating_add(bytes);
        self.rate.is_none() && after_rows <= self.next.rows && after_bytes <= self.next.bytes
    }

    /// Whether a limit on its own bytes can be foreseen to be passed.
    pub fn foresees(&self) -> bool {
        self.limits.iter().any(|limit| limit.is_foreseeable())
    }

    /// The limit on its own bytes that will be passed where so many are to be delivered in all, known
    /// before the first of them is; one that denies before one that asks people. None where there is
    /// none, or where it was released.
    pub fn foresee(&self, bytes: u64) -> Option<usize> {
        let mut held = None;
        for (index, (limit, stop)) in self.limits.iter().zip(&self.stops).enumerate() {
            let fits = limit.bytes.is_none_or(|most| bytes <= most);
            if !limit.is_foreseeable() || stop.released || fits {
                continue;
            }
            if limit.on_exceed == OnExceed::Deny {
                return Some(index);
            }
            held = held.or(Some(index));
        }
        held
    }

    /// The limit on its own rows that will be passed where so many are expected, if people are asked
    /// there. None where there is none, or where it was released.
    pub fn expects(&self, rows: u64) -> Option<usize> {
        let limits = self.limits.iter().zip(&self.stops);
        let mut passed = limits.enumerate().filter(|(_, (limit, stop))| {
            matches!(limit.scope, LimitScope::Statement)
                && matches!(limit.on_exceed, OnExceed::RequireApproval(_))
                && !stop.released
                && limit.rows.is_some_and(|most| rows > most)
        });
        passed.next().map(|(index, _)| index)
    }

    /// The same with more limits, which count what was delivered before as well.
    #[must_use]
    pub fn also(mut self, limits: &[Arc<Limit>], counters: &dyn Counters, now: Timestamp) -> Meter {
        for limit in limits {
            let delivered = self.total.rows;
            self.limits.push(Arc::clone(limit));
            self.stops.push(Stop {
                rows: delivered.saturating_add(limit.rows.unwrap_or(u64::MAX)),
                bytes: u64::MAX,
                released: true,
            });
        }
        self.refresh(counters, now);
        self
    }

    /// So many bytes, announced before or announced next, were released by somebody who decided about
    /// them alone: they count in windows, and not against the limits of this statement's own.
    pub fn spare(&mut self, bytes: u64) {
        self.spared = self.spared.saturating_add(bytes);
        for (limit, stop) in self.limits.iter().zip(&mut self.stops) {
            if limit.scope == LimitScope::Statement && !stop.released {
                stop.bytes = spared_stop(limit, self.spared);
            }
        }
        self.find_next();
    }

    /// Lets a held statement go on past limit number `index`. Another limit may hold it at once.
    pub fn release(&mut self, index: usize, release: Release) {
        let delivered = self.total.rows;
        if let Some(stop) = self.stops.get_mut(index) {
            *stop = match release {
                Release::ToEnd => NO_STOP,
                Release::Rows(n) => Stop {
                    rows: delivered.saturating_add(n),
                    bytes: u64::MAX,
                    released: true,
                },
            };
        }
        self.find_next();
    }

    /// The start of the statement, to be charged before it runs: as `takes` says, once in other windows.
    /// Empty where it was charged before.
    pub fn take_start(&mut self, takes: &[Usage]) -> Vec<Usage> {
        let statements = self.uncharged().statements;
        if statements == 0 {
            return Vec::new();
        }
        self.charged.statements = self.total.statements;
        let taken = |key: &BudgetKey| {
            let found = takes.iter().find(|taken| taken.key == *key);
            found.map(|taken| taken.amount.statements)
        };
        self.keys
            .iter()
            .map(|key| Usage {
                key: key.clone(),
                amount: Amount {
                    statements: taken(key).unwrap_or(statements),
                    ..Amount::default()
                },
            })
            .collect()
    }

    /// What was delivered since the last call, per window budget; empty when nothing was.
    pub fn take_usage(&mut self) -> Vec<Usage> {
        let amount = self.uncharged();
        if amount.is_zero() {
            return Vec::new();
        }
        self.charged = self.total;
        self.keys
            .iter()
            .map(|key| Usage {
                key: key.clone(),
                amount,
            })
            .collect()
    }

    /// Reads the window counters again, after a charge: other statements share them. What this
    /// meter has counted and not yet handed out by `take_usage` is added to what they say.
    pub fn refresh(&mut self, counters: &dyn Counters, now: Timestamp) {
        let (total, uncharged) = (self.total, self.uncharged());
        for (limit, stop) in self.limits.iter().zip(&mut self.stops) {
            if stop.released {
                continue;
            }
            let amount = limit.amount();
            let left = match &limit.scope {
                LimitScope::Statement => amount.minus(total),
                LimitScope::Window(key) => counters.left(key, amount, now).minus(uncharged),
            };
            stop.rows = stop_at(limit.rows, left.rows, total.rows);
            stop.bytes = match limit.scope {
                LimitScope::Statement => spared_stop(limit, self.spared),
                LimitScope::Window(_) => stop_at(limit.bytes, left.bytes, total.bytes),
            };
        }
        self.find_next();
        let (rows, bytes) = self.room();
        if self
            .asked
            .is_some_and(|asked| rows > asked.0 || bytes > asked.1)
        {
            self.asked = None;
        }
    }

    /// The windows that a row of so many bytes needs more of.
    pub fn wanted(&self, bytes: u64) -> Vec<Wanted> {
        self.short(bytes)
            .map(|(limit, key)| Wanted {
                key: key.clone(),
                limit: limit.amount(),
                need: Amount {
                    rows: limit.rows.map_or(0, |_| self.weight(1, bytes)),
                    bytes: limit.bytes.map_or(0, |_| bytes),
                    statements: 0,
                },
            })
            .collect()
    }

    /// Nothing more of what was wanted can be had: the row that is announced next meets its limits.
    pub fn asked_in_vain(&mut self) {
        self.asked = Some(self.room());
    }

    fn short(&self, bytes: u64) -> impl Iterator<Item = (&Limit, &BudgetKey)> {
        let limits = self.limits.iter().zip(&self.stops);
        limits.filter_map(move |(limit, stop)| match &limit.scope {
            LimitScope::Window(key) if !stop.released && self.passes(stop, bytes) => {
                Some((&**limit, key))
            }
            _ => None,
        })
    }

    const fn passes(&self, stop: &Stop, bytes: u64) -> bool {
        self.total.rows.saturating_add(self.weight(1, bytes)) > stop.rows
            || self.total.bytes.saturating_add(bytes) > stop.bytes
    }

    const fn room(&self) -> Room {
        (
            self.next.rows.saturating_sub(self.total.rows),
            self.next.bytes.saturating_sub(self.total.bytes),
        )
    }

    const fn uncharged(&self) -> Amount {
        Amount {
            rows: self.total.rows - self.charged.rows,
            bytes: self.total.bytes - self.charged.bytes,
            statements: self.total.statements - self.charged.statements,
        }
    }

    fn find_next(&mut self) {
        self.next = self.stops.iter().fold(NO_STOP, |next, stop| Stop {
            rows: next.rows.min(stop.rows),
            bytes: next.bytes.min(stop.bytes),
            released: true,
        });
    }

    /// A row that passes at least one stop: Deny over RequireApproval over Throttle.
    #[cold]
    fn crossing(&mut self, bytes: u64) -> Step {
        if self.asked.is_none() && self.short(bytes).next().is_some() {
            return Step::Replenish;
        }
        let after_rows = self.total.rows.saturating_add(self.weight(1, bytes));
        let after_bytes = self.total.bytes.saturating_add(bytes);
        let mut held = None;
        let mut rate: Option<u64> = None;
        for (index, (limit, stop)) in self.limits.iter().zip(&self.stops).enumerate() {
            if !self.passes(stop, bytes) {
                continue;
            }
            match limit.on_exceed {
                OnExceed::Deny => return Step::Exceeded(index),
                OnExceed::RequireApproval(_) => held = held.or(Some(index)),
                OnExceed::Throttle { rows_per_second } => {
                    rate = Some(rate.map_or(rows_per_second, |r| r.min(rows_per_second)));
                }
            }
        }
        if let Some(index) = held {
            return Step::Exceeded(index);
        }
        self.total.rows = after_rows;
        self.total.bytes = after_bytes;
        self.rate = rate;
        match rate {
            Some(rows_per_second) => Step::Throttle { rows_per_second },
            None => Step::Continue,
        }
    }
}

/// The statement's own total of bytes at which a limit of its own is used up.
fn spared_stop(limit: &Limit, spared: u64) -> u64 {
    limit
        .bytes
        .map_or(u64::MAX, |most| most.saturating_add(spared))
}

/// The statement's own total at which a limit is used up.
fn stop_at(limit: Option<u64>, left: u64, total: u64) -> u64 {
    match limit {
        Some(_) => total.saturating_add(left),
        None => u64::MAX,
    }
}
