//! Proof, before anything is served, that the redirect holds both ways.
//!
//! Invariants: Weir's own dial must leave without being redirected, and the
//! kernel's counter must say that the exclusion let it; *and* a dial from
//! another cgroup must arrive at the redirect listener with its original
//! destination; only both together pass.
//! Refuses: to pass with one half; a namespace without a route to anywhere.
//!
//! Where the stranger is a container that starts only once Weir serves, the
//! halves come apart: Weir runs [`own`] before it serves and answers the
//! stranger's dial with [`answer`]; the stranger runs [`dial_probe`], and the
//! application waits for it.
//!
//! The destination of the dials is [`PROBE`], an address that no one has
//! (TEST-NET-1): Weir's own dial there must *not* arrive at the listener, the
//! stranger's must.
//!
//! ```no_run
//! # async fn f(listeners: &[std::net::TcpListener], rules: &weir_transport::redirect::Installed) -> Result<(), Box<dyn std::error::Error>> {
//! use weir_transport::selftest::{Stranger, run};
//! // A pod: the second init container dials; a host: a child in another cgroup.
//! run(listeners, rules, &Stranger::Cgroup("/sys/fs/cgroup/weir-probe".into())).await?;
//! # Ok(()) }
//! ```

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::addr::{OrigDstAddr, original_dst};
use crate::redirect::{Installed, RedirectError};

/// Where the test dials: an address of TEST-NET-1 (RFC 5737), which no host
/// has.
pub const PROBE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 254), 9));
/// The same for a namespace without IPv4: of the documentation prefix
/// (RFC 3849).
pub const PROBE_V6: SocketAddr = SocketAddr::V6(SocketAddrV6::new(
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe),
    9,
    0,
    0,
));

/// How long Weir's own dial is watched. It goes to nobody, so nothing ends it.
const OWN_DIAL: Duration = Duration::from_millis(300);
/// Between two looks at the exclusion's counter.
const LOOK: Duration = Duration::from_millis(5);
/// How long the stranger may take, its start included.
const STRANGER_DIAL: Duration = Duration::from_secs(5);
/// What Weir says to whoever dialled the probe: no host has that address, so
/// nobody else can.
const CAPTURED: &[u8] = b"captured by weir\n";

/// Who dials from outside of Weir's cgroup.
#[derive(Clone, Debug)]
pub enum Stranger {
    /// A child shell that first moves itself into this cgroup directory (its
    /// `cgroup.procs` must be writable).
    Cgroup(PathBuf),
    /// A command that dials [`PROBE`] from another cgroup.
    Command(Vec<String>),
    /// Someone else dials [`PROBE`] within this time.
    External(Duration),
}

/// Which half failed, and how.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// Weir would dial itself in a loop.
    #[error("exclusion does not hold: Weir's own dial was redirected to Weir")]
    OwnDialCaptured,
    /// The exclusion did not count Weir's own dial: it did not leave by it.
    #[error("exclusion does not hold: Weir's own dial did not match it")]
    OwnDialUnseen,
    /// Weir's own dial is turned away by the filter.
    #[error("exclusion does not hold: Weir's own dial was refused: {0}")]
    OwnDialRefused(#[source] io::Error),
    /// Connections of others do not arrive.
    #[error("redirect does not hold: a dial from another cgroup did not arrive at Weir")]
    StrangerNotCaptured,
    /// It arrived, but nobody knows where it wanted to go.
    #[error("redirect does not hold: a dial to the probe arrived as {found}")]
    WrongDestination {
        /// What the kernel said.
        found: String,
    },
    /// The rules are gone.
    #[error(transparent)]
    Rules(#[from] RedirectError),
    /// The test itself could not be made.
    #[error("self-test could not run: {0}")]
    Setup(#[source] io::Error),
}

/// Runs both halves against the redirect listeners, before they serve, in the
/// first family that has a route.
///
/// # Errors
/// [`SelfTestError`] names the half that failed. Weir must not start then.
pub async fn run(
    listeners: &[std::net::TcpListener],
    rules: &Installed,
    stranger: &Stranger,
) -> Result<(), SelfTestError> {
    let (listener, probe) = own(listeners, rules).await?;
    stranger_half(&listener, stranger, probe).await
}

/// Weir's own half alone. Returns the listener and the address of its dial.
///
/// # Errors
/// [`SelfTestError`] says how it failed. Weir must not serve then.
pub async fn own(
    listeners: &[std::net::TcpListener],
    rules: &Installed,
) -> Result<(TcpListener, SocketAddr), SelfTestError> {
    let probe = probe().map_err(SelfTestError::Setup)?;
    let listener = shared(listeners, probe).map_err(SelfTestError::Setup)?;
    let before = rules.counters()?.excluded;
    tokio::select! {
        biased;
        done = own_half(&listener, probe) => done?,
        seen = seen(rules, before) => seen?,
    }
    if rules.counters()?.excluded <= before {
        return Err(SelfTestError::OwnDialUnseen);
    }
    Ok((listener, probe))
}

/// Resolves once the exclusion has counted a dial: what it lets pass is not redirected, so there is
/// nothing left to wait for.
async fn seen(rules: &Installed, before: u64) -> Result<(), SelfTestError> {
    loop {
        tokio::time::sleep(LOOK).await;
        if rules.counters()?.excluded > before {
            return Ok(());
        }
    }
}

/// Whether a captured connection is a stranger's half of the test.
pub fn is_probe(destination: OrigDstAddr) -> bool {
    [PROBE, PROBE_V6].contains(&destination.addr())
}

/// Tells the stranger that it was captured, and that Weir knows where it
/// wanted to go.
///
/// # Errors
/// When the stranger is gone.
pub async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(CAPTURED).await?;
    stream.shutdown().await
}

/// The probe of a family that has a route here, IPv4 first.
fn probe() -> io::Result<SocketAddr> {
    let routed = |probe: SocketAddr| {
        let any: SocketAddr = match probe {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        // Connecting a datagram socket looks up a route and sends nothing.
        std::net::UdpSocket::bind(any)?
            .connect(probe)
            .map(|()| probe)
    };
    routed(PROBE).or_else(|error| routed(PROBE_V6).map_err(|_| error))
}

/// The listener of the probe's family, registered with the runtime for the
/// test's time.
fn shared(listeners: &[std::net::TcpListener], probe: SocketAddr) -> io::Result<TcpListener> {
    for listener in listeners {
        if listener.local_addr()?.is_ipv4() == probe.is_ipv4() {
            let listener = listener.try_clone()?;
            listener.set_nonblocking(true)?;
            return TcpListener::from_std(listener);
        }
    }
    Err(io::ErrorKind::AddrNotAvailable.into())
}

/// The stranger's half: dials [`PROBE`] once, and succeeds if a Weir that
/// serves has captured it and says so.
///
/// # Errors
/// The connection's error, or that somebody else answered.
pub async fn dial_probe() -> io::Result<()> {
    let probe = probe()?;
    let dial = async {
        let mut said = Vec::new();
        let limit = u64::try_from(CAPTURED.len()).unwrap_or(u64::MAX);
        let mut stream = TcpStream::connect(probe).await?.take(limit);
        stream.read_to_end(&mut said).await?;
        if said == CAPTURED {
            Ok(())
        } else {
            Err(io::Error::other("it was answered, but not by weir"))
        }
    };
    match tokio::time::timeout(STRANGER_DIAL, dial).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Weir's own dial must leave (and find nobody) without reaching the listener. Others may reach it
/// meanwhile, where rules outlived an earlier Weir: they are hung up on.
async fn own_half(listener: &TcpListener, probe: SocketAddr) -> Result<(), SelfTestError> {
    let (socket, any): (_, SocketAddr) = match probe {
        SocketAddr::V4(_) => (TcpSocket::new_v4(), (Ipv4Addr::UNSPECIFIED, 0).into()),
        SocketAddr::V6(_) => (TcpSocket::new_v6(), (Ipv6Addr::UNSPECIFIED, 0).into()),
    };
    let socket = socket.map_err(SelfTestError::Setup)?;
    socket.bind(any).map_err(SelfTestError::Setup)?;
    // Nobody else can dial from this port.
    let port = socket.local_addr().map_err(SelfTestError::Setup)?.port();
    tokio::select! {
        biased;
        arrived = arrival(listener, port) => match arrived {
            Ok(()) => Err(SelfTestError::OwnDialCaptured),
            Err(error) => Err(SelfTestError::Setup(error)),
        },
        dialled = socket.connect(probe) => match dialled {
            // Someone answered, and it may be our own backlog.
            Ok(_) => Err(SelfTestError::OwnDialCaptured),
            // No neighbour: it left. No route: it never tried.
            Err(error) if is_networks_answer(&error) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENETUNREACH) => {
                Err(SelfTestError::Setup(error))
            }
            Err(error) => Err(SelfTestError::OwnDialRefused(error)),
        },
        () = tokio::time::sleep(OWN_DIAL) => Ok(()),
    }
}

/// Resolves once a connection from this port of ours is accepted.
async fn arrival(listener: &TcpListener, port: u16) -> io::Result<()> {
    loop {
        let (_, peer) = listener.accept().await?;
        if peer.port() == port {
            return Ok(());
        }
    }
}

fn is_networks_answer(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EHOSTUNREACH | libc::ETIMEDOUT)
    )
}

async fn stranger_half(
    listener: &TcpListener,
    stranger: &Stranger,
    probe: SocketAddr,
) -> Result<(), SelfTestError> {
    let (mut child, patience) = match stranger {
        Stranger::External(patience) => (None, *patience),
        Stranger::Command(words) => (Some(spawn(words)?), STRANGER_DIAL),
        Stranger::Cgroup(dir) => (Some(spawn(&shell(dir, probe))?), STRANGER_DIAL),
    };
    let mut other = None;
    let arrived = tokio::time::timeout(patience, probed(listener, probe, &mut other)).await;
    if let Some(child) = &mut child {
        let _ = child.start_kill();
        let _ = child.wait().await;
    }
    match (arrived, other) {
        (Ok(arrived), _) => arrived.map_err(SelfTestError::Setup),
        (Err(_), Some(found)) => Err(SelfTestError::WrongDestination { found }),
        (Err(_), None) => Err(SelfTestError::StrangerNotCaptured),
    }
}

/// Resolves once a connection to the probe is accepted. Others may dial meanwhile: they are hung up
/// on, and where the last one wanted to go is kept.
async fn probed(
    listener: &TcpListener,
    probe: SocketAddr,
    other: &mut Option<String>,
) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        match original_dst(&stream) {
            Ok(found) if found.addr() == probe => return Ok(()),
            Ok(found) => *other = Some(found.to_string()),
            Err(error) => *other = Some(error.to_string()),
        }
    }
}

fn spawn(words: &[String]) -> Result<tokio::process::Child, SelfTestError> {
    let (program, args) = words
        .split_first()
        .ok_or_else(|| SelfTestError::Setup(io::ErrorKind::InvalidInput.into()))?;
    tokio::process::Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(SelfTestError::Setup)
}

/// Bash dials by itself (`/dev/tcp`), so no other program is needed on a host.
fn shell(cgroup: &std::path::Path, probe: SocketAddr) -> Vec<String> {
    let script = format!(
        "echo $$ > \"$0/cgroup.procs\" && exec 3<>/dev/tcp/{}/{} && sleep 5",
        probe.ip(),
        probe.port()
    );
    vec![
        String::from("bash"),
        String::from("-c"),
        script,
        cgroup.to_string_lossy().into_owned(),
    ]
}
