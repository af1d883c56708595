//! The command line of `weir-collector`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use weir_collector::findings::FindingsConfig;
use weir_collector::{
    ArchiveConfig, ClickHouseConfig, CollectorConfig, Keepers, OTLP_INTERVAL, Otlp, OtlpConfig,
    Quota, ServiceConfig, Signal, UiConfig, WitnessConfig,
};
use weir_oidc::{ClientSettings, Login, OidcArgs};
use weir_telemetry::LogFormat;
use weir_uplink::control::{Endpoint, EnrolConfig};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Of its memory the store's writer has so many bytes for pages that it changes again and again.
const CACHE: u32 = 32 << 20;

/// Keeps the evidence of Weir's sidecars, and shows it to those whom the cluster lets read
#[derive(Debug, clap::Parser)]
#[command(name = "weir-collector", version)]
pub(crate) struct Args {
    /// Where the evidence is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/weir")]
    data_dir: PathBuf,
    /// Evidence older than so many days is deleted; 0 keeps it
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    retention: u32,
    /// Above so many bytes the oldest evidence is deleted
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 30)]
    max_bytes: u64,
    /// Sidecars send evidence here: mutual TLS
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8445")]
    ingest_address: SocketAddr,
    /// Auditors ask here: TLS
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8446")]
    auditors_address: SocketAddr,
    /// Metrics and health: plain HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:9090")]
    admin_address: SocketAddr,
    /// The controller's host name [default: weir-controller.NAMESPACE.svc]
    #[arg(long, value_name = "HOST")]
    controller: Option<String>,
    /// The controller's port for enrolment
    #[arg(long, value_name = "PORT", default_value_t = 443)]
    enrol_port: u16,
    /// The controller's port for mutual TLS
    #[arg(long, value_name = "PORT", default_value_t = 8444)]
    control_port: u16,
    /// Identities are of this domain
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    trust_domain: String,
    /// Directory with the service-account token, file `token`
    #[arg(long, value_name = "DIR", default_value = "/var/run/weir/identity")]
    identity_dir: PathBuf,
    /// Weir's own namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "weir-system")]
    namespace: String,
    /// File with the controller's roots in PEM [default: what the variable WEIR_CA holds]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// File with the roots of the cluster's client certificates; without it only tokens count
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// Bytes of evidence that each pod may hand in per minute
    #[arg(long, value_name = "BYTES", default_value_t = Quota::default().bytes)]
    quota_bytes: u64,
    /// Events that each pod may hand in per minute
    #[arg(long, value_name = "EVENTS", default_value_t = Quota::default().events)]
    quota_events: u64,
    /// Proofs and evidence are archived to this folder, or to s3://BUCKET/PREFIX
    #[arg(long, value_name = "PLACE", help_heading = "Archive and witnesses")]
    archive: Option<String>,
    /// The bucket's server [default: Amazon's for the region]
    #[arg(
        long,
        value_name = "URL",
        requires = "archive",
        help_heading = "Archive and witnesses"
    )]
    archive_endpoint: Option<String>,
    /// The bucket's region
    #[arg(
        long,
        value_name = "REGION",
        requires = "archive",
        help_heading = "Archive and witnesses"
    )]
    archive_region: Option<String>,
    /// Directory with the files access-key-id and secret-access-key
    #[arg(
        long,
        value_name = "DIR",
        requires = "archive",
        help_heading = "Archive and witnesses"
    )]
    archive_credentials: Option<PathBuf>,
    /// File with the only authorities that count for the bucket's server
    #[arg(
        long,
        value_name = "FILE",
        requires = "archive",
        help_heading = "Archive and witnesses"
    )]
    archive_ca_file: Option<PathBuf>,
    /// A witness that cosigns the log: its key and its URL, with a space between them
    #[arg(long, value_name = "VKEY URL", help_heading = "Archive and witnesses")]
    witness: Vec<String>,
    /// File with the only authorities that count for witnesses' servers
    #[arg(
        long,
        value_name = "FILE",
        requires = "witness",
        help_heading = "Archive and witnesses"
    )]
    witness_ca_file: Option<PathBuf>,
    /// An engine's clock may be so many seconds from the collector's before it is a finding
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    findings_skew: u64,
    /// So many refusals of one identity are a finding...
    #[arg(long, value_name = "N", default_value_t = 10)]
    findings_denials: u32,
    /// ...within so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    findings_window: u64,
    /// A statement of a new shape is a finding once its image is known for so many hours
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    findings_learning: u64,
    /// Serve no web UI to auditors and reviewers
    #[arg(long, help_heading = "Web UI")]
    no_ui: bool,
    /// The web UI's address as people type it; a login at a provider comes back to it
    #[arg(long, value_name = "URL", help_heading = "Web UI")]
    ui_url: Option<String>,
    #[command(flatten)]
    oidc: OidcArgs,
    /// File with this client's secret at the provider; a public client has none
    #[arg(long, value_name = "FILE", help_heading = "OpenID Connect")]
    oidc_client_secret_file: Option<PathBuf>,
    /// Scopes to ask for beside openid
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "email,profile",
        help_heading = "OpenID Connect"
    )]
    oidc_scopes: Vec<String>,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    #[command(flatten)]
    otlp: OtlpArgs,
    /// What is logged
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
    /// Form of the log: text or json
    #[arg(long, value_name = "FORM", default_value = "json")]
    pub(crate) log_format: LogFormat,
}

/// ClickHouse, where searches are answered when one node is not enough.
#[derive(Debug, clap::Args)]
struct ClickHouseArgs {
    /// Its HTTP interface; plain HTTP to loopback and the cluster only. Without it, the embedded store
    /// answers
    #[arg(long, value_name = "URL", help_heading = "ClickHouse")]
    clickhouse_url: Option<String>,
    /// The database, which exists
    #[arg(
        long,
        value_name = "NAME",
        default_value = "weir",
        help_heading = "ClickHouse"
    )]
    clickhouse_database: String,
    /// As whom
    #[arg(long, value_name = "NAME", help_heading = "ClickHouse")]
    clickhouse_user: Option<String>,
    /// File with the password
    #[arg(long, value_name = "FILE", help_heading = "ClickHouse")]
    clickhouse_password_file: Option<PathBuf>,
    /// File with the only authorities that count, in PEM
    #[arg(long, value_name = "FILE", help_heading = "ClickHouse")]
    clickhouse_ca_file: Option<PathBuf>,
}

impl ClickHouseArgs {
    fn config(self) -> Option<ClickHouseConfig> {
        let Self {
            clickhouse_database: database,
            clickhouse_user: user,
            clickhouse_password_file: password_file,
            clickhouse_ca_file: ca_file,
            clickhouse_url,
        } = self;
        clickhouse_url.map(|url| ClickHouseConfig {
            url,
            database,
            user,
            password_file,
            ca_file,
        })
    }
}

/// OpenTelemetry, where events and metrics are exported to.
#[derive(Debug, clap::Args)]
struct OtlpArgs {
    /// Base address of an OTLP receiver (HTTP), to which /v1/logs and /v1/metrics are added; plain HTTP to
    /// loopback and the cluster only
    #[arg(long, value_name = "URL", help_heading = "OpenTelemetry")]
    otlp_endpoint: Option<String>,
    /// File with headers for it: NAME=VALUE, one a line or with commas between them
    #[arg(
        long,
        value_name = "FILE",
        requires = "otlp_endpoint",
        help_heading = "OpenTelemetry"
    )]
    otlp_headers_file: Option<PathBuf>,
    /// File with the only authorities that count, in PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "otlp_endpoint",
        help_heading = "OpenTelemetry"
    )]
    otlp_ca_file: Option<PathBuf>,
    /// What goes there: logs (the events), metrics
    #[arg(
        long,
        value_name = "SIGNALS",
        value_delimiter = ',',
        default_value = "logs,metrics",
        help_heading = "OpenTelemetry"
    )]
    otlp_signals: Vec<Signal>,
    /// Metrics go every so many seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = OTLP_INTERVAL.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=86_400),
        help_heading = "OpenTelemetry"
    )]
    otlp_metrics_interval: u64,
}

impl OtlpArgs {
    fn export(self) -> Result<Option<Otlp>, String> {
        let Some(endpoint) = self.otlp_endpoint else {
            return Ok(None);
        };
        let config = OtlpConfig {
            endpoint,
            headers_file: self.otlp_headers_file,
            ca_file: self.otlp_ca_file,
            signals: self.otlp_signals,
            interval: Duration::from_secs(self.otlp_metrics_interval),
        };
        let export = Otlp::new(config).map_err(|error| format!("--otlp-endpoint: {error}"))?;
        Ok(Some(export))
    }
}

/// The command line, parsed into what each part needs.
pub(crate) struct Config {
    pub(crate) service: ServiceConfig,
    pub(crate) enrol: EnrolConfig,
    pub(crate) control: Endpoint,
}

impl Args {
    /// `roots` is what the environment says.
    pub(crate) fn config(self, roots: Option<String>) -> Result<Config, String> {
        let roots = match &self.ca_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read --ca-file {}: {error}", path.display()))?,
            None => roots
                .filter(|roots| !roots.trim().is_empty())
                .ok_or("the controller's roots are needed: --ca-file, or the variable WEIR_CA")?,
        };
        let host = self
            .controller
            .unwrap_or_else(|| format!("weir-controller.{}.svc", self.namespace));
        let archive = self.archive.map(|to| ArchiveConfig {
            to,
            endpoint: self.archive_endpoint,
            region: self.archive_region,
            credentials: self.archive_credentials,
            ca_file: self.archive_ca_file,
        });
        let mut witnesses = Vec::new();
        for witness in self.witness {
            let (key, url) = witness
                .trim()
                .split_once(' ')
                .ok_or("--witness needs a key and a URL, with a space between them")?;
            witnesses.push(WitnessConfig {
                key: key.to_owned(),
                url: url.trim().to_owned(),
                ca_file: self.witness_ca_file.clone(),
            });
        }
        let keepers = Keepers::new(archive, witnesses).map_err(|error| error.to_string())?;
        let endpoint = |port| Endpoint {
            host: host.clone(),
            port,
            addresses: Vec::new(),
        };
        let login = self
            .oidc
            .verifier()
            .map_err(|error| format!("--oidc: {error}"))?;
        let login = login.map(|verifier| {
            let client = ClientSettings {
                secret_file: self.oidc_client_secret_file,
                scopes: self.oidc_scopes,
            };
            Login::new(verifier, client)
        });
        let ui = UiConfig::new(self.ui_url, true, login)
            .map_err(|error| format!("--ui-url: {error}"))?;
        let otlp = self.otlp.export()?;
        Ok(Config {
            service: ServiceConfig {
                data_dir: self.data_dir,
                store: CollectorConfig {
                    max_age: (self.retention > 0).then(|| DAY * self.retention),
                    max_bytes: self.max_bytes,
                    cache: CACHE,
                    clickhouse: self.clickhouse.config(),
                    exporting: otlp.as_ref().is_some_and(Otlp::takes_events),
                    ..CollectorConfig::default()
                },
                ingest: self.ingest_address,
                auditors: self.auditors_address,
                admin: self.admin_address,
                trust_domain: self.trust_domain.clone(),
                client_ca: self.client_ca_file,
                ui: (!self.no_ui).then_some(ui),
                quota: Quota {
                    bytes: self.quota_bytes,
                    events: self.quota_events,
                },
                keepers,
                findings: FindingsConfig {
                    skew: Duration::from_secs(self.findings_skew),
                    denials: self.findings_denials,
                    window: Duration::from_secs(self.findings_window),
                    learning: Duration::from_secs(self.findings_learning.saturating_mul(3600)),
                    // The controller knows which of them people want to hear of.
                    minimum: weir_audit::Severity::Info,
                },
                otlp,
            },
            enrol: EnrolConfig {
                endpoint: endpoint(self.enrol_port),
                roots,
                trust_domain: self.trust_domain,
                token: self.identity_dir.join("token"),
            },
            control: endpoint(self.control_port),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn parse(args: &[&str]) -> Args {
        Args::try_parse_from(std::iter::once(&"weir-collector").chain(args)).unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_the_chart() {
        let config = parse(&[]).config(Some("PEM".into())).unwrap();
        assert_eq!(
            config.enrol.endpoint.to_string(),
            "weir-controller.weir-system.svc:443"
        );
        assert_eq!(
            config.control.to_string(),
            "weir-controller.weir-system.svc:8444"
        );
        assert_eq!(config.service.ingest.port(), 8445);
        assert_eq!(config.service.auditors.port(), 8446);
        assert_eq!(config.service.admin.port(), 9090);
        assert_eq!(
            config.enrol.token,
            PathBuf::from("/var/run/weir/identity/token")
        );
        let config = parse(&["--namespace=w", "--retention=0"]).config(Some("PEM".into()));
        let config = config.unwrap();
        assert_eq!(config.control.host, "weir-controller.w.svc");
        assert_eq!(config.service.store.max_age, None);
    }

    #[test]
    fn a_login_at_a_provider_needs_an_address_to_come_back_to() {
        let provider = [
            "--oidc-issuer-url=https://id.example",
            "--oidc-client-id=weir",
        ];
        let without = parse(&provider).config(Some("PEM".into()));
        assert!(without.err().unwrap().contains("--ui-url"));
        let with = [provider[0], provider[1], "--ui-url=https://weir.example/"];
        let config = parse(&with).config(Some("PEM".into())).unwrap();
        assert!(config.service.ui.is_some());
        let plain = parse(&[provider[0], provider[1], "--ui-url=http://weir.example"]);
        assert!(plain.config(Some("PEM".into())).is_err());
        let none = parse(&["--no-ui"]).config(Some("PEM".into())).unwrap();
        assert!(none.service.ui.is_none());
    }

    #[test]
    fn events_are_exported_where_an_endpoint_says_so_and_logs_are_among_the_signals() {
        let export = |args: &[&str]| {
            let config = parse(args).config(Some("PEM".into()))?.service;
            Ok::<_, String>((config.otlp.is_some(), config.store.exporting))
        };
        let endpoint = "--otlp-endpoint=https://otel.example:4318";
        assert_eq!(export(&[]), Ok((false, false)));
        assert_eq!(export(&[endpoint]), Ok((true, true)));
        assert_eq!(
            export(&[endpoint, "--otlp-signals=metrics"]),
            Ok((true, false))
        );
        let plain = export(&["--otlp-endpoint=http://otel.example:4318"]);
        assert!(plain.unwrap_err().contains("--otlp-endpoint"));
        for bad in ["--otlp-signals=traces", "--otlp-metrics-interval=0"] {
            assert!(
                Args::try_parse_from(["weir-collector", endpoint, bad]).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn without_roots_there_is_nobody_to_trust() {
        for roots in [None, Some(String::new()), Some("\n".into())] {
            assert!(parse(&[]).config(roots).is_err());
        }
        let missing = parse(&["--ca-file=/nowhere/ca.crt"]).config(Some("PEM".into()));
        assert!(missing.err().unwrap().contains("/nowhere/ca.crt"));
    }
}
