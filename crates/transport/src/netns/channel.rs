//! The messages between Weir and its namespace helper, over a socket pair.
//!
//! Invariants: `SOCK_SEQPACKET` keeps messages apart; each is one tag byte and
//! a payload of at most [`MESSAGE`] bytes; descriptors come only with
//! [`Report::Sockets`]. Refuses unknown tags.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

use crate::sys;

/// Longest message.
const MESSAGE: usize = 4096;
/// Descriptors of one message: two listeners, two DNS sockets, two DNS
/// listeners.
const DESCRIPTORS: usize = 6;

/// From the helper to Weir.
#[derive(Debug)]
pub(crate) enum Report {
    /// The namespace is ready; these are its sockets.
    Sockets(Vec<OwnedFd>),
    /// A step failed.
    Failed(String),
    /// CMD ended with this raw wait status.
    Ended(i32),
}

/// From Weir to the helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Run CMD.
    Start,
    /// Send this signal to CMD.
    Signal(u8),
}

impl Report {
    pub(crate) fn send(&self, to: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Self::Sockets(fds) => {
                let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
                transmit(to, b"s", &[ControlMessage::ScmRights(&raw)])
            }
            Self::Failed(why) => {
                let mut message = vec![b'f'];
                message.extend(why.bytes().take(MESSAGE - 1));
                transmit(to, &message, &[])
            }
            Self::Ended(status) => {
                let mut message = vec![b'e'];
                message.extend_from_slice(&status.to_ne_bytes());
                transmit(to, &message, &[])
            }
        }
    }

    /// Waits for a report; the end of the stream is an error.
    pub(crate) fn receive(from: BorrowedFd<'_>) -> io::Result<Self> {
        let (message, fds) = receive(from)?;
        match message.split_first() {
            Some((b's', _)) => Ok(Self::Sockets(fds)),
            Some((b'f', why)) => Ok(Self::Failed(String::from_utf8_lossy(why).into_owned())),
            Some((b'e', status)) => {
                let status = status.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
                Ok(Self::Ended(i32::from_ne_bytes(status)))
            }
            Some(_) => Err(io::ErrorKind::InvalidData.into()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Order {
    pub(crate) fn send(self, to: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Self::Start => transmit(to, b"g", &[]),
            Self::Signal(number) => transmit(to, &[b'k', number], &[]),
        }
    }

    /// Waits for an order; `None` when Weir is gone.
    pub(crate) fn receive(from: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        match receive(from)?.0.as_slice() {
            [b'g'] => Ok(Some(Self::Start)),
            [b'k', number] => Ok(Some(Self::Signal(*number))),
            [] => Ok(None),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn transmit(to: BorrowedFd<'_>, bytes: &[u8], control: &[ControlMessage<'_>]) -> io::Result<()> {
    let parts = [IoSlice::new(bytes)];
    sendmsg::<UnixAddr>(
        to.as_raw_fd(),
        &parts,
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

fn receive(from: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut buf = vec![0; MESSAGE];
    let mut space = cmsg_space!([RawFd; DESCRIPTORS]);
    let mut fds = Vec::new();
    let n = loop {
        let mut parts = [IoSliceMut::new(&mut buf)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<UnixAddr>(from.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => break 0,
            Err(errno) => return Err(errno.into()),
            Ok(message) => {
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(raw) = control {
                        fds.extend(sys::own_fds(raw));
                    }
                }
                break message.bytes;
            }
        }
    };
    buf.truncate(n);
    Ok((buf, fds))
}
