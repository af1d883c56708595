//! `report`: what happened in a period, as a folder that an auditor can hand on and others can verify.

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use weir_audit::proof::{Checkpoint, Note};
use weir_collector::client::path_with;
use weir_collector::{Manifest, Report, ReportFiles};

use crate::cluster::Home;

use super::connect::{Connect, Failure, Form, document, write};
use super::export::{bundle, entries, private, sizes};
use super::text::word;
use super::time::{Moment, now};

/// The evidence in the folder of a report.
const EVIDENCE: &str = "evidence.weir";
const JSON: &str = "report.json";
const HTML: &str = "report.html";
const CHECKPOINT: &str = "checkpoint";
const NOTE: &str = "report.note";

/// Arguments of `weir report`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    connect: Connect,
    /// From this time on: RFC 3339, an age such as 30d, or today; sums are of whole days (UTC)
    #[arg(long, value_name = "TIME")]
    from: Moment,
    /// Before this time [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<Moment>,
    /// Where it goes: a folder that is made, and that only you can read
    #[arg(long, value_name = "DIR", default_value = "weir-report")]
    dir: PathBuf,
    /// A checkpoint that you kept: the evidence proves that the log continues it; may be given several times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
}

/// What was made.
#[derive(Serialize)]
struct Made<'a> {
    dir: &'a Path,
    verified: bool,
    evidence: &'a Manifest,
}

pub(super) async fn report(args: ReportArgs, home: Home) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::File {
        path: args.dir.clone(),
        reason: error.to_string(),
    };
    if args.dir.exists() {
        return Err(wrong(&"it is there already; name another with --dir"));
    }
    let mut old = sizes(&args.checkpoint)?;
    let source = args.connect.source(home).await?;
    let time = |moment: Moment| moment.resolve(now()).to_string();
    let (since, until) = (
        time(args.from),
        time(args.to.unwrap_or(Moment::Ago(Duration::ZERO))),
    );
    let period = (Some(since), Some(until));
    let (since, until) = period.clone();
    let path = path_with("/v1/report", &[("since", since), ("until", until)]);
    let files: ReportFiles = source.get(&path).await?;
    let report: Report = serde_json::from_str(&files.json).map_err(|error| wrong(&error))?;
    // Under its name there is a whole folder or none.
    let mut beside = args.dir.clone().into_os_string();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let mut builder = std::fs::DirBuilder::new();
    builder
        .mode(0o700)
        .create(&beside)
        .map_err(|error| wrong(&error))?;
    let kept = keep(&files, &beside).map_err(|error| wrong(&error));
    let kept = match kept {
        Ok(()) => {
            old.push(report.size);
            bundle(&source, period, &old, &beside.join(EVIDENCE)).await
        }
        Err(failure) => Err(failure),
    };
    let named = kept.and_then(|manifest| {
        std::fs::rename(&beside, &args.dir).map_err(|error| wrong(&error))?;
        Ok(manifest)
    });
    let manifest = match named {
        Ok(manifest) => manifest,
        Err(failure) => {
            drop(std::fs::remove_dir_all(&beside));
            return Err(failure);
        }
    };
    let made = Made {
        dir: &args.dir,
        verified: report.verified,
        evidence: &manifest,
    };
    write(&match args.connect.output {
        Form::Table => summary(&made),
        form => document(&made, form)?,
    })
}

fn keep(files: &ReportFiles, dir: &Path) -> std::io::Result<()> {
    let texts = [
        (JSON, &files.json),
        (HTML, &files.html),
        (CHECKPOINT, &files.checkpoint),
        (NOTE, &files.note),
    ];
    for (name, text) in texts {
        let mut file = private(&dir.join(name))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    Ok(())
}

fn summary(made: &Made<'_>) -> String {
    let dir = made.dir.display();
    let verdict = if made.verified {
        "the whole record verified"
    } else {
        "the record did NOT verify: weir verify says where"
    };
    format!(
        "{dir}/{HTML}: what happened; {verdict}\n{dir}/{EVIDENCE}: {} of a log of {}\n\
         verify it with: weir verify {dir} --log-key {}\n",
        entries(made.evidence.end.saturating_sub(made.evidence.first)),
        entries(made.evidence.size),
        word(&made.evidence.key)
    )
}

/// The folder of a report, as it was found.
pub(super) struct Folder {
    pub(super) files: ReportFiles,
    pub(super) evidence: PathBuf,
    /// What is in it and is not of a report.
    pub(super) others: Vec<String>,
}

impl Folder {
    /// Reads it.
    pub(super) fn read(dir: &Path) -> Result<Self, Failure> {
        let text = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path).map_err(|error| Failure::File {
                path,
                reason: error.to_string(),
            })
        };
        Ok(Self {
            files: ReportFiles {
                json: text(JSON)?,
                html: text(HTML)?,
                checkpoint: text(CHECKPOINT)?,
                note: text(NOTE)?,
            },
            evidence: dir.join(EVIDENCE),
            others: others(dir).map_err(|error| Failure::File {
                path: dir.to_owned(),
                reason: error.to_string(),
            })?,
        })
    }

    /// The log as it was when the report was made: its evidence must continue it.
    pub(super) fn checkpoint(&self) -> Option<(Note, Checkpoint)> {
        let note: Note = self.files.checkpoint.parse().ok()?;
        let checkpoint = note.text.parse().ok()?;
        Some((note, checkpoint))
    }
}

fn others(dir: &Path) -> std::io::Result<Vec<String>> {
    const OURS: [&str; 5] = [JSON, HTML, CHECKPOINT, NOTE, EVIDENCE];
    let mut others = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        if !OURS.iter().any(|ours| name == *ours) {
            others.push(name.to_string_lossy().into_owned());
        }
    }
    others.sort();
    Ok(others)
}
