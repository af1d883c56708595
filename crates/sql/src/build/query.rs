//! SELECT, VALUES, set operations and WITH.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CommonTableExpr, Node, RangeVar, ResTarget, SelectStmt, SetOperation, WithClause, a_const,
};

use super::{Builder, text, texts};
use crate::Effect;
use crate::ir::{Body, Cte, Distinct, Expr, Query, Select, Target};

/// More CTEs in one WITH clause than this are not judged: their scopes cost the square.
const MAX_CTES: usize = 1_000;

impl Builder {
    /// A statement where the grammar wants a query: CTE bodies, subqueries, sources.
    pub(super) fn query_node(&mut self, node: &Node) -> Query {
        self.depth += 1;
        let query = match node.node.as_ref() {
            Some(NodeEnum::SelectStmt(select)) => self.select(select),
            Some(NodeEnum::InsertStmt(insert)) => self.insert(insert),
            Some(NodeEnum::UpdateStmt(update)) => self.update(update),
            Some(NodeEnum::DeleteStmt(delete)) => self.delete(delete),
            Some(NodeEnum::MergeStmt(merge)) => self.merge(merge),
            _ => {
                self.opaque("unknown kind of query");
                Query::unknown()
            }
        };
        self.depth -= 1;
        query
    }

    pub(super) fn select(&mut self, select: &SelectStmt) -> Query {
        self.depth += 1;
        let query = self.select_here(select);
        self.depth -= 1;
        query
    }

    fn select_here(&mut self, select: &SelectStmt) -> Query {
        let with = self.with(select.with_clause.as_ref());
        let body = match SetOperation::try_from(select.op) {
            Ok(SetOperation::SetopNone) if select.values_lists.is_empty() => {
                self.effect(Effect::Select);
                self.plain_select(select)
            }
            Ok(SetOperation::SetopNone) => self.values(&select.values_lists),
            Ok(
                SetOperation::SetopUnion | SetOperation::SetopIntersect | SetOperation::SetopExcept,
            ) => match (select.larg.as_deref(), select.rarg.as_deref()) {
                (Some(left), Some(right)) => {
                    // Only UNION ALL compares nothing.
                    let union = select.op == SetOperation::SetopUnion as i32;
                    let left = Box::new(self.select(left));
                    let right = Box::new(self.select(right));
                    Body::Set {
                        all: union && select.all,
                        left,
                        right,
                    }
                }
                _ => {
                    self.opaque("set operation without two sides");
                    Body::Unknown
                }
            },
            _ => {
                self.opaque("unknown kind of set operation");
                Body::Unknown
            }
        };
        if let Some(into) = select.into_clause.as_deref() {
            self.select_into(into);
        }
        let sort = self.sort_keys(&select.sort_clause);
        let mut limit = self.limit(select.limit_offset.as_deref());
        limit.extend(self.limit(select.limit_count.as_deref()));
        if !select.locking_clause.is_empty() {
            self.effect(Effect::Lock);
        }
        self.leave(select.with_clause.as_ref());
        Query {
            with,
            body,
            sort,
            limit,
        }
    }

    fn plain_select(&mut self, select: &SelectStmt) -> Body {
        let distinct = match select.distinct_clause.as_slice() {
            [] => Distinct::No,
            [Node { node: None }] => Distinct::All,
            keys => Distinct::On(self.keys(keys)),
        };
        let outer = std::mem::take(&mut self.given);
        let from = self.items(&select.from_clause);
        self.given = match select.from_clause.as_slice() {
            [
                Node {
                    node: Some(NodeEnum::RangeVar(range)),
                },
            ] if self.is_settings(range) => given(select),
            _ => Vec::new(),
        };
        let targets = self.targets(&select.target_list);
        self.given = Vec::new();
        let body = Body::Select(Box::new(Select {
            distinct,
            from,
            targets,
            filter: self.optional(select.where_clause.as_deref()),
            group: self.keys(&select.group_clause),
            having: self.optional(select.having_clause.as_deref()),
            windows: select
                .window_clause
                .iter()
                .filter_map(|window| match window.node.as_ref() {
                    Some(NodeEnum::WindowDef(window)) => Some(self.window(window)),
                    _ => None,
                })
                .collect(),
        }));
        self.given = outer;
        body
    }

    fn values(&mut self, lists: &[Node]) -> Body {
        let mut rows = Vec::with_capacity(lists.len());
        for list in lists {
            match list.node.as_ref() {
                Some(NodeEnum::List(list)) => rows.push(self.exprs(&list.items)),
                _ => self.opaque("unknown form of VALUES"),
            }
        }
        Body::Values(rows)
    }

    /// Constants in LIMIT and OFFSET are not data.
    fn limit(&mut self, node: Option<&Node>) -> Vec<Expr> {
        match node.and_then(|node| node.node.as_ref()) {
            None => Vec::new(),
            Some(NodeEnum::AConst(constant)) => {
                self.constant(constant);
                Vec::new()
            }
            Some(_) => self.child(node),
        }
    }

    pub(super) fn sort_keys(&mut self, nodes: &[Node]) -> Vec<Expr> {
        let mut keys = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node.node.as_ref() {
                Some(NodeEnum::SortBy(sort)) => {
                    self.operator(&sort.use_op);
                    match sort.node.as_deref() {
                        Some(key) => keys.push(self.key(key)),
                        None => self.opaque("sort key without an expression"),
                    }
                }
                _ => self.opaque("unknown form of sort key"),
            }
        }
        keys
    }

    /// Grouping keys, grouping sets flattened.
    fn keys(&mut self, nodes: &[Node]) -> Vec<Expr> {
        let mut keys = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node.node.as_ref() {
                Some(NodeEnum::GroupingSet(set)) => keys.extend(self.keys(&set.content)),
                Some(NodeEnum::RowExpr(row)) => keys.extend(self.keys(&row.args)),
                _ => keys.push(self.key(node)),
            }
        }
        keys
    }

    /// A sort or grouping key: an integer constant is the number of an output.
    fn key(&mut self, node: &Node) -> Expr {
        if let Some(NodeEnum::AConst(constant)) = node.node.as_ref()
            && let Some(a_const::Val::Ival(number)) = &constant.val
        {
            self.inspects_constants();
            return Expr::Position(usize::try_from(number.ival).unwrap_or(0));
        }
        self.expr(node)
    }

    pub(super) fn targets(&mut self, nodes: &[Node]) -> Vec<Target> {
        let mut targets = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node.node.as_ref() {
                Some(NodeEnum::ResTarget(target)) => targets.push(self.target(target)),
                _ => self.opaque("unknown form of target"),
            }
        }
        targets
    }

    fn target(&mut self, target: &ResTarget) -> Target {
        let expr = self.optional(target.val.as_deref()).unwrap_or(Expr::Const);
        let name = if target.name.is_empty() {
            target.val.as_deref().and_then(inferred_name)
        } else {
            Some(target.name.clone())
        };
        Target { name, expr }
    }

    /// Whether a name is that of the server's view of its settings, as far as the text says.
    fn is_settings(&self, range: &RangeVar) -> bool {
        let mut ctes = self.scopes.iter().flatten();
        range.relname == "pg_settings"
            && matches!(range.schemaname.as_str(), "" | "pg_catalog")
            && !ctes.any(|(name, _)| *name == range.relname)
    }

    /// Opens the scope of a WITH clause; `leave` closes it.
    pub(super) fn with(&mut self, with: Option<&WithClause>) -> Vec<Cte> {
        let Some(with) = with else { return Vec::new() };
        let expressions: Vec<&CommonTableExpr> = with
            .ctes
            .iter()
            .filter_map(|cte| match cte.node.as_ref() {
                Some(NodeEnum::CommonTableExpr(cte)) => Some(cte.as_ref()),
                _ => None,
            })
            .collect();
        if expressions.len() != with.ctes.len() {
            self.opaque("unknown form of WITH");
        }
        if expressions.len() > MAX_CTES {
            self.opaque("too many common table expressions");
            self.scopes.push(Vec::new());
            return Vec::new();
        }
        let first = self.next_cte;
        self.next_cte += expressions.len();
        self.cte_depths.resize(self.next_cte, self.depth);
        let named = expressions.iter().enumerate();
        let names = named.map(|(offset, cte)| (cte.ctename.clone(), first + offset));
        // A recursive WITH sees all of its names everywhere, a plain one those before.
        let (mut visible, mut pending) = (Vec::new(), names.collect::<Vec<_>>().into_iter());
        if with.recursive {
            visible.extend(pending.by_ref());
        }
        self.scopes.push(visible);
        let mut ctes = Vec::with_capacity(expressions.len());
        for (offset, cte) in expressions.iter().enumerate() {
            let (start, mark) = (self.reads.len(), self.mark());
            let query = match cte.ctequery.as_deref() {
                Some(node) => self.query_node(node),
                None => {
                    self.opaque("CTE without a body");
                    Query::unknown()
                }
            };
            let reads: Vec<usize> = self.reads.get(start..).unwrap_or_default().to_vec();
            let mut added = Vec::new();
            if let Some(search) = &cte.search_clause {
                added.push(search.search_seq_column.clone());
            }
            if let Some(cycle) = cte.cycle_clause.as_deref() {
                added.push(cycle.cycle_mark_column.clone());
                added.push(cycle.cycle_path_column.clone());
            }
            let id = first + offset;
            let recursive = reads.contains(&id);
            self.statement.recurses |= recursive;
            self.cte_collects |= self.collects_since(mark);
            let columns = texts(&cte.aliascolnames);
            ctes.push((
                Cte {
                    id,
                    columns,
                    added,
                    recursive,
                    query,
                },
                reads,
            ));
            if !with.recursive
                && let (Some(name), Some(scope)) = (pending.next(), self.scopes.last_mut())
            {
                scope.push(name);
            }
        }
        if with.recursive {
            in_order(ctes)
        } else {
            ctes.into_iter().map(|(cte, _)| cte).collect()
        }
    }

    pub(super) fn leave(&mut self, with: Option<&WithClause>) {
        if with.is_some() {
            self.scopes.pop();
        }
    }
}

/// Orders CTEs so that each comes after those that it reads; cycles stay as they are.
fn in_order(mut pending: Vec<(Cte, Vec<usize>)>) -> Vec<Cte> {
    let mut ordered = Vec::with_capacity(pending.len());
    while !pending.is_empty() {
        let waiting: Vec<usize> = pending.iter().map(|(cte, _)| cte.id).collect();
        let ready = |(cte, reads): &(Cte, Vec<usize>)| {
            reads
                .iter()
                .all(|read| *read == cte.id || !waiting.contains(read))
        };
        let next = pending.iter().position(ready).unwrap_or(0);
        ordered.push(pending.remove(next).0);
    }
    ordered
}

/// The name that the server gives an unnamed output, where it is certain.
fn inferred_name(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::ColumnRef(column) => column.fields.last().and_then(text).map(str::to_owned),
        NodeEnum::FuncCall(call) => call.funcname.last().and_then(text).map(str::to_owned),
        NodeEnum::TypeCast(cast) => cast.arg.as_deref().and_then(inferred_name),
        NodeEnum::CollateClause(clause) => clause.arg.as_deref().and_then(inferred_name),
        NodeEnum::AIndirection(indirection) => {
            let named = indirection.indirection.iter().rev().find_map(text);
            match named {
                Some(name) => Some(name.to_owned()),
                None => indirection.arg.as_deref().and_then(inferred_name),
            }
        }
        _ => None,
    }
}

/// The columns of the one relation of a select that its WHERE clause says equal a literal: targets
/// are computed for such rows only. The relation's own values stay what they are meanwhile.
fn given(select: &SelectStmt) -> Vec<(String, String)> {
    use pg_query::protobuf::{AExprKind, BoolExprType};
    let mut found = Vec::new();
    let mut open: Vec<&Node> = select.where_clause.as_deref().into_iter().collect();
    while let Some(condition) = open.pop() {
        match condition.node.as_ref() {
            Some(NodeEnum::BoolExpr(expr)) if expr.boolop == BoolExprType::AndExpr as i32 => {
                open.extend(&expr.args);
            }
            Some(NodeEnum::AExpr(expr)) if expr.kind == AExprKind::AexprOp as i32 => {
                let equal = matches!(expr.name.as_slice(), [name] if text(name) == Some("="));
                let column = expr.lexpr.as_deref().and_then(column);
                let value = expr.rexpr.as_deref().and_then(super::settings::literal);
                if let (true, Some(column), Some(value)) = (equal, column, value) {
                    found.push((column.to_owned(), value));
                }
            }
            _ => {}
        }
    }
    found
}

/// The name of a bare column reference.
pub(super) fn column(node: &Node) -> Option<&str> {
    match node.node.as_ref()? {
        NodeEnum::ColumnRef(column) => match column.fields.as_slice() {
            [name] => text(name),
            _ => None,
        },
        _ => None,
    }
}
