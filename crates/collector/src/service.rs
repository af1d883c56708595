//! The collector of a cluster: store, ports, upkeep and drain.
//!
//! Invariants
//! - Ports are bound and the store is open before anything is served, so that a mistake ends the
//!   process early.
//! - It is ready when it is enrolled; before that, connections are closed. A store that takes no evidence makes
//!   it unready until it does again.
//! - At the end, what is being ingested is answered before the store closes.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use weir_serve::{Bounds, serve};
use weir_telemetry::{Admin, AdminConfig, IntGauge, Readiness, Registry};

use crate::api::{Api, Desk};
use crate::findings::{self, Alert, FindingMetrics, FindingsConfig, Pods};
use crate::ingest::{Ingest, IngestMetrics, Quota};
use crate::tls::Current;
use crate::{
    Auditors, Collector, CollectorConfig, CollectorError, Keepers, Otlp, Reviewer, UiConfig,
};

/// Sidecars; how many connections each pod may have is said by its quota.
const SIDECARS: Bounds = bounds(8192, 8192, None);
/// Auditors and reviewers; those who come by port-forward come all from one address.
const AUDITORS: Bounds = bounds(1024, 256, Some(Duration::from_secs(60)));
const UPKEEP: Duration = Duration::from_secs(60);
/// How often a store that takes no evidence is tried.
const TRY: Duration = Duration::from_secs(2);
/// How often new evidence is looked for, to forward it.
const FORWARD: Duration = Duration::from_secs(1);
/// How long a search engine that failed is left alone.
const FORWARD_AGAIN: Duration = Duration::from_secs(5);

/// How the service runs.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Where the store is.
    pub data_dir: PathBuf,
    /// Bounds of the store.
    pub store: CollectorConfig,
    /// Sidecars send evidence here.
    pub ingest: SocketAddr,
    /// Auditors ask here.
    pub auditors: SocketAddr,
    /// Metrics and health.
    pub admin: SocketAddr,
    /// Sidecars are of this domain.
    pub trust_domain: String,
    /// File with the roots of the cluster's client certificates.
    pub client_ca: Option<PathBuf>,
    /// The web UI on the auditors' port, if there is one.
    pub ui: Option<UiConfig>,
    /// What each pod may hand in.
    pub quota: Quota,
    /// Who keeps proofs elsewhere.
    pub keepers: Keepers,
    /// What is looked for in evidence.
    pub findings: FindingsConfig,
    /// Where events and metrics go as OTLP, if anywhere.
    pub otlp: Option<Otlp>,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] CollectorError),
    /// An address cannot be taken.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A metric exists twice.
    #[error("cannot count: {0}")]
    Metrics(String),
}

/// What is shown of the store.
struct Gauges {
    bytes: IntGauge,
    writable: IntGauge,
    clock_offset: IntGauge,
}

impl Gauges {
    fn new(registry: &Registry) -> Result<Self, String> {
        let gauge = |name, help| {
            registry
                .gauge(name, help)
                .map_err(|error| error.to_string())
        };
        Ok(Self {
            bytes: gauge("weir_collector_store_bytes", "Bytes that the store takes.")?,
            writable: gauge(
                "weir_collector_store_writable",
                "1 while the store keeps what it is given, 0 while it cannot: its disk is full, or failed.",
            )?,
            clock_offset: gauge(
                "weir_collector_clock_offset_seconds",
                "How far this machine's clock is from the time that passed, since it was set.",
            )?,
        })
    }
}

const fn bounds(connections: usize, per_address: usize, idle: Option<Duration>) -> Bounds {
    Bounds {
        connections,
        per_address,
        streams: 16,
        idle,
        drain: Duration::from_secs(10),
    }
}

type Export = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The service, bound and not serving yet.
pub struct Service {
    store: Collector,
    ingest: (TcpListener, Ingest),
    auditors: (TcpListener, Auditors),
    admin: Admin,
    readiness: Readiness,
    credentials: Current,
    keepers: Keepers,
    gauges: Gauges,
    findings: (FindingsConfig, FindingMetrics),
    alerts: Option<mpsc::Sender<Alert>>,
    pods: Option<Arc<dyn Pods>>,
    export: Option<Export>,
}

impl Service {
    /// Opens the store and takes the addresses.
    ///
    /// # Errors
    /// When one of them cannot be had.
    pub async fn bind(
        config: ServiceConfig,
        credentials: Current,
        reviewer: Arc<dyn Reviewer>,
        desk: Arc<dyn Desk>,
    ) -> Result<Self, ServiceError> {
        let store = Collector::open(&config.data_dir, config.store)?;
        tracing::info!(key = %store.log_key().public(), "the log of proofs is signed by");
        let registry = Registry::default();
        let metrics = IngestMetrics::new(&registry).map_err(ServiceError::Metrics)?;
        let gauges = Gauges::new(&registry).map_err(ServiceError::Metrics)?;
        let counts = FindingMetrics::new(&registry).map_err(ServiceError::Metrics)?;
        let readiness = Readiness::default();
        let admin = AdminConfig {
            address: config.admin,
        };
        let export = config
            .otlp
            .map(|otlp| otlp.run(store.clone(), registry.clone()))
            .transpose()
            .map_err(ServiceError::Metrics)?;
        let admin = Admin::bind(admin, registry, readiness.clone()).await;
        let ingest = Ingest::new(
            store.clone(),
            credentials.clone(),
            config.trust_domain,
            config.quota,
            metrics,
        );
        let auditors = Auditors::new(
            Api::new(store.clone()).with_desk(Arc::clone(&desk)),
            credentials.clone(),
            config.client_ca,
            reviewer,
        );
        let auditors = match config.ui {
            Some(ui) => auditors.with_ui(ui, desk),
            None => auditors,
        };
        Ok(Self {
            store,
            ingest: (listen(config.ingest).await?, ingest),
            auditors: (listen(config.auditors).await?, auditors),
            admin: admin.map_err(|source| ServiceError::Listen {
                address: config.admin,
                source,
            })?,
            readiness,
            credentials,
            keepers: config.keepers,
            gauges,
            findings: (config.findings, counts),
            alerts: None,
            pods: None,
            export: export.map(|export| Box::pin(export) as Export),
        })
    }

    /// The same, with somebody who has people told of findings, and who knows which pods run.
    #[must_use]
    pub fn with_cluster(self, alerts: mpsc::Sender<Alert>, pods: Arc<dyn Pods>) -> Self {
        Self {
            alerts: Some(alerts),
            pods: Some(pods),
            ..self
        }
    }

    /// Where sidecars send evidence.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ingest_address(&self) -> io::Result<SocketAddr> {
        self.ingest.0.local_addr()
    }

    /// Where auditors ask.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn auditors_address(&self) -> io::Result<SocketAddr> {
        self.auditors.0.local_addr()
    }

    /// Where metrics and health are.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Serves until `shutdown` is ready, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(false);
        let guard = self.readiness.guard("identity");
        let mut credentials = self.credentials;
        let store = self.store.clone();
        let enrolled = tokio::spawn(async move {
            if credentials.wait_for(Option::is_some).await.is_ok() {
                guard.release();
            }
            remember_roots(store, credentials).await;
        });
        let (config, counts) = self.findings;
        let findings = tokio::spawn(findings::watch(
            self.store.clone(),
            config,
            counts,
            self.alerts,
            self.pods,
        ));
        let (writable, readiness) = (self.gauges.writable.clone(), self.readiness.clone());
        let watching = tokio::spawn(watch_store(self.store.clone(), writable, readiness));
        let upkeep = tokio::spawn(upkeep(self.store.clone(), self.gauges));
        let keeping = tokio::spawn(keep_elsewhere(self.store.clone(), self.keepers));
        let forwarding = tokio::spawn(forward(self.store.clone()));
        let exporting = self.export.map(tokio::spawn);
        let (listener, site) = self.ingest;
        let ingest = tokio::spawn(serve(listener, Arc::new(site), SIDECARS, stopped.clone()));
        let (listener, site) = self.auditors;
        let auditors = tokio::spawn(serve(listener, Arc::new(site), AUDITORS, stopped.clone()));
        let mut over = stopped;
        let admin = tokio::spawn(self.admin.serve(async move {
            let _ = over.wait_for(|stop| *stop).await;
        }));
        shutdown.await;
        tracing::info!("draining");
        self.readiness.drain();
        let _ = stop.send(true);
        upkeep.abort();
        watching.abort();
        keeping.abort();
        forwarding.abort();
        if let Some(exporting) = exporting {
            exporting.abort();
        }
        findings.abort();
        enrolled.abort();
        for port in [ingest, auditors, admin] {
            if let Err(error) = port.await {
                tracing::error!(%error, "a port ended badly");
            }
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServiceError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| ServiceError::Listen { address, source })
}

/// Signatures of evidence lead to roots that were believed when it came, so each is kept with it.
async fn remember_roots(store: Collector, mut credentials: Current) {
    loop {
        let current = credentials.borrow_and_update().clone();
        if let Some(current) = current {
            let store = store.clone();
            let kept = tokio::task::spawn_blocking(move || store.trust(current.roots())).await;
            if !matches!(kept, Ok(Ok(()))) {
                tracing::error!("Weir's roots could not be kept with the evidence");
            }
        }
        if credentials.changed().await.is_err() {
            return;
        }
    }
}

/// Archives and witnesses are brought up to date as often as upkeep is done.
async fn keep_elsewhere(store: Collector, keepers: Keepers) {
    let mut turn = tokio::time::interval(UPKEEP);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        keepers.round(&store).await;
    }
}

/// Says while the store takes no evidence, and tries whether it does again.
async fn watch_store(store: Collector, gauge: IntGauge, readiness: Readiness) {
    let mut writable = store.writable();
    gauge.set(1);
    loop {
        if writable.wait_for(|writable| !writable).await.is_err() {
            return;
        }
        gauge.set(0);
        let guard = readiness.guard("store");
        while !*writable.borrow_and_update() {
            tokio::time::sleep(TRY).await;
            let store = store.clone();
            let _ = tokio::task::spawn_blocking(move || store.probe()).await;
        }
        tracing::info!("the evidence store takes evidence again");
        gauge.set(1);
        guard.release();
    }
}

/// Moves evidence to the search engine, if there is one. What it does not take comes again.
async fn forward(store: Collector) {
    if !store.forwards() {
        return;
    }
    loop {
        let forwarding = store.clone();
        let done = tokio::task::spawn_blocking(move || forwarding.forward()).await;
        let pause = match done {
            Ok(Ok(0)) => FORWARD,
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => {
                tracing::error!(%error, "evidence was not forwarded");
                FORWARD_AGAIN
            }
            Err(error) => {
                tracing::error!(%error, "forwarding ended badly");
                FORWARD_AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// The first look is after one period: sidecars must have had time to come back after a restart.
async fn upkeep(store: Collector, gauges: Gauges) {
    let mut turn = tokio::time::interval(UPKEEP);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first = true;
    loop {
        turn.tick().await;
        let (store, look) = (store.clone(), !std::mem::replace(&mut first, false));
        let done = tokio::task::spawn_blocking(move || {
            if look {
                store.maintain()?;
            }
            Ok::<_, CollectorError>((store.size()?, store.clock_offset()))
        });
        match done.await {
            Ok(Ok((size, offset))) => {
                gauges.bytes.set(i64::try_from(size).unwrap_or(i64::MAX));
                gauges.clock_offset.set(offset);
            }
            Ok(Err(error)) => tracing::error!(%error, "upkeep of the evidence store failed"),
            Err(error) => tracing::error!(%error, "upkeep of the evidence store ended badly"),
        }
    }
}
