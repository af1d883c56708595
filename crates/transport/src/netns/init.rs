//! The first process of the command's process namespace.
//!
//! It builds the view, gives up what it does not need, starts the command,
//! hands signals on and reaps orphans. When it ends, the kernel kills whatever
//! is left inside.
//!
//! Invariants: the command is started after every step of the seal has
//! succeeded; capabilities go last, and the filter after them.
//! Refuses to outlive the helper.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid, execvp, setgroups, setresgid, setresuid};

use super::channel::Report;
use super::stage2::Options;
use super::{filter, seal};
use crate::sys;

/// What init may still do: signal a command that changed its user.
const CAP_KILL: u64 = 1 << 5;
const TAG_ENDED: u8 = b'e';
const TAG_FAILED: u8 = b'f';

/// Runs as process 1 and never returns. The outcome goes down the pipe.
pub(super) fn run(options: &Options, mask: &SigSet, outcome: OwnedFd) -> ! {
    let mut outcome = File::from(outcome);
    let message = match sealed(options, mask) {
        Ok(status) => {
            let mut message = vec![TAG_ENDED];
            message.extend_from_slice(&status.to_ne_bytes());
            message
        }
        Err(error) => {
            let mut message = vec![TAG_FAILED];
            message.extend_from_slice(error.to_string().as_bytes());
            message
        }
    };
    let _ = outcome.write_all(&message);
    std::process::exit(0)
}

/// Reads the outcome in the helper, after init has ended.
pub(super) fn status(outcome: OwnedFd) -> io::Result<Report> {
    let mut message = Vec::new();
    File::from(outcome).take(4096).read_to_end(&mut message)?;
    match message.split_first() {
        Some((&TAG_ENDED, status)) => {
            let status = status.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
            Ok(Report::Ended(i32::from_ne_bytes(status)))
        }
        Some((&TAG_FAILED, why)) => Ok(Report::Failed(String::from_utf8_lossy(why).into_owned())),
        _ => Ok(Report::Ended(libc::SIGKILL)),
    }
}

fn sealed(options: &Options, mask: &SigSet) -> io::Result<i32> {
    sys::die_with_parent()?;
    sys::forbid_tracing()?;
    let dir = std::env::current_dir();
    seal::build(&options.view)?;
    enter_again(dir.ok());
    let signals = forwarded();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)?;
    let signal_fd = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
    let (failed_in, failed_out) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let child = match sys::fork()? {
        ForkResult::Child => {
            drop(failed_in);
            let error = become_command(options, mask);
            let _ = File::from(failed_out).write_all(error.to_string().as_bytes());
            let missing = error.kind() == io::ErrorKind::NotFound;
            std::process::exit(if missing { 127 } else { 126 })
        }
        ForkResult::Parent { child } => child,
    };
    drop(failed_out);
    let root = if nix::unistd::geteuid().is_root() {
        CAP_KILL
    } else {
        0
    };
    sys::set_capabilities(root)?;
    report_failure(failed_in, options.command.first());
    serve(&signal_fd, child)
}

/// The working directory by its path, through the new mounts: the old one may
/// lie below a mask.
fn enter_again(dir: Option<PathBuf>) {
    let entered = dir.is_some_and(|dir| std::env::set_current_dir(dir).is_ok());
    if !entered && std::env::set_current_dir("/").is_err() {
        std::process::exit(126);
    }
}

/// Nothing arrives when the program was executed.
fn report_failure(failed: OwnedFd, program: Option<&OsString>) {
    let mut why = String::new();
    let read = File::from(failed).read_to_string(&mut why);
    if read.is_ok() && !why.is_empty() {
        let program = program.map(|p| p.to_string_lossy()).unwrap_or_default();
        eprintln!("weir: cannot run {program}: {why}");
    }
}

fn become_command(options: &Options, mask: &SigSet) -> io::Error {
    match give_up_privileges(options, mask) {
        Err(error) => error,
        Ok(()) => {
            let words: Result<Vec<CString>, _> = options
                .command
                .iter()
                .map(|word| CString::new(word.as_bytes()))
                .collect();
            match words.as_deref() {
                Ok([program, ..]) => match execvp(program, words.as_deref().unwrap_or_default()) {
                    Ok(never) => match never {},
                    Err(errno) => errno.into(),
                },
                Ok([]) | Err(_) => io::ErrorKind::InvalidInput.into(),
            }
        }
    }
}

fn give_up_privileges(options: &Options, mask: &SigSet) -> io::Result<()> {
    sys::bound_capabilities(seal::KEPT)?;
    if let Some(uid) = options.uid {
        become_user(uid)?;
    }
    let root = nix::unistd::geteuid().is_root();
    sys::set_capabilities(if root { seal::KEPT } else { 0 })?;
    sys::no_new_privileges()?;
    filter::install()?;
    sys::close_on_exec_from(3)?;
    sys::restore_broken_pipe()?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), None)?;
    Ok(())
}

/// With the groups of that user; a user without an entry has none.
///
/// Read from the files: glibc would load modules for it, which crash in a static program.
fn become_user(uid: u32) -> io::Result<()> {
    let groups = groups(
        uid,
        &fs::read_to_string("/etc/passwd")?,
        &fs::read_to_string("/etc/group")?,
    );
    let gid = groups.first().copied().unwrap_or(Gid::from_raw(uid));
    setgroups(&groups)?;
    setresgid(gid, gid, gid)?;
    let uid = Uid::from_raw(uid);
    setresuid(uid, uid, uid)?;
    Ok(())
}

/// The groups of a user by passwd(5) and group(5), the primary one first.
fn groups(uid: u32, passwd: &str, group: &str) -> Vec<Gid> {
    let number = |text: &str| text.parse::<u32>().ok();
    let entry = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let found = number(fields.nth(1)?)? == uid;
        found.then(|| Some((name, number(fields.next()?)?)))?
    });
    let Some((name, primary)) = entry else {
        return vec![Gid::from_raw(uid)];
    };
    let others = group.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        let id = number(fields.next()?)?;
        let member = fields.next()?.split(',').any(|member| member == name);
        (member && id != primary).then_some(id)
    });
    std::iter::once(primary)
        .chain(others)
        .map(Gid::from_raw)
        .collect()
}

/// Signals that init takes instead of dying by them.
fn forwarded() -> SigSet {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
        Signal::SIGCONT,
        Signal::SIGTSTP,
        Signal::SIGWINCH,
    ] {
        set.add(signal);
    }
    set
}

/// Reaps and hands on, until the command has ended; returns its raw status.
fn serve(signals: &SignalFd, child: Pid) -> io::Result<i32> {
    loop {
        while let Some(ended) = reap()? {
            if let Some(status) = raw_status(ended, child) {
                return Ok(status);
            }
        }
        let Some(info) = signals.read_signal()? else {
            continue;
        };
        // What the terminal sends reaches the command by itself.
        let from_kernel = info.ssi_code > 0;
        let signal = i32::try_from(info.ssi_signo)
            .ok()
            .and_then(|n| Signal::try_from(n).ok());
        if let Some(signal) = signal.filter(|s| *s != Signal::SIGCHLD && !from_kernel) {
            let _ = kill(child, signal);
        }
    }
}

fn reap() -> io::Result<Option<WaitStatus>> {
    // Look first: a status that is not an end must stay where it is.
    match waitid(
        Id::All,
        WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT,
    ) {
        Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => Ok(None),
        Err(Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno.into()),
        Ok(found) => match found.pid() {
            Some(pid) => Ok(Some(waitpid(pid, None)?)),
            None => Ok(None),
        },
    }
}

fn raw_status(ended: WaitStatus, child: Pid) -> Option<i32> {
    match ended {
        WaitStatus::Exited(pid, code) if pid == child => Some((code & 0xff) << 8),
        WaitStatus::Signaled(pid, signal, core) if pid == child => {
            Some(signal as i32 | if core { 0x80 } else { 0 })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_the_files() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:100:,,,:/home/ann:/bin/sh\n";
        let group = "root:x:0:\nusers:x:100:ann\ndocker:x:999:bob,ann\nann2:x:5:anna\n";
        let of = |uid| -> Vec<u32> {
            let found = groups(uid, passwd, group);
            found.into_iter().map(Gid::as_raw).collect()
        };
        assert_eq!(of(1000), [100, 999]);
        assert_eq!(of(0), [0]);
        assert_eq!(of(2103), [2103]);
    }
}
