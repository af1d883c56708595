//! WebSocket frames (RFC 6455), read and written.
//!
//! No extension is known, so the reserved bits must be clear. A frame comes whole, and in pieces where it is
//! longer than [`MAX_PIECE`]; what is waited for is in the caller's buffer.
//!
//! Invariants: a client's frames are masked and a server's are not; the first piece of a message says so
//! and the last one does; control frames come between pieces of a message, whole.
//! Refuses: reserved bits and opcodes, lengths that could be written shorter, control frames that are
//! fragmented or longer than [`MAX_CONTROL`], continuations of nothing, a new message inside another.

use bytes::{Buf as _, Bytes, BytesMut};

/// The longest payload of a control frame (RFC 6455, 5.5).
pub const MAX_CONTROL: usize = 125;
/// The longest piece of a message that [`Reader::feed`] hands on, and waits for.
pub const MAX_PIECE: usize = 64 << 10;
/// A closure in order.
pub const CLOSE_NORMAL: u16 = 1000;
/// A closure because of what policy says.
pub const CLOSE_POLICY: u16 = 1008;
/// A closure because of bytes that are no frames.
pub const CLOSE_PROTOCOL: u16 = 1002;

/// Why bytes are no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebSocketError {
    /// Reserved bits are set, and no extension was agreed on.
    #[error("a frame with reserved bits")]
    Reserved,
    /// An opcode that is not defined.
    #[error("a frame with the unknown opcode {0}")]
    Opcode(u8),
    /// A client's frame without a mask, or a server's with one.
    #[error("a frame that is masked where it must not be, or not where it must be")]
    Mask,
    /// A length in a longer form than it needs, or above what can be written.
    #[error("a frame with a length that cannot be")]
    Length,
    /// A control frame that is too long, or not whole.
    #[error("a control frame that is too long or fragmented")]
    Control,
    /// A continuation of no message, or a message inside another.
    #[error("frames of messages that are mixed up")]
    Order,
}

/// What a message is said to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Bytes.
    Binary,
}

/// A piece of a message, of at most [`MAX_PIECE`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What the message is said to hold.
    pub kind: Kind,
    /// Whether the message begins here.
    pub first: bool,
    /// Whether it ends here.
    pub last: bool,
    /// The bytes, without a mask.
    pub data: Bytes,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A piece of a message.
    Piece(Piece),
    /// A ping, to be answered with the same bytes.
    Ping(Bytes),
    /// A pong.
    Pong(Bytes),
    /// The peer closes: the payload, of which the first two bytes are a code where there are any.
    Close(Bytes),
}

/// A frame's opcode, to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A whole message of text.
    Text = 1,
    /// A whole message of bytes.
    Binary = 2,
    /// A closure.
    Close = 8,
    /// A ping.
    Ping = 9,
    /// A pong.
    Pong = 10,
}

/// The frame that is being read.
#[derive(Debug, Clone, Copy)]
struct Current {
    fin: bool,
    left: u64,
    mask: [u8; 4],
    /// How many bytes of it have been unmasked, modulo 4.
    turn: usize,
}

/// Reads the frames of one side.
#[derive(Debug)]
pub struct Reader {
    masked: bool,
    current: Option<Current>,
    /// The message that is open, and whether nothing of it has been handed on yet.
    message: Option<(Kind, bool)>,
}

/// A frame's header, read.
struct Header {
    length: usize,
    fin: bool,
    opcode: u8,
    payload: u64,
    mask: [u8; 4],
}

impl Reader {
    /// Reads what a client sends.
    #[must_use]
    pub fn of_client() -> Self {
        Self::new(true)
    }

    /// Reads what a server sends.
    #[must_use]
    pub fn of_server() -> Self {
        Self::new(false)
    }

    fn new(masked: bool) -> Self {
        Self {
            masked,
            current: None,
            message: None,
        }
    }

    /// Takes the next event from the front of `input`; `None` means that more bytes are needed.
    ///
    /// # Errors
    /// The bytes are no frames of this side; nothing after them can be read.
    pub fn feed(&mut self, input: &mut BytesMut) -> Result<Option<Event>, WebSocketError> {
        loop {
            if let Some(current) = self.current.as_mut() {
                let Some((kind, first)) = self.message else {
                    return Err(WebSocketError::Order);
                };
                let left = usize::try_from(current.left).unwrap_or(usize::MAX);
                let take = left.min(MAX_PIECE);
                if input.len() < take {
                    return Ok(None);
                }
                let mut data = input.split_to(take);
                if self.masked {
                    unmask(&mut data, current.mask, current.turn);
                }
                current.turn = (current.turn + take) % 4;
                current.left -= take as u64;
                let frame_ends = current.left == 0;
                let last = frame_ends && current.fin;
                if frame_ends {
                    self.current = None;
                }
                // A fragment without bytes says nothing, unless a message begins or ends with it.
                if take == 0 && !last {
                    continue;
                }
                self.message = (!last).then_some((kind, false));
                let data = data.freeze();
                return Ok(Some(Event::Piece(Piece {
                    kind,
                    first,
                    last,
                    data,
                })));
            }
            let Some(header) = self.header(input)? else {
                return Ok(None);
            };
            let kind = match header.opcode {
                0 => None,
                1 => Some(Kind::Text),
                2 => Some(Kind::Binary),
                _ => return Ok(control(&header, input)),
            };
            match (kind, self.message) {
                (Some(kind), None) => self.message = Some((kind, true)),
                (None, Some(_)) => {}
                _ => return Err(WebSocketError::Order),
            }
            input.advance(header.length);
            self.current = Some(Current {
                fin: header.fin,
                left: header.payload,
                mask: header.mask,
                turn: 0,
            });
        }
    }

    /// Reads and checks the header at the front, without taking it.
    fn header(&self, input: &[u8]) -> Result<Option<Header>, WebSocketError> {
        let Some(&[one, two]) = input.first_chunk::<2>() else {
            return Ok(None);
        };
        if one & 0x70 != 0 {
            return Err(WebSocketError::Reserved);
        }
        let (fin, opcode) = (one & 0x80 != 0, one & 0x0f);
        if !matches!(opcode, 0..=2 | 8..=10) {
            return Err(WebSocketError::Opcode(opcode));
        }
        if (two & 0x80 != 0) != self.masked {
            return Err(WebSocketError::Mask);
        }
        let short = two & 0x7f;
        if opcode >= 8 && (!fin || usize::from(short) > MAX_CONTROL) {
            return Err(WebSocketError::Control);
        }
        let rest = input.get(2..).unwrap_or_default();
        let (length, payload, least) = match short {
            126 => match rest.first_chunk::<2>() {
                Some(bytes) => (4, u64::from(u16::from_be_bytes(*bytes)), 126),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(bytes) => (10, u64::from_be_bytes(*bytes), 1 << 16),
                None => return Ok(None),
            },
            _ => (2, u64::from(short), 0),
        };
        if payload < least || payload > i64::MAX.unsigned_abs() {
            return Err(WebSocketError::Length);
        }
        let (length, mask) = if self.masked {
            let mask = input.get(length..).and_then(|rest| rest.first_chunk::<4>());
            match mask {
                Some(mask) => (length + 4, *mask),
                None => return Ok(None),
            }
        } else {
            (length, [0; 4])
        };
        Ok(Some(Header {
            length,
            fin,
            opcode,
            payload,
            mask,
        }))
    }
}

/// Takes a control frame, once it is whole.
fn control(header: &Header, input: &mut BytesMut) -> Option<Event> {
    let payload = usize::try_from(header.payload).unwrap_or(MAX_CONTROL);
    if input.len() < header.length + payload {
        return None;
    }
    input.advance(header.length);
    let mut data = input.split_to(payload);
    unmask(&mut data, header.mask, 0);
    let data = data.freeze();
    Some(match header.opcode {
        8 => Event::Close(data),
        9 => Event::Ping(data),
        _ => Event::Pong(data),
    })
}

/// Applies a mask to bytes of which `turn` came before (modulo 4).
fn unmask(data: &mut [u8], mask: [u8; 4], turn: usize) {
    let mut key = mask;
    key.rotate_left(turn % 4);
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Appends a frame with this payload, which comes in two parts so that a message's prefix needs no copy:
/// masked with `mask` where it goes to a server. The payload of a control frame is cut to [`MAX_CONTROL`].
pub fn frame(
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    prefix: &[u8],
    payload: &[u8],
    out: &mut BytesMut,
) {
    let is_control = opcode as u8 >= 8;
    let most = if is_control {
        MAX_CONTROL.saturating_sub(prefix.len())
    } else {
        usize::MAX
    };
    let payload = payload.get(..most).unwrap_or(payload);
    let length = prefix.len() + payload.len();
    out.reserve(length + 14);
    let bit = if mask.is_some() { 0x80 } else { 0 };
    out.extend_from_slice(&[0x80 | opcode as u8]);
    match u8::try_from(length) {
        Ok(short @ ..126) => out.extend_from_slice(&[bit | short]),
        _ => match u16::try_from(length) {
            Ok(length) => {
                out.extend_from_slice(&[bit | 126]);
                out.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                out.extend_from_slice(&[bit | 127]);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        },
    }
    if let Some(mask) = mask {
        out.extend_from_slice(&mask);
    }
    let start = out.len();
    out.extend_from_slice(prefix);
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        unmask(out.get_mut(start..).unwrap_or_default(), mask, 0);
    }
}

/// Appends a closure with this code and text.
pub fn close(code: u16, text: &str, mask: Option<[u8; 4]>, out: &mut BytesMut) {
    let end = text.floor_char_boundary(MAX_CONTROL - 2);
    let text = text.get(..end).unwrap_or_default();
    frame(
        Opcode::Close,
        mask,
        &code.to_be_bytes(),
        text.as_bytes(),
        out,
    );
}

/// The code of a closure, where it has one.
#[must_use]
pub fn close_code(payload: &[u8]) -> Option<u16> {
    payload.first_chunk::<2>().copied().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests;
