//! What reviewers are told of a hold.
//!
//! A message is the request as people see it (who, what, why, until when) and how to decide. Nothing
//! of a result is in it: an AccessRequest has none.

use std::sync::Arc;

use hyper::body::Bytes;
use serde::Serialize;
use weir_api::kinds::{AccessRequestPhase, AccessRequestSpec, ApproverDecision};

/// A hold, and where it is decided.
#[derive(Clone, Debug)]
pub struct Hold<'a> {
    /// Name of the request.
    pub name: &'a str,
    /// Its namespace; none outside of a cluster.
    pub namespace: Option<&'a str>,
    /// What is asked for.
    pub spec: &'a AccessRequestSpec,
}

/// What happened to it.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// It waits for people.
    Created,
    /// Somebody decided.
    Decided {
        /// Their decision.
        decision: &'a ApproverDecision,
        /// How many have approved, with this one.
        approvals: u32,
    },
    /// It is over.
    Closed {
        /// How it ended.
        phase: AccessRequestPhase,
        /// What people decided.
        decisions: &'a [ApproverDecision],
    },
}

/// A message, as it is sent however often.
#[derive(Clone, Debug)]
pub struct Message {
    pub(crate) id: Arc<str>,
    /// Messages of one lane are sent one after another.
    pub(crate) lane: Arc<str>,
    pub(crate) kind: &'static str,
    pub(crate) body: Bytes,
}

#[derive(Serialize)]
struct Payload<'a> {
    r#type: &'static str,
    timestamp: &'a str,
    data: Data<'a>,
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
    decide: Option<Decide>,
}

/// The commands of reviewers.
#[derive(Serialize)]
struct Decide {
    approve: String,
    deny: String,
}

impl Message {
    /// A message about `hold`. `id` names what happened and nothing else: letters, digits, `_` and
    /// `-`; what else is in it becomes `_`. `timestamp` (RFC 3339) is when it happened.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn new(
        id: &str,
        timestamp: &str,
        hold: &Hold<'_>,
        event: &Event<'_>,
    ) -> Result<Self, serde_json::Error> {
        let kind = match event {
            Event::Created => "access_request.created",
            Event::Decided { .. } => "access_request.decided",
            Event::Closed { .. } => "access_request.closed",
        };
        let mut data = Data {
            name: hold.name,
            namespace: hold.namespace,
            phase: AccessRequestPhase::Pending,
            spec: hold.spec,
            decision: None,
            approvals: None,
            decisions: None,
            decide: Some(decide(hold)),
        };
        match *event {
            Event::Created => {}
            Event::Decided {
                decision,
                approvals,
            } => (data.decision, data.approvals) = (Some(decision), Some(approvals)),
            Event::Closed { phase, decisions } => {
                (data.phase, data.decisions, data.decide) = (phase, Some(decisions), None);
            }
        }
        let body = serde_json::to_vec(&Payload {
            r#type: kind,
            timestamp,
            data,
        })?;
        // The parts of what is signed have dots between them.
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        };
        let lane = format!("{}/{}", hold.namespace.unwrap_or_default(), hold.name);
        Ok(Self {
            id: id.chars().map(plain).collect::<String>().into(),
            lane: lane.into(),
            kind,
            body: body.into(),
        })
    }

    /// Its `webhook-id`.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }
}

fn decide(hold: &Hold<'_>) -> Decide {
    let name = hold.name;
    let (program, place) = match hold.namespace {
        Some(namespace) => ("kubectl weir", format!(" -n {namespace}")),
        None => ("weir", String::new()),
    };
    Decide {
        approve: format!("{program} approve {name}{place}"),
        deny: format!("{program} deny {name}{place} --reason REASON"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weir_api::kinds::RequestDecision;

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

    fn sent(event: &Event<'_>, namespace: Option<&str>) -> Value {
        let spec = spec();
        let hold = Hold {
            name: "weir-x",
            namespace,
            spec: &spec,
        };
        let message = Message::new("a.b", "2026-11-27T11:00:00Z", &hold, event).unwrap();
        assert_eq!(&*message.id, "a_b");
        serde_json::from_slice(&message.body).unwrap()
    }

    #[test]
    fn reviewers_learn_who_what_why_until_when_and_how_to_decide() {
        let sent = sent(&Event::Created, Some("billing"));
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
        let sent = sent(&Event::Created, None);
        assert!(sent["data"].get("namespace").is_none());
        assert_eq!(sent["data"]["decide"]["approve"], "weir approve weir-x");
    }

    #[test]
    fn decisions_and_the_end_say_who_decided_what() {
        let decision = ApproverDecision {
            approver: "jane".to_owned(),
            decision: RequestDecision::Approve,
            at: "2026-11-27T11:30:00Z".to_owned(),
            reason: None,
            rows: Some(5),
        };
        let decided = sent(
            &Event::Decided {
                decision: &decision,
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
            &Event::Closed {
                phase: AccessRequestPhase::Approved,
                decisions: std::slice::from_ref(&decision),
            },
            None,
        );
        assert_eq!(closed["data"]["phase"], "Approved");
        assert_eq!(closed["data"]["decisions"][0]["rows"], 5);
        assert!(closed["data"].get("decide").is_none());
    }
}
