//! Which target a connection belongs to.
//!
//! The most exact claim to the place that was dialled wins. Where two targets have an equal one, the
//! place is nobody's. A place in front of endpoints is a target's only if all of them are: a connection
//! to it ends at any of them.

use std::net::{IpAddr, SocketAddr};

use crate::bundle::Bundle;
use crate::target::{Address, Resolved, Standing, Target, TargetId};

/// How exact a claim to one address is.
const SINGLE: u8 = 128;

/// Why a place is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unroutable {
    /// Two targets claim it.
    Contested {
        /// One of them.
        first: TargetId,
        /// Another.
        second: TargetId,
    },
    /// It leads to a target, and elsewhere.
    Mixed {
        /// The target.
        target: TargetId,
        /// An endpoint that is not the target's.
        stranger: SocketAddr,
    },
}

impl Bundle {
    /// The target behind an address that was dialled: the most exact cover wins. `host` (SNI)
    /// chooses between targets that cover it equally.
    ///
    /// # Errors
    /// Nothing says which target is meant, or connections to it may end elsewhere.
    pub fn route(
        &self,
        ip: IpAddr,
        port: u16,
        host: Option<&str>,
        resolved: &Resolved,
    ) -> Result<Option<TargetId>, Unroutable> {
        let at = SocketAddr::new(ip.to_canonical(), port);
        let found = self.claimed(at, host, resolved)?;
        let stranger =
            found.and_then(|target| Some((target, self.stranger(target, at, resolved)?)));
        match stranger {
            Some((target, stranger)) => Err(Unroutable::Mixed { target, stranger }),
            None => Ok(found),
        }
    }

    /// The target behind a name that somebody else looks up.
    ///
    /// # Errors
    /// Two targets have it.
    pub fn route_named(&self, host: &str, port: u16) -> Result<Option<TargetId>, Unroutable> {
        let best = self.best(|_, target| {
            let at_port = |address: &Address| address.ports.contains(&port);
            let names = |address: &Address| {
                let mut names = address.host.client_names().into_iter();
                at_port(address) && names.any(|name| name.eq_ignore_ascii_case(host))
            };
            target.addresses.iter().any(names).then_some((0, true))
        })?;
        Ok(best.map(|(_, id)| id))
    }

    /// Whose a place is, whatever is behind it.
    fn claimed(
        &self,
        at: SocketAddr,
        host: Option<&str>,
        resolved: &Resolved,
    ) -> Result<Option<TargetId>, Unroutable> {
        let best = self.best(|id, target| {
            let given = self.leads(id, at, Standing::Given).then_some(SINGLE);
            let exactness = covers(target, at, resolved).max(given)?;
            let named = |name: &String| host.is_some_and(|host| host.eq_ignore_ascii_case(name));
            let is_named = host.is_some() && target.client_names().iter().any(named);
            Some((exactness, is_named))
        })?;
        if let Some((SINGLE, id)) = best {
            return Ok(Some(id));
        }
        // What was only written down takes nothing from a network of another target, and gives
        // nothing to it either.
        let mut claimants = self
            .targets()
            .map(|(id, _)| id)
            .filter(|id| self.leads(*id, at, Standing::Written))
            .chain(best.map(|(_, id)| id));
        let Some(first) = claimants.next() else {
            return Ok(None);
        };
        match claimants.find(|id| *id != first) {
            Some(second) => Err(Unroutable::Contested { first, second }),
            None => Ok(Some(first)),
        }
    }

    /// An endpoint behind a place of the target's that is not the target's.
    fn stranger(&self, id: TargetId, at: SocketAddr, resolved: &Resolved) -> Option<SocketAddr> {
        // What others write of an address that is the target's says nothing about it.
        let is_its =
            covers(self.target(id)?, at, resolved).is_some() || self.leads(id, at, Standing::Given);
        let here = self.places(at).filter(|(target, _)| *target == id);
        let count = here.filter(|(_, places)| places.standing == Standing::Given || !is_its);
        let mut behind = count.flat_map(|(_, places)| &places.behind);
        let strange =
            |endpoint: &&SocketAddr| self.claimed(**endpoint, None, resolved) != Ok(Some(id));
        behind.find(strange).copied()
    }

    /// Whether a place of this standing leads to a Service of the target's.
    fn leads(&self, id: TargetId, at: SocketAddr, standing: Standing) -> bool {
        let mut here = self.places(at);
        here.any(|(target, places)| target == id && places.standing == standing)
    }

    /// The target with the highest rank, and how exact that is.
    fn best(
        &self,
        rank: impl Fn(TargetId, &Target) -> Option<(u8, bool)>,
    ) -> Result<Option<(u8, TargetId)>, Unroutable> {
        let mut best: Option<((u8, bool), TargetId)> = None;
        let mut rival = None;
        for (id, target) in self.targets() {
            let Some(rank) = rank(id, target) else {
                continue;
            };
            match best {
                Some((known, _)) if rank < known => {}
                Some((known, _)) if rank == known => rival = rival.or(Some(id)),
                _ => (best, rival) = (Some((rank, id)), None),
            }
        }
        match (best, rival) {
            (Some((_, first)), Some(second)) => Err(Unroutable::Contested { first, second }),
            (best, _) => Ok(best.map(|((exactness, _), id)| (exactness, id))),
        }
    }
}

/// How exactly the addresses that a target names cover a place.
fn covers(target: &Target, at: SocketAddr, resolved: &Resolved) -> Option<u8> {
    let covers = |address: &Address| address.covers(at.ip(), at.port(), resolved);
    target.addresses.iter().filter_map(covers).max()
}
