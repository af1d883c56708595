//! The signature of a handshake, checked with the one provider: whoever shows a certificate holds its key.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::CertificateDer;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::provider;

/// Of TLS 1.2.
pub(super) fn tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = &provider().signature_verification_algorithms;
    verify_tls12_signature(message, certificate, signature, algorithms)
}

/// Of TLS 1.3.
pub(super) fn tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = &provider().signature_verification_algorithms;
    verify_tls13_signature(message, certificate, signature, algorithms)
}

/// What can be checked.
pub(super) fn schemes() -> Vec<SignatureScheme> {
    let algorithms = &provider().signature_verification_algorithms;
    algorithms.supported_schemes()
}
