//! Command line to the configuration of each part. Read once, at the start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser;
use serde_json::Value;
use weir_injection::Kubernetes;
use weir_notify::Notifications;
use weir_oidc::{OidcArgs, Verifier};
use weir_telemetry::LogFormat;
use weir_uplink::control::{Settings, UnmatchedSetting};

use crate::authority::{AuthorityConfig, PublisherConfig};
use crate::evidence::EvidenceConfig;
use crate::identity::IdentityConfig;
use crate::leader::LeaderConfig;
use crate::peer::Peer;
use crate::store::sidecar::Ours;

/// The controller of Weir: identities, bundles, admission and access requests.
#[derive(Clone, Debug, Parser)]
#[command(name = "weir-controller", version)]
pub struct Args {
    /// The namespace that Weir runs in; Secrets are read nowhere else.
    #[arg(long, default_value = "weir-system")]
    namespace: String,
    /// Who this replica is in the leader election.
    #[arg(long)]
    identity: String,
    /// The Service in front of all replicas, and the name of the Lease.
    #[arg(long, default_value = "weir-controller")]
    service: String,
    /// The trust domain of SPIFFE ids.
    #[arg(long, default_value = "cluster.local")]
    trust_domain: String,
    /// The DNS domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// The audience that tokens must have been made for.
    #[arg(long, default_value = "weir.dev")]
    audience: String,
    /// The issuer of service-account tokens. Left out: what the API server says.
    #[arg(long)]
    issuer: Option<String>,
    /// Where pods enrol and webhooks are answered.
    #[arg(long, default_value = "[::]:8443")]
    public_address: SocketAddr,
    /// Where sidecars and the collector connect by mutual TLS.
    #[arg(long, default_value = "[::]:8444")]
    control_address: SocketAddr,
    /// Where metrics and health are.
    #[arg(long, default_value = "[::]:9090")]
    admin_address: SocketAddr,
    /// Name of the webhook configurations.
    #[arg(long, default_value = "weir")]
    webhook: String,
    /// Where sidecars send evidence, `host:port`. Left out: port 8445 of the collector's Service.
    #[arg(long)]
    collector: Option<String>,
    /// The collector's Service: its names are in the collector's certificate.
    #[arg(long, default_value = "weir-collector")]
    collector_service: String,
    /// The collector's service account.
    #[arg(long, default_value = "weir-collector")]
    collector_service_account: String,
    /// An image of the sidecar that admission allows; the first is injected. Given more than once
    /// during an upgrade.
    #[arg(long = "sidecar-image", required = true)]
    sidecar_images: Vec<String>,
    /// When sidecars' images are pulled.
    #[arg(long, default_value = "IfNotPresent")]
    sidecar_pull_policy: String,
    /// Requests and limits of a sidecar, as JSON: `{"requests":{…},"limits":{…}}`.
    #[arg(long)]
    sidecar_resources: Option<String>,
    /// The size of a sidecar's memory volume.
    #[arg(long, default_value = "64Mi")]
    sidecar_state_size: String,
    /// Sidecars stand before the Kubernetes API and keep the tokens of service accounts.
    #[arg(long)]
    kubernetes: bool,
    /// An audience that the API server takes tokens of, besides those that this pod's own token has.
    #[arg(long = "kubernetes-audience", requires = "kubernetes")]
    kubernetes_audiences: Vec<String>,
    /// This pod's own token for the API server.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    )]
    kubernetes_token: PathBuf,
    /// A PEM file with roots that applications trust beside Weir's and the platform's.
    #[arg(long)]
    extra_roots: Option<PathBuf>,
    /// Seconds that a sidecar keeps its last bundle without the controller.
    #[arg(long, default_value_t = 300)]
    keep: u64,
    /// Seconds that `BlockingStrict` waits for the collector.
    #[arg(long, default_value_t = 5)]
    audit_timeout: u64,
    /// Seconds that a sidecar waits for sessions to end when it stops.
    #[arg(long, default_value_t = 10)]
    drain: u64,
    /// A JSON file that says who is told of holds and findings: a webhook, Slack, mail. Paths in it are
    /// relative to its directory.
    #[arg(long, value_name = "FILE")]
    notifications: Option<PathBuf>,
    #[command(flatten)]
    oidc: OidcArgs,
    /// This pod's UID, which its evidence goes by.
    #[arg(long)]
    pod_uid: String,
    /// This pod's service account.
    #[arg(long, default_value = "weir-controller")]
    service_account: String,
    /// A directory of this pod alone, where findings wait for the collector.
    #[arg(long, default_value = "/var/lib/weir")]
    state_dir: PathBuf,
    /// What is logged.
    #[arg(long, default_value = "info")]
    log: String,
    /// How it is logged: `text` or `json`.
    #[arg(long, default_value = "text")]
    log_format: LogFormat,
}

/// The configuration of every part.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) namespace: String,
    pub(crate) trust_domain: String,
    pub(crate) public_address: SocketAddr,
    pub(crate) control_address: SocketAddr,
    pub(crate) admin_address: SocketAddr,
    pub(crate) authority: AuthorityConfig,
    pub(crate) publisher: PublisherConfig,
    pub(crate) leader: LeaderConfig,
    pub(crate) identity: IdentityConfig,
    pub(crate) settings: Settings,
    /// What is injected; the root is filled in.
    pub(crate) injection: weir_injection::Settings,
    pub(crate) evidence: EvidenceConfig,
    /// Who is told of holds and findings.
    pub(crate) notifications: Notifications,
    /// Who is believed besides the cluster.
    pub(crate) oidc: Option<Verifier>,
}

/// Why the command line cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file of extra roots cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The sidecar's resources are not what they should be.
    #[error("--sidecar-resources: {0}")]
    Resources(serde_json::Error),
    /// The identity provider's settings cannot be used.
    #[error("--oidc: {0}")]
    Oidc(#[from] weir_oidc::ConfigError),
    /// Nobody can be told that way.
    #[error("--notifications: {}: {why}", path.display())]
    Notifications {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Args {
    /// What is logged, and how.
    #[must_use]
    pub fn logging(&self) -> (&str, LogFormat) {
        (&self.log, self.log_format)
    }
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let extra_roots = match args.extra_roots {
            Some(path) => std::fs::read_to_string(&path)
                .map_err(|source| ConfigError::Roots { path, source })?,
            None => String::new(),
        };
        let resources = args.sidecar_resources.as_deref().map(serde_json::from_str);
        let resources = resources.transpose().map_err(ConfigError::Resources)?;
        let kubernetes = args.kubernetes.then(|| Kubernetes {
            audiences: audiences(&args.kubernetes_token, args.kubernetes_audiences),
            may_keep: false,
        });
        let audiences = kubernetes.iter().flat_map(|one| one.audiences.clone());
        let audiences = audiences.collect();
        let injection = weir_injection::Settings {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            namespace: args.namespace.clone(),
            image: args.sidecar_images.first().cloned().unwrap_or_default(),
            controller_addresses: Vec::new(),
            pull_policy: args.sidecar_pull_policy,
            trust_domain: args.trust_domain.clone(),
            ca: String::new(),
            resources: resources.unwrap_or_default(),
            state_size: args.sidecar_state_size,
            kubernetes,
        };
        let notifications = match args.notifications {
            Some(path) => {
                notifications(&path).map_err(|why| ConfigError::Notifications { path, why })?
            }
            None => Notifications::default(),
        };
        let names = |service: &str| service_names(service, &args.namespace, &args.cluster_domain);
        let mut own_names = names(&args.service);
        own_names.push("localhost".to_owned());
        let service = &args.collector_service;
        let collector = args
            .collector
            .unwrap_or_else(|| format!("{service}.{}.svc:8445", args.namespace));
        let (identity, sidecars) = (args.identity, args.sidecar_images.clone());
        Ok(Self {
            authority: AuthorityConfig {
                namespace: args.namespace.clone(),
                names: own_names,
            },
            publisher: PublisherConfig {
                namespace: args.namespace.clone(),
                webhook: args.webhook,
                images: args.sidecar_images,
                audiences,
            },
            leader: LeaderConfig {
                namespace: args.namespace.clone(),
                lease: args.service.clone(),
                identity: identity.clone(),
            },
            identity: IdentityConfig {
                trust_domain: args.trust_domain.clone(),
                audience: args.audience,
                issuer: args.issuer,
                collector: (args.namespace.clone(), args.collector_service_account),
                collector_names: names(service),
                ours: Ours {
                    images: sidecars,
                    controller: injection.controller(),
                },
            },
            settings: Settings {
                unmatched: UnmatchedSetting::Relay,
                keep_seconds: args.keep,
                token_key: String::new(),
                extra_roots,
                collector: collector.clone(),
                collector_addresses: Vec::new(),
                audit_timeout_seconds: args.audit_timeout,
                drain_seconds: args.drain,
            },
            evidence: EvidenceConfig {
                peer: Peer::new(
                    &args.trust_domain,
                    &args.namespace,
                    &args.service_account,
                    &identity,
                    &args.pod_uid,
                ),
                dir: args.state_dir,
                collector,
            },
            notifications,
            oidc: args.oidc.verifier()?,
            injection,
            namespace: args.namespace,
            trust_domain: args.trust_domain,
            public_address: args.public_address,
            control_address: args.control_address,
            admin_address: args.admin_address,
        })
    }
}

/// Every audience that the API server takes tokens of: it makes those of pods that name none for all of
/// its own.
fn audiences(token: &Path, configured: Vec<String>) -> Vec<String> {
    let own = std::fs::read_to_string(token).unwrap_or_default();
    let payload = own.split('.').nth(1).and_then(|payload| {
        let decoded = URL_SAFE_NO_PAD.decode(payload).ok()?;
        serde_json::from_slice::<Value>(&decoded).ok()
    });
    let claim = payload.and_then(|payload| payload.get("aud").cloned());
    let own: Vec<String> = match claim {
        Some(Value::String(one)) => vec![one],
        Some(list) => serde_json::from_value(list).unwrap_or_default(),
        None => Vec::new(),
    };
    let mut all: Vec<String> = configured.into_iter().chain(own).collect();
    all.sort();
    all.dedup();
    all
}

fn notifications(path: &Path) -> Result<Notifications, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut read: Notifications = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    read.rebase(path.parent().unwrap_or(Path::new("")));
    read.receivers().map_err(|error| error.to_string())?;
    Ok(read)
}

/// The names of a Service in the cluster's DNS.
fn service_names(service: &str, namespace: &str, domain: &str) -> Vec<String> {
    vec![
        service.to_owned(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.{domain}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_reach_the_parts_that_they_are_for() {
        let args = Args::parse_from([
            "weir-controller",
            "--identity=weir-controller-0",
            "--pod-uid=1-2",
            "--namespace=weir",
            "--sidecar-image=a@sha256:1",
            "--sidecar-image=b@sha256:2",
        ]);
        let config = Config::try_from(args).unwrap();
        assert_eq!(config.settings.collector, "weir-collector.weir.svc:8445");
        assert!(
            config
                .authority
                .names
                .contains(&"weir-controller.weir.svc".to_owned())
        );
        assert_eq!(config.publisher.images.len(), 2);
        assert_eq!(config.leader.identity, "weir-controller-0");
        assert_eq!(config.evidence.peer.pod, "weir-controller-0");
        assert_eq!(config.evidence.collector, "weir-collector.weir.svc:8445");
        let names = &config.identity.collector_names;
        assert!(names.contains(&"weir-collector.weir.svc.cluster.local".to_owned()));
    }

    #[test]
    fn the_api_servers_audiences_are_those_of_the_own_token_and_of_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        for (claims, expected) in [
            (r#"{"aud":["b","c"]}"#, vec!["a", "b", "c"]),
            (r#"{"aud":"a"}"#, vec!["a"]),
            (r#"{"aud":[1]}"#, vec!["a"]),
            ("{}", vec!["a"]),
        ] {
            let payload = URL_SAFE_NO_PAD.encode(claims);
            std::fs::write(&token, format!("h.{payload}.s")).unwrap();
            assert_eq!(audiences(&token, vec!["a".to_owned()]), expected);
        }
        assert_eq!(audiences(Path::new("/does/not/exist"), Vec::new()), [""; 0]);
    }

    #[test]
    fn an_unreadable_file_of_roots_ends_the_start() {
        let args = Args::parse_from([
            "weir-controller",
            "--identity=a",
            "--pod-uid=1",
            "--sidecar-image=a",
            "--extra-roots=/does/not/exist",
        ]);
        assert!(Config::try_from(args).is_err());
    }

    #[test]
    fn a_file_that_tells_nobody_ends_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notifications.json");
        let config = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let args = Args::parse_from([
                "weir-controller",
                "--identity=a",
                "--pod-uid=1",
                "--sidecar-image=a",
                &format!("--notifications={}", path.display()),
            ]);
            Config::try_from(args)
        };
        let webhook = |url: &str| format!(r#"{{"webhook":{{"url":"{url}","keyFile":"key"}}}}"#);
        let told = config(&webhook("https://hooks.example/x")).unwrap();
        assert_eq!(told.notifications.receivers().unwrap().len(), 1);
        assert!(config("{}").unwrap().notifications.is_empty());
        for wrong in [
            "",
            r#"{"webhok":{}}"#,
            r#"{"webhook":{"url":"https://hooks.example/x"}}"#,
            &webhook("http://hooks.chat.svc/x"),
        ] {
            assert!(config(wrong).is_err(), "{wrong}");
        }
    }
}
