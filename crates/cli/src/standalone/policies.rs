//! The policy in force: loaded from files, swapped whole, kept when the next one is broken.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use weir_api::{CompileOptions, Diagnostic};
use weir_gateway::Unmatched;
use weir_gateway::ports::Policies;
use weir_policy::Bundle;
use weir_sidecar::adapters::announce;
use weir_uplink::AuditHandle;

/// The bundle in force and where it comes from.
pub(crate) struct LoadedPolicies {
    paths: Vec<PathBuf>,
    /// One more file, which need not be there.
    quarantines: PathBuf,
    unmatched: Unmatched,
    current: RwLock<Arc<Bundle>>,
    revision: AtomicU64,
    refused: Mutex<Option<String>>,
    seen: Mutex<Vec<(PathBuf, SystemTime, u64)>>,
}

impl LoadedPolicies {
    /// Loads and compiles; the first bundle must be good.
    pub(crate) fn load(
        paths: Vec<PathBuf>,
        quarantines: PathBuf,
        unmatched: Unmatched,
    ) -> Result<Self, Vec<Diagnostic>> {
        let all = sources(&paths, &quarantines);
        let seen = fingerprint(&all);
        let bundle = compile(&all, 1)?;
        Ok(Self {
            paths,
            quarantines,
            unmatched,
            current: RwLock::new(Arc::new(bundle)),
            revision: AtomicU64::new(1),
            refused: Mutex::new(None),
            seen: Mutex::new(seen),
        })
    }

    /// Why the newest files are not in force, if they are not.
    pub(crate) fn refused(&self) -> Option<String> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks at the files again; swaps if they changed and are good. True when it swapped.
    pub(crate) fn reload_if_changed(&self, audit: &AuditHandle) -> bool {
        let all = sources(&self.paths, &self.quarantines);
        let now = fingerprint(&all);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return false;
            }
            *seen = now;
        }
        let next = self.revision.load(Ordering::Relaxed) + 1;
        let (swapped, refused) = match compile(&all, next) {
            Ok(bundle) if bundle.digest() == self.current().digest() => (false, None),
            Ok(bundle) => {
                self.revision.store(next, Ordering::Relaxed);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(bundle);
                (true, None)
            }
            Err(diagnostics) => (false, Some(render(&diagnostics))),
        };
        let bundle = self.current();
        match &refused {
            None if swapped => {
                tracing::info!(
                    revision = bundle.revision(),
                    digest = bundle.digest(),
                    "policy in force"
                );
            }
            None => {}
            Some(reason) => tracing::error!(
                revision = bundle.revision(),
                "the new policy is refused, the last good one stays in force:\n{reason}"
            ),
        }
        if swapped || refused.is_some() {
            announce(&bundle, refused.as_deref(), audit);
        }
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        swapped
    }
}

impl Policies for LoadedPolicies {
    fn current(&self) -> Arc<Bundle> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn unmatched(&self) -> Unmatched {
        self.unmatched
    }

    fn suspended(&self) -> Option<Arc<str>> {
        None
    }
}

fn sources(paths: &[PathBuf], quarantines: &Path) -> Vec<PathBuf> {
    let kept = quarantines.exists().then(|| quarantines.to_owned());
    paths.iter().cloned().chain(kept).collect()
}

fn compile(paths: &[PathBuf], revision: u64) -> Result<Bundle, Vec<Diagnostic>> {
    let resources = weir_api::load(paths)?;
    let options = CompileOptions {
        revision,
        now: crate::policy::now(),
        ..CompileOptions::default()
    };
    let compiled = weir_api::compile(&resources, &options)?;
    for warning in &compiled.diagnostics {
        tracing::warn!("{warning}");
    }
    Ok(compiled.bundle)
}

/// Diagnostics as text, one a line.
pub(crate) fn render(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Names, times and sizes of all files below the paths.
fn fingerprint(paths: &[PathBuf]) -> Vec<(PathBuf, SystemTime, u64)> {
    let mut found = Vec::new();
    let mut queue = paths.to_vec();
    while let Some(path) = queue.pop() {
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            queue.extend(entries.map(|entry| entry.path()));
        }
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        found.push((path, modified, metadata.len()));
    }
    found.sort();
    found
}
