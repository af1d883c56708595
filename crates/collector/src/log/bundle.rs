//! A bundle of evidence: everything that it takes to verify a part of the log without the store.
//!
//! ```text
//! weir-evidence/2 LF, then sections: tag (1 byte), length (4 bytes, big-endian), content
//!
//! m  manifest, JSON             R  a root certificate, DER     C  a certificate chain
//! c  the checkpoint, a note     k  another checkpoint, a note  o  consistency with an older one
//! l  number (8), entry's text   s  signature of the entry before
//! p  proof: hashes of 32 bytes  b  a block of frames           e  the end: a note over all of it
//! ```
//!
//! Sections come in this order, blocks by engine and place in its chain; `m`, `c`, `p` and `e` come once. A file
//! that does not end with `e` was cut off, and nothing comes behind it. The reader holds one section in memory,
//! bounds its length before it makes room, and takes nothing on trust: what a bundle proves is decided by the
//! signatures of its checkpoint and of its end ([`super::seal`]).

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use weir_audit::proof::{Head, Note, VerifierKey};
use weir_audit::{Digest, EngineId, Hash, Timestamp};

use super::seal::Ending;

const MAGIC: &[u8] = b"weir-evidence/2\n";
/// Nobody signed what a bundle of this form holds.
const UNSIGNED: &[u8] = b"weir-evidence/1\n";
/// The longest section.
const MAX_SECTION: u32 = 300 << 20;

/// What a bundle is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The log's name.
    pub origin: String,
    /// The log's key as the collector states it: `NAME+ID+KEY`.
    pub key: String,
    /// The log's size when the bundle was made.
    pub size: u64,
    /// The first entry that is included with every one up to `end`.
    pub first: u64,
    /// The first entry after these.
    pub end: u64,
    /// Events at or after this time were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Events before this time were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When the bundle was made, by the collector's clock.
    pub made: Timestamp,
}

/// Why a bundle cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file failed.
    #[error("the bundle cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else, or in a form that this version does not know.
    #[error("this is not a bundle of evidence: {0}")]
    Form(&'static str),
    /// It ends too early.
    #[error("the bundle is not whole: it was cut off")]
    Cut,
    /// It arrived with other bytes than it was made of.
    #[error("the bundle is not as it was made: it was changed on its way")]
    Changed,
    /// An older form: what was taken out of it cannot be told.
    #[error(
        "nobody signed what this bundle holds (its form is weir-evidence/1), so it cannot be shown to be complete: \
         export it again"
    )]
    Unsigned,
}

/// One piece of a bundle.
#[derive(Debug)]
pub(crate) enum Section {
    Manifest(Manifest),
    Root(Vec<u8>),
    Chain(Vec<u8>),
    Checkpoint(String),
    Other(String),
    /// That the log of so many entries is the beginning of this one.
    Consistency(u64, Vec<Hash>),
    Leaf(u64, String),
    Signature(SignatureAt),
    Proof(Vec<Hash>),
    Block(BlockAt),
}

/// A signature of the leaf before it.
#[derive(Debug)]
pub(crate) struct SignatureAt {
    pub(crate) epoch: u32,
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
    pub(crate) time: u64,
    /// Which chain of the bundle, from 0.
    pub(crate) chain: u32,
    pub(crate) bytes: Vec<u8>,
}

impl SignatureAt {
    pub(crate) fn head(&self, engine: &EngineId) -> Head {
        Head {
            engine: engine.clone(),
            epoch: self.epoch,
            seq: self.seq,
            hash: self.hash,
            time: Timestamp::from_micros(self.time),
        }
    }
}

/// A block as it is at rest.
#[derive(Debug)]
pub(crate) struct BlockAt {
    pub(crate) engine: String,
    pub(crate) name: i64,
    pub(crate) epoch: u32,
    pub(crate) first_seq: u64,
    /// Its length once it is unpacked.
    pub(crate) raw: i64,
    pub(crate) data: Vec<u8>,
}

/// Writes a bundle, section by section.
pub(crate) struct BundleWriter<W> {
    out: W,
    content: Sha256,
    sections: u64,
}

impl<W: Write> BundleWriter<W> {
    pub(crate) fn new(out: W) -> io::Result<Self> {
        let mut writer = Self {
            out,
            content: Sha256::new(),
            sections: 0,
        };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.content.update(bytes);
        self.out.write_all(bytes)
    }

    pub(crate) fn put(&mut self, section: &Section) -> io::Result<()> {
        let mut bytes = Vec::new();
        let tag = match section {
            Section::Manifest(manifest) => {
                bytes = serde_json::to_vec(manifest)?;
                b'm'
            }
            Section::Root(der) => return self.raw(b'R', der),
            Section::Chain(packed) => return self.raw(b'C', packed),
            Section::Checkpoint(note) => return self.raw(b'c', note.as_bytes()),
            Section::Other(note) => return self.raw(b'k', note.as_bytes()),
            Section::Consistency(size, proof) => {
                bytes.extend_from_slice(&size.to_be_bytes());
                proof
                    .iter()
                    .for_each(|hash| bytes.extend_from_slice(&hash.0));
                b'o'
            }
            Section::Leaf(number, text) => {
                bytes.extend_from_slice(&number.to_be_bytes());
                bytes.extend_from_slice(text.as_bytes());
                b'l'
            }
            Section::Signature(signature) => {
                bytes.extend_from_slice(&signature.epoch.to_be_bytes());
                bytes.extend_from_slice(&signature.seq.to_be_bytes());
                bytes.extend_from_slice(&signature.hash.0);
                bytes.extend_from_slice(&signature.time.to_be_bytes());
                bytes.extend_from_slice(&signature.chain.to_be_bytes());
                bytes.extend_from_slice(&signature.bytes);
                b's'
            }
            Section::Proof(proof) => {
                proof
                    .iter()
                    .for_each(|hash| bytes.extend_from_slice(&hash.0));
                b'p'
            }
            Section::Block(block) => {
                let length = u8::try_from(block.engine.len()).map_err(io::Error::other)?;
                bytes.push(length);
                bytes.extend_from_slice(block.engine.as_bytes());
                bytes.extend_from_slice(&block.name.to_be_bytes());
                bytes.extend_from_slice(&block.epoch.to_be_bytes());
                bytes.extend_from_slice(&block.first_seq.to_be_bytes());
                bytes.extend_from_slice(&block.raw.to_be_bytes());
                bytes.extend_from_slice(&block.data);
                b'b'
            }
        };
        self.raw(tag, &bytes)
    }

    fn raw(&mut self, tag: u8, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|length| *length <= MAX_SECTION);
        let length = length.ok_or_else(|| io::Error::other("a section is too long"))?;
        self.write(&[tag])?;
        self.write(&length.to_be_bytes())?;
        self.write(bytes)?;
        self.sections += 1;
        Ok(())
    }

    /// Ends it with a signature over how many sections there are and the hash of everything so far.
    pub(crate) fn end(mut self, sign: impl FnOnce((u64, Digest)) -> Note) -> io::Result<()> {
        let content = Digest(self.content.clone().finalize().into());
        let note = sign((self.sections, content)).to_string();
        self.raw(b'e', note.as_bytes())?;
        self.out.flush()
    }
}

/// Reads a bundle, section by section.
pub(crate) struct BundleReader<R> {
    from: R,
    content: Sha256,
    sections: u64,
    newest: u8,
    ending: Option<Ending>,
}

/// Tags in their order, and which of them come once.
const ORDER: &[u8] = b"mRCckolpbe";
const ONCE: &[u8] = b"mcpe";

impl<R: Read> BundleReader<R> {
    pub(crate) fn new(mut from: R) -> Result<Self, BundleError> {
        let mut magic = [0; MAGIC.len()];
        match from.read_exact(&mut magic) {
            Ok(()) if magic == MAGIC => {}
            Ok(()) if magic == UNSIGNED => return Err(BundleError::Unsigned),
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error.into()),
            _ => return Err(BundleError::Form("it does not begin as one")),
        }
        Ok(Self {
            from,
            content: Sha256::new_with_prefix(magic),
            sections: 0,
            newest: 0,
            ending: None,
        })
    }

    /// The end, once it was reached.
    pub(crate) fn ending(self) -> Result<Ending, BundleError> {
        self.ending.ok_or(BundleError::Cut)
    }

    /// The next section; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Section>, BundleError> {
        if self.ending.is_some() {
            return Ok(None);
        }
        let mut header = [0; 5];
        self.read(&mut header)?;
        let [tag, length @ ..] = header;
        let length = u32::from_be_bytes(length);
        if length > MAX_SECTION {
            return Err(BundleError::Form("a section is longer than allowed"));
        }
        // Grows with what comes, so that a length alone takes no memory.
        let mut bytes = Vec::new();
        let read = (&mut self.from)
            .take(u64::from(length))
            .read_to_end(&mut bytes)?;
        if read as u64 != u64::from(length) {
            return Err(BundleError::Cut);
        }
        self.in_order(tag)?;
        if tag == b'e' {
            self.end(&bytes)?;
            return Ok(None);
        }
        self.content.update(header);
        self.content.update(&bytes);
        self.sections += 1;
        let section = parse(tag, bytes).ok_or(BundleError::Form("a section cannot be read"))?;
        Ok(Some(section))
    }

    fn in_order(&mut self, tag: u8) -> Result<(), BundleError> {
        // A signature is of the entry before it.
        let place = if tag == b's' { b'l' } else { tag };
        let at = |tag: u8| ORDER.iter().position(|known| *known == tag);
        let place = at(place).ok_or(BundleError::Form("a section cannot be read"))?;
        let before = at(self.newest);
        let again = before == Some(place) && ONCE.contains(&tag);
        if again || before.is_some_and(|before| place < before) {
            return Err(BundleError::Form("its sections are not in order"));
        }
        self.newest = if tag == b's' { b'l' } else { tag };
        Ok(())
    }

    /// Reads the end, behind which there is nothing.
    fn end(&mut self, note: &[u8]) -> Result<(), BundleError> {
        const FORM: BundleError = BundleError::Form("its end cannot be read");
        let note = std::str::from_utf8(note).ok().and_then(|note| {
            let read: Note = note.parse().ok()?;
            (read.to_string() == note).then_some(read)
        });
        let ending = Ending {
            note: note.ok_or(FORM)?,
            sections: self.sections,
            content: Digest(self.content.clone().finalize().into()),
        };
        if self.from.read(&mut [0])? != 0 {
            return Err(BundleError::Form("there is more behind its end"));
        }
        self.ending = Some(ending);
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), BundleError> {
        self.from
            .read_exact(into)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => BundleError::Cut,
                _ => BundleError::Io(error),
            })
    }
}

/// Reads a bundle to its end without judging who made it.
///
/// # Errors
/// When it is not a bundle, not whole, or not as it was made.
pub fn read_bundle(from: impl Read) -> Result<Manifest, BundleError> {
    let mut reader = BundleReader::new(from)?;
    let Some(Section::Manifest(manifest)) = reader.next()? else {
        return Err(BundleError::Form("it does not say what it is of"));
    };
    if manifest.key.parse::<VerifierKey>().is_err() {
        return Err(BundleError::Form("it names no key of the log"));
    }
    while reader.next()?.is_some() {}
    if reader.ending()?.is_whole() {
        Ok(manifest)
    } else {
        Err(BundleError::Changed)
    }
}

fn parse(tag: u8, bytes: Vec<u8>) -> Option<Section> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    let mut rest = bytes.as_slice();
    let section = match tag {
        b'm' => Section::Manifest(serde_json::from_slice(&bytes).ok()?),
        b'R' => Section::Root(bytes),
        b'C' => Section::Chain(bytes),
        b'c' => Section::Checkpoint(text(bytes)?),
        b'k' => Section::Other(text(bytes)?),
        b'o' => {
            let size = u64::from_be_bytes(*take(&mut rest)?);
            Section::Consistency(size, hashes(rest)?)
        }
        b'l' => {
            let number = u64::from_be_bytes(*take(&mut rest)?);
            Section::Leaf(number, String::from_utf8(rest.to_vec()).ok()?)
        }
        b's' => Section::Signature(SignatureAt {
            epoch: u32::from_be_bytes(*take(&mut rest)?),
            seq: u64::from_be_bytes(*take(&mut rest)?),
            hash: Hash(*take(&mut rest)?),
            time: u64::from_be_bytes(*take(&mut rest)?),
            chain: u32::from_be_bytes(*take(&mut rest)?),
            bytes: rest.to_vec(),
        }),
        b'p' => Section::Proof(hashes(rest)?),
        b'b' => {
            let [length] = *take::<1>(&mut rest)?;
            let (engine, behind) = rest.split_at_checked(usize::from(length))?;
            rest = behind;
            Section::Block(BlockAt {
                engine: String::from_utf8(engine.to_vec()).ok()?,
                name: i64::from_be_bytes(*take(&mut rest)?),
                epoch: u32::from_be_bytes(*take(&mut rest)?),
                first_seq: u64::from_be_bytes(*take(&mut rest)?),
                raw: i64::from_be_bytes(*take(&mut rest)?),
                data: rest.to_vec(),
            })
        }
        _ => return None,
    };
    Some(section)
}

fn take<'b, const N: usize>(bytes: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(first)
}

fn hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, []) = bytes.as_chunks::<32>() else {
        return None;
    };
    Some(hashes.iter().copied().map(Hash).collect())
}
