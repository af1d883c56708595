//! What the server sends: forwarded as it comes, counted, masked, or replaced by a refusal.

use std::sync::Arc;
use std::time::Duration;

use weir_audit::{Outcome, Stream};
use weir_policy::{Step, Verdict};
use weir_wire_postgres::backend::{self, Field, tag};
use weir_wire_postgres::frame::{Body, HEADER, Header};
use weir_wire_postgres::message;

use super::hold::Crossing;
use super::mask::CellMask;
use super::pending::{Entry, Owed};
use super::prepared::{Cursor, Prepared};
use super::refusal::Refusal;
use super::session::{MAX_WHOLE, Rest, Session, SessionEnd};
use super::statement::{Active, Body as StatementBody};
use crate::millis;

/// An error or notice longer than this many bytes is cut where a policy protects something: its
/// text could carry a table.
const MAX_REPORT: usize = 8 * 1024;

/// How much of each field of a long error or notice is kept, in bytes.
const MAX_REPORT_FIELD: usize = 512;

/// What happens to a server message.
enum Fate {
    Forward,
    Drop,
    /// It stays where it is: a limit was crossed.
    Stay,
}

impl Session {
    /// Takes every server message that has arrived, as far as limits allow.
    pub(super) fn take_server(&mut self) -> Result<(), SessionEnd> {
        let result = self.take_server_messages();
        self.charge();
        result
    }

    fn take_server_messages(&mut self) -> Result<(), SessionEnd> {
        while self.crossing.is_none() && self.server.settle_rest(&mut self.client.out) {
            let unjudged = self.server.inbox.unjudged();
            let Some(header) = Header::peek(unjudged).map_err(SessionEnd::Server)? else {
                break;
            };
            let have = unjudged.len();
            let whole = have >= header.total;
            if !whole && !self.may_stream(header) {
                if header.total > MAX_WHOLE {
                    return Err(SessionEnd::Ended(format!(
                        "a row is longer than the {MAX_WHOLE} bytes that can be masked or recorded"
                    )));
                }
                break;
            }
            let fate = self.message(header)?;
            let now = have.min(header.total);
            match fate {
                Fate::Stay => break,
                Fate::Forward => {
                    self.totals.to_client += header.total as u64;
                    self.server.inbox.approve(now);
                    if !whole {
                        self.server.rest = Rest::Forward(header.total - now);
                    }
                }
                Fate::Drop => {
                    self.server.inbox.discard(now, &mut self.client.out);
                    if !whole {
                        self.server.rest = Rest::Drop(header.total - now);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a message may go on before it has arrived whole: rows that nobody looks into.
    fn may_stream(&mut self, header: Header) -> bool {
        if !matches!(header.tag, tag::DATA_ROW | tag::COPY_DATA) {
            return false;
        }
        match self.pending.front() {
            Some(entry) if entry.ours => false,
            Some(Entry {
                owed: Owed::Query(statements),
                ..
            }) => statements
                .front()
                .is_none_or(|active| active.is_transparent() || active.discarding),
            Some(Entry {
                owed: Owed::Execute(_, active),
                ..
            }) => active
                .as_ref()
                .is_none_or(|active| active.is_transparent() || active.discarding),
            _ => true,
        }
    }

    fn server_body(&self, header: Header) -> &[u8] {
        self.server
            .inbox
            .unjudged()
            .get(HEADER..header.total)
            .unwrap_or_default()
    }

    /// Writes the window budgets forward before what they count goes to the client.
    fn charge(&mut self) {
        let now = millis();
        for active in self.pending.active() {
            let Some(meter) = &mut active.meter else {
                continue;
            };
            let usage = meter.take_usage();
            if !usage.is_empty() {
                self.shared.budgets.charge(now, &usage);
                self.shared
                    .budgets
                    .read(&mut |counters| meter.refresh(counters, now));
            }
        }
    }

    fn message(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        match header.tag {
            tag::DATA_ROW => return self.row(header),
            tag::NOTICE => return Ok(self.notice(header)),
            tag::NOTIFICATION => return Ok(Fate::Forward),
            tag::PARAMETER_STATUS => return self.parameter_status(header),
            tag::ERROR => return Ok(self.error(header)),
            tag::READY => return self.ready(header),
            tag::COPY_DATA => return Ok(self.copy_data_out(header)),
            _ => {}
        }
        let Some(entry) = self.pending.front() else {
            return Ok(Fate::Forward);
        };
        if entry.ours {
            return self.answer_to_ours(header);
        }
        match (header.tag, &mut entry.owed) {
            (tag::ROW_DESCRIPTION, _) => self.row_description(header),
            (tag::NO_DATA, Owed::DescribeStatement) => self.answered(),
            (tag::NO_DATA, Owed::DescribePortal(name)) => {
                let name = name.clone();
                if let Some(portal) = self.named.portal(&name, &mut self.pending) {
                    portal.fields = Some(Arc::new([]));
                }
                self.answered()
            }
            (tag::PARSE_COMPLETE, Owed::Parse(..)) => {
                if let Some(Entry {
                    owed: Owed::Parse(name, statement),
                    ..
                }) = self.pending.pop()
                {
                    self.named.statements.insert(name, statement);
                }
                Ok(Fate::Forward)
            }
            (tag::BIND_COMPLETE, Owed::Bind(..)) => {
                if let Some(Entry {
                    owed: Owed::Bind(name, Some(portal)),
                    ..
                }) = self.pending.pop()
                    && let Some(old) = self.named.portals.insert(name, portal)
                {
                    old.end();
                }
                Ok(Fate::Forward)
            }
            (tag::CLOSE_COMPLETE, Owed::CloseStatement(name)) => {
                let name = std::mem::take(name);
                self.named.statements.remove(&name);
                self.answered()
            }
            (tag::CLOSE_COMPLETE, Owed::ClosePortal(name)) => {
                let name = std::mem::take(name);
                if let Some(portal) = self.named.portals.remove(&name) {
                    portal.end();
                }
                self.answered()
            }
            (tag::COMMAND_COMPLETE | tag::EMPTY_QUERY, _) => self.complete(header),
            (tag::PORTAL_SUSPENDED, Owed::Execute(..)) => self.suspended(),
            (tag::COPY_IN, _) => {
                self.pending.start_copy_in();
                Ok(Fate::Forward)
            }
            (tag::COPY_BOTH, _) if !self.connection.replication => Err(SessionEnd::Ended(
                "the server began COPY BOTH, which no policy permits".to_owned(),
            )),
            (tag::FUNCTION_RESULT, Owed::FunctionCall(active)) => {
                if let Some(active) = active.take() {
                    self.durable.extend(active.finish(Outcome::Completed));
                }
                Ok(Fate::Forward)
            }
            _ => Ok(Fate::Forward),
        }
    }

    fn answered(&mut self) -> Result<Fate, SessionEnd> {
        self.pending.pop();
        Ok(Fate::Forward)
    }

    fn answer_to_ours(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        let Some(entry) = self.pending.front() else {
            return Ok(Fate::Drop);
        };
        match (header.tag, &entry.owed) {
            (tag::ROW_DESCRIPTION, Owed::DescribePortal(name)) => {
                let name = name.clone();
                let fields = backend::row_description(self.server_body(header))
                    .map_err(SessionEnd::Server)?;
                self.pending.pop();
                self.portal_described(&name, fields);
            }
            (tag::NO_DATA, Owed::DescribePortal(name)) => {
                let name = name.clone();
                self.pending.pop();
                if let Some(portal) = self.named.portal(&name, &mut self.pending) {
                    portal.fields = Some(Arc::new([]));
                }
            }
            (tag::BIND_COMPLETE, _) => {
                self.pending.pop();
                self.capture.rows.tables.push(Vec::new());
            }
            (tag::PARSE_COMPLETE | tag::CLOSE_COMPLETE | tag::COMMAND_COMPLETE, _) => {
                self.pending.pop();
            }
            _ => {}
        }
        Ok(Fate::Drop)
    }

    fn front_active(&mut self) -> Option<&mut Box<Active>> {
        match &mut self.pending.front()?.owed {
            Owed::Query(statements) => statements.front_mut(),
            Owed::Execute(_, active) | Owed::FunctionCall(active) => active.as_mut(),
            _ => None,
        }
    }

    /// Takes the statement that the server is answering out of the queue for a while.
    pub(super) fn take_front_active(&mut self) -> Option<Box<Active>> {
        match &mut self.pending.front()?.owed {
            Owed::Query(statements) => statements.pop_front(),
            Owed::Execute(_, active) | Owed::FunctionCall(active) => active.take(),
            _ => None,
        }
    }

    /// Puts it back.
    pub(super) fn put_front_active(&mut self, active: Box<Active>) {
        match self.pending.front().map(|entry| &mut entry.owed) {
            Some(Owed::Query(statements)) => statements.push_front(active),
            Some(Owed::Execute(_, slot) | Owed::FunctionCall(slot)) => *slot = Some(active),
            _ => {}
        }
    }

    fn row(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        if self.pending.front().is_some_and(|entry| entry.ours) {
            return self.captured_row(header);
        }
        let Some(active) = self.front_active() else {
            return Ok(Fate::Forward);
        };
        if active.discarding {
            return Ok(Fate::Drop);
        }
        if let Some(meter) = &mut active.meter {
            match meter.row(header.total as u64) {
                Step::Continue => {}
                Step::Exceeded(index) => {
                    self.crossing = Some(Crossing::Limit(index));
                    return Ok(Fate::Stay);
                }
                Step::Throttle { rows_per_second } => {
                    if active.rows() % (rows_per_second / 10).max(1) == 0 {
                        let pause = 1000 / rows_per_second.clamp(1, 10);
                        self.crossing = Some(Crossing::Pause(Duration::from_millis(pause)));
                    }
                }
            }
        }
        let Some(active) = self.front_active() else {
            return Ok(Fate::Forward);
        };
        active.count(1, header.total);
        if active.is_transparent() {
            self.totals.rows += 1;
            return Ok(Fate::Forward);
        }
        self.totals.rows += 1;
        self.rewrite_row(header)
    }

    fn rewrite_row(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        let Some(mut active) = self.take_front_active() else {
            return Ok(Fate::Drop);
        };
        let body = self.server_body(header);
        if active.masks.is_empty() {
            active.record_row(body);
            self.put_front_active(active);
            return Ok(Fate::Forward);
        }
        let mut out = Vec::with_capacity(header.total + 64);
        let masks = Arc::clone(&active.masks);
        let mut next = masks.iter().peekable();
        let masked = message::masked_row(&mut out, body, |index, value| {
            while next.next_if(|(at, _)| *at < index).is_some() {}
            let (_, mask) = next.next_if(|(at, _)| *at == index)?;
            Some(mask.apply(value))
        });
        masked.map_err(SessionEnd::Server)?;
        active.record_row(out.get(HEADER..).unwrap_or_default());
        self.put_front_active(active);
        self.to_client(|client| client.extend_from_slice(&out));
        Ok(Fate::Drop)
    }

    fn captured_row(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        let mut cells = Body::new(self.server_body(header));
        let count = cells.count(4).map_err(SessionEnd::Server)?;
        let mut row = Vec::with_capacity(count);
        for _ in 0..count {
            let value = cells.value().map_err(SessionEnd::Server)?;
            row.push(value.map(|bytes| String::from_utf8_lossy(bytes).into()));
        }
        if let Some(table) = self.capture.rows.tables.last_mut() {
            table.push(row);
        }
        Ok(Fate::Drop)
    }

    fn copy_data_out(&mut self, header: Header) -> Fate {
        let Some(active) = self.front_active() else {
            return Fate::Forward;
        };
        if active.discarding {
            return Fate::Drop;
        }
        if let Some(meter) = &mut active.meter
            && let Step::Exceeded(index) = meter.row(header.total as u64)
        {
            self.crossing = Some(Crossing::Limit(index));
            return Fate::Stay;
        }
        if let Some(mut active) = self.take_front_active() {
            active.count(1, header.total);
            if active.records_rows() {
                active.record_copy(self.server_body(header), Stream::CopyOut);
            }
            self.put_front_active(active);
        }
        Fate::Forward
    }

    /// A notice can carry data: it counts as a row, and is cut or withheld like an error.
    fn notice(&mut self, header: Header) -> Fate {
        let scrub = self.must_scrub();
        let Some(active) = self.front_active() else { return Fate::Forward };
        if active.discarding {
            return Fate::Drop;
        }
        if let Some(meter) = &mut active.meter
            && let Step::Exceeded(index) = meter.row(header.total as u64)
        {
            self.crossing = Some(Crossing::Limit(index));
            return Fate::Stay;
        }
        active.count(0, header.total);
        self.report(header, scrub)
    }

    /// Passes on an error or a notice as far as it may carry data.
    fn report(&mut self, header: Header, scrub: bool) -> Fate {
        let tag = header.tag;
        if scrub {
            let body = self.server_body(header).to_vec();
            let text = "text withheld: labelled data is touched";
            self.to_client(|out| message::scrubbed(out, tag, &body, text));
            return Fate::Drop;
        }
        if header.total > MAX_REPORT && !self.scope.permits_opaque() {
            let body = self.server_body(header).to_vec();
            self.to_client(|out| message::cut(out, tag, &body, MAX_REPORT_FIELD));
            return Fate::Drop;
        }
        Fate::Forward
    }

    /// Whether what the server says about the statement at the front may carry labelled values.
    fn must_scrub(&mut self) -> bool {
        let protects = !self.scope.permits_opaque() && self.scope.has_masks();
        protects
            && self
                .front_active()
                .is_some_and(|active| active.judged.touches)
    }

    fn parameter_status(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        let body = self.server_body(header).to_vec();
        let (name, value) = backend::parameter_status(&body).map_err(SessionEnd::Server)?;
        self.track(name, value);
        Ok(Fate::Forward)
    }

    /// Follows what changes how text is read.
    pub(super) fn track(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"standard_conforming_strings" => {
                self.lex.standard_conforming_strings = value == b"on";
            }
            b"client_encoding" => self.encoding_is_plain = value == b"UTF8",
            _ => {}
        }
    }

    fn row_description(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        let fields =
            backend::row_description(self.server_body(header)).map_err(SessionEnd::Server)?;
        match self.pending.front().map(|entry| &entry.owed) {
            Some(Owed::DescribeStatement) => {
                self.pending.pop();
            }
            Some(Owed::DescribePortal(name)) => {
                let name = name.clone();
                self.pending.pop();
                self.portal_described(&name, fields);
            }
            Some(Owed::Query(_)) => {
                if let Some(mut active) = self.take_front_active() {
                    let stopped = self.plan(&mut active, &fields);
                    self.put_front_active(active);
                    if stopped {
                        return Ok(Fate::Drop);
                    }
                }
            }
            _ => {}
        }
        Ok(Fate::Forward)
    }

    /// A portal's columns are known: to the portal, and to the statement that runs it if its
    /// Execute is on the way already.
    fn portal_described(&mut self, name: &[u8], fields: Vec<Field>) {
        let fields: Arc<[Field]> = fields.into();
        if let Some(portal) = self.named.portal(name, &mut self.pending) {
            portal.fields = Some(Arc::clone(&fields));
        }
        let mut waiting = None;
        for entry in self.pending.entries_mut() {
            match &mut entry.owed {
                Owed::Bind(bound, _) if **bound == *name => break,
                Owed::Execute(portal, active) if **portal == *name => {
                    waiting = active.take();
                    break;
                }
                _ => {}
            }
        }
        if let Some(mut active) = waiting {
            self.plan(&mut active, &fields);
            for entry in self.pending.entries_mut() {
                if let Owed::Execute(portal, slot @ None) = &mut entry.owed
                    && **portal == *name
                {
                    *slot = Some(active);
                    break;
                }
            }
        }
    }

    /// Decides again, now that the result's columns are known. True: the statement was stopped.
    pub(super) fn plan(&mut self, active: &mut Box<Active>, fields: &[Field]) -> bool {
        let stopped = match self.masks(active, fields) {
            Ok(masks) => {
                active.masks = masks;
                false
            }
            Err(refusal) => {
                let refusal = self.sign(refusal, active.number);
                active.stopped = Some(refusal);
                active.discarding = true;
                self.connection.cancel_upstream_soon();
                true
            }
        };
        active.describe(fields);
        stopped
    }

    fn masks(
        &self,
        active: &Active,
        fields: &[Field],
    ) -> Result<Arc<[(usize, CellMask)]>, Refusal> {
        let Some(catalog) = self
            .catalog
            .current()
            .filter(|_| self.scope.needs_catalog())
        else {
            return Ok(Arc::new([]));
        };
        let outputs = active
            .judged
            .described(fields, &catalog)
            .map_err(|reason| Refusal::unjudged(&reason))?;
        let (scope, now) = (Arc::clone(&self.scope), millis());
        let mut decision = None;
        self.shared.budgets.read(&mut |counters| {
            decision = Some(
                active
                    .judged
                    .with_outputs(&outputs, |operation| scope.decide(operation, counters, now)),
            );
        });
        let Some(decision) = decision else {
            return Err(Refusal::unjudged("budgets could not be read"));
        };
        if let Verdict::Deny(denial) = decision.verdict {
            return Err(Refusal::denied(&denial.rule, &denial.reason, denial.hint));
        }
        let mask = |(at, mask): (usize, weir_policy::Mask)| {
            let field = fields.get(at)?;
            let derived = outputs.get(at).is_some_and(|output| output.derived);
            let key = &self.shared.token_key;
            Some((
                at,
                CellMask::new(mask, field.type_oid, field.binary, derived, key),
            ))
        };
        let mut masks: Vec<_> = decision
            .obligations
            .masks
            .into_iter()
            .filter_map(mask)
            .collect();
        masks.sort_by_key(|(at, _)| *at);
        Ok(masks.into())
    }

    fn complete(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        let command = if header.tag == tag::COMMAND_COMPLETE {
            backend::command_tag(self.server_body(header))
                .map_err(SessionEnd::Server)?
                .to_vec()
        } else {
            Vec::new()
        };
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
            self.to_client(|out| refusal.write(out));
            self.connection.poisoned = true;
            self.durable.extend(active.finish(Outcome::LimitExceeded));
            return Ok(Fate::Drop);
        }
        let keyword = command
            .split(|byte| byte.is_ascii_digit())
            .next()
            .unwrap_or_default();
        let keyword = String::from_utf8_lossy(keyword);
        active.record_mut().command = Some(keyword.trim_end().into());
        self.count_affected(&mut active, &command);
        self.settle_meter(&mut active);
        let effects = active.after();
        self.durable.extend(active.finish(Outcome::Completed));
        if let Some((body, analysed)) = effects {
            self.apply(&body, &analysed);
        }
        Ok(Fate::Forward)
    }

    /// Rows of a statement that sends none are those that it changed.
    fn count_affected(&mut self, active: &mut Active, command: &[u8]) {
        let last = command
            .rsplit(|byte| *byte == b' ')
            .next()
            .unwrap_or_default();
        let affected = std::str::from_utf8(last)
            .ok()
            .and_then(|n| n.parse::<u64>().ok());
        if active.rows() == 0
            && let Some(rows) = affected
        {
            active.count(rows, 0);
        }
    }

    /// A statement ends: its last rows are charged, and a cursor keeps the rest of its limits.
    fn settle_meter(&mut self, active: &mut Active) {
        let Some(mut meter) = active.meter.take() else {
            return;
        };
        let usage = meter.take_usage();
        if !usage.is_empty() {
            self.shared.budgets.charge(millis(), &usage);
        }
        if let Some(cursor) = active
            .cursor
            .as_ref()
            .and_then(|n| self.named.cursors.get_mut(n))
        {
            cursor.meter = Some(meter);
        }
    }

    /// What a completed statement changes about the session.
    fn apply(&mut self, body: &StatementBody, analysed: &Arc<crate::cache::Analysed>) {
        let Some(statement) = body.get() else { return };
        if statement.changes_schema || !statement.code.is_empty() {
            self.catalog.schema_changed();
        }
        if let Some(prepared) = &statement.prepares {
            let made = Prepared {
                analysed: Arc::clone(analysed),
                body: Some(body.nested()),
            };
            self.named
                .statements
                .insert(prepared.name.as_bytes().into(), Arc::new(made));
        }
        if let Some(cursor) = &statement.declares {
            let made = Cursor {
                body: body.nested(),
                hold: cursor.hold,
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
            Some(Some(name)) => drop(self.named.cursors.remove(name.as_str())),
            Some(None) => self.named.cursors.clear(),
            None => {}
        }
    }

    fn suspended(&mut self) -> Result<Fate, SessionEnd> {
        let popped = self.pending.pop();
        if let Some(Entry { owed: Owed::Execute(name, Some(active)), .. }) = popped
            && let Err(active) = self.pending.resume(&name, active)
        {
            match self.named.portals.get_mut(&name) {
                Some(portal) => portal.active = Some(active),
                None => drop(active.finish(Outcome::Completed)),
            }
        }
        Ok(Fate::Forward)
    }

    fn error(&mut self, header: Header) -> Fate {
        let scrub = self.must_scrub();
        let body = self.server_body(header).to_vec();
        let sqlstate = backend::Fields::new(&body)
            .find(b'C')
            .unwrap_or_default()
            .to_vec();
        let sqlstate: Box<str> = String::from_utf8_lossy(&sqlstate).into();
        let Some(entry) = self.pending.front() else {
            return Fate::Forward;
        };
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
        if let Some(refusal) = refusal.map(|refusal| *refusal).or(stopped) {
            self.to_client(|out| refusal.write(out));
            return Fate::Drop;
        }
        self.report(header, scrub)
    }

    fn ready(&mut self, header: Header) -> Result<Fate, SessionEnd> {
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
        if status == b'I' {
            self.named.end_transaction();
            self.catalog.transaction_ended();
        }
        if std::mem::take(&mut self.connection.poisoned) && status == b'T' {
            if !self.pending.is_empty() {
                return Err(SessionEnd::Ended(
                    "a refused result could not be brought in step with the pipeline".to_owned(),
                ));
            }
            self.to_server(|out| message::query(out, "refused by weir"));
            self.pending.push_abort();
            return Ok(Fate::Drop);
        }
        Ok(if ours { Fate::Drop } else { Fate::Forward })
    }
}
