//! The webhook: one signed request for each attempt.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::Method;
use hyper::header::CONTENT_TYPE;
use weir_fetch::{Endpoint, EndpointError, Fetcher};

use crate::error::{SendError, read};
use crate::message::Message;
use crate::sign::Keys;

/// Where messages go and what they are signed with.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// `https://HOST[:PORT]/PATH`.
    pub url: String,
    /// File with the keys; see [`Keys::parse`].
    pub key_file: PathBuf,
    /// PEM file with the authorities of the receiver. Without it: Mozilla's, which are compiled in.
    pub ca_file: Option<PathBuf>,
    /// Whether plain HTTP may be spoken to loopback and to Services of the cluster.
    pub allow_http: bool,
}

/// A receiver.
#[derive(Clone, Debug)]
pub struct Webhook {
    endpoint: Endpoint,
    key_file: PathBuf,
    fetcher: Fetcher,
}

impl Webhook {
    /// A receiver; nothing is read or dialled yet.
    ///
    /// # Errors
    /// When messages may not go to the URL.
    pub fn new(config: WebhookConfig) -> Result<Self, EndpointError> {
        Ok(Self {
            endpoint: Endpoint::parse(&config.url, config.allow_http)?,
            key_file: config.key_file,
            fetcher: Fetcher::new(config.ca_file),
        })
    }

    /// Host and port, for people.
    #[must_use]
    pub fn place(&self) -> String {
        self.endpoint.place()
    }

    /// Reads the files as an attempt would, so that a mistake is noticed at the start.
    ///
    /// # Errors
    /// When an attempt would fail.
    pub async fn check(&self) -> Result<(), SendError> {
        self.keys().await?;
        Ok(self.fetcher.check().await?)
    }

    /// Sends a message once. Delivered is what the receiver answered with a status of success.
    ///
    /// # Errors
    /// When it was not delivered, or that is not known.
    pub async fn send(&self, message: &Message) -> Result<(), SendError> {
        let keys = self.keys().await?;
        let body = message.body()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let timestamp = since.unwrap_or_default().as_secs();
        let request = self
            .endpoint
            .request(Method::POST)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &*message.id)
            .header("webhook-timestamp", timestamp)
            .header(
                "webhook-signature",
                keys.sign(&message.id, timestamp, &body),
            )
            .body(body.clone())?;
        let status = self.fetcher.tell(&self.endpoint, request).await?;
        if status.is_success() {
            Ok(())
        } else {
            Err(SendError::Refused(status))
        }
    }

    async fn keys(&self) -> Result<Keys, SendError> {
        let path = &self.key_file;
        Keys::parse(&read(path).await?).map_err(|source| SendError::Key {
            path: path.clone(),
            source,
        })
    }
}
