//! The arithmetic of SCRAM-SHA-256 (RFC 5802, RFC 7677), for both roles, and
//! its attribute syntax.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

pub(super) type Hash = [u8; 32];

/// SHA-256's block, the longest HMAC key that is not hashed first.
const BLOCK_LEN: usize = 64;

/// What a SCRAM server keeps of a password: enough to check it, not to use it
/// elsewhere. Deriving one costs `iterations` HMACs, so make it once per
/// password and share it between logins.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    salt: Vec<u8>,
    iterations: u32,
    stored_key: Hash,
    server_key: Hash,
}

impl Secret {
    /// Derives the secret of a password. PostgreSQL uses a salt of 16 random
    /// bytes and 4,096 iterations; zero iterations count as one.
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let iterations = iterations.max(1);
        let salted = salted_password(password, salt, iterations);
        Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: hash(&client_key(&salted)),
            server_key: server_key(&salted),
        }
    }

    pub(super) fn salt(&self) -> &[u8] {
        &self.salt
    }

    #[cfg(test)]
    pub(super) fn server_key(&self) -> &Hash {
        &self.server_key
    }

    pub(super) fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Whether this proof was made with the password.
    pub(super) fn accepts(&self, auth_message: &[u8], proof: &Hash) -> bool {
        let signature = hmac(&self.stored_key, &[auth_message]);
        let key = xor(&signature, proof);
        hash(&key).ct_eq(&self.stored_key).into()
    }

    pub(super) fn server_signature(&self, auth_message: &[u8]) -> Hash {
        hmac(&self.server_key, &[auth_message])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// What a SCRAM client sends at last, and what it expects in return.
pub(super) struct Proof {
    pub(super) client: Hash,
    pub(super) server_signature: Hash,
}

impl Proof {
    pub(super) fn new(password: &[u8], salt: &[u8], iterations: u32, auth_message: &[u8]) -> Self {
        let salted = salted_password(password, salt, iterations);
        let client_key = client_key(&salted);
        let signature = hmac(&hash(&client_key), &[auth_message]);
        Self {
            client: xor(&client_key, &signature),
            server_signature: hmac(&server_key(&salted), &[auth_message]),
        }
    }
}

/// PostgreSQL's rule: SASLprep where the password is UTF-8 that SASLprep
/// accepts and does not empty; the raw bytes otherwise.
fn normalize(password: &[u8]) -> Vec<u8> {
    std::str::from_utf8(password)
        .ok()
        .and_then(|text| stringprep::saslprep(text).ok())
        .filter(|prepared| !prepared.is_empty())
        .map_or_else(|| password.to_vec(), |p| p.into_owned().into_bytes())
}

/// `Hi` of RFC 5802: PBKDF2 with one block.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Hash {
    let mac = keyed(&normalize(password));
    let mut last = mac
        .clone()
        .chain_update(salt)
        .chain_update([0, 0, 0, 1])
        .finalize()
        .into_bytes();
    let mut sum: Hash = last.into();
    for _ in 1..iterations {
        last = mac.clone().chain_update(last).finalize().into_bytes();
        for (to, from) in sum.iter_mut().zip(last) {
            *to ^= from;
        }
    }
    sum
}

fn client_key(salted: &Hash) -> Hash {
    hmac(salted, &[b"Client Key"])
}

fn server_key(salted: &Hash) -> Hash {
    hmac(salted, &[b"Server Key"])
}

fn hash(data: &[u8]) -> Hash {
    Sha256::digest(data).into()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Hash {
    parts
        .iter()
        .fold(keyed(key), |mac, part| mac.chain_update(part))
        .finalize()
        .into_bytes()
        .into()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; BLOCK_LEN];
    let digest: Hash;
    let key = if key.len() > BLOCK_LEN {
        digest = hash(key);
        &digest
    } else {
        key
    };
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new(&block.into())
}

fn xor(a: &Hash, b: &Hash) -> Hash {
    let mut out = *a;
    for (to, from) in out.iter_mut().zip(b) {
        *to ^= from;
    }
    out
}

/// Base64 as SCRAM writes it (RFC 4648, padded).
pub(super) fn encode(data: &[u8]) -> String {
    STANDARD.encode(data)
}

/// Base64 as SCRAM writes it; `None` for anything else.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// A nonce in the form that PostgreSQL uses: Base64 of random bytes.
pub(super) fn printable(nonce: &[u8; super::NONCE_LEN]) -> String {
    encode(nonce)
}

/// A nonce that RFC 5802 allows: printable ASCII without a comma.
pub(super) fn is_nonce(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|b| b.is_ascii_graphic() && b != b',')
}

/// The value of an attribute that has to be next, and what follows its comma
/// (`None`: this was the last).
pub(super) fn attribute(input: Option<&str>, name: char) -> Option<(&str, Option<&str>)> {
    let value = input?.strip_prefix(name)?.strip_prefix('=')?;
    match value.split_once(',') {
        Some((value, rest)) => Some((value, Some(rest))),
        None => Some((value, None)),
    }
}

/// Whether what is left is a list of extensions in valid syntax.
pub(super) fn only_extensions(rest: Option<&str>) -> bool {
    rest.is_none_or(|rest| {
        rest.split(',').all(|part| {
            let mut chars = part.chars();
            chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some('=')
        })
    })
}
