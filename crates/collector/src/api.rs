//! The HTTP API: JSON over a unix socket (operators) and over TCP with a bearer token (readers).
//!
//! Invariants
//! - Decisions and resets are taken on the socket only, from the peer whose OS user the kernel
//!   states; nothing in a request can name the approver.
//! - The socket has mode 0600 before it can be found.
//! - TCP serves `GET` only, to holders of the token.
//! - A caller who is confined to a namespace sees nothing of others, whatever is asked for.

mod door;
mod http;
mod operator;
mod reply;
mod routes;
mod serve;

pub use door::{Door, DoorFuture};
pub use http::Api;
pub(crate) use http::{Caller, Scope};
pub use operator::{
    Approver, Decide, Operator, OperatorError, OperatorFuture, QuarantineView, RequestView,
    SpoolView, StatusView,
};
pub(crate) use reply::{Refusal, json};
pub use routes::{ROUTES, Route};
pub(crate) use routes::{encode, named};
pub use serve::{ServeError, serve_socket, serve_tcp};
