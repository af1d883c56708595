//! Which keys of a terminal may be recorded: those that the terminal showed.
//!
//! The wire does not say whether a terminal echoes, so a prompt for a password looks like any other.
//! What is known is what comes back. [`EchoFilter`] holds the keys of a line until the line is
//! ended, and lets them through only if every printable one of them came back, in order, as the
//! first thing that the terminal printed after it. All other lines leave nothing but the key that
//! ended them.
//!
//! Invariants
//! - Keys that did not come back are never let through, nor is a part of their line.
//! - Doubt counts as "did not come back": a key that meets other output, a key of a full-screen
//!   program, a line longer than [`MAX_LINE`]. What the terminal showed is in its output.
//! - It holds at most [`MAX_HELD`] bytes.

use std::collections::VecDeque;

/// Bytes of a line that are held; a longer one is left out.
pub const MAX_LINE: usize = 4096;
/// Bytes that are held over all lines that were typed ahead.
pub const MAX_HELD: usize = 16 * 1024;
/// How far a shell may go back when it draws the line again, in characters' bytes.
const REDRAWN: usize = 512;

/// Keys that came in at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// Milliseconds since the statement began.
    pub at_ms: u64,
    /// The bytes that the client sent.
    pub keys: Vec<u8>,
}

/// Lets typed keys through once the terminal has shown them.
#[derive(Debug, Default)]
pub struct EchoFilter {
    lines: VecDeque<Line>,
    held: usize,
    typing: Escape,
    showing: Escape,
    ready: Vec<Typed>,
}

#[derive(Debug, Default)]
struct Line {
    typed: Vec<Typed>,
    /// Printable bytes that have come back.
    shown: Vec<u8>,
    /// Printable bytes that have not.
    hidden: VecDeque<u8>,
    length: usize,
    secret: bool,
    ended: bool,
}

impl EchoFilter {
    /// Takes what the client sent at `at_ms` milliseconds after the statement began.
    pub fn input(&mut self, at_ms: u64, bytes: &[u8]) {
        for &byte in bytes {
            let part = self.typing.next(byte);
            if self.typing.is_text() {
                // A terminal's answer to a query, not a key.
                continue;
            }
            if self.lines.back().is_none_or(|line| line.ended) {
                self.lines.push_back(Line::default());
            }
            let Some(line) = self.lines.back_mut() else {
                return;
            };
            let before = line.length;
            line.key(at_ms, byte, part);
            self.held += line.length.saturating_sub(before);
        }
        if self.held > MAX_HELD {
            self.lines.iter_mut().for_each(Line::hide);
        }
        self.settle();
    }

    /// Takes what the terminal showed next.
    pub fn output(&mut self, bytes: &[u8]) {
        let shown: Vec<u8> = bytes
            .iter()
            .copied()
            .filter(|byte| match self.showing.next(*byte) {
                Part::Text => true,
                Part::Control => *byte == b'\n',
                Part::Sequence => false,
            })
            .collect();
        if shown.is_empty() {
            return;
        }
        if let Some(line) = self.lines.front_mut() {
            line.compare(&shown);
        }
        self.settle();
    }

    /// Keys that may be recorded by now, oldest first.
    pub fn take(&mut self) -> Vec<Typed> {
        std::mem::take(&mut self.ready)
    }

    /// The rest of them: nothing more will be shown.
    #[must_use]
    pub fn finish(mut self) -> Vec<Typed> {
        for mut line in self.lines {
            if !line.hidden.is_empty() {
                line.hide();
            }
            self.ready.append(&mut line.typed);
        }
        self.ready
    }

    /// Lets the lines through about which everything is known.
    fn settle(&mut self) {
        while self
            .lines
            .front()
            .is_some_and(|line| line.ended && (line.secret || line.hidden.is_empty()))
        {
            if let Some(line) = self.lines.pop_front() {
                self.ready.extend(line.typed);
            }
        }
        self.held = self.lines.iter().map(|line| line.length).sum();
    }
}

impl Line {
    fn key(&mut self, at_ms: u64, byte: u8, part: Part) {
        self.ended = part == Part::Control && ends_line(byte);
        if !self.secret || self.ended {
            self.keep(at_ms, byte);
        }
        if self.secret {
            return;
        }
        if part == Part::Text {
            self.hidden.push_back(byte);
        }
        if self.ended && !self.hidden.is_empty() {
            // What still waits must come back as a line, not as the start of other output.
            self.hidden.push_back(b'\n');
        }
        if self.length > MAX_LINE {
            self.hide();
        }
    }

    fn keep(&mut self, at_ms: u64, byte: u8) {
        self.length += 1;
        match self.typed.last_mut() {
            Some(typed) if typed.at_ms == at_ms => typed.keys.push(byte),
            _ => self.typed.push(Typed {
                at_ms,
                keys: vec![byte],
            }),
        }
    }

    /// Printed text must begin with what waits, perhaps behind the line's own end drawn again.
    fn compare(&mut self, shown: &[u8]) {
        if self.secret || self.hidden.is_empty() {
            return;
        }
        let furthest = self.shown.len().min(REDRAWN).min(shown.len());
        let matched = (0..=furthest).find_map(|back| {
            let (again, rest) = shown.split_at_checked(back)?;
            let drawn_again = self.shown.ends_with(again);
            let matched = if drawn_again { self.echoed(rest) } else { 0 };
            (matched > 0).then_some(matched)
        });
        match matched {
            Some(matched) => self.shown.extend(self.hidden.drain(..matched)),
            None => self.hide(),
        }
    }

    /// How many of the hidden bytes `shown` begins with, if either ends before they differ.
    fn echoed(&self, shown: &[u8]) -> usize {
        let same = self
            .hidden
            .iter()
            .zip(shown)
            .take_while(|(typed, shown)| typed == shown)
            .count();
        if same == self.hidden.len() || same == shown.len() {
            same
        } else {
            0
        }
    }

    fn hide(&mut self) {
        let last = self.typed.pop().filter(|_| self.ended);
        self.typed.clear();
        self.shown = Vec::new();
        self.hidden = VecDeque::new();
        self.secret = true;
        self.length = 0;
        if let Some(Typed { at_ms, keys }) = last
            && let Some(&byte) = keys.last()
        {
            self.keep(at_ms, byte);
        }
    }
}

/// Return, line feed, ^C and ^D.
fn ends_line(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | 0x03 | 0x04)
}

/// What a byte of a terminal's stream is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Text that is shown.
    Text,
    /// A control character.
    Control,
    /// An escape sequence (ECMA-48: ESC, CSI, OSC and the like).
    Sequence,
}

/// Where in an escape sequence a terminal's stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    Ground,
    Begun,
    Csi,
    Single,
    Text,
    TextEnd,
}

impl Escape {
    /// Whether a control string (OSC, DCS and the like) is open.
    fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::TextEnd)
    }

    fn next(&mut self, byte: u8) -> Part {
        // What cancels or ends a sequence anywhere, so that none hides what follows for good.
        if matches!(byte, 0x18 | 0x1a) || ends_line(byte) {
            *self = Self::Ground;
            return Part::Control;
        }
        let (state, part) = match (*self, byte) {
            (Self::Ground, 0x1b) => (Self::Begun, Part::Sequence),
            (Self::Ground, 0..=0x1f | 0x7f) => (Self::Ground, Part::Control),
            (Self::Ground, _) => (Self::Ground, Part::Text),
            (Self::Begun | Self::TextEnd, b'[') => (Self::Csi, Part::Sequence),
            (Self::Begun | Self::TextEnd, b'O') => (Self::Single, Part::Sequence),
            (Self::Begun, b']' | b'P' | b'X' | b'^' | b'_') => (Self::Text, Part::Sequence),
            (Self::Begun, 0x1b | 0x20..=0x2f) => (Self::Begun, Part::Sequence),
            (Self::Csi, 0..=0x3f) => (Self::Csi, Part::Sequence),
            (Self::Text, 0x1b) => (Self::TextEnd, Part::Sequence),
            (Self::Text, 0x07) => (Self::Ground, Part::Sequence),
            (Self::Text, _) => (Self::Text, Part::Sequence),
            (Self::Begun | Self::Csi | Self::Single | Self::TextEnd, _) => {
                (Self::Ground, Part::Sequence)
            }
        };
        *self = state;
        part
    }
}

#[cfg(test)]
mod tests;
