//! Compiling for a cluster: one object's fault is its own, and what is dropped widens nothing.

use std::net::SocketAddr;

use weir_policy::{
    Bundle, Effect, EffectSet, NoCounters, Operation, Places, Resolved, SqlOperation, Standing,
    Subject, TargetId, Timestamp, Unroutable, Verdict,
};

use super::{TARGET, lines, with_rules};
use crate::kinds::ServiceRef;
use crate::{
    CompileOptions, Compiled, Reason, References, Resources, Services, Severity, compile, load_str,
};

/// Each document for itself, as a controller loads them.
fn lenient_with(documents: &str, services: Option<Services>) -> Compiled {
    let mut resources = Resources::default();
    for (i, text) in documents.split("---\n").enumerate() {
        resources.merge(load_str(&format!("object-{i}"), text).expect("loads"));
    }
    let options = CompileOptions {
        references: References::Lenient,
        services,
        ..CompileOptions::default()
    };
    compile(&resources, &options).unwrap_or_else(|errors| panic!("{}", lines(&errors)))
}

fn lenient(documents: &str) -> Compiled {
    lenient_with(documents, None)
}

/// File, severity and reason of each finding.
fn found(compiled: &Compiled) -> Vec<(String, Severity, Reason)> {
    let diagnostics = compiled.diagnostics.iter();
    diagnostics
        .map(|found| (found.file.to_string(), found.severity, found.reason))
        .collect()
}

fn says(bundle: &Bundle, subject: &str, effect: Effect) -> String {
    let (id, _) = bundle.target_named("db").expect("target");
    let now = Timestamp(0);
    let Some(scope) = bundle.scope(&Subject::named(subject), id, now) else {
        return "not granted".to_owned();
    };
    let sql = SqlOperation {
        effects: EffectSet::of(&[effect]),
        ..SqlOperation::default()
    };
    match scope
        .decide(&Operation::Sql(&sql), &NoCounters, now)
        .verdict
    {
        Verdict::Permit(_) => "permit".to_owned(),
        Verdict::Deny(denial) => format!("deny {}", denial.rule),
        Verdict::Hold(_) => "hold".to_owned(),
    }
}

const GRANT: &str = "---
kind: ClusterGuardPolicy
metadata: {name: grant}
spec: {subjects: [{names: [\"*\"]}], targets: [db]}
";

#[test]
fn names_of_what_is_not_there_yet_are_conditions_and_the_rest_is_in_force() {
    let text = with_rules(
        "  - {name: no-deletes, match: {sql: {effects: [Delete]}}, action: Deny}
  - {name: later, match: {labels: [pii.later]}, action: Mask}
",
    );
    let compiled = lenient(&text.replace("targets: [db]", "targets: [db, later]"));
    let policy = "object-2".to_owned();
    assert_eq!(
        found(&compiled),
        [
            (policy.clone(), Severity::Unready, Reason::UnknownTarget),
            (policy, Severity::Unready, Reason::UnknownLabel),
        ]
    );
    let bundle = &compiled.bundle;
    assert_eq!(says(bundle, "reporter", Effect::Select), "permit");
    assert_eq!(
        says(bundle, "reporter", Effect::Delete),
        "deny p/no-deletes"
    );
}

#[test]
fn a_target_that_nobody_is_granted_is_ready_and_says_so() {
    let compiled = lenient(TARGET);
    let target = "object-0".to_owned();
    assert_eq!(
        found(&compiled),
        [(target, Severity::Warning, Reason::NotGranted)]
    );
}

#[test]
fn an_invalid_policy_that_restricts_refuses_what_it_selects_and_grants_nothing() {
    let broken = "  - {name: x, match: {sql: {}}, action: Deny}\n";
    let compiled = lenient(&format!("{}{GRANT}", with_rules(broken)));
    let policy = "object-2".to_owned();
    assert_eq!(
        found(&compiled),
        [(policy, Severity::Error, Reason::Invalid)]
    );
    let bundle = &compiled.bundle;
    assert_eq!(says(bundle, "reporter", Effect::Select), "deny p/(invalid)");
    assert_eq!(says(bundle, "somebody", Effect::Select), "permit");
    let alone = lenient(&with_rules(broken));
    assert_eq!(
        says(&alone.bundle, "reporter", Effect::Select),
        "not granted"
    );
}

#[test]
fn an_invalid_guard_policy_refuses_its_namespace_and_no_other() {
    let local = "---
kind: GuardPolicy
metadata: {name: local, namespace: billing}
spec: {targets: [db], rules: [{name: x, match: {opaque: true}, action: Allow}]}
";
    let compiled = lenient(&format!("{TARGET}{GRANT}{local}"));
    let scope = |namespace: &str| {
        let subject = Subject {
            namespace: Some(namespace.into()),
            ..Subject::named("pod")
        };
        let scope = compiled.bundle.scope(&subject, TargetId(0), Timestamp(0));
        scope.expect("granted")
    };
    let select = SqlOperation::default();
    let decide = |namespace: &str| {
        let operation = Operation::Sql(&select);
        let decision = scope(namespace).decide(&operation, &NoCounters, Timestamp(0));
        matches!(decision.verdict, Verdict::Permit(_))
    };
    assert!(!decide("billing"));
    assert!(decide("shipping"));
}

#[test]
fn an_invalid_policy_that_only_observes_or_grants_refuses_nothing() {
    let broken = "  - {name: x, match: {sql: {}}, action: Deny}\n";
    let observing = with_rules(broken).replace("  rules:", "  mode: Observe\n  rules:");
    let compiled = lenient(&format!("{observing}{GRANT}"));
    assert_eq!(says(&compiled.bundle, "reporter", Effect::Select), "permit");
    let granting = with_rules("").replace("[{names: [reporter]}]", "[{names: [reporter]}, {}]");
    let compiled = lenient(&granting);
    assert_eq!(
        says(&compiled.bundle, "reporter", Effect::Select),
        "not granted"
    );
}

#[test]
fn an_invalid_target_keeps_its_addresses_and_refuses_them() {
    let target = TARGET.replace("mode: Disable", "mode: Disable, serverName: x");
    let compiled = lenient(&format!("{target}{GRANT}"));
    let bundle = &compiled.bundle;
    assert_eq!(says(bundle, "reporter", Effect::Select), "not granted");
    let (id, target) = bundle.target_named("db").expect("kept");
    assert!(target.refused.is_some());
    let to = "127.0.0.1".parse().expect("address");
    assert_eq!(
        bundle.route(to, 5432, None, &Resolved::default()),
        Ok(Some(id))
    );
    assert_eq!(
        found(&compiled),
        [("object-0".to_owned(), Severity::Error, Reason::Invalid)]
    );
}

#[test]
fn an_invalid_label_hides_the_columns_that_can_be_read() {
    let text = with_rules("  - {name: hide, match: {labels: [pii.ssn]}, action: Mask}\n");
    let text = text.replace(
        "columns: [ssn]}]",
        "columns: [ssn, \"A B\"]}]\n  mask: {token: {}}",
    );
    let compiled = lenient(&text);
    let (id, _) = compiled.bundle.target_named("db").expect("target");
    let labels = compiled.bundle.labels(id).expect("labels");
    let ssn = labels.of_column("public", "customers", "ssn");
    assert_eq!(ssn.len(), 1);
    let label = compiled.bundle.label(ssn[0]).expect("label");
    assert_eq!(label.mask, weir_policy::Mask::Null);
    assert_eq!(found(&compiled)[0].1, Severity::Error);
}

#[test]
fn an_invalid_exception_loosens_nothing() {
    let exception = "---
kind: PolicyException
metadata: {name: e}
spec: {owner: a, reason: b, expires: soon, subjects: [{names: [\"*\"]}], targets: [db], rules: [p/x]}
";
    let rule = "  - {name: x, match: {sql: {effects: [Delete]}}, action: Deny}\n";
    let compiled = lenient(&format!("{}{exception}", with_rules(rule)));
    assert!(compiled.bundle.exceptions().is_empty());
    assert_eq!(
        says(&compiled.bundle, "reporter", Effect::Delete),
        "deny p/x"
    );
}

#[test]
fn no_exception_lifts_the_refusal_that_stands_for_an_invalid_policy() {
    let exception = "---
kind: PolicyException
metadata: {name: e}
spec: {owner: a, reason: b, expires: 2030-01-01T00:00:00Z, subjects: [{names: [\"*\"]}], targets: [db], rules: [p/RULE]}
";
    let broken = "  - {name: x, match: {sql: {}}, action: Deny}\n";
    let policies = format!("{}{GRANT}", with_rules(broken));
    for rule in ["x", "(invalid)"] {
        let compiled = lenient(&format!("{policies}{}", exception.replace("RULE", rule)));
        let said = says(&compiled.bundle, "reporter", Effect::Select);
        assert_eq!(said, "deny p/(invalid)");
    }
}

fn services(list: &[(&str, &[&str])]) -> Services {
    let entry = |(name, endpoints): &(&str, &[&str])| {
        let service = ServiceRef {
            namespace: "data".into(),
            name: (*name).into(),
            port: 5432,
        };
        let address = |text: &&str| -> SocketAddr { text.parse().expect("address") };
        let places = Places {
            addresses: endpoints.iter().map(address).collect(),
            standing: Standing::Given,
            behind: Vec::new(),
        };
        (service, vec![places])
    };
    list.iter().map(entry).collect()
}

fn service_target(target: &str, service: &str) -> String {
    let address = format!("{{service: {{namespace: data, name: {service}, port: 5432}}}}");
    TARGET
        .replace("name: db", &format!("name: {target}"))
        .replace("{host: 127.0.0.1, port: 5432}", &address)
}

#[test]
fn a_service_becomes_the_addresses_that_lead_to_it_each_with_its_port() {
    let services = services(&[(
        "orders",
        &["10.96.0.7:5432", "10.0.1.5:15432", "[fd00::5]:15432"],
    )]);
    let compiled = lenient_with(&service_target("db", "orders"), Some(services));
    let bundle = &compiled.bundle;
    let route = |to: &str| {
        let to: SocketAddr = to.parse().expect("address");
        bundle.route(to.ip(), to.port(), None, &Resolved::default())
    };
    let db = Ok(Some(TargetId(0)));
    assert_eq!(route("10.96.0.7:5432"), db);
    assert_eq!(route("10.0.1.5:15432"), db);
    assert_eq!(route("[fd00::5]:15432"), db);
    assert_eq!(route("10.0.1.5:5432"), Ok(None));
    assert_eq!(route("10.96.0.7:15432"), Ok(None));
    let (_, target) = bundle.target_named("db").expect("target");
    assert_eq!(target.server_name().as_deref(), Some("orders.data.svc"));
    assert_eq!(found(&compiled)[0].2, Reason::NotGranted);
}

#[test]
fn a_service_without_addresses_covers_nothing_and_is_a_condition() {
    let compiled = lenient_with(&service_target("db", "orders"), Some(services(&[])));
    let reasons: Vec<_> = found(&compiled)
        .into_iter()
        .map(|(_, s, r)| (s, r))
        .collect();
    assert!(reasons.contains(&(Severity::Unready, Reason::UnresolvedService)));
    let to = "10.96.0.7".parse().expect("address");
    let route = compiled.bundle.route(to, 5432, None, &Resolved::default());
    assert_eq!(route, Ok(None));
    let nobody_resolves = load_str("t", &service_target("db", "orders")).expect("loads");
    let compiled = compile(&nobody_resolves, &CompileOptions::default()).expect("compiles");
    assert!(lines(&compiled.diagnostics).contains("only a controller can resolve a Service"));
}

#[test]
fn an_address_of_two_targets_is_refused_and_both_say_so() {
    let both: &[&str] = &["10.0.1.5:5432"];
    let services = services(&[("orders", both), ("decoy", both)]);
    let text = format!(
        "{}---\n{}",
        service_target("db", "orders"),
        service_target("a-decoy", "decoy")
    );
    let compiled = lenient_with(&text, Some(services));
    let conflicts: Vec<_> = found(&compiled)
        .into_iter()
        .filter(|(_, _, reason)| *reason == Reason::AddressConflict)
        .collect();
    assert_eq!(conflicts.len(), 2);
    assert_eq!(
        (&*conflicts[0].0, &*conflicts[1].0),
        ("object-0", "object-1")
    );
    let to = "10.0.1.5".parse().expect("address");
    let (first, second) = (TargetId(0), TargetId(1));
    assert_eq!(
        compiled.bundle.route(to, 5432, None, &Resolved::default()),
        Err(Unroutable::Contested { first, second })
    );
}

#[test]
fn what_is_written_into_a_service_conflicts_with_a_network_too() {
    let written = |standing| {
        let mut services = services(&[("orders", &["10.20.1.5:5432"])]);
        for places in services.values_mut().flatten() {
            places.standing = standing;
        }
        let network = TARGET
            .replace("name: db", "name: network")
            .replace("host: 127.0.0.1", "cidr: 10.20.0.0/16");
        let text = format!("{}---\n{network}", service_target("db", "orders"));
        let compiled = lenient_with(&text, Some(services));
        let found = found(&compiled);
        let conflicts = found
            .iter()
            .filter(|(_, _, reason)| *reason == Reason::AddressConflict);
        conflicts.count()
    };
    assert_eq!(written(Standing::Written), 2);
    assert_eq!(written(Standing::Given), 0);
}

#[test]
fn manifests_mean_what_they_were_made_from() {
    let text = include_str!("design.yaml");
    let resources = load_str("x", text).expect("loads");
    let mut again = Resources::default();
    for manifest in resources.manifests().expect("JSON") {
        again.merge(load_str("y", &manifest.to_string()).expect("loads"));
    }
    let digest = |resources: &Resources| {
        let compiled = compile(resources, &CompileOptions::default()).expect("compiles");
        compiled.bundle.digest().to_owned()
    };
    assert_eq!(digest(&again), digest(&resources));
}
