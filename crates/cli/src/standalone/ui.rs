//! The web UI of one machine, and who logs in to it: this machine's users by one-time links, others at
//! an identity provider.
//!
//! It refuses to be served without TLS to other machines.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use weir_collector::UiConfig;
use weir_oidc::{ClientSettings, Login, OidcConfig, Verifier};

/// The web UI's settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UiSettings {
    /// Its address as people type it, where something in front of it has TLS; else
    /// `http://` and the collector's address.
    #[serde(default)]
    pub(crate) url: Option<String>,
    /// Groups at the identity provider whose members may read evidence.
    #[serde(default)]
    pub(crate) auditors: Vec<String>,
}

/// Who is believed to say who somebody is; the settings of kube-apiserver's flags of the same names.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OidcSettings {
    /// The provider, as it states itself.
    pub(crate) issuer: String,
    /// This client at the provider.
    pub(crate) client_id: String,
    /// A file with the client's secret; a public client has none.
    #[serde(default)]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// Scopes to ask for beside `openid`.
    #[serde(default = "default_scopes")]
    pub(crate) scopes: Vec<String>,
    /// The claim with the user's name; `sub` when absent.
    #[serde(default)]
    pub(crate) username_claim: Option<String>,
    /// What stands before it; the issuer and `#` when absent, nothing for `email`; `-` for nothing.
    #[serde(default)]
    pub(crate) username_prefix: Option<String>,
    /// The claim with the user's groups.
    #[serde(default)]
    pub(crate) groups_claim: Option<String>,
    /// What stands before each group.
    #[serde(default)]
    pub(crate) groups_prefix: String,
    /// Algorithms that tokens may be signed with; `RS256` when empty.
    #[serde(default)]
    pub(crate) algorithms: Vec<String>,
    /// Authorities of the provider in PEM.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
    /// Whether plain HTTP will do, to loopback.
    #[serde(default)]
    pub(crate) allow_http: bool,
}

fn default_scopes() -> Vec<String> {
    vec!["email".to_owned(), "profile".to_owned()]
}

impl OidcSettings {
    /// Makes its paths relative to the configuration's directory.
    pub(crate) fn rebase(&mut self, base: &Path) {
        let files = [&mut self.client_secret_file, &mut self.ca_file];
        for file in files.into_iter().flatten() {
            *file = base.join(&*file);
        }
    }

    /// Who judges its tokens.
    pub(crate) fn verifier(&self) -> Result<Verifier, String> {
        let config = OidcConfig {
            issuer: self.issuer.clone(),
            client_id: self.client_id.clone(),
            username_claim: self.username_claim.clone(),
            username_prefix: self.username_prefix.clone(),
            groups_claim: self.groups_claim.clone(),
            groups_prefix: self.groups_prefix.clone(),
            algorithms: self.algorithms.clone(),
            ca_file: self.ca_file.clone(),
            allow_http: self.allow_http,
        };
        Verifier::new(&config).map_err(|error| format!("oidc: {error}"))
    }

    fn login(&self, verifier: Verifier) -> Login {
        let client = ClientSettings {
            secret_file: self.client_secret_file.clone(),
            scopes: self.scopes.clone(),
        };
        Login::new(verifier, client)
    }
}

/// The UI's configuration on the collector's address.
pub(crate) fn ui_config(
    address: std::net::SocketAddr,
    settings: &UiSettings,
    oidc: Option<(&OidcSettings, Verifier)>,
) -> Result<UiConfig, String> {
    let url = settings
        .url
        .clone()
        .unwrap_or_else(|| format!("http://{address}"));
    let login = oidc.map(|(settings, verifier)| settings.login(verifier));
    UiConfig::new(Some(url), false, login).map_err(|error| format!("collector.ui: {error}"))
}
