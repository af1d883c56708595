use super::*;

fn peer() -> Peer {
    Peer::new("cluster.local", "billing", "reporter", "p", "uid-1")
}

fn spec() -> AccessRequestSpec {
    serde_json::from_value(json!({
        "requester": {"name": "spiffe://cluster.local/ns/kube-system/sa/admin"},
        "summary": ["select * from customers", "x".repeat(500), "why", "too much"],
        "target": "orders", "policy": "reporting", "rule": "bulk",
        "statement": "select * from customers", "parameters": [null, "1"],
        "reason": "more than 10000 rows",
        "deadline": "2126-11-27T12:00:00Z", "groups": ["stewards"], "count": 1,
    }))
    .unwrap()
}

#[test]
fn a_request_is_its_pods_whatever_it_says() {
    let object = manifest(&peer(), &PodEntry::default(), &of_peer(spec(), &peer()));
    let requester = &object.data["spec"]["requester"];
    assert_eq!(
        requester["name"],
        "spiffe://cluster.local/ns/billing/sa/reporter"
    );
    assert_eq!(requester["pod"], "p");
    assert_eq!(object.metadata.namespace.as_deref(), Some("billing"));
    let owner = &object.metadata.owner_references.unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("Pod", "uid-1"));
}

#[test]
fn a_summary_has_at_most_three_short_lines_and_parameters_keep_their_nulls() {
    let object = manifest(&peer(), &PodEntry::default(), &of_peer(spec(), &peer()));
    let spec = &object.data["spec"];
    let lines = spec["summary"].as_array().unwrap();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1].as_str().unwrap().chars().count(), SUMMARY_CHARS);
    assert_eq!(spec["parameters"], json!([null, "1"]));
    assert!(spec.get("fingerprint").is_none());
}

#[test]
fn an_entry_remembers_that_its_ruling_was_told() {
    let mut object = manifest(&peer(), &PodEntry::default(), &of_peer(spec(), &peer()));
    object.metadata.name = Some("weir-x".to_owned());
    object.data["status"] = json!({"phase": "Pending", "decisions": [
        {"approver": "jane", "decision": "Approve", "at": "2026-11-27T11:00:00Z"}]});
    let mut first = entry(object.clone(), None);
    assert_eq!(first.pod_uid, "uid-1");
    assert_eq!(ruled(&first).unwrap().approvers, ["jane"]);
    assert!(!first.told);
    first.told = true;
    assert!(entry(object, Some(&first)).told);
}

#[test]
fn a_request_names_the_person_who_made_the_pod_and_no_controller() {
    let owner = |created_by: &str| {
        let pod = PodEntry {
            created_by: Some(created_by.to_owned()),
            ..PodEntry::default()
        };
        let object = manifest(&peer(), &pod, &of_peer(spec(), &peer()));
        object
            .metadata
            .annotations
            .and_then(|all| all.get(OWNER).cloned())
    };
    assert_eq!(
        owner("jane@example.com").as_deref(),
        Some("jane@example.com")
    );
    assert_eq!(
        owner("system:serviceaccount:kube-system:replicaset-controller"),
        None
    );
    let pod = PodEntry {
        created_by: Some("jane@example.com".to_owned()),
        owned_by: Some("team-shop, olga".to_owned()),
        ..PodEntry::default()
    };
    let object = manifest(&peer(), &pod, &of_peer(spec(), &peer()));
    assert_eq!(
        object.metadata.annotations.unwrap()[OWNER],
        "jane@example.com,team-shop, olga"
    );
}
