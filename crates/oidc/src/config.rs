//! Which provider is believed, and how its claims become names. The settings mean what the flags of the
//! same names mean to kube-apiserver (`--oidc-username-claim` and so on), defaults included, so that one
//! person has one name in both.

use std::path::PathBuf;

use jsonwebtoken::Algorithm;
use weir_fetch::{Endpoint, EndpointError};

/// A provider, and what its claims mean.
#[derive(Clone, Debug)]
pub struct OidcConfig {
    /// Exactly as the provider states it in `iss`.
    pub issuer: String,
    /// This client: what `aud` must name.
    pub client_id: String,
    /// The claim that is the user name: `sub` when absent.
    pub username_claim: Option<String>,
    /// What stands before it. When absent: nothing if the claim is `email`, else the issuer and `#`.
    /// `-` stands for nothing.
    pub username_prefix: Option<String>,
    /// The claim with the groups, a text or a list of texts; nobody has groups when absent.
    pub groups_claim: Option<String>,
    /// What stands before each group.
    pub groups_prefix: String,
    /// Algorithms by name, asymmetric ones; `RS256` when empty.
    pub algorithms: Vec<String>,
    /// Authorities of the provider in PEM; Mozilla's when absent.
    pub ca_file: Option<PathBuf>,
    /// Whether plain HTTP will do, to loopback and to Services of the cluster.
    pub allow_http: bool,
}

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The issuer is no URL that may be asked.
    #[error("the issuer: {0}")]
    Issuer(#[from] EndpointError),
    /// The issuer has a query or a fragment, which the specification forbids.
    #[error("the issuer: it may have no query and no fragment")]
    IssuerForm,
    /// There is no client.
    #[error("the client id is empty")]
    Client,
    /// An algorithm that nobody may use here.
    #[error("the algorithm {0:?}: one of {names} is needed", names = ALGORITHMS.map(|(name, _)| name).join(", "))]
    Algorithm(String),
}

const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// The settings, checked.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) username_claim: String,
    pub(crate) username_prefix: String,
    pub(crate) groups_claim: Option<String>,
    pub(crate) groups_prefix: String,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) allow_http: bool,
    /// Where discovery begins.
    pub(crate) document: Endpoint,
}

impl TryFrom<&OidcConfig> for Checked {
    type Error = ConfigError;

    fn try_from(config: &OidcConfig) -> Result<Self, ConfigError> {
        if config.issuer.contains(['?', '#']) {
            return Err(ConfigError::IssuerForm);
        }
        if config.client_id.is_empty() {
            return Err(ConfigError::Client);
        }
        let base = config.issuer.trim_end_matches('/');
        let document = format!("{base}/.well-known/openid-configuration");
        let username_claim = config.username_claim.as_deref().unwrap_or("sub");
        let username_prefix = match config.username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
            None if username_claim == "email" => String::new(),
            None => format!("{}#", config.issuer),
        };
        let algorithms: Result<Vec<_>, _> = config
            .algorithms
            .iter()
            .map(|name| algorithm(name))
            .collect();
        let algorithms = Some(algorithms?).filter(|algorithms| !algorithms.is_empty());
        Ok(Self {
            document: Endpoint::parse(&document, config.allow_http)?,
            issuer: config.issuer.clone(),
            client_id: config.client_id.clone(),
            username_claim: username_claim.to_owned(),
            username_prefix,
            groups_claim: config.groups_claim.clone(),
            groups_prefix: config.groups_prefix.clone(),
            algorithms: algorithms.unwrap_or_else(|| vec![Algorithm::RS256]),
            allow_http: config.allow_http,
        })
    }
}

fn algorithm(name: &str) -> Result<Algorithm, ConfigError> {
    let known = ALGORITHMS.iter().find(|(known, _)| *known == name);
    known
        .map(|(_, algorithm)| *algorithm)
        .ok_or_else(|| ConfigError::Algorithm(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::tests::config;

    #[test]
    fn names_are_made_as_kube_apiserver_makes_them() {
        let prefix = |change: fn(&mut OidcConfig)| {
            let mut config = config();
            change(&mut config);
            Checked::try_from(&config).unwrap().username_prefix
        };
        assert_eq!(prefix(|_| {}), "https://id.example#");
        assert_eq!(prefix(|c| c.username_claim = Some("email".into())), "");
        assert_eq!(prefix(|c| c.username_prefix = Some("-".into())), "");
        assert_eq!(
            prefix(|c| c.username_prefix = Some("oidc:".into())),
            "oidc:"
        );
    }

    #[test]
    fn refuses_algorithms_with_a_shared_secret_and_without_any() {
        for name in ["HS256", "none", "rs256", ""] {
            let mut config = config();
            config.algorithms = vec!["RS256".into(), name.into()];
            let error = Checked::try_from(&config).unwrap_err();
            assert_eq!(error, ConfigError::Algorithm(name.into()));
            assert!(error.to_string().contains("RS256, RS384"), "{error}");
        }
    }

    #[test]
    fn refuses_issuers_that_are_no_issuers() {
        for (issuer, plain) in [
            ("http://id.example", false),
            ("http://id.example", true),
            ("id.example", true),
            ("https://me:secret@id.example", true),
            ("https://id.example/?a=b", true),
            ("https://id.example/#x", true),
        ] {
            let mut config = config();
            config.issuer = issuer.into();
            config.allow_http = plain;
            assert!(Checked::try_from(&config).is_err(), "{issuer}");
        }
    }
}
