//! Every address that leads to a Service.
//!
//! Pure. A Service is reached at its cluster IPs, its endpoints, its node ports, its external and
//! load-balancer addresses, and at those of every other Service, in any namespace, that leads to
//! one of the same endpoints: a Service of somebody else's that points at the database is the
//! database. Refuses: to resolve names; an `ExternalName` Service has no addresses here.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use weir_api::kinds::ServiceRef;
use weir_uplink::control::ResolvedService;

/// What is kept of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceEntry {
    /// Cluster IPs, as the Service orders them.
    pub(crate) cluster: Vec<IpAddr>,
    /// Cluster IPs, external IPs and load-balancer IPs.
    addresses: Vec<IpAddr>,
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
        let cluster = cluster.iter().filter_map(|ip| ip.parse().ok()).collect();
        let texts = spec
            .cluster_ips
            .iter()
            .flatten()
            .chain(&spec.cluster_ip)
            .chain(spec.external_ips.iter().flatten())
            .chain(balancer.iter().filter_map(|ingress| ingress.ip.as_ref()));
        let addresses: BTreeSet<IpAddr> = texts.filter_map(|ip| ip.parse().ok()).collect();
        let port = |port: &ServicePort| {
            tcp(port.protocol.as_deref()).then(|| Port {
                name: port.name.clone().unwrap_or_default(),
                number: u16::try_from(port.port).unwrap_or_default(),
                node: port.node_port.and_then(|port| u16::try_from(port).ok()),
            })
        };
        Self {
            cluster,
            addresses: addresses.into_iter().collect(),
            ports: spec.ports.iter().flatten().filter_map(port).collect(),
        }
    }
}

impl From<&EndpointSlice> for SliceEntry {
    fn from(slice: &EndpointSlice) -> Self {
        // Unready endpoints count: a client may dial them by their address.
        let addresses = slice.endpoints.iter().flat_map(|one| &one.addresses);
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let number = u16::try_from(port.port?).ok()?;
            let name = port.name.clone().unwrap_or_default();
            tcp(port.protocol.as_deref()).then_some((name, number))
        });
        let service = slice.metadata.labels.as_ref();
        let service = service.and_then(|labels| labels.get("kubernetes.io/service-name"));
        Self {
            service: service.cloned().unwrap_or_default(),
            addresses: addresses.filter_map(|ip| ip.parse().ok()).collect(),
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
    let ips: BTreeSet<IpAddr> = addresses
        .filter_map(|one| one.address.parse().ok())
        .collect();
    ips.into_iter().collect()
}

fn tcp(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("TCP"))
}

/// All Services, slices and nodes, arranged for lookups.
pub(crate) struct Services<'a> {
    services: HashMap<(&'a str, &'a str), &'a ServiceEntry>,
    /// Endpoints by Service and port name.
    endpoints: HashMap<(&'a str, &'a str), Vec<(&'a str, SocketAddr)>>,
    /// Which Services lead to an endpoint, and by which port name.
    leading: HashMap<SocketAddr, Vec<(&'a str, &'a str, &'a str)>>,
    nodes: Vec<IpAddr>,
}

impl<'a> Services<'a> {
    /// From everything that is known. Keys are namespace and name.
    pub(crate) fn new(
        services: impl Iterator<Item = (&'a (String, String), &'a ServiceEntry)>,
        slices: impl Iterator<Item = (&'a (String, String), &'a SliceEntry)>,
        nodes: impl Iterator<Item = &'a NodeEntry>,
    ) -> Self {
        let mut all = Self {
            services: services
                .map(|((namespace, name), entry)| ((namespace.as_str(), name.as_str()), entry))
                .collect(),
            endpoints: HashMap::new(),
            leading: HashMap::new(),
            nodes: nodes.flatten().copied().collect(),
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
            endpoints: found.into_iter().collect(),
        }
    }

    fn reach(&self, service: (&'a str, &'a str), port: &str, found: &mut BTreeSet<SocketAddr>) {
        let mut seen = HashSet::new();
        self.fronts(service, port, found);
        for endpoint in self.endpoints_of(service, port) {
            found.insert(endpoint);
            let leading = self.leading.get(&endpoint).into_iter().flatten();
            for (namespace, name, port) in leading {
                if seen.insert((*namespace, *name, *port)) {
                    self.fronts((namespace, name), port, found);
                }
            }
        }
    }

    fn endpoints_of(&self, service: (&str, &str), port: &str) -> Vec<SocketAddr> {
        let all = self.endpoints.get(&service).into_iter().flatten();
        all.filter(|(name, _)| *name == port)
            .map(|(_, endpoint)| *endpoint)
            .collect()
    }

    /// The addresses in front of a Service's port.
    fn fronts(&self, service: (&str, &str), port: &str, found: &mut BTreeSet<SocketAddr>) {
        let Some(entry) = self.services.get(&service) else {
            return;
        };
        for port in entry.ports.iter().filter(|one| one.name == port) {
            let own = entry.addresses.iter();
            found.extend(own.map(|ip| SocketAddr::new(*ip, port.number)));
            if let Some(node) = port.node {
                found.extend(self.nodes.iter().map(|ip| SocketAddr::new(*ip, node)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
