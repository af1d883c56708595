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

fn accept(acceptor: &mut Acceptor, objects: &[Held]) -> Accepted {
    let latest = objects
        .iter()
        .map(|held| (Arc::clone(&held.id), held.object.clone()));
    let resolve = |wanted: &Wanted| vec![([10, 0, 0, 1], wanted.port).into()];
    acceptor.accept(latest, resolve, Timestamp(0))
}

fn ids(accepted: &Accepted) -> Vec<&str> {
    accepted.objects.iter().map(|object| &*object.id).collect()
}

fn names(accepted: &Accepted, namespace: &str) -> Vec<String> {
    let peer = Peer::new("cluster.local", namespace, "default", "p", "u");
    let selection = accepted.concerning(&peer.subject());
    let names = accepted.manifests(&selection);
    let name = |manifest: &Value| manifest["metadata"]["name"].as_str().unwrap().to_owned();
    names.iter().map(name).collect()
}

#[test]
fn a_malformed_object_leaves_its_last_good_version_and_all_others_in_force() {
    let mut acceptor = Acceptor::default();
    let good = tighten("billing", "p", deny());
    let all = [
        target("orders", 5432),
        grant("g", "billing", "orders"),
        good.clone(),
    ];
    let accepted = accept(&mut acceptor, &all);
    assert_eq!(accepted.objects.len(), 3, "{:?}", accepted.verdicts);
    let broken = tighten(
        "billing",
        "p",
        json!({"name": "no-deletes", "action": "Explode"}),
    );
    let more = [target("orders", 5432), grant("g", "*", "orders"), broken];
    let accepted = accept(&mut acceptor, &more);
    let id = "GuardPolicy/billing/p";
    assert_eq!(
        ids(&accepted),
        ["ClusterGuardPolicy/g", id, "Target/orders"]
    );
    let object = accepted
        .objects
        .iter()
        .find(|object| &*object.id == id)
        .unwrap();
    assert_eq!(object.manifest, good.object.unwrap().manifest);
    let verdict = &accepted.verdicts[id];
    assert!(verdict.earlier && !verdict.errors.is_empty());
    assert!(accepted.verdicts["Target/orders"].errors.is_empty());
}

#[test]
fn an_object_that_parses_but_does_not_compile_falls_back_too() {
    let mut acceptor = Acceptor::default();
    let base = [target("orders", 5432), grant("g", "billing", "orders")];
    let with = |one: Held| [base[0].clone(), base[1].clone(), one];
    accept(&mut acceptor, &with(tighten("billing", "p", deny())));
    // A GuardPolicy only tightens.
    let loosening =
        json!({"name": "all", "match": {"sql": {"effects": ["Delete"]}}, "action": "Allow"});
    let accepted = accept(
        &mut acceptor,
        &with(tighten("billing", "p", loosening.clone())),
    );
    let verdict = &accepted.verdicts["GuardPolicy/billing/p"];
    assert!(verdict.earlier && !verdict.errors.is_empty());
    assert_eq!(accepted.objects.len(), 3);
    // Without an earlier version it stays, and the compiler closes what it selects.
    let accepted = accept(
        &mut Acceptor::default(),
        &with(tighten("billing", "p", loosening)),
    );
    let verdict = &accepted.verdicts["GuardPolicy/billing/p"];
    assert!(!verdict.earlier && !verdict.errors.is_empty());
    assert_eq!(accepted.objects.len(), 3);
}

#[test]
fn what_is_deleted_is_not_remembered() {
    let mut acceptor = Acceptor::default();
    let base = [target("orders", 5432), grant("g", "billing", "orders")];
    accept(&mut acceptor, &base);
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
        ["for-billing", "tight", "orders"]
    );
    assert_eq!(names(&accepted, "web"), ["for-web", "tight-web", "orders"]);
    assert_eq!(names(&accepted, "elsewhere"), ["orders"]);
}

#[test]
fn secrets_are_those_of_granted_targets() {
    let all = [
        target("orders", 5432),
        target("wages", 5433),
        grant("for-billing", "billing", "orders"),
        grant("for-hr", "hr", "wages"),
    ];
    let accepted = accept(&mut Acceptor::default(), &all);
    let of = |namespace: &str| {
        let peer = Peer::new("cluster.local", namespace, "default", "p", "u");
        let selection = accepted.concerning(&peer.subject());
        let names = accepted.references(&selection);
        names.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of("billing"), ["ca", "orders-login"]);
    assert_eq!(of("hr"), ["ca", "wages-login"]);
    assert!(of("web").is_empty());
}

#[test]
fn the_services_of_all_targets_are_wanted_once() {
    let accepted = accept(
        &mut Acceptor::default(),
        &[
            target("orders", 5432),
            target("wages", 5433),
            grant("g", "*", "*"),
        ],
    );
    let wanted: Vec<_> = accepted
        .services()
        .into_iter()
        .map(|w| (w.name, w.port))
        .collect();
    assert_eq!(
        wanted,
        [("orders".to_owned(), 5432), ("wages".to_owned(), 5433)]
    );
}

#[test]
fn what_names_a_target_that_is_not_there_is_in_force_and_says_so() {
    let accepted = accept(
        &mut Acceptor::default(),
        &[target("orders", 5432), grant("g", "billing", "wages")],
    );
    let verdict = &accepted.verdicts["ClusterGuardPolicy/g"];
    assert!(verdict.errors.is_empty(), "{verdict:?}");
    assert_eq!(verdict.unready[0].reason.as_str(), "UnknownTarget");
    assert_eq!(accepted.objects.len(), 2);
}
