//! A catalog's answers about one statement.

use std::sync::Arc;

use weir_policy::LabelId;
use weir_sql::{Origin, Statement};

use super::source::in_quotes;
use super::{Catalog, Redefines, Relation, Resolved, words};

/// Beyond so many pairs of names and relations none is looked for.
const MAX_SEARCHED: usize = 4096;

/// A catalog's answers about one statement's relations and functions.
pub(crate) struct Oracle<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) statement: &'a Statement,
    pub(super) relations: Vec<Resolved<'a>>,
    pub(super) after_ddl: bool,
}

/// A routine that a statement defines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Defined {
    /// It may keep what it is given.
    pub(crate) keeps: bool,
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

    /// Whether the masks of some of these labels show a part of the value.
    pub(crate) fn shows_part(&self, labels: &[LabelId]) -> bool {
        let partial = &self.catalog.partial;
        labels.iter().any(|id| partial.binary_search(id).is_ok())
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

    /// The labels of a relation's primary key; all of its labels where it is not known which it is.
    pub(crate) fn labels_of_key(&self, schema: Option<&str>, name: &str) -> Vec<LabelId> {
        match self.catalog.resolve(schema, name) {
            Resolved::One(found) => found.key_labels(),
            Resolved::Ambiguous(candidates) => {
                let found = candidates
                    .iter()
                    .filter_map(|at| self.catalog.relations.get(*at));
                found.flat_map(Relation::key_labels).collect()
            }
            Resolved::Unknown => Vec::new(),
        }
    }

    /// What else the name of the statement's relation at `index` may stand for where it names no schema: which of
    /// them is meant depends on `search_path`.
    pub(crate) fn namesakes(&self, index: usize) -> Vec<&Relation> {
        let (Some(Resolved::One(found)), Some(named)) = (
            self.relations.get(index),
            self.statement.relations.get(index),
        ) else {
            return Vec::new();
        };
        let all = self.catalog.by_name.get(&*named.name);
        let all = all.into_iter().flatten().filter(|_| named.schema.is_none());
        let all = all.filter_map(|at| self.catalog.relations.get(*at));
        all.filter(|other| other.schema != found.schema).collect()
    }

    /// Whether rows of the statement's relation at `index` are put in places that tell of this column: partitions.
    pub(crate) fn places_by(&self, index: usize, column: &str) -> bool {
        let Some(Resolved::One(found)) = self.relations.get(index) else {
            return false;
        };
        let kinds = ["RANGE (", "LIST (", "HASH ("];
        let code = found.code.iter().map(|code| &**code);
        let mut keys = code.filter(|code| kinds.iter().any(|kind| code.starts_with(kind)));
        keys.any(|key| words(key).any(|word| word == column) || in_quotes(column, key))
    }

    /// What lies behind the statement's relation at `index`, if it is a view: schemas and names.
    pub(crate) fn behind(&self, index: usize) -> &[(Arc<str>, Arc<str>)] {
        match self.relations.get(index) {
            Some(Resolved::One(view)) => &view.reads,
            _ => &[],
        }
    }

    /// The names behind a qualifier or a value that are of no column of the statement's relations, or are those of
    /// functions of the database as well.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        let fields = &self.statement.fields;
        let is_searched = fields.len().saturating_mul(self.relations.len()) < MAX_SEARCHED;
        let is_column = move |name: &str| {
            is_searched
                && self.relations.iter().any(|found| {
                    let columns = match found {
                        Resolved::One(found) => found.columns.as_slice(),
                        _ => &[],
                    };
                    columns.iter().any(|column| column.name == name)
                })
        };
        let fields = fields.iter().map(String::as_str);
        fields.filter(move |name| self.has_own(name) || !is_column(name))
    }

    /// The functions of the database's own that the statement may call as if they were columns.
    pub(crate) fn own_fields(&self) -> impl Iterator<Item = &str> {
        let fields = self.statement.fields.iter().map(String::as_str);
        fields.filter(|name| self.has_own(name))
    }

    /// The names of what the statement calls.
    fn called(&self) -> impl Iterator<Item = &str> {
        let called = self.statement.functions.iter().map(|f| &*f.name);
        called.chain(self.own_fields())
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

    /// Whether it writes to a view over the server's settings, which sets them.
    pub(crate) fn writes_settings(&self) -> bool {
        let named = self.statement.relations.iter().zip(&self.relations);
        let mut written = named.filter(|(named, _)| named.access == weir_sql::Access::Write);
        written.any(|(_, found)| matches!(found, Resolved::One(view) if view.over_settings))
    }

    /// Whether something that it calls, or that runs by itself, may change how the texts that follow
    /// are read.
    pub(crate) fn rereads(&self) -> bool {
        let functions = &self.catalog.functions;
        self.called()
            .chain(self.called_by_views())
            .any(|name| functions.rereads(name))
            || functions.rereads("")
    }

    /// Whether it calls a function of the database's own, or names a relation on which code may run: where it is
    /// written, read by a policy, planned by the condition of an index, or a view.
    pub(crate) fn runs_code(&self) -> bool {
        let mut called = self.called();
        called.any(|name| self.has_own(name))
            || self.relations.iter().any(|found| match found {
                Resolved::One(found) => found.has_code() || !found.has_system,
                Resolved::Ambiguous(_) => true,
                Resolved::Unknown => false,
            })
    }

    /// Whether the statement's relation at `index` is such a one, or may be: one that is not known is none.
    fn may_be(&self, index: usize, is: impl Fn(&Relation) -> bool) -> bool {
        match self.relations.get(index) {
            Some(Resolved::One(found)) => is(found),
            Some(Resolved::Ambiguous(_)) => true,
            Some(Resolved::Unknown) | None => false,
        }
    }

    /// Whether rows with labelled columns lie in or under the statement's relation at `index`.
    pub(crate) fn holds_labelled(&self, index: usize) -> bool {
        self.may_be(index, Relation::holds_labelled)
    }

    /// Whether a write to the statement's relation at `index` may fail with labelled rows in what the server says.
    pub(crate) fn reports_rows(&self, index: usize) -> bool {
        self.may_be(index, Relation::reports_rows)
    }

    /// Whether the statement's relation at `index` is a view over labelled rows, whose conditions run over those.
    pub(crate) fn views_labelled(&self, index: usize) -> bool {
        self.may_be(index, |found| found.over_labelled)
    }

    /// Whether something that it calls may fail so.
    pub(crate) fn calls_reporting(&self) -> bool {
        let functions = &self.catalog.functions;
        self.called()
            .chain(self.called_by_views())
            .any(|name| functions.fails_with_rows(name))
    }

    /// Whether the statement's relation at `index` is labelled, or lies over what is. One that is not known
    /// may be, unless it `is_new`.
    pub(crate) fn meets_labelled(&self, index: usize, is_new: bool) -> bool {
        match self.relations.get(index) {
            Some(Resolved::One(found)) => {
                let mut behind = found.reads.iter();
                let labelled = |(schema, name): &(Arc<str>, Arc<str>)| {
                    let found = self.catalog.resolve(Some(schema), name);
                    !matches!(found, Resolved::One(found) if !found.holds_labelled())
                };
                found.holds_labelled() || behind.any(labelled)
            }
            Some(Resolved::Ambiguous(_)) => true,
            Some(Resolved::Unknown) | None => !is_new,
        }
    }

    /// Whether nothing has the name of the statement's relation at `index`.
    pub(crate) fn is_unknown(&self, index: usize) -> bool {
        matches!(self.relations.get(index), Some(Resolved::Unknown))
    }

    /// Whether every function that it calls can be trusted.
    pub(crate) fn trusts_all(&self) -> bool {
        let functions = &self.catalog.functions;
        (0..self.statement.functions.len())
            .all(|function| weir_sql::Oracle::is_trusted(self, function))
            && self
                .own_fields()
                .all(|name| functions.is_trusted(None, name))
    }

    /// Whether the database has a function of its own by this name.
    pub(crate) fn has_own(&self, name: &str) -> bool {
        self.catalog.functions.is_redefined(None, name)
    }

    /// The routine that it defines, if that can be read, shows nothing labelled and puts no records together.
    pub(crate) fn defined(&self) -> Option<Defined> {
        let functions = &self.catalog.functions;
        let statement = self.statement;
        let is_routine = matches!(statement.tag, "CREATE FUNCTION" | "CREATE PROCEDURE");
        let is_read = !statement.code.is_empty() && statement.contained.is_empty();
        let shows_nothing =
            |code: &weir_sql::Code| self.catalog.is_harmless(code) && !super::collects(&code.text);
        let is_quiet =
            |code: &weir_sql::Code| functions.is_quiet_code(code.language.as_deref(), &code.text);
        let code = &statement.code;
        (is_routine && is_read && code.iter().all(shows_nothing)).then(|| Defined {
            keeps: !code.iter().all(is_quiet),
        })
    }

    /// Whether a function of the database, or a view that is read, may put many records into one row.
    pub(crate) fn calls_collecting(&self) -> bool {
        let functions = &self.catalog.functions;
        self.statement.operates && functions.operators_collect()
            || self.called().any(|name| functions.collects(name))
            || self
                .called_by_views()
                .any(|name| weir_sql::is_collecting(name) || functions.collects(name))
    }

    /// Whether code on what it writes to may do so to the rows that it returns.
    pub(crate) fn returns_collected(&self) -> bool {
        let named = self.statement.relations.iter().zip(&self.relations);
        let mut written = named.filter(|(named, _)| named.access == weir_sql::Access::Write);
        let collects =
            |found: &Resolved<'_>| matches!(found, Resolved::One(found) if found.collects);
        self.statement.returns_rows && written.any(|(_, found)| collects(found))
    }

    /// Whether a function is called that keeps what it is given. What moves a sequence shows nothing
    /// of a row.
    pub(crate) fn calls_keeping(&self) -> bool {
        self.keeping().next().is_some()
    }

    /// The same of what can keep more than a number, as a lock does.
    pub(crate) fn calls_storing(&self) -> bool {
        let locks =
            |name: &str| name.starts_with("pg_advisory_") || name.starts_with("pg_try_advisory_");
        self.keeping().any(|name| !locks(name))
    }

    fn keeping(&self) -> impl Iterator<Item = &str> {
        let functions = &self.catalog.functions;
        let called = self.statement.functions.iter();
        let called = called.map(|f| (f.schema.as_deref(), &*f.name));
        let called = called.chain(self.own_fields().map(|name| (None, name)));
        let keeping = called.filter(|(schema, name)| {
            weir_sql::builtin::class(name) != Some(weir_sql::builtin::FunctionClass::Sequence)
                && functions.keeps(*schema, name)
        });
        keeping.map(|(_, name)| name)
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
            let harmless = |code: &weir_sql::Code| self.catalog.is_harmless(code);
            let is_defined = !statement.code.is_empty() && statement.contained.is_empty();
            return functions.is_attached(name)
                && !(is_defined && statement.code.iter().all(quiet))
                || functions.is_mentioned(name)
                    && !(is_defined && statement.code.iter().all(harmless));
        }
        let keeps = || self.calls_keeping();
        let on_labelled = || (0..self.relations.len()).any(|index| self.holds_labelled(index));
        if let Some(rename) = &statement.renames {
            let named = match &rename.column {
                Some(column) => {
                    functions.is_attached(&rename.to) && !self.labels_named(column).is_empty()
                }
                None => functions.is_mentioned(&rename.to) && on_labelled(),
            };
            return named || self.takes_label(rename);
        }
        // Code or a view that reads the one relation would read the rows of the other, or the other way
        // round; a view's conditions were judged when it was made, and a table's own when they were put on it.
        let is_met = |index: usize| {
            let (schema, name) = self.name(index);
            let is_read = || functions.is_mentioned(name) || self.catalog.is_viewed(schema, name);
            !self.holds_labelled(index) && (is_read() || self.looks_at_labelled(index))
        };
        if statement.adopts && on_labelled() && (0..self.relations.len()).any(is_met) {
            return true;
        }
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
                let named = || {
                    let mut columns = statement.columns.iter();
                    columns.any(|column| !self.labels_named(&column.name).is_empty())
                };
                // The server's own copies the columns that its arguments name.
                let loud = |function: &weir_sql::FunctionRef| {
                    let copies = function.name.starts_with("tsvector_update_trigger");
                    !functions.is_quiet(&function.name) || copies && named()
                };
                on_labelled() && (keeps() || statement.functions.iter().any(loud))
            }
            _ => false,
        }
    }

    /// Whether a relation on whose rows code runs that may keep what it is given gets a name that is labelled, or a
    /// column of it does.
    fn takes_label(&self, rename: &weir_sql::Rename) -> bool {
        let rules = &self.catalog.rules;
        self.relations.iter().any(|found| match found {
            Resolved::One(found) => {
                let labelled = match &rename.column {
                    Some(_) => !rules
                        .of_column(&found.schema, &found.name, &rename.to)
                        .is_empty(),
                    None => rules.touches(&found.schema, &rename.to),
                };
                let mut code = found.code.iter();
                labelled && code.any(|code| self.catalog.functions.keeps_in(code))
            }
            Resolved::Ambiguous(_) | Resolved::Unknown => false,
        })
    }

    /// Whether code on a table names a column that is labelled in another relation of the statement.
    fn looks_at_labelled(&self, index: usize) -> bool {
        let Some(Resolved::One(found)) = self.relations.get(index) else {
            return false;
        };
        let mut named = found.code.iter().flat_map(|code| words(code));
        named.any(|name| !self.labels_named(&name).is_empty())
    }

    /// Whether something that it calls, or that runs on the rows that it writes, may give names another meaning.
    pub(crate) fn redefines(&self) -> Redefines {
        let functions = &self.catalog.functions;
        let called = self.called().chain(self.called_by_views());
        let named = self.statement.relations.iter().zip(&self.relations);
        let written = named.filter(|(named, _)| named.access == weir_sql::Access::Write);
        let by_writes = written.map(|(_, found)| match found {
            Resolved::One(found) if found.code.iter().any(|code| functions.keeps_in(code)) => {
                found.redefines.max(self.catalog.redefining)
            }
            Resolved::One(found) => found.redefines,
            Resolved::Ambiguous(_) => Redefines::Perhaps,
            Resolved::Unknown => Redefines::No,
        });
        let by_reads = self.relations.iter().map(|found| match found {
            Resolved::One(found) => {
                let behind = found.reads.iter();
                let behind = behind.map(|(schema, name)| self.catalog.redefines_read(schema, name));
                behind.max().unwrap_or_default().max(found.redefines_read)
            }
            Resolved::Ambiguous(_) => Redefines::Perhaps,
            Resolved::Unknown => Redefines::No,
        });
        // What was deferred may run.
        use weir_sql::Transaction::{Commit, PrepareTransaction};
        let settles = self.statement.tag == "SET CONSTRAINTS"
            || matches!(
                self.statement.transaction,
                Some(Commit { .. } | PrepareTransaction(_))
            );
        let deferred = settles.then_some(self.catalog.deferred);
        // What a function writes to may have such code on its rows.
        let by_calls = called.map(|name| match functions.keeps(None, name) {
            true => functions.redefines(name).max(self.catalog.redefining),
            false => functions.redefines(name),
        });
        let all = by_calls.chain(by_writes).chain(by_reads).chain(deferred);
        all.max().unwrap_or_default()
    }

    /// Whether it depends on the search path which columns the statement's relation at `index` has.
    fn is_mixed(&self, index: usize) -> bool {
        let named = self.statement.relations.get(index);
        named.is_some_and(|named| self.catalog.is_mixed(named.schema.as_deref(), &named.name))
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
            Resolved::One(_) if self.is_mixed(relation) => None,
            Resolved::One(found) => Some(&found.columns),
            Resolved::Unknown if !self.after_ddl => Some(&[]),
            _ => None,
        }
    }

    fn has_own_equality(&self) -> bool {
        self.catalog.own_equality
    }

    fn has_system_columns(&self, relation: usize) -> bool {
        match self.relations.get(relation) {
            Some(Resolved::One(found)) => {
                found.has_system && !self.after_ddl && !self.is_mixed(relation)
            }
            _ => false,
        }
    }

    fn has_type(&self, relation: usize, column: usize, name: &str) -> bool {
        match self.relations.get(relation) {
            Some(Resolved::One(found)) if !self.after_ddl => found.has_type(column, name),
            _ => false,
        }
    }

    fn is_unique(&self, relation: usize, column: usize) -> bool {
        match self.relations.get(relation) {
            // An index of what lies behind a view is not known as one of its columns.
            Some(Resolved::One(found)) if found.reads.is_empty() && !self.after_ddl => {
                found.unique.get(column) != Some(&false)
            }
            _ => true,
        }
    }

    fn fills(&self, relation: usize, column: Option<usize>) -> bool {
        let Some(Resolved::One(found)) = self.relations.get(relation) else {
            return false;
        };
        match column {
            Some(column) => found.defaults.get(column) == Some(&true),
            None => found.reads.iter().any(|(schema, name)| {
                let behind = self.catalog.resolve(Some(schema), name);
                !matches!(behind, Resolved::One(behind) if !behind.fills_labelled())
            }),
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

    fn is_redefined(&self, function: usize) -> bool {
        let function = self.statement.functions.get(function);
        function.is_some_and(|function| {
            let functions = &self.catalog.functions;
            functions.is_redefined(function.schema.as_deref(), &function.name)
        })
    }

    fn is_harmless_field(&self, name: &str) -> bool {
        let functions = &self.catalog.functions;
        functions.is_trusted(None, name) && !functions.keeps(None, name)
    }
}
