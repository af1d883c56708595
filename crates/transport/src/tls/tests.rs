use std::os::unix::fs::PermissionsExt;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(addr), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

fn names() -> LeafNames {
    LeafNames::new(["orders.example"], Some("10.0.0.5".parse().unwrap()))
}

async fn shake(
    authority: &Authority,
    tls: &UpstreamTls,
) -> (
    Result<Terminated, TlsError>,
    Result<tokio_rustls::client::TlsStream<TcpStream>, TlsError>,
) {
    let (client, server) = pair().await;
    let names = names();
    tokio::join!(
        terminate(Rewound::new(server), authority, &names, &[b"postgresql"]),
        originate(client, tls)
    )
}

#[tokio::test]
async fn both_sides_agree_on_bytes_alpn_and_channel_binding() {
    let authority = Authority::create("test").unwrap();
    for name in ["orders.example", "10.0.0.5", "other.example"] {
        let roots = authority.ca_pem().as_bytes();
        let tls = UpstreamTls::new(
            UpstreamMode::VerifyFull,
            Some(roots),
            name,
            &[b"postgresql"],
        )
        .unwrap();
        let (server, client) = shake(&authority, &tls).await;
        let (server, client) = (server.unwrap(), client.unwrap());
        assert_eq!(server.alpn.as_deref(), Some(b"postgresql".as_slice()));
        let leaf = client.get_ref().1.peer_certificates().unwrap()[0].clone();
        assert_eq!(server.leaf.end_point(), Sha256::digest(&leaf).as_slice());
        assert_eq!(peer_end_point(&client).unwrap(), server.leaf.end_point());
        let (mut server, mut client) = (Stream::from(server.stream), Stream::from(client));
        client.write_all(b"select 1").await.unwrap();
        client.flush().await.unwrap();
        let mut buf = BytesMut::new();
        assert_eq!(server.read_buf(&mut buf).await.unwrap(), 8);
        let error = server.try_read(&mut buf).unwrap_err();
        assert_eq!(
            (error.kind(), buf.as_ref()),
            (io::ErrorKind::WouldBlock, b"select 1".as_slice())
        );
    }
}

#[tokio::test]
async fn verify_full_refuses_a_wrong_name_and_verify_ca_does_not() {
    let authority = Authority::create("test").unwrap();
    let roots = Some(authority.ca_pem().as_bytes());
    // Address names carry no SNI, so the leaf has only the Target's names.
    let full = UpstreamTls::new(UpstreamMode::VerifyFull, roots, "10.9.9.9", &[]).unwrap();
    assert!(shake(&authority, &full).await.1.is_err());
    let chain = UpstreamTls::new(UpstreamMode::VerifyCa, roots, "10.9.9.9", &[]).unwrap();
    assert!(shake(&authority, &chain).await.1.is_ok());
}

#[tokio::test]
async fn only_require_accepts_a_foreign_authority() {
    let (authority, other) = (
        Authority::create("a").unwrap(),
        Authority::create("b").unwrap(),
    );
    let roots = Some(other.ca_pem().as_bytes());
    for (mode, accepted) in [
        (UpstreamMode::VerifyFull, false),
        (UpstreamMode::VerifyCa, false),
        (UpstreamMode::Require, true),
    ] {
        let tls = UpstreamTls::new(mode, roots, "orders.example", &[]).unwrap();
        assert_eq!(
            shake(&authority, &tls).await.1.is_ok(),
            accepted,
            "{mode:?}"
        );
    }
}

#[tokio::test]
async fn refuses_a_client_without_the_protocol_in_its_alpn() {
    let authority = Authority::create("test").unwrap();
    let tls = UpstreamTls::new(UpstreamMode::Require, None, "orders.example", &[b"h2"]).unwrap();
    let (server, _) = shake(&authority, &tls).await;
    assert!(matches!(server, Err(TlsError::Client(_))));
}

#[tokio::test]
async fn a_hello_that_was_read_ahead_is_not_lost() {
    let authority = Authority::create("test").unwrap();
    let tls = UpstreamTls::new(UpstreamMode::Require, None, "orders.example", &[]).unwrap();
    let (client, mut server) = pair().await;
    let names = names();
    let serve = async {
        let mut head = [0; 5];
        server.read_exact(&mut head).await.unwrap();
        assert_eq!(head[0], 0x16);
        let io = Rewound::with_prefix(Bytes::copy_from_slice(&head), server);
        terminate(io, &authority, &names, &[]).await
    };
    let (server, client) = tokio::join!(serve, originate(client, &tls));
    assert!(server.is_ok() && client.is_ok());
}

#[test]
fn configuration_without_roots_or_with_bad_names_is_refused() {
    for roots in [None, Some(b"".as_slice()), Some(b"not pem".as_slice())] {
        assert!(UpstreamTls::new(UpstreamMode::VerifyCa, roots, "a.example", &[]).is_err());
    }
    assert!(UpstreamTls::new(UpstreamMode::Require, None, "not a name", &[]).is_err());
}

#[test]
fn an_authority_survives_a_restart_and_guards_its_key() {
    let dir = std::env::temp_dir().join(format!("weir-authority-{}", std::process::id()));
    let first = Authority::load_or_create(&dir, "test").unwrap();
    let second = Authority::load_or_create(&dir, "test").unwrap();
    assert_eq!(first.ca_pem(), second.ca_pem());
    let key = dir.join("ca.key");
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        Authority::load_or_create(&dir, "test"),
        Err(TlsError::File { .. })
    ));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn the_cache_of_leaves_is_bounded_and_shared() {
    let authority = Authority::create("test").unwrap();
    let first = authority.mint(&names()).unwrap();
    assert!(Arc::ptr_eq(&first, &authority.mint(&names()).unwrap()));
    for n in 0..300 {
        authority
            .mint(&LeafNames::new([format!("n{n}.example").as_str()], None))
            .unwrap();
    }
    assert!(!Arc::ptr_eq(&first, &authority.mint(&names()).unwrap()));
}

#[test]
fn an_end_point_hash_needs_a_whole_certificate() {
    let authority = Authority::create("test").unwrap();
    let der = authority.ca_der();
    assert_eq!(end_point_hash(der).unwrap(), Sha256::digest(der).to_vec());
    for cut in 0..60 {
        assert_eq!(end_point_hash(&der[..cut]), None, "{cut}");
    }
}

/// A server certificate as `openssl req -x509` makes it: its own authority.
fn self_signed(days_left: i64) -> (String, rustls::ServerConfig) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = rcgen::CertificateParams::new(vec![String::from("orders.example")]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let now = std::time::SystemTime::now();
    let day = std::time::Duration::from_secs(24 * 3600);
    params.not_before = (now - 9 * day).into();
    let until = if days_left < 0 { now - day } else { now + day };
    params.not_after = until.into();
    let certificate = params.self_signed(&key).unwrap();
    let private = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private.into())
        .unwrap();
    (certificate.pem(), config)
}

#[tokio::test]
async fn a_self_signed_server_is_verified_by_its_own_certificate() {
    for (days_left, name, mode, accepted) in [
        (1, "orders.example", UpstreamMode::VerifyFull, true),
        (1, "other.example", UpstreamMode::VerifyFull, false),
        (1, "other.example", UpstreamMode::VerifyCa, true),
        (-1, "orders.example", UpstreamMode::VerifyFull, false),
        (-1, "orders.example", UpstreamMode::VerifyCa, false),
    ] {
        let (pem, config) = self_signed(days_left);
        let (client, server) = pair().await;
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let tls = UpstreamTls::new(mode, Some(pem.as_bytes()), name, &[]).unwrap();
        let (_server, client) = tokio::join!(acceptor.accept(server), originate(client, &tls));
        assert_eq!(client.is_ok(), accepted, "{days_left} {name} {mode:?}");
        if let Ok(client) = client {
            // Signed with SHA-384, so bound by SHA-384.
            assert_eq!(peer_end_point(&client).unwrap().len(), 48);
        }
    }
}
