//! `Target`: what is governed.

use serde::{Deserialize, Serialize};
use weir_policy::{ClientTls, Protocol, TlsMode};

use super::NameRef;
use crate::units::Span;

/// What is governed, where it is and how Weir connects to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetSpec {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it is; at least one.
    pub addresses: Vec<AddressSpec>,
    /// TLS towards it.
    #[serde(rename = "upstreamTLS", default)]
    pub upstream_tls: UpstreamTlsSpec,
    /// TLS offered to clients. Default: `Refuse` with PassThrough, `Offer` with Brokered.
    #[serde(rename = "clientTLS", default)]
    pub client_tls: Option<ClientTls>,
    /// Who logs in.
    #[serde(default)]
    pub credentials: CredentialsSpec,
    /// How column labels are resolved.
    #[serde(default)]
    pub catalog: CatalogSpec,
    /// Whether a pooler stands in front of it.
    #[serde(default)]
    pub pooler: PoolerSpec,
    /// What happens to bytes that are not the protocol.
    #[serde(default)]
    pub on_protocol_mismatch: ProtocolMismatch,
}

/// One address: exactly one of `host`, `cidr`, `service`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressSpec {
    /// A DNS name or an IP address.
    #[serde(default)]
    pub host: Option<String>,
    /// A network.
    #[serde(default)]
    pub cidr: Option<String>,
    /// A Kubernetes Service.
    #[serde(default)]
    pub service: Option<ServiceRef>,
    /// The port, with `host` and `cidr`.
    #[serde(default)]
    pub port: Option<u16>,
    /// Several ports, with `host` and `cidr`.
    #[serde(default)]
    pub ports: Vec<u16>,
}

/// A Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// TLS towards the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamTlsSpec {
    /// How much is asked of it. Default `VerifyFull`.
    #[serde(default = "verify_full")]
    pub mode: TlsMode,
    /// The CA, by name.
    #[serde(default)]
    pub ca_ref: Option<NameRef>,
    /// The CA, as a PEM file.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// The name in the certificate, where it is not the host's.
    #[serde(default)]
    pub server_name: Option<String>,
}

const fn verify_full() -> TlsMode {
    TlsMode::VerifyFull
}

impl Default for UpstreamTlsSpec {
    fn default() -> UpstreamTlsSpec {
        UpstreamTlsSpec {
            mode: verify_full(),
            ca_ref: None,
            ca_file: None,
            server_name: None,
        }
    }
}

/// Who logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialsSpec {
    /// The client itself, or Weir on its behalf.
    #[serde(default)]
    pub mode: CredentialMode,
    /// Weir's login, by name: an object with `username` and `password`.
    #[serde(default)]
    pub secret_ref: Option<NameRef>,
    /// The user name of Weir's login, as a file.
    #[serde(default)]
    pub username_file: Option<String>,
    /// The password of Weir's login, as a file.
    #[serde(default)]
    pub password_file: Option<String>,
    /// What a client must show to Weir. Default `Any`.
    #[serde(default)]
    pub client: Option<ClientLoginSpec>,
}

/// Who logs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CredentialMode {
    /// The client, with its own secret.
    #[default]
    PassThrough,
    /// Weir.
    Brokered,
}

/// What a client must show under `Brokered`: `Any`, or `{password: …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientLoginSpec {
    /// Nothing.
    Any,
    /// A placeholder password, by SCRAM.
    #[serde(rename = "password", alias = "Password")]
    Password(PasswordSpec),
}

/// A placeholder password: exactly one of both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordSpec {
    /// By name.
    #[serde(default)]
    pub secret_ref: Option<NameRef>,
    /// As a file.
    #[serde(default)]
    pub file: Option<String>,
}

/// A login: `secretRef`, or both files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoginSpec {
    /// By name.
    #[serde(default)]
    pub secret_ref: Option<NameRef>,
    /// The user name, as a file.
    #[serde(default)]
    pub username_file: Option<String>,
    /// The password, as a file.
    #[serde(default)]
    pub password_file: Option<String>,
}

/// How column labels are resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CatalogSpec {
    /// How long an answer of the catalog may be used. Default 60 s.
    #[serde(default)]
    pub refresh_interval: Option<Span>,
    /// Weir's own login for catalog queries.
    #[serde(default)]
    pub credentials: Option<LoginSpec>,
}

/// A pooler in front of the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolerSpec {
    /// None.
    #[default]
    None,
    /// One that may run each transaction on another server session.
    Transaction,
}

/// What happens to bytes that are not the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProtocolMismatch {
    /// The connection is refused.
    #[default]
    Refuse,
}
