//! INSERT, UPDATE, DELETE and MERGE.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CmdType, DeleteStmt, InsertStmt, MergeStmt, MergeWhenClause, Node, OnConflictAction,
    OnConflictClause, RangeVar, ResTarget, ReturningClause, ReturningOptionKind, UpdateStmt,
    WithClause,
};

use super::{Builder, from};
use crate::ir::{Action, Assignment, Body, Conflict, Dml, Expr, MergeWhen, Query, Returning};
use crate::where_clause::{self, classify};
use crate::{Access, Effect, SettingChange, SettingTarget, WhereClause};

impl Builder {
    pub(super) fn insert(&mut self, insert: &InsertStmt) -> Query {
        self.effect(Effect::Insert);
        let mark = self.mark();
        let with = self.with(insert.with_clause.as_ref());
        let dml = insert.relation.as_ref().map(|target| {
            let relation = self.relation(target, Access::Write);
            let (columns, subscripts) = self.assigned(&insert.cols);
            let source = insert
                .select_stmt
                .as_deref()
                .map(|source| self.query_node(source));
            let conflict = insert
                .on_conflict_clause
                .as_deref()
                .map(|clause| self.conflict(clause));
            if let Some(clause) = insert.on_conflict_clause.as_deref() {
                self.updated_rows(insert.select_stmt.as_deref(), clause, target);
            }
            self.stored_since(mark);
            let action = Action::Insert {
                columns,
                subscripts,
                source,
                conflict,
            };
            let returning = self.returning(insert.returning_clause.as_ref());
            Dml {
                relation,
                alias: from::alias(target.alias.as_ref()),
                action,
                returning,
            }
        });
        self.leave(insert.with_clause.as_ref());
        self.finish(with, dml)
    }

    pub(super) fn update(&mut self, update: &UpdateStmt) -> Query {
        self.effect(Effect::Update);
        let mark = self.mark();
        let with = self.with(update.with_clause.as_ref());
        let dml = update.relation.as_ref().map(|target| {
            self.condition(
                update.where_clause.as_deref(),
                target,
                &update.from_clause,
                update.with_clause.as_ref(),
            );
            self.settings_view(target);
            let relation = self.relation(target, Access::Write);
            let set = self.assignments(&update.target_list);
            let from = self.items(&update.from_clause);
            self.stored_since(mark);
            let filter = self.optional(update.where_clause.as_deref());
            let returning = self.returning(update.returning_clause.as_ref());
            let action = Action::Update { set, from, filter };
            Dml {
                relation,
                alias: from::alias(target.alias.as_ref()),
                action,
                returning,
            }
        });
        self.leave(update.with_clause.as_ref());
        self.finish(with, dml)
    }

    pub(super) fn delete(&mut self, delete: &DeleteStmt) -> Query {
        self.effect(Effect::Delete);
        let with = self.with(delete.with_clause.as_ref());
        let dml = delete.relation.as_ref().map(|target| {
            self.condition(
                delete.where_clause.as_deref(),
                target,
                &delete.using_clause,
                delete.with_clause.as_ref(),
            );
            let relation = self.relation(target, Access::Write);
            let from = self.items(&delete.using_clause);
            let filter = self.optional(delete.where_clause.as_deref());
            let returning = self.returning(delete.returning_clause.as_ref());
            let action = Action::Delete { from, filter };
            Dml {
                relation,
                alias: from::alias(target.alias.as_ref()),
                action,
                returning,
            }
        });
        self.leave(delete.with_clause.as_ref());
        self.finish(with, dml)
    }

    pub(super) fn merge(&mut self, merge: &MergeStmt) -> Query {
        self.effect(Effect::Merge);
        self.inspects_constants();
        let mark = self.mark();
        let with = self.with(merge.with_clause.as_ref());
        let dml = match (merge.relation.as_ref(), merge.source_relation.as_deref()) {
            (Some(target), Some(source)) => {
                let relation = self.relation(target, Access::Write);
                let joined = std::slice::from_ref(source);
                let with = merge.with_clause.as_ref();
                let joined = classify(merge.join_condition.as_deref(), target, joined, with).class;
                let source = self.from(source);
                let on = self.optional(merge.join_condition.as_deref());
                let whens = merge.merge_when_clauses.iter();
                let whens = whens
                    .map(|when| self.merge_when(when, joined, target))
                    .collect();
                self.stored_since(mark);
                let returning = self.returning(merge.returning_clause.as_ref());
                let action = Action::Merge { source, on, whens };
                let alias = from::alias(target.alias.as_ref());
                Some(Dml {
                    relation,
                    alias,
                    action,
                    returning,
                })
            }
            _ => None,
        };
        self.leave(merge.with_clause.as_ref());
        self.finish(with, dml)
    }

    fn finish(&mut self, with: Vec<crate::ir::Cte>, dml: Option<Dml>) -> Query {
        let body = match dml {
            Some(dml) => Body::Dml(Box::new(dml)),
            None => {
                self.opaque("write without a target");
                Body::Unknown
            }
        };
        Query {
            with,
            body,
            sort: Vec::new(),
            limit: Vec::new(),
        }
    }

    /// Which rows DO UPDATE reaches: those whose keys are listed, or that a query finds elsewhere. A query over
    /// the table itself finds any of its rows, as an UPDATE does.
    fn updated_rows(
        &mut self,
        source: Option<&Node>,
        clause: &OnConflictClause,
        target: &RangeVar,
    ) {
        let Some(NodeEnum::SelectStmt(select)) = source.and_then(|source| source.node.as_ref())
        else {
            return;
        };
        let updates = clause.action == OnConflictAction::OnconflictUpdate as i32;
        let mut relations = self.statement.relations.iter();
        let itself = relations.any(|it| it.access == Access::Read && it.name == target.relname);
        if updates && itself {
            let filter = clause.where_clause.as_deref();
            let filter = filter.or(select.where_clause.as_deref());
            self.condition(filter, target, &[], None);
        }
    }

    fn condition(
        &mut self,
        filter: Option<&Node>,
        target: &RangeVar,
        joined: &[Node],
        with: Option<&WithClause>,
    ) {
        if filter.is_some_and(|filter| !where_clause::ignores_values(filter)) {
            self.inspects_constants();
        }
        let limit = classify(filter, target, joined, with);
        self.worst(limit.class);
        self.statement.unless_null.extend(limit.unless_null);
    }

    fn worst(&mut self, clause: WhereClause) {
        self.statement.where_clause = self.statement.where_clause.max(clause);
    }

    /// An update of `pg_settings` sets settings.
    fn settings_view(&mut self, target: &RangeVar) {
        if target.relname == "pg_settings" {
            self.effect(Effect::Set);
            self.statement.settings.push(SettingChange {
                name: "*".to_owned(),
                value: None,
                local: false,
                target: SettingTarget::Session,
            });
        }
    }

    /// Names of target columns, and the subscripts beside them.
    fn assigned(&mut self, nodes: &[Node]) -> (Vec<String>, Vec<Expr>) {
        let (mut columns, mut subscripts) = (Vec::with_capacity(nodes.len()), Vec::new());
        for node in nodes {
            match node.node.as_ref() {
                Some(NodeEnum::ResTarget(target)) => {
                    subscripts.extend(self.target_steps(target));
                    columns.push(target.name.clone());
                }
                _ => self.opaque("unknown form of target column"),
            }
        }
        (columns, subscripts)
    }

    fn target_steps(&mut self, target: &ResTarget) -> Vec<Expr> {
        let mut steps = Vec::new();
        for step in &target.indirection {
            if let Some(NodeEnum::AIndices(indices)) = step.node.as_ref() {
                steps.extend(self.child(indices.lidx.as_deref()));
                steps.extend(self.child(indices.uidx.as_deref()));
            }
        }
        steps
    }

    /// `SET a = x, (b, c) = (y, z), (d, e) = (SELECT …)`.
    fn assignments(&mut self, nodes: &[Node]) -> Vec<Assignment> {
        let mut set: Vec<Assignment> = Vec::with_capacity(nodes.len());
        for node in nodes {
            let Some(NodeEnum::ResTarget(target)) = node.node.as_ref() else {
                self.opaque("unknown form of assignment");
                continue;
            };
            let mut parts = self.target_steps(target);
            let column = target.name.clone();
            match target.val.as_deref().and_then(|value| value.node.as_ref()) {
                Some(NodeEnum::MultiAssignRef(multi)) => {
                    let source = multi.source.as_deref();
                    let number = usize::try_from(multi.colno).unwrap_or(1);
                    if let Some(NodeEnum::RowExpr(row)) =
                        source.and_then(|source| source.node.as_ref())
                        && !row.args.iter().any(spreads)
                    {
                        parts.extend(self.child(row.args.get(number.saturating_sub(1))));
                    } else if number <= 1 {
                        parts.extend(self.child(source));
                    } else if let Some(last) = set.last_mut() {
                        last.columns.push(column);
                        continue;
                    }
                }
                _ => parts.extend(self.child(target.val.as_deref())),
            }
            let value = match parts.len() {
                1 => parts.pop().unwrap_or(Expr::Unknown),
                _ => Expr::Computed(parts),
            };
            set.push(Assignment {
                columns: vec![column],
                value,
            });
        }
        set
    }

    fn conflict(&mut self, clause: &OnConflictClause) -> Conflict {
        let updates = clause.action == OnConflictAction::OnconflictUpdate as i32;
        if updates {
            self.effect(Effect::Update);
        }
        let mut arbiter = Vec::new();
        let mut arbiter_filter = None;
        if let Some(infer) = clause.infer.as_deref() {
            for element in &infer.index_elems {
                if let Some(NodeEnum::IndexElem(element)) = element.node.as_ref() {
                    if element.name.is_empty() {
                        arbiter.extend(self.child(element.expr.as_deref()));
                    } else {
                        let parts = vec![element.name.clone()];
                        let name = crate::ir::ColumnName { parts, star: false };
                        arbiter.push(Expr::Column(name));
                    }
                }
            }
            arbiter_filter = self.optional(infer.where_clause.as_deref());
        }
        Conflict {
            arbiter,
            arbiter_filter,
            set: self.assignments(&clause.target_list),
            filter: self.optional(clause.where_clause.as_deref()),
        }
    }

    fn merge_when(&mut self, node: &Node, joined: WhereClause, target: &RangeVar) -> MergeWhen {
        let Some(NodeEnum::MergeWhenClause(when)) = node.node.as_ref() else {
            self.opaque("unknown form of WHEN");
            return MergeWhen {
                condition: None,
                set: Vec::new(),
                insert: None,
            };
        };
        let condition = self.optional(when.condition.as_deref());
        let (mut set, mut insert) = (Vec::new(), None);
        match CmdType::try_from(when.command_type) {
            Ok(CmdType::CmdInsert) => {
                self.effect(Effect::Insert);
                let (columns, subscripts) = self.assigned(&when.target_list);
                let mut values = self.exprs(&when.values);
                if let Some(last) = values.pop() {
                    values.push(beside(last, subscripts));
                }
                insert = Some((columns, values));
            }
            Ok(CmdType::CmdUpdate) => {
                self.effect(Effect::Update);
                self.worst(limited(when, joined, target));
                set = self.assignments(&when.target_list);
            }
            Ok(CmdType::CmdDelete) => {
                self.effect(Effect::Delete);
                self.worst(limited(when, joined, target));
            }
            Ok(CmdType::CmdNothing) => {}
            _ => self.opaque("unknown kind of WHEN"),
        }
        MergeWhen {
            condition,
            set,
            insert,
        }
    }

    fn returning(&mut self, clause: Option<&ReturningClause>) -> Option<Returning> {
        let clause = clause?;
        let (mut old, mut new) = ("old".to_owned(), "new".to_owned());
        for option in &clause.options {
            match option.node.as_ref() {
                Some(NodeEnum::ReturningOption(option)) => {
                    match ReturningOptionKind::try_from(option.option) {
                        Ok(ReturningOptionKind::ReturningOptionOld) => old = option.value.clone(),
                        Ok(ReturningOptionKind::ReturningOptionNew) => new = option.value.clone(),
                        _ => self.opaque("unknown option of RETURNING"),
                    }
                }
                _ => self.opaque("unknown form of RETURNING"),
            }
        }
        Some(Returning {
            old,
            new,
            targets: self.targets(&clause.exprs),
        })
    }
}

/// How a WHEN clause that changes existing rows is limited: by its own condition, or else by
/// the join, which does not limit rows that are not matched.
fn limited(when: &MergeWhenClause, joined: WhereClause, target: &RangeVar) -> WhereClause {
    let own = where_clause::classify(when.condition.as_deref(), target, &[], None).class;
    let matched = when.match_kind == pg_query::protobuf::MergeMatchKind::MergeWhenMatched as i32;
    match own {
        WhereClause::Present => own,
        _ if matched => joined,
        _ => own,
    }
}

/// A value, computed from subscripts as well where there are any.
fn beside(value: Expr, mut subscripts: Vec<Expr>) -> Expr {
    if subscripts.is_empty() {
        return value;
    }
    subscripts.push(value);
    Expr::Computed(subscripts)
}

/// Whether a value stands for any number of values: `t.*`, `(value).*`.
fn spreads(node: &Node) -> bool {
    let steps = match node.node.as_ref() {
        Some(NodeEnum::ColumnRef(column)) => &column.fields,
        Some(NodeEnum::AIndirection(indirection)) => &indirection.indirection,
        _ => return false,
    };
    let last = steps.last().and_then(|step| step.node.as_ref());
    matches!(last, Some(NodeEnum::AStar(_)))
}
