//! Who is at the other end, from a certificate that TLS has verified.
//!
//! It refuses a certificate that names two of anything that must be one, so that no two readers of
//! it can disagree.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weir_audit::EngineId;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_X509_SERIALNUMBER;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::AttributeTypeAndValue;

use crate::log::Chain;

/// Why a certificate does not say who its holder is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("the certificate cannot be read")]
    Unreadable,
    #[error("the certificate has no usable {0}")]
    Lacks(&'static str),
    #[error("the certificate is of another trust domain")]
    Domain,
}

/// A pod of Weir's own trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) spiffe: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) service_account: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) uid: Arc<str>,
    /// The only engine whose evidence it may hand in.
    pub(crate) engine: EngineId,
    /// The certificates that it proved itself with, where it is at the other end of a connection.
    pub(crate) chain: Chain,
}

impl Pod {
    pub(crate) fn read(der: &[u8], trust_domain: &str) -> Result<Self, PeerError> {
        let pod = Self::of_any_domain(der)?;
        let domain = pod.spiffe.strip_prefix("spiffe://");
        let domain = domain.and_then(|rest| rest.split_once('/'));
        match domain {
            Some((domain, _)) if domain == trust_domain => Ok(pod),
            _ => Err(PeerError::Domain),
        }
    }

    /// As [`Self::read`], where the roots alone say who is believed.
    pub(crate) fn of_any_domain(der: &[u8]) -> Result<Self, PeerError> {
        let certificate = parse(der)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| PeerError::Unreadable)?
            .map(|extension| extension.value.general_names.as_slice())
            .unwrap_or_default();
        let uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let spiffe = one(uris).ok_or(PeerError::Lacks("SPIFFE id"))?;
        let rest = spiffe
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.split_once('/'))
            .ok_or(PeerError::Lacks("SPIFFE id"))?;
        let mut parts = rest.1.split('/');
        let (Some("ns"), Some(namespace), Some("sa"), Some(account), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(PeerError::Lacks("SPIFFE id"));
        };
        let subject = certificate.subject();
        let uid = one(texts(subject.iter_by_oid(&OID_X509_SERIALNUMBER)))
            .filter(|uid| is_uid(uid))
            .ok_or(PeerError::Lacks("pod UID"))?;
        let name = one(texts(subject.iter_common_name())).ok_or(PeerError::Lacks("pod name"))?;
        Ok(Self {
            spiffe: spiffe.into(),
            namespace: namespace.into(),
            service_account: account.into(),
            name: name.into(),
            uid: uid.into(),
            engine: EngineId::of_pod(uid).map_err(|_| PeerError::Lacks("pod UID"))?,
            chain: Chain::default(),
        })
    }
}

/// A user of the cluster, as the API server reads client certificates: the common name, and each
/// organisation as a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
}

impl User {
    pub(crate) fn read(der: &[u8]) -> Result<Self, PeerError> {
        let certificate = parse(der)?;
        let subject = certificate.subject();
        let name = one(texts(subject.iter_common_name()))
            .filter(|name| !name.is_empty())
            .ok_or(PeerError::Lacks("common name"))?;
        let groups = texts(subject.iter_organization())
            .map(str::to_owned)
            .collect();
        Ok(Self {
            name: name.to_owned(),
            groups,
        })
    }
}

/// The one common name of a certificate.
pub(crate) fn common_name(der: &[u8]) -> Result<String, PeerError> {
    let certificate = parse(der)?;
    let name = one(texts(certificate.subject().iter_common_name()));
    let name = name.ok_or(PeerError::Lacks("common name"))?;
    Ok(name.to_owned())
}

/// When a certificate ends.
pub(crate) fn ends(der: &[u8]) -> Result<SystemTime, PeerError> {
    let end = parse(der)?.validity().not_after.timestamp();
    let end = u64::try_from(end).map_err(|_| PeerError::Unreadable)?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(end))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PeerError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(PeerError::Unreadable),
    }
}

fn texts<'a>(
    attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
) -> impl Iterator<Item = &'a str> {
    // What is not text counts as an empty one, so that it cannot hide beside another.
    attributes.map(|attribute| attribute.as_str().unwrap_or_default())
}

fn one<'a>(mut values: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// Hex digits and hyphens, so that two UIDs never become one engine id.
fn is_uid(text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte) || byte == b'-';
    (1..=60).contains(&text.len()) && text.bytes().all(valid)
}

#[cfg(test)]
mod tests;
