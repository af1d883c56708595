//! `weir check --probe`: a real pod that dials an address past its sidecar, and must not get there.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::access::Cluster;
use super::super::error::ClusterError;
use super::super::object::{list, name, number, text};
use super::Finding;

const CHECK: &str = "probe";
/// How long the pod has, image included.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks at it.
const AGAIN: Duration = Duration::from_millis(500);

/// Runs the pod and removes it.
pub(super) async fn run(cluster: &Cluster, namespace: &str) -> Finding {
    match probe(cluster, namespace).await {
        Ok(finding) => finding,
        Err(error @ ClusterError::Refused(_)) => {
            Finding::fail(CHECK, format!("no pod can start in {namespace}: {error}"))
        }
        Err(error) => Finding::unread(CHECK, &error),
    }
}

async fn probe(cluster: &Cluster, namespace: &str) -> Result<Finding, ClusterError> {
    let map = format!(
        "/api/v1/namespaces/{}/configmaps/weir-admission",
        cluster.weir_namespace()
    );
    let map = cluster.get(&map).await?.unwrap_or_default();
    let image = text(&map, "/data/images")
        .split(',')
        .next()
        .unwrap_or_default()
        .trim();
    if image.is_empty() {
        let text = "ConfigMap weir-admission names no image of the sidecar".to_owned();
        return Err(ClusterError::NotFound(text));
    }
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let made = cluster.create(&pods, &pod(image)).await?;
    let path = format!("{pods}/{}", name(&made));
    let ended = watch(cluster, &path).await;
    // Also when watching failed: the pod is nobody's.
    let removed = cluster.delete(&path).await;
    let finding = judge(namespace, &ended?);
    removed?;
    Ok(finding)
}

async fn watch(cluster: &Cluster, path: &str) -> Result<Value, ClusterError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let pod = cluster.get(path).await?.unwrap_or_default();
        let over = matches!(text(&pod, "/status/phase"), "Succeeded" | "Failed");
        if over || Instant::now() >= until {
            return Ok(pod);
        }
        sleep(AGAIN).await;
    }
}

/// The probe of the sidecar's image, as an application: no capability, another UID.
fn pod(image: &str) -> Value {
    let little = json!({"cpu": "10m", "memory": "32Mi"});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "weir-check-",
            "labels": {"weir.dev/inject": "enabled"},
        },
        "spec": {
            "restartPolicy": "Never", "activeDeadlineSeconds": PATIENCE.as_secs(),
            "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "check", "image": image, "args": ["probe", "--timeout=10"],
                "resources": {"requests": little, "limits": little},
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {
                    "runAsUser": 65534, "runAsNonRoot": true, "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            }],
        },
    })
}

/// What the pod's end says.
pub(super) fn judge(namespace: &str, pod: &Value) -> Finding {
    let container = list(pod, "/status/containerStatuses").first();
    let ended = container.and_then(|status| status.pointer("/state/terminated"));
    match (ended, text(pod, "/status/phase")) {
        (Some(ended), _) if number(ended, "/exitCode") == 0 => Finding::ok(
            CHECK,
            format!("a pod in {namespace} dialled an address directly and was captured"),
        ),
        (Some(ended), _) => Finding::fail(
            CHECK,
            format!(
                "a pod in {namespace} dialled an address directly and was NOT captured: {}",
                text(ended, "/message").trim()
            ),
        ),
        (None, phase) => Finding::fail(
            CHECK,
            format!(
                "the pod did not come to its end in {namespace}: {}",
                stuck(pod, phase)
            ),
        ),
    }
}

/// Why a pod does not come to its end.
fn stuck(pod: &Value, phase: &str) -> String {
    let waiting = list(pod, "/status/initContainerStatuses")
        .iter()
        .chain(list(pod, "/status/containerStatuses"))
        .find_map(|status| {
            let waiting = status.pointer("/state/waiting")?;
            let reason = text(waiting, "/reason");
            (!matches!(reason, "" | "PodInitializing")).then(|| {
                format!(
                    "{} is {reason}: {}",
                    text(status, "/name"),
                    text(waiting, "/message")
                )
            })
        });
    waiting.unwrap_or_else(|| match text(pod, "/status/message") {
        "" => format!("it is {phase} after {} s", PATIENCE.as_secs()),
        message => message.to_owned(),
    })
}
