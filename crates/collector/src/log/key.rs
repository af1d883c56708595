//! The log's key, and what others sign about the log.

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use weir_audit::Timestamp;
use weir_audit::proof::{Note, NoteError, NoteSignature, VerifierKey, cosigned_text};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be used.
    #[error("the log's key {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in it is no Ed25519 key.
    #[error("the log's key {0} is not one")]
    Damaged(PathBuf),
    /// No key could be made.
    #[error("no key for the log can be made")]
    Random,
}

/// The Ed25519 key that signs checkpoints and reports.
pub struct LogKey {
    pair: Ed25519KeyPair,
    public: VerifierKey,
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogKey").field(&self.public).finish()
    }
}

impl LogKey {
    /// The key in a file of mode 0600, made when there is none.
    ///
    /// # Errors
    /// When the file cannot be used, others can read it, or what is in it is no key.
    pub fn load_or_create(path: &Path, name: &str) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File {
            path: path.to_owned(),
            source,
        };
        let pkcs8 = match std::fs::read(path) {
            Ok(pkcs8) => {
                let mode = std::fs::metadata(path)
                    .map_err(failed)?
                    .permissions()
                    .mode();
                if mode & 0o077 != 0 {
                    return Err(failed(io::Error::other("it is accessible to others")));
                }
                pkcs8
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
                let made = made.map_err(|_| KeyError::Random)?.as_ref().to_vec();
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(failed)?;
                file.write_all(&made).map_err(failed)?;
                file.sync_all().map_err(failed)?;
                made
            }
            Err(error) => return Err(failed(error)),
        };
        let damaged = || KeyError::Damaged(path.to_owned());
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| damaged())?;
        let key = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| damaged())?;
        Ok(Self {
            public: VerifierKey {
                name: name.to_owned(),
                cosigns: false,
                key,
            },
            pair,
        })
    }

    /// The name of the key and of the log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.public.name
    }

    /// What verifies its signatures.
    #[must_use]
    pub fn public(&self) -> &VerifierKey {
        &self.public
    }

    /// Signs a text that ends with a newline.
    #[must_use]
    pub fn sign(&self, text: &str) -> Note {
        Note {
            text: text.to_owned(),
            signatures: vec![NoteSignature {
                name: self.public.name.clone(),
                id: self.public.id(),
                bytes: self.pair.sign(text.as_bytes()).as_ref().to_vec(),
            }],
        }
    }
}

/// Whether a key that signs notes signed this one. A wrong signature in its name refuses the note.
///
/// # Errors
/// When it did not.
pub(crate) fn verify_note(note: &Note, key: &VerifierKey) -> Result<(), NoteError> {
    let mut own = note
        .signatures
        .iter()
        .filter(|one| key.is_named(one))
        .peekable();
    let signed = !key.cosigns
        && own.peek().is_some()
        && own.all(|one| verifies(key, note.text.as_bytes(), &one.bytes));
    signed.then_some(()).ok_or(NoteError("note of that key"))
}

/// When a witness cosigned a checkpoint; `None` if the signature is not that witness's.
#[must_use]
pub(crate) fn verify_cosignature(
    text: &str,
    signature: &NoteSignature,
    key: &VerifierKey,
) -> Option<Timestamp> {
    let (time, bytes) = signature.bytes.split_first_chunk()?;
    let seconds = u64::from_be_bytes(*time);
    let text = cosigned_text(seconds, text);
    let valid = key.cosigns && key.is_named(signature) && verifies(key, text.as_bytes(), bytes);
    valid.then(|| Timestamp::from_micros(seconds.saturating_mul(1_000_000)))
}

fn verifies(key: &VerifierKey, text: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key.key)
        .verify(text, signature)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_stays_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.key");
        let made = LogKey::load_or_create(&path, "example.org/log").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = LogKey::load_or_create(&path, "example.org/log").unwrap();
        assert_eq!(made.public(), again.public());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = LogKey::load_or_create(&path, "example.org/log").unwrap_err();
        assert!(
            error.to_string().contains("accessible to others"),
            "{error}"
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, b"short").unwrap();
        assert!(LogKey::load_or_create(&path, "example.org/log").is_err());
    }

    #[test]
    fn only_the_right_key_over_the_whole_text_verifies() {
        let dir = tempfile::tempdir().unwrap();
        let key =
            |name: &str, file: &str| LogKey::load_or_create(&dir.path().join(file), name).unwrap();
        let (own, other) = (key("example.org/log", "a"), key("example.org/log", "b"));
        let note = own.sign("text\n");
        let read: Note = note.to_string().parse().unwrap();
        verify_note(&read, own.public()).unwrap();
        assert!(verify_note(&read, other.public()).is_err());
        let changed = Note {
            text: "texT\n".into(),
            ..read.clone()
        };
        assert!(verify_note(&changed, own.public()).is_err());
        // A wrong signature in the key's name refuses the note, whatever else signs it.
        let mut both = read;
        let mut wrong = both.signatures[0].clone();
        wrong.bytes[0] ^= 1;
        both.signatures.push(wrong);
        assert!(verify_note(&both, own.public()).is_err());
    }

    /// The example of C2SP tlog-cosignature, whose key is not published: only its form is checked.
    #[test]
    fn a_cosignature_is_over_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let key = LogKey::load_or_create(&dir.path().join("w"), "witness.example.org").unwrap();
        let text = "example.org/log\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let signed = key.sign(&cosigned_text(1_700_000_000, text));
        let witness = VerifierKey {
            cosigns: true,
            ..key.public().clone()
        };
        let mut bytes = 1_700_000_000_u64.to_be_bytes().to_vec();
        bytes.extend_from_slice(&signed.signatures[0].bytes);
        let signature = NoteSignature {
            name: witness.name.clone(),
            id: witness.id(),
            bytes,
        };
        let time = verify_cosignature(text, &signature, &witness).unwrap();
        assert_eq!(time, Timestamp::from_micros(1_700_000_000_000_000));
        let mut later = signature.clone();
        later.bytes[7] ^= 1;
        assert_eq!(verify_cosignature(text, &later, &witness), None);
        assert_eq!(verify_cosignature(text, &signature, key.public()), None);
    }
}
