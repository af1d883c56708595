//! The controller, as the collector needs it: it attests who the collector is, and says who may
//! read evidence.
//!
//! Before the first enrolment nobody may read.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use weir_uplink::control::{ControlClient, Endpoint, Enroller, Enrolment, Identity, ReviewRequest};

use crate::{Credentials, Current, ReviewError, ReviewFuture, Reviewer};

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

    fn take(&self, granted: &Enrolment, identity: &Identity) {
        match Credentials::new(identity.certified_key(), granted.roots.as_bytes()) {
            Ok(credentials) => {
                self.credentials.send_replace(Some(Arc::new(credentials)));
            }
            Err(error) => tracing::error!(%error, "what the controller granted cannot be used"),
        }
    }
}

impl Reviewer for Controller {
    fn review<'a>(&'a self, asked: &'a ReviewRequest) -> ReviewFuture<'a> {
        Box::pin(async move {
            let client = self
                .client
                .get()
                .ok_or_else(|| ReviewError("the collector is not enrolled yet".into()))?;
            let review = client.review(asked).await;
            review.map_err(|error| ReviewError(error.to_string()))
        })
    }
}
