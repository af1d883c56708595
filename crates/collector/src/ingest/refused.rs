//! Why a batch was not taken: the answer, the metric, and whether it is a finding.

use std::time::Duration;

use hyper::StatusCode;
use weir_audit::EngineId;

use super::metrics::Reason;
use crate::CollectorError;
use crate::api::Refusal;
use crate::peer::Pod;

/// How long a sidecar waits before it asks a busy or failing collector again.
const BUSY: Duration = Duration::from_secs(1);
const FAILING: Duration = Duration::from_secs(5);

pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) refusal: Refusal,
    /// When to come back.
    pub(super) pause: Option<Duration>,
    /// What the collector records about it.
    pub(super) finding: Option<String>,
}

impl Refused {
    fn new(reason: Reason, status: StatusCode, code: &'static str, message: String) -> Self {
        Self {
            reason,
            refusal: Refusal {
                status,
                code,
                message,
            },
            pause: None,
            finding: None,
        }
    }

    pub(super) fn malformed(message: &str) -> Self {
        let status = StatusCode::BAD_REQUEST;
        Self::new(Reason::Malformed, status, "bad_request", message.into())
    }

    pub(super) fn damaged(message: String) -> Self {
        Self::new(Reason::Damaged, StatusCode::BAD_REQUEST, "damaged", message)
    }

    pub(super) fn oversized() -> Self {
        let message = "the batch is longer than allowed".into();
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        Self::new(Reason::Oversized, status, "oversized", message)
    }

    /// No engine writes such events: in what is made of them they would be many times as long.
    pub(super) fn swollen(pod: &Pod, why: &str) -> Self {
        let finding = format!(
            "{} of {} (pod {}) handed in evidence that no engine writes: {why}",
            pod.name, pod.spiffe, pod.uid
        );
        let mut refused = Self::oversized();
        refused.refusal.message = why.to_owned();
        refused.finding = Some(finding);
        refused
    }

    pub(super) fn slow() -> Self {
        let message = "the batch did not come in time".into();
        Self::new(Reason::Slow, StatusCode::REQUEST_TIMEOUT, "slow", message)
    }

    pub(super) fn quota(pause: Duration) -> Self {
        let message = "this pod hands in more evidence than its quota".into();
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self {
            pause: Some(pause),
            ..Self::new(Reason::Quota, status, "quota", message)
        }
    }

    pub(super) fn busy() -> Self {
        let message = "too many batches at once".into();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self {
            pause: Some(BUSY),
            ..Self::new(Reason::Busy, status, "busy", message)
        }
    }

    pub(super) fn failed(message: String) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self {
            pause: Some(FAILING),
            ..Self::new(Reason::Store, status, "unavailable", message)
        }
    }

    pub(super) fn foreign(pod: &Pod, engine: &EngineId) -> Self {
        let message = "a pod writes to its own chain only".into();
        let reason = Reason::ForeignEngine;
        let finding = format!(
            "{} of {} (pod {}) tried to write to the chain of {engine}",
            pod.name, pod.spiffe, pod.uid
        );
        Self {
            finding: Some(finding),
            ..Self::new(reason, StatusCode::FORBIDDEN, "foreign_engine", message)
        }
    }

    /// Nobody vouches for it: an older sidecar, or somebody between it and here.
    pub(super) fn unsigned(pod: &Pod, why: &str) -> Self {
        let message = format!("evidence is taken only with its engine's signature: {why}");
        let finding = format!(
            "{} of {} (pod {}) handed in evidence that it did not sign: {why}",
            pod.name, pod.spiffe, pod.uid
        );
        Self {
            finding: Some(finding),
            ..Self::new(Reason::Unsigned, StatusCode::FORBIDDEN, "unsigned", message)
        }
    }

    /// What the store says: either an event may not be kept, or the sidecar must keep it for now.
    pub(super) fn store(pod: &Pod, error: CollectorError) -> Self {
        match error {
            CollectorError::Refused(why) => {
                let finding = format!(
                    "{} of {} (pod {}) handed in evidence that is not its own: {why}",
                    pod.name, pod.spiffe, pod.uid
                );
                let (reason, status) = (Reason::ForgedIdentity, StatusCode::FORBIDDEN);
                Self {
                    finding: Some(finding),
                    ..Self::new(reason, status, "forged_identity", why)
                }
            }
            CollectorError::Decode(error) => Self::damaged(error.to_string()),
            other => {
                tracing::error!(error = %other, "evidence cannot be kept");
                Self::failed(if other.is_full() {
                    "the evidence store's disk is full: keep the evidence, and try again".into()
                } else {
                    "the evidence store cannot take evidence now: keep it, and try again".into()
                })
            }
        }
    }
}
