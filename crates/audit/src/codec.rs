//! The binary form of events inside a frame.
//!
//! Numbers are LEB128 varints. Shared values (texts, lists of names, sessions, identities, columns)
//! are written once per frame, where they are first used, and are referred to by number after
//! that; the writer recognises them by address, so it never hashes or compares text. A frame
//! therefore decodes on its own.
//!
//! Invariant: the reader bounds every length by what is left, and never panics on any input.

mod shapes;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use crate::identity::{Identity, Session};
use crate::recording::Column;
use crate::text::Names;

/// Bytes that are not the form of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too early, or a length is larger than what is left.
    #[error("evidence ends in the middle of an event")]
    Short,
    /// A number is larger than its field.
    #[error("a number in evidence is out of range")]
    Range,
    /// Text that is not UTF-8.
    #[error("text in evidence is not UTF-8")]
    Utf8,
    /// A kind or reference that this version does not know.
    #[error("evidence has an unknown kind or reference")]
    Unknown,
    /// A version that this program does not know.
    #[error("evidence has schema version {0}, which this program does not know")]
    Version(u16),
}

/// A value with a place in a frame.
pub(crate) trait Wire: Sized {
    fn put<'a>(&'a self, writer: &mut Writer<'a>);
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// About how many bytes it takes when it is written out, beside its own numbers: what it shares with
    /// others is counted in full.
    fn weight(&self) -> usize {
        0
    }

    /// Whether what it may share with others is within [`bounds`](crate::bounds).
    fn is_bounded(&self) -> bool {
        true
    }

    /// Cuts what is not.
    fn bound(&mut self) {}
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Numbers shared values by address. The lifetime keeps them alive, so that an address stays
/// the same value's for as long as the table is used.
#[derive(Default)]
struct Table<'a> {
    numbers: HashMap<(usize, usize), u64, BuildHasherDefault<AddressHasher>>,
    alive: PhantomData<&'a ()>,
}

impl Table<'_> {
    /// `Ok(number)` of a value seen before, `Err(())` for a new one, which is numbered.
    fn number(&mut self, key: (usize, usize)) -> Result<u64, ()> {
        let next = self.numbers.len() as u64;
        match self.numbers.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(*entry.get()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(next);
                Err(())
            }
        }
    }
}

#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, value: usize) {
        self.0 = (self.0 ^ value as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }
}

/// Writes the events of one frame.
#[derive(Default)]
pub(crate) struct Writer<'a> {
    pub(crate) out: Vec<u8>,
    texts: Table<'a>,
    names: Table<'a>,
    sessions: Table<'a>,
    identities: Table<'a>,
    columns: Table<'a>,
}

impl<'a> Writer<'a> {
    pub(crate) fn varint(&mut self, value: u64) {
        put_varint(&mut self.out, value);
    }

    pub(crate) fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// Writes a reference; true if the value itself must follow.
    fn shared(&mut self, known: Result<u64, ()>) -> bool {
        match known {
            Ok(number) => self.varint(number + 1),
            Err(()) => self.varint(0),
        }
        known.is_err()
    }

    pub(crate) fn text(&mut self, text: &'a Arc<str>) {
        let known = self.texts.number((text.as_ptr().addr(), text.len()));
        if self.shared(known) {
            self.bytes(text.as_bytes());
        }
    }

    pub(crate) fn names(&mut self, names: &'a Names) {
        let Some(list) = &names.0 else {
            return self.varint(0);
        };
        match self.names.number((list.as_ptr().addr(), list.len())) {
            Ok(number) => self.varint(number + 2),
            Err(()) => {
                self.varint(1);
                self.varint(list.len() as u64);
                list.iter().for_each(|name| self.text(name));
            }
        }
    }

    pub(crate) fn session(&mut self, session: &'a Arc<Session>) {
        let known = self.sessions.number((Arc::as_ptr(session).addr(), 0));
        if self.shared(known) {
            Session::put(session, self);
        }
    }

    pub(crate) fn identity(&mut self, identity: &'a Arc<Identity>) {
        let known = self.identities.number((Arc::as_ptr(identity).addr(), 0));
        if self.shared(known) {
            Identity::put(identity, self);
        }
    }

    pub(crate) fn columns(&mut self, columns: &'a Arc<[Column]>) {
        let known = self
            .columns
            .number((columns.as_ptr().addr(), columns.len()));
        if self.shared(known) {
            self.varint(columns.len() as u64);
            columns.iter().for_each(|column| column.put(self));
        }
    }
}

/// Reads the events of one frame.
pub(crate) struct Reader<'b> {
    rest: &'b [u8],
    /// The schema that the bytes were written in.
    version: u16,
    texts: Vec<Arc<str>>,
    names: Vec<Names>,
    sessions: Vec<Arc<Session>>,
    identities: Vec<Arc<Identity>>,
    columns: Vec<Arc<[Column]>>,
}

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self {
            rest: bytes,
            version: crate::SCHEMA,
            texts: Vec::new(),
            names: Vec::new(),
            sessions: Vec::new(),
            identities: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// What follows was written in this version.
    pub(crate) fn written_in(&mut self, version: u16) {
        self.version = version;
    }

    /// A field that frames have from a version on.
    pub(crate) fn since<T: Wire + Default>(&mut self, version: u16) -> Result<T, DecodeError> {
        if self.version < version {
            Ok(T::default())
        } else {
            T::take(self)
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (byte, rest) = self.rest.split_first().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.rest {
            // Most are small.
            [byte @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // More than 64 bits, or zeros in front: each number has one form.
            if shift == 63 && bits > 1 || shift > 0 && byte == 0 {
                return Err(DecodeError::Range);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Range)
    }

    pub(crate) fn signed(&mut self) -> Result<i64, DecodeError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn bytes(&mut self, length: u64) -> Result<&'b [u8], DecodeError> {
        let length = usize::try_from(length).map_err(|_| DecodeError::Short)?;
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A number of things that take at least a byte each.
    pub(crate) fn count(&mut self) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint()?).map_err(|_| DecodeError::Short)?;
        if count > self.rest.len() {
            Err(DecodeError::Short)
        } else {
            Ok(count)
        }
    }

    pub(crate) fn str(&mut self) -> Result<&'b str, DecodeError> {
        let length = self.varint()?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| DecodeError::Utf8)
    }

    pub(crate) fn text(&mut self) -> Result<Arc<str>, DecodeError> {
        match self.varint()? {
            0 => {
                let text: Arc<str> = self.str()?.into();
                self.texts.push(Arc::clone(&text));
                Ok(text)
            }
            number => known(&self.texts, number - 1),
        }
    }

    pub(crate) fn names(&mut self) -> Result<Names, DecodeError> {
        match self.varint()? {
            0 => Ok(Names::empty()),
            1 => {
                let count = self.count()?;
                let names: Vec<Arc<str>> =
                    (0..count).map(|_| self.text()).collect::<Result<_, _>>()?;
                let names = Names::from(names);
                self.names.push(names.clone());
                Ok(names)
            }
            number => known(&self.names, number - 2),
        }
    }

    pub(crate) fn session(&mut self) -> Result<Arc<Session>, DecodeError> {
        match self.varint()? {
            0 => {
                let session = Arc::new(Session::take(self)?);
                self.sessions.push(Arc::clone(&session));
                Ok(session)
            }
            number => known(&self.sessions, number - 1),
        }
    }

    pub(crate) fn identity(&mut self) -> Result<Arc<Identity>, DecodeError> {
        match self.varint()? {
            0 => {
                let identity = Arc::new(Identity::take(self)?);
                self.identities.push(Arc::clone(&identity));
                Ok(identity)
            }
            number => known(&self.identities, number - 1),
        }
    }

    pub(crate) fn columns(&mut self) -> Result<Arc<[Column]>, DecodeError> {
        match self.varint()? {
            0 => {
                let count = self.count()?;
                let columns: Arc<[Column]> = (0..count)
                    .map(|_| Column::take(self))
                    .collect::<Result<_, _>>()?;
                self.columns.push(Arc::clone(&columns));
                Ok(columns)
            }
            number => known(&self.columns, number - 1),
        }
    }
}

fn known<T: Clone>(table: &[T], number: u64) -> Result<T, DecodeError> {
    usize::try_from(number)
        .ok()
        .and_then(|number| table.get(number))
        .cloned()
        .ok_or(DecodeError::Unknown)
}

#[cfg(test)]
mod tests;
