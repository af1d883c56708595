//! The one link of the sealed namespace: a veth pair with both ends inside.
//!
//! Invariants: nothing leads outside; every address has a route, so that a
//! connection gets as far as the rules that capture it; `weir0` has a
//! link-local scope, as an application expects of an interface.
//! Refuses to reuse a link: a namespace that has `weir0` is an error.

use std::fs;
use std::io;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;

use crate::netlink::{Batch, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};

/// The interface that applications see.
pub(crate) const LINK: &str = "weir0";
const PEER: &str = "weir1";
/// Link-local (RFC 3927): collides with no network that a job could mean.
const ADDRESS_V4: [u8; 4] = [169, 254, 77, 1];
/// Unique local (RFC 4193).
const ADDRESS_V6: [u8; 16] = [
    0xfd, 0x77, 0x65, 0x69, 0x72, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
];
const LINK_LOCAL_V6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const V4: u8 = 2;
const V6: u8 = 10;

/// Builds the link in the calling thread's network namespace.
pub(crate) fn build() -> io::Result<()> {
    veth()?;
    // Absent where the kernel has no IPv6: then there is nothing to seal.
    let with_v6 = fs::metadata("/proc/sys/net/ipv6").is_ok();
    if with_v6 {
        for name in [LINK, PEER] {
            // Addresses must be usable at once, and only ours exist.
            let dir = format!("/proc/sys/net/ipv6/conf/{name}");
            fs::write(format!("{dir}/accept_dad"), "0")?;
            fs::write(format!("{dir}/addr_gen_mode"), "1")?;
        }
    }
    let link = if_nametoindex(LINK)?;
    for index in [1, if_nametoindex(PEER)?, link] {
        up(index)?;
    }
    address(link, V4, 32, &ADDRESS_V4)?;
    default_route(link, V4, &ADDRESS_V4)?;
    if with_v6 {
        address(link, V6, 128, &ADDRESS_V6)?;
        address(link, V6, 64, &LINK_LOCAL_V6)?;
        default_route(link, V6, &ADDRESS_V6)?;
    }
    Ok(())
}

fn send(
    kind: u16,
    flags: u16,
    header: &[u8],
    body: impl FnOnce(&mut crate::netlink::Attrs<'_>),
) -> io::Result<()> {
    let mut batch = Batch::new();
    batch.message(kind, NLM_F_ACK | flags, header, body);
    Ok(batch.exchange(SockProtocol::NetlinkRoute)?)
}

fn veth() -> io::Result<()> {
    send(
        libc::RTM_NEWLINK,
        NLM_F_CREATE | NLM_F_EXCL,
        &ifinfo(0, 0),
        |a| {
            a.text(IFLA_IFNAME, LINK);
            a.nest(IFLA_LINKINFO, |a| {
                a.text(INFO_KIND, "veth");
                a.nest(INFO_DATA, |a| {
                    a.nest(VETH_INFO_PEER, |a| {
                        a.fixed(&ifinfo(0, 0));
                        a.text(IFLA_IFNAME, PEER);
                    });
                });
            });
        },
    )
}

fn up(index: u32) -> io::Result<()> {
    const IFF_UP: u32 = 1;
    send(libc::RTM_NEWLINK, 0, &ifinfo(index, IFF_UP), |_| {})
}

fn address(index: u32, family: u8, prefix: u8, address: &[u8]) -> io::Result<()> {
    let scope = if address.starts_with(&[0xfe, 0x80]) {
        253
    } else {
        0
    };
    let mut header = vec![family, prefix, IFA_F_NODAD, scope];
    header.extend_from_slice(&index.to_ne_bytes());
    send(libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &header, |a| {
        a.bytes(IFA_LOCAL, address);
        a.bytes(IFA_ADDRESS, address);
    })
}

fn default_route(index: u32, family: u8, source: &[u8]) -> io::Result<()> {
    const TABLE_MAIN: u8 = 254;
    const PROTOCOL_STATIC: u8 = 4;
    const SCOPE_LINK: u8 = 253;
    const UNICAST: u8 = 1;
    let scope = if family == V4 { SCOPE_LINK } else { 0 };
    let header = [
        family,
        0,
        0,
        0,
        TABLE_MAIN,
        PROTOCOL_STATIC,
        scope,
        UNICAST,
        0,
        0,
        0,
        0,
    ];
    send(
        libc::RTM_NEWROUTE,
        NLM_F_CREATE | NLM_F_EXCL,
        &header,
        |a| {
            a.ne32(RTA_OIF, index);
            a.bytes(RTA_PREFSRC, source);
        },
    )
}

/// `struct ifinfomsg`: family, padding, type, index, flags, change mask.
fn ifinfo(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    for (slot, byte) in header.iter_mut().skip(4).zip(
        index
            .to_ne_bytes()
            .into_iter()
            .chain(flags.to_ne_bytes())
            .chain(flags.to_ne_bytes()),
    ) {
        *slot = byte;
    }
    header
}
