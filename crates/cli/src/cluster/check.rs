//! `weir check`: whether a cluster can take Weir, and whether an installed Weir does its work.
//!
//! Invariants: judgements are pure functions over what the API answered; what could not be read is
//! said to be so and never counts as fine. Nothing is changed in the cluster: pods are tried with
//! the server's dry run, but for the one that `--probe` makes and removes.

mod after;
mod before;
mod certificates;
mod probe;
mod protection;
mod webhooks;

use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

pub(crate) use after::deployment;

use super::access::Cluster;
use super::error::ClusterError;
use super::object::{Membership, membership, name, text};
use super::place::KubeArgs;
use crate::commands::connect::{Failure, Form, document, write};
use crate::commands::table::{Screen, Style};
use crate::commands::time::now;

/// Arguments of `weir check`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Also run a pod in this namespace that tries to reach an address past its sidecar
    #[arg(long, value_name = "NAMESPACE", value_parser = super::place::name)]
    probe: Option<String>,
    #[command(flatten)]
    kube: KubeArgs,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: Form,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// As it should be.
    Ok,
    /// Not now, or not by this person.
    Skipped,
    /// Somebody should look.
    Warn,
    /// It does not work, or something is unprotected.
    Fail,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was checked.
    pub(super) check: &'static str,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// Why.
    pub(super) text: String,
}

impl Finding {
    pub(super) fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Outcome::Ok, text)
    }

    pub(super) fn skipped(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Outcome::Skipped, text)
    }

    pub(super) fn warn(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Outcome::Warn, text)
    }

    pub(super) fn fail(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Outcome::Fail, text)
    }

    fn new(check: &'static str, outcome: Outcome, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            check,
            outcome,
            text,
        }
    }

    /// What could not be read: no fault of the cluster, but nothing was proved.
    pub(super) fn unread(check: &'static str, error: &ClusterError) -> Self {
        Self::warn(check, format!("not checked: {error}"))
    }
}

/// Checks; 1 if anything failed.
pub(crate) async fn run(args: CheckArgs) -> ExitCode {
    let findings = match checked(&args).await {
        Ok(findings) => findings,
        Err(error) => {
            eprintln!("weir: {error}");
            return ExitCode::FAILURE;
        }
    };
    let written = match args.output {
        Form::Table => Ok(render(&findings, Screen::of_stdout())),
        form => document(
            &serde_json::json!({"ok": passed(&findings), "checks": findings}),
            form,
        ),
    };
    match written.and_then(|text| write(&text)) {
        Ok(()) | Err(Failure::Enough) if passed(&findings) => ExitCode::SUCCESS,
        Ok(()) | Err(Failure::Enough) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("weir: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn passed(findings: &[Finding]) -> bool {
    findings
        .iter()
        .all(|finding| finding.outcome != Outcome::Fail)
}

async fn checked(args: &CheckArgs) -> Result<Vec<Finding>, ClusterError> {
    let cluster = Cluster::open(&args.kube).await?;
    let version = cluster
        .get("/version")
        .await?
        .ok_or_else(|| ClusterError::Answer("it states no version".to_owned()))?;
    let mut findings = vec![before::version(&version)];
    let crds = after::crds(&cluster).await;
    let installed = after::is_installed(&cluster).await?;
    before::cluster(&cluster, installed, &mut findings).await;
    let members = match members(&cluster).await {
        Ok(members) => {
            before::namespaces(&members, &mut findings);
            Some(members)
        }
        Err(error) => {
            findings.push(Finding::unread("namespaces", &error));
            None
        }
    };
    if !installed {
        let text = format!(
            "Weir is not installed in namespace {}; what only shows then was not checked",
            cluster.weir_namespace()
        );
        findings.push(Finding::skipped("installation", text));
        return Ok(findings);
    }
    findings.push(after::resources(&crds));
    after::processes(&cluster, &mut findings).await;
    webhooks::check(&cluster, &mut findings).await;
    certificates::check(&cluster, now(), &mut findings).await;
    if let Some(members) = &members {
        protection::dry_runs(&cluster, members, &mut findings).await;
        protection::pods(&cluster, members, &mut findings).await;
    }
    if let Some(namespace) = &args.probe {
        findings.push(probe::run(&cluster, namespace).await);
    }
    Ok(findings)
}

/// The namespaces that take part.
async fn members(cluster: &Cluster) -> Result<Vec<Value>, ClusterError> {
    let mut found = match cluster.namespace() {
        Some(only) => {
            let path = format!("/api/v1/namespaces/{only}");
            let found = cluster.get(&path).await?;
            vec![found.ok_or_else(|| ClusterError::NotFound(format!("no namespace {only}")))?]
        }
        None => cluster
            .list("/api/v1/namespaces")
            .await?
            .unwrap_or_default(),
    };
    found.retain(|namespace| {
        membership(namespace) != Membership::None
            && !matches!(name(namespace), "kube-system")
            && name(namespace) != cluster.weir_namespace()
            && text(namespace, "/status/phase") != "Terminating"
    });
    Ok(found)
}

/// A line per check.
fn render(findings: &[Finding], screen: Screen) -> String {
    let mut out = String::new();
    for finding in findings {
        let (word, style) = match finding.outcome {
            Outcome::Ok => ("ok  ", Style::Good),
            Outcome::Skipped => ("-   ", Style::Dim),
            Outcome::Warn => ("warn", Style::Waits),
            Outcome::Fail => ("FAIL", Style::Bad),
        };
        out.push_str(&format!(
            "{}  {:<18} {}\n",
            screen.paint(word, style),
            finding.check,
            finding.text
        ));
    }
    let count = |outcome| findings.iter().filter(|f| f.outcome == outcome).count();
    let (failed, warned) = (count(Outcome::Fail), count(Outcome::Warn));
    out.push_str(&match (failed, warned) {
        (0, 0) => "everything is as it should be\n".to_owned(),
        (0, warned) => format!("nothing failed; {warned} to look at\n"),
        (failed, _) => format!("{failed} failed, {warned} to look at\n"),
    });
    out
}

#[cfg(test)]
mod tests;
