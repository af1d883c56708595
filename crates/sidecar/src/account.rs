//! The pod's service account: the real token stays here, the pod's programs get a placeholder.
//!
//! Kubernetes fills a volume that only the sidecar mounts. The sidecar fills another one, which stands in
//! the programs' containers where the first would: the namespace, the authorities of the pod and of the
//! cluster, and a placeholder. Each of its directories changes as a whole, as the kubelet's do.
//!
//! Invariants: nothing of the real token is written anywhere; it is read anew when Kubernetes replaces it.
//! Refuses: to serve without a token.

mod layout;
mod volume;

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use weir_gateway::Placeholders;

pub(crate) use self::layout::Layouts;
use self::layout::{CA, Content, NAMESPACE, TOKEN};
use crate::files::secret_file;

/// How long a placeholder stands in the volume.
const REFRESH: Duration = Duration::from_secs(240);
/// How late a change of Kubernetes' volume is seen.
const LOOK: Duration = Duration::from_secs(10);
/// A token or a file of authorities is not larger.
const MAX_FILE: u64 = 256 << 10;

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The volume that Kubernetes fills: `token`, `ca.crt` and `namespace`.
    pub(crate) source: PathBuf,
    /// The volume that the pod's programs see.
    pub(crate) shown: PathBuf,
    /// What stands in it beside those three.
    pub(crate) layouts: Layouts,
}

/// The pod's service account.
pub(crate) struct Account {
    places: Places,
    placeholders: Placeholders,
    /// The pod's own authority, in PEM.
    ca_pem: String,
    read: Mutex<Option<(Stamp, String)>>,
}

/// What tells one version of a file from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Account {
    /// With the key of an earlier process of this pod, or a new one, kept in `key`. `ca_pem` is the pod's
    /// authority.
    ///
    /// # Errors
    /// The key cannot be read or kept.
    pub(crate) fn open(places: Places, key: &Path, ca_pem: String) -> io::Result<Self> {
        let key = secret_file(key)?;
        let key = key
            .first_chunk()
            .ok_or_else(|| io::Error::other("the key is too short"))?;
        Ok(Self {
            places,
            placeholders: Placeholders::new(key),
            ca_pem,
            read: Mutex::new(None),
        })
    }

    /// The real token, as it is now.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn token(&self) -> Result<String, String> {
        let path = self.places.source.join(TOKEN);
        let unreadable = |error: io::Error| format!("the pod's token cannot be read: {error}");
        let stamp = stamp(&path).map_err(unreadable)?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, token)) = read.as_ref()
            && *known == stamp
        {
            return Ok(token.clone());
        }
        let token = small(&path).map_err(unreadable)?;
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the pod's token is not one".to_owned());
        }
        *read = Some((stamp, token.to_owned()));
        Ok(token.to_owned())
    }

    /// Whether a token is a placeholder of this pod's that is still good.
    pub(crate) fn is_placeholder(&self, token: &str, now: SystemTime) -> bool {
        self.placeholders.is_ours(token, seconds(now))
    }

    /// Fills what the pod's programs see.
    ///
    /// # Errors
    /// Something cannot be read or written.
    pub(crate) fn publish(&self, now: SystemTime) -> io::Result<()> {
        let token = self.token().map_err(io::Error::other)?;
        let placeholder = self.placeholders.stand_in(&token, seconds(now));
        let authorities = self.authorities()?;
        let namespace = small(&self.places.source.join(NAMESPACE))?;
        let text = |content: Content| match content {
            Content::Token => placeholder.as_bytes(),
            Content::Ca => authorities.as_bytes(),
            Content::Namespace => namespace.trim().as_bytes(),
        };
        self.places.layouts.write(&self.places.shown, text)
    }

    /// Keeps it current. Never returns.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut seen = self.stamps();
        let mut published = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.stamps();
            if now == seen && published.elapsed() < REFRESH {
                continue;
            }
            match self.publish(SystemTime::now()) {
                Ok(()) => {
                    seen = now;
                    published = Instant::now();
                }
                Err(error) => {
                    tracing::error!(%error, "what programs see of the service account is not current");
                }
            }
        }
    }

    /// The pod's authority and those of the cluster. The cluster's are for connections that no Target
    /// covers: they reach the API server as they are.
    fn authorities(&self) -> io::Result<String> {
        let cluster = small(&self.places.source.join(CA))?;
        let mut all = self.ca_pem.trim_end().to_owned();
        all.push('\n');
        all.push_str(cluster.trim_end());
        all.push('\n');
        Ok(all)
    }

    fn stamps(&self) -> Vec<Stamp> {
        let files = [TOKEN, CA, NAMESPACE].into_iter();
        files
            .map(|file| stamp(&self.places.source.join(file)).unwrap_or_default())
            .collect()
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        seconds: metadata.mtime(),
        nanoseconds: metadata.mtime_nsec(),
    })
}

/// A file that is not large.
fn small(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= MAX_FILE) {
        Ok(text)
    } else {
        Err(io::Error::other(format!("{} is too large", path.display())))
    }
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map(|since| since.as_secs()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
