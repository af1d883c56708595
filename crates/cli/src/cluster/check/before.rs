//! What a cluster needs before Weir is installed.

use serde_json::{Value, json};

use super::super::access::Cluster;
use super::super::object::{Membership, label, list, membership, name, text};
use super::Finding;

/// The oldest minor version of Kubernetes 1 that Weir runs on.
const FLOOR: u32 = 33;
/// Native sidecars are on by default from this minor version of a kubelet.
const SIDECARS: u32 = 29;

/// What the installer must be allowed: group, resource, verbs, and whether in Weir's namespace.
const RIGHTS: [(&str, &str, &[&str], bool); 14] = [
    ("", "namespaces", &["get", "create"], false),
    (
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        &["get", "create", "patch"],
        false,
    ),
    (
        "rbac.authorization.k8s.io",
        "clusterroles",
        &["create", "patch", "escalate"],
        false,
    ),
    (
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        &["create", "patch"],
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        &["create", "patch"],
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        &["create", "patch"],
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
        &["create", "patch"],
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
        &["create", "patch"],
        false,
    ),
    ("apps", "deployments", &["create", "patch"], true),
    ("", "services", &["create", "patch"], true),
    ("", "serviceaccounts", &["create", "patch"], true),
    ("", "configmaps", &["create", "patch"], true),
    ("", "secrets", &["create", "patch"], true),
    ("", "persistentvolumeclaims", &["create"], true),
];

/// The version of the API server.
pub(super) fn version(version: &Value) -> Finding {
    const CHECK: &str = "kubernetes";
    let git = text(version, "/gitVersion");
    match minor(git) {
        Some(minor) if minor >= FLOOR => Finding::ok(CHECK, git),
        Some(_) => Finding::fail(CHECK, format!("{git}: Weir needs 1.{FLOOR} or newer")),
        None => Finding::warn(CHECK, format!("`{git}` is no version that Weir can judge")),
    }
}

/// The minor version in `v1.33.2` and its like.
fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("v1.")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// What concerns the cluster as a whole.
pub(super) async fn cluster(cluster: &Cluster, installed: bool, findings: &mut Vec<Finding>) {
    findings.push(match cluster.list("/api/v1/nodes").await {
        Ok(found) => nodes(&found.unwrap_or_default()),
        Err(error) => Finding::unread("nodes", &error),
    });
    let path = "/apis/admissionregistration.k8s.io/v1";
    findings.push(match cluster.get(path).await {
        Ok(found) => admission_policies(found.as_ref()),
        Err(error) => Finding::unread("admission policies", &error),
    });
    let path = "/apis/node.k8s.io/v1/runtimeclasses";
    findings.push(match cluster.list(path).await {
        Ok(found) => runtime_classes(&found.unwrap_or_default()),
        Err(error) => Finding::unread("runtime classes", &error),
    });
    if !installed {
        findings.push(rights(cluster).await);
    }
}

/// Kubelets: native sidecars start before, and end after, all other containers.
pub(super) fn nodes(nodes: &[Value]) -> Finding {
    const CHECK: &str = "nodes";
    let info =
        |node: &Value, field: &str| text(node, &format!("/status/nodeInfo/{field}")).to_owned();
    let old: Vec<String> = nodes
        .iter()
        .filter(|node| minor(&info(node, "kubeletVersion")).is_some_and(|minor| minor < SIDECARS))
        .map(|node| format!("{} ({})", name(node), info(node, "kubeletVersion")))
        .collect();
    if !old.is_empty() {
        let text = format!(
            "no native sidecars before kubelet 1.{SIDECARS}: {}",
            old.join(", ")
        );
        return Finding::fail(CHECK, text);
    }
    let foreign: Vec<&str> = nodes
        .iter()
        .filter(|node| !matches!(info(node, "operatingSystem").as_str(), "linux" | ""))
        .map(name)
        .collect();
    if !foreign.is_empty() {
        let text = format!(
            "pods on {} cannot be governed: not Linux",
            foreign.join(", ")
        );
        return Finding::warn(CHECK, text);
    }
    match nodes.len() {
        0 => Finding::warn(CHECK, "there is no node"),
        1 => Finding::ok(CHECK, "1 node has native sidecars"),
        many => Finding::ok(CHECK, format!("{many} nodes have native sidecars")),
    }
}

/// ValidatingAdmissionPolicy is what makes enforced namespaces tight.
pub(super) fn admission_policies(resources: Option<&Value>) -> Finding {
    const CHECK: &str = "admission policies";
    let served = resources.is_some_and(|resources| {
        list(resources, "/resources")
            .iter()
            .any(|resource| text(resource, "/name") == "validatingadmissionpolicies")
    });
    if served {
        Finding::ok(CHECK, "ValidatingAdmissionPolicy v1 is served")
    } else {
        Finding::fail(
            CHECK,
            "ValidatingAdmissionPolicy v1 is not served: enforced namespaces would not be tight",
        )
    }
}

/// Runtimes with a kernel of their own: what Weir needs of it was not tried there.
pub(super) fn runtime_classes(classes: &[Value]) -> Finding {
    const CHECK: &str = "runtime classes";
    let own: Vec<&str> = classes
        .iter()
        .filter(|class| {
            let handler = text(class, "/handler");
            ["runsc", "gvisor", "kata", "firecracker", "wasm", "spin"]
                .iter()
                .any(|name| handler.contains(name))
        })
        .map(name)
        .collect();
    if own.is_empty() {
        return Finding::ok(CHECK, "none with a kernel of its own");
    }
    let text = format!(
        "pods of class {} have a kernel of their own: without nftables and cgroups in it their \
         sidecar does not start, and neither do they",
        own.join(", ")
    );
    Finding::warn(CHECK, text)
}

/// Whether this person may install.
async fn rights(cluster: &Cluster) -> Finding {
    const CHECK: &str = "rights to install";
    let mut missing = Vec::new();
    for (group, resource, verbs, local) in RIGHTS {
        for verb in verbs {
            let mut asked = json!({"group": group, "resource": resource, "verb": verb});
            if local && let Some(asked) = asked.as_object_mut() {
                let namespace = cluster.weir_namespace();
                asked.insert("namespace".to_owned(), json!(namespace));
            }
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": asked},
            });
            let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            match cluster.create(path, &review).await {
                Ok(answer) if answer.pointer("/status/allowed") == Some(&json!(true)) => {}
                Ok(_) => missing.push(format!("{verb} {resource}")),
                Err(error) => return Finding::unread(CHECK, &error),
            }
        }
    }
    judge_rights(&missing)
}

pub(super) fn judge_rights(missing: &[String]) -> Finding {
    const CHECK: &str = "rights to install";
    // Who holds every right that the chart grants need not be able to grant others.
    match missing {
        [] => Finding::ok(CHECK, "you may create everything that the chart contains"),
        [only] if only == "escalate clusterroles" => Finding::warn(
            CHECK,
            "you may not grant more than you hold yourself (escalate clusterroles)",
        ),
        several => Finding::fail(CHECK, format!("you may not {}", several.join(", "))),
    }
}

/// What concerns the namespaces that take part.
pub(super) fn namespaces(members: &[Value], findings: &mut Vec<Finding>) {
    const CHECK: &str = "namespaces";
    let count = |wanted| {
        members
            .iter()
            .filter(|namespace| membership(namespace) == wanted)
            .count()
    };
    let (opted_in, enforced) = (count(Membership::OptedIn), count(Membership::Enforced));
    findings.push(Finding::ok(
        CHECK,
        format!("{opted_in} opted in, {enforced} enforced"),
    ));
    findings.extend(members.iter().filter_map(pod_security));
}

/// Pod Security of a namespace: baseline and restricted refuse every pod with a sidecar.
pub(super) fn pod_security(namespace: &Value) -> Option<Finding> {
    const CHECK: &str = "pod security";
    let level = label(namespace, "pod-security.kubernetes.io/enforce")?;
    if !matches!(level, "baseline" | "restricted") {
        return None;
    }
    let text = format!(
        "namespace {0} enforces {level}, which refuses every pod of it that Weir injects: the \
         sidecar needs NET_ADMIN at its start, to capture the pod's connections, and gives it up \
         before the application starts. Set pod-security.kubernetes.io/enforce=privileged on {0}; \
         {1}",
        name(namespace),
        match membership(namespace) {
            Membership::Enforced =>
                "Weir's own policies refuse what baseline would, as it is enforced by Weir",
            _ => "with weir.dev/enforce=true Weir's own policies refuse what baseline would",
        }
    );
    Some(Finding::fail(CHECK, text))
}
