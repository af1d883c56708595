//! One statement from judgement to record.
//!
//! Invariant: every statement that was judged leaves exactly one `StatementFinished`, whatever
//! happens to its session: `finish` writes it, and so does dropping the value (`Aborted`).

use std::collections::BTreeSet;
use std::sync::Arc;
use weir_audit::{Outcome, Session, StatementFinished, Stream};
use weir_policy::Meter;
use weir_sql::Analysis;
use weir_wire_postgres::ProtocolError;
use weir_wire_postgres::frame::HEADER;

use super::cache::Analysed;
use super::context::Context;
use super::judgement::{Judgement, Plan};
use super::opening::Opening;
use super::operation::Judged;
use super::prepared::Parameters;
use super::recorder::Recorder;
use super::scan::Found;
use super::seen::Seen;
use crate::moment::Moment;
use crate::ports::{AuditSink, HeldShape};
use crate::wall_clock;

/// COPY data is recorded in pieces of at most so many bytes, each smaller than a chunk: where its
/// messages begin and end means nothing.
const COPY_PIECE: usize = 32 * 1024;

/// A place in an analysed text: a statement, or what it prepares or declares.
#[derive(Debug, Clone)]
pub(super) struct Body {
    script: Arc<weir_sql::Script>,
    index: usize,
    nested: bool,
}

impl Body {
    pub(super) fn new(script: &Arc<weir_sql::Script>, index: usize) -> Self {
        Self {
            script: Arc::clone(script),
            index,
            nested: false,
        }
    }

    /// What the statement here prepares or declares.
    pub(super) fn nested(&self) -> Self {
        Self {
            nested: true,
            ..self.clone()
        }
    }

    /// Whether it is all that its text holds.
    pub(super) fn is_whole_text(&self) -> bool {
        !self.nested && !self.has_siblings()
    }

    /// Whether its message holds other statements as well.
    pub(super) fn has_siblings(&self) -> bool {
        self.script.statements.len() > 1
    }

    pub(super) fn get(&self) -> Option<&weir_sql::Statement> {
        let outer = self.script.statements.get(self.index)?;
        if !self.nested {
            return Some(outer);
        }
        let prepared = outer.prepares.as_ref().map(|prepared| &*prepared.body);
        prepared.or_else(|| outer.declares.as_ref().map(|cursor| &*cursor.body))
    }
}

/// A statement that is running, or is about to.
pub(super) struct Active {
    pub(super) judgement: Arc<Judgement>,
    pub(super) meter: Option<Meter>,
    /// How the result is shown, once its columns are known.
    plan: Option<Arc<Plan>>,
    /// Values that were found in it.
    pub(super) found: Found,
    /// Labelled values that it gave in clear, where the policy asks for them.
    seen: Option<Box<Seen>>,
    /// The cursor that a FETCH reads from, which owns the meter between fetches.
    pub(super) cursor: Option<Box<str>>,
    /// What the names in the portal or cursor meant that it reads from, when that was opened.
    pub(super) opened: Option<Opening>,
    /// Set when something of Weir's ended the statement: what the client is told instead.
    pub(super) stopped: Option<super::refusal::Refusal>,
    /// The turn of definitions when it was judged.
    pub(super) turn: u64,
    /// Rows are thrown away until the server has ended the statement.
    pub(super) discarding: bool,
    /// In which role and by which search path it runs, once the server was asked.
    pub(super) context: Option<Context>,
    pub(super) started: Moment,
    pub(super) number: u64,
    rows: u64,
    bytes: u64,
    record: weir_audit::Statement,
    recorder: Option<Recorder>,
    evidence: Option<Evidence>,
    source: Option<(Body, Arc<Analysed>)>,
    shown: Shown,
}

/// What people are shown of it, whatever is recorded.
#[derive(Default)]
struct Shown {
    text: Option<Arc<str>>,
    parameters: Parameters,
    /// Rows that the server expects, once it was asked.
    estimate: Option<Option<u64>>,
}

/// Where the record goes.
#[derive(Clone)]
pub(super) struct Evidence {
    pub(super) sink: Arc<dyn AuditSink>,
    pub(super) session: Arc<Session>,
    pub(super) durable: bool,
    /// The collector must have committed what is recorded before it goes on.
    pub(super) strict: bool,
}

impl Active {
    pub(super) fn new(
        judgement: Arc<Judgement>,
        record: weir_audit::Statement,
        full: bool,
        evidence: Evidence,
        started: Moment,
    ) -> Box<Self> {
        let recorder = full.then(|| Recorder::new(record.number, started));
        Box::new(Self {
            judgement,
            meter: None,
            plan: None,
            found: Found::default(),
            seen: None,
            cursor: None,
            opened: None,
            stopped: None,
            turn: 0,
            discarding: false,
            context: None,
            started,
            number: record.number,
            rows: 0,
            bytes: 0,
            record,
            recorder,
            evidence: Some(evidence),
            source: None,
            shown: Shown::default(),
        })
    }

    /// What people would be shown.
    pub(super) fn show_people(&mut self, text: Arc<str>, parameters: Parameters) {
        self.shown.text = Some(text);
        self.shown.parameters = parameters;
    }

    /// Its own text, whole.
    pub(super) fn text(&self) -> &str {
        self.shown.text.as_deref().unwrap_or_default()
    }

    /// The same, shared.
    pub(super) fn whole_text(&self) -> Arc<str> {
        self.shown.text.clone().unwrap_or_else(|| "".into())
    }

    pub(super) fn parameters(&self) -> &[weir_audit::Value] {
        &self.shown.parameters.values
    }

    /// Whether a parameter is longer than what is kept of it.
    pub(super) fn parameters_are_cut(&self) -> bool {
        self.shown.parameters.cut
    }

    /// The statement, if it is all that its text holds.
    pub(super) fn whole_statement(&self) -> Option<&weir_sql::Statement> {
        let (body, _) = self.source.as_ref()?;
        body.is_whole_text().then(|| body.get())?
    }

    /// The statement, if it is known where it stands.
    pub(super) fn statement(&self) -> Option<&weir_sql::Statement> {
        self.source.as_ref()?.0.get()
    }

    /// Whether its message holds other statements as well.
    pub(super) fn has_siblings(&self) -> bool {
        let source = self.source.as_ref();
        source.is_some_and(|(body, _)| body.has_siblings())
    }

    /// Its message, where it holds other statements as well.
    pub(super) fn whole_message(&self) -> Option<Arc<str>> {
        let (body, analysed) = self.source.as_ref()?;
        body.has_siblings().then(|| Arc::clone(&analysed.text))
    }

    /// The text of what opens a cursor, and its parameters as people read them.
    pub(super) fn opening(&self) -> Option<Arc<str>> {
        self.statement()?.declares.as_ref()?;
        let mut text = self.text().to_owned();
        for (place, value) in self.parameters().iter().enumerate() {
            let end = if place == 0 { "\n" } else { ", " };
            text.push_str(&format!("{end}${} = {}", place + 1, shown(value)));
        }
        if self.parameters_are_cut() {
            text.push_str(" (not all of a parameter is shown)");
        }
        Some(text.into())
    }

    /// What the server was asked about its rows, if it was.
    pub(super) fn estimate(&self) -> Option<Option<u64>> {
        self.shown.estimate
    }

    pub(super) fn set_estimate(&mut self, rows: Option<u64>) {
        self.shown.estimate = Some(rows);
    }

    /// What is left of it without literals and parameters, if nothing that was judged depends on them.
    pub(super) fn shape(&self) -> Option<HeldShape> {
        let (body, analysed) = self.source.as_ref()?;
        if !body.is_whole_text() {
            return None;
        }
        let Analysis::Parsed(script) = analysed.analysis() else {
            return None;
        };
        // The places of literals are those of the text that was analysed.
        let text = &*analysed.text;
        let mut shape = weir_sql::Shape::default();
        shape.read(text)?;
        let literals = shape.literals(text);
        let mut free: Vec<Arc<str>> = literals.into_iter().map(Arc::from).collect();
        let stands = {
            let sample = analysed.sample();
            let mut of_sample = weir_sql::Shape::default();
            of_sample.read(sample)?;
            script.ignores_literals(&of_sample, sample)
        };
        let parameters = self.parameters().iter().enumerate();
        free.extend(
            parameters
                .map(|(place, value)| Arc::from(format!("${} = {}", place + 1, shown(value)))),
        );
        stands.then(|| HeldShape {
            key: shape.key().into(),
            shown: shape.shown().into(),
            free,
        })
    }

    /// What the statement does.
    pub(super) fn judged(&self) -> &Judged {
        &self.judgement.judged
    }

    /// Whether the result's rows are written anew for the client.
    #[inline]
    pub(super) fn changes_rows(&self) -> bool {
        self.plan
            .as_ref()
            .is_some_and(|plan| !plan.masks.is_empty())
    }

    /// Appends a row as the client gets it.
    ///
    /// # Errors
    /// The body does not have a row's shape.
    pub(super) fn show_row(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        match &self.plan {
            Some(plan) => {
                let start = out.len() + HEADER;
                plan.show_row(body, out, &mut self.found)?;
                self.see_row(out.get(start..).unwrap_or_default());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether fingerprints of the rows' values are kept.
    #[inline]
    pub(super) fn sees_rows(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| !plan.seen.is_empty())
    }

    /// Keeps fingerprints of a row's values as the client gets it: the body of a DataRow.
    pub(super) fn see_row(&mut self, body: &[u8]) {
        let Some(plan) = self.plan.as_ref().filter(|plan| !plan.seen.is_empty()) else {
            return;
        };
        let seen = self.seen.get_or_insert_default();
        seen.row(&plan.seen, body);
        if seen.is_full() {
            self.send_seen();
        }
    }

    /// The same of a line of a COPY.
    pub(super) fn see_copy(&mut self, line: &[u8]) {
        let Some(wanted) = &self.judgement.wanted else {
            return;
        };
        let judged = &self.judgement.judged;
        let is_text = judged.copies_text();
        let seen = self.seen.get_or_insert_default();
        let touched = judged.was_read().then(|| judged.labels());
        seen.line(wanted, line, touched.as_deref(), |fields| {
            judged.copied(fields).filter(|_| is_text)
        });
        if seen.is_full() {
            self.send_seen();
        }
    }

    /// A FunctionCall has been answered: what it gave may be any labelled value.
    pub(super) fn see_answer(&mut self) {
        if let Some(wanted) = &self.judgement.wanted {
            let seen = self.seen.get_or_insert_default();
            seen.line(wanted, b"", None, |_| None);
        }
    }

    fn send_seen(&mut self) {
        let Some(seen) = &mut self.seen else { return };
        let new = seen.take(self.number);
        let Some(evidence) = &self.evidence else {
            return;
        };
        for event in new {
            let session = Arc::clone(&evidence.session);
            evidence
                .sink
                .record(weir_audit::Record::session(wall_clock(), session, event));
        }
    }

    /// Stars values in bytes for the client that are not rows; whether there were any.
    pub(super) fn star(&mut self, bytes: &mut [u8]) -> bool {
        let scanner = self.judgement.scanner.as_ref();
        scanner.is_some_and(|scanner| scanner.star(bytes, &mut self.found))
    }

    /// Remembers where the statement stands, so that its completion can be applied.
    pub(super) fn set_source(&mut self, body: Option<Body>, analysed: &Arc<Analysed>) {
        self.source = body.map(|body| (body, Arc::clone(analysed)));
    }

    pub(super) fn analysed(&self) -> Option<&Arc<Analysed>> {
        self.source.as_ref().map(|(_, analysed)| analysed)
    }

    /// What its completion changes, once.
    pub(super) fn after(&mut self) -> Option<(Body, Arc<Analysed>)> {
        self.source.take()
    }

    pub(super) fn record(&self) -> &weir_audit::Statement {
        &self.record
    }

    pub(super) fn record_mut(&mut self) -> &mut weir_audit::Statement {
        &mut self.record
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn records_rows(&self) -> bool {
        self.recorder.is_some()
    }

    /// Whether rows can go on without being looked at.
    #[inline]
    pub(super) fn is_transparent(&self) -> bool {
        !self.changes_rows()
            && !self.sees_rows()
            && self.judgement.scanner.is_none()
            && self.recorder.is_none()
            && !self.discarding
    }

    /// Counts what goes to the client.
    #[inline]
    pub(super) fn count(&mut self, rows: u64, bytes: usize) {
        self.rows += rows;
        self.bytes += bytes as u64;
    }

    /// The result's columns are known.
    pub(super) fn show(&mut self, plan: Arc<Plan>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.show(&plan);
        }
        self.plan = Some(plan);
    }

    /// Keeps a row as the client gets it: the body of a DataRow.
    pub(super) fn record_row(&mut self, body: &[u8]) {
        if let Some(recorder) = &mut self.recorder {
            recorder.row(body);
        }
        self.record_full_chunk();
    }

    /// Keeps bytes of a COPY as the client gets or sends them.
    pub(super) fn record_copy(&mut self, data: &[u8], stream: Stream) {
        for piece in data.chunks(COPY_PIECE) {
            if let Some(recorder) = &mut self.recorder {
                recorder.copy(piece, stream);
            }
            self.record_full_chunk();
        }
    }

    fn record_full_chunk(&mut self) {
        let waits = self
            .evidence
            .as_ref()
            .is_some_and(|evidence| evidence.strict);
        if !waits && self.recorder.as_ref().is_some_and(Recorder::is_full) {
            let record = self.take_recording();
            self.send(record);
        }
    }

    /// What was recorded since the last chunk; under strict delivery it must be committed before
    /// what it shows goes on.
    pub(super) fn take_recording(&mut self) -> Option<weir_audit::Record> {
        self.send_seen();
        let chunk = self.recorder.as_mut()?.take()?;
        let session = Arc::clone(&self.evidence.as_ref()?.session);
        Some(weir_audit::Record::session(wall_clock(), session, chunk))
    }

    fn send(&self, record: Option<weir_audit::Record>) {
        if let (Some(record), Some(evidence)) = (record, &self.evidence) {
            evidence.sink.record(record);
        }
    }

    /// Ends the statement. What is returned must be kept durably before the client sees the end;
    /// `None` when the delivery asks for less, and the record is on its way already.
    pub(super) fn finish(mut self: Box<Self>, outcome: Outcome) -> Option<weir_audit::Record> {
        self.write_end(outcome)
    }

    fn write_end(&mut self, outcome: Outcome) -> Option<weir_audit::Record> {
        let recording = self.take_recording();
        self.send(recording);
        let evidence = self.evidence.take()?;
        let lasted = self.started.elapsed();
        let plan = self.plan.take();
        let (columns, masked) = plan.map_or_else(Default::default, |plan| {
            (plan.columns.clone(), plan.masked_with(&self.found.columns))
        });
        let found = std::mem::take(&mut self.found.labels);
        if !found.is_empty() {
            let named = self.record.labels.as_slice().iter().cloned();
            self.record.labels = named
                .chain(found)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
        }
        let event = StatementFinished {
            statement: std::mem::take(&mut self.record),
            outcome,
            rows: self.rows,
            bytes: self.bytes,
            columns,
            masked,
            duration_us: u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX),
        };
        let record =
            weir_audit::Record::session(self.started.wall().plus(lasted), evidence.session, event);
        if evidence.durable {
            return Some(record);
        }
        evidence.sink.record(record);
        None
    }
}

/// A parameter as people read it.
fn shown(value: &weir_audit::Value) -> String {
    match value {
        weir_audit::Value::Null => "NULL".to_owned(),
        weir_audit::Value::Text(text) => format!("'{text}'"),
        weir_audit::Value::Binary(bytes) => format!("{} bytes", bytes.len()),
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let sink = self
            .evidence
            .as_ref()
            .map(|evidence| Arc::clone(&evidence.sink));
        if let (Some(record), Some(sink)) = (self.write_end(Outcome::Aborted), sink) {
            sink.record(record);
        }
    }
}
