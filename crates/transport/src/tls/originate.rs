//! Towards the server, with as much verification as the Target asks.
//!
//! Invariants: `VerifyFull` checks chain and name, `VerifyCa` the chain alone,
//! `Require` nothing, and is the only mode that does not need roots. A root
//! that *is* the server's certificate is accepted as a chain of one, as
//! libpq does, while it has not expired.
//! Refuses: an empty root list, TLS before 1.2.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::terminate::HANDSHAKE;
use super::{TlsError, provider, signature};

/// How much of the server's certificate is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamMode {
    /// Encrypted, not verified.
    Require,
    /// The chain must lead to the roots.
    VerifyCa,
    /// Chain and name.
    VerifyFull,
}

/// A Target's TLS settings, parsed once.
#[derive(Clone)]
pub struct UpstreamTls {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

impl std::fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamTls")
            .field("server_name", &self.server_name)
            .finish()
    }
}

impl UpstreamTls {
    /// Settings from a mode, roots in PEM (needed unless `Require`), the name
    /// to send and to verify (DNS name or address), and the ALPN list.
    ///
    /// # Errors
    /// [`TlsError::Configuration`] for roots or names that do not parse.
    pub fn new(
        mode: UpstreamMode,
        roots: Option<&[u8]>,
        server_name: &str,
        alpn: &[&[u8]],
    ) -> Result<Self, TlsError> {
        let verifier: Arc<dyn ServerCertVerifier> = match mode {
            UpstreamMode::Require => Arc::new(Unverified),
            UpstreamMode::VerifyCa => Arc::new(Verified::new(roots, false)?),
            UpstreamMode::VerifyFull => Arc::new(Verified::new(roots, true)?),
        };
        let name = ServerName::try_from(server_name.to_owned()).map_err(|_| {
            TlsError::Configuration(format!("{server_name:?} is not a server name"))
        })?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Self {
            config: Arc::new(config),
            server_name: name,
        })
    }

    /// The same for another ALPN list.
    #[must_use]
    pub fn with_alpn(&self, alpn: &[&[u8]]) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Self {
            config: Arc::new(config),
            server_name: self.server_name.clone(),
        }
    }
}

/// Opens a session over a connected socket (after the server said `S`, or at
/// once for direct TLS).
///
/// # Errors
/// [`TlsError::Upstream`] with the reason of the refusal.
pub async fn originate(
    stream: TcpStream,
    tls: &UpstreamTls,
) -> Result<TlsStream<TcpStream>, TlsError> {
    let connector = TlsConnector::from(tls.config.clone());
    let handshake = connector.connect(tls.server_name.clone(), stream);
    match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(result) => result.map_err(TlsError::Upstream),
        Err(_) => Err(TlsError::Upstream(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Chain, and the name where asked.
#[derive(Debug)]
struct Verified {
    roots: RootCertStore,
    pinned: Vec<CertificateDer<'static>>,
    check_name: bool,
}

impl Verified {
    fn new(roots: Option<&[u8]>, check_name: bool) -> Result<Self, TlsError> {
        let bad = |why: String| TlsError::Configuration(format!("upstream roots: {why}"));
        let pem = roots.ok_or_else(|| bad(String::from("verification needs them")))?;
        let mut store = RootCertStore::empty();
        let mut pinned = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| bad(e.to_string()))?;
            store
                .add(certificate.clone())
                .map_err(|e| bad(e.to_string()))?;
            pinned.push(certificate);
        }
        if pinned.is_empty() {
            return Err(bad(String::from("the PEM text holds no certificate")));
        }
        Ok(Self {
            roots: store,
            pinned,
            check_name,
        })
    }
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms.all;
        let chain = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        );
        match chain {
            Ok(()) => {}
            Err(error) if !is_about_time(&error) && self.pinned.contains(end_entity) => {}
            Err(error) => return Err(error),
        }
        if self.check_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature::schemes()
    }
}

fn is_about_time(error: &Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        error,
        Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
        )
    )
}

/// `Require`: whoever answers is believed. The handshake's signature is still
/// checked, so the peer holds the key of the certificate it shows.
#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature::schemes()
    }
}
