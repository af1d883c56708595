//! Address roles as types: who dialled, where to, and where Weir dials.
//!
//! Invariants: an [`OrigDstAddr`] comes from the kernel (or a listener's
//! configuration), never from the peer's bytes; an [`UpstreamAddr`] comes from
//! a routed value, so no code can dial what was not routed.
//! Refuses to fall back to the listener's own address when the kernel has no
//! original destination: that is [`AddrError::NotRedirected`].
//!
//! ```no_run
//! # async fn f(stream: tokio::net::TcpStream) -> Result<(), weir_transport::addr::AddrError> {
//! let destination = weir_transport::addr::original_dst(&stream)?;
//! println!("wanted {destination}");
//! # Ok(()) }
//! ```

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

/// Why an address could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AddrError {
    /// Conntrack knows no redirect for this connection: it was made to the
    /// listener directly.
    #[error("connection was not redirected: it was made to the listener itself")]
    NotRedirected,
    /// The socket is already gone or is not a TCP socket.
    #[error("cannot read the original destination: {0}")]
    Socket(#[source] std::io::Error),
}

/// The peer of an accepted connection, as the kernel saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddr(SocketAddr);

/// Where the client wanted to go, before the redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrigDstAddr(SocketAddr);

/// Where Weir dials. Only [`UpstreamAddr::routed`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamAddr(SocketAddr);

/// Implemented by the value that routing yields, and by nothing else: it is
/// the proof that policy knows this destination.
pub trait Routed {
    /// The address that routing chose.
    fn upstream(&self) -> SocketAddr;
}

impl ClientAddr {
    /// Wraps the address that `accept` reported; IPv4-mapped becomes IPv4.
    pub fn new(peer: SocketAddr) -> Self {
        Self(canonical(peer))
    }

    /// The socket address.
    pub fn addr(self) -> SocketAddr {
        self.0
    }
}

impl OrigDstAddr {
    /// The destination of an explicit listener, known from configuration.
    pub fn configured(addr: SocketAddr) -> Self {
        Self(canonical(addr))
    }

    /// The socket address.
    pub fn addr(self) -> SocketAddr {
        self.0
    }
}

impl UpstreamAddr {
    /// The address of a routed destination.
    pub fn routed(route: &impl Routed) -> Self {
        Self(route.upstream())
    }

    /// The socket address.
    pub fn addr(self) -> SocketAddr {
        self.0
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for OrigDstAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for UpstreamAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The destination of a redirected connection (`SO_ORIGINAL_DST`, both
/// families; a link-local destination keeps its interface as scope).
///
/// # Errors
/// [`AddrError::NotRedirected`] where conntrack has no entry with a redirect.
pub fn original_dst(stream: &tokio::net::TcpStream) -> Result<OrigDstAddr, AddrError> {
    let local = stream.local_addr().map_err(AddrError::Socket)?;
    let peer = stream.peer_addr().map_err(AddrError::Socket)?;
    original_dst_of(stream, local, peer)
}

fn original_dst_of(
    fd: &impl AsFd,
    local: SocketAddr,
    peer: SocketAddr,
) -> Result<OrigDstAddr, AddrError> {
    let addr = match canonical(local) {
        SocketAddr::V4(_) => {
            let raw = getsockopt(fd, sockopt::OriginalDst).map_err(no_entry)?;
            SocketAddr::V4(SocketAddrV4::new(
                u32::from_be(raw.sin_addr.s_addr).into(),
                u16::from_be(raw.sin_port),
            ))
        }
        SocketAddr::V6(own) => {
            let raw = getsockopt(fd, sockopt::Ip6tOriginalDst).map_err(no_entry)?;
            let ip = std::net::Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let scope = match (ip.is_unicast_link_local(), raw.sin6_scope_id, peer) {
                (false, ..) => 0,
                (true, 0, SocketAddr::V6(peer)) => peer.scope_id().max(own.scope_id()),
                (true, scope, _) => scope,
            };
            SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(raw.sin6_port), 0, scope))
        }
    };
    // Conntrack answers with the packet's own destination when nothing was
    // rewritten: that is a direct connection, not a redirected one.
    if addr.port() == local.port() && same_ip(addr.ip(), local.ip()) {
        return Err(AddrError::NotRedirected);
    }
    Ok(OrigDstAddr(addr))
}

fn no_entry(errno: Errno) -> AddrError {
    match errno {
        Errno::ENOENT | Errno::ENOPROTOOPT => AddrError::NotRedirected,
        other => AddrError::Socket(other.into()),
    }
}

fn same_ip(a: IpAddr, b: IpAddr) -> bool {
    a.to_canonical() == b.to_canonical()
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::V4(SocketAddrV4::new(v4, v6.port())),
            None => addr,
        },
        SocketAddr::V4(_) => addr,
    }
}
