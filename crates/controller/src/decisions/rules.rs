//! Whether a decision on a request counts. Pure.
//!
//! Invariants: a request is decided while it waits, before its deadline, once by each person; by a
//! member of its groups or one of its users; never by the requester, by whoever owns its workload, or by
//! whoever may act as the requester. An approval reaches no further than the policy lets it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use weir_api::kinds::{
    AccessRequestPhase, AccessRequestSpec, AccessRequestStatus, ApproverDecision, Binding,
    RequestDecision,
};

use super::access::{Acting, Actor};
use crate::requests::phase::{Terms, phase};

/// What the API server says of a token that was issued for a pod.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

/// Who decides, as they were proved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reviewer<'a> {
    pub(crate) name: &'a str,
    pub(crate) groups: &'a [String],
    pub(crate) extra: &'a BTreeMap<String, Vec<String>>,
}

/// A request, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) spec: &'a AccessRequestSpec,
    pub(crate) status: Option<&'a AccessRequestStatus>,
    /// Who owns the requester's workload: users and groups, with commas between them.
    pub(crate) owners: &'a str,
}

/// Why a decision does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// This person may not.
    #[error("{0}")]
    Forbidden(String),
    /// It is over, or this person has decided.
    #[error("{0}")]
    Over(String),
    /// The decision itself.
    #[error("{0}")]
    Invalid(String),
}

/// Whether this person may decide on the request now, as far as the request says. That they may not
/// act as the requester is asked of the cluster.
pub(crate) fn may_decide(
    request: Request<'_>,
    reviewer: Reviewer<'_>,
    now: Timestamp,
) -> Result<(), Refused> {
    let Request {
        spec,
        status,
        owners,
    } = request;
    let terms = Terms::of(spec).map_err(Refused::Invalid)?;
    let made = status.map(|status| status.decisions.as_slice());
    let mut made = made.unwrap_or_default().iter();
    if made.any(|decision| is_same(&decision.approver, reviewer.name)) {
        return Err(Refused::Over(format!(
            "{} has decided already",
            reviewer.name
        )));
    }
    let stands = status.map(|status| status.phase);
    let stands = stands.filter(|phase| *phase != AccessRequestPhase::Pending);
    match stands.unwrap_or_else(|| phase(terms, status, now)) {
        AccessRequestPhase::Pending if now < terms.deadline => {}
        AccessRequestPhase::Pending | AccessRequestPhase::Expired => {
            return Err(Refused::Over(format!(
                "nobody decided before {}: the request has expired",
                terms.deadline
            )));
        }
        phase => {
            return Err(Refused::Over(format!(
                "the request is {phase:?}, which is final"
            )));
        }
    }
    if is_requester(spec, reviewer) {
        return Err(Refused::Forbidden(
            "a requester does not decide on its own request".to_owned(),
        ));
    }
    if owns(owners, reviewer) {
        return Err(Refused::Forbidden(
            "whoever owns the requester does not decide on its requests".to_owned(),
        ));
    }
    let in_group = spec.groups.iter().any(|one| reviewer.groups.contains(one));
    if !in_group && !spec.users.iter().any(|user| user == reviewer.name) {
        let mut deciders = spec.groups.clone();
        deciders.extend(spec.users.iter().cloned());
        return Err(Refused::Forbidden(format!(
            "{} is in none of the groups that may decide: {}",
            reviewer.name,
            deciders.join(", ")
        )));
    }
    Ok(())
}

/// Whether an approval reaches no further than it may.
pub(crate) fn within(spec: &AccessRequestSpec, decision: &ApproverDecision) -> Result<(), Refused> {
    let invalid = |text: String| Err(Refused::Invalid(text));
    let shape = decision.binding == Some(Binding::Shape);
    match decision.decision {
        RequestDecision::Deny if shape || decision.minutes.is_some() => {
            invalid("a denial is of the request, not of a shape".to_owned())
        }
        RequestDecision::Approve if shape => {
            let most = spec.max_minutes.filter(|_| spec.binding == Binding::Shape);
            let Some(most) = most else {
                return invalid(format!(
                    "only this very statement can be approved: rule {}/{} lets no shape be approved, \
                     or the statement has none",
                    spec.policy, spec.rule
                ));
            };
            match decision.minutes {
                Some(minutes) if (1..=most).contains(&minutes) => Ok(()),
                Some(minutes) => invalid(format!(
                    "the policy lets a shape be approved for 1 to {most} minutes, not {minutes}"
                )),
                None => invalid("an approval of a shape says for how many minutes".to_owned()),
            }
        }
        RequestDecision::Approve if decision.minutes.is_some() => invalid(
            "minutes belong to an approval of a shape; this one is of the statement".to_owned(),
        ),
        RequestDecision::Approve | RequestDecision::Deny => Ok(()),
    }
}

/// The requester as RBAC knows it; none without a service account.
pub(crate) fn actor(spec: &AccessRequestSpec) -> Option<Actor<'_>> {
    account(spec).map(|(namespace, account)| Actor {
        namespace,
        account,
        pod: spec.requester.pod.as_deref(),
        workload: spec
            .requester
            .workload
            .as_deref()
            .and_then(|one| one.split_once('/')),
    })
}

/// The requester's service account.
fn account(spec: &AccessRequestSpec) -> Option<(&str, &str)> {
    let requester = &spec.requester;
    requester
        .namespace
        .as_deref()
        .zip(requester.service_account.as_deref())
}

/// Why whoever may act as the requester does not decide.
pub(crate) fn acts_as(name: &str, how: &Acting) -> String {
    format!("{name} may {how}, and so act as the requester, and does not decide for it")
}

/// Whether two names may be one person's. Providers write a name in more than one way, and what is
/// forbidden to one way is forbidden to all; what is granted is granted to the name as it is written.
fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

fn is_requester(spec: &AccessRequestSpec, reviewer: Reviewer<'_>) -> bool {
    let Some((namespace, account)) = account(spec) else {
        return is_same(reviewer.name, &spec.requester.name);
    };
    let here = reviewer.name.strip_prefix("system:serviceaccount:");
    let (in_namespace, by_name) = here
        .and_then(|user| user.split_once(':'))
        .map_or((false, false), |(ns, name)| {
            (ns == namespace, ns == namespace && name == account)
        });
    let pods = reviewer.extra.get(POD_NAME);
    let same_pod = spec
        .requester
        .pod
        .as_ref()
        .zip(pods)
        .is_some_and(|(pod, pods)| pods.contains(pod));
    by_name || (in_namespace && same_pod)
}

fn owns(owners: &str, reviewer: Reviewer<'_>) -> bool {
    let mut owners = owners.split(',').map(str::trim);
    owners.any(|owner| {
        let group = || reviewer.groups.iter().any(|group| is_same(group, owner));
        !owner.is_empty() && (is_same(reviewer.name, owner) || group())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-11-27T12:00:00Z";

    fn spec() -> AccessRequestSpec {
        serde_json::from_value(json!({
            "requester": {"name": "spiffe://cluster.local/ns/shop/sa/web", "namespace": "shop",
                "serviceAccount": "web", "pod": "web-1"},
            "target": "orders", "policy": "p", "rule": "r", "statement": "select 1",
            "reason": "rows", "deadline": "2026-11-27T12:15:00Z", "groups": ["stewards"],
            "users": ["olga"], "count": 2, "binding": "Shape", "maxMinutes": 30, "shape": "select ?",
        }))
        .unwrap()
    }

    fn judged(name: &str, groups: &[&str], owners: &str, now: &str) -> Result<(), Refused> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let reviewer = Reviewer {
            name,
            groups: &groups,
            extra: &BTreeMap::new(),
        };
        let spec = spec();
        let request = Request {
            spec: &spec,
            status: None,
            owners,
        };
        may_decide(request, reviewer, now.parse().unwrap())
    }

    fn is_forbidden(outcome: Result<(), Refused>) -> bool {
        matches!(outcome, Err(Refused::Forbidden(_)))
    }

    #[test]
    fn members_of_the_groups_and_named_users_decide_and_nobody_else() {
        assert_eq!(judged("alice", &["a", "stewards"], "", NOW), Ok(()));
        assert_eq!(judged("olga", &[], "", NOW), Ok(()));
        for (name, groups) in [("admin", "system:masters"), ("Olga", ""), ("stewards", "")] {
            assert!(is_forbidden(judged(name, &[groups], "", NOW)), "{name}");
        }
    }

    #[test]
    fn the_requester_decides_in_no_disguise() {
        let group = ["stewards"];
        let own = "system:serviceaccount:shop:web";
        assert!(is_forbidden(judged(own, &group, "", NOW)));
        let other = "system:serviceaccount:shop:bot";
        assert_eq!(judged(other, &group, "", NOW), Ok(()));
        let groups = ["stewards".to_owned()];
        let spec = spec();
        let request = Request {
            spec: &spec,
            status: None,
            owners: "",
        };
        let extra = [(POD_NAME.to_owned(), vec!["web-1".to_owned()])].into();
        let reviewer = Reviewer {
            name: other,
            groups: &groups,
            extra: &extra,
        };
        let outcome = may_decide(request, reviewer, NOW.parse().unwrap());
        assert!(is_forbidden(outcome), "a token of the requester's own pod");
    }

    #[test]
    fn whoever_owns_the_workload_does_not_decide_by_name_or_by_group() {
        let group = ["stewards", "team-shop"];
        assert_eq!(judged("alice", &group, "olga , bob", NOW), Ok(()));
        assert!(is_forbidden(judged("alice", &group, "bob, alice", NOW)));
        assert!(is_forbidden(judged("alice", &group, "team-shop", NOW)));
        assert!(is_forbidden(judged("olga", &[], "olga", NOW)));
        for owners in ["Alice", "Team-Shop"] {
            assert!(is_forbidden(judged("alice", &group, owners, NOW)));
        }
    }

    #[test]
    fn what_is_over_is_decided_by_nobody() {
        let late = "2026-11-27T12:15:00Z";
        let over = judged("alice", &["stewards"], "", late);
        assert!(matches!(over, Err(Refused::Over(_))), "{over:?}");
    }

    fn decided(status: &serde_json::Value, name: &str) -> Result<(), Refused> {
        let groups = ["stewards".to_owned()];
        let reviewer = Reviewer {
            name,
            groups: &groups,
            extra: &BTreeMap::new(),
        };
        let (spec, status) = (spec(), serde_json::from_value(status.clone()).unwrap());
        let request = Request {
            spec: &spec,
            status: Some(&status),
            owners: "",
        };
        may_decide(request, reviewer, NOW.parse().unwrap())
    }

    #[test]
    fn a_person_decides_once_and_a_complete_decision_is_final_before_it_is_written() {
        let approval = |name: &str| json!({"approver": name, "decision": "Approve", "at": "2026-11-27T11:59:00Z"});
        let one = json!({"phase": "Pending", "decisions": [approval("alice")]});
        for name in ["alice", "Alice"] {
            assert!(matches!(decided(&one, name), Err(Refused::Over(_))));
        }
        assert_eq!(decided(&one, "bob"), Ok(()));
        let both = json!({"phase": "Pending", "decisions": [approval("alice"), approval("bob")]});
        assert!(matches!(decided(&both, "carol"), Err(Refused::Over(_))));
        for phase in ["Approved", "Denied", "Expired", "Withdrawn", "Superseded"] {
            let mut status = both.clone();
            status["phase"] = json!(phase);
            assert!(matches!(decided(&status, "carol"), Err(Refused::Over(_))));
        }
    }

    #[test]
    fn an_approval_reaches_no_further_than_the_policy_lets_it() {
        let decision = |fields: serde_json::Value| -> ApproverDecision {
            let mut decision = json!({"approver": "-", "decision": "Approve", "at": ""});
            for (field, value) in fields.as_object().unwrap() {
                decision[field] = value.clone();
            }
            serde_json::from_value(decision).unwrap()
        };
        let shape =
            |minutes: serde_json::Value| decision(json!({"binding": "Shape", "minutes": minutes}));
        let may = |decision: &ApproverDecision| within(&spec(), decision).is_ok();
        assert!(may(&decision(json!({"rows": 5}))));
        assert!(may(&shape(json!(30))));
        for odd in [
            shape(json!(31)),
            shape(json!(0)),
            decision(json!({"binding": "Shape"})),
        ] {
            assert!(!may(&odd), "{odd:?}");
        }
        assert!(!may(&decision(json!({"minutes": 5}))));
        assert!(!may(&decision(
            json!({"decision": "Deny", "binding": "Shape", "minutes": 5})
        )));
        let exact = AccessRequestSpec {
            binding: Binding::Exact,
            ..spec()
        };
        assert!(within(&exact, &shape(json!(5))).is_err());
    }
}
