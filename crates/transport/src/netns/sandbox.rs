//! Weir's side of the namespace: start the helper, take the sockets, let CMD
//! run, learn how it ended.
//!
//! Invariants: CMD does not run before [`Sandbox::start`]; dropping either
//! value closes the channel, upon which the helper kills everything inside.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::channel::{Order, Report};
use super::stage2::{Options, SUBCOMMAND};
use super::{Config, DnsSockets, NetnsError};

/// A sealed namespace whose command waits.
#[derive(Debug)]
pub struct Sandbox {
    control: OwnedFd,
    helper: Child,
    listeners: Vec<TcpListener>,
    dns: DnsSockets,
}

/// A sealed namespace whose command runs.
#[derive(Debug)]
pub struct Running {
    control: OwnedFd,
    helper: Child,
    ended: Option<tokio::task::JoinHandle<io::Result<Report>>>,
}

impl Sandbox {
    /// Makes the namespace and its sockets. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`NetnsError::Sealed`] with the step that failed.
    pub fn create(config: &Config) -> Result<Self, NetnsError> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(|errno| NetnsError::Start(errno.into()))?;
        fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))
            .map_err(|errno| NetnsError::Start(errno.into()))?;
        let options = Options::from_config(config, theirs.as_raw_fd());
        let helper = Command::new(&config.helper)
            .arg(SUBCOMMAND)
            .args(options.to_args())
            .envs(config.env.iter().map(|(name, value)| (name, value)))
            .spawn()
            .map_err(NetnsError::Start)?;
        drop(theirs);
        let mut sandbox = Self {
            control: ours,
            helper,
            listeners: Vec::new(),
            dns: DnsSockets::default(),
        };
        match Report::receive(sandbox.control.as_fd()).map_err(NetnsError::Gone)? {
            Report::Sockets(fds) => sandbox.adopt(fds)?,
            Report::Failed(why) => return Err(NetnsError::Sealed(why)),
            Report::Ended(_) => return Err(NetnsError::Gone(io::ErrorKind::InvalidData.into())),
        }
        Ok(sandbox)
    }

    /// The redirect listeners, IPv4 and IPv6, for
    /// [`Acceptor`](crate::listen::Acceptor) in redirect mode.
    pub fn take_listeners(&mut self) -> Vec<TcpListener> {
        std::mem::take(&mut self.listeners)
    }

    /// The sockets of the DNS relay, for [`DnsRelay`](super::DnsRelay).
    pub fn take_dns(&mut self) -> DnsSockets {
        std::mem::take(&mut self.dns)
    }

    /// Process id of the helper, the parent of all that runs inside.
    pub fn helper_pid(&self) -> u32 {
        self.helper.id()
    }

    /// Lets the command run. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`NetnsError::Gone`] when the helper died meanwhile.
    pub fn start(self) -> Result<Running, NetnsError> {
        Order::Start
            .send(self.control.as_fd())
            .map_err(NetnsError::Gone)?;
        let reader = self.control.try_clone().map_err(NetnsError::Gone)?;
        let ended = tokio::task::spawn_blocking(move || Report::receive(reader.as_fd()));
        Ok(Running {
            control: self.control,
            helper: self.helper,
            ended: Some(ended),
        })
    }

    /// By family and kind: whatever was sent, each goes where it belongs.
    fn adopt(&mut self, fds: Vec<OwnedFd>) -> Result<(), NetnsError> {
        for fd in fds {
            let kind = nix::sys::socket::getsockopt(&fd, nix::sys::socket::sockopt::SockType)
                .map_err(|errno| NetnsError::Gone(errno.into()))?;
            if kind == SockType::Datagram {
                self.dns.udp.push(UdpSocket::from(fd));
                continue;
            }
            let listener = TcpListener::from(fd);
            match listener.local_addr().map_err(NetnsError::Gone)?.port() {
                super::DNS_PORT => self.dns.tcp.push(listener),
                _ => self.listeners.push(listener),
            }
        }
        Ok(())
    }
}

impl Running {
    /// Hands a signal on to the command.
    ///
    /// # Errors
    /// When the helper is gone.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let number = u8::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
        Order::Signal(number).send(self.control.as_fd())
    }

    /// Waits for the command's end and returns its status. Everything that it
    /// left behind in the namespace is gone then.
    ///
    /// # Errors
    /// [`NetnsError::Sealed`] when the seal failed after the start,
    /// [`NetnsError::Gone`] when the helper died.
    pub async fn wait(&mut self) -> Result<ExitStatus, NetnsError> {
        let Some(ended) = &mut self.ended else {
            return Err(NetnsError::Gone(io::ErrorKind::InvalidInput.into()));
        };
        let report = ended
            .await
            .map_err(|error| NetnsError::Gone(io::Error::other(error)))?;
        self.ended = None;
        let _ = self.helper.wait();
        match report.map_err(NetnsError::Gone)? {
            Report::Ended(status) => Ok(ExitStatus::from_raw(status)),
            Report::Failed(why) => Err(NetnsError::Sealed(why)),
            Report::Sockets(_) => Err(NetnsError::Gone(io::ErrorKind::InvalidData.into())),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_some() {
            // The blocking reader holds a copy of the channel, so closing ours
            // is not enough.
            let _ = nix::sys::socket::shutdown(
                self.control.as_raw_fd(),
                nix::sys::socket::Shutdown::Both,
            );
            let _ = self.helper.wait();
        }
    }
}
