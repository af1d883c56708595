//! SFTP version 3, as OpenSSH speaks it: framing, views of packets, and an account of what is open.
//!
//! The protocol is draft-ietf-secsh-filexfer-02 and OpenSSH's PROTOCOL file, section 4. A connection
//! of another version is refused: its packets look alike and mean other things.

mod packet;
mod path;
mod tracker;

#[cfg(test)]
mod tests;

use crate::ProtocolError;

pub use packet::{Attributes, HEADER, Request, Response, denied, status};
pub(crate) use path::behind_links;
pub use path::normalised;
pub use tracker::{
    Answer, Asked, Delivery, File, FileId, Link, MAX_OPEN, MAX_OUTSTANDING, Operation, Tracker,
    What,
};

/// The longest packet that is taken, its length field not counted. OpenSSH's own limit is 256 KiB.
pub const MAX_PACKET: usize = 256 * 1024 + 1024;

/// The first packet of a client that speaks version 3.
pub const INIT: [u8; 9] = [0, 0, 0, 5, 1, 0, 0, 0, 3];

/// Codes of a STATUS packet.
pub mod code {
    /// It was done.
    pub const OK: u32 = 0;
    /// There is no more.
    pub const EOF: u32 = 1;
    /// It may not be done.
    pub const PERMISSION_DENIED: u32 = 3;
    /// It failed.
    pub const FAILURE: u32 = 4;
    /// The server does not know how.
    pub const UNSUPPORTED: u32 = 8;
}

/// Cuts a stream into packets. Keeps no more than one packet and what was pushed with it.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    start: usize,
}

impl Framer {
    /// A framer at the beginning of a stream.
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes belong to no whole packet yet.
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Bytes that belong to no whole packet yet.
    pub fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// The next whole packet, with its length field. None: more bytes are needed.
    ///
    /// # Errors
    /// Where the length is zero or above [`MAX_PACKET`]; the stream cannot be read on.
    pub fn packet(&mut self) -> Result<Option<&[u8]>, ProtocolError> {
        let Some((length, _)) = self.rest().split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length == 0 || length > MAX_PACKET {
            return Err(ProtocolError::Length(length));
        }
        let end = self.start + 4 + length;
        let Some(packet) = self.buffer.get(self.start..end) else {
            return Ok(None);
        };
        self.start = end;
        Ok(Some(packet))
    }
}
