//! `quarantine`: cutting an identity off at once, and letting it in again.

use serde::Deserialize;
use serde_json::{Value, json};
use weir_api::kinds::{API_VERSION, LiftingSpec, QuarantineSpec, SubjectSpec};
use weir_collector::api::{Decide, QuarantineView};

use crate::cluster::{Cluster, ClusterError, Home, object, weir_path};

use super::connect::{Connect, Failure, Form, document, write};
use super::table::{Cell, Column, Screen, Style, draw};
use super::text::one_line;

/// Arguments of `weir quarantine`.
#[derive(Debug, clap::Args)]
pub(crate) struct QuarantineArgs {
    /// NAMESPACE/SERVICEACCOUNT, pod:NAMESPACE/POD, or the name of an identity, such as spiffe://…; `*`
    /// stands for any text. Without one: list them
    #[arg(requires = "reason")]
    subject: Option<String>,
    /// Why; auditors read it
    #[arg(long, value_name = "TEXT", requires = "subject")]
    reason: Option<String>,
    /// Let it in again
    #[arg(long, requires = "subject")]
    lift: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Deserialize)]
struct Kept {
    quarantines: Vec<QuarantineView>,
}

pub(super) async fn run(args: QuarantineArgs, home: Home) -> Result<(), Failure> {
    let form = args.connect.output;
    let (Some(subject), Some(reason)) = (&args.subject, &args.reason) else {
        let all = list(&args.connect, home).await?;
        return write(&match form {
            Form::Table => table(&all, Screen::of_stdout()),
            form => document(&all, form)?,
        });
    };
    let name = name_of(subject);
    let shown = one_line(subject);
    let said = if args.lift {
        lift(&args.connect, home, &name, reason).await?;
        format!("{shown} is let in again: new connections are judged by policy\n")
    } else {
        order(&args.connect, home, &name, subject, reason).await?;
        format!(
            "{shown} is cut off: its sessions end and new ones are refused (quarantine {name})\n\
             let it in again with: weir quarantine '{shown}' --lift --reason WHY\n"
        )
    };
    write(&match form {
        Form::Table => said,
        form => {
            let answer = json!({"name": name, "subject": subject, "quarantined": !args.lift});
            document(&answer, form)?
        }
    })
}

async fn list(connect: &Connect, home: Home) -> Result<Vec<QuarantineView>, Failure> {
    let Some(cluster) = connect.cluster(home).await? else {
        let kept: Kept = connect.source(home).await?.get("/v1/quarantines").await?;
        return Ok(kept.quarantines);
    };
    let found = cluster.list(&weir_path(None, "quarantines")).await?;
    let found = found.ok_or(ClusterError::NotInstalled)?;
    let views = found.iter().map(|one| {
        let spec = one.get("spec").unwrap_or(&Value::Null);
        let spec = QuarantineSpec::deserialize(spec);
        let spec = spec.map_err(|error| ClusterError::Answer(error.to_string()))?;
        let name = object::name(one).to_owned();
        Ok(QuarantineView { name, spec })
    });
    views
        .collect::<Result<_, ClusterError>>()
        .map_err(Failure::from)
}

async fn order(
    connect: &Connect,
    home: Home,
    name: &str,
    subject: &str,
    reason: &str,
) -> Result<(), Failure> {
    let spec = QuarantineSpec {
        subjects: vec![selector(subject)],
        reason: reason.to_owned(),
        by: String::new(),
        lifted: None,
    };
    let Some(cluster) = connect.cluster(home).await? else {
        let source = connect.source(home).await?;
        let path = format!("/v1/quarantines/{name}");
        return source.post::<Value>(&path, &spec).await.map(|_| ());
    };
    let path = weir_path(None, "quarantines");
    let body = json!({"apiVersion": API_VERSION, "kind": "Quarantine", "metadata": {"name": name}, "spec": spec});
    match cluster.create(&path, &body).await {
        Ok(_) => Ok(()),
        // It was lifted, or is ordered once more.
        Err(ClusterError::Conflict(_)) => {
            let spec = json!({"reason": reason, "subjects": spec.subjects, "lifted": null});
            let patch = json!({"spec": spec});
            merge(&cluster, &format!("{path}/{name}"), &patch).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn lift(connect: &Connect, home: Home, name: &str, reason: &str) -> Result<(), Failure> {
    let Some(cluster) = connect.cluster(home).await? else {
        let decide = Decide {
            reason: Some(reason.to_owned()),
            ..Decide::default()
        };
        let path = format!("/v1/quarantines/{name}/lift");
        let source = connect.source(home).await?;
        return source.post::<Value>(&path, &decide).await.map(|_| ());
    };
    let lifted = LiftingSpec {
        reason: reason.to_owned(),
        by: String::new(),
    };
    let path = format!("{}/{name}", weir_path(None, "quarantines"));
    merge(&cluster, &path, &json!({"spec": {"lifted": lifted}})).await
}

async fn merge(cluster: &Cluster, path: &str, patch: &Value) -> Result<(), Failure> {
    cluster.merge(path, patch).await?;
    Ok(())
}

/// Whom a subject means.
fn selector(subject: &str) -> SubjectSpec {
    let pair = |text: &str| {
        let (namespace, name) = text.split_once('/')?;
        let plain = |part: &str| !part.is_empty() && !part.contains(['/', ':']);
        (plain(namespace) && plain(name))
            .then(|| (vec![namespace.to_owned()], vec![name.to_owned()]))
    };
    let pod = subject.strip_prefix("pod:").and_then(pair);
    if let Some((namespaces, pods)) = pod {
        return SubjectSpec {
            namespaces,
            pods,
            ..SubjectSpec::default()
        };
    }
    match pair(subject) {
        Some((namespaces, service_accounts)) => SubjectSpec {
            namespaces,
            service_accounts,
            ..SubjectSpec::default()
        },
        None => SubjectSpec {
            names: vec![subject.to_owned()],
            ..SubjectSpec::default()
        },
    }
}

/// The name of the object: equal for equal subjects, so that lifting finds what was ordered.
fn name_of(subject: &str) -> String {
    let plain: String = subject
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    let words: String = words.join("-").chars().take(60).collect();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, subject.as_bytes());
    let digest: String = digest
        .as_ref()
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    match words.trim_end_matches('-') {
        "" => format!("all-{digest}"),
        words => format!("{words}-{digest}"),
    }
}

fn table(all: &[QuarantineView], screen: Screen) -> String {
    if all.is_empty() {
        return "nobody is quarantined\n".to_owned();
    }
    let rows: Vec<Vec<Cell>> = all.iter().map(row).collect();
    draw(&COLUMNS, &rows, screen)
}

const COLUMNS: [Column; 5] = [
    Column::text("NAME"),
    Column::text("WHO"),
    Column::text("BY"),
    Column::detail("WHY"),
    Column::detail("LIFTED"),
];

fn row(one: &QuarantineView) -> Vec<Cell> {
    let lifted = one.spec.lifted.as_ref();
    let style = match lifted {
        Some(_) => Style::Dim,
        None => Style::Bad,
    };
    let who: Vec<String> = one.spec.subjects.iter().map(shown).collect();
    let lifted = lifted.map(|lifted| format!("by {}: {}", lifted.by, lifted.reason));
    vec![
        Cell::styled(one_line(&one.name), style),
        one_line(&who.join(", ")).into(),
        one_line(&one.spec.by).into(),
        one_line(&one.spec.reason).into(),
        Cell::styled(one_line(&lifted.unwrap_or_default()), Style::Dim),
    ]
}

fn shown(subject: &SubjectSpec) -> String {
    let mut parts = Vec::new();
    let fields = [
        ("", &subject.names),
        ("namespace ", &subject.namespaces),
        ("service account ", &subject.service_accounts),
        ("pod ", &subject.pods),
        ("group ", &subject.groups),
    ];
    for (title, names) in fields {
        if !names.is_empty() {
            parts.push(format!("{title}{}", names.join("|")));
        }
    }
    parts.extend(
        subject
            .claims
            .iter()
            .map(|(key, value)| format!("{key}={value}")),
    );
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_a_service_account_a_pod_or_a_name() {
        let account = selector("billing/reporter");
        assert_eq!(account.namespaces, ["billing"]);
        assert_eq!(account.service_accounts, ["reporter"]);
        let pod = selector("pod:billing/reports-*");
        assert_eq!(
            (pod.namespaces[0].as_str(), pod.pods[0].as_str()),
            ("billing", "reports-*")
        );
        assert!(pod.service_accounts.is_empty());
        for name in [
            "reporter",
            "spiffe://cluster.local/ns/billing/sa/x",
            "*",
            "a/",
            "/b",
        ] {
            assert_eq!(selector(name).names, [name]);
        }
    }

    #[test]
    fn names_are_those_of_objects_and_differ_for_different_subjects() {
        let long = "x".repeat(300);
        let all = [
            "billing/reporter",
            "billing-reporter",
            "*",
            "spiffe://a/ns/b",
            long.as_str(),
        ];
        let mut names: Vec<String> = all.iter().map(|subject| name_of(subject)).collect();
        for name in &names {
            assert!(name.len() <= 80, "{name}");
            let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            assert!(name.chars().all(|c| edge(c) || c == '-'), "{name}");
            assert!(name.starts_with(edge) && name.ends_with(edge), "{name}");
        }
        assert_eq!(names[0], name_of("billing/reporter"));
        names.dedup();
        assert_eq!(names.len(), all.len());
    }
}
