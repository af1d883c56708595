//! Streams.

use http::{Response, StatusCode, request};

use super::answer::Body;
use super::exchange::{Exchange, Permitted};
use super::refusal::Refusal;

pub(super) async fn upgrade(
    _exchange: &mut Exchange,
    _head: request::Parts,
    _permitted: Permitted,
) -> Result<Response<Body>, Refusal> {
    Err(Refusal::of(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "streams"))
}
