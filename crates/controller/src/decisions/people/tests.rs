use weir_uplink::control::Person;

use super::*;

fn asked(uid: &str, decision: RequestDecision, reason: Option<&str>) -> DecisionAsked {
    DecisionAsked {
        person: Person::of_token("t"),
        namespace: "shop".to_owned(),
        name: "weir-x".to_owned(),
        uid: uid.to_owned(),
        decision,
        reason: reason.map(str::to_owned),
        rows: Some(5),
        binding: Some(Binding::Exact),
        minutes: None,
    }
}

fn jane() -> UserInfo {
    crate::decisions::access::tests::user("jane")
}

#[test]
fn a_decision_names_its_request_and_a_denial_its_reason() {
    let made = |asked: &DecisionAsked| decision(&jane(), DecisionVia::Oidc, asked);
    let yes = made(&asked("1", RequestDecision::Approve, None)).unwrap();
    assert_eq!((yes.approver.as_str(), yes.rows), ("jane", Some(5)));
    assert_eq!((yes.via, yes.binding), (Some(DecisionVia::Oidc), None));
    let no = made(&asked("1", RequestDecision::Deny, Some(" no "))).unwrap();
    assert_eq!((no.reason.as_deref(), no.rows), (Some("no"), None));
    for odd in [
        asked("", RequestDecision::Approve, None),
        asked("1", RequestDecision::Deny, None),
        asked("1", RequestDecision::Deny, Some("  ")),
        asked("1", RequestDecision::Deny, Some(&"x".repeat(REASON + 1))),
    ] {
        assert!(
            matches!(made(&odd), Err(PeopleError::Invalid(_))),
            "{odd:?}"
        );
    }
}

fn read() -> Read {
    let mut object = DynamicObject::new("weir-x", &resource()).within("shop");
    object.metadata.uid = Some("1".to_owned());
    object.metadata.resource_version = Some("7".to_owned());
    object.metadata.annotations = Some([(OWNER.to_owned(), "olga".to_owned())].into());
    object.data = json!({
        "spec": {"requester": {"name": "x", "namespace": "shop", "serviceAccount": "web"},
            "target": "t", "policy": "p", "rule": "r", "statement": "select 1", "reason": "why",
            "deadline": "2126-11-27T12:00:00Z", "groups": ["stewards"], "count": 2},
        "status": {"phase": "Pending", "decisions": [
            {"approver": "bob", "decision": "Approve", "at": "2026-11-27T11:00:00Z"}]},
    });
    Read::new(object).unwrap()
}

#[test]
fn a_person_sees_what_the_decisions_make_of_a_request_before_the_leader_writes_it() {
    let seen = |decisions: &[(&str, RequestDecision)], now: &str| {
        let mut read = read();
        let status = read.status.as_mut().unwrap();
        let one = status.decisions[0].clone();
        let made = decisions
            .iter()
            .map(|(approver, decision)| ApproverDecision {
                approver: (*approver).to_owned(),
                decision: *decision,
                ..one.clone()
            });
        status.decisions = made.collect();
        let view = read.view(now.parse().unwrap(), Ok(()));
        view.status.unwrap().phase
    };
    let now = "2026-11-27T11:00:01Z";
    let bob = ("bob", RequestDecision::Approve);
    let jane = ("jane", RequestDecision::Approve);
    let no = ("jane", RequestDecision::Deny);
    assert_eq!(seen(&[bob], now), AccessRequestPhase::Pending);
    assert_eq!(seen(&[bob, bob], now), AccessRequestPhase::Pending);
    assert_eq!(seen(&[bob, jane], now), AccessRequestPhase::Approved);
    assert_eq!(seen(&[bob, no], now), AccessRequestPhase::Denied);
    let late = "2126-11-27T12:00:01Z";
    assert_eq!(seen(&[bob], late), AccessRequestPhase::Expired);
}

#[test]
fn a_decision_is_appended_to_the_version_that_was_judged() {
    let made = decision(
        &jane(),
        DecisionVia::Oidc,
        &asked("1", RequestDecision::Approve, None),
    );
    let patch = patch(&read(), &made.unwrap());
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
    assert_eq!(patch["status"]["decisions"][0]["approver"], "bob");
    assert_eq!(patch["status"]["decisions"][1]["approver"], "jane");
    assert_eq!(patch["status"]["decisions"][1]["via"], "oidc");
}

#[test]
fn the_owner_in_the_requests_annotation_does_not_decide() {
    let mut olga = crate::decisions::access::tests::user("olga");
    olga.groups = Some(vec!["stewards".to_owned()]);
    let now = Timestamp::now();
    let outcome = judged(&read(), &olga, now);
    assert!(matches!(outcome, Err(Refused::Forbidden(_))));
    olga.username = Some("jane".to_owned());
    assert_eq!(judged(&read(), &olga, now), Ok(()));
}
