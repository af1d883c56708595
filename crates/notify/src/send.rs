//! One attempt: a connection, a request, an answer.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::CONTENT_TYPE;
use hyper::{Method, StatusCode};
use weir_fetch::{Endpoint, EndpointError, FetchError, Fetcher};

use crate::message::Message;
use crate::sign::{KeyError, Keys};

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

/// Why an attempt failed. Nothing of the URL but its host is in it.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The key cannot be used.
    #[error("the key in {}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: KeyError,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The receiver gave no answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The receiver does not want it.
    #[error("the receiver answered {0}")]
    Refused(StatusCode),
    /// The message cannot be a request.
    #[error("the message cannot be sent: {0}")]
    Message(#[from] hyper::http::Error),
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
                keys.sign(&message.id, timestamp, &message.body),
            )
            .body(message.body.clone())?;
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

async fn read(path: &Path) -> Result<String, SendError> {
    let text = tokio::fs::read_to_string(path).await;
    text.map_err(|source| SendError::File {
        path: path.to_owned(),
        source,
    })
}
