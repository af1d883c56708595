//! What a session does about definitions that others change, and about its own.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_sql::{Analysis, Statement, Transaction};
use weir_wire_postgres::message;

use super::cache::Analysed;
use super::catalog::Redefines;
use super::definitions::{Names, Reading, gives_meaning};
use super::pending::Owed;
use super::refusal::Refusal;
use super::session::{Session, SessionEnd};
use super::statement::Active;

impl Session {
    /// Waits, outside of a transaction, while others change what a text names: it is judged when they have.
    pub(super) async fn await_definitions(
        &mut self,
        analysed: &Arc<Analysed>,
    ) -> Result<Option<Refusal>, SessionEnd> {
        let stands_alone = self.status == b'I' && !self.batch_open && self.pending.is_empty();
        if !self.seat.others_change() || !stands_alone || !self.scope.needs_catalog() {
            return Ok(None);
        }
        let (watch, catalog) = (self.seat.watch().clone(), self.catalog_in_use());
        let reading = Reading {
            analysed,
            catalog: catalog.as_ref(),
        };
        let free = watch.free(|watch| watch.bars_statement(reading));
        let free = self.beside(free).await?;
        self.refresh_policy().await?;
        Ok((!free).then(|| Refusal::in_use("what this names is being changed")))
    }

    /// Statements are about to go to the server: what they change is made known, and waits for what others have
    /// under way.
    pub(super) async fn meet_definitions(
        &mut self,
        statements: &VecDeque<Box<Active>>,
        analysed: &Arc<Analysed>,
    ) -> Result<Option<Refusal>, SessionEnd> {
        let Analysis::Parsed(script) = analysed.analysis() else {
            return Ok(None);
        };
        let catalog = self.catalog_in_use();
        let place = || self.place();
        let catalogs = &self.shared.catalogs;
        let remakes =
            |it: &&Statement| gives_meaning(it) || catalogs.remakes(place, catalog.as_deref(), it);
        let drops = script.statements.iter().filter(|it| it.tag == "DROP TABLE");
        drops.for_each(|it| catalogs.drops(place(), it));
        let defining = script.statements.iter().filter(remakes);
        let changes = defining.map(Names::changed_by).reduce(|mut all, names| {
            all.add(names);
            all
        });
        // What a procedure does it may commit while it still runs.
        let calls = |it: &Statement| it.effects.contains(weir_sql::Effect::Call);
        let mut judged = statements.iter().map(|active| active.judged());
        let redefines = judged.any(|judged| judged.redefines != Redefines::No);
        let changes = match redefines && script.statements.iter().any(calls) {
            true => Some(Names::Any),
            false => changes,
        };
        if changes.is_some() {
            self.hear_answers().await?;
        }
        let in_transaction = self.status == b'T' && script.statements.len() == 1;
        let commits = script.statements.iter().any(|statement| {
            matches!(
                statement.transaction,
                Some(Transaction::Commit { .. } | Transaction::PrepareTransaction(_))
            )
        });
        if let Some(names) = changes {
            self.seat.begins(names, !in_transaction);
        } else if commits {
            self.seat.ends();
        }
        if self.seat.changes() && (commits || !in_transaction) {
            let (watch, turn) = (self.seat.watch().clone(), self.seat.turn());
            if !self.beside(watch.cleared(turn)).await? {
                return Ok(Some(Refusal::in_use("what this changes is in use")));
            }
        }
        let catalog = self.catalog_in_use();
        let reading = Reading {
            analysed,
            catalog: catalog.as_ref(),
        };
        let since = statements
            .front()
            .map_or(self.judged_at, |first| first.turn);
        let met = self.seat.turn() != since && self.seat.watch().met(reading, since);
        let met = met || self.reads_old_catalog(reading).await?;
        let barred = self.status == b'I' && analysed.outlasts() && !self.seat.lasts(reading);
        Ok((met || barred).then(Refusal::redefined))
    }

    /// What comes next may begin a transaction, whose snapshot is no older than this.
    pub(super) fn note_beginning(&mut self) {
        if self.status == b'I' && !self.batch_open && self.pending.is_empty() {
            self.begun_at = self.seat.turn();
        }
    }

    /// Whether the catalog that a statement was judged by is one of the transaction's snapshot, while the server
    /// knows the names in it as they are by now, and a change between the two is in the way.
    async fn reads_old_catalog(&mut self, reading: Reading<'_>) -> Result<bool, SessionEnd> {
        let began = self.begun_at;
        let is_first = self.status == b'I' && !self.batch_open;
        if is_first || self.seat.turn() == began || !self.seat.watch().met(reading, began) {
            return Ok(false);
        }
        self.drain().await?;
        let isolation = self.ask_isolation().await?;
        let follows = matches!(
            isolation.as_deref(),
            Some("read committed" | "read uncommitted")
        );
        Ok(!follows)
    }

    /// Stops what may have met a change that was made since it was judged.
    pub(super) fn compare_definitions(&mut self) {
        let turn = self.seat.turn();
        if turn == self.compared_at {
            return;
        }
        self.compared_at = turn;
        let Some(catalog) = self.catalog_in_use() else {
            return;
        };
        let watch = self.seat.watch().clone();
        let mut stops = false;
        let session = self.evidence.session.id.to_string();
        for active in self.pending.active() {
            let Some(analysed) = active.analysed() else {
                continue;
            };
            let reading = Reading {
                analysed,
                catalog: Some(&catalog),
            };
            if active.stopped.is_none() && watch.met(reading, active.turn) {
                let refusal = Refusal::redefined().with_audit_id(&session, active.number);
                active.stopped = Some(refusal);
                active.discarding = true;
                stops = true;
            }
        }
        if stops {
            self.connection.cancel_upstream_soon();
        }
    }

    /// A batch is about to be committed by its Sync: not before it is known that nothing in it met a change.
    pub(super) async fn end_batch(&mut self) -> Result<(), SessionEnd> {
        if !self.batch_open || !self.scope.needs_catalog() || !self.seat.others_change() {
            return Ok(());
        }
        self.hear_answers().await?;
        self.abort_batch();
        Ok(())
    }

    /// A statement of the batch was stopped after it had run: what has run of it is undone, and nothing more
    /// of it runs.
    pub(super) fn abort_batch(&mut self) {
        if !self.batch_open || self.pending.is_skipping() || !self.connection.poisoned {
            return;
        }
        self.connection.poisoned = false;
        // It cannot parse.
        self.tell_server(|out| message::parse(out, b"weir_refused", b"refused by weir"));
        self.pending.push_ours(Owed::DescribeStatement);
    }
}
