//! Labels (data domains), where they lie, and what a value that may not be seen looks like.
//!
//! [`LabelRules`] answers one question for the gateway's catalog: which labels does this column
//! carry? It reads no catalog itself.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::name::{Glob, TablePattern};

/// A label within one bundle. Not stable across revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LabelId(pub u16);

/// A data domain such as `pii.ssn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// Made by the compiler for a rule that names columns; no label glob matches it.
    pub anonymous: bool,
    /// How a value looks when it may not be seen.
    pub mask: Mask,
    /// Where it lies.
    pub columns: Vec<LabelledColumns>,
    /// Where it lies in objects of the Kubernetes API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<LabelledField>,
    /// Names of value detectors that find it elsewhere.
    pub detectors: Vec<String>,
    /// Own patterns that find it elsewhere.
    pub patterns: Vec<String>,
    /// Whether nobody has a reason to read it: who does is a finding.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub honey: bool,
}

/// Columns that carry a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledColumns {
    /// Targets.
    pub target: Glob,
    /// Tables.
    pub table: TablePattern,
    /// Columns of those tables; a path into a document labels the whole column.
    pub column: Glob,
}

/// A field of Kubernetes objects that carries a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledField {
    /// Targets.
    pub target: Glob,
    /// API groups; an empty text is the core group.
    pub group: Glob,
    /// Resources.
    pub resource: Glob,
    /// The field, such as `data.*`.
    pub field: String,
}

/// How a masked value looks. The order of strictness is null > constant > token > partial.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mask {
    /// The first and last characters stay, the rest is starred.
    Partial {
        /// Characters kept at the start.
        keep_first: u32,
        /// Characters kept at the end.
        keep_last: u32,
    },
    /// A keyed token: equal values give equal tokens.
    Token,
    /// Always this text.
    Constant(String),
    /// NULL.
    Null,
}

impl Mask {
    const fn rank(&self) -> u8 {
        match self {
            Mask::Partial { .. } => 0,
            Mask::Token => 1,
            Mask::Constant(_) => 2,
            Mask::Null => 3,
        }
    }

    /// The stricter of two masks; of two partial masks, what both would keep. Symmetric.
    #[must_use]
    pub fn strictest(&self, other: &Mask) -> Mask {
        match (self, other) {
            (
                Mask::Partial {
                    keep_first: a,
                    keep_last: b,
                },
                Mask::Partial {
                    keep_first: c,
                    keep_last: d,
                },
            ) => Mask::Partial {
                keep_first: *a.min(c),
                keep_last: *b.min(d),
            },
            (Mask::Constant(a), Mask::Constant(b)) => Mask::Constant(a.min(b).clone()),
            _ if self.rank() >= other.rank() => self.clone(),
            _ => other.clone(),
        }
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mask::Partial {
                keep_first,
                keep_last,
            } => {
                write!(f, "partial (first {keep_first}, last {keep_last})")
            }
            Mask::Token => f.write_str("token"),
            Mask::Constant(_) => f.write_str("constant"),
            Mask::Null => f.write_str("null"),
        }
    }
}

/// The labelled columns of one target.
#[derive(Clone, Debug, Default)]
pub struct LabelRules {
    rules: Vec<(TablePattern, Glob, LabelId)>,
    fields: Vec<(LabelledField, LabelId)>,
    names: Vec<Arc<str>>,
    partial: Vec<bool>,
}

impl LabelRules {
    pub(crate) fn new(target: &str, labels: &[Label]) -> LabelRules {
        let ids = (0..=u16::MAX).map(LabelId);
        let rules = labels.iter().zip(ids).flat_map(|(label, id)| {
            let here = label.columns.iter().filter(|c| c.target.matches(target));
            here.map(move |c| (c.table.clone(), c.column.clone(), id))
        });
        let ids = (0..=u16::MAX).map(LabelId);
        let fields = labels.iter().zip(ids).flat_map(|(label, id)| {
            let here = label.fields.iter().filter(|f| f.target.matches(target));
            here.map(move |field| (field.clone(), id))
        });
        LabelRules {
            fields: fields.collect(),
            rules: rules.collect(),
            names: labels
                .iter()
                .map(|label| label.name.as_str().into())
                .collect(),
            partial: labels
                .iter()
                .map(|label| matches!(label.mask, Mask::Partial { .. }))
                .collect(),
        }
    }

    /// The name of a label of the same bundle.
    pub fn name(&self, id: LabelId) -> Option<&Arc<str>> {
        self.names.get(usize::from(id.0))
    }

    /// Whether a masked value of this label may show a part of itself.
    pub fn shows_part(&self, id: LabelId) -> bool {
        self.partial.get(usize::from(id.0)) == Some(&true)
    }

    /// The label of this name. Names are stable across revisions, ids are not.
    pub fn id(&self, name: &str) -> Option<LabelId> {
        let position = self.names.iter().position(|known| **known == *name)?;
        u16::try_from(position).ok().map(LabelId)
    }

    /// Whether the target has no labelled column.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether any column of this table can carry a label.
    pub fn touches(&self, schema: &str, table: &str) -> bool {
        self.rules
            .iter()
            .any(|(pattern, _, _)| pattern.matches(schema, table))
    }

    /// The labels of a column, sorted, each once.
    pub fn of_column(&self, schema: &str, table: &str, column: &str) -> Vec<LabelId> {
        let mut ids: Vec<LabelId> = self
            .rules
            .iter()
            .filter(|(tables, columns, _)| columns.matches(column) && tables.matches(schema, table))
            .map(|(_, _, id)| *id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The labelled fields of a resource of the Kubernetes API, with the label of each.
    pub fn of_resource(&self, group: &str, resource: &str) -> Vec<(&str, LabelId)> {
        let here = self
            .fields
            .iter()
            .filter(|(field, _)| field.group.matches(group) && field.resource.matches(resource));
        here.map(|(field, id)| (field.field.as_str(), *id))
            .collect()
    }

    /// Every label that lies on this target, sorted, each once: what a stream of unknown content
    /// may carry.
    pub fn all(&self) -> Vec<LabelId> {
        let mut ids: Vec<LabelId> = self.rules.iter().map(|(_, _, id)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}
