use serde_json::json;

use super::*;
use crate::peer::Peer;
use crate::store::kinds::tests::dynamic;
use crate::store::kinds::{Held, Kind, held};

fn target(name: &str, port: u16) -> Held {
    let spec = json!({
        "protocol": "PostgreSQL",
        "addresses": [{"service": {"namespace": "data", "name": name, "port": port}}],
        "credentials": {"mode": "Brokered", "secretRef": {"name": format!("{name}-login")}},
        "upstreamTLS": {"mode": "VerifyFull", "caRef": {"name": "ca"}, "serverName": "db"},
    });
    held(Kind::Target, dynamic(Kind::Target, None, name, spec), None)
}

fn grant(name: &str, namespace: &str, target: &str) -> Held {
    let spec = json!({"subjects": [{"namespaces": [namespace]}], "targets": [target]});
    let kind = Kind::ClusterGuardPolicy;
    held(kind, dynamic(kind, None, name, spec), None)
}

fn tighten(namespace: &str, name: &str, rule: serde_json::Value) -> Held {
    let spec = json!({"targets": ["orders"], "rules": [rule]});
    let kind = Kind::GuardPolicy;
    held(kind, dynamic(kind, Some(namespace), name, spec), None)
}

fn deny() -> serde_json::Value {
    json!({"name": "no-deletes", "match": {"sql": {"effects": ["Delete"]}}, "action": "Deny"})
}

/// A GuardPolicy only tightens.
fn allow() -> serde_json::Value {
    json!({"name": "all", "match": {"sql": {"effects": ["Delete"]}}, "action": "Allow"})
}

fn accept(acceptor: &mut Acceptor, objects: &[Held]) -> Accepted {
    acceptor.accept(
        objects.iter().map(Latest::from),
        &Services::new(),
        Timestamp(0),
    )
}

fn subject(namespace: &str) -> Subject {
    Peer::new("cluster.local", namespace, "default", "p", "u").subject()
}

fn names(accepted: &Accepted, namespace: &str) -> Vec<String> {
    let manifests = accepted.manifests(&subject(namespace)).unwrap();
    let name = |manifest: &Value| manifest["metadata"]["name"].as_str().unwrap().to_owned();
    let mut names: Vec<_> = manifests.iter().map(name).collect();
    names.sort();
    names
}

const TIGHT: &str = "GuardPolicy/billing/p";

#[test]
fn a_malformed_object_leaves_its_last_good_version_and_all_others_in_force() {
    let mut acceptor = Acceptor::default();
    let good = tighten("billing", "p", deny());
    let all = [
        target("orders", 5432),
        grant("g", "billing", "orders"),
        good.clone(),
    ];
    let first = accept(&mut acceptor, &all);
    assert!(
        first
            .verdicts
            .values()
            .all(|verdict| verdict.errors.is_empty())
    );
    let broken = tighten(
        "billing",
        "p",
        json!({"name": "no-deletes", "action": "Explode"}),
    );
    let more = [target("orders", 5432), grant("g", "*", "orders"), broken];
    let second = accept(&mut acceptor, &more);
    let verdict = &second.verdicts[TIGHT];
    assert!(verdict.earlier && !verdict.errors.is_empty());
    assert_eq!(
        second.resources.policies[0].spec.rules[0].name,
        "no-deletes"
    );
    // The other change is in force.
    assert!(!first.same(&second));
    assert!(second.verdicts["ClusterGuardPolicy/g"].errors.is_empty());
}

#[test]
fn an_object_that_parses_but_does_not_compile_falls_back_too() {
    let mut acceptor = Acceptor::default();
    let with = |one: Held| [target("orders", 5432), grant("g", "billing", "orders"), one];
    accept(&mut acceptor, &with(tighten("billing", "p", deny())));
    let accepted = accept(&mut acceptor, &with(tighten("billing", "p", allow())));
    let verdict = &accepted.verdicts[TIGHT];
    assert!(verdict.earlier && !verdict.errors.is_empty());
    assert_eq!(
        accepted.resources.policies[0].spec.rules[0].name,
        "no-deletes"
    );
}

#[test]
fn an_object_that_never_was_right_stays_for_what_it_refuses() {
    let all = [
        target("orders", 5432),
        grant("g", "billing", "orders"),
        tighten("billing", "p", allow()),
    ];
    let accepted = accept(&mut Acceptor::default(), &all);
    let verdict = &accepted.verdicts[TIGHT];
    assert!(!verdict.earlier && !verdict.errors.is_empty());
    assert_eq!(names(&accepted, "billing"), ["g", "orders", "p"]);
}

#[test]
fn what_names_something_that_is_not_there_is_in_force_and_not_ready() {
    let accepted = accept(&mut Acceptor::default(), &[grant("g", "billing", "orders")]);
    let verdict = &accepted.verdicts["ClusterGuardPolicy/g"];
    assert!(verdict.errors.is_empty() && !verdict.unready.is_empty());
    assert_eq!(names(&accepted, "billing"), ["g"]);
}

#[test]
fn budgets_are_counted_over_the_windows_of_policies_and_no_others() {
    let hourly = json!({"name": "bulk", "limits": {"window": {"rows": 100, "per": "1h"}}});
    let all = [
        target("orders", 5432),
        grant("for-billing", "billing", "orders"),
        tighten("billing", "tight", hourly),
        tighten("web", "tight-web", deny()),
    ];
    let accepted = accept(&mut Acceptor::default(), &all);
    assert!(accepted.counts_over(3_600_000));
    assert!(!accepted.counts_over(315_360_000_000));
    assert!(!accept(&mut Acceptor::default(), &all[..2]).counts_over(3_600_000));
}

#[test]
fn what_is_deleted_is_not_remembered() {
    let mut acceptor = Acceptor::default();
    accept(
        &mut acceptor,
        &[target("orders", 5432), grant("g", "billing", "orders")],
    );
    assert_eq!(acceptor.good.len(), 2);
    accept(&mut acceptor, &[]);
    assert!(acceptor.good.is_empty());
}

#[test]
fn policies_of_others_do_not_concern_a_pod() {
    let all = [
        target("orders", 5432),
        grant("for-billing", "billing", "orders"),
        grant("for-web", "web", "orders"),
        tighten("billing", "tight", deny()),
        tighten("web", "tight-web", deny()),
    ];
    let accepted = accept(&mut Acceptor::default(), &all);
    assert_eq!(
        names(&accepted, "billing"),
        ["for-billing", "orders", "tight"]
    );
    assert_eq!(names(&accepted, "web"), ["for-web", "orders", "tight-web"]);
    assert_eq!(names(&accepted, "elsewhere"), ["orders"]);
}

#[test]
fn logins_are_those_of_granted_targets() {
    let all = [
        target("orders", 5432),
        target("wages", 5433),
        grant("for-billing", "billing", "orders"),
        grant("for-hr", "hr", "wages"),
    ];
    let accepted = accept(&mut Acceptor::default(), &all);
    let of = |namespace: &str| -> Vec<String> {
        accepted
            .references(&subject(namespace))
            .into_iter()
            .collect()
    };
    assert_eq!(of("billing"), ["ca", "orders-login"]);
    assert_eq!(of("hr"), ["ca", "wages-login"]);
    assert!(of("web").is_empty());
    let all: Vec<_> = accepted.all_references().into_iter().collect();
    assert_eq!(all, ["ca", "orders-login", "wages-login"]);
}

#[test]
fn services_of_refused_versions_are_looked_up_too() {
    let mut acceptor = Acceptor::default();
    accept(&mut acceptor, &[target("orders", 5432)]);
    let latest = [Latest::from(&target("orders", 6432))];
    let ports: Vec<_> = acceptor
        .services(&latest)
        .into_iter()
        .map(|one| one.port)
        .collect();
    assert_eq!(ports, [5432, 6432]);
}

#[test]
fn a_service_is_named_as_long_as_its_target_is_in_force() {
    let mut acceptor = Acceptor::default();
    let service = ResolvedService {
        namespace: "data".to_owned(),
        name: "orders".to_owned(),
        port: 5432,
        places: Vec::new(),
    };
    assert!(accept(&mut acceptor, &[target("orders", 5432)]).names(&service));
    assert!(!accept(&mut acceptor, &[target("orders", 6432)]).names(&service));
    assert!(!accept(&mut acceptor, &[]).names(&service));
}

#[test]
fn a_verdict_says_which_version_it_is_about() {
    let mut acceptor = Acceptor::default();
    let mut held = target("orders", 5432);
    held.generation = Some(7);
    let accepted = accept(&mut acceptor, &[held]);
    assert_eq!(accepted.verdicts["Target/orders"].generation, Some(7));
}

#[test]
fn pods_are_told_apart_only_where_a_policy_does() {
    let mut acceptor = Acceptor::default();
    assert!(!accept(&mut acceptor, &[grant("g", "billing", "orders")]).knows_pods());
    let spec = json!({"subjects": [{"pods": ["p-*"]}], "targets": ["orders"]});
    let kind = Kind::ClusterGuardPolicy;
    let by_pod = held(kind, dynamic(kind, None, "by-pod", spec), None);
    assert!(accept(&mut acceptor, &[by_pod]).knows_pods());
}
