//! The seccomp filter of a governed command.
//!
//! A network namespace does not hold every kind of socket: `AF_VSOCK` reaches
//! the hypervisor from any namespace. So only unix, IPv4, IPv6 and netlink
//! sockets may be made; io_uring, which could make them unseen, is absent
//! (`ENOSYS`), and so are the calls of a foreign architecture. Typing into the
//! caller's terminal (`TIOCSTI`, `TIOCLINUX`) is refused: it would run commands
//! outside. Everything else is the kernel's own business.

use std::io;

use crate::sys;

const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARG0: u32 = 16;
const OFFSET_ARG1: u32 = 24;
const X32: u32 = 0x4000_0000;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const ARCH: u32 = 0xc000_00f3;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

const fn errno(code: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | code as u32
}

/// Installs the filter; there is no way back.
pub(crate) fn install() -> io::Result<()> {
    sys::install_filter(&program())
}

fn program() -> Vec<libc::sock_filter> {
    let number = |n: libc::c_long| u32::try_from(n).unwrap_or(u32::MAX);
    let mut p = vec![
        op(LOAD_WORD, OFFSET_ARCH),
        jump(JUMP_EQUAL, ARCH, 1, 0),
        op(RETURN, errno(libc::ENOSYS)),
        op(LOAD_WORD, OFFSET_NUMBER),
        jump(JUMP_AT_LEAST, X32, 0, 1),
        op(RETURN, errno(libc::ENOSYS)),
    ];
    for call in [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
    ] {
        p.push(jump(JUMP_EQUAL, number(call), 0, 1));
        p.push(op(RETURN, errno(libc::ENOSYS)));
    }
    let families = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    block(
        &mut p,
        number(libc::SYS_socket),
        OFFSET_ARG0,
        &families,
        ALLOW,
        errno(libc::EAFNOSUPPORT),
    );
    let terminal = [0x5412, 0x541c]; // TIOCSTI, TIOCLINUX
    block(
        &mut p,
        number(libc::SYS_ioctl),
        OFFSET_ARG1,
        &terminal,
        errno(libc::EPERM),
        ALLOW,
    );
    p.push(op(RETURN, ALLOW));
    p
}

/// For one system call: an argument among `values` leads to `then`, others to
/// `otherwise`.
fn block(
    p: &mut Vec<libc::sock_filter>,
    call: u32,
    argument: u32,
    values: &[i32],
    then: u32,
    otherwise: u32,
) {
    let count = u8::try_from(values.len()).unwrap_or(u8::MAX);
    p.push(jump(JUMP_EQUAL, call, 0, count + 3));
    p.push(op(LOAD_WORD, argument));
    for (done, value) in (0_u8..).zip(values) {
        p.push(jump(JUMP_EQUAL, value.cast_unsigned(), count - done, 0));
    }
    p.push(op(RETURN, otherwise));
    p.push(op(RETURN, then));
}

fn op(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}
