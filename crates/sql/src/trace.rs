//! Follows labelled values through one statement.
//!
//! Names are resolved by the server's scoping rules against the columns that the oracle
//! gives. What cannot be resolved is never clean: unknown columns are `open` and stand for
//! any name, and a name that nothing explains is `Origin::Unresolved`.

mod dml;
mod expr;
mod from;
mod query;
mod scope;

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use crate::RelationRef;
use crate::ir::Root;
use crate::lineage::{
    ColumnUse, Derivation, Destination, Oracle, Origin, OutputColumn, OutputItem, Outputs, Traced,
    Use,
};
use scope::{Col, Item, Prov, Rows, Scope};

/// Steps of work (names looked up, columns passed on) after which a statement is given up.
const BUDGET: usize = 4_000_000;

/// Traces one statement.
pub(crate) fn trace(
    root: &Root,
    relations: &[RelationRef],
    ctes: usize,
    oracle: &dyn Oracle,
) -> Traced {
    let mut tracer = Tracer {
        oracle,
        relations,
        origins: vec![Origin::Unresolved],
        numbers: HashMap::from([(Origin::Unresolved, scope::UNRESOLVED)]),
        uses: BTreeSet::new(),
        touched: BTreeSet::new(),
        unexplained: false,
        called: BTreeSet::new(),
        comparisons: 0,
        guesses: None,
        budget: BUDGET,
        ctes: HashMap::with_capacity(ctes),
        adding: HashSet::new(),
        windows: Vec::new(),
        pending: Vec::new(),
    };
    let outputs = tracer.root(root);
    tracer.finish(outputs)
}

/// A value that was computed and may never be read.
struct Pending {
    read: Rc<Cell<bool>>,
    prov: Prov,
}

struct Tracer<'o> {
    oracle: &'o dyn Oracle,
    relations: &'o [RelationRef],
    /// Origins by number, and back.
    origins: Vec<Origin>,
    numbers: HashMap<Origin, u32>,
    uses: BTreeSet<(u32, Use, Option<Destination>)>,
    touched: BTreeSet<u32>,
    unexplained: bool,
    called: BTreeSet<String>,
    comparisons: u64,
    /// How many rows an upsert proposes, within what it sets where they conflict.
    guesses: Option<u64>,
    budget: usize,
    ctes: HashMap<usize, Rows>,
    /// Those of them to which SEARCH or CYCLE adds columns.
    adding: HashSet<usize>,
    /// Named windows of the selects that are being traced, innermost last.
    windows: Vec<Vec<(String, Prov)>>,
    pending: Vec<Pending>,
}

impl Tracer<'_> {
    fn root(&mut self, root: &Root) -> Vec<Col> {
        let none = Scope::EMPTY;
        match root {
            Root::Nothing => Vec::new(),
            Root::Query(query) => {
                let rows = self.query(query, &none);
                self.send(&rows);
                rows
            }
            Root::Into {
                relation,
                columns,
                query,
                stored,
            } => {
                let rows = self.query(query, &none);
                self.made(*relation, columns, &rows, *stored);
                Vec::new()
            }
            Root::CopyTo { relation, columns } => {
                let all = self.base(*relation);
                let rows: Vec<Col> = if columns.is_empty() {
                    all.iter().map(Col::read).collect()
                } else {
                    columns
                        .iter()
                        .map(|name| scope::named(&all, name))
                        .collect()
                };
                self.send(&rows);
                rows
            }
            Root::CopyFrom {
                relation,
                alias,
                columns,
                filter,
            } => {
                let rows = self.base(*relation);
                self.assign_all(*relation, columns);
                let bare = Some(None);
                let system = self.system(*relation);
                let items = [Item::table(Some(alias.clone()), bare, rows, system)];
                let scope = Scope {
                    parent: None,
                    items: &items,
                };
                if let Some(filter) = filter {
                    self.condition(filter, &scope, false);
                }
                Vec::new()
            }
            Root::Explain(inner) => {
                let rows = self.root(inner);
                // Computed all the same, where it is analysed; a prepared statement is
                // judged by its own lineage.
                if !matches!(**inner, Root::Execute(_)) {
                    for row in rows.iter().filter(|row| row.prov.derived) {
                        self.record(Use::Predicate, &row.prov);
                    }
                }
                self.uses.retain(|(_, how, _)| *how != Use::Output);
                // A plan shows what functions that are said to be immutable have returned.
                let called = self.touched.iter().copied();
                let origins = called
                    .filter(|number| matches!(self.named(*number), Some(Origin::Function(_))))
                    .collect();
                let plan = Prov {
                    origins,
                    derived: true,
                    altered: true,
                };
                let rows = vec![Col::new(Some("QUERY PLAN"), plan)];
                self.send(&rows);
                rows
            }
            Root::Call(call) => {
                let prov = self.expr(call, &none).derive();
                let rows = vec![Col::open(prov)];
                self.send(&rows);
                rows
            }
            Root::Execute(params) => {
                for param in params {
                    let prov = self.expr(param, &none);
                    self.record(Use::Predicate, &prov);
                }
                self.root(&Root::Unknown)
            }
            Root::Clean => vec![Col::open(Prov::default())],
            Root::Unknown => {
                let rows = vec![Col::open(self.unresolved())];
                self.send(&rows);
                rows
            }
        }
    }

    fn finish(mut self, outputs: Vec<Col>) -> Traced {
        for pending in std::mem::take(&mut self.pending) {
            if !pending.read.get() {
                self.record(Use::Predicate, &pending.prov);
            }
        }
        let mut outputs = outputs;
        if self.budget == 0 {
            let prov = self.unresolved();
            self.record(Use::Predicate, &prov);
            self.record(Use::Output, &prov);
            outputs = vec![Col::open(prov)];
        }
        let origin = |number: u32| self.named(number);
        let origins = |numbers: &[u32]| {
            let mut found: Vec<Origin> = numbers.iter().filter_map(|n| origin(*n)).collect();
            found.sort_unstable();
            found
        };
        let items = outputs.iter().map(|column| {
            let described = OutputColumn {
                name: column.name.as_deref().map(str::to_owned),
                derivation: column.prov.derivation(),
                origins: origins(&column.prov.origins),
            };
            if column.open {
                OutputItem::Star(described)
            } else {
                OutputItem::Column(described)
            }
        });
        let items = items.collect();
        let mut uses: Vec<ColumnUse> = self
            .uses
            .iter()
            .filter_map(|(number, how, into)| {
                Some(ColumnUse {
                    origin: origin(*number)?,
                    how: *how,
                    into: into.clone(),
                })
            })
            .collect();
        uses.sort_unstable();
        let touched: Vec<u32> = self.touched.iter().copied().collect();
        Traced {
            outputs: Outputs { items },
            uses,
            touched: origins(&touched),
            unexplained: self.unexplained,
            called: self.called,
            comparisons: self.comparisons,
        }
    }

    /// Values that are sent to the client.
    fn send(&mut self, rows: &[Col]) {
        for column in rows {
            self.record(Use::Output, &column.prov);
        }
    }

    /// Rows of a new relation. What is stored is in none of the columns that another one of the name has.
    fn made(&mut self, relation: usize, columns: &[String], rows: &[Col], stored: bool) {
        let mut known = !stored;
        for (position, column) in rows.iter().enumerate() {
            known &= column.placed && !column.open;
            let name = columns.get(position).cloned();
            let name = name.or_else(|| column.name.as_deref().map(str::to_owned));
            let into = Destination {
                relation,
                column: name.filter(|_| known),
                altered: column.prov.altered,
            };
            self.write(&column.prov, &into);
        }
    }

    fn number(&mut self, origin: Origin) -> u32 {
        if let Some(number) = self.numbers.get(&origin) {
            return *number;
        }
        let number = u32::try_from(self.origins.len()).unwrap_or(u32::MAX);
        self.origins.push(origin);
        self.numbers.insert(origin, number);
        number
    }

    /// The origin of a number.
    fn named(&self, number: u32) -> Option<Origin> {
        let at = usize::try_from(number).ok()?;
        self.origins.get(at).copied()
    }

    fn origin(&mut self, origin: Origin, derived: bool) -> Prov {
        Prov {
            origins: vec![self.number(origin)],
            derived,
            altered: derived,
        }
    }

    fn unresolved(&mut self) -> Prov {
        let prov = self.origin(Origin::Unresolved, true);
        self.unexplained = true;
        self.touch(&prov);
        prov
    }

    fn record(&mut self, how: Use, prov: &Prov) {
        for number in &prov.origins {
            self.touched.insert(*number);
            self.uses.insert((*number, how, None));
        }
    }

    fn write(&mut self, prov: &Prov, into: &Destination) {
        for number in &prov.origins {
            self.touched.insert(*number);
            self.uses.insert((*number, Use::Write, Some(into.clone())));
        }
    }

    fn touch(&mut self, prov: &Prov) {
        self.touched.extend(&prov.origins);
    }

    /// Takes steps from the budget; false when it is used up.
    fn spend(&mut self, steps: usize) -> bool {
        self.budget = self.budget.saturating_sub(steps.max(1));
        self.budget > 0
    }

    /// The columns of a relation.
    fn base(&mut self, relation: usize) -> Rows {
        let Some(columns) = self.oracle.columns(relation) else {
            let prov = self.origin(Origin::Relation(relation), true);
            return Rc::new(vec![Col::open(prov)]);
        };
        if !self.spend(columns.len()) {
            return Rc::new(vec![Col::open(self.unresolved())]);
        }
        let mut rows = Vec::with_capacity(columns.len());
        for (column, description) in columns.iter().enumerate() {
            let mut col = Col {
                sure: false,
                ..Col::clean(Some(&description.name))
            };
            if description.labelled {
                col.prov = self.origin(Origin::Column { relation, column }, false);
            }
            rows.push(col);
        }
        Rc::new(rows)
    }

    /// Marks values that are computed here, so that those never read count as predicates.
    fn watch(&mut self, rows: Vec<Col>) -> Vec<Col> {
        rows.into_iter()
            .map(|mut column| {
                if column.prov.derived && !column.prov.origins.is_empty() {
                    let read = Rc::new(Cell::new(false));
                    let prov = column.prov.clone();
                    self.pending.push(Pending {
                        read: Rc::clone(&read),
                        prov,
                    });
                    column.watched = Some(read);
                }
                column
            })
            .collect()
    }
}

impl Prov {
    fn derivation(&self) -> Derivation {
        match (self.origins.is_empty(), self.derived) {
            (true, _) => Derivation::No,
            (false, false) => Derivation::Direct,
            (false, true) => Derivation::Derived,
        }
    }
}
