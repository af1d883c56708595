//! All parts together, from start to drain.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use weir_notify::{Courier, Notifications, NotifyMetrics};
use weir_serve::serve;
use weir_telemetry::{Admin, AdminConfig, Readiness, ReadinessGuard, Registry};

use crate::admission::Admission;
use crate::alerts::Alerts;
use crate::authority::{Authority, Publisher};
use crate::bundles::{BundleMetrics, Bundles, Current};
use crate::config::Config;
use crate::decisions::access::{Access, Rbac, Remembering};
use crate::decisions::people::People;
use crate::decisions::slack::SlackDecisions;
use crate::evidence::{Evidence, EvidenceError, Findings};
use crate::fingerprints::Fingerprints;
use crate::identity::Enrolments;
use crate::known::Cluster;
use crate::leader::{self, while_leading};
use crate::leases::Budgets;
use crate::loosened;
use crate::orders;
use crate::reports::Reports;
use crate::requests::{Notifier, Requests};
use crate::server::control::{self, Control};
use crate::server::lanes::Lanes;
use crate::server::public::{self, Public};
use crate::sessions::Sessions;
use crate::statuses;
use crate::store::Store;
use crate::store::pods::Pods;
use crate::unprotected::Unprotected;

/// After `/readyz` says no, connections still come for this long.
const UNREADY: Duration = Duration::from_secs(2);

/// Why the controller could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address is not free, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The cluster cannot be spoken to.
    #[error("the cluster: {0}")]
    Cluster(#[from] kube::Error),
    /// Two metrics have one name.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Findings cannot become evidence.
    #[error("evidence: {0}")]
    Evidence(String),
    /// Nobody can be told as it is configured.
    #[error("{0}")]
    Notifications(String),
}

impl From<EvidenceError> for RunError {
    fn from(error: EvidenceError) -> Self {
        Self::Evidence(error.to_string())
    }
}

/// Runs until `stop`, then drains.
///
/// # Errors
/// When it cannot start.
pub async fn run(
    config: Config,
    cluster: kube::Config,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let client = Client::try_from(cluster.clone())?;
    let (registry, readiness) = (Registry::default(), Readiness::default());
    let (starting, watching) = (readiness.guard("root"), readiness.guard("watches"));
    let (ending, ended) = watch::channel(false);
    let ended = move || {
        let mut ended = ended.clone();
        async move { _ = ended.wait_for(|ended| *ended).await }
    };
    let admin = AdminConfig {
        address: config.admin_address,
    };
    let admin = Admin::bind(admin, registry.clone(), readiness.clone()).await;
    let admin = admin.map_err(listen(config.admin_address))?;
    let public = bind(config.public_address).await?;
    let control = bind(config.control_address).await?;
    let mut stop = pin!(stop);
    let admin = tokio::spawn(admin.serve(ended()));
    let begun = tokio::select! {
        begun = Authority::start(client.clone(), config.authority.clone()) => begun,
        () = &mut stop => return Ok(()),
    };
    let (authority, keeper) = begun;
    let evidence = Evidence::start(config.evidence.clone(), authority.clone(), &registry)?;
    let parts = Parts::new(&config, &client, &authority, evidence.findings(), &registry)?;
    let unprotected = Unprotected::new(
        parts.store.clone(),
        parts.pods.clone(),
        evidence.findings(),
        &config.namespace,
        &registry,
    )?;
    let metrics = NotifyMetrics::new(&registry)?;
    let couriers = couriers(&config.notifications, &metrics).await?;
    let alerts = Alerts::start(&couriers, config.notifications.minimum(), metrics);
    let notifier = Notifier::new(parts.requests.clone(), couriers.clone());
    let bundles = Bundles::new(
        parts.store.clone(),
        parts.pods.clone(),
        config.namespace.clone(),
        config.settings.clone(),
        BundleMetrics::new(&registry)?,
    );
    let current = bundles.current();
    let publisher = Publisher::new(
        client.clone(),
        config.publisher,
        authority.clone(),
        current.clone(),
    );
    let known = Cluster {
        store: parts.store.clone(),
        current: current.clone(),
        requests: parts.requests.clone(),
        injection: config.injection,
    };
    let access: Arc<dyn Access> = Arc::new(Rbac(client.clone()));
    let admission = Admission::new(
        Arc::new(known),
        Arc::clone(&access),
        &config.namespace,
        Timestamp::now,
    );
    let people = Arc::new(People {
        client: client.clone(),
        cluster,
        requests: parts.requests.clone(),
        verifier: config.oidc,
        looking: Remembering::new(Arc::clone(&access)),
        access,
        store: parts.store.clone(),
        pods: parts.pods.clone(),
        never: [config.namespace.clone(), "kube-system".to_owned()],
    });
    let deciding = Arc::clone(&people);
    let slack = config
        .notifications
        .interactions(|| Arc::new(SlackDecisions(deciding)));
    let slack = slack.map_err(|error| RunError::Notifications(error.to_string()))?;
    let public_port = Arc::new(Public {
        authority: authority.clone(),
        enrolments: Arc::clone(&parts.enrolments),
        webhooks: Arc::new(admission),
        lanes: Lanes::default(),
        pods: parts.pods.clone(),
        system: [config.namespace.clone(), "kube-system".to_owned()],
        slack,
    });
    let budgets = Arc::new(Budgets::new(client.clone(), &config.namespace, &registry)?);
    let control_port = Arc::new(Control {
        client: client.clone(),
        trust_domain: config.trust_domain,
        authority,
        enrolments: Arc::clone(&parts.enrolments),
        current: current.clone(),
        sessions: parts.sessions.clone(),
        reports: Reports::new(&registry)?,
        requests: parts.requests.clone(),
        budgets: Arc::clone(&budgets),
        people,
        alerts,
        fingerprints: Fingerprints::default(),
    });
    starting.release();
    let stopping = ending.subscribe();
    let serving = [
        tokio::spawn(serve(public, public_port, public::BOUNDS, stopping.clone())),
        tokio::spawn(serve(control, control_port, control::BOUNDS, stopping)),
    ];
    let (leads, leading) = watch::channel(false);
    let election = tokio::spawn(leader::run(client.clone(), config.leader, leads, ended()));
    let reconcilers = async {
        tokio::join!(
            while_leading(leading.clone(), || publisher.run()),
            while_leading(leading.clone(), || parts.requests.reconcile()),
            while_leading(leading.clone(), || unprotected.run()),
            while_leading(leading.clone(), || notifier.run()),
            while_leading(leading.clone(), || {
                loosened::run(current.clone(), evidence.findings())
            }),
            while_leading(leading.clone(), || {
                orders::run(current.clone(), evidence.findings())
            }),
            while_leading(leading.clone(), || budgets.tidy()),
            while_leading(leading.clone(), || {
                statuses::run(client.clone(), parts.store.clone(), current.clone())
            }),
        )
    };
    let working = async {
        tokio::join!(
            keeper.run(),
            evidence.run(),
            parts.store.run(&client, &config.namespace),
            parts.pods.run(client.clone(), |uid| parts.forget(uid)),
            parts.requests.run(),
            bundles.run(),
            reconcilers,
            ready(watching, current.clone(), &parts.pods),
        )
    };
    tokio::select! {
        _ = working => {}
        () = &mut stop => {}
    }
    tracing::info!("draining");
    readiness.drain();
    tokio::time::sleep(UNREADY).await;
    ending.send_replace(true);
    parts.sessions.end_all();
    for part in serving {
        _ = part.await;
    }
    _ = election.await;
    _ = tokio::task::spawn_blocking(move || evidence.close()).await;
    _ = admin.await;
    Ok(())
}

/// What several parts use.
struct Parts {
    store: Store,
    pods: Pods,
    sessions: Sessions,
    enrolments: Arc<Enrolments>,
    requests: Requests,
}

impl Parts {
    fn new(
        config: &Config,
        client: &Client,
        authority: &Authority,
        findings: Findings,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let pods = Pods::default();
        let sessions = Sessions::new(registry)?;
        let enrolments = Enrolments::new(
            client.clone(),
            config.identity.clone(),
            authority.clone(),
            pods.clone(),
            findings,
            registry,
        )?;
        Ok(Self {
            store: Store::new(),
            pods,
            requests: Requests::new(client.clone(), sessions.clone(), registry)?,
            sessions,
            enrolments: Arc::new(enrolments),
        })
    }

    fn forget(&self, uid: &str) {
        self.sessions.end(uid);
        self.enrolments.forget(uid);
    }
}

/// Who delivers messages. What keeps one from it is in the log.
async fn couriers(
    config: &Notifications,
    metrics: &NotifyMetrics,
) -> Result<Vec<Courier>, RunError> {
    let receivers = config.receivers();
    let receivers = receivers.map_err(|error| RunError::Notifications(error.to_string()))?;
    let couriers = receivers
        .into_iter()
        .map(|receiver| Courier::new(receiver, metrics.clone()));
    let couriers: Vec<Courier> = couriers.collect();
    for courier in &couriers {
        courier.check().await;
    }
    Ok(couriers)
}

/// Ready once there are inputs and all pods are known.
async fn ready(guard: ReadinessGuard, mut current: Current, pods: &Pods) {
    let published = current.wait_for(Option::is_some).await.is_ok();
    while published && !pods.is_complete() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if published {
        guard.release();
        tracing::info!("ready");
    }
    std::future::pending::<()>().await;
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(listen(address))
}

fn listen(address: std::net::SocketAddr) -> impl Fn(io::Error) -> RunError {
    move |source| RunError::Listen { address, source }
}
