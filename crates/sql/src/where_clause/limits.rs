//! Whether a condition limits a write in each of its alternatives by something of the row.

use pg_query::NodeEnum;
use pg_query::protobuf::{BoolExprType, BoolTestType, Node, SelectStmt};

use super::fold::{Row, compares_with_itself, holds};
use crate::build::text;

/// Names that are not the row's: what is joined to it, and what subqueries read.
type Others<'a> = Vec<&'a str>;

/// Whether `condition` limits the rows of `target`, which `joined` are joined to: a part that is the
/// same for every row is no limit, and an alternative without a limit takes it from the others.
pub(super) fn limits(condition: &Node, target: &Row<'_>, joined: &[Node]) -> bool {
    let mut others = Others::new();
    for item in joined {
        names(item, &mut others);
    }
    others.retain(|name| *name != target.name());
    limits_if(true, condition, target, &others)
}

/// Whether the condition limits where it has to be `wanted`.
fn limits_if(wanted: bool, node: &Node, target: &Row<'_>, others: &Others<'_>) -> bool {
    let part = |node: &Node| limits_if(wanted, node, target, others);
    match node.node.as_ref() {
        Some(NodeEnum::BoolExpr(expr)) => match BoolExprType::try_from(expr.boolop) {
            Ok(BoolExprType::NotExpr) => expr
                .args
                .first()
                .is_some_and(|arg| limits_if(!wanted, arg, target, others)),
            // One part is enough where all have to be met.
            Ok(kind) if (kind == BoolExprType::AndExpr) == wanted => expr.args.iter().any(part),
            _ => expr.args.iter().all(part),
        },
        Some(NodeEnum::BooleanTest(test)) => {
            let arg = test.arg.as_deref();
            match BoolTestType::try_from(test.booltesttype) {
                Ok(BoolTestType::IsTrue | BoolTestType::IsNotFalse) => arg.is_some_and(part),
                Ok(BoolTestType::IsFalse | BoolTestType::IsNotTrue) => {
                    arg.is_some_and(|arg| limits_if(!wanted, arg, target, others))
                }
                _ => depends(node, others),
            }
        }
        _ => {
            depends(node, others)
                && !compares_with_itself(node)
                && holds(node, target) != Some(wanted)
        }
    }
}

/// Whether an expression names a column that may be the row's.
fn depends(node: &Node, others: &Others<'_>) -> bool {
    let Some(node) = node.node.as_ref() else {
        return false;
    };
    let any = |nodes: &[Node]| nodes.iter().any(|node| depends(node, others));
    let one = |node: Option<&Node>| node.is_some_and(|node| depends(node, others));
    match node {
        // A parameter is the same for every row.
        NodeEnum::AConst(_) | NodeEnum::SqlvalueFunction(_) | NodeEnum::ParamRef(_) => false,
        NodeEnum::TypeCast(cast) => one(cast.arg.as_deref()),
        NodeEnum::CollateClause(clause) => one(clause.arg.as_deref()),
        NodeEnum::BoolExpr(expr) => any(&expr.args),
        NodeEnum::BooleanTest(test) => one(test.arg.as_deref()),
        NodeEnum::NullTest(test) => one(test.arg.as_deref()),
        NodeEnum::AExpr(expr) => one(expr.lexpr.as_deref()) || one(expr.rexpr.as_deref()),
        NodeEnum::List(list) => any(&list.items),
        NodeEnum::RowExpr(row) => any(&row.args),
        NodeEnum::AArrayExpr(array) => any(&array.elements),
        NodeEnum::CoalesceExpr(expr) => any(&expr.args),
        NodeEnum::MinMaxExpr(expr) => any(&expr.args),
        NodeEnum::FuncCall(call) => any(&call.args),
        NodeEnum::NamedArgExpr(arg) => one(arg.arg.as_deref()),
        NodeEnum::CaseExpr(case) => {
            one(case.arg.as_deref()) || any(&case.args) || one(case.defresult.as_deref())
        }
        NodeEnum::CaseWhen(when) => one(when.expr.as_deref()) || one(when.result.as_deref()),
        NodeEnum::SubLink(link) => one(link.testexpr.as_deref()) || one(link.subselect.as_deref()),
        NodeEnum::SelectStmt(select) => select_depends(select, others),
        NodeEnum::ResTarget(target) => one(target.val.as_deref()),
        // A star of a subquery is no reference to the row.
        NodeEnum::ColumnRef(column) => {
            let mut names = column.fields.iter().filter_map(text).rev();
            // All rows of a table have the same `tableoid`.
            let is_of_row = names.next().is_some_and(|name| name != "tableoid");
            is_of_row && names.next().is_none_or(|owner| !others.contains(&owner))
        }
        // Anything else is given the benefit of the doubt.
        _ => true,
    }
}

fn select_depends(select: &SelectStmt, others: &Others<'_>) -> bool {
    let mut inner = others.clone();
    for item in &select.from_clause {
        names(item, &mut inner);
    }
    let any = |nodes: &[Node]| nodes.iter().any(|node| depends(node, &inner));
    let side = |side: Option<&SelectStmt>| side.is_some_and(|side| select_depends(side, &inner));
    side(select.larg.as_deref())
        || side(select.rarg.as_deref())
        || any(&select.target_list)
        || any(&select.values_lists)
        || select
            .where_clause
            .iter()
            .chain(&select.having_clause)
            .any(|node| depends(node, &inner))
        || select.with_clause.is_some()
        || select
            .from_clause
            .iter()
            .any(|from| !matches!(from.node.as_ref(), Some(NodeEnum::RangeVar(_))))
}

/// The names by which an item of FROM can be named.
fn names<'a>(item: &'a Node, others: &mut Others<'a>) {
    let alias = match item.node.as_ref() {
        Some(NodeEnum::RangeVar(range)) => {
            if range.alias.is_none() {
                others.push(&range.relname);
            }
            range.alias.as_ref()
        }
        Some(NodeEnum::RangeSubselect(subselect)) => subselect.alias.as_ref(),
        Some(NodeEnum::RangeFunction(function)) => function.alias.as_ref(),
        Some(NodeEnum::JoinExpr(join)) => {
            for side in join.larg.iter().chain(&join.rarg) {
                names(side, others);
            }
            join.alias.as_ref()
        }
        _ => None,
    };
    others.extend(alias.map(|alias| alias.aliasname.as_str()));
}
