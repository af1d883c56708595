//! Who may do what to an AccessRequest.

use serde_json::{Value, json};

use super::{Answered, Cluster, review};
use crate::decisions::access::Actor;
use crate::decisions::access::tests::acting;

const CONTROLLER: &str = "system:serviceaccount:weir-system:weir-controller";
const COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";

fn request(status: Value) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "AccessRequest",
        "metadata": {"name": "weir-x1", "namespace": "shop", "labels": {"weir.dev/target": "orders"},
            "annotations": {"weir.dev/owner": "olga, team-shop"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "web-1", "uid": "u"}]},
        "spec": {
            "requester": {"name": "spiffe://cluster.local/ns/shop/sa/web", "namespace": "shop",
                "serviceAccount": "web", "pod": "web-1"},
            "target": "orders", "policy": "p", "rule": "r", "statement": "select 1",
            "reason": "rows", "deadline": "2026-11-27T12:15:00Z", "groups": ["stewards"], "count": 1,
        },
        "status": status,
    })
}

fn pending() -> Value {
    json!({"phase": "Pending", "conditions": [condition()]})
}

fn condition() -> Value {
    json!({"type": "Ready", "status": "False", "reason": "Pending", "message": "",
        "lastTransitionTime": "2026-11-27T11:59:00Z"})
}

fn decision(approver: &str) -> Value {
    json!({"approver": approver, "decision": "Approve", "at": "2026-11-27T12:00:00Z"})
}

fn decided(decisions: Value) -> Value {
    let mut status = pending();
    status["decisions"] = decisions;
    status
}

fn user(name: &str, groups: &[&str]) -> Value {
    json!({"username": name, "groups": groups})
}

fn update(user: Value, part: &str, old: Value, new: Value) -> Value {
    review(
        json!({"operation": "UPDATE", "subResource": part, "userInfo": user,
        "object": new, "oldObject": old}),
    )
}

/// What the API server does with a status: it asks to change it, and then whether it may be.
fn set_status_of(user: Value, old: Value, new: Value) -> Answered {
    let question = update(user.clone(), "status", old.clone(), new);
    let stamped = Cluster::default()
        .ask("/mutate/access-requests", &question)
        .object();
    let question = update(user, "status", old, stamped);
    Cluster::default().ask("/validate/access-requests", &question)
}

fn set_status(user: Value, old: Value, new: Value) -> Answered {
    set_status_of(user, request(old), request(new))
}

fn change(user: Value, new: Value) -> Answered {
    let question = update(user, "", request(pending()), new);
    Cluster::default().ask("/validate/access-requests", &question)
}

#[test]
fn a_decision_carries_who_made_it_and_when() {
    let forged = json!([{"approver": "bob", "decision": "Approve", "at": "2020-01-01T00:00:00Z",
        "reason": "fine", "rows": 10}]);
    let answer = set_status(user("alice", &["stewards"]), pending(), decided(forged));
    let status = &answer.object()["status"];
    assert_eq!(status["decisions"][0]["approver"], "alice");
    assert_eq!(status["decisions"][0]["at"], "2026-11-27T12:00:00Z");
    assert_eq!(status["decisions"][0]["rows"], 10);
}

#[test]
fn a_decision_may_leave_out_who_and_when() {
    let bare = decided(json!([{"decision": "Deny"}]));
    set_status(user("alice", &["stewards"]), pending(), bare).object();
}

#[test]
fn a_request_without_status_waits() {
    let new = json!({"phase": "Pending", "decisions": [decision("-")]});
    set_status(user("alice", &["stewards"]), Value::Null, new).object();
}

#[test]
fn members_of_the_groups_decide_and_nobody_else() {
    let ask = |user: Value| set_status(user, pending(), decided(json!([decision("-")])));
    ask(user("alice", &["a", "stewards"])).object();
    let refused = ask(user("admin", &["system:masters"]));
    assert!(
        refused.refusal().contains("none of the groups"),
        "{}",
        refused.refusal()
    );
    let refused = ask(user(CONTROLLER, &["stewards"]));
    assert!(refused.refusal().contains("by people"));
}

#[test]
fn whoever_may_act_as_the_requester_does_not_decide_administrators_included() {
    let web = Actor {
        namespace: "shop",
        account: "web",
        pod: Some("web-1"),
        workload: None,
    };
    let ways = [
        ("admin", "impersonate serviceaccounts"),
        ("minter", "create serviceaccounts/token"),
        ("operator", "create pods/exec"),
        ("deployer", "patch deployments"),
    ];
    let rights = || ways.map(|(name, way)| (name, acting(web, way))).into();
    let ask = |name: &str, silent: bool| {
        let cluster = Cluster {
            rights: rights(),
            silent,
            ..Cluster::default()
        };
        let who = user(name, &["stewards", "system:masters"]);
        let (old, new) = (request(pending()), request(decided(json!([stamped(name)]))));
        cluster.ask(
            "/validate/access-requests",
            &update(who, "status", old, new),
        )
    };
    ask("alice", false).object();
    for (name, way) in ways {
        let refused = ask(name, false);
        let says = format!("{name} may {way} in namespace shop, and so act as the requester");
        assert!(refused.refusal().contains(&says), "{}", refused.refusal());
    }
    // No answer is no yes.
    assert!(ask("alice", true).refusal().contains("cannot be looked up"));
}

#[test]
fn nobody_learns_what_others_may_by_asking_about_a_request_that_is_none() {
    let web = Actor {
        namespace: "shop",
        account: "web",
        pod: Some("web-1"),
        workload: None,
    };
    for name in ["alice", "admin"] {
        let cluster = Cluster {
            rights: vec![("admin", acting(web, "create pods/exec"))],
            unasked: true,
            ..Cluster::default()
        };
        let (old, new) = (request(pending()), request(decided(json!([stamped(name)]))));
        let question = update(user(name, &["stewards"]), "status", old, new);
        let refused = cluster.ask("/validate/access-requests", &question);
        assert!(
            refused.refusal().contains("is not known here"),
            "{}",
            refused.refusal()
        );
    }
}

#[test]
fn more_decisions_than_one_at_a_time_are_not_even_stamped() {
    let many = decided(Value::from(vec![json!({}); 1000]));
    let question = update(
        user("alice", &["stewards"]),
        "status",
        request(pending()),
        request(many.clone()),
    );
    let left = Cluster::default()
        .ask("/mutate/access-requests", &question)
        .object();
    assert_eq!(left, request(many));
}

/// A decision as the webhook leaves it.
fn stamped(name: &str) -> Value {
    let mut decision = decision(name);
    decision["via"] = json!("kubernetes");
    decision
}

#[test]
fn the_controller_writes_decisions_of_people_whom_it_proved_and_no_others() {
    let of = |decision: Value| {
        let controller = user(CONTROLLER, &[]);
        set_status(controller, pending(), decided(json!([decision])))
    };
    let proved = |name: &str, via: &str| {
        let mut decision = decision(name);
        decision["via"] = json!(via);
        decision
    };
    for via in ["oidc", "slack"] {
        let stored = of(proved("oidc:jane", via)).object();
        let decision = &stored["status"]["decisions"][0];
        assert_eq!(decision["approver"], "oidc:jane");
        assert_eq!(decision["at"], "2026-11-27T12:00:00Z");
    }
    for odd in [
        decision("oidc:jane"),
        proved("oidc:jane", "kubernetes"),
        proved("oidc:jane", "socket"),
        proved("", "oidc"),
        proved(CONTROLLER, "oidc"),
    ] {
        assert!(of(odd).refusal().contains("by people"));
    }
    // Neither the requester nor its owner, however they were proved.
    for own in ["system:serviceaccount:shop:web", "olga"] {
        assert!(!of(proved(own, "oidc")).refusal().is_empty());
    }
}

#[test]
fn nobody_but_the_controller_says_that_somebody_was_proved_elsewhere() {
    let mut forged = decision("bob");
    forged["via"] = json!("oidc");
    let answer = set_status(
        user("alice", &["stewards"]),
        pending(),
        decided(json!([forged])),
    );
    let decision = &answer.object()["status"]["decisions"][0];
    assert_eq!(
        (&decision["approver"], &decision["via"]),
        (&json!("alice"), &json!("kubernetes"))
    );
}

#[test]
fn a_shape_is_approved_where_and_as_long_as_the_policy_lets_it() {
    let shaped = |max: Option<u32>| {
        let mut object = request(pending());
        if let Some(max) = max {
            object["spec"]["binding"] = json!("Shape");
            object["spec"]["maxMinutes"] = json!(max);
            object["spec"]["shape"] = json!("select ?");
        }
        object
    };
    let ask = |max: Option<u32>, minutes: u32| {
        let mut new = shaped(max);
        new["status"]["decisions"] =
            json!([{"decision": "Approve", "binding": "Shape", "minutes": minutes}]);
        set_status_of(user("alice", &["stewards"]), shaped(max), new)
    };
    ask(Some(30), 30).object();
    assert!(ask(Some(30), 31).refusal().contains("1 to 30 minutes"));
    assert!(ask(None, 5).refusal().contains("only this very statement"));
}

#[test]
fn nobody_decides_on_their_own_request() {
    let ask = |user: Value| {
        let answer = set_status(user, pending(), decided(json!([decision("-")])));
        answer.refusal().to_owned()
    };
    assert!(ask(user("system:serviceaccount:shop:web", &["stewards"])).contains("own request"));
    assert!(ask(user("olga", &["stewards"])).contains("owns the requester"));
    assert!(ask(user("omar", &["team-shop", "stewards"])).contains("owns the requester"));
    let same_pod = json!({"username": "system:serviceaccount:shop:other", "groups": ["stewards"],
        "extra": {"authentication.kubernetes.io/pod-name": ["web-1"]}});
    assert!(ask(same_pod).contains("own request"));
}

#[test]
fn nobody_decides_twice_and_decisions_stay() {
    let alice = || user("alice", &["stewards"]);
    let one = || decided(json!([decision("alice")]));
    let twice = set_status(
        alice(),
        one(),
        decided(json!([decision("alice"), decision("-")])),
    );
    assert!(twice.refusal().contains("decided already"));
    let mut denied = decision("alice");
    denied["decision"] = json!("Deny");
    for changed in [decided(json!([])), decided(json!([denied])), pending()] {
        assert!(
            set_status(alice(), one(), changed)
                .refusal()
                .contains("final")
        );
    }
    let two = decided(json!([decision("-"), decision("-")]));
    assert!(
        set_status(alice(), pending(), two)
            .refusal()
            .contains("one decision")
    );
    // One approval was enough: there is nothing left for another.
    let bob = user("bob", &["stewards"]);
    let late = set_status(
        bob,
        one(),
        decided(json!([decision("alice"), decision("-")])),
    );
    assert!(late.refusal().contains("final"));
}

#[test]
fn reviewers_change_nothing_but_decisions() {
    let alice = || user("alice", &["stewards"]);
    let approved = json!({"phase": "Approved", "conditions": [condition()]});
    assert!(
        set_status(alice(), pending(), approved)
            .refusal()
            .contains("phase")
    );
    let bare = json!({"phase": "Pending"});
    assert!(
        set_status(alice(), pending(), bare)
            .refusal()
            .contains("conditions")
    );
    assert!(
        set_status(alice(), pending(), Value::Null)
            .refusal()
            .contains("removed")
    );
    set_status(alice(), pending(), pending()).object();
}

#[test]
fn what_is_decided_or_over_is_final() {
    let alice = || user("alice", &["stewards"]);
    for (phase, said) in [
        ("Approved", "final"),
        ("Denied", "final"),
        ("Expired", "expired"),
        ("Withdrawn", "final"),
    ] {
        let mut old = pending();
        old["phase"] = json!(phase);
        let mut new = decided(json!([decision("-")]));
        new["phase"] = json!(phase);
        let late = set_status(alice(), old.clone(), new);
        assert!(late.refusal().contains(said), "{}", late.refusal());
        let reopened = set_status(user(CONTROLLER, &[]), old, pending());
        assert!(reopened.refusal().contains("final"));
    }
    let late = |status: Value| {
        let mut late = request(status);
        late["spec"]["deadline"] = json!("2026-11-27T12:00:00Z");
        late
    };
    let late = set_status_of(
        alice(),
        late(pending()),
        late(decided(json!([decision("-")]))),
    );
    assert!(late.refusal().contains("expired"));
}

#[test]
fn the_controller_says_where_a_request_stands() {
    let controller = || user(CONTROLLER, &[]);
    set_status(controller(), Value::Null, pending()).object();
    let mut approved = decided(json!([decision("alice")]));
    approved["phase"] = json!("Approved");
    set_status(controller(), decided(json!([decision("alice")])), approved).object();
}

#[test]
fn only_the_controller_makes_requests() {
    let make = |user: Value| {
        let question = review(json!({"userInfo": user, "object": request(Value::Null)}));
        Cluster::default().ask("/validate/access-requests", &question)
    };
    make(user(CONTROLLER, &[])).object();
    assert!(
        make(user("alice", &["stewards", "system:masters"]))
            .refusal()
            .contains("alone")
    );
}

#[test]
fn what_is_asked_for_never_changes() {
    let mut other = request(pending());
    other["spec"]["statement"] = json!("select 2");
    for name in ["alice", CONTROLLER, COLLECTOR] {
        assert!(
            change(user(name, &[]), other.clone())
                .refusal()
                .contains("cannot be changed")
        );
        let question = update(user(name, &[]), "status", request(pending()), other.clone());
        let answer = Cluster::default().ask("/validate/access-requests", &question);
        assert!(answer.refusal().contains("cannot be changed"));
    }
}

#[test]
fn others_keep_their_hands_off_the_metadata() {
    for (pointer, value) in [
        ("labels", json!({})),
        ("ownerReferences", json!([])),
        ("finalizers", json!(["x/y"])),
        ("annotations", json!({"weir.dev/owner": "nobody"})),
    ] {
        let mut new = request(pending());
        new["metadata"][pointer] = value;
        change(user("alice", &[]), new.clone()).refusal();
        change(user(CONTROLLER, &[]), new).object();
    }
    let mut new = request(pending());
    new["metadata"]["annotations"]["mine"] = json!("x");
    change(user("alice", &[]), new).object();
}

#[test]
fn a_request_that_waits_is_not_deleted() {
    let delete = |name: &str, status: Value| {
        let question = review(json!({"operation": "DELETE", "userInfo": user(name, &[]),
            "oldObject": request(status)}));
        Cluster::default().ask("/validate/access-requests", &question)
    };
    assert!(delete("alice", pending()).refusal().contains("deny it"));
    assert!(delete("alice", Value::Null).refusal().contains("deny it"));
    for name in [
        CONTROLLER,
        COLLECTOR,
        "system:serviceaccount:kube-system:namespace-controller",
    ] {
        delete(name, pending()).object();
    }
    delete("alice", json!({"phase": "Denied"})).object();
}
