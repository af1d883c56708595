//! The nftables table `inet weir`: outbound TCP leads to Weir, and what does
//! not is dropped.
//!
//! Invariants: the table is replaced in one transaction, so there is no moment
//! without rules; it has no owner, so rules outlive the process (Weir down =
//! connection refused, never a direct connection); a packet is exempt only by
//! the exclusion, by being local, or by answering a connection made from
//! outside.
//! Refuses: to install part of a ruleset; exclusion by packet mark.
//!
//! How a connection is captured: its destination becomes *its own source
//! address* at [`Config::port`]. That address is local on whatever interface
//! the socket chose, so sockets bound to a device and link-local ones are
//! captured as well, which a redirect to loopback cannot do. Hence listeners
//! bind the wildcard addresses (`0.0.0.0` and `::`); an input chain refuses the
//! port to everyone outside of the namespace.
//!
//! ```no_run
//! use weir_transport::redirect::{Config, Dns, Exclusion, Redirect};
//! # fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let cgroup = weir_transport::exclusion::own()?;
//! let installed = Redirect::install(&Config {
//!     port: 15001,
//!     exclusion: Exclusion::Cgroup(cgroup),
//!     redirect_loopback: false,
//!     enforced: true,
//!     dns: Dns::Resolvers(vec!["10.96.0.10".parse()?]),
//! })?;
//! println!("{:?}", installed.counters()?);
//! # Ok(()) }
//! ```

use std::io;
use std::net::IpAddr;

use nix::sys::socket::SockProtocol;

use crate::exclusion::Cgroup;
use crate::netlink::{Batch, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NetlinkError, attributes};

mod encode;
mod rules;

use encode::{message, nfgen, op};

/// Name of the table, in the `inet` family.
pub const TABLE: &str = "weir";

/// What to install.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port of Weir's redirect listeners, bound to `0.0.0.0` and `::`.
    pub port: u16,
    /// Whose connections pass.
    pub exclusion: Exclusion,
    /// Capture connections to local addresses too. Off in a pod, whose
    /// containers talk to each other there; on in the namespace of `weir run`,
    /// where `127.0.0.1` stands for the host's.
    pub redirect_loopback: bool,
    /// Drop everything that is not TCP, save DNS as below.
    pub enforced: bool,
    /// Who answers DNS over UDP.
    pub dns: Dns,
}

/// How Weir's own connections are told apart.
#[derive(Clone, Debug)]
pub enum Exclusion {
    /// By cgroup v2: holds against every process outside of that cgroup.
    Cgroup(Cgroup),
    /// By user id: anyone who can become that user passes. Only where cgroup
    /// v2 is missing and every other container is kept from that user.
    Uid(u32),
    /// Weir dials from another namespace: nothing passes.
    Nobody,
}

/// Who answers DNS over UDP in an enforced namespace.
#[derive(Clone, Debug)]
pub enum Dns {
    /// These may be asked directly.
    Resolvers(Vec<IpAddr>),
    /// Port 53 of any address leads to a relay on this local port (UDP and
    /// TCP).
    Relay {
        /// Port of the relay, bound to `0.0.0.0` and `::`.
        port: u16,
    },
}

/// Why rules could not be installed or read.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// The process lacks NET_ADMIN in this network namespace.
    #[error("cannot program nftables: NET_ADMIN is missing in this network namespace")]
    Permission,
    /// The kernel lacks something that the rules need.
    #[error("the kernel refused the ruleset at message {message} ({what}): {source}")]
    Refused {
        /// Which message of the batch.
        message: u32,
        /// What that message was about.
        what: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Netlink itself failed.
    #[error("cannot talk to nftables: {0}")]
    Netlink(#[source] io::Error),
}

/// Entry point; see [`Redirect::install`].
#[derive(Debug)]
pub struct Redirect;

/// Proof that the table is in place. Dropping it removes nothing.
#[derive(Debug)]
pub struct Installed {
    _private: (),
}

/// Packets that each rule of interest has met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections led to Weir.
    pub redirected: u64,
    /// Connections that Weir made itself.
    pub excluded: u64,
    /// TCP packets that were neither redirected nor Weir's.
    pub tcp_dropped: u64,
    /// QUIC packets rejected.
    pub quic_rejected: u64,
    /// Other packets that were not TCP.
    pub other_dropped: u64,
    /// Packets from outside to the redirect port, or out of nowhere.
    pub input_dropped: u64,
}

impl Redirect {
    /// Installs or atomically replaces the table.
    ///
    /// # Errors
    /// [`RedirectError`]; nothing has changed then.
    pub fn install(config: &Config) -> Result<Installed, RedirectError> {
        let mut labels = vec![String::from("begin")];
        let mut batch = Batch::new();
        encode::begin(&mut batch);
        let table = |batch: &mut Batch, labels: &mut Vec<String>, kind, flags| {
            labels.push(String::from("table"));
            message(batch, kind, flags, |a| a.text(op::TABLE_NAME, TABLE));
        };
        // Create, delete, create: replaces what an earlier process left.
        table(&mut batch, &mut labels, op::NEWTABLE, NLM_F_CREATE);
        table(&mut batch, &mut labels, op::DELTABLE, 0);
        table(&mut batch, &mut labels, op::NEWTABLE, NLM_F_CREATE);
        rules::write(&mut batch, &mut labels, config);
        encode::end(&mut batch);
        batch
            .exchange(SockProtocol::NetlinkNetFilter)
            .map_err(|e| blame(e, &labels))?;
        Ok(Installed { _private: () })
    }

    /// The table that an earlier process left, if it is there.
    ///
    /// # Errors
    /// [`RedirectError::Netlink`] (not found) when it is not.
    pub fn installed() -> Result<Installed, RedirectError> {
        let installed = Installed { _private: () };
        installed.counters().map(|_| installed)
    }

    /// Removes the table. Explicit, since rules are meant to outlive Weir.
    ///
    /// # Errors
    /// [`RedirectError`], also when there is no table.
    pub fn uninstall() -> Result<(), RedirectError> {
        let mut batch = Batch::new();
        encode::begin(&mut batch);
        message(&mut batch, op::DELTABLE, 0, |a| {
            a.text(op::TABLE_NAME, TABLE)
        });
        encode::end(&mut batch);
        let labels = [String::from("begin"), String::from("table")];
        batch
            .exchange(SockProtocol::NetlinkNetFilter)
            .map_err(|e| blame(e, &labels))
    }
}

impl Installed {
    /// Reads the counters back from the kernel.
    ///
    /// # Errors
    /// [`RedirectError`], for instance when someone removed the table.
    pub fn counters(&self) -> Result<Counters, RedirectError> {
        let mut batch = Batch::new();
        let kind = encode::SUBSYSTEM | op::GETOBJ;
        batch.message(kind, NLM_F_DUMP | NLM_F_ACK, &nfgen(0), |a| {
            a.text(op::OBJ_TABLE, TABLE);
            a.be32(op::OBJ_TYPE, op::OBJECT_COUNTER);
        });
        let mut found: Vec<(String, u64)> = Vec::new();
        let read = batch.query(SockProtocol::NetlinkNetFilter, true, |_, payload| {
            found.extend(parse_counter(payload));
        });
        read.map_err(|e| blame(e, &[]))?;
        if found.is_empty() {
            return Err(RedirectError::Netlink(io::Error::from(
                io::ErrorKind::NotFound,
            )));
        }
        let of = |name| {
            found
                .iter()
                .filter(|(n, _)| n == name)
                .map(|(_, v)| v)
                .sum()
        };
        Ok(Counters {
            redirected: of(rules::REDIRECTED),
            excluded: of(rules::EXCLUDED),
            tcp_dropped: of(rules::TCP_DROPPED),
            quic_rejected: of(rules::QUIC_REJECTED),
            other_dropped: of(rules::OTHER_DROPPED),
            input_dropped: of(rules::INPUT_DROPPED),
        })
    }
}

/// `nfgenmsg`, then the attributes of one counter object.
fn parse_counter(payload: &[u8]) -> Option<(String, u64)> {
    let (mut name, mut packets, mut ours) = (None, None, false);
    for (kind, value) in attributes(payload.get(4..)?) {
        match kind {
            op::OBJ_TABLE => ours = value == b"weir\0",
            op::OBJ_NAME => name = std::str::from_utf8(value.strip_suffix(b"\0")?).ok(),
            op::OBJ_DATA => {
                let found = attributes(value).find(|(kind, _)| *kind == op::COUNTER_PACKETS);
                packets = Some(u64::from_be_bytes(found?.1.try_into().ok()?));
            }
            _ => {}
        }
    }
    if ours {
        Some((name?.to_owned(), packets?))
    } else {
        None
    }
}

fn blame(error: NetlinkError, labels: &[String]) -> RedirectError {
    match error {
        NetlinkError::Refused { source, .. }
            if matches!(source.raw_os_error(), Some(libc::EPERM | libc::EACCES)) =>
        {
            RedirectError::Permission
        }
        NetlinkError::Refused { seq, source } => {
            let at = usize::try_from(seq).unwrap_or(0).saturating_sub(1);
            let what = labels.get(at).cloned().unwrap_or_default();
            RedirectError::Refused {
                message: seq,
                what,
                source,
            }
        }
        NetlinkError::Io(source) => RedirectError::Netlink(source),
    }
}

#[cfg(test)]
mod tests;
