//! Signed notes and the checkpoints in them (C2SP signed-note, tlog-checkpoint, tlog-cosignature).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::{from_base64, to_base64};
use crate::frame::Hash;

/// Lines with signatures that a reader takes.
const MAX_SIGNATURES: usize = 100;
const MAX_NOTE: usize = 1 << 20;
/// Kinds of signatures by the byte that the specification gives them.
const ED25519: u8 = 1;
const COSIGNATURE: u8 = 4;

/// Text that is not a note, a checkpoint or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a signed {0}")]
pub struct NoteError(pub &'static str);

/// A text and signatures of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The text, with its last newline.
    pub text: String,
    /// Signatures in order.
    pub signatures: Vec<NoteSignature>,
}

/// One signature of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's number, as [`key_id`] makes it.
    pub id: u32,
    /// The signature; of a cosignature, its time before it.
    pub bytes: Vec<u8>,
}

impl Note {
    /// Adds the signature lines of a witness's answer, which are not verified yet.
    ///
    /// # Errors
    /// When a line is not a signature.
    pub fn lines(text: &str) -> Result<Vec<NoteSignature>, NoteError> {
        let lines = text.strip_suffix('\n').ok_or(NoteError("note"))?;
        let lines = lines.split('\n').take(MAX_SIGNATURES + 1);
        let signatures: Vec<_> = lines.map(str::parse).collect::<Result<_, _>>()?;
        (signatures.len() <= MAX_SIGNATURES)
            .then_some(signatures)
            .ok_or(NoteError("note"))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|one| writeln!(f, "{one}"))
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        const BAD: NoteError = NoteError("note");
        if note.len() > MAX_NOTE || note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(BAD);
        }
        let at = note.rfind("\n\n").ok_or(BAD)?;
        let (text, signatures) = note.split_at(at + 1);
        let signatures = Self::lines(signatures.strip_prefix('\n').ok_or(BAD)?)?;
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.id.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.bytes);
        write!(f, "\u{2014} {} {}", self.name, STANDARD.encode(bytes))
    }
}

impl FromStr for NoteSignature {
    type Err = NoteError;

    fn from_str(line: &str) -> Result<Self, NoteError> {
        let read = || {
            let (name, bytes) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
            let bytes = STANDARD.decode(bytes).ok()?;
            let (id, bytes) = bytes.split_first_chunk()?;
            is_name(name).then(|| Self {
                name: name.to_owned(),
                id: u32::from_be_bytes(*id),
                bytes: bytes.to_vec(),
            })
        };
        read().ok_or(NoteError("note"))
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// The number of an Ed25519 key of `kind` (1: signs notes; 4: cosigns checkpoints).
#[must_use]
pub fn key_id(name: &str, kind: u8, key: &[u8; 32]) -> u32 {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([b'\n', kind]);
    hash.update(key);
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
    u32::from_be_bytes([a, b, c, d])
}

/// A public key that signs notes or cosigns checkpoints: `NAME+ID+KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    /// Its name.
    pub name: String,
    /// Whether it cosigns.
    pub cosigns: bool,
    /// The Ed25519 key.
    pub key: [u8; 32],
}

impl VerifierKey {
    /// Its number in signatures.
    #[must_use]
    pub fn id(&self) -> u32 {
        key_id(&self.name, self.kind(), &self.key)
    }

    /// Whether a signature claims to be this key's.
    #[must_use]
    pub fn is_named(&self, signature: &NoteSignature) -> bool {
        signature.name == self.name && signature.id == self.id()
    }

    fn kind(&self) -> u8 {
        if self.cosigns { COSIGNATURE } else { ED25519 }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.kind()];
        key.extend_from_slice(&self.key);
        write!(
            f,
            "{}+{:08x}+{}",
            self.name,
            self.id(),
            STANDARD.encode(key)
        )
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let read = || {
            let mut parts = text.trim().splitn(3, '+');
            let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
            let key = STANDARD.decode(key).ok()?;
            let (kind, key) = key.split_first()?;
            let key = Self {
                name: name.to_owned(),
                cosigns: match *kind {
                    ED25519 => false,
                    COSIGNATURE => true,
                    _ => return None,
                },
                key: key.try_into().ok()?,
            };
            let fits = is_name(name) && u32::from_str_radix(id, 16).ok()? == key.id();
            fits.then_some(key)
        };
        read().ok_or(NoteError("note's key (NAME+ID+KEY)"))
    }
}

/// What a cosignature signs: the time in seconds since 1970, and a checkpoint's text.
#[must_use]
pub fn cosigned_text(seconds: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

/// The size and the root of a log, as its key signs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}\n{}\n{}",
            self.origin,
            self.size,
            to_base64(&self.root)
        )
    }
}

impl FromStr for Checkpoint {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let read = || {
            let mut lines = text.strip_suffix('\n')?.split('\n');
            let checkpoint = Self {
                origin: lines.next().filter(|origin| !origin.is_empty())?.to_owned(),
                size: lines.next()?.parse().ok()?,
                root: from_base64(lines.next()?)?,
            };
            (checkpoint.to_string() == text).then_some(checkpoint)
        };
        read().ok_or(NoteError("checkpoint"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_example_is_read_and_written_as_it_is() {
        let text = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n\u{2014} quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
        let note: Note = text.parse().unwrap();
        assert!(note.text.ends_with("ed è subito sera.\n"));
        assert_eq!(note.signatures[0].name, "quasimodo.example/salvatore");
        assert_eq!(note.signatures[0].bytes.len(), 64);
        assert_eq!(note.to_string(), text);
    }

    #[test]
    fn what_is_no_note_is_refused() {
        for text in [
            "",
            "text\n",
            "text\n\n",
            "text\n\n- name AAAAAA==\n",
            "text\n\n\u{2014} na+me AAAAAA==\n",
            "text\n\n\u{2014} name AAAA\n",
            "text\n\n\u{2014} name AAAAAA==",
            "te\rxt\n\n\u{2014} name AAAAAA==\n",
        ] {
            assert!(text.parse::<Note>().is_err(), "{text:?}");
        }
        let many = "\u{2014} name AAAAAA==\n".repeat(MAX_SIGNATURES + 1);
        assert!(format!("text\n\n{many}").parse::<Note>().is_err());
    }

    #[test]
    fn a_key_is_read_back_and_only_with_its_own_number() {
        for cosigns in [false, true] {
            let key = VerifierKey {
                name: "example.org/log".into(),
                cosigns,
                key: [7; 32],
            };
            let text = key.to_string();
            assert_eq!(text.parse(), Ok(key));
            assert!(text.replace("log", "lag").parse::<VerifierKey>().is_err());
        }
        // From the documentation of Go's checksum database.
        let go = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        assert_eq!(go.parse::<VerifierKey>().unwrap().to_string(), go);
    }

    #[test]
    fn a_checkpoint_has_one_form() {
        let whole = Checkpoint {
            origin: "example.org/log".into(),
            size: 20,
            root: Hash([1; 32]),
        };
        let text = whole.to_string();
        assert_eq!(text.parse(), Ok(whole));
        for other in [
            text.replace("\n20\n", "\n020\n"),
            text.replace("\n20\n", "\n+20\n"),
            text.trim_end().to_owned(),
            format!("{text}more\n"),
            text.replacen("example.org/log", "", 1),
        ] {
            assert!(other.parse::<Checkpoint>().is_err(), "{other}");
        }
    }
}
