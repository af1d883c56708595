//! The one place where what was sent and what the catalog says become a `policy::Operation`.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_policy::{
    Access, EffectSet, FunctionRef, LabelId, LabelUse, Operation, Output, Relation, SqlOperation,
    Use, WhereClause,
};
use weir_sql::{Origin, OutputItem, Statement};

use super::catalog::{Catalog, Redefines};
use super::code;

mod definition;
mod earlier;
mod outputs;
mod terms;

pub(super) use earlier::Earlier;
use earlier::Standing;
pub(super) use outputs::OutputLabels;
use outputs::TracedOutputs;
use terms::{
    changes_reading, effect, is_system_table, label_use, notifies_rows, stores_rows, writes_rows,
};

/// What a statement does, in policy's terms, and enough to read its result by.
#[derive(Debug, Default)]
pub(super) struct Judged {
    effects: EffectSet,
    relations: Vec<(Box<str>, Box<str>, Access)>,
    functions: Vec<(Option<Box<str>>, Box<str>)>,
    settings: Vec<Box<str>>,
    uses: Vec<LabelUse>,
    /// With how many constants labelled columns are compared, at most.
    comparisons: u64,
    /// Columns that carry labels, as far as they are known by name.
    columns: BTreeSet<(LabelId, Box<str>)>,
    outputs: Vec<OutputLabels>,
    where_clause: WhereClause,
    opaque: Option<Box<str>>,
    /// A value that a constant mask put in place of another is written back.
    pub(super) writes_mask: bool,
    /// Whether labelled data is touched at all, so that errors may carry it.
    pub(super) touches: bool,
    /// Whether it has a name that is explained by nothing in the catalog: most likely a mistake.
    pub(super) unexplained: bool,
    /// Whether rows can come back.
    pub(super) returns_rows: bool,
    /// Whether what follows in a pipeline must wait until this has ended.
    pub(super) barrier: bool,
    traced: Vec<TracedOutputs>,
    copies_out: bool,
    copies_text: bool,
    /// Whether a row may hold many records, and whether one that it stores may.
    collects: bool,
    stores_collected: bool,
    /// Whether the texts that follow may be read in another way once it has run.
    pub(super) rereads: bool,
    /// Whether code of the database runs with it, or may: what that does is known as far as it was read.
    pub(super) runs_code: bool,
    /// Code that it runs may give names another meaning.
    pub(super) redefines: Redefines,
    /// What it does to what the statements behind it in its message mean.
    pub(super) leaves: Earlier,
    /// An earlier statement of its message changes what it means.
    pub(super) is_behind: bool,
    /// It reads what an earlier statement of its message made, and nothing labelled is in there.
    reads_made: bool,
}

/// How a judgement looks at the target.
pub(super) struct View<'a> {
    /// The catalog, where the policy needs one.
    pub(super) catalog: Option<&'a Catalog>,
    /// What the earlier statements of the same message do.
    pub(super) earlier: &'a Earlier,
}

impl Judged {
    /// What could not be parsed.
    pub(super) fn opaque(reason: &str) -> Self {
        Self {
            opaque: Some(reason.into()),
            returns_rows: true,
            barrier: true,
            touches: true,
            leaves: Earlier::unknown(),
            ..Self::default()
        }
    }

    /// A statement together with what it executes or fetches from.
    pub(super) fn new(statement: &Statement, bodies: &[&Statement], view: &View<'_>) -> Self {
        let mut judged = Self::default();
        judged.add(statement, view, bodies.is_empty());
        if let Some(cursor) = statement.declares.as_ref().filter(|_| bodies.is_empty()) {
            judged.open(&cursor.body, view);
        }
        for body in bodies {
            judged.add(body, view, true);
        }
        if let Some(block) = &statement.block {
            judged.run(block, view);
        }
        let copied: Vec<LabelUse> = judged
            .uses
            .iter()
            .filter(|used| used.how == Use::Output)
            .map(|used| LabelUse {
                label: used.label,
                how: Use::Write,
            })
            .collect();
        if !bodies.is_empty() && judged.effects.contains(weir_policy::Effect::Create) {
            judged.uses.extend(copied);
            judged.stores_collected |= judged.collects;
        }
        judged
    }

    /// A block runs its statements one after another: each meets what those before it have done.
    fn run(&mut self, block: &[Statement], view: &View<'_>) {
        let mut earlier = view.earlier.clone();
        for statement in block {
            let view = View {
                catalog: view.catalog,
                earlier: &earlier,
            };
            self.add(statement, &view, false);
            earlier.add(&self.leaves);
        }
    }

    /// What a statement returns that was opened under another catalog than the one that is in use: by both of them.
    pub(super) fn add_opened(&mut self, statement: &Statement, catalog: &Catalog) {
        let mut opened = Self::default();
        let view = View {
            catalog: Some(catalog),
            earlier: &Earlier::default(),
        };
        opened.add(statement, &view, true);
        self.outputs.extend(opened.outputs);
        self.traced.extend(opened.traced);
        self.touches |= opened.touches;
    }

    /// A cursor reads what its names mean when it is opened, whatever they mean to a later FETCH: what
    /// could not be fetched is not opened.
    fn open(&mut self, body: &Statement, view: &View<'_>) {
        let mut opened = Self::default();
        opened.add(body, view, true);
        let unproven = |output: &OutputLabels| !output.proven && !output.ids.is_empty();
        self.outputs
            .extend(opened.outputs.into_iter().filter(unproven));
        self.touches |= opened.touches;
        self.leaves.add(&opened.leaves);
        self.is_behind |= opened.is_behind;
        self.unexplained |= opened.unexplained;
    }

    fn add(&mut self, statement: &Statement, view: &View<'_>, gives_result: bool) {
        self.effects = self
            .effects
            .iter()
            .chain(statement.effects.iter().map(effect))
            .collect();
        self.where_clause = self.where_clause.max(match statement.where_clause {
            weir_sql::WhereClause::NotApplicable => WhereClause::NotApplicable,
            weir_sql::WhereClause::Present => WhereClause::Present,
            weir_sql::WhereClause::Ineffective => WhereClause::Ineffective,
            weir_sql::WhereClause::Missing => WhereClause::Missing,
        });
        let called = statement.functions.iter().chain(&statement.operators);
        self.functions
            .extend(called.map(|f| (f.schema.as_deref().map(Box::from), f.name.as_str().into())));
        // A reset goes back to what the session began with, which was judged then.
        let is_reset = matches!(statement.tag, "RESET" | "DISCARD ALL");
        let changed = statement.settings.iter().filter(|_| !is_reset);
        self.settings
            .extend(changed.map(|setting| setting.name.as_str().into()));
        self.opaque = self
            .opaque
            .take()
            .or_else(|| statement.opaque.map(Box::from));
        let runs = |code: &&weir_sql::Code| code.runs_now && statement.block.is_none();
        for code in statement.code.iter().filter(runs) {
            self.add_block(code, view);
        }
        self.copies_out |= statement
            .copy
            .as_ref()
            .is_some_and(|copy| copy.direction == weir_sql::CopyDirection::To);
        self.copies_text |= statement
            .copy
            .as_ref()
            .is_some_and(|copy| copy.format.as_deref().is_none_or(|format| format == "text"));
        self.returns_rows |= statement.returns_rows
            || statement.copy.is_some()
            || statement.executes.is_some()
            || statement.fetches.is_some();
        self.barrier |= !statement.settings.is_empty()
            || !statement.code.is_empty()
            || statement.transaction.is_some()
            || statement.changes_schema
            || statement.prepares.is_some()
            || statement.declares.is_some()
            || statement.deallocates.is_some()
            || statement.closes.is_some();
        self.rereads |= changes_reading(statement);
        let access = |access| match access {
            weir_sql::Access::Read => Access::Read,
            weir_sql::Access::Write => Access::Write,
        };
        let collects = statement.collects();
        self.collects |= collects;
        self.stores_collected |= statement.stores_collected;
        let is_own = |catalog: &Catalog| catalog.has_one("pg_settings");
        if statement.asks_settings
            && (view.earlier.changes_schema() || !view.catalog.is_some_and(is_own))
        {
            self.sets_any();
        }
        let Some(catalog) = view.catalog else {
            let unknown = |f: &weir_sql::FunctionRef| weir_sql::builtin::class(&f.name).is_none();
            let is_unknown = |name: &String| weir_sql::builtin::class(name).is_none();
            self.rereads |=
                statement.functions.iter().any(unknown) || statement.fields.iter().any(is_unknown);
            self.barrier |= self.rereads;
            self.runs_code |= self.rereads || !statement.relations.is_empty();
            let fields = statement.fields.iter();
            self.functions
                .extend(fields.map(|name| (None, name.as_str().into())));
            self.relations.extend(statement.relations.iter().map(|r| {
                (
                    r.schema.as_deref().unwrap_or("").into(),
                    r.name.as_str().into(),
                    access(r.access),
                )
            }));
            return;
        };
        let oracle = catalog.oracle(statement, view.earlier.changes_schema());
        let runs = statement.code.iter().filter(|code| code.runs_now);
        let by_code = runs.map(|code| catalog.redefines_by(&code.text)).max();
        self.redefines = self
            .redefines
            .max(oracle.redefines())
            .max(by_code.unwrap_or_default());
        let redefines = self.redefines != Redefines::No;
        self.barrier |= redefines;
        let leaves = view.earlier.with(statement, &oracle, redefines);
        let standing = view.earlier.standing(&leaves, statement, &oracle);
        self.leaves.add(&leaves);
        self.rereads |= oracle.rereads();
        self.runs_code |= self.rereads || oracle.runs_code() || !statement.code.is_empty();
        self.barrier |= self.rereads;
        if writes_rows(statement) && oracle.writes_settings() {
            self.sets_any();
            self.rereads = true;
            self.barrier = true;
        }
        self.relations.extend(
            statement
                .relations
                .iter()
                .enumerate()
                .map(|(index, relation)| {
                    let (schema, name) = oracle.name(index);
                    (schema.into(), name.into(), access(relation.access))
                }),
        );
        // A view that an earlier statement of the message makes stands for what it is over.
        for relation in &statement.relations {
            let over = view.earlier.over(relation).cloned();
            self.relations
                .extend(over.map(|(schema, name)| (schema, name, access(relation.access))));
        }
        let named = |(schema, name): &(Arc<str>, Arc<str>), by: &weir_sql::RelationRef| {
            (Box::from(&**schema), Box::from(&**name), access(by.access))
        };
        for (index, relation) in statement.relations.iter().enumerate() {
            for other in oracle.namesakes(index) {
                let (schema, name) = (&*other.schema, &*other.name);
                self.relations
                    .push((schema.into(), name.into(), access(relation.access)));
                self.relations
                    .extend(other.reads.iter().map(|read| named(read, relation)));
            }
        }
        // What lies behind a view stays where the view is dropped.
        let drops = statement.tag.starts_with("DROP ");
        let relations = statement.relations.iter().enumerate();
        for (index, relation) in relations.filter(|_| !drops) {
            let behind = oracle.behind(index).iter();
            self.relations
                .extend(behind.map(|read| named(read, relation)));
        }
        self.functions
            .extend(oracle.called_by_views().map(|name| (None, name.into())));
        let by_call = oracle.calls_collecting();
        self.collects |= by_call || oracle.returns_collected();
        self.stores_collected |= by_call && stores_rows(statement)
            || (collects || by_call) && oracle.calls_storing()
            || notifies_rows(statement);
        if !statement.unless_null.is_empty()
            && statement
                .unless_null
                .iter()
                .all(|column| oracle.is_never_null(column))
        {
            self.where_clause = self.where_clause.max(WhereClause::Ineffective);
        }
        if writes_rows(statement) && self.relations.iter().any(is_system_table) {
            self.effects = self
                .effects
                .iter()
                .chain([weir_policy::Effect::System])
                .collect();
        }
        let calls_untrusted = !oracle.trusts_all();
        self.barrier |= calls_untrusted;
        let traced = match standing {
            Standing::Unlabelled => weir_sql::Traced::default(),
            _ => statement.lineage.trace(&oracle),
        };
        let by_names = matches!(standing, Standing::Unlabelled) || statement.lineage.is_empty();
        let called: Vec<&str> = match by_names {
            true => oracle.fields().collect(),
            false => traced.called.iter().map(String::as_str).collect(),
        };
        if called.iter().any(|name| weir_sql::is_collecting(name)) {
            self.collects = true;
            self.stores_collected |= stores_rows(statement) || oracle.calls_storing();
        }
        self.functions
            .extend(called.into_iter().map(|name| (None, name.into())));
        self.unexplained |= traced.unexplained;
        self.comparisons = self.comparisons.saturating_add(traced.comparisons);
        for used in &traced.uses {
            let Some(how) = label_use(used.how) else {
                continue;
            };
            let labels = oracle.labels_of(std::slice::from_ref(&used.origin));
            if how == Use::Write && !self.flows_into(used.into.as_ref(), &labels, &oracle) {
                continue;
            }
            self.uses
                .extend(labels.into_iter().map(|label| LabelUse { label, how }));
        }
        for (column, labels) in traced.touched.iter().filter_map(|at| oracle.named(*at)) {
            let columns = labels.iter().map(|label| (*label, column.as_str().into()));
            self.columns.extend(columns);
        }
        self.touches |=
            !oracle.labels_of(&traced.touched).is_empty() || Self::shows_rows(statement, &oracle);
        // A procedure that cannot be trusted may hand out anything.
        if calls_untrusted && statement.effects.contains(weir_sql::Effect::Call) {
            self.unproven(catalog);
        }
        self.add_definition(statement, &oracle);
        if statement.executes.is_some() {
            let parameters = traced
                .uses
                .iter()
                .filter(|used| used.how == weir_sql::Use::Predicate);
            let origins: Vec<Origin> = parameters.map(|used| used.origin).collect();
            self.shown_somewhere(oracle.labels_of(&origins));
        }
        // A trigger, a default, a policy: it runs when nobody looks at it any more.
        let is_code = statement.changes_schema && statement.lineage.is_empty();
        if is_code && (calls_untrusted || oracle.attaches()) {
            self.unproven(catalog);
        }
        let is_rule = statement.tag == "CREATE RULE";
        for action in statement.contained.iter().filter(|_| is_rule) {
            let oracle = catalog.oracle(action, view.earlier.changes_schema());
            let touched = action.lineage.trace(&oracle).touched;
            self.shown_somewhere(oracle.labels_of(&touched));
        }
        let mut origins: Vec<Origin> = traced
            .outputs
            .items
            .iter()
            .flat_map(|item| match item {
                OutputItem::Column(column) | OutputItem::Star(column) => column.origins.clone(),
            })
            .collect();
        origins.sort_unstable();
        origins.dedup();
        let origins = origins
            .into_iter()
            .map(|origin| (origin, oracle.labels_of(&[origin])))
            .collect();
        let outputs = TracedOutputs {
            items: traced.outputs,
            origins,
        };
        self.reads_made |= standing == Standing::Unlabelled;
        if gives_result && standing != Standing::Unlabelled {
            let total = outputs.items.items.len();
            for position in 0..total {
                self.outputs.push(outputs.at(position, total));
            }
            self.traced.push(outputs);
        }
        if self.copies_out {
            self.outputs
                .iter_mut()
                .for_each(|output| output.proven = false);
        }
        if standing == Standing::Unknown {
            self.is_behind = true;
            self.unproven(catalog);
        }
    }

    /// Labelled data goes where it is not followed: parameters of EXECUTE, actions of rules.
    fn shown_somewhere(&mut self, labels: Vec<LabelId>) {
        if !labels.is_empty() {
            self.touches = true;
            self.outputs.push(OutputLabels::kept(labels));
        }
    }

    /// Labelled data that is copied to where the labels do not follow is as good as shown, and so is a text that
    /// was turned or cut where a mask shows its ends. Whether it is.
    fn flows_into(
        &mut self,
        into: Option<&weir_sql::Destination>,
        labels: &[LabelId],
        oracle: &super::catalog::Oracle<'_>,
    ) -> bool {
        if labels.is_empty() {
            return false;
        }
        let is_whole = |into: &&weir_sql::Destination| !into.altered || !oracle.shows_part(labels);
        let kept = into.filter(is_whole);
        let kept = kept.map(|into| oracle.labels_at(into.relation, into.column.as_deref()));
        // Into which partition a row goes tells of its value.
        let places = |into: &weir_sql::Destination| {
            let column = into.column.as_deref();
            column.is_some_and(|column| oracle.places_by(into.relation, column))
        };
        if into.is_some_and(places) {
            self.uses.extend(labels.iter().map(|label| LabelUse {
                label: *label,
                how: Use::Predicate,
            }));
        }
        if kept.is_some_and(|kept| labels.iter().all(|label| kept.contains(label))) {
            return false;
        }
        self.outputs.push(OutputLabels::kept(labels.to_vec()));
        true
    }

    /// A setting is changed whose name is not known: it may be `role`.
    fn sets_any(&mut self) {
        self.settings.push("*".into());
        let role = [weir_policy::Effect::Role];
        self.effects = self.effects.iter().chain(role).collect();
    }

    /// Code that runs now is read as far as its words go; what they do not tell is opaque.
    fn add_block(&mut self, code: &weir_sql::Code, view: &View<'_>) {
        let read = view.catalog.and_then(|catalog| code::read(code, catalog));
        self.touches |= view
            .catalog
            .is_some_and(|catalog| catalog.reports_rows(&code.text));
        let Some(facts) = read else {
            self.opaque = Some("it runs code that weir does not judge".into());
            return;
        };
        self.effects = self.effects.iter().chain(facts.effects).collect();
        self.relations.extend(facts.relations);
        self.functions
            .extend(facts.functions.into_iter().map(|name| (None, name)));
        if facts.sets {
            self.settings.push("*".into());
        }
        if facts.computes_setting {
            self.sets_any();
        }
        self.collects |= facts.collects;
        self.stores_collected |= facts.collects && facts.stores;
        if self.writes_rows() {
            self.where_clause = WhereClause::Missing;
        }
    }

    fn writes_rows(&self) -> bool {
        use weir_policy::Effect::{Delete, Merge, Update};
        self.effects
            .intersects(EffectSet::of(&[Update, Delete, Merge]))
    }

    /// Whether the server may say something of rows with labelled columns although no labelled
    /// column is named: a violated constraint shows the whole row.
    fn shows_rows(statement: &Statement, oracle: &super::catalog::Oracle<'_>) -> bool {
        let maintains = statement.effects.contains(weir_sql::Effect::Maintenance);
        if maintains && statement.relations.is_empty() {
            return true;
        }
        let mut relations = statement.relations.iter().enumerate();
        relations.any(|(index, relation)| {
            let writes = maintains || relation.access == weir_sql::Access::Write;
            writes && oracle.reports_rows(index) || oracle.views_labelled(index)
        }) || oracle.calls_reporting()
    }

    /// Whether it ends a transaction or has its deferred constraints checked.
    pub(super) fn settles(&self) -> bool {
        use weir_policy::Effect::{Set, Transaction};
        self.effects.intersects(EffectSet::of(&[Set, Transaction]))
    }

    fn unproven(&mut self, catalog: &Catalog) {
        let ids = catalog.all_labels().to_vec();
        if ids.is_empty() {
            return;
        }
        self.touches = true;
        self.uses.extend(ids.iter().map(|label| LabelUse {
            label: *label,
            how: Use::Output,
        }));
        self.outputs.push(OutputLabels {
            ids,
            derived: true,
            ..OutputLabels::default()
        });
    }

    /// Calls `with` on the operation before it runs: outputs as lineage sees them.
    pub(super) fn operation<R>(&self, with: impl FnOnce(&Operation<'_>) -> R) -> R {
        self.with_outputs(&self.outputs, with)
    }

    /// Calls `with` on the operation whose result has these columns.
    pub(super) fn with_outputs<R>(
        &self,
        outputs: &[OutputLabels],
        with: impl FnOnce(&Operation<'_>) -> R,
    ) -> R {
        let relations: Vec<Relation<'_>> = self
            .relations
            .iter()
            .map(|(schema, name, access)| Relation {
                schema,
                name,
                access: *access,
            })
            .collect();
        let functions: Vec<FunctionRef<'_>> = self
            .functions
            .iter()
            .map(|(schema, name)| FunctionRef {
                schema: schema.as_deref(),
                name,
            })
            .collect();
        let settings: Vec<&str> = self.settings.iter().map(|name| &**name).collect();
        let outputs: Vec<Output<'_>> = outputs
            .iter()
            .map(|output| match (output.ids.as_slice(), output.proven) {
                ([], _) => Output::Clean,
                (ids, _) if output.kept => Output::Kept(ids),
                (ids, true) => Output::Labelled(ids),
                (ids, false) => Output::Unproven(ids),
            })
            .collect();
        let sql = SqlOperation {
            effects: self.effects,
            relations: &relations,
            functions: &functions,
            settings: &settings,
            label_uses: &self.uses,
            comparisons: self.comparisons,
            where_clause: self.where_clause,
            outputs: &outputs,
            opaque: self.opaque.as_deref(),
            masked_value_written: self.writes_mask && self.writes(),
            collects: self.collects,
            stores_collected: self.stores_collected,
        };
        if self.opaque.is_some() && self.effects.is_empty() {
            return with(&Operation::Opaque {
                reason: self.opaque.as_deref().unwrap_or_default(),
            });
        }
        with(&Operation::Sql(&sql))
    }

    /// Whether its text was understood.
    pub(super) const fn was_read(&self) -> bool {
        self.opaque.is_none()
    }

    /// Whether rows that go to the client by COPY are in its text format, as far as the statement says.
    pub(super) const fn copies_text(&self) -> bool {
        self.copies_text
    }

    /// Whether rows come from the client by COPY.
    pub(super) fn copies_in(&self) -> bool {
        self.effects.contains(weir_policy::Effect::CopyIn)
    }

    fn writes(&self) -> bool {
        use weir_policy::Effect::{CopyIn, Insert, Merge, Update};
        self.effects
            .intersects(EffectSet::of(&[Insert, Update, Merge, CopyIn]))
    }

    /// What it does, in the policy's words.
    pub(super) fn effects(&self) -> impl Iterator<Item = &'static str> {
        self.effects.iter().map(weir_policy::Effect::name)
    }

    /// Columns that carry labels, by label.
    pub(super) fn columns(&self) -> impl Iterator<Item = (LabelId, &str)> {
        self.columns.iter().map(|(label, name)| (*label, &**name))
    }

    /// Names of the relations, for the record.
    pub(super) fn tables(&self) -> impl Iterator<Item = Arc<str>> {
        self.relations
            .iter()
            .map(|(schema, name, _)| match &**schema {
                "" => Arc::from(&**name),
                schema => Arc::from(format!("{schema}.{name}")),
            })
    }

    /// Labels that are touched, sorted, for the record.
    pub(super) fn labels(&self) -> Vec<LabelId> {
        let mut ids: Vec<LabelId> = self.uses.iter().map(|used| used.label).collect();
        ids.extend(
            self.outputs
                .iter()
                .flat_map(|output| output.ids.iter().copied()),
        );
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}
