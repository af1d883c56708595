use serde_json::json;
use weir_policy::Subject;
use weir_uplink::{Spool, SpoolConfig};

use super::*;

fn spool() -> (tempfile::TempDir, Spool) {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(SpoolConfig::new(dir.path().join("spool"))).unwrap();
    (dir, spool)
}

fn target(name: &str, address: &str) -> serde_json::Value {
    json!({"apiVersion": "weir.dev/v1alpha1", "kind": "Target", "metadata": {"name": name}, "spec": {
        "protocol": "PostgreSQL", "addresses": [{"cidr": address, "port": 5432}],
        "upstreamTLS": {"mode": "Disable"}}})
}

fn policy(targets: &[&str]) -> serde_json::Value {
    json!({"kind": "ClusterGuardPolicy", "metadata": {"name": "p"}, "spec": {
        "subjects": [{"names": ["*"]}], "targets": targets, "rules": []}})
}

fn snapshot(revision: u64, resources: Vec<serde_json::Value>) -> Snapshot {
    let mut snapshot = Snapshot {
        revision,
        resources,
        ..Snapshot::default()
    };
    snapshot.digest = snapshot.content_digest().unwrap();
    snapshot
}

fn good(revision: u64) -> Snapshot {
    snapshot(
        revision,
        vec![target("db", "192.0.2.1/32"), policy(&["db"])],
    )
}

fn granted(policies: &SnapshotPolicies) -> bool {
    let bundle = policies.current();
    let target = bundle.target_named("db").map(|(target, _)| target);
    target.is_some_and(|target| {
        bundle
            .scope(&Subject::default(), target, weir_policy::Timestamp(0))
            .is_some()
    })
}

#[test]
fn equal_content_is_not_swapped_and_a_change_is() {
    let (_dir, spool) = spool();
    let policies = SnapshotPolicies::new(good(1), spool.handle()).unwrap();
    assert!(granted(&policies) && policies.current().revision() == 1);
    assert_eq!(policies.take(good(2)), Ok(false));
    assert_eq!(policies.current().revision(), 1);
    assert_eq!(policies.snapshot().revision, 2);
    let two = vec![
        target("db", "192.0.2.1/32"),
        target("x", "192.0.2.2/32"),
        policy(&["*"]),
    ];
    assert_eq!(policies.take(snapshot(3, two)), Ok(true));
    assert_eq!(policies.current().revision(), 2);
}

#[test]
fn a_broken_snapshot_changes_nothing_and_says_so() {
    let (_dir, spool) = spool();
    let policies = SnapshotPolicies::new(good(1), spool.handle()).unwrap();
    let broken = snapshot(
        2,
        vec![json!({"kind": "Target", "metadata": {"name": "db"}, "spec": {}})],
    );
    let reason = policies.take(broken).unwrap_err();
    assert!(reason.contains("Target/db"), "{reason}");
    assert!(granted(&policies) && policies.refused().is_some());
    assert_eq!(policies.take(good(3)), Ok(false));
    assert_eq!(policies.refused(), None);
}

#[test]
fn while_suspended_targets_are_known_and_nothing_is_permitted() {
    let (_dir, spool) = spool();
    let policies = SnapshotPolicies::new(good(1), spool.handle()).unwrap();
    policies.suspend("the controller is away");
    let bundle = policies.current();
    assert!(bundle.target_named("db").is_some() && !granted(&policies));
    assert_eq!(bundle.revision(), 2);
    assert_eq!(
        policies.suspended().as_deref(),
        Some("the controller is away")
    );
    policies.resume();
    assert!(granted(&policies) && policies.suspended().is_none());
    assert_eq!(policies.current().revision(), 3);
    policies.suspend("again");
    assert_eq!(
        policies.take(good(1)),
        Ok(true),
        "the same snapshot puts an end to it"
    );
    assert!(granted(&policies));
}

#[test]
fn a_service_leads_to_the_addresses_that_the_controller_sends() {
    let (_dir, spool) = spool();
    let by_service = json!({"kind": "Target", "metadata": {"name": "db"}, "spec": {
        "protocol": "PostgreSQL", "upstreamTLS": {"mode": "Disable"},
        "addresses": [{"service": {"namespace": "data", "name": "orders", "port": 5432}}]}});
    let mut snapshot = snapshot(1, vec![by_service, policy(&["db"])]);
    snapshot
        .services
        .push(weir_uplink::control::ResolvedService {
            namespace: "data".to_owned(),
            name: "orders".to_owned(),
            port: 5432,
            places: vec![weir_policy::Places {
                addresses: vec![
                    "192.0.2.7:5432".parse().unwrap(),
                    "192.0.2.8:15432".parse().unwrap(),
                ],
                standing: weir_policy::Standing::Given,
                behind: Vec::new(),
            }],
        });
    let policies = SnapshotPolicies::new(snapshot, spool.handle()).unwrap();
    let bundle = policies.current();
    let routed = |ip: &str, port| {
        let found = bundle.route(
            ip.parse().unwrap(),
            port,
            None,
            &weir_policy::Resolved::default(),
        );
        found.unwrap().is_some()
    };
    assert!(routed("192.0.2.7", 5432) && routed("192.0.2.8", 15432));
    assert!(!routed("192.0.2.9", 5432));
}
