//! Following the controller: what it sends is put in force, and its absence too.
//!
//! Invariants: what is in force is reported each time it was looked at; the time at which the
//! controller last stood by it is kept, so that a restart does not start it over; without the
//! controller the last snapshot is in force for as long as its settings say, then nothing is
//! permitted until the controller is back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use weir_gateway::Engine;
use weir_gateway::ports::Policies as _;
use weir_uplink::control::{ControlClient, Heard, Report, Snapshot};

use crate::policies::SnapshotPolicies;
use crate::remote_holds::RemoteHolds;
use crate::store::Store;
use crate::trust;

/// Between two tries to report.
const REPORT_AGAIN: Duration = Duration::from_secs(1);
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where trust is published, and which authority's.
pub(crate) struct Trust {
    pub(crate) dir: PathBuf,
    pub(crate) ca_pem: String,
}

/// What follows the controller.
pub(crate) struct Follower {
    pub(crate) policies: Arc<SnapshotPolicies>,
    pub(crate) holds: RemoteHolds,
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    pub(crate) trust: Trust,
    pub(crate) report: watch::Sender<Report>,
}

impl Follower {
    /// Follows for as long as something is heard. The controller was last heard at `alive`.
    pub(crate) async fn run(self, mut heard: mpsc::Receiver<Heard>, mut alive: Instant) {
        self.tell(None);
        loop {
            let keep = Duration::from_secs(self.policies.settings().keep_seconds);
            let suspended = self.policies.suspended().is_some();
            tokio::select! {
                biased;
                event = heard.recv() => match event {
                    Some(event) => {
                        if self.hear(event).await {
                            alive = Instant::now();
                            self.confirm();
                        }
                    }
                    None => return,
                },
                () = tokio::time::sleep_until(alive + keep), if !suspended => {
                    let reason = format!(
                        "the controller has been away for more than {} s", keep.as_secs()
                    );
                    tracing::error!(%reason, "nothing is permitted until it is back");
                    self.policies.suspend(&reason);
                }
            }
        }
    }

    /// Whether the controller is there.
    async fn hear(&self, event: Heard) -> bool {
        match event {
            Heard::Alive => self.policies.resume(),
            Heard::Ruling(ruling) => self.holds.rule(ruling).await,
            Heard::Snapshot(snapshot) => self.take(*snapshot),
            Heard::Unusable(reason) => {
                tracing::error!(%reason, "a snapshot cannot be used");
                self.policies.refuse(&reason);
                self.tell(Some(reason));
            }
            Heard::Lost(error) => {
                tracing::warn!(%error, "without the controller");
                return false;
            }
        }
        true
    }

    fn take(&self, snapshot: Snapshot) {
        let before = self.policies.settings();
        match self.policies.take(snapshot) {
            Ok(changed) => {
                self.tell(None);
                if changed {
                    self.changed(&before.extra_roots, &before.token_key);
                }
            }
            Err(reason) => {
                tracing::error!(%reason, "the new policy is refused, the last good one stays");
                self.tell(Some(reason));
            }
        }
    }

    fn changed(&self, extra_roots: &str, token_key: &str) {
        let snapshot = self.policies.snapshot();
        let bundle = self.policies.current();
        self.holds.policy_changed(&bundle);
        tracing::info!(
            snapshot = snapshot.revision,
            revision = bundle.revision(),
            digest = bundle.digest(),
            "policy in force"
        );
        self.engine.policy_changed();
        if let Err(error) = self.store.keep_snapshot(&snapshot) {
            tracing::error!(%error, "the policy could not be kept for a restart");
        }
        let settings = &snapshot.settings;
        if settings.extra_roots != extra_roots {
            let published =
                trust::publish(&self.trust.dir, &self.trust.ca_pem, &settings.extra_roots);
            if let Err(error) = published {
                tracing::error!(%error, "the new roots could not be published");
            }
        }
        if settings.token_key != token_key {
            tracing::warn!("the token key changed: it is used after the next restart");
        }
        if let Err(error) = trust::known_hosts(&self.trust.dir, &self.engine.known_hosts(&[])) {
            tracing::error!(%error, "the known hosts could not be published");
        }
        let engine = self.engine.clone();
        tokio::spawn(async move { engine.resolve_names().await });
    }

    fn confirm(&self) {
        if let Err(error) = self.store.confirm(SystemTime::now()) {
            tracing::error!(%error, "the controller's presence could not be kept");
        }
    }

    fn tell(&self, refused: Option<String>) {
        self.report
            .send_replace(report(&self.policies.snapshot(), refused));
    }
}

/// What is in force, and why a newer one is not.
pub(crate) fn report(snapshot: &Snapshot, refused: Option<String>) -> Report {
    Report {
        revision: snapshot.revision,
        digest: snapshot.digest.clone(),
        refused,
        version: VERSION.to_owned(),
    }
}

/// Tells the controller the latest report, however often it takes.
pub(crate) async fn keep_reporting(
    client: Arc<ControlClient>,
    mut latest: watch::Receiver<Report>,
) {
    loop {
        let report = latest.borrow_and_update().clone();
        let again = async {
            match client.report(&report).await {
                Ok(()) => std::future::pending().await,
                Err(error) => tracing::debug!(%error, "not reported yet"),
            }
            tokio::time::sleep(REPORT_AGAIN).await;
        };
        tokio::select! {
            () = again => {}
            changed = latest.changed() => if changed.is_err() { return },
        }
    }
}
