//! Proof, before anything is served, that the redirect holds both ways.
//!
//! Invariants: Weir's own dial must leave without being redirected, and the
//! kernel's counter must say that the exclusion let it; *and* a dial from
//! another cgroup must arrive at the redirect listener with its original
//! destination; only both together pass.
//! Refuses: to pass with one half; a namespace without a route to anywhere.
//!
//! The destination of the dials is [`PROBE`], an address that no one has
//! (TEST-NET-1): Weir's own dial there must *not* arrive at the listener, the
//! stranger's must.
//!
//! ```no_run
//! # async fn f(v4: &std::net::TcpListener, rules: &weir_transport::redirect::Installed) -> Result<(), Box<dyn std::error::Error>> {
//! use weir_transport::selftest::{Stranger, run};
//! // A pod: the second init container dials; a host: a child in another cgroup.
//! run(v4, rules, &Stranger::Cgroup("/sys/fs/cgroup/weir-probe".into())).await?;
//! # Ok(()) }
//! ```

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::addr::original_dst;
use crate::redirect::{Installed, RedirectError};

/// Where the test dials: an address of TEST-NET-1 (RFC 5737), which no host
/// has.
pub const PROBE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 254), 9));

/// How long Weir's own dial is watched. It goes to nobody, so nothing ends it.
const OWN_DIAL: Duration = Duration::from_millis(300);
/// How long the stranger may take, its start included.
const STRANGER_DIAL: Duration = Duration::from_secs(5);

/// Who dials from outside of Weir's cgroup.
#[derive(Clone, Debug)]
pub enum Stranger {
    /// A child shell that first moves itself into this cgroup directory (its
    /// `cgroup.procs` must be writable).
    Cgroup(PathBuf),
    /// A command that dials [`PROBE`] from another cgroup.
    Command(Vec<String>),
    /// Someone else dials [`PROBE`] within this time: the second init
    /// container of a pod, which runs [`dial_probe`].
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
    #[error("redirect does not hold: a dial to {PROBE} arrived as {found}")]
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

/// Runs both halves against the redirect listener (IPv4), before it serves.
///
/// # Errors
/// [`SelfTestError`] names the half that failed. Weir must not start then.
pub async fn run(
    listener: &std::net::TcpListener,
    rules: &Installed,
    stranger: &Stranger,
) -> Result<(), SelfTestError> {
    let listener = shared(listener).map_err(SelfTestError::Setup)?;
    let before = rules.counters()?;
    own_half(&listener).await?;
    let between = rules.counters()?;
    if between.excluded <= before.excluded {
        return Err(SelfTestError::OwnDialUnseen);
    }
    stranger_half(&listener, stranger).await
}

/// The same socket, registered with the runtime for the test's time.
fn shared(listener: &std::net::TcpListener) -> io::Result<TcpListener> {
    let listener = listener.try_clone()?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Dials [`PROBE`] once and succeeds if someone answered: for the stranger's
/// side of [`Stranger::External`], where an answer means "captured".
///
/// # Errors
/// The connection's error.
pub async fn dial_probe() -> io::Result<()> {
    match tokio::time::timeout(STRANGER_DIAL, TcpStream::connect(PROBE)).await {
        Ok(result) => result.map(drop),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Weir's own dial must leave (and find nobody) without reaching the listener.
async fn own_half(listener: &TcpListener) -> Result<(), SelfTestError> {
    let socket = TcpSocket::new_v4().map_err(SelfTestError::Setup)?;
    tokio::select! {
        biased;
        accepted = listener.accept() => match accepted {
            Ok(_) => Err(SelfTestError::OwnDialCaptured),
            Err(error) => Err(SelfTestError::Setup(error)),
        },
        dialled = socket.connect(PROBE) => match dialled {
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

fn is_networks_answer(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EHOSTUNREACH | libc::ETIMEDOUT)
    )
}

async fn stranger_half(listener: &TcpListener, stranger: &Stranger) -> Result<(), SelfTestError> {
    let (mut child, patience) = match stranger {
        Stranger::External(patience) => (None, *patience),
        Stranger::Command(words) => (Some(spawn(words)?), STRANGER_DIAL),
        Stranger::Cgroup(dir) => (Some(spawn(&shell(dir))?), STRANGER_DIAL),
    };
    let accepted = tokio::time::timeout(patience, listener.accept()).await;
    if let Some(child) = &mut child {
        let _ = child.start_kill();
        let _ = child.wait().await;
    }
    match accepted {
        Err(_) => Err(SelfTestError::StrangerNotCaptured),
        Ok(Err(error)) => Err(SelfTestError::Setup(error)),
        Ok(Ok((stream, _))) => match original_dst(&stream) {
            Ok(found) if found.addr() == PROBE => Ok(()),
            Ok(found) => Err(SelfTestError::WrongDestination {
                found: found.to_string(),
            }),
            Err(error) => Err(SelfTestError::WrongDestination {
                found: error.to_string(),
            }),
        },
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
fn shell(cgroup: &std::path::Path) -> Vec<String> {
    let script = format!(
        "echo $$ > \"$0/cgroup.procs\" && exec 3<>/dev/tcp/{}/{} && sleep 5",
        PROBE.ip(),
        PROBE.port()
    );
    vec![
        String::from("bash"),
        String::from("-c"),
        script,
        cgroup.to_string_lossy().into_owned(),
    ]
}
