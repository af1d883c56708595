//! What all connections share, and where each one begins.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Semaphore;
use weir_audit::{
    ConnectionRefused, Finding, FindingCode, FingerprintKey, Names, QuarantineChanged, Record,
    Session as AuditSession, SessionId,
};
use weir_detect::mask::TokenKey;
use weir_policy::{Bundle, Protocol, Resolved, TargetId, Unroutable};
use weir_transport::listen::Accepted;
use weir_transport::resolver::Resolver;
use weir_transport::tls::Authority;

use crate::incoming::Incoming;
use crate::kubernetes::Memory;
use crate::leash::{CutOff, quarantined};
use crate::place::{Place, Way};
use crate::ports::{AuditSink, Budgets, Credentials, Holds, Identities, PinStore, Policies};
use crate::postgres::{CancelRegistry, Catalogs, Definitions, StatementCache};
use crate::scopes::Scopes;
use crate::ssh::HostKeys;
use crate::{kubernetes, millis, postgres, relay, ssh, wall_clock};

/// What happens to a connection that no Target covers and that is no governed protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatched {
    /// It is relayed, and recorded.
    Relay,
    /// It is refused, and recorded.
    Refuse,
}

/// What an engine is made of.
pub struct EngineConfig {
    /// The policy in force.
    pub policies: Arc<dyn Policies>,
    /// Who the connections come from.
    pub identities: Arc<dyn Identities>,
    /// Where evidence goes.
    pub sink: Arc<dyn AuditSink>,
    /// Where holds are decided.
    pub holds: Arc<dyn Holds>,
    /// The budgets' counters.
    pub budgets: Arc<dyn Budgets>,
    /// Secrets.
    pub credentials: Arc<dyn Credentials>,
    /// Where labelled columns are remembered.
    pub pins: Arc<dyn PinStore>,
    /// Mints the certificates that clients see.
    pub authority: Arc<Authority>,
    /// The host keys that SSH clients see.
    pub host_keys: Arc<HostKeys>,
    /// What keyed tokens, and the fingerprints of labelled values, are made with.
    pub token_key: Arc<[u8]>,
    /// Who is asked where the targets' names are.
    pub resolver: Resolver,
}

pub(crate) struct Shared {
    pub(crate) policies: Arc<dyn Policies>,
    pub(crate) identities: Arc<dyn Identities>,
    pub(crate) sink: Arc<dyn AuditSink>,
    pub(crate) holds: Arc<dyn Holds>,
    pub(crate) budgets: Arc<dyn Budgets>,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) pins: Arc<dyn PinStore>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) host_keys: Arc<HostKeys>,
    pub(crate) token_key: Arc<TokenKey>,
    pub(crate) fingerprint_key: FingerprintKey,
    pub(crate) scopes: Scopes,
    pub(crate) statements: StatementCache,
    pub(crate) catalogs: Catalogs,
    pub(crate) definitions: Definitions,
    pub(crate) cancels: CancelRegistry,
    pub(crate) kubernetes: Memory,
    /// Held from reading what is left of a window to taking it: sessions run on several threads.
    pub(crate) counting: Mutex<()>,
    /// The turn to analyse a large text.
    pub(crate) large_texts: Semaphore,
    /// The quarantine of the identity, if it is cut off.
    quarantine: CutOff,
    resolver: Resolver,
    resolved: RwLock<Resolved>,
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// A destination that routing has found a Target for. The id is of this bundle alone.
pub(crate) struct Route {
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) target: TargetId,
    pub(crate) place: Place,
    pub(crate) way: Way,
}

impl Engine {
    /// An engine of these parts.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        let shared = Shared {
            policies: config.policies,
            identities: config.identities,
            sink: config.sink,
            holds: config.holds,
            budgets: config.budgets,
            credentials: config.credentials,
            pins: config.pins,
            authority: config.authority,
            host_keys: config.host_keys,
            token_key: Arc::new(TokenKey::new(&config.token_key)),
            fingerprint_key: FingerprintKey::new(&config.token_key),
            scopes: Scopes::default(),
            statements: StatementCache::default(),
            catalogs: Catalogs::default(),
            definitions: Definitions::default(),
            cancels: CancelRegistry::default(),
            kubernetes: Memory::default(),
            counting: Mutex::default(),
            large_texts: Semaphore::new(1),
            quarantine: CutOff::new(),
            resolver: config.resolver,
            resolved: RwLock::default(),
        };
        let engine = Self {
            shared: Arc::new(shared),
        };
        engine.policy_changed();
        engine
    }

    /// Ends every session if the policy in force cuts the identity off; call it when the policy changed.
    pub fn policy_changed(&self) {
        let shared = &self.shared;
        let Ok((subject, identity)) = shared.identities.current() else {
            return;
        };
        let bundle = shared.policies.current();
        let now = bundle.quarantine(&subject);
        let name = now.map(|one| Arc::<str>::from(one.name.as_str()));
        let Some(before) = shared.quarantine.change(name.as_ref()) else {
            return;
        };
        let mut changed = QuarantineChanged {
            subject: Arc::clone(&identity.name),
            ..QuarantineChanged::default()
        };
        if let Some(before) = before.filter(|_| now.is_none()) {
            let lifted = bundle.quarantine_named(&before);
            let lifted = lifted.and_then(|one| one.lifted.as_ref());
            changed.reason = lifted
                .map_or("it is not there any more", |one| &one.reason)
                .into();
            changed.by = lifted.map_or("", |one| &one.by).into();
            changed.name = before;
        } else if let Some(one) = now {
            tracing::warn!(quarantine = %one.name, by = %one.by, "the identity is cut off");
            changed.name = one.name.as_str().into();
            changed.reason = one.reason.as_str().into();
            changed.by = one.by.as_str().into();
            changed.on = true;
        }
        shared.sink.record(Record::engine(wall_clock(), changed));
    }

    /// Looks up the names that the policy's targets are known by; call it when the policy changes
    /// and from time to time. A name that does not resolve keeps its last answer.
    pub async fn resolve_names(&self) {
        let bundle = self.shared.policies.current();
        let names: Vec<String> = bundle.dns_names().into_iter().map(str::to_owned).collect();
        for name in names {
            match self.shared.resolver.addresses(&name).await {
                Ok(ips) => {
                    let mut resolved = self
                        .shared
                        .resolved
                        .write()
                        .unwrap_or_else(PoisonError::into_inner);
                    resolved.insert(&name, ips);
                }
                Err(error) => tracing::warn!(%name, %error, "a target's name does not resolve"),
            }
        }
    }

    /// Serves one accepted connection to its end. `listener_target` names the Target of an explicit
    /// listener; without it the original destination decides.
    pub async fn serve(&self, accepted: Accepted, listener_target: Option<&str>) {
        let shared = &self.shared;
        let client = accepted.client.addr();
        let identity = match shared.identities.current() {
            Ok((_, identity)) => identity,
            Err(reason) => {
                tracing::warn!(%client, %reason, "connection refused: no identity");
                let session = AuditSession {
                    id: shared.next_session(),
                    client: Some(client.to_string().into()),
                    ..AuditSession::default()
                };
                shared.refused(Arc::new(session), &reason, Names::empty());
                return;
            }
        };
        let incoming = Incoming::accepted(accepted, identity, shared.quarantine.subscribe());
        let route = match (listener_target, &incoming.place) {
            (Some(name), _) => self.route_to(name).await.map_err(NoRoute::Unknown),
            (None, Some(Place::Address(address))) => shared.route(*address),
            (None, _) => Err(NoRoute::Unknown(
                "the connection has no destination".to_owned(),
            )),
        };
        match (route, &incoming.place) {
            (Ok(Some(route)), _) => shared.serve(incoming, route).await,
            (Ok(None), Some(Place::Address(address))) => {
                let way = Way::direct(*address);
                Box::pin(relay::unmatched(shared, incoming, &way)).await;
            }
            (Ok(None), _) => {}
            (Err(why), _) => shared.no_route(&incoming, &why),
        }
    }

    /// What SSH clients put into `known_hosts`: the host CA, and lines for the names of targets that the
    /// identity may use, as others are nobody's to know; and for
    /// `listeners`, addresses that stand for a target.
    #[must_use]
    pub fn known_hosts(&self, listeners: &[SocketAddr]) -> String {
        let bundle = self.shared.policies.current();
        let identity = self.shared.identities.current();
        let subject = identity.as_ref().map(|(subject, _)| subject);
        let granted =
            |id| subject.is_ok_and(|subject| bundle.scope(subject, id, millis()).is_some());
        let mut hosts: Vec<(String, u16)> = Vec::new();
        for (id, target) in bundle.targets() {
            if target.protocol != Protocol::SSH || !granted(id) {
                continue;
            }
            for address in &target.addresses {
                let names = match &address.host {
                    weir_policy::Host::Net(net) => {
                        net.single().iter().map(ToString::to_string).collect()
                    }
                    _ => target.client_names(),
                };
                for port in &address.ports {
                    hosts.extend(names.iter().map(|name| (name.clone(), *port)));
                }
            }
            let places = target.places.iter().flat_map(|places| &places.addresses);
            hosts.extend(places.map(|at| (at.ip().to_string(), at.port())));
        }
        let listeners = listeners
            .iter()
            .map(|address| (address.ip().to_string(), address.port()));
        hosts.extend(listeners);
        hosts.sort();
        hosts.dedup();
        let hosts = hosts.iter().map(|(name, port)| (name.as_str(), *port));
        self.shared.host_keys.known_hosts(hosts)
    }

    async fn route_to(&self, name: &str) -> Result<Option<Route>, String> {
        let bundle = self.shared.policies.current();
        let (target, description) = bundle
            .target_named(name)
            .ok_or_else(|| format!("there is no target {name:?}"))?;
        let address = description
            .addresses
            .first()
            .ok_or("the target has no address")?;
        let port = *address
            .ports
            .first()
            .ok_or("the target's address has no port")?;
        let address = match &address.host {
            weir_policy::Host::Net(net) => {
                let ip = net
                    .single()
                    .ok_or("an explicit listener needs a target of one address")?;
                SocketAddr::new(ip, port)
            }
            weir_policy::Host::Name(host) => {
                let found = self.shared.resolver.addresses(host).await;
                let found = found.map_err(|error| format!("{host} does not resolve: {error}"))?;
                let ip = found.first();
                SocketAddr::new(*ip.ok_or_else(|| format!("{host} has no address"))?, port)
            }
            weir_policy::Host::Service { .. } => {
                return Err("a Service address needs a cluster".to_owned());
            }
        };
        Ok(Some(Route {
            bundle,
            target,
            place: Place::Address(address),
            way: Way::direct(address),
        }))
    }
}

impl Shared {
    fn route(&self, address: SocketAddr) -> Result<Option<Route>, NoRoute> {
        let bundle = self.policies.current();
        let resolved = self.resolved.read().unwrap_or_else(PoisonError::into_inner);
        let target = bundle.route(address.ip(), address.port(), None, &resolved);
        let target = target.map_err(|why| unroutable(&bundle, why, &address))?;
        drop(resolved);
        Ok(target.map(|target| Route {
            bundle,
            target,
            place: Place::Address(address),
            way: Way::direct(address),
        }))
    }

    /// The target at a place that is reached through another connection.
    pub(crate) fn route_through(&self, place: &Place, way: Way) -> Result<Option<Route>, NoRoute> {
        let bundle = self.policies.current();
        let target = match place {
            Place::Address(address) => {
                let resolved = self.resolved.read().unwrap_or_else(PoisonError::into_inner);
                bundle.route(address.ip(), address.port(), None, &resolved)
            }
            Place::Name(name, port) => bundle.route_named(name, *port),
            Place::Socket(_) => Ok(None),
        };
        let target = target.map_err(|why| unroutable(&bundle, why, place))?;
        Ok(target.map(|target| Route {
            bundle,
            target,
            place: place.clone(),
            way,
        }))
    }

    /// Serves a connection to a target.
    async fn serve(self: &Arc<Self>, incoming: Incoming, route: Route) {
        let target = route.bundle.target(route.target);
        match target.map(|target| target.protocol) {
            Some(Protocol::PostgreSQL) => postgres::serve(self, incoming, route).await,
            Some(Protocol::SSH) => Box::pin(ssh::serve(self, incoming, route)).await,
            Some(Protocol::Kubernetes) => {
                Box::pin(kubernetes::serve(self, incoming, route)).await;
            }
            _ => {
                let reason = "this target's protocol cannot be governed yet";
                self.turned_away(&incoming, reason);
            }
        }
    }

    /// Serves a connection that a permitted forward leads through another one. Its future has a name: a
    /// connection may be in it that has forwards of its own.
    pub(crate) fn serve_through(
        self: Arc<Self>,
        incoming: Incoming,
        way: Way,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let Some(place) = &incoming.place else {
                return;
            };
            match self.route_through(place, way.clone()) {
                Ok(Some(route)) => self.serve(incoming, route).await,
                Ok(None) => relay::unmatched(&self, incoming, &way).await,
                Err(why) => self.no_route(&incoming, &why),
            }
        })
    }

    /// Records that a connection is not served because nothing says which target it is for. That a place
    /// leads to a target and elsewhere may be somebody's doing: it is a finding.
    fn no_route(&self, incoming: &Incoming, why: &NoRoute) {
        match why {
            NoRoute::Unknown(reason) => self.turned_away(incoming, reason),
            NoRoute::Mixed(reason) => {
                let session = Arc::new(incoming.session(self.next_session(), None, None));
                tracing::warn!(client = %incoming.peer.client(), %reason, "connection refused");
                self.ungoverned(session, reason);
            }
        }
    }

    /// Records that a connection is not served because nothing governs where it may end: a finding.
    pub(crate) fn ungoverned(&self, session: Arc<AuditSession>, reason: &str) {
        let finding = Finding {
            code: FindingCode::UngovernedProtocol,
            message: reason.into(),
            subject: None,
            engine: None,
        };
        self.sink
            .record(Record::session(wall_clock(), Arc::clone(&session), finding));
        self.refused(session, reason, Names::empty());
    }

    /// Records that a connection is not served.
    pub(crate) fn turned_away(&self, incoming: &Incoming, reason: &str) {
        tracing::warn!(client = %incoming.peer.client(), %reason, "connection refused");
        let session = incoming.session(self.next_session(), None, None);
        self.refused(Arc::new(session), reason, Names::empty());
    }

    /// Why nothing is permitted, if that is so.
    pub(crate) fn barred(&self) -> Option<Arc<str>> {
        let bundle = self.policies.current();
        let subject = self.identities.current();
        let quarantine = subject.as_ref().ok();
        let quarantine = quarantine.and_then(|(subject, _)| bundle.quarantine(subject));
        let quarantined = quarantine.map(|one| quarantined(&one.name).into());
        quarantined.or_else(|| self.policies.suspended())
    }

    pub(crate) fn next_session(&self) -> SessionId {
        self.sink.next_session()
    }

    pub(crate) fn refused(&self, session: Arc<AuditSession>, reason: &str, rules: Names) {
        let event = ConnectionRefused {
            reason: reason.into(),
            rules,
        };
        self.sink
            .record(Record::session(wall_clock(), session, event));
    }
}

/// Why a connection has no route.
pub(crate) enum NoRoute {
    /// Nothing says which target is meant.
    Unknown(String),
    /// Its destination leads to a target, and elsewhere.
    Mixed(String),
}

fn unroutable(bundle: &Bundle, why: Unroutable, place: &impl fmt::Display) -> NoRoute {
    let name = |id| bundle.target(id).map_or("?", |target| target.name.as_str());
    match why {
        Unroutable::Contested { first, second } => {
            let (first, second) = (name(first), name(second));
            NoRoute::Unknown(format!(
                "targets \"{first}\" and \"{second}\" both claim {place}"
            ))
        }
        Unroutable::Mixed { target, stranger } => {
            let target = name(target);
            NoRoute::Mixed(format!(
                "{place} leads to target \"{target}\", but also to {stranger}, which is not the target's"
            ))
        }
    }
}
