//! What a client is told when Weir refuses: a `metav1.Status`, as the API server's own errors are.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use weir_policy::RuleName;
use weir_wire_kube::{Cause, Status};

use super::answer::{Body, full};
use crate::judge;

/// A refusal on its way to the client.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: StatusCode,
    pub(super) reason: &'static str,
    pub(super) text: String,
    pub(super) rules: Vec<RuleName>,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    /// Refused by policy.
    pub(super) fn forbidden(refusal: judge::Refusal) -> Self {
        Self {
            code: StatusCode::FORBIDDEN,
            reason: "Forbidden",
            text: refusal.text,
            rules: refusal.rules,
            retry_after: None,
        }
    }

    /// Refused because something that is needed to judge is missing.
    pub(super) fn unjudged(reason: &str) -> Self {
        Self::forbidden(judge::Refusal::unjudged(reason))
    }

    /// Of another kind: a status, its reason, and words.
    pub(super) fn of(code: StatusCode, reason: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            text: text.into(),
            rules: Vec::new(),
            retry_after: None,
        }
    }

    /// A request that could be read in two ways, or not at all.
    pub(super) fn bad_request(text: &str) -> Self {
        Self::of(StatusCode::BAD_REQUEST, "BadRequest", text)
    }

    /// The API server cannot be reached, or does not keep to the protocol.
    pub(super) fn bad_gateway(text: &str) -> Self {
        let text = format!("weir: the API server: {text}");
        Self::of(StatusCode::BAD_GATEWAY, "ServiceUnavailable", text)
    }

    /// The same, as what the client asks for too soon.
    #[must_use]
    pub(super) fn too_many(mut self) -> Self {
        self.code = StatusCode::TOO_MANY_REQUESTS;
        self.reason = "TooManyRequests";
        self
    }

    /// The same, to be tried again after a while.
    #[must_use]
    pub(super) fn again_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The Status that the client reads, as JSON.
    pub(super) fn status(&self, audit_id: &str) -> Vec<u8> {
        let cause = |reason: &str, message: String| Cause {
            reason: reason.to_owned(),
            message,
            ..Cause::default()
        };
        let rules = self.rules.iter();
        let rules = rules.map(|rule| cause("PolicyRule", rule.to_string()));
        let status = Status {
            code: self.code.as_u16(),
            reason: self.reason.to_owned(),
            message: format!("{} (audit id {audit_id})", self.text),
            causes: rules
                .chain([cause("AuditID", audit_id.to_owned())])
                .collect(),
            retry_after: self.seconds(),
            ..Status::default()
        };
        status.to_json()
    }

    /// When to come again, in whole seconds.
    fn seconds(&self) -> Option<u32> {
        let wait = self.retry_after?;
        Some(u32::try_from(wait.as_secs().max(1)).unwrap_or(u32::MAX))
    }

    /// The same as an event of a watch, which ends it.
    pub(super) fn event(&self, audit_id: &str) -> Vec<u8> {
        let mut event = Vec::from(&br#"{"type":"ERROR","object":"#[..]);
        event.extend(self.status(audit_id).trim_ascii_end());
        event.extend(b"}\n");
        event
    }

    /// A watch that has ended with it, in answer to one that was to be upgraded. Clients that ask for that
    /// know servers that pass over it, and watch in the plain way at once; what is answered 503 they ask
    /// for again and again before they do.
    pub(super) fn ended_watch(&self, audit_id: &str) -> Response<Body> {
        let mut response = Response::new(full(self.event(audit_id)));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }

    /// The answer that the client receives.
    pub(super) fn response(&self, audit_id: &str) -> Response<Body> {
        let mut response = Response::new(full(self.status(audit_id)));
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
