//! Accepting connections: a cap, a loop guard, and a drain.
//!
//! Invariants: every accepted connection holds a [`Tracked`] until it is
//! dropped, so the count is exact; a connection over the cap is closed at once
//! and counted; a connection whose destination is Weir itself is closed and
//! counted, never dialled.
//! Refuses: redirected connections without an original destination.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use weir_transport::listen::{Acceptor, Mode, Limits};
//! # async fn serve(listener: std::net::TcpListener) -> Result<(), Box<dyn std::error::Error>> {
//! let (drain, drained) = weir_transport::listen::drain();
//! let mut acceptor = Acceptor::new(listener, Mode::Redirect, Limits { connections: 4096 }, drained)?;
//! let counters = acceptor.counters();
//! tokio::spawn(async move {
//!     while let Some(accepted) = acceptor.accept().await {
//!         tokio::spawn(async move {
//!             tokio::select! {
//!                 () = accepted.tracked.cancelled() => {} // drain deadline: close the session
//!                 () = async { /* serve accepted.stream to accepted.destination */ } => {}
//!             }
//!         });
//!     }
//! });
//! // On SIGTERM:
//! let left = drain.run(Duration::from_secs(30)).await;
//! println!("{left} connections were cut, {} refused over the cap", counters.over_cap());
//! # Ok(()) }
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, SockaddrIn6, bind, listen, setsockopt,
    shutdown, socket, sockopt,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use crate::addr::{ClientAddr, OrigDstAddr, original_dst};

/// How the destination of an accepted connection is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The kernel redirected it: the destination is the original one.
    Redirect,
    /// The client dialled the listener, which stands for this destination.
    Explicit(OrigDstAddr),
    /// The client dialled the listener; the gateway knows the target by name.
    Named,
}

/// Bounds of one acceptor.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at the same time; more are closed at once.
    pub connections: usize,
}

/// What an acceptor has refused, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    open: AtomicUsize,
    accepted: AtomicU64,
    over_cap: AtomicU64,
    loops: AtomicU64,
    errors: AtomicU64,
}

/// One connection, with its place in the count.
#[derive(Debug)]
pub struct Accepted {
    /// The client's side, `TCP_NODELAY` and keep-alive set.
    pub stream: TcpStream,
    /// Who dialled.
    pub client: ClientAddr,
    /// Where to; `None` only in [`Mode::Named`].
    pub destination: Option<OrigDstAddr>,
    /// Keep this for as long as the connection lives.
    pub tracked: Tracked,
}

/// Accepts until a drain begins.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    mode: Mode,
    own: OwnListener,
    forbidden: Vec<OwnListener>,
    limits: Limits,
    counters: Arc<Counters>,
    drain: Drained,
}

/// The side that starts a drain. Dropping it drains nothing.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    shared: Arc<Shared>,
}

/// The side that acceptors hold; clone it for each.
#[derive(Clone, Debug)]
pub struct Drained {
    phase: watch::Receiver<Phase>,
    shared: Arc<Shared>,
}

/// One open connection. Its drop is what a drain waits for.
#[derive(Debug)]
pub struct Tracked {
    phase: watch::Receiver<Phase>,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Draining,
    Cancelled,
}

#[derive(Debug, Default)]
struct Shared {
    open: AtomicUsize,
    idle: Notify,
}

/// A pair: one starts the drain, the other is given to acceptors.
pub fn drain() -> (Drain, Drained) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    let shared = Arc::<Shared>::default();
    (
        Drain {
            phase: sender,
            shared: shared.clone(),
        },
        Drained {
            phase: receiver,
            shared,
        },
    )
}

/// Listeners for a redirect: `0.0.0.0` and, where the kernel has it, `::` on
/// one port. Captured connections arrive on any local address.
///
/// # Errors
/// When the port is taken.
pub fn bind_wildcard(port: u16) -> io::Result<Vec<std::net::TcpListener>> {
    let v4 = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let mut listeners = vec![v4];
    if std::fs::metadata("/proc/sys/net/ipv6").is_ok() {
        listeners.push(bind_v6(SockType::Stream, port)?.into());
    }
    Ok(listeners)
}

/// Stops listening and keeps the port: connections are refused until [`open`].
///
/// # Errors
/// It does not listen.
pub fn close(listener: &std::net::TcpListener) -> io::Result<()> {
    // Linux: a listener that is shut down for reading is bound and not listening any more.
    shutdown(listener.as_raw_fd(), Shutdown::Read)?;
    // With this, another socket could be bound beside one that does not listen.
    Ok(setsockopt(listener, sockopt::ReuseAddr, &false)?)
}

/// Listens again after [`close`].
///
/// # Errors
/// The socket is gone.
pub fn open(listener: &std::net::TcpListener) -> io::Result<()> {
    setsockopt(listener, sockopt::ReuseAddr, &true)?;
    Ok(listen(listener, Backlog::new(BACKLOG)?)?)
}

/// IPv6 alone, beside an IPv4 socket on the same port.
pub(crate) fn bind_v6(kind: SockType, port: u16) -> io::Result<OwnedFd> {
    let fd = socket(AddressFamily::Inet6, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);
    if kind == SockType::Stream {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrIn6::from(any))?;
    if kind == SockType::Stream {
        listen(&fd, Backlog::new(BACKLOG)?)?;
    }
    Ok(fd)
}

/// Finds peers that are gone without a word: probes after a minute of silence,
/// gives up after three more. For both sides of a long, idle or held session.
///
/// # Errors
/// When the socket is already closed.
pub fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &60)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &20)?;
    setsockopt(stream, sockopt::TcpKeepCount, &3)?;
    Ok(())
}

impl Drain {
    /// Stops accepting, waits for open connections up to `deadline`, then
    /// cancels the rest. Returns how many had to be cancelled.
    pub async fn run(self, deadline: Duration) -> usize {
        self.phase.send_replace(Phase::Draining);
        let idle = async {
            loop {
                let notified = self.shared.idle.notified();
                if self.shared.open.load(Ordering::Acquire) == 0 {
                    return;
                }
                notified.await;
            }
        };
        if tokio::time::timeout(deadline, idle).await.is_ok() {
            return 0;
        }
        let left = self.shared.open.load(Ordering::Acquire);
        self.phase.send_replace(Phase::Cancelled);
        left
    }
}

impl Drained {
    /// Resolves when a drain has begun (for readiness and idle sessions).
    pub async fn begun(&mut self) {
        reached(&mut self.phase, Phase::Draining).await;
    }
}

impl Tracked {
    /// A connection inside this one, which a drain waits for and ends as well.
    #[must_use]
    pub fn inside(&self) -> Self {
        Self::new(&self.phase, &self.shared, &self.counters)
    }

    fn new(phase: &watch::Receiver<Phase>, shared: &Arc<Shared>, counters: &Arc<Counters>) -> Self {
        counters.open.fetch_add(1, Ordering::AcqRel);
        shared.open.fetch_add(1, Ordering::AcqRel);
        Self {
            phase: phase.clone(),
            shared: Arc::clone(shared),
            counters: Arc::clone(counters),
        }
    }

    /// Resolves when the drain's deadline has passed and this connection must
    /// end.
    pub async fn cancelled(&self) {
        reached(&mut self.phase.clone(), Phase::Cancelled).await;
    }

    /// Resolves when a drain has begun: an idle session may end by itself.
    pub async fn draining(&self) {
        reached(&mut self.phase.clone(), Phase::Draining).await;
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Ordering::AcqRel);
        if self.shared.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            // A stored permit as well, so that a waiter between its check and
            // its await is not missed.
            self.shared.idle.notify_one();
        }
    }
}

impl Counters {
    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections handed out so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections closed because the cap was reached.
    pub fn over_cap(&self) -> u64 {
        self.over_cap.load(Ordering::Relaxed)
    }

    /// Connections closed because they led back to Weir or were not redirected.
    pub fn loops(&self) -> u64 {
        self.loops.load(Ordering::Relaxed)
    }

    /// Failed accepts (descriptors exhausted and the like).
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

impl Acceptor {
    /// Takes over a listening socket (it is made non-blocking).
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime.
    pub fn new(
        listener: std::net::TcpListener,
        mode: Mode,
        limits: Limits,
        drain: Drained,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let own = OwnListener(listener.local_addr()?);
        let listener = TcpListener::from_std(listener)?;
        let (forbidden, counters) = (Vec::new(), Arc::default());
        Ok(Self {
            listener,
            mode,
            own,
            forbidden,
            limits,
            counters,
            drain,
        })
    }

    /// Refuses these destinations as well: Weir's other listeners (admin,
    /// query API, explicit ones), which a governed application could otherwise
    /// reach through Weir, from Weir's own side.
    #[must_use]
    pub fn forbid(mut self, own_listeners: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.forbidden
            .extend(own_listeners.into_iter().map(OwnListener));
        self
    }

    /// The address the socket listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.own.0
    }

    /// Live counters, to be exported as metrics.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// The next connection that may be served; `None` once a drain has begun.
    /// Cancel safe.
    pub async fn accept(&mut self) -> Option<Accepted> {
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = self.drain.begun() => return None,
                accepted = self.listener.accept() => match accepted {
                    Ok(pair) => pair,
                    Err(error) => {
                        self.counters.errors.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(%error, "accept failed");
                        if is_exhaustion(&error) {
                            tokio::time::sleep(ACCEPT_BACKOFF).await;
                        }
                        continue;
                    }
                },
            };
            if self.counters.open() >= self.limits.connections {
                self.counters.over_cap.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let Ok(destination) = self.destination(&stream) else {
                self.counters.loops.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(client = %peer, "refused a connection made to the redirect listener");
                continue;
            };
            let _ = stream.set_nodelay(true);
            let _ = keep_alive(&stream);
            self.counters.accepted.fetch_add(1, Ordering::Relaxed);
            let tracked = self.track();
            let client = ClientAddr::new(peer);
            return Some(Accepted {
                stream,
                client,
                destination,
                tracked,
            });
        }
    }

    fn destination(&self, stream: &TcpStream) -> Result<Option<OrigDstAddr>, Loop> {
        match self.mode {
            Mode::Named => Ok(None),
            Mode::Explicit(addr) if self.leads_back(addr) => Err(Loop),
            Mode::Explicit(addr) => Ok(Some(addr)),
            Mode::Redirect => match original_dst(stream) {
                Ok(addr) if self.leads_back(addr) => Err(Loop),
                Ok(addr) => Ok(Some(addr)),
                Err(_) => Err(Loop),
            },
        }
    }

    fn leads_back(&self, destination: OrigDstAddr) -> bool {
        let to = destination.addr();
        self.own.is(to) || self.forbidden.iter().any(|own| own.is(to))
    }

    fn track(&self) -> Tracked {
        Tracked::new(&self.drain.phase, &self.drain.shared, &self.counters)
    }
}

/// Waiting connections of one listener.
const BACKLOG: i32 = 1024;
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

struct Loop;

/// The listener's own address, as a destination it may not have.
#[derive(Clone, Copy, Debug)]
struct OwnListener(SocketAddr);

impl OwnListener {
    fn is(self, destination: SocketAddr) -> bool {
        if destination.port() != self.0.port() {
            return false;
        }
        let (own, there) = (self.0.ip().to_canonical(), destination.ip().to_canonical());
        // A wildcard listener answers on every local address; which ones are
        // local is the kernel's knowledge, so ask it by binding.
        own == there || there.is_unspecified() || (own.is_unspecified() && is_local(there))
    }
}

fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || std::net::UdpSocket::bind((ip, 0)).is_ok()
}

fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    if phase.wait_for(|now| *now >= wanted).await.is_err() {
        // The drain's owner is gone without draining: this never happens.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
