//! The sealed network namespace of `weir run -- CMD`.
//!
//! CMD gets a network namespace without any link to the outside. Weir stays in
//! the host's namespace and dials there; its listeners are made *inside* by a
//! helper, which hands the sockets over. So nothing leaves but through Weir, by
//! construction; the nftables rules inside only lead every connection to the
//! listeners.
//!
//! Invariants: the helper is this program, executed anew
//! ([`stage2_if_asked`]), and has one thread; CMD has its own mount, process
//! and IPC namespaces and its own cgroup, bounded capabilities, no new
//! privileges, and a view of the file system without other ways out (`seal`);
//! when Weir dies, everything inside is killed.
//! Refuses: to start CMD when any step of the seal failed.
//!
//! ```no_run
//! use weir_transport::netns::{Config, DnsRelay, Sandbox, stage2_if_asked};
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     stage2_if_asked(); // first thing, before any thread is made
//!     let mut sandbox = Sandbox::create(&Config::new("psql", ["-h", "orders.corp"]))?;
//!     let listeners = sandbox.take_listeners(); // for listen::Acceptor, Mode::Redirect
//!     let dns = sandbox.take_dns();
//!     let runtime = tokio::runtime::Runtime::new()?;
//!     runtime.block_on(async {
//!         tokio::spawn(DnsRelay::new(dns)?.run());
//!         let mut running = sandbox.start()?; // CMD runs from here on
//!         println!("{}", running.wait().await?);
//!         Ok(())
//!     })
//! }
//! ```
//!
//! The caller takes SIGINT and SIGQUIT and does nothing while CMD runs (the
//! terminal sends them to CMD as well; to ignore them would be inherited), and
//! hands SIGTERM and SIGHUP on with [`Running::signal`]. Give the addresses of
//! Weir's other listeners to [`Acceptor::forbid`](crate::listen::Acceptor::forbid):
//! a captured connection is dialled from the host's side.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

mod channel;
mod dns;
mod filter;
mod init;
mod link;
mod sandbox;
mod seal;
mod stage2;

pub use dns::{DnsCounters, DnsRelay, DnsSockets};
pub use sandbox::{Running, Sandbox};
pub use stage2::stage2_if_asked;

/// Port of the redirect listeners inside of the namespace.
pub const REDIRECT_PORT: u16 = 15001;
/// Port of the DNS relay inside of the namespace.
pub const DNS_PORT: u16 = 15053;

/// Directories that are empty for CMD unless configured otherwise.
pub const HIDDEN: [&str; 4] = [
    "/var/run",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/kubelet",
];
/// Directories that CMD cannot write when it runs as root: what is executed
/// from them runs outside.
pub const READ_ONLY_FOR_ROOT: [&str; 7] = [
    "/etc",
    "/usr",
    "/boot",
    "/efi",
    "/var/spool/cron",
    "/var/spool/anacron",
    "/root/.ssh",
];

/// Where SSH clients look for the host keys that the whole machine trusts.
pub const KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts";

/// What to run, and what it may see.
#[derive(Clone, Debug)]
pub struct Config {
    /// Program, looked up in `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables to set on top of the inherited ones.
    pub env: Vec<(OsString, OsString)>,
    /// User to become; `None` stays. With a group and supplementary groups of
    /// its own.
    pub uid: Option<u32>,
    /// Hidden on top of [`HIDDEN`] and of `/run`: Weir's state directory goes
    /// here.
    pub hide: Vec<PathBuf>,
    /// Left visible: parts of `/run`, or unix sockets elsewhere.
    pub keep: Vec<PathBuf>,
    /// What CMD finds at [`KNOWN_HOSTS`], where the machine has an SSH client.
    pub known_hosts: Option<PathBuf>,
    /// Read-only for CMD.
    pub read_only: Vec<PathBuf>,
    /// Directory of CMD's cgroup; `None` leaves it in the caller's.
    pub cgroup: Option<PathBuf>,
    /// Program that calls [`stage2_if_asked`] first; this one by default.
    pub helper: PathBuf,
}

impl Config {
    /// The defaults for a command.
    pub fn new<A: Into<OsString>>(
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        let read_only = if nix::unistd::geteuid().is_root() {
            &READ_ONLY_FOR_ROOT[..]
        } else {
            &[]
        };
        // Whoever runs Weir next runs what a command left there.
        let own_program = std::env::current_exe().ok();
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            uid: None,
            hide: Vec::new(),
            keep: Vec::new(),
            known_hosts: None,
            read_only: read_only
                .iter()
                .map(PathBuf::from)
                .chain(own_program)
                .collect(),
            cgroup: None,
            helper: PathBuf::from("/proc/self/exe"),
        }
    }
}

/// Why the namespace could not be made or its command not be run.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The helper could not be started.
    #[error("cannot start the namespace helper: {0}")]
    Start(#[source] io::Error),
    /// The helper refused; it says why.
    #[error("cannot seal the namespace: {0}")]
    Sealed(String),
    /// The helper died or the channel to it broke.
    #[error("the namespace helper is gone: {0}")]
    Gone(#[source] io::Error),
}

#[cfg(test)]
mod tests;
