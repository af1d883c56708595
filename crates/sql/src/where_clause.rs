//! Whether the condition of a write limits it.
//!
//! `Ineffective` is what can be seen to hold for every row from the text alone: constant
//! conditions, tautologies over the same operand, and conditions that name no column and no
//! parameter. It does not know data: `id > 0` is `Present`.

mod fold;
#[cfg(test)]
mod tests;

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, RangeVar};

use crate::WhereClause;

/// Whether `classify` answers the same whatever the values of the condition's constants: they are
/// only compared with columns.
pub(crate) fn ignores_values(filter: &Node) -> bool {
    fold::ignores_values(filter)
}

/// Classifies the WHERE clause of a write to `target`.
pub(crate) fn classify(filter: Option<&Node>, target: &RangeVar) -> WhereClause {
    let Some(filter) = filter else {
        return WhereClause::Missing;
    };
    if let Some(NodeEnum::CurrentOfExpr(_)) = filter.node.as_ref() {
        return WhereClause::Present;
    }
    if fold::holds(filter, target) == Some(true) || !fold::depends(filter) {
        return WhereClause::Ineffective;
    }
    WhereClause::Present
}
