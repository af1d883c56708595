//! What the collector remembers of its log beside the store, so that a store that was put back to an
//! older copy is recognised when it is opened.
//!
//! It is no proof against somebody who can write here: that is what archives, witnesses and an auditor's
//! own copy of a checkpoint are for.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use weir_audit::proof::{Checkpoint, Note, VerifierKey, merkle};

use super::{LATEST, Tree, verify_note};
use crate::CollectorError;

/// The newest checkpoint in a file, at most a minute old.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("log.checkpoint")
}

/// Compares the store with the checkpoint in the file; `Some` says in words how the store lost what it
/// had. The checkpoint is kept in the store then, so that every verification finds it.
pub(crate) fn compare(
    store: &Connection,
    dir: &Path,
    key: &VerifierKey,
) -> Result<Option<String>, CollectorError> {
    let text = match std::fs::read_to_string(path(dir)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let read = text.parse::<Note>().ok().and_then(|note| {
        let checkpoint: Checkpoint = note.text.parse().ok()?;
        verify_note(&note, key).ok()?;
        Some((note, checkpoint))
    });
    let Some((note, checkpoint)) = read else {
        return Ok(Some(
            "the checkpoint beside the evidence store is not the log's own".into(),
        ));
    };
    let tree = Tree(store);
    let size = tree.size()?;
    let why = if checkpoint.size > size {
        format!(
            "the evidence store is older than it was: its log has {size} entries, and had {}",
            checkpoint.size
        )
    } else if merkle::root_of(&tree, 0, checkpoint.size)? != checkpoint.root {
        format!(
            "the first {} entries of the log are not those that were signed",
            checkpoint.size
        )
    } else {
        return Ok(None);
    };
    let now = weir_audit::Timestamp::from(std::time::SystemTime::now());
    let name = format!("before {now}");
    tree.keep(&name, &checkpoint, &note, now.as_micros())?;
    Ok(Some(why))
}

/// Writes the newest checkpoint to the file.
pub(crate) fn write(store: &Connection, dir: &Path) -> Result<(), CollectorError> {
    let Some(latest) = Tree(store).checkpoint(LATEST)? else {
        return Ok(());
    };
    let (path, beside) = (path(dir), dir.join("log.checkpoint.new"));
    std::fs::write(&beside, latest.note.to_string())?;
    std::fs::rename(beside, path)?;
    Ok(())
}
