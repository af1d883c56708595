//! Starting, serving and draining.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use weir_audit::Identity;
use weir_collector::api::{Api, Approver, Desk, Operator, serve_socket, serve_tcp};
use weir_collector::findings::{self, FindingMetrics, FindingsConfig};
use weir_collector::{Collector, CollectorConfig, Keepers, LINK_LIFE, Otlp, OwnSink, Ui};
use weir_gateway::ports::Policies as _;
use weir_gateway::{Engine, EngineConfig, HostKeys, Placeholders, Unmatched};
use weir_notify::{Decider, NotifyMetrics};
use weir_sidecar::adapters::{OneIdentity, Spooled, announce};
use weir_sidecar::budgets::StoredBudgets;
use weir_sidecar::data_path::DataPath;
use weir_sidecar::files::{private_dir, secret_file};
use weir_sidecar::holds::{OperatorHolds, supersede};
use weir_sidecar::honey::Honey;
use weir_sidecar::metrics::EngineMetrics;
use weir_sidecar::part::{PartError, part};
use weir_sidecar::pins::StoredPins;
use weir_sidecar::redirect;
use weir_sidecar::serve::{Serving, stop_asked};
use weir_sidecar::upkeep::{self, Upkeep};
use weir_telemetry::{Admin, AdminConfig, Readiness, Registry};
use weir_transport::listen::{Drain, Limits, Mode, drain};
use weir_transport::resolver::Resolver;
use weir_transport::tls::Authority;
use weir_uplink::{
    IdentityConfig, IdentitySource, KeySource, Shipper, Spool, SpoolConfig, TokenConfig,
};

use super::config::{Config, ConfigError, UnmatchedConfig};
use super::desk::StandaloneDesk;
use super::kubeconfig::kubeconfig;
use super::notify::{self, SlackDecisions, SlackDoor};
use super::operator::StandaloneOperator;
use super::otlp::OtlpSettings;
use super::policies::{LoadedPolicies, render};
use super::quarantine::Quarantines;
use super::secrets::{FileSecrets, Known};
use super::ui::ui_config;

/// How often the evidence store looks after itself.
const MAINTAIN: Duration = Duration::from_secs(60);
/// How long the last evidence may take to reach the collector at the end.
const SHIP: Duration = Duration::from_secs(5);

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The policy is wrong.
    #[error("the policy cannot be used:\n{0}")]
    Policy(String),
    /// Something else is in the way.
    #[error(transparent)]
    Part(#[from] PartError),
}

/// A running engine with everything around it.
pub(crate) struct Standalone {
    serving: Serving,
    drain: Drain,
    metrics: Arc<EngineMetrics>,
    config: Config,
    policies: Arc<LoadedPolicies>,
    spool: Spool,
    shipper: Shipper,
    registry: Registry,
    readiness: Readiness,
    operator: Arc<StandaloneOperator>,
    desk: Arc<StandaloneDesk>,
    collector: Collector,
    otlp: Option<Otlp>,
    ca_pem: String,
    placeholders: Arc<Placeholders>,
}

/// `weir standalone --config FILE`.
pub(crate) async fn run(path: &Path) -> Result<(), StartError> {
    let config = Config::read(path)?;
    let captured = match &config.redirect {
        Some(redirect) => redirect::install(&redirect.into()).await?,
        None => Vec::new(),
    };
    let mut standalone = Standalone::start(config)?;
    for listener in captured {
        standalone.accept(listener, Mode::Redirect, None)?;
    }
    standalone.listen_explicitly()?;
    standalone.serve_operators().await?;
    standalone.ready();
    stop_asked().await.map_err(part("signals"))?;
    standalone.stop().await;
    Ok(())
}

impl Standalone {
    /// Starts engine, spool and collector; nothing is accepted yet.
    pub(crate) fn start(config: Config) -> Result<Self, StartError> {
        let state = private_dir(&config.state_dir)?;
        let registry = Registry::default();
        let readiness = Readiness::default();
        let unmatched = match config.unmatched {
            UnmatchedConfig::Relay => Unmatched::Relay,
            UnmatchedConfig::Refuse => Unmatched::Refuse,
        };
        let quarantines = Quarantines::of(&state);
        let kept = quarantines.path().to_owned();
        let policies = LoadedPolicies::load(config.resources.clone(), kept, unmatched)
            .map_err(|diagnostics| StartError::Policy(render(&diagnostics)))?;
        let policies = Arc::new(policies);
        let mut spool_config = SpoolConfig::new(state.join("spool"));
        spool_config.max_bytes = config.spool.max_bytes;
        spool_config.audit_timeout = Duration::from_secs(config.spool.audit_timeout_seconds);
        let spool = Spool::open(spool_config).map_err(part("the audit spool"))?;
        let audit = spool.handle();
        announce(&policies.current(), None, &audit);
        let mut store = CollectorConfig::default();
        if let Some(days) = config.collector.retention_days {
            store.max_age = Some(Duration::from_secs(u64::from(days) * 86_400));
        }
        store.max_bytes = config.collector.max_bytes.unwrap_or(store.max_bytes);
        let otlp = config.collector.otlp.as_ref().map(OtlpSettings::export);
        let otlp = otlp.transpose().map_err(part("the OTLP receiver"))?;
        store.exporting = otlp.as_ref().is_some_and(Otlp::takes_events);
        let collector =
            Collector::open(&state.join("collector"), store).map_err(part("the collector"))?;
        let sink = OwnSink::open(collector.clone(), &state, audit.engine())
            .map_err(part("the signing key"))?;
        let shipper = Shipper::start(&audit, Arc::new(sink)).map_err(part("shipping evidence"))?;
        let budgets = Arc::new(StoredBudgets::open(&state).map_err(part("the budgets"))?);
        let grants = weir_uplink::Grants::open(&state.join("approvals"));
        let grants = grants.map_err(part("the approved shapes"))?;
        let holds = weir_uplink::Holds::new(audit.clone(), grants);
        let identity = Arc::new(IdentitySource::new(identity_config(&config)));
        if let Err(error) = identity.current() {
            tracing::warn!(%error, "no identity yet: connections are refused");
        }
        let keeper = Arc::clone(&identity);
        tokio::spawn(async move { keeper.keep_fresh().await });
        let authority = Authority::load_or_create(&state.join("ca"), "Weir")
            .map_err(part("the certificate authority"))?;
        let ca_pem = authority.ca_pem().to_owned();
        publish(&state.join("ca.crt"), &ca_pem).map_err(part("the CA certificate"))?;
        let host_keys =
            HostKeys::load_or_create(&state.join("ssh")).map_err(part("the host keys"))?;
        let pins = StoredPins::open(&state).map_err(part("the labels' places"))?;
        let token_key = token_key(&state).map_err(part("the token key"))?;
        let fingerprint_key = weir_audit::FingerprintKey::new(&token_key);
        let key =
            secret_file(&state.join("kubernetes.key")).map_err(part("the placeholder's key"))?;
        let key = key.first_chunk().ok_or_else(|| {
            part("the placeholder's key")(std::io::Error::other("it is too short"))
        })?;
        let placeholders = Arc::new(Placeholders::new(key));
        let secrets = FileSecrets {
            placeholders: Arc::clone(&placeholders),
            dir: config.secrets_dir(),
            base: config.state_dir.clone(),
            known: Known::default(),
        };
        let engine = Engine::new(EngineConfig {
            policies: Arc::clone(&policies) as _,
            identities: Arc::new(OneIdentity(Arc::clone(&identity))),
            sink: Arc::new(Spooled {
                audit: audit.clone(),
                honey: Honey::new(Arc::clone(&policies) as _),
            }),
            holds: Arc::new(OperatorHolds(holds.clone())),
            budgets: Arc::clone(&budgets) as _,
            credentials: Arc::new(secrets),
            pins: Arc::new(pins),
            authority: Arc::new(authority),
            host_keys: Arc::new(host_keys),
            token_key,
            resolver: Resolver::system(),
        });
        let metrics = Arc::new(EngineMetrics::new(&registry).map_err(part("metrics"))?);
        let (drain, drained) = drain();
        let desk = StandaloneDesk {
            holds,
            fingerprint_key,
            groups: config.approver_groups.clone(),
            verifier: config.oidc_verifier()?,
        };
        let operator = StandaloneOperator {
            audit,
            budgets,
            policies: Arc::clone(&policies),
            identity,
            metrics: Arc::clone(&metrics),
            quarantines: Arc::new(quarantines),
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let serving = Serving {
            engine,
            path: DataPath::start(cores).map_err(part("the data path"))?,
            limits: Limits {
                connections: config.max_connections,
            },
            drained,
            metrics: Arc::clone(&metrics),
            forbidden: own_addresses(&config),
        };
        Ok(Self {
            serving,
            drain,
            metrics,
            config,
            policies,
            spool,
            shipper,
            registry,
            readiness,
            operator: Arc::new(operator),
            desk: Arc::new(desk),
            collector,
            otlp,
            ca_pem,
            placeholders,
        })
    }

    /// Opens the configured listeners.
    fn listen_explicitly(&mut self) -> Result<(), StartError> {
        for listener in self.config.listeners.clone() {
            if self
                .policies
                .current()
                .target_named(&listener.target)
                .is_none()
            {
                let reason = format!(
                    "{}: there is no target {:?}",
                    listener.address, listener.target
                );
                return Err(part("listeners")(reason).into());
            }
            let socket = TcpListener::bind(listener.address)
                .map_err(|error| part("listeners")(format!("{}: {error}", listener.address)))?;
            tracing::info!(address = %listener.address, target = listener.target, "listening");
            self.accept(socket, Mode::Named, Some(listener.target))?;
        }
        Ok(())
    }

    /// Serves what a listener accepts.
    pub(crate) fn accept(
        &self,
        socket: TcpListener,
        mode: Mode,
        target: Option<String>,
    ) -> Result<(), StartError> {
        Ok(self.serving.accept(socket, mode, target)?)
    }

    /// Serves operators, auditors and probes.
    pub(crate) async fn serve_operators(&self) -> Result<(), StartError> {
        let state = &self.config.state_dir;
        let mut api = Api::new(self.collector.clone())
            .with_operator(Arc::clone(&self.operator) as Arc<dyn Operator>)
            .with_desk(Arc::clone(&self.desk) as Arc<dyn Desk>);
        let decisions = || {
            let holds = self.desk.holds.clone();
            Arc::new(SlackDecisions { holds }) as Arc<dyn Decider>
        };
        let told = &self.config.notifications;
        let buttons = told.interactions(decisions);
        if let Some(buttons) = buttons.map_err(part("the configuration"))? {
            api = api.with_door(Arc::new(SlackDoor(buttons)));
        }
        let socket = socket_path(state);
        let ui = self.ui(&api).map_err(part("the web UI"))?;
        let on_socket = match &ui {
            Some(ui) => api.clone().with_ui(ui.clone()),
            None => api.clone(),
        };
        tokio::spawn(async move {
            if let Err(error) = serve_socket(on_socket, &socket).await {
                tracing::error!(%error, "the operator's socket");
            }
        });
        if let Some(address) = self.config.collector.address {
            let token = collector_token(state).map_err(part("the collector's token"))?;
            let listener = tokio::net::TcpListener::bind(address)
                .await
                .map_err(part("the collector's address"))?;
            if let Some(link) = ui.as_ref().and_then(|ui| ui.link(&own_user().name)) {
                let minutes = LINK_LIFE.as_secs() / 60;
                let said =
                    format!("weir: open {link}\nweir: the link works once, for {minutes} minutes");
                drop(writeln!(
                    std::io::stderr(),
                    "{said}; `weir ui` prints another"
                ));
            }
            tokio::spawn(async move {
                if let Err(error) = serve_tcp(api, ui, listener, token.into()).await {
                    tracing::error!(%error, "the collector's address");
                }
            });
        }
        if let Some(admin) = &self.config.admin {
            let config = AdminConfig {
                address: admin.address,
            };
            let admin = Admin::bind(config, self.registry.clone(), self.readiness.clone())
                .await
                .map_err(part("the admin address"))?;
            tokio::spawn(admin.serve(std::future::pending()));
        }
        let config = FindingsConfig {
            minimum: told.minimum(),
            ..FindingsConfig::default()
        };
        let counts = FindingMetrics::new(&self.registry).map_err(part("metrics"))?;
        let (alerts, found) = mpsc::channel(weir_notify::WAITING);
        tokio::spawn(findings::watch(
            self.collector.clone(),
            config,
            counts,
            Some(alerts),
            None,
        ));
        let receivers = told.receivers().map_err(part("the configuration"))?;
        let metrics = NotifyMetrics::new(&self.registry).map_err(part("metrics"))?;
        let (holds, tail) = (self.desk.holds.clone(), self.collector.tail());
        tokio::spawn(notify::tell(receivers, metrics, holds, tail, found));
        self.serving.engine.resolve_names().await;
        publish_known_hosts(&self.serving.engine, &self.config).map_err(part("the known hosts"))?;
        publish_kubeconfig(
            &self.policies,
            &self.config,
            &self.placeholders,
            &self.ca_pem,
        )
        .map_err(part("the kubeconfig"))?;
        if let Some(otlp) = self.otlp.clone() {
            let export = otlp.run(self.collector.clone(), self.registry.clone());
            tokio::spawn(export.map_err(part("metrics"))?);
        }
        let keepers = self.config.collector.keepers();
        self.keep_elsewhere(keepers.map_err(part("the archive and the witnesses"))?);
        self.keep_current();
        Ok(())
    }

    /// Brings archives and witnesses up to date as often as the store is looked after.
    fn keep_elsewhere(&self, keepers: Keepers) {
        let collector = self.collector.clone();
        tokio::spawn(async move {
            loop {
                keepers.round(&collector).await;
                tokio::time::sleep(MAINTAIN).await;
            }
        });
    }

    /// The web UI, where this machine alone reaches it.
    fn ui(&self, api: &Api) -> Result<Option<Ui>, String> {
        let collector = &self.config.collector;
        let Some(address) = collector
            .address
            .filter(|address| address.ip().is_loopback())
        else {
            return Ok(None);
        };
        let settings = collector.ui.clone().unwrap_or_default();
        let oidc = self.config.oidc.as_ref().zip(self.desk.verifier.clone());
        let config = ui_config(address, &settings, oidc)?;
        let desk = Arc::clone(&self.desk) as Arc<dyn Desk>;
        Ok(Some(Ui::of_machine(
            config,
            api.clone(),
            desk,
            settings.auditors,
        )))
    }

    /// Follows the policy files and the targets' names.
    fn keep_current(&self) {
        let (engine, policies) = (self.serving.engine.clone(), Arc::clone(&self.policies));
        let audit = self.spool.handle();
        let metrics = Arc::clone(&self.metrics);
        let collector = self.collector.clone();
        let config = self.config.clone();
        tokio::task::spawn_blocking(move || {
            loop {
                std::thread::sleep(MAINTAIN);
                if let Err(error) = collector.maintain() {
                    tracing::error!(%error, "the evidence store");
                }
            }
        });
        let holds = self.desk.holds.clone();
        tokio::spawn(async move {
            let mut since_resolved = Duration::ZERO;
            let mut upkeep = Upkeep::new(metrics, audit.clone());
            loop {
                tokio::time::sleep(upkeep::EVERY).await;
                since_resolved += upkeep::EVERY;
                upkeep.tick(&policies.current(), policies.refused().is_some());
                let (reloaded, audit) = (Arc::clone(&policies), audit.clone());
                let reload =
                    tokio::task::spawn_blocking(move || reloaded.reload_if_changed(&audit));
                let swapped = reload.await.unwrap_or(false);
                engine.policy_changed();
                if swapped {
                    supersede(&holds, &policies.current());
                }
                if swapped || since_resolved >= upkeep::RESOLVE {
                    since_resolved = Duration::ZERO;
                    engine.resolve_names().await;
                }
                if swapped && let Err(error) = publish_known_hosts(&engine, &config) {
                    tracing::error!(%error, "the known hosts");
                }
            }
        });
    }

    /// Says so, to people and probes.
    pub(crate) fn ready(&self) {
        let bundle = self.policies.current();
        tracing::info!(
            revision = bundle.revision(),
            digest = bundle.digest(),
            "policy in force"
        );
        let key = self.collector.log_key().public().to_string();
        drop(writeln!(
            std::io::stderr(),
            "weir: the log of proofs is signed by {key}\nweir: ready"
        ));
    }

    /// The certificate that clients have to trust.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// What SSH clients have to know.
    pub(crate) fn known_hosts(&self) -> String {
        self.serving.engine.known_hosts(&[])
    }

    /// Whether some target offers TLS to clients that log in with their own secret.
    pub(crate) fn has_pass_through_tls(&self) -> bool {
        self.policies.current().targets().any(|(_, target)| {
            target.client_tls == weir_policy::ClientTls::Offer
                && target.credentials == weir_policy::Credentials::PassThrough
        })
    }

    /// Where its state is.
    pub(crate) fn state_dir(&self) -> &Path {
        &self.config.state_dir
    }

    /// Stops accepting, lets sessions end, and keeps the last evidence.
    pub(crate) async fn stop(self) {
        self.readiness.drain();
        let cut = self.drain.run(self.config.drain()).await;
        if cut > 0 {
            tracing::warn!(connections = cut, "cut at the end of the drain");
        }
        let (spool, shipper) = (self.spool, self.shipper);
        let closed = tokio::task::spawn_blocking(move || {
            spool.close();
            shipper.stop(SHIP);
        });
        if closed.await.is_err() {
            tracing::error!("the last evidence may still be in the spool");
        }
        drop(std::fs::remove_file(socket_path(&self.config.state_dir)));
    }
}

/// The operating system's user on whose behalf this process works.
fn own_user() -> Approver {
    use std::os::unix::fs::MetadataExt as _;
    let uid = std::fs::metadata("/proc/self").map_or(u32::MAX, |process| process.uid());
    Approver::of(uid)
}

/// Addresses of this process that a captured connection must not reach.
fn own_addresses(config: &Config) -> Vec<SocketAddr> {
    let explicit = config.listeners.iter().map(|listener| listener.address);
    let admin = config.admin.as_ref().map(|admin| admin.address);
    explicit
        .chain(admin)
        .chain(config.collector.address)
        .collect()
}

/// Where operators reach the process.
pub(crate) fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("weir.sock")
}

fn identity_config(config: &Config) -> IdentityConfig {
    let identity = &config.identity;
    match (&identity.name, &identity.token_file) {
        (None, Some(path)) => IdentityConfig::Token(TokenConfig {
            path: path.clone(),
            issuer: identity.issuer.clone().unwrap_or_default(),
            audience: identity.audience.clone().unwrap_or_default(),
            keys: match &identity.keys_file {
                Some(file) => KeySource::File(file.clone()),
                None => KeySource::Discovery {
                    ca_file: identity.ca_file.clone(),
                },
            },
        }),
        (name, _) => {
            let name: Arc<str> = name.clone().unwrap_or_default().into();
            let groups = identity
                .groups
                .iter()
                .map(|group| Arc::from(group.as_str()))
                .collect();
            IdentityConfig::Configured(Arc::new(Identity {
                groups,
                ..Identity::named(name)
            }))
        }
    }
}

/// Writes what SSH clients have to know where an operator finds it.
fn publish_known_hosts(engine: &Engine, config: &Config) -> std::io::Result<()> {
    let listeners: Vec<SocketAddr> = config.listeners.iter().map(|it| it.address).collect();
    weir_sidecar::files::replace(
        &config.state_dir.join("known_hosts"),
        engine.known_hosts(&listeners).as_bytes(),
        0o644,
    )
}

/// Writes what Kubernetes clients have to know where an operator finds it.
fn publish_kubeconfig(
    policies: &LoadedPolicies,
    config: &Config,
    placeholders: &Placeholders,
    ca_pem: &str,
) -> std::io::Result<()> {
    let file = kubeconfig(&policies.current(), config, placeholders, ca_pem);
    match file {
        Some(text) => {
            let path = config.state_dir.join("kubeconfig");
            weir_sidecar::files::replace(&path, text.as_bytes(), 0o600)
        }
        None => Ok(()),
    }
}

/// Writes the certificate where an operator finds it.
fn publish(path: &Path, pem: &str) -> std::io::Result<()> {
    std::fs::write(path, pem)
}

fn token_key(state: &Path) -> std::io::Result<Arc<[u8]>> {
    secret_file(&state.join("token.key")).map(Into::into)
}

fn collector_token(state: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = state.join("collector.token");
    if let Ok(token) = std::fs::read_to_string(&path) {
        return Ok(token.trim().to_owned());
    }
    let secret = secret_file(&state.join("collector.key"))?;
    let token: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{token}")?;
    Ok(token)
}
