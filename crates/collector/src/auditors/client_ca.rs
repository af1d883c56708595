//! The cluster's client roots, from a file that changes while we run.
//!
//! While the file is missing or cannot be read as certificates, no client certificate counts; a
//! half-written file therefore lets nobody in.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::RootCertStore;
use tokio::time::Instant;

use crate::tls::roots_from;

/// The file is looked at this often at most.
const LOOK: Duration = Duration::from_secs(5);
const MAX_FILE: u64 = 1 << 20;

/// What the file held; equal for equal content.
pub(super) type Version = Arc<[u8]>;

pub(super) struct ClientCa {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    looked: Option<Instant>,
    version: Option<Version>,
    roots: Option<Arc<RootCertStore>>,
}

impl ClientCa {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            seen: Mutex::default(),
        }
    }

    /// The roots of the moment.
    pub(super) fn current(&self) -> Option<(Version, Arc<RootCertStore>)> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if seen
            .looked
            .is_none_or(|looked| now.duration_since(looked) >= LOOK)
        {
            seen.looked = Some(now);
            self.look(&mut seen);
        }
        seen.version.clone().zip(seen.roots.clone())
    }

    fn look(&self, seen: &mut Seen) {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&self.path)
            .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
        if read.is_err() {
            bytes.clear();
        }
        if seen.version.as_deref() == Some(bytes.as_slice()) {
            return;
        }
        let roots = match roots_from(&bytes) {
            Ok(roots) => {
                tracing::info!(path = %self.path.display(), "the cluster's client roots are in force");
                Some(Arc::new(roots))
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "no client certificate counts");
                None
            }
        };
        (seen.version, seen.roots) = (Some(bytes.into()), roots);
    }
}
