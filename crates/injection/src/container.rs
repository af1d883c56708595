//! The two containers and the volumes that Weir adds, with every default that the API server
//! would fill in, so that what is stored equals what is written here.
//!
//! Both containers mount something at the path of the service account's token: Kubernetes runs its
//! ServiceAccount plugin again after a webhook changed a pod, and it skips containers that do.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::names::{
    ADMIN_PORT, AUDIENCE, IDENTITY_PATH, IDENTITY_VOLUME, KUBE_FILES, KUBE_PATH, KUBE_TOKEN_VOLUME,
    KUBE_VOLUME, PROBE, PROBE_UID, ROOT_CA, SIDECAR, STATE_PATH, STATE_VOLUME, TOKEN_PATH,
    TRUST_PATH, TRUST_VOLUME,
};
use crate::settings::{Resources, Settings};

/// Seconds that the projected token lives.
const TOKEN_SECONDS: u32 = 600;
/// Seconds that the service account's token lives: what Kubernetes itself asks for, and what API servers
/// make a year of, lest clients that never read it again fail.
const ACCOUNT_SECONDS: u32 = 3607;
/// The size of the volume with certificates.
const TRUST_SIZE: &str = "4Mi";
/// The size of the volume with the placeholder.
const KUBE_SIZE: &str = "1Mi";

/// The sidecar; equal for all pods of an installation but for the enforcement of their namespace.
pub fn sidecar(settings: &Settings, enforced: bool) -> Value {
    let mut args = vec![
        format!("--controller={}", settings.controller()),
        format!("--trust-domain={}", settings.trust_domain),
    ];
    if !settings.controller_addresses.is_empty() {
        let addresses = settings.controller_addresses.join(",");
        args.push(format!("--controller-address={addresses}"));
    }
    if enforced {
        args.push("--enforced".to_owned());
    }
    let mut env = vec![
        json!({"name": "WEIR_CA", "value": settings.ca}),
        downward("POD_NAME", "metadata.name"),
        downward("POD_NAMESPACE", "metadata.namespace"),
        downward("POD_UID", "metadata.uid"),
        downward("POD_IP", "status.podIP"),
    ];
    let mut mounts = vec![
        json!({"name": IDENTITY_VOLUME, "mountPath": IDENTITY_PATH, "readOnly": true}),
        json!({"name": STATE_VOLUME, "mountPath": STATE_PATH}),
        json!({"name": TRUST_VOLUME, "mountPath": TRUST_PATH}),
    ];
    let account = if settings.kubernetes.is_some() {
        args.push("--kubernetes".to_owned());
        env.push(downward(
            "WEIR_KUBE_FILES",
            &format!("metadata.annotations['{KUBE_FILES}']"),
        ));
        mounts.push(json!({"name": KUBE_VOLUME, "mountPath": KUBE_PATH}));
        KUBE_TOKEN_VOLUME
    } else {
        IDENTITY_VOLUME
    };
    mounts.push(json!({"name": account, "mountPath": TOKEN_PATH, "readOnly": true}));
    json!({
        "name": SIDECAR,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "restartPolicy": "Always",
        "args": args,
        "env": env,
        "resources": resources(&settings.resources),
        "securityContext": security(0, &["NET_ADMIN", "SETGID", "SETUID"]),
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": ADMIN_PORT, "scheme": "HTTP"},
            "periodSeconds": 10,
            "timeoutSeconds": 1,
            "successThreshold": 1,
            "failureThreshold": 3,
        },
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    })
}

/// The probe: it waits until the sidecar serves, and ends well only if its connection was captured.
/// Everything after it waits for it. A startup probe of the sidecar's would be one more step of the
/// kubelet's, which takes up to a second for each; its readiness probe holds nothing up.
pub fn probe(settings: &Settings) -> Value {
    json!({
        "name": PROBE,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "args": ["probe"],
        "resources": resources(&settings.resources),
        "securityContext": security(PROBE_UID, &[]),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": TRUST_VOLUME, "mountPath": TOKEN_PATH, "readOnly": true}],
    })
}

/// The volumes.
pub fn volumes(settings: &Settings) -> Vec<Value> {
    let mut volumes = vec![
        json!({"name": IDENTITY_VOLUME, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {
                "audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token",
            }},
        ]}}),
        json!({"name": STATE_VOLUME, "emptyDir": {
            "medium": "Memory", "sizeLimit": settings.state_size,
        }}),
        json!({"name": TRUST_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": TRUST_SIZE}}),
    ];
    if settings.kubernetes.is_some() {
        volumes.push(json!({"name": KUBE_TOKEN_VOLUME, "projected": {
            "defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": ACCOUNT_SECONDS, "path": "token"}},
                {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {
                    "apiVersion": "v1", "fieldPath": "metadata.namespace",
                }}]}},
            ],
        }}));
        volumes.push(
            json!({"name": KUBE_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": KUBE_SIZE}}),
        );
    }
    volumes
}

fn downward(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
}

fn security(uid: i64, add: &[&str]) -> Value {
    let capabilities = if add.is_empty() {
        json!({"drop": ["ALL"]})
    } else {
        json!({"drop": ["ALL"], "add": add})
    };
    json!({
        "runAsUser": uid,
        "runAsGroup": uid,
        "runAsNonRoot": uid != 0,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": capabilities,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn resources(resources: &Resources) -> Value {
    let mut requests: BTreeMap<&String, &String> = resources.limits.iter().collect();
    requests.extend(&resources.requests);
    let mut value = json!({});
    if let Some(map) = value.as_object_mut() {
        if !requests.is_empty() {
            map.insert("requests".to_owned(), json!(requests));
        }
        if !resources.limits.is_empty() {
            map.insert("limits".to_owned(), json!(resources.limits));
        }
    }
    value
}
