//! The HTTP API: JSON over a unix socket (operators) and over TCP with a bearer token (readers).
//!
//! Invariants
//! - Nothing in a request can name the approver: on the socket it is the OS user whom the kernel
//!   states, elsewhere whom a credential proves to the [`Desk`].
//! - Resets are taken on the socket only.
//! - The socket has mode 0600 before it can be found.
//! - Holders of the token of the TCP port read, and change nothing.
//! - A caller who is confined to a namespace sees nothing of others, whatever is asked for.

mod caller;
mod door;
mod http;
mod operator;
mod reply;
mod routes;
mod serve;

pub(crate) use caller::{Caller, Scope};
pub use door::{Door, DoorFuture};
pub use http::Api;
pub use operator::{
    Approver, Decide, Desk, DeskError, DeskFuture, Operator, OperatorError, OperatorFuture,
    QuarantineView, SpoolView, StatusView,
};
pub(crate) use reply::{Refusal, json};
pub use routes::{ROUTES, Route};
pub(crate) use routes::{encode, named};
pub use serve::{ServeError, serve_socket, serve_tcp};

/// How long the body of a request may take.
pub(crate) const BODY_PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
