//! Writes: what flows into which column, and what RETURNING sends back.

use std::rc::Rc;

use super::Tracer;
use super::scope::{Col, Item, Prov, Rows, Scope, are_placed};
use crate::ir::{Action, Assignment, Body, Conflict, Dml, Expr, From, MergeWhen, Query};
use crate::lineage::{Destination, Origin, Use};
use crate::types::{DOCUMENTS, NUMBERS, OTHERS};

/// What a statement wrote, by column; `rest` may be in any column.
#[derive(Default)]
struct Written {
    columns: Vec<(String, Prov)>,
    rest: Prov,
}

impl Written {
    /// The values of a column after the write.
    fn after(&self, column: &Col) -> Col {
        let mut prov = column.prov.clone();
        let mut absorb = |other: &Prov| {
            // Made of nothing but itself it is what the column holds.
            let of_itself = !other.altered && other.is_within(&prov);
            if !of_itself {
                prov.absorb(&other.clone().choose());
                prov.derived = true;
            }
        };
        absorb(&self.rest);
        for (name, written) in &self.columns {
            if column.name.as_deref().is_none_or(|known| known == name) {
                absorb(written);
            }
        }
        Col {
            prov,
            ..column.clone()
        }
    }

    /// The values of a column that were proposed for insertion.
    fn proposed(&self, column: &Col) -> Col {
        let empty = Col {
            prov: Prov::default(),
            ..column.clone()
        };
        self.after(&empty)
    }
}

impl Tracer<'_> {
    /// Traces a write; the result is what RETURNING sends.
    pub(super) fn dml(&mut self, dml: &Dml, parent: &Scope<'_>) -> Vec<Col> {
        let rows = self.base(dml.relation);
        let mut written = Written::default();
        let alias = dml.alias.as_ref();
        let mut beside: Vec<Item> = Vec::new();
        let mut first = false;
        match &dml.action {
            Action::Insert {
                columns,
                subscripts,
                source,
                conflict,
            } => {
                for subscript in subscripts {
                    let prov = self.expr(subscript, parent);
                    self.record(Use::Predicate, &prov);
                }
                let mut names = Vec::new();
                if let Some(source) = source {
                    names = self.insert(dml.relation, columns, source, parent, &mut written);
                }
                if let Some(conflict) = conflict {
                    let guesses = source
                        .as_ref()
                        .map_or(Some(1), |source| self.rows_of(source));
                    self.arbiters(dml, conflict, (&names, guesses), &rows, parent);
                    self.conflict(dml, conflict, guesses, &rows, parent, &mut written);
                }
            }
            Action::Update { set, from, filter } => {
                beside = self.list(from, parent);
                let items = self.with_target(dml, &rows, &beside);
                let scope = Scope {
                    parent: Some(parent),
                    items: &items,
                };
                self.assign(dml.relation, set, &scope, &mut written);
                if let Some(filter) = filter {
                    self.condition(filter, &scope, false);
                }
            }
            Action::Delete { from, filter } => {
                beside = self.list(from, parent);
                let items = self.with_target(dml, &rows, &beside);
                let scope = Scope {
                    parent: Some(parent),
                    items: &items,
                };
                if let Some(filter) = filter {
                    self.condition(filter, &scope, false);
                }
            }
            Action::Merge { source, on, whens } => {
                first = true;
                beside = self.merge_actions(
                    dml,
                    source,
                    on.as_ref(),
                    whens,
                    &rows,
                    parent,
                    &mut written,
                );
            }
        }
        let Some(returning) = &dml.returning else {
            return Vec::new();
        };
        let after: Rows = Rc::new(rows.iter().map(|column| written.after(column)).collect());
        let target = self.table_of(dml.relation, alias, Rc::clone(&after));
        let mut items = Vec::with_capacity(beside.len() + 3);
        // `*` of a MERGE has the source's columns in front.
        if first {
            items.extend(beside);
            items.push(target);
        } else {
            items.push(target);
            items.extend(beside);
        }
        let system = self.system(dml.relation);
        items.push(Item::by_name_only(&returning.old, rows, system));
        items.push(Item::by_name_only(&returning.new, after, system));
        let scope = Scope {
            parent: Some(parent),
            items: &items,
        };
        self.targets(&returning.targets, &scope)
    }

    fn with_target(&self, dml: &Dml, rows: &Rows, beside: &[Item]) -> Vec<Item> {
        let mut items = vec![self.table_of(dml.relation, dml.alias.as_ref(), Rc::clone(rows))];
        items.extend_from_slice(beside);
        items
    }

    fn insert(
        &mut self,
        relation: usize,
        columns: &[String],
        source: &Query,
        parent: &Scope<'_>,
        written: &mut Written,
    ) -> Vec<String> {
        let rows = self.query(source, parent);
        let open = !are_placed(&rows);
        let names = self.target_names(
            relation,
            columns,
            if open { None } else { Some(rows.len()) },
        );
        for (position, column) in rows.iter().enumerate() {
            let name = if open {
                None
            } else {
                names.get(position).cloned()
            };
            self.flow(relation, name, &column.prov, written);
            self.remade(
                relation,
                names.get(position).filter(|_| !open),
                &column.prov,
            );
        }
        for name in &names {
            self.target_column(relation, name);
        }
        names
    }

    /// Names of the columns that an insert fills: as listed, or the first ones.
    fn target_names(
        &self,
        relation: usize,
        listed: &[String],
        count: Option<usize>,
    ) -> Vec<String> {
        if !listed.is_empty() {
            return listed.to_vec();
        }
        let columns = self.oracle.columns(relation).unwrap_or_default();
        let count = count.unwrap_or(columns.len());
        columns
            .iter()
            .take(count)
            .map(|column| column.name.clone())
            .collect()
    }

    /// One value into one column, or into some column.
    fn flow(&mut self, relation: usize, column: Option<String>, prov: &Prov, to: &mut Written) {
        self.write(
            prov,
            &Destination {
                relation,
                column: column.clone(),
                altered: prov.altered,
            },
        );
        match column {
            Some(column) => to.columns.push((column, prov.clone())),
            None => to.rest.absorb(prov),
        }
    }

    /// A value that was computed takes the place of a labelled one. Where it may be null of one that was
    /// not, whether it is tells what it was computed from.
    fn remade(&mut self, relation: usize, column: Option<&String>, prov: &Prov) {
        let is_labelled = self.oracle.columns(relation).is_none_or(|columns| {
            let named = |known: &str| column.is_none_or(|name| name == known);
            columns.iter().any(|it| it.labelled && named(&it.name))
        });
        if prov.derived && is_labelled {
            self.record(Use::Predicate, prov);
        }
    }

    /// Whether a value is null only where what it is computed from is, or where what is not labelled says so.
    fn is_total(&mut self, expr: &Expr, scope: &Scope<'_>) -> bool {
        match expr {
            Expr::Const | Expr::Param | Expr::Column(_) => true,
            // Another type may cut what it is given.
            Expr::Cast(inner, to) => to.is_some_and(|to| {
                self.is_total(inner, scope)
                    && !(NUMBERS.contains(&to) && self.may_be_json(inner, scope))
            }),
            Expr::Chosen(parts) => parts.iter().all(|part| self.is_total(part, scope)),
            Expr::Call(call) => {
                let redefined = |function| self.oracle.is_redefined(function);
                call.total
                    && !call.function.is_some_and(redefined)
                    && call.args.iter().all(|arg| self.is_total(arg, scope))
            }
            Expr::Case {
                arg,
                whens,
                default,
            } => {
                let mut asked = arg.iter().map(|arg| &**arg);
                let branches = whens.iter().map(|(_, result)| result);
                asked.all(|arg| self.is_unlabelled(arg, scope))
                    && whens
                        .iter()
                        .all(|(asked, _)| self.is_unlabelled(asked, scope))
                    && branches
                        .chain(default.iter().map(|default| &**default))
                        .all(|branch| self.is_total(branch, scope))
            }
            _ => false,
        }
    }

    /// Whether a value may be a document, of which a cast makes null where it says `null`.
    fn may_be_json(&mut self, expr: &Expr, scope: &Scope<'_>) -> bool {
        match expr {
            Expr::Const | Expr::Param => false,
            Expr::Column(name) if !name.star => {
                let prov = self.resolve(name, scope).prov;
                let mut plain = NUMBERS.iter().chain(OTHERS);
                !prov.origins.is_empty() && !plain.any(|name| self.is_of_type(&prov, name))
            }
            Expr::Cast(_, Some(to)) => DOCUMENTS.contains(to),
            Expr::Chosen(parts) => parts.iter().any(|part| self.may_be_json(part, scope)),
            _ => true,
        }
    }

    /// Whether a condition is one of comparisons that no labelled column takes part in.
    fn is_unlabelled(&mut self, expr: &Expr, scope: &Scope<'_>) -> bool {
        match expr {
            Expr::Const | Expr::Param => true,
            Expr::Column(name) if !name.star => self.resolve(name, scope).prov.origins.is_empty(),
            Expr::Compare { left, right, .. } => {
                self.is_unlabelled(left, scope) && self.is_unlabelled(right, scope)
            }
            Expr::In { left, list } => {
                self.is_unlabelled(left, scope)
                    && list.iter().all(|one| self.is_unlabelled(one, scope))
            }
            Expr::Cast(inner, _) | Expr::NullTest(inner) => self.is_unlabelled(inner, scope),
            Expr::Row(parts) | Expr::Bool(parts) => {
                parts.iter().all(|part| self.is_unlabelled(part, scope))
            }
            _ => false,
        }
    }

    /// A column is the target of an assignment.
    fn target_column(&mut self, relation: usize, name: &str) {
        let Some(columns) = self.oracle.columns(relation) else {
            let prov = self.origin(Origin::Relation(relation), true);
            self.record(Use::WriteTo, &prov);
            return;
        };
        let found = columns
            .iter()
            .position(|column| column.name == name && column.labelled);
        if let Some(column) = found {
            let prov = self.origin(Origin::Column { relation, column }, false);
            self.record(Use::WriteTo, &prov);
        }
    }

    /// COPY FROM: all listed columns, or all, are targets.
    pub(super) fn assign_all(&mut self, relation: usize, columns: &[String]) {
        if columns.is_empty() && self.oracle.columns(relation).is_none() {
            let prov = self.origin(Origin::Relation(relation), true);
            self.record(Use::WriteTo, &prov);
        }
        for name in self.target_names(relation, columns, None) {
            self.target_column(relation, &name);
        }
    }

    fn assign(
        &mut self,
        relation: usize,
        set: &[Assignment],
        scope: &Scope<'_>,
        written: &mut Written,
    ) {
        for assignment in set {
            let prov = self.expr(&assignment.value, scope);
            for column in &assignment.columns {
                self.target_column(relation, column);
                self.flow(relation, Some(column.clone()), &prov, written);
                if !self.is_total(&assignment.value, scope) {
                    self.remade(relation, Some(column), &prov);
                }
            }
        }
    }

    /// How many rows a query gives, where its text says so.
    fn rows_of(&self, query: &Query) -> Option<u64> {
        match &query.body {
            Body::Values(rows) if !rows.iter().flatten().any(|cell| self.multiplies(cell)) => {
                Some(rows.len() as u64)
            }
            _ => None,
        }
    }

    /// Whether a row with this value may be many: a function in it may return sets.
    fn multiplies(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Const | Expr::Param | Expr::Position(_) | Expr::Column(_) => false,
            // There, functions that return sets are an error.
            Expr::Case { .. } | Expr::SubLink { .. } => false,
            Expr::Call(call) => {
                let foreign = |function| !self.oracle.is_trusted(function);
                call.sets
                    || call.function.is_some_and(foreign)
                    || call.args.iter().any(|arg| self.multiplies(arg))
            }
            Expr::Cast(inner, _) | Expr::NullTest(inner) => self.multiplies(inner),
            Expr::Row(parts)
            | Expr::Array(parts)
            | Expr::Computed(parts)
            | Expr::Chosen(parts)
            | Expr::Bool(parts) => parts.iter().any(|part| self.multiplies(part)),
            _ => true,
        }
    }

    /// Whether there is a conflict tells whether an inserted value exists. Where no arbiter is named, any
    /// of the inserted columns may be unique.
    fn arbiters(
        &mut self,
        dml: &Dml,
        conflict: &Conflict,
        (inserted, guesses): (&[String], Option<u64>),
        rows: &Rows,
        parent: &Scope<'_>,
    ) {
        let target = [self.table_of(dml.relation, dml.alias.as_ref(), Rc::clone(rows))];
        let scope = Scope {
            parent: Some(parent),
            items: &target,
        };
        let mut keys: Vec<Prov> = Vec::new();
        for key in &conflict.arbiter {
            keys.push(self.expr(key, &scope));
        }
        if conflict.arbiter.is_empty() {
            let is_inserted = |(at, column): &(usize, &Col)| {
                let known = column.name.as_ref();
                let filled = column.open
                    || known.is_none_or(|known| inserted.iter().any(|name| **name == **known))
                    || self.oracle.fills(dml.relation, Some(*at));
                filled && self.oracle.is_unique(dml.relation, *at)
            };
            let filled = rows.iter().enumerate().filter(is_inserted);
            keys.extend(filled.map(|(_, column)| column.prov.clone()));
            if self.oracle.fills(dml.relation, None) {
                keys.push(self.unresolved());
            }
        }
        for key in keys {
            let how = match guesses {
                _ if key.derived => Use::Predicate,
                Some(guesses) => {
                    if !key.origins.is_empty() {
                        self.comparisons = self.comparisons.saturating_add(guesses);
                    }
                    Use::EqualsConstant
                }
                None => Use::Join,
            };
            self.record(how, &key);
        }
    }

    fn conflict(
        &mut self,
        dml: &Dml,
        conflict: &Conflict,
        guesses: Option<u64>,
        rows: &Rows,
        parent: &Scope<'_>,
        written: &mut Written,
    ) {
        let proposed = rows.iter().map(|column| written.proposed(column)).collect();
        let items = [
            self.table_of(dml.relation, dml.alias.as_ref(), Rc::clone(rows)),
            Item::by_name_only("excluded", Rc::new(proposed), self.system(dml.relation)),
        ];
        let scope = Scope {
            parent: Some(parent),
            items: &items,
        };
        let outer = std::mem::replace(&mut self.guesses, guesses);
        for filter in conflict.arbiter_filter.iter().chain(&conflict.filter) {
            self.condition(filter, &scope, false);
        }
        self.assign(dml.relation, &conflict.set, &scope, written);
        self.guesses = outer;
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one MERGE")]
    fn merge_actions(
        &mut self,
        dml: &Dml,
        source: &From,
        on: Option<&Expr>,
        whens: &[MergeWhen],
        rows: &Rows,
        parent: &Scope<'_>,
        written: &mut Written,
    ) -> Vec<Item> {
        let beside = self.item(source, parent, parent);
        let items = self.with_target(dml, rows, &beside);
        let scope = Scope {
            parent: Some(parent),
            items: &items,
        };
        if let Some(on) = on {
            self.condition(on, &scope, false);
        }
        for when in whens {
            if let Some(condition) = &when.condition {
                self.condition(condition, &scope, false);
            }
            self.assign(dml.relation, &when.set, &scope, written);
            if let Some((columns, values)) = &when.insert {
                let spread = values.iter().any(Expr::spreads);
                let count = (!spread).then_some(values.len());
                let names = self.target_names(dml.relation, columns, count);
                for (position, value) in values.iter().enumerate() {
                    let prov = self.expr(value, &scope);
                    let name = names.get(position).filter(|_| !spread);
                    self.flow(dml.relation, name.cloned(), &prov, written);
                    if !self.is_total(value, &scope) {
                        self.remade(dml.relation, name, &prov);
                    }
                }
                for name in &names {
                    self.target_column(dml.relation, name);
                }
            }
        }
        beside
    }
}
