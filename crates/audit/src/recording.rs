//! Recordings: what the client received or sent, in bounded pieces.
//!
//! Invariants: rows are stored as the client saw them (after masks); a chunk's rows take at most
//! its builder's limit; a row that alone is larger is cut cell by cell, and the chunk says so. A
//! channel's streams have rows of two cells: milliseconds since the statement began, as decimal
//! text, and the bytes; those are split into rows, never cut.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{DecodeError, Reader, put_varint};
use crate::statement::Value;

/// A piece of what went to the client or came from it in the course of one statement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "ChunkJson", into = "ChunkJson")]
pub struct RecordingChunk {
    /// The statement's number in its session.
    pub statement: u64,
    /// Counts the statement's chunks, from 0.
    pub index: u32,
    /// When the first row arrived, in milliseconds since the statement began.
    pub offset_ms: u32,
    /// Which way the rows went.
    pub stream: Stream,
    /// The rows' columns; empty for COPY.
    pub columns: Option<Arc<[Column]>>,
    /// The rows.
    pub rows: RecordedRows,
}

/// Which way a recording's rows went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Rows of a result.
    #[default]
    Result,
    /// COPY data to the client, in pieces; a cell each.
    CopyOut,
    /// COPY data from the client, in pieces; a cell each.
    CopyIn,
    /// A command's output, in [moments](Moment).
    Stdout,
    /// A command's errors, in moments.
    Stderr,
    /// A command's input, in moments.
    Stdin,
    /// What a terminal showed, in moments.
    TerminalOutput,
    /// What was typed at a terminal that showed it, in moments.
    TerminalInput,
    /// A terminal's size, in moments whose bytes are `COLUMNSxROWS` in decimal.
    TerminalResize,
}

impl Stream {
    /// Whether its rows are [moments](Moment).
    #[must_use]
    pub fn is_timed(self) -> bool {
        !matches!(self, Self::Result | Self::CopyOut | Self::CopyIn)
    }
}

/// A row of a channel's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment<'a> {
    /// Milliseconds since the statement began.
    pub at_ms: u64,
    /// What went by.
    pub bytes: &'a [u8],
}

impl Moment<'_> {
    /// The size that a moment of [`Stream::TerminalResize`] states: columns and rows.
    #[must_use]
    pub fn size(&self) -> Option<(u32, u32)> {
        let (columns, rows) = std::str::from_utf8(self.bytes).ok()?.split_once('x')?;
        Some((columns.parse().ok()?, rows.parse().ok()?))
    }
}

/// A column of a recorded result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: Arc<str>,
    /// The server's type number (PostgreSQL: the type's OID).
    pub type_id: u32,
    /// Whether its cells are in the protocol's binary format.
    pub binary: bool,
    /// Whether it was masked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

/// A cell of a recorded row: `None` is null.
pub type Cell<'a> = Option<&'a [u8]>;

/// Rows in a compact form; build them with a [`ChunkBuilder`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedRows {
    pub(crate) data: Vec<u8>,
    pub(crate) rows: u32,
    pub(crate) truncated: bool,
}

impl RecordedRows {
    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.rows).unwrap_or(usize::MAX)
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether a cell was cut to keep the chunk bounded.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// How many bytes the rows take.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.data.len()
    }

    /// The rows as moments, in the order in which they were recorded.
    ///
    /// # Errors
    /// When the stored form is damaged, or the rows are not those of a channel's stream.
    pub fn moments(&self) -> Result<Vec<Moment<'_>>, DecodeError> {
        let rows = self.decode()?;
        let moments = rows.iter().map(|row| match **row {
            [Some(at), Some(bytes)] => {
                let at = std::str::from_utf8(at).ok()?;
                let at_ms = at.parse().ok()?;
                Some(Moment { at_ms, bytes })
            }
            _ => None,
        });
        moments
            .map(|moment| moment.ok_or(DecodeError::Unknown))
            .collect()
    }

    /// The rows, each a list of cells.
    ///
    /// # Errors
    /// When the stored form is damaged.
    pub fn decode(&self) -> Result<Vec<Vec<Cell<'_>>>, DecodeError> {
        let mut reader = Reader::new(&self.data);
        let mut rows = Vec::new();
        for _ in 0..self.rows {
            let cells = reader.count()?;
            let mut row = Vec::with_capacity(cells);
            for _ in 0..cells {
                row.push(match reader.varint()? {
                    0 => None,
                    length => Some(reader.bytes(length - 1)?),
                });
            }
            rows.push(row);
        }
        if reader.is_empty() {
            Ok(rows)
        } else {
            Err(DecodeError::Unknown)
        }
    }
}

/// What a moment takes beside its bytes, at most: the time's digits, counts and lengths.
const MOMENT: usize = 40;

/// Collects rows into chunks of bounded size.
#[derive(Debug)]
pub struct ChunkBuilder {
    limit: usize,
    rows: RecordedRows,
}

impl ChunkBuilder {
    /// A good limit: large enough to compress well, small enough to hold per connection.
    pub const DEFAULT_LIMIT: usize = 64 * 1024;

    /// A builder whose chunks take at most about `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(64),
            rows: RecordedRows::default(),
        }
    }

    /// Adds a row. One that is larger than the limit is cut cell by cell.
    pub fn push_row<'a, I>(&mut self, cells: I)
    where
        I: IntoIterator<Item = Cell<'a>>,
        I::IntoIter: Clone,
    {
        let cells = cells.into_iter();
        let (mut count, mut size) = (0usize, 0usize);
        for cell in cells.clone() {
            count += 1;
            size += cell.map_or(1, |cell| cell.len() + 5);
        }
        let longest = if size > self.limit {
            self.rows.truncated = true;
            (self.limit / count.max(1)).max(1)
        } else {
            usize::MAX
        };
        put_varint(&mut self.rows.data, count as u64);
        for cell in cells {
            match cell {
                None => self.rows.data.push(0),
                Some(cell) => {
                    let kept = cell.get(..longest).unwrap_or(cell);
                    put_varint(&mut self.rows.data, kept.len() as u64 + 1);
                    self.rows.data.extend_from_slice(kept);
                }
            }
        }
        self.rows.rows += 1;
    }

    /// Adds what went by in a channel at `at_ms` milliseconds after the statement began: one row, or
    /// several of the same time where one would be larger than half a chunk.
    pub fn push_moment(&mut self, at_ms: u64, bytes: &[u8]) {
        let at = at_ms.to_string();
        for piece in bytes.chunks((self.limit / 2).saturating_sub(MOMENT).max(1)) {
            self.push_row([Some(at.as_bytes()), Some(piece)]);
        }
    }

    /// Adds the body of a PostgreSQL `DataRow` message (a 16-bit count, then per cell a 32-bit
    /// length, -1 for null, and the bytes). Returns false, and adds nothing, if it is malformed.
    pub fn push_data_row(&mut self, body: &[u8]) -> bool {
        let Some((count, cells)) = body.split_first_chunk::<2>() else {
            return false;
        };
        let count = u16::from_be_bytes(*count);
        if !DataRow(cells).is_whole(count) {
            return false;
        }
        self.push_row(DataRow(cells));
        true
    }

    /// Whether the chunk has reached its limit and should be taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows.data.len() >= self.limit
    }

    /// Whether nothing was added since the last chunk.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows so far; the builder starts again empty.
    #[must_use]
    pub fn take(&mut self) -> RecordedRows {
        std::mem::take(&mut self.rows)
    }
}

#[derive(Clone)]
struct DataRow<'a>(&'a [u8]);

impl DataRow<'_> {
    fn is_whole(&self, count: u16) -> bool {
        let mut rest = self.clone();
        let cells = rest.by_ref().count();
        cells == usize::from(count) && rest.0.is_empty()
    }
}

impl<'a> Iterator for DataRow<'a> {
    type Item = Cell<'a>;

    fn next(&mut self) -> Option<Cell<'a>> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        if length == -1 {
            self.0 = rest;
            return Some(None);
        }
        let (cell, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(Some(cell))
    }
}

#[derive(Serialize, Deserialize)]
struct ChunkJson {
    statement: u64,
    index: u32,
    offset_ms: u32,
    stream: Stream,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns: Option<Arc<[Column]>>,
    rows: Vec<Vec<Value>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

impl From<RecordingChunk> for ChunkJson {
    fn from(chunk: RecordingChunk) -> Self {
        let columns = chunk.columns.as_deref().unwrap_or_default();
        let value = |(index, cell): (usize, Cell<'_>)| match cell {
            None => Value::Null,
            Some(cell) if columns.get(index).is_some_and(|column| column.binary) => {
                Value::Binary(cell.into())
            }
            Some(cell) => Value::text(cell),
        };
        let rows = chunk.rows.decode().unwrap_or_default();
        let rows = rows
            .into_iter()
            .map(|row| row.into_iter().enumerate().map(value).collect())
            .collect();
        Self {
            statement: chunk.statement,
            index: chunk.index,
            offset_ms: chunk.offset_ms,
            stream: chunk.stream,
            rows,
            truncated: chunk.rows.truncated,
            columns: chunk.columns,
        }
    }
}

impl From<ChunkJson> for RecordingChunk {
    fn from(chunk: ChunkJson) -> Self {
        let mut builder = ChunkBuilder::new(usize::MAX);
        for row in &chunk.rows {
            builder.push_row(row.iter().map(|value| match value {
                Value::Null => None,
                Value::Text(text) => Some(text.as_bytes()),
                Value::Binary(bytes) => Some(&**bytes),
            }));
        }
        let mut rows = builder.take();
        rows.truncated = chunk.truncated;
        Self {
            statement: chunk.statement,
            index: chunk.index,
            offset_ms: chunk.offset_ms,
            stream: chunk.stream,
            columns: chunk.columns,
            rows,
        }
    }
}
