//! Utility statements: session control and maintenance here, definitions in `define`.

mod define;
mod tags;

use std::collections::HashSet;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CallStmt, ClusterStmt, DefElem, DiscardMode, DoStmt, Node, TransactionStmt, TransactionStmtKind,
};

use super::Builder;
use super::inventory::Inventory;
use super::settings::literal;
use crate::ir::{Expr, Root};
use crate::{
    Access, Code, DefinitionColumn, Effect, Fetch, FunctionRef, SettingTarget, Transaction,
};

impl Builder {
    pub(super) fn utility(&mut self, node: &NodeEnum) -> Root {
        let root = match node {
            NodeEnum::TransactionStmt(transaction) => self.transaction(transaction),
            NodeEnum::VariableSetStmt(set) => {
                self.tag(if set.name.is_empty() || set.kind > 4 {
                    "RESET"
                } else {
                    "SET"
                });
                self.effect(Effect::Set);
                self.variable_set(set, SettingTarget::Session);
                Root::Nothing
            }
            NodeEnum::VariableShowStmt(_) => {
                self.tag("SHOW");
                self.effect(Effect::Select);
                self.statement.returns_rows = true;
                Root::Clean
            }
            NodeEnum::ConstraintsSetStmt(_) => {
                self.tag("SET CONSTRAINTS");
                self.effect(Effect::Set);
                Root::Nothing
            }
            NodeEnum::DiscardStmt(discard) => {
                self.effect(Effect::Set);
                let all = discard.target == DiscardMode::DiscardAll as i32;
                if all {
                    self.setting("*".to_owned(), None, false, SettingTarget::Session);
                    self.statement.deallocates = Some(None);
                    self.statement.closes = Some(None);
                }
                self.tag(match DiscardMode::try_from(discard.target) {
                    Ok(DiscardMode::DiscardPlans) => "DISCARD PLANS",
                    Ok(DiscardMode::DiscardSequences) => "DISCARD SEQUENCES",
                    Ok(DiscardMode::DiscardTemp) => "DISCARD TEMP",
                    _ => "DISCARD ALL",
                });
                let temporary = discard.target == DiscardMode::DiscardTemp as i32;
                self.statement.changes_schema = all || temporary;
                Root::Nothing
            }
            NodeEnum::FetchStmt(fetch) => {
                self.tag(if fetch.ismove { "MOVE" } else { "FETCH" });
                self.effect(Effect::Fetch);
                self.statement.returns_rows = !fetch.ismove;
                let (cursor, is_move) = (fetch.portalname.clone(), fetch.ismove);
                self.statement.fetches = Some(Fetch { cursor, is_move });
                if is_move {
                    Root::Nothing
                } else {
                    Root::Unknown
                }
            }
            NodeEnum::ClosePortalStmt(close) => {
                self.tag("CLOSE CURSOR");
                self.effect(Effect::Fetch);
                self.statement.closes = Some(named(&close.portalname));
                Root::Nothing
            }
            NodeEnum::DeallocateStmt(deallocate) => {
                self.tag("DEALLOCATE");
                self.effect(Effect::Deallocate);
                self.statement.deallocates = Some(named(&deallocate.name));
                Root::Nothing
            }
            NodeEnum::ListenStmt(_) => self.plain("LISTEN", Effect::Listen),
            NodeEnum::UnlistenStmt(_) => self.plain("UNLISTEN", Effect::Listen),
            NodeEnum::NotifyStmt(_) => self.plain("NOTIFY", Effect::Notify),
            NodeEnum::LockStmt(lock) => {
                self.targets_of(&lock.relations, Access::Read);
                self.plain("LOCK TABLE", Effect::Lock)
            }
            NodeEnum::TruncateStmt(truncate) => {
                self.targets_of(&truncate.relations, Access::Write);
                self.plain("TRUNCATE TABLE", Effect::Truncate)
            }
            NodeEnum::DoStmt(block) => self.block(block),
            NodeEnum::CallStmt(call) => self.call_statement(call),
            NodeEnum::VacuumStmt(vacuum) => {
                let tag = if vacuum.is_vacuumcmd {
                    "VACUUM"
                } else {
                    "ANALYZE"
                };
                self.plain(tag, Effect::Maintenance)
            }
            NodeEnum::ClusterStmt(cluster) => self.cluster(cluster),
            NodeEnum::ReindexStmt(_) => self.plain("REINDEX", Effect::Maintenance),
            NodeEnum::CheckPointStmt(_) => self.plain("CHECKPOINT", Effect::Maintenance),
            NodeEnum::RefreshMatViewStmt(refresh) => {
                if let Some(range) = refresh.relation.as_ref() {
                    self.relation(range, Access::Write);
                }
                self.plain("REFRESH MATERIALIZED VIEW", Effect::Maintenance)
            }
            _ => self.definition(node),
        };
        self.statement.has_literals |= !matches!(
            node,
            NodeEnum::TransactionStmt(_)
                | NodeEnum::VariableShowStmt(_)
                | NodeEnum::DiscardStmt(_)
                | NodeEnum::FetchStmt(_)
                | NodeEnum::ClosePortalStmt(_)
                | NodeEnum::DeallocateStmt(_)
                | NodeEnum::ListenStmt(_)
                | NodeEnum::UnlistenStmt(_)
                | NodeEnum::LockStmt(_)
                | NodeEnum::TruncateStmt(_)
                | NodeEnum::CallStmt(_)
                | NodeEnum::CheckPointStmt(_)
                | NodeEnum::DropStmt(_)
        );
        self.absorb(node);
        root
    }

    /// Lists what the tree names and the walk did not: definitions have expressions in many
    /// places.
    fn absorb(&mut self, node: &NodeEnum) {
        let found = Inventory::of(node);
        let known = self.statement.relations.iter();
        let mut known: HashSet<(Option<String>, String)> = known
            .map(|relation| (relation.schema.clone(), relation.name.clone()))
            .collect();
        for FunctionRef { schema, name } in found.relations {
            if known.insert((schema.clone(), name.clone())) {
                self.named_relation(schema, name, Access::Read);
            }
        }
        add(&mut self.statement.functions, found.functions);
        add(&mut self.statement.types, found.types);
        for name in &found.columns {
            self.field(name);
        }
        // The columns that a new table refers from are its own.
        if matches!(node, NodeEnum::AlterTableStmt(_)) {
            self.statement.keys.extend(found.keys.referring);
        }
        self.statement.keys.extend(found.keys.referred);
        self.statement.primary_keys.extend(found.keys.primary);
        if self.statement.changes_schema && !matches!(node, NodeEnum::AlterTableStmt(_)) {
            let condition = |name| DefinitionColumn {
                name,
                into: None,
                altered: false,
            };
            let columns = found.columns.into_iter().map(condition);
            self.statement.columns.extend(columns);
        }
    }

    fn plain(&mut self, tag: &'static str, effect: Effect) -> Root {
        self.tag(tag);
        self.effect(effect);
        Root::Nothing
    }

    /// Sorts the rows by an index: by columns that only the catalog knows.
    fn cluster(&mut self, cluster: &ClusterStmt) -> Root {
        match &cluster.relation {
            Some(range) => {
                self.relation(range, Access::Write);
                self.statement.columns.push(DefinitionColumn {
                    name: range.relname.clone(),
                    into: None,
                    altered: false,
                });
            }
            None => self.opaque("CLUSTER of every table that was clustered before"),
        }
        self.plain("CLUSTER", Effect::Maintenance)
    }

    pub(super) fn targets_of(&mut self, nodes: &[Node], access: Access) {
        for node in nodes {
            if let Some(NodeEnum::RangeVar(range)) = node.node.as_ref() {
                self.relation(range, access);
            }
        }
    }

    fn transaction(&mut self, statement: &TransactionStmt) -> Root {
        use TransactionStmtKind as Kind;
        let savepoint = || statement.savepoint_name.clone();
        let gid = || statement.gid.clone();
        let chain = statement.chain;
        let (tag, command) = match Kind::try_from(statement.kind) {
            Ok(Kind::TransStmtBegin) => ("BEGIN", Transaction::Begin),
            Ok(Kind::TransStmtStart) => ("START TRANSACTION", Transaction::Begin),
            Ok(Kind::TransStmtCommit) => ("COMMIT", Transaction::Commit { chain }),
            Ok(Kind::TransStmtRollback) => ("ROLLBACK", Transaction::Rollback { chain }),
            Ok(Kind::TransStmtSavepoint) => ("SAVEPOINT", Transaction::Savepoint(savepoint())),
            Ok(Kind::TransStmtRelease) => ("RELEASE", Transaction::Release(savepoint())),
            Ok(Kind::TransStmtRollbackTo) => ("ROLLBACK", Transaction::RollbackTo(savepoint())),
            Ok(Kind::TransStmtPrepare) => (
                "PREPARE TRANSACTION",
                Transaction::PrepareTransaction(gid()),
            ),
            Ok(Kind::TransStmtCommitPrepared) => {
                ("COMMIT PREPARED", Transaction::CommitPrepared(gid()))
            }
            Ok(Kind::TransStmtRollbackPrepared) => {
                ("ROLLBACK PREPARED", Transaction::RollbackPrepared(gid()))
            }
            _ => {
                self.opaque("unknown transaction command");
                return Root::Nothing;
            }
        };
        self.statement.transaction = Some(command);
        self.plain(tag, Effect::Transaction)
    }

    fn block(&mut self, block: &DoStmt) -> Root {
        let (mut language, mut text) = ("plpgsql".to_owned(), String::new());
        for option in elements(&block.args) {
            let value = option.arg.as_deref().and_then(literal).unwrap_or_default();
            match option.defname.as_str() {
                "language" => language = value.to_ascii_lowercase(),
                _ => text = value,
            }
        }
        if language == "plpgsql" {
            self.statement.block = super::block::statements(&text);
        }
        self.statement.code.push(Code {
            language: Some(language),
            text,
            runs_now: true,
        });
        self.plain("DO", Effect::Do)
    }

    fn call_statement(&mut self, statement: &CallStmt) -> Root {
        self.tag("CALL");
        self.effect(Effect::Call);
        self.statement.returns_rows = true;
        match statement.funccall.as_deref() {
            Some(call) => Root::Call(Expr::Call(Box::new(self.call(call)))),
            None => {
                self.opaque("CALL without a procedure");
                Root::Unknown
            }
        }
    }
}

/// The options of a statement.
fn elements(nodes: &[Node]) -> impl Iterator<Item = &DefElem> {
    nodes.iter().filter_map(|node| match node.node.as_ref() {
        Some(NodeEnum::DefElem(element)) => Some(element.as_ref()),
        _ => None,
    })
}

/// An empty name stands for all.
fn named(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}

/// Adds what is not listed yet.
fn add(listed: &mut Vec<FunctionRef>, found: Vec<FunctionRef>) {
    let mut known: HashSet<FunctionRef> = listed.iter().cloned().collect();
    for name in found {
        if known.insert(name.clone()) {
            listed.push(name);
        }
    }
}
