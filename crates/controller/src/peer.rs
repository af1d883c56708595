//! Who is at the other end of a mutual-TLS connection.
//!
//! Invariant: a [`Peer`] is read from a certificate that was verified against Weir's roots, or was
//! attested at enrolment; never from what a request says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_policy::Subject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_X509_SERIALNUMBER;
use x509_parser::prelude::FromDer as _;

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    /// The SPIFFE id.
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) service_account: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
}

/// Why a certificate names no pod.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("the client certificate cannot be read")]
    Unreadable,
    #[error("the client certificate does not carry exactly one identity of this trust domain")]
    Identity,
    #[error("the client certificate names no pod")]
    Pod,
}

impl Peer {
    /// A pod of a trust domain.
    pub(crate) fn new(
        trust_domain: &str,
        namespace: &str,
        service_account: &str,
        pod: &str,
        uid: &str,
    ) -> Self {
        Self {
            name: format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            pod: pod.to_owned(),
            uid: uid.to_owned(),
        }
    }

    /// Reads a verified certificate: the pod, and until when it is believed.
    pub(crate) fn read(der: &[u8], trust_domain: &str) -> Result<(Self, SystemTime), PeerError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| PeerError::Unreadable)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| PeerError::Unreadable)?
            .ok_or(PeerError::Identity)?;
        let mut uris = names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            });
        let (Some(uri), None) = (uris.next(), uris.next()) else {
            return Err(PeerError::Identity);
        };
        let (namespace, service_account) = spiffe(uri, trust_domain).ok_or(PeerError::Identity)?;
        let subject = certificate.subject();
        let pod = subject.iter_common_name().next();
        let uid = subject.iter_by_oid(&OID_X509_SERIALNUMBER).next();
        let text = |value: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
            let text = value.and_then(|value| value.as_str().ok())?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        let pod = text(pod).ok_or(PeerError::Pod)?;
        let uid = text(uid).ok_or(PeerError::Pod)?;
        let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
        let peer = Self::new(trust_domain, namespace, service_account, &pod, &uid);
        Ok((peer, UNIX_EPOCH + Duration::from_secs(end)))
    }

    /// What policies select.
    pub(crate) fn subject(&self) -> Subject {
        Subject {
            namespace: Some(self.namespace.clone()),
            service_account: Some(self.service_account.clone()),
            pod: Some(self.pod.clone()),
            ..Subject::named(self.name.clone())
        }
    }
}

/// Namespace and service account of a SPIFFE id.
fn spiffe<'a>(uri: &'a str, trust_domain: &str) -> Option<(&'a str, &'a str)> {
    let rest = uri.strip_prefix("spiffe://")?.strip_prefix(trust_domain)?;
    let (namespace, service_account) = rest.strip_prefix("/ns/")?.split_once("/sa/")?;
    let plain = |part: &str| !part.is_empty() && !part.contains('/');
    (plain(namespace) && plain(service_account)).then_some((namespace, service_account))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_names_namespace_and_service_account_of_the_own_trust_domain() {
        let id = "spiffe://cluster.local/ns/billing/sa/reporter";
        assert_eq!(spiffe(id, "cluster.local"), Some(("billing", "reporter")));
        assert_eq!(spiffe(id, "other.example"), None);
        for odd in [
            "spiffe://cluster.local/ns/billing/sa/",
            "spiffe://cluster.local/ns//sa/reporter",
            "spiffe://cluster.local/ns/billing/sa/a/b",
            "spiffe://cluster.localx/ns/billing/sa/a",
            "https://cluster.local/ns/billing/sa/a",
        ] {
            assert_eq!(spiffe(odd, "cluster.local"), None, "{odd}");
        }
    }
}
