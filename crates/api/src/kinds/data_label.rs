//! `DataLabel`: what is sensitive, and how it looks when it may not be seen.

use serde::{Deserialize, Serialize};

use super::Empty;

/// A data domain such as `pii.ssn`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataLabelSpec {
    /// Where it lies in databases.
    #[serde(default)]
    pub columns: Vec<ColumnsSpec>,
    /// Where it lies in Kubernetes objects.
    #[serde(default)]
    pub kubernetes: Vec<KubernetesFieldsSpec>,
    /// Detectors that know it by its value.
    #[serde(default)]
    pub detectors: Vec<String>,
    /// Own patterns that know it by its value.
    #[serde(default)]
    pub patterns: Vec<PatternSpec>,
    /// How it looks when it may not be seen. Default: null.
    #[serde(default)]
    pub mask: Option<MaskSpec>,
}

/// Columns of tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnsSpec {
    /// The Target, or a glob. In a rule it may be left out: all targets of the policy.
    #[serde(default)]
    pub target: Option<String>,
    /// `schema.table`; globs; a quoted part is literal.
    pub table: String,
    /// Columns; globs; `column->path` and `column//path` name parts of a document.
    pub columns: Vec<String>,
}

/// Fields of Kubernetes objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesFieldsSpec {
    /// The Target, or a glob.
    #[serde(default)]
    pub target: Option<String>,
    /// The API group.
    #[serde(default)]
    pub group: String,
    /// The resource, such as `secrets`.
    pub resource: String,
    /// Fields, such as `data.*`.
    pub fields: Vec<String>,
}

/// An own pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatternSpec {
    /// What evidence calls it.
    pub name: String,
    /// The regular expression.
    pub regex: String,
}

/// A mask: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskSpec {
    /// NULL: `nullify: {}`.
    #[serde(default, alias = "null")]
    pub nullify: Option<Empty>,
    /// Always this text.
    #[serde(default)]
    pub constant: Option<String>,
    /// A keyed token, equal for equal values: `token: {}`.
    #[serde(default)]
    pub token: Option<Empty>,
    /// All but the ends starred.
    #[serde(default)]
    pub partial: Option<PartialSpec>,
}

/// What a partial mask keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartialSpec {
    /// Characters kept at the start.
    #[serde(default)]
    pub keep_first: u32,
    /// Characters kept at the end.
    #[serde(default)]
    pub keep_last: u32,
}
