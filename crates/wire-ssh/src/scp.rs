//! The protocol of `scp -f` and `scp -t` (rcp's), as the end that sends files speaks it.
//!
//! `scp -f` on the server sends, `scp -t` receives; the other side only answers. What a message means
//! for the bytes behind it is decided by its answer: no content follows a file that was refused, and
//! nothing lies inside a directory that was. A message that the protocol does not have, and a name that
//! leads out of its directory, is an error.

use std::collections::VecDeque;
use std::ops::Range;

use crate::ProtocolError;
use crate::sftp::{behind_links, normalised};

/// Length of a message, at most. OpenSSH takes what is longer than 2047 bytes for two; a name has 255.
pub const MAX_LINE: usize = 2000;
/// Length of what the server says for people.
const MAX_TEXT: usize = 8192;
/// Runs of equal answers that may come before what they are about.
const MAX_EARLY: usize = 1024;
/// Directories in directories, at most.
pub const MAX_DEPTH: usize = 256;

/// What the sending side says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file begins.
    File {
        /// Its path below where the transfer begins.
        path: Vec<u8>,
        /// Its mode.
        mode: u32,
        /// Its size in bytes.
        size: u64,
    },
    /// Bytes of the file; where they are in what was fed.
    Data(Range<usize>),
    /// The file ends.
    FileEnd {
        /// Whether the sender could read all of it.
        complete: bool,
    },
    /// A directory begins.
    Directory {
        /// Its path below where the transfer begins.
        path: Vec<u8>,
        /// Its mode.
        mode: u32,
    },
    /// The directory ends.
    DirectoryEnd,
    /// Times of what comes next.
    Times,
    /// A warning or an error for people.
    Message {
        /// The sender stops.
        fatal: bool,
        /// What it says; what is not UTF-8 is replaced.
        text: String,
    },
    /// An acknowledgement.
    Ack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A message begins or goes on.
    Line,
    /// So many bytes of a file are still to come.
    Data(u64),
    /// The byte behind a file.
    AfterData,
}

/// What the last message waits to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// Whether a file of so many bytes may come.
    File(u64),
    /// Whether it goes on inside of a directory.
    Directory,
    /// Nothing that matters.
    Other,
}

/// Reads the stream of the side that sends files, with the answers of the other one.
#[derive(Debug)]
pub struct Sender {
    /// The client sends: what it says behind a message is read once that is answered.
    waits: bool,
    state: State,
    line: Vec<u8>,
    directories: Vec<Vec<u8>>,
    /// A message that stands in the place of the byte behind a file.
    fails: bool,
    asks: Option<Asks>,
    /// Answers that came before what they are about, and how many of each in a row.
    early: VecDeque<(bool, u64)>,
    /// Answers to come to what a sender did not wait for.
    owed: u64,
    /// Bytes of an answer's text so far.
    text: Option<usize>,
    /// A file was refused whose end was not told.
    skipped: bool,
    /// There was an answer to nothing.
    stray: bool,
}

impl Sender {
    /// A reader at the beginning of a stream. `waits`: the sender is not trusted to wait for answers, and
    /// is read only as far as they have come. Both sides begin with an answer of the receiving one.
    pub const fn new(waits: bool) -> Sender {
        Sender {
            waits,
            state: State::Line,
            line: Vec::new(),
            directories: Vec::new(),
            fails: false,
            asks: Some(Asks::Other),
            early: VecDeque::new(),
            owed: 0,
            text: None,
            skipped: false,
            stray: false,
        }
    }

    /// Whether the stream may end here.
    pub fn is_between_files(&self) -> bool {
        self.state == State::Line && self.line.is_empty()
    }

    /// Whether nothing is read before an answer has come.
    pub const fn is_waiting(&self) -> bool {
        self.waits && self.asks.is_some()
    }

    /// Takes bytes as they come and adds what they say to `events`. How many were read: fewer than there
    /// are where an answer has to come first.
    ///
    /// # Errors
    /// Where they are no message of scp; nothing can be read on.
    pub fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<usize, ProtocolError> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            if self.stray {
                return Err(ProtocolError::Scp("there are more answers than messages"));
            }
            if self.is_waiting() {
                break;
            }
            self.answered_early();
            if std::mem::take(&mut self.skipped) {
                events.push(Event::FileEnd { complete: false });
            }
            match self.state {
                State::Data(left) => {
                    let here = (bytes.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
                    events.push(Event::Data(at..at + here));
                    at += here;
                    let left = left - here as u64;
                    self.state = if left == 0 {
                        State::AfterData
                    } else {
                        State::Data(left)
                    };
                }
                State::AfterData => {
                    self.state = State::Line;
                    if byte == 0 {
                        at += 1;
                        events.push(Event::FileEnd { complete: true });
                        self.asks = Some(Asks::Other);
                    } else if matches!(byte, 1 | 2) {
                        self.fails = true;
                    } else {
                        return Err(ProtocolError::Scp("a file does not end where it should"));
                    }
                }
                State::Line => {
                    at += 1;
                    if self.line.is_empty() && byte == 0 {
                        events.push(Event::Ack);
                    } else if byte == b'\n' {
                        let line = std::mem::take(&mut self.line);
                        self.message(&line, events)?;
                    } else if self.line.len() >= self.longest() {
                        return Err(ProtocolError::Scp("a message is too long"));
                    } else {
                        self.line.push(byte);
                    }
                }
            }
        }
        Ok(at)
    }

    /// Takes what the receiving side answers, as it comes.
    ///
    /// # Errors
    /// It is too long, or there is too much of it.
    pub fn answers(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        let longest = if self.waits { MAX_TEXT } else { MAX_LINE };
        for byte in bytes {
            match (self.text, byte) {
                (None, 0) => self.answer(true)?,
                (None, _) => self.text = Some(1),
                (Some(_), b'\n') => {
                    self.text = None;
                    self.answer(false)?;
                }
                (Some(length), _) if length >= longest => {
                    return Err(ProtocolError::Scp("an answer is too long"));
                }
                (Some(length), _) => self.text = Some(length + 1),
            }
        }
        Ok(())
    }

    fn answer(&mut self, goes_on: bool) -> Result<(), ProtocolError> {
        if self.owed > 0 {
            self.owed -= 1;
        } else if self.waits {
            match self.asks.take() {
                Some(asks) => self.answered(asks, goes_on),
                None => self.stray = true,
            }
        } else if let Some((last, count)) = self.early.back_mut()
            && *last == goes_on
        {
            *count += 1;
        } else if self.early.len() >= MAX_EARLY {
            return Err(ProtocolError::TooMany(MAX_EARLY, "answers"));
        } else {
            self.early.push_back((goes_on, 1));
        }
        Ok(())
    }

    /// What a sender that goes on was told before; one that was told nothing has not asked.
    fn answered_early(&mut self) {
        let Some(asks) = self.asks.take() else {
            return;
        };
        let Some((goes_on, count)) = self.early.front_mut() else {
            self.owed += 1;
            return self.answered(asks, true);
        };
        let goes_on = *goes_on;
        *count -= 1;
        if *count == 0 {
            self.early.pop_front();
        }
        self.answered(asks, goes_on);
    }

    fn answered(&mut self, asks: Asks, goes_on: bool) {
        match (asks, goes_on) {
            (Asks::File(0), true) => self.state = State::AfterData,
            (Asks::File(size), true) => self.state = State::Data(size),
            (Asks::File(_), false) => self.skipped = true,
            (Asks::Directory, false) => {
                self.directories.pop();
            }
            (Asks::Directory | Asks::Other, _) => {}
        }
    }

    fn longest(&self) -> usize {
        match self.line.first() {
            Some(1 | 2) if !self.waits => MAX_TEXT,
            _ => MAX_LINE,
        }
    }

    fn message(&mut self, line: &[u8], events: &mut Vec<Event>) -> Result<(), ProtocolError> {
        let (kind, rest) = line
            .split_first()
            .ok_or(ProtocolError::Scp("it is empty"))?;
        match kind {
            b'C' => {
                let (mode, size, name) = header(rest)?;
                events.push(Event::File {
                    path: self.path(name),
                    mode,
                    size,
                });
                self.asks = Some(Asks::File(size));
            }
            b'D' => {
                let (mode, _, name) = header(rest)?;
                if self.directories.len() >= MAX_DEPTH {
                    return Err(ProtocolError::TooMany(MAX_DEPTH, "directories"));
                }
                let path = self.path(name);
                self.directories.push(name.to_vec());
                events.push(Event::Directory { path, mode });
                self.asks = Some(Asks::Directory);
            }
            b'E' => {
                if !rest.is_empty() || self.directories.pop().is_none() {
                    return Err(ProtocolError::Scp("a directory ends that did not begin"));
                }
                events.push(Event::DirectoryEnd);
                self.asks = Some(Asks::Other);
            }
            b'T' => {
                let numbers = rest.split(|b| *b == b' ');
                let count = numbers.clone().count();
                let mut numbers = numbers;
                if count != 4 || !numbers.all(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit))
                {
                    return Err(ProtocolError::Scp("times are not four numbers"));
                }
                events.push(Event::Times);
                self.asks = Some(Asks::Other);
            }
            1 | 2 => {
                if std::mem::take(&mut self.fails) {
                    events.push(Event::FileEnd { complete: false });
                    self.asks = Some(Asks::Other);
                }
                events.push(Event::Message {
                    fatal: *kind == 2,
                    text: String::from_utf8_lossy(rest).into_owned(),
                });
            }
            _ => return Err(ProtocolError::Scp("its kind is not known")),
        }
        Ok(())
    }

    fn path(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.directories.join(&b'/');
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }
}

/// `MODE SIZE NAME`
fn header(rest: &[u8]) -> Result<(u32, u64, &[u8]), ProtocolError> {
    let mut parts = rest.splitn(3, |b| *b == b' ');
    let text = |part: Option<&[u8]>| {
        let digits = part.filter(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit));
        digits.and_then(|part| String::from_utf8(part.to_vec()).ok())
    };
    let mode = text(parts.next()).and_then(|mode| u32::from_str_radix(&mode, 8).ok());
    let size = text(parts.next()).and_then(|size| size.parse().ok());
    let name = parts.next().filter(|name| {
        !name.is_empty()
            && *name != b"."
            && *name != b".."
            && !name.contains(&b'/')
            && !name.contains(&0)
    });
    match (mode.filter(|mode| *mode <= 0o7777), size, name) {
        (Some(mode), Some(size), Some(name)) => Ok((mode, size, name)),
        (_, _, None) => Err(ProtocolError::Scp("a name is missing or leads elsewhere")),
        _ => Err(ProtocolError::Scp("mode or size is not a number")),
    }
}

/// A path as a command names it, normalised; relative to where the session begins. What may lie anywhere,
/// in another user's home or behind a link, is relative too; `*` is any path.
pub fn path(text: &str) -> Vec<u8> {
    let text = match text.strip_prefix('~').map(|rest| rest.split_once('/')) {
        Some(Some((_, rest))) => rest.trim_start_matches('/'),
        Some(None) if text != "~" => return b"*".to_vec(),
        Some(None) => ".",
        None => text,
    };
    behind_links(text.as_bytes()).unwrap_or_else(|| normalised(text.as_bytes(), None))
}

/// The paths on the server that a file may have which the sending side announces as `announced`, where
/// the command asked for `asked`. `sends`: the server sends it.
pub fn places(asked: &[String], sends: bool, announced: &[u8]) -> Vec<Vec<u8>> {
    let mut first = announced.splitn(2, |byte| *byte == b'/');
    let (top, below) = (first.next().unwrap_or_default(), first.next());
    let mut places = Vec::new();
    if sends {
        for asked in asked {
            let asked = path(asked);
            let cut = asked.iter().rposition(|byte| *byte == b'/');
            let (above, name) = asked.split_at(cut.map_or(0, |at| at + 1));
            if may_be(name, top) {
                places.push([above, announced].concat());
            }
        }
    }
    if places.is_empty() {
        // A target is the file itself or the directory that it comes to lie in; so is what was asked
        // for by a name that is not a file's.
        for asked in asked {
            let asked = path(asked);
            places.push([&asked, b"/".as_slice(), announced].concat());
            places.push(match below {
                Some(below) => [&asked, b"/".as_slice(), below].concat(),
                None => asked,
            });
        }
    }
    let mut places: Vec<_> = places.iter().map(|path| normalised(path, None)).collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// Whether a file of this name may be one that a pattern of the shell's found.
fn may_be(pattern: &[u8], name: &[u8]) -> bool {
    let mut pieces = pattern.split(|byte| *byte == b'*');
    let start = pieces.next().unwrap_or_default();
    match pieces.next_back() {
        None => start == name,
        Some(end) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests;
