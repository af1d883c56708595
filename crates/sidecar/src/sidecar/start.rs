//! From an ordinary process to one that serves, and back.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::statvfs::statvfs;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use weir_audit::EngineId;
use weir_gateway::ports::Policies as _;
use weir_gateway::{Engine, EngineConfig, HostKeys};
use weir_telemetry::{Admin, Readiness, Registry};
use weir_transport::listen::{self, Drain, Limits, Mode};
use weir_transport::resolver::Resolver;
use weir_transport::tls::Authority;
use weir_uplink::control::{
    ControlClient, EnrolConfig, Enroller, Heard, Identity, Key, Settings, Snapshot,
};
use weir_uplink::ingest::RemoteCollector;
use weir_uplink::{Shipper, Spool, SpoolConfig};

use super::SHIP;
use super::prepare::Prepared;
use crate::account::Account;
use crate::adapters::{PodIdentity, Spooled};
use crate::config::{Config, Pod};
use crate::credentials::PodCredentials;
use crate::data_path::DataPath;
use crate::files::private_dir;
use crate::follow::{Follower, Trust, keep_reporting, report};
use crate::honey::Honey;
use crate::leased::LeasedBudgets;
use crate::metrics::EngineMetrics;
use crate::part::{PartError, part};
use crate::pins::StoredPins;
use crate::policies::SnapshotPolicies;
use crate::remote_holds::RemoteHolds;
use crate::serve::Serving;
use crate::shipping::Collector;
use crate::store::Store;
use crate::trust;
use crate::upkeep::{self, Upkeep};

/// Most connections at the same time.
const CONNECTIONS: usize = 4096;
/// How long the first snapshot may take before the kept one is used.
const FIRST: Duration = Duration::from_secs(3);
/// Events of the watch that may wait.
const HEARD: usize = 64;
/// Bytes of a token key.
const TOKEN_KEY: usize = 16;

/// A sidecar that serves.
pub(super) struct Sidecar {
    drain: Drain,
    readiness: Readiness,
    policies: Arc<SnapshotPolicies>,
    budgets: Arc<LeasedBudgets>,
    spool: Spool,
    shipper: Shipper,
}

impl Sidecar {
    /// Takes every step up to accepting connections.
    pub(super) async fn start(prepared: Prepared) -> Result<Self, PartError> {
        let Prepared {
            config,
            captured,
            admin,
            resolvers,
        } = prepared;
        let (registry, readiness) = (Registry::default(), Readiness::default());
        let (named, ruled) = (readiness.guard("identity"), readiness.guard("policy"));
        let admin = Admin::on(admin, registry.clone(), readiness.clone());
        let admin = admin.map_err(part("the admin address"))?;
        tokio::spawn(admin.serve(std::future::pending()));

        let state = private_dir(&config.private_dir())?;
        let store = Store::new(&state);
        let authority = Authority::load_or_create(&state.join("ca"), "Weir");
        let authority = authority.map_err(part("the certificate authority"))?;
        let host_keys = HostKeys::load_or_create(&state.join("ssh"));
        let host_keys = host_keys.map_err(part("the host keys"))?;
        let trust = Trust {
            dir: config.trust_dir.clone(),
            ca_pem: authority.ca_pem().to_owned(),
        };
        trust::prepare(&trust.dir).map_err(part("the trust volume"))?;
        let account = account(&config, &state, &trust.ca_pem)?;

        let identity = enrolled(&config, &store).await?;
        named.release();
        let client = Arc::new(ControlClient::new(
            config.control.clone(),
            Arc::clone(&identity),
        ));
        let (say, mut heard) = mpsc::channel(HEARD);
        let watching = Arc::clone(&client);
        tokio::spawn(async move { watching.watch(say).await });
        let mut first = first_snapshot(&mut heard, Some(&store)).await?;
        let spool = open_spool(&state, &config.pod, &first.snapshot.settings)?;
        let audit = spool.handle();
        let policies = loop {
            match SnapshotPolicies::new(first.snapshot, audit.clone()) {
                Ok(policies) => break Arc::new(policies),
                Err(reason) => refuse_first(&client, reason).await,
            }
            first = first_snapshot(&mut heard, None).await?;
        };
        let snapshot = policies.snapshot();
        let settings = &snapshot.settings;
        let token_key = token_key(settings)?;
        trust::publish(&trust.dir, &trust.ca_pem, &settings.extra_roots)
            .map_err(part("the trust volume"))?;
        if first.age.is_zero() {
            let kept = store.keep_snapshot(&snapshot);
            kept.and_then(|()| store.confirm(SystemTime::now()))
                .map_err(part("the state directory"))?;
        }
        let collector = RemoteCollector::new(Arc::new(Collector {
            identity: Arc::clone(&identity),
            policies: Arc::clone(&policies),
        }));
        let collector = Arc::new(collector.map_err(part("shipping evidence"))?);
        let shipper = Shipper::start(&audit, collector).map_err(part("shipping evidence"))?;
        let budgets = LeasedBudgets::open(&state, Arc::clone(&client) as _);
        let budgets = Arc::new(budgets.map_err(part("the budgets"))?);
        let leasing = Arc::clone(&budgets);
        tokio::spawn(async move { leasing.keep().await });
        let grants = weir_uplink::Grants::open(&state.join("approvals"));
        let grants = grants.map_err(part("the approved shapes"))?;
        let registry_of_holds = weir_uplink::Holds::new(audit.clone(), grants);
        let holds = RemoteHolds::new(Arc::clone(&client), registry_of_holds);
        let engine = Engine::new(EngineConfig {
            policies: Arc::clone(&policies) as _,
            identities: Arc::new(PodIdentity(identity)),
            sink: Arc::new(Spooled {
                audit: audit.clone(),
                honey: Honey::new(Arc::clone(&policies) as _),
            }),
            holds: Arc::new(holds.clone()),
            budgets: Arc::clone(&budgets) as _,
            credentials: Arc::new(PodCredentials::new(Arc::clone(&policies), account)),
            pins: Arc::new(StoredPins::open(&state).map_err(part("the labels' places"))?),
            authority: Arc::new(authority),
            host_keys: Arc::new(host_keys),
            token_key,
            resolver: Resolver::of(&resolvers),
        });
        engine.resolve_names().await;
        trust::known_hosts(&trust.dir, &engine.known_hosts(&[]))
            .map_err(part("the trust volume"))?;
        let metrics = Arc::new(EngineMetrics::new(&registry).map_err(part("metrics"))?);
        let (drain, drained) = listen::drain();
        let serving = Serving {
            engine: engine.clone(),
            path: DataPath::start(1).map_err(part("the data path"))?,
            limits: Limits {
                connections: CONNECTIONS,
            },
            drained,
            metrics: Arc::clone(&metrics),
            forbidden: vec![config.admin],
        };
        for listener in captured {
            listen::open(&listener).map_err(part("the redirect's port"))?;
            serving.accept(listener, Mode::Redirect, None)?;
        }
        let (tell, told) = watch::channel(report(&snapshot, None));
        let follower = Follower {
            policies: Arc::clone(&policies),
            holds,
            store,
            engine: engine.clone(),
            trust,
            report: tell,
        };
        let alive = Instant::now().checked_sub(first.age);
        tokio::spawn(follower.run(heard, alive.unwrap_or_else(Instant::now)));
        tokio::spawn(keep_reporting(client, told));
        tokio::spawn(keep_up(
            engine,
            Arc::clone(&policies),
            Upkeep::new(metrics, audit),
        ));
        ruled.release();
        tracing::info!(snapshot = snapshot.revision, "ready");
        Ok(Self {
            drain,
            readiness,
            policies,
            budgets,
            spool,
            shipper,
        })
    }

    /// Stops accepting, lets sessions end, gives leases back, and keeps the last evidence.
    pub(super) async fn stop(self) {
        self.readiness.drain();
        let patience = Duration::from_secs(self.policies.settings().drain_seconds);
        let cut = self.drain.run(patience).await;
        if cut > 0 {
            tracing::warn!(connections = cut, "cut at the end of the drain");
        }
        self.budgets.close().await;
        let (spool, shipper) = (self.spool, self.shipper);
        let closed = tokio::task::spawn_blocking(move || {
            spool.close();
            shipper.stop(SHIP);
        });
        if closed.await.is_err() {
            tracing::error!("the last evidence may still be in the spool");
        }
    }
}

/// The pod's service account; what programs see of it is there, and kept current from here on.
fn account(config: &Config, state: &Path, ca_pem: &str) -> Result<Option<Arc<Account>>, PartError> {
    let Some(places) = config.account.clone() else {
        return Ok(None);
    };
    let opened = Account::open(places, &state.join("placeholder-key"), ca_pem.to_owned());
    let account = Arc::new(opened.map_err(part("the placeholder's key"))?);
    let published = account.publish(SystemTime::now());
    published.map_err(part("the service account's volume"))?;
    tokio::spawn(Arc::clone(&account).keep());
    Ok(Some(account))
}

/// The identity of an earlier process of this pod, or a new one; kept fresh from here on.
async fn enrolled(config: &Config, store: &Store) -> Result<Arc<Identity>, PartError> {
    let key = Key::load_or_create(&store.key()).map_err(part("the identity's key"))?;
    let enroller = Enroller::new(
        EnrolConfig {
            endpoint: config.enrol.clone(),
            roots: config.roots.clone(),
            trust_domain: config.trust_domain.clone(),
            token: config.token.clone(),
        },
        key,
    )
    .map_err(part("enrolment"))?;
    let kept = store.enrolment(SystemTime::now()).and_then(|kept| {
        let usable = enroller
            .accept(&kept)
            .and_then(|()| Identity::new(enroller.key(), &kept, Instant::now()));
        usable
            .inspect_err(|error| tracing::warn!(%error, "the kept identity cannot be used"))
            .ok()
    });
    let identity = match kept {
        Some(identity) => identity,
        None => {
            let (granted, identity) = enroller.until_enrolled().await;
            let kept = store.keep_enrolment(&granted, SystemTime::now());
            kept.map_err(part("the state directory"))?;
            identity
        }
    };
    let attested = identity.attested();
    let attested = attested.ok_or_else(|| part("the identity")("it has expired"))?;
    check(&attested, &config.pod)?;
    tracing::info!(name = %attested.name, "identity granted");
    let identity = Arc::new(identity);
    let (kept_fresh, store) = (Arc::clone(&identity), store.clone());
    tokio::spawn(async move {
        let keep = |granted: &_| {
            if let Err(error) = store.keep_enrolment(granted, SystemTime::now()) {
                tracing::error!(%error, "the renewed identity could not be kept");
            }
        };
        enroller.keep_fresh(&kept_fresh, keep).await;
    });
    Ok(identity)
}

/// What was attested must be this pod.
fn check(attested: &weir_audit::Identity, pod: &Pod) -> Result<(), PartError> {
    for (what, found, expected) in [
        ("namespace", &attested.namespace, &pod.namespace),
        ("name", &attested.pod, &pod.name),
        ("uid", &attested.uid, &pod.uid),
    ] {
        if found.as_deref() != Some(expected.as_str()) {
            let found = found.as_deref().unwrap_or("(nothing)");
            let reason = format!("the pod's {what} is {expected}, attested was {found}");
            return Err(part("the identity")(reason));
        }
    }
    Ok(())
}

/// A snapshot to begin with.
struct First {
    snapshot: Snapshot,
    /// How long the controller has been away since.
    age: Duration,
}

/// The controller's snapshot, or the kept one while the controller is away.
async fn first_snapshot(
    heard: &mut mpsc::Receiver<Heard>,
    kept: Option<&Store>,
) -> Result<First, PartError> {
    let patience = tokio::time::sleep(FIRST);
    tokio::pin!(patience);
    loop {
        let away = tokio::select! {
            event = heard.recv() => match event {
                Some(Heard::Snapshot(snapshot)) => {
                    return Ok(First { snapshot: *snapshot, age: Duration::ZERO });
                }
                Some(Heard::Lost(error)) => {
                    tracing::warn!(%error, "no policy yet");
                    true
                }
                Some(Heard::Unusable(reason)) => {
                    tracing::error!(%reason, "no policy yet");
                    false
                }
                Some(Heard::Alive | Heard::Ruling(_)) => false,
                None => return Err(part("the controller")("nothing is heard any more")),
            },
            () = &mut patience, if !patience.is_elapsed() => true,
        };
        if away
            && let Some((snapshot, age)) = kept.and_then(|kept| kept.snapshot(SystemTime::now()))
        {
            tracing::warn!(age = age.as_secs(), "the kept policy is used");
            return Ok(First { snapshot, age });
        }
    }
}

/// Says why the first snapshot is not in force.
async fn refuse_first(client: &ControlClient, reason: String) {
    tracing::error!(%reason, "no policy yet");
    let report = report(&Snapshot::default(), Some(reason));
    if let Err(error) = client.report(&report).await {
        tracing::warn!(%error, "not reported");
    }
}

fn open_spool(state: &Path, pod: &Pod, settings: &Settings) -> Result<Spool, PartError> {
    let dir = state.join("spool");
    let mut config = SpoolConfig::new(&dir);
    config.engine = Some(engine_id(&pod.uid)?);
    config.audit_timeout = Duration::from_secs(settings.audit_timeout_seconds);
    let volume = statvfs(state).map_err(part("the audit spool"))?;
    config.max_bytes = spool_bytes(volume.blocks().saturating_mul(volume.fragment_size()));
    config.segment_bytes = SEGMENT;
    config.queue_bytes = QUEUE;
    Spool::open(config).map_err(part("the audit spool"))
}

/// Bytes of a segment: what was shipped is given back in these portions.
const SEGMENT: u64 = 2 << 20;
/// Bytes that may wait in memory.
const QUEUE: usize = 4 << 20;
/// What the spool writes beyond its bound, to conclude what runs.
const RESERVE: u64 = 16 << 20;

/// Half of the volume with the spool's reserve, at least 8 MiB and at most 256.
fn spool_bytes(volume: u64) -> u64 {
    (volume / 2)
        .saturating_sub(RESERVE)
        .clamp(8 << 20, 256 << 20)
}

/// One sequence of evidence for each pod, whatever restarts in it.
fn engine_id(uid: &str) -> Result<EngineId, PartError> {
    EngineId::of_pod(uid).map_err(part("POD_UID"))
}

fn token_key(settings: &Settings) -> Result<Arc<[u8]>, PartError> {
    let key = STANDARD.decode(&settings.token_key);
    let key = key.map_err(part("the token key"))?;
    if key.len() < TOKEN_KEY {
        return Err(part("the token key")("it is too short"));
    }
    Ok(key.into())
}

async fn keep_up(engine: Engine, policies: Arc<SnapshotPolicies>, mut upkeep: Upkeep) {
    let mut since_resolved = Duration::ZERO;
    loop {
        tokio::time::sleep(upkeep::EVERY).await;
        since_resolved += upkeep::EVERY;
        upkeep.tick(&policies.current(), policies.refused().is_some());
        engine.policy_changed();
        if since_resolved >= upkeep::RESOLVE {
            since_resolved = Duration::ZERO;
            engine.resolve_names().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_named_after_its_pod() {
        let id = engine_id("6f1c0e6a-1b2c-4d3e-8f90-aabbccddeeff").unwrap();
        assert_eq!(id.as_str(), "pod_6f1c0e6a_1b2c_4d3e_8f90_aabbccddeeff");
        assert!(engine_id("../x").is_err());
    }

    #[test]
    fn another_pods_identity_is_refused() {
        let pod = Pod {
            namespace: "billing".to_owned(),
            name: "reporter-1".to_owned(),
            uid: "u".to_owned(),
        };
        let own = weir_audit::Identity {
            namespace: Some("billing".into()),
            pod: Some("reporter-1".into()),
            uid: Some("u".into()),
            ..weir_audit::Identity::named("spiffe://cluster.local/ns/billing/sa/reporter")
        };
        assert!(check(&own, &pod).is_ok());
        let recreated = weir_audit::Identity {
            uid: Some("v".into()),
            ..own
        };
        assert!(check(&recreated, &pod).is_err());
    }

    #[test]
    fn the_spool_leaves_room_in_its_volume() {
        assert_eq!(spool_bytes(64 << 20), 16 << 20);
        assert_eq!(spool_bytes(16 << 20), 8 << 20);
        assert_eq!(spool_bytes(64 << 30), 256 << 20);
    }

    #[test]
    fn a_token_key_that_could_be_guessed_is_refused() {
        let settings = |key: &[u8]| Settings {
            token_key: STANDARD.encode(key),
            ..Settings::default()
        };
        assert!(token_key(&settings(&[7; 32])).is_ok());
        assert!(token_key(&settings(b"")).is_err());
    }
}
