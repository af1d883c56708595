//! Claims about verdicts over what an API server answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use weir_audit::Timestamp;

use super::super::tunnel::Process;
use super::*;

fn ns(labels: Value) -> Value {
    json!({"metadata": {"name": "billing", "labels": labels}})
}

#[test]
fn the_floor_is_1_33() {
    let outcome = |git: &str| before::version(&json!({"gitVersion": git})).outcome;
    assert_eq!(outcome("v1.33.0"), Outcome::Ok);
    assert_eq!(outcome("v1.35.2+k3s1"), Outcome::Ok);
    assert_eq!(outcome("v1.32.9"), Outcome::Fail);
    assert_eq!(outcome("v1.9.1"), Outcome::Fail);
    assert_eq!(outcome("v2.0.0"), Outcome::Warn);
    assert_eq!(outcome(""), Outcome::Warn);
}

#[test]
fn an_old_kubelet_has_no_native_sidecars() {
    let node = |name: &str, kubelet: &str, os: &str| {
        json!({"metadata": {"name": name},
               "status": {"nodeInfo": {"kubeletVersion": kubelet, "operatingSystem": os}}})
    };
    let good = node("a", "v1.33.1", "linux");
    assert_eq!(
        before::nodes(std::slice::from_ref(&good)).outcome,
        Outcome::Ok
    );
    let old = before::nodes(&[good.clone(), node("b", "v1.28.3", "linux")]);
    assert_eq!(old.outcome, Outcome::Fail);
    assert!(old.text.contains("b (v1.28.3)"), "{}", old.text);
    let windows = before::nodes(&[good, node("w", "v1.33.1", "windows")]);
    assert_eq!(windows.outcome, Outcome::Warn);
    assert_eq!(before::nodes(&[]).outcome, Outcome::Warn);
}

#[test]
fn admission_policies_must_be_served() {
    let served = json!({"resources": [{"name": "validatingadmissionpolicies"}]});
    assert_eq!(
        before::admission_policies(Some(&served)).outcome,
        Outcome::Ok
    );
    let other = json!({"resources": [{"name": "mutatingwebhookconfigurations"}]});
    assert_eq!(
        before::admission_policies(Some(&other)).outcome,
        Outcome::Fail
    );
    assert_eq!(before::admission_policies(None).outcome, Outcome::Fail);
}

#[test]
fn pod_security_that_refuses_the_sidecar_is_named_with_the_reason() {
    let level = |level: &str| {
        let labels = json!({"weir.dev/inject": "enabled",
                            "pod-security.kubernetes.io/enforce": level});
        before::pod_security(&ns(labels))
    };
    for refused in ["baseline", "restricted"] {
        let finding = level(refused).unwrap();
        assert_eq!(finding.outcome, Outcome::Fail);
        assert!(finding.text.contains("NET_ADMIN"), "{}", finding.text);
    }
    assert_eq!(level("privileged"), None);
    assert_eq!(
        before::pod_security(&ns(json!({"weir.dev/inject": "enabled"}))),
        None
    );
}

#[test]
fn a_runtime_with_its_own_kernel_is_a_warning() {
    let class = |handler: &str| json!({"metadata": {"name": "c"}, "handler": handler});
    assert_eq!(
        before::runtime_classes(&[class("runc")]).outcome,
        Outcome::Ok
    );
    assert_eq!(
        before::runtime_classes(&[class("runsc")]).outcome,
        Outcome::Warn
    );
    assert_eq!(
        before::runtime_classes(&[class("kata-qemu")]).outcome,
        Outcome::Warn
    );
}

#[test]
fn missing_rights_are_listed() {
    let outcome = |missing: &[&str]| {
        let missing: Vec<String> = missing.iter().map(|text| (*text).to_owned()).collect();
        before::judge_rights(&missing).outcome
    };
    assert_eq!(outcome(&[]), Outcome::Ok);
    assert_eq!(outcome(&["escalate clusterroles"]), Outcome::Warn);
    assert_eq!(outcome(&["create secrets"]), Outcome::Fail);
}

#[test]
fn every_resource_must_be_served_in_this_version() {
    let crd = |name: &str, version: &str| {
        json!({"metadata": {"name": name},
               "spec": {"group": "weir.dev", "versions": [{"name": version, "served": true}]},
               "status": {"conditions": [{"type": "Established", "status": "True"}]}})
    };
    let names = [
        "targets",
        "datalabels",
        "clusterguardpolicies",
        "guardpolicies",
        "accessrequests",
        "policyexceptions",
        "quarantines",
    ];
    let all = |version: &str| -> Vec<Value> {
        let crds = names
            .iter()
            .map(|name| crd(&format!("{name}.weir.dev"), version));
        crds.collect()
    };
    assert_eq!(after::resources(&Ok(all("v1alpha1"))).outcome, Outcome::Ok);
    assert_eq!(after::resources(&Ok(all("v1"))).outcome, Outcome::Fail);
    let others = all("v1alpha1").split_off(1);
    let finding = after::resources(&Ok(others));
    assert!(
        finding.text.starts_with("targets.weir.dev is missing"),
        "{}",
        finding.text
    );
    let unread = after::resources(&Err(ClusterError::Forbidden("no".to_owned())));
    assert_eq!(
        unread.outcome,
        Outcome::Warn,
        "what was not read is not fine"
    );
}

#[test]
fn a_process_needs_its_replicas() {
    let outcome = |process, ready: u64, wanted: u64| {
        let object = json!({"spec": {"replicas": wanted}, "status": {"readyReplicas": ready}});
        after::ready(process, Some(&object)).outcome
    };
    assert_eq!(outcome(Process::Controller, 2, 2), Outcome::Ok);
    assert_eq!(outcome(Process::Controller, 1, 2), Outcome::Warn);
    assert_eq!(
        outcome(Process::Controller, 1, 1),
        Outcome::Warn,
        "no spare"
    );
    assert_eq!(outcome(Process::Controller, 0, 2), Outcome::Fail);
    assert_eq!(outcome(Process::Collector, 1, 1), Outcome::Ok);
    assert_eq!(
        after::ready(Process::Collector, None).outcome,
        Outcome::Fail
    );
}

fn root(name: &str, days: u64) -> (String, CertificateDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = params.not_before + std::time::Duration::from_secs(86_400 * days);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), certificate.der().clone())
}

#[test]
fn webhooks_must_trust_the_root_that_is_in_force() {
    let (pem, der) = root("now", 365);
    let (old_pem, _) = root("old", 365);
    let hook = |bundle: &str| {
        json!({"webhooks": [{"name": "pods.weir.dev", "failurePolicy": "Fail",
                             "clientConfig": {"caBundle": STANDARD.encode(bundle)}}]})
    };
    let roots = [der];
    let outcome =
        |object: &Value| webhooks::configuration("mutating", Some(object), &roots).outcome;
    assert_eq!(outcome(&hook(&pem)), Outcome::Ok);
    assert_eq!(
        outcome(&hook(&format!("{old_pem}{pem}"))),
        Outcome::Ok,
        "while it rotates"
    );
    assert_eq!(outcome(&hook(&old_pem)), Outcome::Fail);
    assert_eq!(outcome(&hook("")), Outcome::Fail);
    assert_eq!(outcome(&json!({"webhooks": []})), Outcome::Fail);
    assert_eq!(
        webhooks::configuration("mutating", None, &roots).outcome,
        Outcome::Fail
    );
}

#[test]
fn a_policy_without_a_denying_binding_is_not_in_force() {
    let policy = json!({"metadata": {"name": "weir-pods"}});
    let binding = |actions: Value| {
        json!({"metadata": {"name": "weir-pods"},
               "spec": {"policyName": "weir-pods", "validationActions": actions}})
    };
    let outcome =
        |bindings: &[Value]| webhooks::policies(std::slice::from_ref(&policy), bindings)[0].outcome;
    assert_eq!(outcome(&[binding(json!(["Deny"]))]), Outcome::Ok);
    assert_eq!(outcome(&[binding(json!(["Warn"]))]), Outcome::Fail);
    assert_eq!(outcome(&[]), Outcome::Fail);
    assert_eq!(webhooks::policies(&[], &[])[0].outcome, Outcome::Fail);
}

#[test]
fn certificates_are_judged_by_what_is_left_of_them() {
    let (_, der) = root("r", 100);
    let at = |day: &str| day.parse::<Timestamp>().unwrap();
    let outcome = |day: &str| certificates::expiry("root", &der, at(day)).outcome;
    assert_eq!(outcome("2026-01-02T00:00:00Z"), Outcome::Ok);
    assert_eq!(outcome("2026-04-05T00:00:00Z"), Outcome::Warn);
    assert_eq!(outcome("2026-05-01T00:00:00Z"), Outcome::Fail);
}

#[test]
fn a_dry_run_proves_injection() {
    let with = json!({"spec": {"initContainers": [{"name": "weir-sidecar"}]}});
    let second = json!({"spec": {"initContainers": [{"name": "x"}, {"name": "weir-sidecar"}]}});
    let outcome = |tried| protection::injected("billing", &tried).outcome;
    assert_eq!(outcome(Ok(with)), Outcome::Ok);
    assert_eq!(outcome(Ok(second)), Outcome::Fail, "it must be first");
    assert_eq!(outcome(Ok(json!({"spec": {}}))), Outcome::Fail);
    let forbidden = "pods is forbidden: User \"eve\" cannot create resource \"pods\" in API group";
    assert_eq!(
        outcome(Err((403, String::new(), forbidden.to_owned()))),
        Outcome::Warn
    );
    let denied = "pods \"x\" is forbidden: violates PodSecurity \"baseline:latest\"";
    assert_eq!(
        outcome(Err((403, String::new(), denied.to_owned()))),
        Outcome::Fail
    );
}

#[test]
fn only_weirs_own_refusal_proves_enforcement() {
    let judge = |control, tried| protection::refused("billing", control, &tried).outcome;
    let outcome = |tried| judge(Outcome::Ok, tried);
    let policy = "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'weir-pods' with binding \
                  'weir-pods' denied request: no";
    assert_eq!(
        outcome(Err((422, String::new(), policy.to_owned()))),
        Outcome::Ok
    );
    assert_eq!(outcome(Ok(json!({}))), Outcome::Fail);
    let other = "violates PodSecurity \"baseline:latest\"";
    assert_eq!(
        outcome(Err((403, String::new(), other.to_owned()))),
        Outcome::Warn
    );
    let all = "ValidatingAdmissionPolicy 'weir-pods' denied request: no params found";
    assert_eq!(
        judge(Outcome::Fail, Err((403, String::new(), all.to_owned()))),
        Outcome::Warn,
        "who refuses everything proves nothing"
    );
}

#[test]
fn unprotected_pods_are_findings() {
    let pod = |name: &str, sidecar: bool, wish: &str| {
        let inits = if sidecar {
            json!([{"name": "weir-sidecar"}])
        } else {
            json!([])
        };
        json!({"metadata": {"name": name, "annotations": {"weir.dev/inject": wish}},
               "spec": {"initContainers": inits}, "status": {"phase": "Running"}})
    };
    let pods = [
        pod("a", true, ""),
        pod("b", false, ""),
        pod("c", false, "disabled"),
    ];
    let opted_in = protection::unprotected(&ns(json!({"weir.dev/inject": "enabled"})), &pods);
    assert_eq!(opted_in.outcome, Outcome::Warn);
    assert!(
        opted_in
            .text
            .starts_with("billing: 1 governed, 1 opted out, 1 UNPROTECTED: b;"),
        "{}",
        opted_in.text
    );
    let enforced = protection::unprotected(&ns(json!({"weir.dev/enforce": "true"})), &pods);
    assert_eq!(enforced.outcome, Outcome::Fail);
    assert!(
        enforced.text.contains("2 UNPROTECTED: b, c;"),
        "{}",
        enforced.text
    );
    let fine = protection::unprotected(&ns(json!({"weir.dev/enforce": "true"})), &pods[..1]);
    assert_eq!(fine.outcome, Outcome::Ok);
}

#[test]
fn a_probe_that_gets_through_is_a_failure_and_one_that_never_ran_too() {
    let ended = |code: u64| {
        json!({"status": {"phase": "Failed", "containerStatuses": [
            {"name": "check", "state": {"terminated": {"exitCode": code, "message": "not captured"}}}]}})
    };
    assert_eq!(probe::judge("billing", &ended(0)).outcome, Outcome::Ok);
    assert_eq!(probe::judge("billing", &ended(1)).outcome, Outcome::Fail);
    let stuck = json!({"status": {"phase": "Pending", "initContainerStatuses": [
        {"name": "weir-sidecar", "state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}]}});
    let finding = probe::judge("billing", &stuck);
    assert_eq!(finding.outcome, Outcome::Fail);
    assert!(
        finding.text.ends_with("weir-sidecar is ErrImagePull: no"),
        "{}",
        finding.text
    );
}

#[test]
fn one_failure_fails_the_whole_and_warnings_do_not() {
    let findings = [Finding::ok("a", "x"), Finding::warn("b", "y")];
    assert!(passed(&findings));
    assert!(!passed(&[Finding::fail("c", "z")]));
    let screen = Screen {
        width: 100,
        colour: false,
    };
    let drawn = render(&findings, screen);
    assert!(drawn.ends_with("nothing failed; 1 to look at\n"), "{drawn}");
}
