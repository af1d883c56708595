//! What this replica finds, as evidence: an engine of its own, like a sidecar's.
//!
//! The controller is the authority, so it certifies itself: its certificate names its own pod, and
//! the collector takes from it what it takes from any pod, that pod's chain and no other.
//! Invariants: a finding is on disk, in sequence, before it is shipped, and shipped until it is
//! acknowledged; nothing that the controller does waits for that.
//! Refuses: to be an engine for anything but findings and orders to cut somebody off.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use weir_audit::{Body, EngineId, Finding, FindingCode, QuarantineChanged, Record};
use weir_telemetry::{IntCounter, Registry};
use weir_uplink::control::{Attested, Enrolment, Identity, Key};
use weir_uplink::ingest::{CollectorPlace, Place, RemoteCollector};
use weir_uplink::{AuditHandle, Shipper, Spool, SpoolConfig};

use crate::authority::{Authority, CertificateError, IDENTITY_LIFE, Request, Root};
use crate::peer::Peer;

/// Bounds of the spool: findings are few and short.
const DISK: u64 = 16 << 20;
const SEGMENT: u64 = 1 << 20;
const QUEUE: usize = 1 << 20;
/// Between two tries to certify itself.
const AGAIN: Duration = Duration::from_secs(5);
/// How long the last findings may take at the end.
const SHIP: Duration = Duration::from_secs(3);

/// Who this replica is, and where its evidence goes.
#[derive(Clone, Debug)]
pub(crate) struct EvidenceConfig {
    pub(crate) peer: Peer,
    /// A directory of this pod.
    pub(crate) dir: PathBuf,
    /// The collector, `host:port`.
    pub(crate) collector: String,
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EvidenceError {
    #[error("the pod's UID: {0}")]
    Uid(#[from] weir_audit::ParseError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Identity(#[from] weir_uplink::control::ControlError),
    #[error(transparent)]
    Spool(#[from] weir_uplink::SpoolError),
    #[error("shipping: {0}")]
    Ship(#[from] std::io::Error),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The engine.
pub(crate) struct Evidence {
    findings: Findings,
    spool: Spool,
    shipper: Shipper,
    own: Own,
}

/// Takes findings and orders. Clones are one.
#[derive(Clone)]
pub(crate) struct Findings {
    audit: AuditHandle,
    found: IntCounter,
    lost: IntCounter,
}

/// This replica's identity.
struct Own {
    key: Key,
    peer: Peer,
    authority: Authority,
    identity: Arc<Identity>,
}

impl Evidence {
    /// Opens the spool and begins to ship.
    pub(crate) fn start(
        config: EvidenceConfig,
        authority: Authority,
        registry: &Registry,
    ) -> Result<Self, EvidenceError> {
        let key = Key::generate()?;
        let asked = Instant::now();
        let granted = certify(&authority.root(), &key, &config.peer)?;
        let identity = Arc::new(Identity::new(&key, &granted, asked)?);
        let spool = Spool::open(spool(&config.dir, &config.peer.uid)?)?;
        let place = Collector {
            address: config.collector,
            identity: Arc::clone(&identity),
        };
        let remote = RemoteCollector::new(Arc::new(place))?;
        let shipper = Shipper::start(&spool.handle(), Arc::new(remote))?;
        let findings = Findings {
            audit: spool.handle(),
            found: registry.counter(
                "weir_controller_findings_total",
                "Findings of this replica.",
            )?,
            lost: registry.counter(
                "weir_controller_findings_lost_total",
                "Findings and orders that could not be kept as evidence; they are in the log.",
            )?,
        };
        Ok(Self {
            findings,
            spool,
            shipper,
            own: Own {
                key,
                peer: config.peer,
                authority,
                identity,
            },
        })
    }

    /// Where findings go.
    pub(crate) fn findings(&self) -> Findings {
        self.findings.clone()
    }

    /// Keeps the identity fresh. Never returns.
    pub(crate) async fn run(&self) {
        let own = &self.own;
        let mut roots = own.authority.roots();
        loop {
            roots.mark_unchanged();
            tokio::select! {
                () = tokio::time::sleep_until(own.identity.renew_at()) => {}
                _ = roots.changed() => {}
            }
            while let Err(error) = own.renew() {
                tracing::error!(%error, "the controller cannot certify itself");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// States an orderly end and ships what is left, for a while. To be called from a thread that
    /// may wait.
    pub(crate) fn close(self) {
        self.spool.close();
        self.shipper.stop(SHIP);
    }
}

impl Own {
    fn renew(&self) -> Result<(), EvidenceError> {
        let asked = Instant::now();
        let granted = certify(&self.authority.root(), &self.key, &self.peer)?;
        Ok(self.identity.renew(&self.key, &granted, asked)?)
    }
}

impl Findings {
    /// Reports a finding, in one sentence.
    pub(crate) fn report(&self, code: FindingCode, message: String) {
        tracing::error!(?code, "finding: {message}");
        self.found.inc();
        let finding = Finding {
            code,
            message: message.into(),
            subject: None,
            engine: None,
        };
        self.keep(finding.into());
    }

    /// Keeps that somebody ordered a quarantine, or lifted one.
    pub(crate) fn ordered(&self, changed: QuarantineChanged) {
        tracing::warn!(
            quarantine = %changed.name, on = changed.on, by = %changed.by,
            "an order to cut off {}", changed.subject
        );
        self.keep(changed.into());
    }

    fn keep(&self, body: Body) {
        let record = Record::engine(SystemTime::now().into(), body);
        if let Err(error) = self.audit.record(record) {
            self.lost.inc();
            tracing::error!(%error, "what this replica saw could not be kept as evidence");
        }
    }
}

/// A certificate for this replica's own pod.
fn certify(root: &Root, key: &Key, peer: &Peer) -> Result<Enrolment, EvidenceError> {
    let request = Request::parse(&key.signing_request()?)?;
    let now = SystemTime::now();
    Ok(Enrolment {
        certificate: root.identity(request, peer, &[], now)?,
        roots: root.bundle(),
        expires_in_seconds: IDENTITY_LIFE.as_secs(),
        identity: Attested::named(peer.name.as_str()),
    })
}

fn spool(dir: &Path, uid: &str) -> Result<SpoolConfig, EvidenceError> {
    let mut config = SpoolConfig::new(dir.join("spool"));
    config.engine = Some(EngineId::of_pod(uid)?);
    config.max_bytes = DISK;
    config.segment_bytes = SEGMENT;
    config.queue_bytes = QUEUE;
    Ok(config)
}

/// The collector, reached with the identity of the moment.
struct Collector {
    address: String,
    identity: Arc<Identity>,
}

impl CollectorPlace for Collector {
    fn place(&self) -> Option<Place> {
        Some(Place {
            address: self.address.clone(),
            known: Vec::new(),
            tls: self.identity.client_config(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::tests::root;

    #[test]
    fn the_controller_certifies_its_own_pod_and_nothing_else() {
        let peer = Peer::new(
            "cluster.local",
            "weir-system",
            "weir-controller",
            "c-0",
            "1-2",
        );
        let key = Key::generate().unwrap();
        let granted = certify(&root(), &key, &peer).unwrap();
        let identity = Identity::new(&key, &granted, Instant::now()).unwrap();
        let leaf = identity.certified_key().cert[0].clone();
        let (read, _) = Peer::read(&leaf, "cluster.local").unwrap();
        assert_eq!(read, peer);
    }

    #[test]
    fn its_engine_is_its_pods() {
        let config = spool(Path::new("/x"), "1-2").unwrap();
        assert_eq!(config.engine.unwrap().as_str(), "pod_1_2");
        assert!(spool(Path::new("/x"), "../x").is_err());
    }
}
