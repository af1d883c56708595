//! Why the controller's client could not do what was asked of it.

use std::path::PathBuf;

/// Why something that involves the controller failed; by who is to blame.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A root, name, key or certificate that this process was given does not parse.
    #[error("{what}: {reason}")]
    Configuration {
        /// What was read.
        what: &'static str,
        /// Why it cannot be used.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The controller cannot be reached, or does not prove that it is the controller.
    #[error("the controller at {endpoint} cannot be reached: {reason}")]
    Unreachable {
        /// `host:port`.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The line to the controller broke.
    #[error("the line to the controller broke: {0}")]
    Broken(String),
    /// The controller did not answer in time.
    #[error("the controller did not answer in time")]
    Timeout,
    /// The controller says no.
    #[error("the controller refused ({status}): {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        reason: String,
    },
    /// The controller's answer is not what it should be.
    #[error("the controller's answer cannot be used: {0}")]
    Answer(String),
}

impl ControlError {
    pub(crate) fn configuration(what: &'static str) -> impl FnOnce(&dyn std::fmt::Display) -> Self {
        move |reason| Self::Configuration {
            what,
            reason: reason.to_string(),
        }
    }
}
