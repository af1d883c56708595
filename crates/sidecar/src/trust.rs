//! What applications trust: the pod's own authority, and everything they would trust without Weir.
//!
//! Invariant: each file is replaced whole, readable by every user of the pod; roots that do not
//! parse are left out and said so, never a broken bundle.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::files::replace;

/// The pod's authority alone.
const CA: &str = "ca.crt";
/// The pod's authority, the platform's roots, and those of the settings.
const BUNDLE: &str = "bundle.crt";
/// Everybody in the pod may read them.
const MODE: u32 = 0o644;
/// Characters of Base64 in one line of PEM.
const PEM_LINE: usize = 64;

/// Publishes both files in `dir`.
///
/// # Errors
/// They cannot be written.
pub(crate) fn publish(dir: &Path, ca_pem: &str, extra_roots: &str) -> std::io::Result<()> {
    replace(&dir.join(CA), ca_pem.as_bytes(), MODE)?;
    replace(
        &dir.join(BUNDLE),
        bundle(ca_pem, extra_roots).as_bytes(),
        MODE,
    )
}

fn bundle(ca_pem: &str, extra_roots: &str) -> String {
    let mut text = String::with_capacity(256 << 10);
    text.push_str(ca_pem.trim_end());
    text.push('\n');
    for root in TLS_SERVER_ROOT_CERTS {
        pem(root, &mut text);
    }
    let extra: Result<Vec<CertificateDer<'_>>, _> =
        CertificateDer::pem_slice_iter(extra_roots.as_bytes()).collect();
    match extra {
        Ok(extra) => extra.iter().for_each(|root| pem(root, &mut text)),
        Err(error) => tracing::error!(%error, "the extra roots are left out"),
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
        let bundle = parsed(&bundle(&ca, &extra));
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
        let bundle = parsed(&bundle(&authority(), broken));
        assert_eq!(bundle.len(), TLS_SERVER_ROOT_CERTS.len() + 1);
    }

    #[test]
    fn both_files_can_be_read_by_every_user() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        publish(dir.path(), &authority(), "").unwrap();
        for name in [CA, BUNDLE] {
            let mode = std::fs::metadata(dir.path().join(name)).unwrap();
            assert_eq!(mode.permissions().mode() & 0o777, 0o644, "{name}");
        }
    }
}
