//! `export`: evidence as a file that can be verified without the collector.

use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use weir_audit::proof::{Checkpoint, Note};
use weir_collector::client::path_with;
use weir_collector::{Manifest, read_bundle};

use crate::cluster::Home;

use super::connect::{Connect, Failure, Form, document, write};
use super::text::{grouped, size};
use super::time::{Moment, now};

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
    /// A checkpoint that you kept: the bundle proves that the log continues it
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
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

pub(super) async fn export(args: ExportArgs, home: Home) -> Result<(), Failure> {
    let source = args.connect.source(home).await?;
    let old = match &args.checkpoint {
        Some(path) => Some(read_checkpoint(path)?.1.size),
        None => None,
    };
    let time = |moment: Option<Moment>| moment.map(|moment| moment.resolve(now()).to_string());
    let path = path_with(
        "/v1/export",
        &[
            ("since", time(args.from)),
            ("until", time(args.to)),
            ("old", old.map(|old| old.to_string())),
        ],
    );
    let wrong = |error: &dyn std::fmt::Display| Failure::File {
        path: args.file.clone(),
        reason: error.to_string(),
    };
    // Under its name there is a whole bundle or none.
    let mut beside = args.file.clone().into_os_string();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let part = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(|error| wrong(&error))?;
    let mut out = BufWriter::new(part);
    let received = source.bytes(&path, |bytes| out.write_all(bytes)).await;
    let kept = received.and_then(|()| {
        let part = out.into_inner().map_err(|error| wrong(error.error()))?;
        part.sync_all().map_err(|error| wrong(&error))?;
        let whole = std::fs::File::open(&beside).map_err(|error| wrong(&error))?;
        let manifest = read_bundle(BufReader::new(whole)).map_err(|error| wrong(&error))?;
        std::fs::rename(&beside, &args.file).map_err(|error| wrong(&error))?;
        Ok(manifest)
    });
    let manifest = match kept {
        Ok(manifest) => manifest,
        Err(failure) => {
            drop(std::fs::remove_file(&beside));
            return Err(failure);
        }
    };
    write(&match args.connect.output {
        Form::Table => summary(&manifest, &args.file),
        form => document(&manifest, form)?,
    })
}

pub(super) fn entries(number: u64) -> String {
    let word = if number == 1 { "entry" } else { "entries" };
    format!("{} {word}", grouped(number))
}

fn summary(manifest: &Manifest, file: &Path) -> String {
    let bytes = std::fs::metadata(file).map_or(0, |meta| meta.len());
    format!(
        "{} ({}): {} of a log of {}\nverify it with: weir verify {} --log-key '{}'\n",
        file.display(),
        size(bytes),
        entries(manifest.end.saturating_sub(manifest.first)),
        entries(manifest.size),
        file.display(),
        manifest.key
    )
}
