//! The tree at rest: leaves as text, and the root of each full tile above them.

use rusqlite::{Connection, OptionalExtension as _, params};
use weir_audit::Hash;
use weir_audit::proof::{Checkpoint, Note, Tile, merkle};

use crate::CollectorError;

/// Levels of the tree between two that are kept.
const STEP: u32 = 8;
const FULL: u64 = 256;

/// The tree in a store.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'a>(pub(crate) &'a Connection);

/// A checkpoint at rest.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) note: Note,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) time: u64,
}

impl Tree<'_> {
    /// How many leaves there are.
    pub(crate) fn size(self) -> Result<u64, CollectorError> {
        let size = "SELECT coalesce(max(number) + 1, 0) FROM log_leaves";
        Ok(self
            .0
            .prepare_cached(size)?
            .query_row([], |row| row.get(0))?)
    }

    /// Leaves in order.
    pub(crate) fn leaves(self, from: u64, count: u64) -> Result<Vec<String>, CollectorError> {
        let leaves: Vec<String> = self
            .0
            .prepare_cached(
                "SELECT leaf FROM log_leaves WHERE number >= ?1 AND number < ?2 ORDER BY number",
            )?
            .query_map(params![from, from.saturating_add(count)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        whole(leaves, count)
    }

    /// Hashes of a tile's level, in order.
    fn hashes(self, level: u32, from: u64, count: u64) -> Result<Vec<Hash>, CollectorError> {
        if level == 0 {
            let leaves = self.leaves(from, count)?;
            let hashes = leaves.iter().map(|leaf| merkle::leaf_hash(leaf.as_bytes()));
            return Ok(hashes.collect());
        }
        let hashes: Vec<Hash> = self
            .0
            .prepare_cached(
                "SELECT hash FROM log_nodes WHERE level = ?1 AND number >= ?2 AND number < ?3
                 ORDER BY number",
            )?
            .query_map(params![level, from, from.saturating_add(count)], |row| {
                row.get(0).map(Hash)
            })?
            .collect::<Result<_, _>>()?;
        whole(hashes, count)
    }

    /// Writes the roots of the tiles that the leaf that made the log `size` long completed.
    pub(super) fn complete_levels(self, size: u64) -> Result<(), CollectorError> {
        let mut level = 1;
        let mut count = size;
        while count > 0 && count.is_multiple_of(FULL) {
            count /= FULL;
            let below = self.hashes(level - 1, (count - 1) * FULL, FULL)?;
            self.0
                .prepare_cached("INSERT OR REPLACE INTO log_nodes VALUES (?1, ?2, ?3)")?
                .execute(params![level, count - 1, fold(below).0])?;
            level += 1;
        }
        Ok(())
    }

    /// A tile's bytes as tlog-tiles serves them; `None` if the log has no such tile.
    pub(crate) fn tile(self, tile: Tile) -> Result<Option<Vec<u8>>, CollectorError> {
        let level = tile.level.unwrap_or_default();
        let have = self.size()? >> (STEP * level);
        let first = tile.index.checked_mul(FULL);
        let Some(first) = first.filter(|first| have.saturating_sub(*first) >= tile.width) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        if tile.level.is_none() {
            for leaf in self.leaves(first, tile.width)? {
                let length = u16::try_from(leaf.len()).map_err(|_| CollectorError::Damaged(0))?;
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(leaf.as_bytes());
            }
        } else {
            for hash in self.hashes(level, first, tile.width)? {
                bytes.extend_from_slice(&hash.0);
            }
        }
        Ok(Some(bytes))
    }

    /// The checkpoint of that name.
    pub(crate) fn checkpoint(self, name: &str) -> Result<Option<Stored>, CollectorError> {
        let row: Option<(String, u64)> = self
            .0
            .prepare_cached("SELECT note, time FROM log_checkpoints WHERE name = ?1")?
            .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((text, time)) = row else {
            return Ok(None);
        };
        let damaged = || CollectorError::Log(format!("the checkpoint {name:?} cannot be read"));
        let note: Note = text.parse().map_err(|_| damaged())?;
        let checkpoint = note.text.parse().map_err(|_| damaged())?;
        Ok(Some(Stored {
            name: name.to_owned(),
            note,
            checkpoint,
            time,
        }))
    }

    /// Every checkpoint that is kept.
    pub(crate) fn checkpoints(self) -> Result<Vec<Stored>, CollectorError> {
        let names: Vec<String> = self
            .0
            .prepare_cached("SELECT name FROM log_checkpoints ORDER BY name")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut kept = Vec::new();
        for name in names {
            kept.extend(self.checkpoint(&name)?);
        }
        Ok(kept)
    }

    /// Keeps a checkpoint under a name.
    pub(crate) fn keep(
        self,
        name: &str,
        checkpoint: &Checkpoint,
        note: &Note,
        time: u64,
    ) -> Result<(), CollectorError> {
        self.0
            .prepare_cached("INSERT OR REPLACE INTO log_checkpoints VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![name, checkpoint.size, time, note.to_string()])?;
        Ok(())
    }
}

impl merkle::Subtrees for Tree<'_> {
    type Error = CollectorError;

    fn complete(&self, level: u32, index: u64) -> Result<Hash, CollectorError> {
        let (kept, above) = (level / STEP, level % STEP);
        let count = 1 << above;
        Ok(fold(self.hashes(kept, index * count, count)?))
    }
}

/// The root over hashes, a power of two of them.
fn fold(mut hashes: Vec<Hash>) -> Hash {
    while hashes.len() > 1 {
        let (pairs, _) = hashes.as_chunks::<2>();
        hashes = pairs
            .iter()
            .map(|[left, right]| merkle::node_hash(left, right))
            .collect();
    }
    hashes.pop().unwrap_or_else(merkle::empty_root)
}

fn whole<T>(parts: Vec<T>, count: u64) -> Result<Vec<T>, CollectorError> {
    if parts.len() as u64 == count {
        Ok(parts)
    } else {
        Err(CollectorError::Log("entries of the log are missing".into()))
    }
}
