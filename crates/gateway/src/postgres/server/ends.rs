//! How statements end: completed, suspended, failed; and what that changes about the session.

use super::*;
use crate::postgres::catalogs::redefines;
use crate::postgres::judge::own_text;
use crate::postgres::pending::name;

impl Session {
    pub(super) fn complete(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        let command: &[u8] = if header.tag == tag::COMMAND_COMPLETE {
            backend::command_tag(self.server_body(header)).map_err(SessionEnd::Server)?
        } else {
            &[]
        };
        let (keyword, affected) = (keyword(command), rows_of(command));
        let other = (keyword != self.keyword.as_bytes())
            .then(|| Arc::from(String::from_utf8_lossy(keyword)));
        if let Some(other) = other {
            self.keyword = other;
        }
        let Some(entry) = self.pending.front() else {
            return Ok(Fate::Forward);
        };
        let active = match &mut entry.owed {
            Owed::Query(statements) => statements.pop_front(),
            Owed::Execute(..) => {
                let Some(Entry {
                    owed: Owed::Execute(_, active),
                    ..
                }) = self.pending.pop()
                else {
                    return Ok(Fate::Forward);
                };
                active
            }
            _ => None,
        };
        self.pending.end_copy_in();
        let Some(mut active) = active else {
            return Ok(Fate::Forward);
        };
        if let Some(refusal) = active.stopped.take() {
            return Ok(self.end_stopped(active, &refusal));
        }
        active.record_mut().command = Some(Arc::clone(&self.keyword));
        count_affected(&mut active, affected);
        self.settle_meter(&mut active);
        self.touched |= active.judged().touches;
        self.reading_unsure |= active.judged().rereads;
        self.code_ran |= active.judged().runs_code;
        self.catalog.code_ran(active.judged().redefines);
        let shown = active.opening();
        let effects = active.after();
        self.durable.extend(active.finish(Outcome::Completed));
        if let Some((body, analysed)) = effects {
            self.apply(&body, &analysed, shown);
        }
        Ok(Fate::Forward)
    }

    /// The server ended a statement well that Weir had stopped: the client is told of the refusal,
    /// and the transaction has still to be aborted.
    fn end_stopped(&mut self, active: Box<Active>, refusal: &Refusal) -> Fate {
        self.tell_client(|out| refusal.write(out));
        self.connection.poisoned = true;
        self.connection.muted = self.batch_open || self.pending.has_sync();
        self.durable.extend(active.finish(Outcome::LimitExceeded));
        Fate::Drop
    }

    /// Charges the rows of a statement that stops for now; the statements behind it learn of that.
    fn charge_meter(&mut self, active: &mut Active) {
        let Some(meter) = &mut active.meter else {
            return;
        };
        let usage = meter.take_usage();
        if usage.is_empty() {
            return;
        }
        let now = millis();
        self.shared.budgets.charge(now, &usage);
        for waiting in self.pending.active() {
            if let Some(meter) = &mut waiting.meter {
                self.shared
                    .budgets
                    .read(&mut |counters| meter.refresh(counters, now));
            }
        }
    }

    /// A statement ends: its last rows are charged, and a cursor keeps the rest of its limits.
    pub(super) fn settle_meter(&mut self, active: &mut Active) {
        self.charge_meter(active);
        let Some(meter) = active.meter.take() else {
            return;
        };
        if let Some(cursor) = active
            .cursor
            .as_ref()
            .and_then(|name| self.named.cursors.get_mut(name))
        {
            cursor.meter = Some(meter);
        }
    }

    /// What a completed statement changes about the session.
    pub(super) fn apply(
        &mut self,
        body: &StatementBody,
        analysed: &Arc<crate::postgres::cache::Analysed>,
        shown: Option<Arc<str>>,
    ) {
        let Some(statement) = body.get() else { return };
        if statement.changes_schema || !statement.code.is_empty() {
            let (place, catalog) = (|| self.place(), self.catalog_in_use());
            let catalogs = &self.shared.catalogs;
            let remakes = catalogs.remakes(place, catalog.as_deref(), statement);
            self.catalog.schema_changed(redefines(statement) || remakes);
        }
        match &statement.transaction {
            Some(weir_sql::Transaction::CommitPrepared(_)) => self.catalog.prepared_committed(),
            Some(weir_sql::Transaction::RollbackTo(_)) => self.catalog.rolled_back(),
            // The next one may begin in the same message.
            Some(
                weir_sql::Transaction::Commit { .. }
                | weir_sql::Transaction::Rollback { .. }
                | weir_sql::Transaction::PrepareTransaction(_),
            ) => self.transaction_over(),
            _ => {}
        }
        if let Some(prepared) = &statement.prepares {
            let made = Prepared::new(Arc::clone(analysed), Some(body.nested()));
            self.named
                .statements
                .insert(name(prepared.name.as_bytes()), made);
        }
        // Cursors and portals are one: the server has a name only once.
        if let Some(cursor) = &statement.declares {
            self.named.portal_gone(cursor.name.as_bytes());
            let made = Cursor {
                body: body.nested(),
                text: shown.unwrap_or_else(|| own_text(Some(body), analysed)),
                hold: cursor.hold,
                opened: self.opening(),
                meter: None,
            };
            self.named.cursors.insert(cursor.name.as_str().into(), made);
        }
        match &statement.deallocates {
            Some(Some(name)) => drop(self.named.statements.remove(name.as_bytes())),
            Some(None) => self.named.statements.clear(),
            None => {}
        }
        match &statement.closes {
            Some(Some(name)) => {
                self.named.cursors.remove(name.as_str());
                self.named.portal_gone(name.as_bytes());
            }
            Some(None) => {
                self.named.cursors.clear();
                self.named.portals_gone();
            }
            None => {}
        }
    }

    pub(super) fn suspended(&mut self) -> Result<Fate, SessionEnd> {
        let popped = self.pending.pop();
        if let Some(Entry {
            owed: Owed::Execute(name, Some(mut active)),
            ..
        }) = popped
        {
            if let Some(refusal) = active.stopped.take() {
                return Ok(self.end_stopped(active, &refusal));
            }
            self.charge_meter(&mut active);
            self.catalog.code_ran(active.judged().redefines);
            if let Err(active) = self.pending.resume(&name, active) {
                match self.named.portals.get_mut(&name) {
                    Some(portal) => portal.active = Some(active),
                    None => drop(active.finish(Outcome::Completed)),
                }
            }
        }
        Ok(Fate::Forward)
    }

    pub(super) fn error(&mut self, header: Header) -> Fate {
        let (scrub, starred) = (self.must_scrub(), self.starred_report(header));
        let body = self.server_body(header).to_vec();
        let sqlstate = backend::Fields::new(&body)
            .find(b'C')
            .unwrap_or_default()
            .to_vec();
        let sqlstate: Box<str> = String::from_utf8_lossy(&sqlstate).into();
        let Some(entry) = self.pending.front() else {
            return Fate::Forward;
        };
        if self.connection.muted {
            drop(self.pending.skip());
            return Fate::Drop;
        }
        if entry.ours {
            let mut raw = Vec::new();
            message::message(&mut raw, tag::ERROR, |out| out.extend_from_slice(&body));
            self.capture.error = Some(raw);
            drop(self.pending.skip());
            return Fate::Drop;
        }
        if matches!(entry.owed, Owed::Abort) {
            return Fate::Drop;
        }
        let refusal = entry.refusal.take();
        let failed: Vec<Box<Active>> = match &mut entry.owed {
            Owed::Query(statements) => statements.drain(..).collect(),
            Owed::FunctionCall(active) => active.take().into_iter().collect(),
            _ => {
                let skipped = self.pending.skip();
                skipped
                    .into_iter()
                    .filter_map(|entry| match entry.owed {
                        Owed::Execute(_, active) => active,
                        _ => None,
                    })
                    .collect()
            }
        };
        let mut stopped = None;
        for (index, mut active) in failed.into_iter().enumerate() {
            self.settle_meter(&mut active);
            let refused = active.stopped.take();
            // A procedure may have committed what it has done before it failed.
            if index == 0 {
                self.catalog.code_ran(active.judged().redefines);
            }
            let outcome = match (&refused, index) {
                (Some(refused), _) if refused.sqlstate == "57014" => Outcome::Cancelled,
                (Some(_), _) => Outcome::LimitExceeded,
                (None, 0) => Outcome::Failed {
                    code: sqlstate.clone(),
                },
                (None, _) => Outcome::Aborted,
            };
            stopped = stopped.or(refused);
            self.durable.extend(active.finish(outcome));
        }
        if &*sqlstate == "57014" && self.seat.was_cancelled() {
            stopped = stopped.or(Some(Refusal::redefined()));
        }
        if let Some(refusal) = refusal.map(|refusal| *refusal).or(stopped) {
            self.tell_client(|out| refusal.write(out));
            return Fate::Drop;
        }
        self.report(header, scrub, starred)
    }

    pub(super) fn ready(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        let status = backend::ready(self.server_body(header)).map_err(SessionEnd::Server)?;
        let entry = self.pending.pop();
        let ours = entry.as_ref().is_some_and(|entry| entry.ours);
        if let Some(Entry {
            owed: Owed::Query(statements),
            ..
        }) = entry
        {
            for active in statements {
                self.durable.extend(active.finish(Outcome::Completed));
            }
        }
        self.status = status;
        self.reading_unsure = false;
        self.code_ran = false;
        self.client.out.keep_room(false);
        self.connection.muted = false;
        if status == b'I' {
            self.touched = false;
            self.named.end_transaction();
            self.transaction_over();
        }
        if self.pending.active().next().is_none() {
            self.seat.answered();
            self.seat.rests();
        }
        if std::mem::take(&mut self.connection.poisoned) && status == b'T' {
            if !self.pending.is_empty() {
                return Err(SessionEnd::Ended(
                    "a refused result could not be brought in step with the pipeline".to_owned(),
                ));
            }
            self.tell_server(|out| message::query(out, "refused by weir"));
            self.pending.push_abort();
            return Ok(Fate::Drop);
        }
        Ok(if ours { Fate::Drop } else { Fate::Forward })
    }
}

/// What a command tag says was done: `INSERT` of `INSERT 0 5`.
fn keyword(command: &[u8]) -> &[u8] {
    let end = command.iter().position(u8::is_ascii_digit);
    let words = command.get(..end.unwrap_or(command.len()));
    words.unwrap_or_default().trim_ascii_end()
}

/// How many rows a command tag says were affected: 5 of `INSERT 0 5`.
fn rows_of(command: &[u8]) -> Option<u64> {
    let last = command.rsplit(|byte| *byte == b' ').next()?;
    std::str::from_utf8(last).ok()?.parse().ok()
}

/// Rows of a statement that sends none are those that it changed.
fn count_affected(active: &mut Active, affected: Option<u64>) {
    if active.rows() == 0
        && let Some(rows) = affected
    {
        active.count(rows, 0);
    }
}
