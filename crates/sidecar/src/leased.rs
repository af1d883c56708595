//! Window budgets that all pods of an identity share: leased from the controller, part by part.
//!
//! What is within the lease is taken without asking. Invariants: what was taken is on the memory
//! volume before rows go out, so a restart settles it first; an answer that was lost is settled once;
//! without a lease that is in force a budget is used up, whatever the reason.
//!
//! Decisions are made on one thread: between reading what is left and taking it nobody else takes.

mod book;
mod kept;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use weir_gateway::ports::{Budgets, Pending};
use weir_policy::{Amount, BudgetKey, Counters, Timestamp, Usage, Wanted};
use weir_uplink::control::{ControlClient, ControlError, LeaseRequest, Leases};
use weir_uplink::{LedgerError, control};

use self::book::{Book, Purpose, Sent};
use self::kept::{Count, Kept};

/// How long a statement waits for a lease.
const PATIENCE: Duration = Duration::from_secs(3);
/// Budgets in one request.
const MAX_BUDGETS: usize = 128;
/// How often others of this pod may be faster with what was leased for a statement.
const TRIES: usize = 4;

/// Who shares the budgets out.
pub trait Leasing: Send + Sync {
    /// Settles and leases.
    ///
    /// # Errors
    /// There is no answer; what was asked may have been done all the same.
    fn lease<'a>(&'a self, asked: &'a LeaseRequest) -> Pending<'a, Result<Leases, NotLeased>>;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct NotLeased {
    /// What happened.
    pub reason: String,
    /// The request never left.
    pub unsent: bool,
}

impl Leasing for ControlClient {
    fn lease<'a>(&'a self, asked: &'a LeaseRequest) -> Pending<'a, Result<Leases, NotLeased>> {
        Box::pin(async move {
            let leased = ControlClient::lease(self, asked).await;
            leased.map_err(|error| NotLeased {
                unsent: matches!(error, ControlError::Unreachable { .. }),
                reason: error.to_string(),
            })
        })
    }
}

/// Budgets of which this sidecar holds parts.
pub struct LeasedBudgets {
    book: Mutex<Book>,
    kept: Kept,
    /// A count could not be stored: from here on every budget is used up.
    lost: AtomicBool,
    authority: Arc<dyn Leasing>,
    /// The number of the last request: one is on its way at a time.
    turn: tokio::sync::Mutex<u64>,
    /// There may be something to say.
    wake: Notify,
}

impl LeasedBudgets {
    /// Opens the counts in `dir`. Nothing is leased yet.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn open(dir: &Path, authority: Arc<dyn Leasing>) -> Result<Self, LedgerError> {
        let (kept, left) = Kept::open(dir)?;
        let mut book = Book::default();
        for (key, (taken, settled)) in left.counts {
            book.restore(key, taken, settled);
        }
        Ok(Self {
            book: Mutex::new(book),
            kept,
            lost: AtomicBool::new(false),
            authority,
            turn: tokio::sync::Mutex::new(left.sequence),
            wake: Notify::new(),
        })
    }

    /// Settles and renews, for ever.
    pub async fn keep(&self) {
        loop {
            let now = Instant::now();
            let next = self.book().next(now);
            match next {
                Some(at) if at <= now => {}
                Some(at) => {
                    tokio::select! {
                        () = sleep_until(at) => {}
                        () = self.wake.notified() => {}
                    }
                    continue;
                }
                None => {
                    self.wake.notified().await;
                    continue;
                }
            }
            let mut turn = self.turn.lock().await;
            let due = self.book().due(Instant::now());
            self.exchange(&mut turn, &due).await;
        }
    }

    /// Settles everything and gives all leases back; at the end, when nothing is taken any more.
    pub async fn close(&self) {
        let mut turn = self.turn.lock().await;
        let all = self.book().all();
        self.exchange(&mut turn, &all).await;
    }

    /// Says what is to be said about these budgets. False: there was no answer.
    async fn exchange(&self, turn: &mut u64, about: &[(BudgetKey, Purpose)]) -> bool {
        for part in about.chunks(MAX_BUDGETS) {
            *turn += 1;
            if let Err(error) = self.kept.put_sequence(*turn) {
                self.lose(&error);
                return false;
            }
            let asked = Instant::now();
            let (request, sent) = self.request(*turn, part, asked);
            let answer = timeout(PATIENCE, self.authority.lease(&request)).await;
            let answer = answer.unwrap_or_else(|_| {
                Err(NotLeased {
                    reason: "the controller did not answer in time".to_owned(),
                    unsent: false,
                })
            });
            let answer = answer.and_then(|leases| fitting(leases, &request));
            if !self.conclude(answer, &sent, asked) {
                return false;
            }
        }
        true
    }

    fn request(
        &self,
        sequence: u64,
        about: &[(BudgetKey, Purpose)],
        now: Instant,
    ) -> (LeaseRequest, Vec<Sent>) {
        let mut book = self.book();
        let asks = about.iter().map(|(key, purpose)| {
            let (ask, sent) = book.ask(key, *purpose, now);
            let ask = control::LeaseAsk {
                epoch: self.kept.epoch,
                sequence,
                ..ask
            };
            (ask, sent)
        });
        let (budgets, sent) = asks.unzip();
        (LeaseRequest { budgets }, sent)
    }

    fn conclude(&self, answer: Result<Leases, NotLeased>, sent: &[Sent], asked: Instant) -> bool {
        let mut book = self.book();
        match answer {
            Ok(leases) => {
                for (sent, lease) in sent.iter().zip(&leases.budgets) {
                    if let Some(reason) = &lease.failed {
                        tracing::warn!(key = %sent.key, reason, "a budget could not be leased");
                        book.unanswered(sent, false, Instant::now());
                        continue;
                    }
                    let settled = book.answered(sent, lease, asked);
                    if let Err(error) = self.kept.put(&sent.key, Count::Settled, settled) {
                        self.lose(&error);
                    }
                }
                true
            }
            Err(error) => {
                tracing::warn!(%error, "window budgets could not be leased");
                let unanswered = |sent| book.unanswered(sent, error.unsent, Instant::now());
                sent.iter().for_each(unanswered);
                false
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, error: &LedgerError) {
        self.lost.store(true, Ordering::Relaxed);
        tracing::error!(%error, "a budget could not be stored: budgets count as used up");
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Counters for LeasedBudgets {
    fn used(&self, key: &BudgetKey, _now: Timestamp) -> Amount {
        let used = if self.is_lost() {
            None
        } else {
            self.book().used(key)
        };
        used.unwrap_or(Amount {
            rows: u64::MAX,
            bytes: u64::MAX,
            statements: u64::MAX,
        })
    }

    fn left(&self, key: &BudgetKey, limit: Amount, _now: Timestamp) -> Amount {
        if self.is_lost() {
            return Amount::default();
        }
        self.book().left(key, limit, Instant::now())
    }

    fn is_withheld(&self, key: &BudgetKey, limit: Amount, _now: Timestamp) -> bool {
        self.is_lost() || self.book().is_withheld(key, limit)
    }
}

impl Budgets for LeasedBudgets {
    fn read(&self, with: &mut dyn FnMut(&dyn Counters)) {
        with(self);
    }

    fn charge(&self, _now: Timestamp, usage: &[Usage]) {
        let now = Instant::now();
        let mut speak = false;
        let mut book = self.book();
        for used in usage {
            let (taken, is_news) = book.take(&used.key, used.amount, now);
            speak |= is_news;
            if let Err(error) = self.kept.put(&used.key, Count::Taken, taken) {
                self.lose(&error);
            }
        }
        drop(book);
        if speak {
            self.wake.notify_one();
        }
    }

    fn replenish<'a>(&'a self, wanted: &'a [Wanted]) -> Pending<'a, bool> {
        Box::pin(async move {
            if self.is_lost() {
                return false;
            }
            let satisfied = || {
                let (book, now) = (self.book(), Instant::now());
                let satisfied = wanted.iter().map(|want| book.satisfies(want, now));
                satisfied.collect::<Vec<bool>>()
            };
            let before = satisfied();
            let more = || {
                satisfied()
                    .iter()
                    .zip(&before)
                    .any(|(now, then)| *now && !then)
            };
            for _ in 0..TRIES {
                // Whoever was first may have leased enough for all.
                let mut turn = self.turn.lock().await;
                if more() {
                    return true;
                }
                let lacking = self.book().lacking(wanted, Instant::now());
                if lacking.is_empty() || !self.exchange(&mut turn, &lacking).await {
                    break;
                }
            }
            more()
        })
    }
}

/// An answer must be about what was asked.
fn fitting(leases: Leases, request: &LeaseRequest) -> Result<Leases, NotLeased> {
    let fits = leases.budgets.len() == request.budgets.len()
        && leases
            .budgets
            .iter()
            .zip(&request.budgets)
            .all(|(lease, ask)| lease.key == ask.key);
    if fits {
        return Ok(leases);
    }
    Err(NotLeased {
        reason: "the controller answered for other budgets".to_owned(),
        unsent: false,
    })
}
