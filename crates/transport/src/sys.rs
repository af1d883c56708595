//! The system calls that no safe wrapper covers: capability sets, `prctl`
//! flags, the seccomp filter, recursive mount attributes, descriptors.
//!
//! Invariants: every `unsafe` block passes only pointers to values that live
//! across the call, and turns its result into `io::Result`.
//! Refuses to be called for its own sake: each function says what it is for.
#![expect(
    unsafe_code,
    reason = "system calls without a safe wrapper, each justified"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Version 3 of the capability interface: two 32-bit halves.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// Highest capability that this code drops, beyond what any kernel defines.
const LAST_CAPABILITY: u64 = 63;
const AT_RECURSIVE: libc::c_uint = 0x8000;
const MOUNT_ATTR_RDONLY: u64 = 1;

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
unsafe extern "C" {
    /// glibc, `nss.h`: which services answer for a database from here on, in this process.
    fn __nss_configure_lookup(
        database: *const libc::c_char,
        services: *const libc::c_char,
    ) -> libc::c_int;
}

/// Has a name service database answered by these services only.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
pub(crate) fn configure_lookup(
    database: &std::ffi::CStr,
    services: &std::ffi::CStr,
) -> io::Result<()> {
    // SAFETY: both point to strings that end with a zero and live across the call; glibc copies.
    check(unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) })
}

fn check_long(result: libc::c_long) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes ownership of descriptors that arrived over a socket.
pub(crate) fn own_fds(fds: Vec<RawFd>) -> Vec<OwnedFd> {
    fds.into_iter()
        // SAFETY: the kernel has just installed these descriptors for us in
        // `recvmsg`, nothing else knows them.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}

/// Takes ownership of a descriptor that this program was started with.
pub(crate) fn inherited_fd(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD reads a flag; a descriptor that is not open is an error.
    if fd < 3 || unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is open, and at the start of the program nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Forks a process that has one thread.
pub(crate) fn fork() -> io::Result<nix::unistd::ForkResult> {
    // SAFETY: the helper never starts a thread, so the child's memory is
    // consistent and it may call anything.
    unsafe { nix::unistd::fork() }.map_err(Into::into)
}

/// The kernel sends SIGKILL when the parent dies.
pub(crate) fn die_with_parent() -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)
}

/// Nobody of the same user may trace or inspect this process.
pub(crate) fn forbid_tracing() -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0)
}

/// No program that is executed from here on gains privileges.
pub(crate) fn no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// A closed pipe ends the program again, as C programs expect; the runtime of
/// Rust ignores it, and that would be inherited.
pub(crate) fn restore_broken_pipe() -> io::Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: the default action is no handler, so no code of ours runs in it.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
    Ok(())
}

fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    const ZERO: libc::c_ulong = 0;
    // SAFETY: these options take plain numbers.
    check(unsafe { libc::prctl(option, value, ZERO, ZERO, ZERO) })
}

/// Leaves only `keep` (a bit set) in the bounding set; clears the ambient set.
pub(crate) fn bound_capabilities(keep: u64) -> io::Result<()> {
    const ZERO: libc::c_ulong = 0;
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong;
    prctl(libc::PR_CAP_AMBIENT, clear)?;
    for capability in (0..=LAST_CAPABILITY).filter(|n| keep & (1 << n) == 0) {
        // SAFETY: takes plain numbers.
        let result = unsafe {
            libc::prctl(
                libc::PR_CAPBSET_DROP,
                capability as libc::c_ulong,
                ZERO,
                ZERO,
                ZERO,
            )
        };
        match check(result) {
            // The kernel does not define so many.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

/// Effective and permitted become `keep`, inheritable empty.
pub(crate) fn set_capabilities(keep: u64) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Half {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let header = Header {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let half = |bits: u64| {
        let bits = u32::try_from(bits & 0xffff_ffff).unwrap_or(0);
        Half {
            effective: bits,
            permitted: bits,
            inheritable: 0,
        }
    };
    let data = [half(keep), half(keep >> 32)];
    // SAFETY: header and data have the layout of version 3 and outlive the
    // call, which only reads them.
    check_long(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })
}

/// Every descriptor from `first` on is closed by the next `exec`.
pub(crate) fn close_on_exec_from(first: libc::c_uint) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: takes plain numbers; descriptors stay open until exec.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            CLOSE_RANGE_CLOEXEC,
        )
    })
}

/// Makes a mount and all below it read-only (kernel 5.12 and later).
pub(crate) fn read_only_recursively(path: &Path) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        user_ns: u64,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attr = MountAttr {
        set: MOUNT_ATTR_RDONLY,
        clear: 0,
        propagation: 0,
        user_ns: 0,
    };
    // SAFETY: path is a C string and attr has the size that is passed; both
    // outlive the call, which only reads them.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            AT_RECURSIVE,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
}

/// Installs a seccomp filter for this process and what it executes. Needs
/// [`no_new_privileges`].
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let filter = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut(),
    };
    const ZERO: libc::c_ulong = 0;
    let mode = libc::SECCOMP_MODE_FILTER as libc::c_ulong;
    // SAFETY: filter points at `len` instructions that outlive the call; the
    // kernel copies and does not write them.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter, ZERO, ZERO) })
}
