//! What is governed: a target, its addresses, and how its connections are made.
//!
//! Routing goes by the address that was dialled. A name that the client sends (SNI) only chooses
//! between targets that share that address; it can never move a connection to another one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A target within one bundle. Not stable across revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TargetId(pub u16);

/// A governed service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it is.
    pub addresses: Vec<Address>,
    /// Where its Services are.
    pub places: Vec<Places>,
    /// TLS towards it.
    pub upstream_tls: UpstreamTls,
    /// Whether a client may use TLS towards Weir.
    pub client_tls: ClientTls,
    /// Who logs in.
    pub credentials: Credentials,
    /// How column labels are resolved.
    pub catalog: Catalog,
    /// Whether a connection pooler stands in front of it.
    pub pooler: Pooler,
    /// How its host is known and who logs in there, where it speaks SSH.
    pub ssh: Ssh,
    /// Why every connection to it is refused, whoever makes it; none for a target that can be used.
    pub refused: Option<String>,
}

impl Target {
    /// The names under which clients reach it: host names, and those that the cluster's DNS gives
    /// Services; sorted, each once.
    pub fn client_names(&self) -> Vec<String> {
        let addresses = self.addresses.iter();
        let names = addresses.flat_map(|address| address.host.client_names());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The name that its certificate must bear: as the target says, else its first host name, else
    /// that of its first Service, `NAME.NAMESPACE.svc`. None: the address that is dialled.
    pub fn server_name(&self) -> Option<String> {
        let hosts = || self.addresses.iter().map(|address| &address.host);
        let given = self.upstream_tls.server_name.clone();
        let host = || {
            hosts().find_map(|host| match host {
                Host::Name(name) => Some(name.clone()),
                _ => None,
            })
        };
        let service = || {
            hosts().find_map(|host| match host {
                Host::Service { namespace, name } => Some(format!("{name}.{namespace}.svc")),
                _ => None,
            })
        };
        given.or_else(host).or_else(service)
    }
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Protocol {
    /// PostgreSQL 3.0 and 3.2.
    PostgreSQL,
    /// MySQL and MariaDB.
    MySQL,
    /// SSH.
    SSH,
    /// The Kubernetes API.
    Kubernetes,
}

/// One address of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Which machine.
    pub host: Host,
    /// Which ports.
    pub ports: Vec<u16>,
}

/// Places that lead to a Service of a target, as the cluster has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Places {
    /// They, IPv4 addresses never written as IPv6.
    pub addresses: Vec<SocketAddr>,
    /// How much the claim is worth.
    pub standing: Standing,
    /// Where connections to them end: every endpoint, ready or not. Empty where they are endpoints.
    #[serde(default)]
    pub behind: Vec<SocketAddr>,
}

/// How much a Service's claim to a place is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// The cluster gave it the place: a cluster IP, a node port, the address of a pod of its namespace.
    /// As exact as an address that a target names.
    Given,
    /// Somebody wrote it down: other endpoints, external and load-balancer addresses. An address that
    /// another target names, or was given, stays that target's; in another target's network it is nobody's.
    Written,
}

/// The host part of an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Host {
    /// A network; one address is a network of full length.
    Net(Cidr),
    /// A DNS name, resolved by the caller.
    Name(String),
    /// A Kubernetes Service: its names. The addresses that lead to it are [`Target::places`].
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Host {
    /// The names under which clients reach it.
    pub(crate) fn client_names(&self) -> Vec<String> {
        match self {
            Host::Name(name) => vec![name.clone()],
            Host::Service { namespace, name } => vec![
                name.clone(),
                format!("{name}.{namespace}"),
                format!("{name}.{namespace}.svc"),
                format!("{name}.{namespace}.svc.cluster.local"),
            ],
            Host::Net(_) => Vec::new(),
        }
    }
}

/// A network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

impl From<IpAddr> for Cidr {
    fn from(ip: IpAddr) -> Cidr {
        let base = canonical(ip);
        let prefix = if base.is_ipv4() { 32 } else { 128 };
        Cidr { base, prefix }
    }
}

impl Cidr {
    /// Parses `10.0.0.0/8`, `fd00::/8` or a single address. Host bits must be zero.
    pub fn parse(text: &str) -> Option<Cidr> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().ok()?;
        let width = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(text) => text.parse().ok().filter(|p| *p <= width)?,
            None => width,
        };
        let cidr = Cidr { base, prefix };
        (bits(base) & !cidr.mask() == 0).then_some(cidr)
    }

    /// Whether the address lies in the network. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (ip, base) = (canonical(ip), canonical(self.base));
        ip.is_ipv4() == base.is_ipv4() && (bits(ip) ^ bits(self.base)) & self.mask() == 0
    }

    /// The length of the fixed part, counted in 128 bits for both families.
    pub fn specificity(&self) -> u8 {
        if self.base.is_ipv4() {
            self.prefix + 96
        } else {
            self.prefix
        }
    }

    /// The single address, if the network holds only one.
    pub fn single(&self) -> Option<IpAddr> {
        (self.specificity() == 128).then_some(self.base)
    }

    fn mask(&self) -> u128 {
        match 128 - u32::from(self.specificity()) {
            128 => 0,
            host_bits => u128::MAX << host_bits,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(ip) => write!(f, "{ip}"),
            None => write!(f, "{}/{}", self.base, self.prefix),
        }
    }
}

fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(Ipv6Addr::from(v6.octets())),
    }
}

/// TLS towards the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamTls {
    /// How much is asked of it.
    pub mode: TlsMode,
    /// The CA that must have signed it.
    pub ca: Option<Source>,
    /// The name that the certificate must bear; else see [`Target::server_name`].
    pub server_name: Option<String>,
}

/// libpq's `sslmode`, as far as it makes sense for a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum TlsMode {
    /// Never.
    Disable,
    /// If the server can; unverified.
    Prefer,
    /// Always; unverified unless a CA is given.
    Require,
    /// Always; the chain is verified.
    VerifyCA,
    /// Always; chain and name are verified.
    VerifyFull,
}

/// Where a secret or certificate comes from. The bundle never holds the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// An object in Weir's namespace, or a directory of that name under the secrets directory.
    Ref(String),
    /// A file.
    File(String),
}

/// Whether a client may use TLS towards Weir.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ClientTls {
    /// A request for TLS is accepted with a minted certificate.
    Offer,
    /// A request for TLS is answered `N`.
    Refuse,
}

/// Who logs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credentials {
    /// The client, with its own secret.
    PassThrough,
    /// Weir.
    Brokered {
        /// The login that Weir uses.
        login: Login,
        /// What the client must show to Weir.
        client: ClientLogin,
    },
}

/// Where a user name and a password come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Login {
    /// An object with the keys `username` and `password`.
    Ref(String),
    /// One file for each.
    Files {
        /// The user name.
        username: String,
        /// The password.
        password: String,
    },
    /// A bearer token: the key `token` of an object, or a file.
    Token(Source),
    /// The token of the pod's own service account, which only Weir holds.
    PodToken,
}

/// What a client must show under brokered credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientLogin {
    /// Nothing: its identity is attested by where it runs.
    Any,
    /// SCRAM against this placeholder.
    Password(Source),
}

/// How column labels are resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// How long a cached answer may be used; bounds what DDL by others can hide.
    pub refresh: Duration,
    /// Weir's own login for catalog queries; else the client's session is used while idle.
    pub login: Option<Login>,
}

/// What only a target that speaks SSH has. Without a key, an authority or a file that vouches for its
/// host, and without trust on first use, no connection to it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ssh {
    /// Its host keys, as `ALGORITHM BASE64`.
    pub host_keys: Vec<String>,
    /// Authorities that sign its host keys, as `ALGORITHM BASE64`.
    pub host_authorities: Vec<String>,
    /// A `known_hosts` file with the keys of its hosts.
    pub known_hosts: Option<Source>,
    /// Whether the key that a host shows first is kept, and only that one is accepted afterwards.
    pub trust_on_first_use: bool,
    /// The user to log in as under brokered credentials; else the secret's, else the client's.
    pub user: Option<String>,
}

/// A connection pooler in front of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Pooler {
    /// None: a session is a server session.
    None,
    /// Transactions may run on different server sessions; judgements that need one are refused.
    Transaction,
}

/// What DNS said: name to addresses. Filled by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved(BTreeMap<String, Vec<IpAddr>>);

impl Resolved {
    /// Records the addresses of a name, in place of what was known.
    pub fn insert(&mut self, name: &str, ips: Vec<IpAddr>) {
        self.0.insert(name.to_ascii_lowercase(), ips);
    }

    /// The addresses of a name.
    pub fn ips(&self, name: &str) -> &[IpAddr] {
        self.0
            .get(&name.to_ascii_lowercase())
            .map_or(&[], Vec::as_slice)
    }
}

impl Address {
    /// How exactly this address covers a destination; none if it does not.
    pub(crate) fn covers(&self, ip: IpAddr, port: u16, resolved: &Resolved) -> Option<u8> {
        if !self.ports.contains(&port) {
            return None;
        }
        match &self.host {
            Host::Net(cidr) => cidr.contains(ip).then(|| cidr.specificity()),
            Host::Name(name) => resolved
                .ips(name)
                .iter()
                .any(|known| canonical(*known) == canonical(ip))
                .then_some(128),
            Host::Service { .. } => None,
        }
    }
}
