//! `requests`, `approve`, `deny`: what waits for a person, and that person's decision.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use weir_api::kinds::Binding;
use weir_collector::api::Decide;

use crate::cluster::{Home, requests as cluster_requests};

use super::connect::{Connect, Failure, Form, document, parsed, raw_list, write};
use super::table::Screen;
use super::time::now;

/// Arguments of `weir requests`.
#[derive(Debug, clap::Args)]
pub(crate) struct RequestsArgs {
    /// Go on, and say what changes: new requests, decisions, ends
    #[arg(long)]
    watch: bool,
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
    /// Approve every statement of this shape for some minutes, where the policy lets you
    #[arg(long, requires = "minutes")]
    shape: bool,
    /// For how many minutes the shape is approved
    #[arg(long, value_name = "N", requires = "shape")]
    minutes: Option<u32>,
    /// Why; auditors read it
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

/// A request as the operators' socket sends it.
#[derive(Deserialize)]
struct Sent {
    #[serde(default)]
    namespace: String,
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    created: String,
    spec: Value,
    #[serde(default)]
    status: Value,
}

impl From<Sent> for Value {
    /// The same as an object of a cluster, so that both read alike.
    fn from(sent: Sent) -> Self {
        serde_json::json!({
            "metadata": {
                "namespace": sent.namespace,
                "name": sent.name,
                "uid": sent.uid,
                "creationTimestamp": sent.created,
            },
            "spec": sent.spec,
            "status": sent.status,
        })
    }
}

pub(super) async fn list(args: RequestsArgs, home: Home) -> Result<(), Failure> {
    let form = args.connect.output;
    if args.watch {
        return watch(&args.connect, home).await;
    }
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
    let sent: Result<Vec<Sent>, Failure> = waiting.requests.iter().map(|raw| parsed(raw)).collect();
    let requests: Vec<Value> = sent?.into_iter().map(Value::from).collect();
    write(&cluster_requests::cards(
        &requests,
        now(),
        Screen::of_stdout(),
    ))
}

/// How often it is looked for changes.
const LOOK: Duration = Duration::from_millis(500);

/// Writes every request that waits, and everything that changes from then on: one JSON object a line, or
/// words for people. Ends with the process.
async fn watch(connect: &Connect, home: Home) -> Result<(), Failure> {
    let cluster = connect.cluster(home).await?;
    let client = match &cluster {
        Some(_) => None,
        None => Some(connect.source(home).await?),
    };
    let mut known: Option<HashMap<String, String>> = None;
    loop {
        let requests = match (&cluster, &client) {
            (Some(cluster), _) => cluster_requests::all(cluster).await?,
            (None, Some(client)) => {
                let found: Waiting = client.get("/v1/requests?closed=true").await?;
                let sent: Result<Vec<Sent>, Failure> =
                    found.requests.iter().map(|raw| parsed(raw)).collect();
                sent?.into_iter().map(Value::from).collect()
            }
            (None, None) => return Ok(()),
        };
        let first = known.is_none();
        let before = known.take().unwrap_or_default();
        let mut states = HashMap::new();
        for request in &requests {
            let (key, state) = cluster_requests::state(request);
            let unchanged = before.get(&key) == Some(&state);
            // What was over before anybody watched is no news.
            if !unchanged && (!first || cluster_requests::is_open(request)) {
                let is_new = !before.contains_key(&key);
                write(&news(request, connect.output, is_new)?)?;
            }
            states.insert(key, state);
        }
        known = Some(states);
        tokio::time::sleep(LOOK).await;
    }
}

fn news(request: &Value, form: Form, is_new: bool) -> Result<String, Failure> {
    Ok(match form {
        Form::Table if is_new && cluster_requests::is_open(request) => {
            let one = std::slice::from_ref(request);
            cluster_requests::cards(one, now(), Screen::of_stdout())
        }
        Form::Table => cluster_requests::change(request),
        Form::Json => format!("{request}\n"),
        form => format!("---\n{}", document(request, form)?),
    })
}

pub(super) async fn approve(args: ApproveArgs, home: Home) -> Result<(), Failure> {
    let decision = cluster_requests::Decision {
        approve: true,
        rows: args.rows,
        reason: args.reason,
        minutes: args.minutes.filter(|_| args.shape),
    };
    decide(&args.connect, home, &args.name, &decision).await
}

pub(super) async fn deny(args: DenyArgs, home: Home) -> Result<(), Failure> {
    let decision = cluster_requests::Decision {
        approve: false,
        rows: None,
        reason: Some(args.reason),
        minutes: None,
    };
    decide(&args.connect, home, &args.name, &decision).await
}

async fn decide(
    connect: &Connect,
    home: Home,
    name: &str,
    decision: &cluster_requests::Decision,
) -> Result<(), Failure> {
    if let Some(cluster) = connect.cluster(home).await? {
        let decided = cluster_requests::decide(&cluster, name, decision, now()).await?;
        return write(&match connect.output {
            Form::Table => decided.text,
            form => document(&decided.object, form)?,
        });
    }
    // A name is letters, digits and hyphens; anything else would be another path.
    let known = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let what = if decision.approve { "approve" } else { "deny" };
    let path = format!("/v1/requests/{}/{what}", if known { name } else { "-" });
    let client = connect.source(Home::Local).await?;
    let decide = Decide {
        rows: decision.rows,
        reason: decision.reason.clone(),
        binding: decision.minutes.map(|_| Binding::Shape),
        minutes: decision.minutes,
        ..Decide::default()
    };
    let raw: Box<RawValue> = client.post(&path, &decide).await?;
    if connect.output != Form::Table {
        let value: Value = parsed(&raw)?;
        return write(&document(&value, connect.output)?);
    }
    let sent: Sent = parsed(&raw)?;
    write(&cluster_requests::said(&sent.into(), decision)?)
}
