//! Where the evidence of a pod goes.

use std::sync::Arc;

use weir_uplink::control::Identity;
use weir_uplink::ingest::{CollectorPlace, Place};

use crate::policies::SnapshotPolicies;

/// The collector that the settings in force name, reached with the pod's identity.
pub(crate) struct Collector {
    pub(crate) identity: Arc<Identity>,
    pub(crate) policies: Arc<SnapshotPolicies>,
}

impl CollectorPlace for Collector {
    fn place(&self) -> Option<Place> {
        let settings = self.policies.settings();
        (!settings.collector.is_empty()).then(|| Place {
            address: settings.collector,
            known: settings.collector_addresses,
            tls: self.identity.client_config(),
        })
    }
}
