//! The settings as options of a command line, named as kube-apiserver names them. Collector and
//! controller take the same.

use std::path::PathBuf;

use crate::{ConfigError, OidcConfig, Verifier};

/// Who is believed to say who somebody is.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "OpenID Connect")]
pub struct OidcArgs {
    /// The provider, as it states itself; without it only the cluster says who somebody is
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    pub oidc_issuer_url: Option<String>,
    /// This client at the provider: what a token must be for
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    pub oidc_client_id: Option<String>,
    /// The claim with the user's name
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    pub oidc_username_claim: String,
    /// What stands before a user's name; - for nothing [default: the issuer and #, nothing for email]
    #[arg(long, value_name = "PREFIX")]
    pub oidc_username_prefix: Option<String>,
    /// The claim with the user's groups
    #[arg(long, value_name = "CLAIM")]
    pub oidc_groups_claim: Option<String>,
    /// What stands before each group
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub oidc_groups_prefix: String,
    /// Algorithms that tokens may be signed with
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "RS256"
    )]
    pub oidc_signing_algs: Vec<String>,
    /// File with the provider's authorities in PEM [default: Mozilla's]
    #[arg(long, value_name = "FILE")]
    pub oidc_ca_file: Option<PathBuf>,
    /// Allow plain HTTP, to Services of the cluster and to loopback
    #[arg(long)]
    pub oidc_allow_http: bool,
}

impl OidcArgs {
    /// The verifier of these settings; none without a provider.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn verifier(&self) -> Result<Option<Verifier>, ConfigError> {
        let Some(issuer) = &self.oidc_issuer_url else {
            return Ok(None);
        };
        let config = OidcConfig {
            issuer: issuer.clone(),
            client_id: self.oidc_client_id.clone().unwrap_or_default(),
            username_claim: Some(self.oidc_username_claim.clone()),
            username_prefix: self.oidc_username_prefix.clone(),
            groups_claim: self.oidc_groups_claim.clone(),
            groups_prefix: self.oidc_groups_prefix.clone(),
            algorithms: self.oidc_signing_algs.clone(),
            ca_file: self.oidc_ca_file.clone(),
            allow_http: self.oidc_allow_http,
        };
        Verifier::new(&config).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        oidc: OidcArgs,
    }

    fn parsed(args: &[&str]) -> Result<OidcArgs, clap::Error> {
        let args = std::iter::once(&"program").chain(args);
        Program::try_parse_from(args).map(|program| program.oidc)
    }

    #[test]
    fn without_a_provider_nobody_is_believed_and_half_of_one_is_refused() {
        assert!(parsed(&[]).unwrap().verifier().unwrap().is_none());
        assert!(parsed(&["--oidc-issuer-url=https://id.example"]).is_err());
        assert!(parsed(&["--oidc-client-id=weir"]).is_err());
        let both = [
            "--oidc-issuer-url=https://id.example",
            "--oidc-client-id=weir",
        ];
        assert!(parsed(&both).unwrap().verifier().unwrap().is_some());
        let odd = [both[0], both[1], "--oidc-signing-algs=RS256,HS256"];
        assert!(parsed(&odd).unwrap().verifier().is_err());
    }
}
