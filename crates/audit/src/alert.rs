//! A finding on its way to people.

use serde::{Deserialize, Serialize};

use crate::{FindingCode, Severity, Timestamp};

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
