//! SPDY/3.1 frames, read and written: what exec, attach and port-forward speak without WebSocket, and
//! port-forward inside one.
//!
//! A frame comes whole, and data in pieces where it is longer than [`MAX_PIECE`]. Header blocks are
//! one stream of zlib for each direction, with the dictionary of SPDY; what is written there is stored,
//! not compressed, since a session has a few short blocks.
//!
//! Invariants: a stream's data keeps its order, and only its last piece says that it ends; a header block
//! that was read was read whole, with nothing behind it; every frame that is written can be read by
//! spdystream, which the API server, the kubelet and kubectl use.
//! Refuses: other versions, unknown control frames, stream 0, control frames above [`MAX_CONTROL`], header
//! blocks above [`MAX_HEADERS`], names twice or in upper case.
//!
//! Source: SPDY Protocol, Draft 3.1; `github.com/moby/spdystream`.

mod dictionary;
mod headers;

use bytes::{Buf as _, Bytes, BytesMut};

pub use headers::{Headers, MAX_HEADERS, MAX_NAMES};

use self::headers::{Deflate, Inflate};

/// The longest control frame: a compressed header block that is as long as one may be, and more.
pub const MAX_CONTROL: usize = 64 << 10;
/// The longest piece of data that [`Reader::feed`] hands on, and waits for.
pub const MAX_PIECE: usize = 64 << 10;
/// Most values in a SETTINGS frame.
pub const MAX_SETTINGS: usize = 256;
/// The highest number that a stream can have.
pub const MAX_STREAM: u32 = 0x7fff_ffff;

const VERSION: u16 = 3;
const HEADER: usize = 8;
const FIN: u8 = 1;
const UNIDIRECTIONAL: u8 = 2;

/// RST_STREAM: the stream is not what its protocol allows.
pub const PROTOCOL_ERROR: u32 = 1;
/// RST_STREAM: the stream was refused before anything was done.
pub const REFUSED_STREAM: u32 = 3;
/// RST_STREAM: whoever opened the stream needs it no more.
pub const CANCEL: u32 = 5;

/// Why bytes are no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpdyError {
    /// A control frame of another version.
    #[error("a frame of SPDY/{0}")]
    Version(u16),
    /// A control frame that is not known.
    #[error("a frame of the unknown type {0}")]
    Type(u16),
    /// A control frame that is longer or shorter than it can be.
    #[error("a frame with a length that cannot be")]
    Length,
    /// A frame of stream 0, or a ping without a number.
    #[error("a frame of stream 0")]
    Zero,
    /// A header block that is not compressed as it must be.
    #[error("a header block that cannot be inflated")]
    Compression,
    /// A header block that is too long or is none.
    #[error("a header block that is too long or malformed")]
    Headers,
    /// A header's name that occurs twice, or is empty or in upper case.
    #[error("a header that occurs twice or is not in lower case")]
    Name,
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A stream is opened.
    SynStream {
        /// Its number.
        stream: u32,
        /// The stream that it belongs to; 0 for none.
        associated: u32,
        /// From 0, the highest, to 7.
        priority: u8,
        /// Its opener says nothing on it.
        fin: bool,
        /// Its other side may say nothing on it.
        unidirectional: bool,
        /// What it is for.
        headers: Headers,
    },
    /// A stream is taken.
    SynReply {
        /// Its number.
        stream: u32,
        /// Whoever takes it says nothing on it.
        fin: bool,
        /// What is said of it.
        headers: Headers,
    },
    /// A stream is over, at once and in both directions.
    Rst {
        /// Its number.
        stream: u32,
        /// Why.
        status: u32,
    },
    /// Settings, each with its flags, number and value.
    Settings(Vec<(u8, u32, u32)>),
    /// A ping, or the answer to one.
    Ping(u32),
    /// No more streams are taken.
    GoAway {
        /// The last one that was.
        last: u32,
        /// Why.
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// Its number.
        stream: u32,
        /// Nothing follows on it.
        fin: bool,
        /// The headers.
        headers: Headers,
    },
    /// More may be sent.
    WindowUpdate {
        /// On this stream; 0 for the whole session.
        stream: u32,
        /// So many bytes more.
        delta: u32,
    },
    /// Data of a stream; a frame that is read may be a piece of one.
    Data {
        /// Its number.
        stream: u32,
        /// Nothing follows on it.
        fin: bool,
        /// The bytes.
        data: Bytes,
    },
}

/// Reads the frames of one side.
#[derive(Debug, Default)]
pub struct Reader {
    inflate: Inflate,
    /// The data frame that is being read: its stream, its end, and how much is left.
    data: Option<(u32, bool, usize)>,
}

/// Fields of a control frame.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32(&mut self) -> Result<u32, SpdyError> {
        let (field, rest) = self.0.split_first_chunk::<4>().ok_or(SpdyError::Length)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*field))
    }

    /// The number of a stream.
    fn stream(&mut self) -> Result<u32, SpdyError> {
        match self.u32()? & MAX_STREAM {
            0 => Err(SpdyError::Zero),
            stream => Ok(stream),
        }
    }

    fn ended(&self) -> Result<(), SpdyError> {
        self.0.is_empty().then_some(()).ok_or(SpdyError::Length)
    }
}

impl Reader {
    /// Takes the next frame, or piece of data, from the front of `input`; `None` means that more bytes are
    /// needed.
    ///
    /// # Errors
    /// The bytes are no frames; nothing after them can be read.
    pub fn feed(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, SpdyError> {
        if let Some((stream, fin, left)) = self.data {
            let take = left.min(MAX_PIECE);
            if input.len() < take {
                return Ok(None);
            }
            let data = input.split_to(take).freeze();
            let left = left - take;
            self.data = (left > 0).then_some((stream, fin, left));
            let fin = fin && left == 0;
            return Ok(Some(Frame::Data { stream, fin, data }));
        }
        let Some(&[a, b, c, d, flags, e, f, g]) = input.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, e, f, g]) as usize;
        if a & 0x80 == 0 {
            let stream = u32::from_be_bytes([a, b, c, d]);
            if stream == 0 {
                return Err(SpdyError::Zero);
            }
            input.advance(HEADER);
            self.data = Some((stream, flags & FIN != 0, length));
            return self.feed(input);
        }
        let version = u16::from_be_bytes([a & 0x7f, b]);
        if version != VERSION {
            return Err(SpdyError::Version(version));
        }
        let kind = u16::from_be_bytes([c, d]);
        if !matches!(kind, 1..=4 | 6..=9) {
            return Err(SpdyError::Type(kind));
        }
        if length > MAX_CONTROL {
            return Err(SpdyError::Length);
        }
        if input.len() < HEADER + length {
            return Ok(None);
        }
        input.advance(HEADER);
        let body = input.split_to(length);
        self.control(kind, flags, &body).map(Some)
    }

    fn control(&mut self, kind: u16, flags: u8, body: &[u8]) -> Result<Frame, SpdyError> {
        let mut fields = Fields(body);
        let fin = flags & FIN != 0;
        let frame = match kind {
            1 => {
                let stream = fields.stream()?;
                let associated = fields.u32()? & MAX_STREAM;
                let (&[priority, _slot], rest) =
                    fields.0.split_first_chunk().ok_or(SpdyError::Length)?;
                return Ok(Frame::SynStream {
                    stream,
                    associated,
                    priority: priority >> 5,
                    fin,
                    unidirectional: flags & UNIDIRECTIONAL != 0,
                    headers: self.inflate.block(rest)?,
                });
            }
            2 | 8 => {
                let stream = fields.stream()?;
                let headers = self.inflate.block(fields.0)?;
                return Ok(if kind == 2 {
                    Frame::SynReply {
                        stream,
                        fin,
                        headers,
                    }
                } else {
                    Frame::Headers {
                        stream,
                        fin,
                        headers,
                    }
                });
            }
            3 => Frame::Rst {
                stream: fields.stream()?,
                status: fields.u32()?,
            },
            4 => {
                let count = fields.u32()? as usize;
                if count > MAX_SETTINGS {
                    return Err(SpdyError::Length);
                }
                let mut settings = Vec::with_capacity(count);
                for _ in 0..count {
                    let (id, value) = (fields.u32()?, fields.u32()?);
                    let [flags, ..] = id.to_be_bytes();
                    settings.push((flags, id & 0x00ff_ffff, value));
                }
                Frame::Settings(settings)
            }
            6 => match fields.u32()? {
                0 => return Err(SpdyError::Zero),
                id => Frame::Ping(id),
            },
            7 => Frame::GoAway {
                last: fields.u32()? & MAX_STREAM,
                status: fields.u32()?,
            },
            _ => Frame::WindowUpdate {
                stream: fields.u32()? & MAX_STREAM,
                delta: fields.u32()? & MAX_STREAM,
            },
        };
        fields.ended()?;
        Ok(frame)
    }
}

/// Writes the frames of one side.
#[derive(Debug, Default)]
pub struct Writer {
    deflate: Deflate,
}

impl Writer {
    /// Appends a frame.
    pub fn frame(&mut self, frame: &Frame, out: &mut BytesMut) {
        match frame {
            Frame::SynStream {
                stream,
                associated,
                priority,
                fin,
                unidirectional,
                headers,
            } => {
                let flags = flag(*fin, FIN) | flag(*unidirectional, UNIDIRECTIONAL);
                control(1, flags, out, |out| {
                    out.extend_from_slice(&stream.to_be_bytes());
                    out.extend_from_slice(&associated.to_be_bytes());
                    out.extend_from_slice(&[priority << 5, 0]);
                    self.deflate.block(headers, out);
                });
            }
            Frame::SynReply {
                stream,
                fin,
                headers,
            } => control(2, flag(*fin, FIN), out, |out| {
                out.extend_from_slice(&stream.to_be_bytes());
                self.deflate.block(headers, out);
            }),
            Frame::Rst { stream, status } => numbers(3, &[*stream, *status], out),
            Frame::Settings(settings) => control(4, 0, out, |out| {
                let count = u32::try_from(settings.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(&count.to_be_bytes());
                for (flags, id, value) in settings {
                    let id = u32::from(*flags) << 24 | id;
                    out.extend_from_slice(&id.to_be_bytes());
                    out.extend_from_slice(&value.to_be_bytes());
                }
            }),
            Frame::Ping(id) => numbers(6, &[*id], out),
            Frame::GoAway { last, status } => numbers(7, &[*last, *status], out),
            Frame::Headers {
                stream,
                fin,
                headers,
            } => control(8, flag(*fin, FIN), out, |out| {
                out.extend_from_slice(&stream.to_be_bytes());
                self.deflate.block(headers, out);
            }),
            Frame::WindowUpdate { stream, delta } => numbers(9, &[*stream, *delta], out),
            Frame::Data { stream, fin, data } => Self::data(*stream, *fin, data, out),
        }
    }

    /// Appends data of a stream, in as many frames as it needs.
    pub fn data(stream: u32, fin: bool, data: &[u8], out: &mut BytesMut) {
        let mut rest = data;
        loop {
            let (piece, after) = rest.split_at(rest.len().min(MAX_PIECE));
            out.reserve(HEADER + piece.len());
            let fin = fin && after.is_empty();
            out.extend_from_slice(&data_header(stream, fin, piece.len()));
            out.extend_from_slice(piece);
            rest = after;
            if rest.is_empty() {
                return;
            }
        }
    }
}

/// The header of a data frame of so many bytes, fewer than 2^24.
#[must_use]
pub fn data_header(stream: u32, fin: bool, length: usize) -> [u8; 8] {
    let [a, b, c, d] = (stream & MAX_STREAM).to_be_bytes();
    let [_, e, f, g] = u32::try_from(length).unwrap_or(0).to_be_bytes();
    [a, b, c, d, flag(fin, FIN), e, f, g]
}

fn flag(is_set: bool, flag: u8) -> u8 {
    if is_set { flag } else { 0 }
}

/// Appends a control frame whose body is written by `body`.
fn control(kind: u16, flags: u8, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[flags, 0, 0, 0]);
    body(out);
    let length = u32::try_from(out.len() - start - HEADER).unwrap_or(0);
    let [_, a, b, c] = length.to_be_bytes();
    if let Some(field) = out.get_mut(start + 5..start + HEADER) {
        field.copy_from_slice(&[a, b, c]);
    }
}

/// Appends a control frame of numbers.
fn numbers(kind: u16, numbers: &[u32], out: &mut BytesMut) {
    control(kind, 0, out, |out| {
        for number in numbers {
            out.extend_from_slice(&number.to_be_bytes());
        }
    });
}

#[cfg(test)]
mod tests;
