//! Every place that leads to a Service, and how sure that is.
//!
//! Pure. A Service is reached at its cluster IPs, its endpoints, its node ports, its external and
//! load-balancer addresses, and at those of every other Service, in any namespace, that leads to
//! one of the same endpoints: a Service of somebody else's that points at the database is the
//! database. What is behind each of these is said beside it, every endpoint, ready or not: a Service that
//! leads elsewhere as well is for nobody, which the bundle judges (`weir_policy`'s `route`).
//!
//! Whoever may write EndpointSlices may write any address into them. An endpoint that is a pod of the
//! Service's own namespace is the Service's; one that is a pod of another namespace is not; of others
//! nobody knows. Refuses: to resolve names; an `ExternalName` Service has no addresses here.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use weir_api::kinds::ServiceRef;
use weir_policy::{Places, Standing};
use weir_uplink::control::ResolvedService;

/// What is kept of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceEntry {
    /// Cluster IPs, as the Service orders them.
    pub(crate) cluster: Vec<IpAddr>,
    /// External IPs and load-balancer IPs.
    external: Vec<IpAddr>,
    ports: Vec<Port>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Port {
    name: String,
    number: u16,
    node: Option<u16>,
}

/// What is kept of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SliceEntry {
    service: String,
    addresses: Vec<IpAddr>,
    /// Name and number of TCP ports.
    ports: Vec<(String, u16)>,
}

/// What is kept of a Node: its addresses.
pub(crate) type NodeEntry = Vec<IpAddr>;

impl From<&Service> for ServiceEntry {
    fn from(service: &Service) -> Self {
        let Some(spec) = &service.spec else {
            return Self::default();
        };
        let balancer = service.status.as_ref();
        let balancer = balancer.and_then(|status| status.load_balancer.as_ref());
        let balancer = balancer.and_then(|balancer| balancer.ingress.as_deref());
        let balancer = balancer.unwrap_or_default();
        let cluster = match &spec.cluster_ips {
            Some(ips) => ips.as_slice(),
            None => spec.cluster_ip.as_slice(),
        };
        // A Service without one says `None`.
        let cluster = cluster.iter().filter_map(|ip| address(ip)).collect();
        let external = spec.external_ips.iter().flatten();
        let external = external.chain(balancer.iter().filter_map(|ingress| ingress.ip.as_ref()));
        let external: BTreeSet<IpAddr> = external.filter_map(|ip| address(ip)).collect();
        let port = |port: &ServicePort| {
            tcp(port.protocol.as_deref()).then(|| Port {
                name: port.name.clone().unwrap_or_default(),
                number: u16::try_from(port.port).unwrap_or_default(),
                node: port.node_port.and_then(|port| u16::try_from(port).ok()),
            })
        };
        Self {
            cluster,
            external: external.into_iter().collect(),
            ports: spec.ports.iter().flatten().filter_map(port).collect(),
        }
    }
}

impl From<&EndpointSlice> for SliceEntry {
    fn from(slice: &EndpointSlice) -> Self {
        // Unready endpoints count: a client may dial them by their address, and they may become ready.
        let addresses = slice.endpoints.iter().flat_map(|one| &one.addresses);
        // Nobody connects to names.
        let addresses = addresses.filter(|_| slice.address_type != "FQDN");
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let number = u16::try_from(port.port?).ok()?;
            let name = port.name.clone().unwrap_or_default();
            tcp(port.protocol.as_deref()).then_some((name, number))
        });
        let service = slice.metadata.labels.as_ref();
        let service = service.and_then(|labels| labels.get("kubernetes.io/service-name"));
        Self {
            service: service.cloned().unwrap_or_default(),
            addresses: addresses.map(|ip| address(ip).unwrap_or(UNKNOWN)).collect(),
            ports: ports.collect(),
        }
    }
}

/// Namespace and name of the Service that a name in the cluster's DNS stands for.
pub(crate) fn named(host: &str) -> Option<(&str, &str)> {
    let mut labels = host.split('.');
    let (name, namespace) = (labels.next()?, labels.next()?);
    (labels.next()? == "svc").then_some((namespace, name))
}

/// The addresses of a node.
pub(crate) fn node(node: &Node) -> NodeEntry {
    let status = node.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_deref());
    let addresses = addresses.unwrap_or_default().iter();
    let ips: BTreeSet<IpAddr> = addresses.filter_map(|one| address(&one.address)).collect();
    ips.into_iter().collect()
}

/// An endpoint that cannot be read: the cluster reads addresses that we do not, with zeros in front.
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// An address, IPv4 never as IPv6.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

fn tcp(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("TCP"))
}

/// Namespaces by the addresses of their pods.
pub(crate) type PodNamespaces = HashMap<IpAddr, BTreeSet<String>>;

/// All Services, slices, nodes and pods, arranged for lookups.
pub(crate) struct Services<'a> {
    services: HashMap<(&'a str, &'a str), &'a ServiceEntry>,
    /// Endpoints by Service and port name.
    endpoints: HashMap<(&'a str, &'a str), Vec<(&'a str, SocketAddr)>>,
    /// Which Services lead to an endpoint, and by which port name.
    leading: HashMap<SocketAddr, Vec<(&'a str, &'a str, &'a str)>>,
    nodes: Vec<IpAddr>,
    pods: &'a PodNamespaces,
}

impl<'a> Services<'a> {
    /// From everything that is known. Keys are namespace and name.
    pub(crate) fn new(
        services: impl Iterator<Item = (&'a (String, String), &'a ServiceEntry)>,
        slices: impl Iterator<Item = (&'a (String, String), &'a SliceEntry)>,
        nodes: impl Iterator<Item = &'a NodeEntry>,
        pods: &'a PodNamespaces,
    ) -> Self {
        let mut all = Self {
            services: services
                .map(|((namespace, name), entry)| ((namespace.as_str(), name.as_str()), entry))
                .collect(),
            endpoints: HashMap::new(),
            leading: HashMap::new(),
            nodes: nodes.flatten().copied().collect(),
            pods,
        };
        for ((namespace, _), slice) in slices {
            let service = (namespace.as_str(), slice.service.as_str());
            for (port, number) in &slice.ports {
                for ip in &slice.addresses {
                    let endpoint = SocketAddr::new(*ip, *number);
                    let of_service = all.endpoints.entry(service).or_default();
                    of_service.push((port, endpoint));
                    let leading = all.leading.entry(endpoint).or_default();
                    leading.push((service.0, service.1, port));
                }
            }
        }
        all
    }

    /// Everything that leads to a Service's port, sorted.
    pub(crate) fn resolve(&self, wanted: &ServiceRef) -> ResolvedService {
        let mut found = BTreeSet::new();
        let service = (wanted.namespace.as_str(), wanted.name.as_str());
        if let Some(entry) = self.services.get(&service) {
            for port in entry.ports.iter().filter(|port| port.number == wanted.port) {
                self.reach(service, &port.name, &mut found);
            }
        }
        ResolvedService {
            namespace: wanted.namespace.clone(),
            name: wanted.name.clone(),
            port: wanted.port,
            places: found.into_iter().collect(),
        }
    }

    fn reach(&self, service: (&'a str, &'a str), port: &str, found: &mut BTreeSet<Places>) {
        let (mut given, mut written) = (BTreeSet::new(), BTreeSet::new());
        for endpoint in self.endpoints_of(service, port) {
            match self.pods.get(&endpoint.ip()) {
                _ if endpoint.ip().is_unspecified() => {}
                Some(namespaces) if namespaces.contains(service.0) => _ = given.insert(endpoint),
                Some(_) => {}
                None => _ = written.insert(endpoint),
            }
        }
        self.fronts(service, port, Standing::Given, found);
        let mut seen = HashSet::from([(service.0, service.1, port)]);
        // Those with an endpoint that is surely this Service's first.
        for (endpoints, standing) in [(given, Standing::Given), (written, Standing::Written)] {
            for endpoint in &endpoints {
                let leading = self.leading.get(endpoint).into_iter().flatten();
                for (namespace, name, port) in leading {
                    if seen.insert((*namespace, *name, *port)) {
                        self.fronts((namespace, name), port, standing, found);
                    }
                }
            }
            found.extend(places(endpoints.into_iter().collect(), standing, &[]));
        }
    }

    fn endpoints_of(&self, service: (&str, &str), port: &str) -> BTreeSet<SocketAddr> {
        let all = self.endpoints.get(&service).into_iter().flatten();
        all.filter(|(name, _)| *name == port)
            .map(|(_, endpoint)| *endpoint)
            .collect()
    }

    /// The addresses in front of a Service's port. What the cluster gave the Service has that standing.
    fn fronts(
        &self,
        service: (&str, &str),
        port: &str,
        standing: Standing,
        found: &mut BTreeSet<Places>,
    ) {
        let Some(entry) = self.services.get(&service) else {
            return;
        };
        let behind: Vec<SocketAddr> = self.endpoints_of(service, port).into_iter().collect();
        for port in entry.ports.iter().filter(|one| one.name == port) {
            let at = |ip: &IpAddr| SocketAddr::new(*ip, port.number);
            let node = |node| self.nodes.iter().map(move |ip| SocketAddr::new(*ip, node));
            let own = entry.cluster.iter().map(at);
            let own = own.chain(port.node.into_iter().flat_map(node)).collect();
            let external = entry.external.iter().map(at).collect();
            found.extend(places(own, standing, &behind));
            found.extend(places(external, Standing::Written, &behind));
        }
    }
}

/// Places, if there are any.
fn places(addresses: Vec<SocketAddr>, standing: Standing, behind: &[SocketAddr]) -> Option<Places> {
    let mut addresses = addresses;
    addresses.sort_unstable();
    addresses.dedup();
    (!addresses.is_empty()).then(|| Places {
        addresses,
        standing,
        behind: behind.to_vec(),
    })
}

#[cfg(test)]
mod tests;
