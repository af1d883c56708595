//! Weir's own cgroup (v2): what the rules exempt, and nothing else.
//!
//! Invariants: a [`Cgroup`] is never the root (id 1) and holds no process but
//! ours when it is made. The id is that of the kernel; the level is a short
//! list of candidates, since the kernel counts from the cgroup namespace's root
//! from 6.11 on and from the tree's root before. Identifiers are unique in the
//! tree, so trying several levels admits nobody else.
//! Refuses: shared cgroups, the root, anything it cannot verify.
//!
//! ```no_run
//! # fn f() -> Result<(), Box<dyn std::error::Error>> {
//! // In a pod: the container's own cgroup, verified.
//! let own = weir_transport::exclusion::own()?;
//! // On a host: a cgroup made for the purpose.
//! let made = weir_transport::exclusion::create("weir-engine")?;
//! made.move_pid(std::process::id())?;
//! # Ok(()) }
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

mod sockdiag;

/// Deepest level that is tried where the depth is unknown.
const MAX_LEVEL: u8 = 12;
/// Id of the root of every cgroup v2 tree.
const ROOT_ID: u64 = 1;

/// Why Weir's cgroup cannot serve as its exclusion.
#[derive(Debug, thiserror::Error)]
pub enum ExclusionError {
    /// Everything is in the root: nothing would be captured.
    #[error("own cgroup is the root of the v2 tree: every process would be exempt")]
    Root,
    /// Other processes would be exempt as well.
    #[error("own cgroup is shared with processes {pids:?}: they would be exempt")]
    Shared {
        /// The strangers; 0 stands for one outside of our process namespace.
        pids: Vec<u32>,
    },
    /// The kernel has no cgroup v2.
    #[error("this kernel has no cgroup v2, or hides it: {0}")]
    Missing(#[source] io::Error),
    /// A file of the tree could not be read or written.
    #[error("cannot use cgroup {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A verified cgroup, in the terms that nftables matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    id: u64,
    levels: Vec<u8>,
    path: Option<PathBuf>,
}

/// Own cgroup, verified to be ours alone.
///
/// # Errors
/// [`ExclusionError::Root`] and [`ExclusionError::Shared`] where exemption
/// would cover others.
pub fn own() -> Result<Cgroup, ExclusionError> {
    let inner = own_path()?;
    match mount_point() {
        Some((mount, root)) => {
            let relative = Path::new(&inner)
                .strip_prefix(&root)
                .or_else(|_| Path::new(&inner).strip_prefix("/"));
            let path = mount.join(relative.unwrap_or(Path::new("")));
            from_path(path)
        }
        None => from_socket(&inner),
    }
}

/// A cgroup by its directory, verified to hold no process but ours.
///
/// # Errors
/// As [`own`].
pub fn from_path(path: PathBuf) -> Result<Cgroup, ExclusionError> {
    let id = fs::metadata(&path).map_err(at(&path))?.ino();
    // A namespace's root is not the tree's root: only the id tells.
    if id == ROOT_ID {
        return Err(ExclusionError::Root);
    }
    let strangers = strangers(&path)?;
    if !strangers.is_empty() {
        return Err(ExclusionError::Shared { pids: strangers });
    }
    let depth = mount_point()
        .and_then(|(mount, _)| {
            path.strip_prefix(mount)
                .ok()
                .map(|p| p.components().count())
        })
        .and_then(|depth| u8::try_from(depth).ok());
    Ok(Cgroup {
        id,
        levels: candidates(depth),
        path: Some(path),
    })
}

/// Own cgroup where the v2 tree is not mounted: the kernel reports the id with
/// one of our sockets. Sharing cannot be checked there; in a container, the
/// runtime's cgroup is the container's.
fn from_socket(inner: &str) -> Result<Cgroup, ExclusionError> {
    let id = sockdiag::own_cgroup_id().map_err(ExclusionError::Missing)?;
    if id == ROOT_ID {
        return Err(ExclusionError::Root);
    }
    let depth = Path::new(inner).components().count().saturating_sub(1);
    Ok(Cgroup {
        id,
        levels: candidates(u8::try_from(depth).ok()),
        path: None,
    })
}

/// Own cgroup by sock_diag alone, whatever is mounted.
///
/// # Errors
/// As [`own`].
pub fn own_by_socket() -> Result<Cgroup, ExclusionError> {
    from_socket(&own_path()?)
}

/// Makes (or reuses) the child `name` of own cgroup. It must be empty or ours.
///
/// # Errors
/// [`ExclusionError::Io`] without the right to make it.
pub fn create(name: &str) -> Result<Cgroup, ExclusionError> {
    let inner = own_path()?;
    let (mount, root) =
        mount_point().ok_or_else(|| ExclusionError::Missing(io::ErrorKind::NotFound.into()))?;
    let inner = Path::new(&inner);
    let relative = inner
        .strip_prefix(&root)
        .or_else(|_| inner.strip_prefix("/"));
    let path = mount.join(relative.unwrap_or(Path::new(""))).join(name);
    match fs::create_dir(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(ExclusionError::Io { path, source }),
    }
    from_path(path)
}

impl Cgroup {
    /// The kernel's id: inode of the directory.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Levels at which the id may stand, likeliest first.
    pub fn levels(&self) -> &[u8] {
        &self.levels
    }

    /// The directory, where the tree is mounted.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Moves a process (with its threads) into this cgroup.
    ///
    /// # Errors
    /// [`ExclusionError::Io`].
    pub fn move_pid(&self, pid: u32) -> Result<(), ExclusionError> {
        let path = self.procs()?;
        fs::write(&path, pid.to_string()).map_err(at(&path))
    }

    /// Kills every process in this cgroup (kernel 5.14 and later).
    ///
    /// # Errors
    /// [`ExclusionError::Io`].
    pub fn kill(&self) -> Result<(), ExclusionError> {
        let path = self.procs()?.with_file_name("cgroup.kill");
        fs::write(&path, "1").map_err(at(&path))
    }

    /// Removes the directory; it must be empty.
    ///
    /// # Errors
    /// [`ExclusionError::Io`].
    pub fn remove(self) -> Result<(), ExclusionError> {
        match self.path {
            Some(path) => fs::remove_dir(&path).map_err(at(&path)),
            None => Ok(()),
        }
    }

    fn procs(&self) -> Result<PathBuf, ExclusionError> {
        match &self.path {
            Some(path) => Ok(path.join("cgroup.procs")),
            None => Err(ExclusionError::Missing(io::ErrorKind::NotFound.into())),
        }
    }
}

/// The path in `/proc/self/cgroup` for the v2 tree.
fn own_path() -> Result<String, ExclusionError> {
    let text = fs::read_to_string("/proc/self/cgroup").map_err(ExclusionError::Missing)?;
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned)
        .ok_or_else(|| ExclusionError::Missing(io::ErrorKind::NotFound.into()))
}

/// Where the v2 tree is mounted, alone or beside v1, and which part of it.
fn mount_point() -> Option<(PathBuf, PathBuf)> {
    let text = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let found = text.lines().find_map(cgroup2_mount)?;
    found.0.join("cgroup.procs").exists().then_some(found)
}

/// `36 35 98:0 /root /mount/point opts - cgroup2 …` of proc(5).
fn cgroup2_mount(line: &str) -> Option<(PathBuf, PathBuf)> {
    let (left, right) = line.split_once(" - ")?;
    if right.split(' ').next()? != "cgroup2" {
        return None;
    }
    let mut fields = left.split(' ').skip(3);
    let (root, mount) = (fields.next()?, fields.next()?);
    Some((PathBuf::from(mount), PathBuf::from(root)))
}

fn candidates(depth: Option<u8>) -> Vec<u8> {
    let mut levels: Vec<u8> = depth.into_iter().collect();
    levels.extend((0..=MAX_LEVEL).filter(|level| Some(*level) != depth));
    levels
}

/// Processes of the cgroup and those below it that do not descend from us.
fn strangers(path: &Path) -> Result<Vec<u32>, ExclusionError> {
    let procs = path.join("cgroup.procs");
    let text = fs::read_to_string(&procs).map_err(at(&procs))?;
    let mut found: Vec<u32> = text
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| !is_ours(*pid))
        .collect();
    for entry in fs::read_dir(path).map_err(at(path))?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(strangers(&entry.path())?);
        }
    }
    Ok(found)
}

/// Whether a process is Weir or descends from it.
fn is_ours(mut pid: u32) -> bool {
    let own = std::process::id();
    // Bounded: a process tree is shallow, and a loop means that it changed.
    for _ in 0..64 {
        match pid {
            _ if pid == own => return true,
            0 | 1 => return false,
            _ => match parent(pid) {
                Some(parent) => pid = parent,
                None => return !Path::new(&format!("/proc/{pid}")).exists(),
            },
        }
    }
    false
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold anything; the last bracket ends it.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ExclusionError {
    let path = path.to_owned();
    move |source| ExclusionError::Io { path, source }
}

#[cfg(test)]
mod tests;
