//! The recording of one statement: what went to the client, or came from it, in chunks.

use std::sync::Arc;

use weir_audit::{ChunkBuilder, Column, RecordingChunk, Stream};

use super::judgement::Plan;
use crate::moment::Moment;

/// Collects what is recorded until it makes a chunk.
pub(super) struct Recorder {
    chunk: ChunkBuilder,
    stream: Stream,
    columns: Option<Arc<[Column]>>,
    index: u32,
    statement: u64,
    started: Moment,
}

impl Recorder {
    pub(super) fn new(statement: u64, started: Moment) -> Self {
        Self {
            chunk: ChunkBuilder::new(ChunkBuilder::DEFAULT_LIMIT),
            stream: Stream::Result,
            columns: None,
            index: 0,
            statement,
            started,
        }
    }

    /// The result's columns are known.
    pub(super) fn show(&mut self, plan: &Plan) {
        self.columns = Some(plan.recorded());
    }

    /// Keeps a row as the client gets it: the body of a DataRow.
    pub(super) fn row(&mut self, body: &[u8]) {
        self.chunk.push_data_row(body);
    }

    /// Keeps bytes of a COPY as the client gets or sends them.
    pub(super) fn copy(&mut self, data: &[u8], stream: Stream) {
        self.stream = stream;
        self.chunk.push_row([Some(data)]);
    }

    /// Whether what is kept makes a chunk.
    pub(super) fn is_full(&self) -> bool {
        self.chunk.is_full()
    }

    /// What was kept since the last chunk, if anything was.
    pub(super) fn take(&mut self) -> Option<RecordingChunk> {
        if self.chunk.is_empty() {
            return None;
        }
        let offset = self.started.elapsed().as_millis();
        let chunk = RecordingChunk {
            statement: self.statement,
            index: self.index,
            offset_ms: u32::try_from(offset).unwrap_or(u32::MAX),
            stream: self.stream,
            columns: self.columns.take(),
            rows: self.chunk.take(),
        };
        self.index += 1;
        Some(chunk)
    }
}
