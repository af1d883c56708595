//! The port that needs no client certificate: enrolment by token, and the API server's webhooks.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use rustls::{ServerConfig, ServerConnection};
use weir_notify::{INTERACTIONS, Interactions, MAX_INTERACTION};
use weir_serve::{Body, Bounds, Site, Until};
use weir_uplink::control::{ENROL, Enrol};

use super::http::{self, Refusal};
use crate::authority::Authority;
use crate::identity::{EnrolError, Enrolments};
use crate::webhooks::Webhooks;

const MAX_ENROL: usize = 16 << 10;
/// The API server's objects are at most 3 MB, and a review of an update holds two.
const MAX_REVIEW: usize = 8 << 20;

/// What is served here.
pub(crate) struct Public {
    pub(crate) authority: Authority,
    pub(crate) enrolments: Arc<Enrolments>,
    pub(crate) webhooks: Arc<dyn Webhooks>,
    /// What people press in Slack.
    pub(crate) slack: Option<Arc<Interactions>>,
}

/// What this port lets in.
pub(crate) const BOUNDS: Bounds = super::bounds(512);

impl Site for Public {
    type Client = ();

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        Some(Arc::clone(&self.authority.tls().public))
    }

    fn admit(&self, _: SocketAddr, _: &ServerConnection) -> Result<((), Until), String> {
        Ok(((), None))
    }

    async fn answer(&self, (): (), request: Request<Incoming>) -> Response<Body> {
        http::respond(self.route(request).await)
    }
}

impl Public {
    async fn route(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        if request.method() != Method::POST {
            return Err(Refusal::not_found("no such path"));
        }
        if request.uri().path() == ENROL {
            return self.enrol(request).await;
        }
        let path = request.uri().path().to_owned();
        if let (INTERACTIONS, Some(slack)) = (path.as_str(), &self.slack) {
            let headers = request.headers().clone();
            let body = http::body(request, MAX_INTERACTION).await?;
            let answer = slack.answer(&headers, &body).await;
            return Ok(http::reply(answer.status, answer.body));
        }
        let body = http::body(request, MAX_REVIEW).await?;
        match self.webhooks.answer(&path, &body).await {
            Some(answer) => Ok(http::reply(StatusCode::OK, answer.into())),
            None => Err(Refusal::not_found("no such path")),
        }
    }

    async fn enrol(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let token = http::bearer(&request)
            .ok_or_else(|| Refusal::unauthorized("a bearer token is needed"))?;
        let enrol: Enrol = http::parsed(request, MAX_ENROL).await?;
        let granted = self.enrolments.enrol(&token, &enrol.csr).await;
        http::json(&granted.map_err(Refusal::from)?)
    }
}

impl From<EnrolError> for Refusal {
    fn from(error: EnrolError) -> Self {
        let message = error.to_string();
        match error {
            EnrolError::Token(_) | EnrolError::Review(_) => Self::unauthorized(message),
            EnrolError::Pod(_) => Self::forbidden(message),
            EnrolError::Request(_) => Self::bad(message),
            EnrolError::TooOften => Self::too_many(message),
            EnrolError::Unavailable(_) => Self::unavailable(message),
        }
    }
}
