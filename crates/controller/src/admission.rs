//! What the API server asks before it stores a pod, a resource or a decision.
//!
//! Invariants: an answer depends on the question, on what is known of the cluster, and on the
//! clock, and changes nothing, so that a dry run needs no care. Whatever cannot be read is refused
//! with the reason. Refuses: to look anything up in the cluster while the API server waits, but for
//! one thing: whether somebody who decides on a request may act as its requester.

mod pods;
mod requests;
mod resources;
mod review;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use weir_api::Resources;
use weir_injection::Settings;

use self::review::{Answer, Question};
use crate::decisions::access::Access;
use crate::webhooks::{self, Webhooks};

const VALIDATE_REQUESTS: &str = "/validate/access-requests";

/// What admission has to know of the cluster.
pub trait Known: Send + Sync {
    /// The labels of a namespace, if the namespace is known.
    fn namespace_labels(&self, name: &str) -> Option<BTreeMap<String, String>>;

    /// The resources in force; their origins are called `Kind/namespace/name` or `Kind/name`.
    fn resources(&self) -> Resources;

    /// Whether there is an AccessRequest of that name that asks for exactly that.
    fn asks(&self, namespace: &str, name: &str, spec: &Value) -> bool;

    /// What is injected; none until the root exists.
    fn injection(&self) -> Option<Settings>;
}

/// The webhooks' answers.
pub struct Admission {
    known: Arc<dyn Known>,
    access: Arc<dyn Access>,
    controller: String,
    now: fn() -> Timestamp,
}

impl Admission {
    /// `namespace` is Weir's own. Only the service account `weir-controller` in it makes requests
    /// and says where they stand.
    pub(crate) fn new(
        known: Arc<dyn Known>,
        access: Arc<dyn Access>,
        namespace: &str,
        now: fn() -> Timestamp,
    ) -> Self {
        Self {
            known,
            access,
            controller: format!("system:serviceaccount:{namespace}:weir-controller"),
            now,
        }
    }

    /// The `AdmissionReview` that answers the one in `body`; none for a path that is no webhook.
    async fn review(&self, path: &str, body: &[u8]) -> Option<Vec<u8>> {
        let judge = judge(path)?;
        let question = match review::read(body) {
            Ok(question) => question,
            Err(answer) => return Some(answer),
        };
        let mut answer = judge(self, &question);
        if path == VALIDATE_REQUESTS && answer.allows() {
            answer = requests::validate_rights(self, &question).await;
        }
        Some(review::answer(&question, answer))
    }
}

type Judge = fn(&Admission, &Question) -> Answer;

/// Who judges at a path.
fn judge(path: &str) -> Option<Judge> {
    let judge: Judge = match path {
        "/mutate/pods" => |own, question| pods::mutate(own, question, None),
        "/mutate/pods/injected" => {
            |own, question| pods::mutate(own, question, Some(pods::Proven::Injected))
        }
        "/mutate/pods/enforced" => {
            |own, question| pods::mutate(own, question, Some(pods::Proven::Enforced))
        }
        "/mutate/quarantines" => |_, question| resources::mutate(question),
        "/validate/resources" => resources::validate,
        "/mutate/access-requests" => requests::mutate,
        VALIDATE_REQUESTS => requests::validate,
        _ => return None,
    };
    Some(judge)
}

impl Webhooks for Admission {
    fn knows(&self, path: &str) -> bool {
        judge(path).is_some()
    }

    fn answer<'a>(&'a self, path: &'a str, body: &'a [u8]) -> webhooks::Answer<'a> {
        Box::pin(self.review(path, body))
    }
}

#[cfg(test)]
mod tests;
