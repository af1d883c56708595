//! Proofs outside of the collector's hands: an archive of the log and its evidence, and witnesses that
//! cosign its checkpoints.
//!
//! Invariants
//! - What an archive or a witness has is compared with the log before anything is added. A log that does
//!   not continue it is a finding, is remembered in the store, and nothing more is written.
//! - An archive's newest checkpoint is written last: what is under it is whole.
//! - Nothing that takes evidence waits for either.
//!
//! It refuses to delete: how long an archive keeps things, and that nobody can change them (object lock,
//! versions), is the archive's business.

mod place;
mod s3;
mod witness;

use std::sync::Arc;

use weir_audit::proof::{Checkpoint, Note, Tile};

use crate::log::verify_note;
use crate::{Collector, CollectorError, Selection};

pub use place::{ArchiveConfig, PlaceError};
pub use witness::WitnessConfig;

use place::Place;
use witness::Witness;

/// Entries whose evidence is one object of an archive.
const BUNDLE: u64 = 64;

/// Why an archive or a witness was not brought up to date.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Store(#[from] CollectorError),
    #[error("{0}")]
    Place(String),
    #[error("{0}")]
    Witness(String),
    #[error("{0}")]
    Contradicted(String),
}

/// Everybody who keeps proofs of this log elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Keepers {
    archive: Option<Arc<Place>>,
    witnesses: Vec<Arc<Witness>>,
}

impl Keepers {
    /// Keepers from their settings.
    ///
    /// # Errors
    /// When one of them makes no sense.
    pub fn new(
        archive: Option<ArchiveConfig>,
        witnesses: Vec<WitnessConfig>,
    ) -> Result<Self, PlaceError> {
        let archive = archive.map(Place::new).transpose()?;
        let witnesses: Result<Vec<_>, _> = witnesses
            .into_iter()
            .map(|witness| Witness::new(witness).map(Arc::new))
            .collect();
        Ok(Self {
            archive: archive.map(Arc::new),
            witnesses: witnesses?,
        })
    }

    /// Brings each of them up to date; what fails is tried again in the next round.
    pub async fn round(&self, store: &Collector) {
        for witness in &self.witnesses {
            if let Err(error) = witness.ask(store).await {
                tracing::warn!(witness = witness.name(), %error, "a witness did not cosign the log");
            }
        }
        if let Some(archive) = &self.archive
            && let Err(error) = keep(archive, store).await
        {
            tracing::warn!(%error, "the archive of evidence is behind");
        }
    }
}

/// Runs what blocks.
async fn blocking<T: Send + 'static>(
    store: &Collector,
    act: impl FnOnce(&Collector) -> Result<T, CollectorError> + Send + 'static,
) -> Result<T, KeepError> {
    let store = store.clone();
    let done = tokio::task::spawn_blocking(move || act(&store)).await;
    let done = done.map_err(|error| KeepError::Place(error.to_string()))?;
    Ok(done?)
}

async fn keep(archive: &Place, store: &Collector) -> Result<(), KeepError> {
    let now = blocking(store, |store| store.proof()).await?;
    let from = match archive.get("checkpoint").await? {
        None => 0,
        Some(bytes) => continues(bytes, store).await?,
    };
    if from == now.size {
        return Ok(());
    }
    for tile in Tile::grown(from, now.size) {
        let bytes = blocking(store, move |store| store.tile(tile)).await?;
        let bytes = bytes.ok_or_else(|| KeepError::Place("a tile of the log is missing".into()))?;
        archive.put(&format!("tile/{tile}"), bytes).await?;
    }
    let mut first = from;
    while first < now.size {
        let end = (first + BUNDLE).min(now.size);
        let part = Selection {
            entries: Some((first, end)),
            ..Selection::default()
        };
        let bundle = blocking(store, move |store| {
            let mut bytes = Vec::new();
            store.export(&part, &mut bytes).map(|_| bytes)
        });
        let name = format!("bundles/{first:012}-{end:012}.weir");
        archive.put(&name, bundle.await?).await?;
        first = end;
    }
    let note = now.checkpoint.clone().into_bytes();
    archive
        .put(&format!("checkpoints/{:012}", now.size), note.clone())
        .await?;
    archive.put("checkpoint", note).await?;
    let note = parsed(&now.checkpoint)?.0;
    blocking(store, move |store| store.vouch("archive", &note)).await
}

/// How much of the log an archive has; the log must continue it.
async fn continues(bytes: Vec<u8>, store: &Collector) -> Result<u64, KeepError> {
    let text = String::from_utf8(bytes).unwrap_or_default();
    let (note, checkpoint) = parsed(&text)?;
    if verify_note(&note, store.log_key().public()).is_err() {
        let why = "the archive is of another log, or of this one with another key";
        return Err(KeepError::Place(why.into()));
    }
    let size = checkpoint.size;
    let contradiction = blocking(store, move |store| store.contradicted("archive", &note)).await?;
    match contradiction {
        Some(why) => Err(KeepError::Contradicted(why)),
        None => Ok(size),
    }
}

fn parsed(note: &str) -> Result<(Note, Checkpoint), KeepError> {
    let bad = || KeepError::Place("the archive's checkpoint cannot be read".into());
    let note: Note = note.parse().map_err(|_| bad())?;
    let checkpoint = note.text.parse().map_err(|_| bad())?;
    Ok((note, checkpoint))
}

#[cfg(test)]
mod tests;
