//! `weir explain`: the decision on a statement with the rules that made it, without a database.

use std::path::PathBuf;
use std::process::ExitCode;

use weir_api::CompileOptions;
use weir_policy::{Decision, Subject, Verdict};

use crate::standalone::Config;

/// Arguments of `weir explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The statement
    #[arg(long)]
    sql: String,
    /// The identity that sends it
    #[arg(long = "as", value_name = "IDENTITY")]
    identity: String,
    /// The Target it is sent to
    #[arg(long)]
    target: String,
    /// Policy files; without them those of the configuration
    #[arg(long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,
    /// Configuration file, as of `weir standalone`
    #[arg(long, value_name = "FILE", default_value = "weir.yaml")]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Explains.
pub(crate) fn run(args: &ExplainArgs) -> ExitCode {
    match explain(args) {
        Ok(decisions) => {
            if args.json {
                let list: Vec<_> = decisions
                    .iter()
                    .map(|(text, decision)| as_json(text, decision))
                    .collect();
                println!("{}", serde_json::Value::from(list));
            } else {
                for (text, decision) in &decisions {
                    print(text, decision);
                }
            }
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("weir: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn explain(args: &ExplainArgs) -> Result<Vec<(String, Decision)>, String> {
    let paths = if args.policies.is_empty() {
        Config::read(&args.config)
            .map_err(|error| error.to_string())?
            .resources
    } else {
        args.policies.clone()
    };
    let rendered = |list: Vec<weir_api::Diagnostic>| {
        list.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let resources = weir_api::load(&paths).map_err(rendered)?;
    let options = CompileOptions::default();
    let compiled = weir_api::compile(&resources, &options).map_err(rendered)?;
    let subject = Subject::named(args.identity.as_str());
    weir_gateway::explain(&compiled.bundle, &subject, &args.target, &args.sql)
}

fn print(text: &str, decision: &Decision) {
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
    for lifted in &decision.exceptions {
        println!("  exception {lifted}");
    }
    for rule in &decision.would_deny {
        println!("  would deny (observing) {}/{}", rule.policy, rule.rule);
    }
}

fn as_json(text: &str, decision: &Decision) -> serde_json::Value {
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
        "exceptions": decision.exceptions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "masked_columns": decision.obligations.masks.iter().map(|(at, _)| at + 1).collect::<Vec<_>>(),
        "limits": decision.obligations.limits.iter().map(|l| l.describe()).collect::<Vec<_>>(),
    })
}
