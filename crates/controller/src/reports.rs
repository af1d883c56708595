//! What sidecars say they have in force, against what they were sent.
//!
//! Kept in memory, by pod, as long as its watch is on this replica.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use weir_telemetry::{Gauges, Histogram, Label, Registry};
use weir_uplink::control::Report;

/// Where a sidecar stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It was sent something and has not said that it is in force.
    Behind,
    /// What it was sent last is in force.
    Current,
    /// It refused what it was sent last.
    Refusing,
}

impl Label for State {
    const NAME: &'static str = "state";
    const ALL: &'static [Self] = &[Self::Behind, Self::Current, Self::Refusing];

    fn as_str(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Current => "current",
            Self::Refusing => "refusing",
        }
    }
}

/// The reports. Clones are one.
#[derive(Clone)]
pub(crate) struct Reports {
    pods: Arc<Mutex<HashMap<String, Entry>>>,
    states: Gauges<State>,
    delay: Histogram,
}

struct Entry {
    digest: String,
    since: Instant,
    state: State,
}

impl Reports {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            pods: Arc::default(),
            states: registry.gauges(
                "weir_controller_sidecars",
                "Sidecars that watch here, by whether the newest snapshot is in force.",
            )?,
            delay: registry.histogram(
                "weir_controller_in_force_seconds",
                "From noticing a change to a sidecar's report that it is in force.",
                &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
            )?,
        })
    }

    /// A snapshot goes to a pod; it comes from a change that was noticed at `since`.
    pub(crate) fn pushed(&self, uid: &str, digest: &str, since: Instant) {
        let entry = Entry {
            digest: digest.to_owned(),
            since,
            state: State::Behind,
        };
        self.states.add(State::Behind, 1);
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = pods.insert(uid.to_owned(), entry) {
            self.states.add(before.state, -1);
        }
    }

    /// A pod says what it has in force.
    pub(crate) fn reported(&self, uid: &str, report: &Report) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = pods.get_mut(uid) else {
            return;
        };
        let state = if report.digest == entry.digest {
            State::Current
        } else if report.refused.is_some() {
            State::Refusing
        } else {
            State::Behind
        };
        if state == State::Current && entry.state != State::Current {
            self.delay.observe(entry.since.elapsed().as_secs_f64());
        }
        self.states.add(entry.state, -1);
        self.states.add(state, 1);
        entry.state = state;
    }

    /// Forgets a pod.
    pub(crate) fn forget(&self, uid: &str) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = pods.remove(uid) {
            self.states.add(before.state, -1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(digest: &str, refused: Option<&str>) -> Report {
        Report {
            digest: digest.to_owned(),
            refused: refused.map(str::to_owned),
            ..Report::default()
        }
    }

    #[test]
    fn every_sidecar_is_counted_once_in_the_state_that_it_is_in() {
        let registry = Registry::default();
        let reports = Reports::new(&registry).unwrap();
        let counted = |state: &str| {
            let text = registry.render().unwrap();
            let line = format!("weir_controller_sidecars{{state=\"{state}\"}} ");
            let value = text.lines().find_map(|l| l.strip_prefix(&line)).unwrap();
            value.parse::<i64>().unwrap()
        };
        let states = || ["behind", "current", "refusing"].map(counted);
        reports.pushed("1", "a", Instant::now());
        reports.pushed("2", "a", Instant::now());
        assert_eq!(states(), [2, 0, 0]);
        reports.reported("1", &report("a", None));
        reports.reported("2", &report("old", Some("does not compile")));
        assert_eq!(states(), [0, 1, 1]);
        reports.pushed("1", "b", Instant::now());
        assert_eq!(states(), [1, 0, 1]);
        reports.reported("1", &report("a", None));
        assert_eq!(states(), [1, 0, 1]);
        reports.forget("1");
        reports.forget("2");
        reports.reported("1", &report("b", None));
        assert_eq!(states(), [0, 0, 0]);
    }
}
