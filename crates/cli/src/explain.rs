//! `weir explain`: the decision on a statement with the rules that made it, without a database.

mod exceptions;
mod kubernetes;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use weir_api::{CompileOptions, References, Resources};
use weir_gateway::{KubernetesQuestion, SshCommandFacts as Command, SshQuestion};
use weir_policy::{Bundle, Decision, SftpOperation, SshChannel, Subject, Verdict};

use crate::cluster::{self, Cluster, ClusterError, Home, KubeArgs};
use crate::commands::connect::{Failure, Form, document, write};
use crate::policy::now;
use crate::standalone::Config;
use exceptions::Mattering;

/// Arguments of `weir explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    asked: Asked,
    /// The object that comes with the request, in YAML or JSON; with `patch` the fields that it sets
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    object: Option<PathBuf>,
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

/// What is asked for.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Asked {
    /// The statement
    #[arg(long)]
    sql: Option<String>,
    /// The command, as a client of SSH sends it
    #[arg(long, value_name = "TEXT")]
    ssh_command: Option<String>,
    /// The file operation over SFTP and its paths, such as `read /srv/data`
    #[arg(long, value_names = ["OPERATION", "PATH"], num_args = 1..=3)]
    sftp: Option<Vec<String>>,
    /// Any other channel or request of SSH and what it names, such as `shell`, `subsystem raw` or
    /// `direct-tcpip db:5432`
    #[arg(long, value_names = ["NAME", "WHAT"], num_args = 1..=2)]
    ssh_channel: Option<Vec<String>>,
    /// The request to a Kubernetes API, such as `get secrets shop/db`, `create pods/exec shop/web`,
    /// `list deployments.apps shop/`, or a method and a URL
    #[arg(long, value_names = ["VERB", "RESOURCE", "NAMESPACE/NAME"], num_args = 2..=3)]
    kubernetes: Option<Vec<String>>,
}

/// One answer.
struct Explained {
    text: String,
    decision: Decision,
    /// What a command runs.
    command: Option<Command>,
    /// Labelled fields of an answer, in the order of the decision's masks.
    fields: Vec<String>,
    /// The exceptions that have to do with it.
    exceptions: Vec<Mattering>,
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
                    for explained in &decisions {
                        print(explained);
                    }
                    return ExitCode::SUCCESS;
                }
                form => {
                    let list: Vec<_> = decisions.iter().map(as_json).collect();
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
    let mut explained = args.asked.decide(
        &compiled.bundle,
        &subject,
        &args.target,
        args.object.as_deref(),
    )?;
    let about = compiled.bundle.exceptions().iter();
    let about: Vec<_> = about
        .filter(|one| one.selects(&subject, &args.target))
        .collect();
    for one in &mut explained {
        one.exceptions = exceptions::mattering(&about, &one.decision, options.now);
    }
    Ok(explained)
}

impl Asked {
    fn decide(
        &self,
        bundle: &Bundle,
        subject: &Subject,
        target: &str,
        object: Option<&Path>,
    ) -> Result<Vec<Explained>, String> {
        if let Some(words) = &self.kubernetes {
            let typed = kubernetes::Typed::read(words)?;
            let object = kubernetes::object(object)?;
            let question = KubernetesQuestion {
                method: typed.method,
                url: &typed.url,
                content_type: Some(typed.content_type),
                object: object.as_deref(),
            };
            let answer = weir_gateway::explain_kubernetes(bundle, subject, target, question)?;
            return Ok(vec![Explained {
                text: format!("{} ({} {})", answer.request, typed.method, typed.url),
                decision: answer.decision,
                command: None,
                fields: answer.fields,
                exceptions: Vec::new(),
            }]);
        }
        let ssh = |text: String, question: SshQuestion<'_>| {
            let answer = weir_gateway::explain_ssh(bundle, subject, target, question)?;
            Ok(vec![Explained {
                text,
                decision: answer.decision,
                command: answer.command,
                fields: Vec::new(),
                exceptions: Vec::new(),
            }])
        };
        if let Some(text) = &self.ssh_command {
            return ssh(text.clone(), SshQuestion::Command(text));
        }
        if let Some((operation, paths)) = self.sftp.as_deref().and_then(<[_]>::split_first) {
            let known = SftpOperation::ALL.iter().map(|one| one.name());
            let operation = SftpOperation::parse(operation)
                .ok_or_else(|| unknown("an operation of SFTP", operation, known))?;
            let text = format!("sftp {operation} {}", paths.join(" "));
            return ssh(text, SshQuestion::Sftp(operation, paths));
        }
        if let Some((name, what)) = self.ssh_channel.as_deref().and_then(<[_]>::split_first) {
            let known = SshChannel::ALL.iter().map(|one| one.name());
            let channel = SshChannel::parse(name)
                .ok_or_else(|| unknown("a channel or request of SSH", name, known))?;
            let what = what.first().map(String::as_str);
            let text = format!("{channel} {}", what.unwrap_or_default());
            return ssh(text, SshQuestion::Channel(channel, what));
        }
        let sql = self.sql.as_deref().unwrap_or_default();
        let decisions = weir_gateway::explain(bundle, subject, target, sql)?;
        let explained = decisions.into_iter().map(|(text, decision)| Explained {
            text,
            decision,
            command: None,
            fields: Vec::new(),
            exceptions: Vec::new(),
        });
        Ok(explained.collect())
    }
}

fn unknown(what: &str, name: &str, known: impl Iterator<Item = &'static str>) -> String {
    let known: Vec<&str> = known.collect();
    format!("`{name}` is not {what}: {}", known.join(", "))
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

fn print(explained: &Explained) {
    let decision = &explained.decision;
    println!("{}", explained.text.trim_end());
    if let Some(command) = &explained.command {
        println!("  runs    {}", command.programs.join(", "));
        if let Some(why) = &command.opaque {
            println!("  opaque  {why}");
        }
    }
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
        match explained.fields.get(*column) {
            Some(field) => println!("  mask    {field}: {mask:?}"),
            None => println!("  mask    result column {}: {mask:?}", column + 1),
        }
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
    for exception in &explained.exceptions {
        println!("  exception {exception}");
    }
    for rule in &decision.would_deny {
        println!("  would deny (observing) {}/{}", rule.policy, rule.rule);
    }
}

fn as_json(explained: &Explained) -> serde_json::Value {
    let decision = &explained.decision;
    let name = |rule: &weir_policy::RuleName| format!("{}/{}", rule.policy, rule.rule);
    let (verdict, reason) = match &decision.verdict {
        Verdict::Permit(_) => ("permit", None),
        Verdict::Deny(denial) => ("deny", Some(denial.reason.clone())),
        Verdict::Hold(hold) => (
            "hold",
            hold.pending().first().map(|spec| spec.reason.clone()),
        ),
    };
    let mut document = serde_json::json!({
        "statement": explained.text.trim_end(),
        "verdict": verdict,
        "reason": reason,
        "rules": decision.why.iter().map(name).collect::<Vec<_>>(),
        "would_deny": decision.would_deny.iter().map(name).collect::<Vec<_>>(),
        "exceptions": explained.exceptions,
        "masked_columns": decision.obligations.masks.iter().map(|(at, _)| at + 1).collect::<Vec<_>>(),
        "limits": decision.obligations.limits.iter().map(|l| l.describe()).collect::<Vec<_>>(),
    });
    if !explained.fields.is_empty()
        && let Some(members) = document.as_object_mut()
    {
        let masked = decision.obligations.masks.iter();
        let fields = masked.filter_map(|(at, _)| explained.fields.get(*at));
        let fields = fields.map(String::as_str).collect::<Vec<_>>();
        members.remove("masked_columns");
        members.insert("masked_fields".to_owned(), fields.into());
    }
    if let (Some(command), Some(fields)) = (&explained.command, document.as_object_mut()) {
        fields.insert("programs".to_owned(), command.programs.clone().into());
        fields.insert("opaque".to_owned(), command.opaque.clone().into());
    }
    document
}
