//! Weir's root, and the certificates that it signs.
//!
//! Invariants: nothing of a request's subject or extensions reaches a certificate, only its key,
//! and only after its signature was checked; a leaf never outlives its root. While a root
//! replaces another, chains carry the new root signed by the old one, so that whoever still knows
//! only the old one can verify them.
//! Refuses: IO, and to know why somebody gets a certificate.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SanType,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};

use crate::peer::Peer;
use crate::text::hex;

/// How long a root lives.
pub(crate) const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long the controller's own certificate lives.
pub(crate) const SERVING_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long a pod's certificate lives.
pub(crate) const IDENTITY_LIFE: Duration = Duration::from_secs(3600);
/// Clocks of nodes may be behind.
const BACKDATE: Duration = Duration::from_secs(300);
/// `serialNumber` of a subject, X.520.
const SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// The pod's request is not one.
    #[error("the certificate signing request is not valid: {0}")]
    Request(rcgen::Error),
    /// The root in the Secret is not one.
    #[error("the root is not usable: {0}")]
    Root(String),
    /// The library could not make a key or certificate.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// A root as its Secret holds it, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RootPem {
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// The root before, and this root signed by it.
    pub(crate) previous: Option<(String, String)>,
}

/// A root that can sign.
pub(crate) struct Root {
    issuer: Issuer<'static, KeyPair>,
    pem: RootPem,
    expires: SystemTime,
}

/// A certificate chain with its key.
pub(crate) struct Serving {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// A verified request: a key that its holder proved to have.
pub(crate) struct Request(CertificateSigningRequestParams);

impl Request {
    /// Parses a request in PEM and checks its signature.
    pub(crate) fn parse(pem: &str) -> Result<Self, CertificateError> {
        CertificateSigningRequestParams::from_pem(pem)
            .map(Self)
            .map_err(CertificateError::Request)
    }

    /// SHA-256 over the key, in hex.
    pub(crate) fn key_digest(&self) -> String {
        use rcgen::PublicKeyData as _;
        hex(&Sha256::digest(self.0.public_key.der_bytes()))
    }
}

impl RootPem {
    /// A new root.
    pub(crate) fn generate(now: SystemTime) -> Result<Self, CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = root_params(now).self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            previous: None,
        })
    }

    /// A new root that those who know only this one can verify too.
    pub(crate) fn succeed(&self, now: SystemTime) -> Result<Self, CertificateError> {
        let old = Root::parse(self.clone(), now)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let params = root_params(now);
        let mut cross = params.clone();
        cross.not_after = old.expires.into();
        cross.use_authority_key_identifier_extension = true;
        let cross = cross.signed_by(&key, &old.issuer)?;
        Ok(Self {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
            previous: Some((self.certificate.clone(), cross.pem())),
        })
    }
}

impl Root {
    /// A root from its Secret. An expired predecessor is left out.
    pub(crate) fn parse(mut pem: RootPem, now: SystemTime) -> Result<Self, CertificateError> {
        let wrong = |what: &str| CertificateError::Root(what.to_owned());
        let key = KeyPair::from_pem(&pem.key).map_err(|_| wrong("the key cannot be read"))?;
        let (expires, public) =
            inspect(&pem.certificate).ok_or_else(|| wrong("the certificate cannot be read"))?;
        if public != key.public_key_raw() {
            return Err(wrong("key and certificate do not belong together"));
        }
        if expires <= now {
            return Err(wrong("it has expired"));
        }
        pem.previous = pem.previous.filter(|(previous, cross)| {
            let live = |pem: &str| inspect(pem).is_some_and(|(expires, _)| expires > now);
            live(previous) && live(cross)
        });
        let issuer = Issuer::from_ca_cert_pem(&pem.certificate, key)
            .map_err(|error| CertificateError::Root(error.to_string()))?;
        Ok(Self {
            issuer,
            pem,
            expires,
        })
    }

    /// What its Secret holds.
    pub(crate) const fn pem(&self) -> &RootPem {
        &self.pem
    }

    /// The root's certificate in PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.pem.certificate
    }

    /// The root before it in PEM, while it replaces it.
    pub(crate) fn previous(&self) -> Option<&str> {
        self.pem
            .previous
            .as_ref()
            .map(|(previous, _)| previous.as_str())
    }

    /// What verifiers trust, in PEM.
    pub(crate) fn bundle(&self) -> String {
        format!(
            "{}{}",
            self.pem.certificate,
            self.previous().unwrap_or_default()
        )
    }

    /// What verifiers trust.
    pub(crate) fn roots(&self) -> Result<rustls::RootCertStore, CertificateError> {
        let mut store = rustls::RootCertStore::empty();
        for certificate in ders(&self.bundle())? {
            store
                .add(certificate)
                .map_err(|error| CertificateError::Root(error.to_string()))?;
        }
        Ok(store)
    }

    /// When it ends.
    pub(crate) const fn expires(&self) -> SystemTime {
        self.expires
    }

    /// A certificate for a server of these names.
    pub(crate) fn serving(
        &self,
        names: &[String],
        now: SystemTime,
    ) -> Result<Serving, CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = self.leaf(now, SERVING_LIFE);
        params.subject_alt_names = dns_names(names)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "weir-controller");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer)?;
        let mut chain = vec![leaf.der().clone()];
        if let Some((_, cross)) = &self.pem.previous {
            chain.extend(ders(cross)?);
        }
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Serving { chain, key })
    }

    /// The certificate of a pod for the key of its request, as a chain in PEM.
    pub(crate) fn identity(
        &self,
        request: Request,
        peer: &Peer,
        names: &[String],
        now: SystemTime,
    ) -> Result<String, CertificateError> {
        let mut params = self.leaf(now, IDENTITY_LIFE);
        params.subject_alt_names = vec![SanType::URI(peer.name.as_str().try_into()?)];
        params.subject_alt_names.extend(dns_names(names)?);
        let subject = &mut params.distinguished_name;
        subject.push(DnType::CommonName, peer.pod.as_str());
        let uid = DnValue::PrintableString(peer.uid.as_str().try_into()?);
        subject.push(DnType::CustomDnType(SERIAL_NUMBER.to_vec()), uid);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !names.is_empty() {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let mut request = request.0;
        request.params = params;
        let mut chain = request.signed_by(&self.issuer)?.pem();
        if let Some((_, cross)) = &self.pem.previous {
            chain.push_str(cross);
        }
        Ok(chain)
    }

    fn leaf(&self, now: SystemTime, life: Duration) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + life).min(self.expires).into();
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params
    }
}

fn root_params(now: SystemTime) -> CertificateParams {
    let seconds = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // Roots differ in name, so that a verifier with two of them finds the right one.
    params
        .distinguished_name
        .push(DnType::CommonName, format!("weir root {seconds}"));
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + ROOT_LIFE).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn dns_names(names: &[String]) -> Result<Vec<SanType>, rcgen::Error> {
    let name = |name: &String| Ok(SanType::DnsName(name.as_str().try_into()?));
    names.iter().map(name).collect()
}

fn ders(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| CertificateError::Root(error.to_string()))
}

/// When the first certificate of a PEM text ends, and its public key.
fn inspect(pem: &str) -> Option<(SystemTime, Vec<u8>)> {
    use x509_parser::prelude::FromDer as _;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&der).ok()?;
    let end = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    let public = parsed.public_key().subject_public_key.data.to_vec();
    Some((SystemTime::UNIX_EPOCH + Duration::from_secs(end), public))
}

#[cfg(test)]
mod tests;
