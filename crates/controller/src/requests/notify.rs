//! The leader's part: reviewers are told of requests, by a webhook.
//!
//! What is to be told follows from a request itself, and what was told stands in its status: another
//! leader goes on where this one ended. It may tell again what this one told and could not write down,
//! under the same id.
//! Invariants: a request is told of in order; nothing waits for the webhook but the webhook.
//! Refuses: to tell old news. A request that has been over for a while is left alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use serde::Deserialize as _;
use serde_json::json;
use tokio::sync::mpsc;
use weir_api::kinds::{
    AccessRequestPhase, AccessRequestSpec, AccessRequestStatus, RequestDecision,
};
use weir_notify::{Courier, Delivery, Event, Hold, Message, WAITING};

use super::reconcile::gone_or_newer;
use super::{Entry, Requests};
use crate::store::follow::Key;
use crate::text::why;

/// How long what failed here waits before it is looked at again.
const PERIOD: Duration = Duration::from_secs(1);
/// Requests that have been over for longer are no news.
const NEWS: SignedDuration = SignedDuration::from_mins(15);
/// What the status adds where the webhook did not take it.
const FAILED: &str = "-failed";

/// One thing to tell of a request, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Created,
    /// The decision with this number, from 1.
    Decided(usize),
    Closed,
}

impl Step {
    /// As the status names it.
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
type Book = HashMap<String, BTreeMap<Step, State>>;

/// Tells reviewers.
pub(crate) struct Notifier {
    requests: Requests,
    courier: Courier,
}

impl Notifier {
    pub(crate) fn new(requests: Requests, courier: Courier) -> Self {
        Self { requests, courier }
    }

    /// Tells while this replica leads. Never returns.
    pub(crate) async fn run(&self) {
        let (queue, messages) = mpsc::channel(WAITING);
        let (finished, mut ended) = mpsc::unbounded_channel::<Delivery>();
        let delivering = self.courier.run(messages, move |delivery| {
            // Its reader is in the same future.
            let _ = finished.send(delivery);
        });
        let mut changed = self.requests.changed.subscribe();
        let following = async {
            let mut book = Book::new();
            // By id: whose step it is.
            let mut going: HashMap<String, (String, Step)> = HashMap::new();
            loop {
                changed.mark_unchanged();
                self.pass(&queue, &mut book, &mut going).await;
                tokio::select! {
                    _ = changed.changed() => {}
                    Some(delivery) = ended.recv() => note(&mut book, &mut going, &delivery),
                    () = tokio::time::sleep(PERIOD) => {}
                }
            }
        };
        tokio::join!(delivering, following);
    }

    async fn pass(
        &self,
        queue: &mpsc::Sender<Message>,
        book: &mut Book,
        going: &mut HashMap<String, (String, Step)>,
    ) {
        let entries = self.requests.entries();
        let live: BTreeSet<&str> = entries
            .iter()
            .map(|(_, entry)| entry.uid.as_str())
            .collect();
        book.retain(|uid, _| live.contains(uid.as_str()));
        let now = Timestamp::now();
        for (key, entry) in &entries {
            let due = due(entry, now);
            if due.is_empty() {
                continue;
            }
            let known = book.entry(entry.uid.clone()).or_default();
            let outcome = self.settle(key, entry, &due, known).await;
            let outcome = match outcome {
                Ok(()) => self.tell(key, entry, &due, known, queue, going).await,
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
        due: &[Step],
        known: &BTreeMap<Step, State>,
    ) -> Result<(), String> {
        let over = |step: &Step| match known.get(step) {
            Some(State::Over { delivered: true }) => Some(step.name()),
            Some(State::Over { delivered: false }) => Some(format!("{}{FAILED}", step.name())),
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
        due: &[Step],
        known: &mut BTreeMap<Step, State>,
        queue: &mpsc::Sender<Message>,
        going: &mut HashMap<String, (String, Step)>,
    ) -> Result<(), String> {
        let new: Vec<Step> = due
            .iter()
            .copied()
            .filter(|step| !known.contains_key(step))
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
            spec: &spec,
        };
        for step in new {
            let Some((at, event)) = news(step, entry, status) else {
                continue;
            };
            let message = Message::new(&step.id(entry), &at, &hold, &event);
            let message = message.map_err(|error| error.to_string())?;
            going.insert(message.id().to_string(), (entry.uid.clone(), step));
            known.insert(step, State::Going);
            queue
                .send(message)
                .await
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn note(book: &mut Book, going: &mut HashMap<String, (String, Step)>, delivery: &Delivery) {
    if let Some((uid, step)) = going.remove(&*delivery.id)
        && let Some(known) = book.get_mut(&uid)
    {
        let delivered = delivery.delivered;
        known.insert(step, State::Over { delivered });
    }
}

/// What is to be told of a request and does not stand in its status.
fn due(entry: &Entry, now: Timestamp) -> Vec<Step> {
    let (Some(status), Some(_)) = (&entry.status, entry.terms) else {
        return Vec::new();
    };
    let over = status.phase != AccessRequestPhase::Pending;
    if over && over_since(status).is_some_and(|since| now.duration_since(since) > NEWS) {
        return Vec::new();
    }
    let decided = (1..=status.decisions.len()).map(Step::Decided);
    let closed = over.then_some(Step::Closed);
    let steps = std::iter::once(Step::Created).chain(decided).chain(closed);
    let told = |step: &Step| {
        let name = step.name();
        let mut all = status.notified.iter();
        all.any(|told| told.strip_suffix(FAILED).unwrap_or(told) == name)
    };
    steps.filter(|step| !told(step)).collect()
}

/// When a request got its last phase.
fn over_since(status: &AccessRequestStatus) -> Option<Timestamp> {
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|condition| condition.kind == "Ready")?;
    ready.last_transition_time.parse().ok()
}

/// When it happened, and what.
fn news<'a>(
    step: Step,
    entry: &Entry,
    status: &'a AccessRequestStatus,
) -> Option<(String, Event<'a>)> {
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
                decision,
                approvals,
            };
            (decision.at.clone(), event)
        }
        Step::Closed => {
            let event = Event::Closed {
                phase: status.phase,
                decisions: &status.decisions,
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

    fn steps(status: Value) -> Vec<String> {
        let due = due(&request(status), NOW.parse().unwrap());
        due.into_iter().map(Step::name).collect()
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
        let (mut book, mut going) = (Book::new(), HashMap::new());
        book.entry("1-2".to_owned())
            .or_default()
            .insert(Step::Created, State::Going);
        going.insert(
            "hold_1-2_created".to_owned(),
            ("1-2".to_owned(), Step::Created),
        );
        let delivery = Delivery {
            id: "hold_1-2_created".into(),
            delivered: false,
        };
        note(&mut book, &mut going, &delivery);
        assert_eq!(
            book["1-2"][&Step::Created],
            State::Over { delivered: false }
        );
        assert!(going.is_empty());
    }
}
