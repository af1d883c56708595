//! What the process counts: connections, spool and policy.

use std::sync::{Arc, Mutex, PoisonError};

use weir_policy::Bundle;
use weir_telemetry::{IntGauge, Registry};
use weir_transport::listen::Counters;
use weir_uplink::SpoolStatus;

/// Gauges of one process. Totals that others count are read from them when they are shown.
pub struct EngineMetrics {
    open: IntGauge,
    accepted: IntGauge,
    over_cap: IntGauge,
    loops: IntGauge,
    spool_bytes: IntGauge,
    spool_unacknowledged: IntGauge,
    events_lost: IntGauge,
    policy_revision: IntGauge,
    policy_refused: IntGauge,
    listeners: Mutex<Vec<Arc<Counters>>>,
}

impl EngineMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// They were declared before.
    pub fn new(registry: &Registry) -> Result<Self, String> {
        let gauge = |name, help| {
            registry
                .gauge(name, help)
                .map_err(|error| error.to_string())
        };
        Ok(Self {
            open: gauge("weir_connections_open", "Connections that are open.")?,
            accepted: gauge(
                "weir_connections_accepted",
                "Connections accepted since the start.",
            )?,
            over_cap: gauge(
                "weir_connections_over_cap",
                "Connections refused because of the cap.",
            )?,
            loops: gauge(
                "weir_connections_looped",
                "Connections refused because they led back here.",
            )?,
            spool_bytes: gauge("weir_spool_bytes", "Bytes of the audit spool on disk.")?,
            spool_unacknowledged: gauge(
                "weir_spool_unacknowledged_events",
                "Events that the collector has not committed yet.",
            )?,
            events_lost: gauge("weir_events_lost", "Events refused for want of room.")?,
            policy_revision: gauge("weir_policy_revision", "Revision of the policy in force.")?,
            policy_refused: gauge(
                "weir_policy_refused",
                "1 while the newest policy is refused.",
            )?,
            listeners: Mutex::default(),
        })
    }

    /// Counts what a listener accepts.
    pub fn watch(&self, counters: Arc<Counters>) {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(counters);
    }

    /// Connections that are open.
    pub fn open_connections(&self) -> u64 {
        self.sum(|counters| counters.open() as u64)
    }

    /// Connections that were accepted since the start.
    pub fn accepted(&self) -> u64 {
        self.sum(Counters::accepted)
    }

    fn sum(&self, count: impl Fn(&Counters) -> u64) -> u64 {
        let listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.iter().map(|counters| count(counters)).sum()
    }

    /// Takes over what others have counted.
    pub fn update(&self, spool: &SpoolStatus, bundle: &Bundle, refused: bool) {
        let set =
            |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.open, self.open_connections());
        set(&self.accepted, self.accepted());
        set(&self.over_cap, self.sum(Counters::over_cap));
        set(&self.loops, self.sum(Counters::loops));
        set(&self.spool_bytes, spool.disk_bytes);
        set(
            &self.spool_unacknowledged,
            spool.last_seq.saturating_sub(spool.acknowledged_seq),
        );
        set(&self.events_lost, spool.lost);
        set(&self.policy_revision, bundle.revision());
        set(&self.policy_refused, u64::from(refused));
    }
}
