//! Where what a session does is recorded and charged: of requests to a Kubernetes API and of what runs over
//! SSH. (Statements of PostgreSQL have a writer of their own, by how they are delivered.)

use std::sync::Arc;
use std::time::Instant;

use weir_audit::{Body, Record, RecordingChunk, Session};
use weir_policy::Meter;

use crate::ports::{AuditSink, Budgets};
use crate::{millis, wall_clock};

/// Where records go.
#[derive(Clone)]
pub(crate) struct Evidence {
    pub(crate) sink: Arc<dyn AuditSink>,
    pub(crate) session: Arc<Session>,
    pub(crate) budgets: Arc<dyn Budgets>,
}

impl Evidence {
    /// A record of the session, as of now.
    pub(crate) fn of(&self, body: impl Into<Body>) -> Record {
        Record::session(wall_clock(), Arc::clone(&self.session), body)
    }

    /// Records pieces of a recording.
    pub(crate) fn pieces(&self, chunks: impl IntoIterator<Item = RecordingChunk>) {
        for chunk in chunks {
            self.sink.record(self.of(chunk));
        }
    }

    /// Charges what a meter has counted.
    pub(crate) fn charge(&self, meter: Option<&mut Meter>) {
        let usage = meter.map(Meter::take_usage);
        if let Some(usage) = usage.filter(|usage| !usage.is_empty()) {
            self.budgets.charge(millis(), &usage);
        }
    }
}

/// Milliseconds since something began.
pub(crate) fn elapsed_ms(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds since something began.
pub(crate) fn elapsed_us(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}
