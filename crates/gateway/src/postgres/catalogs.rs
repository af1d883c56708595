//! What the sessions of one engine know together: catalogs by target and database, and when they were changed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use weir_sql::Statement;

use super::catalog::{Catalog, Pins};

/// How many names of dropped tables are told apart at a place; with more, any name may be one of them.
const MAX_DROPPED: usize = 4096;

/// The catalogs of all databases that were seen, by target and database.
#[derive(Default)]
pub(crate) struct Catalogs {
    known: Mutex<HashMap<Place, Known>>,
    /// When a session of this engine has changed a schema last, by place.
    changed: Mutex<HashMap<Place, Instant>>,
    /// How often one has.
    changes: AtomicU64,
    /// When a session of this engine has made or dropped something last, by place.
    made: Mutex<HashMap<Place, Instant>>,
    /// Names of tables that sessions of this engine have dropped, or tried to, by place.
    dropped: Mutex<HashMap<Place, HashSet<Box<str>>>>,
}

/// A target and a database.
pub(crate) type Place = (String, Vec<u8>);

struct Known {
    catalog: Option<(Arc<Catalog>, Instant)>,
    digest: String,
    pins: Pins,
}

impl Catalogs {
    /// A session has changed the schema there: whatever was read before is outdated for all of them.
    pub(super) fn changed(&self, place: Place) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.insert(place, Instant::now());
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// A session has made something there, or dropped it: names may be known that were not.
    pub(super) fn made(&self, place: Place) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert(place, Instant::now());
    }

    /// A session is about to drop these tables there.
    pub(super) fn drops(&self, place: Place, statement: &Statement) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let names = dropped.entry(place).or_default();
        if names.len() < MAX_DROPPED {
            names.extend(
                statement
                    .relations
                    .iter()
                    .map(|one| Box::from(one.name.as_str())),
            );
        }
    }

    /// Whether a statement makes a table by a name that others may know: as that of one that was dropped, or of one
    /// in another schema, in front of which the new one may come.
    pub(super) fn remakes(
        &self,
        place: impl Fn() -> Place,
        catalog: Option<&Catalog>,
        statement: &Statement,
    ) -> bool {
        let makes = matches!(
            statement.tag,
            "CREATE TABLE" | "CREATE TABLE AS" | "SELECT INTO"
        );
        if !makes || statement.temporary {
            return false;
        }
        let written = |one: &&weir_sql::RelationRef| one.access == weir_sql::Access::Write;
        let made = || statement.relations.iter().filter(written);
        if catalog.is_some_and(|catalog| made().any(|one| catalog.knows(&one.name))) {
            return true;
        }
        let dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        dropped.get(&place()).is_some_and(|names| {
            names.len() >= MAX_DROPPED || made().any(|one| names.contains(one.name.as_str()))
        })
    }

    pub(super) fn made_at(&self, place: &Place) -> Option<Instant> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.get(place).copied()
    }

    pub(super) fn changed_at(&self, place: &Place) -> Option<Instant> {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.get(place).copied()
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn shared(&self, key: &Place, digest: &str) -> Option<(Arc<Catalog>, Instant)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(key)
            .filter(|known| known.digest == digest)?
            .catalog
            .clone()
    }

    /// What is known there is still so.
    pub(super) fn confirm(&self, key: &Place, digest: &str, catalog: &Arc<Catalog>, at: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = known.get_mut(key).filter(|known| known.digest == digest);
        if let Some((kept, since)) = kept.and_then(|known| known.catalog.as_mut())
            && Arc::ptr_eq(kept, catalog)
        {
            *since = at;
        }
    }

    pub(super) fn pins(&self, key: &Place) -> Option<Pins> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).map(|known| known.pins.clone())
    }

    pub(super) fn keep(
        &self,
        key: Place,
        digest: &str,
        pins: Pins,
        catalog: Option<(Arc<Catalog>, Instant)>,
    ) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let old = known.remove(&key).filter(|known| known.digest == digest);
        let catalog = catalog.or_else(|| old.and_then(|known| known.catalog));
        known.insert(
            key,
            Known {
                catalog,
                digest: digest.to_owned(),
                pins,
            },
        );
    }
}

/// Whether something may show others than before what it showed them. What is new, or gone, is unknown to
/// them, and applications make and drop tables all day.
pub(super) fn redefines(statement: &Statement) -> bool {
    let harmless = matches!(
        statement.tag,
        "CREATE TABLE"
            | "CREATE TABLE AS"
            | "SELECT INTO"
            | "CREATE INDEX"
            | "CREATE SEQUENCE"
            | "DROP TABLE"
            | "DROP INDEX"
            | "DROP SEQUENCE"
            | "DISCARD ALL"
            | "DISCARD TEMP"
    );
    // A child changes what its parents show.
    !harmless || !statement.code.is_empty() || statement.adopts
}

#[cfg(test)]
mod tests {
    use weir_sql::{Analysis, LexSettings};

    use super::*;

    #[test]
    fn a_table_that_is_made_by_the_name_of_one_that_was_dropped_gives_that_another_meaning() {
        let catalogs = Catalogs::default();
        let place = || ("db".to_owned(), b"shop".to_vec());
        let with = |sql: &str, then: &dyn Fn(&Statement) -> bool| match weir_sql::analyze(
            sql,
            &LexSettings::default(),
        ) {
            Analysis::Parsed(script) => then(&script.statements[0]),
            other => panic!("{other:?}"),
        };
        let remakes = |sql: &str| with(sql, &|statement| catalogs.remakes(place, None, statement));
        assert!(!remakes("CREATE TABLE t (x text)"));
        with("DROP TABLE t, u", &|statement| {
            catalogs.drops(place(), statement);
            true
        });
        for (sql, remade) in [
            ("CREATE TABLE t (x text)", true),
            ("CREATE TABLE u AS SELECT 1", true),
            ("SELECT 1 AS x INTO t", true),
            ("CREATE TEMP TABLE t (x text)", false),
            ("SELECT 1 AS x INTO TEMP t", false),
            ("CREATE TABLE v AS TABLE t", false),
            ("INSERT INTO t VALUES (1)", false),
        ] {
            assert_eq!(remakes(sql), remade, "{sql}");
        }
        let other = || ("db".to_owned(), b"other".to_vec());
        assert!(!with("CREATE TABLE t (x text)", &|statement| catalogs
            .remakes(other, None, statement)));
    }
}
