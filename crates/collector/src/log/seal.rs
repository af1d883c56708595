//! What the log's key signs of a bundle: which part of which log it is, and every byte of it.
//!
//! Invariants
//! - Whoever lacks the log's key can take nothing out of a bundle, add nothing and say nothing else of it.
//! - What is signed cannot be taken for a checkpoint or a report: its first line is no name of a log, and no
//!   report's.

use std::fmt;
use std::str::FromStr;

use weir_audit::proof::{Checkpoint, Note, VerifierKey};
use weir_audit::{Digest, Hash, Timestamp};

use super::bundle::Manifest;
use super::verify_note;

const FORM: &str = "weir-bundle/1";
/// In place of a time that bounds nothing.
const OPEN: &str = "-";

/// What the signature of a bundle is over.
///
/// ```text
/// weir-bundle/1
/// ORIGIN
/// SIZE ROOT
/// FIRST END
/// SINCE UNTIL                      - where the period is open
/// SECTIONS SHA-256 of everything before the end, hexadecimal
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BundleSeal {
    origin: String,
    size: u64,
    root: Digest,
    first: u64,
    end: u64,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    sections: u64,
    content: Digest,
}

/// How a bundle ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// A signed note: [`BundleSeal`].
    pub(crate) note: Note,
    /// Sections before the end.
    pub(crate) sections: u64,
    /// The hash of everything before the end.
    pub(crate) content: Digest,
}

impl BundleSeal {
    /// What has to be signed of a bundle.
    pub(crate) fn of(manifest: &Manifest, root: &Hash, (sections, content): (u64, Digest)) -> Self {
        Self {
            origin: manifest.origin.clone(),
            size: manifest.size,
            root: Digest(root.0),
            first: manifest.first,
            end: manifest.end,
            since: manifest.since,
            until: manifest.until,
            sections,
            content,
        }
    }
}

impl Ending {
    /// Says in words why the log's key did not sign this bundle.
    pub(crate) fn problem(
        &self,
        manifest: &Manifest,
        checkpoint: &Checkpoint,
        key: &VerifierKey,
    ) -> Option<&'static str> {
        if verify_note(&self.note, key).is_err() {
            return Some("what the bundle holds is not signed by the log's key");
        }
        let Ok(seal) = self.note.text.parse::<BundleSeal>() else {
            return Some("what the log's key signed at the end of the bundle is not its content");
        };
        let here = (self.sections, self.content);
        if (seal.sections, seal.content) != here {
            return Some(
                "the bundle is not what the log's key signed: something was changed, added or taken out",
            );
        }
        let said = BundleSeal::of(manifest, &checkpoint.root, here);
        (seal != said).then_some("the bundle does not say of itself what the log's key signed")
    }

    /// Whether everything arrived as it was made, whoever made it.
    pub(crate) fn is_whole(&self) -> bool {
        let seal = self.note.text.parse::<BundleSeal>();
        seal.is_ok_and(|seal| (seal.sections, seal.content) == (self.sections, self.content))
    }
}

impl fmt::Display for BundleSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: Option<Timestamp>| time.map_or(OPEN.to_owned(), |time| time.to_string());
        writeln!(f, "{FORM}\n{}", self.origin)?;
        writeln!(f, "{} {}", self.size, self.root)?;
        writeln!(f, "{} {}", self.first, self.end)?;
        writeln!(f, "{} {}", time(self.since), time(self.until))?;
        writeln!(f, "{} {}", self.sections, self.content)
    }
}

impl FromStr for BundleSeal {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let time = |text: &str| match text {
            OPEN => Some(None),
            text => text.parse().ok().map(Some),
        };
        let read = || {
            let mut lines = text.strip_suffix('\n')?.split('\n');
            if lines.next()? != FORM {
                return None;
            }
            let origin = lines.next()?.to_owned();
            let mut two = || lines.next()?.split_once(' ');
            let (size, root) = two()?;
            let (first, end) = two()?;
            let (since, until) = two()?;
            let (sections, content) = two()?;
            let seal = Self {
                origin,
                size: size.parse().ok()?,
                root: root.parse().ok()?,
                first: first.parse().ok()?,
                end: end.parse().ok()?,
                since: time(since)?,
                until: time(until)?,
                sections: sections.parse().ok()?,
                content: content.parse().ok()?,
            };
            // One text, one meaning.
            (seal.to_string() == text).then_some(seal)
        };
        read().ok_or(())
    }
}
