use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{ServerName, UnixTime};

use super::*;

fn now() -> SystemTime {
    SystemTime::now()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn root() -> Root {
    Root::parse(RootPem::generate(now()).unwrap(), now()).unwrap()
}

fn peer() -> Peer {
    Peer::new(
        "cluster.local",
        "billing",
        "reporter",
        "reporter-7d9f",
        "0b0e7a0c-5d3c-4f0e-9d43-0c7a7b0f9f11",
    )
}

fn request() -> Request {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "somebody else");
    let csr = params.serialize_request(&key).unwrap();
    Request::parse(&csr.pem().unwrap()).unwrap()
}

fn server_accepts(roots: &str, serving: &Serving) -> bool {
    let mut store = rustls::RootCertStore::empty();
    for der in ders(roots).unwrap() {
        store.add(der).unwrap();
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider())
        .build()
        .unwrap();
    let name = ServerName::try_from("weir-controller.weir-system.svc").unwrap();
    let (leaf, rest) = serving.chain.split_first().unwrap();
    verifier
        .verify_server_cert(leaf, rest, &name, &[], UnixTime::now())
        .is_ok()
}

fn client_accepts(roots: rustls::RootCertStore, chain: &str) -> bool {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .unwrap();
    let chain = ders(chain).unwrap();
    let (leaf, rest) = chain.split_first().unwrap();
    verifier
        .verify_client_cert(leaf, rest, UnixTime::now())
        .is_ok()
}

#[test]
fn an_identity_carries_what_was_attested_and_nothing_of_the_request() {
    let chain = root().identity(request(), &peer(), &[], now()).unwrap();
    let der = ders(&chain).unwrap();
    let (read, until) = Peer::read(&der[0], "cluster.local").unwrap();
    assert_eq!(read, peer());
    assert!(until <= now() + IDENTITY_LIFE && until > now() + IDENTITY_LIFE / 2);
    let text = String::from_utf8_lossy(&der[0]).into_owned();
    assert!(!text.contains("evil.example") && !text.contains("somebody else"));
}

#[test]
fn an_identity_is_for_clients_unless_it_has_names() {
    let root = root();
    let chain = root.identity(request(), &peer(), &[], now()).unwrap();
    assert!(client_accepts(root.roots().unwrap(), &chain));
    let names = ["weir-controller.weir-system.svc".to_owned()];
    for (names, accepted) in [(&names[..], true), (&[], false)] {
        let chain = root.identity(request(), &peer(), names, now()).unwrap();
        let serving = Serving {
            chain: ders(&chain).unwrap(),
            key: root.serving(&[], now()).unwrap().key,
        };
        assert_eq!(server_accepts(root.certificate(), &serving), accepted);
    }
}

#[test]
fn another_root_is_not_believed() {
    let chain = root().identity(request(), &peer(), &[], now()).unwrap();
    assert!(!client_accepts(root().roots().unwrap(), &chain));
}

#[test]
fn a_request_whose_signature_is_not_its_keys_is_refused() {
    let csr = CertificateParams::new(vec![])
        .unwrap()
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap();
    let mut der = csr.der().to_vec();
    let last = der.len() - 1;
    der[last] ^= 1;
    assert!(matches!(
        CertificateSigningRequestParams::from_der(&der.into()),
        Err(rcgen::Error::InvalidCertificationRequestSignature)
            | Err(rcgen::Error::CouldNotParseCertificationRequest)
    ));
    assert!(Request::parse("not pem").is_err());
}

#[test]
fn a_successor_is_verified_by_those_who_know_only_the_old_root_and_by_those_who_know_only_the_new()
{
    let first = RootPem::generate(now() - Duration::from_secs(10)).unwrap();
    let second = first.succeed(now()).unwrap();
    let new = Root::parse(second.clone(), now()).unwrap();
    assert_eq!(new.previous(), Some(first.certificate.as_str()));
    let names = ["weir-controller.weir-system.svc".to_owned()];
    let serving = new.serving(&names, now()).unwrap();
    assert!(server_accepts(&first.certificate, &serving));
    assert!(server_accepts(&second.certificate, &serving));
    let old = Root::parse(first, now()).unwrap();
    let chain = new.identity(request(), &peer(), &[], now()).unwrap();
    assert!(client_accepts(old.roots().unwrap(), &chain));
    let chain = old.identity(request(), &peer(), &[], now()).unwrap();
    assert!(client_accepts(new.roots().unwrap(), &chain));
}

#[test]
fn key_and_certificate_of_different_roots_are_refused() {
    let mut pem = RootPem::generate(now()).unwrap();
    pem.key = RootPem::generate(now()).unwrap().key;
    assert!(matches!(
        Root::parse(pem, now()),
        Err(CertificateError::Root(_))
    ));
}

#[test]
fn an_expired_root_is_refused_and_an_expired_predecessor_left_out() {
    let first = RootPem::generate(now()).unwrap();
    let late = now() + ROOT_LIFE + Duration::from_secs(1);
    assert!(Root::parse(first.clone(), late).is_err());
    let second = first.succeed(now() + Duration::from_secs(60)).unwrap();
    let root = Root::parse(second, now() + ROOT_LIFE + Duration::from_secs(30)).unwrap();
    assert_eq!(root.previous(), None);
}
