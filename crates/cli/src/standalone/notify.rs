//! People are told of holds by every receiver that there is: what the collector has committed, it is
//! told. What they decide in Slack is decided here.
//!
//! Invariants: a receiver that does not answer delays no hold and no evidence. Refuses: to outlive
//! the process; what was not told when it ends is not told.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::body::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use weir_api::kinds::{
    AccessRequestPhase, AccessRequestSpec, ApproverDecision, Binding, RequestDecision, Requester,
};
use weir_audit::{
    AccessRequestCreated, AccessRequestDecided, Body, Closing, Event, Names, Ruling, Session, Value,
};
use weir_collector::api::{Door, DoorFuture};
use weir_notify::{
    Courier, Decider, Deciding, Event as News, Hold, INTERACTIONS, Interactions, MAX_INTERACTION,
    Message, NotifyMetrics, Receiver, Reply, Standing, Verdict, WAITING,
};
use weir_uplink::Holds;

/// Requests whose decisions and end are still to be told.
const OPEN: usize = 4096;

/// Tells `receivers` of what comes in. Returns when nothing more can come.
pub(crate) async fn tell(
    receivers: Vec<Receiver>,
    metrics: NotifyMetrics,
    mut events: broadcast::Receiver<Arc<[Event]>>,
) {
    let couriers = receivers.into_iter();
    let couriers: Vec<Courier> = couriers
        .map(|receiver| Courier::new(receiver, metrics.clone()))
        .collect();
    let mut queues = Vec::new();
    let mut delivering = JoinSet::new();
    for courier in couriers {
        let (queue, messages) = mpsc::channel(WAITING);
        queues.push((courier.channel(), queue));
        delivering.spawn(async move {
            courier.check().await;
            courier.run(messages, |_| {}).await;
        });
    }
    let mut requests = Requests::default();
    loop {
        match events.recv().await {
            Ok(batch) => {
                for message in batch.iter().filter_map(|event| requests.news(event)) {
                    for (_, queue) in &queues {
                        // A courier that takes no more drops by itself, and counts.
                        if queue.send(message.clone()).await.is_err() {
                            return;
                        }
                    }
                }
            }
            Err(RecvError::Lagged(batches)) => {
                queues
                    .iter()
                    .for_each(|(channel, _)| metrics.dropped(*channel));
                tracing::error!(batches, "people were not told of all that was asked");
            }
            Err(RecvError::Closed) => break,
        }
    }
    drop(queues);
    while delivering.join_next().await.is_some() {}
}

/// Decisions that are made in Slack.
pub(crate) struct SlackDecisions {
    pub(crate) holds: Holds,
}

impl Decider for SlackDecisions {
    fn decide(&self, verdict: Verdict) -> Deciding<'_> {
        Box::pin(async move {
            let groups: Names = verdict.groups.iter().map(|one| Arc::from(&**one)).collect();
            let (ruling, approves) = match verdict.ruling {
                Ok(()) => (Ruling::Approve { rows: None }, true),
                Err(reason) => {
                    let reason = reason.into();
                    (Ruling::Deny { reason }, false)
                }
            };
            let decided = self
                .holds
                .decide(&verdict.name, &verdict.user, Some(&groups), ruling)
                .await;
            let view = decided.map_err(|error| error.to_string())?;
            let approvals = u32::try_from(view.approvers.len()).unwrap_or(u32::MAX);
            let needed = view.request.approvals;
            let phase = match approves {
                false => AccessRequestPhase::Denied,
                true if approvals >= needed => AccessRequestPhase::Approved,
                true => AccessRequestPhase::Pending,
            };
            Ok(Standing {
                phase,
                approvals,
                needed,
            })
        })
    }
}

/// Slack's buttons, at the collector's address.
pub(crate) struct SlackDoor(pub(crate) Arc<Interactions>);

impl Door for SlackDoor {
    fn path(&self) -> &'static str {
        INTERACTIONS
    }

    fn longest(&self) -> usize {
        MAX_INTERACTION
    }

    fn answer<'a>(&'a self, headers: &'a HeaderMap, body: Bytes) -> DoorFuture<'a> {
        Box::pin(async move {
            let Reply { status, body } = self.0.answer(headers, &body).await;
            (status, body)
        })
    }
}

/// The requests that wait.
#[derive(Default)]
struct Requests(HashMap<Arc<str>, Open>);

struct Open {
    /// The id of the event that made it: tells it from others of its name.
    uid: String,
    spec: AccessRequestSpec,
    decisions: Vec<ApproverDecision>,
}

impl Requests {
    /// The message about an event, if it is about a request.
    fn news(&mut self, event: &Event) -> Option<Message> {
        let (id, at) = (event.id.to_string(), event.time.to_string());
        match &event.body {
            Body::AccessRequestCreated(created) => {
                let open = Open {
                    uid: id.clone(),
                    spec: spec(event.session.as_deref()?, created),
                    decisions: Vec::new(),
                };
                let message = message(&id, &at, &created.name, &open, News::Created);
                if self.0.len() < OPEN {
                    self.0.insert(Arc::clone(&created.name), open);
                }
                Some(message)
            }
            Body::AccessRequestDecided(decided) => {
                let open = self.0.get_mut(&decided.name)?;
                let decision = decision(decided, &at);
                open.decisions.push(decision.clone());
                let news = News::Decided {
                    decision,
                    approvals: decided.approvals,
                };
                Some(message(&id, &at, &decided.name, open, news))
            }
            Body::AccessRequestClosed(closed) => {
                let mut open = self.0.remove(&closed.name)?;
                let news = News::Closed {
                    phase: phase(closed.closing),
                    decisions: std::mem::take(&mut open.decisions),
                };
                Some(message(&id, &at, &closed.name, &open, news))
            }
            _ => None,
        }
    }
}

fn message(id: &str, at: &str, name: &str, open: &Open, news: News) -> Message {
    let hold = Hold {
        name,
        namespace: None,
        uid: &open.uid,
        spec: &open.spec,
    };
    Message::of_hold(&format!("hold_{id}"), at, &hold, news)
}

fn phase(closing: Closing) -> AccessRequestPhase {
    match closing {
        Closing::Approved => AccessRequestPhase::Approved,
        Closing::Denied => AccessRequestPhase::Denied,
        Closing::Expired => AccessRequestPhase::Expired,
        Closing::ClientGone | Closing::Stopped => AccessRequestPhase::Withdrawn,
    }
}

fn decision(decided: &AccessRequestDecided, at: &str) -> ApproverDecision {
    let (decision, reason, rows) = match &decided.ruling {
        Ruling::Approve { rows } => (RequestDecision::Approve, None, *rows),
        Ruling::Deny { reason } => (RequestDecision::Deny, Some(reason.to_string()), None),
    };
    ApproverDecision {
        approver: decided.approver.to_string(),
        decision,
        at: at.to_owned(),
        reason,
        rows,
    }
}

/// A request as it would be an AccessRequest in a cluster.
fn spec(session: &Session, created: &AccessRequestCreated) -> AccessRequestSpec {
    let text = |field: &Option<Arc<str>>| field.as_deref().map(str::to_owned);
    let names = |names: &weir_audit::Names| names.iter().map(|name| name.to_string()).collect();
    let identity = &session.identity;
    let rule = created.rules.iter().next().map(|rule| rule.to_string());
    let rule = rule.unwrap_or_default();
    let (policy, rule) = rule.rsplit_once('/').unwrap_or((&rule, ""));
    let mut spec = AccessRequestSpec {
        requester: Requester {
            name: identity.name.to_string(),
            namespace: text(&identity.namespace),
            service_account: text(&identity.service_account),
            pod: text(&identity.pod),
        },
        summary: Vec::new(),
        target: text(&session.target).unwrap_or_default(),
        policy: policy.to_owned(),
        rule: rule.to_owned(),
        statement: created.statement.to_string(),
        parameters: created.parameters.iter().map(parameter).collect(),
        fingerprint: created.fingerprint.map(|print| format!("{print:016x}")),
        labels: names(&created.labels),
        estimated_rows: created.estimate,
        delivered_rows: Some(created.rows),
        reason: created.reason.to_string(),
        deadline: created.deadline.to_string(),
        binding: Binding::Exact,
        groups: names(&created.groups),
        count: created.approvals,
    };
    spec.summary = weir_api::summary(&spec);
    spec
}

fn parameter(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Text(text) => Some(text.to_string()),
        Value::Binary(bytes) => {
            let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
            Some(format!("\\x{}", hex.collect::<String>()))
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_audit::{AccessRequestClosed, EventId, Identity, SCHEMA, Timestamp};

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

    #[test]
    fn a_request_says_who_asks_for_what_by_which_rule() {
        let told = event(1, created());
        let spec = spec(told.session.as_deref().unwrap(), &created());
        assert_eq!(
            (spec.policy.as_str(), spec.rule.as_str()),
            ("billing:reporting", "bulk")
        );
        assert!(spec.summary.len() <= 3 && spec.summary[0].contains("reporter on shop"));
    }
}
