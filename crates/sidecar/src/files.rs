//! Files that nobody else may read, and files that are replaced whole.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::part::PartError;

/// Makes a directory that nobody else can look into.
///
/// # Errors
/// It cannot be made, or belongs to somebody else.
pub fn private_dir(path: &Path) -> Result<PathBuf, PartError> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    let closed =
        made.and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)));
    closed.map_err(|error| PartError {
        what: "the state directory",
        reason: format!("{}: {error}", path.display()),
    })?;
    Ok(path.to_owned())
}

/// A secret of 32 bytes, made once and kept.
///
/// # Errors
/// It cannot be read or made, or is too short.
pub fn secret_file(path: &Path) -> io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Ok(secret) if secret.len() >= 32 => return Ok(secret),
        Ok(_) => {
            return Err(io::Error::other(format!("{} is too short", path.display())));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    let mut secret = vec![0; 32];
    aws_lc_rs::rand::fill(&mut secret).map_err(io::Error::other)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    Ok(secret)
}

/// Replaces a file whole: written beside, synced, renamed. Readers see the old or the new content.
///
/// # Errors
/// It cannot be written; the old content stays.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&beside)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    match path.parent() {
        Some(dir) => std::fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_its_mode_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o644).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert_eq!(secret_file(&path).unwrap(), secret_file(&path).unwrap());
        std::fs::write(&path, b"short").unwrap();
        assert!(secret_file(&path).is_err());
    }
}
