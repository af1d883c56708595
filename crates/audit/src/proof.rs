//! What makes a record provable: signed heads of chains, the leaves of a log over them, its tree and
//! its checkpoints.
//!
//! Role: the exact bytes that are signed and hashed, each with its one reader. A [`Head`] is what an
//! engine signs; a [`Leaf`] is what the collector's log says about a run of events that it accepted, or
//! about one that retention deleted; [`merkle`] is the tree over leaves (RFC 6962); a [`Checkpoint`] is
//! its root as a signed [`Note`] (C2SP tlog-checkpoint and signed-note); [`Tile`] names a part of the
//! tree as C2SP tlog-tiles does.
//!
//! Invariants: each text has one form, and the reader takes no other; no length that is read is trusted.
//! It refuses to sign or to verify signatures: whoever holds keys does.

mod leaf;
pub mod merkle;
mod note;
mod tile;

pub use leaf::{Evidence, Head, Leaf, LeafError, RangeLeaf, RetentionLeaf};
pub use note::{Checkpoint, Note, NoteError, NoteSignature, VerifierKey, cosigned_text, key_id};
pub use tile::{Tile, TileError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Hash;

/// A hash as notes and leaves write it.
pub(crate) fn to_base64(hash: &Hash) -> String {
    STANDARD.encode(hash.0)
}

pub(crate) fn from_base64(text: &str) -> Option<Hash> {
    let mut bytes = [0; 32];
    let read = STANDARD.decode_slice(text, &mut bytes).ok()?;
    // Only the one form: what is written again is the same text.
    let hash = Hash(bytes);
    (read == bytes.len() && to_base64(&hash) == text).then_some(hash)
}
