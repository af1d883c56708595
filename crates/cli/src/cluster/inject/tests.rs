//! Claims about manifests that were injected without a cluster.

use serde_json::json;

use super::*;

fn settings() -> Settings {
    Settings {
        version: "0.1.0".to_owned(),
        namespace: "weir-system".to_owned(),
        image: "registry.example/weir-sidecar:1".to_owned(),
        controller_addresses: Vec::new(),
        pull_policy: "IfNotPresent".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        ca: "-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n".to_owned(),
        resources: weir_injection::Resources::default(),
        state_size: "64Mi".to_owned(),
        kubernetes: Some(Kubernetes::default()),
    }
}

fn injected(input: &str) -> String {
    documents(input, false, &settings()).unwrap().text
}

fn read_back(text: &str) -> Vec<Value> {
    split(text)
        .into_iter()
        .filter_map(|raw| parse(raw).unwrap())
        .collect()
}

const CONFIG: &str =
    "# Source: shop/config.yaml\nkind: ConfigMap # as it was\nmetadata:   {name: c}\n";
const WEB: &str = "\
# the shop
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:1
        args: ['yes', '0777', \"1e3\", 'null', 'a very long argument that goes on and on, with white space, until far beyond the eightieth column']
      volumes:
      - {name: script, configMap: {name: c, defaultMode: 0755}}
";

#[test]
fn what_needs_nothing_comes_out_byte_for_byte() {
    let input = format!("{CONFIG}---\n\n---\n# only a comment\n---\n{CONFIG}");
    assert_eq!(injected(&input), input);
    let pod = "kind: Pod\nmetadata: {name: p, labels: {weir.dev/inject: disabled}}\nspec: {containers: []}\n";
    assert_eq!(injected(pod), pod);
}

#[test]
fn a_workload_gets_the_sidecar_first_and_keeps_its_comments() {
    let out = injected(&format!("{CONFIG}---\n{WEB}"));
    assert!(
        out.starts_with(&format!("{CONFIG}---\n# the shop\n")),
        "{out}"
    );
    let objects = read_back(&out);
    let spec = &objects[1]["spec"]["template"]["spec"];
    assert_eq!(spec["initContainers"][0]["name"], "weir-sidecar");
    assert_eq!(objects[0]["kind"], "ConfigMap");
}

#[test]
fn values_mean_the_same_afterwards() {
    let before = parse(WEB).unwrap().unwrap();
    let after = &read_back(&injected(WEB))[0];
    let spec = |object: &Value| object["spec"]["template"]["spec"].clone();
    assert_eq!(
        spec(after)["containers"][0]["args"],
        spec(&before)["containers"][0]["args"]
    );
    assert_eq!(spec(after)["volumes"][0]["configMap"]["defaultMode"], 0o755);
}

#[test]
fn a_template_has_its_stand_in_for_the_service_account_and_no_token() {
    let spec = &read_back(&injected(WEB))[0]["spec"]["template"]["spec"];
    let mounts = spec["containers"][0]["volumeMounts"].as_array().unwrap();
    let path = "/var/run/secrets/kubernetes.io/serviceaccount";
    let ours = json!({"name": "weir-kube", "mountPath": path, "readOnly": true});
    assert!(mounts.contains(&ours));
}

#[test]
fn injecting_twice_is_injecting_once() {
    let once = injected(WEB);
    assert_eq!(injected(&once), once);
}

#[test]
fn every_kind_that_makes_pods_is_known() {
    let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    for kind in [
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "ReplicaSet",
        "Job",
    ] {
        let object = json!({"kind": kind, "metadata": {"name": "x"}, "spec": {"template": pod}});
        let list = json!({"kind": "List", "items": [object]});
        let out = read_back(&injected(&list.to_string()));
        let first = &out[0]["items"][0]["spec"]["template"]["spec"]["initContainers"][0];
        assert_eq!(first["name"], "weir-sidecar", "{kind}");
    }
    let cron = json!({"kind": "CronJob", "metadata": {"name": "x"},
                      "spec": {"jobTemplate": {"spec": {"template": pod}}}});
    let out = read_back(&injected(&cron.to_string()));
    let spec = &out[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!(spec["initContainers"][0]["name"], "weir-sidecar");
}

#[test]
fn one_that_cannot_be_governed_refuses_all() {
    let host = "kind: Pod\nmetadata: {name: p}\nspec: {hostNetwork: true, containers: []}\n";
    let input = format!("{WEB}---\n{host}");
    let error = documents(&input, true, &settings()).unwrap_err();
    assert!(
        error.to_string().starts_with("Pod/p: hostNetwork"),
        "{error}"
    );
    let out = documents(&input, false, &settings()).unwrap();
    assert!(
        out.notes.iter().any(|note| note.starts_with("Pod/p: ")),
        "{:?}",
        out.notes
    );
    assert!(out.text.ends_with(host), "left as it was");
}

#[test]
fn a_marker_is_one_in_the_first_column_only() {
    let text = "a: |\n  ---\n  b\n--- # next\nc: d\n---e: 1\n";
    assert_eq!(
        split(text),
        ["a: |\n  ---\n  b\n", "--- # next\nc: d\n---e: 1\n"]
    );
    assert!(split("").is_empty());
}
