//! A private key that opens nothing.
//!
//! Where Weir logs in with a key of its own, a pod has none; scripts that name a key file still want one
//! that can be read. This one is made by the sidecar, written in OpenSSH's form (`PROTOCOL.key`), and
//! its public half is nowhere: no server can have been told to trust it.

use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const KIND: &[u8] = b"ssh-ed25519";
const COMMENT: &[u8] = b"placeholder of Weir, opens nothing";
/// The cipher `none` pads to this.
const BLOCK: usize = 8;
/// Characters of Base64 in a line.
const LINE: usize = 70;

/// A new key, in PEM.
///
/// # Errors
/// There is no randomness.
pub(crate) fn key() -> std::io::Result<String> {
    let mut random = [0; 36];
    rand::fill(&mut random).map_err(std::io::Error::other)?;
    let (seed, check) = random.split_at(32);
    written(seed, check).map_err(std::io::Error::other)
}

/// The key of a seed of 32 bytes; `check` are four bytes that a reader finds twice.
fn written(seed: &[u8], check: &[u8]) -> Result<String, aws_lc_rs::error::KeyRejected> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed)?;
    let public = pair.public_key().as_ref();
    let mut blob = Vec::new();
    string(&mut blob, KIND);
    string(&mut blob, public);
    let mut secret = [check, check].concat();
    secret.extend_from_slice(&blob);
    string(&mut secret, &[seed, public].concat());
    string(&mut secret, COMMENT);
    for pad in 1..=u8::MAX {
        if secret.len().is_multiple_of(BLOCK) {
            break;
        }
        secret.push(pad);
    }
    let mut key = b"openssh-key-v1\0".to_vec();
    for part in [&b"none"[..], b"none", b""] {
        string(&mut key, part);
    }
    key.extend_from_slice(&1u32.to_be_bytes());
    string(&mut key, &blob);
    string(&mut key, &secret);
    let encoded = STANDARD.encode(key);
    let mut text = "-----BEGIN OPENSSH PRIVATE KEY-----\n".to_owned();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END OPENSSH PRIVATE KEY-----\n");
    Ok(text)
}

/// A length of four bytes, and the bytes (RFC 4251, section 5).
fn string(into: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_seed_gives_the_file_that_openssh_reads() {
        // RFC 8032, section 7.1, test 1. `ssh-keygen -y` of OpenSSH 9.2 read the file of this digest and
        // gave the public key of that test.
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ];
        let text = written(&seed, b"weir").unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let digest: String = digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            digest,
            "96e25636eff401c32cfe63e9621038ee83e7a31dc5fae7e5938d04a5f12be092"
        );
    }

    #[test]
    fn no_two_are_alike() {
        assert_ne!(key().unwrap(), key().unwrap());
    }
}
