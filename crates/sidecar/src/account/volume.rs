//! A directory whose files change at once, in the form that kubelets give to theirs.
//!
//! The files lie in a directory `..N`, the link `..data` leads to it, and each visible name is a link
//! through `..data`. Replacing that one link replaces all; who has a file open keeps it. Programs that
//! watch their token know this form.
//! <https://pkg.go.dev/k8s.io/kubernetes/pkg/volume/util#AtomicWriter>

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

const CURRENT: &str = "..data";
const NEXT: &str = "..data_tmp";
/// Two versions take turns.
const VERSIONS: [&str; 2] = ["..0", "..1"];
/// Everybody in the pod may read.
const FILE: u32 = 0o644;
const DIRECTORY: u32 = 0o755;

/// Makes a directory that everybody may look into, and those above it.
pub(super) fn make(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY)
        .create(dir)
}

/// Writes files by their path in `dir`; what was there before under other names goes.
///
/// # Errors
/// Something cannot be written; what was there stays then.
pub(super) fn write<'a>(
    dir: &Path,
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> io::Result<()> {
    let current = std::fs::read_link(dir.join(CURRENT)).ok();
    let free = |name: &&&str| current.as_deref() != Some(Path::new(**name));
    let version = VERSIONS.iter().find(free).copied().unwrap_or_default();
    let beside = dir.join(version);
    absent(std::fs::remove_dir_all(&beside))?;
    make(&beside)?;
    let mut names = Vec::new();
    for (path, content) in files {
        let file = beside.join(path);
        if let Some(parent) = file.parent() {
            make(parent)?;
        }
        std::fs::write(&file, content)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(FILE))?;
        names.extend(path.split('/').next());
    }
    absent(std::fs::remove_file(dir.join(NEXT)))?;
    symlink(version, dir.join(NEXT))?;
    std::fs::rename(dir.join(NEXT), dir.join(CURRENT))?;
    for name in names {
        let visible = dir.join(name);
        let through: PathBuf = [CURRENT, name].iter().collect();
        if std::fs::read_link(&visible).ok().as_ref() != Some(&through) {
            symlink(&through, &visible)?;
        }
    }
    match current {
        Some(old) => absent(std::fs::remove_dir_all(dir.join(old))),
        None => Ok(()),
    }
}

fn absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
