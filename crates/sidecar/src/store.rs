//! What a restarted sidecar goes on with: its key and certificate, and the last snapshot with the
//! time at which the controller last stood by it.
//!
//! Invariants: everything lies in a directory that nobody else can look into, in memory only (the
//! pod's volume); ages are counted by the wall clock, since the process that wrote them is gone.
//! Refuses: what was written in the future, beyond a small difference of clocks.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use weir_uplink::control::{Enrolment, Snapshot};

use crate::files::replace;

/// By how much the clock may have been set back.
const AHEAD: Duration = Duration::from_secs(5);
const PRIVATE: u32 = 0o600;

/// The kept state.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

/// A certificate and when it ends, in seconds since 1970.
#[derive(Serialize, Deserialize)]
struct KeptEnrolment {
    enrolment: Enrolment,
    until: u64,
}

impl Store {
    /// The state in this directory.
    #[must_use]
    pub(crate) fn new(dir: &Path) -> Self {
        let dir = dir.to_owned();
        Self { dir }
    }

    /// Where the identity's key is.
    #[must_use]
    pub(crate) fn key(&self) -> PathBuf {
        self.dir.join("identity.key")
    }

    /// Keeps a certificate that was granted at `now`.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn keep_enrolment(&self, enrolment: &Enrolment, now: SystemTime) -> io::Result<()> {
        let kept = KeptEnrolment {
            enrolment: enrolment.clone(),
            until: seconds(now).saturating_add(enrolment.expires_in_seconds),
        };
        self.write("identity.json", &serde_json::to_vec(&kept)?)
    }

    /// The kept certificate, with what is left of its life; nothing once less than a third is.
    #[must_use]
    pub(crate) fn enrolment(&self, now: SystemTime) -> Option<Enrolment> {
        let KeptEnrolment {
            mut enrolment,
            until,
        } = self.read("identity.json")?;
        let left = until.saturating_sub(seconds(now));
        if left > enrolment.expires_in_seconds || left < enrolment.expires_in_seconds / 3 {
            return None;
        }
        enrolment.expires_in_seconds = left;
        Some(enrolment)
    }

    /// Keeps a snapshot that is in force.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn keep_snapshot(&self, snapshot: &Snapshot) -> io::Result<()> {
        self.write("snapshot.json", &serde_json::to_vec(snapshot)?)
    }

    /// Keeps the time at which the controller stood by the snapshot.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn confirm(&self, now: SystemTime) -> io::Result<()> {
        self.write("confirmed.json", seconds(now).to_string().as_bytes())
    }

    /// The last snapshot and how long the controller has been away since, if that is shorter than
    /// the snapshot's own settings say.
    #[must_use]
    pub(crate) fn snapshot(&self, now: SystemTime) -> Option<(Snapshot, Duration)> {
        let snapshot: Snapshot = self.read("snapshot.json")?;
        let age = age(self.read("confirmed.json")?, now)?;
        let keep = Duration::from_secs(snapshot.settings.keep_seconds);
        (age < keep).then_some((snapshot, age))
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        replace(&self.dir.join(name), content, PRIVATE)
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Option<T> {
        let path = self.dir.join(name);
        let content = std::fs::read(&path).ok()?;
        serde_json::from_slice(&content)
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "kept state"))
            .ok()
    }
}

/// How long ago that was; nothing if it is yet to come.
fn age(then: u64, now: SystemTime) -> Option<Duration> {
    let now = Duration::from_secs(seconds(now));
    let then = Duration::from_secs(then);
    match now.checked_sub(then) {
        Some(age) => Some(age),
        None => (then <= now + AHEAD).then_some(Duration::ZERO),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use weir_audit::Identity;
    use weir_uplink::control::Settings;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        (dir, store)
    }

    #[test]
    fn a_snapshot_is_used_as_long_as_its_settings_say() {
        let (_dir, store) = store();
        assert!(store.snapshot(at(1000)).is_none());
        let snapshot = Snapshot {
            settings: Settings {
                keep_seconds: 60,
                ..Settings::default()
            },
            ..Snapshot::default()
        };
        store.keep_snapshot(&snapshot).unwrap();
        assert!(store.snapshot(at(1000)).is_none(), "never confirmed");
        store.confirm(at(1000)).unwrap();
        let (kept, age) = store.snapshot(at(1059)).unwrap();
        assert_eq!((kept, age), (snapshot, Duration::from_secs(59)));
        assert!(store.snapshot(at(1060)).is_none(), "too old");
        assert!(store.snapshot(at(996)).is_some(), "clocks differ a little");
        assert!(store.snapshot(at(900)).is_none(), "from the future");
    }

    #[test]
    fn a_certificate_is_used_while_a_third_of_its_life_is_left() {
        let (_dir, store) = store();
        let enrolment = Enrolment {
            certificate: "c".to_owned(),
            roots: "r".to_owned(),
            expires_in_seconds: 3600,
            identity: Identity::named("spiffe://cluster.local/ns/a/sa/b"),
        };
        store.keep_enrolment(&enrolment, at(1000)).unwrap();
        assert_eq!(store.enrolment(at(2000)).unwrap().expires_in_seconds, 2600);
        assert!(store.enrolment(at(3401)).is_none(), "time to renew");
        assert!(store.enrolment(at(9000)).is_none(), "expired");
        assert!(store.enrolment(at(10)).is_none(), "from the future");
    }

    #[test]
    fn broken_state_is_no_state() {
        let (dir, store) = store();
        std::fs::write(dir.path().join("snapshot.json"), "{").unwrap();
        std::fs::write(dir.path().join("confirmed.json"), "1000").unwrap();
        assert!(store.snapshot(at(1000)).is_none());
    }
}
