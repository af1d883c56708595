//! A trust store that every JVM reads: version 2 of the format JKS, of certificates only.
//!
//! The format is the JDK's own (`sun.security.provider.JavaKeyStore`), all numbers big-endian:
//! magic, version and count of entries; for each the kind, an alias, milliseconds since 1970, the
//! kind of certificate and its DER; at the end SHA-1 over a password and all of that. JVMs from 9 on
//! expect PKCS#12 and take JKS as well; those before expect JKS. The password protects nothing, and
//! a JVM that is given none skips the digest: it is the one that the JDK's own store has.
//!
//! Refuses: to hold keys.

use std::io;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// The password of the JDK's own `cacerts`.
const PASSWORD: &str = "changeit";
/// What the digest begins with after the password.
const WHITENER: &[u8] = b"Mighty Aphrodite";
const MAGIC: u32 = 0xFEED_FEED;
const VERSION: u32 = 2;
/// An entry that is a certificate to trust.
const TRUSTED: u32 = 2;
const KIND: &str = "X.509";

/// The store of these certificates in DER; equal certificates give equal bytes.
///
/// # Errors
/// There are more of them, or more bytes in one, than the format can say.
pub(super) fn jks<'a, C: AsRef<[u8]> + 'a>(
    certificates: impl ExactSizeIterator<Item = &'a C>,
) -> io::Result<Vec<u8>> {
    let mut store = Vec::with_capacity(192 << 10);
    store.extend(MAGIC.to_be_bytes());
    store.extend(VERSION.to_be_bytes());
    store.extend(length(certificates.len())?);
    for (number, certificate) in certificates.enumerate() {
        let der = certificate.as_ref();
        store.extend(TRUSTED.to_be_bytes());
        text(&format!("weir-{number}"), &mut store)?;
        store.extend(0_u64.to_be_bytes());
        text(KIND, &mut store)?;
        store.extend(length(der.len())?);
        store.extend(der);
    }
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for unit in PASSWORD.encode_utf16() {
        digest.update(&unit.to_be_bytes());
    }
    digest.update(WHITENER);
    digest.update(&store);
    store.extend(digest.finish().as_ref());
    Ok(store)
}

fn length(length: usize) -> io::Result<[u8; 4]> {
    let length = u32::try_from(length).map_err(io::Error::other)?;
    Ok(length.to_be_bytes())
}

/// A text as Java's `writeUTF` writes it, which for ASCII is its bytes after their number.
fn text(text: &str, into: &mut Vec<u8>) -> io::Result<()> {
    let length = u16::try_from(text.len()).map_err(io::Error::other)?;
    into.extend(length.to_be_bytes());
    into.extend(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_store_is_what_the_jdk_writes() {
        // KeyStore.getInstance("JKS") of OpenJDK 17, stored with the password changeit.
        let jdk = b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\0\xe2hnE\xfbC\xdf\xa4\xd9\x92\xddA\xce\xb6\xb2\x1cc0\xd7\x92";
        let none: [&[u8]; 0] = [];
        assert_eq!(jks(none.iter()).unwrap(), jdk);
    }

    #[test]
    fn entries_follow_one_another_and_the_digest_covers_them() {
        let store = jks([&b"one"[..], &b"three"[..]].iter()).unwrap();
        let mut expected = vec![0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 2];
        for (alias, der) in [(b"\0\x06weir-0", &b"one"[..]), (b"\0\x06weir-1", b"three")] {
            expected.extend([0, 0, 0, 2]);
            expected.extend(alias);
            expected.extend([0; 8]);
            expected.extend(b"\0\x05X.509\0\0\0");
            expected.push(der.len() as u8);
            expected.extend(der);
        }
        let (content, digest) = store.split_at(store.len() - 20);
        assert_eq!(content, expected);
        let other = jks([&b"one"[..], &b"thref"[..]].iter()).unwrap();
        assert_ne!(&other[other.len() - 20..], digest);
    }
}
