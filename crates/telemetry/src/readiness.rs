//! The reasons why this process is not ready, held by those who cause them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether this process may be sent work. Cheap to clone; all clones are one.
///
/// Ready means: no [`ReadinessGuard`] is alive and the process does not drain.
/// A part that stops being able to work takes a new guard until it can again.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// One entry per living guard, in the order they were taken.
    waiting: Vec<&'static str>,
    draining: bool,
}

impl Readiness {
    /// Makes the process unready until the guard is dropped. `name` is what
    /// `/readyz` shows: the part that is waited for.
    pub fn guard(&self, name: &'static str) -> ReadinessGuard {
        self.lock().waiting.push(name);
        ReadinessGuard {
            readiness: self.clone(),
            name,
        }
    }

    /// Makes the process unready for good: it finishes what it has.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// Whether the process may be sent work, and what keeps it from that.
    #[must_use]
    pub fn report(&self) -> ReadinessReport {
        let inner = self.lock();
        ReadinessReport {
            ready: inner.waiting.is_empty() && !inner.draining,
            draining: inner.draining,
            waiting: inner.waiting.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the process unready while it lives.
#[derive(Debug)]
#[must_use = "dropping the guard makes the process ready"]
pub struct ReadinessGuard {
    readiness: Readiness,
    name: &'static str,
}

impl ReadinessGuard {
    /// Drops the guard, by a name that says why.
    pub fn release(self) {}
}

impl Drop for ReadinessGuard {
    fn drop(&mut self) {
        let mut inner = self.readiness.lock();
        if let Some(at) = inner.waiting.iter().position(|name| *name == self.name) {
            inner.waiting.remove(at);
        }
    }
}

/// What `/readyz` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadinessReport {
    /// Whether the process may be sent work.
    pub ready: bool,
    /// Whether it is finishing what it has.
    pub draining: bool,
    /// The parts that are not ready yet.
    pub waiting: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_guard_is_gone() {
        let readiness = Readiness::default();
        let policies = readiness.guard("policies");
        let spool = readiness.guard("spool");
        assert_eq!(readiness.report().waiting, ["policies", "spool"]);
        policies.release();
        assert!(!readiness.report().ready);
        drop(spool);
        assert!(readiness.report().ready);
    }

    #[test]
    fn two_guards_of_one_name_count_twice() {
        let readiness = Readiness::default();
        let first = readiness.guard("listener");
        let second = readiness.clone().guard("listener");
        drop(first);
        assert_eq!(readiness.report().waiting, ["listener"]);
        drop(second);
        assert!(readiness.report().ready);
    }

    #[test]
    fn draining_is_for_good() {
        let readiness = Readiness::default();
        readiness.drain();
        readiness.guard("spool").release();
        let report = readiness.report();
        assert!(!report.ready && report.draining && report.waiting.is_empty());
    }
}
