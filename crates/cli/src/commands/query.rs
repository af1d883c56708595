//! `query` and `tail`: finding evidence, and watching it arrive.

use serde::Deserialize;
use serde_json::value::RawValue;
use weir_audit::{Digest, Event, SessionId, Timestamp};
use weir_collector::client::path_with;
use weir_collector::csv;

use crate::cluster::Home;

use super::connect::{Connect, Failure, Form, document, parsed, raw_list, write};
use super::events::{Kind, audit_id, render, short_identity, summary};
use super::saw::{Asked, saw};
use super::table::{Cell, Screen, Style};
use super::text::{as_u64, shorten, width};
use super::time::{Moment, now, shown_clock};

/// Which events.
#[derive(Debug, clap::Args)]
pub(crate) struct Conditions {
    /// Not before: RFC 3339, an age such as 15m or 2h, or today
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Before
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Of this identity
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// To this target
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Statements that read or write this relation
    #[arg(long, value_name = "SCHEMA.NAME")]
    table: Option<String>,
    /// That touch data of this label; pii.* is all below pii
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Statements with this decision
    #[arg(long, value_name = "DECISION", value_parser = ["permit", "deny", "hold"])]
    decision: Option<String>,
    /// Decisions of this person on access requests
    #[arg(long, value_name = "NAME")]
    approver: Option<String>,
    /// With this in the statement, in a file's path, or in a finding
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Files with this digest (implies --kind files)
    #[arg(long, value_name = "SHA-256", value_parser = digest)]
    sha256: Option<Digest>,
    /// In this session
    #[arg(long, value_name = "SESSION", value_parser = session)]
    session: Option<SessionId>,
}

fn digest(text: &str) -> Result<Digest, String> {
    text.parse()
        .map_err(|_| "expected 64 hexadecimal digits".to_owned())
}

fn session(text: &str) -> Result<SessionId, String> {
    text.parse()
        .map_err(|_| "expected a session's 13 characters".to_owned())
}

impl Conditions {
    pub(super) fn path(
        &self,
        path: &str,
        now: Timestamp,
        kind: Option<&str>,
        limit: Option<u64>,
        cursor: Option<String>,
        namespace: Option<String>,
    ) -> String {
        let time = |time: Option<Moment>| time.map(|time| time.resolve(now).to_string());
        path_with(
            path,
            &[
                ("since", time(self.since)),
                ("until", time(self.until)),
                ("identity", self.identity.clone()),
                ("target", self.target.clone()),
                ("table", self.table.clone()),
                ("label", self.label.clone()),
                ("decision", self.decision.clone()),
                ("approver", self.approver.clone()),
                ("text", self.text.clone()),
                ("sha256", self.sha256.map(|digest| digest.to_string())),
                ("session", self.session.map(|id| id.to_string())),
                ("kind", kind.map(str::to_owned)),
                ("limit", limit.map(|limit| limit.to_string())),
                ("cursor", cursor),
                ("namespace", namespace),
            ],
        )
    }
}

/// Arguments of `weir query`.
#[derive(Debug, clap::Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    conditions: Conditions,
    /// Who was given this labelled value in clear; - reads it from standard input. Goes with --label,
    /// --since and --until
    #[arg(
        long,
        value_name = "VALUE",
        allow_hyphen_values = true,
        conflicts_with_all = ["identity", "target", "table", "decision", "approver", "text", "sha256",
            "session", "kind", "limit"]
    )]
    saw: Option<String>,
    /// Kinds of events, separated by commas
    #[arg(
        long,
        value_enum,
        value_name = "KIND",
        value_delimiter = ',',
        default_value = "statements"
    )]
    kind: Vec<Kind>,
    /// At most so many, newest first
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    connect: Connect,
}

/// Arguments of `weir tail`.
#[derive(Debug, clap::Args)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    conditions: Conditions,
    /// Kinds of events, separated by commas
    #[arg(
        long,
        value_enum,
        value_name = "KIND",
        value_delimiter = ',',
        default_value = "all"
    )]
    kind: Vec<Kind>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) events: Vec<Box<RawValue>>,
    pub(super) next: Option<String>,
}

fn names(kinds: &[Kind], conditions: &Conditions) -> Vec<&'static str> {
    if conditions.approver.is_some() {
        return vec!["access_request_decided"];
    }
    let files = [Kind::Files];
    let kinds = match conditions.sha256 {
        Some(_) => &files,
        None => kinds,
    };
    let mut names: Vec<&str> = kinds
        .iter()
        .flat_map(|kind| kind.names())
        .copied()
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

pub(super) async fn query(args: QueryArgs, home: Home) -> Result<(), Failure> {
    if let Some(value) = args.saw {
        let asked = Asked {
            value,
            label: args.conditions.label,
            since: args.conditions.since,
            until: args.conditions.until,
        };
        return saw(asked, &args.connect, home).await;
    }
    let (client, now) = (args.connect.source(home).await?, now());
    let mut found: Vec<(Event, Box<RawValue>)> = Vec::new();
    let mut more = false;
    for kind in names(&args.kind, &args.conditions) {
        let (mut cursor, mut have) = (None, 0);
        loop {
            let limit = (args.limit - have).min(10_000);
            let namespace = args.connect.namespace();
            let path = args.conditions.path(
                "/v1/events",
                now,
                Some(kind),
                Some(limit),
                cursor,
                namespace,
            );
            let page: Page = client.get(&path).await?;
            have += as_u64(page.events.len());
            for raw in page.events {
                found.push((parsed(&raw)?, raw));
            }
            cursor = page.next;
            if cursor.is_none() || have >= args.limit {
                break;
            }
        }
        more |= cursor.is_some();
    }
    found.sort_by_cached_key(|(event, _)| std::cmp::Reverse((event.time, event.id.clone())));
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    more |= found.len() > limit;
    found.truncate(limit);
    let (events, raws): (Vec<Event>, Vec<Box<RawValue>>) = found.into_iter().unzip();
    write(&match args.connect.output {
        Form::Table => render(&events, more, Screen::of_stdout()),
        Form::Csv => csv::events(&events),
        form => raw_list(&raws, form)?,
    })
}

pub(super) async fn tail(args: TailArgs, home: Home) -> Result<(), Failure> {
    let client = args.connect.source(home).await?;
    let (names, form, screen) = (
        names(&args.kind, &args.conditions),
        args.connect.output,
        Screen::of_stdout(),
    );
    let only = match names.as_slice() {
        [only] => Some(*only),
        _ => None,
    };
    let path = args.conditions.path(
        "/v1/tail",
        now(),
        only,
        None,
        None,
        args.connect.namespace(),
    );
    let mut result = Ok(());
    let streamed = client
        .stream(&path, |raw: Box<RawValue>| {
            result = shown(&raw, &names, form, screen).and_then(|text| write(&text));
            result.is_ok()
        })
        .await;
    streamed?;
    result
}

#[derive(Deserialize)]
struct Any {
    kind: String,
}

/// What `tail` shows of a line: nothing, if it was not asked for.
fn shown(raw: &RawValue, names: &[&str], form: Form, screen: Screen) -> Result<String, Failure> {
    let Any { kind } = parsed(raw)?;
    let lagged = kind == "lagged";
    if !lagged && !names.contains(&kind.as_str()) {
        return Ok(String::new());
    }
    match form {
        Form::Json => Ok(format!("{}\n", raw.get())),
        Form::Yaml => Ok(format!(
            "---\n{}",
            document(&parsed::<serde_json::Value>(raw)?, form)?
        )),
        Form::Csv => Err(Failure::NoTable),
        Form::Table if lagged => {
            let text = "… too much at once: some events are not shown here";
            Ok(screen.paint(text, Style::Waits) + "\n")
        }
        Form::Table => Ok(tail_line(&parsed(raw)?, screen)),
    }
}

/// An event in one line, in columns that need not know what follows.
pub(super) fn tail_line(event: &Event, screen: Screen) -> String {
    let (word, what): (Cell, String) = summary(event);
    let start = format!(
        "{}  {:<17}  {:<12}  ",
        shown_clock(event.time),
        audit_id(event),
        shorten(&short_identity(event), 24)
    );
    let padding = " ".repeat(10usize.saturating_sub(width(word.text())));
    let room = screen
        .width
        .saturating_sub(width(&start) + width(word.text()).max(10) + 2);
    let text = shorten(&what, room.max(24));
    format!("{start}{}{padding}  {text}\n", word.painted(screen))
}
