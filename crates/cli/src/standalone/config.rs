//! The configuration of `weir standalone`: one YAML file, parsed once into what each part needs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use weir_collector::{ArchiveConfig, Keepers, PlaceError, WitnessConfig};
use weir_notify::Notifications;
use weir_oidc::Verifier;
use weir_sidecar::part::{PartError, part};

use super::otlp::OtlpSettings;
use super::ui::{OidcSettings, UiSettings};

/// The file as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Config {
    /// Who the connections come from.
    pub(crate) identity: IdentityConfig,
    /// Files and directories of Target, DataLabel and policy documents.
    pub(crate) resources: Vec<PathBuf>,
    /// Where evidence, budgets, keys and the operator's socket live.
    #[serde(default = "default_state_dir")]
    pub(crate) state_dir: PathBuf,
    /// Where `secretRef` and `caRef` are looked up: a directory for each name.
    #[serde(default)]
    pub(crate) secrets_dir: Option<PathBuf>,
    /// Listeners that stand for a Target.
    #[serde(default)]
    pub(crate) listeners: Vec<ListenerConfig>,
    /// Capture all connections of this network namespace.
    #[serde(default)]
    pub(crate) redirect: Option<RedirectConfig>,
    /// Metrics and health.
    #[serde(default)]
    pub(crate) admin: Option<AddressConfig>,
    /// The auditors' API over TCP; it is always served on the operator's socket.
    #[serde(default)]
    pub(crate) collector: CollectorConfig,
    /// Connections that no Target covers (redirected ones only).
    #[serde(default)]
    pub(crate) unmatched: UnmatchedConfig,
    /// Most connections at the same time.
    #[serde(default = "default_connections")]
    pub(crate) max_connections: usize,
    /// How long a drain waits for sessions to end.
    #[serde(default = "default_drain")]
    pub(crate) drain_seconds: u64,
    /// Bounds of the spool.
    #[serde(default)]
    pub(crate) spool: SpoolSettings,
    /// Approver groups and the operating system's users in them, beside the system's own groups.
    #[serde(default)]
    pub(crate) approver_groups: BTreeMap<String, Vec<String>>,
    /// Who is told of holds and findings.
    #[serde(default)]
    pub(crate) notifications: Notifications,
    /// Who logs people in to the web UI, beside this machine.
    #[serde(default)]
    pub(crate) oidc: Option<OidcSettings>,
}

/// Who the connections come from: a name, or a token.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct IdentityConfig {
    /// A name that the operator vouches for.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Groups of that name.
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    /// A file with a JSON Web Token, read again as it rotates.
    #[serde(default)]
    pub(crate) token_file: Option<PathBuf>,
    /// The issuer it must come from.
    #[serde(default)]
    pub(crate) issuer: Option<String>,
    /// The audience it must be for.
    #[serde(default)]
    pub(crate) audience: Option<String>,
    /// The issuer's keys as a JWKS file; without it they are discovered.
    #[serde(default)]
    pub(crate) keys_file: Option<PathBuf>,
    /// Roots for discovery.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
}

/// A listener that stands for a Target.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ListenerConfig {
    /// Where to listen.
    pub(crate) address: SocketAddr,
    /// The Target.
    pub(crate) target: String,
}

/// How the network namespace is programmed.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RedirectConfig {
    /// The port that captured connections are led to.
    pub(crate) port: u16,
    /// Whether everything that is not TCP is dropped, save DNS to the resolvers.
    pub(crate) enforced: bool,
    /// Who may be asked for names; without it those of `/etc/resolv.conf`.
    pub(crate) resolvers: Option<Vec<IpAddr>>,
}

impl Default for RedirectConfig {
    fn default() -> Self {
        Self {
            port: 15001,
            enforced: true,
            resolvers: None,
        }
    }
}

impl From<&RedirectConfig> for weir_sidecar::redirect::RedirectSettings {
    fn from(config: &RedirectConfig) -> Self {
        Self {
            port: config.port,
            enforced: config.enforced,
            resolvers: config.resolvers.clone(),
        }
    }
}

/// An address to listen on.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AddressConfig {
    /// Where to listen.
    pub(crate) address: SocketAddr,
}

/// The collector's settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CollectorConfig {
    /// Where to serve the web UI, and the auditors' API with a bearer token.
    #[serde(default)]
    pub(crate) address: Option<SocketAddr>,
    /// The web UI on that address, if it is this machine's own.
    #[serde(default)]
    pub(crate) ui: Option<UiSettings>,
    /// How long events are kept.
    #[serde(default)]
    pub(crate) retention_days: Option<u32>,
    /// How much the store may hold, in bytes.
    #[serde(default)]
    pub(crate) max_bytes: Option<u64>,
    /// Where proofs and evidence are archived.
    #[serde(default)]
    pub(crate) archive: Option<ArchiveSettings>,
    /// Who cosigns the log.
    #[serde(default)]
    pub(crate) witnesses: Vec<WitnessSettings>,
    /// Where events and metrics go as OTLP.
    #[serde(default)]
    pub(crate) otlp: Option<OtlpSettings>,
}

/// An archive.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ArchiveSettings {
    /// A folder, or `s3://BUCKET/PREFIX`.
    pub(crate) to: String,
    /// The bucket's server; without it Amazon's for the region.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// The bucket's region.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// Directory with the files `access-key-id` and `secret-access-key`.
    #[serde(default)]
    pub(crate) credentials_dir: Option<PathBuf>,
    /// The only authorities that count for the server.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
}

/// A witness.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WitnessSettings {
    /// Its key: `NAME+ID+KEY`.
    pub(crate) key: String,
    /// Where it is asked.
    pub(crate) url: String,
    /// The only authorities that count for its server.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
}

impl CollectorConfig {
    /// Who keeps proofs elsewhere.
    pub(crate) fn keepers(&self) -> Result<Keepers, PlaceError> {
        let archive = self.archive.clone().map(|archive| ArchiveConfig {
            to: archive.to,
            endpoint: archive.endpoint,
            region: archive.region,
            credentials: archive.credentials_dir,
            ca_file: archive.ca_file,
        });
        let witnesses = self.witnesses.iter().cloned();
        let witnesses = witnesses.map(|witness| WitnessConfig {
            key: witness.key,
            url: witness.url,
            ca_file: witness.ca_file,
        });
        Keepers::new(archive, witnesses.collect())
    }
}

/// What happens to connections that no Target covers.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) enum UnmatchedConfig {
    /// Relayed if they are not a governed protocol, and recorded.
    #[default]
    Relay,
    /// Refused.
    Refuse,
}

/// Bounds of the spool.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct SpoolSettings {
    /// Most bytes on disk that the collector has not acknowledged.
    pub(crate) max_bytes: u64,
    /// How long `BlockingStrict` waits for the collector.
    pub(crate) audit_timeout_seconds: u64,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            audit_timeout_seconds: 5,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("{path}: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why, with line and column.
        reason: String,
    },
    /// A combination makes no sense.
    #[error("{path}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Config {
    /// Reads a configuration; relative paths in it are relative to its directory.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut config: Self =
            serde_saphyr::from_str(&text).map_err(|error| ConfigError::Parse {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
        let base = path.parent().map(Path::to_owned).unwrap_or_default();
        config.rebase(&base);
        config.check().map_err(|reason| ConfigError::Invalid {
            path: path.to_owned(),
            reason,
        })?;
        Ok(config)
    }

    fn rebase(&mut self, base: &Path) {
        let rebase = |path: &mut PathBuf| *path = base.join(&*path);
        self.resources.iter_mut().for_each(rebase);
        rebase(&mut self.state_dir);
        self.secrets_dir.iter_mut().for_each(rebase);
        let identity = &mut self.identity;
        let files = [
            &mut identity.token_file,
            &mut identity.keys_file,
            &mut identity.ca_file,
        ];
        files.into_iter().flatten().for_each(rebase);
        self.notifications.rebase(base);
        let otlp = self.collector.otlp.iter_mut();
        otlp.for_each(|otlp| otlp.rebase(base));
        self.oidc.iter_mut().for_each(|oidc| oidc.rebase(base));
    }

    fn check(&self) -> Result<(), String> {
        let identity = &self.identity;
        match (&identity.name, &identity.token_file) {
            (Some(_), Some(_)) => {
                return Err("identity: give a name or a tokenFile, not both".to_owned());
            }
            (None, None) => return Err("identity: a name or a tokenFile is needed".to_owned()),
            (None, Some(_)) if identity.issuer.is_none() || identity.audience.is_none() => {
                return Err("identity: a tokenFile needs issuer and audience".to_owned());
            }
            _ => {}
        }
        if self.redirect.as_ref().is_some_and(|it| it.port == 0) {
            return Err("redirect: port must be at least 1".to_owned());
        }
        let told = self.notifications.receivers();
        told.map_err(|error| error.to_string())?;
        if let Some(oidc) = &self.oidc {
            oidc.verifier()?;
        }
        let collector = &self.collector;
        if let Some(otlp) = &collector.otlp {
            otlp.export()?;
        }
        match (&collector.ui, collector.address) {
            (Some(_), None) => return Err("collector.ui: it needs collector.address".to_owned()),
            (Some(_), Some(address)) if !address.ip().is_loopback() => {
                return Err("collector.ui: without TLS it is served on loopback only".to_owned());
            }
            _ => {}
        }
        if self.max_connections == 0 {
            return Err("maxConnections: must be at least 1".to_owned());
        }
        Ok(())
    }

    /// How long a drain waits for sessions to end.
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    /// Who judges ID tokens, if a provider is configured.
    pub(crate) fn oidc_verifier(&self) -> Result<Option<Verifier>, PartError> {
        let verifier = self.oidc.as_ref().map(OidcSettings::verifier);
        verifier.transpose().map_err(part("the identity provider"))
    }

    /// Where secrets are looked up.
    pub(crate) fn secrets_dir(&self) -> PathBuf {
        self.secrets_dir
            .clone()
            .unwrap_or_else(|| self.state_dir.join("secrets"))
    }
}

fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/weir")
}

const fn default_connections() -> usize {
    4096
}

const fn default_drain() -> u64 {
    10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let dir =
            std::env::temp_dir().join(format!("weir-config-{:?}", std::thread::current().id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("weir.yaml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let config = read("identity: {name: a}\nresources: [policies]\nstateDir: state\n").unwrap();
        assert!(config.state_dir.is_absolute() && config.state_dir.ends_with("state"));
        assert!(config.resources[0].ends_with("policies"));
    }

    #[test]
    fn refuses_unknown_fields_and_impossible_identities() {
        let unknown = read("identity: {name: a}\nresources: []\nstatDir: x\n").unwrap_err();
        assert!(unknown.contains("statDir"), "{unknown}");
        assert!(
            read("identity: {}\nresources: []\n")
                .unwrap_err()
                .contains("tokenFile")
        );
        assert!(
            read("identity: {tokenFile: t}\nresources: []\n")
                .unwrap_err()
                .contains("issuer")
        );
    }

    #[test]
    fn the_web_ui_is_for_this_machine_and_its_provider_is_checked_at_the_start() {
        let with = |rest: &str| read(&format!("identity: {{name: a}}\nresources: []\n{rest}"));
        let far = "collector: {address: '0.0.0.0:8446', ui: {}}\n";
        assert!(with(far).unwrap_err().contains("loopback"));
        assert!(
            with("collector: {ui: {}}\n")
                .unwrap_err()
                .contains("address")
        );
        let provider = |issuer: &str| {
            with(&format!(
                "oidc: {{clientId: weir, caFile: ca.pem, issuer: '{issuer}'}}\n"
            ))
        };
        let config = provider("https://id.example").unwrap();
        assert!(config.oidc.unwrap().ca_file.unwrap().is_absolute());
        assert!(
            provider("http://id.example")
                .unwrap_err()
                .contains("oidc: the issuer")
        );
    }

    #[test]
    fn an_otlp_receiver_is_checked_at_the_start() {
        let with = |otlp: &str| {
            read(&format!(
                "identity: {{name: a}}\nresources: []\ncollector: {{otlp: {{{otlp}}}}}\n"
            ))
        };
        let config = with("endpoint: 'https://otel.example:4318', headersFile: headers").unwrap();
        let otlp = config.collector.otlp.unwrap();
        assert!(otlp.headers_file.as_ref().unwrap().is_absolute());
        assert!(otlp.export().unwrap().takes_events());
        let metrics = with("endpoint: 'http://127.0.0.1:4318', signals: [metrics]").unwrap();
        assert!(
            !metrics
                .collector
                .otlp
                .unwrap()
                .export()
                .unwrap()
                .takes_events()
        );
        let far = with("endpoint: 'http://otel.example:4318'").unwrap_err();
        assert!(far.contains("collector.otlp.endpoint: plain HTTP"), "{far}");
        for bad in ["signals: [traces]", "metricsIntervalSeconds: 0"] {
            assert!(
                with(&format!("endpoint: 'http://127.0.0.1:4318', {bad}")).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn receivers_are_checked_at_the_start() {
        let with = |url: &str| {
            let text = "identity: {name: a}\nresources: []\nnotifications:\n  webhook:\n    \
                        {keyFile: key, caFile: ca.pem, url: ";
            read(&format!("{text}'{url}'}}\n"))
        };
        let config = with("https://hooks.example/x").unwrap();
        assert_eq!(config.notifications.receivers().unwrap().len(), 1);
        let refused = with("http://127.0.0.1/x").unwrap_err();
        assert!(refused.contains("plain HTTP is not allowed"), "{refused}");
    }
}
