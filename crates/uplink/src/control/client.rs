//! What a sidecar and the collector ask of the controller.

use std::sync::Arc;

use hyper::{Method, Response, body::Incoming};
use serde::Serialize;
use tokio::sync::Mutex;
use weir_api::kinds::AccessRequestSpec;

use super::line::{Endpoint, Sender, body, dial, parse, request, send};
use super::{
    ACCESS_REQUESTS, AccessRequestOpened, ControlError, Identity, LEASES, LeaseRequest, Leases,
    REPORT, REVIEW, Report, Review, ReviewRequest,
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

    /// Says that nobody waits for a request any more.
    ///
    /// # Errors
    /// The controller was not told.
    pub async fn withdraw(&self, name: &str) -> Result<(), ControlError> {
        let path = format!("{ACCESS_REQUESTS}/{name}");
        self.call(Method::DELETE, &path, NOTHING).await.map(drop)
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
