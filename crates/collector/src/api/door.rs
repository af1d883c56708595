//! A path beside the API, for callers who prove by themselves who they are.
//!
//! Refuses: anything but `POST`, and bodies that are longer than the door lets in.

use std::future::Future;
use std::pin::Pin;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use weir_serve::Body;

use super::BODY_PATIENCE;
use super::reply::Refusal;

/// What a door answers: a status, and JSON or nothing.
pub type DoorFuture<'a> = Pin<Box<dyn Future<Output = (StatusCode, Bytes)> + Send + 'a>>;

/// A path that is open without the collector's token.
pub trait Door: Send + Sync {
    /// The path.
    fn path(&self) -> &'static str;

    /// Longest body, in bytes.
    fn longest(&self) -> usize;

    /// Answers a `POST`. Whose it is, is the door's to find out.
    fn answer<'a>(&'a self, headers: &'a HeaderMap, body: Bytes) -> DoorFuture<'a>;
}

/// What is behind a door, if the request is for it.
pub(super) async fn through(
    door: &dyn Door,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::method());
    }
    let (head, body) = request.into_parts();
    let body = Limited::new(body, door.longest()).collect();
    let body = tokio::time::timeout(BODY_PATIENCE, body).await;
    let body = body.map_err(|_| Refusal::late())?;
    let body = body.map_err(|error| Refusal::bad(error.to_string()))?;
    let (status, body) = door.answer(&head.headers, body.to_bytes()).await;
    let empty = body.is_empty();
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !empty {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(response)
}
