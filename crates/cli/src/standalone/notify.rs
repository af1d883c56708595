//! Reviewers are told of holds by a webhook: what the collector has committed, it is told.
//!
//! Invariants: a receiver that does not answer delays no hold and no evidence. Refuses: to outlive
//! the process; what was not told when it ends is not told.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use weir_api::kinds::{AccessRequestPhase, AccessRequestSpec, ApproverDecision};
use weir_audit::{Body, Closing, Event};
use weir_notify::{Courier, Event as News, Hold, Message, NotifyMetrics, WAITING, Webhook};

/// Requests whose decisions and end are still to be told.
const OPEN: usize = 4096;

/// Where reviewers are told.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NotificationsConfig {
    /// A webhook of the Standard Webhooks specification.
    #[serde(default)]
    pub(crate) webhook: Option<WebhookConfig>,
}

/// The webhook.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WebhookConfig {
    /// Where.
    pub(crate) url: String,
    /// File with the keys of its signatures, each `whsec_` and Base64.
    pub(crate) key_file: PathBuf,
    /// PEM file with the authorities of the receiver, in place of Mozilla's.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
    /// Whether plain HTTP may be spoken to loopback.
    #[serde(default, rename = "allowHTTP")]
    pub(crate) allow_http: bool,
}

impl WebhookConfig {
    /// The receiver.
    pub(crate) fn webhook(&self) -> Result<Webhook, String> {
        let config = weir_notify::WebhookConfig {
            url: self.url.clone(),
            key_file: self.key_file.clone(),
            ca_file: self.ca_file.clone(),
            allow_http: self.allow_http,
        };
        Webhook::new(config).map_err(|error| format!("notifications.webhook.url: {error}"))
    }
}

/// Tells `webhook` of what comes in. Returns when nothing more can come.
pub(crate) async fn tell(
    webhook: Webhook,
    metrics: NotifyMetrics,
    mut events: broadcast::Receiver<Arc<[Event]>>,
) {
    if let Err(error) = webhook.check().await {
        tracing::error!(%error, "reviewers cannot be told");
    }
    let (queue, messages) = mpsc::channel(WAITING);
    let courier = Courier::new(webhook, metrics.clone());
    let following = async move {
        let mut requests = Requests::default();
        loop {
            match events.recv().await {
                Ok(batch) => {
                    for message in batch.iter().filter_map(|event| requests.news(event)) {
                        // A courier that takes no more drops by itself, and counts.
                        if queue.send(message).await.is_err() {
                            return;
                        }
                    }
                }
                Err(RecvError::Lagged(batches)) => {
                    metrics.dropped();
                    tracing::error!(batches, "reviewers were not told of all that was asked");
                }
                Err(RecvError::Closed) => return,
            }
        }
    };
    tokio::join!(courier.run(messages, |_| {}), following);
}

/// The requests that wait.
#[derive(Default)]
struct Requests(HashMap<Arc<str>, Open>);

struct Open {
    spec: AccessRequestSpec,
    decisions: Vec<ApproverDecision>,
}

impl Requests {
    /// The message about an event, if it is about a request.
    fn news(&mut self, event: &Event) -> Option<Message> {
        let (id, at) = (event.id.to_string(), event.time.to_string());
        match &event.body {
            Body::AccessRequestCreated(created) => {
                let spec = weir_uplink::spec(event.session.as_deref()?, created);
                let message = message(&id, &at, &created.name, &spec, &News::Created);
                if self.0.len() < OPEN {
                    let decisions = Vec::new();
                    self.0
                        .insert(Arc::clone(&created.name), Open { spec, decisions });
                }
                message
            }
            Body::AccessRequestDecided(decided) => {
                let open = self.0.get_mut(&decided.name)?;
                let decision = weir_uplink::decision(decided, event.time);
                open.decisions.push(decision.clone());
                let news = News::Decided {
                    decision: &decision,
                    approvals: decided.approvals,
                };
                message(&id, &at, &decided.name, &open.spec, &news)
            }
            Body::AccessRequestClosed(closed) => {
                let open = self.0.remove(&closed.name)?;
                let news = News::Closed {
                    phase: phase(closed.closing),
                    decisions: &open.decisions,
                };
                message(&id, &at, &closed.name, &open.spec, &news)
            }
            _ => None,
        }
    }
}

fn message(
    id: &str,
    at: &str,
    name: &str,
    spec: &AccessRequestSpec,
    news: &News<'_>,
) -> Option<Message> {
    let hold = Hold {
        name,
        namespace: None,
        spec,
    };
    Message::new(&format!("hold_{id}"), at, &hold, news)
        .inspect_err(|error| tracing::error!(%error, name, "reviewers cannot be told"))
        .ok()
}

fn phase(closing: Closing) -> AccessRequestPhase {
    match closing {
        Closing::Approved => AccessRequestPhase::Approved,
        Closing::Denied => AccessRequestPhase::Denied,
        Closing::Expired => AccessRequestPhase::Expired,
        Closing::ClientGone | Closing::Stopped => AccessRequestPhase::Withdrawn,
        Closing::Superseded => AccessRequestPhase::Superseded,
    }
}

#[cfg(test)]
mod tests {
    use weir_audit::{
        AccessRequestClosed, AccessRequestCreated, AccessRequestDecided, Binding, EventId,
        Identity, Ruling, SCHEMA, Session, Timestamp,
    };

    use super::*;

    fn event(seq: u64, body: impl Into<Body>) -> Event {
        Event {
            schema: SCHEMA,
            id: EventId {
                engine: "weir".parse().unwrap(),
                epoch: 1,
                seq,
            },
            time: Timestamp::default(),
            session: Some(Arc::new(Session {
                identity: Arc::new(Identity::named("reporter")),
                target: Some("shop".into()),
                ..Session::default()
            })),
            body: body.into(),
        }
    }

    fn created() -> AccessRequestCreated {
        AccessRequestCreated {
            name: "weir-a".into(),
            statement: "select * from t".into(),
            rules: [Arc::from("billing:reporting/bulk")].into_iter().collect(),
            reason: "more than 10 rows".into(),
            approvals: 1,
            ..AccessRequestCreated::default()
        }
    }

    #[test]
    fn a_request_is_told_of_from_its_beginning_to_its_end() {
        let mut requests = Requests::default();
        let first = requests.news(&event(1, created())).unwrap();
        assert_eq!(&**first.id(), "hold_weir-1-1");
        let decided = AccessRequestDecided {
            name: "weir-a".into(),
            approver: "jane".into(),
            ruling: Ruling::Approve { rows: None },
            approvals: 1,
            needed: 1,
            binding: Binding::Exact,
            minutes: None,
            via: None,
            comment: None,
        };
        assert!(requests.news(&event(2, decided)).is_some());
        let closed = || AccessRequestClosed {
            name: "weir-a".into(),
            closing: Closing::Approved,
            held_ms: 1,
        };
        assert!(requests.news(&event(3, closed())).is_some());
        assert!(requests.0.is_empty());
        assert!(requests.news(&event(4, closed())).is_none());
    }
}
