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
use weir_sql::{Analysis, Derivation, LexSettings, Origin, Statement};

mod functions;
mod pins;
mod query;

use functions::in_quotes;
use functions::{Functions, Labelled};
pub(crate) use functions::{collects, stores_by_words, words};
pub(crate) use pins::Pins;
pub(crate) use query::{QUERIES, Rows};

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
    /// What the definition of a view that is not the server's own calls, through other views too.
    pub(crate) calls: Vec<Box<str>>,
    /// A view over a relation with labelled columns, even if it shows none of them.
    over_labelled: bool,
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
    /// The labels of the column at `index` of `columns`.
    pub(crate) fn labels(&self, index: usize) -> &[LabelId] {
        self.labels
            .get(index)
            .map_or(&[], |labels| labels.ids.as_slice())
    }

    fn is_labelled(&self) -> bool {
        self.columns.iter().any(|column| column.labelled)
    }

    /// Whether rows with labelled columns lie in it or under it.
    fn holds_labelled(&self) -> bool {
        self.over_labelled || self.is_labelled()
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
            all_labels: rules.all(),
            ..Self::default()
        };
        for column in rows.columns()? {
            catalog.add_column(&column, rules, pins);
        }
        let inherits = rows.inherits()?;
        let views = rows.views()?;
        catalog.spread(&inherits, &views);
        catalog.pin_children(&inherits, rules, pins);
        let labelled = catalog.labelled(&rows.attached()?);
        catalog.functions = Functions::build(rows.functions()?, labelled);
        Ok(catalog)
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
        labelled
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
                calls: Vec::new(),
                over_labelled: false,
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
        relation.labels.push(Labels::default());
        relation.add(at, &ids, false);
        if column.schema == "pg_catalog" && is_sample(column.relation, column.name) {
            relation.add(at, &self.all_labels, true);
        }
    }

    /// Carries labels along inheritance and through views until nothing changes.
    fn spread(&mut self, inherits: &[(u32, u32)], views: &[(u32, &str)]) {
        let parsed: Vec<(usize, Option<Arc<weir_sql::Script>>)> = views
            .iter()
            .filter_map(|(oid, text)| {
                let index = *self.by_oid.get(oid)?;
                match weir_sql::analyze(text, &LexSettings::default()) {
                    Analysis::Parsed(script) => Some((index, Some(script))),
                    _ => Some((index, None)),
                }
            })
            .collect();
        for round in 0..=MAX_VIEW_DEPTH {
            let mut changed = false;
            for (child, parent) in inherits {
                changed |= self.copy_labels(*parent, *child) | self.copy_labels(*child, *parent);
            }
            for (index, script) in &parsed {
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
                let calls = statement.map_or_else(Vec::new, |statement| self.calls(statement));
                if let Some(view) = self.relations.get_mut(*index) {
                    changed |= (over && !view.over_labelled) || calls.len() > view.calls.len();
                    view.over_labelled |= over;
                    view.calls = calls;
                }
            }
            if !changed {
                return;
            }
            if round == MAX_VIEW_DEPTH {
                for (index, _) in &parsed {
                    for (at, ids, derived) in self.everything(*index) {
                        if let Some(relation) = self.relations.get_mut(*index) {
                            relation.add(at, &ids, derived);
                        }
                    }
                }
            }
        }
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

    fn reads_labelled(&self, statement: &Statement) -> bool {
        let oracle = self.oracle(statement, false);
        (0..statement.relations.len()).any(|index| oracle.holds_labelled(index))
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

/// A catalog's answers about one statement's relations and functions.
pub(crate) struct Oracle<'a> {
    catalog: &'a Catalog,
    statement: &'a Statement,
    relations: Vec<Resolved<'a>>,
    after_ddl: bool,
}

impl Oracle<'_> {
    /// Every label that values of these origins may carry, sorted.
    pub(crate) fn labels_of(&self, origins: &[Origin]) -> Vec<LabelId> {
        let mut ids: Vec<LabelId> = Vec::new();
        for origin in origins {
            match origin {
                Origin::Column { relation, column } => match self.relations.get(*relation) {
                    Some(Resolved::One(found)) => ids.extend_from_slice(found.labels(*column)),
                    _ => ids.extend_from_slice(&self.catalog.all_labels),
                },
                Origin::Relation(relation) => match self.relations.get(*relation) {
                    Some(Resolved::Ambiguous(candidates)) => ids.extend(
                        candidates
                            .iter()
                            .filter_map(|at| self.catalog.relations.get(*at))
                            .flat_map(Relation::all_labels),
                    ),
                    Some(Resolved::One(found)) => ids.extend(found.all_labels()),
                    _ => ids.extend_from_slice(&self.catalog.all_labels),
                },
                Origin::Function(_) | Origin::Unresolved => {
                    ids.extend_from_slice(&self.catalog.all_labels);
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The name of a labelled column, with its table, and its labels.
    pub(crate) fn named(&self, origin: Origin) -> Option<(String, Vec<LabelId>)> {
        let Origin::Column { relation, column } = origin else {
            return None;
        };
        let Some(Resolved::One(found)) = self.relations.get(relation) else {
            return None;
        };
        let labels = found.labels(column).to_vec();
        let name = &found.columns.get(column)?.name;
        let (schema, table) = (&found.schema, &found.name);
        (!labels.is_empty()).then(|| (format!("{schema}.{table}.{name}"), labels))
    }

    /// The labels of a column of the statement's relation at `index`; none where it is not known.
    pub(crate) fn labels_at(&self, index: usize, column: Option<&str>) -> Vec<LabelId> {
        let Some(Resolved::One(found)) = self.relations.get(index) else {
            return Vec::new();
        };
        let at = column.and_then(|name| found.columns.iter().position(|have| have.name == name));
        at.map(|at| found.labels(at).to_vec()).unwrap_or_default()
    }

    /// The labels that a name may stand for in an expression over the statement's relations: of
    /// columns, or of a whole row.
    pub(crate) fn labels_named(&self, name: &str) -> Vec<LabelId> {
        let mut ids: Vec<LabelId> = Vec::new();
        for (index, relation) in self.relations.iter().enumerate() {
            ids.extend(self.labels_at(index, Some(name)));
            if let Resolved::One(found) = relation
                && *found.name == *name
            {
                ids.extend(found.all_labels());
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// What views that the statement reads call.
    pub(crate) fn called_by_views(&self) -> impl Iterator<Item = &str> {
        let found = self.relations.iter().filter_map(|found| match found {
            Resolved::One(found) => Some(found),
            _ => None,
        });
        found.flat_map(|view| view.calls.iter().map(|name| &**name))
    }

    /// Whether a column of what the statement writes has no nulls.
    pub(crate) fn is_never_null(&self, column: &str) -> bool {
        let named = self.statement.relations.iter().zip(&self.relations);
        let written = named.filter(|(named, _)| named.access == weir_sql::Access::Write);
        written.into_iter().any(|(_, found)| match found {
            Resolved::One(found) => {
                let at = found.columns.iter().position(|have| have.name == column);
                at.is_some_and(|at| found.filled.get(at) == Some(&true))
            }
            _ => false,
        })
    }

    /// Whether rows with labelled columns lie in or under the statement's relation at `index`.
    pub(crate) fn holds_labelled(&self, index: usize) -> bool {
        match self.relations.get(index) {
            Some(Resolved::One(found)) => found.holds_labelled(),
            Some(Resolved::Ambiguous(_)) => true,
            Some(Resolved::Unknown) | None => false,
        }
    }

    /// Whether a function of the database, or a view that is read, may put many records into one row.
    pub(crate) fn calls_collecting(&self) -> bool {
        let functions = &self.catalog.functions;
        let called = self.statement.functions.iter();
        called.into_iter().any(|f| functions.collects(&f.name))
            || self
                .called_by_views()
                .any(|name| weir_sql::is_collecting(name) || functions.collects(name))
    }

    /// Whether a function is called that keeps what it is given. What moves a sequence shows nothing
    /// of a row.
    pub(crate) fn calls_keeping(&self) -> bool {
        let functions = &self.catalog.functions;
        self.statement.functions.iter().any(|f| {
            let class = weir_sql::builtin::class(&f.name);
            class != Some(weir_sql::builtin::FunctionClass::Sequence)
                && functions.keeps(f.schema.as_deref(), &f.name)
        })
    }

    /// Whether a definition puts code where it would run by itself on labelled values and could leave
    /// them elsewhere, or tell of them: behind an operator, a cast or a domain, or as a trigger, a
    /// policy, a check or an index of a labelled relation.
    pub(crate) fn attaches(&self) -> bool {
        let functions = &self.catalog.functions;
        let statement = self.statement;
        if let Some(name) = &statement.defines {
            let quiet = |code: &weir_sql::Code| {
                functions.is_quiet_code(code.language.as_deref(), &code.text)
            };
            let is_defined = !statement.code.is_empty() && statement.contained.is_empty();
            return functions.is_attached(name)
                && !(is_defined && statement.code.iter().all(quiet));
        }
        let keeps = || self.calls_keeping();
        let on_labelled = || (0..self.relations.len()).any(|index| self.holds_labelled(index));
        match statement.tag {
            "CREATE OPERATOR"
            | "CREATE CAST"
            | "CREATE DOMAIN"
            | "ALTER DOMAIN"
            | "CREATE TYPE"
            | "CREATE EVENT TRIGGER" => keeps(),
            "ALTER TABLE" | "CREATE INDEX" | "CREATE STATISTICS" => keeps() && on_labelled(),
            "CREATE POLICY" | "ALTER POLICY" => {
                let named = |column: &weir_sql::DefinitionColumn| {
                    !self.labels_named(&column.name).is_empty()
                };
                on_labelled() && (keeps() || statement.columns.iter().any(named))
            }
            "CREATE TRIGGER" => {
                let loud = |function: &weir_sql::FunctionRef| !functions.is_quiet(&function.name);
                on_labelled() && (keeps() || statement.functions.iter().any(loud))
            }
            _ => false,
        }
    }

    /// Schema and name of the statement's relation at `index`, as far as they are known.
    pub(crate) fn name(&self, index: usize) -> (&str, &str) {
        match (
            self.relations.get(index),
            self.statement.relations.get(index),
        ) {
            (Some(Resolved::One(found)), _) => (&found.schema, &found.name),
            (_, Some(named)) => (named.schema.as_deref().unwrap_or(""), &named.name),
            _ => ("", ""),
        }
    }
}

impl weir_sql::Oracle for Oracle<'_> {
    fn columns(&self, relation: usize) -> Option<&[weir_sql::Column]> {
        match self.relations.get(relation)? {
            Resolved::One(found) => Some(&found.columns),
            Resolved::Unknown if !self.after_ddl => Some(&[]),
            _ => None,
        }
    }

    fn is_trusted(&self, function: usize) -> bool {
        let Some(function) = self.statement.functions.get(function) else {
            return false;
        };
        self.catalog
            .functions
            .is_trusted(function.schema.as_deref(), &function.name)
    }

    fn keeps(&self, function: usize) -> bool {
        let function = self.statement.functions.get(function);
        function.is_none_or(|function| {
            self.catalog
                .functions
                .keeps(function.schema.as_deref(), &function.name)
        })
    }

    fn is_harmless_field(&self, name: &str) -> bool {
        let functions = &self.catalog.functions;
        functions.is_trusted(None, name) && !functions.keeps(None, name)
    }
}

#[cfg(test)]
mod tests;
