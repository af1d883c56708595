//! Whether the condition of a write limits it.
//!
//! `Ineffective` is what can be seen to hold for every row from the text alone: constant
//! conditions, tautologies over the same operand, and conditions with an alternative that names no
//! column of the row: a parameter and another table's column are the same for every row. It does
//! not know data: `id > 0` is `Present`, and
//! so is `id IS NOT NULL`, but with the columns that may be null for it.

mod extreme;
mod fold;
mod limits;
mod literal;
mod operands;
#[cfg(test)]
mod tests;
mod whole;

use std::cell::{Cell, RefCell};

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, RangeVar, WithClause};

use crate::WhereClause;

/// Whether `classify` answers the same whatever the values of the condition's constants: they are
/// only compared with columns.
pub(crate) fn ignores_values(filter: &Node) -> bool {
    fold::ignores_values(filter)
}

/// How a WHERE clause limits a write.
#[derive(Debug, Default)]
pub(crate) struct Limit {
    pub(crate) class: WhereClause,
    /// Where it limits only because columns may be null: those columns.
    pub(crate) unless_null: Vec<String>,
}

/// How many parts of a condition are looked at: one with more is not known to limit.
const MAX_STEPS: u32 = 100_000;

/// Classifies the WHERE clause of a write to `target`, which `joined` relations are joined to, in a statement
/// with these common table expressions.
pub(crate) fn classify(
    filter: Option<&Node>,
    target: &RangeVar,
    joined: &[Node],
    with: Option<&WithClause>,
) -> Limit {
    let class = |class| Limit {
        class,
        ..Limit::default()
    };
    let Some(filter) = filter else {
        return class(WhereClause::Missing);
    };
    if let Some(NodeEnum::CurrentOfExpr(_)) = filter.node.as_ref() {
        return class(WhereClause::Present);
    }
    let fuel = Cell::new(MAX_STEPS);
    let mut row = fold::Row {
        table: target,
        twins: Vec::new(),
        ctes: whole::ctes(with).collect(),
        filled: None,
        fuel: &fuel,
    };
    row.twins = whole::twins(joined, &row);
    if fold::holds(filter, &row) == Some(true) || !limits::limits(filter, &row, joined) {
        return class(WhereClause::Ineffective);
    }
    row.filled = Some(RefCell::default());
    let unless_null = match fold::holds(filter, &row) {
        Some(true) => row.filled.take().unwrap_or_default().into_inner(),
        _ => Vec::new(),
    };
    if fuel.get() == 0 {
        return class(WhereClause::Ineffective);
    }
    Limit {
        class: WhereClause::Present,
        unless_null,
    }
}
