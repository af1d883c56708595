//! The resources, one file per kind: `apiVersion: weir.dev/v1alpha1`.
//!
//! These types are the schema: strict, without behaviour. Their comments are what `kubectl explain`
//! and `docs/crds.md` show, so they are written for users. An unknown field is an error. What the
//! schema can say and this version cannot enforce is refused by `compile`, never ignored.

mod access_request;
mod data_label;
mod guard_policy;
mod policy_exception;
mod quarantine;
mod rule;
mod status;
mod target;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use access_request::{
    AccessRequestPhase, AccessRequestSpec, AccessRequestStatus, ApproverDecision, Binding,
    DecisionVia, LabelledColumns, RequestDecision, Requester,
};
pub use data_label::{
    ColumnsSpec, DataLabelSpec, KubernetesFieldsSpec, MaskSpec, PartialSpec, PatternSpec,
};
pub use guard_policy::{
    AuditSpec, ClusterGuardPolicySpec, GuardPolicySpec, LocalSubjectSpec, SubjectSpec,
};
pub use policy_exception::PolicyExceptionSpec;
pub use quarantine::{LiftingSpec, QuarantineSpec};
pub use rule::{
    ApprovalSpec, ExceedSpec, KubernetesMatch, LimitsSpec, MatchSpec, MeanwhileSpec, MysqlMatch,
    RuleSpec, SftpMatch, ShapeSpec, SqlMatch, SshMatch, StatementLimitSpec, ThrottleSpec,
    WindowLimitSpec,
};
pub use status::{Condition, ConditionStatus, ResourceStatus};
pub use target::{
    AddressSpec, CatalogSpec, ClientLoginSpec, CredentialMode, CredentialsSpec, LoginSpec,
    PasswordSpec, PoolerSpec, ProtocolMismatch, ServiceRef, SshSpec, TargetSpec, UpstreamTlsSpec,
};

/// The version of all kinds.
pub const API_VERSION: &str = "weir.dev/v1alpha1";

/// The kinds, as written in `kind`.
pub const KINDS: [&str; 7] = [
    "Target",
    "DataLabel",
    "ClusterGuardPolicy",
    "GuardPolicy",
    "AccessRequest",
    "PolicyException",
    "Quarantine",
];

/// The kinds that people write and that decide, and how they stand in paths. (An AccessRequest is made.)
pub const DECIDING: [(&str, &str); 6] = [
    ("Target", "targets"),
    ("DataLabel", "datalabels"),
    ("ClusterGuardPolicy", "clusterguardpolicies"),
    ("GuardPolicy", "guardpolicies"),
    ("PolicyException", "policyexceptions"),
    ("Quarantine", "quarantines"),
];

/// Name and place of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The name, unique per kind and namespace.
    pub name: String,
    /// The namespace, for kinds that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels in the sense of Kubernetes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A document as it stands in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest<S> {
    /// [`API_VERSION`]; may be left out in files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The kind.
    pub kind: String,
    /// Name and place.
    pub metadata: Metadata,
    /// What is asked for.
    pub spec: S,
}

/// The name of another object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(extend("x-kubernetes-map-type" = "atomic")))]
#[serde(deny_unknown_fields)]
pub struct NameRef {
    /// The name of an object in Weir's own namespace.
    pub name: String,
}

/// No fields: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Empty {}
