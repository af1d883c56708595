//! The HTTP API: JSON over a unix socket (operators) and over TCP with a bearer token (readers).
//!
//! Invariants
//! - Decisions and resets are taken on the socket only, from the peer whose OS user the kernel
//!   states; nothing in a request can name the approver.
//! - The socket has mode 0600 before it can be found.
//! - TCP serves `GET` only, to holders of the token.

mod http;
mod operator;
mod routes;

pub use http::{Api, ServeError, serve_socket, serve_tcp};
pub use operator::{
    Approver, Decide, Operator, OperatorError, OperatorFuture, RequestView, SpoolView, StatusView,
};
pub(crate) use routes::encode;
pub use routes::{ROUTES, Route};
