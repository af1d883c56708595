//! Becoming an ordinary user for good.
//!
//! A sidecar starts as uid 0 with NET_ADMIN (for the rules), SETUID and SETGID (for this), and
//! keeps none of it: whoever takes over the process later can neither change the rules nor become
//! anybody else.
//!
//! Invariants: the kernel's own account of every thread is read afterwards, and anything left over
//! is an error; the bounding set is emptied where that is permitted (it needs SETPCAP, which a
//! container should not have), and without it `no_new_privs` keeps programs from gaining anything.
//! Refuses: to go on as root, with a capability, with a group that was not asked for, or in a
//! process that could gain privileges by executing a program.

use std::fs;
use std::io;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use crate::sys;

/// Why privileges could not be given up. The process must end.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// A step was not permitted.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel says that something is left.
    #[error("thread {thread} still has {what}")]
    Left {
        /// Which thread.
        thread: String,
        /// What it has.
        what: String,
    },
    /// Root can be had again.
    #[error("privileges are not given up for good: uid 0 could be had again")]
    Again,
}

/// Becomes user and group `id` with these supplementary groups only, without any capability, for
/// good. Call it while the process does nothing else.
///
/// # Errors
/// [`PrivilegeError`]; the process may be anything between root and ordinary then.
pub fn give_up(id: u32, groups: &[u32]) -> Result<(), PrivilegeError> {
    let step = |step| move |source: io::Error| PrivilegeError::Step { step, source };
    let errno = |name| move |error: nix::errno::Errno| step(name)(error.into());
    match sys::bound_capabilities(0) {
        Err(error) if error.raw_os_error() != Some(libc::EPERM) => {
            return Err(step("empty the bounding set")(error));
        }
        _ => {}
    }
    let supplementary: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&supplementary).map_err(errno("set groups (SETGID is needed)"))?;
    let gid = Gid::from_raw(id);
    setresgid(gid, gid, gid).map_err(errno("change the group (SETGID is needed)"))?;
    let uid = Uid::from_raw(id);
    setresuid(uid, uid, uid).map_err(errno("change the user (SETUID is needed)"))?;
    sys::set_capabilities(0).map_err(step("drop capabilities"))?;
    sys::no_new_privileges().map_err(step("forbid new privileges"))?;
    sys::forbid_tracing().map_err(step("forbid tracing"))?;
    verify(id, groups)?;
    let root = Uid::from_raw(0);
    match setresuid(root, root, root) {
        Ok(()) => Err(PrivilegeError::Again),
        Err(_) => Ok(()),
    }
}

/// Reads what the kernel says of each thread.
fn verify(id: u32, groups: &[u32]) -> Result<(), PrivilegeError> {
    let read = |source| PrivilegeError::Step {
        step: "read /proc/self/task",
        source,
    };
    for entry in fs::read_dir("/proc/self/task").map_err(read)? {
        let entry = entry.map_err(read)?;
        let text = fs::read_to_string(entry.path().join("status")).map_err(read)?;
        if let Some(what) = left(&text, id, groups) {
            let thread = entry.file_name().to_string_lossy().into_owned();
            return Err(PrivilegeError::Left { thread, what });
        }
    }
    Ok(())
}

/// What a thread's status shows that should not be there; a line that is missing counts as well.
fn left(status: &str, id: u32, groups: &[u32]) -> Option<String> {
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let numbers = |text: &str| -> Option<Vec<u32>> {
        text.split_ascii_whitespace()
            .map(|number| number.parse().ok())
            .collect()
    };
    let same = |found: &mut Vec<u32>, wanted: &[u32]| {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        found.sort_unstable();
        *found == wanted
    };
    let shown = |name: &str, value: Option<&str>| {
        Some(format!("{name}: {}", value.unwrap_or("(not shown)")))
    };
    for (name, wanted) in [
        ("Uid", [id; 4].as_slice()),
        ("Gid", &[id; 4]),
        ("Groups", groups),
    ] {
        let value = field(name);
        let found = value.and_then(numbers);
        if !found.is_some_and(|mut found| same(&mut found, wanted)) {
            return shown(name, value);
        }
    }
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let value = field(name);
        if value.and_then(|bits| u64::from_str_radix(bits, 16).ok()) != Some(0) {
            return shown(name, value);
        }
    }
    let value = field("NoNewPrivs");
    if value != Some("1") {
        return shown("NoNewPrivs", value);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "Name:\tweir-sidecar\nUid:\t2177\t2177\t2177\t2177\n\
        Gid:\t2177\t2177\t2177\t2177\nFDSize:\t64\nGroups:\t3000 \n\
        CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
        CapBnd:\t00000000000010c0\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n";

    #[test]
    fn an_ordinary_thread_has_nothing_left() {
        assert_eq!(left(CLEAN, 2177, &[3000]), None);
    }

    #[test]
    fn everything_that_is_left_is_found() {
        for (from, to, what) in [
            (
                "Uid:\t2177\t2177\t2177\t2177",
                "Uid:\t2177\t2177\t0\t2177",
                "Uid",
            ),
            (
                "Gid:\t2177\t2177\t2177\t2177",
                "Gid:\t2177\t0\t2177\t2177",
                "Gid",
            ),
            ("Groups:\t3000 ", "Groups:\t0 3000 ", "Groups"),
            ("Groups:\t3000 ", "Groups:\t ", "Groups"),
            (
                "CapPrm:\t0000000000000000",
                "CapPrm:\t0000000000001000",
                "CapPrm",
            ),
            (
                "CapEff:\t0000000000000000",
                "CapEff:\t0000000000000080",
                "CapEff",
            ),
            (
                "CapInh:\t0000000000000000",
                "CapInh:\t0000000000000001",
                "CapInh",
            ),
            ("CapAmb:\t0000000000000000", "CapAmb:\tnonsense", "CapAmb"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs"),
            ("NoNewPrivs:\t1\n", "", "NoNewPrivs: (not shown)"),
        ] {
            let found = left(&CLEAN.replace(from, to), 2177, &[3000]);
            let found = found.unwrap_or_default();
            assert!(found.starts_with(what), "{what}: {found}");
        }
    }
}
