//! The port at which the server asks the admission webhooks.
//!
//! Whoever implements it answers an `AdmissionReview` with an `AdmissionReview`; it knows nothing
//! of HTTP or TLS. Refuses: to judge. No answer means that the path is not a webhook.

use std::pin::Pin;

/// What a webhook's answer is awaited as.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send + 'a>>;

/// The admission webhooks of this replica.
pub trait Webhooks: Send + Sync {
    /// Whether a path is a webhook.
    fn knows(&self, path: &str) -> bool;

    /// The `AdmissionReview` in JSON that answers the one in `body`, or none for an unknown path.
    fn answer<'a>(&'a self, path: &'a str, body: &'a [u8]) -> Answer<'a>;
}
