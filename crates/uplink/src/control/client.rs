//! What a sidecar and the collector ask of the controller.

use std::sync::Arc;

use hyper::{Method, Response, body::Incoming};
use serde::Serialize;
use tokio::sync::Mutex;
use weir_api::kinds::AccessRequestSpec;

use super::line::{Endpoint, Sender, body, bulk, dial, parse, request, send};
use super::{
    ACCESS_REQUESTS, AccessRequestOpened, Alert, ControlError, Coverage, CoverageAsked,
    DecisionAsked, DecisionTaken, FINDINGS, FINGERPRINTS, FingerprintsAsked, FingerprintsMade,
    Identity, LEASES, LeaseRequest, Leases, PEOPLE_COVERAGE, PEOPLE_DECIDE, PEOPLE_REQUESTS, PODS,
    REPORT, REVIEW, Repeats, Report, RequestsAsked, RequestsListed, Review, ReviewRequest,
    RunningPod,
};

/// The controller, as an enrolled process reaches it. Requests and the watch share one connection.
#[derive(Debug)]
pub struct ControlClient {
    pub(super) endpoint: Endpoint,
    pub(super) identity: Arc<Identity>,
    line: Mutex<Option<Line>>,
    /// The connection that the watch is on.
    pub(super) watching: Mutex<Option<Sender>>,
}

#[derive(Debug)]
struct Line {
    sender: Sender,
    /// How often the identity had been renewed when it was dialled.
    renewals: u64,
}

/// Nothing is sent.
const NOTHING: Option<&()> = None;

impl ControlClient {
    /// A client; nothing is dialled yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, identity: Arc<Identity>) -> Self {
        Self {
            endpoint,
            identity,
            line: Mutex::default(),
            watching: Mutex::default(),
        }
    }

    /// Says what is in force, to the replica that the watch is on: it alone counts this sidecar.
    ///
    /// # Errors
    /// The controller was not told.
    pub async fn report(&self, report: &Report) -> Result<(), ControlError> {
        let watching = self.watching.lock().await.clone();
        match watching.filter(|sender| !sender.is_closed()) {
            Some(mut sender) => {
                let request = request(&self.endpoint, Method::POST, REPORT, Some(report))?;
                send(&mut sender, request).await.map(drop)
            }
            None => self
                .call(Method::POST, REPORT, Some(report))
                .await
                .map(drop),
        }
    }

    /// Asks for people to decide.
    ///
    /// # Errors
    /// No request was made.
    pub async fn open_access_request(
        &self,
        spec: &AccessRequestSpec,
    ) -> Result<AccessRequestOpened, ControlError> {
        let answer = self.call(Method::POST, ACCESS_REQUESTS, Some(spec)).await?;
        parse(&body(answer).await?)
    }

    /// Says that nobody waits for a request any more, or that nobody has to decide it.
    ///
    /// # Errors
    /// The controller was not told.
    pub async fn withdraw(&self, name: &str, superseded: bool) -> Result<(), ControlError> {
        let why = if superseded { "?superseded=true" } else { "" };
        let path = format!("{ACCESS_REQUESTS}/{name}{why}");
        self.call(Method::DELETE, &path, NOTHING).await.map(drop)
    }

    /// Says how many more wait for a request.
    ///
    /// # Errors
    /// The controller was not told.
    pub async fn repeated(&self, name: &str, repeats: Repeats) -> Result<(), ControlError> {
        let path = format!("{ACCESS_REQUESTS}/{name}/repeats");
        self.call(Method::POST, &path, Some(&repeats))
            .await
            .map(drop)
    }

    /// Settles and leases budgets.
    ///
    /// # Errors
    /// Nothing was settled, nothing was leased.
    pub async fn lease(&self, asked: &LeaseRequest) -> Result<Leases, ControlError> {
        let answer = self.call(Method::POST, LEASES, Some(asked)).await?;
        parse(&body(answer).await?)
    }

    /// Asks whether somebody may read evidence.
    ///
    /// # Errors
    /// It is not known; the answer is no then.
    pub async fn review(&self, asked: &ReviewRequest) -> Result<Review, ControlError> {
        let answer = self.call(Method::POST, REVIEW, Some(asked)).await?;
        parse(&body(answer).await?)
    }

    /// The requests that a person may see.
    ///
    /// # Errors
    /// The person is not known or may not see any, or it is not known now.
    pub async fn requests(&self, asked: &RequestsAsked) -> Result<RequestsListed, ControlError> {
        let answer = self
            .call(Method::POST, PEOPLE_REQUESTS, Some(asked))
            .await?;
        parse(&bulk(answer).await?)
    }

    /// Decides on behalf of a person.
    ///
    /// # Errors
    /// The decision does not count, or whether it does is not known.
    pub async fn decide(&self, asked: &DecisionAsked) -> Result<DecisionTaken, ControlError> {
        let answer = self.call(Method::POST, PEOPLE_DECIDE, Some(asked)).await?;
        parse(&bulk(answer).await?)
    }

    /// Which pods are governed, as far as a person may know.
    ///
    /// # Errors
    /// The person is not known, or it is not known now.
    pub async fn coverage(&self, asked: &CoverageAsked) -> Result<Coverage, ControlError> {
        let answer = self
            .call(Method::POST, PEOPLE_COVERAGE, Some(asked))
            .await?;
        parse(&bulk(answer).await?)
    }

    /// The fingerprints of a value.
    ///
    /// # Errors
    /// They are not made now.
    pub async fn fingerprints(
        &self,
        asked: &FingerprintsAsked,
    ) -> Result<FingerprintsMade, ControlError> {
        let answer = self.call(Method::POST, FINGERPRINTS, Some(asked)).await?;
        parse(&bulk(answer).await?)
    }

    /// Has people told of a finding.
    ///
    /// # Errors
    /// Whether they are told is not known.
    pub async fn alert(&self, alert: &Alert) -> Result<(), ControlError> {
        let answer = self.call(Method::POST, FINDINGS, Some(alert)).await?;
        body(answer).await.map(drop)
    }

    /// The pods whose sidecars serve.
    ///
    /// # Errors
    /// It is not known now.
    pub async fn pods(&self) -> Result<Vec<RunningPod>, ControlError> {
        let answer = self.call(Method::GET, PODS, NOTHING).await?;
        parse(&bulk(answer).await?)
    }

    pub(super) async fn call<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Response<Incoming>, ControlError> {
        let request = request(&self.endpoint, method, path, body)?;
        let mut sender = self.sender().await?;
        let sent = send(&mut sender, request).await;
        if matches!(sent, Err(ControlError::Broken(_) | ControlError::Timeout)) {
            self.hang_up().await;
        }
        sent
    }

    /// The next request dials anew.
    pub(super) async fn hang_up(&self) {
        *self.line.lock().await = None;
    }

    pub(super) async fn sender(&self) -> Result<Sender, ControlError> {
        let renewals = *self.identity.renewals().borrow();
        let mut line = self.line.lock().await;
        if let Some(line) = &*line
            && line.renewals == renewals
            && !line.sender.is_closed()
        {
            return Ok(line.sender.clone());
        }
        let sender = dial(&self.endpoint, self.identity.client_config()).await?;
        *line = Some(Line {
            sender: sender.clone(),
            renewals,
        });
        Ok(sender)
    }
}
