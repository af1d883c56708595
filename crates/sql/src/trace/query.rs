//! Queries: WITH, SELECT, VALUES, set operations.

use std::rc::Rc;

use super::Tracer;
use super::scope::{Col, Prov, Rows, Scope, any_of, are_placed, rename};
use crate::ir::{Body, Cte, Distinct, Expr, Query, Select, Target};
use crate::lineage::Use;

/// Rounds after which a recursive CTE that still changes is given up. Each round but the last
/// adds an origin to a column, so real ones end after a few.
const MAX_ROUNDS: usize = 64;

impl Tracer<'_> {
    /// The columns of a query's rows.
    pub(super) fn query(&mut self, query: &Query, parent: &Scope<'_>) -> Vec<Col> {
        if !self.spend(1) {
            return vec![Col::open(self.unresolved())];
        }
        // What is proposed for a row is named in its upsert alone, whatever else has that name.
        let guesses = self.guesses.take();
        for cte in &query.with {
            let rows = self.cte(cte, parent);
            self.ctes.insert(cte.id, rows);
        }
        let rows = match &query.body {
            Body::Select(select) => self.select(select, &query.sort, parent),
            Body::Set { all, left, right } => {
                let rows = self.set_operation(*all, left, right, parent);
                for key in &query.sort {
                    let prov = self.output_key(key, &rows, &Scope::EMPTY, false);
                    self.record(Use::OrderBy, &prov);
                }
                rows
            }
            Body::Values(lists) => {
                let rows = self.values(lists, parent);
                for key in &query.sort {
                    let prov = self.output_key(key, &rows, &Scope::EMPTY, false);
                    self.record(Use::OrderBy, &prov);
                }
                rows
            }
            Body::Dml(dml) => self.dml(dml, parent),
            Body::Unknown => vec![Col::open(self.unresolved())],
        };
        for limit in &query.limit {
            let prov = self.expr(limit, parent);
            self.record(Use::Predicate, &prov);
        }
        self.guesses = guesses;
        rows
    }

    fn cte(&mut self, cte: &Cte, parent: &Scope<'_>) -> Rows {
        if !cte.added.is_empty() {
            self.adding.insert(cte.id);
        }
        if !cte.recursive {
            let rows = self.query(&cte.query, parent);
            return self.finish_cte(cte, rows);
        }
        let mut known: Rows = Rc::new(vec![Col::open(Prov::default())]);
        for _ in 0..MAX_ROUNDS {
            // What earlier rounds computed is computed again: only the last one counts.
            let watched = self.pending.len();
            self.ctes.insert(cte.id, Rc::clone(&known));
            let rows = self.query(&cte.query, parent);
            let next = self.name_cte(cte, rows);
            if same(&known, &next) {
                return Rc::new(self.watch(next.to_vec()));
            }
            self.pending.truncate(watched);
            known = next;
        }
        Rc::new(vec![Col::open(self.unresolved())])
    }

    fn finish_cte(&mut self, cte: &Cte, rows: Vec<Col>) -> Rows {
        let named = self.name_cte(cte, rows);
        Rc::new(self.watch(named.to_vec()))
    }

    fn name_cte(&mut self, cte: &Cte, rows: Vec<Col>) -> Rows {
        let all = any_of(&rows);
        let mut named = rename(Rc::new(rows), &cte.columns).to_vec();
        let all = all.derive();
        named.extend(
            cte.added
                .iter()
                .map(|name| Col::new(Some(name), all.clone())),
        );
        Rc::new(named)
    }

    fn select(&mut self, select: &Select, sort: &[Expr], parent: &Scope<'_>) -> Vec<Col> {
        let items = self.list(&select.from, parent);
        let scope = Scope {
            parent: Some(parent),
            items: &items,
        };
        self.windows.push(Vec::new());
        for window in &select.windows {
            let prov = self.window(window, &scope);
            if let (Some(name), Some(known)) = (&window.name, self.windows.last_mut()) {
                known.push((name.clone(), prov));
            }
        }
        if let Some(filter) = &select.filter {
            self.condition(filter, &scope, false);
        }
        let rows = self.targets(&select.targets, &scope);
        for key in &select.group {
            let prov = self.output_key(key, &rows, &scope, true);
            self.record(Use::GroupBy, &prov);
        }
        if let Some(having) = &select.having {
            self.condition(having, &scope, false);
        }
        match &select.distinct {
            Distinct::No => {}
            Distinct::All => {
                for column in &rows {
                    self.record(Use::GroupBy, &column.prov);
                }
            }
            Distinct::On(keys) => {
                for key in keys {
                    let prov = self.output_key(key, &rows, &scope, false);
                    self.record(Use::GroupBy, &prov);
                }
            }
        }
        for key in sort {
            let prov = self.output_key(key, &rows, &scope, false);
            self.record(Use::OrderBy, &prov);
        }
        self.windows.pop();
        rows
    }

    pub(super) fn targets(&mut self, targets: &[Target], scope: &Scope<'_>) -> Vec<Col> {
        let mut rows = Vec::with_capacity(targets.len());
        for target in targets {
            match &target.expr {
                Expr::Column(name) if name.star => rows.extend(self.star(&name.parts, scope)),
                expr if expr.spreads() => {
                    let prov = self.expr(&target.expr, scope);
                    rows.push(Col::open(prov));
                }
                expr => {
                    let prov = self.expr(expr, scope);
                    rows.push(Col::new(target.name.as_deref(), prov));
                }
            }
        }
        // What the catalog names may have become more or less by now, and then what stands beside it is elsewhere.
        let is_star = |target: &Target| matches!(&target.expr, Expr::Column(name) if name.star);
        let mut stars = targets.iter().filter(|target| is_star(target));
        let width = |target: &Target| match &target.expr {
            Expr::Column(name) if name.parts.is_empty() => scope.in_star(),
            _ => 1,
        };
        let alone = targets.len() == 1 && stars.clone().all(|target| width(target) == 1);
        if stars.next().is_some() && !alone && rows.iter().any(|column| !column.sure) {
            rows.iter_mut().for_each(|column| column.placed = false);
        }
        rows
    }

    /// A sort or grouping key, which may mean an output by number or name. Sorting looks at
    /// outputs first, grouping at inputs.
    fn output_key(
        &mut self,
        key: &Expr,
        rows: &[Col],
        scope: &Scope<'_>,
        inputs_first: bool,
    ) -> Prov {
        if !self.spend(rows.len()) {
            return self.unresolved();
        }
        match key {
            Expr::Position(number) => {
                let before = rows.get(..(*number).min(rows.len())).unwrap_or(rows);
                if !are_placed(before) || before.len() < *number {
                    return any_of(rows);
                }
                before
                    .last()
                    .map(|column| column.prov.clone())
                    .unwrap_or_default()
            }
            Expr::Column(name) if name.parts.len() == 1 && !name.star => {
                let mut output = None::<Prov>;
                let wanted = name.parts.first().map(String::as_str);
                for column in rows
                    .iter()
                    .filter(|column| column.name.as_deref() == wanted)
                {
                    output.get_or_insert_default().absorb(&column.prov);
                }
                match output {
                    Some(output) if !inputs_first => output,
                    Some(output) => self.resolve_or(name, scope, output),
                    None => {
                        // Outputs without a known name, and stars, may be meant.
                        let mut maybe = Prov::default();
                        for column in rows.iter().filter(|column| column.name.is_none()) {
                            maybe.absorb(&column.prov);
                        }
                        if scope.items.is_empty() && scope.parent.is_none() {
                            return maybe.derive();
                        }
                        maybe.absorb(&self.expr(key, scope));
                        maybe
                    }
                }
            }
            other => self.expr(other, scope),
        }
    }

    /// An input of that name, or else the output.
    fn resolve_or(
        &mut self,
        name: &crate::ir::ColumnName,
        scope: &Scope<'_>,
        output: Prov,
    ) -> Prov {
        let level = Scope {
            parent: None,
            items: scope.items,
        };
        let found = self.resolve(name, &level);
        if found.exact {
            return found.prov;
        }
        output
    }

    fn values(&mut self, lists: &[Vec<Expr>], scope: &Scope<'_>) -> Vec<Col> {
        let width = lists.first().map_or(0, Vec::len);
        let mut rows: Vec<Col> = (1..=width)
            .map(|number| Col::clean(Some(&format!("column{number}"))))
            .collect();
        for list in lists {
            for (position, expr) in list.iter().enumerate() {
                let prov = self.expr(expr, scope).derive();
                if let Some(column) = rows.get_mut(position) {
                    column.prov.absorb(&prov);
                } else {
                    rows.push(Col::new(None, prov));
                }
            }
        }
        // `t.*` spreads over the columns that follow, so that any value may stand in any of them.
        if lists.iter().flatten().any(Expr::spreads) {
            return vec![Col::open(any_of(&rows).derive())];
        }
        rows
    }

    fn set_operation(
        &mut self,
        all: bool,
        left: &Query,
        right: &Query,
        parent: &Scope<'_>,
    ) -> Vec<Col> {
        let left = self.query(left, parent);
        let right = self.query(right, parent);
        let mut rows = Vec::with_capacity(left.len());
        let open = |rows: &[Col]| rows.iter().any(|column| column.open);
        if !are_placed(&left) || !are_placed(&right) || left.len() != right.len() {
            // Positions are not certain: every column may meet every other.
            let any = any_of(left.iter().chain(&right)).derive();
            if open(&left) {
                rows.push(Col::open(any));
            } else {
                for column in &left {
                    rows.push(Col {
                        sure: column.sure,
                        placed: column.placed,
                        ..Col::new(column.name.as_deref(), any.clone())
                    });
                }
            }
        } else {
            for (position, column) in left.iter().enumerate() {
                let mut prov = column.prov.clone();
                let mut whole = false;
                if let Some(other) = right.get(position).map(|other| &other.prov) {
                    // Of two labelled columns each row is shown as it is.
                    let labelled = !prov.origins.is_empty() && !other.origins.is_empty();
                    whole = labelled && !prov.derived && !other.derived;
                    prov.absorb(other);
                }
                if whole {
                    prov.derived = false;
                } else {
                    prov = prov.derive();
                }
                rows.push(Col {
                    sure: column.sure,
                    placed: column.placed,
                    ..Col::new(column.name.as_deref(), prov)
                });
            }
        }
        if !all {
            for column in left.iter().chain(&right) {
                self.record(Use::GroupBy, &column.prov);
            }
        }
        rows
    }
}

fn same(left: &[Col], right: &[Col]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|(a, b)| a.open == b.open && a.name == b.name && a.prov == b.prov)
}
