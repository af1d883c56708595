//! The Kubernetes API as bytes: what a request asks for, what an object holds, and how streams are
//! framed.
//!
//! Pure: no IO, no clock, no randomness. Names are resolved by the API server's own rules; what could
//! be read in two ways is refused.

pub mod body;
pub mod channel;
mod field;
mod json;
pub mod media;
mod protobuf;
pub mod request;
pub mod rewrite;
pub mod spdy;
pub mod status;
pub mod websocket;
pub mod yaml;

pub use body::{BodyFacts, ServiceAccount, facts};
pub use field::{FieldPattern, Segment};
pub use json::JsonError;
pub use media::{BodyKind, NotAcceptable, accept_json, accept_yaml, body_kind};
pub use request::{Known, Refused, Request, Resource, parse};
pub use rewrite::{Event, Limits, Part, Rewriter, Text, Values};
pub use status::{Cause, Status};
