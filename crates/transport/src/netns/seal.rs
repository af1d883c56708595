//! What a governed command sees of the file system, and what it may do.
//!
//! Invariants: the mount namespace is private; `/proc` is that of the new
//! process namespace, its switches read-only; `/sys` with the cgroup trees is
//! read-only; `/dev` has no disk and no memory; `/run` holds only what is
//! listed, so a service that starts later does not appear in it; listening unix
//! sockets elsewhere are covered; SSH clients find the host keys that Weir shows.
//! Refuses to go on when one of these steps fails.
//!
//! Not covered: a unix socket that a service makes anew outside of `/run` after
//! the command has started. Hide its directory.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::KNOWN_HOSTS;
use crate::sys;

/// Capabilities that stay when the command runs as root: those that act on
/// files and processes of its own namespaces.
pub(crate) const KEPT: u64 = 1 << 0 /* CHOWN */
    | 1 << 1 /* DAC_OVERRIDE */
    | 1 << 3 /* FOWNER */
    | 1 << 4 /* FSETID */
    | 1 << 5 /* KILL */
    | 1 << 6 /* SETGID */
    | 1 << 7 /* SETUID */
    | 1 << 10 /* NET_BIND_SERVICE */;

/// Devices of a sealed `/dev`.
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx"];
/// Parts of `/proc` that act on the whole machine.
const PROC_READ_ONLY: [&str; 6] = ["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi"];
const PROC_MASKED: [&str; 5] = ["kcore", "keys", "latency_stats", "timer_list", "scsi"];

/// What to cover and what to leave.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) hide: Vec<PathBuf>,
    pub(crate) keep: Vec<PathBuf>,
    pub(crate) known_hosts: Option<PathBuf>,
    pub(crate) read_only: Vec<PathBuf>,
    pub(crate) sockets: Vec<PathBuf>,
}

/// Listening unix sockets of this network namespace, by path. To be read
/// before it is left.
pub(crate) fn listening_sockets() -> io::Result<Vec<PathBuf>> {
    const ACCEPTING: u32 = 0x1_0000;
    let text = fs::read_to_string("/proc/thread-self/net/unix")?;
    let path = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
        let path = fields.nth(3)?;
        (flags & ACCEPTING != 0 && path.starts_with('/')).then(|| PathBuf::from(path))
    };
    Ok(text.lines().skip(1).filter_map(path).collect())
}

/// Builds the view in a mount namespace that was just made.
pub(crate) fn build(view: &View) -> io::Result<()> {
    let resolver = fs::read("/etc/resolv.conf").unwrap_or_default();
    propagate_nothing()?;
    proc()?;
    sys::read_only_recursively(Path::new("/sys")).map_err(about("/sys"))?;
    dev()?;
    let resolv_conf = fs::canonicalize("/etc/resolv.conf").ok();
    run(view)?;
    if let Some(path) = resolv_conf.filter(|path| path.starts_with("/run") && !path.exists()) {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(&path, resolver)?;
    }
    for path in &view.hide {
        cover(path, view)?;
    }
    for path in view.sockets.iter().filter(|path| !path.starts_with("/run")) {
        cover(path, view)?;
    }
    if let Some(file) = &view.known_hosts {
        known_hosts(file).map_err(about(KNOWN_HOSTS))?;
    }
    for path in &view.read_only {
        if path.exists() {
            bind(path, path)?;
            sys::read_only_recursively(path).map_err(about(&path.to_string_lossy()))?;
        }
    }
    Ok(())
}

fn propagate_nothing() -> io::Result<()> {
    plain_mount(
        None,
        Path::new("/"),
        None,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None,
    )
}

fn proc() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    plain_mount(Some("proc"), Path::new("/proc"), Some("proc"), flags, None)?;
    for name in PROC_READ_ONLY {
        let path = Path::new("/proc").join(name);
        if path.exists() {
            bind(&path, &path)?;
            sys::read_only_recursively(&path).map_err(about(name))?;
        }
    }
    for name in PROC_MASKED {
        mask(&Path::new("/proc").join(name))?;
    }
    Ok(())
}

/// A `/dev` of harmless devices. Built aside, since its parts come from the
/// one that it covers.
fn dev() -> io::Result<()> {
    let stage = stage()?;
    for name in DEVICES {
        let from = Path::new("/dev").join(name);
        if from.exists() {
            let to = stage.join(name);
            fs::write(&to, "")?;
            bind(&from, &to)?;
        }
    }
    if Path::new("/dev/pts").is_dir() {
        fs::create_dir(stage.join("pts"))?;
        bind(Path::new("/dev/pts"), &stage.join("pts"))?;
    }
    fs::create_dir(stage.join("shm"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    plain_mount(
        Some("shm"),
        &stage.join("shm"),
        Some("tmpfs"),
        flags,
        Some("mode=1777"),
    )?;
    for (name, to) in [
        ("fd", ""),
        ("stdin", "/0"),
        ("stdout", "/1"),
        ("stderr", "/2"),
    ] {
        symlink(format!("/proc/self/fd{to}"), stage.join(name))?;
    }
    unstage(&stage, Path::new("/dev"))
}

/// A `/run` that holds what is to be kept of the old one.
fn run(view: &View) -> io::Result<()> {
    if !Path::new("/run").is_dir() {
        return Ok(());
    }
    let stage = stage()?;
    for path in view
        .keep
        .iter()
        .filter_map(|path| fs::canonicalize(path).ok())
    {
        let Ok(relative) = path.strip_prefix("/run") else {
            continue;
        };
        let to = stage.join(relative);
        if path.is_dir() {
            fs::create_dir_all(&to)?;
        } else {
            fs::create_dir_all(to.parent().unwrap_or(&stage))?;
            fs::write(&to, "")?;
        }
        bind(&path, &to)?;
    }
    unstage(&stage, Path::new("/run"))
}

/// The directory of [`KNOWN_HOSTS`] with all that is in it, and a copy of this file.
fn known_hosts(file: &Path) -> io::Result<()> {
    let to = Path::new(KNOWN_HOSTS);
    let (Some(directory), Some(name)) = (to.parent(), to.file_name()) else {
        return Ok(());
    };
    if !directory.is_dir() {
        return Ok(());
    }
    let text = fs::read(file)?;
    let stage = stage()?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let to = stage.join(entry.file_name());
        if entry.file_name() == name {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, to)?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&to)?;
        } else {
            fs::write(&to, "")?;
        }
        bind(&entry.path(), &to)?;
    }
    let copy = stage.join(name);
    fs::write(&copy, text)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o644))?;
    unstage(&stage, directory)
}

/// An empty file system, over `/tmp` for the time being.
fn stage() -> io::Result<PathBuf> {
    let stage = PathBuf::from("/tmp");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME;
    plain_mount(
        Some("tmpfs"),
        &stage,
        Some("tmpfs"),
        flags,
        Some("mode=0755"),
    )?;
    Ok(stage)
}

/// Moves the stage to its place; `/tmp` is itself again.
fn unstage(stage: &Path, to: &Path) -> io::Result<()> {
    mount(
        Some(stage),
        to,
        None::<&str>,
        MsFlags::MS_MOVE,
        None::<&str>,
    )
    .map_err(|errno| about(&to.to_string_lossy())(errno.into()))
}

/// Covers a directory by an empty one, a file or socket by `/dev/null`.
fn cover(path: &Path, view: &View) -> io::Result<()> {
    let Ok(path) = fs::canonicalize(path) else {
        return Ok(());
    };
    // `/run` is new already, and `/var/run` usually is `/run`.
    if path.starts_with("/run") || view.keep.iter().any(|kept| path.starts_with(kept)) {
        return Ok(());
    }
    mask(&path)
}

fn mask(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::metadata(path) else {
        return Ok(());
    };
    if found.is_dir() {
        let flags =
            MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        plain_mount(
            Some("weir"),
            path,
            Some("tmpfs"),
            flags,
            Some("mode=0555,size=4k"),
        )
    } else {
        bind(Path::new("/dev/null"), path)
    }
}

/// Binds `from` over `to`, with what is mounted below it.
fn bind(from: &Path, to: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(from), to, None::<&str>, flags, None::<&str>)
        .map_err(|errno| about(&from.to_string_lossy())(errno.into()))
}

fn plain_mount(
    source: Option<&str>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> io::Result<()> {
    mount(source, target, kind, flags, options.map(OsStr::new))
        .map_err(|errno| about(&target.to_string_lossy())(errno.into()))
}

fn about(what: &str) -> impl FnOnce(io::Error) -> io::Error {
    let what = what.to_owned();
    move |error| io::Error::new(error.kind(), format!("cannot seal {what}: {error}"))
}
