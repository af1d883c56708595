//! What people are told: of a hold, and of a finding.
//!
//! A message is what happened, and who asks for what by which rule; each receiver puts it into its own
//! form when it is sent. Nothing of a result is in it: an AccessRequest has none, and a finding is a
//! sentence.

use std::sync::Arc;

use hyper::body::Bytes;
use serde::Serialize;
use weir_api::kinds::{AccessRequestPhase, AccessRequestSpec, ApproverDecision};
use weir_audit::{Alert, FindingCode, Severity};

/// A hold, and where it is decided.
#[derive(Clone, Debug)]
pub struct Hold<'a> {
    /// Name of the request.
    pub name: &'a str,
    /// Its namespace; none outside of a cluster.
    pub namespace: Option<&'a str>,
    /// Tells it from every other that has or had the name.
    pub uid: &'a str,
    /// What is asked for.
    pub spec: &'a AccessRequestSpec,
}

/// What happened to it.
#[derive(Clone, Debug)]
pub enum Event {
    /// It waits for people.
    Created,
    /// Somebody decided.
    Decided {
        /// Their decision.
        decision: ApproverDecision,
        /// How many have approved, with this one.
        approvals: u32,
    },
    /// It is over.
    Closed {
        /// How it ended.
        phase: AccessRequestPhase,
        /// What people decided.
        decisions: Vec<ApproverDecision>,
    },
}

/// A finding, as people are told of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Found {
    /// Id of its event.
    pub(crate) id: String,
    /// What kind of thing.
    pub(crate) code: FindingCode,
    /// How soon somebody must look.
    pub(crate) severity: Severity,
    /// In one sentence.
    pub(crate) message: String,
    /// The engine concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) engine: Option<String>,
    /// The session concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    /// Who, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    /// Others of the same kind, shortly before, of which nobody was told one by one.
    pub(crate) more: u64,
}

impl From<Alert> for Found {
    fn from(alert: Alert) -> Self {
        let Alert {
            id,
            at: _,
            code,
            severity,
            message,
            engine,
            session,
            identity,
            more,
        } = alert;
        Self {
            id,
            code,
            severity,
            message,
            engine,
            session,
            identity,
            more,
        }
    }
}

/// A message, as it is sent however often. Clones are one.
#[derive(Clone, Debug)]
pub struct Message {
    pub(crate) id: Arc<str>,
    /// Messages of one lane are sent one after another.
    pub(crate) lane: Arc<str>,
    pub(crate) kind: &'static str,
    /// When it happened.
    pub(crate) timestamp: Arc<str>,
    pub(crate) subject: Arc<Subject>,
}

#[derive(Debug)]
pub(crate) enum Subject {
    Hold(Box<HoldNews>),
    Found(Found),
}

/// A hold, and what happened to it.
#[derive(Debug)]
pub(crate) struct HoldNews {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) uid: String,
    pub(crate) spec: AccessRequestSpec,
    pub(crate) event: Event,
}

#[derive(Serialize)]
struct Payload<'a, T> {
    r#type: &'static str,
    timestamp: &'a str,
    data: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    phase: AccessRequestPhase,
    #[serde(flatten)]
    spec: &'a AccessRequestSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'a ApproverDecision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approvals: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decisions: Option<&'a [ApproverDecision]>,
    /// While it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    decide: Option<Commands>,
}

/// The commands of reviewers.
#[derive(Serialize)]
pub(crate) struct Commands {
    pub(crate) approve: String,
    pub(crate) deny: String,
}

impl Message {
    /// A message about `hold`. `id` names what happened and nothing else: letters, digits, `_` and
    /// `-`; what else is in it becomes `_`. `timestamp` (RFC 3339) is when it happened.
    #[must_use]
    pub fn of_hold(id: &str, timestamp: &str, hold: &Hold<'_>, event: Event) -> Self {
        let kind = match event {
            Event::Created => "access_request.created",
            Event::Decided { .. } => "access_request.decided",
            Event::Closed { .. } => "access_request.closed",
        };
        let lane = format!("{}/{}", hold.namespace.unwrap_or_default(), hold.name);
        let news = HoldNews {
            name: hold.name.to_owned(),
            namespace: hold.namespace.map(str::to_owned),
            uid: hold.uid.to_owned(),
            spec: hold.spec.clone(),
            event,
        };
        Self {
            id: plain(id),
            lane: lane.into(),
            kind,
            timestamp: timestamp.into(),
            subject: Arc::new(Subject::Hold(Box::new(news))),
        }
    }

    /// A message about a finding.
    #[must_use]
    pub fn of_finding(alert: Alert) -> Self {
        let timestamp = alert.at.to_string().into();
        let found = Found::from(alert);
        Self {
            id: plain(&format!("finding_{}", found.id)),
            lane: format!("finding/{}", found.code.as_str()).into(),
            kind: "finding.raised",
            timestamp,
            subject: Arc::new(Subject::Found(found)),
        }
    }

    /// Its `webhook-id`.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The body of the webhook.
    pub(crate) fn body(&self) -> Result<Bytes, serde_json::Error> {
        let (kind, timestamp) = (self.kind, &*self.timestamp);
        let body = match &*self.subject {
            Subject::Hold(news) => serde_json::to_vec(&Payload {
                r#type: kind,
                timestamp,
                data: news.data(),
            }),
            Subject::Found(found) => serde_json::to_vec(&Payload {
                r#type: kind,
                timestamp,
                data: found,
            }),
        };
        body.map(Bytes::from)
    }
}

/// The parts of what is signed have dots between them.
pub(crate) fn plain(id: &str) -> Arc<str> {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    id.chars().map(plain).collect::<String>().into()
}

impl HoldNews {
    fn data(&self) -> Data<'_> {
        let mut data = Data {
            name: &self.name,
            namespace: self.namespace.as_deref(),
            phase: AccessRequestPhase::Pending,
            spec: &self.spec,
            decision: None,
            approvals: None,
            decisions: None,
            decide: Some(self.commands()),
        };
        match &self.event {
            Event::Created => {}
            Event::Decided {
                decision,
                approvals,
            } => (data.decision, data.approvals) = (Some(decision), Some(*approvals)),
            Event::Closed { phase, decisions } => {
                (data.phase, data.decisions, data.decide) =
                    (*phase, Some(decisions.as_slice()), None);
            }
        }
        data
    }

    /// The command that shows all of it.
    pub(crate) fn whole(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!(
                "kubectl get accessrequest {} -n {namespace} -o yaml",
                self.name
            ),
            None => "weir requests -o json".to_owned(),
        }
    }

    pub(crate) fn commands(&self) -> Commands {
        let name = &self.name;
        let (program, place) = match &self.namespace {
            Some(namespace) => ("kubectl weir", format!(" -n {namespace}")),
            None => ("weir", String::new()),
        };
        Commands {
            approve: format!("{program} approve {name}{place}"),
            deny: format!("{program} deny {name}{place} --reason REASON"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weir_audit::Timestamp;

    use super::*;

    fn spec() -> AccessRequestSpec {
        serde_json::from_value(json!({
            "requester": {"name": "spiffe://c/ns/billing/sa/reporter", "namespace": "billing"},
            "summary": ["who and what", "how much", "why"],
            "target": "orders", "policy": "reporting", "rule": "bulk",
            "statement": "select * from customers", "parameters": [null, "1"],
            "reason": "more than 10 rows", "deadline": "2026-11-27T12:00:00Z",
            "groups": ["stewards"], "count": 2, "deliveredRows": 10,
        }))
        .unwrap()
    }

    fn sent(event: Event, namespace: Option<&str>) -> Value {
        let spec = spec();
        let hold = Hold {
            name: "weir-x",
            namespace,
            uid: "1-2",
            spec: &spec,
        };
        let message = Message::of_hold("a.b", "2026-11-27T11:00:00Z", &hold, event);
        assert_eq!(&*message.id, "a_b");
        serde_json::from_slice(&message.body().unwrap()).unwrap()
    }

    #[test]
    fn reviewers_learn_who_what_why_until_when_and_how_to_decide() {
        let sent = sent(Event::Created, Some("billing"));
        assert_eq!(sent["type"], "access_request.created");
        assert_eq!(sent["timestamp"], "2026-11-27T11:00:00Z");
        let data = &sent["data"];
        assert_eq!(data["requester"]["namespace"], "billing");
        assert_eq!(data["statement"], "select * from customers");
        assert_eq!(data["summary"].as_array().unwrap().len(), 3);
        assert_eq!(data["reason"], "more than 10 rows");
        assert_eq!(data["deadline"], "2026-11-27T12:00:00Z");
        let approve = &data["decide"]["approve"];
        assert_eq!(approve, "kubectl weir approve weir-x -n billing");
    }

    #[test]
    fn outside_of_a_cluster_there_is_no_namespace() {
        let sent = sent(Event::Created, None);
        assert!(sent["data"].get("namespace").is_none());
        assert_eq!(sent["data"]["decide"]["approve"], "weir approve weir-x");
    }

    #[test]
    fn decisions_and_the_end_say_who_decided_what() {
        let decision: ApproverDecision = serde_json::from_value(json!({"approver": "jane",
            "decision": "Approve", "at": "2026-11-27T11:30:00Z", "rows": 5}))
        .unwrap();
        let decided = sent(
            Event::Decided {
                decision: decision.clone(),
                approvals: 1,
            },
            None,
        );
        assert_eq!(decided["data"]["decision"]["approver"], "jane");
        assert_eq!(
            (&decided["data"]["approvals"], &decided["data"]["count"]),
            (&json!(1), &json!(2))
        );
        let closed = sent(
            Event::Closed {
                phase: AccessRequestPhase::Approved,
                decisions: vec![decision],
            },
            None,
        );
        assert_eq!(closed["data"]["phase"], "Approved");
        assert_eq!(closed["data"]["decisions"][0]["rows"], 5);
        assert!(closed["data"].get("decide").is_none());
    }

    #[test]
    fn a_finding_says_what_how_bad_and_where() {
        let alert = Alert {
            id: "pod_1-1-5".to_owned(),
            at: Timestamp::from_micros(1_700_000_000_000_000),
            code: FindingCode::Gap,
            severity: FindingCode::Gap.severity(),
            message: "3 events are missing".to_owned(),
            engine: Some("pod_1".to_owned()),
            session: None,
            identity: None,
            more: 2,
        };
        let message = Message::of_finding(alert);
        assert_eq!(&**message.id(), "finding_pod_1-1-5");
        let sent: Value = serde_json::from_slice(&message.body().unwrap()).unwrap();
        assert_eq!(sent["type"], "finding.raised");
        assert_eq!(sent["timestamp"], "2023-11-14T22:13:20.000000Z");
        let data = json!({"id": "pod_1-1-5", "code": "gap", "severity": "high", "more": 2,
            "message": "3 events are missing", "engine": "pod_1"});
        assert_eq!(sent["data"], data);
    }
}
