//! Secrets that the engine logs in with: those of the snapshot, and the pod's own token.
//!
//! Refuses: secrets from anywhere else, files of the container included.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir_gateway::ports::Credentials;
use weir_policy::{Login, Source};

use crate::account::Account;
use crate::policies::SnapshotPolicies;

/// Keys of a named object that hold one value, in the order in which they are looked for.
const VALUES: [&str; 3] = ["ca.crt", "password", "token"];

/// The secrets of a pod.
pub struct PodCredentials {
    policies: Arc<SnapshotPolicies>,
    account: Option<Arc<Account>>,
}

impl PodCredentials {
    /// Those of the snapshot in force, and of the pod's service account where Weir stands before the
    /// Kubernetes API.
    pub(crate) fn new(policies: Arc<SnapshotPolicies>, account: Option<Arc<Account>>) -> Self {
        Self { policies, account }
    }

    fn secret(&self, name: &str, keys: &[&str]) -> Result<Vec<u8>, String> {
        let snapshot = self.policies.snapshot();
        let object = snapshot.secrets.get(name);
        let object = object.ok_or_else(|| format!("{name}: not among the objects of this pod"))?;
        let content = keys.iter().find_map(|key| object.get(*key));
        let content = content.ok_or_else(|| format!("{name}: has none of {}", keys.join(", ")))?;
        let decoded = STANDARD.decode(content);
        decoded.map_err(|_| format!("{name}: is not in Base64"))
    }

    fn line(&self, name: &str, key: &str) -> Result<String, String> {
        let text = String::from_utf8(self.secret(name, &[key])?);
        let text = text.map_err(|_| format!("{name}: {key} is not UTF-8"))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl Credentials for PodCredentials {
    fn read(&self, source: &Source) -> Result<Vec<u8>, String> {
        match source {
            Source::Ref(name) => self.secret(name, &VALUES),
            Source::File(path) => Err(format!("{path}: files are not read in a cluster")),
        }
    }

    fn field(&self, object: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
        let snapshot = self.policies.snapshot();
        let known = snapshot.secrets.get(object);
        let known = known.ok_or_else(|| format!("{object}: not among the objects of this pod"))?;
        let decoded = known.get(key).map(|content| STANDARD.decode(content));
        decoded
            .transpose()
            .map_err(|_| format!("{object}: is not in Base64"))
    }

    fn login(&self, login: &Login) -> Result<(String, String), String> {
        match login {
            Login::Ref(name) => Ok((self.line(name, "username")?, self.line(name, "password")?)),
            Login::Files { username, .. } => {
                Err(format!("{username}: files are not read in a cluster"))
            }
            Login::Token(_) | Login::PodToken => {
                Err("a token is no user name and password".to_owned())
            }
        }
    }

    fn pod_token(&self) -> Result<String, String> {
        let account = self.account.as_ref();
        let account = account.ok_or(
            "the pod's service account stays with its programs: this \
                                     installation does not replace it (kubernetes.enabled)",
        )?;
        account.token()
    }

    fn is_placeholder(&self, token: &str) -> bool {
        let account = self.account.as_ref();
        account.is_some_and(|account| account.is_placeholder(token, SystemTime::now()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use weir_uplink::control::Snapshot;
    use weir_uplink::{Spool, SpoolConfig};

    use super::*;

    fn credentials(snapshot: Snapshot) -> PodCredentials {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(SpoolConfig::new(dir.path().join("spool"))).unwrap();
        let policies = SnapshotPolicies::new(snapshot, spool.handle()).unwrap();
        PodCredentials::new(Arc::new(policies), None)
    }

    #[test]
    fn secrets_are_those_of_the_snapshot_alone() {
        let mut snapshot = Snapshot::default();
        let login = [("username", "weir\n"), ("password", "s3cret")];
        let encode = |(key, value): (&str, &str)| (key.to_owned(), STANDARD.encode(value));
        let object: BTreeMap<_, _> = login.into_iter().map(encode).collect();
        snapshot.secrets.insert("login".to_owned(), object);
        let secrets = credentials(snapshot);
        let login = secrets.login(&Login::Ref("login".to_owned())).unwrap();
        assert_eq!(login, ("weir".to_owned(), "s3cret".to_owned()));
        let read = |source| secrets.read(&source);
        assert_eq!(read(Source::Ref("login".to_owned())).unwrap(), b"s3cret");
        assert!(read(Source::Ref("other".to_owned())).is_err());
        assert!(read(Source::File("/etc/passwd".to_owned())).is_err());
    }

    #[test]
    fn where_the_service_account_stays_with_the_programs_weir_has_no_token() {
        let secrets = credentials(Snapshot::default());
        assert!(
            secrets
                .pod_token()
                .unwrap_err()
                .contains("kubernetes.enabled")
        );
        assert!(!secrets.is_placeholder("a.b.c"));
        assert!(secrets.login(&Login::PodToken).is_err());
    }
}
