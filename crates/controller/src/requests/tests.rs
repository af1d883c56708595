use super::*;

fn peer() -> Peer {
    Peer::new("cluster.local", "billing", "reporter", "p", "uid-1")
}

fn spec() -> AccessRequestSpec {
    serde_json::from_value(json!({
        "requester": {"name": "spiffe://cluster.local/ns/kube-system/sa/admin", "workload": "Deployment/other"},
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
    let object = manifest(
        &peer(),
        &PodEntry::default(),
        &of_peer(spec(), &peer(), Some("Deployment/web".to_owned())),
    );
    let requester = &object.data["spec"]["requester"];
    assert_eq!(
        requester["name"],
        "spiffe://cluster.local/ns/billing/sa/reporter"
    );
    assert_eq!(requester["pod"], "p");
    assert_eq!(requester["workload"], "Deployment/web");
    assert_eq!(object.metadata.namespace.as_deref(), Some("billing"));
    let owner = &object.metadata.owner_references.unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("Pod", "uid-1"));
}

#[test]
fn a_summary_has_at_most_three_short_lines_and_parameters_keep_their_nulls() {
    let object = manifest(
        &peer(),
        &PodEntry::default(),
        &of_peer(spec(), &peer(), Some("Deployment/web".to_owned())),
    );
    let spec = &object.data["spec"];
    let lines = spec["summary"].as_array().unwrap();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1].as_str().unwrap().chars().count(), SUMMARY_CHARS);
    assert_eq!(spec["parameters"], json!([null, "1"]));
    assert!(spec.get("fingerprint").is_none());
}

#[test]
fn an_entry_remembers_that_its_ruling_was_told() {
    let mut object = manifest(
        &peer(),
        &PodEntry::default(),
        &of_peer(spec(), &peer(), Some("Deployment/web".to_owned())),
    );
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
        let object = manifest(
            &peer(),
            &pod,
            &of_peer(spec(), &peer(), Some("Deployment/web".to_owned())),
        );
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
    let object = manifest(
        &peer(),
        &pod,
        &of_peer(spec(), &peer(), Some("Deployment/web".to_owned())),
    );
    assert_eq!(
        object.metadata.annotations.unwrap()[OWNER],
        "jane@example.com,team-shop, olga"
    );
}

/// Requests of one pod in this phase, with a deadline in a hundred years.
fn entries(count: usize, phase: &str) -> Vec<Entry> {
    let one = |number: usize| {
        let mut object = manifest(
            &peer(),
            &PodEntry::default(),
            &of_peer(spec(), &peer(), Some("Deployment/web".to_owned())),
        );
        object.metadata.name = Some(format!("weir-{number}"));
        object.data["status"] = json!({"phase": phase});
        entry(object, None)
    };
    (0..count).map(one).collect()
}

#[test]
fn what_is_over_does_not_count_as_waiting() {
    let now = Timestamp::now();
    for over in ["Withdrawn", "Superseded", "Expired"] {
        let load = waiting(entries(64, over).iter(), now);
        assert_eq!(load.requests, 0, "{over}");
    }
    let pending = entries(64, "Pending");
    let load = waiting(pending.iter(), now);
    assert_eq!(load.requests, 64);
    assert!(load.bytes > 64 * 500, "{load:?}");
    let late = "2127-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(waiting(pending.iter(), late).requests, 0);
}

#[test]
fn a_pod_has_so_many_requests_and_so_many_bytes_of_them() {
    let making = Making::default();
    let take = |weight, waiting| Room::take(&making, "uid-1", weight, waiting);
    let waiting = |requests, bytes| room::Load { requests, bytes };
    let full = take(1, waiting(WAITING_PER_POD, 0)).unwrap_err();
    assert!(matches!(full, RequestError::TooMany));
    let large = take(2, waiting(1, WEIGHT_PER_POD - 1)).unwrap_err();
    assert!(matches!(large, RequestError::TooLarge));
    // What is being made counts, of this pod alone, and no longer than that.
    let held = take(WEIGHT_PER_POD, waiting(0, 0)).unwrap();
    assert!(take(1, waiting(0, 0)).is_err());
    assert!(Room::take(&making, "uid-2", 1, waiting(0, 0)).is_ok());
    drop(held);
    assert!(take(1, waiting(0, 0)).is_ok());
    assert!(making.lock().unwrap().is_empty());
}

#[test]
fn of_what_is_over_the_newest_stay_of_each_pod() {
    let now: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
    let keyed = |(number, mut entry): (usize, Entry)| {
        let age = jiff::SignedDuration::from_secs(i64::try_from(number).unwrap());
        entry.created = Some(now - age);
        (("billing".to_owned(), entry.name.clone()), entry)
    };
    let over = entries(203, "Withdrawn").into_iter().enumerate().map(keyed);
    let mut all: Vec<_> = over.collect();
    let goes: Vec<String> = reconcile::surplus(&all, now)
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(goes, ["weir-200", "weir-201", "weir-202"]);
    for (_, entry) in &mut all {
        entry.status.as_mut().unwrap().phase = AccessRequestPhase::Pending;
    }
    assert!(reconcile::surplus(&all, now).is_empty());
}
