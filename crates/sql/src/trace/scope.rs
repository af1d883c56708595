//! What can be named where, and how names are found.

use std::cell::Cell;
use std::rc::Rc;

use super::Tracer;
use crate::ir::{Alias, ColumnName, SYSTEM_USER};

/// The number of `Origin::Unresolved`.
pub(super) const UNRESOLVED: u32 = 0;

/// A value of more origins than this may come from anywhere.
const MAX_ORIGINS: usize = 256;

/// Where a value may come from: numbers of origins, sorted, and whether it was computed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prov {
    pub(super) origins: Vec<u32>,
    pub(super) derived: bool,
    /// Computed so that other parts of a text may stand where its ends were.
    pub(super) altered: bool,
}

impl Prov {
    /// Whether all that it may come from is what the other may come from.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        let mut origins = self.origins.iter();
        origins.all(|origin| other.origins.binary_search(origin).is_ok())
    }

    /// The same origins, computed.
    pub(super) fn derive(mut self) -> Self {
        self.derived = !self.origins.is_empty();
        self.altered = self.derived;
        self
    }

    /// The same origins, computed, but a text is there whole or not at all.
    pub(super) fn choose(mut self) -> Self {
        self.derived = !self.origins.is_empty();
        self
    }

    /// Either of two values.
    pub(super) fn absorb(&mut self, other: &Self) {
        if other.origins.is_empty() {
            return;
        }
        if self.origins.is_empty() {
            self.clone_from(other);
            return;
        }
        self.derived |= other.derived || self.origins != other.origins;
        self.altered |= other.altered;
        let before = self.origins.len();
        for origin in &other.origins {
            if self
                .origins
                .get(..before)
                .unwrap_or_default()
                .binary_search(origin)
                .is_err()
            {
                self.origins.push(*origin);
            }
        }
        if self.origins.len() > MAX_ORIGINS {
            self.origins = vec![UNRESOLVED];
            self.derived = true;
            self.altered = true;
        }
        self.origins.sort_unstable();
    }
}

/// One column of a row. An open column is any number of columns of any names; a column
/// without a name may have any.
#[derive(Clone, Debug)]
pub(super) struct Col {
    pub(super) name: Option<Rc<str>>,
    pub(super) prov: Prov,
    pub(super) open: bool,
    /// Whether the text itself names it; else it has its name from the catalog, which may be older than what the
    /// server will read.
    pub(super) sure: bool,
    /// Whether how many columns stand before it is as the text says; else the catalog says so.
    pub(super) placed: bool,
    /// Set when it is read, for those that are watched.
    pub(super) watched: Option<Rc<Cell<bool>>>,
}

pub(super) type Rows = Rc<Vec<Col>>;

impl Col {
    pub(super) fn new(name: Option<&str>, prov: Prov) -> Self {
        Self {
            name: name.map(Rc::from),
            prov,
            open: false,
            sure: true,
            placed: true,
            watched: None,
        }
    }

    pub(super) fn clean(name: Option<&str>) -> Self {
        Self::new(name, Prov::default())
    }

    pub(super) fn open(prov: Prov) -> Self {
        Self {
            name: None,
            prov,
            open: true,
            sure: true,
            placed: true,
            watched: None,
        }
    }

    /// The column as it is handed on by whoever reads it.
    pub(super) fn read(&self) -> Self {
        self.mark();
        Self {
            watched: None,
            ..self.clone()
        }
    }

    pub(super) fn mark(&self) {
        if let Some(watched) = &self.watched {
            watched.set(true);
        }
    }

    fn is_named(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }
}

/// The column of a name, or whatever it could be.
pub(super) fn named(rows: &[Col], name: &str) -> Col {
    let mut found = Prov::default();
    let exact = rows.iter().any(|column| column.is_named(name));
    for column in rows {
        let matches = if exact {
            column.is_named(name)
        } else {
            column.name.is_none()
        };
        if matches {
            column.mark();
            found.absorb(&column.prov);
        }
    }
    Col::new(Some(name), found)
}

/// Where the value of any of several columns may come from.
pub(super) fn any_of<'c>(columns: impl IntoIterator<Item = &'c Col>) -> Prov {
    let mut any = Prov::default();
    for column in columns {
        any.absorb(&column.prov);
    }
    any
}

/// The same columns by their names, of which it is not certain where they stand: an open one in front says so.
pub(super) fn unplaced(rows: &[Col]) -> Rows {
    let mut unplaced = rows.to_vec();
    unplaced.insert(0, Col::open(any_of(rows).derive()));
    Rc::new(unplaced)
}

/// Whether it is certain which column stands where.
pub(super) fn are_placed(rows: &[Col]) -> bool {
    rows.iter().all(|column| column.placed && !column.open)
}

/// Renames columns as an alias says, as far as their positions are known.
pub(super) fn rename(mut rows: Rows, names: &[String]) -> Rows {
    if names.is_empty() {
        return rows;
    }
    if rows.iter().any(|column| !column.placed) {
        rows = unplaced(&rows);
    }
    let mut renamed = Vec::with_capacity(rows.len());
    let mut names = names.iter();
    let mut open = None;
    for column in rows.iter() {
        let mut column = column.clone();
        if open.is_none() && column.open {
            // The rest of the names are of columns that this one stands for.
            open = Some(column.prov.clone());
            for name in names.by_ref() {
                let mut known = Col::new(Some(name), column.prov.clone());
                known.watched = column.watched.clone();
                renamed.push(known);
            }
        } else if let Some(prov) = &open {
            // What comes after an open column may be any of those that were named.
            let mut prov = prov.clone();
            prov.absorb(&column.prov);
            for known in &mut renamed {
                known.prov.absorb(&column.prov);
            }
            // It may be one of those itself, and then it has its own name no more.
            column.sure = false;
        } else if let Some(name) = names.next() {
            column.name = Some(Rc::from(name.as_str()));
            column.sure = true;
        }
        renamed.push(column);
    }
    Rc::new(renamed)
}

/// One thing that can be named in a scope.
#[derive(Clone, Debug)]
pub(super) struct Item {
    name: Option<String>,
    /// Of a relation that has no alias, the schema that it is named with: `schema.name.column` finds only these.
    bare: Option<Option<String>>,
    pub(super) rows: Rows,
    /// Whether `name.column` finds it.
    by_name: bool,
    /// Whether `column` and `*` find it.
    by_column: bool,
    system: System,
}

/// Whether something has system columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    /// A relation that has.
    Known,
    /// A relation that may have.
    Perhaps,
    /// No relation.
    None,
}

impl Item {
    /// A relation, under its alias or its own name; with the schema that it is named with, where it has no alias.
    pub(super) fn table(
        name: Option<String>,
        bare: Option<Option<String>>,
        rows: Rows,
        system: System,
    ) -> Self {
        Self {
            name,
            bare,
            rows,
            by_name: true,
            by_column: true,
            system,
        }
    }

    /// Anything else in FROM.
    pub(super) fn rows(alias: Option<&Alias>, rows: Rows) -> Self {
        let name = alias.map(|alias| alias.name.clone());
        let by_name = name.is_some();
        Self {
            name,
            bare: None,
            rows,
            by_name,
            by_column: true,
            system: System::None,
        }
    }

    /// Found by `name.column` alone: `excluded`, `old`, `new`, the columns that a join has merged.
    pub(super) fn by_name_only(name: &str, rows: Rows, system: System) -> Self {
        let name = Some(name.to_owned());
        Self {
            name,
            bare: None,
            rows,
            by_name: true,
            by_column: false,
            system,
        }
    }

    /// The columns of a join without an alias hide those of its sides.
    pub(super) fn behind_join(mut self) -> Option<Self> {
        self.by_column = false;
        self.by_name.then_some(self)
    }

    pub(super) fn in_star(&self) -> bool {
        self.by_column
    }
}

/// A level of names and those around it.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) parent: Option<&'s Scope<'s>>,
    pub(super) items: &'s [Item],
}

impl<'s> Scope<'s> {
    pub(super) const EMPTY: Scope<'static> = Scope {
        parent: None,
        items: &[],
    };

    /// How many items `*` covers.
    pub(super) fn in_star(&self) -> usize {
        self.items.iter().filter(|item| item.by_column).count()
    }

    fn levels(&'s self) -> impl Iterator<Item = &'s Scope<'s>> {
        std::iter::successors(Some(self), |scope| scope.parent)
    }

    /// The item of a qualifier: `t` or `s.t`, innermost first. Several where it is not
    /// certain which.
    fn qualified(&'s self, qualifier: &[String]) -> Vec<&'s Item> {
        let (Some(name), schema) = (qualifier.last(), qualifier.iter().rev().nth(1)) else {
            return Vec::new();
        };
        let mut found: Vec<&'s Item> = Vec::new();
        for scope in self.levels() {
            let named = |item: &&'s Item| item.by_name && item.name.as_ref() == Some(name);
            let mut is_certain = false;
            for item in scope.items.iter().filter(named) {
                match (schema, &item.bare) {
                    (None, _) => is_certain = true,
                    // A relation without an alias, in this schema or by the search path in some.
                    (Some(wanted), Some(Some(schema))) if wanted == schema => is_certain = true,
                    (Some(_), Some(None)) => {}
                    (Some(_), _) => continue,
                }
                found.push(item);
            }
            if is_certain {
                break;
            }
        }
        found
    }
}

/// What a name was found to be.
pub(super) struct Found {
    pub(super) prov: Prov,
    /// A whole row rather than a column.
    pub(super) whole: bool,
    /// A row of columns as they are stored, none of them computed.
    pub(super) stored: bool,
    /// A column by its exact name.
    pub(super) exact: bool,
}

impl Tracer<'_> {
    pub(super) fn resolve(&mut self, name: &ColumnName, scope: &Scope<'_>) -> Found {
        let found = match name.parts.as_slice() {
            [column] => self.unqualified(column, scope),
            [qualifier @ .., column] => self.qualified(qualifier, column, scope),
            [] => Found {
                prov: self.unresolved(),
                whole: false,
                stored: false,
                exact: false,
            },
        };
        self.touch(&found.prov);
        found
    }

    fn unqualified(&mut self, name: &str, scope: &Scope<'_>) -> Found {
        let mut maybe = Prov::default();
        let mut open = false;
        for level in scope.levels() {
            let mut exact = None::<Prov>;
            let mut sure = false;
            for item in level.items.iter().filter(|item| item.by_column) {
                if !self.spend(item.rows.len()) {
                    return Found {
                        prov: self.unresolved(),
                        whole: false,
                        stored: false,
                        exact: false,
                    };
                }
                for column in item.rows.iter().filter(|column| column.is_named(name)) {
                    column.mark();
                    sure |= column.sure;
                    exact.get_or_insert_default().absorb(&column.prov);
                }
            }
            if let Some(mut prov) = exact {
                if !sure {
                    let around = self.around(name, level);
                    open |= !around.origins.is_empty();
                    maybe.absorb(&around);
                }
                if open {
                    prov.absorb(&maybe);
                    prov = prov.derive();
                }
                return Found {
                    prov,
                    whole: false,
                    stored: false,
                    exact: true,
                };
            }
            for item in level.items.iter().filter(|item| item.by_column) {
                for column in item.rows.iter().filter(|column| column.name.is_none()) {
                    open = true;
                    column.mark();
                    maybe.absorb(&column.prov);
                }
            }
            if is_system_column(name) {
                let mut systems = level.items.iter().filter(|item| item.by_column);
                if !open && systems.clone().any(|item| item.system == System::Known) {
                    return Found {
                        prov: Prov::default(),
                        whole: false,
                        stored: false,
                        exact: true,
                    };
                }
                open |= systems.any(|item| item.system == System::Perhaps);
            }
        }
        let rows = scope.qualified(std::slice::from_ref(&name.to_owned()));
        let whole = !rows.is_empty();
        let computed = |item: &&Item| item.rows.iter().any(|column| column.prov.derived);
        let stored = !open && !rows.iter().any(computed);
        for item in rows {
            let row = whole_row(item);
            maybe.absorb(&row);
        }
        if !whole && !open && name != SYSTEM_USER {
            maybe = self.unresolved();
        }
        Found {
            prov: maybe.derive(),
            whole,
            stored,
            exact: false,
        }
    }

    /// What a name means around a level if nothing there has it any more: a column, or a whole row.
    fn around(&mut self, name: &str, level: &Scope<'_>) -> Prov {
        let mut found = Prov::default();
        for outer in level.levels().skip(1) {
            let mut is_certain = false;
            for item in outer.items.iter().filter(|item| item.by_column) {
                if !self.spend(item.rows.len()) {
                    return self.unresolved();
                }
                let named = |column: &&Col| column.name.is_none() || column.is_named(name);
                for column in item.rows.iter().filter(named) {
                    found.absorb(&column.prov);
                    is_certain |= column.sure && !column.open;
                }
            }
            if is_certain {
                return found;
            }
        }
        for item in level.qualified(std::slice::from_ref(&name.to_owned())) {
            found.absorb(&whole_row(item));
        }
        found
    }

    fn qualified(&mut self, qualifier: &[String], name: &str, scope: &Scope<'_>) -> Found {
        let width: usize = scope.levels().map(|level| level.items.len()).sum();
        let items = if self.spend(width) {
            scope.qualified(qualifier)
        } else {
            Vec::new()
        };
        if items.is_empty() {
            self.called.insert(name.to_owned());
            return Found {
                prov: self.unresolved(),
                whole: false,
                stored: false,
                exact: false,
            };
        }
        let mut found = Found {
            prov: Prov::default(),
            whole: false,
            stored: false,
            exact: true,
        };
        for item in items {
            self.spend(item.rows.len());
            let mut columns = item.rows.iter().filter(|column| column.is_named(name));
            if let Some(first) = columns.next() {
                let is_sure = first.sure || columns.any(|column| column.sure);
                found.prov.absorb(&named(&item.rows, name).prov);
                // A column that the catalog names may be gone by now, and a function of the database's have its name.
                let is_own = crate::builtin::class(name).is_none();
                if !is_sure && is_own && !self.oracle.is_harmless_field(name) {
                    let row = whole_row(item);
                    found.prov.absorb(&self.called_as_field(name, &row));
                }
            } else if !(item.system == System::Known && is_system_column(name)) {
                // `row.function`, unless a column without a name is meant: the function sees the whole row.
                let nameless = item.rows.iter().any(|column| column.name.is_none());
                found.whole |= !nameless;
                found.exact = false;
                self.unexplained |= !nameless;
                let row = whole_row(item);
                found.prov.absorb(&row);
                found.prov.absorb(&self.called_as_field(name, &row));
            }
        }
        if !found.exact {
            found.prov = found.prov.derive();
        }
        found
    }

    /// `(row).field`, where `row` is certain to be a whole row.
    pub(super) fn field(
        &mut self,
        row: &ColumnName,
        field: &str,
        scope: &Scope<'_>,
    ) -> Option<Prov> {
        let [name] = row.parts.as_slice() else {
            return None;
        };
        let column = scope
            .levels()
            .flat_map(|level| level.items.iter())
            .any(|item| {
                item.by_column
                    && item
                        .rows
                        .iter()
                        .any(|col| col.name.is_none() || col.is_named(name))
            });
        if column {
            return None;
        }
        let items = scope.qualified(std::slice::from_ref(name));
        let [item] = items.as_slice() else {
            return None;
        };
        if !item.rows.iter().any(|column| column.is_named(field)) {
            return None;
        }
        let prov = named(&item.rows, field).prov.derive();
        self.touch(&prov);
        Some(prov)
    }

    /// The columns that `*` or `t.*` stands for.
    pub(super) fn star(&mut self, qualifier: &[String], scope: &Scope<'_>) -> Vec<Col> {
        let mut columns = Vec::new();
        let items: Vec<&Item> = if qualifier.is_empty() {
            scope.items.iter().filter(|item| item.by_column).collect()
        } else {
            scope.qualified(qualifier)
        };
        if items.is_empty() || (!qualifier.is_empty() && items.len() > 1) {
            return vec![Col::open(self.unresolved())];
        }
        for item in items {
            if !self.spend(item.rows.len()) {
                return vec![Col::open(self.unresolved())];
            }
            columns.extend(item.rows.iter().map(Col::read));
        }
        for column in &columns {
            self.touched.extend(&column.prov.origins);
        }
        columns
    }
}

/// Everything in a row, computed.
pub(super) fn whole_row(item: &Item) -> Prov {
    let mut prov = Prov::default();
    for column in item.rows.iter() {
        column.mark();
        prov.absorb(&column.prov);
    }
    prov.derive()
}

fn is_system_column(name: &str) -> bool {
    matches!(
        name,
        "ctid" | "tableoid" | "xmin" | "xmax" | "cmin" | "cmax"
    )
}
