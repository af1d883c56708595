use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType,
};

use super::*;

const UID: &str = "0d7a3b5e-1111-2222-3333-444455556666";

fn certificate(uris: &[&str], subject: &[(DnType, &str)]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, text) in subject {
        params.distinguished_name.push(kind.clone(), *text);
    }
    params.subject_alt_names = uris
        .iter()
        .map(|uri| SanType::URI((*uri).try_into().unwrap()))
        .collect();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

fn serial() -> DnType {
    DnType::CustomDnType(vec![2, 5, 4, 5])
}

const ID: &str = "spiffe://cluster.local/ns/billing/sa/reporter";

#[test]
fn a_pod_is_read_from_its_certificate() {
    let der = certificate(&[ID], &[(DnType::CommonName, "web-0"), (serial(), UID)]);
    let pod = Pod::read(&der, "cluster.local").unwrap();
    assert_eq!(
        (&*pod.namespace, &*pod.service_account),
        ("billing", "reporter")
    );
    assert_eq!((&*pod.name, &*pod.uid, &*pod.spiffe), ("web-0", UID, ID));
    assert_eq!(
        pod.engine.as_str(),
        "pod_0d7a3b5e_1111_2222_3333_444455556666"
    );
    assert_eq!(Pod::read(&der, "other.local"), Err(PeerError::Domain));
}

#[test]
fn a_certificate_that_is_not_exactly_one_pods_is_refused() {
    let subject = [(DnType::CommonName, "web-0"), (serial(), UID)];
    for uris in [
        &[][..],
        &[ID, ID],
        &["spiffe://cluster.local"],
        &["spiffe://cluster.local/ns/a/sa/b/c"],
        &["https://cluster.local/ns/a/sa/b"],
    ] {
        let refused = Pod::read(&certificate(uris, &subject), "cluster.local");
        assert_eq!(refused, Err(PeerError::Lacks("SPIFFE id")), "{uris:?}");
    }
    for uid in ["", "A", "a_b", "x"] {
        let subject = [(DnType::CommonName, "web-0"), (serial(), uid)];
        let refused = Pod::read(&certificate(&[ID], &subject), "cluster.local");
        assert_eq!(refused, Err(PeerError::Lacks("pod UID")), "{uid}");
    }
    let nobody = certificate(&[ID], &[(serial(), UID)]);
    assert_eq!(
        Pod::read(&nobody, "cluster.local"),
        Err(PeerError::Lacks("pod name"))
    );
    assert_eq!(
        Pod::read(b"\x30\x03abc", "cluster.local"),
        Err(PeerError::Unreadable)
    );
}

#[test]
fn a_user_is_the_common_name_and_groups_are_organisations() {
    let der = certificate(
        &[],
        &[
            (DnType::CommonName, "jane"),
            (DnType::OrganizationName, "auditors"),
        ],
    );
    let user = User::read(&der).unwrap();
    assert_eq!(
        (user.name.as_str(), user.groups),
        ("jane", vec!["auditors".to_owned()])
    );
    let nobody = certificate(&[], &[(DnType::OrganizationName, "auditors")]);
    assert_eq!(User::read(&nobody), Err(PeerError::Lacks("common name")));
}
