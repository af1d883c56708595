//! The helper: this program executed anew, with one thread.
//!
//! It leaves the caller's namespaces, builds the link, the rules and the
//! sockets, hands the sockets to Weir, waits for the order to start, and then
//! watches: orders from Weir, the end of the command. It stays outside of the
//! command's process namespace, so the command cannot see it.
//!
//! Invariants: it never starts a thread; when Weir is gone, so is everything
//! inside. Refuses to run what it was not told on its command line.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::SockType;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, getegid, geteuid, pipe};

use super::channel::{Order, Report};
use super::seal::{self, View};
use super::{Config, DNS_PORT, HIDDEN, REDIRECT_PORT, init, link};
use crate::listen::{bind_v6, bind_wildcard};
use crate::redirect::{Config as RedirectConfig, Dns, Exclusion, Redirect};
use crate::sys;

/// Hidden subcommand by which a program is asked to be the helper.
pub(super) const SUBCOMMAND: &str = "__weir-namespace";

/// The helper's command line, parsed.
#[derive(Debug, Default)]
pub(super) struct Options {
    control: RawFd,
    pub(super) uid: Option<u32>,
    cgroup: Option<PathBuf>,
    pub(super) view: View,
    pub(super) command: Vec<OsString>,
}

/// Becomes the namespace helper when the command line asks for it, and does
/// not return then. To be called first in `main`, before any thread exists.
pub fn stage2_if_asked() {
    let mut args = std::env::args_os().skip(1);
    if args.next().as_deref() == Some(OsStr::new(SUBCOMMAND)) {
        let code = match Options::parse(args).and_then(run) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("weir: namespace helper: {error}");
                125
            }
        };
        std::process::exit(code);
    }
}

impl Options {
    pub(super) fn from_config(config: &Config, control: RawFd) -> Self {
        let hide = HIDDEN
            .iter()
            .map(PathBuf::from)
            .chain(config.hide.iter().cloned());
        Self {
            control,
            uid: config.uid,
            cgroup: config.cgroup.clone(),
            view: View {
                hide: hide.collect(),
                keep: config.keep.clone(),
                known_hosts: config.known_hosts.clone(),
                read_only: config.read_only.clone(),
                sockets: Vec::new(),
            },
            command: [config.program.clone()]
                .into_iter()
                .chain(config.args.clone())
                .collect(),
        }
    }

    /// `KEY=VALUE` words, `--`, the command.
    pub(super) fn to_args(&self) -> Vec<OsString> {
        let mut args = vec![OsString::from(format!("control={}", self.control))];
        args.extend(self.uid.map(|uid| OsString::from(format!("uid={uid}"))));
        let lists = [
            ("hide=", self.view.hide.as_slice()),
            ("keep=", &self.view.keep),
            ("known-hosts=", self.view.known_hosts.as_slice()),
            ("read-only=", &self.view.read_only),
            ("cgroup=", self.cgroup.as_slice()),
        ];
        for (key, paths) in lists {
            for path in paths {
                let mut word = OsString::from(key);
                word.push(path);
                args.push(word);
            }
        }
        args.push(OsString::from("--"));
        args.extend(self.command.iter().cloned());
        args
    }

    pub(super) fn parse(mut args: impl Iterator<Item = OsString>) -> io::Result<Self> {
        let mut options = Self::default();
        for word in args.by_ref().take_while(|word| word != "--") {
            let bytes = word.as_bytes();
            let at = bytes
                .iter()
                .position(|b| *b == b'=')
                .ok_or(io::ErrorKind::InvalidInput)?;
            let (key, value) = bytes.split_at(at);
            let value = OsString::from_vec(value.get(1..).unwrap_or_default().to_vec());
            let number = || value.to_str().and_then(|v| v.parse::<u32>().ok());
            match key {
                b"control" => {
                    let fd = number().and_then(|fd| RawFd::try_from(fd).ok());
                    options.control = fd.ok_or(io::ErrorKind::InvalidInput)?;
                }
                b"uid" => options.uid = Some(number().ok_or(io::ErrorKind::InvalidInput)?),
                b"hide" => options.view.hide.push(value.into()),
                b"keep" => options.view.keep.push(value.into()),
                b"known-hosts" => options.view.known_hosts = Some(value.into()),
                b"read-only" => options.view.read_only.push(value.into()),
                b"cgroup" => options.cgroup = Some(value.into()),
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        options.command = args.collect();
        if options.command.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(options)
    }
}

fn run(mut options: Options) -> io::Result<()> {
    let control = sys::inherited_fd(options.control)?;
    sys::close_on_exec_from(3)?;
    match prepare(&mut options) {
        Ok(sockets) => Report::Sockets(sockets).send(control.as_fd())?,
        Err(error) => return Report::Failed(error.to_string()).send(control.as_fd()),
    }
    match Order::receive(control.as_fd())? {
        Some(Order::Start) => {}
        Some(Order::Signal(_)) | None => return Ok(()),
    }
    let report = match supervise(&options, &control) {
        Ok(report) => report,
        Err(error) => Report::Failed(error.to_string()),
    };
    match report.send(control.as_fd()) {
        // Weir is gone, and so is the command: nobody is left to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// New namespaces, the link, the rules, the sockets.
fn prepare(options: &mut Options) -> io::Result<Vec<OwnedFd>> {
    options.view.sockets = seal::listening_sockets()?;
    if let Some(dir) = &options.cgroup {
        let procs = dir.join("cgroup.procs");
        step("cgroup", fs::write(procs, std::process::id().to_string()))?;
    }
    let mut spaces = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    let (uid, gid) = (geteuid(), getegid());
    if !uid.is_root() {
        spaces |= CloneFlags::CLONE_NEWUSER;
    }
    step("namespaces", unshare(spaces).map_err(Into::into))?;
    if !uid.is_root() {
        step("user map", map_self(uid.as_raw(), gid.as_raw()))?;
    }
    step("link", link::build())?;
    let rules = RedirectConfig {
        port: REDIRECT_PORT,
        exclusion: Exclusion::Nobody,
        redirect_loopback: true,
        enforced: true,
        dns: Dns::Relay { port: DNS_PORT },
    };
    step("rules", Redirect::install(&rules).map_err(io::Error::other))?;
    step("sockets", sockets())
}

/// Without privileges: a user namespace in which we are who we are.
fn map_self(uid: u32, gid: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

fn sockets() -> io::Result<Vec<OwnedFd>> {
    let streams = bind_wildcard(REDIRECT_PORT)?
        .into_iter()
        .chain(bind_wildcard(DNS_PORT)?);
    let mut fds: Vec<OwnedFd> = streams.map(OwnedFd::from).collect();
    fds.push(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DNS_PORT))?.into());
    if fs::metadata("/proc/sys/net/ipv6").is_ok() {
        fds.push(bind_v6(SockType::Datagram, DNS_PORT)?);
    }
    Ok(fds)
}

/// Runs the command under an init of its own, and watches both sides.
fn supervise(options: &Options, control: &OwnedFd) -> io::Result<Report> {
    let mut mask = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGHUP,
    ] {
        mask.add(signal);
    }
    let mut outer = SigSet::empty();
    nix::sys::signal::sigprocmask(
        nix::sys::signal::SigmaskHow::SIG_BLOCK,
        Some(&mask),
        Some(&mut outer),
    )?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC)?;
    let (status_in, status_out) = pipe()?;
    let child = match sys::fork()? {
        ForkResult::Child => {
            drop(status_in);
            drop(signals);
            init::run(options, &outer, status_out)
        }
        ForkResult::Parent { child } => child,
    };
    drop(status_out);
    watch(control, &signals, child)?;
    let _ = waitpid(child, None);
    init::status(status_in)
}

/// Until init is gone: orders are carried out, the terminal's signals ignored.
fn watch(control: &OwnedFd, signals: &SignalFd, child: Pid) -> io::Result<()> {
    let mut weir_lives = true;
    loop {
        let orders = if weir_lives {
            PollFlags::POLLIN
        } else {
            PollFlags::empty()
        };
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(control.as_fd(), orders),
        ];
        let fds = if weir_lives {
            &mut fds[..]
        } else {
            &mut fds[..1]
        };
        match poll(fds, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            other => other?,
        };
        let ready =
            |fd: Option<&PollFd<'_>>| fd.and_then(PollFd::revents).is_some_and(|r| !r.is_empty());
        let (by_signal, by_order) = (ready(fds.first()), ready(fds.get(1)));
        if by_signal
            && let Some(info) = signals.read_signal()?
            && info.ssi_signo == Signal::SIGCHLD as u32
        {
            return Ok(());
        }
        if by_order {
            match Order::receive(control.as_fd()) {
                Ok(Some(Order::Signal(number))) => {
                    let signal = Signal::try_from(i32::from(number));
                    signal.and_then(|signal| kill(child, signal)).unwrap_or(());
                }
                Ok(Some(Order::Start)) => {}
                Ok(None) | Err(_) => {
                    weir_lives = false;
                    let _ = kill(child, Signal::SIGKILL);
                }
            }
        }
    }
}

fn step<T>(what: &str, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{what}: {error}")))
}
