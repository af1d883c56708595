//! Answers: JSON, lines of JSON, and refusals with a code.

use std::convert::Infallible;

use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode, header};
use serde::Serialize;
use tokio::sync::mpsc;

use super::operator::{DeskError, OperatorError};
use crate::CollectorError;
use weir_serve::Body;

pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn bad(message: String) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "bad_request",
            message,
        }
    }

    pub(crate) fn not_found(message: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "not_found",
            message: message.into(),
        }
    }

    pub(super) fn method() -> Self {
        let message = "the path has no such method".into();
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "method_not_allowed",
            message,
        }
    }

    pub(crate) fn unauthorized(message: String) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            code: "unauthorized",
            message,
        }
    }

    pub(crate) fn forbidden(message: String) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: "forbidden",
            message,
        }
    }

    pub(crate) fn too_many(message: String) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            code: "too_many_requests",
            message,
        }
    }

    pub(crate) fn unavailable(message: String) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "unavailable",
            message,
        }
    }

    /// A body did not come.
    pub(super) fn late() -> Self {
        Self {
            status: StatusCode::REQUEST_TIMEOUT,
            code: "timeout",
            message: "the body did not arrive in time".to_owned(),
        }
    }

    pub(super) fn failed(message: String) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "failed",
            message,
        }
    }

    pub(crate) fn answer(&self) -> Response<Body> {
        let body = serde_json::json!({"error": self.code, "message": self.message});
        with(self.status, body.to_string().into_bytes())
    }
}

impl From<CollectorError> for Refusal {
    fn from(error: CollectorError) -> Self {
        let message = error.to_string();
        match error {
            CollectorError::Cursor | CollectorError::Question(_) => Self::bad(message),
            CollectorError::NoSession(_) => Self::not_found(&message),
            CollectorError::Engine(_) => Self::unavailable(message),
            CollectorError::Busy => Self {
                status: StatusCode::TOO_MANY_REQUESTS,
                code: "too_many_requests",
                message,
            },
            _ => Self::failed(message),
        }
    }
}

impl From<OperatorError> for Refusal {
    fn from(error: OperatorError) -> Self {
        let message = error.to_string();
        match error {
            OperatorError::NotFound(_) => Self::not_found(&message),
            OperatorError::Conflict(_) => Self {
                status: StatusCode::CONFLICT,
                code: "conflict",
                message,
            },
            OperatorError::Invalid(_) => Self::bad(message),
            OperatorError::Unavailable(_) => Self::unavailable(message),
        }
    }
}

impl From<DeskError> for Refusal {
    fn from(error: DeskError) -> Self {
        let message = error.to_string();
        let (status, code) = match error {
            DeskError::Unauthenticated(_) => return Self::unauthorized(message),
            DeskError::Forbidden(_) => return Self::forbidden(message),
            DeskError::NotFound(_) => return Self::not_found(&message),
            DeskError::Unavailable(_) => return Self::unavailable(message),
            DeskError::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            DeskError::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            DeskError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        };
        Self {
            status,
            code,
            message,
        }
    }
}

pub(super) fn line(value: &impl Serialize) -> Option<Bytes> {
    let mut bytes = serde_json::to_vec(value).ok()?;
    bytes.push(b'\n');
    Some(bytes.into())
}

pub(super) fn stream(first: Option<Bytes>, lines: mpsc::Receiver<Bytes>) -> Response<Body> {
    let frames = Lines { first, lines };
    let mut response = Response::new(StreamBody::new(frames).boxed());
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

struct Lines {
    first: Option<Bytes>,
    lines: mpsc::Receiver<Bytes>,
}

impl futures_core::Stream for Lines {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return std::task::Poll::Ready(Some(Ok(Frame::data(first))));
        }
        self.lines
            .poll_recv(context)
            .map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

pub(crate) fn json(value: &impl Serialize) -> Result<Response<Body>, Refusal> {
    let bytes = serde_json::to_vec(value).map_err(|error| Refusal::failed(error.to_string()))?;
    Ok(with(StatusCode::OK, bytes))
}

/// A table to keep as a file. Where there is more, the header `weir-next` has the next cursor, or
/// `more`.
pub(super) fn csv(
    name: &str,
    table: String,
    next: Option<&str>,
) -> Result<Response<Body>, Refusal> {
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|error| Refusal::failed(error.to_string()))
    };
    let mut response = Response::new(Full::new(Bytes::from(table)).boxed());
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    headers.insert(header::CONTENT_TYPE, kind);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    let file = value(&format!("attachment; filename=\"weir-{name}.csv\""))?;
    headers.insert(header::CONTENT_DISPOSITION, file);
    if let Some(next) = next {
        headers.insert("weir-next", value(next)?);
    }
    Ok(response)
}

/// Text that changes.
pub(super) fn plain(text: String) -> Response<Body> {
    let mut response = of("text/plain; charset=utf-8", text.into_bytes());
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    response
}

/// Bytes that never change.
pub(super) fn octets(bytes: Vec<u8>) -> Response<Body> {
    of("application/octet-stream", bytes)
}

fn with(status: StatusCode, bytes: Vec<u8>) -> Response<Body> {
    let mut response = of("application/json", bytes);
    *response.status_mut() = status;
    response
}

fn of(kind: &'static str, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(bytes)).boxed());
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
