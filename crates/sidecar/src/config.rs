//! Command line and environment of `weir-sidecar`, parsed once.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use weir_telemetry::{LogFormat, logging};
use weir_uplink::control::Endpoint;

use crate::account::{Layouts, Places};
use crate::part::{PartError, part};

/// Variable with the files that programs find elsewhere than Kubernetes puts them.
const KUBE_FILES: &str = "WEIR_KUBE_FILES";

/// Arguments, the same for all pods of an installation.
#[derive(Debug, clap::Args)]
pub struct SidecarArgs {
    /// Host name of the controller, which its certificate bears
    #[arg(long, value_name = "HOST")]
    controller: String,
    /// Where the controller may be found without looking its name up; it is tried first
    #[arg(long, value_name = "IP,…", value_delimiter = ',')]
    controller_address: Vec<IpAddr>,
    /// Port of the controller at which identities are granted
    #[arg(long, value_name = "PORT", default_value_t = 443)]
    enrol_port: u16,
    /// Port of the controller for those who have one
    #[arg(long, value_name = "PORT", default_value_t = 8444)]
    control_port: u16,
    /// Trust domain that the granted identity must be of
    #[arg(long, value_name = "NAME")]
    trust_domain: String,
    /// Drop everything that is not TCP, save DNS to the pod's resolvers
    #[arg(long)]
    enforced: bool,
    /// Volume for evidence, keys and the last policy: in memory, mounted by nobody else
    #[arg(long, value_name = "DIR", default_value = "/var/lib/weir")]
    state_dir: PathBuf,
    /// Volume with the service-account token
    #[arg(long, value_name = "DIR", default_value = "/var/run/weir/identity")]
    identity_dir: PathBuf,
    /// Volume in which applications find what to trust
    #[arg(long, value_name = "DIR", default_value = "/var/run/weir/trust")]
    trust_dir: PathBuf,
    /// Stand before the Kubernetes API: programs get a placeholder of the service account's token
    #[arg(long)]
    kubernetes: bool,
    /// Volume with the token of the pod's service account, with `--kubernetes`
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount"
    )]
    account_dir: PathBuf,
    /// Volume in which programs find the placeholder, with `--kubernetes`
    #[arg(long, value_name = "DIR", default_value = "/var/run/weir/kube")]
    kube_dir: PathBuf,
    /// Port that captured connections are led to
    #[arg(long, value_name = "PORT", default_value_t = 15001)]
    redirect_port: u16,
    /// Port for metrics and health, on the pod's address
    #[arg(long, value_name = "PORT", default_value_t = 15090)]
    admin_port: u16,
    /// What to log: a level, or a filter such as `weir_gateway=debug,info`
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log: String,
    /// Log as JSON, a line each
    #[arg(long)]
    log_json: bool,
}

/// Everything that is known at the start.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) enrol: Endpoint,
    pub(crate) control: Endpoint,
    pub(crate) roots: String,
    pub(crate) trust_domain: String,
    pub(crate) enforced: bool,
    pub(crate) state_dir: PathBuf,
    pub(crate) token: PathBuf,
    pub(crate) trust_dir: PathBuf,
    /// The service account, where Weir stands before the Kubernetes API.
    pub(crate) account: Option<Places>,
    pub(crate) redirect_port: u16,
    pub(crate) admin: SocketAddr,
    pub(crate) pod: Pod,
}

/// The pod, as the downward API names it. It is compared with what the controller attests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl SidecarArgs {
    /// Sets up the process's log.
    ///
    /// # Errors
    /// The filter does not parse.
    pub fn start_log(&self) -> Result<(), PartError> {
        let format = if self.log_json {
            LogFormat::Json
        } else {
            LogFormat::Text
        };
        logging::init(&self.log, format).map_err(part("--log"))
    }

    /// The configuration; `variable` reads the environment.
    ///
    /// # Errors
    /// A variable is missing, or something does not parse.
    pub fn config(
        self,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Config, PartError> {
        let required = |name: &'static str| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| part(name)("this variable is not set"))
        };
        let address: IpAddr = required("POD_IP")?.parse().map_err(part("POD_IP"))?;
        if address.is_unspecified() {
            return Err(part("POD_IP")("is not the pod's address"));
        }
        let host = self.controller;
        let endpoint = |port| Endpoint {
            host: host.clone(),
            port,
            addresses: self.controller_address.clone(),
        };
        let account = if self.kubernetes {
            let layouts = Layouts::parse(&variable(KUBE_FILES).unwrap_or_default());
            Some(Places {
                source: self.account_dir,
                shown: self.kube_dir,
                layouts: layouts.map_err(part(KUBE_FILES))?,
            })
        } else {
            None
        };
        Ok(Config {
            enrol: endpoint(self.enrol_port),
            control: endpoint(self.control_port),
            roots: required("WEIR_CA")?,
            trust_domain: self.trust_domain,
            enforced: self.enforced,
            state_dir: self.state_dir,
            token: self.identity_dir.join("token"),
            trust_dir: self.trust_dir,
            account,
            redirect_port: self.redirect_port,
            admin: SocketAddr::new(address, self.admin_port),
            pod: Pod {
                namespace: required("POD_NAMESPACE")?,
                name: required("POD_NAME")?,
                uid: required("POD_UID")?,
            },
        })
    }
}

impl Config {
    /// The directory that only this process can look into: volumes are open to everybody.
    pub(crate) fn private_dir(&self) -> PathBuf {
        self.state_dir.join("private")
    }

    /// The one supplementary group to keep: the token's, where it is readable to that group and not
    /// to everybody (pods with an `fsGroup`).
    pub(crate) fn group(&self) -> Result<Option<u32>, PartError> {
        token_group(&self.token).map_err(part("the service-account token"))
    }
}

fn token_group(token: &Path) -> std::io::Result<Option<u32>> {
    use std::os::unix::fs::MetadataExt as _;
    const READABLE_TO_GROUP: u32 = 0o040;
    const READABLE_TO_ALL: u32 = 0o004;
    let metadata = std::fs::metadata(token)?;
    let readable = metadata.mode() & (READABLE_TO_GROUP | READABLE_TO_ALL);
    Ok((readable == READABLE_TO_GROUP).then_some(metadata.gid()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: SidecarArgs,
    }

    fn config(missing: &str, ip: &str) -> Result<Config, String> {
        let cli = Cli::parse_from(["s", "--controller=c.svc", "--trust-domain=cluster.local"]);
        let variable = |name: &'static str| {
            let value = if name == "POD_IP" { ip } else { "x" };
            (name != missing).then(|| value.to_owned())
        };
        cli.args.config(variable).map_err(|error| error.to_string())
    }

    #[test]
    fn every_variable_is_needed() {
        assert!(config("", "192.0.2.7").is_ok());
        for name in ["WEIR_CA", "POD_NAME", "POD_NAMESPACE", "POD_UID", "POD_IP"] {
            assert!(config(name, "192.0.2.7").unwrap_err().starts_with(name));
        }
    }

    #[test]
    fn files_that_programs_find_elsewhere_matter_before_the_kubernetes_api_only() {
        let config = |flag: Option<&str>, files: &'static str| {
            let fixed = ["s", "--controller=c.svc", "--trust-domain=cluster.local"];
            let cli = Cli::parse_from(fixed.into_iter().chain(flag));
            let variable = move |name: &'static str| match name {
                "POD_IP" => Some("192.0.2.7".to_owned()),
                KUBE_FILES => Some(files.to_owned()),
                _ => Some("x".to_owned()),
            };
            cli.args.config(variable).map_err(|error| error.to_string())
        };
        assert!(config(None, "nonsense").unwrap().account.is_none());
        let refused = config(Some("--kubernetes"), "nonsense").unwrap_err();
        assert!(refused.starts_with(KUBE_FILES), "{refused}");
        for files in ["", r#"{"a": {"b": "token"}}"#] {
            let account = config(Some("--kubernetes"), files)
                .unwrap()
                .account
                .unwrap();
            let source = "/var/run/secrets/kubernetes.io/serviceaccount";
            assert_eq!(account.source, Path::new(source));
            assert_eq!(account.layouts, Layouts::parse(files).unwrap());
        }
    }

    #[test]
    fn metrics_are_bound_to_the_pods_address_alone() {
        let admin = |ip| config("", ip).map(|config| config.admin.to_string());
        assert_eq!(admin("192.0.2.7").unwrap(), "192.0.2.7:15090");
        assert_eq!(admin("fd00::7").unwrap(), "[fd00::7]:15090");
        assert!(admin("0.0.0.0").is_err() && admin("nonsense").is_err());
    }

    #[test]
    fn the_tokens_group_is_kept_only_where_it_is_needed() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "t").unwrap();
        let gid = std::fs::metadata(&token).unwrap().gid();
        for (mode, expected) in [(0o640, Some(gid)), (0o644, None), (0o600, None)] {
            std::fs::set_permissions(&token, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(token_group(&token).unwrap(), expected, "{mode:o}");
        }
        assert!(token_group(&dir.path().join("none")).is_err());
    }
}
