//! `tls-server-end-point` channel bindings (RFC 5929, section 4.1).
//!
//! The hash of a certificate, by the hash of its own signature; MD5 and SHA-1
//! count as SHA-256. Refuses (`None`) where the RFC defines nothing: Ed25519,
//! RSA-PSS with parameters of its own, or bytes that are not a certificate.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// 1.2.840.113549.1.1: PKCS #1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.2.840.10045.4: ECDSA signatures.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];

/// The binding of the server at the other end of an originated session.
pub fn peer_end_point(stream: &TlsStream<TcpStream>) -> Option<Vec<u8>> {
    end_point_hash(stream.get_ref().1.peer_certificates()?.first()?)
}

/// The binding of a certificate in DER.
pub fn end_point_hash(certificate: &[u8]) -> Option<Vec<u8>> {
    let oid = signature_algorithm(certificate)?;
    if let Some(rest) = oid.strip_prefix(RSA) {
        return match rest {
            [4 | 5 | 11] => Some(Sha256::digest(certificate).to_vec()),
            [12] => Some(Sha384::digest(certificate).to_vec()),
            [13] => Some(Sha512::digest(certificate).to_vec()),
            [14] => Some(Sha224::digest(certificate).to_vec()),
            _ => None,
        };
    }
    match oid.strip_prefix(ECDSA)? {
        [1] | [3, 2] => Some(Sha256::digest(certificate).to_vec()),
        [3, 1] => Some(Sha224::digest(certificate).to_vec()),
        [3, 3] => Some(Sha384::digest(certificate).to_vec()),
        [3, 4] => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

/// `Certificate ::= SEQUENCE { tbs, SEQUENCE { algorithm OID, … }, … }`.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (_tbs, rest) = element(certificate, SEQUENCE)?;
    let (algorithm, _) = element(rest, SEQUENCE)?;
    Some(element(algorithm, OBJECT_IDENTIFIER)?.0)
}

/// One DER element of the given tag: its content, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = digits
                .iter()
                .fold(0_u32, |len, digit| len << 8 | u32::from(*digit));
            (usize::try_from(len).ok()?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(len)
}
