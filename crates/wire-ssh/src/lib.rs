//! What SSH channels carry, apart from the transport: command strings, SFTP and scp.
//!
//! Nothing here does IO, knows a clock or allocates by a length that has not been checked. Reading is
//! total: any bytes give an answer or an error, never a panic.

pub mod command;
pub mod scp;
pub mod sftp;

/// Bytes that are not the protocol of their channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A packet's length is impossible or above what Weir accepts.
    #[error("packet has the impossible length {0}")]
    Length(usize),
    /// A packet ends inside of a field.
    #[error("packet ends inside of a field")]
    Truncated,
    /// A packet type that has no meaning, or that the other side may not send now.
    #[error("unexpected packet type {0}")]
    Unexpected(u8),
    /// An answer to a request that was not made.
    #[error("answer to the unknown request {0}")]
    UnknownRequest(u32),
    /// A request number that is in use.
    #[error("request {0} is asked twice")]
    DuplicateRequest(u32),
    /// A path with a byte that no path has: servers may read it up to there.
    #[error("a path has a zero byte in it")]
    ZeroByte,
    /// A file handle that is not open.
    #[error("unknown file handle")]
    UnknownHandle,
    /// More files or requests are open than Weir keeps account of.
    #[error("more than {0} {1} at once")]
    TooMany(usize, &'static str),
    /// A version of SFTP other than 3.
    #[error("SFTP version {0} is not supported")]
    Version(u32),
    /// A line that scp does not have.
    #[error("not a message of scp: {0}")]
    Scp(&'static str),
}
