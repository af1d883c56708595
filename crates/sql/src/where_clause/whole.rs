//! Queries that give back all rows of the table that is written: `id IN (SELECT id FROM t)` holds for
//! every row of `t`, however the query is wrapped.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    Alias, CommonTableExpr, Node, SelectStmt, SetOperation, SubLink, SubLinkType, WithClause,
};

use super::extreme;
use super::fold::{Row, holds};
use super::literal::{Literal, constant};
use super::operands::{column_name, is_null, same};
use crate::build::text;

/// An item of FROM that gives all rows of the table.
pub(super) struct Twin<'a> {
    pub(super) name: &'a str,
    item: &'a Node,
}

/// The common table expressions of a WITH clause.
pub(super) fn ctes(with: Option<&WithClause>) -> impl Iterator<Item = &CommonTableExpr> {
    let nodes = with.into_iter().flat_map(|with| &with.ctes);
    nodes.filter_map(|node| match node.node.as_ref() {
        Some(NodeEnum::CommonTableExpr(cte)) => Some(cte.as_ref()),
        _ => None,
    })
}

/// Those of the items that give all rows of the table.
pub(super) fn twins<'a>(items: &'a [Node], row: &Row<'_>) -> Vec<Twin<'a>> {
    items
        .iter()
        .filter(|item| reads_all(item, row))
        .filter_map(|item| {
            Some(Twin {
                name: name(item)?,
                item,
            })
        })
        .collect()
}

impl Twin<'_> {
    /// Whether a column of this name may be the table's column `wanted`.
    pub(super) fn is_column(&self, column: &str, wanted: &str, row: &Row<'_>) -> bool {
        is_column(self.item, column, wanted, row)
    }
}

/// What a subquery says for every row: EXISTS of a row that is always there, `x IN (SELECT x FROM` the table
/// itself`)`, and queries that are always empty.
pub(super) fn sub_link(link: &SubLink, row: &Row<'_>) -> Option<bool> {
    let select = select_of(link.subselect.as_deref()?)?;
    if let Some(value) = extreme::sub_link(link, row) {
        return Some(value);
    }
    let is_always_empty = is_empty(select, row);
    match SubLinkType::try_from(link.sub_link_type) {
        Ok(SubLinkType::ExistsSublink | SubLinkType::AnySublink) if is_always_empty => Some(false),
        Ok(SubLinkType::AllSublink) if is_always_empty => Some(true),
        Ok(SubLinkType::ExistsSublink) => is_there(select, row).then_some(true),
        Ok(SubLinkType::AnySublink) => {
            let test = link.testexpr.as_deref()?;
            let parts = match test.node.as_ref()? {
                NodeEnum::RowExpr(row) => row.args.as_slice(),
                _ => std::slice::from_ref(test),
            };
            gives(select, parts, row).then_some(true)
        }
        Ok(SubLinkType::ExprSublink) if is_there(select, row) => holds(only_target(select)?, row),
        _ => None,
    }
}

/// Whether a query has a row for each row of the table: it reads nothing, or all of the table.
fn is_there(select: &SelectStmt, row: &Row<'_>) -> bool {
    if let Some((left, right)) = united(select) {
        return is_there(left, row) || is_there(right, row);
    }
    let row = row.within(select);
    let from = select.from_clause.as_slice();
    let is_read = match from {
        [] => select.values_lists.is_empty(),
        [item] => reads_all(item, &row),
        _ => false,
    };
    is_read && is_unfiltered(select, &row)
}

/// Whether one of the rows of a query is always `parts`.
fn gives(select: &SelectStmt, parts: &[Node], row: &Row<'_>) -> bool {
    if let Some((left, right)) = united(select) {
        return gives(left, parts, row) || gives(right, parts, row);
    }
    if select
        .values_lists
        .iter()
        .any(|values| is_list(values, parts))
    {
        return true;
    }
    let targets = || targets(select);
    if select.target_list.len() != parts.len() || !is_there(select, row) {
        return false;
    }
    let row = row.within(select);
    let mut pairs = targets().zip(parts);
    match select.from_clause.as_slice() {
        [item] => pairs.all(|(found, part)| {
            let Some((found, wanted)) = found.zip(column_name(part)) else {
                return false;
            };
            let named = column_name(found).or_else(|| is_star(found).then_some(wanted));
            named.is_some_and(|named| is_column(item, named, wanted, &row))
        }),
        _ => pairs.all(|(found, part)| same(found, Some(part))),
    }
}

fn is_list(values: &Node, parts: &[Node]) -> bool {
    let Some(NodeEnum::List(list)) = values.node.as_ref() else {
        return false;
    };
    let mut pairs = list.items.iter().zip(parts);
    list.items.len() == parts.len() && pairs.all(|(value, part)| same(Some(value), Some(part)))
}

/// The sides of a UNION.
fn united(select: &SelectStmt) -> Option<(&SelectStmt, &SelectStmt)> {
    (select.op == SetOperation::SetopUnion as i32).then_some(())?;
    select.larg.as_deref().zip(select.rarg.as_deref())
}

/// Whether a query never gives a row.
fn is_empty(select: &SelectStmt, row: &Row<'_>) -> bool {
    let row = row.within(select);
    let limit = select.limit_count.as_deref().and_then(constant);
    matches!(limit, Some(Literal::Number(0.0)))
        || select
            .where_clause
            .iter()
            .chain(&select.having_clause)
            .any(|filter| holds(filter, &row) == Some(false))
}

/// Whether a query leaves out no row of what it reads, but for what `row.within` it takes as itself.
fn is_unfiltered(select: &SelectStmt, row: &Row<'_>) -> bool {
    let takes_all = |count: Option<&Node>| count.is_none_or(is_null);
    let skips_none =
        |offset: &Node| is_null(offset) || matches!(constant(offset), Some(Literal::Number(0.0)));
    takes_all(select.limit_count.as_deref())
        && select.limit_offset.as_deref().is_none_or(skips_none)
        && select
            .where_clause
            .iter()
            .chain(&select.having_clause)
            .all(|filter| holds(filter, row) == Some(true))
        && select.larg.is_none()
}

/// Whether a query reads all rows of the table together.
pub(super) fn is_whole_table(select: &SelectStmt, row: &Row<'_>) -> bool {
    !select.from_clause.is_empty() && select.group_clause.is_empty() && is_there(select, row)
}

/// Whether an item of FROM gives all rows of the table.
fn reads_all(item: &Node, row: &Row<'_>) -> bool {
    match item.node.as_ref() {
        Some(NodeEnum::RangeVar(range)) => match row.cte(range) {
            Some((cte, before)) => {
                let query = cte.ctequery.as_deref().and_then(select_of);
                query.is_some_and(|query| is_whole_table(query, &before))
            }
            None => range.relname == row.table.relname,
        },
        Some(NodeEnum::RangeSubselect(subselect)) => {
            let query = subselect.subquery.as_deref().and_then(select_of);
            query.is_some_and(|query| is_whole_table(query, row))
        }
        _ => false,
    }
}

/// Whether a column of an item that gives all rows of the table may be its column `wanted`: what renames its
/// columns by place may do anything.
fn is_column(item: &Node, column: &str, wanted: &str, row: &Row<'_>) -> bool {
    let by_place = |alias: Option<&Alias>| alias.is_some_and(|alias| !alias.colnames.is_empty());
    match item.node.as_ref() {
        Some(NodeEnum::RangeVar(range)) => match row.cte(range) {
            Some((cte, before)) => {
                !cte.aliascolnames.is_empty()
                    || cte
                        .ctequery
                        .as_deref()
                        .and_then(select_of)
                        .is_some_and(|query| is_output(query, column, wanted, &before))
            }
            None => by_place(range.alias.as_ref()) || column == wanted,
        },
        Some(NodeEnum::RangeSubselect(subselect)) => {
            let query = subselect.subquery.as_deref().and_then(select_of);
            by_place(subselect.alias.as_ref())
                || query.is_some_and(|query| is_output(query, column, wanted, row))
        }
        _ => false,
    }
}

fn is_output(select: &SelectStmt, column: &str, wanted: &str, row: &Row<'_>) -> bool {
    if let Some((left, right)) = united(select) {
        return [left, right]
            .into_iter()
            .any(|side| is_output(side, column, wanted, row));
    }
    let row = row.within(select);
    let Some(item) = select.from_clause.first() else {
        return false;
    };
    select.target_list.iter().any(|target| {
        let Some(NodeEnum::ResTarget(target)) = target.node.as_ref() else {
            return false;
        };
        let Some(value) = target.val.as_deref() else {
            return false;
        };
        match column_name(value) {
            Some(from) => {
                let named = if target.name.is_empty() {
                    from
                } else {
                    &target.name
                };
                named == column && is_column(item, from, wanted, &row)
            }
            None => is_star(value) && is_column(item, column, wanted, &row),
        }
    })
}

/// `*` or `t.*`.
fn is_star(node: &Node) -> bool {
    matches!(node.node.as_ref(), Some(NodeEnum::ColumnRef(_))) && column_name(node).is_none()
}

/// The name by which a condition can name an item of FROM.
fn name(item: &Node) -> Option<&str> {
    match item.node.as_ref()? {
        NodeEnum::RangeVar(range) => Some(
            range
                .alias
                .as_ref()
                .map_or(range.relname.as_str(), |alias| alias.aliasname.as_str()),
        ),
        NodeEnum::RangeSubselect(subselect) => subselect
            .alias
            .as_ref()
            .map(|alias| alias.aliasname.as_str()),
        _ => None,
    }
}

fn targets(select: &SelectStmt) -> impl Iterator<Item = Option<&Node>> {
    select
        .target_list
        .iter()
        .map(|target| match target.node.as_ref() {
            Some(NodeEnum::ResTarget(target)) => target.val.as_deref(),
            _ => None,
        })
}

/// What a query gives that gives one column.
pub(super) fn only_target(select: &SelectStmt) -> Option<&Node> {
    let mut targets = targets(select);
    let first = targets.next()?;
    first.filter(|_| targets.next().is_none())
}

/// The query of a node.
pub(super) fn select_of(node: &Node) -> Option<&SelectStmt> {
    match node.node.as_ref()? {
        NodeEnum::SelectStmt(select) => Some(select),
        _ => None,
    }
}

/// The parts of a column's name: what is in front, if anything, and its own.
pub(super) fn qualified(node: &Node) -> Option<(Option<&str>, &str)> {
    let Some(NodeEnum::ColumnRef(column)) = node.node.as_ref() else {
        return None;
    };
    let mut parts = column.fields.iter().rev().map(text);
    let own = parts.next()??;
    Some((parts.next().flatten(), own))
}
