//! Message framing: a tag byte and a big-endian length that counts itself.
//!
//! Framing never copies and never allocates. It looks at the five header bytes, checks the length
//! against a named limit, and says how long the whole message is; whether its body has arrived yet
//! is the caller's business, because long rows are forwarded before they are complete.
//!
//! Source: PostgreSQL documentation, "Message Formats".

use crate::ProtocolError;

/// Bytes before the body of a tagged message: the tag and the length.
pub const HEADER: usize = 5;

/// The longest message that PostgreSQL itself can send or take: 1 GiB less one, its `MaxAllocSize`.
pub const MAX_MESSAGE: usize = 0x3fff_ffff;

/// The longest start-up packet that the server accepts (`MAX_STARTUP_PACKET_LENGTH`).
pub const MAX_STARTUP: usize = 10_000;

/// The head of a tagged message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The message type.
    pub tag: u8,
    /// Length of the whole message in bytes, tag and length field included.
    pub total: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` means that more bytes are needed.
    ///
    /// # Errors
    /// The length is below four or above [`MAX_MESSAGE`].
    #[inline]
    pub fn peek(bytes: &[u8]) -> Result<Option<Self>, ProtocolError> {
        let Some((&[tag, a, b, c, d], _)) = bytes.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if !(4..=MAX_MESSAGE).contains(&length) {
            return Err(ProtocolError::Length { tag, length });
        }
        Ok(Some(Self {
            tag,
            total: length + 1,
        }))
    }
}

/// A cursor over a message body; every read is bounds-checked.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    /// Starts at the first byte of a body.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// One byte.
    ///
    /// # Errors
    /// The body ends before it.
    pub fn u8(&mut self) -> Result<u8, ProtocolError> {
        let (first, rest) = self.rest.split_first().ok_or(ProtocolError::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    /// A big-endian 16-bit integer.
    ///
    /// # Errors
    /// The body ends before it.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, ProtocolError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<2>()
            .ok_or(ProtocolError::Truncated)?;
        self.rest = rest;
        Ok(i16::from_be_bytes(*head))
    }

    /// A big-endian 32-bit integer.
    ///
    /// # Errors
    /// The body ends before it.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, ProtocolError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<4>()
            .ok_or(ProtocolError::Truncated)?;
        self.rest = rest;
        Ok(i32::from_be_bytes(*head))
    }

    /// A big-endian unsigned 32-bit integer, such as an OID.
    ///
    /// # Errors
    /// The body ends before it.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, ProtocolError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<4>()
            .ok_or(ProtocolError::Truncated)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*head))
    }

    /// `count` raw bytes.
    ///
    /// # Errors
    /// The body ends before them.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], ProtocolError> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(ProtocolError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The bytes of a NUL-terminated string, without the NUL.
    ///
    /// # Errors
    /// No NUL follows.
    pub fn cstr(&mut self) -> Result<&'a [u8], ProtocolError> {
        let end = memchr::memchr(0, self.rest).ok_or(ProtocolError::Truncated)?;
        let (head, rest) = self
            .rest
            .split_at_checked(end)
            .ok_or(ProtocolError::Truncated)?;
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(head)
    }

    /// A 16-bit count of things that each take at least `each` bytes, checked against what is left.
    /// Unsigned, as the server reads it: a statement may have 65,535 parameters.
    ///
    /// # Errors
    /// The body is too short to hold that many.
    pub fn count(&mut self, each: usize) -> Result<usize, ProtocolError> {
        let count = usize::from(self.i16()?.cast_unsigned());
        if count.saturating_mul(each) > self.rest.len() {
            return Err(ProtocolError::Count);
        }
        Ok(count)
    }

    /// A length-prefixed value; `None` is SQL NULL (length -1).
    ///
    /// # Errors
    /// The length is below -1 or longer than what is left.
    #[inline]
    pub fn value(&mut self) -> Result<Option<&'a [u8]>, ProtocolError> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| ProtocolError::Count)?;
                self.bytes(length).map(Some)
            }
        }
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// Bytes follow the last field.
    pub fn end(&self) -> Result<(), ProtocolError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(ProtocolError::Trailing)
        }
    }
}
