//! What a database says about its own objects: relations, columns, views, inheritance, functions.
//!
//! A catalog is read over a session (see `catalog::query`), never guessed, and is immutable once
//! read: sessions share it by `Arc` and replace it whole. Labels are laid over it when it is built:
//! they follow configured names, what a name once meant (`Pins`), inheritance in both directions
//! and views, whose columns carry what their definitions carry.
//!
//! Names without a schema are looked up in every schema. That may label too much, never too little,
//! and needs no knowledge of `search_path`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use weir_policy::{LabelId, LabelRules};
use weir_sql::Statement;
use weir_wire_postgres::backend::Field;

mod functions;
mod oracle;
mod pins;
mod query;
mod redefines;
mod source;
mod spread;
mod united;

use functions::{Functions, Labelled};
pub(crate) use oracle::Oracle;
pub(crate) use pins::Pins;
use query::FunctionRow;
pub(crate) use query::{QUERIES, Rows, Table, in_hex, stamp};
pub(crate) use redefines::Redefines;
use source::in_quotes;
pub(crate) use source::{collects, rereads, stores_by_words, words};

/// First OID of objects that are not part of the server (`FirstNormalObjectId`).
pub(crate) const FIRST_USER_OID: u32 = 16_384;

/// A relation with columns.
#[derive(Debug, Clone)]
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
    /// The conditions, keys and triggers that are put on its rows.
    code: Vec<Box<str>>,
    /// A view over a relation with labelled columns, even if it shows none of them.
    over_labelled: bool,
    /// A view over the server's settings.
    over_settings: bool,
    /// It has system columns, as all have but views.
    has_system: bool,
    /// A write to it may run code that gives names another meaning.
    redefines: Redefines,
    /// Code on what is written to it may put many records into one value.
    collects: bool,
    /// What reading it may do to what names mean, by its policies.
    redefines_read: Redefines,
    /// A write to it may have the server write to rows with labelled columns elsewhere: by a foreign key, or by code.
    reaches: bool,
    /// Names of the relations that it shares columns with as parent, child or partition, its own among them; empty
    /// where there are none.
    pub(crate) kin: Arc<[Arc<str>]>,
    /// Which columns the primary key has.
    primary: Vec<bool>,
    /// Which columns some unique index, or one of an exclusion, may be about.
    unique: Vec<bool>,
    /// Which columns the server fills where an insert names none.
    defaults: Vec<bool>,
}

/// The labels of one column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    /// Which, sorted.
    pub(crate) ids: Vec<LabelId>,
    /// Whether the value is computed from a labelled one, so that only a whole mask is safe.
    pub(crate) derived: bool,
}

impl Labels {
    /// Adds others; whether that changes anything.
    pub(crate) fn add(&mut self, others: &Self) -> bool {
        let before = (self.ids.len(), self.derived);
        self.ids.extend_from_slice(&others.ids);
        self.ids.sort_unstable();
        self.ids.dedup();
        self.derived |= others.derived && !others.ids.is_empty();
        before != (self.ids.len(), self.derived)
    }
}

/// A database's relations and functions, with labels.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    relations: Vec<Relation>,
    by_name: HashMap<Arc<str>, Vec<usize>>,
    by_oid: HashMap<u32, usize>,
    /// The names of several relations whose columns differ.
    mixed: HashSet<Arc<str>>,
    /// What stands for all relations of a name that several have.
    united: HashMap<Arc<str>, Relation>,
    /// The relations with labelled columns: the server may keep long values of theirs in relations of its own.
    labelled: Vec<usize>,
    functions: Functions,
    /// An operator `=` is there that is neither the server's nor an extension's.
    own_equality: bool,
    /// Something in it goes with the session that has read it, and is there for that one alone.
    pub(crate) is_temporary: bool,
    /// The most that code on the rows of any relation does to what names mean.
    redefining: Redefines,
    /// The same of that which may run at the end of a transaction.
    deferred: Redefines,
    /// What is labelled, by name.
    rules: LabelRules,
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
        !self.code.is_empty() || self.reports_rows()
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

    /// Whether a write to it may fail with rows of labelled columns in what the server says.
    fn reports_rows(&self) -> bool {
        self.holds_labelled() || self.reaches
    }

    /// Whether the server fills a labelled column where an insert names none, and a row that is there may have it.
    fn fills_labelled(&self) -> bool {
        let filled = self.defaults.iter().zip(&self.unique);
        let mut columns = self.columns.iter().zip(filled);
        columns.any(|(column, (fills, unique))| column.labelled && *fills && *unique)
    }

    /// The labels of its primary key.
    fn key_labels(&self) -> Vec<LabelId> {
        let columns = self.labels.iter().zip(&self.primary);
        let keys = columns.filter(|(_, in_primary)| **in_primary);
        keys.flat_map(|(labels, _)| labels.ids.iter().copied())
            .collect()
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
        let added = labels.add(&Labels {
            ids: ids.to_vec(),
            derived,
        });
        column.labelled = !labels.ids.is_empty();
        added
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
            rules: rules.clone(),
            own_equality: rows.have_equality(),
            ..Self::default()
        };
        catalog.partial.retain(|id| rules.shows_part(*id));
        for column in rows.columns()? {
            catalog.add_column(&column, rules, pins);
        }
        let links = catalog.links(rows)?;
        let attached = rows.attached()?;
        let (functions, views) = (rows.functions()?, rows.views()?);
        let views = catalog.as_called(&views);
        let views: Vec<_> = views
            .iter()
            .map(|(name, text)| FunctionRow::view(name, text))
            .collect();
        // Whom a function can be trusted with depends on what is labelled, and what a view that calls
        // one carries on the function. Labels only come to it, so this ends.
        while catalog.spread(&links, &attached) {
            let labelled = catalog.labelled(&attached);
            catalog.functions = Functions::build(&functions, &views, labelled);
        }
        let mut relations = catalog.relations.iter();
        catalog.is_temporary = relations.any(|one| one.schema.starts_with("pg_temp"))
            || rows.have_temporary_functions()?;
        catalog.find_kin(&links.inherits);
        catalog.keep_code(&attached);
        catalog.find_redefining(&links.copies);
        catalog.pin_children(&links.inherits, rules, pins);
        catalog.pin_copies(&links.copies, rules, pins);
        catalog.pin_stored(&links.views, rules, pins);
        catalog.find_namesakes();
        Ok(catalog)
    }

    /// Views as sources call them: by name, and what they are defined as.
    fn as_called<'a>(&self, views: &[query::ViewRow<'a>]) -> Vec<(Arc<str>, &'a str)> {
        let named = |view: &query::ViewRow<'a>| {
            let relation = self.relations.get(*self.by_oid.get(&view.oid)?)?;
            Some((Arc::clone(&relation.name), view.text))
        };
        views.iter().filter_map(named).collect()
    }

    /// Finds the names that mean other columns by another search path, and what is labelled.
    fn find_namesakes(&mut self) {
        let several = self.by_name.iter().filter(|(_, found)| found.len() > 1);
        let (mut mixed, mut united) = (HashSet::new(), HashMap::new());
        for (name, found) in several {
            let all = || found.iter().filter_map(|at| self.relations.get(*at));
            let first = all().next();
            if first.is_some_and(|first| all().any(|other| !other.is_like(first))) {
                mixed.insert(Arc::clone(name));
            }
            united.extend(Relation::unite(all()).map(|one| (Arc::clone(name), one)));
        }
        (self.mixed, self.united) = (mixed, united);
        let relations = self.relations.iter().enumerate();
        let labelled = relations.filter(|(_, relation)| relation.is_labelled());
        self.labelled = labelled.map(|(at, _)| at).collect();
    }

    /// Whether just one relation has this name.
    pub(crate) fn has_one(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|found| found.len() == 1)
    }

    /// Whether a function of the database has one of these names.
    pub(crate) fn has_function(&self, names: &BTreeSet<String>) -> bool {
        let mut names = names.iter();
        names.any(|name| self.functions.is_redefined(None, name))
    }

    /// Whether it depends on the search path which columns a relation of this name has.
    pub(crate) fn is_mixed(&self, schema: Option<&str>, name: &str) -> bool {
        schema.is_none_or(|schema| schema == "pg_temp") && self.mixed.contains(name)
    }

    /// Keeps the code that runs on the rows of each relation.
    fn keep_code(&mut self, attached: &[(u32, &str)]) {
        for (oid, code) in attached {
            let place = self.by_oid.get(oid).copied();
            if let Some(relation) = place.and_then(|at| self.relations.get_mut(at)) {
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
        let operators = attached.iter().filter(|(oid, _)| *oid == 0);
        labelled.operators = operators.map(|(_, code)| *code).collect();
        let views = self.relations.iter().filter(|one| one.over_labelled);
        labelled.held.viewed = views.map(|one| Box::from(&*one.name)).collect();
        labelled.held.written = self.holding();
        labelled.anywhere = attached.iter().map(|(_, code)| *code).collect();
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
                types: Vec::new(),
                calls: Vec::new(),
                reads: Vec::new(),
                code: Vec::new(),
                over_labelled: false,
                over_settings: false,
                has_system: column.beside_system,
                redefines: Redefines::No,
                redefines_read: Redefines::No,
                collects: false,
                reaches: false,
                kin: Arc::default(),
                primary: Vec::new(),
                unique: Vec::new(),
                defaults: Vec::new(),
            });
            self.relations.len() - 1
        });
        let Some(relation) = self.relations.get_mut(index) else {
            return;
        };
        let Some(attribute) = column.attribute else {
            return;
        };
        let mut ids = rules.of_column(column.schema, column.relation, column.name);
        pins.follow((column, attribute), rules, &mut ids);
        let at = relation.columns.len();
        relation.columns.push(weir_sql::Column {
            name: column.name.into(),
            labelled: false,
        });
        relation.attributes.push(attribute);
        relation.filled.push(column.not_null);
        relation.primary.push(column.in_primary);
        relation.unique.push(column.is_unique);
        relation.defaults.push(column.has_default);
        relation.types.push(weir_sql::own_type(column.own_type));
        relation.labels.push(Labels::default());
        relation.add(at, &ids, false);
        if column.schema == "pg_catalog" && is_sample(column.relation, column.name) {
            relation.add(at, &self.all_labels, true);
        }
    }

    /// What reading a relation may do to what names mean.
    fn redefines_read(&self, schema: &str, name: &str) -> Redefines {
        match self.resolve(Some(schema), name) {
            Resolved::One(found) => found.redefines_read,
            Resolved::Ambiguous(_) => Redefines::Perhaps,
            Resolved::Unknown => Redefines::No,
        }
    }

    /// Whether a view reads a relation.
    fn is_viewed(&self, schema: &str, name: &str) -> bool {
        let reads = self.relations.iter().flat_map(|view| &view.reads);
        reads
            .into_iter()
            .any(|(in_schema, read)| **in_schema == *schema && **read == *name)
    }

    /// What a relation's name means.
    pub(crate) fn resolve(&self, schema: Option<&str>, name: &str) -> Resolved<'_> {
        let Some(candidates) = self.by_name.get(name) else {
            // Where long values lie, of whichever relation.
            let is_toast = |name: &str| name.starts_with("pg_toast");
            if (is_toast(name) || schema.is_some_and(is_toast)) && !self.labelled.is_empty() {
                return Resolved::Ambiguous(&self.labelled);
            }
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
        let united = self.united.get(name).unwrap_or(first);
        match found().find(|relation| relation.is_labelled()) {
            None => Resolved::One(united),
            Some(labelled) if found().all(|other| other.columns == labelled.columns) => {
                Resolved::One(united)
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

    /// Whether it has every relation that these columns of a result come from.
    pub(crate) fn has_origins(&self, fields: &[Field]) -> bool {
        let mut oids = fields.iter().map(|field| field.table_oid);
        oids.all(|oid| oid < FIRST_USER_OID || self.by_oid.contains_key(&oid))
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

    /// Whether a block of code may give names another meaning.
    pub(crate) fn redefines_by(&self, code: &str) -> Redefines {
        let stores = stores_by_words(code).then_some(self.redefining);
        self.functions
            .redefines_by(code)
            .max(stores.unwrap_or_default())
    }

    /// The names of relations that a change of this one's columns changes, and of those that it reads.
    pub(crate) fn kin_of<'a>(&'a self, relation: &'a Relation) -> impl Iterator<Item = &'a str> {
        let read = relation.reads.iter().filter_map(|(schema, name)| {
            match self.resolve(Some(schema), name) {
                Resolved::One(found) => Some(found),
                _ => None,
            }
        });
        let kin = read.chain([relation]).flat_map(|one| one.kin.iter());
        kin.map(|name| &**name)
    }

    /// Whether some relation has this name, in whatever schema.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Whether code may fail with labelled rows in what the server says.
    pub(crate) fn reports_rows(&self, code: &str) -> bool {
        self.functions.reports_rows(code)
    }

    /// Whether rows of the relation that the server names in what it says may hold labelled columns.
    pub(crate) fn may_hold_labelled(&self, schema: &str, name: &str) -> bool {
        match self.resolve(Some(schema), name) {
            Resolved::One(found) => found.holds_labelled(),
            Resolved::Unknown | Resolved::Ambiguous(_) => true,
        }
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
