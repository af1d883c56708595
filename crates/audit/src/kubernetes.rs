//! Requests to a Kubernetes API, as the API server understood them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A request, and how it was answered: one per statement of a session that speaks to a Kubernetes API,
/// before its end. A request that Weir refused has the code that Weir answered, and no audit id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesAnswered {
    /// The number of the statement.
    pub statement: u64,
    /// The verb, as RBAC knows it.
    pub verb: Arc<str>,
    /// The API group; empty for the core group.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub group: Arc<str>,
    /// The version.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub version: Arc<str>,
    /// The resource; empty for a path that is none.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub resource: Arc<str>,
    /// The subresource.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub subresource: Arc<str>,
    /// The namespace.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub namespace: Arc<str>,
    /// The object's name.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub name: Arc<str>,
    /// Whether nothing was to be changed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// The status of the answer; 0 where there was none.
    pub code: u32,
    /// The API server's `Audit-Id`: the name of this request in its own audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_audit_id: Option<Arc<str>>,
}

fn is_empty(text: &str) -> bool {
    text.is_empty()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !*value
}
