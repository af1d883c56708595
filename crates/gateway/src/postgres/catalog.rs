//! What a database says about its own objects: relations, columns, views, inheritance, functions.
//!
//! A catalog is read over a session (see `catalog::query`), never guessed, and is immutable once
//! read: sessions share it by `Arc` and replace it whole. Labels are laid over it when it is built:
//! they follow configured names, what a name once meant (`Pins`), inheritance in both directions
//! and views, whose columns carry what their definitions carry.
//!
//! Names without a schema are looked up in every schema. That may label too much, never too little,
//! and needs no knowledge of `search_path`.

use std::collections::HashMap;
use std::sync::Arc;

use weir_policy::{LabelId, LabelRules};
use weir_sql::{Analysis, Derivation, LexSettings, Statement};

mod functions;
mod oracle;
mod pins;
mod query;

use functions::{Functions, Labelled, in_quotes};
pub(crate) use functions::{collects, rereads, stores_by_words, words};
pub(crate) use oracle::Oracle;
pub(crate) use pins::Pins;
pub(crate) use query::{QUERIES, Rows, Table, in_hex, stamp};

/// First OID of objects that are not part of the server (`FirstNormalObjectId`).
pub(crate) const FIRST_USER_OID: u32 = 16_384;

/// Rounds of following views through views before a chain is taken as labelled whole.
const MAX_VIEW_DEPTH: usize = 16;

/// A relation with columns.
#[derive(Debug)]
pub(crate) struct Relation {
    pub(crate) schema: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) columns: Vec<weir_sql::Column>,
    attributes: Vec<i16>,
    labels: Vec<Labels>,
    /// Which columns cannot be null.
    filled: Vec<bool>,
    /// The types of columns that have one of the server's own (see `weir_sql::own_type`), by a name that only
    /// that one has.
    types: Vec<Option<&'static str>>,
    /// What the definition of a view that is not the server's own calls, through other views too.
    pub(crate) calls: Vec<Box<str>>,
    /// What it reads, in the same way: schemas and names.
    pub(crate) reads: Vec<(Arc<str>, Arc<str>)>,
    /// Of a table without labels: the conditions, keys and triggers that are put on its rows.
    code: Vec<Box<str>>,
    /// A view over a relation with labelled columns, even if it shows none of them.
    over_labelled: bool,
    /// A view over the server's settings.
    over_settings: bool,
}

/// What carries labels from one relation to another.
struct Links {
    inherits: Vec<(u32, u32)>,
    views: Vec<Definition>,
    copies: Vec<Copied>,
}

/// A view.
struct Definition {
    /// Index of its relation.
    index: usize,
    oid: u32,
    /// Whether its rows are stored.
    is_stored: bool,
    /// `None` where its text cannot be read.
    script: Option<Arc<weir_sql::Script>>,
}

/// A column that the server fills, and the one that it fills it from: indices of relations and of
/// their columns.
#[derive(Debug)]
struct Copied {
    from: (usize, usize),
    to: (usize, usize),
    /// OID and attribute number of the one that is filled.
    key: (u32, i16),
    /// Whether it is computed.
    derived: bool,
}

/// The labels of one column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    /// Which, sorted.
    pub(crate) ids: Vec<LabelId>,
    /// Whether the value is computed from a labelled one, so that only a whole mask is safe.
    pub(crate) derived: bool,
}

/// A database's relations and functions, with labels.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    relations: Vec<Relation>,
    by_name: HashMap<Arc<str>, Vec<usize>>,
    by_oid: HashMap<u32, usize>,
    functions: Functions,
    all_labels: Vec<LabelId>,
    /// Those whose masks show a part of the value, sorted.
    partial: Vec<LabelId>,
    /// What the server's own tables were when the reading began, where nothing was read that is not
    /// committed.
    pub(crate) stamp: Option<Box<str>>,
}

/// How a relation's name resolves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Resolved<'a> {
    /// No relation has the name.
    Unknown,
    /// This one, or this one stands for all that have the name.
    One(&'a Relation),
    /// Several that differ, at least one of them labelled.
    Ambiguous(&'a [usize]),
}

impl Relation {
    /// Whether code runs on its rows, or may: what runs on labelled ones is known elsewhere.
    pub(crate) fn has_code(&self) -> bool {
        !self.code.is_empty() || self.is_labelled()
    }

    /// The labels of the column at `index` of `columns`.
    pub(crate) fn labels(&self, index: usize) -> &[LabelId] {
        self.labels
            .get(index)
            .map_or(&[], |labels| labels.ids.as_slice())
    }

    /// Whether a cast to this type leaves the values of the column at `index` as they are.
    fn has_type(&self, index: usize, name: &str) -> bool {
        let is_text = |name: &str| matches!(name, "text" | "varchar");
        let own = self.types.get(index).copied().flatten();
        own.is_some_and(|own| own == name || is_text(own) && is_text(name))
    }

    fn is_labelled(&self) -> bool {
        self.columns.iter().any(|column| column.labelled)
    }

    /// Whether rows with labelled columns lie in it or under it.
    fn holds_labelled(&self) -> bool {
        self.over_labelled || self.is_labelled()
    }

    fn is_over_settings(&self) -> bool {
        self.over_settings || &*self.schema == "pg_catalog" && &*self.name == "pg_settings"
    }

    fn all_labels(&self) -> impl Iterator<Item = LabelId> {
        self.labels
            .iter()
            .flat_map(|labels| labels.ids.iter().copied())
    }

    fn add(&mut self, index: usize, ids: &[LabelId], derived: bool) -> bool {
        let (Some(labels), Some(column)) =
            (self.labels.get_mut(index), self.columns.get_mut(index))
        else {
            return false;
        };
        let before = (labels.ids.len(), labels.derived);
        labels.ids.extend_from_slice(ids);
        labels.ids.sort_unstable();
        labels.ids.dedup();
        labels.derived |= derived && !ids.is_empty();
        column.labelled = !labels.ids.is_empty();
        before != (labels.ids.len(), labels.derived)
    }
}

impl Catalog {
    /// Builds the catalog from what the queries returned.
    ///
    /// # Errors
    /// A row does not have the shape that was asked for.
    pub(crate) fn build(rows: &Rows, rules: &LabelRules, pins: &mut Pins) -> Result<Self, String> {
        let mut catalog = Self {
            partial: rules.all(),
            all_labels: rules.all(),
            ..Self::default()
        };
        catalog.partial.retain(|id| rules.shows_part(*id));
        for column in rows.columns()? {
            catalog.add_column(&column, rules, pins);
        }
        let inherits = rows.inherits()?;
        let views = rows.views()?;
        let links = Links {
            views: catalog.definitions(&views),
            copies: catalog.copies(&rows.copies()?),
            inherits,
        };
        // Whom a function can be trusted with depends on what is labelled, and what a view that calls
        // one carries on the function. Labels only come to it, so this ends.
        while catalog.spread(&links) {
            let labelled = catalog.labelled(&rows.attached()?);
            catalog.functions = Functions::build(rows.functions()?, labelled);
        }
        catalog.keep_code(&rows.attached()?);
        catalog.pin_children(&links.inherits, rules, pins);
        catalog.pin_copies(&links.copies, rules, pins);
        catalog.pin_stored(&links.views, rules, pins);
        Ok(catalog)
    }

    /// Keeps the code that would run on labelled rows if its table came to hold some.
    fn keep_code(&mut self, attached: &[(u32, &str)]) {
        for (oid, code) in attached {
            let place = self.by_oid.get(oid).copied();
            let relation = place.and_then(|at| self.relations.get_mut(at));
            if let Some(relation) = relation.filter(|it| !it.is_labelled()) {
                relation.code.push((*code).into());
            }
        }
    }

    /// What is labelled, by name, and the code that runs on it.
    fn labelled<'a>(&self, attached: &[(u32, &'a str)]) -> Labelled<'a> {
        let mut labelled = Labelled::default();
        for relation in self.relations.iter().filter(|r| r.is_labelled()) {
            labelled.relations.insert(Box::from(&*relation.name));
            if &*relation.schema == "pg_catalog" {
                continue;
            }
            let columns = relation.columns.iter().filter(|column| column.labelled);
            labelled
                .columns
                .extend(columns.map(|column| Box::from(column.name.as_str())));
        }
        let runs = |oid: &u32| {
            let relation = self.by_oid.get(oid).and_then(|at| self.relations.get(*at));
            *oid == 0 || relation.is_some_and(Relation::is_labelled)
        };
        let code = attached.iter().filter(|(oid, _)| runs(oid));
        labelled.attached = code.map(|(_, code)| *code).collect();
        labelled.anywhere = attached.iter().map(|(_, code)| *code).collect();
        labelled
    }

    /// The columns that the server fills from others, and those that it fills them from.
    fn copies(&self, rows: &[query::CopyRow<'_>]) -> Vec<Copied> {
        let place = |oid, attribute: i16| {
            let relation = *self.by_oid.get(&oid)?;
            let mut attributes = self.relations.get(relation)?.attributes.iter();
            Some((relation, attributes.position(|have| *have == attribute)?))
        };
        let mut copies = Vec::new();
        for row in rows {
            let Some(to) = place(row.oid, row.attribute) else {
                continue;
            };
            let key = (row.oid, row.attribute);
            match row.from {
                query::Source::Column(oid, attribute) => {
                    copies.extend(place(oid, attribute).map(|from| Copied {
                        from,
                        to,
                        key,
                        derived: false,
                    }));
                }
                query::Source::Expression(text) => {
                    let named: Vec<String> = words(text).collect();
                    let columns = self.relations.get(to.0).map(|found| &found.columns);
                    let columns = columns.into_iter().flatten().enumerate();
                    let read = columns.filter(|(_, column)| {
                        named.contains(&column.name) || in_quotes(&column.name, text)
                    });
                    copies.extend(read.map(|(at, _)| Copied {
                        from: (to.0, at),
                        to,
                        key,
                        derived: true,
                    }));
                }
            }
        }
        copies
    }

    fn add_column(&mut self, column: &query::ColumnRow<'_>, rules: &LabelRules, pins: &mut Pins) {
        let index = *self.by_oid.entry(column.oid).or_insert_with(|| {
            let name: Arc<str> = column.relation.into();
            self.by_name
                .entry(Arc::clone(&name))
                .or_default()
                .push(self.relations.len());
            self.relations.push(Relation {
                schema: column.schema.into(),
                name,
                columns: Vec::new(),
                attributes: Vec::new(),
                labels: Vec::new(),
                filled: Vec::new(),
                types: Vec::new(),
                calls: Vec::new(),
                reads: Vec::new(),
                code: Vec::new(),
                over_labelled: false,
                over_settings: false,
            });
            self.relations.len() - 1
        });
        let Some(relation) = self.relations.get_mut(index) else {
            return;
        };
        let mut ids = rules.of_column(column.schema, column.relation, column.name);
        pins.follow(column, rules, &mut ids);
        let at = relation.columns.len();
        relation.columns.push(weir_sql::Column {
            name: column.name.into(),
            labelled: false,
        });
        relation.attributes.push(column.attribute);
        relation.filled.push(column.not_null);
        relation.types.push(weir_sql::own_type(column.own_type));
        relation.labels.push(Labels::default());
        relation.add(at, &ids, false);
        if column.schema == "pg_catalog" && is_sample(column.relation, column.name) {
            relation.add(at, &self.all_labels, true);
        }
    }

    /// The views and what they are defined as.
    fn definitions(&self, views: &[query::ViewRow<'_>]) -> Vec<Definition> {
        let read = |view: &query::ViewRow<'_>| {
            let index = *self.by_oid.get(&view.oid)?;
            let script = match weir_sql::analyze(view.text, &LexSettings::default()) {
                Analysis::Parsed(script) => Some(script),
                _ => None,
            };
            Some(Definition {
                index,
                oid: view.oid,
                is_stored: view.is_stored,
                script,
            })
        };
        views.iter().filter_map(read).collect()
    }

    /// Carries labels along inheritance, through views and to the columns that the server fills until
    /// nothing changes. Whether anything has, or there are no functions yet.
    fn spread(&mut self, links: &Links) -> bool {
        let mut any = !self.functions.is_built();
        for round in 0..=MAX_VIEW_DEPTH {
            let mut changed = false;
            for (child, parent) in &links.inherits {
                changed |= self.copy_labels(*parent, *child) | self.copy_labels(*child, *parent);
            }
            loop {
                let mut copied = false;
                for one in &links.copies {
                    copied |= self.copy(one);
                }
                if !copied {
                    break;
                }
                changed = true;
            }
            for Definition { index, script, .. } in &links.views {
                let statement = script.as_ref().and_then(|script| script.statements.first());
                let found = match statement {
                    Some(statement) if round < MAX_VIEW_DEPTH => {
                        self.view_labels(*index, statement)
                    }
                    Some(_) => Vec::new(),
                    None => self.everything(*index),
                };
                for (at, ids, derived) in found {
                    let relation = self.relations.get_mut(*index);
                    changed |= relation.is_some_and(|relation| relation.add(at, &ids, derived));
                }
                let over = statement.is_none_or(|statement| self.reads_labelled(statement));
                let settings = statement.is_none_or(|statement| self.reads_settings(statement));
                let calls = statement.map_or_else(Vec::new, |statement| self.calls(statement));
                let reads = statement.map_or_else(Vec::new, |statement| self.reads(statement));
                if let Some(view) = self.relations.get_mut(*index) {
                    changed |= reads.len() > view.reads.len();
                    view.reads = reads;
                    changed |= (over && !view.over_labelled)
                        || (settings && !view.over_settings)
                        || calls.len() > view.calls.len();
                    view.over_labelled |= over;
                    view.over_settings |= settings;
                    view.calls = calls;
                }
            }
            any |= changed;
            if !changed {
                return any;
            }
            if round == MAX_VIEW_DEPTH {
                for Definition { index, .. } in &links.views {
                    for (at, ids, derived) in self.everything(*index) {
                        if let Some(relation) = self.relations.get_mut(*index) {
                            relation.add(at, &ids, derived);
                        }
                    }
                }
            }
        }
        any
    }

    /// What a child or partition was once labelled with through its parent it keeps when it is
    /// taken off: the rows are still there.
    fn pin_children(&self, inherits: &[(u32, u32)], rules: &LabelRules, pins: &mut Pins) {
        for (child, parent) in inherits {
            let relation = |oid| self.relations.get(*self.by_oid.get(oid)?);
            let (Some(relation), Some(parent)) = (relation(child), relation(parent)) else {
                continue;
            };
            if !parent.is_labelled() {
                continue;
            }
            let columns = relation.columns.iter().zip(&relation.attributes);
            for ((column, attribute), labels) in columns.zip(&relation.labels) {
                let from = format!("{}.{}.{}", parent.schema, parent.name, column.name);
                pins.inherit((*child, *attribute), &labels.ids, rules, &from);
            }
        }
    }

    /// What a column was once labelled with through the one that it is filled from it keeps, too.
    fn pin_copies(&self, copies: &[Copied], rules: &LabelRules, pins: &mut Pins) {
        for copied in copies {
            let Some(from) = self.relations.get(copied.from.0) else {
                continue;
            };
            let ids = from.labels(copied.from.1);
            if let Some(column) = from.columns.get(copied.from.1).filter(|_| !ids.is_empty()) {
                let name = format!("{}.{}.{}", from.schema, from.name, column.name);
                pins.inherit(copied.key, ids, rules, &name);
            }
        }
    }

    /// The rows of a materialized view stay what they were when its definition comes to mean something
    /// else.
    fn pin_stored(&self, views: &[Definition], rules: &LabelRules, pins: &mut Pins) {
        for view in views.iter().filter(|view| view.is_stored) {
            let Some(relation) = self.relations.get(view.index) else {
                continue;
            };
            let columns = relation.attributes.iter().zip(&relation.labels);
            for (attribute, labels) in columns.filter(|(_, labels)| !labels.ids.is_empty()) {
                let from = format!("definition of {}.{}", relation.schema, relation.name);
                pins.inherit((view.oid, *attribute), &labels.ids, rules, &from);
            }
        }
    }

    fn copy(&mut self, copied: &Copied) -> bool {
        let source = self.relations.get(copied.from.0);
        let Some(labels) = source.and_then(|source| source.labels.get(copied.from.1)) else {
            return false;
        };
        let labels = labels.clone();
        let derived = copied.derived || labels.derived;
        let target = self.relations.get_mut(copied.to.0);
        target.is_some_and(|target| target.add(copied.to.1, &labels.ids, derived))
    }

    /// The functions that a view calls itself and through views that it names.
    fn calls(&self, statement: &Statement) -> Vec<Box<str>> {
        let own = statement.functions.iter().map(|f| Box::from(&*f.name));
        let mut calls: Vec<Box<str>> = own.collect();
        for relation in &statement.relations {
            let found = self.resolve(relation.schema.as_deref(), &relation.name);
            if let Resolved::One(view) = found {
                calls.extend(view.calls.iter().cloned());
            }
        }
        calls.sort_unstable();
        calls.dedup();
        calls
    }

    /// Whether a view reads a relation.
    fn is_viewed(&self, schema: &str, name: &str) -> bool {
        let reads = self.relations.iter().flat_map(|view| &view.reads);
        reads
            .into_iter()
            .any(|(in_schema, read)| **in_schema == *schema && **read == *name)
    }

    /// The relations that a view reads, itself and through other views.
    fn reads(&self, statement: &Statement) -> Vec<(Arc<str>, Arc<str>)> {
        let mut reads = Vec::new();
        let mut read = |found: &Relation| {
            reads.push((Arc::clone(&found.schema), Arc::clone(&found.name)));
            reads.extend(found.reads.iter().cloned());
        };
        for relation in &statement.relations {
            match self.resolve(relation.schema.as_deref(), &relation.name) {
                Resolved::Unknown => {}
                Resolved::One(found) => read(found),
                Resolved::Ambiguous(candidates) => {
                    let candidates = candidates.iter();
                    let found = candidates.filter_map(|at| self.relations.get(*at));
                    found.for_each(&mut read);
                }
            }
        }
        reads.sort_unstable();
        reads.dedup();
        reads
    }

    fn reads_labelled(&self, statement: &Statement) -> bool {
        let oracle = self.oracle(statement, false);
        (0..statement.relations.len()).any(|index| oracle.holds_labelled(index))
    }

    /// Whether a view shows the server's settings, which an update of it changes.
    fn reads_settings(&self, statement: &Statement) -> bool {
        statement.relations.iter().any(|relation| {
            match self.resolve(relation.schema.as_deref(), &relation.name) {
                Resolved::One(found) => found.is_over_settings(),
                _ => relation.name == "pg_settings",
            }
        })
    }

    fn everything(&self, index: usize) -> Vec<(usize, Vec<LabelId>, bool)> {
        let width = self
            .relations
            .get(index)
            .map_or(0, |relation| relation.columns.len());
        (0..width)
            .map(|at| (at, self.all_labels.clone(), true))
            .collect()
    }

    fn view_labels(&self, index: usize, statement: &Statement) -> Vec<(usize, Vec<LabelId>, bool)> {
        let width = self
            .relations
            .get(index)
            .map_or(0, |relation| relation.columns.len());
        let oracle = self.oracle(statement, false);
        let traced = statement.lineage.trace(&oracle);
        (0..width)
            .filter_map(|at| {
                let output = traced.outputs.column(at, width);
                let ids = oracle.labels_of(&output.origins);
                (!ids.is_empty()).then_some((at, ids, output.derivation != Derivation::Direct))
            })
            .collect()
    }

    fn copy_labels(&mut self, from: u32, to: u32) -> bool {
        let (Some(from), Some(to)) = (self.by_oid.get(&from), self.by_oid.get(&to)) else {
            return false;
        };
        let Some(source) = self.relations.get(*from) else {
            return false;
        };
        let labelled: Vec<(String, Labels)> = source
            .columns
            .iter()
            .zip(&source.labels)
            .filter(|(column, _)| column.labelled)
            .map(|(column, labels)| (column.name.clone(), labels.clone()))
            .collect();
        let Some(target) = self.relations.get_mut(*to) else {
            return false;
        };
        let mut changed = false;
        for (name, labels) in labelled {
            let at = target.columns.iter().position(|column| column.name == name);
            changed |= at.is_some_and(|at| target.add(at, &labels.ids, labels.derived));
        }
        changed
    }

    /// What a relation's name means.
    pub(crate) fn resolve(&self, schema: Option<&str>, name: &str) -> Resolved<'_> {
        let Some(candidates) = self.by_name.get(name) else {
            return Resolved::Unknown;
        };
        let fits = |relation: &&Relation| match schema {
            None => true,
            Some("pg_temp") => relation.schema.starts_with("pg_temp"),
            Some(schema) => &*relation.schema == schema,
        };
        let found = || {
            candidates
                .iter()
                .filter_map(|at| self.relations.get(*at))
                .filter(fits)
        };
        let Some(first) = found().next() else {
            return Resolved::Unknown;
        };
        if found().count() == 1 {
            return Resolved::One(first);
        }
        match found().find(|relation| relation.is_labelled()) {
            None => Resolved::One(first),
            Some(labelled) if found().all(|other| other.columns == labelled.columns) => {
                Resolved::One(labelled)
            }
            Some(_) => Resolved::Ambiguous(candidates),
        }
    }

    /// The labels of a column by what RowDescription says; `None` where the relation is unknown.
    pub(crate) fn origin(&self, oid: u32, attribute: i16) -> Option<&Labels> {
        static NONE: Labels = Labels {
            ids: Vec::new(),
            derived: false,
        };
        let relation = self.relations.get(*self.by_oid.get(&oid)?)?;
        if attribute <= 0 {
            return Some(&NONE);
        }
        let at = relation
            .attributes
            .iter()
            .position(|have| *have == attribute)?;
        relation.labels.get(at)
    }

    /// Every label that the target has, sorted.
    pub(crate) fn all_labels(&self) -> &[LabelId] {
        &self.all_labels
    }

    /// The relations whose names are no plain words and stand in this code.
    pub(crate) fn quoted_in<'a>(&'a self, code: &'a str) -> impl Iterator<Item = &'a Relation> {
        self.relations
            .iter()
            .filter(move |relation| in_quotes(&relation.name, code))
    }

    /// Whether code in another language can be seen to touch nothing labelled.
    pub(crate) fn is_harmless(&self, code: &weir_sql::Code) -> bool {
        self.functions
            .is_harmless(code.language.as_deref(), &code.text)
    }

    /// Answers lineage's questions about one statement. With `after_ddl`, names that are unknown
    /// may be created by an earlier statement of the same message.
    pub(crate) fn oracle<'a>(&'a self, statement: &'a Statement, after_ddl: bool) -> Oracle<'a> {
        let relations = statement
            .relations
            .iter()
            .map(|relation| self.resolve(relation.schema.as_deref(), &relation.name))
            .collect();
        Oracle {
            catalog: self,
            statement,
            relations,
            after_ddl,
        }
    }
}

/// Whether a catalog column holds samples of other columns' values, as the planner keeps them.
fn is_sample(relation: &str, column: &str) -> bool {
    match relation {
        "pg_statistic" => column.starts_with("stavalues"),
        "pg_statistic_ext_data" => column.starts_with("stxd") && column != "stxdinherit",
        "pg_stats" | "pg_stats_ext" | "pg_stats_ext_exprs" => {
            ["most_common_", "histogram_bounds", "elem_"]
                .iter()
                .any(|part| column.starts_with(part))
                || column.ends_with("_histogram")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
