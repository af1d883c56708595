//! One request, from its judgement to its record.
//!
//! Invariant: every request that was judged leaves exactly one `StatementFinished`, whatever happens to
//! its connection: `finish` writes it, and so does dropping the value. What it took from budgets is
//! charged before that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use weir_audit::{
    ChannelRecorder, KubernetesAnswered, Outcome, Record, RecordingChunk, Session, Statement,
    StatementFinished,
};
use weir_policy::Meter;

use crate::evidence::{Evidence, elapsed_ms, elapsed_us};
use crate::ports::AuditSink;

/// Bytes of one request's answer, or of one stream, that are recorded.
const RECORDED: u64 = 16 << 20;

/// A request that runs, or is about to.
pub(super) struct Active {
    pub(super) record: Statement,
    pub(super) answered: KubernetesAnswered,
    pub(super) meter: Option<Meter>,
    pub(super) masked: BTreeSet<Arc<str>>,
    /// How it ended, as far as is known.
    pub(super) outcome: Option<Outcome>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Whether its end is kept before the client sees it, and whether by the collector too.
    pub(super) delivery: Option<bool>,
    recorder: Option<ChannelRecorder>,
    started: Instant,
    evidence: Option<Evidence>,
}

impl Active {
    pub(super) fn new(record: Statement, answered: KubernetesAnswered, evidence: Evidence) -> Self {
        Self {
            record,
            answered,
            meter: None,
            masked: BTreeSet::new(),
            outcome: None,
            rows: 0,
            bytes: 0,
            delivery: None,
            recorder: None,
            started: Instant::now(),
            evidence: Some(evidence),
        }
    }

    /// Its session and number: what the client is told, to be looked up.
    pub(super) fn audit_id(&self) -> String {
        let session = self.evidence.as_ref().map(|evidence| &evidence.session.id);
        session.map_or_else(String::new, |id| format!("{id}/{}", self.record.number))
    }

    /// The session that it belongs to; none once it has ended.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        let evidence = self.evidence.as_ref()?;
        Some(Arc::clone(&evidence.session))
    }

    /// Records what the client receives.
    pub(super) fn record_answer(&mut self) {
        self.recorder = Some(ChannelRecorder::new(self.record.number, RECORDED, false));
    }

    /// Records a stream; with a terminal, what is typed only as it is shown.
    pub(super) fn stream_recorder(&self, terminal: bool) -> ChannelRecorder {
        ChannelRecorder::new(self.record.number, RECORDED, terminal)
    }

    /// Milliseconds since it began.
    pub(super) fn elapsed_ms(&self) -> u64 {
        elapsed_ms(self.started)
    }

    /// Counts, and keeps where it is recorded, what goes to the client.
    pub(super) fn delivers(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.recorder.is_none() {
            return;
        }
        let at = self.elapsed_ms();
        let Some(recorder) = self.recorder.as_mut() else {
            return;
        };
        recorder.output(at, bytes);
        let chunks: Vec<_> = std::iter::from_fn(|| recorder.take_full()).collect();
        self.send(chunks);
    }

    /// Sends pieces of a recording.
    pub(super) fn send(&self, chunks: impl IntoIterator<Item = RecordingChunk>) {
        if let Some(evidence) = &self.evidence {
            evidence.pieces(chunks);
        }
    }

    /// Leaves no record: it is the same again of what has left one.
    pub(super) fn forget(mut self) {
        self.evidence = None;
    }

    /// Ends it.
    pub(super) fn finish(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// Ends it, and keeps that before the client sees it where policy asks for it.
    pub(super) async fn finish_kept(mut self, outcome: Outcome) {
        let delivery = self.delivery;
        let Some((record, sink)) = self.end(outcome) else {
            return;
        };
        match delivery {
            None => sink.record(record),
            Some(strict) => {
                if let Err(reason) = sink.record_durable(record, strict).await {
                    // It has run: the client is answered all the same.
                    tracing::error!(%reason, "the end of a request could not be kept");
                }
            }
        }
    }

    fn end(&mut self, outcome: Outcome) -> Option<(Record, Arc<dyn AuditSink>)> {
        if let Some(recorder) = self.recorder.take() {
            self.send(recorder.finish());
        }
        let evidence = self.evidence.take()?;
        evidence.charge(self.meter.as_mut());
        self.answered.statement = self.record.number;
        let answered = std::mem::take(&mut self.answered);
        evidence.sink.record(evidence.of(answered));
        let event = StatementFinished {
            statement: std::mem::take(&mut self.record),
            outcome,
            rows: self.rows,
            bytes: self.bytes,
            masked: self.masked.iter().map(Arc::clone).collect(),
            duration_us: elapsed_us(self.started),
            ..StatementFinished::default()
        };
        Some((evidence.of(event), evidence.sink))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or(Outcome::Aborted);
        if let Some((record, sink)) = self.end(outcome) {
            sink.record(record);
        }
    }
}
