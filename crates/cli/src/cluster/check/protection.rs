//! Whether pods are governed: those that would be made, and those that run.

use serde_json::{Value, json};

use super::super::access::{Cluster, Refusal};
use super::super::error::ClusterError;
use super::super::object::{Membership, has_sidecar, membership, name, text, wish};
use super::{Finding, Outcome};

const INJECTION: &str = "injection";
const ENFORCEMENT: &str = "enforcement";
const PODS: &str = "running pods";
/// So many pods of a namespace are named.
const NAMED: usize = 20;

/// Tries pods with the server's dry run: the whole admission chain judges, nothing is made.
pub(super) async fn dry_runs(cluster: &Cluster, members: &[Value], findings: &mut Vec<Finding>) {
    let first = |wanted: Membership| {
        members
            .iter()
            .find(|namespace| membership(namespace) == wanted)
            .map(name)
    };
    let (opted_in, enforced) = (first(Membership::OptedIn), first(Membership::Enforced));
    if opted_in.is_none() && enforced.is_none() {
        let text = "no namespace is opted in (label weir.dev/inject=enabled)";
        findings.push(Finding::skipped(INJECTION, text));
    }
    let mut control = Outcome::Skipped;
    for namespace in [opted_in, enforced].into_iter().flatten() {
        let path = pods_of(namespace);
        let tried = cluster.try_create(&path, &pod(&json!({}))).await;
        let finding = judged(tried, INJECTION, |tried| injected(namespace, tried));
        control = finding.outcome;
        findings.push(finding);
    }
    let Some(namespace) = enforced else {
        let text = "no namespace is enforced (label weir.dev/enforce=true)";
        return findings.push(Finding::skipped(ENFORCEMENT, text));
    };
    let offending = pod(&json!({"capabilities": {"add": ["NET_ADMIN"]}}));
    let tried = cluster.try_create(&pods_of(namespace), &offending).await;
    findings.push(judged(tried, ENFORCEMENT, |tried| {
        refused(namespace, control, tried)
    }));
}

fn judged(
    tried: Result<Result<Value, Refusal>, ClusterError>,
    check: &'static str,
    judge: impl FnOnce(&Result<Value, Refusal>) -> Finding,
) -> Finding {
    match tried {
        Ok(tried) => judge(&tried),
        Err(error) => Finding::unread(check, &error),
    }
}

fn pods_of(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

/// A pod that asks for nothing, with this security context.
fn pod(security: &Value) -> Value {
    let little = json!({"cpu": "1m", "memory": "8Mi"});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "weir-check-"},
        "spec": {"restartPolicy": "Never", "containers": [{
            "name": "check", "image": "weir.dev/check", "securityContext": security,
            "resources": {"requests": little, "limits": little},
        }]},
    })
}

/// Whether a pod of a namespace gets its sidecar.
pub(super) fn injected(namespace: &str, tried: &Result<Value, Refusal>) -> Finding {
    match tried {
        Ok(pod) if has_sidecar(pod) => Finding::ok(
            INJECTION,
            format!("a pod in {namespace} would get the sidecar"),
        ),
        Ok(_) => Finding::fail(
            INJECTION,
            format!(
                "a pod in {namespace} would start without the sidecar: the webhook was not asked, \
                 or did not answer"
            ),
        ),
        Err((403, _, message)) if may_not_create(message) => {
            Finding::warn(INJECTION, format!("not checked: {message}"))
        }
        Err((_, _, message)) => Finding::fail(
            INJECTION,
            format!("no pod can start in {namespace}: {message}"),
        ),
    }
}

/// Whether a pod that asks for NET_ADMIN is refused where Weir enforces. A refusal proves something
/// only where the same pod without it is let in: `control`.
pub(super) fn refused(
    namespace: &str,
    control: Outcome,
    tried: &Result<Value, Refusal>,
) -> Finding {
    match tried {
        Err(_) if control != Outcome::Ok => Finding::warn(
            ENFORCEMENT,
            format!("not proved: in {namespace} a pod without NET_ADMIN is refused as well"),
        ),
        Ok(_) => Finding::fail(
            ENFORCEMENT,
            format!(
                "a pod with NET_ADMIN would start in {namespace}, and could leave the redirect"
            ),
        ),
        Err((_, _, message)) if message.contains("ValidatingAdmissionPolicy") => Finding::ok(
            ENFORCEMENT,
            format!("a pod with NET_ADMIN is refused in {namespace}"),
        ),
        Err((403, _, message)) if may_not_create(message) => {
            Finding::warn(ENFORCEMENT, format!("not checked: {message}"))
        }
        Err((_, _, message)) => Finding::warn(
            ENFORCEMENT,
            format!(
                "a pod with NET_ADMIN is refused in {namespace}, but not by Weir's policies: \
                 {message}"
            ),
        ),
    }
}

/// RBAC's own refusal names the user; admission's does not.
fn may_not_create(message: &str) -> bool {
    message.contains("cannot create resource")
}

/// The pods that run in namespaces that take part.
pub(super) async fn pods(cluster: &Cluster, members: &[Value], findings: &mut Vec<Finding>) {
    for namespace in members {
        findings.push(match cluster.list(&pods_of(name(namespace))).await {
            Ok(pods) => unprotected(namespace, &pods.unwrap_or_default()),
            Err(error) => Finding::unread(PODS, &error),
        });
    }
}

/// Pods of a namespace that run without the sidecar.
pub(super) fn unprotected(namespace: &Value, pods: &[Value]) -> Finding {
    let namespace_name = name(namespace);
    let enforced = membership(namespace) == Membership::Enforced;
    let running = pods
        .iter()
        .filter(|pod| !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed"));
    let (mut governed, mut out, mut bare) = (0, 0, Vec::new());
    for pod in running {
        if has_sidecar(pod) {
            governed += 1;
        } else if !enforced && wish(pod) == Some("disabled") {
            out += 1;
        } else {
            bare.push(match pod.pointer("/spec/hostNetwork") {
                Some(Value::Bool(true)) => format!("{} (hostNetwork)", name(pod)),
                _ => name(pod).to_owned(),
            });
        }
    }
    let opted_out = match out {
        0 => String::new(),
        out => format!(", {out} opted out"),
    };
    if bare.is_empty() {
        let text = format!("{namespace_name}: {governed} governed{opted_out}");
        return Finding::ok(PODS, text);
    }
    let more = match bare.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let count = bare.len();
    bare.truncate(NAMED);
    let text = format!(
        "{namespace_name}: {governed} governed{opted_out}, {count} UNPROTECTED: {}{more}; pods \
         older than the label get the sidecar when they are restarted",
        bare.join(", ")
    );
    if enforced {
        Finding::fail(PODS, text)
    } else {
        Finding::warn(PODS, text)
    }
}
