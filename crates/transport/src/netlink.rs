//! Netlink messages: an encoder, a bounded walk over attributes, and one
//! blocking exchange with the kernel.
//!
//! Invariants: lengths are written by the builder, never by callers; a reply
//! is walked without indexing; a truncated reply is an error.
//! Used for nftables, rtnetlink and sock_diag. Refuses to guess: an unexpected
//! end of the exchange is an error.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

pub(crate) const NLM_F_REQUEST: u16 = 1;
pub(crate) const NLM_F_ACK: u16 = 4;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_APPEND: u16 = 0x800;
pub(crate) const NLM_F_DUMP: u16 = 0x300;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE_MASK: u16 = 0x3fff;
/// The kernel answers at once; this bounds one that does not.
const EXCHANGE_SECONDS: i64 = 5;
/// Larger than any reply to what this crate asks.
const REPLY_BYTES: usize = 64 * 1024;

/// A sequence of netlink messages under construction.
#[derive(Default)]
pub(crate) struct Batch {
    buf: Vec<u8>,
    seq: u32,
    acks: usize,
}

/// The kernel refused one message of a batch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    #[error("kernel refused netlink message {seq}: {source}")]
    Refused { seq: u32, source: io::Error },
    #[error("netlink: {0}")]
    Io(#[from] io::Error),
}

impl From<nix::Error> for NetlinkError {
    fn from(errno: nix::Error) -> Self {
        Self::Io(errno.into())
    }
}

impl From<NetlinkError> for io::Error {
    fn from(error: NetlinkError) -> Self {
        match error {
            NetlinkError::Refused { source, .. } | NetlinkError::Io(source) => source,
        }
    }
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends one message: `header` is the family's fixed part, `body` adds
    /// attributes. With `NLM_F_ACK` the exchange waits for its answer.
    pub(crate) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        body: impl FnOnce(&mut Attrs<'_>),
    ) {
        self.seq += 1;
        if flags & NLM_F_ACK != 0 {
            self.acks += 1;
        }
        let start = self.buf.len();
        self.buf.extend_from_slice(&[0; 4]);
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf
            .extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.buf.extend_from_slice(&self.seq.to_ne_bytes());
        self.buf.extend_from_slice(&[0; 4]);
        self.buf.extend_from_slice(header);
        pad(&mut self.buf);
        body(&mut Attrs { buf: &mut self.buf });
        let len = u32::try_from(self.buf.len() - start).unwrap_or(u32::MAX);
        patch(&mut self.buf, start, &len.to_ne_bytes());
    }

    /// What would be sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// Sends everything at once and waits for every acknowledgement.
    pub(crate) fn exchange(self, protocol: SockProtocol) -> Result<(), NetlinkError> {
        let fd = open(protocol)?;
        transmit(&fd, self.bytes())?;
        let mut missing = self.acks;
        while missing > 0 {
            let mut failure = None;
            receive(&fd, |kind, seq, payload| {
                if kind == NLMSG_ERROR {
                    missing = missing.saturating_sub(1);
                    let code = i32_at(payload, 0).unwrap_or(-libc::EBADMSG);
                    if code != 0 && failure.is_none() {
                        failure = Some((seq, code));
                    }
                }
                true
            })?;
            if let Some((seq, code)) = failure {
                let source = io::Error::from_raw_os_error(-code);
                return Err(NetlinkError::Refused { seq, source });
            }
        }
        Ok(())
    }

    /// Sends one request and hands each data message to `each` (type, payload).
    pub(crate) fn query(
        self,
        protocol: SockProtocol,
        multi: bool,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), NetlinkError> {
        let fd = open(protocol)?;
        transmit(&fd, self.bytes())?;
        let mut done = false;
        let mut failure = None;
        while !done {
            receive(&fd, |kind, seq, payload| {
                match kind {
                    NLMSG_DONE => done = true,
                    NLMSG_ERROR => {
                        done = true;
                        let code = i32_at(payload, 0).unwrap_or(-libc::EBADMSG);
                        if code != 0 {
                            failure = Some((seq, code));
                        }
                    }
                    data => {
                        each(data, payload);
                        done |= !multi;
                    }
                }
                !done
            })?;
        }
        match failure {
            None => Ok(()),
            Some((seq, code)) => {
                let source = io::Error::from_raw_os_error(-code);
                Err(NetlinkError::Refused { seq, source })
            }
        }
    }
}

/// Writes attributes into the message that is being built.
pub(crate) struct Attrs<'a> {
    buf: &'a mut Vec<u8>,
}

impl Attrs<'_> {
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.buf.extend_from_slice(&len.to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf.extend_from_slice(value);
        pad(self.buf);
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.bytes(kind, &bytes);
    }

    /// nf_tables numbers are big-endian.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// rtnetlink numbers are in host order.
    pub(crate) fn ne32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    pub(crate) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Attrs<'_>)) {
        let start = self.buf.len();
        self.buf.extend_from_slice(&[0; 2]);
        self.buf
            .extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        body(&mut Attrs { buf: self.buf });
        let len = u16::try_from(self.buf.len() - start).unwrap_or(u16::MAX);
        patch(self.buf, start, &len.to_ne_bytes());
        pad(self.buf);
    }

    /// A fixed structure inside of a nest (veth's peer has an `ifinfomsg`).
    pub(crate) fn fixed(&mut self, value: &[u8]) {
        self.buf.extend_from_slice(value);
        pad(self.buf);
    }
}

/// Walks attributes: `(type, value)` pairs; stops at the first that is cut.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & NLA_TYPE_MASK;
        let value = rest.get(4..len)?;
        rest = rest.get(aligned(len)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn open(protocol: SockProtocol) -> Result<OwnedFd, NetlinkError> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    setsockopt(
        &fd,
        sockopt::ReceiveTimeout,
        &TimeVal::seconds(EXCHANGE_SECONDS),
    )?;
    Ok(fd)
}

fn transmit(fd: &OwnedFd, bytes: &[u8]) -> Result<(), NetlinkError> {
    let sent = send(fd.as_raw_fd(), bytes, MsgFlags::empty())?;
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(NetlinkError::Io(io::Error::from(io::ErrorKind::WriteZero)))
    }
}

fn receive(fd: &OwnedFd, each: impl FnMut(u16, u32, &[u8]) -> bool) -> Result<(), NetlinkError> {
    let mut buf = vec![0; REPLY_BYTES];
    let n = recv(fd.as_raw_fd(), &mut buf, MsgFlags::MSG_TRUNC)?;
    let Some(reply) = buf.get(..n) else {
        return Err(NetlinkError::Io(io::Error::other(
            "netlink reply is larger than its bound",
        )));
    };
    Ok(messages(reply, each)?)
}

/// Walks the messages of a reply (type, sequence number, payload), for as long as `each` wants more.
pub(crate) fn messages(
    mut rest: &[u8],
    mut each: impl FnMut(u16, u32, &[u8]) -> bool,
) -> io::Result<()> {
    while let (Some(len), Some(kind), Some(seq)) =
        (u32_at(rest, 0), u16_at(rest, 4), u32_at(rest, 8))
    {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let payload = rest
            .get(16..len)
            .ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if !each(kind, seq, payload) {
            break;
        }
        rest = rest.get(aligned(len)..).unwrap_or(&[]);
    }
    Ok(())
}

fn patch(buf: &mut [u8], at: usize, value: &[u8]) {
    for (slot, byte) in buf.iter_mut().skip(at).zip(value) {
        *slot = *byte;
    }
}

fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

fn pad(buf: &mut Vec<u8>) {
    buf.resize(aligned(buf.len()), 0);
}
