//! The cgroup id of one of our own sockets, asked of sock_diag.
//!
//! Used where the v2 tree is not mounted. Refuses: an answer without the id.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use nix::sys::socket::SockProtocol;

use crate::netlink::{Batch, attributes};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_CGROUP_ID: u16 = 21;
/// Size of `inet_diag_msg`, which the attributes follow.
const DIAG_MESSAGE: usize = 72;

pub(super) fn own_cgroup_id() -> io::Result<u64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let SocketAddr::V4(addr) = listener.local_addr()? else {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    };
    let mut request = Vec::with_capacity(56);
    request.extend_from_slice(&[2, 6, 0, 0]); // AF_INET, IPPROTO_TCP
    request.extend_from_slice(&u32::MAX.to_ne_bytes()); // any state
    request.extend_from_slice(&addr.port().to_be_bytes());
    request.extend_from_slice(&[0; 2]); // no peer
    request.extend_from_slice(&addr.ip().octets());
    request.extend_from_slice(&[0; 12 + 16 + 4]);
    request.extend_from_slice(&[0xff; 8]); // no cookie
    let mut batch = Batch::new();
    batch.message(SOCK_DIAG_BY_FAMILY, 0, &request, |_| {});
    let mut id = None;
    batch.query(SockProtocol::NetlinkSockDiag, false, |_, payload| {
        let found = attributes(payload.get(DIAG_MESSAGE..).unwrap_or(&[]))
            .find(|(kind, _)| *kind == INET_DIAG_CGROUP_ID);
        id = found
            .and_then(|(_, v)| v.try_into().ok())
            .map(u64::from_ne_bytes);
    })?;
    id.ok_or_else(|| io::Error::other("sock_diag does not report cgroup ids"))
}
