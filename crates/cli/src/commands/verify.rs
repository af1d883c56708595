//! `verify`: whether the record is complete and unaltered, of a running weir or of a bundle.
//!
//! Codes: 0 it is; 1 it is not; 2 wrongly typed; 3 it could not be judged, or what was asked for was not shown, or
//! a file was judged by the key that it brings itself.
//!
//! Invariants
//! - Nothing that a bundle or a folder says of itself counts unless the log's key signed it.
//! - A part of a record is never called the record.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use weir_audit::proof::{Checkpoint, Note, VerifierKey, merkle};
use weir_audit::{Hash, Timestamp};
use weir_collector::{
    BundleReport, ChainReport, EngineReport, ReportError, Sealed, Status, Trusted, verify_bundle,
    verify_note,
};

use crate::cluster::Home;

use super::connect::{Connect, Failure, Form, Source, document, write};
use super::export::{entries, read_checkpoint};
use super::report::Folder;
use super::table::{Screen, Style};
use super::text::{counted, one_line};

/// What a file shows that is judged by its own key.
const OWN_WORD: &str = "NOT PROVED: without --log-key a file is judged by the key that it brings itself. This shows only that \
it is whole in itself, and nothing of who made it";

/// Codes beside 0.
const BROKEN: u8 = 1;
const UNKNOWN: u8 = 3;

/// Arguments of `weir verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    connect: Connect,
    /// A bundle of `weir export` or of an archive, or the folder of `weir report`; without it, the record of a
    /// running weir
    bundle: Option<PathBuf>,
    /// The key of the log that you trust: NAME+ID+KEY. Without it a bundle is judged by the key that it brings
    /// itself, which proves nothing, and the exit code is 3
    #[arg(long, value_name = "VKEY")]
    log_key: Option<VerifierKey>,
    /// A checkpoint that you kept: the log must continue it
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Weir's roots, PEM, in place of those in the bundle
    #[arg(long, value_name = "FILE", requires = "bundle")]
    roots: Option<PathBuf>,
    /// A witness that must have cosigned the log: NAME+ID+KEY
    #[arg(long, value_name = "VKEY", requires = "bundle")]
    witness: Vec<VerifierKey>,
}

pub(super) async fn verify(args: VerifyArgs, home: Home) -> ExitCode {
    match judged(&args, home).await {
        Ok(Verdict::Intact) => ExitCode::SUCCESS,
        Ok(Verdict::Broken) => ExitCode::from(BROKEN),
        Ok(Verdict::NotShown) => ExitCode::from(UNKNOWN),
        Err(Failure::Enough) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("weir: {}", one_line(&failure.to_string()));
            ExitCode::from(UNKNOWN)
        }
    }
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Intact,
    /// Something is wrong.
    Broken,
    /// Nothing is known to be wrong, and not everything that was asked for could be told.
    NotShown,
}

/// How much of the log was judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    Part,
}

async fn judged(args: &VerifyArgs, home: Home) -> Result<Verdict, Failure> {
    let form = args.connect.output;
    let mut kept = Vec::new();
    for path in &args.checkpoint {
        kept.push(read_checkpoint(path)?);
    }
    let Some(path) = &args.bundle else {
        let source = args.connect.source(home).await?;
        let mut report: ChainReport = source.get("/v1/verify").await?;
        compare(&source, &mut report, args.log_key.as_ref(), &kept).await?;
        let verdict = verdict(&report, &[]);
        write(&match form {
            Form::Table => render(&report, &[], (verdict, Extent::Whole), Screen::of_stdout()),
            form => document(&report, form)?,
        })?;
        return Ok(verdict);
    };
    let folder = if path.is_dir() {
        Some(Folder::read(path)?)
    } else {
        None
    };
    let path = folder.as_ref().map_or(path, |folder| &folder.evidence);
    kept.extend(folder.as_ref().and_then(Folder::checkpoint));
    let wrong = |reason: String| Failure::File {
        path: path.clone(),
        reason,
    };
    let trusted = Trusted {
        key: args.log_key.clone(),
        checkpoints: kept.into_iter().map(|(note, _)| note).collect(),
        roots: args.roots.as_deref().map(roots).transpose()?,
        witnesses: args.witness.clone(),
    };
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let report = verify_bundle(BufReader::with_capacity(1 << 20, file), &trusted);
    let mut report = report.map_err(|error| wrong(error.to_string()))?;
    if !report.key_given {
        report.report.ok = false;
        report
            .not_shown
            .insert(0, "who made it: give the log's key with --log-key".into());
    }
    let mut caveats = caveats(&report);
    if let Some(folder) = &folder {
        let wrong = match sealed(folder, args, &report) {
            Ok(sealed) => {
                caveats.push(format!(
                    "the report of {} to {} is as the log's key signed it",
                    sealed.since, sealed.until
                ));
                sealed.lacks(&report.bundle)
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(wrong) = wrong {
            report.report.ok = false;
            let problem = format!("the report: {wrong}");
            report.report.log.problems.push(problem);
        }
        for name in &folder.others {
            caveats.push(format!("not of the report, and not verified: {name}"));
        }
    }
    let not_shown = report.not_shown.iter();
    caveats.extend(not_shown.map(|what| format!("not shown: {what}")));
    let verdict = verdict(&report.report, &report.not_shown);
    let bundle = &report.bundle;
    let extent = if (bundle.first, bundle.end) == (0, bundle.size) {
        Extent::Whole
    } else {
        Extent::Part
    };
    write(&match form {
        Form::Table => {
            let judged = (verdict, extent);
            let found = render(&report.report, &caveats, judged, Screen::of_stdout());
            if report.key_given {
                found
            } else {
                format!("{OWN_WORD}\n{found}")
            }
        }
        form => document(&report, form)?,
    })?;
    Ok(verdict)
}

fn verdict(report: &ChainReport, not_shown: &[String]) -> Verdict {
    let intact = report.engines.iter().all(|one| one.problems.is_empty());
    match (intact && report.log.problems.is_empty(), not_shown) {
        (false, _) => Verdict::Broken,
        (true, []) if report.ok => Verdict::Intact,
        // Whoever answered knows of something else.
        (true, []) => Verdict::Broken,
        (true, _) => Verdict::NotShown,
    }
}

/// What the report in a folder says of itself, if the log's key signed it.
fn sealed(
    folder: &Folder,
    args: &VerifyArgs,
    report: &BundleReport,
) -> Result<Sealed, ReportError> {
    let own = || {
        report
            .bundle
            .key
            .parse()
            .map_err(|_| ReportError::Signature)
    };
    let key = args.log_key.clone().map_or_else(own, Ok)?;
    folder.files.verify(&key)
}

fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let wrong = |reason: String| Failure::File {
        path: path.to_owned(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let roots = roots.map_err(|error| wrong(error.to_string()))?;
    if roots.is_empty() {
        return Err(wrong("there is no certificate in it".into()));
    }
    Ok(roots)
}

/// What the reader knows of the log against what the collector says of it.
async fn compare(
    source: &Source,
    report: &mut ChainReport,
    given: Option<&VerifierKey>,
    kept: &[(Note, Checkpoint)],
) -> Result<(), Failure> {
    let mut problems = Vec::new();
    let key = match given {
        Some(key) => Some(key.clone()),
        None => report.log.key.parse().ok(),
    };
    let Some(key) = key else {
        return Ok(());
    };
    if given.is_some() {
        let note: Option<Note> = report.log.checkpoint.parse().ok();
        if note.is_none_or(|note| verify_note(&note, &key).is_err()) {
            problems.push("the checkpoint is not signed by the key that you gave".to_owned());
        }
    }
    for (note, checkpoint) in kept {
        if verify_note(note, &key).is_err() {
            problems.push("the checkpoint that you kept is not this log's".to_owned());
            continue;
        }
        if checkpoint.size > report.log.size {
            problems.push(format!(
                "the log has {} entries, and had {} when you kept its checkpoint: its end is gone",
                report.log.size, checkpoint.size
            ));
            continue;
        }
        let path = format!("/v1/log/consistency/{}", checkpoint.size);
        let mut answer = Vec::new();
        let read = |bytes: &[u8]| {
            answer.extend_from_slice(bytes);
            Ok(())
        };
        source.bytes(&path, read).await?;
        let proven = continued(&answer, &key).is_some_and(|(now, proof)| {
            let old = (checkpoint.size, checkpoint.root);
            merkle::is_consistent(old, (now.size, now.root), &proof)
        });
        if !proven {
            problems.push(format!(
                "the first {} entries of the log are not those of the checkpoint that you kept",
                checkpoint.size
            ));
        }
    }
    report.ok &= problems.is_empty();
    report.log.problems.append(&mut problems);
    Ok(())
}

/// The checkpoint that the log continues to, and the proof.
fn continued(answer: &[u8], key: &VerifierKey) -> Option<(Checkpoint, Vec<Hash>)> {
    let text = std::str::from_utf8(answer).ok()?;
    let (proof, note) = text.split_once("\n\n")?;
    let hashes = proof.lines().skip(1).map(|line| {
        let bytes = STANDARD.decode(line).ok()?;
        Some(Hash(bytes.try_into().ok()?))
    });
    let hashes = hashes.collect::<Option<Vec<_>>>()?;
    let note: Note = note.parse().ok()?;
    verify_note(&note, key).ok()?;
    Some((note.text.parse().ok()?, hashes))
}

/// What the verdict on a bundle rests on.
fn caveats(report: &BundleReport) -> Vec<String> {
    let bundle = &report.bundle;
    let run = if bundle.first < bundle.end {
        format!("entries {} to {}", bundle.first, bundle.end - 1)
    } else {
        "no entries".to_owned()
    };
    let bound = |word: &str, time: Option<Timestamp>| {
        time.map_or_else(String::new, |time| format!(", {word} {time}"))
    };
    let mut lines = vec![format!(
        "bundle of {run} of {}{}{}, made {}",
        bundle.size,
        bound("events from", bundle.since),
        bound("until", bundle.until),
        bundle.made
    )];
    if !report.roots_given {
        lines.push(
            "Weir's roots are the bundle's own word: give those that you know with --roots".into(),
        );
    }
    lines
}

/// What verification found, an engine per paragraph.
fn render(
    report: &ChainReport,
    caveats: &[String],
    (found, extent): (Verdict, Extent),
    screen: Screen,
) -> String {
    let mut out = String::new();
    let verdict = |ok: bool| {
        if ok {
            screen.paint("intact", Style::Good)
        } else {
            screen.paint("BROKEN", Style::Bad)
        }
    };
    let log = &report.log;
    let _ = writeln!(
        out,
        "{}  log: {}, key {}",
        verdict(log.problems.is_empty()),
        entries(log.size),
        one_line(&log.key)
    );
    for vouched in &log.vouched {
        let _ = writeln!(
            out,
            "        {} has its first {} since {}",
            one_line(&vouched.by),
            entries(vouched.size),
            vouched.time
        );
    }
    for line in &log.problems {
        let _ = writeln!(out, "        {}", one_line(line));
    }
    out.push_str(&unlisted(log.more_problems, "problem"));
    for line in caveats {
        let _ = writeln!(out, "        {}", one_line(line));
    }
    for engine in &report.engines {
        let _ = writeln!(
            out,
            "{}  {}",
            verdict(engine.problems.is_empty()),
            engine_line(engine)
        );
        for range in &engine.ranges {
            if range.status == Status::Complete {
                continue;
            }
            let detail = range.detail.as_deref().unwrap_or_default();
            let _ = writeln!(
                out,
                "        {:<9} epoch {} events {} to {}{}{}",
                range.status.as_str(),
                range.epoch,
                range.first_seq,
                range.last_seq,
                if detail.is_empty() { "" } else { ": " },
                one_line(detail)
            );
        }
        out.push_str(&unlisted(engine.more_ranges, "range"));
    }
    out.push_str(match (found, extent, report.engines.is_empty()) {
        (Verdict::Intact, Extent::Whole, true) => "there is no evidence yet\n",
        (Verdict::Intact, Extent::Whole, false) => "the record is complete and unaltered\n",
        (Verdict::Intact, Extent::Part, true) => {
            "the log has no entry of this part, says its signature\n"
        }
        (Verdict::Intact, Extent::Part, false) => {
            "this part of the record is complete and unaltered\n"
        }
        (Verdict::Broken, _, _) => "the record is NOT complete and unaltered\n",
        (Verdict::NotShown, _, _) => {
            "nothing is known to be wrong; what is named as not shown was NOT shown\n"
        }
    });
    out
}

/// How much of a list is not there.
fn unlisted(more: u64, what: &str) -> String {
    match more {
        0 => String::new(),
        more => format!("        and {} more: not listed\n", counted(more, what)),
    }
}

fn engine_line(engine: &EngineReport) -> String {
    let head: String = engine.head.chars().take(16).collect();
    format!(
        "{}: {} in {}, {}, head {head}",
        engine.engine,
        counted(engine.events, "event"),
        counted(engine.frames, "frame"),
        counted(engine.epochs.into(), "epoch")
    )
}
