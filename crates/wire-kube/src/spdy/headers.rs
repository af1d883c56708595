//! Header blocks: names and values, and the stream of zlib that they are in.

use std::fmt;

use bytes::BytesMut;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use super::SpdyError;
use super::dictionary::{DICTIONARY, ID};

/// The longest header block, inflated.
pub const MAX_HEADERS: usize = 32 << 10;
/// Most names in a header block.
pub const MAX_NAMES: usize = 128;

/// How far back deflate looks.
const WINDOW: usize = 32 << 10;
/// The longest stored block of deflate.
const MAX_STORED: usize = 0xffff;
/// The head of a zlib stream with a window of 32 KiB and a dictionary.
const HEAD: [u8; 2] = [0x78, 0x20];
/// In its second byte: a dictionary is named.
const HAS_DICTIONARY: u8 = 0x20;

/// A header block: names in lower case, each once, with its values (`\0` between them).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<Pair>);

/// A name and its values.
type Pair = (Box<[u8]>, Box<[u8]>);

impl Headers {
    /// A header block of these names, in lower case, and values.
    #[must_use]
    pub fn new(pairs: &[(&str, &str)]) -> Self {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = name.to_ascii_lowercase().into_bytes();
            (name.into(), value.as_bytes().into())
        });
        Self(pairs.collect())
    }

    /// The first value of a header whose name is given in lower case, where it is text.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .0
            .iter()
            .find(|(known, _)| **known == *name.as_bytes())?;
        let first = value.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(first).ok()
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads an inflated block, which must be all of `bytes`.
    fn parse(mut bytes: &[u8]) -> Result<Self, SpdyError> {
        let count = number(&mut bytes)?;
        if count > MAX_NAMES {
            return Err(SpdyError::Headers);
        }
        let mut pairs: Vec<Pair> = Vec::with_capacity(count);
        for _ in 0..count {
            let name = field(&mut bytes)?;
            let value = field(&mut bytes)?;
            let is_lower = !name.is_empty() && !name.iter().any(u8::is_ascii_uppercase);
            if !is_lower || pairs.iter().any(|(known, _)| **known == *name) {
                return Err(SpdyError::Name);
            }
            pairs.push((name.into(), value.into()));
        }
        bytes.is_empty().then_some(()).ok_or(SpdyError::Headers)?;
        Ok(Self(pairs))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut put = |length: usize, bytes: &[u8]| {
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(bytes);
        };
        put(self.0.len(), b"");
        for (name, value) in &self.0 {
            put(name.len(), name);
            put(value.len(), value);
        }
    }
}

fn number(bytes: &mut &[u8]) -> Result<usize, SpdyError> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or(SpdyError::Headers)?;
    *bytes = rest;
    Ok(u32::from_be_bytes(*number) as usize)
}

fn field<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], SpdyError> {
    let length = number(bytes)?;
    let (field, rest) = bytes.split_at_checked(length).ok_or(SpdyError::Headers)?;
    *bytes = rest;
    Ok(field)
}

/// Inflates the header blocks of one side.
#[derive(Default)]
pub(super) struct Inflate(Option<Box<Stream>>);

struct Stream {
    decompressor: DecompressorOxide,
    window: [u8; WINDOW],
    at: usize,
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inflate")
    }
}

impl Inflate {
    /// Inflates and reads one block, which must end where its frame does.
    pub(super) fn block(&mut self, compressed: &[u8]) -> Result<Headers, SpdyError> {
        let mut input = compressed;
        let stream = match &mut self.0 {
            Some(stream) => stream,
            none => none.insert(Box::new(Stream::begin(&mut input)?)),
        };
        Headers::parse(&stream.inflate(input)?)
    }
}

impl Stream {
    /// Reads the head of a stream, of which the first frame has all.
    fn begin(input: &mut &[u8]) -> Result<Self, SpdyError> {
        let (&[method, flags], rest) = input
            .split_first_chunk::<2>()
            .ok_or(SpdyError::Compression)?;
        let check = u16::from_be_bytes([method, flags]);
        if method & 0x0f != 8 || method >> 4 > 7 || check % 31 != 0 {
            return Err(SpdyError::Compression);
        }
        *input = rest;
        let mut window = [0; WINDOW];
        let mut at = 0;
        if flags & HAS_DICTIONARY != 0 {
            let (id, rest) = input
                .split_first_chunk::<4>()
                .ok_or(SpdyError::Compression)?;
            if u32::from_be_bytes(*id) != ID {
                return Err(SpdyError::Compression);
            }
            *input = rest;
            at = DICTIONARY.len();
            if let Some(front) = window.get_mut(..at) {
                front.copy_from_slice(DICTIONARY);
            }
        }
        Ok(Self {
            decompressor: DecompressorOxide::new(),
            window,
            at,
        })
    }

    fn inflate(&mut self, mut input: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let mut inflated = Vec::new();
        loop {
            let (status, read, wrote) = decompress(
                &mut self.decompressor,
                input,
                &mut self.window,
                self.at,
                inflate_flags::TINFL_FLAG_HAS_MORE_INPUT,
            );
            input = input.get(read..).unwrap_or_default();
            let new = self.window.get(self.at..self.at + wrote);
            inflated.extend_from_slice(new.unwrap_or_default());
            self.at = (self.at + wrote) % WINDOW;
            if inflated.len() > MAX_HEADERS {
                return Err(SpdyError::Headers);
            }
            match status {
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::NeedsMoreInput if input.is_empty() => return Ok(inflated),
                // A stream that ends could hold no further block.
                _ => return Err(SpdyError::Compression),
            }
        }
    }
}

/// Writes the header blocks of one side, stored.
#[derive(Debug, Default)]
pub(super) struct Deflate {
    begun: bool,
}

impl Deflate {
    /// Appends a block: stored ones and, as a flush, one without bytes.
    pub(super) fn block(&mut self, headers: &Headers, out: &mut BytesMut) {
        if !self.begun {
            self.begun = true;
            out.extend_from_slice(&HEAD);
            out.extend_from_slice(&ID.to_be_bytes());
        }
        let mut plain = Vec::new();
        headers.write(&mut plain);
        for stored in plain.chunks(MAX_STORED).chain([&[][..]]) {
            let length = u16::try_from(stored.len()).unwrap_or(0);
            out.extend_from_slice(&[0]);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&(!length).to_le_bytes());
            out.extend_from_slice(stored);
        }
    }
}
