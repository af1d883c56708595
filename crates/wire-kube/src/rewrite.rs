//! Rewrites JSON that the API server answers with, as it goes by.
//!
//! Objects are found where the API puts them: `$`, `$.items[*]`, `$.rows[*].object`, and all of these
//! below `$.object` of a watch event. Fields are matched below each of them; every string is shown to
//! [`Values`], with what is known of its place, and may be replaced. `last-applied-configuration`, which
//! is JSON in a string, is rewritten by the same rules, and so is JSON in other annotations; from `managedFields` go the paths that hold
//! values of named fields.
//!
//! Invariants: what is not replaced goes out byte for byte; how the input is cut changes nothing; no
//! more is kept than one string, the names on the way to it and the columns of a Table; what was written
//! before [`Event::ObjectBegins`] belongs to no part of that object.
//!
//! Refuses: text that is no JSON, strings and depth above the [`Limits`]. After an error nothing more is
//! read.

mod document;
mod late;
mod place;
mod shown;
mod stack;
mod value;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::FieldPattern;
use crate::json::{self, JsonError, Scalar};
use document::Document;
use place::Place;
use stack::Stack;

pub(crate) use place::{LAST_APPLIED, is_copy};
pub use place::{Part, SHORTEST_COPY};
pub use shown::{Text, Values};
pub use stack::is_named_elsewhere;

/// The longest member name, as sent.
const MAX_NAME: usize = 64 * 1024;
/// The longest number, as sent.
const MAX_NUMBER: usize = 4096;

/// Bounds of what is read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest string, in bytes as sent.
    pub string: usize,
    /// How deep lists and objects may be nested.
    pub depth: usize,
}

impl Default for Limits {
    /// Twice what an object may weigh in etcd, and a depth that no schema reaches.
    fn default() -> Self {
        Limits {
            string: 4 << 20,
            depth: 256,
        }
    }
}

/// How far [`Rewriter::feed`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// All input is used, and everything that may be written is.
    None,
    /// What follows is an object: one of a list, a row of a Table, a watch event that carries one (no
    /// bookmark and no error), or the answer itself.
    ObjectBegins,
    /// All of the object is written.
    ObjectEnds,
}

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

/// Where output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    Out,
    /// Behind an [`Event::ObjectBegins`] that may come.
    Waiting,
    /// Behind a member that may be dropped.
    Pending,
    /// To nowhere, until the value at this depth has ended.
    Skip(usize),
}

/// Rewrites one answer, which may be several documents, one after another.
#[derive(Debug)]
pub struct Rewriter {
    fields: Arc<[FieldPattern]>,
    limits: Limits,
    expect: Expect,
    open: Open,
    /// The bytes of the open token.
    held: Vec<u8>,
    stack: Stack,
    document: Document,
    sink: Sink,
    /// What the sink keeps back.
    waiting: Vec<u8>,
    /// An item whose begin was reported.
    announced: bool,
    /// Within a string of another rewriter's input.
    embedded: bool,
    columns: Vec<Box<str>>,
    replacement: String,
    scratch: String,
    /// How much was used by earlier calls.
    offset: u64,
    failed: Option<JsonError>,
}

/// The input of one call, and how much of it was written.
struct Input<'i, 'o> {
    data: &'i [u8],
    at: usize,
    written: usize,
    out: &'o mut Vec<u8>,
    /// Input that is known to be UTF-8, and where it begins.
    text: &'i str,
    text_at: usize,
}

/// How much input is looked at for UTF-8 at once.
const STRETCH: usize = 2048;

impl<'i> Input<'i, '_> {
    /// Input as text, None where that is not UTF-8.
    #[inline]
    fn text(&mut self, start: usize, length: usize) -> Option<&'i str> {
        let known = |text: &'i str, from: usize| text.get(start - from..start - from + length);
        if start >= self.text_at && start + length <= self.text_at + self.text.len() {
            return known(self.text, self.text_at);
        }
        let end = self.data.len().min(start + length.max(STRETCH));
        let stretch = self.data.get(start..end)?;
        self.text = match std::str::from_utf8(stretch) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(stretch.get(..error.valid_up_to())?).ok()?,
        };
        self.text_at = start;
        known(self.text, start)
    }
}

/// A whole token, which ends before `end`. One that was held does not lie in the input from its begin.
struct Token<'a> {
    raw: &'a [u8],
    /// The string that it is, where that is known.
    text: Option<&'a str>,
    end: usize,
    held: bool,
}

impl Rewriter {
    /// A rewriter for an answer that holds objects of a kind with these fields.
    pub fn new(fields: Arc<[FieldPattern]>, limits: Limits) -> Rewriter {
        Rewriter {
            stack: Stack::new(&fields),
            fields,
            limits,
            expect: Expect::Value,
            open: Open::None,
            held: Vec::new(),
            document: Document::default(),
            sink: Sink::Out,
            waiting: Vec::new(),
            announced: false,
            embedded: false,
            columns: Vec::new(),
            replacement: String::new(),
            scratch: String::new(),
            offset: 0,
            failed: None,
        }
    }

    /// Takes input and writes what may go on. What was used is cut off the input. Has to be called again,
    /// with more input or none, until the answer is [`Event::None`].
    ///
    /// # Errors
    /// Where the input cannot be read on; what was written stays true.
    pub fn feed<V: Values>(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        values: &mut V,
    ) -> Result<Event, JsonError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        if self.sink == Sink::Out && !self.waiting.is_empty() {
            out.append(&mut self.waiting);
        }
        let mut cut = Input {
            data: input,
            at: 0,
            written: 0,
            out,
            text: "",
            text_at: 0,
        };
        let result = self.run(&mut cut, values);
        self.failed = result.err();
        if result.is_ok() {
            self.flush(&mut cut);
        }
        self.offset += cut.at as u64;
        *input = cut.data.get(cut.at..).unwrap_or_default();
        result
    }

    /// The input has ended.
    ///
    /// # Errors
    /// Where it did so in the middle.
    pub fn finish(&self) -> Result<(), JsonError> {
        match self.failed {
            Some(failed) => Err(failed),
            None if self.stack.depth() > 0 => Err(JsonError::Incomplete),
            None => Ok(()),
        }
    }

    fn run<V: Values>(
        &mut self,
        cut: &mut Input<'_, '_>,
        values: &mut V,
    ) -> Result<Event, JsonError> {
        while let Some(b) = cut.data.get(cut.at) {
            let event = match (self.open, *b, self.expect) {
                (Open::String { escaped }, ..) => self.resume_string(escaped, cut, values)?,
                (Open::Scalar, ..) => self.scalar(cut, values)?,
                (_, b' ' | b'\n' | b'\r' | b'\t', _) => {
                    let rest = cut.data.get(cut.at..).unwrap_or_default();
                    cut.at += json::blank(rest);
                    Event::None
                }
                (_, b'"', Expect::Key | Expect::KeyOrEnd) => self.string(cut, values)?,
                (_, b':', Expect::Colon) => {
                    cut.at += 1;
                    self.expect = Expect::Value;
                    Event::None
                }
                (_, b',', Expect::CommaOrEnd) => {
                    self.comma(cut, values.reads_names());
                    Event::None
                }
                (_, b'{' | b'[', Expect::Value | Expect::ValueOrEnd) => {
                    self.begin(*b == b'[', cut)?
                }
                (_, b'}', Expect::KeyOrEnd) | (_, b'}' | b']', Expect::CommaOrEnd) => {
                    self.end(*b == b']', cut)?
                }
                (_, b']', Expect::ValueOrEnd) => self.end(true, cut)?,
                // An answer is an object or a list.
                (_, _, Expect::Value | Expect::ValueOrEnd) if self.stack.depth() == 0 => {
                    return Err(self.syntax(cut));
                }
                (_, b'"', Expect::Value | Expect::ValueOrEnd) => self.string(cut, values)?,
                (_, b, Expect::Value | Expect::ValueOrEnd) if json::is_scalar(b) => {
                    self.scalar(cut, values)?
                }
                _ => return Err(self.syntax(cut)),
            };
            if event != Event::None {
                return Ok(event);
            }
        }
        Ok(Event::None)
    }

    fn string<V: Values>(
        &mut self,
        cut: &mut Input<'_, '_>,
        values: &mut V,
    ) -> Result<Event, JsonError> {
        let rest = cut.data.get(cut.at + 1..).unwrap_or_default();
        if let Some(length) = json::plain_end(rest) {
            let token = Token {
                raw: rest.get(..length).unwrap_or_default(),
                text: cut.text(cut.at + 1, length),
                end: cut.at + length + 2,
                held: false,
            };
            return self.whole_string(token, cut, values);
        }
        let mut escaped = false;
        let Some(length) = json::string_end(rest, &mut escaped) else {
            self.flush(cut);
            self.open = Open::String { escaped };
            self.hold(rest, cut)?;
            return Ok(Event::None);
        };
        let token = Token {
            raw: rest.get(..length).unwrap_or_default(),
            text: None,
            end: cut.at + length + 2,
            held: false,
        };
        self.whole_string(token, cut, values)
    }

    fn resume_string<V: Values>(
        &mut self,
        mut escaped: bool,
        cut: &mut Input<'_, '_>,
        values: &mut V,
    ) -> Result<Event, JsonError> {
        let rest = cut.data.get(cut.at..).unwrap_or_default();
        let Some(length) = json::string_end(rest, &mut escaped) else {
            self.open = Open::String { escaped };
            self.hold(rest, cut)?;
            return Ok(Event::None);
        };
        let end = cut.at + length + 1;
        self.hold(rest.get(..length).unwrap_or_default(), cut)?;
        self.open = Open::None;
        let held = std::mem::take(&mut self.held);
        let token = Token {
            raw: &held,
            text: None,
            end,
            held: true,
        };
        let event = self.whole_string(token, cut, values)?;
        self.held = held;
        self.held.clear();
        // What was long once does not stay in memory.
        self.held.shrink_to(MAX_NAME);
        Ok(event)
    }

    /// Keeps bytes of a token that is not whole.
    fn hold(&mut self, bytes: &[u8], cut: &mut Input<'_, '_>) -> Result<(), JsonError> {
        self.bounded(self.held.len() + bytes.len())?;
        self.held.extend_from_slice(bytes);
        cut.at = cut.data.len();
        cut.written = cut.at;
        Ok(())
    }

    #[inline]
    fn bounded(&self, length: usize) -> Result<(), JsonError> {
        let limit = match (self.open, self.expect) {
            (Open::Scalar, _) => MAX_NUMBER,
            (_, Expect::Key | Expect::KeyOrEnd) => MAX_NAME.min(self.limits.string),
            _ => self.limits.string,
        };
        if length > limit {
            return Err(JsonError::TooLong(limit));
        }
        Ok(())
    }

    fn whole_string<V: Values>(
        &mut self,
        token: Token<'_>,
        cut: &mut Input<'_, '_>,
        values: &mut V,
    ) -> Result<Event, JsonError> {
        self.bounded(token.raw.len())?;
        if matches!(self.expect, Expect::Key | Expect::KeyOrEnd) {
            return self.key(&token, cut, values);
        }
        if self.value(&token, values).map_err(|_| self.syntax(cut))? {
            let mut text = Vec::with_capacity(self.replacement.len() + 2);
            json::write(&self.replacement, &mut text);
            self.replacement.shrink_to(MAX_NAME);
            self.instead(&text, &token, cut);
        } else {
            self.pass(&token, cut);
        }
        self.after_value(cut);
        Ok(Event::None)
    }

    #[inline]
    fn key<V: Values>(
        &mut self,
        token: &Token<'_>,
        cut: &mut Input<'_, '_>,
        values: &mut V,
    ) -> Result<Event, JsonError> {
        let mut member = |name: &str| {
            let drops = self.stack.member(name, &self.fields);
            if !values.reads_names() || self.stack.knows() {
                return drops;
            }
            self.stack.may_be_late(name);
            drops || value::hides(&self.stack, name, values)
        };
        let drops = match token.text {
            Some(name) => member(name),
            None => {
                let name = json::text(token.raw, &mut self.scratch);
                name.map(member)
                    .map_err(|_| JsonError::Syntax(self.offset + cut.at as u64))?
            }
        };
        self.expect = Expect::Colon;
        if drops {
            self.flush(cut);
            if self.sink == Sink::Pending {
                self.waiting.clear();
            }
            self.sink = Sink::Skip(self.stack.depth());
            self.instead(b"", token, cut);
            return Ok(Event::None);
        }
        if self.sink == Sink::Pending {
            self.flush(cut);
            self.sink = Sink::Out;
            // The comma stands behind a member that was dropped, where none was written before.
            let from = usize::from(!self.stack.has_members());
            let waiting = self.waiting.get(from..).unwrap_or_default();
            cut.out.extend_from_slice(waiting);
            self.waiting.clear();
        }
        self.stack.written();
        self.pass(token, cut);
        if self.stack.depth() > 1 || self.embedded {
            return Ok(Event::None);
        }
        let begins = self
            .document
            .member(self.stack.child().place, self.waiting.len());
        if self.sink == Sink::Waiting && self.document.is_decided() {
            self.flush(cut);
            self.sink = Sink::Out;
            if !begins {
                cut.out.append(&mut self.waiting);
            }
        }
        Ok(if begins {
            Event::ObjectBegins
        } else {
            Event::None
        })
    }

    fn scalar<V: Values>(
        &mut self,
        cut: &mut Input<'_, '_>,
        values: &mut V,
    ) -> Result<Event, JsonError> {
        let rest = cut.data.get(cut.at..).unwrap_or_default();
        let Some(length) = rest.iter().position(|b| !json::is_scalar(*b)) else {
            self.flush(cut);
            self.open = Open::Scalar;
            self.hold(rest, cut)?;
            return Ok(Event::None);
        };
        let (raw, end) = (rest.get(..length).unwrap_or_default(), cut.at + length);
        let held = self.open == Open::Scalar;
        let mut whole = std::mem::take(&mut self.held);
        if held {
            whole.extend_from_slice(raw);
        }
        self.open = Open::None;
        let token = Token {
            raw: if held { &whole } else { raw },
            text: None,
            end,
            held,
        };
        if token.raw.len() > MAX_NUMBER {
            return Err(JsonError::TooLong(MAX_NUMBER));
        }
        let scalar = json::scalar(token.raw).map_err(|_| self.syntax(cut))?;
        let child = self.stack.child();
        let hidden = match child.field {
            _ if scalar == Scalar::Null => false,
            _ if self.stack.knows() => {
                let whose = self.stack.whose();
                whose.is_some() && scalar == Scalar::Number && values.bare(None, whose, token.raw)
            }
            Some(field) => values.number(field),
            None if child.place.part() == Part::Cell => {
                values.cell(value::column(&self.columns, &self.stack, child.place))
            }
            None if scalar == Scalar::Number && values.reads_names() => {
                values.bare(self.stack.names().0, self.stack.whose(), token.raw)
            }
            None => false,
        };
        if hidden {
            self.instead(b"null", &token, cut);
        } else if held {
            self.instead(token.raw, &token, cut);
        } else {
            self.pass(&token, cut);
        }
        whole.clear();
        self.held = whole;
        self.after_value(cut);
        Ok(Event::None)
    }

    fn begin(&mut self, list: bool, cut: &mut Input<'_, '_>) -> Result<Event, JsonError> {
        let depth = self.stack.depth();
        if depth >= self.limits.depth {
            return Err(JsonError::TooDeep(self.limits.depth));
        }
        let place = self.stack.child().place;
        let counted = depth == 2
            && !list
            && matches!(place, Place::Object | Place::Row)
            && self.document.counts_items()
            && !self.embedded;
        if counted && !self.announced {
            self.announced = true;
            return Ok(Event::ObjectBegins);
        }
        self.announced = false;
        if depth == 0 && !list && !self.embedded {
            self.flush(cut);
            self.sink = Sink::Waiting;
        }
        if place == Place::Columns {
            self.columns.clear();
        }
        let written = !matches!(self.sink, Sink::Skip(_));
        self.stack.push(list, counted, written, &self.fields);
        cut.at += 1;
        self.expect = match list {
            true => Expect::ValueOrEnd,
            false => Expect::KeyOrEnd,
        };
        Ok(Event::None)
    }

    fn end(&mut self, list: bool, cut: &mut Input<'_, '_>) -> Result<Event, JsonError> {
        let Some(counted) = self.stack.pop(list) else {
            return Err(self.syntax(cut));
        };
        cut.at += 1;
        self.after_value(cut);
        if self.stack.depth() > 0 {
            return Ok(match counted {
                true => Event::ObjectEnds,
                false => Event::None,
            });
        }
        self.flush(cut);
        if self.sink == Sink::Waiting {
            self.sink = Sink::Out;
            cut.out.append(&mut self.waiting);
        }
        self.expect = Expect::Value;
        Ok(match std::mem::take(&mut self.document).is_object() {
            true => Event::ObjectEnds,
            false => Event::None,
        })
    }

    #[inline]
    fn comma(&mut self, cut: &mut Input<'_, '_>, reads_names: bool) {
        let list = self.stack.next();
        self.expect = match list {
            true => Expect::Value,
            false => Expect::Key,
        };
        if !list && self.stack.may_drop(reads_names) && self.sink == Sink::Out {
            self.flush(cut);
            self.sink = Sink::Pending;
        }
        cut.at += 1;
    }

    #[inline]
    fn after_value(&mut self, cut: &mut Input<'_, '_>) {
        self.expect = Expect::CommaOrEnd;
        if self.sink == Sink::Skip(self.stack.depth()) {
            self.flush(cut);
            self.sink = Sink::Out;
        }
    }

    /// Leaves a token as it is.
    #[inline]
    fn pass(&mut self, token: &Token<'_>, cut: &mut Input<'_, '_>) {
        if token.held {
            for bytes in [b"\"", token.raw, b"\""] {
                self.emit(bytes, cut.out);
            }
            cut.written = token.end;
        }
        cut.at = token.end;
    }

    /// Writes something in a token's place.
    fn instead(&mut self, bytes: &[u8], token: &Token<'_>, cut: &mut Input<'_, '_>) {
        if !token.held {
            self.flush(cut);
        }
        self.emit(bytes, cut.out);
        cut.at = token.end;
        cut.written = token.end;
    }

    /// Writes the input up to where it is read.
    #[inline]
    fn flush(&mut self, cut: &mut Input<'_, '_>) {
        let bytes = cut.data.get(cut.written..cut.at).unwrap_or_default();
        self.emit(bytes, cut.out);
        cut.written = cut.at;
    }

    #[inline]
    fn emit(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.sink {
            Sink::Out => out.extend_from_slice(bytes),
            Sink::Waiting | Sink::Pending => self.waiting.extend_from_slice(bytes),
            Sink::Skip(_) => {}
        }
    }

    fn syntax(&self, cut: &Input<'_, '_>) -> JsonError {
        JsonError::Syntax(self.offset + cut.at as u64)
    }
}
