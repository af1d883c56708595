//! One command, shell, subsystem, file operation or forward, from its judgement to its record.
//!
//! Invariant: everything that was judged and counts leaves exactly one `StatementFinished`, whatever
//! happens to its session: `finish` writes it, and so does dropping the value (`Aborted`). What it took
//! from budgets is charged before that.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use weir_audit::{ChannelRecorder, Outcome, Record, RecordingChunk, Statement, StatementFinished};
use weir_policy::Meter;

use crate::evidence::{Evidence, elapsed_ms, elapsed_us};
use crate::masking::Masking;
use crate::ports::AuditSink;

/// Something that runs, or is about to.
pub(super) struct Active {
    pub(super) record: Statement,
    pub(super) meter: Option<Meter>,
    /// What masks what it shows.
    pub(super) masking: Option<Box<Masking>>,
    /// How it ended, as far as the server has said.
    pub(super) outcome: Option<Outcome>,
    /// People have released what it sends.
    pub(super) released: bool,
    /// Whether its end is kept before the client sees it, and whether by the collector too.
    pub(super) delivery: Option<bool>,
    started: Instant,
    bytes: u64,
    recorder: Option<ChannelRecorder>,
    evidence: Option<Evidence>,
}

/// What keeps the end of something.
pub(super) type Keeping = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Bytes of one command's or shell's streams that are recorded.
const RECORDED: u64 = 16 << 20;

impl Active {
    pub(super) fn new(record: Statement, evidence: Evidence) -> Self {
        Self {
            record,
            meter: None,
            masking: None,
            outcome: None,
            released: false,
            delivery: None,
            started: Instant::now(),
            bytes: 0,
            recorder: None,
            evidence: Some(evidence),
        }
    }

    /// Records its streams, or its terminal of this size.
    pub(super) fn record_streams(&mut self, terminal: Option<(u32, u32)>) {
        let number = self.record.number;
        let mut recorder = ChannelRecorder::new(number, RECORDED, terminal.is_some());
        if let Some((columns, rows)) = terminal {
            recorder.resize(0, columns, rows);
        }
        self.recorder = Some(recorder);
    }

    /// Keeps something that went by.
    pub(super) fn keep(&mut self, with: impl FnOnce(&mut ChannelRecorder, u64)) {
        let at = elapsed_ms(self.started);
        let Some(recorder) = self.recorder.as_mut() else {
            return;
        };
        with(recorder, at);
        let mut chunks = Vec::new();
        while let Some(chunk) = recorder.take_full() {
            chunks.push(chunk);
        }
        self.send(chunks);
    }

    /// Whether its streams are kept.
    pub(super) fn is_recorded(&self) -> bool {
        self.recorder.is_some()
    }

    /// Sends what was kept so far.
    pub(super) fn flush(&mut self) {
        let Some(recorder) = self.recorder.as_mut() else {
            return;
        };
        let chunks = std::iter::from_fn(|| recorder.take()).collect();
        self.send(chunks);
    }

    fn send(&self, chunks: Vec<RecordingChunk>) {
        if let Some(evidence) = &self.evidence {
            evidence.pieces(chunks);
        }
    }

    /// Counts what goes to the client.
    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Bytes that people have released elsewhere do not count again here.
    pub(super) fn spare(&mut self, bytes: u64) {
        if let Some(meter) = self.meter.as_mut() {
            meter.spare(bytes);
        }
    }

    /// How much went to the client.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends it.
    pub(super) fn finish(mut self, outcome: Outcome) {
        self.write(outcome);
    }

    /// Ends it where the client may not see that before it is kept: what keeps it. None: nothing has to
    /// be waited for.
    pub(super) fn finish_kept(mut self, outcome: Outcome) -> Option<Keeping> {
        let Some(strict) = self.delivery else {
            self.write(outcome);
            return None;
        };
        let (record, sink) = self.end(outcome)?;
        Some(Box::pin(async move {
            if let Err(reason) = sink.record_durable(record, strict).await {
                // It has run: the client is answered all the same.
                tracing::error!(%reason, "the end of a statement could not be kept");
            }
        }))
    }

    fn write(&mut self, outcome: Outcome) {
        if let Some((record, sink)) = self.end(outcome) {
            sink.record(record);
        }
    }

    fn end(&mut self, outcome: Outcome) -> Option<(Record, Arc<dyn AuditSink>)> {
        if let Some(recorder) = self.recorder.take() {
            self.send(recorder.finish());
        }
        let evidence = self.evidence.take()?;
        evidence.charge(self.meter.as_mut());
        let masked = self.masking.as_ref().map(|masking| masking.labels());
        let event = StatementFinished {
            statement: std::mem::take(&mut self.record),
            outcome,
            bytes: self.bytes,
            masked: masked.unwrap_or_default(),
            duration_us: elapsed_us(self.started),
            ..StatementFinished::default()
        };
        Some((evidence.of(event), evidence.sink))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or(Outcome::Aborted);
        self.write(outcome);
    }
}
