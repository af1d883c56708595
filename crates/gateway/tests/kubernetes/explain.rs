//! What `weir explain` answers is what the engine does.

use weir_gateway::{KubernetesAnswer, KubernetesQuestion, explain_kubernetes};
use weir_policy::{Bundle, Mask, Verdict};

use super::*;

const MORE: &str = "
- {name: hide, match: {labels: [\"secret.*\"]}, action: Mask}
- {name: no-shells, match: {kubernetes: {effects: [RunsCommand]}}, action: Deny}
- {name: no-secrets-in-pods, match: {kubernetes: {effects: [MountsSecrets]}}, action: Deny}
- name: ask
  match: {kubernetes: {resources: [limitranges]}}
  action: RequireApproval
  approval: {groups: [sre], count: 1, deadline: 1m}
- {name: pages, match: {kubernetes: {resources: [configmaps]}}, limits: {statement: {objects: 5}}}
";

fn ask(bundle: &Bundle, question: KubernetesQuestion<'_>) -> Result<KubernetesAnswer, String> {
    explain_kubernetes(bundle, &Subject::named("tester"), "kube", question)
}

fn url<'a>(method: &'a str, url: &'a str) -> KubernetesQuestion<'a> {
    KubernetesQuestion {
        method,
        url,
        ..KubernetesQuestion::default()
    }
}

#[test]
fn a_read_of_a_secret_is_permitted_with_its_fields_masked() {
    let bundle = bundle(1, MORE, 1);
    let answer = ask(&bundle, url("GET", "/api/v1/namespaces/shop/secrets/db")).unwrap();
    assert_eq!(answer.request, "get secrets");
    assert!(matches!(answer.decision.verdict, Verdict::Permit(_)));
    assert_eq!(answer.fields, ["data.*"]);
    let masked: Vec<_> = answer.decision.obligations.masks.iter().collect();
    assert!(matches!(masked[..], [(0, Mask::Constant(text))] if &**text == "[masked]"));
}

#[test]
fn rules_on_commands_effects_people_and_amounts_answer_as_they_do_on_the_way() {
    let bundle = bundle(1, MORE, 1);
    let rule = |answer: &KubernetesAnswer| match &answer.decision.verdict {
        Verdict::Deny(denial) => denial.rule.rule.to_string(),
        Verdict::Hold(hold) => hold
            .pending()
            .iter()
            .map(|spec| spec.rule.rule.to_string())
            .collect(),
        Verdict::Permit(_) => String::new(),
    };
    let exec = "/api/v1/namespaces/shop/pods/web/exec?command=sh&command=-c&command=id";
    let answer = ask(&bundle, url("POST", exec)).unwrap();
    assert_eq!(rule(&answer), "no-shells");
    assert_eq!(answer.request, "exec in shop/web: sh -c id");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "c", "image": "i", "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]}]}});
    let (pod, plain) = (
        pod.to_string(),
        json!({"kind": "Pod", "spec": {}}).to_string(),
    );
    let create = |object: &str| {
        let question = KubernetesQuestion {
            object: Some(object.as_bytes()),
            ..url("POST", "/api/v1/namespaces/shop/pods")
        };
        rule(&ask(&bundle, question).unwrap())
    };
    assert_eq!(create(&pod), "no-secrets-in-pods");
    assert_eq!(create(&plain), "");
    let answer = ask(&bundle, url("GET", "/api/v1/namespaces/shop/limitranges")).unwrap();
    assert_eq!(rule(&answer), "ask");
    let answer = ask(&bundle, url("GET", "/api/v1/configmaps")).unwrap();
    assert_eq!(
        (rule(&answer), answer.decision.obligations.limits.len()),
        (String::new(), 1)
    );
}

#[test]
fn what_is_refused_before_any_rule_says_why() {
    let order = "---\nkind: Quarantine\nmetadata: {name: night}\nspec: {subjects: [{names: [\"*\"]}], reason: a drill}\n";
    let cut_off = compiled(&(resources(1, MORE) + order), 1);
    let open = bundle(1, MORE, 1);
    for (bundle, target, path, why) in [
        (&*open, "other", "/api", "there is no target \"other\""),
        (
            &*open,
            "kube",
            "/api/v1/namespaces/a%2Fb/pods",
            "ambiguous request refused",
        ),
        (&*cut_off, "kube", "/api", "quarantined (night)"),
    ] {
        let error = explain_kubernetes(bundle, &Subject::named("tester"), target, url("GET", path))
            .unwrap_err();
        assert!(error.contains(why), "{target} {path}: {error}");
    }
    let error =
        weir_gateway::explain(&open, &Subject::named("tester"), "kube", "select 1").unwrap_err();
    assert!(
        error.contains("of protocol Kubernetes, not PostgreSQL"),
        "{error}"
    );
}
