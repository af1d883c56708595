//! The error channel: how a command ended.

use serde::Deserialize;
use serde_json::json;

use super::Subprotocol;

/// The longest text of an error channel that is looked at.
pub const MAX_STATUS: usize = 64 << 10;

/// How a command ended, as the error channel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// Not by itself: what the server says of it.
    Failed(String),
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// What the whole text of an error channel says; an empty one says that all went well.
#[must_use]
pub fn exit(subprotocol: Subprotocol, text: &[u8]) -> Exit {
    if text.is_empty() {
        return Exit::Code(0);
    }
    let plain = || Exit::Failed(String::from_utf8_lossy(text).into_owned());
    if !subprotocol.has_status() {
        return plain();
    }
    let Ok(status) = serde_json::from_slice::<Status>(text) else {
        return plain();
    };
    if status.status == "Success" {
        return Exit::Code(0);
    }
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    let code = causes.find(|cause| cause.reason == "ExitCode");
    let code = code.and_then(|cause| cause.message.parse::<u8>().ok());
    match code {
        Some(code) if status.reason == "NonZeroExitCode" => Exit::Code(code.into()),
        _ => Exit::Failed(status.message),
    }
}

/// What an error channel says of a command that Weir ends: a `Status` that says so, or plain text where
/// the version knows no other.
#[must_use]
pub fn refusal(subprotocol: Subprotocol, message: &str) -> Vec<u8> {
    if !subprotocol.has_status() {
        return message.as_bytes().to_vec();
    }
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "Forbidden",
        "code": 403,
    });
    status.to_string().into_bytes()
}
