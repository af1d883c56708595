//! Secrets from files.

use std::path::PathBuf;
use std::sync::Arc;

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
}

impl FileSecrets {
    fn file(&self, path: PathBuf) -> Result<Vec<u8>, String> {
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
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
            Source::File(path) => self.file(self.base.join(path)),
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
