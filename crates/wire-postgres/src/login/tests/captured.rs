//! Logins of psql 15.20 (libpq) at PostgreSQL 15.20, as they went over the
//! wire (inside TLS for -PLUS), and verifiers that PostgreSQL computed. With
//! the nonces of the capture both state machines have to write the same bytes.

use super::*;

const PASSWORD: &str = "correct horse";
const SALT: &str = "gpFkHRxCJdQ+kGYneIB1og==";
/// SHA-256 of the server's certificate.
const CERTIFICATE: &str = "iWotsStIUap0zYEVHa/zRsPGpVx8Rkq2F6GAuaSIpro=";

struct Capture {
    client_nonce: &'static str,
    server_nonce: &'static str,
    certificate: Option<&'static str>,
    wire: [&'static [u8]; 5],
}

const PLAIN: Capture = Capture {
    client_nonce: "IzJT7ZzOlEGo9b0ncVtGpSrR",
    server_nonce: "dsfYp3MPBQ6+CqmPJN6cFK9l",
    certificate: None,
    wire: [
        b"R\0\0\0\x17\0\0\0\nSCRAM-SHA-256\0\0",
        b"p\0\0\x006SCRAM-SHA-256\0\0\0\0 n,,n=,r=IzJT7ZzOlEGo9b0ncVtGpSrR",
        b"R\0\0\0\\\0\0\0\x0br=IzJT7ZzOlEGo9b0ncVtGpSrRdsfYp3MPBQ6+CqmPJN6cFK9l,\
          s=gpFkHRxCJdQ+kGYneIB1og==,i=4096",
        b"p\0\0\0lc=biws,r=IzJT7ZzOlEGo9b0ncVtGpSrRdsfYp3MPBQ6+CqmPJN6cFK9l,\
          p=4hLUm86AFhFOhcHoK8hMwh4c2PLQUIGOP1ZBKQ5OkDk=",
        b"R\0\0\x006\0\0\0\x0cv=Tai8dh30q+qPRMgrSp3Wsu9cuhoXBMpSw638007Vq9M=",
    ],
};

const PLUS: Capture = Capture {
    client_nonce: "sBvIj/AgqPt45oq82csvKR2m",
    server_nonce: "RaKmv/u/SHKrm9wJw2N/rYsu",
    certificate: Some(CERTIFICATE),
    wire: [
        b"R\0\0\0*\0\0\0\nSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0",
        b"p\0\0\0PSCRAM-SHA-256-PLUS\0\0\0\x005p=tls-server-end-point,,n=,r=sBvIj/AgqPt45oq82csvKR2m",
        b"R\0\0\0\\\0\0\0\x0br=sBvIj/AgqPt45oq82csvKR2mRaKmv/u/SHKrm9wJw2N/rYsu,\
          s=gpFkHRxCJdQ+kGYneIB1og==,i=4096",
        b"p\0\0\0\xb4c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsiWotsStIUap0zYEVHa/zRsPGpVx8Rkq2F6GAuaSIpro=,\
          r=sBvIj/AgqPt45oq82csvKR2mRaKmv/u/SHKrm9wJw2N/rYsu,\
          p=An6wwPVWc0rTIGTyNaCXfobJETAh88XukkbNmMovVFY=",
        b"R\0\0\x006\0\0\0\x0cv=VF6lyn66BCpinBmgjlB2yU3Qmc7B+OiVyxAFpVjnPb4=",
    ],
};

fn nonce(text: &str) -> [u8; NONCE_LEN] {
    STANDARD.decode(text).unwrap().try_into().unwrap()
}

#[test]
fn the_client_writes_what_libpq_wrote() {
    for capture in [PLAIN, PLUS] {
        let binding = capture.certificate.map(|c| STANDARD.decode(c).unwrap());
        let mut up = Upstream::new("app", PASSWORD, nonce(capture.client_nonce), binding);
        let [offer, first, challenge, last, end] = capture.wire;
        assert_eq!(sent(up.on_auth(ask(offer)).unwrap()), first);
        assert_eq!(sent(up.on_auth(ask(challenge)).unwrap()), last);
        assert_eq!(up.on_auth(ask(end)).unwrap(), Action::Wait);
        assert_eq!(up.on_auth(AuthRequest::Ok).unwrap(), Action::Done);
    }
}

#[test]
fn the_server_writes_what_postgresql_wrote() {
    let salt = STANDARD.decode(SALT).unwrap();
    let secret = Arc::new(Secret::derive(PASSWORD.as_bytes(), &salt, 4096));
    for capture in [PLAIN, PLUS] {
        let binding = capture.certificate.map(|c| STANDARD.decode(c).unwrap());
        let mut down = Downstream::new(secret.clone(), nonce(capture.server_nonce), binding);
        let [offer, first, challenge, last, end] = capture.wire;
        assert_eq!(down.offer(), offer);
        assert_eq!(
            continued(down.on_response(body(first, b'p')).unwrap()),
            challenge
        );
        let reply = down.on_response(body(last, b'p')).unwrap();
        assert_eq!(reply, Reply::Accepted(end.to_vec()));
    }
}

#[test]
fn the_client_answers_md5_and_clear_text_as_libpq_did() {
    for (user, request, answer) in [
        (
            "old",
            &b"R\0\0\0\x0c\0\0\0\x05\xe6Ol\x89"[..],
            &b"p\0\0\0(md5b19ebcfec9844d9fe2a74cc1000aa31b\0"[..],
        ),
        (
            "clear",
            b"R\0\0\0\x08\0\0\0\x03",
            b"p\0\0\0\x12correct horse\0",
        ),
    ] {
        let mut up = Upstream::new(user, PASSWORD, NONCE_C, None);
        assert_eq!(sent(up.on_auth(ask(request)).unwrap()), answer);
        let ok = b"R\0\0\0\x08\0\0\0\0";
        assert_eq!(up.on_auth(ask(ok)).unwrap(), Action::Done);
        assert_eq!(authentication_ok(), ok);
    }
}

#[test]
fn a_server_that_trusts_lets_us_in_at_once() {
    let mut up = Upstream::new("app", PASSWORD, NONCE_C, None);
    assert_eq!(up.on_auth(AuthRequest::Ok).unwrap(), Action::Done);
}

/// `pg_authid.rolpassword` after CREATE ROLE … PASSWORD: the server key that
/// PostgreSQL computed says which preparation of the password it used.
#[test]
fn passwords_are_prepared_as_postgresql_prepares_them() {
    let cases = [
        (
            "I\u{ad}X",
            "r1m/0yfstnHmg2xZOxAX0g==",
            "CLH2wv7/BgPqRtYxKP1hYTSpl8wD6qhEdckHbySo+zA=",
        ),
        (
            "pa\u{a0}ss",
            "P8ZRmwxtladXJtTOml91Cw==",
            "tBiFvdRzfH+j1xcFByLf1aMP/O4yehnjbViToW2Y5PI=",
        ),
        (
            "\u{2168}\u{aa}",
            "bhD+/JMKfsZAgZkG3Zd2nA==",
            "QpMhNHv5kxPKSRqxhTCsC4O/Vc+CaO4alc74NBM1MtI=",
        ),
        (
            "a\u{7}b",
            "qkaIb2Q2TAbMXi4aQPe1IA==",
            "jnzVvrE8a5F7bULCIkk+TogVJK/QW9xeZUe08YaUbyI=",
        ),
        (
            "\u{627}1",
            "Ry7ulsXV9fqS1M9NFDG4sw==",
            "svsp9i/KjVSSfnzN0oye64cNkEmQOFpb29v60kfgQGQ=",
        ),
        (
            "\u{221}x",
            "Roui+TZR9o789cKcQnSTTQ==",
            "sEKOk9nMgTKPEC6mWm9k5/EJnR96Je87C/T7xhdxvTY=",
        ),
        (
            &"x".repeat(100),
            "wv4L3BvAlTXnKUypoSV+tQ==",
            "MaXEQw32HQQvIENoB5WYDNVnn8pvGF7gb+koWYgO7ec=",
        ),
        (
            "\u{ad}",
            "NOy33OeDm2dJuh4oAMv9jg==",
            "Ed/rs/S5ceJNbqKELaUIZgGv9HstOLhbhgq3RAXqtVc=",
        ),
    ];
    for (password, salt, server_key) in cases {
        let secret = Secret::derive(password.as_bytes(), &STANDARD.decode(salt).unwrap(), 4096);
        assert_eq!(
            STANDARD.encode(secret.server_key()),
            server_key,
            "{password:?}"
        );
    }
}
