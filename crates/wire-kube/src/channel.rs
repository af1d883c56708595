//! The channels of exec, attach and port-forward inside WebSocket messages.
//!
//! A message's first byte is the number of a channel, the rest belongs to that channel: bytes, or their
//! base64 in the older form for browsers. `v5.channel.k8s.io` adds a message that closes a channel; `v4`
//! made the error channel a `Status` object. The API server takes each *frame* for a message, so a
//! fragment's first byte would be a channel's number there: what is written here is always one frame.
//!
//! Invariants: pieces of a message keep their order; what base64 decodes to is the same however the
//! message is cut.
//! Refuses: a closure that is not two bytes long, base64 that is none.
//!
//! Source: `k8s.io/apimachinery/pkg/util/httpstream/wsstream`, and the `remotecommand` and `portforward`
//! packages of kubelet and client-go.

mod base64_stream;
mod forward;
mod sizes;
mod status;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};

pub use forward::{ForwardChannel, MAX_PORTS, forward_port, parse_ports};
pub use sizes::Sizes;
pub use status::{Exit, MAX_STATUS, exit, refusal};

use self::base64_stream::Decoder;
use crate::websocket::{Opcode, Piece, frame};

/// What precedes a channel's number in a message that closes it.
const CLOSE: u8 = 255;

/// Standard input.
pub const STDIN: u8 = 0;
/// Standard output.
pub const STDOUT: u8 = 1;
/// Standard error.
pub const STDERR: u8 = 2;
/// How the command ended.
pub const ERROR: u8 = 3;
/// Sizes of the terminal.
pub const RESIZE: u8 = 4;

/// Why a message is none of a channel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// A closure without the number of one channel.
    #[error("a message that closes no channel")]
    Close,
    /// Base64 that is none.
    #[error("a message that is not base64")]
    Base64,
    /// Sizes of a terminal that are none, or too long.
    #[error("a size of a terminal that is none")]
    Size,
    /// Ports that are none.
    #[error("ports that are none: {0}")]
    Ports(&'static str),
}

/// A version of the channels, as the two sides have agreed on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subprotocol {
    version: u8,
    base64: bool,
}

impl Subprotocol {
    /// The version of that name, as in `Sec-WebSocket-Protocol` or `X-Stream-Protocol-Version`; no name is
    /// the first version.
    #[must_use]
    pub fn parse(name: Option<&str>) -> Option<Self> {
        let name = name.unwrap_or_default();
        let (version, rest) = match name.as_bytes() {
            [b'v', digit @ b'2'..=b'5', b'.', ..] => (digit - b'0', name.get(3..)?),
            [] => (1, "channel.k8s.io"),
            _ => (1, name),
        };
        let base64 = match rest {
            "channel.k8s.io" => false,
            "base64.channel.k8s.io" if matches!(version, 1 | 4) => true,
            _ => return None,
        };
        Some(Self { version, base64 })
    }

    /// The version, from 1.
    #[must_use]
    pub fn version(self) -> u8 {
        self.version
    }

    /// Whether the error channel holds a `Status` object rather than text.
    #[must_use]
    pub fn has_status(self) -> bool {
        self.version >= 4
    }

    /// Whether a channel can be closed alone.
    #[must_use]
    pub fn has_close(self) -> bool {
        self.version >= 5
    }

    /// Appends a message with a channel's bytes, in one frame.
    pub fn message(self, channel: u8, bytes: &[u8], mask: Option<[u8; 4]>, out: &mut BytesMut) {
        if self.base64 {
            let text = BASE64_STANDARD.encode(bytes);
            let prefix = [b'0'.wrapping_add(channel)];
            frame(Opcode::Text, mask, &prefix, text.as_bytes(), out);
        } else {
            frame(Opcode::Binary, mask, &[channel], bytes, out);
        }
    }

    /// Appends a message that closes a channel, where there is one for that. Whether there is.
    pub fn close(self, channel: u8, mask: Option<[u8; 4]>, out: &mut BytesMut) -> bool {
        if self.has_close() {
            frame(Opcode::Binary, mask, &[CLOSE, channel], b"", out);
        }
        self.has_close()
    }
}

/// What came on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Bytes of a channel's.
    Data(u8, Bytes),
    /// A channel is closed.
    Close(u8),
}

/// Takes messages apart.
#[derive(Debug)]
pub struct Demux {
    subprotocol: Subprotocol,
    /// The channel of the message that is open.
    channel: Option<u8>,
    /// What a closure holds so far beside its first byte.
    closing: Option<Option<u8>>,
    /// Bytes of it have been handed on.
    said: bool,
    base64: Decoder,
}

impl Demux {
    /// Takes messages of that version apart.
    #[must_use]
    pub fn new(subprotocol: Subprotocol) -> Self {
        Self {
            subprotocol,
            channel: None,
            closing: None,
            said: false,
            base64: Decoder::default(),
        }
    }

    /// Takes the next piece of a message. `None`: nothing has come of it, as of a message without a byte.
    ///
    /// # Errors
    /// The message is none of a channel's.
    pub fn take(&mut self, piece: Piece) -> Result<Option<Event>, ChannelError> {
        let Piece {
            first,
            last,
            mut data,
            ..
        } = piece;
        if first {
            (self.channel, self.closing, self.said) = (None, None, false);
            self.base64 = Decoder::default();
        }
        let begins = self.channel.is_none() && self.closing.is_none();
        if begins && !data.is_empty() {
            let number = data.split_to(1).first().copied().unwrap_or_default();
            if self.subprotocol.has_close() && number == CLOSE {
                self.closing = Some(None);
            } else if self.subprotocol.base64 {
                self.channel = Some(number.wrapping_sub(b'0'));
            } else {
                self.channel = Some(number);
            }
        }
        if let Some(closing) = self.closing.as_mut() {
            for byte in data {
                if closing.replace(byte).is_some() {
                    return Err(ChannelError::Close);
                }
            }
            return match (last, *closing) {
                (false, _) => Ok(None),
                (true, Some(channel)) => Ok(Some(Event::Close(channel))),
                (true, None) => Err(ChannelError::Close),
            };
        }
        let Some(channel) = self.channel else {
            return Ok(None);
        };
        if self.subprotocol.base64 {
            data = self.base64.take(&data, last)?;
        }
        // A message of nothing but a channel's number tells a client that the stream is there.
        let is_empty = data.is_empty() && (!last || self.said);
        self.said |= !data.is_empty();
        Ok((!is_empty).then_some(Event::Data(channel, data)))
    }
}

#[cfg(test)]
mod tests;
