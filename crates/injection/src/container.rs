//! The two containers and three volumes that Weir adds, with every default that the API server
//! would fill in, so that what is stored equals what is written here.
//!
//! Both containers mount something at the path of the service account's token: Kubernetes runs its
//! ServiceAccount plugin again after a webhook changed a pod, and it skips containers that do.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::names::{
    ADMIN_PORT, AUDIENCE, IDENTITY_PATH, IDENTITY_VOLUME, PROBE, PROBE_UID, SIDECAR, STATE_PATH,
    STATE_VOLUME, TOKEN_PATH, TRUST_PATH, TRUST_VOLUME,
};
use crate::settings::{Resources, Settings};

/// Seconds that the projected token lives.
const TOKEN_SECONDS: u32 = 600;
/// The size of the volume with certificates.
const TRUST_SIZE: &str = "4Mi";

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
    json!({
        "name": SIDECAR,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "restartPolicy": "Always",
        "args": args,
        "env": [
            {"name": "WEIR_CA", "value": settings.ca},
            downward("POD_NAME", "metadata.name"),
            downward("POD_NAMESPACE", "metadata.namespace"),
            downward("POD_UID", "metadata.uid"),
            downward("POD_IP", "status.podIP"),
        ],
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
        "volumeMounts": [
            {"name": IDENTITY_VOLUME, "mountPath": IDENTITY_PATH, "readOnly": true},
            {"name": IDENTITY_VOLUME, "mountPath": TOKEN_PATH, "readOnly": true},
            {"name": STATE_VOLUME, "mountPath": STATE_PATH},
            {"name": TRUST_VOLUME, "mountPath": TRUST_PATH},
        ],
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
pub fn volumes(settings: &Settings) -> [Value; 3] {
    [
        json!({"name": IDENTITY_VOLUME, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {
                "audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token",
            }},
        ]}}),
        json!({"name": STATE_VOLUME, "emptyDir": {
            "medium": "Memory", "sizeLimit": settings.state_size,
        }}),
        json!({"name": TRUST_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": TRUST_SIZE}}),
    ]
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
