//! Secrets from files.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use weir_gateway::Placeholders;
use weir_gateway::ports::Credentials;
use weir_policy::{Login, Source};

/// Secrets from files: a directory for each named object, a file for each of its keys.
pub(crate) struct FileSecrets {
    /// Where named objects are.
    pub(crate) dir: PathBuf,
    /// What relative file names are relative to.
    pub(crate) base: PathBuf,
    /// What stands for a token of Weir's.
    pub(crate) placeholders: Arc<Placeholders>,
    /// What was read, while the file is the same.
    pub(crate) known: Known,
}

/// Files and what they held.
pub(crate) type Known = Mutex<HashMap<PathBuf, (Stamp, Vec<u8>)>>;

/// A file that was changed this lately may be changed again without looking different.
const SETTLED: Duration = Duration::from_secs(2);

/// What tells one version of a file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Whether a file has not been changed lately.
fn is_settled(metadata: &Metadata) -> bool {
    let modified = metadata.modified().ok();
    let age = modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_some_and(|age| age > SETTLED)
}

impl FileSecrets {
    fn file(&self, path: PathBuf) -> Result<Vec<u8>, String> {
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The same, of a file that is read for every request.
    fn kept(&self, path: PathBuf) -> Result<Vec<u8>, String> {
        let failed = |path: &Path, error| format!("{}: {error}", path.display());
        let metadata = std::fs::metadata(&path).map_err(|error| failed(&path, error))?;
        let stamp = Stamp::of(&metadata);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((same, content)) = known.get(&path)
            && *same == stamp
        {
            return Ok(content.clone());
        }
        let content = std::fs::read(&path).map_err(|error| failed(&path, error))?;
        if is_settled(&metadata) {
            known.insert(path, (stamp, content.clone()));
        } else {
            known.remove(&path);
        }
        Ok(content)
    }

    fn named(&self, name: &str, keys: &[&str]) -> Result<Vec<u8>, String> {
        let dir = self.dir.join(name);
        let existing = keys
            .iter()
            .map(|key| dir.join(key))
            .find(|path| path.exists());
        match existing {
            Some(path) => self.file(path),
            None => Err(format!(
                "{}: has none of {}",
                dir.display(),
                keys.join(", ")
            )),
        }
    }

    fn line(bytes: Vec<u8>) -> Result<String, String> {
        let text = String::from_utf8(bytes).map_err(|_| "a login is not UTF-8".to_owned())?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl Credentials for FileSecrets {
    fn read(&self, source: &Source) -> Result<Vec<u8>, String> {
        match source {
            Source::Ref(name) => self.named(name, &["ca.crt", "password", "token"]),
            Source::File(path) => self.kept(self.base.join(path)),
        }
    }

    fn field(&self, object: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
        let dir = self.dir.join(object);
        let path = dir.join(key);
        match std::fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && dir.is_dir() => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    fn login(&self, login: &Login) -> Result<(String, String), String> {
        let (user, password) = match login {
            Login::Ref(name) => (
                self.named(name, &["username"])?,
                self.named(name, &["password"])?,
            ),
            Login::Files { username, password } => (
                self.file(self.base.join(username))?,
                self.file(self.base.join(password))?,
            ),
            Login::Token(_) | Login::PodToken => {
                return Err("a token is no user name and password".to_owned());
            }
        };
        Ok((Self::line(user)?, Self::line(password)?))
    }

    fn pod_token(&self) -> Result<String, String> {
        Err("podToken: only a pod has a service account; use tokenFile".to_owned())
    }

    fn is_placeholder(&self, token: &str) -> bool {
        self.placeholders.is_ours(token, super::kubeconfig::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let secrets = FileSecrets {
            dir: dir.path().to_owned(),
            base: dir.path().to_owned(),
            placeholders: Arc::new(Placeholders::new(&[7; 32])),
            known: Known::default(),
        };
        let read = || secrets.read(&Source::File("token".to_owned())).unwrap();
        let write = |text: &str, age: u64| {
            std::fs::write(&path, text).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            let then = SystemTime::now() - Duration::from_secs(age);
            file.set_modified(then).unwrap();
        };
        write("one", 60);
        assert_eq!(read(), b"one");
        assert_eq!(secrets.known.lock().unwrap().len(), 1);
        assert_eq!(read(), b"one");
        write("two", 30);
        assert_eq!(read(), b"two");
        // As the kubelet and editors do: another file takes its place.
        let other = dir.path().join("other");
        std::fs::write(&other, "six").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(read(), b"six");
        // What is new may change once more within the same moment.
        assert!(secrets.known.lock().unwrap().is_empty());
        std::fs::remove_file(&path).unwrap();
        assert!(secrets.read(&Source::File("token".to_owned())).is_err());
    }
}
