//! The keys that SSH clients see: a host CA of the instance, and host keys that it signs.
//!
//! Invariants: keys are files of mode 0600 in a directory of Weir's own, made once and kept, so
//! that what clients have read stays true; certificates are made anew as they are needed and live
//! for a day. Refuses: a key that others can read.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::{Algorithm, Certificate, EcdsaCurve, PrivateKey, PublicKey};

/// Keys of hosts that were trusted on first use: target, address and key in each line.
const TRUSTED_FILE: &str = "trusted-hosts";
const CA_FILE: &str = "host-ca.key";
/// Host keys, the one that clients are offered first in front.
const HOST_FILES: [(&str, Algorithm); 2] = [
    ("host-ed25519.key", Algorithm::Ed25519),
    (
        "host-ecdsa.key",
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        },
    ),
];
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// A certificate is shown for so long, then made anew.
const USE: Duration = Duration::from_secs(6 * 3600);
/// Clocks of clients may be behind.
const BACKDATE: u64 = 24 * 3600;
/// Sets of names whose certificates are kept.
const KEPT: usize = 64;

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct KeysError {
    path: String,
    reason: String,
}

/// Who a host certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principals {
    /// Hosts by these names and addresses.
    Names(Vec<String>),
    /// Whatever the client calls the host: the Target is a network, its hosts' names are unknown.
    Any,
}

struct Kept {
    principals: Principals,
    made: Instant,
    certificates: Vec<Certificate>,
}

/// The host CA and the host keys of one instance.
pub struct HostKeys {
    dir: PathBuf,
    ca: PrivateKey,
    keys: Vec<PrivateKey>,
    kept: Mutex<VecDeque<Kept>>,
}

impl std::fmt::Debug for HostKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostKeys").finish_non_exhaustive()
    }
}

impl HostKeys {
    /// The keys in `dir`, made where there are none.
    ///
    /// # Errors
    /// A file cannot be read or written, is no key, or can be read by others.
    pub fn load_or_create(dir: &Path) -> Result<Self, KeysError> {
        let failed = |error: io::Error| fault(dir, error);
        fs::create_dir_all(dir).map_err(failed)?;
        let ca = key(&dir.join(CA_FILE), Algorithm::Ed25519)?;
        let keys = HOST_FILES
            .into_iter()
            .map(|(name, algorithm)| key(&dir.join(name), algorithm));
        Ok(Self {
            dir: dir.to_owned(),
            ca,
            keys: keys.collect::<Result<_, _>>()?,
            kept: Mutex::default(),
        })
    }

    /// What clients put into `known_hosts`: the CA for any host, and plain lines for hosts by name and
    /// port, for clients that know no CA.
    pub fn known_hosts<'a>(&self, hosts: impl IntoIterator<Item = (&'a str, u16)>) -> String {
        let mut text = String::new();
        let hosts: Vec<(&str, u16)> = hosts.into_iter().collect();
        if let Ok(line) = self.ca.public_key().to_openssh() {
            // To OpenSSH `*` is any host at any port, to Go's knownhosts any host at port 22.
            let ports: BTreeSet<u16> = hosts.iter().map(|(_, port)| *port).collect();
            let others: String = ports
                .into_iter()
                .filter(|port| *port != 22)
                .map(|port| format!(",[*]:{port}"))
                .collect();
            // Paramiko knows no markers: it takes the third field for a key, and a line whose key is not
            // base64 is the end of the whole file. After two blanks the field is empty, and it reads on.
            let _ = writeln!(text, "@cert-authority *{others}  {line}");
        }
        for (host, port) in hosts {
            let name = match port {
                22 => host.to_owned(),
                port => format!("[{host}]:{port}"),
            };
            for line in self
                .keys
                .iter()
                .filter_map(|key| key.public_key().to_openssh().ok())
            {
                let _ = writeln!(text, "{name} {line}");
            }
        }
        text
    }

    /// The key that a host was trusted with on first use.
    ///
    /// # Errors
    /// What was kept cannot be read.
    pub(super) fn trusted(&self, target: &str, address: &str) -> Result<Option<PublicKey>, String> {
        let path = self.dir.join(TRUSTED_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let about = format!("{target} {address} ");
        let key = text.lines().find_map(|line| line.strip_prefix(&about));
        key.map(|key| PublicKey::from_openssh(key).map_err(|error| error.to_string()))
            .transpose()
    }

    /// Keeps the key that a host was trusted with.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn trust(&self, target: &str, address: &str, key: &PublicKey) -> io::Result<()> {
        let line = key.to_openssh().map_err(io::Error::other)?;
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.dir.join(TRUSTED_FILE))?;
        writeln!(file, "{target} {address} {line}")?;
        file.sync_all()
    }

    pub(super) fn keys(&self) -> &[PrivateKey] {
        &self.keys
    }

    /// A certificate for each host key.
    pub(super) fn certificates(&self, principals: &Principals) -> Vec<Certificate> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| kept.made.elapsed() < USE);
        if let Some(known) = kept.iter().find(|kept| kept.principals == *principals) {
            return known.certificates.clone();
        }
        let made = self.keys.iter().map(|key| self.sign(key, principals));
        let certificates: Vec<Certificate> = made
            .filter_map(|made| {
                made.inspect_err(|error| tracing::error!(%error, "no host certificate"))
                    .ok()
            })
            .collect();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Kept {
            principals: principals.clone(),
            made: Instant::now(),
            certificates: certificates.clone(),
        });
        certificates
    }

    fn sign(
        &self,
        key: &PrivateKey,
        principals: &Principals,
    ) -> Result<Certificate, russh::keys::ssh_key::Error> {
        let now = crate::wall_clock().as_micros() / 1_000_000;
        let mut builder = Builder::new_with_random_nonce(
            &mut safe_rng(),
            key.public_key(),
            now.saturating_sub(BACKDATE),
            now + LIFE.as_secs(),
        )?;
        builder.cert_type(CertType::Host)?.key_id("weir")?;
        match principals {
            Principals::Any => {
                builder.all_principals_valid()?;
            }
            Principals::Names(names) => {
                for name in names {
                    builder.valid_principal(name)?;
                }
            }
        }
        builder.sign(&self.ca)
    }
}

/// A new private key in OpenSSH's form that opens nothing: its public half is told nobody. For programs that
/// insist on a key file where Weir logs in with a key of its own.
///
/// # Errors
/// It cannot be made.
pub fn placeholder_key() -> io::Result<String> {
    PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)
        .and_then(|key| key.to_openssh(LineEnding::LF))
        .map(|text| text.to_string())
        .map_err(io::Error::other)
}

fn fault(path: &Path, reason: impl std::fmt::Display) -> KeysError {
    KeysError {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn key(path: &Path, algorithm: Algorithm) -> Result<PrivateKey, KeysError> {
    match fs::read(path) {
        Ok(text) => {
            let mode = fs::metadata(path)
                .map_err(|error| fault(path, error))?
                .permissions()
                .mode();
            if mode & 0o077 != 0 {
                return Err(fault(path, "the key is accessible to others"));
            }
            PrivateKey::from_openssh(text).map_err(|error| fault(path, error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = PrivateKey::random(&mut safe_rng(), algorithm)
                .map_err(|error| fault(path, error))?;
            let text = key
                .to_openssh(LineEnding::LF)
                .map_err(|error| fault(path, error))?;
            write_new(path, text.as_bytes()).map_err(|error| fault(path, error))?;
            Ok(key)
        }
        Err(error) => Err(fault(path, error)),
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("weir-ssh-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        dir
    }

    #[test]
    fn keys_survive_a_restart_and_sign_certificates_that_the_published_line_vouches_for() {
        let dir = dir("restart");
        let first = HostKeys::load_or_create(&dir).unwrap();
        let second = HostKeys::load_or_create(&dir).unwrap();
        assert_eq!(
            first.known_hosts([("db", 22)]),
            second.known_hosts([("db", 22)])
        );
        let names = Principals::Names(vec!["db".to_owned(), "10.0.0.1".to_owned()]);
        let certificates = second.certificates(&names);
        assert_eq!(certificates.len(), 2);
        let ca = first
            .ca
            .public_key()
            .fingerprint(russh::keys::HashAlg::Sha256);
        for certificate in certificates {
            certificate.validate([&ca]).unwrap();
            assert_eq!(certificate.cert_type(), CertType::Host);
            assert_eq!(certificate.valid_principals(), ["db", "10.0.0.1"]);
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn known_hosts_names_the_authority_then_each_host_with_its_port() {
        let dir = dir("lines");
        let keys = HostKeys::load_or_create(&dir).unwrap();
        let text = keys.known_hosts([("db", 22), ("10.0.0.1", 2222)]);
        let starts: Vec<&str> = text
            .lines()
            .map(|line| line.split(" AAAA").next().unwrap())
            .collect();
        let expected = [
            "@cert-authority *,[*]:2222  ssh-ed25519",
            "db ssh-ed25519",
            "db ecdsa-sha2-nistp256",
            "[10.0.0.1]:2222 ssh-ed25519",
            "[10.0.0.1]:2222 ecdsa-sha2-nistp256",
        ];
        assert_eq!(starts, expected);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_placeholder_is_a_key_and_no_two_are_alike() {
        let keys = [(); 2].map(|()| PrivateKey::from_openssh(placeholder_key().unwrap()).unwrap());
        assert_ne!(keys[0].public_key(), keys[1].public_key());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = dir("open");
        HostKeys::load_or_create(&dir).unwrap();
        fs::set_permissions(dir.join(CA_FILE), fs::Permissions::from_mode(0o644)).unwrap();
        let error = HostKeys::load_or_create(&dir).unwrap_err();
        assert!(
            error.to_string().contains("accessible to others"),
            "{error}"
        );
        fs::remove_dir_all(dir).unwrap();
    }
}
