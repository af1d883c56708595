//! Bodies in, JSON out.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_serve::Body;

/// How long a client may take to send a body.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Why a request is refused, in words that the client may see.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            status,
            code,
            message,
        }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn too_many(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }
}

/// The response to a request that was answered or refused.
pub(crate) fn respond(outcome: Result<Response<Body>, Refusal>) -> Response<Body> {
    outcome.unwrap_or_else(|refusal| {
        let body = serde_json::json!({"error": refusal.code, "message": refusal.message});
        reply(refusal.status, Bytes::from(format!("{body}\n")))
    })
}

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<Response<Body>, Refusal> {
    let body =
        serde_json::to_vec(value).map_err(|error| Refusal::unavailable(error.to_string()))?;
    Ok(reply(StatusCode::OK, body.into()))
}

/// Nothing to say.
pub(crate) fn done() -> Response<Body> {
    reply(StatusCode::NO_CONTENT, Bytes::new())
}

/// JSON bytes.
pub(crate) fn reply(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The bearer token of a request.
pub(crate) fn bearer(request: &Request<Incoming>) -> Option<String> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::to_owned)
}

/// The body, if it is no longer than `limit` and comes in time.
pub(crate) async fn body(request: Request<Incoming>, limit: usize) -> Result<Bytes, Refusal> {
    body_within(request, limit, BODY_PATIENCE).await
}

/// The body, if it is no longer than `limit` and comes in that time.
pub(crate) async fn body_within(
    request: Request<Incoming>,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, Refusal> {
    let collect = Limited::new(request.into_body(), limit).collect();
    let body = tokio::time::timeout(patience, collect)
        .await
        .map_err(|_| Refusal::bad("the body takes too long"))?;
    let body = body.map_err(|error| Refusal::bad(error.to_string()))?;
    Ok(body.to_bytes())
}

/// The body as JSON.
pub(crate) async fn parsed<T: DeserializeOwned>(
    request: Request<Incoming>,
    limit: usize,
) -> Result<T, Refusal> {
    let body = body(request, limit).await?;
    serde_json::from_slice(&body).map_err(|error| Refusal::bad(error.to_string()))
}
