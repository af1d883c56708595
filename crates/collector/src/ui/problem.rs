//! Why a page cannot be had, as a person is told.

use hyper::StatusCode;

use crate::CollectorError;
use crate::api::Refusal;

/// A refusal or a failure.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) text: String,
    /// Whoever logs in anew may get further.
    pub(super) log_in: bool,
    /// Whoever names one namespace may get further.
    pub(super) choose: bool,
}

impl Problem {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            log_in: false,
            choose: false,
        }
    }

    pub(super) fn bad(text: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn not_found(text: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// A form that none of our pages sent.
    pub(super) fn foreign() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "This form did not come from a page of yours: nothing was done. If it was you, go back, \
             reload the page and send it again.",
        )
    }

    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// What stands above the text.
    pub(super) fn title(&self) -> &'static str {
        match self.status {
            StatusCode::NOT_FOUND => "There is nothing here",
            StatusCode::FORBIDDEN => "You may not do this",
            StatusCode::UNAUTHORIZED => "You are not logged in",
            StatusCode::SERVICE_UNAVAILABLE => "This cannot be told now",
            status if status.is_client_error() => "This cannot be asked",
            _ => "Something failed",
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self {
            log_in: refusal.status == StatusCode::UNAUTHORIZED,
            choose: false,
            status: refusal.status,
            text: refusal.message,
        }
    }
}

impl From<CollectorError> for Problem {
    fn from(error: CollectorError) -> Self {
        Refusal::from(error).into()
    }
}
