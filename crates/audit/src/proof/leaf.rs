//! What engines sign, and what the log says.
//!
//! ```text
//! weir-head/1            weir-range/1                      weir-retention/1
//! ENGINE                 ENGINE                            ENGINE
//! EPOCH SEQUENCE         EPOCH FIRST LAST                  EPOCH LAST
//! HASH                   PREVIOUS                          HASH
//! TIME                   HASH                              NEWEST AT
//!                        FIRST-TIME LAST-TIME RECEIVED     REASON
//!                        EVIDENCE
//! ```
//!
//! Hashes are base64, times microseconds since 1970, each line ends with a newline. EVIDENCE is the hash
//! over certificate chain, head and signature, or one of the words `own` and `none`.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::{from_base64, to_base64};
use crate::frame::{Frame, Hash};
use crate::identity::EngineId;
use crate::text::Timestamp;

const HEAD: &str = "weir-head/1";
const RANGE: &str = "weir-range/1";
const RETENTION: &str = "weir-retention/1";

/// The head of an engine's chain at a time, as its engine signs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The engine.
    pub engine: EngineId,
    /// The epoch of the last event.
    pub epoch: u32,
    /// Its sequence number.
    pub seq: u64,
    /// The link of its frame, which covers everything before it.
    pub hash: Hash,
    /// When it was signed, by the engine's clock.
    pub time: Timestamp,
}

impl Head {
    /// The head that `frame` is.
    #[must_use]
    pub fn of(engine: &EngineId, frame: &Frame, time: Timestamp) -> Self {
        Self {
            engine: engine.clone(),
            epoch: frame.epoch(),
            seq: frame.last_seq(),
            hash: frame.hash(),
            time,
        }
    }

    /// What is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{HEAD}\n{}\n{} {}\n{}\n{}\n",
            self.engine,
            self.epoch,
            self.seq,
            to_base64(&self.hash),
            self.time.as_micros()
        )
    }

    /// What binds a leaf to a signature of this head and the certificates of its key.
    #[must_use]
    pub fn evidence<'a>(
        &self,
        signature: &[u8],
        chain: impl IntoIterator<Item = &'a [u8]>,
    ) -> Hash {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(bytes);
        };
        part(self.text().as_bytes());
        part(signature);
        chain.into_iter().for_each(part);
        Hash(hash.finalize().into())
    }
}

/// What vouches for a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A signature of its engine: [`Head::evidence`].
    Signed(Hash),
    /// The log itself: its collector's own events.
    Own,
    /// Nothing: it was handed in within the process without a signature.
    None,
}

/// A run of linked frames of one engine and epoch, as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeLeaf {
    /// The engine.
    pub engine: EngineId,
    /// The epoch.
    pub epoch: u32,
    /// Sequence number of the first event.
    pub first_seq: u64,
    /// Sequence number of the last event.
    pub last_seq: u64,
    /// The link before the first frame.
    pub previous: Hash,
    /// The link of the last frame.
    pub hash: Hash,
    /// The earliest time of an event, by the engine's clock.
    pub first_time: Timestamp,
    /// The latest time of an event, by the engine's clock.
    pub last_time: Timestamp,
    /// When it was accepted, by the collector's clock.
    pub received: Timestamp,
    /// What vouches for it.
    pub evidence: Evidence,
}

/// Everything of an engine up to an event was deleted by retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionLeaf {
    /// The engine.
    pub engine: EngineId,
    /// The epoch of the last event that was deleted.
    pub epoch: u32,
    /// Its sequence number.
    pub last_seq: u64,
    /// The link of its frame.
    pub hash: Hash,
    /// The latest time of an event of the last block that was deleted.
    pub newest: Timestamp,
    /// When, by the collector's clock.
    pub at: Timestamp,
    /// Which bound was reached, such as `age 7776000s` or `size 17179869184`.
    pub reason: String,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Events were accepted.
    Range(RangeLeaf),
    /// Events were deleted.
    Retention(RetentionLeaf),
}

/// Bytes that are not a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an entry of the log")]
pub struct LeafError;

impl Leaf {
    /// Whose events it is about.
    #[must_use]
    pub fn engine(&self) -> &EngineId {
        match self {
            Self::Range(range) => &range.engine,
            Self::Retention(deleted) => &deleted.engine,
        }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => {
                writeln!(f, "{RANGE}\n{}", range.engine)?;
                writeln!(f, "{} {} {}", range.epoch, range.first_seq, range.last_seq)?;
                writeln!(f, "{}", to_base64(&range.previous))?;
                writeln!(f, "{}", to_base64(&range.hash))?;
                let times = [range.first_time, range.last_time, range.received];
                let [first, last, received] = times.map(Timestamp::as_micros);
                writeln!(f, "{first} {last} {received}")?;
                match &range.evidence {
                    Evidence::Signed(hash) => f.write_str(&to_base64(hash))?,
                    Evidence::Own => f.write_str("own")?,
                    Evidence::None => f.write_str("none")?,
                }
                f.write_char('\n')
            }
            Self::Retention(deleted) => {
                writeln!(f, "{RETENTION}\n{}", deleted.engine)?;
                writeln!(f, "{} {}", deleted.epoch, deleted.last_seq)?;
                writeln!(f, "{}", to_base64(&deleted.hash))?;
                let (newest, at) = (deleted.newest.as_micros(), deleted.at.as_micros());
                writeln!(f, "{newest} {at}\n{}", deleted.reason)
            }
        }
    }
}

impl FromStr for Leaf {
    type Err = LeafError;

    fn from_str(text: &str) -> Result<Self, LeafError> {
        let leaf = read(text).ok_or(LeafError)?;
        // Numbers with leading zeros and the like would be a second form.
        (leaf.to_string() == text).then_some(leaf).ok_or(LeafError)
    }
}

fn read(text: &str) -> Option<Leaf> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let kind = lines.next()?;
    let engine = lines.next()?.parse().ok()?;
    let mut place = lines.next()?.split(' ');
    let epoch = place.next()?.parse().ok()?;
    let leaf = match kind {
        RANGE => {
            let (first_seq, last_seq) = (number(place.next())?, number(place.next())?);
            let previous = from_base64(lines.next()?)?;
            let hash = from_base64(lines.next()?)?;
            let mut times = lines.next()?.split(' ');
            let mut time = || number(times.next()).map(Timestamp::from_micros);
            let (first_time, last_time, received) = (time()?, time()?, time()?);
            let evidence = match lines.next()? {
                "own" => Evidence::Own,
                "none" => Evidence::None,
                hash => Evidence::Signed(from_base64(hash)?),
            };
            if first_seq == 0 || last_seq < first_seq {
                return None;
            }
            Leaf::Range(RangeLeaf {
                engine,
                epoch,
                first_seq,
                last_seq,
                previous,
                hash,
                first_time,
                last_time,
                received,
                evidence,
            })
        }
        RETENTION => {
            let last_seq = number(place.next())?;
            let hash = from_base64(lines.next()?)?;
            let mut times = lines.next()?.split(' ');
            let mut time = || number(times.next()).map(Timestamp::from_micros);
            let (newest, at) = (time()?, time()?);
            Leaf::Retention(RetentionLeaf {
                engine,
                epoch,
                last_seq,
                hash,
                newest,
                at,
                reason: lines.next()?.to_owned(),
            })
        }
        _ => return None,
    };
    lines.next().is_none().then_some(leaf)
}

fn number(text: Option<&str>) -> Option<u64> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range() -> RangeLeaf {
        RangeLeaf {
            engine: "pod_1".parse().unwrap(),
            epoch: 2,
            first_seq: 10,
            last_seq: 19,
            previous: Hash([1; 32]),
            hash: Hash([2; 32]),
            first_time: Timestamp::from_micros(5),
            last_time: Timestamp::from_micros(7),
            received: Timestamp::from_micros(9),
            evidence: Evidence::Signed(Hash([3; 32])),
        }
    }

    #[test]
    fn a_leaf_is_read_back_as_it_was_written_and_in_no_other_form() {
        let deleted = Leaf::Retention(RetentionLeaf {
            engine: "pod_1".parse().unwrap(),
            epoch: 1,
            last_seq: 4,
            hash: Hash([8; 32]),
            newest: Timestamp::from_micros(1),
            at: Timestamp::from_micros(2),
            reason: "age 60s".into(),
        });
        let words = [Evidence::Own, Evidence::None];
        let ranges = words.map(|evidence| {
            Leaf::Range(RangeLeaf {
                evidence,
                ..range()
            })
        });
        for leaf in ranges.into_iter().chain([Leaf::Range(range()), deleted]) {
            let text = leaf.to_string();
            assert_eq!(text.parse(), Ok(leaf));
            for at in 0..text.len() {
                assert_eq!(text[..at].parse::<Leaf>(), Err(LeafError), "{at}");
            }
            for other in [
                text.replacen(" 1", " 01", 1),
                text.replacen('\n', "\r\n", 1),
                format!("{text}\n"),
                text.replacen(' ', "  ", 1),
            ] {
                if other != text {
                    assert_eq!(other.parse::<Leaf>(), Err(LeafError), "{other:?}");
                }
            }
        }
    }

    #[test]
    fn evidence_covers_head_signature_and_certificates_and_where_each_ends() {
        let head = Head {
            engine: "pod_1".parse().unwrap(),
            epoch: 1,
            seq: 2,
            hash: Hash([4; 32]),
            time: Timestamp::from_micros(3),
        };
        let chain: [&[u8]; 2] = [b"leaf", b"root"];
        let whole = head.evidence(b"signature", chain);
        let later = Head {
            time: Timestamp::from_micros(4),
            ..head.clone()
        };
        assert_ne!(later.evidence(b"signature", chain), whole);
        assert_ne!(head.evidence(b"signaturel", [&b"eaf"[..], b"root"]), whole);
        assert_ne!(head.evidence(b"signature", [&b"leafr"[..], b"oot"]), whole);
        assert_ne!(head.evidence(b"signature", [&b"leaf"[..]]), whole);
    }
}
