//! How much one pod may hand in, and how often the collector complains about it.
//!
//! A bucket may go into debt by one batch, so that no batch is too large to ever pass; until the
//! debt is paid off, nothing is taken. Nothing here reads a clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weir_audit::EngineId;

const MINUTE: f64 = 60.0;
/// Requests of one pod that are served at once: the shipper sends one after the other.
const AT_ONCE: u32 = 2;
/// Connections of one pod: its shipper has one, and one more while it renews its certificate.
const CONNECTIONS: u32 = 4;
/// Pods are forgotten beyond this number, those that owe nothing first.
const REMEMBERED: usize = 20_000;
/// One complaint about a pod in so long.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// Complaints about all pods in that time.
const COMPLAINTS: u32 = 60;

/// What each pod may hand in per minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of sealed frames.
    pub bytes: u64,
    /// Events.
    pub events: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            events: 3_000_000,
        }
    }
}

/// The accounts of all pods.
pub(super) struct Quotas {
    quota: Quota,
    pods: Mutex<HashMap<EngineId, Account>>,
    complaints: Mutex<(Instant, u32)>,
}

struct Account {
    /// What is left, in parts of the quota; below zero is debt.
    bytes: f64,
    events: f64,
    at: Instant,
    running: u32,
    connections: u32,
    complained: Option<Instant>,
}

/// A request that is being served.
pub(super) struct Visit {
    quotas: Arc<Quotas>,
    engine: EngineId,
}

/// A connection that is open.
pub(super) struct Line {
    quotas: Arc<Quotas>,
    engine: EngineId,
}

/// Come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Later(pub(super) Duration);

impl Quotas {
    pub(super) fn new(quota: Quota, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            quota,
            pods: Mutex::default(),
            complaints: Mutex::new((now, 0)),
        })
    }

    /// Lets a request in, unless the pod owes or is being served enough.
    pub(super) fn enter(self: &Arc<Self>, engine: &EngineId, now: Instant) -> Result<Visit, Later> {
        self.with(engine, now, |account| {
            if account.running >= AT_ONCE {
                return Err(Later(Duration::from_secs(1)));
            }
            let least = account.bytes.min(account.events);
            if least <= 0.0 {
                return Err(Later(Duration::from_secs_f64(
                    (-least * MINUTE).ceil() + 1.0,
                )));
            }
            account.running += 1;
            Ok(())
        })?;
        Ok(Visit {
            quotas: Arc::clone(self),
            engine: engine.clone(),
        })
    }

    /// Lets a connection in, unless the pod has enough.
    pub(super) fn connect(self: &Arc<Self>, engine: &EngineId, now: Instant) -> Option<Line> {
        let free = self.with(engine, now, |account| {
            let free = account.connections < CONNECTIONS;
            account.connections += u32::from(free);
            free
        });
        free.then(|| Line {
            quotas: Arc::clone(self),
            engine: engine.clone(),
        })
    }

    /// Whether a complaint about this pod may be recorded now.
    pub(super) fn may_complain(&self, engine: &EngineId, now: Instant) -> bool {
        let due = self.with(engine, now, |account| {
            let due = account
                .complained
                .is_none_or(|last| now.duration_since(last) >= COMPLAIN_EVERY);
            if due {
                account.complained = Some(now);
            }
            due
        });
        if !due {
            return false;
        }
        let mut complaints = self
            .complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(complaints.0) >= COMPLAIN_EVERY {
            *complaints = (now, 0);
        }
        complaints.1 += 1;
        complaints.1 <= COMPLAINTS
    }

    fn leave(&self, engine: &EngineId, act: impl FnOnce(&mut Account)) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = pods.get_mut(engine) {
            act(account);
        }
    }

    fn with<T>(&self, engine: &EngineId, now: Instant, act: impl FnOnce(&mut Account) -> T) -> T {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if pods.len() >= REMEMBERED && !pods.contains_key(engine) {
            pods.retain(|_, account| {
                account.refill(now);
                account.connections > 0
                    || account.running > 0
                    || account.bytes < 1.0
                    || account.events < 1.0
            });
        }
        let account = pods.entry(engine.clone()).or_insert(Account {
            bytes: 1.0,
            events: 1.0,
            at: now,
            running: 0,
            connections: 0,
            complained: None,
        });
        account.refill(now);
        act(account)
    }
}

impl Account {
    fn refill(&mut self, now: Instant) {
        let gained = now.duration_since(self.at).as_secs_f64() / MINUTE;
        self.at = now;
        self.bytes = (self.bytes + gained).min(1.0);
        self.events = (self.events + gained).min(1.0);
    }
}

impl Visit {
    /// Books what the request brought.
    pub(super) fn charge(&self, bytes: usize, events: u64, now: Instant) {
        let part = |amount: f64, quota: u64| amount / (quota.max(1) as f64);
        self.quotas.with(&self.engine, now, |account| {
            account.bytes -= part(bytes as f64, self.quotas.quota.bytes);
            account.events -= part(events as f64, self.quotas.quota.events);
        });
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.quotas.leave(&self.engine, |account| {
            account.running = account.running.saturating_sub(1);
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.quotas.leave(&self.engine, |account| {
            account.connections = account.connections.saturating_sub(1);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(name: &str) -> EngineId {
        name.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_in_debt_waits_until_it_is_paid_off_and_others_do_not() {
        let quota = Quota {
            bytes: 600,
            events: 60,
        };
        let quotas = Quotas::new(quota, Instant::now());
        let (one, other) = (engine("pod_1"), engine("pod_2"));
        let visit = quotas.enter(&one, Instant::now()).ok().unwrap();
        visit.charge(900, 1, Instant::now());
        drop(visit);
        let Later(wait) = quotas.enter(&one, Instant::now()).err().unwrap();
        assert_eq!(wait, Duration::from_secs(31));
        assert!(quotas.enter(&other, Instant::now()).is_ok());
        tokio::time::advance(wait).await;
        let visit = quotas.enter(&one, Instant::now()).ok().unwrap();
        visit.charge(1, 120, Instant::now());
        drop(visit);
        assert!(quotas.enter(&one, Instant::now()).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_pod_is_served_only_so_often_at_once() {
        let quotas = Quotas::new(Quota::default(), Instant::now());
        let one = engine("pod_1");
        let visits: Vec<_> = (0..AT_ONCE)
            .map(|_| quotas.enter(&one, Instant::now()).ok().unwrap())
            .collect();
        assert!(quotas.enter(&one, Instant::now()).is_err());
        drop(visits);
        assert!(quotas.enter(&one, Instant::now()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_pod_has_few_connections() {
        let quotas = Quotas::new(Quota::default(), Instant::now());
        let (one, other) = (engine("pod_1"), engine("pod_2"));
        let mut lines: Vec<_> = (0..CONNECTIONS)
            .map(|_| quotas.connect(&one, Instant::now()).unwrap())
            .collect();
        assert!(quotas.connect(&one, Instant::now()).is_none());
        assert!(quotas.connect(&other, Instant::now()).is_some());
        lines.pop();
        assert!(quotas.connect(&one, Instant::now()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn complaints_are_few_for_one_pod_and_bounded_for_all() {
        let quotas = Quotas::new(Quota::default(), Instant::now());
        let one = engine("pod_1");
        assert!(quotas.may_complain(&one, Instant::now()));
        assert!(!quotas.may_complain(&one, Instant::now()));
        let many = (0..1000)
            .filter(|n| quotas.may_complain(&engine(&format!("pod_a{n}")), Instant::now()))
            .count();
        assert_eq!(many, COMPLAINTS as usize - 1);
        tokio::time::advance(COMPLAIN_EVERY).await;
        assert!(quotas.may_complain(&one, Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_pods_are_forgotten_before_memory_grows() {
        let quotas = Quotas::new(Quota::default(), Instant::now());
        for n in 0..REMEMBERED + 10 {
            drop(quotas.enter(&engine(&format!("pod_{n}")), Instant::now()));
        }
        assert!(quotas.pods.lock().unwrap().len() <= 11);
    }
}
