//! The port of sidecars and the collector, by mutual TLS.
//!
//! Invariants: who asks is read from the certificate of the connection; a pod that is gone gets
//! nothing, whatever its certificate says; nothing here takes an identity from a request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response};
use kube::Client;
use rustls::{ServerConfig, ServerConnection};
use tokio::sync::mpsc;
use weir_serve::{Body, Bounds, Site, Until};
use weir_uplink::control::{
    ACCESS_REQUESTS, Alert, FINDINGS, FINGERPRINTS, FingerprintsAsked, LEASES, LeaseRequest,
    PEOPLE_COVERAGE, PEOPLE_DECIDE, PEOPLE_REQUESTS, PODS, REPORT, REVIEW, Repeats, Report,
    RunningPod, WATCH,
};

use super::http::{self, Refusal};
use crate::alerts::Alerts;
use crate::authority::Authority;
use crate::bundles::Current;
use crate::decisions::people::{People, PeopleError};
use crate::fingerprints::Fingerprints;
use crate::identity::Enrolments;
use crate::leases::{Budgets, LeaseError};
use crate::peer::Peer;
use crate::reports::Reports;
use crate::requests::{RequestError, Requests};
use crate::reviews;
use crate::sessions::Sessions;
use crate::watches;

const MAX_BODY: usize = 256 << 10;
/// Ends the path at which a sidecar says how many wait for a request.
const REPEATS: &str = "/repeats";
/// A statement of 1 MiB, escaped, and its parameters.
const MAX_ACCESS_REQUEST: usize = 4 << 20;
/// Lines that wait for a peer to read them.
const LINES: usize = 4;

/// What is served here.
pub(crate) struct Control {
    pub(crate) client: Client,
    pub(crate) trust_domain: String,
    pub(crate) authority: Authority,
    pub(crate) enrolments: Arc<Enrolments>,
    pub(crate) current: Current,
    pub(crate) sessions: Sessions,
    pub(crate) reports: Reports,
    pub(crate) requests: Requests,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) people: Arc<People>,
    pub(crate) alerts: Alerts,
    pub(crate) fingerprints: Fingerprints,
}

/// What this port lets in.
pub(crate) const BOUNDS: Bounds = super::bounds(16_384);

impl Site for Control {
    type Client = Arc<Peer>;

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        Some(Arc::clone(&self.authority.tls().control))
    }

    fn admit(
        &self,
        _: SocketAddr,
        session: &ServerConnection,
    ) -> Result<(Arc<Peer>, Until), String> {
        let chain = session.peer_certificates().unwrap_or_default();
        let leaf = chain.first().ok_or("no client certificate")?;
        let (peer, until) =
            Peer::read(leaf, &self.trust_domain).map_err(|error| error.to_string())?;
        Ok((Arc::new(peer), Some(until)))
    }

    async fn answer(&self, peer: Arc<Peer>, request: Request<Incoming>) -> Response<Body> {
        http::respond(self.route(&peer, request).await)
    }
}

impl Control {
    async fn route(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let pod = self.enrolments.alive(peer).await?;
        let path = request.uri().path().to_owned();
        let method = request.method().clone();
        match (method, path.as_str()) {
            (Method::GET, WATCH) => Ok(self.watch(peer, pod.refuses)),
            (Method::POST, REPORT) => {
                let report: Report = http::parsed(request, MAX_BODY).await?;
                self.report(peer, &report);
                Ok(http::done())
            }
            (Method::POST, LEASES) => {
                let ask: LeaseRequest = http::parsed(request, MAX_BODY).await?;
                let inputs = self.current.borrow().clone();
                let counts = |per_ms| {
                    let inputs = inputs.as_ref();
                    inputs.is_some_and(|inputs| inputs.accepted.counts_over(per_ms))
                };
                http::json(&self.budgets.lease(peer, &ask, counts).await?)
            }
            (Method::POST, ACCESS_REQUESTS) => {
                let spec = http::parsed(request, MAX_ACCESS_REQUEST).await?;
                http::json(&self.requests.open(peer, &pod, spec).await?)
            }
            (Method::DELETE, path) => {
                let name = named(path).ok_or_else(|| Refusal::not_found("no such path"))?;
                let superseded = request.uri().query() == Some("superseded=true");
                self.requests.withdraw(peer, name, superseded).await?;
                Ok(http::done())
            }
            (Method::POST, path) if path.ends_with(REPEATS) => {
                let name = path.strip_suffix(REPEATS).and_then(named);
                let name = name.ok_or_else(|| Refusal::not_found("no such path"))?;
                let told: Repeats = http::parsed(request, MAX_BODY).await?;
                self.requests.repeated(peer, name, told.repeats).await?;
                Ok(http::done())
            }
            (Method::POST, REVIEW | PEOPLE_REQUESTS | PEOPLE_DECIDE | PEOPLE_COVERAGE) => {
                if !self.enrolments.is_collector(peer) {
                    let why = "only the collector asks on behalf of people";
                    return Err(Refusal::forbidden(why));
                }
                self.for_people(&path, request).await
            }
            (Method::GET, PODS) => {
                if !self.enrolments.is_collector(peer) {
                    return Err(Refusal::forbidden("only the collector asks for pods"));
                }
                let running = self.people.pods.running().into_iter();
                let serving = running.filter(|(_, pod)| pod.governed && pod.serving);
                let pods = serving.map(|((namespace, name), pod)| RunningPod {
                    namespace,
                    name,
                    uid: pod.uid,
                });
                http::json(&pods.collect::<Vec<_>>())
            }
            (Method::POST, FINGERPRINTS) => {
                if !self.enrolments.is_collector(peer) {
                    let why = "only the collector asks for fingerprints";
                    return Err(Refusal::forbidden(why));
                }
                let asked: FingerprintsAsked = http::parsed(request, MAX_BODY).await?;
                http::json(&self.fingerprints.make(&self.current, &asked)?)
            }
            (Method::POST, FINDINGS) => {
                if !self.enrolments.is_collector(peer) {
                    return Err(Refusal::forbidden("only the collector passes findings on"));
                }
                let alert: Alert = http::parsed(request, MAX_BODY).await?;
                self.alerts.tell(alert);
                Ok(http::done())
            }
            _ => Err(Refusal::not_found("no such path")),
        }
    }

    async fn for_people(
        &self,
        path: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let people = &self.people;
        match path {
            PEOPLE_REQUESTS => {
                let asked = http::parsed(request, MAX_BODY).await?;
                http::json(&people.requests(asked).await?)
            }
            PEOPLE_DECIDE => {
                let asked = http::parsed(request, MAX_BODY).await?;
                http::json(&people.decide(asked).await?)
            }
            PEOPLE_COVERAGE => {
                let asked = http::parsed(request, MAX_BODY).await?;
                http::json(&people.coverage(asked).await?)
            }
            _ => {
                let asked = http::parsed(request, MAX_BODY).await?;
                let verifier = people.verifier.as_ref();
                http::json(&reviews::review(&self.client, verifier, asked).await?)
            }
        }
    }

    fn watch(&self, peer: &Peer, refuses: bool) -> Response<Body> {
        let (out, lines) = mpsc::channel::<Bytes>(LINES);
        let session = self.sessions.open(&peer.uid);
        let past = self.requests.past(&peer.uid);
        let (current, reports) = (self.current.clone(), self.reports.clone());
        let (sessions, peer) = (self.sessions.clone(), peer.clone());
        tokio::spawn(async move {
            let uid = peer.uid.clone();
            tracing::info!(identity = %peer.name, pod = %peer.pod, "a watch begins");
            watches::run(
                current,
                (peer, refuses),
                session,
                past,
                reports.clone(),
                out,
            )
            .await;
            if !sessions.is_open(&uid) {
                reports.forget(&uid);
            }
        });
        let mut response = Response::new(StreamBody::new(Lines(lines)).boxed());
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/x-ndjson");
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn report(&self, peer: &Peer, report: &Report) {
        if let Some(why) = &report.refused {
            tracing::warn!(
                identity = %peer.name, pod = %peer.pod, revision = report.revision, why,
                "a sidecar refused a snapshot"
            );
        }
        self.reports.reported(&peer.uid, report);
    }
}

/// Lines as the frames of a body.
struct Lines(mpsc::Receiver<Bytes>);

impl Stream for Lines {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let line = self.0.poll_recv(cx);
        line.map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

/// The name of a request in its path.
fn named(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(ACCESS_REQUESTS);
    let name = rest.and_then(|rest| rest.strip_prefix('/'));
    name.filter(|name| is_name(name))
}

/// Names as Kubernetes takes them, so that none can be more than one segment of a path.
fn is_name(name: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    (1..=253).contains(&name.len()) && name.bytes().all(plain)
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        let message = error.to_string();
        match error {
            RequestError::Invalid(_) => Self::bad(message),
            RequestError::NotFound => Self::not_found(message),
            RequestError::TooMany | RequestError::TooLarge => Self::too_many(message),
            RequestError::Api(_) => Self::unavailable(message),
        }
    }
}

impl From<PeopleError> for Refusal {
    fn from(error: PeopleError) -> Self {
        let message = error.to_string();
        match error {
            PeopleError::Unauthenticated(_) => Self::unauthorized(message),
            PeopleError::Forbidden(_) => Self::forbidden(message),
            PeopleError::NotFound => Self::not_found(message),
            PeopleError::Conflict(_) => Self::conflict(message),
            PeopleError::Invalid(_) => Self::invalid(message),
            PeopleError::Unavailable(_) => Self::unavailable(message),
        }
    }
}

impl From<LeaseError> for Refusal {
    fn from(error: LeaseError) -> Self {
        let message = error.to_string();
        match error {
            LeaseError::TooMany => Self::bad(message),
            LeaseError::NoWindow(_) => Self::invalid(message),
            LeaseError::Full => Self::too_many(message),
            LeaseError::Foreign(_) => Self::forbidden(message),
            LeaseError::Ledger(_) | LeaseError::Api(_) | LeaseError::Contended => {
                Self::unavailable(message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment() {
        assert!(is_name("weir-x7f2k"));
        for odd in ["", "a/b", "..%2f", "A", "a b", "a?b"] {
            assert!(!is_name(odd), "{odd}");
        }
    }
}
