//! What the server sends: forwarded as it comes, counted, masked, or replaced by a refusal.

use std::sync::Arc;
use std::time::Duration;

use weir_audit::{Outcome, Stream};
use weir_policy::{Delivery, NoCounters, RecordLevel, Step, Verdict};
use weir_wire_postgres::backend::{self, Field, tag};
use weir_wire_postgres::frame::{Body, HEADER, Header};
use weir_wire_postgres::message;

use carries::Carries;

use super::hold::Crossing;
use super::judgement::{Described, Plan};
use super::mask::CellMask;
use super::pending::{Entry, Owed};
use super::prepared::{Cursor, Prepared};
use super::refusal::Refusal;
use super::seen;
use super::session::{MAX_WHOLE, Rest, Session, SessionEnd};
use super::statement::{Active, Body as StatementBody};
use crate::millis;

mod carries;
mod ends;
mod result;
mod rows;

/// An error or notice longer than this many bytes is cut where a policy protects something: its
/// text could carry a table.
const MAX_REPORT: usize = 8 * 1024;

/// How much of each field of a long error or notice is kept, in bytes.
const MAX_REPORT_FIELD: usize = 512;

/// Whether a message answers a request, rather than telling something at any time.
fn is_answer(tag: u8) -> bool {
    !matches!(
        tag,
        tag::READY | tag::NOTICE | tag::NOTIFICATION | tag::PARAMETER_STATUS
    )
}

/// What happens to a server message.
enum Fate {
    /// It goes on as it is.
    Forward,
    /// It does not go on; what should is written already.
    Drop,
    /// It stays where it is: a limit was crossed.
    Stay,
}

impl Session {
    /// Takes every server message that has arrived, as far as limits allow.
    pub(super) fn take_server(&mut self) -> Result<(), SessionEnd> {
        self.refresh_meter();
        let result = self.take_server_messages();
        self.charge();
        self.keep_recordings();
        result
    }

    /// Under strict delivery, what was recorded is kept before what it shows goes on.
    pub(super) fn keep_recordings(&mut self) {
        if self.scope.record() < RecordLevel::Full
            || self.scope.delivery() != Delivery::BlockingStrict
        {
            return;
        }
        for active in self.pending.active() {
            self.durable.extend(active.take_recording());
        }
    }

    fn take_server_messages(&mut self) -> Result<(), SessionEnd> {
        self.compare_definitions();
        while self.crossing.is_none() && self.server.settle_rest(&mut self.client.out) {
            let unjudged = self.server.inbox.unjudged();
            let Some(header) = Header::peek(unjudged).map_err(SessionEnd::Server)? else {
                break;
            };
            if matches!(header.tag, tag::DATA_ROW | tag::COPY_DATA)
                && self.front_active().is_some_and(|active| active.rows() == 0)
            {
                // Another statement was at the front when the counters were read.
                self.refresh_meter();
            }
            if header.tag == tag::DATA_ROW && self.run_of_rows()? {
                continue;
            }
            let unjudged = self.server.inbox.unjudged();
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
            let fate = match self.message(header)? {
                Fate::Forward if self.connection.muted && is_answer(header.tag) => Fate::Drop,
                fate => fate,
            };
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

    /// Looks up what other sessions have left of the window budgets since the last batch of rows.
    fn refresh_meter(&mut self) {
        let meter = |active: &mut Self| Some(active.front_active()?.meter.as_ref()?.shares());
        if meter(self) != Some(true) {
            return;
        }
        let (shared, now) = (Arc::clone(&self.shared), millis());
        if let Some(meter) = self.front_active().and_then(|active| active.meter.as_mut()) {
            let read = &mut |counters: &dyn weir_policy::Counters| meter.refresh(counters, now);
            shared.budgets.read(read);
        }
    }

    /// Looks up what is left of the window budgets for a statement that goes on.
    pub(super) fn renew_meter(&self, active: &mut Active) {
        if let Some(meter) = &mut active.meter {
            let now = millis();
            let read = &mut |counters: &dyn weir_policy::Counters| meter.refresh(counters, now);
            self.shared.budgets.read(read);
        }
    }

    /// Writes the window budgets forward before what they count goes to the client.
    fn charge(&mut self) {
        for active in self.pending.active() {
            let Some(meter) = &mut active.meter else {
                continue;
            };
            let usage = meter.take_usage();
            if !usage.is_empty() {
                let now = millis();
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
                    portal.described = Some(Arc::default());
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
                {
                    self.named.portal_bound(name, portal);
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
                self.named.portal_closed(&name);
                self.answered()
            }
            (tag::COMMAND_COMPLETE | tag::EMPTY_QUERY, _) => self.complete(header),
            (tag::PORTAL_SUSPENDED, Owed::Execute(..)) => self.suspended(),
            (tag::COPY_IN, _) => {
                // The batch goes on.
                self.batch_open |= self.pending.start_copy_in();
                Ok(Fate::Forward)
            }
            (tag::COPY_BOTH, _) if !self.connection.replication => Err(SessionEnd::Ended(
                "the server began COPY BOTH, which no policy permits".to_owned(),
            )),
            (tag::FUNCTION_RESULT, Owed::FunctionCall(active)) => {
                if let Some(mut active) = active.take() {
                    active.see_answer();
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
                let described = self.described(&name, header)?;
                self.pending.pop();
                self.portal_described(&name, &described);
            }
            (tag::NO_DATA, Owed::DescribePortal(name)) => {
                let name = name.clone();
                self.pending.pop();
                if let Some(portal) = self.named.portal(&name, &mut self.pending) {
                    portal.described = Some(Arc::default());
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
            b"client_encoding" => self.encodings.client_is(value),
            b"server_encoding" => self.encodings.server_is(value),
            _ => {}
        }
    }
}
