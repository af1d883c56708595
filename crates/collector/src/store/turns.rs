//! Turns at reading. Readers take threads from the pool on which evidence is taken in as well; they never
//! get so many that it waits for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Collector, CollectorError};

/// How long a reader waits for its turn before it is told to come again.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much of a store is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach {
    /// An answer of bounded size.
    Page,
    /// A session or an export, as fast as its reader takes it.
    Stream,
    /// All that there is.
    Whole,
}

pub(super) struct Turns {
    pages: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    wholes: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        let so_many = |turns| Arc::new(Semaphore::new(turns));
        Self {
            pages: so_many(16),
            streams: so_many(64),
            wholes: so_many(2),
        }
    }
}

impl Collector {
    /// A turn at reading, once there is one; over when it is dropped. It goes where the reading is done, which
    /// may outlast who asked.
    ///
    /// # Errors
    /// Too many read at once.
    pub(crate) async fn turn(&self, reach: Reach) -> Result<OwnedSemaphorePermit, CollectorError> {
        let turns = match reach {
            Reach::Page => &self.inner.turns.pages,
            Reach::Stream => &self.inner.turns.streams,
            Reach::Whole => &self.inner.turns.wholes,
        };
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(turns).acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok);
        turn.ok_or(CollectorError::Busy)
    }

    /// Reads, off the threads that serve, when it is its turn.
    ///
    /// # Errors
    /// Too many read at once, or the reading failed.
    pub(crate) async fn reading<T: Send + 'static>(
        &self,
        reach: Reach,
        act: impl FnOnce(&Self) -> Result<T, CollectorError> + Send + 'static,
    ) -> Result<T, CollectorError> {
        let (turn, store) = (self.turn(reach).await?, self.clone());
        let done = tokio::task::spawn_blocking(move || {
            let done = act(&store);
            drop(turn);
            done
        });
        done.await.map_err(std::io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CollectorConfig;

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_too_much_at_once_is_told_and_others_are_not_kept_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let store = Collector::open(dir.path(), CollectorConfig::default()).unwrap();
        let first = store.turn(Reach::Whole).await.ok();
        let second = store.turn(Reach::Whole).await.ok();
        assert!(first.is_some() && second.is_some());
        let third = store.turn(Reach::Whole).await;
        assert!(matches!(third, Err(CollectorError::Busy)));
        assert!(store.turn(Reach::Page).await.is_ok());
        drop(first);
        assert!(store.turn(Reach::Whole).await.is_ok());
    }
}
