//! What applications trust: the pod's own authority, and everything they would trust without Weir.
//!
//! Invariants: each file of certificates is replaced whole, readable by every user of the pod; roots
//! that do not parse are left out and said so, never a broken bundle. The files for SSH clients are
//! there from the start and stay the same files: other containers mount them one by one, and Kubernetes
//! would mount a directory in place of one that is missing.

mod keystore;

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;
use weir_gateway::placeholder_key;

use crate::files::replace;

/// The pod's authority alone.
const CA: &str = "ca.crt";
/// The pod's authority, the platform's roots, and those of the settings.
const BUNDLE: &str = "bundle.crt";
/// The same for a JVM.
const JAVA: &str = "java.jks";
/// What SSH clients know of hosts.
const KNOWN_HOSTS: &str = "known_hosts";
/// A private key that opens nothing.
const SSH_KEY: &str = "ssh_key";
/// Everybody in the pod may read them.
const MODE: u32 = 0o644;
/// Characters of Base64 in one line of PEM.
const PEM_LINE: usize = 64;

/// Makes the files for SSH clients in `dir`, unless they are there.
///
/// # Errors
/// They cannot be written.
pub(crate) fn prepare(dir: &Path) -> io::Result<()> {
    for (name, content) in [(KNOWN_HOSTS, String::new()), (SSH_KEY, placeholder_key()?)] {
        let path = dir.join(name);
        if !path.try_exists()? {
            replace(&path, content.as_bytes(), MODE)?;
        }
    }
    Ok(())
}

/// Tells SSH clients of the hosts. The file stays the one that is mounted: what is new is written over
/// what was there, in one write, then the rest is cut off.
///
/// # Errors
/// It cannot be written.
pub(crate) fn known_hosts(dir: &Path, hosts: &str) -> io::Result<()> {
    use std::io::Write as _;
    let path = dir.join(KNOWN_HOSTS);
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(hosts.as_bytes())?;
    file.set_len(u64::try_from(hosts.len()).map_err(io::Error::other)?)
}

/// Publishes the files of certificates in `dir`.
///
/// # Errors
/// They cannot be written, or the authority is not a certificate.
pub(crate) fn publish(dir: &Path, ca_pem: &str, extra_roots: &str) -> io::Result<()> {
    replace(&dir.join(CA), ca_pem.as_bytes(), MODE)?;
    let trusted = trusted(ca_pem, extra_roots)?;
    replace(&dir.join(BUNDLE), bundle(&trusted).as_bytes(), MODE)?;
    replace(&dir.join(JAVA), &keystore::jks(trusted.iter())?, MODE)
}

/// The pod's authority, the platform's roots and the extra ones, in this order.
fn trusted(ca_pem: &str, extra_roots: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let own = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(io::Error::other)?;
    let mut all = Vec::with_capacity(TLS_SERVER_ROOT_CERTS.len() + 8);
    all.push(own);
    all.extend_from_slice(TLS_SERVER_ROOT_CERTS);
    let extra: Result<Vec<CertificateDer<'_>>, _> =
        CertificateDer::pem_slice_iter(extra_roots.as_bytes()).collect();
    match extra {
        Ok(extra) => all.extend(extra),
        Err(error) => tracing::error!(%error, "the extra roots are left out"),
    }
    Ok(all)
}

fn bundle(certificates: &[CertificateDer<'_>]) -> String {
    let mut text = String::with_capacity(256 << 10);
    for certificate in certificates {
        pem(certificate, &mut text);
    }
    text
}

fn pem(certificate: &[u8], into: &mut String) {
    into.push_str("-----BEGIN CERTIFICATE-----\n");
    let encoded = STANDARD.encode(certificate);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(PEM_LINE).unwrap_or((rest, ""));
        let _ = writeln!(into, "{line}");
        rest = after;
    }
    into.push_str("-----END CERTIFICATE-----\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<CertificateDer<'static>> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        all.unwrap()
    }

    fn authority() -> String {
        let authority = weir_transport::tls::Authority::create("test").unwrap();
        authority.ca_pem().to_owned()
    }

    #[test]
    fn the_bundle_is_the_pods_authority_then_the_platforms_roots_then_the_extra_ones() {
        let (ca, extra) = (authority(), authority());
        let bundle = parsed(&bundle(&trusted(&ca, &extra).unwrap()));
        assert_eq!(bundle.len(), TLS_SERVER_ROOT_CERTS.len() + 2);
        assert_eq!(bundle.first(), parsed(&ca).first());
        assert_eq!(bundle.last(), parsed(&extra).last());
        assert!(
            TLS_SERVER_ROOT_CERTS
                .iter()
                .all(|root| bundle.contains(root))
        );
    }

    #[test]
    fn broken_extra_roots_do_not_break_the_bundle() {
        let broken = "-----BEGIN CERTIFICATE-----\nnonsense\n";
        let bundle = parsed(&bundle(&trusted(&authority(), broken).unwrap()));
        assert_eq!(bundle.len(), TLS_SERVER_ROOT_CERTS.len() + 1);
    }

    #[test]
    fn the_files_can_be_read_by_every_user() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        publish(dir.path(), &authority(), "").unwrap();
        for name in [CA, BUNDLE, JAVA] {
            let mode = std::fs::metadata(dir.path().join(name)).unwrap();
            assert_eq!(mode.permissions().mode() & 0o777, 0o644, "{name}");
        }
    }

    #[test]
    fn known_hosts_change_in_the_file_that_is_mounted() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path()).unwrap();
        let path = dir.path().join(KNOWN_HOSTS);
        let inode = std::fs::metadata(&path).unwrap().ino();
        for text in ["a long line\n", "short\n", ""] {
            known_hosts(dir.path(), text).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    }

    #[test]
    fn the_files_for_ssh_are_made_once_and_stay() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let state = || {
            prepare(dir.path()).unwrap();
            [KNOWN_HOSTS, SSH_KEY].map(|name| {
                let path = dir.path().join(name);
                let metadata = std::fs::metadata(&path).unwrap();
                assert_eq!(metadata.mode() & 0o777, 0o644, "{name}");
                (metadata.ino(), std::fs::read_to_string(path).unwrap())
            })
        };
        let first = state();
        assert!(
            first[1]
                .1
                .starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n")
        );
        assert_eq!(state(), first);
    }
}
