//! What is around each page, and how pages are answered.

use std::sync::Arc;

use askama::Template;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Response, StatusCode, header};
use weir_serve::Body;

use super::assets;
use super::html;
use super::problem::Problem;
use super::sessions::Notice;

/// The pages of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Here {
    Holds,
    Sessions,
    Search,
    Questions,
    Overview,
    Findings,
    Proof,
    Nowhere,
}

/// One entry of the navigation.
pub(super) struct Tab {
    pub(super) path: &'static str,
    pub(super) name: &'static str,
    pub(super) here: bool,
}

/// What every page of somebody who is logged in has.
pub(super) struct Frame {
    pub(super) here: Here,
    pub(super) who: Arc<str>,
    pub(super) csrf: Arc<str>,
    pub(super) namespace: Option<Arc<str>>,
    pub(super) notice: Option<Notice>,
    /// Whether holds are decided here.
    pub(super) holds: bool,
    /// Whether this person may read evidence, as far as that is known.
    pub(super) evidence: bool,
}

impl Frame {
    pub(super) fn tabs(&self) -> Vec<Tab> {
        let all = [
            (Here::Holds, "/ui/holds", "Holds", self.holds),
            (Here::Sessions, "/ui/sessions", "Sessions", self.evidence),
            (Here::Search, "/ui/search", "Search", self.evidence),
            (Here::Questions, "/ui/questions", "Questions", self.evidence),
            (Here::Overview, "/ui/overview", "Overview", self.evidence),
            (Here::Findings, "/ui/findings", "Findings", self.evidence),
            (Here::Proof, "/ui/proof", "Proof", self.evidence),
        ];
        let shown = all.into_iter().filter(|(.., shown)| *shown);
        let tab = |(here, path, name, _)| Tab {
            path,
            name,
            here: here == self.here,
        };
        shown.map(tab).collect()
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Bare<'a> {
    problem: &'a Problem,
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct Framed<'a> {
    frame: Frame,
    problem: &'a Problem,
}

/// A page.
pub(super) fn page(template: &impl Template) -> Result<Response<Body>, Problem> {
    let html = template.render();
    let html = html.map_err(|error| Problem::failed(error.to_string()))?;
    Ok(answer(
        StatusCode::OK,
        "text/html; charset=utf-8",
        html.into(),
    ))
}

/// Why there is no page, inside of the frame where there is one.
pub(super) fn trouble(problem: &Problem, frame: Option<Frame>) -> Response<Body> {
    let html = match frame {
        Some(frame) => Framed { frame, problem }.render(),
        None => Bare { problem }.render(),
    };
    let html = html.unwrap_or_else(|error| error.to_string());
    answer(problem.status, "text/html; charset=utf-8", html.into())
}

pub(super) fn answer(status: StatusCode, kind: &'static str, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes).boxed());
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Another page instead, by a GET.
pub(super) fn see(path: &str) -> Response<Body> {
    let mut response = answer(StatusCode::SEE_OTHER, "text/plain", Bytes::new());
    match header::HeaderValue::from_str(path) {
        Ok(path) => drop(response.headers_mut().insert(header::LOCATION, path)),
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}

/// Nothing new: htmx leaves the page as it is.
pub(super) fn unchanged() -> Response<Body> {
    answer(StatusCode::NO_CONTENT, "text/plain", Bytes::new())
}
