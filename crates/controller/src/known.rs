//! What admission knows of the cluster: the store, the resources in force and the root, as they are
//! at the moment.

use std::collections::BTreeMap;

use weir_api::Resources;
use weir_injection::Settings;

use crate::admission::Known;
use crate::authority::Authority;
use crate::bundles::Current;
use crate::store::Store;

/// This replica's view.
pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) current: Current,
    pub(crate) authority: Authority,
    /// What is injected, but for the root.
    pub(crate) injection: Settings,
}

impl Known for Cluster {
    fn namespace_labels(&self, name: &str) -> Option<BTreeMap<String, String>> {
        self.store.read(|tables| {
            let entry = tables.namespaces.get("", name)?;
            Some(entry.labels.clone())
        })
    }

    fn resources(&self) -> Resources {
        let current = self.current.borrow();
        current
            .as_ref()
            .map(|inputs| inputs.accepted.resources())
            .unwrap_or_default()
    }

    fn injection(&self) -> Option<Settings> {
        Some(Settings {
            ca: self.authority.root().certificate().to_owned(),
            ..self.injection.clone()
        })
    }
}
