//! Connections of a port-forward as the engine serves them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;
use weir_audit::Identity;

use super::{PortForward, Serve};
use crate::engine::Shared;
use crate::incoming::{Incoming, MAX_DEPTH, Peer};
use crate::leash::Leash;
use crate::place::{Place, Way};

/// Serves connections with the engine.
pub(in crate::kubernetes) struct Served {
    pub(in crate::kubernetes) shared: Arc<Shared>,
    pub(in crate::kubernetes) identity: Arc<Identity>,
    /// Who forwards, and through what: its depth is that of the connections.
    pub(in crate::kubernetes) peer: Peer,
    pub(in crate::kubernetes) leash: Leash,
    /// The pod's addresses.
    pub(in crate::kubernetes) ips: Vec<IpAddr>,
    /// The pod, as `NAMESPACE/NAME`: its place where no address of it is known.
    pub(in crate::kubernetes) pod: Box<str>,
}

impl Served {
    /// Where a port of the pod is: at the first of its addresses that a Target covers there, or that two
    /// targets claim, which refuses it.
    fn place(&self, port: u16, way: &PortForward) -> Place {
        let mut places = self.ips.iter().map(|ip| {
            let address = SocketAddr::new(ip.to_canonical(), port);
            Place::Address(address)
        });
        let first = places.clone().next();
        let is_covered = |place: &Place| {
            let route = self
                .shared
                .route_through(place, Way::Forwarded(way.clone()));
            !matches!(route, Ok(None))
        };
        let unknown = || Place::Name(self.pod.clone(), port);
        let covered = places.find(is_covered);
        covered.or(first).unwrap_or_else(unknown)
    }
}

impl Serve for Served {
    fn serve(&self, stream: TcpStream, port: u16, way: PortForward) {
        let incoming = Incoming {
            stream,
            peer: self.peer.clone(),
            place: Some(self.place(port, &way)),
            identity: Arc::clone(&self.identity),
            leash: self.leash.inside(),
        };
        if self.peer.depth() > MAX_DEPTH {
            let reason = "too many connections inside one another";
            return self.shared.turned_away(&incoming, reason);
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(shared.serve_through(incoming, Way::Forwarded(way)));
    }
}
