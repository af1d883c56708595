//! Files that went through a session, by SFTP, scp and their like.
//!
//! Invariant: a digest is of the bytes that Weir saw go by, in the file's order; where it saw them
//! in another order, or only a compressed or delta form of them, there is none.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::text::ParseError;

/// One file moved, in whole or in part; exactly one per file that was opened and moved bytes, and
/// one per empty file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTransferred {
    /// The number of the statement that it belongs to.
    pub statement: u64,
    /// Its path on the server; bytes that are not UTF-8 are replaced.
    pub path: Arc<str>,
    /// Which way it went.
    pub direction: Direction,
    /// How it was moved.
    pub protocol: TransferProtocol,
    /// Where its first byte stands in the file; not 0 when a transfer was resumed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: u64,
    /// Bytes of it that went by.
    pub bytes: u64,
    /// SHA-256 of those bytes, where they came in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Whether it was moved to its end, as far as the protocol shows.
    pub complete: bool,
    /// Its permission bits, where the protocol states them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Which way a file went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the server to the client.
    #[default]
    Download,
    /// From the client to the server.
    Upload,
}

impl Direction {
    /// `download` or `upload`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
        }
    }
}

/// How a file was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferProtocol {
    /// The `sftp` subsystem.
    #[default]
    Sftp,
    /// The rcp protocol under `scp`.
    Scp,
    /// `rsync --server`: counted, not decoded.
    Rsync,
    /// `git-upload-pack` and its like: counted, not decoded.
    Git,
}

impl TransferProtocol {
    /// `sftp`, `scp`, `rsync` or `git`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sftp => "sftp",
            Self::Scp => "scp",
            Self::Rsync => "rsync",
            Self::Git => "git",
        }
    }
}

/// A SHA-256 digest; 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::new("SHA-256", text);
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut digest = [0; 32];
        if pairs.len() != digest.len() || !rest.is_empty() {
            return Err(bad());
        }
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(bad);
            *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).map_err(|_| bad())?;
        }
        Ok(Self(digest))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Digests a file as its pieces go by. Holds no piece back: one that does not follow the one before
/// ends the digest, not the count.
#[derive(Clone, Debug, Default)]
pub struct FileDigest {
    sha256: Sha256,
    start: Option<u64>,
    next: u64,
    bytes: u64,
    scattered: bool,
}

impl FileDigest {
    /// Takes a piece that stands at `offset` in the file.
    pub fn feed(&mut self, offset: u64, piece: &[u8]) {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if self.start.is_none() {
            self.start = Some(offset);
            self.next = offset;
        }
        self.bytes = self.bytes.saturating_add(length);
        self.scattered |= offset != self.next;
        if !self.scattered {
            self.sha256.update(piece);
            self.next = self.next.saturating_add(length);
        }
    }

    /// Where the first piece stood; 0 if there was none.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.start.unwrap_or(0)
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of the pieces; `None` if they did not come in order.
    #[must_use]
    pub fn finish(self) -> Option<Digest> {
        (!self.scattered).then(|| Digest(self.sha256.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn digest(pieces: &[(u64, &[u8])]) -> (u64, u64, Option<String>) {
        let mut digest = FileDigest::default();
        for (offset, piece) in pieces {
            digest.feed(*offset, piece);
        }
        let (offset, bytes) = (digest.offset(), digest.bytes());
        (
            offset,
            bytes,
            digest.finish().map(|digest| digest.to_string()),
        )
    }

    #[test]
    fn pieces_in_order_have_the_digest_of_the_file() {
        assert_eq!(digest(&[(0, b"abc")]), (0, 3, Some(ABC.into())));
        assert_eq!(
            digest(&[(0, b"a"), (1, b""), (1, b"bc")]),
            (0, 3, Some(ABC.into()))
        );
        assert_eq!(digest(&[]), (0, 0, Some(EMPTY.into())));
    }

    #[test]
    fn a_resumed_transfer_has_the_digest_of_what_went_by() {
        assert_eq!(digest(&[(7, b"ab"), (9, b"c")]), (7, 3, Some(ABC.into())));
    }

    #[test]
    fn pieces_out_of_order_twice_or_with_a_hole_are_counted_and_not_digested() {
        for pieces in [
            &[(0, &b"a"[..]), (2, b"c"), (1, b"b")][..],
            &[(0, b"a"), (0, b"a"), (1, b"b")],
            &[(0, b"ab"), (3, b"c")],
        ] {
            assert_eq!(digest(pieces), (0, 3, None));
        }
        assert_eq!(digest(&[(u64::MAX, b"a"), (0, b"b")]), (u64::MAX, 2, None));
    }

    #[test]
    fn a_digest_survives_its_text_and_nothing_else_is_one() {
        let digest: Digest = ABC.parse().unwrap();
        assert_eq!(digest.to_string(), ABC);
        let long = format!("{ABC}0");
        for bad in [
            "",
            &ABC[1..],
            &long,
            &ABC.replace('b', "g"),
            &ABC.replacen("ba", "é", 1),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
