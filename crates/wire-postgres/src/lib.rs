//! The PostgreSQL frontend/backend protocol, versions 3.0 and 3.2: framing, views of messages,
//! login state machines and the messages that Weir writes itself.
//!
//! Nothing here does IO, knows a clock or allocates by a length that has not been checked. A view
//! borrows from the bytes it was read from, and reading is total: any bytes give a view or a
//! [`ProtocolError`], never a panic.

pub mod backend;
pub mod frame;
pub mod frontend;
pub mod login;
pub mod message;
mod sqlstate;
pub mod startup;

#[cfg(test)]
mod tests;

/// Bytes that are not the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A message's length is below four or above what PostgreSQL can send.
    #[error("message {:?} has the impossible length {length}", char::from(*tag))]
    Length {
        /// The message's type.
        tag: u8,
        /// The length it claims, in bytes.
        length: usize,
    },
    /// A first packet's length is out of bounds.
    #[error("start-up packet has the impossible length {0}")]
    StartupLength(usize),
    /// A message ends inside of a field.
    #[error("message ends inside of a field")]
    Truncated,
    /// Bytes follow a message's last field.
    #[error("bytes follow the last field of a message")]
    Trailing,
    /// A count is larger than its message can hold.
    #[error("a count in a message does not fit the message")]
    Count,
    /// A kind byte has no meaning.
    #[error("a message has the unknown kind {0:#04x}")]
    Kind(u8),
    /// A message type that the other side may not send now.
    #[error("unexpected message {:?}", char::from(*.0))]
    Unexpected(u8),
}
