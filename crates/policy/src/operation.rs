//! What is being asked: the facts of one operation, in the terms that rules use.
//!
//! The caller over-approximates: a fact that it cannot rule out is in here. Nothing in this file
//! carries data of a statement, only names and kinds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::effect::EffectSet;
use crate::kubernetes::KubernetesOperation;
use crate::label::LabelId;
use crate::ssh::SshOperation;

/// Who asks. Attested by the caller, never claimed by the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The identity as evidence names it (`reporter`, or a SPIFFE id). Budgets are counted per name.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// Kubernetes service account.
    pub service_account: Option<String>,
    /// Kubernetes pod.
    pub pod: Option<String>,
    /// Groups of a verified token.
    pub groups: Vec<String>,
    /// Claims of a verified token, as text.
    pub claims: BTreeMap<String, String>,
}

impl Subject {
    /// A subject that has nothing but a name, as in standalone.
    pub fn named(name: impl Into<String>) -> Subject {
        Subject {
            name: name.into(),
            ..Subject::default()
        }
    }
}

/// One thing a subject wants to do to a target.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// An analysed SQL statement, or several that are judged as one.
    Sql(&'a SqlOperation<'a>),
    /// Bytes or text that could not be understood.
    Opaque {
        /// Why, in words that a client may see.
        reason: &'a str,
    },
    /// A function-call message (`F`).
    FunctionCall,
    /// A replication connection or command.
    Replication,
    /// A stream that copies in both directions.
    CopyBoth,
    /// A request over SSH.
    Ssh(&'a SshOperation<'a>),
    /// A request to the Kubernetes API.
    Kubernetes(&'a KubernetesOperation<'a>),
}

/// The facts of a SQL statement.
#[derive(Clone, Copy, Debug, Default)]
pub struct SqlOperation<'a> {
    /// Everything the statement and its parts do.
    pub effects: EffectSet,
    /// Relations read and written, resolved through the catalog, views expanded.
    pub relations: &'a [Relation<'a>],
    /// Functions and procedures called.
    pub functions: &'a [FunctionRef<'a>],
    /// Settings changed; `*` for a name that is not known before it runs.
    pub settings: &'a [&'a str],
    /// How labelled columns are used, other than as result columns.
    pub label_uses: &'a [LabelUse],
    /// With how many constants labelled columns are compared for equality, at most.
    pub comparisons: u64,
    /// The WHERE clause of every UPDATE and DELETE in it, the weakest of them.
    pub where_clause: WhereClause,
    /// One entry per result column, in order; empty when no rows come back.
    pub outputs: &'a [Output<'a>],
    /// Why the statement could not be understood in whole, if so.
    pub opaque: Option<&'a str>,
    /// The statement would store a value that is the output of a mask.
    pub masked_value_written: bool,
    /// Whether a row that it sends may hold many records.
    pub collects: bool,
    /// Whether a value that it stores, or gives to what keeps it, may hold many records.
    pub stores_collected: bool,
}

/// A relation that a statement touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Its schema, resolved; empty when it could not be resolved (matches any schema in rules that
    /// restrict, none in rules that allow).
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What is done to it.
    pub access: Access,
}

/// A function that a statement calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionRef<'a> {
    /// Its schema when the statement or the catalog says so.
    pub schema: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
}

/// Whether a relation is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Access {
    /// Rows are read.
    Read,
    /// Rows or the relation itself are changed.
    Write,
}

/// The WHERE clause of a statement that changes rows; later variants are weaker.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum WhereClause {
    /// The statement changes no rows.
    #[default]
    NotApplicable,
    /// There is one and it depends on a column.
    Present,
    /// There is one, but it holds for every row (`WHERE true`).
    Ineffective,
    /// There is none.
    Missing,
}

/// How a statement uses a labelled column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[repr(u8)]
pub enum Use {
    /// As a result column.
    Output,
    /// `IS NULL`, `IS NOT NULL`.
    NullTest,
    /// `count(column)`.
    Count,
    /// Equality with a constant or a parameter.
    EqualsConstant,
    /// Any other condition or expression: ranges, LIKE, regular expressions, functions.
    Predicate,
    /// Decides the order of rows.
    OrderBy,
    /// Groups rows, or makes them distinct.
    GroupBy,
    /// Compared with another column.
    Join,
    /// Its value, or something made of it, is stored in another place. Assigning *to* a labelled
    /// column is no use of it.
    Write,
}

impl Use {
    /// Every use, in declaration order.
    pub const ALL: &'static [Use] = &[
        Use::Output,
        Use::NullTest,
        Use::Count,
        Use::EqualsConstant,
        Use::Predicate,
        Use::OrderBy,
        Use::GroupBy,
        Use::Join,
        Use::Write,
    ];

    /// The name as policies write it.
    pub const fn name(self) -> &'static str {
        match self {
            Use::Output => "Output",
            Use::NullTest => "NullTest",
            Use::Count => "Count",
            Use::EqualsConstant => "EqualsConstant",
            Use::Predicate => "Predicate",
            Use::OrderBy => "OrderBy",
            Use::GroupBy => "GroupBy",
            Use::Join => "Join",
            Use::Write => "Write",
        }
    }
}

/// A set of [`Use`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UseSet(u16);

impl UseSet {
    /// Whether the use is in the set.
    pub const fn contains(self, how: Use) -> bool {
        self.0 & (1 << (how as u8)) != 0
    }

    /// Whether the set holds nothing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The uses in declaration order.
    pub fn iter(self) -> impl Iterator<Item = Use> {
        Use::ALL
            .iter()
            .copied()
            .filter(move |how| self.contains(*how))
    }
}

impl FromIterator<Use> for UseSet {
    fn from_iter<I: IntoIterator<Item = Use>>(uses: I) -> UseSet {
        uses.into_iter()
            .fold(UseSet(0), |set, how| UseSet(set.0 | (1 << (how as u8))))
    }
}

/// One use of one label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelUse {
    /// The label of the column.
    pub label: LabelId,
    /// How it is used.
    pub how: Use,
}

/// What is known about one result column, or about what a statement leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output<'a> {
    /// It cannot carry a labelled value.
    #[default]
    Clean,
    /// It is exactly a column with these labels, unchanged.
    Labelled(&'a [LabelId]),
    /// Its origin is not proven and it may carry these labels.
    Unproven(&'a [LabelId]),
    /// No column: values with these labels would be stored, or defined to be shown, where the labels do not
    /// follow.
    Kept(&'a [LabelId]),
}
