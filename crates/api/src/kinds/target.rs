//! `Target`: what is governed.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use weir_policy::{ClientTls, Protocol, TlsMode};

use super::{Empty, NameRef};
use crate::units::Span;

/// Something that Weir governs: what it speaks, where it is, and how Weir connects to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetSpec {
    /// The protocol that it speaks. This version enforces `PostgreSQL` and `SSH`.
    pub protocol: Protocol,
    /// Where it is. A connection belongs to the Target with the most exact address.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub addresses: Vec<AddressSpec>,
    /// TLS from Weir to it.
    #[serde(rename = "upstreamTLS", default)]
    pub upstream_tls: UpstreamTlsSpec,
    /// Whether clients may use TLS towards Weir. Left out: `Refuse` with PassThrough, `Offer` with
    /// Brokered.
    #[serde(rename = "clientTLS", default)]
    pub client_tls: Option<ClientTls>,
    /// Who logs in to it.
    #[serde(default)]
    pub credentials: CredentialsSpec,
    /// How the columns that labels name are found.
    #[serde(default)]
    pub catalog: CatalogSpec,
    /// Whether a connection pooler stands in front of it. `Transaction` is not enforced by this
    /// version.
    #[serde(default)]
    pub pooler: PoolerSpec,
    /// With SSH: how its host is known, and which user Weir logs in as.
    #[serde(default)]
    pub ssh: Option<SshSpec>,
    /// What happens to a connection that does not speak the protocol.
    #[serde(default)]
    pub on_protocol_mismatch: ProtocolMismatch,
}

/// How the host of an SSH target is known: by its keys, by an authority that signs them, or by a
/// `known_hosts` file. At least one is needed, or `trustOnFirstUse`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SshSpec {
    /// Its host keys, each as `ALGORITHM BASE64`, such as a line of `ssh-keyscan` without the name.
    #[serde(default)]
    #[cfg_attr(
        feature = "crds",
        schemars(length(max = 32), inner(length(max = 4096)))
    )]
    pub host_keys: Vec<String>,
    /// Authorities whose host certificates it may show, each as `ALGORITHM BASE64`.
    #[serde(rename = "hostCA", default)]
    #[cfg_attr(
        feature = "crds",
        schemars(length(max = 32), inner(length(max = 4096)))
    )]
    pub host_ca: Vec<String>,
    /// An object in Weir's own namespace with `known_hosts`.
    #[serde(default)]
    pub known_hosts_ref: Option<NameRef>,
    /// A `known_hosts` file that Weir can read.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 4096)))]
    pub known_hosts_file: Option<String>,
    /// Whether the key that a host shows first is kept and recorded; any other is refused afterwards.
    #[serde(default)]
    pub trust_on_first_use: bool,
    /// With `Brokered`: the user to log in as, where the Secret has no `username`. Left out as well: the
    /// user that the client asks for.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 256)))]
    pub user: Option<String>,
}

/// One address: exactly one of `host`, `cidr` and `service`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::address))]
#[serde(deny_unknown_fields)]
pub struct AddressSpec {
    /// A DNS name or an IP address.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(regex(pattern = crate::crd::patterns::HOST), transform = crate::crd::rules::host))]
    pub host: Option<String>,
    /// A network such as `10.20.0.0/16`, without bits beyond its length.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 64), transform = crate::crd::rules::cidr))]
    pub cidr: Option<String>,
    /// A Kubernetes Service; its ClusterIPs, endpoints, node ports and external addresses count.
    #[serde(default)]
    pub service: Option<ServiceRef>,
    /// The port, with `host` and `cidr`.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(range(min = 1)))]
    pub port: Option<u16>,
    /// Several ports, with `host` and `cidr`.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(range(min = 1))))]
    pub ports: Vec<u16>,
}

/// A Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceRef {
    /// The namespace of the Service.
    #[cfg_attr(feature = "crds", schemars(length(max = 63)))]
    pub namespace: String,
    /// The name of the Service.
    pub name: String,
    /// The port of the Service.
    #[cfg_attr(feature = "crds", schemars(range(min = 1)))]
    pub port: u16,
}

/// TLS from Weir to the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::upstream_tls))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamTlsSpec {
    /// How much is asked of the server.
    #[serde(default = "verify_full")]
    pub mode: TlsMode,
    /// The CA, as an object in Weir's own namespace. Without `caRef` and `caFile`: the platform's
    /// roots.
    #[serde(default)]
    pub ca_ref: Option<NameRef>,
    /// The CA, as a PEM file that Weir can read.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 4096)))]
    pub ca_file: Option<String>,
    /// The name in the server's certificate, where it is not the host's.
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

/// Who logs in. With `Brokered` the login is `secretRef`, or both files; for Kubernetes `secretRef`,
/// `tokenFile` or `podToken`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::credentials))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialsSpec {
    /// Whether the client logs in itself, or Weir does on its behalf.
    #[serde(default)]
    pub mode: CredentialMode,
    /// With `Brokered`: Weir's login, an object in Weir's own namespace with `username` and
    /// `password`. For SSH: `ssh-privatekey`, with `ssh-privatekey-cert.pub` where a certificate
    /// belongs to it, or `password`, or `ssh-ca-key`, an authority of users that signs a certificate
    /// for each connection; and `username`, unless the Target or the client says who.
    #[serde(default)]
    pub secret_ref: Option<NameRef>,
    /// With `Brokered`: the user name of Weir's login, as a file that Weir can read.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 4096)))]
    pub username_file: Option<String>,
    /// With `Brokered`: the password of Weir's login, as a file that Weir can read.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 4096)))]
    pub password_file: Option<String>,
    /// With `Brokered` and protocol Kubernetes: a bearer token, as a file that Weir can read. With
    /// `secretRef` instead, the key is `token`.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 4096)))]
    pub token_file: Option<String>,
    /// With `Brokered` and protocol Kubernetes: the token of the pod's own service account, which the
    /// application does not have. Written `podToken: {}`.
    #[serde(default)]
    pub pod_token: Option<Empty>,
    /// With `Brokered`: what a client must show to Weir. Left out: nothing; for Kubernetes, the
    /// placeholder token of its pod.
    #[serde(default, deserialize_with = "client_login")]
    pub client: Option<ClientLoginSpec>,
}

/// Reads what a client must show; in files the text `Any` stands for `{any: {}}`.
fn client_login<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ClientLoginSpec>, D::Error> {
    struct Text;
    impl<'de> Visitor<'de> for Text {
        type Value = Option<ClientLoginSpec>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("`Any`, or one of `any` and `password`")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            if text != "Any" {
                return Err(E::invalid_value(de::Unexpected::Str(text), &self));
            }
            Ok(Some(ClientLoginSpec {
                any: Some(Empty::default()),
                password: None,
            }))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            ClientLoginSpec::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
    from.deserialize_any(Text)
}

/// Who logs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
pub enum CredentialMode {
    /// The client, with its own secret.
    #[default]
    PassThrough,
    /// Weir; the client never sees the secret.
    Brokered,
}

/// What a client must show to Weir: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::client_login))]
#[serde(deny_unknown_fields)]
pub struct ClientLoginSpec {
    /// Nothing: whatever the client logs in with is accepted. Written `any: {}`.
    #[serde(default)]
    pub any: Option<Empty>,
    /// A placeholder password, by SCRAM.
    #[serde(default)]
    pub password: Option<PasswordSpec>,
}

/// A placeholder password: exactly one of the fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::password))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordSpec {
    /// An object in Weir's own namespace with `password`.
    #[serde(default)]
    pub secret_ref: Option<NameRef>,
    /// A file that Weir can read.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 4096)))]
    pub file: Option<String>,
}

/// A login: `secretRef`, or both files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::login))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoginSpec {
    /// An object in Weir's own namespace with `username` and `password`.
    #[serde(default)]
    pub secret_ref: Option<NameRef>,
    /// The user name, as a file that Weir can read.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 4096)))]
    pub username_file: Option<String>,
    /// The password, as a file that Weir can read.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 4096)))]
    pub password_file: Option<String>,
}

/// How the columns that labels name are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CatalogSpec {
    /// How long an answer of the target's catalog is used. It bounds what schema changes by others
    /// can hide.
    #[serde(default = "minute")]
    #[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::not_zero))]
    pub refresh_interval: Span,
    /// Weir's own login for catalog queries. Left out: the client's session, while it is idle.
    /// Not enforced by this version.
    #[serde(default)]
    pub credentials: Option<LoginSpec>,
}

const fn minute() -> Span {
    Span(std::time::Duration::from_secs(60))
}

impl Default for CatalogSpec {
    fn default() -> CatalogSpec {
        CatalogSpec {
            refresh_interval: minute(),
            credentials: None,
        }
    }
}

/// A pooler in front of the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
pub enum PoolerSpec {
    /// None.
    #[default]
    None,
    /// One that may run each transaction on another server session.
    Transaction,
}

/// What happens to bytes that are not the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
pub enum ProtocolMismatch {
    /// The connection is refused.
    #[default]
    Refuse,
}
