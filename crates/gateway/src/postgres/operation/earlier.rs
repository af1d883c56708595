//! What the statements of a message leave for those behind them. All are judged before the first one
//! runs, over the catalog as it was: what an earlier one changes is not in it.
//!
//! A statement that has nothing to do with labelled relations is judged as if it stood alone, as long as
//! no earlier one had either. Otherwise names must mean what they meant, and no code may have been
//! defined that shows or keeps what it is given.

use weir_sql::{Effect, Statement, Transaction};

use super::terms::writes_rows;
use crate::postgres::catalog::Oracle;
use crate::postgres::statement::Body;

/// What the earlier statements of a message did, taken together; also what one did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::postgres) struct Earlier {
    /// The schema was changed.
    schema: bool,
    /// There was a labelled relation, or one that is not known.
    labelled: bool,
    /// Names of labelled relations or of their columns may mean something else now.
    moved: bool,
    /// More was done than to add: any name may mean something else now, as when schemas swap theirs.
    rearranged: bool,
    /// Code was defined.
    code: bool,
    /// Code was defined that may show labelled values.
    loud: bool,
    /// Code was defined that may keep what it is given.
    keeps: bool,
    /// Functions of the database were put where they run by themselves.
    attached: bool,
    /// The relations that were made.
    made: Vec<Made>,
    /// The names of tables that may have other columns now.
    reshaped: Vec<String>,
}

/// A relation that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    /// As it was named.
    schema: Option<String>,
    name: String,
    /// What lies behind it, if it is a view: schemas and names.
    over: Vec<(Box<str>, Box<str>)>,
}

/// How a statement stands to what was before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It means what it would mean alone.
    Alone,
    /// What it reads may have been made just now, and nothing labelled can be in there.
    Unlabelled,
    /// What it reads, runs or changes is not known.
    Unknown,
}

impl Earlier {
    /// Whether the schema was changed.
    pub(in crate::postgres) const fn changes_schema(&self) -> bool {
        self.schema
    }

    /// Adds what one more statement did.
    pub(in crate::postgres) fn add(&mut self, next: &Self) {
        self.schema |= next.schema;
        self.labelled |= next.labelled;
        self.moved |= next.moved;
        self.rearranged |= next.rearranged;
        self.code |= next.code;
        self.loud |= next.loud;
        self.keeps |= next.keeps;
        self.attached |= next.attached;
        if next.rearranged {
            self.made.clear();
        }
        self.made.extend_from_slice(&next.made);
        self.reshaped.extend_from_slice(&next.reshaped);
    }

    /// What a statement behind these does, some of it perhaps by code that gives names another meaning.
    pub(super) fn with(&self, statement: &Statement, oracle: &Oracle<'_>, redefines: bool) -> Self {
        let makes = makes(statement);
        let is_new = |named: &weir_sql::RelationRef| {
            self.has_made(named)
                || makes && named.access == weir_sql::Access::Write
                || statement.tag.starts_with("DROP ")
        };
        let mut named = statement.relations.iter().enumerate();
        let labelled = named.any(|(index, named)| oracle.meets_labelled(index, is_new(named)));
        let schema = statement.changes_schema;
        let reshaped = (statement.tag == "ALTER TABLE").then_some(&statement.relations);
        let reshaped = reshaped.into_iter().flatten().map(|one| one.name.clone());
        let code = schema
            && [Effect::Routine, Effect::System, Effect::Foreign]
                .into_iter()
                .any(|effect| statement.effects.contains(effect));
        let defined = oracle.defined().filter(|_| !self.moved);
        Self {
            schema: schema || redefines,
            labelled: labelled || statement.opaque.is_some(),
            moved: schema && labelled && !only_adds(statement),
            rearranged: redefines
                || schema && !(only_adds(statement) || makes || defines(statement)),
            code,
            loud: code && !is_judged_alone(statement) && defined.is_none(),
            keeps: defined.is_some_and(|defined| defined.keeps),
            attached: schema && !is_routine(statement) && calls_own(statement, oracle),
            made: self.made_by(statement, oracle),
            reshaped: reshaped.collect(),
        }
    }

    /// Whether a relation was made by this name.
    fn has_made(&self, named: &weir_sql::RelationRef) -> bool {
        let mut made = self.made.iter();
        made.any(|made| made.schema == named.schema && made.name == named.name)
    }

    /// What lies behind a relation if it is a view that was made: schemas and names.
    pub(super) fn over(
        &self,
        named: &weir_sql::RelationRef,
    ) -> impl Iterator<Item = &(Box<str>, Box<str>)> {
        let made = self.made.iter().filter(|made| made.name == named.name);
        made.flat_map(|made| &made.over)
    }

    /// The relation that a statement makes: it fails where there is one of this name, or does nothing.
    fn made_by(&self, statement: &Statement, oracle: &Oracle<'_>) -> Vec<Made> {
        let mut named = statement.relations.iter().enumerate();
        let written = named.find(|(_, relation)| relation.access == weir_sql::Access::Write);
        let is_new = |at: usize| !statement.unless_exists || oracle.is_unknown(at);
        let made = written.filter(|(at, _)| makes(statement) && is_new(*at));
        let read = |(_, one): &(usize, &weir_sql::RelationRef)| {
            one.access == weir_sql::Access::Read && statement.tag == "CREATE VIEW"
        };
        let owned = |(schema, name): (&str, &str)| (Box::from(schema), Box::from(name));
        let made = made.map(|(_, relation)| Made {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            over: statement
                .relations
                .iter()
                .enumerate()
                .filter(read)
                .flat_map(|(at, one)| {
                    let behind = oracle
                        .behind(at)
                        .iter()
                        .map(|(schema, name)| (&**schema, &**name));
                    let seen = std::iter::once(oracle.name(at)).chain(behind).map(owned);
                    seen.chain(self.over(one).cloned())
                })
                .collect(),
        });
        made.into_iter().collect()
    }

    /// What such a statement leaves where the open transaction has seen definitions that it alone sees: behind it
    /// names mean again what they meant before.
    pub(in crate::postgres) fn take_back(&mut self, body: &Body) {
        let transaction = body
            .get()
            .and_then(|statement| statement.transaction.as_ref());
        let takes_back = matches!(
            transaction,
            Some(
                Transaction::Rollback { .. }
                    | Transaction::RollbackTo(_)
                    | Transaction::PrepareTransaction(_)
            )
        );
        self.schema |= takes_back;
        self.rearranged |= takes_back;
    }

    /// What a statement that was not understood may do.
    pub(super) fn unknown() -> Self {
        Self {
            schema: true,
            labelled: true,
            moved: true,
            rearranged: true,
            code: true,
            loud: true,
            keeps: true,
            attached: true,
            made: Vec::new(),
            reshaped: Vec::new(),
        }
    }

    /// How a statement that does `next` stands to these.
    pub(super) fn standing(
        &self,
        next: &Self,
        statement: &Statement,
        oracle: &Oracle<'_>,
    ) -> Standing {
        if !self.schema || statement.transaction.is_some() {
            return Standing::Alone;
        }
        let runs = || statement.code.iter().any(|code| code.runs_now);
        let named = || statement.executes.is_some() || statement.fetches.is_some();
        let calls = || calls_own(statement, oracle);
        let puts = || {
            next.code && !is_routine(statement)
                || matches!(
                    statement.tag,
                    "CREATE DOMAIN" | "ALTER DOMAIN" | "CREATE TYPE"
                )
        };
        // Nothing of a definition of code runs yet; what it is put on has been judged without it.
        if self.keeps && (next.labelled || puts() && !is_judged_alone(statement))
            || self.loud && !(next.code && is_routine(statement))
            || (next.loud || next.keeps) && self.attached
            || self.moved && (!statement.relations.is_empty() || calls() || runs() || named())
        {
            return Standing::Unknown;
        }
        let reshaped = |one: &weir_sql::RelationRef| self.reshaped.contains(&one.name);
        let reads = |one: &&weir_sql::RelationRef| one.access == weir_sql::Access::Read;
        if next.labelled && statement.relations.iter().filter(reads).any(reshaped) {
            return Standing::Unknown;
        }
        let gains_name = statement.renames.is_some() || statement.adopts;
        if next.labelled && gains_name && (self.code || self.attached) {
            return Standing::Unknown;
        }
        let known = oracle.trusts_all() && !named();
        let mut relations = statement.relations.iter();
        let as_named = !self.rearranged || relations.all(|relation| self.has_made(relation));
        if known && !self.labelled && !next.labelled && as_named {
            return Standing::Unlabelled;
        }
        // What was only added is met by nobody who does not name it.
        let defined = self.code || self.loud || self.keeps || self.attached;
        let named_now = |one: &weir_sql::RelationRef| {
            let mut made = self.made.iter();
            made.any(|made| made.name == one.name)
        };
        let read = |one: &&weir_sql::RelationRef| one.access == weir_sql::Access::Read;
        let mut relations = statement.relations.iter().enumerate();
        let meets_new =
            relations.any(|(at, one)| read(&one) && (named_now(one) || oracle.is_unknown(at)));
        if known && !self.labelled && !self.rearranged && !defined && !meets_new {
            return Standing::Alone;
        }
        // A key that refers to a relation reads nothing of it that the key by itself would not.
        let refers = matches!(statement.tag, "CREATE TABLE" | "ALTER TABLE")
            && statement.lineage.is_empty()
            && !statement.adopts
            && !self.rearranged
            && (statement.primary_keys.is_empty() || !self.labelled);
        let reads = !refers && statement.relations.iter().any(|one| read(&one));
        // An UPDATE reads what it writes to, and that may be another relation now.
        let rewrites = !as_named && writes_rows(statement);
        // Which function a trigger may have is judged by itself.
        if reads || rewrites || !known || calls() && statement.tag != "CREATE TRIGGER" {
            return Standing::Unknown;
        }
        Standing::Alone
    }
}

/// Whether a definition changes the meaning of no name: it adds to a relation, or makes one.
fn only_adds(statement: &Statement) -> bool {
    let adds = matches!(
        statement.tag,
        "CREATE TABLE"
            | "CREATE INDEX"
            | "CREATE SEQUENCE"
            | "CREATE STATISTICS"
            | "ALTER TABLE"
            | "CREATE TRIGGER"
            | "CREATE POLICY"
            | "COMMENT"
    );
    adds && statement.renames.is_none() && !statement.adopts
}

/// Whether it defines what was not there before, other than relations.
fn defines(statement: &Statement) -> bool {
    is_routine(statement)
        || matches!(
            statement.tag,
            "CREATE DOMAIN" | "CREATE TYPE" | "CREATE SCHEMA"
        )
}

/// Whether it defines a routine, and nothing else.
fn is_routine(statement: &Statement) -> bool {
    matches!(statement.tag, "CREATE FUNCTION" | "CREATE PROCEDURE")
}

/// Whether code is only put somewhere, or taken away: which code it is was judged by itself.
fn is_judged_alone(statement: &Statement) -> bool {
    statement.tag.starts_with("DROP ")
        || matches!(
            statement.tag,
            "CREATE TRIGGER" | "ALTER TRIGGER" | "CREATE RULE" | "ALTER TABLE"
        )
}

/// Whether what a statement writes to is a relation that it makes.
fn makes(statement: &Statement) -> bool {
    statement.changes_schema
        && matches!(
            statement.tag,
            "CREATE TABLE"
                | "CREATE TABLE AS"
                | "SELECT INTO"
                | "CREATE VIEW"
                | "CREATE MATERIALIZED VIEW"
                | "CREATE SEQUENCE"
        )
}

/// Whether a statement calls more than the server's own functions.
fn calls_own(statement: &Statement, oracle: &Oracle<'_>) -> bool {
    let mut called = statement.functions.iter();
    called.any(|function| {
        function.schema.as_deref() != Some("pg_catalog")
            && (weir_sql::builtin::class(&function.name).is_none()
                || oracle.has_own(&function.name))
    }) || oracle.own_fields().next().is_some()
}
