//! `weir explain`: the decision on a statement with the rules that made it, without a database.

mod exceptions;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use weir_api::{CompileOptions, References, Resources};
use weir_policy::{Decision, Subject, Verdict};

use crate::cluster::{self, Cluster, ClusterError, Home, KubeArgs};
use crate::commands::connect::{Failure, Form, document, write};
use crate::policy::now;
use crate::standalone::Config;
use exceptions::Mattering;

/// Arguments of `weir explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The statement
    #[arg(long)]
    sql: String,
    /// The Target it is sent to
    #[arg(long)]
    target: String,
    #[command(flatten)]
    subject: SubjectArgs,
    /// Policy files; without them those of the configuration
    #[arg(long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,
    /// Configuration file, as of `weir standalone` [default: weir.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Explain by the policies of a cluster [default for kubectl weir, with WEIR_PLACE=cluster, and
    /// wherever --pod, --service-account or an option below is given]
    #[arg(long, conflicts_with_all = ["policies", "config"], help_heading = "Cluster")]
    cluster: bool,
    /// Trust domain of the cluster's identities
    #[arg(
        long,
        value_name = "DOMAIN",
        default_value = "cluster.local",
        help_heading = "Cluster"
    )]
    trust_domain: String,
    #[command(flatten)]
    kube: KubeArgs,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: Form,
}

/// Who sends the statement.
#[derive(Debug, clap::Args)]
#[group(required = true)]
struct SubjectArgs {
    /// The identity that sends it
    #[arg(long = "as", value_name = "IDENTITY")]
    identity: Option<String>,
    /// The pod that sends it, in a cluster
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pod: Option<String>,
    /// The service account whose pods send it, in a cluster
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service_account: Option<String>,
}

/// Explains.
pub(crate) async fn run(args: &ExplainArgs, home: Home) -> ExitCode {
    match explain(args, home).await {
        Ok(decisions) => {
            let shown = match args.output {
                Form::Table => {
                    for (text, decision, exceptions) in &decisions {
                        print(text, decision, exceptions);
                    }
                    return ExitCode::SUCCESS;
                }
                form => {
                    let list: Vec<_> = decisions
                        .iter()
                        .map(|(text, decision, exceptions)| as_json(text, decision, exceptions))
                        .collect();
                    document(&list, form).and_then(|text| write(&text))
                }
            };
            match shown {
                Ok(()) | Err(Failure::Enough) => ExitCode::SUCCESS,
                Err(failure) => failed(&failure),
            }
        }
        Err(reason) => failed(&reason),
    }
}

fn failed(reason: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("weir: {reason}");
    ExitCode::FAILURE
}

impl ExplainArgs {
    /// Whose policies are meant: files that are named, else those of a cluster that is, else those
    /// of the place where this program is at home.
    fn place(&self, home: Home) -> Result<Home, String> {
        let files = !self.policies.is_empty() || self.config.is_some();
        let cluster = self.cluster
            || self.kube.given()
            || self.subject.pod.is_some()
            || self.subject.service_account.is_some();
        match (files, cluster) {
            (true, true) => Err("policy files and a cluster exclude each other".to_owned()),
            (true, false) => Ok(Home::Local),
            (false, true) => Ok(Home::Cluster),
            (false, false) => Ok(home),
        }
    }
}

/// A statement, the decision on it, and the exceptions that have to do with it.
type Explained = (String, Decision, Vec<Mattering>);

async fn explain(args: &ExplainArgs, home: Home) -> Result<Vec<Explained>, String> {
    let (resources, subject, references) = match args.place(home)? {
        Home::Local => (
            local(args)?,
            Subject::named(args.subject.identity.as_deref().unwrap_or_default()),
            References::Strict,
        ),
        Home::Cluster => {
            let asked = in_cluster(args).await.map_err(|error| error.to_string())?;
            (asked.0, asked.1, References::Lenient)
        }
    };
    let options = CompileOptions {
        references,
        now: now(),
        ..CompileOptions::default()
    };
    let compiled = weir_api::compile(&resources, &options).map_err(rendered)?;
    let decisions = weir_gateway::explain(&compiled.bundle, &subject, &args.target, &args.sql)?;
    let about = compiled.bundle.exceptions().iter();
    let about: Vec<_> = about
        .filter(|one| one.selects(&subject, &args.target))
        .collect();
    let explained = decisions.into_iter().map(|(text, decision)| {
        let exceptions = exceptions::mattering(&about, &decision, options.now);
        (text, decision, exceptions)
    });
    Ok(explained.collect())
}

fn local(args: &ExplainArgs) -> Result<Resources, String> {
    let paths = if args.policies.is_empty() {
        let file = args.config.as_deref().unwrap_or(Path::new("weir.yaml"));
        Config::read(file)
            .map_err(|error| error.to_string())?
            .resources
    } else {
        args.policies.clone()
    };
    weir_api::load(&paths).map_err(rendered)
}

async fn in_cluster(args: &ExplainArgs) -> Result<(Resources, Subject), ClusterError> {
    let cluster = Cluster::open(&args.kube).await?;
    let subject = match &args.subject {
        SubjectArgs { pod: Some(pod), .. } => {
            cluster::explain::pod(&cluster, pod, &args.trust_domain).await?
        }
        SubjectArgs {
            service_account: Some(account),
            ..
        } => cluster::explain::service_account(&cluster, account, &args.trust_domain)?,
        SubjectArgs { identity, .. } => {
            cluster::explain::named(identity.as_deref().unwrap_or_default())
        }
    };
    let policies = cluster::explain::policies(&cluster).await?;
    for unread in &policies.unread {
        eprintln!("weir: not in force: {unread}");
    }
    Ok((policies.resources, subject))
}

fn rendered(list: Vec<weir_api::Diagnostic>) -> String {
    let lines: Vec<String> = list.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn print(text: &str, decision: &Decision, exceptions: &[Mattering]) {
    println!("{text}");
    match &decision.verdict {
        Verdict::Permit(_) => println!("  permit"),
        Verdict::Deny(denial) => {
            println!(
                "  deny    {}/{}: {}",
                denial.rule.policy, denial.rule.rule, denial.reason
            );
            if let Some(hint) = &denial.hint {
                println!("  hint    {hint}");
            }
        }
        Verdict::Hold(hold) => {
            for spec in hold.pending() {
                println!(
                    "  hold    {}/{}: {}",
                    spec.rule.policy, spec.rule.rule, spec.reason
                );
            }
        }
    }
    for (column, mask) in &decision.obligations.masks {
        println!("  mask    result column {}: {mask:?}", column + 1);
    }
    for limit in &decision.obligations.limits {
        println!(
            "  limit   {}/{}: {}",
            limit.rule.policy,
            limit.rule.rule,
            limit.describe()
        );
    }
    for rule in &decision.why {
        println!("  rule    {}/{}", rule.policy, rule.rule);
    }
    for exception in exceptions {
        println!("  exception {exception}");
    }
    for rule in &decision.would_deny {
        println!("  would deny (observing) {}/{}", rule.policy, rule.rule);
    }
}

fn as_json(text: &str, decision: &Decision, exceptions: &[Mattering]) -> serde_json::Value {
    let name = |rule: &weir_policy::RuleName| format!("{}/{}", rule.policy, rule.rule);
    let (verdict, reason) = match &decision.verdict {
        Verdict::Permit(_) => ("permit", None),
        Verdict::Deny(denial) => ("deny", Some(denial.reason.clone())),
        Verdict::Hold(hold) => (
            "hold",
            hold.pending().first().map(|spec| spec.reason.clone()),
        ),
    };
    serde_json::json!({
        "statement": text,
        "verdict": verdict,
        "reason": reason,
        "rules": decision.why.iter().map(name).collect::<Vec<_>>(),
        "would_deny": decision.would_deny.iter().map(name).collect::<Vec<_>>(),
        "exceptions": exceptions,
        "masked_columns": decision.obligations.masks.iter().map(|(at, _)| at + 1).collect::<Vec<_>>(),
        "limits": decision.obligations.limits.iter().map(|l| l.describe()).collect::<Vec<_>>(),
    })
}
