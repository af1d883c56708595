//! What the collector has people told, and which pods it looks for.

use serde::{Deserialize, Serialize};
use weir_audit::{FindingCode, Severity, Timestamp};

/// A finding that people must be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Id of its event.
    pub id: String,
    /// When it was found.
    pub at: Timestamp,
    /// What kind of thing.
    pub code: FindingCode,
    /// How soon somebody must look.
    pub severity: Severity,
    /// In one sentence.
    pub message: String,
    /// The engine concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The session concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Who, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Others of the same kind before it that nobody was told.
    #[serde(default)]
    pub more: u64,
}

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
