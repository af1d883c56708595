//! Where a connection leads, and the way there.
//!
//! Invariant: a [`Way`] is made from a route or a permitted forward, so nothing else is dialled.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use weir_transport::addr::{Routed, UpstreamAddr};

use crate::kubernetes::PortForward;
use crate::ssh::Tunnel;

/// How long a server may take to answer.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An address that the kernel or a Target knows.
    Address(SocketAddr),
    /// A name and a port that the far end of an SSH connection looks up.
    Name(Box<str>, u16),
    /// A socket in the file system of the far end of an SSH connection.
    Socket(Box<str>),
}

impl Place {
    /// A host and a port as a forward names them: an address, or a name.
    pub(crate) fn host(host: &str, port: u16) -> Self {
        match weir_policy::host_address(host) {
            Some(ip) => Self::Address(SocketAddr::new(ip, port)),
            None => Self::Name(host.trim_end_matches('.').to_ascii_lowercase().into(), port),
        }
    }

    /// Its address, where one is known.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address.ip().to_canonical()),
            Self::Name(..) | Self::Socket(_) => None,
        }
    }

    /// Its port; 0 for a socket in the file system.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Address(address) => address.port(),
            Self::Name(_, port) => *port,
            Self::Socket(_) => 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Socket(path) => f.write_str(path),
        }
    }
}

/// How a server is reached.
#[derive(Clone)]
pub(crate) enum Way {
    /// Straight.
    Direct(UpstreamAddr),
    /// Led through an SSH connection.
    Through(Tunnel),
    /// Led through a port-forward of Kubernetes.
    Forwarded(PortForward),
}

/// An address that was routed, or that no Target covers and policy relays.
struct Dialled(SocketAddr);

impl Routed for Dialled {
    fn upstream(&self) -> SocketAddr {
        self.0
    }
}

impl Way {
    /// Straight to an address.
    pub(crate) fn direct(address: SocketAddr) -> Self {
        Self::Direct(UpstreamAddr::routed(&Dialled(address)))
    }

    /// Whether it leads through something that policy has permitted by itself.
    pub(crate) fn is_led(&self) -> bool {
        !matches!(self, Self::Direct(_))
    }

    /// Connects.
    ///
    /// # Errors
    /// Nobody answers, in time or at all.
    pub(crate) async fn dial(&self) -> io::Result<TcpStream> {
        let dialled = async {
            match self {
                Self::Direct(address) => TcpStream::connect(address.addr()).await,
                Self::Through(tunnel) => tunnel.dial().await,
                Self::Forwarded(forward) => forward.dial().await,
            }
        };
        let connected = tokio::time::timeout(CONNECT, dialled).await;
        let socket = connected.map_err(|_| {
            let wait = CONNECT.as_secs();
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the server did not answer within {wait} s"),
            )
        })??;
        socket.set_nodelay(true)?;
        Ok(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name_in_one_spelling() {
        for (host, shown, ip) in [
            ("DB.Example.", "db.example:5432", None),
            ("::ffff:10.0.0.1", "10.0.0.1:5432", Some("10.0.0.1")),
            ("fd00::1", "[fd00::1]:5432", Some("fd00::1")),
            ("0xa000001", "10.0.0.1:5432", Some("10.0.0.1")),
        ] {
            let place = Place::host(host, 5432);
            assert_eq!(place.to_string(), shown);
            assert_eq!(place.ip(), ip.map(|ip| ip.parse().unwrap()));
            assert_eq!(place.port(), 5432);
        }
    }
}
