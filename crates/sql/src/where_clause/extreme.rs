//! Comparisons with the least or greatest value of the very column: `id >= (SELECT min(id) FROM t)`
//! holds for every row of `t`.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt, SortByDir, SubLink, SubLinkType};

use super::fold::{Row, turned};
use super::literal::{Literal, constant};
use super::operands::{column_name, operator};
use super::whole::{is_whole_table, only_target, select_of};
use crate::build::text;

/// A bound of all values of a column, moved by a constant.
struct Extreme<'a> {
    column: &'a str,
    least: bool,
    moved: f64,
}

/// Whether `left OPERATOR right` is such a comparison and holds.
pub(super) fn compare(name: &str, left: &Node, right: &Node, target: &Row<'_>) -> Option<bool> {
    let (column, bound, name) = match (column_name(left), column_name(right)) {
        (Some(column), None) => (column, extreme(right, target)?, name),
        (None, Some(column)) => (column, extreme(left, target)?, turned(name)),
        _ => return None,
    };
    if bound.column != column {
        return None;
    }
    let holds = match (name, bound.least) {
        (">=", true) => bound.moved <= 0.0,
        (">", true) => bound.moved < 0.0,
        ("<=", false) => bound.moved >= 0.0,
        ("<", false) => bound.moved > 0.0,
        _ => false,
    };
    holds.then_some(true)
}

/// The same for `column OPERATOR ANY (SELECT …)` and `… ALL (SELECT …)`.
pub(super) fn sub_link(link: &SubLink, target: &Row<'_>) -> Option<bool> {
    let name = link.oper_name.last().and_then(text)?;
    let column = column_name(link.testexpr.as_deref()?)?;
    let select = select_of(link.subselect.as_deref()?)?;
    let value = only_target(select)?;
    if link.sub_link_type == SubLinkType::AnySublink as i32 && column_name(value) == Some(column) {
        let reaches = matches!(name, ">=" | "<=") && is_whole_table(select, target);
        return reaches.then_some(true);
    }
    let bound = of_select(select, target)?;
    let holds =
        bound.column == column && matches!((name, bound.least), (">=", true) | ("<=", false));
    holds.then_some(true)
}

fn extreme<'a>(node: &'a Node, target: &Row<'_>) -> Option<Extreme<'a>> {
    match node.node.as_ref()? {
        NodeEnum::SubLink(link) if link.sub_link_type == SubLinkType::ExprSublink as i32 => {
            of_select(select_of(link.subselect.as_deref()?)?, target)
        }
        NodeEnum::AExpr(expr) => {
            let (left, right) = (expr.lexpr.as_deref()?, expr.rexpr.as_deref()?);
            moved(extreme(left, target)?, operator(expr)?, right)
        }
        NodeEnum::TypeCast(cast) => extreme(cast.arg.as_deref()?, target),
        _ => None,
    }
}

fn moved<'a>(bound: Extreme<'a>, name: &str, by: &Node) -> Option<Extreme<'a>> {
    let Some(Literal::Number(by)) = constant(by) else {
        return None;
    };
    let by = match name {
        "+" => by,
        "-" => -by,
        _ => return None,
    };
    let moved = bound.moved + by;
    Some(Extreme { moved, ..bound })
}

/// `SELECT min(c) FROM t`, or `SELECT c FROM t ORDER BY c LIMIT 1`.
fn of_select<'a>(select: &'a SelectStmt, target: &Row<'_>) -> Option<Extreme<'a>> {
    let value = only_target(select)?;
    if let Some(column) = column_name(value) {
        let mut first = select.clone();
        first.limit_count = None;
        let [
            Node {
                node: Some(NodeEnum::SortBy(sort)),
            },
        ] = select.sort_clause.as_slice()
        else {
            return None;
        };
        let by_itself = column_name(sort.node.as_deref()?) == Some(column);
        let found = by_itself && select.limit_count.is_some() && is_whole_table(&first, target);
        return found.then_some(Extreme {
            column,
            least: sort.sortby_dir != SortByDir::SortbyDesc as i32,
            moved: 0.0,
        });
    }
    if !is_whole_table(select, target) {
        return None;
    }
    of_value(value)
}

fn of_value(value: &Node) -> Option<Extreme<'_>> {
    match value.node.as_ref()? {
        NodeEnum::FuncCall(call) => {
            let least = match call.funcname.last().and_then(text)? {
                "min" => true,
                "max" => false,
                _ => return None,
            };
            let [arg] = call.args.as_slice() else {
                return None;
            };
            let all = call.agg_filter.is_none() && call.over.is_none();
            all.then_some(Extreme {
                column: column_name(arg)?,
                least,
                moved: 0.0,
            })
        }
        NodeEnum::AExpr(expr) => {
            let (left, right) = (expr.lexpr.as_deref()?, expr.rexpr.as_deref()?);
            moved(of_value(left)?, operator(expr)?, right)
        }
        NodeEnum::CoalesceExpr(expr) => of_value(expr.args.first()?),
        _ => None,
    }
}
