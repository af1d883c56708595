//! `Target` to [`weir_policy::Target`].

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir_policy::{
    Address, Catalog, Cidr, ClientLogin, ClientTls, Credentials, Host, Login, Places, Pooler,
    Protocol, Source, Ssh, Standing, Target, TlsMode, UpstreamTls,
};

use super::{References, Report, Services};
use crate::diagnostic::Reason;
use crate::kinds::{
    AddressSpec, ClientLoginSpec, CredentialMode, CredentialsSpec, LoginSpec, NameRef, PoolerSpec,
    TargetSpec, UpstreamTlsSpec,
};
use crate::load::Resource;
use crate::tree::Origin;

/// How long a catalog answer may be used unless the Target says otherwise.
const CATALOG_REFRESH: Duration = Duration::from_secs(60);

pub(super) fn compile(
    resource: &Resource<TargetSpec>,
    services: Option<&Services>,
    report: &mut Report,
) -> Target {
    let (spec, origin) = (&resource.spec, &resource.origin);
    if spec.protocol == Protocol::MySQL {
        report.unenforced(
            origin,
            "spec.protocol",
            &format!("protocol {:?}", spec.protocol),
        );
    }
    if spec.addresses.is_empty() {
        report.error(origin, "spec.addresses", "names no address");
    }
    let (mut addresses, mut places) = (Vec::new(), Vec::new());
    for (i, address) in spec.addresses.iter().enumerate() {
        let field = format!("spec.addresses[{i}]");
        if let Some(compiled) = compile_address(address, &field, origin, report) {
            if let (Host::Service { .. }, Some(services)) = (&compiled.host, services) {
                places.extend(resolve(address, &field, services, origin, report));
            }
            addresses.push(compiled);
        }
    }
    let is_service = |a: &Address| matches!(a.host, Host::Service { .. });
    if services.is_none() && !addresses.is_empty() && addresses.iter().all(is_service) {
        let message = "only a controller can resolve a Service: without one, this target is not \
                       reached by any connection";
        report.warning(origin, "spec.addresses", message);
    }
    if spec.catalog.credentials.is_some() {
        report.unenforced(origin, "spec.catalog.credentials", "a login of Weir's own");
    }
    if !matches!(spec.pooler, PoolerSpec::None) {
        report.unenforced(origin, "spec.pooler", "a pooler behind the target");
    }
    Target {
        name: resource.metadata.name.clone(),
        protocol: spec.protocol,
        addresses,
        places,
        upstream_tls: compile_tls(&spec.upstream_tls, origin, report),
        client_tls: spec.client_tls.unwrap_or(match spec.credentials.mode {
            _ if spec.protocol == Protocol::Kubernetes => ClientTls::Offer,
            CredentialMode::PassThrough => ClientTls::Refuse,
            CredentialMode::Brokered => ClientTls::Offer,
        }),
        credentials: match spec.protocol {
            Protocol::Kubernetes => compile_token(&spec.credentials, origin, report),
            _ => compile_credentials(&spec.credentials, origin, report),
        },
        catalog: Catalog {
            refresh: match spec.catalog.refresh_interval {
                span if span.0.is_zero() => {
                    report.error(origin, "spec.catalog.refreshInterval", "must not be zero");
                    CATALOG_REFRESH
                }
                span => span.0,
            },
            login: spec
                .catalog
                .credentials
                .as_ref()
                .and_then(|login| compile_login(login, "spec.catalog.credentials", origin, report)),
        },
        pooler: match spec.pooler {
            PoolerSpec::None => Pooler::None,
            PoolerSpec::Transaction => Pooler::Transaction,
        },
        ssh: compile_ssh(spec, origin, report),
        refused: None,
    }
}

/// Every place that leads to a Service.
fn resolve(
    spec: &AddressSpec,
    field: &str,
    services: &Services,
    origin: &Origin,
    report: &mut Report,
) -> Vec<Places> {
    let Some(service) = &spec.service else {
        return Vec::new();
    };
    let found = services.get(service).map_or(&[][..], Vec::as_slice);
    if found.is_empty() {
        let (namespace, name, port) = (&service.namespace, &service.name, service.port);
        let message = format!(
            "Service {namespace}/{name} has no address for port {port}: nothing leads to it"
        );
        let field = format!("{field}.service");
        report.notice(origin, &field, Reason::UnresolvedService, message);
    }
    found.to_vec()
}

fn compile_address(
    spec: &AddressSpec,
    field: &str,
    origin: &Origin,
    report: &mut Report,
) -> Option<Address> {
    let mut ports = spec.ports.clone();
    ports.extend(spec.port);
    let host = match (&spec.host, &spec.cidr, &spec.service) {
        (Some(host), None, None) => compile_host(host, &format!("{field}.host"), origin, report)?,
        (None, Some(cidr), None) => match Cidr::parse(cidr) {
            Some(cidr) => Host::Net(cidr),
            None => {
                let message =
                    format!("`{cidr}` is not a network, or has bits set beyond its length");
                report.error(origin, &format!("{field}.cidr"), message);
                return None;
            }
        },
        (None, None, Some(service)) => {
            if !ports.is_empty() {
                report.error(
                    origin,
                    field,
                    "the port of a Service is given inside `service`",
                );
            }
            ports = vec![service.port];
            Host::Service {
                namespace: service.namespace.clone(),
                name: service.name.clone(),
            }
        }
        _ => {
            report.error(
                origin,
                field,
                "exactly one of `host`, `cidr` and `service` is needed",
            );
            return None;
        }
    };
    if ports.is_empty() {
        report.error(origin, field, "field `port` is missing");
    }
    if ports.contains(&0) {
        report.error(origin, field, "0 is not a port");
    }
    ports.sort_unstable();
    ports.dedup();
    Some(Address { host, ports })
}

fn compile_host(host: &str, field: &str, origin: &Origin, report: &mut Report) -> Option<Host> {
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    if bare.parse::<IpAddr>().is_ok() {
        return Cidr::parse(bare).map(Host::Net);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty() || !host.chars().all(plain) {
        let message = format!("`{host}` is neither a DNS name nor an IP address");
        report.error(origin, field, message);
        return None;
    }
    Some(Host::Name(host.trim_end_matches('.').to_ascii_lowercase()))
}

fn compile_tls(spec: &UpstreamTlsSpec, origin: &Origin, report: &mut Report) -> UpstreamTls {
    let field = "spec.upstreamTLS";
    let ca = source(spec.ca_ref.as_ref(), spec.ca_file.as_ref());
    if spec.ca_ref.is_some() && spec.ca_file.is_some() {
        report.error(origin, field, "`caRef` and `caFile` exclude each other");
    }
    if spec.mode == TlsMode::Disable && (ca.is_some() || spec.server_name.is_some()) {
        report.error(origin, field, "mode Disable uses no CA and no server name");
    }
    if spec.mode == TlsMode::Prefer && ca.is_some() {
        report.error(
            origin,
            field,
            "mode Prefer verifies nothing: the CA would not be used",
        );
    }
    if matches!(spec.mode, TlsMode::Prefer | TlsMode::Require) && ca.is_none() {
        let message = "the server is not verified: whoever answers there can read the traffic";
        report.warning(origin, &format!("{field}.mode"), message);
    }
    UpstreamTls {
        mode: spec.mode,
        ca,
        server_name: spec.server_name.clone(),
    }
}

fn compile_ssh(spec: &TargetSpec, origin: &Origin, report: &mut Report) -> Ssh {
    let field = "spec.ssh";
    let Some(ssh) = &spec.ssh else {
        if spec.protocol == Protocol::SSH {
            let message = "nothing vouches for the host: hostKeys, hostCA, knownHostsRef or \
                           knownHostsFile is needed";
            report.error(origin, field, message);
        }
        return Ssh::default();
    };
    if spec.protocol != Protocol::SSH {
        report.error(origin, field, "only a target with protocol SSH has it");
    }
    if ssh.known_hosts_ref.is_some() && ssh.known_hosts_file.is_some() {
        let message = "`knownHostsRef` and `knownHostsFile` exclude each other";
        report.error(origin, field, message);
    }
    for (name, keys) in [("hostKeys", &ssh.host_keys), ("hostCA", &ssh.host_ca)] {
        for (i, key) in keys.iter().enumerate() {
            if !is_public_key(key) {
                let message = format!("`{key}` is not a public key as `ALGORITHM BASE64`");
                report.error(origin, &format!("{field}.{name}[{i}]"), message);
            }
        }
    }
    let known_hosts = source(ssh.known_hosts_ref.as_ref(), ssh.known_hosts_file.as_ref());
    let vouched = !ssh.host_keys.is_empty() || !ssh.host_ca.is_empty() || known_hosts.is_some();
    if !vouched && !ssh.trust_on_first_use {
        let message = "nothing vouches for the host: hostKeys, hostCA, knownHostsRef or \
                       knownHostsFile is needed";
        report.error(origin, field, message);
    }
    if ssh.trust_on_first_use {
        let message = "whoever answers first is taken for the host: its key is kept and recorded";
        report.warning(origin, &format!("{field}.trustOnFirstUse"), message);
    }
    Ssh {
        host_keys: ssh.host_keys.clone(),
        host_authorities: ssh.host_ca.clone(),
        known_hosts,
        trust_on_first_use: ssh.trust_on_first_use,
        user: ssh.user.clone(),
    }
}

/// Whether it looks like a public key: what its algorithm's name is, its blob says too.
fn is_public_key(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace();
    let (Some(algorithm), Some(blob)) = (words.next(), words.next()) else {
        return false;
    };
    let named = |blob: &[u8]| {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        rest.get(..u32::from_be_bytes(*length) as usize)
            .map(|name| name == algorithm.as_bytes())
    };
    STANDARD
        .decode(blob)
        .is_ok_and(|blob| named(&blob) == Some(true))
}

fn source(name: Option<&NameRef>, file: Option<&String>) -> Option<Source> {
    match (name, file) {
        (Some(name), _) => Some(Source::Ref(name.name.clone())),
        (None, Some(file)) => Some(Source::File(file.clone())),
        (None, None) => None,
    }
}

fn compile_credentials(
    spec: &CredentialsSpec,
    origin: &Origin,
    report: &mut Report,
) -> Credentials {
    let field = "spec.credentials";
    if spec.token_file.is_some() || spec.pod_token.is_some() {
        let message = "only a target with protocol Kubernetes has a token";
        report.error(origin, field, message);
    }
    let login = LoginSpec {
        secret_ref: spec.secret_ref.clone(),
        username_file: spec.username_file.clone(),
        password_file: spec.password_file.clone(),
    };
    if spec.mode == CredentialMode::PassThrough {
        if login != LoginSpec::default() || spec.client.is_some() {
            let message = "PassThrough uses no login of Weir's: `mode: Brokered` is missing, or \
                           the other fields are too many";
            report.error(origin, field, message);
        }
        return Credentials::PassThrough;
    }
    let Some(login) = compile_login(&login, field, origin, report) else {
        return Credentials::PassThrough;
    };
    let client = match &spec.client {
        None
        | Some(ClientLoginSpec {
            any: Some(_),
            password: None,
        }) => ClientLogin::Any,
        Some(ClientLoginSpec {
            any: None,
            password: Some(password),
        }) => {
            let field = format!("{field}.client.password");
            if password.secret_ref.is_some() == password.file.is_some() {
                report.error(
                    origin,
                    &field,
                    "exactly one of `secretRef` and `file` is needed",
                );
            }
            match source(password.secret_ref.as_ref(), password.file.as_ref()) {
                Some(source) => ClientLogin::Password(source),
                None => ClientLogin::Any,
            }
        }
        Some(_) => {
            report.error(
                origin,
                &format!("{field}.client"),
                "exactly one of `any` and `password` is needed",
            );
            ClientLogin::Any
        }
    };
    Credentials::Brokered { login, client }
}

/// Who logs in to a Kubernetes API: whoever brings a token, or Weir with one.
fn compile_token(spec: &CredentialsSpec, origin: &Origin, report: &mut Report) -> Credentials {
    let field = "spec.credentials";
    let user = spec.username_file.is_some() || spec.password_file.is_some();
    if user || spec.client.is_some() {
        let message = "a Kubernetes API takes a token: `secretRef`, `tokenFile` or `podToken`";
        report.error(origin, field, message);
    }
    let token = source(spec.secret_ref.as_ref(), spec.token_file.as_ref()).map(Login::Token);
    let pod = spec.pod_token.map(|_| Login::PodToken);
    let twice = spec.secret_ref.is_some() && spec.token_file.is_some();
    let login = match (spec.mode, token, pod) {
        (CredentialMode::PassThrough, None, None) => return Credentials::PassThrough,
        (CredentialMode::Brokered, Some(login), None)
        | (CredentialMode::Brokered, None, Some(login))
            if !twice =>
        {
            login
        }
        (CredentialMode::PassThrough, ..) => {
            let message = "PassThrough uses no token of Weir's: `mode: Brokered` is missing, or the \
                           other fields are too many";
            report.error(origin, field, message);
            return Credentials::PassThrough;
        }
        (CredentialMode::Brokered, ..) => {
            let message = "needs exactly one of `secretRef`, `tokenFile` and `podToken`";
            report.error(origin, field, message);
            return Credentials::PassThrough;
        }
    };
    let client = ClientLogin::Any;
    Credentials::Brokered { login, client }
}

fn compile_login(
    spec: &LoginSpec,
    field: &str,
    origin: &Origin,
    report: &mut Report,
) -> Option<Login> {
    match (&spec.secret_ref, &spec.username_file, &spec.password_file) {
        (Some(name), None, None) => Some(Login::Ref(name.name.clone())),
        (None, Some(username), Some(password)) => Some(Login::Files {
            username: username.clone(),
            password: password.clone(),
        }),
        _ => {
            let message = "needs `secretRef`, or `usernameFile` and `passwordFile`";
            report.error(origin, field, message);
            None
        }
    }
}

/// Two targets must not claim the same address: which one governs it would be an accident, and
/// connections to it are refused.
pub(super) fn check_overlaps(
    resources: &[Resource<TargetSpec>],
    targets: &[Target],
    report: &mut Report,
) {
    for (i, (resource, target)) in resources.iter().zip(targets).enumerate() {
        for (earlier, other) in resources.iter().zip(targets).take(i) {
            if target.name == other.name || !clash(target, other) {
                continue;
            }
            let both = match report.references() {
                References::Strict => None,
                References::Lenient => Some((earlier, target)),
            };
            for (resource, other) in both.into_iter().chain([(resource, other)]) {
                let message = format!("Target `{}` has the same address", other.name);
                let reason = Reason::AddressConflict;
                report.reference(&resource.origin, "spec.addresses", reason, message, None);
            }
        }
    }
}

fn clash(one: &Target, other: &Target) -> bool {
    let same = |a: &Address, b: &Address| {
        a.host == b.host && a.ports.iter().any(|port| b.ports.contains(port))
    };
    let mut addresses = one.addresses.iter();
    addresses.any(|a| other.addresses.iter().any(|b| same(a, b)))
        || takes(one, other)
        || takes(other, one)
}

/// Whether a place of one target's Services is the other's as well. What is written down of a Service
/// is no more exact than a network.
fn takes(one: &Target, other: &Target) -> bool {
    let theirs = other.places.iter().flat_map(|places| &places.addresses);
    let theirs: HashSet<&SocketAddr> = theirs.collect();
    let named = |at: &SocketAddr, standing: Standing| {
        let mut addresses = other.addresses.iter();
        addresses.any(|address| match &address.host {
            Host::Net(net) if standing == Standing::Written || net.single().is_some() => {
                net.contains(at.ip()) && address.ports.contains(&at.port())
            }
            _ => false,
        })
    };
    one.places.iter().any(|places| {
        let mut all = places.addresses.iter();
        all.any(|at| theirs.contains(at) || named(at, places.standing))
    })
}
