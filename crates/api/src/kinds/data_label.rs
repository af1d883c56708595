//! `DataLabel`: what is sensitive, and how it looks when it may not be seen.

use serde::{Deserialize, Serialize};

use super::Empty;

/// Names a domain of sensitive data such as `pii.ssn`: where it lies, how it is recognised and how
/// it looks to those who may not see it. Policies refer to it by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::data_label))]
#[serde(deny_unknown_fields)]
pub struct DataLabelSpec {
    /// Columns of databases that hold it. The label follows views, inheritance and renames.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 256)))]
    pub columns: Vec<ColumnsSpec>,
    /// Fields of Kubernetes objects that hold it.
    #[serde(default)]
    pub kubernetes: Vec<KubernetesFieldsSpec>,
    /// Built-in detectors that recognise it by its value.
    #[serde(default)]
    #[cfg_attr(
        feature = "crds",
        schemars(schema_with = "crate::crd::rules::detectors")
    )]
    pub detectors: Vec<String>,
    /// Regular expressions that recognise it by its value.
    #[serde(default)]
    pub patterns: Vec<PatternSpec>,
    /// How it looks when it may not be seen. Left out: NULL.
    #[serde(default)]
    pub mask: Option<MaskSpec>,
    /// Honey: nobody has a reason to read it. A statement that touches it, and is not refused, is a finding.
    #[serde(default)]
    pub honey: bool,
}

/// Columns of tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ColumnsSpec {
    /// The Target that the tables belong to: a name or a glob. In a rule it may be left out and
    /// then means every target of the policy; in a DataLabel it is required.
    #[serde(default)]
    pub target: Option<String>,
    /// The tables: `schema.table`, or `*.table` for any schema. `*` and `?` are wildcards. A name
    /// that is not all lower case is put into double quotes, within which nothing is special.
    #[cfg_attr(feature = "crds", schemars(length(max = 256), regex(pattern = crate::crd::patterns::TABLE.as_str())))]
    pub table: String,
    /// The columns, written like tables. `column->path` and `column//path` name a part of a
    /// document; the whole column is then labelled.
    #[cfg_attr(feature = "crds", schemars(length(min = 1, max = 256), inner(regex(pattern = crate::crd::patterns::COLUMN.as_str()))))]
    pub columns: Vec<String>,
}

/// Fields of Kubernetes objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KubernetesFieldsSpec {
    /// The Target: a name or a glob. Left out: every target that speaks to a Kubernetes API.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 253)))]
    pub target: Option<String>,
    /// The API group: a name or a glob; empty for the core group.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 253)))]
    pub group: String,
    /// The resource, such as `secrets`: a name or a glob.
    #[cfg_attr(
        feature = "crds",
        schemars(length(max = 253), regex(pattern = crate::crd::patterns::RESOURCE))
    )]
    pub resource: String,
    /// The fields, such as `data.*`, `spec.password`, `spec.containers[*].env[*].value`; `**` stands
    /// for any number of members and items. What lies below a field belongs to it.
    #[cfg_attr(
        feature = "crds",
        schemars(length(min = 1, max = 64), inner(length(max = 512)))
    )]
    pub fields: Vec<String>,
}

/// A regular expression that recognises values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PatternSpec {
    /// What evidence calls it.
    pub name: String,
    /// The regular expression.
    #[cfg_attr(feature = "crds", schemars(length(max = 1024)))]
    pub regex: String,
}

/// How a value looks when it may not be seen: exactly one of the fields. Where several masks
/// apply, the strictest holds: `nullify`, then `constant`, `token`, `partial`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::mask))]
#[serde(deny_unknown_fields)]
pub struct MaskSpec {
    /// NULL. Written `nullify: {}`.
    #[serde(default)]
    pub nullify: Option<Empty>,
    /// Always this text; NULL where the column's type cannot carry it.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 1024)))]
    pub constant: Option<String>,
    /// A keyed token, equal for equal values. Written `token: {}`.
    #[serde(default)]
    pub token: Option<Empty>,
    /// The value with all but its ends replaced by stars.
    #[serde(default)]
    pub partial: Option<PartialSpec>,
}

/// What a partial mask keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartialSpec {
    /// How many characters stay visible at the start.
    #[serde(default)]
    pub keep_first: u32,
    /// How many characters stay visible at the end.
    #[serde(default)]
    pub keep_last: u32,
}
