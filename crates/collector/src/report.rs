//! The report of a period: what an auditor hands on, as JSON for programs and as a page for people, under
//! the signature of the log's key.
//!
//! Invariants
//! - The page is made of what the JSON says, and of nothing else.
//! - The signature is over the hash of both, and names the log as it was: whoever knows the log's key, or a
//!   later checkpoint, can tell that nobody has changed a word since.
//! - What is signed cannot be taken for a checkpoint: its first line is no name of a log.
//! - The signature is also over which entries of the log hold the period's events: whoever hands on fewer is found.
//! - A list that was cut says so.
//!
//! It refuses nothing that is there: a record that does not verify is reported as one that does not.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Sha256;
use weir_audit::proof::{Checkpoint, Note, VerifierKey};
use weir_audit::{Body, Digest, EngineId, Event, Hash, Timestamp};

use crate::log::judge::is_zero;
use crate::log::verify_note;
use crate::{About, Answer, Collector, CollectorError, Filter, Manifest, Overview, Question, ui};

/// The first line of what is signed.
const FORM: &str = "weir-report/2";
/// Rows of each list.
const MOST: usize = 10_000;
/// What is asked, in the order of the report.
const ASKED: [About; 7] = [
    About::WhoReadLabel,
    About::WhatWasBlocked,
    About::WhatWasMasked,
    About::HoldsByApprover,
    About::PolicyChanges,
    About::WhoReadEvidence,
    About::WhoWasCutOff,
];

/// What happened in a period, and how far that is proved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The log's name.
    pub origin: String,
    /// The period's begin. Sums are of whole days, UTC.
    pub since: Timestamp,
    /// The period's end.
    pub until: Timestamp,
    /// When it was made, by the collector's clock.
    pub made: Timestamp,
    /// Who asked for it.
    pub reader: String,
    /// Entries of the log of proofs.
    pub size: u64,
    /// The root of its tree.
    pub root: Digest,
    /// Whether the whole record verified when the report was made.
    pub verified: bool,
    /// What did not; at most 100.
    pub problems: Vec<String>,
    /// How many problems there are beyond those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_problems: u64,
    /// Who recorded, and how much of it verified.
    pub engines: Vec<Engine>,
    /// Sums.
    pub overview: Overview,
    /// Lists: who read labelled data, what was denied, held and masked, who decided, which policies came into
    /// force, who read evidence, who was cut off, what was found.
    pub lists: Vec<Answer>,
}

/// An engine in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Its name.
    pub engine: EngineId,
    /// Events that verified.
    pub events: u64,
    /// How many problems there are with its chain.
    pub problems: u64,
}

/// A report as it is handed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportFiles {
    /// [`Report`] as JSON.
    pub json: String,
    /// The page: it loads nothing, and runs nothing.
    pub html: String,
    /// The log's checkpoint at that time, a signed note.
    pub checkpoint: String,
    /// What was signed, a signed note: [`Sealed`].
    pub note: String,
}

/// What the signature of a report is over.
///
/// ```text
/// weir-report/2
/// ORIGIN
/// SINCE UNTIL
/// SIZE ROOT
/// FIRST END
/// SHA-256 of the JSON, hexadecimal
/// SHA-256 of the page, hexadecimal
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The log's name.
    pub origin: String,
    /// The period's begin.
    pub since: Timestamp,
    /// The period's end.
    pub until: Timestamp,
    /// Entries of the log.
    pub size: u64,
    /// The root of its tree.
    pub root: Digest,
    /// The first entry of the log that may have an event of the period.
    pub first: u64,
    /// The first entry behind these; the same as `first` if there are none.
    pub end: u64,
    json: Digest,
    html: Digest,
}

/// Why a report does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The note cannot be read.
    #[error("its note is none of a report")]
    Form,
    /// Another key signed it, or nobody.
    #[error("its note is not signed by the log's key")]
    Signature,
    /// Not the text that was signed.
    #[error("{0} is not what was signed")]
    Altered(&'static str),
}

impl Collector {
    /// The report of a period, signed.
    ///
    /// # Errors
    /// When the store failed.
    pub fn report_of(
        &self,
        since: Timestamp,
        until: Timestamp,
        reader: &str,
    ) -> Result<ReportFiles, CollectorError> {
        let proof = self.verify()?;
        let broken = |_| CollectorError::Log("its checkpoint cannot be read".into());
        let note: Note = proof.log.checkpoint.parse().map_err(broken)?;
        let checkpoint: Checkpoint = note.text.parse().map_err(broken)?;
        let mut lists = Vec::new();
        for about in ASKED {
            lists.push(self.ask(&Question {
                since: Some(since),
                until: Some(until),
                limit: Some(MOST),
                ..Question::new(about)
            })?);
        }
        lists.push(self.found(since, until)?);
        let report = Report {
            origin: checkpoint.origin,
            since,
            until,
            made: std::time::SystemTime::now().into(),
            reader: reader.to_owned(),
            size: checkpoint.size,
            root: Digest(checkpoint.root.0),
            verified: proof.ok,
            problems: proof.log.problems,
            more_problems: proof.log.more_problems,
            engines: proof
                .engines
                .into_iter()
                .map(|one| Engine {
                    engine: one.engine,
                    events: one.events,
                    problems: one.problems.len() as u64 + one.more_problems,
                })
                .collect(),
            overview: self.overview_of((since, until), None, MOST)?,
            lists,
        };
        let (first, end) = self.entries_of(since, until, report.size)?;
        let failed = |error: &dyn fmt::Display| CollectorError::Log(error.to_string());
        let json = serde_json::to_string_pretty(&report).map_err(|error| failed(&error))?;
        let html = ui::report_page(&report).map_err(|error| failed(&error))?;
        let sealed = Sealed {
            origin: report.origin,
            since,
            until,
            size: report.size,
            root: report.root,
            first,
            end,
            json: digest(&json),
            html: digest(&html),
        };
        Ok(ReportFiles {
            note: self.log_key().sign(&sealed.to_string()).to_string(),
            checkpoint: proof.log.checkpoint,
            json,
            html,
        })
    }

    /// Findings, newest first, as a list.
    fn found(&self, since: Timestamp, until: Timestamp) -> Result<Answer, CollectorError> {
        let page = self.query(&Filter {
            since: Some(since),
            until: Some(until),
            kind: Some("finding".to_owned()),
            limit: Some(MOST),
            ..Filter::default()
        })?;
        let rows: Vec<_> = page.events.iter().filter_map(row).collect();
        let columns = ["time", "what", "engine", "why"];
        Ok(Answer {
            title: "What was found".to_owned(),
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            rows,
            more: page.next.is_some(),
        })
    }
}

fn row(event: &Event) -> Option<Vec<String>> {
    let Body::Finding(finding) = &event.body else {
        return None;
    };
    let engine = finding.engine.as_deref();
    Some(vec![
        event.time.to_string(),
        finding.code.as_str().to_owned(),
        engine.unwrap_or(event.id.engine.as_str()).to_owned(),
        finding.message.to_string(),
    ])
}

impl ReportFiles {
    /// What the note says, once it is sure that `key` signed it and that JSON and page are those that it is of.
    ///
    /// # Errors
    /// When one of that is not so.
    pub fn verify(&self, key: &VerifierKey) -> Result<Sealed, ReportError> {
        let note: Note = self.note.parse().map_err(|_| ReportError::Form)?;
        let sealed: Sealed = note.text.parse()?;
        verify_note(&note, key).map_err(|_| ReportError::Signature)?;
        if sealed.origin != key.name {
            return Err(ReportError::Signature);
        }
        for (name, text, signed) in [
            ("report.json", &self.json, sealed.json),
            ("report.html", &self.html, sealed.html),
        ] {
            if digest(text) != signed {
                return Err(ReportError::Altered(name));
            }
        }
        let is_named = |checkpoint: Checkpoint| {
            (checkpoint.origin, checkpoint.size, checkpoint.root)
                == (sealed.origin.clone(), sealed.size, Hash(sealed.root.0))
        };
        let note: Option<Note> = self.checkpoint.parse().ok();
        let checkpoint = note.and_then(|note| note.text.parse().ok());
        if !checkpoint.is_some_and(is_named) {
            return Err(ReportError::Altered("checkpoint"));
        }
        Ok(sealed)
    }
}

impl Sealed {
    /// What a bundle lacks that the report is of, in words. The bundle must have been verified.
    #[must_use]
    pub fn lacks(&self, bundle: &Manifest) -> Option<String> {
        if bundle.origin != self.origin {
            return Some("the evidence is of another log than the report".into());
        }
        if (bundle.since, bundle.until) != (Some(self.since), Some(self.until)) {
            return Some("the evidence is of another period than the report".into());
        }
        let is_there =
            self.first == self.end || (bundle.first <= self.first && self.end <= bundle.end);
        (!is_there).then(|| {
            format!(
                "the report is of entries {} to {}, and the evidence has not all of them",
                self.first,
                self.end.saturating_sub(1)
            )
        })
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FORM}\n{}", self.origin)?;
        writeln!(f, "{} {}", self.since, self.until)?;
        writeln!(f, "{} {}", self.size, self.root)?;
        writeln!(f, "{} {}", self.first, self.end)?;
        writeln!(f, "{}\n{}", self.json, self.html)
    }
}

impl FromStr for Sealed {
    type Err = ReportError;

    fn from_str(text: &str) -> Result<Self, ReportError> {
        let read = || {
            let mut lines = text.strip_suffix('\n')?.split('\n');
            let mut line = || lines.next();
            if line()? != FORM {
                return None;
            }
            let origin = line()?.to_owned();
            let (since, until) = line()?.split_once(' ')?;
            let (size, root) = line()?.split_once(' ')?;
            let (first, end) = line()?.split_once(' ')?;
            let sealed = Self {
                origin,
                since: since.parse().ok()?,
                until: until.parse().ok()?,
                size: size.parse().ok()?,
                root: root.parse().ok()?,
                first: first.parse().ok()?,
                end: end.parse().ok()?,
                json: line()?.parse().ok()?,
                html: line()?.parse().ok()?,
            };
            // One text, one meaning.
            (sealed.to_string() == text).then_some(sealed)
        };
        read().ok_or(ReportError::Form)
    }
}

fn digest(text: &str) -> Digest {
    Digest(<Sha256 as sha2::Digest>::digest(text).into())
}
