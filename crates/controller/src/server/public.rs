//! The port that needs no client certificate: enrolment by token, and the API server's webhooks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use rustls::{ServerConfig, ServerConnection};
use tokio::runtime::Handle;
use weir_notify::{INTERACTIONS, Interactions, MAX_INTERACTION};
use weir_serve::{Body, Bounds, Share, Site, Until};
use weir_uplink::control::{ENROL, Enrol};

use super::http::{self, Refusal};
use super::lanes::{Lanes, MAX_REVIEW};
use crate::authority::Authority;
use crate::identity::{EnrolError, Enrolments};
use crate::store::pods::Pods;
use crate::webhooks::Webhooks;

const MAX_ENROL: usize = 16 << 10;

/// How long a review may take to come. The API server waits ten seconds for the answer.
const REVIEW_PATIENCE: Duration = Duration::from_secs(5);

/// What is served here.
pub(crate) struct Public {
    pub(crate) authority: Authority,
    pub(crate) enrolments: Arc<Enrolments>,
    pub(crate) webhooks: Arc<dyn Webhooks>,
    pub(crate) lanes: Lanes,
    pub(crate) pods: Pods,
    /// Namespaces whose pods may hand on what the API server asks.
    pub(crate) system: [String; 2],
    /// What people press in Slack.
    pub(crate) slack: Option<Arc<Interactions>>,
}

/// What this port lets in. Nobody needs a connection here for longer than a question.
pub(crate) const BOUNDS: Bounds = Bounds {
    idle: Some(Duration::from_secs(30)),
    ..super::bounds(CONNECTIONS)
};
const CONNECTIONS: usize = 512;
/// What pods have of it: the API server is none of them. A sidecar has one connection.
const PODS: Share = Share {
    connections: CONNECTIONS - 128,
    per_address: 8,
};

impl Site for Public {
    /// Whether it is a pod of the cluster's, which the API server is not.
    type Client = bool;

    fn share(&self, address: IpAddr) -> Option<Share> {
        self.is_pod(address).then_some(PODS)
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        Some(Arc::clone(&self.authority.tls().public))
    }

    fn admit(&self, address: SocketAddr, _: &ServerConnection) -> Result<(bool, Until), String> {
        Ok((self.is_pod(address.ip()), None))
    }

    async fn answer(&self, pod: bool, request: Request<Incoming>) -> Response<Body> {
        http::respond(self.route(pod, request).await)
    }
}

impl Public {
    fn is_pod(&self, address: IpAddr) -> bool {
        let is_system = |namespace: &str| self.system.iter().any(|one| one == namespace);
        self.pods.is_pod(address.to_canonical(), is_system)
    }

    async fn route(
        &self,
        pod: bool,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
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
        if !self.webhooks.knows(&path) {
            return Err(Refusal::not_found("no such path"));
        }
        let place = self
            .lanes
            .enter(pod, request.body().size_hint().exact())
            .await?;
        let body = http::body_within(request, MAX_REVIEW, REVIEW_PATIENCE).await?;
        let turn = place.turn().await?;
        // Judging takes as long as what is judged is large: others go on meanwhile.
        let (webhooks, runtime) = (Arc::clone(&self.webhooks), Handle::current());
        let judged = tokio::task::spawn_blocking(move || {
            let judged = runtime.block_on(async { webhooks.answer(&path, &body).await });
            drop((place, turn));
            judged
        });
        let judged = judged.await;
        let judged = judged.map_err(|error| Refusal::unavailable(error.to_string()))?;
        match judged {
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
