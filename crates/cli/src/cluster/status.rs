//! `weir status` against a cluster: what runs, what is governed, what is in force, what waits.
//!
//! Invariants: what this person may not read is left out and named, never shown as nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_api::kinds::DECIDING;
use weir_audit::Timestamp;

use super::access::Cluster;
use super::error::ClusterError;
use super::object::{
    Membership, condition, full_name, has_sidecar, is, list, membership, name, number, text, wish,
};
use super::requests::{cards, is_open};
use super::tunnel::{Process, Tunnel};
use super::weir_path;
use crate::commands::table::{Cell, Column, Screen, Style, draw};
use crate::commands::text::{counted, one_line};

/// The controller's port for metrics.
const METRICS: u16 = 9090;
/// The controller's metrics are shorter than this.
const MAX_METRICS: u64 = 4 << 20;

/// How Weir is, in a cluster.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    processes: Vec<ProcessState>,
    /// The policy revision that the controller gives out.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// `None`: not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespaces: Option<Vec<NamespaceState>>,
    /// Objects of each kind.
    policies: BTreeMap<&'static str, usize>,
    not_ready: Vec<NotReady>,
    requests: Vec<Value>,
    /// What could not be read, and why.
    unread: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ProcessState {
    name: &'static str,
    ready: u64,
    wanted: u64,
    image: String,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NamespaceState {
    name: String,
    enforced: bool,
    governed: usize,
    /// Governed, but their sidecar is not ready.
    sidecar_not_ready: usize,
    opted_out: usize,
    unprotected: usize,
}

#[derive(Debug, PartialEq, Serialize)]
struct NotReady {
    kind: &'static str,
    name: String,
    reason: String,
    message: String,
}

/// Reads it.
pub(crate) async fn read(cluster: &Cluster) -> Result<Report, ClusterError> {
    let mut report = Report::default();
    for process in [Process::Controller, Process::Collector] {
        let found = super::check::deployment(cluster, process).await;
        let found = report.kept(
            process.name(),
            found.map(|found| found.map(|one| vec![one])),
        )?;
        let state = |deployment| process_state(process, deployment);
        report.processes.extend(found.iter().flatten().map(state));
    }
    report.revision = revision(cluster, &mut report.unread).await;
    pods(cluster, &mut report).await?;
    for (kind, plural) in DECIDING {
        // The others have no namespace.
        let namespace = cluster.namespace().filter(|_| kind == "GuardPolicy");
        let found = cluster.list(&weir_path(namespace, plural)).await;
        if let Some(found) = report.kept(plural, found)? {
            report.policies.insert(kind, found.len());
            report.not_ready.extend(not_ready(kind, &found));
        }
    }
    let path = weir_path(cluster.namespace(), "accessrequests");
    let found = cluster.list(&path).await;
    report.requests = report.kept("accessrequests", found)?.unwrap_or_default();
    report.requests.retain(is_open);
    Ok(report)
}

impl Report {
    /// What was read; `None`, with a note, where this person may not. No cluster is an error.
    fn kept(
        &mut self,
        what: &str,
        found: Result<Option<Vec<Value>>, ClusterError>,
    ) -> Result<Option<Vec<Value>>, ClusterError> {
        match found {
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) => {
                self.unread.push(format!("{what}: not there"));
                Ok(None)
            }
            Err(ClusterError::Forbidden(why)) => {
                self.unread.push(format!("{what}: {why}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// For people.
    pub(crate) fn render(&self, now: Timestamp, screen: Screen) -> String {
        let mut out = String::new();
        for process in &self.processes {
            let state = format!("{} of {} ready", process.ready, process.wanted);
            let style = match (process.ready, process.wanted) {
                (0, _) => Style::Bad,
                (ready, wanted) if ready < wanted => Style::Waits,
                _ => Style::Plain,
            };
            let _ = writeln!(
                out,
                "{:<16}  {}  {}",
                process.name,
                screen.paint(&state, style),
                process.image
            );
        }
        let counts: Vec<String> = self
            .policies
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        let revision = self
            .revision
            .map_or_else(String::new, |revision| format!("revision {revision}, "));
        let counts = match (self.policies.is_empty(), counts.is_empty()) {
            (true, _) => "not read".to_owned(),
            (false, true) => "none".to_owned(),
            (false, false) => counts.join(", "),
        };
        let _ = writeln!(out, "{:<16}  {revision}{counts}", "policies");
        for object in &self.not_ready {
            let what = format!("{}/{} is not in force", object.kind, object.name);
            let _ = writeln!(
                out,
                "{:<16}  {}: {} ({})",
                "",
                screen.paint(&what, Style::Bad),
                one_line(&object.message),
                object.reason
            );
        }
        if let Some(namespaces) = &self.namespaces {
            out.push('\n');
            out.push_str(&table(namespaces, screen));
        }
        if !self.requests.is_empty() {
            let waits = counted(
                u64::try_from(self.requests.len()).unwrap_or(u64::MAX),
                "request",
            );
            let _ = writeln!(out, "\n{waits} to decide:\n");
            out.push_str(&cards(&self.requests, now, screen));
        }
        for what in &self.unread {
            let _ = writeln!(
                out,
                "{}",
                screen.paint(&format!("not read: {what}"), Style::Dim)
            );
        }
        out
    }
}

/// A line for each namespace that takes part.
fn table(namespaces: &[NamespaceState], screen: Screen) -> String {
    if namespaces.is_empty() {
        return "no namespace takes part (labels weir.dev/inject, weir.dev/enforce)\n".to_owned();
    }
    let columns = [
        Column::text("NAMESPACE"),
        Column::text("MODE"),
        Column::number("GOVERNED"),
        Column::number("NOT READY"),
        Column::number("OPTED OUT"),
        Column::number("UNPROTECTED"),
    ];
    let number = |count: usize, style: Style| {
        Cell::styled(
            count.to_string(),
            if count == 0 { Style::Plain } else { style },
        )
    };
    let rows: Vec<Vec<Cell>> = namespaces
        .iter()
        .map(|namespace| {
            let bad = if namespace.enforced {
                Style::Bad
            } else {
                Style::Waits
            };
            vec![
                namespace.name.as_str().into(),
                if namespace.enforced {
                    "enforced"
                } else {
                    "opted in"
                }
                .into(),
                number(namespace.governed, Style::Plain),
                number(namespace.sidecar_not_ready, Style::Waits),
                number(namespace.opted_out, Style::Plain),
                number(namespace.unprotected, bad),
            ]
        })
        .collect();
    draw(&columns, &rows, screen)
}
fn process_state(process: Process, deployment: &Value) -> ProcessState {
    let container = list(deployment, "/spec/template/spec/containers").first();
    ProcessState {
        name: process.name(),
        ready: number(deployment, "/status/readyReplicas"),
        wanted: number(deployment, "/spec/replicas"),
        image: container
            .map_or("", |container| text(container, "/image"))
            .to_owned(),
    }
}

async fn pods(cluster: &Cluster, report: &mut Report) -> Result<(), ClusterError> {
    let namespaces = match cluster.namespace() {
        Some(only) => {
            let found = cluster.get(&format!("/api/v1/namespaces/{only}")).await;
            report.kept("namespaces", found.map(|found| found.map(|one| vec![one])))?
        }
        None => {
            let found = cluster.list("/api/v1/namespaces").await;
            report.kept("namespaces", found)?
        }
    };
    let path = match cluster.namespace() {
        Some(only) => format!("/api/v1/namespaces/{only}/pods"),
        None => "/api/v1/pods".to_owned(),
    };
    let found = cluster.list(&path).await;
    let pods = report.kept("pods", found)?;
    let (Some(namespaces), Some(pods)) = (namespaces, pods) else {
        return Ok(());
    };
    let weir = cluster.weir_namespace();
    let others = namespaces
        .iter()
        .filter(|namespace| name(namespace) != weir && name(namespace) != "kube-system");
    let states = others.filter_map(|namespace| namespace_state(namespace, &pods));
    report.namespaces = Some(states.collect());
    Ok(())
}

/// How the pods of a namespace are governed; nothing, if none of them is to be.
fn namespace_state(namespace: &Value, pods: &[Value]) -> Option<NamespaceState> {
    let member = membership(namespace);
    let mut state = NamespaceState {
        name: name(namespace).to_owned(),
        enforced: member == Membership::Enforced,
        governed: 0,
        sidecar_not_ready: 0,
        opted_out: 0,
        unprotected: 0,
    };
    let mine = pods.iter().filter(|pod| {
        text(pod, "/metadata/namespace") == name(namespace)
            && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
    });
    for pod in mine {
        if has_sidecar(pod) {
            state.governed += 1;
            if !sidecar_ready(pod) {
                state.sidecar_not_ready += 1;
            }
        } else {
            match (member, wish(pod)) {
                (Membership::Enforced, _) => state.unprotected += 1,
                (Membership::OptedIn, Some("disabled")) => state.opted_out += 1,
                (Membership::OptedIn, _) | (Membership::None, Some("enabled")) => {
                    state.unprotected += 1;
                }
                (Membership::None, _) => {}
            }
        }
    }
    let concerned = member != Membership::None || state.governed + state.unprotected > 0;
    concerned.then_some(state)
}

fn sidecar_ready(pod: &Value) -> bool {
    list(pod, "/status/initContainerStatuses")
        .iter()
        .any(|status| {
            text(status, "/name") == "weir-sidecar"
                && status.pointer("/ready").and_then(Value::as_bool) == Some(true)
        })
}

/// The objects that are not in force, and why.
fn not_ready(kind: &'static str, objects: &[Value]) -> Vec<NotReady> {
    let judged = objects.iter().filter(|object| !is(object, "Ready"));
    judged
        .map(|object| {
            let (_, reason, message) = condition(object, "Ready").unwrap_or((
                "Unknown",
                "NotJudged",
                "the controller has not judged it yet",
            ));
            NotReady {
                kind,
                name: full_name(object),
                reason: reason.to_owned(),
                message: message.to_owned(),
            }
        })
        .collect()
}

/// The revision that the controller gives out, from its metrics.
async fn revision(cluster: &Cluster, unread: &mut Vec<String>) -> Option<u64> {
    match metrics(cluster).await {
        Ok(text) => metric(&text, "weir_controller_revision"),
        Err(error) => {
            unread.push(format!("policy revision: {error}"));
            None
        }
    }
}

async fn metrics(cluster: &Cluster) -> Result<String, ClusterError> {
    let tunnel = Tunnel::to(cluster, Process::Controller, METRICS).await?;
    let failed = |error: std::io::Error| ClusterError::Answer(error.to_string());
    let mut stream = tunnel.open().await.map_err(failed)?;
    // One request on a stream of its own: HTTP/1.0 ends with it.
    let request = b"GET /metrics HTTP/1.0\r\nhost: weir-controller\r\n\r\n";
    stream.write_all(request).await.map_err(failed)?;
    let mut answer = Vec::new();
    let mut stream = stream.take(MAX_METRICS);
    stream.read_to_end(&mut answer).await.map_err(failed)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The value of a metric without labels.
fn metric(text: &str, wanted: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(wanted)?.strip_prefix(' ')?;
        let whole = value.split(['.', ' ']).next()?;
        whole.parse().ok()
    })
}

#[cfg(test)]
mod tests;
