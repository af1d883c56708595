//! A checkpoint that somebody else has, against the log of a bundle.

use std::collections::BTreeMap;

use weir_audit::Hash;
use weir_audit::proof::{Checkpoint, Note, VerifierKey, merkle};

use super::verify_note;

/// What a checkpoint from elsewhere says of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It is of a beginning of this log.
    Begins,
    /// Another key signed it, or nobody.
    Foreign,
    /// It is of more entries than this log has.
    Longer(u64),
    /// The log began with other entries then.
    Contradicts(u64),
    /// Nothing here shows whether it is of a beginning of this log.
    NotShown(u64),
}

impl Known {
    /// What is wrong with the log by this, in words; `None` if nothing is.
    pub(super) fn problem(self, now: u64, place: &str) -> Option<String> {
        match self {
            Self::Begins | Self::NotShown(_) => None,
            Self::Foreign => Some(format!("a checkpoint {place} is not this log's")),
            Self::Longer(had) => Some(format!(
                "the log has {now} entries, and had {had} (checkpoint {place}): its end is gone, or this was made \
                 before that checkpoint"
            )),
            Self::Contradicts(size) => Some(format!(
                "the first {size} entries of the log are not those that were signed (checkpoint {place})"
            )),
        }
    }
}

/// What a bundle has to judge checkpoints by.
pub(super) struct Shown<'a> {
    pub(super) key: &'a VerifierKey,
    pub(super) now: &'a Checkpoint,
    /// Numbers and hashes of entries, in order.
    pub(super) leaves: &'a [(u64, Hash)],
    /// By the size of the older log.
    pub(super) consistency: &'a BTreeMap<u64, Vec<Hash>>,
}

impl Shown<'_> {
    pub(super) fn judge(&self, note: &Note) -> Known {
        let kept = note.text.parse::<Checkpoint>().ok();
        let kept =
            kept.filter(|kept| verify_note(note, self.key).is_ok() && kept.origin == self.key.name);
        let Some(kept) = kept else {
            return Known::Foreign;
        };
        if kept.size > self.now.size {
            return Known::Longer(kept.size);
        }
        match self.root_then(&kept) {
            None => Known::NotShown(kept.size),
            Some(true) => Known::Begins,
            Some(false) => Known::Contradicts(kept.size),
        }
    }

    /// Whether this log began as the checkpoint says; `None` if that cannot be told.
    fn root_then(&self, kept: &Checkpoint) -> Option<bool> {
        if kept.size == self.now.size {
            return Some(kept.root == self.now.root);
        }
        if let Some(proof) = self.consistency.get(&kept.size) {
            let (old, new) = ((kept.size, kept.root), (self.now.size, self.now.root));
            return Some(merkle::is_consistent(old, new, proof));
        }
        // Where every entry is there, no proof is needed.
        let mut tree = merkle::Frontier::default();
        let first = self.leaves.iter().zip(0..);
        for ((_, hash), _) in first.take_while(|((at, _), place)| at == place && *at < kept.size) {
            tree.push(*hash);
        }
        (tree.size() == kept.size).then(|| tree.root() == kept.root)
    }
}
