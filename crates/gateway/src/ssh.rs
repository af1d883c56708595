//! SSH: the client's connection ends here, the server's begins here, and every message between the
//! two passes [`relay`].
//!
//! `russh` does the transport and the login of both sides; the connection layer is Weir's own, so
//! that channel numbers, order, windows and what nobody knows go through as they are. What may
//! happen is asked of the policy before a message goes on, never after.

mod agent;
mod algorithms;
mod asked;
mod backlog;
mod channel;
mod data;
mod downstream;
mod flow;
mod host;
mod judge;
mod keys;
mod packet;
mod parked;
mod people;
mod relay;
mod requests;
mod scp;
mod serve;
mod sftp;
mod shown;
mod statement;
mod through;
mod upstream;

pub use keys::{HostKeys, KeysError, placeholder_key};
pub(crate) use serve::serve;
pub(crate) use through::Tunnel;
