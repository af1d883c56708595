//! A connection that came in, whichever way: redirected, at a listener, or led through an SSH
//! connection or a port-forward of Kubernetes.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::watch;
use weir_audit::{Identity, Session, SessionId};
use weir_transport::listen::Accepted;

use crate::leash::Leash;
use crate::place::Place;

/// Most sessions inside one another.
pub(crate) const MAX_DEPTH: u8 = 4;

/// A connection that came in.
pub(crate) struct Incoming {
    pub(crate) stream: TcpStream,
    pub(crate) peer: Peer,
    /// Where to; none at a listener that has no destination of its own.
    pub(crate) place: Option<Place>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) leash: Leash,
}

/// Who dialled.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// Somebody in the pod.
    Socket(SocketAddr),
    /// Somebody in the pod, through this many sessions of SSH or port-forwards, of which this is the last.
    Forwarded {
        client: SocketAddr,
        through: SessionId,
        depth: u8,
    },
}

impl Peer {
    /// Through how many sessions.
    pub(crate) fn depth(&self) -> u8 {
        match self {
            Self::Socket(_) => 0,
            Self::Forwarded { depth, .. } => *depth,
        }
    }

    /// Who dialled the first of them.
    pub(crate) fn client(&self) -> SocketAddr {
        match self {
            Self::Socket(client) | Self::Forwarded { client, .. } => *client,
        }
    }

    fn text(&self) -> Arc<str> {
        match self {
            Self::Socket(client) => client.to_string().into(),
            Self::Forwarded {
                client, through, ..
            } => format!("{client} through {through}").into(),
        }
    }
}

impl Incoming {
    /// A connection that a listener accepted.
    pub(crate) fn accepted(
        accepted: Accepted,
        identity: Arc<Identity>,
        quarantine: watch::Receiver<Option<Arc<str>>>,
    ) -> Self {
        let destination = accepted.destination.map(|destination| destination.addr());
        Self {
            stream: accepted.stream,
            peer: Peer::Socket(accepted.client.addr()),
            place: destination.map(Place::Address),
            identity,
            leash: Leash::new(accepted.tracked, quarantine),
        }
    }

    /// What evidence says of it.
    pub(crate) fn session(
        &self,
        id: SessionId,
        target: Option<&str>,
        protocol: Option<&str>,
    ) -> Session {
        Session {
            id,
            identity: Arc::clone(&self.identity).for_sessions(),
            target: target.map(Arc::from),
            protocol: protocol.map(Arc::from),
            client: Some(self.peer.text()),
            destination: self.place.as_ref().map(|place| place.to_string().into()),
            ..Session::default()
        }
    }
}
