//! JSON written as YAML as it goes by, for clients that ask for YAML: the API server makes its own in the
//! same way, from JSON.
//!
//! Invariants: every reader of YAML 1.1 or 1.2 finds what the JSON held, in the same order; how the input is
//! cut changes nothing; no more is kept than one string or number and the way to it. A text stands without
//! quotes only where no reader takes it for anything else.
//!
//! Refuses: text that is no JSON, strings and depth above the [`Limits`]. After an error nothing more is read.

#[cfg(test)]
mod tests;

use crate::json::{self, JsonError};
use crate::rewrite::Limits;

/// Keys that are longer stand on a line of their own: readers of YAML look no further than 1024 bytes for the
/// colon behind a key.
const MAX_PLAIN_KEY: usize = 128;
/// Texts that are longer do not stay in memory.
const KEPT: usize = 64 * 1024;
/// Words that readers take for something else than a text.
const WORDS: [&str; 11] = [
    "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf",
];

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

/// A token that the input ended in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    None,
    String { escaped: bool },
    Scalar,
}

/// An object or a list that has begun.
#[derive(Debug, Clone, Copy)]
struct Frame {
    list: bool,
    /// Nothing of it is written.
    empty: bool,
    /// Its first line goes on behind the dash of the list that it is an item of.
    compact: bool,
    indent: usize,
}

/// Writes YAML.
#[derive(Debug)]
pub struct Writer {
    limits: Limits,
    frames: Vec<Frame>,
    expect: Expect,
    open: Open,
    /// The bytes of the open token.
    held: Vec<u8>,
    scratch: String,
    documents: u64,
    offset: u64,
    failed: Option<JsonError>,
}

impl Writer {
    /// A writer at the beginning of a document.
    pub fn new(limits: Limits) -> Writer {
        Writer {
            limits,
            frames: Vec::new(),
            expect: Expect::Value,
            open: Open::None,
            held: Vec::new(),
            scratch: String::new(),
            documents: 0,
            offset: 0,
            failed: None,
        }
    }

    /// Takes all of the input and writes what is known of it.
    ///
    /// # Errors
    /// Where the input cannot be read on.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let mut rest = input;
        while let Some((first, tail)) = rest.split_first() {
            let before = rest.len();
            let step = match self.open {
                Open::None => self.token(*first, tail, out),
                Open::String { escaped } => self.string(rest, escaped, out),
                Open::Scalar => self.scalar(rest, out),
            };
            rest = match step {
                Ok(rest) => rest,
                Err(error) => {
                    self.failed = Some(error);
                    return Err(error);
                }
            };
            self.offset += (before - rest.len()) as u64;
        }
        Ok(())
    }

    /// The input has ended.
    ///
    /// # Errors
    /// Where it did so in the middle.
    pub fn finish(&self) -> Result<(), JsonError> {
        match self.failed {
            Some(failed) => Err(failed),
            None if !self.frames.is_empty() || self.open != Open::None => {
                Err(JsonError::Incomplete)
            }
            None => Ok(()),
        }
    }

    /// The first byte of a token, and what follows it.
    fn token<'i>(
        &mut self,
        first: u8,
        rest: &'i [u8],
        out: &mut Vec<u8>,
    ) -> Result<&'i [u8], JsonError> {
        let value = matches!(self.expect, Expect::Value | Expect::ValueOrEnd);
        match (first, self.expect) {
            (b' ' | b'\n' | b'\r' | b'\t', _) => {}
            (b':', Expect::Colon) => self.expect = Expect::Value,
            (b',', Expect::CommaOrEnd) => {
                let list = self.frames.last().is_some_and(|frame| frame.list);
                self.expect = if list { Expect::Value } else { Expect::Key };
            }
            (b'}', Expect::KeyOrEnd | Expect::CommaOrEnd) => self.end(false, out)?,
            (b']', Expect::ValueOrEnd | Expect::CommaOrEnd) => self.end(true, out)?,
            (b'{' | b'[', _) if value => self.begin(first == b'[', out)?,
            (b'"', Expect::Value | Expect::ValueOrEnd | Expect::Key | Expect::KeyOrEnd) => {
                return self.string(rest, false, out);
            }
            (first, _) if value && json::is_scalar(first) => {
                self.held.push(first);
                self.open = Open::Scalar;
            }
            _ => return Err(self.syntax()),
        }
        Ok(rest)
    }

    /// What follows of a string, behind its quote or what was held.
    fn string<'i>(
        &mut self,
        rest: &'i [u8],
        mut escaped: bool,
        out: &mut Vec<u8>,
    ) -> Result<&'i [u8], JsonError> {
        let end = json::string_end(rest, &mut escaped);
        let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
        if self.held.len() + part.len() > self.limits.string {
            return Err(JsonError::TooLong(self.limits.string));
        }
        self.held.extend_from_slice(part);
        if end.is_none() {
            self.open = Open::String { escaped };
            return Ok(after);
        }
        self.open = Open::None;
        let mut held = std::mem::take(&mut self.held);
        let mut scratch = std::mem::take(&mut self.scratch);
        let text = json::text(&held, &mut scratch).map_err(|_| self.syntax())?;
        if matches!(self.expect, Expect::Key | Expect::KeyOrEnd) {
            self.key(text, out);
        } else {
            self.value(out);
            write(text, out);
            self.ends_value(out);
        }
        scratch.clear();
        scratch.shrink_to(KEPT);
        self.scratch = scratch;
        held.clear();
        held.shrink_to(KEPT);
        self.held = held;
        Ok(after.get(1..).unwrap_or_default())
    }

    /// What follows of a number or a word.
    fn scalar<'i>(&mut self, rest: &'i [u8], out: &mut Vec<u8>) -> Result<&'i [u8], JsonError> {
        let end = rest.iter().position(|b| !json::is_scalar(*b));
        let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
        if self.held.len() + part.len() > self.limits.string {
            return Err(JsonError::TooLong(self.limits.string));
        }
        self.held.extend_from_slice(part);
        if end.is_some() {
            self.open = Open::None;
            json::scalar(&self.held).map_err(|_| self.syntax())?;
            self.value(out);
            out.append(&mut self.held);
            self.ends_value(out);
        }
        Ok(after)
    }

    fn key(&mut self, text: &str, out: &mut Vec<u8>) {
        self.line(out);
        if text.len() > MAX_PLAIN_KEY {
            out.extend_from_slice(b"? ");
            write(text, out);
            out.push(b'\n');
            self.indent(out);
        } else {
            write(text, out);
        }
        out.push(b':');
        self.expect = Expect::Colon;
    }

    /// Before anything of an object's member or of a list's item.
    fn line(&mut self, out: &mut Vec<u8>) {
        let at_root = self.frames.len() == 1;
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        let first = std::mem::take(&mut frame.empty);
        if first && frame.compact {
            out.push(b' ');
            return;
        }
        if first && !at_root {
            out.push(b'\n');
        }
        self.indent(out);
    }

    fn indent(&self, out: &mut Vec<u8>) {
        let indent = self.frames.last().map_or(0, |frame| frame.indent);
        out.resize(out.len() + indent, b' ');
    }

    /// Before a value that is written on the line.
    fn value(&mut self, out: &mut Vec<u8>) {
        self.item(out);
        match self.frames.is_empty() {
            true => self.document(out),
            false => out.push(b' '),
        }
    }

    /// Before a value that may be a list's item.
    fn item(&mut self, out: &mut Vec<u8>) {
        if self.frames.last().is_some_and(|frame| frame.list) {
            self.line(out);
            out.push(b'-');
        }
    }

    fn document(&mut self, out: &mut Vec<u8>) {
        if self.documents > 0 {
            out.extend_from_slice(b"---\n");
        }
        self.documents += 1;
    }

    fn ends_value(&mut self, out: &mut Vec<u8>) {
        out.push(b'\n');
        self.expect = match self.frames.is_empty() {
            true => Expect::Value,
            false => Expect::CommaOrEnd,
        };
    }

    fn begin(&mut self, list: bool, out: &mut Vec<u8>) -> Result<(), JsonError> {
        if self.frames.len() >= self.limits.depth {
            return Err(JsonError::TooDeep(self.limits.depth));
        }
        self.item(out);
        let (compact, indent) = match self.frames.last() {
            None => {
                self.document(out);
                (false, 0)
            }
            Some(around) if around.list => (true, around.indent + 2),
            // The items of a member's list stand below its name.
            Some(around) if list => (false, around.indent),
            Some(around) => (false, around.indent + 2),
        };
        self.frames.push(Frame {
            list,
            empty: true,
            compact,
            indent,
        });
        self.expect = match list {
            true => Expect::ValueOrEnd,
            false => Expect::KeyOrEnd,
        };
        Ok(())
    }

    fn end(&mut self, list: bool, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let frame = self.frames.pop().filter(|frame| frame.list == list);
        let frame = frame.ok_or_else(|| self.syntax())?;
        if !frame.empty {
            self.expect = match self.frames.is_empty() {
                true => Expect::Value,
                false => Expect::CommaOrEnd,
            };
            return Ok(());
        }
        if !self.frames.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(if list { b"[]" } else { b"{}" });
        self.ends_value(out);
        Ok(())
    }

    fn syntax(&self) -> JsonError {
        JsonError::Syntax(self.offset)
    }
}

/// Writes a text, in quotes unless every reader takes it for the text that it is.
fn write(text: &str, out: &mut Vec<u8>) {
    if is_plain(text) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    let mut buffer = [0; 4];
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            // What readers take for a break of the line, or do not take at all.
            '\0'..' '
            | '\u{7f}'..='\u{a0}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                out.extend(format!("\\u{:04x}", u32::from(c)).into_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
        }
    }
    out.push(b'"');
}

fn is_plain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b'-');
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(plain)
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}
