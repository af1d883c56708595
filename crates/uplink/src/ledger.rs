//! Budget counters on disk: what was reserved stays used, whatever ends the process.
//!
//! The caller reserves ahead (say 1,000 rows at a time): it puts the amount *with* the reservation
//! before it delivers, and puts the true amount when the statement ends. A put is one `write`, so
//! kill -9 loses nothing; a sync follows within 100 ms for the machine's own crashes.
//!
//! Invariants: rows are absolute amounts, and the last one for a key and bucket counts; each has a
//! checksum, and a torn tail is cut. A file that cannot be read is an error, never an empty ledger.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use weir_audit::{Hash, link};

const SYNC: Duration = Duration::from_millis(100);
const COMPACT_BYTES: u64 = 4 << 20;
const FIXED: usize = 24;
const SUM: usize = 8;

/// Why counters cannot be kept. The caller must refuse what it would have counted.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the budget ledger {path} cannot be used: {reason}")]
pub struct LedgerError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub reason: Arc<str>,
}

/// The amount used of one budget in one bucket of time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CounterRow {
    /// The caller's name of the budget.
    pub key: Vec<u8>,
    /// The caller's name of the time, ascending.
    pub bucket: u64,
    /// Rows used.
    pub rows: u64,
    /// Bytes used.
    pub bytes: u64,
}

/// The open file.
pub struct CounterStore {
    inner: Arc<Inner>,
    syncer: Option<JoinHandle<()>>,
}

struct Inner {
    path: PathBuf,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    file: File,
    length: u64,
    live: HashMap<(Vec<u8>, u64), (u64, u64)>,
    dirty: bool,
    stop: bool,
    failed: Option<Arc<str>>,
}

impl CounterStore {
    /// Opens or creates the file; returns what was used.
    ///
    /// # Errors
    /// When it cannot be read or repaired.
    pub fn open(path: impl Into<PathBuf>) -> Result<(Self, Vec<CounterRow>), LedgerError> {
        let path = path.into();
        let failed = |error: io::Error| fail(&path, &error);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let mut live = HashMap::new();
        let mut rest = bytes.as_slice();
        while let Some((row, after)) = decode(rest) {
            live.insert((row.key, row.bucket), (row.rows, row.bytes));
            rest = after;
        }
        let length = (bytes.len() - rest.len()) as u64;
        if !rest.is_empty() {
            tracing::warn!(bytes = rest.len(), "the budget ledger had a torn tail");
            file.set_len(length).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(length)).map_err(failed)?;
        let rows = rows(&live);
        let state = State {
            file,
            length,
            live,
            dirty: false,
            stop: false,
            failed: None,
        };
        let inner = Arc::new(Inner {
            path: path.clone(),
            state: Mutex::new(state),
            wake: Condvar::new(),
        });
        let syncing = Arc::clone(&inner);
        let syncer = std::thread::Builder::new()
            .name("weir-ledger".into())
            .spawn(move || syncing.sync_as_needed())
            .map_err(|error| fail(&path, &error))?;
        Ok((
            Self {
                inner,
                syncer: Some(syncer),
            },
            rows,
        ))
    }

    /// States the amount used of `key` in `bucket`. It outlives the process when this returns.
    ///
    /// # Errors
    /// When it cannot be written; nothing beyond the last stated amount may be delivered then.
    pub fn put(&self, key: &[u8], bucket: u64, rows: u64, bytes: u64) -> Result<(), LedgerError> {
        let row = CounterRow {
            key: key.to_vec(),
            bucket,
            rows,
            bytes,
        };
        let mut state = self.inner.lock()?;
        // Half of what is stated is what was stated last: a charge is of statements, or of rows and bytes.
        let at = (row.key, bucket);
        if state.live.get(&at) == Some(&(rows, bytes)) {
            return Ok(());
        }
        let row = CounterRow { key: at.0, ..row };
        let mut out = Vec::with_capacity(FIXED + SUM + 4 + key.len());
        encode(&row, &mut out);
        if let Err(error) = state.file.write_all(&out) {
            let length = state.length;
            let cut = state
                .file
                .set_len(length)
                .and_then(|()| state.file.seek(SeekFrom::Start(length)));
            if let Err(error) = cut {
                state.failed = Some(error.to_string().into());
            }
            return Err(fail(&self.inner.path, &error));
        }
        state.length += out.len() as u64;
        state.live.insert((row.key, bucket), (rows, bytes));
        if state.length > COMPACT_BYTES && state.length > 4 * weight(&state.live) {
            self.inner.rewrite(&mut state)?;
        } else if !state.dirty {
            state.dirty = true;
            self.inner.wake.notify_one();
        }
        Ok(())
    }

    /// Drops buckets that no window can reach any more.
    ///
    /// # Errors
    /// When the file could not be written earlier.
    pub fn forget_before(&self, bucket: u64) -> Result<(), LedgerError> {
        let mut state = self.inner.lock()?;
        state.live.retain(|(_, have), _| *have >= bucket);
        Ok(())
    }

    /// Forgets everything: the operator's reset, which the caller records as evidence.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn reset(&self) -> Result<(), LedgerError> {
        let mut state = self.inner.lock()?;
        state.live.clear();
        self.inner.rewrite(&mut state)
    }
}

impl Drop for CounterStore {
    fn drop(&mut self) {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stop = true;
        self.inner.wake.notify_one();
        if let Some(syncer) = self.syncer.take()
            && syncer.join().is_err()
        {
            tracing::error!("the ledger's thread ended badly");
        }
    }
}

impl Inner {
    fn lock(&self) -> Result<MutexGuard<'_, State>, LedgerError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.failed {
            Some(reason) => Err(LedgerError {
                path: self.path.clone(),
                reason: Arc::clone(reason),
            }),
            None => Ok(state),
        }
    }

    fn rewrite(&self, state: &mut State) -> Result<(), LedgerError> {
        let failed = |error: io::Error| fail(&self.path, &error);
        let mut out = Vec::new();
        rows(&state.live)
            .iter()
            .for_each(|row| encode(row, &mut out));
        let temporary = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed)?;
        file.write_all(&out)
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        std::fs::rename(&temporary, &self.path).map_err(failed)?;
        if let Some(dir) = self.path.parent() {
            File::open(dir)
                .and_then(|dir| dir.sync_all())
                .map_err(failed)?;
        }
        state.file = file;
        state.length = out.len() as u64;
        state.dirty = false;
        Ok(())
    }

    fn sync_as_needed(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while !state.dirty && !state.stop {
                state = self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if !state.stop {
                // Others may put in the meantime: one sync serves them all.
                let (again, _) = self
                    .wake
                    .wait_timeout_while(state, SYNC / 2, |state| !state.stop)
                    .unwrap_or_else(PoisonError::into_inner);
                state = again;
            }
            state.dirty = false;
            let stop = state.stop;
            let file = state.file.try_clone();
            drop(state);
            let synced = file.and_then(|file| file.sync_data());
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = synced {
                state.failed = Some(error.to_string().into());
                return;
            }
            if stop {
                return;
            }
        }
    }
}

fn fail(path: &Path, error: &io::Error) -> LedgerError {
    LedgerError {
        path: path.to_owned(),
        reason: error.to_string().into(),
    }
}

fn rows(live: &HashMap<(Vec<u8>, u64), (u64, u64)>) -> Vec<CounterRow> {
    let mut rows: Vec<CounterRow> = live
        .iter()
        .map(|((key, bucket), (rows, bytes))| CounterRow {
            key: key.clone(),
            bucket: *bucket,
            rows: *rows,
            bytes: *bytes,
        })
        .collect();
    rows.sort_unstable();
    rows
}

fn weight(live: &HashMap<(Vec<u8>, u64), (u64, u64)>) -> u64 {
    live.keys()
        .map(|(key, _)| (key.len() + FIXED + SUM + 4) as u64)
        .sum()
}

fn encode(row: &CounterRow, out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(FIXED + row.key.len());
    for number in [row.bucket, row.rows, row.bytes] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    body.extend_from_slice(&row.key);
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(checksum(&body).as_slice());
    out.extend_from_slice(&body);
}

fn decode(bytes: &[u8]) -> Option<(CounterRow, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<SUM>()?;
    let (body, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    if checksum(body) != *sum {
        return None;
    }
    let (numbers, key) = body.split_at_checked(FIXED)?;
    let [bucket, rows, bytes] = numbers.as_chunks::<8>().0 else {
        return None;
    };
    let row = CounterRow {
        key: key.to_vec(),
        bucket: u64::from_le_bytes(*bucket),
        rows: u64::from_le_bytes(*rows),
        bytes: u64::from_le_bytes(*bytes),
    };
    Some((row, rest))
}

fn checksum(body: &[u8]) -> [u8; SUM] {
    let whole = link(&Hash([0; 32]), body).0;
    whole.first_chunk::<SUM>().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
