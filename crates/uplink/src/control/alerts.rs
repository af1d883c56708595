//! Which pods the collector looks for.

use serde::{Deserialize, Serialize};

/// A pod that runs, and whose sidecar serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, which its evidence goes by.
    pub uid: String,
}
