//! Whether a rule's match holds for an operation.
//!
//! Two readings, and the difference is the safety of the whole: a rule that *restricts* holds as
//! soon as any part of the operation is meant (what is unknown counts as meant); a rule that
//! *allows* holds only if the whole operation lies within it (what is unknown does not).

pub(crate) mod kubernetes;
mod paths;
pub(crate) mod ssh;

use std::fmt;

use crate::effect::{Effect, EffectSet};
use crate::kubernetes::KubernetesOperation;
use crate::label::LabelId;
use crate::name::{FunctionPattern, Glob, TablePattern};
use crate::operation::{
    FunctionRef, Operation, Output, Relation, SqlOperation, Use, UseSet, WhereClause,
};
use crate::rule::{Match, WhereTest};
use crate::scope::ScopedRule;
use crate::ssh::SshRequest;

/// The field of a match that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `sql.effects`
    Effects,
    /// `sql.tables` or `sql.exceptTables`
    Tables,
    /// `labels` or `uses`
    Labels,
    /// `columns`
    Columns,
    /// `sql.functions`
    Functions,
    /// `sql.settings`
    Settings,
    /// `sql.where`
    Where,
    /// `opaque`
    Opaque,
    /// `unproven`
    Unproven,
    /// `ssh.channels`, or that it happens over SSH at all
    SshChannels,
    /// `ssh.commands`
    SshCommands,
    /// `ssh.argv`
    SshArgv,
    /// `ssh.subsystems` or `ssh.exceptSubsystems`
    SshSubsystems,
    /// `ssh.forwarding`
    SshForwarding,
    /// `ssh.destinations`
    SshDestinations,
    /// `ssh.env`
    SshEnv,
    /// `ssh.sftp`
    Sftp,
    /// `kubernetes.verbs`
    Verbs,
    /// `kubernetes.groups`, `resources` or `subresources`
    Resources,
    /// `kubernetes.namespaces`
    Namespaces,
    /// `kubernetes.names`
    Names,
    /// `kubernetes.paths`
    Paths,
    /// `kubernetes.effects`
    KubernetesEffects,
    /// `kubernetes.commands`
    KubernetesCommands,
    /// `kubernetes.foreignIdentity`
    ForeignIdentity,
    /// `kubernetes`: it is no request to the Kubernetes API
    Kubernetes,
    /// `when`
    When,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Effects => "sql.effects",
            Field::Tables => "sql.tables",
            Field::Labels => "labels",
            Field::Columns => "columns",
            Field::Functions => "sql.functions",
            Field::Settings => "sql.settings",
            Field::Where => "sql.where",
            Field::Opaque => "opaque",
            Field::Unproven => "unproven",
            Field::SshChannels => "ssh.channels",
            Field::SshCommands => "ssh.commands",
            Field::SshArgv => "ssh.argv",
            Field::SshSubsystems => "ssh.subsystems",
            Field::SshForwarding => "ssh.forwarding",
            Field::SshDestinations => "ssh.destinations",
            Field::SshEnv => "ssh.env",
            Field::Sftp => "ssh.sftp",
            Field::Verbs => "kubernetes.verbs",
            Field::Resources => "kubernetes.resources",
            Field::Namespaces => "kubernetes.namespaces",
            Field::Names => "kubernetes.names",
            Field::Paths => "kubernetes.paths",
            Field::KubernetesEffects => "kubernetes.effects",
            Field::KubernetesCommands => "kubernetes.commands",
            Field::ForeignIdentity => "kubernetes.foreignIdentity",
            Field::Kubernetes => "kubernetes",
            Field::When => "when",
        })
    }
}

/// An operation of any kind, in the terms of a match.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) sql: SqlOperation<'a>,
    /// The effect of a stream that bypasses SQL.
    pub(crate) stream: Option<Effect>,
    /// What is asked for over SSH.
    pub(crate) ssh: Option<SshRequest<'a>>,
    /// What is asked of the Kubernetes API.
    pub(crate) kubernetes: Option<&'a KubernetesOperation<'a>>,
    /// Labels that do not count: columns that only rules outside of the scope name. Sorted.
    foreign: &'a [LabelId],
}

impl<'a> Facts<'a> {
    pub(crate) fn of(operation: &Operation<'a>, foreign: &'a [LabelId]) -> Facts<'a> {
        let stream = |effect: Effect| Facts {
            sql: SqlOperation {
                effects: EffectSet::EMPTY.with(effect),
                ..SqlOperation::default()
            },
            stream: Some(effect),
            ssh: None,
            kubernetes: None,
            foreign,
        };
        match *operation {
            Operation::Sql(sql) => Facts {
                sql: *sql,
                stream: None,
                ssh: None,
                kubernetes: None,
                foreign,
            },
            Operation::Opaque { reason } => Facts {
                sql: SqlOperation {
                    opaque: Some(reason),
                    ..SqlOperation::default()
                },
                stream: None,
                ssh: None,
                kubernetes: None,
                foreign,
            },
            Operation::FunctionCall => stream(Effect::FunctionCall),
            Operation::Replication => stream(Effect::Replication),
            Operation::CopyBoth => stream(Effect::CopyBoth),
            Operation::Ssh(ssh) => Facts {
                sql: SqlOperation {
                    opaque: match ssh.request {
                        SshRequest::Exec { command } => command.opaque,
                        _ => None,
                    },
                    ..SqlOperation::default()
                },
                stream: None,
                ssh: Some(ssh.request),
                kubernetes: None,
                foreign,
            },
            Operation::Kubernetes(kubernetes) => Facts {
                sql: SqlOperation {
                    opaque: kubernetes.opaque,
                    label_uses: kubernetes.label_uses,
                    outputs: kubernetes.outputs,
                    masked_value_written: kubernetes.masked_value_written,
                    ..SqlOperation::default()
                },
                stream: None,
                ssh: None,
                kubernetes: Some(kubernetes),
                foreign,
            },
        }
    }

    /// Every label that the operation touches, and how. May repeat itself.
    pub(crate) fn touched(&self) -> impl Iterator<Item = (LabelId, Use)> {
        let outputs = self.sql.outputs.iter().flat_map(|output| match output {
            Output::Clean => [].iter(),
            Output::Labelled(ids) | Output::Unproven(ids) | Output::Kept(ids) => ids.iter(),
        });
        self.sql
            .label_uses
            .iter()
            .map(|label_use| (label_use.label, label_use.how))
            .chain(outputs.map(|id| (*id, Use::Output)))
            .filter(|(id, _)| self.counts(*id))
    }

    fn unproven(&self) -> bool {
        self.sql.outputs.iter().any(|output| match output {
            Output::Clean | Output::Labelled(_) => false,
            Output::Unproven(ids) | Output::Kept(ids) => {
                ids.is_empty() || ids.iter().any(|id| self.counts(*id))
            }
        })
    }

    fn counts(&self, id: LabelId) -> bool {
        self.foreign.binary_search(&id).is_err()
    }
}

impl ScopedRule {
    /// Whether the rule is about this label, as far as it names labels and columns.
    pub(crate) fn covers(&self, id: LabelId) -> bool {
        let within = |ids: &Option<Vec<LabelId>>| match ids {
            Some(ids) => ids.binary_search(&id).is_ok(),
            None => true,
        };
        within(&self.labels) && within(&self.columns)
    }

    /// Whether a restricting rule holds: `Err` names the first field that does not.
    pub(crate) fn restricts(&self, facts: &Facts<'_>) -> Result<(), Field> {
        self.restricts_but_for_labels(facts)?;
        let test = |field: Field, holds: bool| if holds { Ok(()) } else { Err(field) };
        let uses = self.rule.matches.uses;
        test(Field::Labels, any_label(&self.labels, uses, facts))?;
        test(
            Field::Columns,
            any_label(&self.columns, UseSet::default(), facts),
        )
    }

    /// Whether a rule would mask what is found by value in the result.
    pub(crate) fn masks_values(&self, facts: &Facts<'_>) -> bool {
        let uses = self.rule.matches.uses;
        self.labels.is_some()
            && self.columns.is_none()
            && (uses.is_empty() || uses.contains(Use::Output))
            && match facts.ssh {
                Some(request) => ssh::masks(&self.rule.matches, &request),
                None => self.restricts_but_for_labels(facts).is_ok(),
            }
    }

    fn restricts_but_for_labels(&self, facts: &Facts<'_>) -> Result<(), Field> {
        let (matches, sql) = (&self.rule.matches, &facts.sql);
        let test = |field: Field, holds: bool| if holds { Ok(()) } else { Err(field) };
        ssh::restricts(matches, facts)?;
        kubernetes::restricts(matches, facts)?;
        test(
            Field::Effects,
            matches.effects.is_empty() || matches.effects.intersects(sql.effects),
        )?;
        test(
            Field::Where,
            where_holds(matches.where_clause, sql.where_clause),
        )?;
        test(Field::Opaque, !matches.opaque || sql.opaque.is_some())?;
        test(Field::Unproven, !matches.unproven || facts.unproven())?;
        test(Field::Tables, any_table(matches, sql.relations))?;
        test(Field::Functions, {
            let patterns = &matches.functions;
            patterns.is_empty()
                || sql
                    .functions
                    .iter()
                    .any(|f| patterns.iter().any(|p| may_be(p, f)))
        })?;
        test(Field::Settings, {
            let globs = &matches.settings;
            globs.is_empty()
                || sql
                    .settings
                    .iter()
                    .any(|s| *s == "*" || is_setting(globs, s))
        })
    }

    /// Whether an Allow rule covers the operation as a whole.
    pub(crate) fn allows(&self, facts: &Facts<'_>) -> Result<(), Field> {
        let (matches, sql) = (&self.rule.matches, &facts.sql);
        let test = |field: Field, holds: bool| if holds { Ok(()) } else { Err(field) };
        ssh::allows(matches, facts)?;
        kubernetes::allows(matches, facts)?;
        test(
            Field::Opaque,
            matches.opaque == sql.opaque.is_some() || ssh::allows_word_for_word(matches, facts),
        )?;
        let named = facts
            .stream
            .is_none_or(|effect| matches.effects.contains(effect));
        let within = matches.effects.is_empty() || sql.effects.is_subset(matches.effects);
        test(Field::Effects, named && within)?;
        test(
            Field::Where,
            where_holds(matches.where_clause, sql.where_clause),
        )?;
        test(Field::Unproven, !matches.unproven || facts.unproven())?;
        test(Field::Tables, all_tables(matches, sql.relations))?;
        test(Field::Functions, {
            let patterns = &matches.functions;
            patterns.is_empty()
                || sql
                    .functions
                    .iter()
                    .all(|f| patterns.iter().any(|p| must_be(p, f)))
        })?;
        test(Field::Settings, {
            let globs = &matches.settings;
            globs.is_empty() || sql.settings.iter().all(|s| is_setting(globs, s))
        })?;
        let ids = self.labels.as_ref().filter(|_| !matches.unproven);
        let used = |how| matches.uses.is_empty() || matches.uses.contains(how);
        test(
            Field::Labels,
            facts
                .touched()
                .all(|(id, how)| ids.is_none_or(|ids| ids.binary_search(&id).is_ok()) && used(how)),
        )
    }
}

fn where_holds(test: Option<WhereTest>, clause: WhereClause) -> bool {
    match test {
        None => true,
        Some(WhereTest::Missing) => clause >= WhereClause::Ineffective,
        Some(WhereTest::Ineffective) => clause == WhereClause::Ineffective,
        Some(WhereTest::MissingOrIneffective) => {
            matches!(clause, WhereClause::Missing | WhereClause::Ineffective)
        }
    }
}

fn any_table(matches: &Match, relations: &[Relation<'_>]) -> bool {
    let meant = |r: &&Relation<'_>| matches.access.is_none_or(|access| access == r.access);
    let may_be = |p: &TablePattern, r: &Relation<'_>| {
        p.table.matches(r.name) && (r.schema.is_empty() || p.schema.matches(r.schema))
    };
    let excepted = |r: &Relation<'_>| {
        matches
            .except_tables
            .iter()
            .any(|p| p.matches(r.schema, r.name))
    };
    let mut meant_relations = relations.iter().filter(meant).peekable();
    if matches.tables.is_empty() {
        let restricted = !matches.except_tables.is_empty() || matches.access.is_some();
        let nothing_touched = meant_relations.peek().is_none();
        return !restricted
            || (nothing_touched && matches.access.is_none())
            || meant_relations.any(|r| !excepted(r));
    }
    meant_relations.any(|r| !excepted(r) && matches.tables.iter().any(|p| may_be(p, r)))
}

fn all_tables(matches: &Match, relations: &[Relation<'_>]) -> bool {
    let listed = |patterns: &[TablePattern], r: &Relation<'_>| {
        patterns.iter().any(|p| p.matches(r.schema, r.name))
    };
    let known = |r: &Relation<'_>| !r.schema.is_empty();
    relations.iter().all(|r| {
        let restricted = !matches.tables.is_empty() || !matches.except_tables.is_empty();
        matches.access.is_none_or(|access| access == r.access)
            && (!restricted || known(r))
            && (matches.tables.is_empty() || listed(&matches.tables, r))
            && !listed(&matches.except_tables, r)
    })
}

fn any_label(ids: &Option<Vec<LabelId>>, uses: UseSet, facts: &Facts<'_>) -> bool {
    if ids.is_none() && uses.is_empty() {
        return true;
    }
    facts.touched().any(|(id, how)| {
        ids.as_ref()
            .is_none_or(|ids| ids.binary_search(&id).is_ok())
            && (uses.is_empty() || uses.contains(how))
    })
}

/// Names of settings have no case, however they are quoted.
pub(crate) fn is_setting(globs: &[Glob], name: &str) -> bool {
    let name = name.to_lowercase();
    globs.iter().any(|glob| glob.matches(&name))
}

fn may_be(pattern: &FunctionPattern, function: &FunctionRef<'_>) -> bool {
    pattern.name.matches(function.name)
        && match (&pattern.schema, function.schema) {
            (Some(glob), Some(schema)) => glob.matches(schema),
            _ => true,
        }
}

fn must_be(pattern: &FunctionPattern, function: &FunctionRef<'_>) -> bool {
    pattern.name.matches(function.name)
        && match (&pattern.schema, function.schema) {
            (Some(glob), Some(schema)) => glob.matches(schema),
            (Some(_), None) => false,
            (None, _) => true,
        }
}
