//! `sessions`: who was connected, to what, and what came of it.

use serde::Deserialize;
use serde_json::value::RawValue;
use weir_collector::SessionSummary;
use weir_collector::client::path_with;
use weir_collector::csv;

use crate::cluster::Home;

use super::connect::{Connect, Failure, Form, parsed, raw_list, write};
use super::table::{Cell, Column, Screen, Style, draw};
use super::text::{as_u64, duration, grouped, one_line, size};
use super::time::{Moment, between, now, shown};

/// Arguments of `weir sessions`.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionsArgs {
    /// Active at or after: RFC 3339, an age such as 15m or 2h, or today
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Opened before
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Of this identity
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// To this target
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// At most so many, newest first
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Deserialize)]
struct Page {
    sessions: Vec<Box<RawValue>>,
    next: Option<String>,
}

pub(super) async fn list(args: SessionsArgs, home: Home) -> Result<(), Failure> {
    let (client, now) = (args.connect.source(home).await?, now());
    let mut found: Vec<Box<RawValue>> = Vec::new();
    let mut cursor = None;
    let more = loop {
        let left = args.limit.saturating_sub(as_u64(found.len()));
        let path = path_with(
            "/v1/sessions",
            &[
                (
                    "since",
                    args.since.map(|time| time.resolve(now).to_string()),
                ),
                (
                    "until",
                    args.until.map(|time| time.resolve(now).to_string()),
                ),
                ("identity", args.identity.clone()),
                ("target", args.target.clone()),
                ("namespace", args.connect.namespace()),
                ("limit", Some(left.min(10_000).to_string())),
                ("cursor", cursor),
            ],
        );
        let page: Page = client.get(&path).await?;
        found.extend(page.sessions);
        cursor = page.next;
        if cursor.is_none() || as_u64(found.len()) >= args.limit {
            break cursor.is_some();
        }
    };
    let sessions = || -> Result<Vec<SessionSummary>, Failure> {
        found.iter().map(|raw| parsed(raw)).collect()
    };
    write(&match args.connect.output {
        Form::Table => render(&sessions()?, more, Screen::of_stdout()),
        Form::Csv => csv::sessions(&sessions()?),
        form => raw_list(&found, form)?,
    })
}

const COLUMNS: [Column; 11] = [
    Column::text("SESSION"),
    Column::text("OPENED (UTC)"),
    Column::number("LASTED"),
    Column::text("IDENTITY"),
    Column::text("TARGET"),
    Column::text("USER"),
    Column::number("STATEMENTS"),
    Column::number("ROWS"),
    Column::number("BYTES"),
    Column::number("DENIED"),
    Column::detail("ENDED"),
];

/// The sessions as a table.
pub(super) fn render(sessions: &[SessionSummary], more: bool, screen: Screen) -> String {
    if sessions.is_empty() {
        return "no session fits\n".to_owned();
    }
    let rows: Vec<Vec<Cell>> = sessions.iter().map(row).collect();
    let mut out = draw(&COLUMNS, &rows, screen);
    if more {
        out.push_str("… and older ones: see --limit and --until\n");
    }
    out
}

fn row(summary: &SessionSummary) -> Vec<Cell> {
    let session = &summary.session;
    let maybe = |text: &Option<std::sync::Arc<str>>| -> Cell {
        text.as_deref().map(one_line).unwrap_or_default().into()
    };
    let denials = if summary.denials > 0 {
        Style::Bad
    } else {
        Style::Dim
    };
    let ended = match (&summary.closed, &summary.outcome) {
        (Some(_), Some(outcome)) => one_line(outcome).into(),
        (Some(_), None) => "closed".into(),
        (None, Some(outcome)) => Cell::styled(one_line(outcome), Style::Waits),
        (None, None) => Cell::styled("open", Style::Good),
    };
    vec![
        session.id.to_string().into(),
        shown(summary.opened).into(),
        duration(between(
            summary.opened,
            summary.closed.unwrap_or(summary.last),
        ))
        .into(),
        one_line(&session.identity.name).into(),
        maybe(&session.target),
        maybe(&session.user),
        grouped(summary.statements).into(),
        grouped(summary.rows).into(),
        size(summary.bytes).into(),
        Cell::styled(grouped(summary.denials), denials),
        ended,
    ]
}
