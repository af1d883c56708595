//! How labels get from one relation to another: along inheritance, through views, and to the columns that the
//! server fills from others; and which writes end in labelled rows although they name others.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use weir_policy::{LabelId, LabelRules};
use weir_sql::{Analysis, Derivation, LexSettings, Statement};

use super::source::{in_quotes, names_any};
use super::{Catalog, Labels, Pins, Redefines, Relation, Resolved, Rows, query, words};

/// Rounds of following views through views before a chain is taken as labelled whole.
const MAX_VIEW_DEPTH: usize = 16;

/// What carries labels from one relation to another.
pub(super) struct Links {
    pub(super) inherits: Vec<(u32, u32)>,
    pub(super) views: Vec<Definition>,
    pub(super) copies: Vec<Copied>,
}

/// A view.
pub(super) struct Definition {
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
pub(super) struct Copied {
    from: (usize, usize),
    to: (usize, usize),
    /// OID and attribute number of the one that is filled.
    key: (u32, i16),
    /// Whether it is computed.
    derived: bool,
}

impl Catalog {
    /// Finds the relations a write to which may run code that gives names another meaning: their own, that of
    /// those that they share rows with, or of those whose keys refer to them.
    pub(super) fn find_redefining(&mut self, copies: &[Copied]) {
        for level in [Redefines::Perhaps, Redefines::Yes] {
            self.mark_redefining(copies, level);
        }
        let functions = &self.functions;
        let code = self.relations.iter().flat_map(|relation| &relation.code);
        let deferred = code.filter(|code| code.starts_with("CREATE CONSTRAINT TRIGGER"));
        let deferred = deferred.filter(|code| !code.contains(" NOT DEFERRABLE"));
        let deferred = deferred.map(|code| functions.redefines_in(code)).max();
        self.deferred = deferred.unwrap_or_default();
        for relation in &mut self.relations {
            let read = relation.code.iter().filter(|code| is_condition(code));
            let most = read.map(|code| functions.redefines_in(code)).max();
            relation.redefines_read = most.unwrap_or_default();
            relation.collects = relation.code.iter().any(|code| functions.collects_in(code));
        }
        let most = self
            .relations
            .iter()
            .map(|relation| relation.redefines)
            .max();
        self.redefining = most.unwrap_or_default();
    }

    fn mark_redefining(&mut self, copies: &[Copied], level: Redefines) {
        let by_code = |(at, relation): (usize, &Relation)| {
            let mut code = relation.code.iter();
            code.any(|code| self.functions.redefines_in(code) >= level)
                .then_some(at)
        };
        let relations = self.relations.iter().enumerate();
        let mut open: Vec<usize> = relations.filter_map(by_code).collect();
        while let Some(at) = open.pop() {
            let Some(relation) = self.relations.get_mut(at) else {
                continue;
            };
            if std::mem::replace(&mut relation.redefines, level) == level {
                continue;
            }
            let kin = relation
                .kin
                .iter()
                .filter_map(|name| self.by_name.get(name));
            open.extend(kin.flatten());
            let referring = copies.iter().filter(|copy| copy.to.0 == at);
            open.extend(referring.map(|copy| copy.from.0));
        }
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

    /// What carries labels.
    pub(super) fn links(&self, rows: &Rows) -> Result<Links, String> {
        Ok(Links {
            views: self.definitions(&rows.views()?),
            copies: self.copies(&rows.copies()?),
            inherits: rows.inherits()?,
        })
    }

    /// Lets all that is labelled be known wherever it can come to. Whether more is known than before, or there are
    /// no functions yet.
    pub(super) fn spread(&mut self, links: &Links, attached: &[(u32, &str)]) -> bool {
        self.spread_labels(links) | self.spread_reach(links, attached)
    }

    /// Marks what a write to ends in rows with labelled columns: what those refer to, since a key is followed both
    /// ways, and that on which code runs which writes to them.
    fn spread_reach(&mut self, links: &Links, attached: &[(u32, &str)]) -> bool {
        let mut any = false;
        loop {
            let holding = self.holding();
            let at = |oid: &u32| self.by_oid.get(oid).copied();
            let reaches = |at: usize| self.relations.get(at).is_some_and(|one| one.reaches);
            let ends = |at: usize| {
                reaches(at) || self.relations.get(at).is_some_and(Relation::holds_labelled)
            };
            let mut found: Vec<usize> = Vec::new();
            let keys = links.copies.iter().filter(|one| !one.derived);
            found.extend(keys.filter(|one| ends(one.to.0)).map(|one| one.from.0));
            for (child, parent) in &links.inherits {
                if let (Some(child), Some(parent)) = (at(child), at(parent)) {
                    found.extend(ends(child).then_some(parent));
                    found.extend(reaches(parent).then_some(child));
                }
            }
            for view in links.views.iter().map(|view| view.index) {
                let reads = self.relations.get(view).map(|view| &view.reads);
                let mut read = reads.into_iter().flatten();
                let reaching = |(schema, name): &(Arc<str>, Arc<str>)| match self
                    .resolve(Some(schema), name)
                {
                    Resolved::One(found) => found.reaches,
                    _ => true,
                };
                found.extend(read.any(reaching).then_some(view));
            }
            let writes =
                |code: &str| names_any(code, &holding) || self.functions.reports_rows(code);
            let code = attached.iter().filter(|(_, code)| writes(code));
            found.extend(code.filter_map(|(oid, _)| at(oid)));
            found.retain(|at| !reaches(*at));
            if found.is_empty() {
                return any;
            }
            any = true;
            for at in found {
                if let Some(relation) = self.relations.get_mut(at) {
                    relation.reaches = true;
                }
            }
        }
    }

    /// The names of relations a write to which ends in rows with labelled columns.
    pub(super) fn holding(&self) -> HashSet<Box<str>> {
        let holding = self.relations.iter().filter(|one| one.reports_rows());
        holding.map(|one| Box::from(&*one.name)).collect()
    }

    /// Lets every relation know those that it shares columns with as parent, child or partition, however far: what
    /// changes one changes them.
    pub(super) fn find_kin(&mut self, inherits: &[(u32, u32)]) {
        let mut root: BTreeMap<usize, usize> = BTreeMap::new();
        let find = |root: &BTreeMap<usize, usize>, mut at: usize| {
            while let Some(next) = root.get(&at).copied().filter(|next| *next != at) {
                at = next;
            }
            at
        };
        for (child, parent) in inherits {
            if let (Some(child), Some(parent)) = (self.by_oid.get(child), self.by_oid.get(parent)) {
                let (child, parent) = (find(&root, *child), find(&root, *parent));
                root.insert(child, parent);
                root.entry(parent).or_insert(parent);
            }
        }
        let mut families: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for at in root.keys() {
            families.entry(find(&root, *at)).or_default().push(*at);
        }
        for family in families.values() {
            let names = family.iter().filter_map(|at| self.relations.get(*at));
            let names: Arc<[Arc<str>]> = names.map(|one| Arc::clone(&one.name)).collect();
            for at in family {
                if let Some(relation) = self.relations.get_mut(*at) {
                    relation.kin = Arc::clone(&names);
                }
            }
        }
    }

    /// Carries labels along inheritance, through views and to the columns that the server fills until
    /// nothing changes. Whether anything has, or there are no functions yet.
    fn spread_labels(&mut self, links: &Links) -> bool {
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
    pub(super) fn pin_children(
        &self,
        inherits: &[(u32, u32)],
        rules: &LabelRules,
        pins: &mut Pins,
    ) {
        for (child, parent) in inherits {
            let relation = |oid| self.relations.get(*self.by_oid.get(oid)?);
            let (Some(relation), Some(parent)) = (relation(child), relation(parent)) else {
                continue;
            };
            if !parent.is_labelled() {
                continue;
            }
            for (attribute, labels) in relation.attributes.iter().zip(&relation.labels) {
                pins.inherit((*child, *attribute), &labels.ids, rules);
            }
        }
    }

    /// What a column was once labelled with through the one that it is filled from it keeps, too.
    pub(super) fn pin_copies(&self, copies: &[Copied], rules: &LabelRules, pins: &mut Pins) {
        for copied in copies {
            let Some(from) = self.relations.get(copied.from.0) else {
                continue;
            };
            pins.inherit(copied.key, from.labels(copied.from.1), rules);
        }
    }

    /// The rows of a materialized view stay what they were when its definition comes to mean something
    /// else.
    pub(super) fn pin_stored(&self, views: &[Definition], rules: &LabelRules, pins: &mut Pins) {
        for view in views.iter().filter(|view| view.is_stored) {
            let Some(relation) = self.relations.get(view.index) else {
                continue;
            };
            let columns = relation.attributes.iter().zip(&relation.labels);
            for (attribute, labels) in columns {
                pins.inherit((view.oid, *attribute), &labels.ids, rules);
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
}

/// Whether code is a condition or a value, such as those of policies, and no definition of something else.
fn is_condition(code: &str) -> bool {
    let of_others = ["CREATE ", "CHECK ", "RANGE (", "LIST (", "HASH ("];
    !of_others.iter().any(|begin| code.starts_with(begin))
}
