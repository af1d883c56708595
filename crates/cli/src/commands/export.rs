//! `export`: evidence as a file that can be verified without the collector.

use std::io::{BufReader, BufWriter, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weir_audit::proof::{Checkpoint, Note};
use weir_collector::client::path_with;
use weir_collector::{Manifest, read_bundle};

use crate::cluster::Home;

use super::connect::{Connect, Failure, Form, Source, document, write};
use super::text::{grouped, size, word};
use super::time::{Moment, now};

/// How often a long transfer says how much has come.
const SHOW_EVERY: Duration = Duration::from_millis(250);

/// Arguments of `weir export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    connect: Connect,
    /// Events from this time on: RFC 3339, an age such as 2h or 3d, or today [default: all]
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,
    /// Events before this time [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<Moment>,
    /// Where the bundle goes; only you can read it
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// A checkpoint that you kept: the bundle proves that the log continues it; may be given several times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
}

/// A checkpoint in a file.
pub(super) fn read_checkpoint(path: &Path) -> Result<(Note, Checkpoint), Failure> {
    let wrong = |reason: String| Failure::File {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let note: Note = text
        .parse()
        .map_err(|_| wrong("it is not a checkpoint".into()))?;
    let checkpoint = note.text.parse();
    let checkpoint = checkpoint.map_err(|_| wrong("it is not a checkpoint".into()))?;
    Ok((note, checkpoint))
}

/// How many entries the log had at checkpoints in files.
pub(super) fn sizes(paths: &[PathBuf]) -> Result<Vec<u64>, Failure> {
    let size = |path: &PathBuf| Ok(read_checkpoint(path)?.1.size);
    paths.iter().map(size).collect()
}

pub(super) async fn export(args: ExportArgs, home: Home) -> Result<(), Failure> {
    let source = args.connect.source(home).await?;
    let old = sizes(&args.checkpoint)?;
    let time = |moment: Option<Moment>| moment.map(|moment| moment.resolve(now()).to_string());
    let period = (time(args.from), time(args.to));
    let manifest = bundle(&source, period, &old, &args.file).await?;
    write(&match args.connect.output {
        Form::Table => summary(&manifest, &args.file),
        form => document(&manifest, form)?,
    })
}

/// Writes a bundle of a period. Under the file's name there is a whole one or none.
pub(super) async fn bundle(
    source: &Source,
    (since, until): (Option<String>, Option<String>),
    old: &[u64],
    file: &Path,
) -> Result<Manifest, Failure> {
    let old: Vec<_> = old.iter().map(u64::to_string).collect();
    let old = (!old.is_empty()).then(|| old.join(","));
    let path = path_with(
        "/v1/export",
        &[("since", since), ("until", until), ("old", old)],
    );
    let wrong = |error: &dyn std::fmt::Display| Failure::File {
        path: file.to_owned(),
        reason: error.to_string(),
    };
    let mut beside = file.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let part = private(&beside).map_err(|error| wrong(&error))?;
    let mut out = BufWriter::new(part);
    let mut progress = Progress::new();
    let received = source.bytes(&path, |bytes| {
        progress.add(bytes.len());
        out.write_all(bytes)
    });
    let received = received.await;
    progress.end();
    let kept = received.and_then(|()| {
        let part = out.into_inner().map_err(|error| wrong(error.error()))?;
        part.sync_all().map_err(|error| wrong(&error))?;
        let whole = std::fs::File::open(&beside).map_err(|error| wrong(&error))?;
        let manifest = read_bundle(BufReader::new(whole)).map_err(|error| wrong(&error))?;
        std::fs::rename(&beside, file).map_err(|error| wrong(&error))?;
        Ok(manifest)
    });
    if kept.is_err() {
        drop(std::fs::remove_file(&beside));
    }
    kept
}

/// A file that only its owner can read.
pub(super) fn private(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// How much of a long transfer has come, for people who watch.
struct Progress {
    bytes: u64,
    shown: Option<Instant>,
    is_watched: bool,
}

impl Progress {
    fn new() -> Self {
        Self {
            bytes: 0,
            shown: None,
            is_watched: std::io::stderr().is_terminal(),
        }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        let is_due = |shown: Instant| shown.elapsed() >= SHOW_EVERY;
        if self.is_watched && self.shown.is_none_or(is_due) {
            self.shown = Some(Instant::now());
            eprint!("\r{} received ", size(self.bytes));
        }
    }

    /// Leaves nothing on the screen.
    fn end(&self) {
        if self.shown.is_some() {
            eprint!("\r{:30}\r", "");
        }
    }
}

pub(super) fn entries(number: u64) -> String {
    let word = if number == 1 { "entry" } else { "entries" };
    format!("{} {word}", grouped(number))
}

fn summary(manifest: &Manifest, file: &Path) -> String {
    let bytes = std::fs::metadata(file).map_or(0, |meta| meta.len());
    format!(
        "{} ({}): {} of a log of {}\nverify it with: weir verify {} --log-key {}\n",
        file.display(),
        size(bytes),
        entries(manifest.end.saturating_sub(manifest.first)),
        entries(manifest.size),
        file.display(),
        word(&manifest.key)
    )
}
