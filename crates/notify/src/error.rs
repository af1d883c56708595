//! Why an attempt failed. Nothing of a URL but its host is in it, and nothing of a secret.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::StatusCode;
use weir_fetch::{EndpointError, FetchError};

use crate::sign::KeyError;

/// Longest secret in a file, such as a token or a URL.
const MAX_SECRET: usize = 4096;

/// Why an attempt failed.
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
    /// A file holds no secret that could be one.
    #[error("{}: a secret is one line of at most {MAX_SECRET} printable characters", .0.display())]
    Secret(PathBuf),
    /// Messages may not go to the URL in a file.
    #[error("the URL in {}: {source}", path.display())]
    Url {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: EndpointError,
    },
    /// The receiver gave no answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The receiver does not want it.
    #[error("the receiver answered {0}")]
    Refused(StatusCode),
    /// The receiver does not want it now.
    #[error("the receiver wants to be left alone for {} s", .0.as_secs())]
    Later(Duration),
    /// Slack does not want it.
    #[error("Slack says {0}")]
    Slack(String),
    /// The mail server does not want it, or cannot be reached.
    #[error("the mail server: {0}")]
    Mail(String),
    /// The message cannot be a request.
    #[error("the message cannot be sent: {0}")]
    Message(#[from] hyper::http::Error),
    /// The message cannot be written.
    #[error("the message cannot be written: {0}")]
    Body(#[from] serde_json::Error),
}

impl SendError {
    /// How long the receiver asked to be left alone.
    pub(crate) fn pause(&self) -> Duration {
        match self {
            Self::Later(pause) => *pause,
            _ => Duration::ZERO,
        }
    }

    /// By its specification, a webhook's `410 Gone` says that nobody wants to hear any more.
    pub(crate) fn is_worth_trying_again(&self) -> bool {
        !matches!(self, Self::Refused(status) if *status == StatusCode::GONE)
    }
}

pub(crate) async fn read(path: &Path) -> Result<String, SendError> {
    let text = tokio::fs::read_to_string(path).await;
    text.map_err(|source| SendError::File {
        path: path.to_owned(),
        source,
    })
}

/// A secret of one line, without the white space around it.
pub(crate) async fn secret(path: &Path) -> Result<String, SendError> {
    let text = read(path).await?;
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= MAX_SECRET;
    if fits && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(SendError::Secret(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_is_gone_is_not_asked_again() {
        let refused = |status| SendError::Refused(StatusCode::from_u16(status).unwrap());
        assert!(!refused(410).is_worth_trying_again());
        for status in [301, 400, 404, 429, 500, 503] {
            assert!(refused(status).is_worth_trying_again());
        }
        let timeout = FetchError::Timeout(Duration::from_secs(10));
        assert!(SendError::from(timeout).is_worth_trying_again());
    }

    #[tokio::test]
    async fn a_secret_is_one_line_and_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let of = async |text: &str| {
            std::fs::write(&path, text).unwrap();
            secret(&path).await.map_err(|error| error.to_string())
        };
        assert_eq!(of(" xoxb-1\n").await.unwrap(), "xoxb-1");
        for bad in ["", " \n", "hunter2\nhunter3", &"hunter2".repeat(1000)] {
            let error = of(bad).await.unwrap_err();
            assert!(!error.contains("hunter"), "{error}");
        }
    }
}
