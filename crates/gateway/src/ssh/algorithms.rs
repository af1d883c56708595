//! Which algorithms are spoken, and the bounds of a session.
//!
//! Modern ones only: no SHA-1, no CBC, no DSA, no `none`. Both sides insist on the strict key
//! exchange where the peer knows it, which closes the truncation of the first messages
//! (CVE-2023-48795). Keys are exchanged anew every gigabyte or hour.

use std::borrow::Cow;
use std::time::Duration;

use russh::keys::{Algorithm, Certificate, PrivateKey};
use russh::{Limits, MethodKind, MethodSet, Preferred, SshId, cipher, compression};

use super::host::HostCheck;

/// What peers see.
const ID: &str = concat!("SSH-2.0-Weir_", env!("CARGO_PKG_VERSION"));
/// What clients are told: towards what calls itself so they do all that they would towards the server
/// behind, such as saying that they will open no session (`PROTOCOL` of OpenSSH, 2.2).
const SERVER_ID: &str = concat!("SSH-2.0-OpenSSH_9.9 Weir_", env!("CARGO_PKG_VERSION"));
const REKEY_BYTES: usize = 1 << 30;
const REKEY_TIME: Duration = Duration::from_secs(3600);
/// Beyond it what arrives in the middle of a key exchange ends the session.
const WINDOW: u32 = 32 << 20;

/// Towards servers the first cipher that both know is used.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

fn preferred() -> Preferred {
    Preferred {
        cipher: Cow::Borrowed(CIPHERS),
        ..Preferred::default()
    }
}

fn limits() -> Limits {
    Limits::new(REKEY_BYTES, REKEY_BYTES, REKEY_TIME)
}

/// Towards the server: nothing is compressed twice.
pub(super) fn client(check: &HostCheck) -> russh::client::Config {
    let algorithms = check.algorithms();
    let certificates = match check.has_authorities() {
        true => russh::Preferred::DEFAULT
            .key
            .iter()
            .filter(|algorithm| !matches!(algorithm, Algorithm::Rsa { hash: None }))
            .cloned()
            .collect(),
        false => Vec::new(),
    };
    russh::client::Config {
        client_id: SshId::Standard(Cow::Borrowed(ID)),
        limits: limits(),
        window_size: WINDOW,
        preferred: Preferred {
            key: Cow::Owned(algorithms),
            host_key_certificates: Cow::Owned(certificates),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..preferred()
        },
        nodelay: true,
        ..russh::client::Config::default()
    }
}

/// Towards the client.
pub(super) fn server(keys: &[PrivateKey], certificates: Vec<Certificate>) -> russh::server::Config {
    russh::server::Config {
        server_id: SshId::Standard(Cow::Borrowed(SERVER_ID)),
        methods: MethodSet::from(
            [
                MethodKind::None,
                MethodKind::PublicKey,
                MethodKind::Password,
                MethodKind::KeyboardInteractive,
            ]
            .as_slice(),
        ),
        auth_rejection_time: Duration::from_millis(100),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: keys.to_vec(),
        certificates,
        limits: limits(),
        window_size: WINDOW,
        preferred: preferred(),
        max_auth_attempts: 20,
        inactivity_timeout: None,
        nodelay: true,
        ..russh::server::Config::default()
    }
}
