//! Where values come from and go to: a label-independent description of one statement, kept
//! with its text, which `trace` resolves against a catalog.

use std::collections::BTreeSet;

use crate::RelationRef;
use crate::ir::Root;
use crate::trace;

/// What the caller knows about the relations and functions of one statement. Indices are
/// those of `Statement::relations` and `Statement::functions`.
pub trait Oracle {
    /// Columns of a relation in order of their attribute numbers, dropped ones left out.
    /// `None` where the relation is not known: everything read from it is then
    /// `Origin::Relation`.
    fn columns(&self, relation: usize) -> Option<&[Column]>;

    /// Whether a relation is known to have the system columns (`ctid` and so on): a view has none, and by their
    /// names something around it may be meant.
    fn has_system_columns(&self, relation: usize) -> bool;

    /// Whether values of a column are values of this type of the server's, unchanged by a cast to it. Of none,
    /// unless it is known.
    fn has_type(&self, relation: usize, column: usize, name: &str) -> bool {
        let _ = (relation, column, name);
        false
    }

    /// Whether an insert may fail because a row with the same value of a column is there. Of any, unless it is
    /// known not to.
    fn is_unique(&self, relation: usize, column: usize) -> bool {
        let _ = (relation, column);
        true
    }

    /// Whether the server fills a column where an insert names none; columns that an insert into the relation
    /// cannot name count where they are labelled.
    fn fills(&self, relation: usize, column: Option<usize>) -> bool;

    /// Whether the function is known to return nothing but a function of its arguments.
    /// The results of others carry `Origin::Function`.
    fn is_trusted(&self, function: usize) -> bool;

    /// Whether the function may leave what it is given, or what it reads itself, where a later
    /// statement or another session finds it: a table, a setting, a lock, a message.
    fn keeps(&self, function: usize) -> bool;

    /// Whether the database has a function of its own by this name, which the server may call where
    /// one of the server's seems to be meant.
    fn is_redefined(&self, function: usize) -> bool;

    /// Whether the database has an operator `=` of its own, which the server may take where equality seems to be
    /// asked for.
    fn has_own_equality(&self) -> bool;

    /// Whether `row.name`, which calls a function where `name` is no column, can only call one
    /// that is trusted and keeps nothing.
    fn is_harmless_field(&self, name: &str) -> bool;
}

/// One column of a relation, as the caller's catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name as in the catalog.
    pub name: String,
    /// Whether any label is on it. Only labelled columns are reported.
    pub labelled: bool,
}

/// Where a value may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// A labelled column: indices into `Statement::relations` and the oracle's columns.
    Column {
        /// Index into `Statement::relations`.
        relation: usize,
        /// Index into what `Oracle::columns` returned.
        column: usize,
    },
    /// Any column of a relation whose columns are not known.
    Relation(usize),
    /// The result of a function that is not trusted.
    Function(usize),
    /// The crate could not tell: anything.
    Unresolved,
}

/// How a labelled column is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Use {
    /// Its value, or something derived from it, is sent to the client.
    Output,
    /// `IS NULL`, `IS NOT NULL`.
    NullTest,
    /// The argument of `count()`.
    Count,
    /// Compared for equality with a constant or parameter in a condition.
    EqualsConstant,
    /// Any other condition, or a computation whose result does not reach an output.
    Predicate,
    /// A sort key.
    OrderBy,
    /// A grouping key; DISTINCT, set operations and window partitions included.
    GroupBy,
    /// Compared with another column.
    Join,
    /// Its value, or something derived from it, is written into a relation, or given to a
    /// function that keeps it somewhere.
    Write,
    /// It is the target of an assignment.
    WriteTo,
}

/// One use of one origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnUse {
    /// What is used.
    pub origin: Origin,
    /// How.
    pub how: Use,
    /// For `Use::Write`: where the value goes, `None` where that is not a relation.
    pub into: Option<Destination>,
}

/// Where a written value goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Index into `Statement::relations`.
    pub relation: usize,
    /// The column, `None` where it is not known.
    pub column: Option<String>,
    /// Whether other parts of a text may stand where its ends were.
    pub altered: bool,
}

/// How close an output is to its origins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Derivation {
    /// No labelled column.
    #[default]
    No,
    /// The unchanged value of the labelled column(s).
    Direct,
    /// Computed from them, or not known.
    Derived,
}

/// One column of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputColumn {
    /// Name, where it is known.
    pub name: Option<String>,
    /// How it derives from its origins.
    pub derivation: Derivation,
    /// Labelled columns and unknowns it may come from; empty when `derivation` is `No`.
    pub origins: Vec<Origin>,
}

/// A stretch of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputItem {
    /// One column.
    Column(OutputColumn),
    /// Any number of columns, none included, each as described.
    Star(OutputColumn),
}

/// The columns of a result, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Stretches in order.
    pub items: Vec<OutputItem>,
}

/// What `Lineage::trace` finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traced {
    /// The result's columns; empty when the statement returns no rows.
    pub outputs: Outputs,
    /// Uses, sorted, each once.
    pub uses: Vec<ColumnUse>,
    /// Every origin the statement touches at all, sorted.
    pub touched: Vec<Origin>,
    /// Whether some name is that of no column, so that the server may not know it either.
    pub unexplained: bool,
    /// Those of `Statement::fields` that are not certain to be columns where they stand.
    pub called: BTreeSet<String>,
    /// With how many constants and parameters labelled columns are compared for equality, at most.
    pub comparisons: u64,
}

/// The label-independent lineage of one statement.
#[derive(Debug, Default)]
pub struct Lineage {
    root: Root,
    relations: Vec<RelationRef>,
    ctes: usize,
}

impl Lineage {
    pub(crate) fn new(root: Root, relations: Vec<RelationRef>, ctes: usize) -> Self {
        Self {
            root,
            relations,
            ctes,
        }
    }

    /// Whether the statement moves no values that could be followed.
    pub fn is_empty(&self) -> bool {
        matches!(self.root, Root::Nothing)
    }

    /// Resolves the names of the statement against `oracle` and follows labelled values.
    ///
    /// The work is bounded; a statement that would take more is answered with
    /// `Origin::Unresolved` for everything. Needs `STACK` bytes of stack.
    pub fn trace(&self, oracle: &dyn Oracle) -> Traced {
        trace::trace(&self.root, &self.relations, self.ctes, oracle)
    }
}

impl Outputs {
    /// What is known of the column at `position` of a result with `total` columns. Where
    /// stars make the position uncertain, everything that it could be is united.
    pub fn column(&self, position: usize, total: usize) -> OutputColumn {
        let is_star = |item: &OutputItem| matches!(item, OutputItem::Star(_));
        let Some(first) = self.items.iter().position(is_star) else {
            return match self.items.get(position) {
                Some(item) if self.items.len() == total => item.describe().clone(),
                _ => OutputColumn::unresolved(),
            };
        };
        let last = self.items.iter().rposition(is_star).unwrap_or(first);
        let after = self.items.len() - last - 1;
        if position >= total || first + after > total {
            return OutputColumn::unresolved();
        }
        let item = if position < first {
            self.items.get(position)
        } else if position >= total - after {
            self.items.get(self.items.len() - (total - position))
        } else {
            return self.unite(first..=last);
        };
        item.map_or_else(OutputColumn::unresolved, |item| item.describe().clone())
    }

    fn unite(&self, items: std::ops::RangeInclusive<usize>) -> OutputColumn {
        let mut united = OutputColumn::default();
        for item in self.items.get(items).unwrap_or_default() {
            let column = item.describe();
            united.origins.extend(&column.origins);
            if column.derivation != Derivation::No {
                united.derivation = Derivation::Derived;
            }
        }
        united.origins.sort_unstable();
        united.origins.dedup();
        united
    }
}

impl OutputItem {
    /// What is known of the column or columns.
    pub fn describe(&self) -> &OutputColumn {
        match self {
            Self::Column(column) | Self::Star(column) => column,
        }
    }
}

impl OutputColumn {
    /// A column that could be anything.
    pub fn unresolved() -> Self {
        Self {
            name: None,
            derivation: Derivation::Derived,
            origins: vec![Origin::Unresolved],
        }
    }
}
