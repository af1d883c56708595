//! The recording of one channel: a command's streams or a terminal, in chunks.
//!
//! Invariants
//! - No more than the budget is kept of all streams together; what is beyond it is left out, and
//!   the last chunk of the stream says so (`truncated`).
//! - What is typed at a terminal is kept only as [`EchoFilter`] lets it through.
//! - It holds at most a chunk per stream, and what the filter holds.

use crate::echo::{EchoFilter, Typed};
use crate::recording::{ChunkBuilder, RecordingChunk, Stream};

/// Collects what goes through a channel until it makes a chunk.
#[derive(Debug)]
pub struct ChannelRecorder {
    statement: u64,
    next: u32,
    budget: u64,
    tracks: Vec<Track>,
    echo: Option<EchoFilter>,
}

#[derive(Debug)]
struct Track {
    stream: Stream,
    chunk: ChunkBuilder,
    since_ms: u64,
    cut: bool,
    told: bool,
}

impl ChannelRecorder {
    /// A recording of the statement with this number, of which `budget` bytes are kept. `terminal`
    /// says whether the channel has one: its output, input and errors are then a terminal's.
    #[must_use]
    pub fn new(statement: u64, budget: u64, terminal: bool) -> Self {
        Self {
            statement,
            next: 0,
            budget,
            tracks: Vec::new(),
            echo: terminal.then(EchoFilter::default),
        }
    }

    /// Keeps what the server wrote at `at_ms` milliseconds after the statement began.
    pub fn output(&mut self, at_ms: u64, bytes: &[u8]) {
        let Some(echo) = &mut self.echo else {
            return self.keep(Stream::Stdout, at_ms, bytes);
        };
        echo.output(bytes);
        let typed = echo.take();
        self.typed(typed);
        self.keep(Stream::TerminalOutput, at_ms, bytes);
    }

    /// Keeps what the server wrote as errors. At a terminal there are none of the command's; a
    /// server's own are shown there.
    pub fn errors(&mut self, at_ms: u64, bytes: &[u8]) {
        let stream = match self.echo {
            Some(_) => Stream::TerminalOutput,
            None => Stream::Stderr,
        };
        self.keep(stream, at_ms, bytes);
    }

    /// Keeps what the client sent; at a terminal, once it has been shown.
    pub fn input(&mut self, at_ms: u64, bytes: &[u8]) {
        let Some(echo) = &mut self.echo else {
            return self.keep(Stream::Stdin, at_ms, bytes);
        };
        echo.input(at_ms, bytes);
        let typed = echo.take();
        self.typed(typed);
    }

    /// Keeps the terminal's size: the first, and each that follows.
    pub fn resize(&mut self, at_ms: u64, columns: u32, rows: u32) {
        let size = format!("{columns}x{rows}");
        self.keep(Stream::TerminalResize, at_ms, size.as_bytes());
    }

    /// A chunk that is full, if there is one.
    pub fn take_full(&mut self) -> Option<RecordingChunk> {
        self.take_if(|track| track.chunk.is_full())
    }

    /// A chunk of what is held, full or not; `None` once nothing is. Keys that wait for their echo
    /// go on waiting.
    pub fn take(&mut self) -> Option<RecordingChunk> {
        self.take_if(|_| true)
    }

    /// The channel has ended: the rest of the recording.
    #[must_use]
    pub fn finish(mut self) -> Vec<RecordingChunk> {
        if let Some(echo) = self.echo.take() {
            self.typed(echo.finish());
        }
        std::iter::from_fn(|| self.take()).collect()
    }

    fn typed(&mut self, typed: Vec<Typed>) {
        for Typed { at_ms, keys } in typed {
            self.keep(Stream::TerminalInput, at_ms, &keys);
        }
    }

    fn keep(&mut self, stream: Stream, at_ms: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let place = self.tracks.iter().position(|have| have.stream == stream);
        let place = place.unwrap_or_else(|| {
            self.tracks.push(Track::new(stream));
            self.tracks.len() - 1
        });
        let Some(track) = self.tracks.get_mut(place) else {
            return;
        };
        let room = usize::try_from(self.budget).unwrap_or(usize::MAX);
        let kept = bytes.get(..room).unwrap_or(bytes);
        track.cut |= kept.len() < bytes.len();
        if kept.is_empty() {
            return;
        }
        if track.chunk.is_empty() {
            track.since_ms = at_ms;
        }
        track.chunk.push_moment(at_ms, kept);
        self.budget -= u64::try_from(kept.len()).unwrap_or(self.budget);
    }

    fn take_if(&mut self, wanted: impl Fn(&Track) -> bool) -> Option<RecordingChunk> {
        let has = |track: &&mut Track| track.has_news() && wanted(track);
        let track = self.tracks.iter_mut().find(has)?;
        let mut rows = track.chunk.take();
        rows.truncated |= track.cut;
        track.told |= track.cut;
        let chunk = RecordingChunk {
            statement: self.statement,
            index: self.next,
            offset_ms: u32::try_from(track.since_ms).unwrap_or(u32::MAX),
            stream: track.stream,
            columns: None,
            rows,
        };
        self.next = self.next.saturating_add(1);
        Some(chunk)
    }
}

impl Track {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            chunk: ChunkBuilder::new(ChunkBuilder::DEFAULT_LIMIT),
            since_ms: 0,
            cut: false,
            told: false,
        }
    }

    /// Whether it holds rows, or was cut and has not said so.
    fn has_news(&self) -> bool {
        !self.chunk.is_empty() || (self.cut && !self.told)
    }
}

#[cfg(test)]
mod tests;
