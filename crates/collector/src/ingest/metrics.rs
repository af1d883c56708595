//! What ingest counts.

use weir_telemetry::{Counters, Histogram, IntCounter, Label, Registry};

/// Why a batch was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is not a batch: wrong path, header or encoding.
    Malformed,
    /// Its frames are damaged or do not chain.
    Damaged,
    /// It is longer than allowed, on the wire or unpacked.
    Oversized,
    /// It did not come in time.
    Slow,
    /// It is for the chain of another pod.
    ForeignEngine,
    /// An event names another identity than the certificate.
    ForgedIdentity,
    /// Its end is not signed by the pod.
    Unsigned,
    /// The pod hands in too much.
    Quota,
    /// All pods together do.
    Busy,
    /// The store is full or failed.
    Store,
}

impl Label for Reason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &[
        Self::Malformed,
        Self::Damaged,
        Self::Oversized,
        Self::Slow,
        Self::ForeignEngine,
        Self::ForgedIdentity,
        Self::Unsigned,
        Self::Quota,
        Self::Busy,
        Self::Store,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Damaged => "damaged",
            Self::Oversized => "oversized",
            Self::Slow => "slow",
            Self::ForeignEngine => "foreign_engine",
            Self::ForgedIdentity => "forged_identity",
            Self::Unsigned => "unsigned",
            Self::Quota => "quota",
            Self::Busy => "busy",
            Self::Store => "store",
        }
    }
}

/// Counters of ingest.
#[derive(Clone, Debug)]
pub struct IngestMetrics {
    pub(super) batches: IntCounter,
    pub(super) events: IntCounter,
    pub(super) bytes: IntCounter,
    pub(super) lag: Histogram,
    pub(super) refused: Counters<Reason>,
}

impl IngestMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When they are registered already.
    pub fn new(registry: &Registry) -> Result<Self, String> {
        let counter = |name, help| registry.counter(name, help).map_err(text);
        Ok(Self {
            batches: counter(
                "weir_collector_batches_total",
                "Batches committed, repeated ones included.",
            )?,
            events: counter(
                "weir_collector_events_total",
                "Events in batches committed, repeated ones included.",
            )?,
            bytes: counter(
                "weir_collector_bytes_total",
                "Bytes of sealed frames committed, repeated ones included.",
            )?,
            lag: registry
                .histogram(
                    "weir_collector_lag_seconds",
                    "From a batch's last event to its commit, by the clocks of both.",
                    &[0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 3600.0],
                )
                .map_err(text)?,
            refused: registry
                .counters(
                    "weir_collector_refused_total",
                    "Batches not taken; sidecars keep them.",
                )
                .map_err(text)?,
        })
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
