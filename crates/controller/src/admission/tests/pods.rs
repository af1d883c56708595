//! Pods and debug containers.

use serde_json::{Value, json};

use super::{Answered, Cluster, review};

const INJECT: (&str, &str) = ("weir.dev/inject", "enabled");
const ENFORCE: (&str, &str) = ("weir.dev/enforce", "true");

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "web-5d9c-", "creationTimestamp": null,
            "labels": {"app": "web", "pod-template-hash": "5d9c"}},
        "spec": {"containers": [{"name": "web", "image": "web:1", "resources": {},
            "volumeMounts": [{"name": "kube-api-access-x", "readOnly": true,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "imagePullPolicy": "IfNotPresent"}],
            "restartPolicy": "Always", "serviceAccountName": "default", "securityContext": {}},
        "status": {}})
}

fn ask(label: Option<(&str, &str)>, path: &str, pod: Value) -> Answered {
    let cluster = match label {
        Some((label, value)) => Cluster::default().namespace("shop", label, value),
        None => Cluster::default(),
    };
    cluster.ask(path, &review(json!({"object": pod})))
}

fn sidecar_args(pod: &Value) -> Vec<&str> {
    let args = pod["spec"]["initContainers"][0]["args"].as_array();
    args.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[test]
fn pods_of_labelled_namespaces_are_injected() {
    let pod = ask(Some(INJECT), "/mutate/pods", pod()).object();
    assert_eq!(pod["spec"]["initContainers"][0]["name"], "weir-sidecar");
    assert!(!sidecar_args(&pod).contains(&"--enforced"));
    let pod = ask(Some(ENFORCE), "/mutate/pods", self::pod()).object();
    assert!(sidecar_args(&pod).contains(&"--enforced"));
}

#[test]
fn a_namespace_that_is_not_known_yet_is_proved_by_the_path() {
    let pod = ask(None, "/mutate/pods/injected", pod()).object();
    assert_eq!(pod["spec"]["initContainers"][0]["name"], "weir-sidecar");
    let pod = ask(None, "/mutate/pods/enforced", self::pod()).object();
    assert!(sidecar_args(&pod).contains(&"--enforced"));
    let pod = ask(Some(ENFORCE), "/mutate/pods/injected", self::pod()).object();
    assert!(
        !sidecar_args(&pod).contains(&"--enforced"),
        "the label was there a moment ago"
    );
}

#[test]
fn nobody_asked_and_nothing_is_changed() {
    let answer = ask(None, "/mutate/pods", pod());
    assert_eq!(answer.response.get("patch"), None);
    assert_eq!(answer.object(), pod());
}

#[test]
fn a_second_invocation_patches_nothing() {
    let once = ask(Some(ENFORCE), "/mutate/pods/enforced", pod()).object();
    let again = ask(Some(ENFORCE), "/mutate/pods/enforced", once);
    assert_eq!(again.response.get("patch"), None);
}

#[test]
fn pods_say_who_made_them_whatever_they_say() {
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"weir.dev/created-by": "mallory"});
    let pod = ask(Some(INJECT), "/mutate/pods", pod).object();
    assert_eq!(
        pod["metadata"]["annotations"]["weir.dev/created-by"],
        "alice"
    );
}

#[test]
fn host_network_is_refused_or_reported() {
    let mut pod = pod();
    pod["spec"]["hostNetwork"] = json!(true);
    let refused = ask(None, "/mutate/pods/enforced", pod.clone());
    assert!(refused.refusal().starts_with("weir: hostNetwork"));
    let reported = ask(None, "/mutate/pods/injected", pod);
    assert!(reported.warnings()[0].contains("runs unprotected"));
}

#[test]
fn without_a_root_nothing_starts_unprotected() {
    let cluster = Cluster {
        rootless: true,
        ..Cluster::default()
    };
    let answer = cluster.ask("/mutate/pods/injected", &review(json!({"object": pod()})));
    assert!(answer.refusal().contains("no root yet"));
}

fn debug(container: Value) -> Answered {
    let old = ask(None, "/mutate/pods/enforced", pod()).object();
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = json!([container]);
    let question = review(
        json!({"operation": "UPDATE", "subResource": "ephemeralcontainers",
        "object": new, "oldObject": old}),
    );
    Cluster::default().ask("/mutate/pods/enforced", &question)
}

#[test]
fn debug_containers_are_made_fit_or_refused() {
    let pod =
        debug(json!({"name": "debugger", "image": "b", "targetContainerName": "web"})).object();
    let container = &pod["spec"]["ephemeralContainers"][0];
    assert_eq!(
        container["securityContext"]["capabilities"]["drop"],
        json!(["NET_RAW"])
    );
    let refused = debug(json!({"name": "debugger", "targetContainerName": "weir-sidecar"}));
    assert!(refused.refusal().contains("weir-sidecar"));
    let refused =
        debug(json!({"name": "d", "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}}));
    assert!(refused.refusal().contains("SYS_PTRACE"));
}

#[test]
fn other_updates_are_not_touched() {
    let question = review(json!({"operation": "UPDATE", "object": pod(), "oldObject": pod()}));
    let answer = Cluster::default().ask("/mutate/pods/enforced", &question);
    assert_eq!(answer.response.get("patch"), None);
    assert_eq!(answer.object(), pod());
}
