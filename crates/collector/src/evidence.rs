//! Evidence for people: whoever reads it is on record first.
//!
//! Invariants
//! - The store is handed out only against an [`OnRecord`], and only what records a read makes one: nothing that
//!   answers people can be added that reads without it.
//! - What is looked at again and again (holds, the log's tiles) is recorded when it begins and every
//!   [`AGAIN`] while it goes on, for each reader, address, question and namespace.
//! - A read that cannot be recorded does not take place. Where too much is looked at to be remembered, more
//!   is recorded, not less.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weir_audit::EvidenceRead;

use crate::store::Reach;
use crate::{Collector, CollectorError};

/// How long one record stands for looking at the same again.
const AGAIN: Duration = Duration::from_secs(300);
/// Reads that are remembered for that.
const REMEMBERED: usize = 4096;

/// What tells one read from another: reader, address, path, query and namespace.
type Read = (
    Arc<str>,
    Option<Arc<str>>,
    Arc<str>,
    Arc<str>,
    Option<Arc<str>>,
);

/// Evidence, for whoever is on record. Clones are one.
#[derive(Clone)]
pub(crate) struct Evidence {
    store: Collector,
    lately: Arc<Mutex<HashMap<Read, Instant>>>,
}

/// Somebody's read is on record.
pub(crate) struct OnRecord(());

impl Evidence {
    pub(crate) fn new(store: Collector) -> Self {
        Self {
            store,
            lately: Arc::default(),
        }
    }

    /// Records a read.
    pub(crate) async fn read_by(&self, read: EvidenceRead) -> Result<OnRecord, CollectorError> {
        let recorded = self.store.reading(Reach::Page, |store| store.read_by(read));
        recorded.await?;
        Ok(OnRecord(()))
    }

    /// The same for what is looked at again and again.
    pub(crate) async fn watched_by(&self, read: EvidenceRead) -> Result<OnRecord, CollectorError> {
        let now = Instant::now();
        let fresh = |at: &Instant| now.duration_since(*at) < AGAIN;
        let EvidenceRead {
            reader,
            address,
            path,
            query,
            namespace,
        } = read.clone();
        let key = (reader, address, path, query, namespace);
        if self.lately().get(&key).is_some_and(fresh) {
            return Ok(OnRecord(()));
        }
        let recorded = self.read_by(read).await?;
        let mut lately = self.lately();
        if lately.len() >= REMEMBERED {
            lately.retain(|_, at| fresh(at));
        }
        if lately.len() < REMEMBERED {
            lately.insert(key, now);
        }
        Ok(recorded)
    }

    /// The store, for one whose read is on record.
    pub(crate) fn open(&self, _: &OnRecord) -> &Collector {
        &self.store
    }

    fn lately(&self) -> std::sync::MutexGuard<'_, HashMap<Read, Instant>> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use weir_audit::Body;

    use super::*;
    use crate::{CollectorConfig, Filter};

    #[tokio::test(start_paused = true)]
    async fn looking_again_and_again_is_recorded_once_in_a_while_for_each_reader_and_question() {
        let dir = tempfile::tempdir().unwrap();
        let store = Collector::open(dir.path(), CollectorConfig::default()).unwrap();
        let evidence = Evidence::new(store.clone());
        let read = |reader: &str, query: &str| EvidenceRead {
            reader: reader.into(),
            path: "/ui/holds".into(),
            query: query.into(),
            ..EvidenceRead::default()
        };
        let records = || {
            let filter = Filter {
                kind: Some("evidence_read".into()),
                ..Filter::default()
            };
            let events = store.query(&filter).unwrap().events.into_iter();
            events
                .filter(|event| matches!(event.body, Body::EvidenceRead(_)))
                .count()
        };
        for _ in 0..100 {
            evidence.watched_by(read("amy", "")).await.unwrap();
        }
        assert_eq!(records(), 1);
        evidence.watched_by(read("bob", "")).await.unwrap();
        evidence
            .watched_by(read("amy", "closed=true"))
            .await
            .unwrap();
        assert_eq!(records(), 3);
        tokio::time::advance(AGAIN).await;
        for _ in 0..100 {
            evidence.watched_by(read("amy", "")).await.unwrap();
        }
        assert_eq!(records(), 4);
        for _ in 0..3 {
            evidence.read_by(read("amy", "")).await.unwrap();
        }
        assert_eq!(records(), 7);
        // Nothing is remembered without bound.
        let now = Instant::now();
        evidence.lately().extend((0..REMEMBERED).map(|n| {
            let query = n.to_string().into();
            (("eve".into(), None, "/".into(), query, None), now)
        }));
        evidence.watched_by(read("eve", "more")).await.unwrap();
        evidence.watched_by(read("eve", "more")).await.unwrap();
        assert_eq!(records(), 9);
        assert!(evidence.lately().len() < REMEMBERED + 10);
    }
}
