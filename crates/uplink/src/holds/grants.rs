//! Shapes that people approved for some minutes, kept on disk.
//!
//! Invariants
//! - A restart neither loses a grant nor makes it last longer: what is kept is when it was given and
//!   for how long, by the wall clock. A clock that was set back behind that moment ends it.
//! - A grant is good for what reads exactly like its shape, of the same identity, login, database,
//!   Target and rule, in the same role and by the same search path, for as long as the rule asks the same
//!   people and as many of them; and never for longer than it lets a shape be approved now.
//! - A file that cannot be read is an error, not an empty list. A grant counts once it is on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_audit::{AccessRequestCreated, Session, Timestamp};

/// Grants at once; more are refused.
const MOST: usize = 1024;
/// How far a clock may be set back before grants end.
const BACK: Duration = Duration::from_secs(2);

/// Why a grant cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what Weir wrote.
    #[error("{path} cannot be read: {reason}")]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There are too many.
    #[error("{MOST} shapes are approved already")]
    TooMany,
}

/// What a grant is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    who: String,
    target: Option<String>,
    database: Option<String>,
    login: Option<String>,
    rules: Vec<String>,
    /// Who was asked, and how many of them: none in what an older Weir kept, which is good for nothing.
    #[serde(default)]
    groups: BTreeSet<String>,
    #[serde(default)]
    users: BTreeSet<String>,
    #[serde(default)]
    approvals: u32,
    #[serde(default)]
    apart: String,
    shape: String,
}

impl Key {
    pub(super) fn of(
        session: &Session,
        request: &AccessRequestCreated,
        shape: &str,
        apart: &str,
    ) -> Self {
        let text = |field: &Option<Arc<str>>| field.as_deref().map(str::to_owned);
        Self {
            who: session.identity.name.to_string(),
            target: text(&session.target),
            database: text(&session.database),
            login: text(&session.user),
            rules: request.rules.iter().map(str::to_owned).collect(),
            groups: request.groups.iter().map(str::to_owned).collect(),
            users: request.users.iter().map(str::to_owned).collect(),
            approvals: request.approvals.max(1),
            apart: apart.to_owned(),
            shape: shape.to_owned(),
        }
    }
}

/// A shape that was approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    /// The request that was approved.
    pub(super) request: String,
    /// Each statement goes on for so many rows.
    pub(super) rows: Option<u64>,
    pub(super) granted: Timestamp,
    pub(super) minutes: u32,
}

impl Grant {
    /// Whether it is good now, where the rule lets shapes be approved for `most` minutes.
    fn is_good(&self, most: u32, now: Timestamp) -> bool {
        let minutes = u64::from(self.minutes.min(most));
        let until = self.granted.plus(Duration::from_secs(minutes * 60));
        self.granted <= now.plus(BACK) && now < until
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    key: Key,
    #[serde(flatten)]
    grant: Grant,
}

/// The grants of one engine; clones are one.
#[derive(Clone)]
pub struct Grants {
    path: Arc<Path>,
    known: Arc<Mutex<BTreeMap<Key, Grant>>>,
}

impl Grants {
    /// Reads what is kept in a file; there may be none yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path) -> Result<Self, GrantError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => {
                let path = path.to_owned();
                return Err(GrantError::File { path, source });
            }
        };
        let lines = text.lines().map(serde_json::from_str::<Line>);
        let lines: Result<Vec<Line>, _> = lines.collect();
        let lines = lines.map_err(|error| GrantError::Content {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let known = lines.into_iter().map(|line| (line.key, line.grant));
        Ok(Self {
            path: path.into(),
            known: Arc::new(Mutex::new(known.collect())),
        })
    }

    /// The request that lets something go on, and for how many rows.
    pub(super) fn find(
        &self,
        key: &Key,
        most: u32,
        now: Timestamp,
    ) -> Option<(Arc<str>, Option<u64>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let grant = known.get(key).filter(|grant| grant.is_good(most, now))?;
        Some((grant.request.as_str().into(), grant.rows))
    }

    /// Keeps a grant; what is over is forgotten.
    pub(super) fn add(&self, key: Key, grant: Grant) -> Result<(), GrantError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = grant.granted;
        let mut next = known.clone();
        next.retain(|_, grant| grant.is_good(u32::MAX, now));
        if next.len() >= MOST && !next.contains_key(&key) {
            return Err(GrantError::TooMany);
        }
        next.insert(key, grant);
        self.write(&next).map_err(|source| GrantError::File {
            path: self.path.to_path_buf(),
            source,
        })?;
        *known = next;
        Ok(())
    }

    fn write(&self, grants: &BTreeMap<Key, Grant>) -> io::Result<()> {
        let mut text = Vec::new();
        for (key, grant) in grants {
            let (key, grant) = (key.clone(), grant.clone());
            serde_json::to_writer(&mut text, &Line { key, grant })?;
            text.push(b'\n');
        }
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }
}
