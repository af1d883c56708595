//! The controller, as the collector needs it: it attests who the collector is, says who may read
//! evidence, and decides on holds for people whom it proves itself.
//!
//! Before the first enrolment nobody may do anything.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use weir_audit::Fingerprint;
use weir_uplink::control::{
    Alert, ControlClient, ControlError, Coverage, CoverageAsked, DecisionAsked, Endpoint, Enroller,
    Enrolment, FingerprintsAsked, Identity, Person, RequestView, RequestsAsked, RequestsListed,
    ReviewRequest,
};

use crate::api::{Desk, DeskError, DeskFuture};
use crate::findings::{Pods, RunningPods};
use crate::{Credentials, Current, ReviewError, ReviewFuture, Reviewer};

const NOT_ENROLLED: &str = "the collector is not enrolled yet";

/// Seconds between attempts to have a finding told: the controller may be starting.
const PAUSES: [u64; 6] = [1, 2, 5, 10, 30, 60];

/// The line to the controller.
#[derive(Debug)]
pub struct Controller {
    endpoint: Endpoint,
    client: OnceLock<ControlClient>,
    credentials: watch::Sender<Option<Arc<Credentials>>>,
}

impl Controller {
    /// A line to the controller's port for enrolled processes; nothing is dialled yet.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            client: OnceLock::new(),
            credentials: watch::Sender::new(None),
        }
    }

    /// The credentials, from the first enrolment on.
    #[must_use]
    pub fn credentials(&self) -> Current {
        self.credentials.subscribe()
    }

    /// Enrols, however often it takes, and renews. Never returns.
    pub async fn stay_enrolled(&self, enroller: &Enroller) {
        let (granted, identity) = enroller.until_enrolled().await;
        let identity = Arc::new(identity);
        self.take(&granted, &identity);
        tracing::info!(identity = %granted.identity.name, "enrolled");
        let client = ControlClient::new(self.endpoint.clone(), Arc::clone(&identity));
        if self.client.set(client).is_err() {
            tracing::error!("the collector was enrolled twice");
        }
        let renewed = |granted: &Enrolment| self.take(granted, &identity);
        enroller.keep_fresh(&identity, renewed).await;
    }

    /// Has the controller tell people of findings, each tried for a while. Returns when there can be no more.
    pub async fn pass_on(&self, mut alerts: mpsc::Receiver<Alert>) {
        while let Some(alert) = alerts.recv().await {
            let mut pauses = PAUSES.into_iter();
            loop {
                let told = match self.client.get() {
                    Some(client) => client
                        .alert(&alert)
                        .await
                        .map_err(|error| error.to_string()),
                    None => Err(NOT_ENROLLED.to_owned()),
                };
                let Err(error) = told else { break };
                let Some(pause) = pauses.next() else {
                    tracing::error!(error, finding = alert.id, "nobody is told of a finding");
                    break;
                };
                tokio::time::sleep(Duration::from_secs(pause)).await;
            }
        }
    }

    fn take(&self, granted: &Enrolment, identity: &Identity) {
        match Credentials::new(identity.certified_key(), granted.roots.as_bytes()) {
            Ok(credentials) => {
                self.credentials.send_replace(Some(Arc::new(credentials)));
            }
            Err(error) => tracing::error!(%error, "what the controller granted cannot be used"),
        }
    }
}

impl Controller {
    fn enrolled(&self) -> Result<&ControlClient, DeskError> {
        let client = self.client.get();
        client.ok_or_else(|| DeskError::Unavailable(NOT_ENROLLED.into()))
    }
}

impl Desk for Controller {
    fn requests(
        &self,
        person: Person,
        namespace: Option<String>,
        closed: bool,
    ) -> DeskFuture<'_, RequestsListed> {
        Box::pin(async move {
            let asked = RequestsAsked {
                person,
                namespace,
                closed,
            };
            self.enrolled()?.requests(&asked).await.map_err(refused)
        })
    }

    fn decide(&self, asked: DecisionAsked) -> DeskFuture<'_, RequestView> {
        Box::pin(async move {
            let taken = self.enrolled()?.decide(&asked).await;
            taken.map(|taken| taken.request).map_err(refused)
        })
    }

    fn fingerprints(&self, value: String, labels: Vec<String>) -> DeskFuture<'_, Vec<Fingerprint>> {
        Box::pin(async move {
            let asked = FingerprintsAsked { value, labels };
            let answer = self.enrolled()?.fingerprints(&asked).await;
            answer.map(|answer| answer.fingerprints).map_err(refused)
        })
    }

    fn coverage(&self, person: Person) -> DeskFuture<'_, Option<Coverage>> {
        Box::pin(async move {
            let coverage = self.enrolled()?.coverage(&CoverageAsked { person }).await;
            coverage.map(Some).map_err(refused)
        })
    }
}

/// The controller's refusal as the desk's.
fn refused(error: ControlError) -> DeskError {
    match error {
        ControlError::Refused { status, reason } => match status {
            400 | 422 => DeskError::Invalid(reason),
            401 => DeskError::Unauthenticated(reason),
            403 => DeskError::Forbidden(reason),
            404 => DeskError::NotFound(reason),
            409 => DeskError::Conflict(reason),
            429 => DeskError::TooMany(reason),
            _ => DeskError::Unavailable(reason),
        },
        error => DeskError::Unavailable(error.to_string()),
    }
}

impl Pods for Controller {
    fn running(&self) -> RunningPods<'_> {
        Box::pin(async move {
            let pods = self.client.get()?.pods().await;
            let known =
                pods.inspect_err(|error| tracing::warn!(%error, "which pods run is unknown"));
            known.ok()
        })
    }
}

impl Reviewer for Controller {
    fn review<'a>(&'a self, asked: &'a ReviewRequest) -> ReviewFuture<'a> {
        Box::pin(async move {
            let client = self.client.get();
            let client = client.ok_or_else(|| ReviewError(NOT_ENROLLED.into()))?;
            let review = client.review(asked).await;
            review.map_err(|error| ReviewError(error.to_string()))
        })
    }
}
