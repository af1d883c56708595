//! What the processes say to each other. Versioned by the path; unknown fields are ignored, so that
//! an older sidecar understands a newer controller.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weir_api::kinds::ApproverDecision;
use weir_audit::Identity;
use weir_policy::{Amount, Places};

/// A pod asks for an identity. Its token is the request's bearer token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrol {
    /// A certificate signing request in PEM. Its subject is ignored; its key and signature count.
    pub csr: String,
}

/// The identity that was granted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrolment {
    /// The certificate chain in PEM, leaf first.
    pub certificate: String,
    /// Roots of controller and collector in PEM; two while they rotate.
    pub roots: String,
    /// Seconds until the leaf expires; renew when a third of it is left.
    pub expires_in_seconds: u64,
    /// Who was attested.
    pub identity: Attested,
}

/// An attested identity: what policies select and events carry.
pub type Attested = Identity;

/// What the controller sends on a watch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Push {
    /// Take this over.
    Snapshot(Box<Snapshot>),
    /// Somebody ruled on a request of this pod.
    Ruling(RequestRuling),
    /// Nothing new.
    Heartbeat,
}

/// Everything that concerns one pod, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Grows with every change of what it was made from.
    pub revision: u64,
    /// SHA-256 over the rest in hex; equal for equal content whatever the revision.
    pub digest: String,
    /// Targets, DataLabels, policies and exceptions as manifests: `kind`, `metadata`, `spec`.
    pub resources: Vec<serde_json::Value>,
    /// The Services that the Targets name.
    #[serde(default)]
    pub services: Vec<ResolvedService>,
    /// The objects in Weir's own namespace that the granted Targets name: name to key to content, in
    /// Base64.
    #[serde(default)]
    pub secrets: BTreeMap<String, BTreeMap<String, String>>,
    /// How to run.
    pub settings: Settings,
}

/// A Service that a Target names, and every address that leads to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedService {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// The port that the Target names.
    pub port: u16,
    /// Its cluster IPs, endpoints, node ports, external and load-balancer addresses, and those of every
    /// other Service with an endpoint in common.
    pub places: Vec<Places>,
}

/// How a sidecar runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// What happens to connections that no Target covers.
    pub unmatched: UnmatchedSetting,
    /// How long the last snapshot is in force without the controller.
    pub keep_seconds: u64,
    /// What keyed tokens are made with, in Base64: equal in all sidecars, so that tokens are.
    pub token_key: String,
    /// Roots that applications trust beside Weir's, in PEM.
    #[serde(default)]
    pub extra_roots: String,
    /// Where evidence goes, `host:port`.
    pub collector: String,
    /// The addresses of that host, for pods whose resolver does not know it.
    #[serde(default)]
    pub collector_addresses: Vec<IpAddr>,
    /// How long `BlockingStrict` waits for it.
    pub audit_timeout_seconds: u64,
    /// How long a drain waits for sessions to end.
    pub drain_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            unmatched: UnmatchedSetting::Relay,
            keep_seconds: 300,
            token_key: String::new(),
            extra_roots: String::new(),
            collector: String::new(),
            collector_addresses: Vec::new(),
            audit_timeout_seconds: 5,
            drain_seconds: 10,
        }
    }
}

/// What happens to connections that no Target covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnmatchedSetting {
    /// Relayed if they are not a governed protocol, and recorded.
    #[default]
    Relay,
    /// Refused, and recorded.
    Refuse,
}

/// A ruling on a request of this pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRuling {
    /// The request.
    pub name: String,
    /// How it ended.
    #[serde(flatten)]
    pub ending: Ending,
    /// Who decided, as the API server authenticated them.
    #[serde(default)]
    pub approvers: Vec<String>,
    /// What they decided, those decisions that it took.
    #[serde(default)]
    pub decisions: Vec<ApproverDecision>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "camelCase")]
pub enum Ending {
    /// Go on, for so many rows if a number is given.
    Approved {
        /// The smallest row limit of the approvals.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows: Option<u64>,
    },
    /// Stop.
    Denied {
        /// Why.
        reason: String,
    },
    /// Nobody decided in time.
    Expired,
}

/// More of the same wait for a request of this pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeats {
    /// How many, so far.
    pub repeats: u32,
}

/// What a sidecar has in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The snapshot's revision.
    pub revision: u64,
    /// The snapshot's digest.
    pub digest: String,
    /// Why a newer snapshot is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Version of the sidecar.
    pub version: String,
}

/// A request was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessRequestOpened {
    /// Name of the AccessRequest, in the pod's namespace.
    pub name: String,
}

/// A sidecar settles and asks for parts of window budgets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseRequest {
    /// One for each budget.
    pub budgets: Vec<LeaseAsk>,
}

/// One budget of a [`LeaseRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseAsk {
    /// [`weir_policy::BudgetKey::as_str`].
    pub key: String,
    /// The window in milliseconds.
    pub per_ms: u64,
    /// What this sidecar has taken since its last settlement that was answered.
    pub spent: Amount,
    /// What it wants to be able to take next.
    pub want: Amount,
    /// The smallest limit on this budget; nothing is leased beyond it.
    pub limit: Amount,
    /// Which count `settled` and `spent` belong to; another one starts from nothing.
    #[serde(default)]
    pub epoch: u64,
    /// Grows with every request of an epoch: one that comes late changes nothing.
    #[serde(default)]
    pub sequence: u64,
    /// What was taken in this epoch before `spent`, as far as an answer has said so.
    #[serde(default)]
    pub settled: Amount,
    /// What it may go on taking of its lease, beyond `spent`, while it waits for the answer.
    #[serde(default)]
    pub keeps: Amount,
}

/// What was leased, in the order of the request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leases {
    /// One for each budget.
    pub budgets: Vec<Lease>,
}

/// Part of a window budget that one sidecar may take until it expires.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// The budget.
    pub key: String,
    /// Taken within the window by all, this sidecar's settled part included, and what others hold.
    pub used: Amount,
    /// What this sidecar may take beyond `used`.
    pub granted: Amount,
    /// When the lease ends; nothing may be taken after it.
    pub expires_in_ms: u64,
    /// Why nothing was settled and nothing leased, if that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The collector asks whether somebody may read evidence: the bearer of a token, the bearer of an ID
/// token, or a user whom a client certificate of the cluster has proved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewRequest {
    /// A bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// An ID token of the identity provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
    /// A user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The namespace whose evidence is read; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `get` of evidence, or `list`.
    pub verb: String,
}

/// May they?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Who asks.
    #[serde(default)]
    pub user: String,
    /// Whether they may.
    pub allowed: bool,
    /// Why not.
    #[serde(default)]
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};
    use weir_api::kinds::{AccessRequestSpec, Binding, RequestDecision};

    use super::*;
    use crate::control::{
        Coverage, CoverageAsked, DecisionAsked, DecisionTaken, NamespaceCoverage, Person,
        RequestView, RequestsAsked, RequestsListed,
    };

    /// Adds a member that nobody knows to every object.
    fn newer(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.values_mut().for_each(newer);
                members.insert("newer".to_owned(), json!({"of": ["a", "version"]}));
            }
            Value::Array(items) => items.iter_mut().for_each(newer),
            _ => {}
        }
    }

    fn understood<T: Serialize + DeserializeOwned>(message: &T) {
        let sent = serde_json::to_value(message).unwrap();
        let mut from_newer = sent.clone();
        newer(&mut from_newer);
        assert_ne!(from_newer, sent);
        let taken: T = serde_json::from_value(from_newer).unwrap();
        assert_eq!(serde_json::to_value(&taken).unwrap(), sent);
    }

    #[test]
    fn fields_of_a_newer_version_are_ignored_in_every_message() {
        understood(&Enrol { csr: "x".into() });
        understood(&Enrolment {
            certificate: "x".into(),
            roots: "x".into(),
            expires_in_seconds: 1,
            identity: Attested::named("x"),
        });
        understood(&Push::Ruling(RequestRuling {
            name: "weir-x".into(),
            ending: Ending::Denied {
                reason: "no".into(),
            },
            approvers: vec!["jane".into()],
            decisions: Vec::new(),
        }));
        understood(&Repeats { repeats: 1 });
        understood(&Push::Heartbeat);
        understood(&ResolvedService::default());
        understood(&Settings::default());
        understood(&Report::default());
        understood(&AccessRequestOpened { name: "x".into() });
        let budgets = vec![LeaseAsk::default()];
        understood(&LeaseRequest { budgets });
        let budgets = vec![Lease::default()];
        understood(&Leases { budgets });
        understood(&ReviewRequest::default());
        understood(&Review::default());
        let person = Person::of_user("jane", vec!["stewards".into()]);
        understood(&RequestsAsked {
            person: person.clone(),
            namespace: None,
            closed: true,
        });
        understood(&DecisionAsked {
            person: person.clone(),
            namespace: "billing".into(),
            name: "weir-x".into(),
            uid: "1".into(),
            decision: RequestDecision::Approve,
            reason: None,
            rows: Some(1),
            binding: Some(Binding::Shape),
            minutes: Some(10),
        });
        understood(&CoverageAsked { person });
        understood(&Coverage {
            namespaces: vec![NamespaceCoverage::default()],
        });
        let spec: AccessRequestSpec = serde_json::from_value(json!({
            "requester": {"name": "x"}, "target": "t", "policy": "p", "rule": "r",
            "statement": "select 1", "reason": "why", "deadline": "2126-11-27T12:00:00Z",
            "groups": ["g"], "count": 1,
        }))
        .unwrap();
        understood(&spec);
        let request = RequestView {
            namespace: "billing".into(),
            name: "weir-x".into(),
            uid: "1".into(),
            created: "2026-11-28T00:00:00Z".into(),
            spec,
            status: None,
            may_decide: false,
            why_not: Some("no".into()),
        };
        understood(&DecisionTaken {
            request: request.clone(),
        });
        understood(&RequestsListed {
            user: "jane".into(),
            groups: vec!["stewards".into()],
            requests: vec![request],
            left_out: 1,
        });
    }

    #[test]
    fn what_the_pod_must_understand_to_obey_is_not_guessed() {
        let odd = json!({"name": "weir-x", "ending": "approvedForFriends"});
        assert!(serde_json::from_value::<RequestRuling>(odd).is_err());
        let odd = json!({"unmatched": "Ask", "keepSeconds": 1, "tokenKey": "", "collector": "",
            "auditTimeoutSeconds": 1, "drainSeconds": 1});
        assert!(serde_json::from_value::<Settings>(odd).is_err());
    }
}
