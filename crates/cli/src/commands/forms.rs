//! `weir events export`: events in the forms of others, newest first.
//!
//! Invariants: nothing is in an export that is not in the record; what has no place in a form is left out,
//! and how many events that were is said on standard error.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use weir_audit::Event;
use weir_collector::exports::{ocsf, otlp};

use crate::cluster::Home;

use super::connect::{Connect, Failure, parsed};
use super::query::{Conditions, Page};
use super::time::now;

/// Events of one question, and of one request in OpenTelemetry's form.
const PAGE: u64 = 1000;

/// What is done with events.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum EventsCommand {
    /// Write them in another form
    Export(ExportArgs),
}

/// Arguments of `weir events export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    conditions: Conditions,
    /// The form, one JSON document a line
    #[arg(long, value_enum, value_name = "FORM", default_value = "jsonl")]
    format: Form,
    /// The version of OCSF's schema
    #[arg(long, value_name = "VERSION", default_value = ocsf::DEFAULT_VERSION, value_parser = ocsf::VERSIONS.to_vec())]
    ocsf_version: String,
    /// Write into this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
}

/// The forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// As the API has them
    Jsonl,
    /// Open Cybersecurity Schema Framework
    Ocsf,
    /// Requests of OpenTelemetry's protocol, logs, in JSON
    Otlp,
}

pub(super) async fn export(args: ExportArgs, home: Home) -> Result<(), Failure> {
    let (client, now) = (args.connect.source(home).await?, now());
    let failed = |error: std::io::Error| Failure::Write(error.to_string());
    let mut out: Box<dyn Write> = match &args.file {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(failed)?)),
        None => Box::new(std::io::stdout().lock()),
    };
    let (mut cursor, mut left_out) = (None, 0_usize);
    loop {
        let namespace = args.connect.namespace();
        let path = args
            .conditions
            .path("/v1/events", now, None, Some(PAGE), cursor, namespace);
        let page: Page = client.get(&path).await?;
        match args.format {
            Form::Jsonl => {
                for raw in &page.events {
                    writeln!(out, "{}", raw.get()).map_err(failed)?;
                }
            }
            Form::Ocsf => {
                for raw in &page.events {
                    let event: Event = parsed(raw)?;
                    match ocsf::ocsf(&event, &args.ocsf_version) {
                        Some(line) => writeln!(out, "{line}").map_err(failed)?,
                        None => left_out += 1,
                    }
                }
            }
            Form::Otlp => {
                let events = page.events.iter().map(|raw| parsed(raw));
                let events: Vec<Event> = events.collect::<Result<_, _>>()?;
                if !events.is_empty() {
                    writeln!(out, "{}", otlp::logs(&events)).map_err(failed)?;
                }
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    out.flush().map_err(failed)?;
    if left_out > 0 {
        eprintln!("{left_out} events have no place in this form");
    }
    Ok(())
}
