//! `status`, `verify`, `budgets reset`: the weir itself.

use std::fmt::Write as _;

use weir_collector::ChainReport;
use weir_collector::api::StatusView;

use crate::cluster::{self, Home};

use super::connect::{Connect, Failure, Form, document, write};
use super::table::{Screen, Style};
use super::text::{counted, grouped, one_line, size};
use super::time::now;

/// Arguments of `weir status` and `weir verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct PlainArgs {
    #[command(flatten)]
    pub(super) connect: Connect,
}

/// What to do with budgets.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum BudgetsCommand {
    /// Set every budget back to nothing used; this is recorded as evidence
    Reset(PlainArgs),
}

pub(super) async fn reset_budgets(args: PlainArgs, home: Home) -> Result<(), Failure> {
    if args.connect.place(home)? == Home::Cluster {
        return Err(Failure::Elsewhere(
            "budgets of a cluster are not reset: they are leased per window and end with it",
        ));
    }
    let client = args.connect.source(home).await?;
    let done: serde_json::Value = client
        .post("/v1/budgets/reset", &serde_json::json!({}))
        .await?;
    write(&match args.connect.output {
        Form::Table => "all budgets are back to nothing used\n".to_owned(),
        form => document(&done, form)?,
    })
}

/// A link to the web UI that logs this user in.
pub(super) async fn ui(args: PlainArgs, home: Home) -> Result<(), Failure> {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Link {
        link: String,
        seconds: u64,
    }
    if args.connect.place(home)? == Home::Cluster {
        return Err(Failure::Elsewhere(
            "in a cluster people log in to the web UI at its address: docs/ui.md",
        ));
    }
    let client = args.connect.source(home).await?;
    let made: Link = client.post("/v1/ui/link", &serde_json::json!({})).await?;
    write(&match args.connect.output {
        Form::Table => format!(
            "{}\nIt works once, for {} minutes.\n",
            made.link,
            made.seconds / 60
        ),
        form => document(&made, form)?,
    })
}

pub(super) async fn status(args: PlainArgs, home: Home) -> Result<(), Failure> {
    if let Some(cluster) = args.connect.cluster(home).await? {
        let report = cluster::status::read(&cluster).await?;
        return write(&match args.connect.output {
            Form::Table => report.render(now(), Screen::of_stdout()),
            form => document(&report, form)?,
        });
    }
    let client = args.connect.source(home).await?;
    let status: StatusView = client.get("/v1/status").await?;
    write(&match args.connect.output {
        Form::Table => render_status(&status, Screen::of_stdout()),
        form => document(&status, form)?,
    })
}

/// Whether the chain holds.
pub(super) async fn verify(args: PlainArgs, home: Home) -> Result<bool, Failure> {
    let client = args.connect.source(home).await?;
    let report: ChainReport = client.get("/v1/verify").await?;
    write(&match args.connect.output {
        Form::Table => render_report(&report, Screen::of_stdout()),
        form => document(&report, form)?,
    })?;
    Ok(report.ok)
}

/// The state, a line per fact.
pub(super) fn render_status(status: &StatusView, screen: Screen) -> String {
    let mut out = String::new();
    let mut field = |title: &str, text: String, style: Style| {
        let title = screen.paint(&format!("{title:<9} "), Style::Dim);
        let _ = writeln!(out, "{title}{}", screen.paint(&text, style));
    };
    let engine = format!(
        "{}, epoch {}, weir {}",
        status.engine, status.epoch, status.version
    );
    field("engine", engine, Style::Plain);
    field("identity", one_line(&status.identity), Style::Plain);
    let digest: String = status.digest.chars().take(16).collect();
    field(
        "policy",
        format!("revision {}, digest {digest}", status.revision),
        Style::Plain,
    );
    if let Some(refused) = &status.refused {
        field(
            "",
            format!("the newest was refused: {}", one_line(refused)),
            Style::Bad,
        );
    }
    field(
        "sessions",
        format!("{} open", grouped(status.sessions)),
        Style::Plain,
    );
    let spool = &status.spool;
    let waiting = spool.last_seq.saturating_sub(spool.acknowledged_seq);
    let text = format!(
        "{} recorded, {} not yet collected, {} on disk",
        counted(spool.last_seq, "event"),
        grouped(waiting),
        size(spool.disk_bytes)
    );
    field("evidence", text, Style::Plain);
    if spool.lost > 0 {
        field(
            "",
            format!("{} lost for want of room", counted(spool.lost, "event")),
            Style::Bad,
        );
    }
    if let Some(problem) = &spool.problem {
        field(
            "",
            format!("work is refused: {}", one_line(problem)),
            Style::Bad,
        );
    }
    out
}

/// What verification found, an engine per paragraph.
pub(super) fn render_report(report: &ChainReport, screen: Screen) -> String {
    let mut out = String::new();
    for engine in &report.engines {
        let (word, style) = if engine.problems.is_empty() {
            ("intact", Style::Good)
        } else {
            ("BROKEN", Style::Bad)
        };
        let head: String = engine.head.chars().take(16).collect();
        let _ = writeln!(
            out,
            "{}  {}: {} in {}, {}, head {head}{}",
            screen.paint(word, style),
            engine.engine,
            counted(engine.events, "event"),
            counted(engine.frames, "frame"),
            counted(engine.epochs.into(), "epoch"),
            if engine.pruned {
                "; older ones were removed by retention"
            } else {
                ""
            }
        );
        for problem in &engine.problems {
            let _ = writeln!(out, "        {}", one_line(problem));
        }
    }
    let verdict = match (report.ok, report.engines.is_empty()) {
        (true, true) => "there is no evidence yet",
        (true, false) => "the record is complete and unaltered",
        (false, _) => "the record is NOT complete and unaltered",
    };
    out + verdict + "\n"
}
