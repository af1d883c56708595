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
use weir_api::kinds::{AccessRequestPhase, AccessRequestSpec, ApproverDecision};
use weir_audit::{Body, Closing, Event, Names, Ruling, Via};
use weir_collector::api::{Door, DoorFuture};
use weir_collector::findings::Alert;
use weir_notify::{
    Courier, Decider, Deciding, Event as News, Hold, INTERACTIONS, Interactions, MAX_INTERACTION,
    Message, NotifyMetrics, Receiver, Reply, Standing, Verdict, WAITING,
};
use weir_uplink::{Approving, Decision, Holds};

/// Requests whose decisions and end are still to be told.
const OPEN: usize = 4096;

/// Tells `receivers` of what comes in. Returns when nothing more can come.
pub(crate) async fn tell(
    receivers: Vec<Receiver>,
    metrics: NotifyMetrics,
    holds: Holds,
    mut events: broadcast::Receiver<Arc<[Event]>>,
    mut found: mpsc::Receiver<Alert>,
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
    let mut requests = Requests {
        uids: Box::new(move |name| uid(&holds, name)),
        open: HashMap::new(),
    };
    loop {
        let messages: Vec<Message> = tokio::select! {
            batch = events.recv() => match batch {
                Ok(batch) => batch.iter().filter_map(|event| requests.news(event)).collect(),
                Err(RecvError::Lagged(batches)) => {
                    queues.iter().for_each(|(channel, _)| metrics.dropped(*channel));
                    tracing::error!(batches, "people were not told of all that was asked");
                    continue;
                }
                Err(RecvError::Closed) => break,
            },
            Some(alert) = found.recv() => vec![Message::of_finding(alert)],
        };
        for message in messages {
            for (_, queue) in &queues {
                // A courier that takes no more drops by itself, and counts.
                if queue.send(message.clone()).await.is_err() {
                    return;
                }
            }
        }
    }
    drop(queues);
    while delivering.join_next().await.is_some() {}
}

fn uid(holds: &Holds, name: &str) -> String {
    let waiting = holds.list();
    let hold = waiting.iter().find(|hold| &*hold.request.name == name);
    hold.map(|hold| hold.uid.to_string()).unwrap_or_default()
}

/// Decisions that are made in Slack.
pub(crate) struct SlackDecisions {
    pub(crate) holds: Holds,
}

impl Decider for SlackDecisions {
    fn decide(&self, verdict: Verdict) -> Deciding<'_> {
        Box::pin(async move {
            let groups: Names = verdict.groups.iter().map(|one| Arc::from(&**one)).collect();
            let ruling = match verdict.ruling {
                Ok(()) => Ruling::Approve { rows: None },
                Err(reason) => Ruling::Deny {
                    reason: reason.into(),
                },
            };
            let by = Approving {
                name: &verdict.user,
                groups: Some(&groups),
                via: Via::Slack,
            };
            let uid = Some(verdict.uid.as_str()).filter(|uid| !uid.is_empty());
            let decided = self
                .holds
                .decide(&verdict.name, uid, by, &Decision::from(ruling))
                .await;
            let hold = decided.map_err(|error| error.to_string())?;
            Ok(Standing {
                phase: hold.phase,
                approvals: u32::try_from(hold.approvers().count()).unwrap_or(u32::MAX),
                needed: hold.request.approvals,
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
struct Requests {
    uids: Uids,
    open: HashMap<Arc<str>, Open>,
}

/// Says the uid of the request of a name that waits; empty if it waits no more.
type Uids = Box<dyn Fn(&str) -> String + Send>;

struct Open {
    /// Tells it from others that had its name.
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
                    uid: (self.uids)(&created.name),
                    spec: weir_uplink::spec(event.session.as_deref()?, created),
                    decisions: Vec::new(),
                };
                let message = message(&id, &at, &created.name, &open, News::Created);
                if self.open.len() < OPEN {
                    self.open.insert(Arc::clone(&created.name), open);
                }
                Some(message)
            }
            Body::AccessRequestDecided(decided) => {
                let open = self.open.get_mut(&decided.name)?;
                let decision = weir_uplink::decision(decided, event.time);
                open.decisions.push(decision.clone());
                let news = News::Decided {
                    decision,
                    approvals: decided.approvals,
                };
                Some(message(&id, &at, &decided.name, open, news))
            }
            Body::AccessRequestClosed(closed) => {
                let mut open = self.open.remove(&closed.name)?;
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
        Closing::Superseded => AccessRequestPhase::Superseded,
    }
}

#[cfg(test)]
mod tests {
    use weir_audit::{
        AccessRequestClosed, AccessRequestCreated, AccessRequestDecided, Binding, EventId,
        Identity, SCHEMA, Session, Timestamp,
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
        let mut requests = Requests {
            uids: Box::new(|_| "1-2".to_owned()),
            open: HashMap::new(),
        };
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
        assert!(requests.open.is_empty());
        assert!(requests.news(&event(4, closed())).is_none());
    }
}
