//! What is claimed of injected pods.

use std::collections::BTreeMap;

use serde_json::{Value, json};

mod account;
mod refused;

use crate::{
    Governed, Injected, Kubernetes, Namespace, Refusal, Resources, SIDECAR, Settings, inject,
    inject_ephemeral,
};

fn settings() -> Settings {
    Settings {
        version: "1.2.3".to_owned(),
        namespace: "weir-system".to_owned(),
        image: "weir.dev/weir-sidecar:1.2.3".to_owned(),
        controller_addresses: vec!["10.96.0.7".to_owned(), "fd00::7".to_owned()],
        pull_policy: "IfNotPresent".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        ca: "-----BEGIN CERTIFICATE-----\n".to_owned(),
        resources: Resources::default(),
        state_size: "64Mi".to_owned(),
        kubernetes: Some(Kubernetes {
            audiences: vec!["https://kubernetes.default.svc".to_owned()],
            may_keep: false,
        }),
    }
}

fn namespace(labels: &[(&str, &str)]) -> Namespace {
    let labels = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    Namespace {
        name: "shop".to_owned(),
        labels,
    }
}

fn enforced() -> Namespace {
    namespace(&[("weir.dev/enforce", "true")])
}

fn asked() -> Namespace {
    namespace(&[("weir.dev/inject", "enabled")])
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "app-", "labels": {"app": "app"}},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "fsGroup": 1000, "runAsUser": 1000},
            "initContainers": [{"name": "migrate", "image": "m"}],
            "containers": [
                {"name": "app", "image": "a", "env": [{"name": "A", "value": "b"}],
                 "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
            ],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    })
}

fn injected(pod: &Value, namespace: &Namespace) -> Injected {
    inject(pod, namespace, &settings()).unwrap()
}

fn refused(pod: &Value, namespace: &Namespace) -> String {
    inject(pod, namespace, &settings()).unwrap_err().to_string()
}

fn with(pointer: &str, value: Value) -> Value {
    let mut pod = pod();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = pod.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    parent.insert(key.replace("~1", "/"), value);
    pod
}

fn annotated(name: &str, value: &str) -> Value {
    with("/metadata/annotations", json!({name: value}))
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let list = pod["spec"][list].as_array().unwrap();
    list.iter()
        .map(|c| c["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn sidecar_is_first_and_probe_second() {
    let pod = injected(&pod(), &enforced()).pod;
    assert_eq!(
        names(&pod, "initContainers"),
        ["weir-sidecar", "weir-probe", "migrate"]
    );
    assert_eq!(names(&pod, "containers"), ["app"]);
    assert_eq!(
        names(&pod, "volumes"),
        [
            "data",
            "weir-identity",
            "weir-state",
            "weir-trust",
            "weir-kube-token",
            "weir-kube"
        ]
    );
    assert_eq!(pod["spec"]["initContainers"][0]["restartPolicy"], "Always");
}

#[test]
fn injecting_twice_is_injecting_once() {
    for namespace in [enforced(), asked()] {
        for pod in [
            pod(),
            annotated(
                "weir.dev/ca-files",
                "/etc/ssl/certs/ca-certificates.crt, /app/ca.pem",
            ),
            with(
                "/spec/containers",
                json!([
                    {"name": "app", "env": [{"name": "SSL_CERT_FILE", "value": "/mine"}]}
                ]),
            ),
        ] {
            let once = injected(&pod, &namespace);
            assert_eq!(injected(&once.pod, &namespace), once);
        }
    }
}

#[test]
fn what_another_webhook_prepends_comes_after_the_sidecar() {
    let mut pod = injected(&pod(), &enforced()).pod;
    let inits = pod["spec"]["initContainers"].as_array_mut().unwrap();
    inits.insert(0, json!({"name": "istio-init", "image": "i"}));
    let pod = injected(&pod, &enforced()).pod;
    let inits = names(&pod, "initContainers");
    assert_eq!(
        inits,
        ["weir-sidecar", "weir-probe", "istio-init", "migrate"]
    );
}

#[test]
fn a_foreign_sidecar_is_overwritten_wherever_it_stands() {
    let forged = json!({"name": SIDECAR, "image": "weir.dev/weir-sidecar:1.2.3",
        "lifecycle": {"postStart": {"exec": {"command": ["x"]}}}, "env": [{"name": "LD_PRELOAD"}]});
    let expected = injected(&pod(), &enforced()).pod;
    let mut first = pod();
    let inits = first["spec"]["initContainers"].as_array_mut().unwrap();
    inits.push(forged.clone());
    assert_eq!(injected(&first, &enforced()).pod, expected);
    let mut app = pod();
    app["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(forged);
    assert_eq!(injected(&app, &enforced()).pod, expected);
}

#[test]
fn volumes_of_our_names_are_overwritten() {
    let forged = json!([{"name": "weir-trust", "configMap": {"name": "mine"}}]);
    let pod = injected(&with("/spec/volumes", forged), &enforced()).pod;
    assert_eq!(pod["spec"]["volumes"][0]["emptyDir"]["medium"], "Memory");
    assert_eq!(
        names(&pod, "volumes"),
        [
            "weir-trust",
            "weir-identity",
            "weir-state",
            "weir-kube-token",
            "weir-kube"
        ]
    );
}

#[test]
fn everything_of_the_users_stays() {
    let before = pod();
    let after = injected(&before, &enforced()).pod;
    for pointer in [
        "/metadata/generateName",
        "/metadata/labels",
        "/spec/restartPolicy",
        "/spec/securityContext",
        "/spec/containers/0/image",
        "/spec/containers/0/env/0",
        "/spec/containers/0/volumeMounts/0",
        "/spec/volumes/0",
    ] {
        assert_eq!(after.pointer(pointer), before.pointer(pointer), "{pointer}");
    }
}

#[test]
fn sidecars_differ_by_enforcement_only() {
    let sidecar = |pod: &Value, namespace: &Namespace| {
        injected(pod, namespace).pod["spec"]["initContainers"][0].clone()
    };
    let other = with("/spec/containers", json!([{"name": "x", "image": "y"}]));
    assert_eq!(sidecar(&pod(), &enforced()), sidecar(&other, &enforced()));
    let mut enforcing = sidecar(&pod(), &enforced());
    let args = enforcing["args"].as_array_mut().unwrap();
    let enforcing_flag = args.iter().position(|arg| arg == "--enforced").unwrap();
    args.remove(enforcing_flag);
    assert_eq!(enforcing, sidecar(&pod(), &asked()));
}

#[test]
fn variables_that_are_set_are_left_and_reported() {
    let containers = json!([{"name": "app", "env": [
        {"name": "PGSSLROOTCERT", "value": "/mine.crt"},
        {"name": "SSL_CERT_FILE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
    ]}]);
    let pod = injected(&with("/spec/containers", containers), &asked()).pod;
    let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    assert_eq!(env.len(), 8);
    assert_eq!(env[0]["value"], "/mine.crt");
    let left = &pod["metadata"]["annotations"]["weir.dev/left-alone"];
    assert_eq!(left, "app: SSL_CERT_FILE, PGSSLROOTCERT");
    let env = pod["spec"]["initContainers"][2]["env"].as_array().unwrap();
    assert!(
        env.contains(
            &json!({"name": "NODE_EXTRA_CA_CERTS", "value": "/var/run/weir/trust/ca.crt"})
        )
    );
}

#[test]
fn a_jvm_is_told_of_its_trust_store_and_keeps_its_own_options() {
    const OURS: &str = "-Djavax.net.ssl.trustStore=/var/run/weir/trust/java.jks";
    let java = |pod: &Value| {
        let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
        let all = env.iter().filter(|e| e["name"] == "JAVA_TOOL_OPTIONS");
        let values: Vec<_> = all
            .map(|e| e["value"].as_str().unwrap().to_owned())
            .collect();
        values
    };
    let mut pod = injected(&pod(), &asked()).pod;
    assert_eq!(java(&pod), [OURS]);
    let left = |pod: &Value| pod["metadata"]["annotations"]["weir.dev/left-alone"].clone();
    for (set, reported) in [
        (format!("-javaagent:/otel.jar {OURS}"), Value::Null),
        (String::new(), json!("app: JAVA_TOOL_OPTIONS")),
        ("-Xmx1g".to_owned(), json!("app: JAVA_TOOL_OPTIONS")),
        (format!("{OURS}.mine"), json!("app: JAVA_TOOL_OPTIONS")),
    ] {
        let env = json!([{"name": "JAVA_TOOL_OPTIONS", "value": set}]);
        pod["spec"]["containers"][0]["env"] = env;
        let again = injected(&pod, &asked()).pod;
        assert_eq!(java(&again), [set]);
        assert_eq!(left(&again), reported);
    }
}

#[test]
fn every_other_container_drops_net_raw_where_it_is_enforced() {
    let drop = |pod: &Value, list: &str, i: usize| {
        pod["spec"][list][i]["securityContext"]["capabilities"]["drop"].clone()
    };
    let pod = injected(&pod(), &enforced()).pod;
    assert_eq!(drop(&pod, "containers", 0), json!(["NET_RAW"]));
    assert_eq!(drop(&pod, "initContainers", 2), json!(["NET_RAW"]));
    assert_eq!(drop(&pod, "initContainers", 0), json!(["ALL"]));
    let all = json!([{"name": "app", "securityContext": {"capabilities": {"drop": ["ALL"]}}}]);
    let pod = injected(&with("/spec/containers", all), &enforced()).pod;
    assert_eq!(drop(&pod, "containers", 0), json!(["ALL"]));
    assert_eq!(
        drop(&injected(&self::pod(), &asked()).pod, "containers", 0),
        Value::Null
    );
}

#[test]
fn neither_container_can_be_given_the_service_accounts_token() {
    let pod = injected(&pod(), &enforced()).pod;
    for i in 0..2 {
        let mounts = pod["spec"]["initContainers"][i]["volumeMounts"]
            .as_array()
            .unwrap();
        let path = "/var/run/secrets/kubernetes.io/serviceaccount";
        assert!(mounts.iter().any(|mount| mount["mountPath"] == path));
    }
}

#[test]
fn the_controllers_addresses_are_told_where_they_are_known() {
    let args = |settings: &Settings| crate::sidecar(settings, false)["args"].clone();
    let all = args(&settings());
    assert!(
        all.as_array()
            .unwrap()
            .contains(&json!("--controller-address=10.96.0.7,fd00::7"))
    );
    let unknown = Settings {
        controller_addresses: Vec::new(),
        ..settings()
    };
    assert_eq!(
        args(&unknown).as_array().unwrap().len(),
        all.as_array().unwrap().len() - 1
    );
}

#[test]
fn a_pod_with_resources_of_its_own_has_room_for_the_sidecar_and_only_once() {
    let pod = with("/spec/resources", json!({"requests": {"cpu": "500m"}}));
    let mut settings = settings();
    settings
        .resources
        .requests
        .insert("cpu".to_owned(), "10m".to_owned());
    let once = inject(&pod, &asked(), &settings).unwrap();
    assert_eq!(once.pod["spec"]["resources"]["requests"]["cpu"], "510m");
    assert_eq!(inject(&once.pod, &asked(), &settings).unwrap(), once);
}

#[test]
fn requests_name_whatever_limits_name() {
    let mut settings = settings();
    settings.resources.requests = BTreeMap::new();
    let resources = crate::sidecar(&settings, true)["resources"].clone();
    assert_eq!(resources["requests"], resources["limits"]);
}

#[test]
fn who_may_opt_in_and_out() {
    let governed = |pod: &Value, namespace: &Namespace| injected(pod, namespace).governed;
    let enabled = annotated("weir.dev/inject", "enabled");
    let disabled = annotated("weir.dev/inject", "disabled");
    let label = with("/metadata/labels", json!({"weir.dev/inject": "enabled"}));
    assert_eq!(governed(&pod(), &namespace(&[])), Governed::NotAsked);
    assert_eq!(governed(&enabled, &namespace(&[])), Governed::Asked);
    assert_eq!(governed(&label, &namespace(&[])), Governed::Asked);
    assert_eq!(governed(&pod(), &asked()), Governed::Asked);
    assert!(matches!(governed(&disabled, &asked()), Governed::Not(_)));
    assert_eq!(governed(&disabled, &enforced()), Governed::Enforced);
    for name in ["kube-system", "weir-system"] {
        let own = Namespace {
            name: name.to_owned(),
            ..enforced()
        };
        let result = injected(&enabled, &own);
        assert!(matches!(result.governed, Governed::Not(_)));
        assert_eq!(result.pod, enabled);
    }
}

#[test]
fn host_network_windows_and_static_pods_are_refused_where_it_is_enforced() {
    let mirror = annotated("kubernetes.io/config.mirror", "x");
    for pod in [
        with("/spec/hostNetwork", json!(true)),
        with("/spec/os", json!({"name": "windows"})),
        mirror,
    ] {
        assert!(refused(&pod, &enforced()).contains("this namespace is enforced"));
        let left = injected(&pod, &asked());
        assert_eq!(left.pod, pod);
        assert!(left.notes[0].contains("runs unprotected"));
    }
}

#[test]
fn annotations_only_tighten() {
    injected(&annotated("weir.dev/unmatched", "Refuse"), &asked());
    assert!(refused(&annotated("weir.dev/unmatched", "Relay"), &asked()).contains("tighten"));
    let notes = injected(&annotated("weir.dev/unmached", "Refuse"), &asked()).notes;
    assert_eq!(
        notes,
        ["annotation weir.dev/unmached means nothing to Weir"]
    );
}

#[test]
fn kubectl_goes_on_meaning_the_only_container() {
    let name = "kubectl.kubernetes.io/default-container";
    let meant = |spec: Value, annotations: Value| {
        let pod = json!({"metadata": {"annotations": annotations}, "spec": spec});
        let once = injected(&pod, &asked());
        assert_eq!(injected(&once.pod, &asked()).pod, once.pod);
        once.pod["metadata"]["annotations"][name].clone()
    };
    let one = json!([{"name": "app"}]);
    assert_eq!(meant(json!({"containers": one}), json!({})), "app");
    assert_eq!(
        meant(json!({"containers": one}), json!({name: "mine"})),
        "mine"
    );
    let two = json!([{"name": "app"}, {"name": "other"}]);
    assert_eq!(meant(json!({"containers": two}), json!({})), Value::Null);
    let with_init = json!({"containers": one, "initContainers": [{"name": "first"}]});
    assert_eq!(meant(with_init, json!({})), Value::Null);
}

#[test]
fn typed_in_status_is_overwritten() {
    let pod = injected(
        &with(
            "/metadata/annotations",
            json!({
        "weir.dev/status": "forged", "weir.dev/left-alone": "forged", "mine": "stays"}),
        ),
        &asked(),
    )
    .pod;
    let annotations = &pod["metadata"]["annotations"];
    let status: Value =
        serde_json::from_str(annotations["weir.dev/status"].as_str().unwrap()).unwrap();
    assert_eq!(status["version"], "1.2.3");
    assert_eq!(status["hash"].as_str().unwrap().len(), 64);
    assert_eq!(annotations["weir.dev/left-alone"], Value::Null);
    assert_eq!(annotations["mine"], "stays");
}

#[test]
fn hash_follows_what_is_added() {
    let hash = |settings: &Settings| {
        inject(&pod(), &asked(), settings).unwrap().pod["metadata"]["annotations"]["weir.dev/status"].clone()
    };
    let other = Settings {
        ca: "other".to_owned(),
        ..settings()
    };
    assert_ne!(hash(&settings()), hash(&other));
}

#[test]
fn ca_files_are_covered_by_the_bundle() {
    let pod = injected(
        &annotated("weir.dev/ca-files", "/etc/ssl/certs/ca.pem"),
        &asked(),
    )
    .pod;
    let mount = json!({"name": "weir-trust", "mountPath": "/etc/ssl/certs/ca.pem",
        "subPath": "bundle.crt", "readOnly": true});
    assert!(
        pod["spec"]["containers"][0]["volumeMounts"]
            .as_array()
            .unwrap()
            .contains(&mount)
    );
    let java = "/opt/java/lib/security/cacerts, /app/trust.jks";
    let pod = injected(&annotated("weir.dev/ca-files", java), &asked()).pod;
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array();
    let stores = mounts
        .unwrap()
        .iter()
        .filter(|m| m["subPath"] == "java.jks");
    assert_eq!(stores.count(), 2);
    for bad in [
        "etc/ca",
        "/etc/../ca",
        "/etc/",
        "/var/run/secrets/x",
        "/a:b",
        "//a",
    ] {
        refused(&annotated("weir.dev/ca-files", bad), &asked());
    }
    let taken = refused(&annotated("weir.dev/ca-files", "/data"), &asked());
    assert!(taken.contains("already mounts something at `/data`"));
}

fn mount(pod: &Value, path: &str) -> Option<Value> {
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array();
    let found = mounts.unwrap().iter().find(|m| m["mountPath"] == path);
    found.cloned()
}

#[test]
fn every_container_knows_the_ssh_hosts_of_the_sidecar() {
    let pod = injected(&pod(), &enforced()).pod;
    for list in ["/spec/containers/0", "/spec/initContainers/2"] {
        let mounts = pod.pointer(&format!("{list}/volumeMounts")).unwrap();
        let ours = json!({"name": "weir-trust", "mountPath": "/etc/ssh/ssh_known_hosts",
            "subPath": "known_hosts", "readOnly": true});
        assert!(mounts.as_array().unwrap().contains(&ours), "{list}");
    }
    let sidecar = pod["spec"]["initContainers"][0]["volumeMounts"].to_string();
    assert!(!sidecar.contains("ssh_known_hosts"), "{sidecar}");
}

#[test]
fn known_hosts_of_ones_own_are_left_and_reported() {
    for path in [
        "/etc/ssh/ssh_known_hosts",
        "/etc/ssh",
        "/etc/ssh/",
        "/etc",
        "/",
    ] {
        let own = json!([{"name": "app", "volumeMounts": [{"name": "own", "mountPath": path}]}]);
        let once = injected(&with("/spec/containers", own), &asked());
        assert_eq!(mount(&once.pod, path).unwrap()["name"], "own", "{path}");
        let mounts = once.pod["spec"]["containers"][0]["volumeMounts"].to_string();
        assert!(!mounts.contains("\"known_hosts\""), "{path}: {mounts}");
        let left = &once.pod["metadata"]["annotations"]["weir.dev/left-alone"];
        assert_eq!(left, "app: /etc/ssh/ssh_known_hosts", "{path}");
        assert_eq!(injected(&once.pod, &asked()), once, "{path}");
    }
    let near = json!([{"name": "app", "volumeMounts": [{"name": "own", "mountPath": "/etc/ss"}]}]);
    let pod = injected(&with("/spec/containers", near), &asked()).pod;
    assert!(mount(&pod, "/etc/ssh/ssh_known_hosts").is_some());
}

#[test]
fn files_that_an_image_pins_are_covered_each_by_its_own() {
    let annotations = json!({
        "weir.dev/ca-files": "/app/ca.pem",
        "weir.dev/known-hosts-files": "/root/.ssh/known_hosts, /etc/ssh/ssh_known_hosts",
        "weir.dev/ssh-key-files": "/root/.ssh/id_ed25519",
    });
    let once = injected(&with("/metadata/annotations", annotations), &asked());
    for (path, file) in [
        ("/app/ca.pem", "bundle.crt"),
        ("/root/.ssh/known_hosts", "known_hosts"),
        ("/etc/ssh/ssh_known_hosts", "known_hosts"),
        ("/root/.ssh/id_ed25519", "ssh_key"),
    ] {
        let mount = mount(&once.pod, path).unwrap();
        assert_eq!(
            (&mount["subPath"], &mount["readOnly"]),
            (&json!(file), &json!(true))
        );
    }
    assert_eq!(injected(&once.pod, &asked()), once);
    assert_eq!(once.notes, [""; 0]);
    for name in ["weir.dev/known-hosts-files", "weir.dev/ssh-key-files"] {
        for bad in ["etc/x", "/a/../b", "/run/x", "/a/"] {
            let refused = refused(&annotated(name, bad), &asked());
            assert!(refused.contains(name), "{refused}");
        }
    }
    let twice = json!({"weir.dev/ca-files": "/a", "weir.dev/ssh-key-files": "/a"});
    let refused = refused(&with("/metadata/annotations", twice), &asked());
    assert!(
        refused.contains("already mounts something at `/a`"),
        "{refused}"
    );
}

#[test]
fn foreign_mounts_and_uids_are_refused() {
    let mounts = |name: &str, read_only: bool| {
        with(
            "/spec/containers",
            json!([{"name": "app", "volumeMounts":
            [{"name": name, "mountPath": "/x", "readOnly": read_only}]}]),
        )
    };
    assert!(refused(&mounts("weir-identity", true), &asked()).contains("the sidecar's alone"));
    assert!(refused(&mounts("weir-state", true), &asked()).contains("the sidecar's alone"));
    assert!(refused(&mounts("weir-trust", false), &asked()).contains("read-only for others"));
    injected(&mounts("weir-trust", true), &asked());
    let uid = with("/spec/securityContext", json!({"runAsUser": 2177}));
    assert!(refused(&uid, &asked()).contains("Weir's own"));
    let uid = with(
        "/spec/containers",
        json!([{"name": "a", "securityContext": {"runAsUser": 2178}}]),
    );
    assert!(refused(&uid, &asked()).contains("container `a`"));
}

#[test]
fn pod_security_that_refuses_the_sidecar_is_noted() {
    let namespace = namespace(&[
        ("weir.dev/inject", "enabled"),
        ("pod-security.kubernetes.io/enforce", "restricted"),
    ]);
    assert!(injected(&pod(), &namespace).notes[0].contains("NET_ADMIN"));
}

#[test]
fn malformed_pods_are_refused_and_nothing_panics() {
    for pod in [
        json!({}),
        json!([]),
        json!({"spec": []}),
        json!({"spec": {"containers": 1}}),
        json!({"metadata": 1, "spec": {"containers": []}}),
        json!({"spec": {"containers": [1]}}),
    ] {
        assert!(
            matches!(
                inject(&pod, &enforced(), &settings()),
                Err(Refusal::NotAPod(_))
            ),
            "{pod}"
        );
    }
}

fn debug(container: Value) -> Result<Injected, Refusal> {
    let old = injected(&pod(), &enforced()).pod;
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = json!([container]);
    inject_ephemeral(&old, &new, &enforced())
}

#[test]
fn debug_containers_trust_and_drop_like_others() {
    let result = debug(json!({"name": "debugger", "targetContainerName": "app"})).unwrap();
    let container = &result.pod["spec"]["ephemeralContainers"][0];
    assert_eq!(
        container["securityContext"]["capabilities"]["drop"],
        json!(["NET_RAW"])
    );
    assert_eq!(container["volumeMounts"][0]["name"], "weir-trust");
    let again = inject_ephemeral(&pod(), &result.pod, &enforced()).unwrap();
    assert_eq!(again.pod, result.pod);
    let later = inject_ephemeral(&result.pod, &result.pod, &enforced()).unwrap();
    assert_eq!(later.pod, result.pod);
}

#[test]
fn debug_containers_stay_away_from_the_sidecar() {
    for bad in [
        json!({"name": "d", "targetContainerName": "weir-sidecar"}),
        json!({"name": "d", "targetContainerName": "weir-probe"}),
        json!({"name": "d", "securityContext": {"privileged": true}}),
        json!({"name": "d", "securityContext": {"runAsUser": 2177}}),
        json!({"name": "d", "volumeMounts": [{"name": "weir-state", "mountPath": "/x"}]}),
    ] {
        assert!(debug(bad).is_err());
    }
    for capability in [
        "NET_ADMIN",
        "NET_RAW",
        "SYS_PTRACE",
        "SYS_ADMIN",
        "CAP_NET_ADMIN",
        "net_admin",
        "ALL",
    ] {
        let bad = json!({"name": "d", "securityContext": {"capabilities": {"add": [capability]}}});
        assert!(
            matches!(debug(bad), Err(Refusal::Privilege { .. })),
            "{capability}"
        );
    }
}
