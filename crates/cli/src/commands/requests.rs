//! `requests`, `approve`, `deny`: what waits for a person, and that person's decision.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;
use weir_audit::Timestamp;
use weir_collector::api::{Decide, RequestView};

use crate::cluster::{Home, requests as cluster_requests};

use super::connect::{Connect, Failure, Form, document, parsed, raw_list, write};
use super::table::{Screen, Style};
use super::text::{counted, duration, grouped, one_line, shorten, width};
use super::time::{between, now};
use super::values::value;

/// Arguments of `weir requests`.
#[derive(Debug, clap::Args)]
pub(crate) struct RequestsArgs {
    #[command(flatten)]
    pub(super) connect: Connect,
}

/// Arguments of `weir approve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ApproveArgs {
    /// Name of the request; in a cluster also NAMESPACE/NAME
    name: String,
    /// Release only so many more rows
    #[arg(long, value_name = "N")]
    rows: Option<u64>,
    /// Why; auditors read it (in a cluster)
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

/// Arguments of `weir deny`.
#[derive(Debug, clap::Args)]
pub(crate) struct DenyArgs {
    /// Name of the request; in a cluster also NAMESPACE/NAME
    name: String,
    /// Why; the client is told
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Deserialize)]
struct Waiting {
    requests: Vec<Box<RawValue>>,
}

pub(super) async fn list(args: RequestsArgs, home: Home) -> Result<(), Failure> {
    let form = args.connect.output;
    if let Some(cluster) = args.connect.cluster(home).await? {
        let waiting = cluster_requests::waiting(&cluster).await?;
        return write(&match form {
            Form::Table => cluster_requests::cards(&waiting, now(), Screen::of_stdout()),
            form => document(&waiting, form)?,
        });
    }
    let client = args.connect.source(home).await?;
    let waiting: Waiting = client.get("/v1/requests").await?;
    if form != Form::Table {
        return write(&raw_list(&waiting.requests, form)?);
    }
    let requests: Result<Vec<RequestView>, Failure> =
        waiting.requests.iter().map(|raw| parsed(raw)).collect();
    write(&cards(&requests?, now(), Screen::of_stdout()))
}

pub(super) async fn approve(args: ApproveArgs, home: Home) -> Result<(), Failure> {
    let decision = cluster_requests::Decision {
        approve: true,
        rows: args.rows,
        reason: args.reason,
    };
    if decide_in_cluster(&args.connect, home, &args.name, &decision).await? {
        return Ok(());
    }
    if decision.reason.is_some() {
        return Err(Failure::Elsewhere(
            "an approval takes a reason in a cluster only",
        ));
    }
    let decide = Decide {
        rows: args.rows,
        reason: None,
    };
    let request = act(&args.connect, &args.name, "approve", &decide).await?;
    answer(&args.connect, &request, |request| {
        approved(request, args.rows)
    })
}

pub(super) async fn deny(args: DenyArgs, home: Home) -> Result<(), Failure> {
    let decision = cluster_requests::Decision {
        approve: false,
        rows: None,
        reason: Some(args.reason.clone()),
    };
    if decide_in_cluster(&args.connect, home, &args.name, &decision).await? {
        return Ok(());
    }
    let decide = Decide {
        rows: None,
        reason: Some(args.reason),
    };
    let request = act(&args.connect, &args.name, "deny", &decide).await?;
    answer(&args.connect, &request, |request| {
        format!(
            "denied {}: {}'s statement is refused\n",
            request.request.name,
            who(request)
        )
    })
}

/// Decides in the cluster, if that is the place; false if it is not.
async fn decide_in_cluster(
    connect: &Connect,
    home: Home,
    name: &str,
    decision: &cluster_requests::Decision,
) -> Result<bool, Failure> {
    let Some(cluster) = connect.cluster(home).await? else {
        return Ok(false);
    };
    let decided = cluster_requests::decide(&cluster, name, decision, now()).await?;
    write(&match connect.output {
        Form::Table => decided.text,
        form => document(&decided.object, form)?,
    })?;
    Ok(true)
}

async fn act(
    connect: &Connect,
    name: &str,
    what: &str,
    decide: &Decide,
) -> Result<RequestView, Failure> {
    // A name is letters, digits and hyphens; anything else would be another path.
    let known = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let path = format!("/v1/requests/{}/{what}", if known { name } else { "-" });
    let client = connect.source(Home::Local).await?;
    client.post(&path, decide).await
}

fn answer(
    connect: &Connect,
    request: &RequestView,
    say: impl FnOnce(&RequestView) -> String,
) -> Result<(), Failure> {
    write(&match connect.output {
        Form::Table => say(request),
        form => document(request, form)?,
    })
}

fn who(request: &RequestView) -> String {
    one_line(&request.session.identity.name)
}

fn approved(view: &RequestView, rows: Option<u64>) -> String {
    let (name, needed) = (&view.request.name, view.request.approvals);
    let have = u32::try_from(view.approvers.len()).unwrap_or(u32::MAX);
    if have < needed {
        return format!("approved {name}: {have} of {needed} approvals, so it still waits\n");
    }
    let until = match rows {
        Some(rows) => format!("for {} more", counted(rows, "row")),
        None => "to its end".to_owned(),
    };
    format!(
        "approved {name}: {}'s statement goes on {until}\n",
        who(view)
    )
}

/// One card per request: what a reviewer needs to decide.
pub(super) fn cards(requests: &[RequestView], now: Timestamp, screen: Screen) -> String {
    if requests.is_empty() {
        return "no request waits\n".to_owned();
    }
    let cards: Vec<String> = requests
        .iter()
        .map(|view| card(view, now, screen))
        .collect();
    cards.join("\n")
}

fn card(view: &RequestView, now: Timestamp, screen: Screen) -> String {
    let (request, session) = (&view.request, &view.session);
    let left = between(now, request.deadline);
    let left = if left.is_zero() {
        "deadline reached".into()
    } else {
        format!("{} left", duration(left))
    };
    let mut out = format!(
        "{}  waits {}, {}\n",
        screen.paint(&request.name, Style::Waits),
        duration(between(view.created, now)),
        left
    );
    let mut field = |title: &str, text: &str| {
        if text.is_empty() {
            return;
        }
        let title = format!("  {title:<10} ");
        let text = shorten(text, screen.width.saturating_sub(width(&title)));
        let _ = writeln!(out, "{}{text}", screen.paint(&title, Style::Dim));
    };
    let mut who = one_line(&session.identity.name);
    for (title, part) in [("as", &session.user), ("from", &session.client)] {
        if let Some(part) = part {
            let _ = write!(who, " {title} {}", one_line(part));
        }
    }
    field("who", &who);
    let mut target = session.target.as_deref().map(one_line).unwrap_or_default();
    if let Some(database) = &session.database {
        let _ = write!(target, " (database {})", one_line(database));
    }
    field("target", target.trim_start());
    field("rule", &names(&request.rules));
    field("reason", &one_line(&request.reason));
    field("labels", &names(&request.labels));
    let rows = match (request.rows, request.estimate) {
        (0, None) => "none delivered yet".to_owned(),
        (rows, None) => format!("{} delivered", grouped(rows)),
        (rows, Some(of)) => format!(
            "{} delivered, about {} expected",
            grouped(rows),
            grouped(of)
        ),
    };
    field("rows", &rows);
    field("statement", &one_line(&request.statement));
    let parameters: Vec<String> = request.parameters.iter().map(value).collect();
    field("parameters", &parameters.join(", "));
    let have = view
        .approvers
        .iter()
        .map(|name| one_line(name))
        .collect::<Vec<_>>()
        .join(", ");
    if request.approvals > 1 || !have.is_empty() {
        let so_far = if have.is_empty() {
            String::new()
        } else {
            format!(" ({have})")
        };
        field(
            "approvals",
            &format!("{} of {}{so_far}", view.approvers.len(), request.approvals),
        );
    }
    field("decided by", &names(&request.groups));
    field("session", &format!("{}/{}", session.id, request.number));
    out
}

fn names(names: &weir_audit::Names) -> String {
    names.iter().map(one_line).collect::<Vec<_>>().join(", ")
}
