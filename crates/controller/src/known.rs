//! What admission is told of the cluster.
//!
//! Invariant: a pod is injected with the root that the ConfigMap of the admission policies holds,
//! byte for byte as the watch has seen it there, so that a new root is never used before they
//! know it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use weir_api::Resources;
use weir_injection::Settings;

use crate::admission::Known;
use crate::authority::ADMISSION;
use crate::bundles::Current;
use crate::requests::Requests;
use crate::store::{Store, Tables};

/// The cluster as this replica's watches have seen it.
pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) current: Current,
    pub(crate) requests: Requests,
    /// What is injected; the root and the controller's addresses are filled in.
    pub(crate) injection: Settings,
}

impl Known for Cluster {
    fn namespace_labels(&self, name: &str) -> Option<BTreeMap<String, String>> {
        self.store.read(|tables| {
            let namespace = tables.namespaces.get("", name)?;
            Some(namespace.labels.clone())
        })
    }

    fn resources(&self) -> Resources {
        let current = self.current.borrow();
        let current = current.as_ref();
        current.map_or_else(Resources::default, |inputs| {
            inputs.accepted.resources.clone()
        })
    }

    fn asks(&self, namespace: &str, name: &str, spec: &Value) -> bool {
        self.requests.asks(namespace, name, spec)
    }

    fn injection(&self) -> Option<Settings> {
        let host = self.injection.controller();
        let (ca, addresses) = self.store.read(|tables| {
            let addresses = tables.cluster_ips(&host);
            Some((root(tables, &self.injection.namespace)?, addresses))
        })?;
        Some(Settings {
            ca,
            controller_addresses: addresses.iter().map(ToString::to_string).collect(),
            ..self.injection.clone()
        })
    }
}

fn root(tables: &Tables, namespace: &str) -> Option<String> {
    let known = tables.config_maps.get(namespace, ADMISSION)?;
    let ca = STANDARD.decode(known.get("ca.crt")?).ok()?;
    String::from_utf8(ca).ok().filter(|ca| !ca.is_empty())
}
