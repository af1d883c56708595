//! Where the evidence of a pod goes.

use std::sync::Arc;

use weir_audit::{Ack, Batch, CollectorSink, SinkError};
use weir_uplink::control::Identity;

use crate::policies::SnapshotPolicies;

/// The collector that the settings in force name, reached with the pod's identity.
pub(crate) fn collector_sink(
    _identity: Arc<Identity>,
    policies: Arc<SnapshotPolicies>,
) -> Arc<dyn CollectorSink> {
    Arc::new(NoCollector(policies))
}

/// Takes nothing: evidence stays in the spool.
struct NoCollector(Arc<SnapshotPolicies>);

impl CollectorSink for NoCollector {
    fn ingest(&self, _batch: &Batch) -> Result<Ack, SinkError> {
        let collector = self.0.settings().collector;
        Err(SinkError(
            format!("{collector:?} cannot be reached by this version").into(),
        ))
    }
}
