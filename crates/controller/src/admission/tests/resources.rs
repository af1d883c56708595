//! Targets, labels and policies.

use serde_json::{Value, json};

use super::{Answered, Cluster, review};

const TARGET: &str = "{kind: Target, metadata: {name: orders}, spec: {protocol: PostgreSQL,
    addresses: [{host: orders.example, port: 5432}]}}";

fn object(kind: &str, spec: Value) -> Value {
    json!({"apiVersion": "weir.dev/v1alpha1", "kind": kind,
        "metadata": {"name": "subject", "uid": "u", "resourceVersion": "7", "generation": 2,
            "creationTimestamp": "2026-11-27T11:00:00Z", "managedFields": [{"manager": "kubectl"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "spec": spec, "status": {"conditions": []}})
}

fn policy(targets: &[&str], rules: Value) -> Value {
    object(
        "ClusterGuardPolicy",
        json!({"mode": "Enforce", "subjects": [{"names": ["*"]}],
        "targets": targets, "rules": rules}),
    )
}

fn ask(cluster: Cluster, object: Value) -> Answered {
    cluster.ask("/validate/resources", &review(json!({"object": object})))
}

fn deny() -> Value {
    json!([{"name": "r", "match": {"sql": {"effects": ["Delete"]}}, "action": "Deny"}])
}

#[test]
fn good_objects_pass_with_what_the_server_keeps_in_them() {
    let known = || Cluster::default().with("Target/orders", TARGET);
    assert!(
        ask(known(), policy(&["orders"], deny()))
            .warnings()
            .is_empty()
    );
}

#[test]
fn what_is_unknown_to_the_schema_is_refused() {
    let answer = ask(
        Cluster::default(),
        object(
            "Target",
            json!({"protocol": "PostgreSQL",
        "addresses": [{"host": "a", "port": 1}], "upstreamTls": {}}),
        ),
    );
    assert!(
        answer.refusal().contains("upstreamTLS"),
        "{}",
        answer.refusal()
    );
}

#[test]
fn contradictions_within_an_object_are_refused() {
    let known = || Cluster::default().with("Target/orders", TARGET);
    let twice = json!([
        {"name": "a", "match": {"sql": {"effects": ["Delete"]}}, "action": "Deny"},
        {"name": "a", "match": {"sql": {"effects": ["Delete"]}}, "action": "Allow"},
    ]);
    assert!(
        ask(known(), policy(&["orders"], twice.clone()))
            .refusal()
            .contains("spec.rules[1]")
    );
    assert!(
        ask(Cluster::default(), policy(&["later"], twice))
            .refusal()
            .contains("spec.rules[1]")
    );
}

#[test]
fn what_is_named_may_come_later() {
    let answer = ask(Cluster::default(), policy(&["orders"], deny()));
    assert!(
        answer.warnings()[0].contains("orders"),
        "{:?}",
        answer.warnings()
    );
    let label = object(
        "DataLabel",
        json!({"columns": [
        {"target": "orders", "table": "public.customers", "columns": ["ssn"]}]}),
    );
    assert!(ask(Cluster::default(), label).warnings()[0].contains("orders"));
    let masked = json!([{"name": "m", "match": {"labels": ["pii.*"]}, "action": "Mask"}]);
    let known = Cluster::default().with("Target/orders", TARGET);
    assert!(ask(known, policy(&["orders"], masked)).warnings()[0].contains("pii.*"));
}

#[test]
fn errors_of_others_refuse_nobody() {
    let broken = "{kind: ClusterGuardPolicy, metadata: {name: broken}, spec: {mode: Enforce,
        subjects: [{}], targets: [nothing]}}";
    let known = Cluster::default()
        .with("Target/orders", TARGET)
        .with("ClusterGuardPolicy/broken", broken);
    assert!(
        ask(known, policy(&["orders"], deny()))
            .warnings()
            .is_empty()
    );
}

#[test]
fn a_new_version_is_not_compared_with_the_old_one() {
    let old = "{kind: Target, metadata: {name: subject}, spec: {protocol: PostgreSQL,
        addresses: [{host: orders.example, port: 5432}]}}";
    let new = object(
        "Target",
        json!({"protocol": "PostgreSQL",
        "addresses": [{"host": "orders.example", "port": 5432}]}),
    );
    ask(Cluster::default().with("Target/subject", old), new).warnings();
}

#[test]
fn an_address_that_another_target_has_is_refused() {
    let taken = object(
        "Target",
        json!({"protocol": "PostgreSQL", "addresses": [{"host": "orders.example", "port": 5432}]}),
    );
    let known = Cluster::default().with("Target/orders", TARGET);
    assert!(ask(known, taken).refusal().contains("orders"));
}

#[test]
fn objects_that_a_change_puts_out_of_force_are_named() {
    let policy = "{kind: ClusterGuardPolicy, metadata: {name: p}, spec: {mode: Enforce,
        subjects: [{names: ['*']}], targets: [orders], rules: [{name: m, action: Mask,
        match: {labels: [subject]}}]}}";
    let label = "{kind: DataLabel, metadata: {name: subject}, spec: {columns: [{target: orders,
        table: public.customers, columns: [ssn]}]}}";
    let known = Cluster::default()
        .with("Target/orders", TARGET)
        .with("DataLabel/subject", label)
        .with("ClusterGuardPolicy/p", policy);
    let moved = object(
        "DataLabel",
        json!({"columns": [{"target": "elsewhere", "table": "*.t", "columns": ["ssn"]}]}),
    );
    let answer = ask(known, moved);
    let warnings = answer.warnings();
    assert!(
        warnings.iter().any(|w| w.contains("ClusterGuardPolicy/p")),
        "{warnings:?}"
    );
}

#[test]
fn an_update_that_changes_no_spec_passes() {
    let broken = object("Target", json!({"protocol": "Gopher"}));
    let question = json!({"operation": "UPDATE", "object": broken, "oldObject": broken});
    let answer = Cluster::default().ask("/validate/resources", &review(question));
    assert!(answer.warnings().is_empty());
    ask(Cluster::default(), broken).refusal();
}

#[test]
fn other_kinds_are_refused() {
    assert!(
        ask(Cluster::default(), object("Secret", json!({})))
            .refusal()
            .contains("Secret")
    );
    let request = object("AccessRequest", json!({}));
    ask(Cluster::default(), request).refusal();
}

fn stamped(operation: &str, before: Value, now: Value) -> Value {
    let change = review(
        json!({"operation": operation, "object": object("Quarantine", now),
        "oldObject": if before.is_null() { before } else { object("Quarantine", before) }}),
    );
    let answer = Cluster::default().ask("/mutate/quarantines", &change);
    answer.object()["spec"].clone()
}

#[test]
fn who_orders_changes_and_lifts_a_quarantine_is_whom_the_server_authenticated() {
    let who = json!([{"names": ["x"]}]);
    let ordered = stamped(
        "CREATE",
        Value::Null,
        json!({"subjects": who, "reason": "r", "by": "somebody else"}),
    );
    assert_eq!(ordered["by"], "alice");
    let joes = json!({"subjects": who, "reason": "r", "by": "joe"});
    // A change that asks for nothing else keeps who ordered it.
    let mut mine = joes.clone();
    mine["by"] = json!("mallory");
    assert_eq!(stamped("UPDATE", joes.clone(), mine.clone())["by"], "joe");
    mine["subjects"] = json!([{"names": ["*"]}]);
    assert_eq!(stamped("UPDATE", joes.clone(), mine)["by"], "alice");
    let mut lifted = joes.clone();
    lifted["lifted"] = json!({"reason": "a drill", "by": "joe"});
    let lifted = stamped("UPDATE", joes.clone(), lifted);
    assert_eq!(
        (&lifted["by"], &lifted["lifted"]["by"]),
        (&json!("joe"), &json!("alice"))
    );
    // In force again: ordered anew.
    assert_eq!(stamped("UPDATE", lifted, joes)["by"], "alice");
}

/// A namespace's own policy of so many rules.
fn tightens(namespace: &str, name: &str, rules: usize) -> Value {
    let rule = |n| json!({"name": format!("r{n}"), "limits": {"statement": {"rows": n + 1}}});
    let rules = (0..rules).map(rule);
    let mut object = object(
        "GuardPolicy",
        json!({"targets": ["orders"], "rules": rules.collect::<Vec<_>>()}),
    );
    object["metadata"] = json!({"name": name, "namespace": namespace});
    object.as_object_mut().unwrap().remove("status");
    object
}

#[test]
fn a_namespace_has_so_many_rules_of_its_own_and_takes_nobody_elses_room() {
    let known = || {
        (0..10).fold(
            Cluster::default().with("Target/orders", TARGET),
            |known, n| {
                let name = format!("p{n}");
                let policy = tightens("shop", &name, 90);
                known.with(&format!("GuardPolicy/shop/{name}"), &policy.to_string())
            },
        )
    };
    ask(known(), tightens("shop", "more", 100)).object();
    let with = known().with(
        "GuardPolicy/shop/one",
        &tightens("shop", "one", 1).to_string(),
    );
    let refused = ask(with, tightens("shop", "more", 100));
    assert!(
        refused.refusal().contains("12 with 1001"),
        "{}",
        refused.refusal()
    );
    ask(known(), tightens("shop", "p0", 100)).object();
    ask(known(), tightens("web", "more", 100)).object();
    let small = (0..64).fold(
        Cluster::default().with("Target/orders", TARGET),
        |known, n| {
            let policy = tightens("shop", &format!("p{n}"), 1);
            known.with(&format!("GuardPolicy/shop/p{n}"), &policy.to_string())
        },
    );
    let refused = ask(small, tightens("shop", "more", 1));
    assert!(
        refused.refusal().contains("65 with 65"),
        "{}",
        refused.refusal()
    );
}
