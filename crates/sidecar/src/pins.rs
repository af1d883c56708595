//! Where labelled columns were, in files: one for each database of a target.
//!
//! A file is replaced whole: written beside, synced, renamed. One that cannot be read is an error,
//! never an empty list: a label that is forgotten protects nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use weir_gateway::ports::{PinStore, PinnedColumn};

/// Pins in the state directory.
pub struct StoredPins {
    dir: PathBuf,
    /// One writer at a time.
    writing: Mutex<()>,
}

/// A file's content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    target: String,
    database: String,
    columns: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    label: String,
    name: String,
    oid: u32,
    attribute: i16,
}

impl StoredPins {
    /// Pins below `state`.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(state: &Path) -> io::Result<Self> {
        let dir = state.join("labels");
        std::fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            writing: Mutex::default(),
        })
    }

    /// Names of targets and databases may hold anything, a slash too.
    fn path(&self, target: &str, database: &[u8]) -> PathBuf {
        let hex =
            |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        let name = format!("{}.{}.json", hex(target.as_bytes()), hex(database));
        self.dir.join(name)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        crate::files::replace(path, content, 0o600)
    }
}

impl PinStore for StoredPins {
    fn load(&self, target: &str, database: &[u8]) -> Result<Vec<PinnedColumn>, String> {
        let path = self.path(target, database);
        let broken = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(broken(&error)),
        };
        let kept: Kept = serde_json::from_slice(&content).map_err(|error| broken(&error))?;
        let column = |row: Row| PinnedColumn {
            oid: row.oid,
            attribute: row.attribute,
            label: row.label.into(),
            name: row.name,
        };
        Ok(kept.columns.into_iter().map(column).collect())
    }

    fn keep(&self, target: &str, database: &[u8], pins: &[PinnedColumn]) -> Result<(), String> {
        let row = |pin: &PinnedColumn| Row {
            label: pin.label.to_string(),
            name: pin.name.clone(),
            oid: pin.oid,
            attribute: pin.attribute,
        };
        let kept = Kept {
            target: target.to_owned(),
            database: String::from_utf8_lossy(database).into_owned(),
            columns: pins.iter().map(row).collect(),
        };
        let path = self.path(target, database);
        let content = serde_json::to_vec_pretty(&kept).map_err(|error| error.to_string())?;
        self.replace(&path, &content)
            .map_err(|error| format!("{}: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(label: &str) -> PinnedColumn {
        PinnedColumn {
            oid: 20_000,
            attribute: 3,
            label: label.into(),
            name: "public.customers.ssn".to_owned(),
        }
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart_each_database_for_itself() {
        let state = tempfile::tempdir().unwrap();
        let pins = StoredPins::open(state.path()).unwrap();
        pins.keep("db", b"shop", &[column("old")]).unwrap();
        pins.keep("db", b"shop", &[column("pii.ssn")]).unwrap();
        pins.keep("db", b"../odd/\xff", &[]).unwrap();
        let again = StoredPins::open(state.path()).unwrap();
        assert_eq!(again.load("db", b"shop").unwrap(), [column("pii.ssn")]);
        assert_eq!(again.load("db", b"../odd/\xff").unwrap(), []);
        assert_eq!(again.load("other", b"shop").unwrap(), []);
    }

    #[test]
    fn a_broken_file_is_an_error() {
        let state = tempfile::tempdir().unwrap();
        let pins = StoredPins::open(state.path()).unwrap();
        std::fs::write(pins.path("db", b"shop"), "{").unwrap();
        assert!(pins.load("db", b"shop").is_err());
    }
}
