//! FROM lists: what they bring into scope.

use std::collections::HashSet;
use std::rc::Rc;

use super::Tracer;
use super::scope::{Col, Item, Prov, Rows, Scope, System, rename, unplaced};
use crate::ir::{Alias, From, Join, JoinSide};
use crate::lineage::Use;

impl Tracer<'_> {
    /// The items of a FROM list; later ones see earlier ones where they are lateral.
    pub(super) fn list(&mut self, list: &[From], parent: &Scope<'_>) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::with_capacity(list.len());
        for from in list {
            let lateral = Scope {
                parent: Some(parent),
                items: &items,
            };
            let found = self.item(from, parent, &lateral);
            items.extend(found);
        }
        items
    }

    /// One item: `parent` is what every subquery sees, `lateral` what lateral ones do.
    pub(super) fn item(
        &mut self,
        from: &From,
        parent: &Scope<'_>,
        lateral: &Scope<'_>,
    ) -> Vec<Item> {
        if !self.spend(1) {
            return vec![Item::rows(None, self.nothing_known())];
        }
        match from {
            From::Relation { relation, alias } => vec![self.table(*relation, alias.as_ref())],
            From::Cte {
                id,
                name,
                alias,
                nested,
            } => {
                let mut rows = match self.ctes.get(id) {
                    Some(rows) => Rc::clone(rows),
                    None => self.nothing_known(),
                };
                // There `*` leaves out what SEARCH and CYCLE add, and names find it.
                if *nested && self.adding.contains(id) {
                    rows = unplaced(&rows);
                }
                let own = Alias {
                    name: name.clone(),
                    columns: Vec::new(),
                };
                vec![renamed(rows, Some(alias.as_ref().unwrap_or(&own)))]
            }
            From::Query {
                lateral: sees,
                query,
                alias,
            } => {
                let rows = self.query(query, if *sees { lateral } else { parent });
                let rows = Rc::new(self.watch(rows));
                vec![renamed(rows, alias.as_ref())]
            }
            From::Function {
                args,
                columns,
                name,
                alias,
            } => {
                vec![self.function(
                    args,
                    columns.as_deref(),
                    name.as_deref(),
                    alias.as_ref(),
                    lateral,
                )]
            }
            From::Sample { from, args } => {
                for arg in args {
                    let prov = self.expr(arg, lateral);
                    self.record(Use::Predicate, &prov);
                }
                self.item(from, parent, lateral)
            }
            From::Join(join) => self.join(join, parent, lateral),
            From::Unknown => vec![Item::rows(None, self.nothing_known())],
        }
    }

    fn nothing_known(&mut self) -> Rows {
        Rc::new(vec![Col::open(self.unresolved())])
    }

    /// A relation under its alias or its own name.
    pub(super) fn table(&mut self, relation: usize, alias: Option<&Alias>) -> Item {
        let rows = self.base(relation);
        self.table_of(relation, alias, rows)
    }

    pub(super) fn table_of(&self, relation: usize, alias: Option<&Alias>, rows: Rows) -> Item {
        let system = self.system(relation);
        match alias {
            Some(alias) => {
                let rows = rename(rows, &alias.columns);
                Item::table(Some(alias.name.clone()), None, rows, system)
            }
            None => {
                let reference = self.relations.get(relation);
                let name = reference.map(|reference| reference.name.clone());
                let schema = reference.and_then(|reference| reference.schema.clone());
                Item::table(name, Some(schema), rows, system)
            }
        }
    }

    pub(super) fn system(&self, relation: usize) -> System {
        if self.oracle.has_system_columns(relation) {
            System::Known
        } else {
            System::Perhaps
        }
    }

    fn function(
        &mut self,
        args: &[crate::ir::Expr],
        columns: Option<&[String]>,
        name: Option<&str>,
        alias: Option<&Alias>,
        lateral: &Scope<'_>,
    ) -> Item {
        let mut prov = Prov::default();
        for arg in args {
            prov.absorb(&self.expr(arg, lateral));
        }
        // How many rows there are tells something of the arguments.
        self.record_columns(Use::Predicate, &prov);
        let prov = prov.derive();
        let rows = match columns {
            Some(names) => names
                .iter()
                .map(|n| Col::new(Some(n), prov.clone()))
                .collect(),
            None => vec![Col::open(prov)],
        };
        let own = name.map(|name| Alias {
            name: name.to_owned(),
            columns: Vec::new(),
        });
        renamed(Rc::new(rows), alias.or(own.as_ref()))
    }

    fn join(&mut self, join: &Join, parent: &Scope<'_>, lateral: &Scope<'_>) -> Vec<Item> {
        let left = self.item(&join.left, parent, lateral);
        let right = {
            let beside = Scope {
                parent: Some(lateral),
                items: &left,
            };
            self.item(&join.right, parent, &beside)
        };
        let (left_rows, right_rows) = (columns(&left), columns(&right));
        if !self.spend(left_rows.len() + right_rows.len()) {
            return vec![Item::rows(None, self.nothing_known())];
        }
        let known = |rows: &[Col]| !rows.iter().any(|column| column.name.is_none());
        let certain = !join.natural || (known(&left_rows) && known(&right_rows));
        let using: Vec<String> = if join.natural {
            let there: HashSet<&str> = right_rows
                .iter()
                .filter_map(|column| column.name.as_deref())
                .collect();
            let common = left_rows.iter().filter_map(|column| column.name.as_deref());
            common
                .filter(|name| there.contains(name))
                .map(str::to_owned)
                .collect()
        } else {
            join.using.clone()
        };
        let mut merged = self.merge(&using, &left_rows, &right_rows, join.side);
        for column in &mut merged {
            column.sure &= !join.natural;
        }
        let merged_rows: Rows = Rc::new(merged.clone());
        let rest = |rows: &[Col]| {
            let names: HashSet<&str> = using.iter().map(String::as_str).collect();
            let keep = |column: &&Col| {
                column
                    .name
                    .as_deref()
                    .is_none_or(|name| !names.contains(name))
            };
            rows.iter().filter(keep).cloned().collect::<Vec<_>>()
        };
        let mut rows = merged;
        if certain
            && join
                .using
                .iter()
                .all(|_| known(&left_rows) && known(&right_rows))
        {
            rows.extend(rest(&left_rows));
            rows.extend(rest(&right_rows));
        } else {
            // Which columns are merged, or where they stand, is not certain.
            rows = self.unordered(&using, rows, &left_rows, &right_rows, join.natural);
        }
        // The sides may have more columns by now than the catalog says, or fewer.
        let placed = rows.iter().all(|column| column.sure);
        rows.iter_mut().for_each(|column| column.placed &= placed);
        let mut items: Vec<Item> = left.into_iter().chain(right).collect();
        if let Some(on) = &join.on {
            let scope = Scope {
                parent: Some(parent),
                items: &items,
            };
            self.condition(on, &scope, false);
        }
        if let Some(alias) = &join.alias {
            return vec![renamed(Rc::new(rows), Some(alias))];
        }
        items = items.into_iter().filter_map(Item::behind_join).collect();
        if let Some(name) = &join.using_alias {
            items.push(Item::by_name_only(name, merged_rows, System::None));
        }
        items.push(Item::rows(None, Rc::new(rows)));
        items
    }

    /// Columns of USING: compared with each other, and one of the two or both.
    fn merge(&mut self, using: &[String], left: &[Col], right: &[Col], side: JoinSide) -> Vec<Col> {
        let mut merged = Vec::with_capacity(using.len());
        for name in using {
            let left = super::scope::named(left, name);
            let right = super::scope::named(right, name);
            for column in [&left, &right] {
                let how = if column.prov.derived {
                    Use::Predicate
                } else {
                    Use::Join
                };
                self.record(how, &column.prov);
            }
            let (mut prov, other) = match side {
                JoinSide::Right => (right.prov, left.prov),
                JoinSide::Left | JoinSide::Both => (left.prov, right.prov),
            };
            let derived = prov.derived || side == JoinSide::Both || prov.origins.is_empty();
            prov.absorb(&other);
            prov.derived = derived && !prov.origins.is_empty();
            merged.push(Col::new(Some(name), prov));
        }
        merged
    }

    /// All columns of a join whose order is not certain: names still find them, positions
    /// do not.
    fn unordered(
        &mut self,
        using: &[String],
        merged: Vec<Col>,
        left: &[Col],
        right: &[Col],
        natural: bool,
    ) -> Vec<Col> {
        let mut any = Prov::default();
        for column in left.iter().chain(right) {
            any.absorb(&column.prov);
            // A natural join may compare any of them.
            if natural {
                self.record(Use::Join, &column.prov);
            }
        }
        let mut rows = merged;
        let names: HashSet<&str> = using.iter().map(String::as_str).collect();
        let more = left.iter().chain(right).filter(|column| {
            column
                .name
                .as_deref()
                .is_some_and(|name| !names.contains(name))
        });
        // An open column in front says that positions are not known.
        rows.insert(0, Col::open(any.derive()));
        rows.extend(more.cloned());
        rows
    }

    /// Records a use of columns, leaving out what only functions bring in.
    fn record_columns(&mut self, how: Use, prov: &Prov) {
        let function = |number: &u32| {
            matches!(
                self.named(*number),
                Some(crate::lineage::Origin::Function(_))
            )
        };
        let origins = prov
            .origins
            .iter()
            .filter(|number| !function(number))
            .copied()
            .collect();
        self.record(
            how,
            &Prov {
                origins,
                derived: prov.derived,
                altered: prov.altered,
            },
        );
    }
}

/// The columns that `*` finds in some items.
fn columns(items: &[Item]) -> Vec<Col> {
    let visible = items.iter().filter(|item| item.in_star());
    visible.flat_map(|item| item.rows.iter().cloned()).collect()
}

fn renamed(rows: Rows, alias: Option<&Alias>) -> Item {
    let names = alias
        .map(|alias| alias.columns.as_slice())
        .unwrap_or_default();
    Item::rows(alias, rename(rows, names))
}
