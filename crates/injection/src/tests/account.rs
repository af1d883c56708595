//! What is claimed of service account tokens.

use super::*;

const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn root_ca() -> Value {
    json!({"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}})
}

fn name_of_namespace(path: &str) -> Value {
    json!({"downwardAPI": {"items": [{"path": path,
        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}})
}

fn token(audience: Option<&str>, path: &str) -> Value {
    let mut token = json!({"path": path, "expirationSeconds": 3607});
    if let Some(audience) = audience {
        token["audience"] = json!(audience);
    }
    json!({"serviceAccountToken": token})
}

fn volume(name: &str, sources: Value) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": sources}})
}

/// A volume as Kubernetes makes it.
fn kubernetes_own() -> Value {
    let sources = json!([
        token(None, "token"),
        root_ca(),
        name_of_namespace("namespace")
    ]);
    volume("kube-api-access-x7k2p", sources)
}

/// A pod with these volumes, of which each container has the mounts.
fn pod_with(volumes: Value, mounts: Value) -> Value {
    json!({"metadata": {"name": "app"}, "spec": {
        "initContainers": [{"name": "init", "image": "i", "volumeMounts": mounts}],
        "containers": [{"name": "app", "image": "a", "volumeMounts": mounts}],
        "volumes": volumes,
    }})
}

fn as_admitted() -> Value {
    let mounts = json!([{"name": "kube-api-access-x7k2p", "mountPath": PATH, "readOnly": true}]);
    pod_with(json!([kubernetes_own()]), mounts)
}

fn mounts_of(pod: &Value, container: &str) -> Vec<Value> {
    let lists = ["initContainers", "containers"];
    let mut all = lists
        .iter()
        .flat_map(|list| pod["spec"][list].as_array().unwrap());
    let found = all.find(|found| found["name"] == container).unwrap();
    found["volumeMounts"].as_array().unwrap().clone()
}

fn mount_at(pod: &Value, container: &str, path: &str) -> Value {
    let mounts = mounts_of(pod, container);
    let mut at = mounts.iter().filter(|mount| mount["mountPath"] == path);
    let found = at.next().unwrap().clone();
    assert!(at.next().is_none());
    found
}

fn sources(pod: &Value, volume: &str) -> Value {
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let found = volumes.iter().find(|found| found["name"] == volume);
    found.unwrap()["projected"]["sources"].clone()
}

/// Volumes that a container could mount to read a token for the API server.
fn holders(pod: &Value) -> Vec<&str> {
    let volumes = pod["spec"]["volumes"].as_array().unwrap().iter();
    let holds = |volume: &&Value| {
        let sources = volume
            .pointer("/projected/sources")
            .and_then(Value::as_array);
        sources.into_iter().flatten().any(|source| {
            let token = source.get("serviceAccountToken");
            token.is_some_and(|token| {
                let audience = token.get("audience").and_then(Value::as_str);
                matches!(audience, None | Some("" | "https://kubernetes.default.svc"))
            })
        })
    };
    volumes
        .filter(holds)
        .map(|volume| volume["name"].as_str().unwrap())
        .collect()
}

#[test]
fn the_volume_that_kubernetes_added_is_taken_from_every_container() {
    let pod = injected(&as_admitted(), &enforced()).pod;
    assert_eq!(holders(&pod), ["weir-kube-token"]);
    for container in ["init", "app"] {
        let ours = json!({"name": "weir-kube", "mountPath": PATH, "readOnly": true});
        assert_eq!(mount_at(&pod, container, PATH), ours, "{container}");
    }
    let annotations = pod["metadata"]["annotations"].as_object().unwrap();
    assert!(!annotations.contains_key("weir.dev/kube-files"));
    assert_eq!(injected(&pod, &enforced()).pod, pod);
}

#[test]
fn the_real_token_is_mounted_by_the_sidecar_alone() {
    let pod = injected(&as_admitted(), &enforced()).pod;
    let volumes = |container: &str| -> Vec<Value> {
        let mounts = mounts_of(&pod, container).into_iter();
        mounts.map(|mount| mount["name"].clone()).collect()
    };
    let sidecar = mount_at(&pod, "weir-sidecar", PATH);
    assert_eq!(sidecar["name"], "weir-kube-token");
    assert_eq!(
        sources(&pod, "weir-kube-token").as_array().unwrap().len(),
        3
    );
    for container in ["weir-probe", "init", "app"] {
        assert!(
            !volumes(container).contains(&json!("weir-kube-token")),
            "{container}"
        );
    }
    let writable = mount_at(&pod, "weir-sidecar", "/var/run/weir/kube");
    assert_eq!(
        writable,
        json!({"name": "weir-kube", "mountPath": "/var/run/weir/kube"})
    );
}

#[test]
fn tokens_of_other_audiences_stay() {
    let vault = volume("vault", json!([token(Some("vault"), "token")]));
    let mounts = json!([{"name": "vault", "mountPath": "/vault", "readOnly": true}]);
    let before = pod_with(json!([vault]), mounts.clone());
    let pod = injected(&before, &enforced()).pod;
    assert_eq!(mount_at(&pod, "app", "/vault"), mounts[0]);
    assert_eq!(pod["spec"]["volumes"][0], before["spec"]["volumes"][0]);
}

#[test]
fn every_audience_of_the_api_server_is_its_own() {
    for audience in [None, Some(""), Some("https://kubernetes.default.svc")] {
        let own = volume("mine", json!([token(audience, "token")]));
        let mounts = json!([{"name": "mine", "mountPath": "/mine"}]);
        let pod = injected(&pod_with(json!([own]), mounts), &enforced()).pod;
        assert_eq!(holders(&pod), ["weir-kube-token"], "{audience:?}");
        let ours = json!({"name": "weir-kube", "mountPath": "/mine", "readOnly": true});
        assert_eq!(mount_at(&pod, "app", "/mine"), ours, "{audience:?}");
    }
}

#[test]
fn single_files_of_it_are_mounted_as_before() {
    let own = kubernetes_own();
    let name = own["name"].clone();
    let mounts = json!([
        {"name": name, "mountPath": "/t", "subPath": "token"},
        {"name": name, "mountPath": "/c", "subPath": "ca.crt", "readOnly": true},
    ]);
    let pod = injected(&pod_with(json!([own.clone()]), mounts), &enforced()).pod;
    for (path, part) in [("/t", "token"), ("/c", "ca.crt")] {
        let ours =
            json!({"name": "weir-kube", "mountPath": path, "subPath": part, "readOnly": true});
        assert_eq!(mount_at(&pod, "app", path), ours);
    }
    for (field, value) in [
        ("subPath", "nothing"),
        ("subPath", "tok"),
        ("subPathExpr", "$(A)"),
    ] {
        let mounts = json!([{"name": name, "mountPath": "/t", field: value}]);
        let why = refused(&pod_with(json!([own.clone()]), mounts), &asked());
        assert!(
            why.contains("mounts a part of volume `kube-api-access-x7k2p`"),
            "{why}"
        );
    }
}

#[test]
fn other_names_of_the_same_files_are_kept_in_a_directory_of_their_own() {
    let sources = json!([
        token(None, "api/tok"),
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.pem"}]}},
        name_of_namespace("ns"),
    ]);
    let mounts = json!([
        {"name": "mine", "mountPath": "/mine"},
        {"name": "mine", "mountPath": "/api", "subPath": "api/"},
    ]);
    let before = pod_with(json!([volume("mine", sources), kubernetes_own()]), mounts);
    let pod = injected(&before, &enforced()).pod;
    assert_eq!(holders(&pod), ["weir-kube-token"]);
    let whole = json!({"name": "weir-kube", "mountPath": "/mine", "subPath": "volumes/mine", "readOnly": true});
    assert_eq!(mount_at(&pod, "app", "/mine"), whole);
    assert_eq!(mount_at(&pod, "app", "/api")["subPath"], "volumes/mine/api");
    let told = pod["metadata"]["annotations"]["weir.dev/kube-files"]
        .as_str()
        .unwrap();
    let told: Value = serde_json::from_str(told).unwrap();
    let expected = json!({"mine": {"api/tok": "token", "ca.pem": "ca.crt", "ns": "namespace"}});
    assert_eq!(told, expected);
    assert_eq!(injected(&pod, &enforced()).pod, pod);
}

#[test]
fn a_token_without_the_other_files_is_the_same_volume() {
    let mounts = json!([{"name": "mine", "mountPath": "/mine"}]);
    for sources in [
        json!([token(None, "token")]),
        json!([token(None, "token"), {"configMap": {"name": "kube-root-ca.crt"}}]),
        json!([token(None, "token"), {"downwardAPI": {}}]),
    ] {
        let pod = injected(
            &pod_with(json!([volume("mine", sources)]), mounts.clone()),
            &enforced(),
        );
        assert_eq!(mount_at(&pod.pod, "app", "/mine")["subPath"], Value::Null);
    }
}

#[test]
fn a_token_among_other_things_is_refused_and_they_are_named() {
    let mounts = json!([{"name": "mine", "mountPath": "/mine"}]);
    for (other, named) in [
        (token(Some("vault"), "v"), "audience vault"),
        (json!({"secret": {"name": "keys"}}), "the secret keys"),
        (
            json!({"configMap": {"name": "settings"}}),
            "the configMap settings",
        ),
        (
            json!({"clusterTrustBundle": {"path": "x"}}),
            "a clusterTrustBundle",
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}),
            "`labels`",
        ),
        (
            json!({"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "x", "path": "y"}]}}),
            "`y`",
        ),
    ] {
        let mixed = volume("mine", json!([token(None, "token"), other]));
        for namespace in [enforced(), asked()] {
            let why = refused(&pod_with(json!([mixed]), mounts.clone()), &namespace);
            assert!(
                why.contains("volume `mine` holds a token for the API server"),
                "{why}"
            );
            assert!(why.contains(named), "{why}");
        }
    }
}

#[test]
fn a_certificate_for_the_api_server_is_refused() {
    let signed = |signer: &str| {
        let source = json!({"podCertificate": {"signerName": signer, "keyType": "ED25519",
            "credentialBundlePath": "bundle.pem"}});
        let mounts = json!([{"name": "mine", "mountPath": "/mine"}]);
        pod_with(json!([volume("mine", json!([source]))]), mounts)
    };
    for namespace in [enforced(), asked()] {
        let told = refused(
            &signed("kubernetes.io/kube-apiserver-client-pod"),
            &namespace,
        );
        assert!(told.contains("past Weir's sidecar"), "{told}");
        injected(&signed("mesh.example/pods"), &namespace);
    }
}

#[test]
fn what_was_typed_into_the_annotation_stays_only_where_it_is_mounted() {
    let mut pod = as_admitted();
    pod["metadata"]["annotations"] = json!({"weir.dev/kube-files": "{\"x\": {\"a\": \"token\"}}"});
    let after = injected(&pod, &enforced()).pod;
    assert_eq!(
        after["metadata"]["annotations"]["weir.dev/kube-files"],
        Value::Null
    );
    pod["metadata"]["annotations"] = json!({"weir.dev/kube-files": "nonsense"});
    let after = injected(&pod, &enforced()).pod;
    assert_eq!(
        after["metadata"]["annotations"]["weir.dev/kube-files"],
        Value::Null
    );
}

#[test]
fn the_stand_in_is_read_only_and_the_token_the_sidecars() {
    for (name, read_only, why) in [
        ("weir-kube", false, "read-only for others"),
        ("weir-kube-token", true, "the sidecar's alone"),
    ] {
        let mounts = json!([{"name": name, "mountPath": "/x", "readOnly": read_only}]);
        assert!(refused(&pod_with(json!([]), mounts.clone()), &asked()).contains(why));
        let debugger = json!({"name": "d", "volumeMounts": mounts});
        let told = debug(debugger).unwrap_err().to_string();
        assert!(told.contains(why), "{told}");
    }
    let mounts = json!([{"name": "weir-kube", "mountPath": PATH, "readOnly": true}]);
    assert!(debug(json!({"name": "d", "volumeMounts": mounts})).is_ok());
}

#[test]
fn a_forged_volume_of_the_sidecars_name_is_overwritten() {
    let mine = volume("weir-kube-token", json!([token(Some("other"), "token")]));
    let kube = json!({"name": "weir-kube", "configMap": {"name": "mine"}});
    let pod = injected(&pod_with(json!([mine, kube]), json!([])), &enforced()).pod;
    assert_eq!(
        pod["spec"]["volumes"],
        injected(&pod_with(json!([]), json!([])), &enforced()).pod["spec"]["volumes"]
            .as_array()
            .map(|ours| {
                let named = |name: &str| ours.iter().find(|v| v["name"] == name).unwrap().clone();
                json!([
                    named("weir-kube-token"),
                    named("weir-kube"),
                    named("weir-identity"),
                    named("weir-state"),
                    named("weir-trust")
                ])
            })
            .unwrap()
    );
}

#[test]
fn a_token_is_kept_where_the_pod_asks_and_an_exception_says_so() {
    let mut pod = as_admitted();
    let freed = Settings {
        kubernetes: Some(Kubernetes {
            may_keep: true,
            ..Kubernetes::default()
        }),
        ..settings()
    };
    let made = |pod: &Value, settings: &Settings| inject(pod, &enforced(), settings);
    let kept = |pod: &Value| holders(pod).contains(&"kube-api-access-x7k2p");
    assert!(!kept(&made(&pod, &freed).unwrap().pod), "it does not ask");
    for (value, says) in [
        ("drop", "the one value is keep"),
        ("", "the one value is keep"),
    ] {
        pod["metadata"]["annotations"] = json!({"weir.dev/kube-token": value});
        let why = made(&pod, &freed).unwrap_err().to_string();
        assert!(why.contains(says), "{why}");
    }
    pod["metadata"]["annotations"] = json!({"weir.dev/kube-token": "keep"});
    let why = made(&pod, &settings()).unwrap_err().to_string();
    assert!(
        why.contains("no PolicyException names the rule `weir.dev/kube-token`"),
        "{why}"
    );
    let done = made(&pod, &freed).unwrap();
    assert!(kept(&done.pod) && done.notes.len() == 1);
    assert_eq!(
        mount_at(&done.pod, "app", PATH)["name"],
        "kube-api-access-x7k2p"
    );
    let ours = crate::sidecar(&settings(), true);
    assert_eq!(
        done.pod["spec"]["initContainers"][0], ours,
        "the sidecar is the same"
    );
    assert_eq!(made(&done.pod, &freed).unwrap().pod, done.pod);
}

#[test]
fn where_weir_does_not_stand_before_the_api_nothing_of_this_is_added_or_taken() {
    let plain = Settings {
        kubernetes: None,
        ..settings()
    };
    let before = as_admitted();
    let pod = inject(&before, &enforced(), &plain).unwrap().pod;
    assert_eq!(pod["spec"]["volumes"][0], before["spec"]["volumes"][0]);
    assert_eq!(mount_at(&pod, "app", PATH)["name"], "kube-api-access-x7k2p");
    assert!(!pod.to_string().contains("weir-kube"));
    assert!(!pod.to_string().contains("--kubernetes"));
    assert_eq!(
        mount_at(&pod, "weir-sidecar", PATH)["name"],
        "weir-identity"
    );
}

#[test]
fn a_template_has_its_stand_in_before_kubernetes_adds_the_token() {
    let mut given = json!({"spec": {"containers": [
        {"name": "app", "image": "a"},
        {"name": "own", "image": "a", "volumeMounts": [{"name": "x", "mountPath": PATH}]},
    ]}});
    crate::give_account(&mut given);
    let pod = injected(&given, &asked()).pod;
    assert_eq!(mount_at(&pod, "app", PATH)["name"], "weir-kube");
    assert_eq!(mount_at(&pod, "own", PATH)["name"], "x");
    let mut again = pod.clone();
    crate::give_account(&mut again);
    assert_eq!(again, pod);
    let mut none =
        json!({"spec": {"automountServiceAccountToken": false, "containers": [{"name": "app"}]}});
    let before = none.clone();
    crate::give_account(&mut none);
    assert_eq!(none, before);
}
