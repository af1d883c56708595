//! The recording of a channel: what a command or a terminal wrote and read, in the order of time.

use std::time::Duration;

use weir_audit::{Moment, RecordingChunk, Stream};

/// What went by at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Since the statement began.
    pub at: Duration,
    /// Which way it went.
    pub stream: Stream,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Piece {
    /// Columns and rows, if this is a terminal's size.
    #[must_use]
    pub fn size(&self) -> Option<(u32, u32)> {
        if self.stream != Stream::TerminalResize {
            return None;
        }
        let moment = Moment {
            at_ms: 0,
            bytes: &self.bytes,
        };
        moment.size()
    }
}

/// Chunks' moments merged by time; `None` if one of them is damaged.
#[must_use]
pub fn merged(chunks: &[RecordingChunk]) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    for chunk in chunks {
        for moment in chunk.rows.moments().ok()? {
            pieces.push(Piece {
                at: Duration::from_millis(moment.at_ms),
                stream: chunk.stream,
                bytes: moment.bytes.to_vec(),
            });
        }
    }
    pieces.sort_by_key(|piece| piece.at);
    Some(pieces)
}

/// Bytes that come in pieces, as text: what is not UTF-8 is replaced, and a character that is cut in two
/// waits for its other half.
#[derive(Debug, Default)]
pub struct Utf8 {
    rest: Vec<u8>,
}

impl Utf8 {
    /// The text of the next bytes.
    pub fn text(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let mut out = String::with_capacity(self.rest.len());
        let mut valid = 0;
        for chunk in self.rest.utf8_chunks() {
            out.push_str(chunk.valid());
            valid += chunk.valid().len();
            let invalid = chunk.invalid();
            let open = valid + invalid.len() == self.rest.len() && is_open(invalid);
            if !invalid.is_empty() && !open {
                out.push(char::REPLACEMENT_CHARACTER);
                valid += invalid.len();
            }
        }
        self.rest.drain(..valid.min(self.rest.len()));
        out
    }
}

/// Whether bytes are the start of a character.
fn is_open(bytes: &[u8]) -> bool {
    let wanted = match bytes.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => 0,
    };
    bytes.len() < wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_are_cut_in_two_are_whole_again() {
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.text(b"a\xff\xe2\x82"), "a\u{fffd}");
        assert_eq!(utf8.text(b"\xac\xe2"), "€");
        assert_eq!(utf8.text(b"z\xc3"), "\u{fffd}z");
        assert_eq!(utf8.text(b""), "");
        assert_eq!(utf8.text(b"\xa9"), "é");
    }
}
