//! The leader's part: reviewers are told of requests, by every receiver that there is.
//!
//! What is to be told follows from a request itself, and what each receiver was told stands in its
//! status: another leader goes on where this one ended. It may tell again what this one told and could
//! not write down, under the same id.
//! Invariants: a request is told of in order; nothing waits for a receiver but what is for it.
//! Refuses: to tell old news. A request that has been over for a while is left alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use serde::Deserialize as _;
use serde_json::json;
use tokio::sync::mpsc;
use weir_api::kinds::{
    AccessRequestPhase, AccessRequestSpec, AccessRequestStatus, RequestDecision,
};
use weir_notify::{Channel, Courier, Delivery, Event, Hold, Message, WAITING};
use weir_telemetry::Label as _;

use super::reconcile::gone_or_newer;
use super::{Entry, Requests};
use crate::store::follow::Key;
use crate::text::why;

/// How long what failed here waits before it is looked at again.
const PERIOD: Duration = Duration::from_secs(1);
/// Requests that have been over for longer are no news.
const NEWS: SignedDuration = SignedDuration::from_mins(15);
/// What the status adds where the receiver did not take it.
const FAILED: &str = "-failed";

/// One thing to tell of a request, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Created,
    /// The decision with this number, from 1.
    Decided(usize),
    Closed,
}

/// One thing to tell one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    channel: Channel,
    step: Step,
}

impl Due {
    /// As the status names it.
    fn name(self) -> String {
        let step = self.step.name();
        match self.channel {
            Channel::Webhook => step,
            Channel::Slack | Channel::Email => format!("{}:{step}", self.channel.as_str()),
        }
    }
}

impl Step {
    fn name(self) -> String {
        match self {
            Self::Created => "created".to_owned(),
            Self::Decided(number) => format!("decided-{number}"),
            Self::Closed => "closed".to_owned(),
        }
    }

    /// The same whichever leader tells it.
    fn id(self, entry: &Entry) -> String {
        format!("hold_{}_{}", entry.uid, self.name())
    }
}

/// Where a step stands that is not in the status yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The courier has it.
    Going,
    Over {
        delivered: bool,
    },
}

/// What this leader has done, by UID of the request.
type Book = HashMap<String, BTreeMap<Due, State>>;
/// By receiver and id of the message: whose step it is.
type Going = HashMap<(Channel, String), (String, Step)>;
/// Where messages are handed over.
type Queues = Vec<(Channel, mpsc::Sender<Message>)>;

/// Tells reviewers.
pub(crate) struct Notifier {
    requests: Requests,
    couriers: Vec<Courier>,
}

impl Notifier {
    pub(crate) fn new(requests: Requests, couriers: Vec<Courier>) -> Self {
        Self { requests, couriers }
    }

    /// Tells while this replica leads. Never returns.
    pub(crate) async fn run(&self) {
        if self.couriers.is_empty() {
            return std::future::pending().await;
        }
        let (finished, mut ended) = mpsc::unbounded_channel::<Delivery>();
        let mut queues = Queues::new();
        let delivering = self.couriers.iter().map(|courier| {
            let (queue, messages) = mpsc::channel(WAITING);
            queues.push((courier.channel(), queue));
            let finished = finished.clone();
            courier.run(messages, move |delivery| {
                // Its reader is in the same future.
                let _ = finished.send(delivery);
            })
        });
        let delivering = join_all(delivering);
        let mut changed = self.requests.changed.subscribe();
        let following = async {
            let (mut book, mut going) = (Book::new(), Going::new());
            loop {
                changed.mark_unchanged();
                self.pass(&queues, &mut book, &mut going).await;
                tokio::select! {
                    _ = changed.changed() => {}
                    Some(delivery) = ended.recv() => note(&mut book, &mut going, &delivery),
                    () = tokio::time::sleep(PERIOD) => {}
                }
            }
        };
        tokio::join!(delivering, following);
    }

    async fn pass(&self, queues: &Queues, book: &mut Book, going: &mut Going) {
        let entries = self.requests.entries();
        let live: BTreeSet<&str> = entries
            .iter()
            .map(|(_, entry)| entry.uid.as_str())
            .collect();
        book.retain(|uid, _| live.contains(uid.as_str()));
        let now = Timestamp::now();
        for (key, entry) in &entries {
            let due = due(entry, queues.iter().map(|(channel, _)| *channel), now);
            if due.is_empty() {
                continue;
            }
            let known = book.entry(entry.uid.clone()).or_default();
            let outcome = self.settle(key, entry, &due, known).await;
            let outcome = match outcome {
                Ok(()) => self.tell(key, entry, &due, known, queues, going).await,
                failed => failed,
            };
            if let Err(error) = outcome {
                let (namespace, name) = key;
                tracing::warn!(%namespace, %name, error, "reviewers are told later");
            }
        }
    }

    /// Writes down what was told.
    async fn settle(
        &self,
        (namespace, name): &Key,
        entry: &Entry,
        due: &[Due],
        known: &BTreeMap<Due, State>,
    ) -> Result<(), String> {
        let over = |due: &Due| match known.get(due) {
            Some(State::Over { delivered: true }) => Some(due.name()),
            Some(State::Over { delivered: false }) => Some(format!("{}{FAILED}", due.name())),
            Some(State::Going) | None => None,
        };
        let new: Vec<String> = due.iter().filter_map(over).collect();
        if new.is_empty() {
            return Ok(());
        }
        let notified = entry.status.as_ref().map(|status| status.notified.clone());
        let notified: Vec<String> = notified.into_iter().flatten().chain(new).collect();
        let patch = json!({"status": {"notified": notified}});
        let api = self.requests.api(namespace);
        let patched = api
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        gone_or_newer(patched.map(drop)).map_err(|error| why(&error))
    }

    /// Hands over what was not told yet.
    async fn tell(
        &self,
        (namespace, name): &Key,
        entry: &Entry,
        due: &[Due],
        known: &mut BTreeMap<Due, State>,
        queues: &Queues,
        going: &mut Going,
    ) -> Result<(), String> {
        let new: Vec<Due> = due
            .iter()
            .copied()
            .filter(|due| !known.contains_key(due))
            .collect();
        let (Some(status), false) = (&entry.status, new.is_empty()) else {
            return Ok(());
        };
        let found = self.requests.api(namespace).get_opt(name).await;
        let Some(object) = found.map_err(|error| why(&error))? else {
            return Ok(());
        };
        if object.metadata.uid.as_deref() != Some(entry.uid.as_str()) {
            return Ok(());
        }
        let spec = object.data.get("spec").cloned().unwrap_or_default();
        let spec = AccessRequestSpec::deserialize(spec).map_err(|error| error.to_string())?;
        let hold = Hold {
            name,
            namespace: Some(namespace),
            uid: &entry.uid,
            spec: &spec,
        };
        let mut made: BTreeMap<Step, Message> = BTreeMap::new();
        for due in new {
            let Due { channel, step } = due;
            let mut queues = queues.iter();
            let Some((_, queue)) = queues.find(|(other, _)| *other == channel) else {
                continue;
            };
            if let std::collections::btree_map::Entry::Vacant(place) = made.entry(step) {
                let Some((at, event)) = news(step, entry, status) else {
                    continue;
                };
                place.insert(Message::of_hold(&step.id(entry), &at, &hold, event));
            }
            let Some(message) = made.get(&step) else {
                continue;
            };
            let id = (channel, message.id().to_string());
            going.insert(id, (entry.uid.clone(), step));
            known.insert(due, State::Going);
            let sent = queue.send(message.clone()).await;
            sent.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn note(book: &mut Book, going: &mut Going, delivery: &Delivery) {
    let Delivery {
        id,
        channel,
        delivered,
    } = delivery;
    if let Some((uid, step)) = going.remove(&(*channel, id.to_string()))
        && let Some(known) = book.get_mut(&uid)
    {
        let (channel, delivered) = (*channel, *delivered);
        known.insert(Due { channel, step }, State::Over { delivered });
    }
}

/// What is to be told of a request to these receivers and does not stand in its status, in order.
fn due(entry: &Entry, channels: impl Iterator<Item = Channel>, now: Timestamp) -> Vec<Due> {
    let (Some(status), Some(_)) = (&entry.status, entry.terms) else {
        return Vec::new();
    };
    let over = status.phase != AccessRequestPhase::Pending;
    if over && over_since(status).is_some_and(|since| now.duration_since(since) > NEWS) {
        return Vec::new();
    }
    let decided = (1..=status.decisions.len()).map(Step::Decided);
    let closed = over.then_some(Step::Closed);
    let steps: Vec<Step> = std::iter::once(Step::Created)
        .chain(decided)
        .chain(closed)
        .collect();
    let told = |due: &Due| {
        let name = due.name();
        let mut all = status.notified.iter();
        all.any(|told| told.strip_suffix(FAILED).unwrap_or(told) == name)
    };
    let all = channels.flat_map(|channel| steps.iter().map(move |step| (channel, *step)));
    let all = all.map(|(channel, step)| Due { channel, step });
    all.filter(|due| !told(due)).collect()
}

/// When a request got its last phase.
fn over_since(status: &AccessRequestStatus) -> Option<Timestamp> {
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|condition| condition.kind == "Ready")?;
    ready.last_transition_time.parse().ok()
}

/// When it happened, and what.
fn news(step: Step, entry: &Entry, status: &AccessRequestStatus) -> Option<(String, Event)> {
    let time = |at: Option<Timestamp>| at.unwrap_or_else(Timestamp::now).to_string();
    Some(match step {
        Step::Created => (time(entry.created), Event::Created),
        Step::Decided(number) => {
            let so_far = status.decisions.get(..number)?;
            let decision = so_far.last()?;
            let approvals = so_far
                .iter()
                .filter(|one| one.decision == RequestDecision::Approve)
                .count();
            let approvals = u32::try_from(approvals).unwrap_or(u32::MAX);
            let event = Event::Decided {
                decision: decision.clone(),
                approvals,
            };
            (decision.at.clone(), event)
        }
        Step::Closed => {
            let event = Event::Closed {
                phase: status.phase,
                decisions: status.decisions.clone(),
            };
            (time(over_since(status)), event)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::entry;
    use super::*;

    const NOW: &str = "2026-11-27T12:00:00Z";

    fn request(status: Value) -> Entry {
        let object = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "AccessRequest",
            "metadata": {"name": "weir-x", "namespace": "billing", "uid": "1-2"},
            "spec": {"deadline": "2126-11-27T12:00:00Z", "count": 2},
            "status": status,
        });
        entry(serde_json::from_value(object).unwrap(), None)
    }

    fn names(status: Value, channels: &[Channel]) -> Vec<String> {
        let now = NOW.parse().unwrap();
        let due = due(&request(status), channels.iter().copied(), now);
        due.into_iter().map(Due::name).collect()
    }

    fn steps(status: Value) -> Vec<String> {
        names(status, &[Channel::Webhook])
    }

    fn decision(decision: &str) -> Value {
        json!({"approver": "jane", "decision": decision, "at": NOW})
    }

    fn over(since: &str) -> Value {
        json!([{"type": "Ready", "status": "True", "reason": "Denied", "message": "",
            "lastTransitionTime": since}])
    }

    #[test]
    fn what_happened_is_told_once_and_in_order() {
        let nothing: [&str; 0] = [];
        assert_eq!(steps(json!(null)), nothing);
        assert_eq!(steps(json!({"phase": "Pending"})), ["created"]);
        let decided = json!({"phase": "Denied", "decisions": [decision("Approve"), decision("Deny")],
            "conditions": over(NOW)});
        assert_eq!(
            steps(decided.clone()),
            ["created", "decided-1", "decided-2", "closed"]
        );
        let mut told = decided;
        told["notified"] = json!(["created-failed", "decided-1"]);
        assert_eq!(steps(told.clone()), ["decided-2", "closed"]);
        told["notified"] = json!(["created", "decided-1", "decided-2", "closed-failed"]);
        assert_eq!(steps(told), nothing);
    }

    #[test]
    fn each_receiver_has_its_own_progress() {
        let told = json!(["created", "slack:created-failed", "email:created", "closed"]);
        let status = json!({"phase": "Expired", "conditions": over(NOW), "notified": told});
        let all = [Channel::Webhook, Channel::Slack, Channel::Email];
        assert_eq!(
            names(status.clone(), &all),
            ["slack:closed", "email:closed"]
        );
        assert_eq!(names(status, &[]).len(), 0);
    }

    #[test]
    fn old_requests_are_no_news_but_one_that_waits_is() {
        let old = |phase| json!({"phase": phase, "conditions": over("2026-11-27T11:44:00Z")});
        assert_eq!(steps(old("Expired")).len(), 0);
        assert_eq!(steps(old("Pending")), ["created"]);
        let lately = json!({"phase": "Expired", "conditions": over("2026-11-27T11:46:00Z")});
        assert_eq!(steps(lately), ["created", "closed"]);
    }

    #[test]
    fn every_leader_gives_a_step_the_same_id() {
        let entry = request(json!({"phase": "Pending"}));
        assert_eq!(Step::Created.id(&entry), "hold_1-2_created");
        assert_eq!(Step::Decided(2).id(&entry), "hold_1-2_decided-2");
    }

    #[test]
    fn an_approval_counts_those_before_it() {
        let entry = request(json!({"phase": "Pending",
            "decisions": [decision("Approve"), decision("Approve")]}));
        let status = entry.status.clone().unwrap();
        let (_, event) = news(Step::Decided(2), &entry, &status).unwrap();
        assert!(matches!(event, Event::Decided { approvals: 2, .. }));
        assert!(news(Step::Decided(3), &entry, &status).is_none());
    }

    #[test]
    fn a_delivery_is_remembered_with_its_outcome() {
        let (mut book, mut going) = (Book::new(), Going::new());
        let (channel, step) = (Channel::Slack, Step::Created);
        let due = Due { channel, step };
        let known = book.entry("1-2".to_owned()).or_default();
        known.insert(due, State::Going);
        let id = "hold_1-2_created";
        going.insert((channel, id.to_owned()), ("1-2".to_owned(), step));
        let delivery = |channel| Delivery {
            id: id.into(),
            channel,
            delivered: false,
        };
        note(&mut book, &mut going, &delivery(Channel::Webhook));
        assert_eq!(book["1-2"][&due], State::Going);
        note(&mut book, &mut going, &delivery(channel));
        assert_eq!(book["1-2"][&due], State::Over { delivered: false });
        assert!(going.is_empty());
    }
}
