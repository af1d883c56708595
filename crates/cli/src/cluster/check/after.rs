//! Whether what the chart installed is there and runs.

use serde_json::Value;

use super::super::access::Cluster;
use super::super::error::ClusterError;
use super::super::object::{is, list, name, number, text};
use super::super::tunnel::Process;
use super::Finding;
use weir_api::kinds::{DECIDING, KINDS};

/// The version of them that this program knows.
const VERSION: &str = "v1alpha1";

/// The definitions of Weir's resources, as far as they are there and may be read.
pub(super) async fn crds(cluster: &Cluster) -> Result<Vec<Value>, ClusterError> {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let mut found = cluster.list(path).await?.unwrap_or_default();
    found.retain(|crd| text(crd, "/spec/group") == "weir.dev");
    Ok(found)
}

/// Whether Weir was installed: its API group is served, which everybody may know.
pub(super) async fn is_installed(cluster: &Cluster) -> Result<bool, ClusterError> {
    let group = format!("/apis/weir.dev/{VERSION}");
    let served = cluster.get(&group).await?.is_some();
    match deployment(cluster, Process::Controller).await {
        Ok(found) => Ok(found.is_some()),
        Err(ClusterError::Forbidden(_)) => Ok(served),
        Err(error) => Err(error),
    }
}

/// The resources of Weir.
pub(super) fn resources(crds: &Result<Vec<Value>, ClusterError>) -> Finding {
    const CHECK: &str = "resources";
    let crds = match crds {
        Ok(crds) => crds,
        Err(error) => return Finding::unread(CHECK, error),
    };
    let plurals = DECIDING.map(|(_, plural)| plural);
    for plural in plurals.into_iter().chain(["accessrequests"]) {
        let wanted = format!("{plural}.weir.dev");
        let Some(crd) = crds.iter().find(|crd| name(crd) == wanted) else {
            let text = format!("{wanted} is missing: chart weir-crds goes first");
            return Finding::fail(CHECK, text);
        };
        let serves = list(crd, "/spec/versions").iter().any(|version| {
            text(version, "/name") == VERSION
                && version.pointer("/served").and_then(Value::as_bool) == Some(true)
        });
        if !serves {
            return Finding::fail(CHECK, format!("{wanted} is not served as {VERSION}"));
        }
        if !is(crd, "Established") {
            return Finding::fail(CHECK, format!("{wanted} is not established yet"));
        }
    }
    Finding::ok(
        CHECK,
        format!("{} kinds of weir.dev/{VERSION}", KINDS.len()),
    )
}

/// Controller and collector.
pub(super) async fn processes(cluster: &Cluster, findings: &mut Vec<Finding>) {
    for process in [Process::Controller, Process::Collector] {
        findings.push(match deployment(cluster, process).await {
            Ok(found) => ready(process, found.as_ref()),
            Err(error) => Finding::unread(process.component(), &error),
        });
    }
}

/// The Deployment of a process.
pub(crate) async fn deployment(
    cluster: &Cluster,
    process: Process,
) -> Result<Option<Value>, ClusterError> {
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/{}",
        cluster.weir_namespace(),
        process.name()
    );
    cluster.get(&path).await
}

/// Whether a process has the replicas that it should have.
pub(super) fn ready(process: Process, deployment: Option<&Value>) -> Finding {
    let check = process.component();
    let Some(deployment) = deployment else {
        return Finding::fail(check, format!("there is no Deployment {}", process.name()));
    };
    let wanted = number(deployment, "/spec/replicas");
    let ready = number(deployment, "/status/readyReplicas");
    let text = format!("{ready} of {wanted} replicas ready");
    match (process, ready, wanted) {
        (_, 0, _) => Finding::fail(check, text),
        (_, ready, wanted) if ready < wanted => Finding::warn(check, text),
        (Process::Controller, 1, _) => Finding::warn(
            check,
            "1 of 1 replicas ready: while it restarts, no pod in an enforced namespace starts",
        ),
        _ => Finding::ok(check, text),
    }
}
