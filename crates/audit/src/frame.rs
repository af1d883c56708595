//! Frames: runs of events that are sealed together and chained by SHA-256.
//!
//! A frame's hash covers the hash of the frame before it and its own payload, which states its
//! version, epoch and sequence numbers; the first frame of an engine continues [`genesis`]. So a
//! changed, dropped, inserted or reordered event breaks every link after it. Frames are stored and
//! shipped byte for byte as they were sealed: nobody encodes them again.
//!
//! Layout in a file or a block: `length u32 LE | hash [32] | payload`.
//! Payload: `version | epoch | first seq | count | time of the first event | events`, varints.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::event::{Body, Event, EventId, Record};
use crate::identity::EngineId;
use crate::text::Timestamp;
use crate::{OLDEST_SCHEMA, SCHEMA};

/// The largest payload that a reader accepts.
pub const MAX_FRAME: usize = 64 * 1024 * 1024;
const HEADER: usize = 36;
/// The last time that a frame can hold: times are written as signed differences.
const LAST_TIME: u64 = i64::MAX.unsigned_abs();
/// The last sequence number that a frame can hold: stores keep them as signed numbers.
const LAST_SEQ: u64 = i64::MAX.unsigned_abs();
/// Events for which room is made before they are read: a count may promise one for each byte, and
/// in memory an event is a hundred times as large.
const EVENTS_AHEAD: usize = 1024;

/// A link of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where an engine's chain begins.
#[must_use]
pub fn genesis(engine: &EngineId) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"weir-audit/1\0");
    hash.update(engine.as_str().as_bytes());
    Hash(hash.finalize().into())
}

/// The link that `payload` makes after `previous`.
#[must_use]
pub fn link(previous: &Hash, payload: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(previous.0);
    hash.update(payload);
    Hash(hash.finalize().into())
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// They end in the middle of a frame.
    #[error("the last frame is incomplete")]
    Torn,
    /// The hash does not fit the payload and the frame before it.
    #[error("a frame does not continue the chain")]
    Broken,
    /// The length is beyond [`MAX_FRAME`].
    #[error("a frame is larger than allowed")]
    TooLarge,
    /// The payload cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// A sealed run of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    epoch: u32,
    first_seq: u64,
    count: u64,
    previous: Hash,
    hash: Hash,
    payload: Vec<u8>,
}

impl Frame {
    /// A frame from its parts; verifies the link.
    ///
    /// # Errors
    /// When the hash does not fit, or the payload's head cannot be read.
    pub fn verify(previous: Hash, hash: Hash, payload: Vec<u8>) -> Result<Self, FrameError> {
        if link(&previous, &payload) != hash {
            return Err(FrameError::Broken);
        }
        let head = Head::take(&mut Reader::new(&payload))?;
        let Head {
            epoch,
            first_seq,
            count,
            ..
        } = head;
        Ok(Self {
            epoch,
            first_seq,
            count,
            previous,
            hash,
            payload,
        })
    }

    /// The epoch of its events.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Sequence number of its first event.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Sequence number of its last event.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.first_seq.saturating_add(self.count.saturating_sub(1))
    }

    /// How many events it has.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The link before it.
    #[must_use]
    pub fn previous(&self) -> Hash {
        self.previous
    }

    /// Its own link.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The sealed bytes; statement texts and values are in them verbatim.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Appends its stored form.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.hash.0);
        out.extend_from_slice(&self.payload);
    }

    /// How many bytes its stored form takes.
    #[must_use]
    pub fn stored_len(&self) -> usize {
        HEADER + self.payload.len()
    }

    /// The events, in order.
    ///
    /// # Errors
    /// When the payload is not what this version or one that it still reads wrote.
    pub fn events(&self, engine: &EngineId) -> Result<Vec<Event>, DecodeError> {
        let mut reader = Reader::new(&self.payload);
        let head = Head::take(&mut reader)?;
        reader.written_in(head.version);
        let count = usize::try_from(head.count).map_err(|_| DecodeError::Range)?;
        let mut events = Vec::with_capacity(count.min(EVENTS_AHEAD));
        let mut time = head.time;
        for place in 0..head.count {
            let delta = reader.signed()?;
            time = time
                .checked_add_signed(delta)
                .filter(|time| *time <= LAST_TIME)
                .ok_or(DecodeError::Range)?;
            let session = Wire::take(&mut reader)?;
            let body = Body::take(&mut reader)?;
            let seq = head
                .first_seq
                .checked_add(place)
                .ok_or(DecodeError::Range)?;
            events.push(Event {
                schema: head.version,
                id: EventId {
                    engine: engine.clone(),
                    epoch: head.epoch,
                    seq,
                },
                time: Timestamp::from_micros(time),
                session,
                body,
            });
        }
        if reader.is_empty() {
            Ok(events)
        } else {
            Err(DecodeError::Unknown)
        }
    }
}

struct Head {
    version: u16,
    epoch: u32,
    first_seq: u64,
    count: u64,
    time: u64,
}

impl Head {
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = u16::try_from(reader.varint()?).map_err(|_| DecodeError::Range)?;
        if !(OLDEST_SCHEMA..=SCHEMA).contains(&version) {
            return Err(DecodeError::Version(version));
        }
        let head = Self {
            version,
            epoch: u32::try_from(reader.varint()?).map_err(|_| DecodeError::Range)?,
            first_seq: reader.varint()?,
            count: reader.varint()?,
            time: reader.varint()?,
        };
        let last = head
            .count
            .checked_sub(1)
            .and_then(|more| head.first_seq.checked_add(more));
        match last {
            Some(last) if last <= LAST_SEQ && head.first_seq > 0 => Ok(head),
            _ => Err(DecodeError::Range),
        }
    }
}

/// Encodes records into one frame. The records stay borrowed until it is sealed, because shared
/// values are recognised by address.
pub struct FrameBuilder<'a> {
    epoch: u32,
    first_seq: u64,
    count: u64,
    first_time: u64,
    time: u64,
    writer: Writer<'a>,
}

impl<'a> FrameBuilder<'a> {
    /// A frame whose first event gets the number `first_seq` (from 1).
    #[must_use]
    pub fn new(epoch: u32, first_seq: u64) -> Self {
        Self {
            epoch,
            first_seq,
            count: 0,
            first_time: 0,
            time: 0,
            writer: Writer::default(),
        }
    }

    /// Adds an event.
    pub fn push(&mut self, record: &'a Record) {
        let at = record.at.as_micros().min(LAST_TIME);
        if self.count == 0 {
            self.first_time = at;
            self.time = at;
        }
        let delta = at.checked_signed_diff(self.time).unwrap_or_default();
        self.time = at;
        self.count += 1;
        self.writer.signed(delta);
        record.session.put(&mut self.writer);
        record.body.put(&mut self.writer);
    }

    /// How many events were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many bytes the events take so far.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.writer.out.len()
    }

    /// Seals the frame; `None` if no event was added.
    #[must_use]
    pub fn seal(self, previous: Hash) -> Option<Frame> {
        if self.count == 0 {
            return None;
        }
        let mut head = Writer::default();
        head.varint(u64::from(SCHEMA));
        head.varint(u64::from(self.epoch));
        head.varint(self.first_seq);
        head.varint(self.count);
        head.varint(self.first_time);
        let mut payload = head.out;
        payload.extend_from_slice(&self.writer.out);
        let hash = link(&previous, &payload);
        let Self {
            epoch,
            first_seq,
            count,
            ..
        } = self;
        Some(Frame {
            epoch,
            first_seq,
            count,
            previous,
            hash,
            payload,
        })
    }
}

/// Reads frames one after the other and checks each link.
pub struct FrameReader<'b> {
    bytes: &'b [u8],
    offset: usize,
    previous: Hash,
}

impl<'b> FrameReader<'b> {
    /// Frames in their stored form, of which the first continues `previous`.
    #[must_use]
    pub fn new(bytes: &'b [u8], previous: Hash) -> Self {
        Self {
            bytes,
            offset: 0,
            previous,
        }
    }

    /// How many bytes were read in whole, valid frames.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The link of the last frame that was read.
    #[must_use]
    pub fn previous(&self) -> Hash {
        self.previous
    }

    /// The next frame, or `None` at the end. After an error the offset stays before the bad frame.
    ///
    /// # Errors
    /// When what follows is incomplete, damaged or not of this version.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(FrameError::Torn)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(FrameError::TooLarge);
        }
        let (hash, rest) = rest.split_first_chunk::<32>().ok_or(FrameError::Torn)?;
        let payload = rest.get(..length).ok_or(FrameError::Torn)?;
        let frame = Frame::verify(self.previous, Hash(*hash), payload.to_vec())?;
        self.previous = frame.hash;
        self.offset += HEADER + length;
        Ok(Some(frame))
    }
}

#[cfg(test)]
pub(crate) mod tests;
