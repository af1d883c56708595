//! Weir's own questions over the client's session: invisible to the client, and only while the
//! server owes it nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weir_sql::Analysis;
use weir_wire_postgres::{backend, message};

use super::cache::Analysed;
use super::catalog::{Catalog, Pins, QUERIES, Resolved, Rows};
use super::pending::{Owed, name};
use super::session::{Session, SessionEnd};

const NAME: &[u8] = b"weir_catalog";
/// How old a catalog must be before a name that it does not know has it read again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The catalogs of all databases that were seen, by target and database.
#[derive(Default)]
pub(crate) struct Catalogs {
    known: Mutex<HashMap<(String, Vec<u8>), Known>>,
}

struct Known {
    catalog: Option<(Arc<Catalog>, Instant)>,
    digest: String,
    pins: Pins,
}

/// What one session knows of its database's catalog.
#[derive(Default)]
pub(super) struct CatalogState {
    current: Option<Arc<Catalog>>,
    /// When it was read.
    read_at: Option<Instant>,
    /// Until when it is taken to be true.
    fresh_until: Option<Instant>,
    /// This session has changed the schema since.
    dirty: bool,
    /// The change may still be rolled back, and nobody else sees it.
    private: bool,
}

impl CatalogState {
    pub(super) fn current(&self) -> Option<Arc<Catalog>> {
        self.current.clone()
    }

    fn is_fresh(&self) -> bool {
        !self.dirty
            && !self.private
            && self.current.is_some()
            && self.fresh_until.is_some_and(|until| Instant::now() < until)
    }

    /// The labels have changed: the catalog must be built again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Gives up what is older than [`LOOK_AGAIN`]; whether it did.
    fn outdate(&mut self) -> bool {
        let is_old = self
            .read_at
            .is_some_and(|read_at| read_at.elapsed() >= LOOK_AGAIN);
        if is_old {
            self.fresh_until = None;
        }
        is_old
    }

    /// A statement of this session has changed the schema.
    pub(super) fn schema_changed(&mut self) {
        self.dirty = true;
    }

    /// A transaction has ended; what it saw alone is settled one way or the other.
    pub(super) fn transaction_ended(&mut self) {
        self.dirty |= std::mem::take(&mut self.private);
    }
}

impl Catalogs {
    fn shared(&self, key: &(String, Vec<u8>), digest: &str) -> Option<(Arc<Catalog>, Instant)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(key)
            .filter(|known| known.digest == digest)?
            .catalog
            .clone()
    }

    fn pins(&self, key: &(String, Vec<u8>)) -> Option<Pins> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).map(|known| known.pins.clone())
    }

    fn keep(
        &self,
        key: (String, Vec<u8>),
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

impl Session {
    /// Makes sure that the catalog is as fresh as the target asks for.
    pub(super) async fn refresh_catalog(&mut self) -> Result<Result<(), String>, SessionEnd> {
        if self.catalog.is_fresh() {
            return Ok(Ok(()));
        }
        let bundle = self.shared.policies.current();
        let digest = bundle.digest().to_owned();
        let refresh = bundle
            .target_named(&self.connection.target)
            .map_or(Duration::from_secs(60), |(_, target)| {
                target.catalog.refresh
            });
        let key = (
            self.connection.target.clone(),
            self.connection.database.clone(),
        );
        if !self.catalog.dirty && !self.catalog.private {
            let shared = self.shared.catalogs.shared(&key, &digest);
            let given_up = self.catalog.read_at;
            let newer = |at: Instant| given_up.is_none_or(|given_up| at > given_up);
            if let Some((catalog, at)) =
                shared.filter(|(_, at)| at.elapsed() < refresh && newer(*at))
            {
                self.catalog.current = Some(catalog);
                self.catalog.read_at = Some(at);
                self.catalog.fresh_until = at.checked_add(refresh);
                return Ok(Ok(()));
            }
        } else if !self.catalog.dirty {
            return Ok(Ok(()));
        }
        self.drain().await?;
        let in_transaction = self.status != b'I' || self.batch_open;
        if self.catalog.current.is_some() && in_transaction && !self.catalog.dirty {
            return Ok(Ok(()));
        }
        if self.status == b'E' {
            return Ok(match self.catalog.current {
                Some(_) => Ok(()),
                None => Err("the transaction is aborted".to_owned()),
            });
        }
        let rows = match self.read_catalog().await? {
            Ok(rows) => rows,
            Err(reason) => return Ok(Err(reason)),
        };
        let known = self.shared.catalogs.pins(&key);
        let labels = Arc::clone(self.scope.labels());
        let (store, place) = (Arc::clone(&self.shared.pins), key.clone());
        let built = tokio::task::spawn_blocking(move || {
            let (target, database) = (&place.0, &place.1);
            let mut pins = match known {
                Some(pins) => pins,
                None => Pins::from_kept(store.load(target, database)?),
            };
            let catalog = Catalog::build(&rows, &labels, &mut pins)?;
            if let Some(changed) = pins.take_changed() {
                store.keep(target, database, &changed)?;
            }
            Ok::<_, String>((catalog, pins))
        });
        let (catalog, pins) = match built.await {
            Ok(Ok(built)) => built,
            Ok(Err(reason)) => return Ok(Err(reason)),
            Err(_) => return Ok(Err("it could not be built".to_owned())),
        };
        let (catalog, now) = (Arc::new(catalog), Instant::now());
        let private = in_transaction && self.catalog.dirty;
        let published = (!private).then(|| (Arc::clone(&catalog), now));
        self.shared.catalogs.keep(key, &digest, pins, published);
        self.catalog = super::exchange::CatalogState {
            current: Some(catalog),
            read_at: Some(now),
            fresh_until: now.checked_add(refresh),
            dirty: false,
            private,
        };
        Ok(Ok(()))
    }

    /// A batch of the extended protocol begins, if none is open: the last moment before it at which the catalog
    /// can be read outside of its transaction.
    pub(super) async fn begin_batch(
        &mut self,
        analysed: Option<&Analysed>,
    ) -> Result<(), SessionEnd> {
        if !self.batch_open && !self.pending.is_skipping() {
            self.refresh_policy().await?;
            // Why it could not be read is said where it is needed.
            if self.scope.needs_catalog()
                && self.refresh_catalog().await?.is_ok()
                && let Some(analysed) = analysed
            {
                self.look_again(analysed).await?;
            }
        }
        self.batch_open = true;
        Ok(())
    }

    /// Reads the catalog again if it does not know what a text names: somebody else may have made it since.
    pub(super) async fn look_again(&mut self, analysed: &Analysed) -> Result<(), SessionEnd> {
        let Analysis::Parsed(script) = analysed.analysis() else {
            return Ok(());
        };
        let names_unknown = self.catalog_in_use().is_some_and(|catalog| {
            let statements = script.statements.iter();
            let reading = statements.filter(|statement| !statement.changes_schema);
            reading.flat_map(|one| &one.relations).any(|named| {
                let found = catalog.resolve(named.schema.as_deref(), &named.name);
                matches!(found, Resolved::Unknown)
            })
        });
        // What cannot be read again leaves the older one, which refuses what it does not know.
        if names_unknown && self.catalog.outdate() {
            drop(self.refresh_catalog().await?);
        }
        Ok(())
    }

    async fn read_catalog(&mut self) -> Result<Result<Rows, String>, SessionEnd> {
        self.capture.rows = Rows::default();
        self.capture.error = None;
        for query in QUERIES {
            self.tell_server(|out| {
                message::parse(out, NAME, query.as_bytes());
                message::bind(out, NAME, NAME);
                message::execute(out, NAME);
                message::close(out, b'P', NAME);
                message::close(out, b'S', NAME);
            });
            self.pending.push_ours(Owed::DescribeStatement);
            self.pending.push_ours(Owed::Bind(name(NAME), None));
            self.pending.push_ours(Owed::Execute(name(NAME), None));
            self.pending.push_ours(Owed::ClosePortal(name(NAME)));
            self.pending.push_ours(Owed::CloseStatement(name(NAME)));
        }
        if self.batch_open {
            self.tell_server(message::flush);
        } else {
            self.tell_server(message::sync);
            self.pending.push_ours(Owed::Sync);
        }
        self.await_ours().await?;
        if let Some(error) = self.capture.error.take() {
            let body = error
                .get(weir_wire_postgres::frame::HEADER..)
                .unwrap_or_default();
            let text = backend::Fields::new(body).find(b'M').unwrap_or_default();
            return Ok(Err(String::from_utf8_lossy(text).into_owned()));
        }
        let rows = std::mem::take(&mut self.capture.rows);
        if rows.tables.len() != QUERIES.len() {
            return Ok(Err("the server went away".to_owned()));
        }
        Ok(Ok(rows))
    }

    /// Waits until every question of Weir's own has been answered.
    pub(super) async fn await_ours(&mut self) -> Result<(), SessionEnd> {
        while self.pending.newest_first().any(|entry| entry.ours) && !self.server.eof {
            self.pump(false).await?;
            self.take_server()?;
        }
        Ok(())
    }
}
