//! Weir's own questions over the client's session: invisible to the client, and only while the
//! server owes it nothing.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_sql::Analysis;
use weir_wire_postgres::{backend, message};

use super::cache::Analysed;
use super::catalog::{self, Catalog, Pins, QUERIES, Redefines, Resolved, Rows, Table};
use super::catalogs::Place;
use super::need::{Need, Unread};
use super::pending::{Owed, name};
use super::session::{Session, SessionEnd};

/// The text of a question, and the values of its parameters: each, and whether it is binary.
type Question<'a> = (&'a [u8], &'a [(Option<&'a [u8]>, bool)]);

const NAME: &[u8] = b"weir_catalog";
/// How long the reading may take, whatever the client's own statements may, in milliseconds: one wait for a lock,
/// whose holder may wait for Weir, and each question. A transaction of Weir's own is not the client's to limit.
const TIMEOUTS: &str = "SELECT pg_catalog.set_config(s.name, CASE s.name OPERATOR(pg_catalog.=) 'lock_timeout' \
    WHEN true THEN '500' ELSE '60000' END, true) FROM pg_catalog.pg_settings s \
    WHERE s.name OPERATOR(pg_catalog.=) ANY (ARRAY['lock_timeout', 'statement_timeout', 'transaction_timeout'])";
/// The same in a transaction that is the client's batch: what was set, and how it is set and taken back.
const HAD_TIMEOUTS: &str = "SELECT pg_catalog.current_setting('lock_timeout'), \
    pg_catalog.current_setting('statement_timeout')";
const SET_TIMEOUTS: &str = "SELECT pg_catalog.set_config('lock_timeout', $1, true), \
    pg_catalog.set_config('statement_timeout', $2, true)";
/// How often a transaction of Weir's own is given up before it is left to the client: each time may meet its own
/// time-out.
const UNDOES: usize = 64;
/// What the catalog is read in where no transaction is open: how it begins, ends and is given up.
const TRANSACTION: Frame = Frame {
    begin: &["BEGIN", TIMEOUTS],
    end: &["COMMIT"],
    undo: &["ROLLBACK"],
};
/// What it is read in within the client's transaction, which goes on whatever comes of it.
const SAVEPOINT: Frame = Frame {
    begin: &[
        "SAVEPOINT weir_catalog",
        "SET LOCAL lock_timeout = 500",
        "SET LOCAL statement_timeout = 60000",
    ],
    end: UNDO,
    undo: UNDO,
};
const UNDO: &[&str] = &[
    "ROLLBACK TO SAVEPOINT weir_catalog",
    "RELEASE SAVEPOINT weir_catalog",
];
/// How old a catalog must be before a name that it does not know has it read again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Statements around a reading, which leave nothing behind.
struct Frame {
    begin: &'static [&'static str],
    end: &'static [&'static str],
    undo: &'static [&'static str],
}

/// What one session knows of its database's catalog.
#[derive(Default)]
pub(super) struct CatalogState {
    current: Option<Arc<Catalog>>,
    /// When the reading began.
    read_at: Option<Instant>,
    /// Until when it is taken to be true.
    fresh_until: Option<Instant>,
    /// This session has changed the schema since.
    dirty: bool,
    /// The change may still be rolled back, and nobody else sees it.
    private: bool,
    /// Its transaction may have given another meaning to what other sessions know.
    changing: bool,
    /// Its transaction may have made something.
    making: bool,
    /// When others had made what is looked for: a catalog must be younger.
    outdated_by: Option<Instant>,
    /// Code of this session may have changed the schema since.
    doubted: bool,
    /// Up to which change of other sessions it was looked at.
    seen: u64,
    /// Why it could not be read, since it was tried last.
    failed: Option<Unread>,
    /// The text that was looked up last, if the catalog knows all that it names.
    explains: Option<Arc<Analysed>>,
}

impl CatalogState {
    pub(super) fn current(&self) -> Option<Arc<Catalog>> {
        self.current.clone()
    }

    fn is_fresh(&self, now: Instant) -> bool {
        !self.dirty
            && !self.private
            && !self.doubted
            && self.current.is_some()
            && self.fresh_until.is_some_and(|until| now < until)
    }

    /// The labels have changed: the catalog must be built again.
    pub(super) fn forget(&mut self) {
        *self = Self {
            dirty: self.dirty || self.private,
            doubted: self.doubted,
            changing: self.changing,
            making: self.making,
            ..Self::default()
        };
    }

    /// Gives up what is older than [`LOOK_AGAIN`], or than what a session of this engine has made; whether it
    /// did.
    pub(super) fn outdate(&mut self, made: Option<Instant>) -> bool {
        let is_old = self.read_at.is_some_and(|read_at| {
            read_at.elapsed() >= LOOK_AGAIN || made.is_some_and(|made| made >= read_at)
        });
        if is_old {
            self.fresh_until = None;
            self.outdated_by = made;
        }
        is_old
    }

    /// Takes over a catalog that was true at this time.
    fn take(&mut self, catalog: Arc<Catalog>, at: Instant, refresh: Duration, private: bool) {
        *self = Self {
            current: Some(catalog),
            read_at: Some(at),
            fresh_until: at.checked_add(refresh),
            private,
            changing: self.changing,
            making: self.making,
            seen: self.seen,
            ..Self::default()
        };
    }

    /// A statement of this session has changed the schema, and may have given names another meaning.
    pub(super) fn schema_changed(&mut self, redefines: bool) {
        self.dirty = true;
        self.making = true;
        self.changing |= redefines;
    }

    /// Whether it is what the open transaction alone has seen.
    pub(super) const fn is_private(&self) -> bool {
        self.private
    }

    /// A statement of this session has run code.
    pub(super) fn code_ran(&mut self, redefines: Redefines) {
        match redefines {
            Redefines::No => {}
            Redefines::Perhaps => self.doubted = true,
            Redefines::Yes => self.schema_changed(true),
        }
    }

    /// A transaction that was prepared, whoever did it, is committed: nobody knows what it has changed.
    pub(super) fn prepared_committed(&mut self) {
        self.dirty = true;
        self.making = true;
        self.changing = true;
    }

    /// A part of the transaction is taken back, and with it what it alone saw.
    pub(super) fn rolled_back(&mut self) {
        self.dirty |= self.private;
    }

    /// A transaction has ended; what it saw alone is settled one way or the other. Whether it may have given
    /// another meaning to what others know.
    pub(super) fn transaction_ended(&mut self) -> bool {
        self.dirty |= std::mem::take(&mut self.private);
        std::mem::take(&mut self.changing)
    }

    /// Whether the transaction may have given another meaning to names.
    pub(super) const fn is_changing(&self) -> bool {
        self.changing
    }

    /// Whether the transaction that has ended may have made something.
    pub(super) fn has_made(&mut self) -> bool {
        std::mem::take(&mut self.making)
    }
}

impl Session {
    /// Where this session's catalog is.
    pub(super) fn place(&self) -> Place {
        (
            self.connection.target.clone(),
            self.connection.database.clone(),
        )
    }

    /// Gives the catalog up if another session of this engine has changed the schema since it was read.
    fn notice_changes(&mut self) {
        let changes = self.shared.catalogs.changes();
        if changes == self.catalog.seen {
            return;
        }
        self.catalog.seen = changes;
        let changed = self.shared.catalogs.changed_at(&self.place());
        if self.catalog.read_at.is_some_and(|at| changed >= Some(at)) {
            self.catalog.fresh_until = None;
            // In a transaction only what is this session's own to read is read.
            self.catalog.dirty |= self.in_transaction();
        }
    }

    fn in_transaction(&self) -> bool {
        self.status != b'I' || self.batch_open
    }

    /// A transaction is over, or may be: what it has changed is there for others, or never will be.
    pub(super) fn transaction_over(&mut self) {
        if self.catalog.transaction_ended() {
            self.shared.catalogs.changed(self.place());
        }
        if self.catalog.has_made() {
            self.shared.catalogs.made(self.place());
        }
        // What is still under way may belong to the next one.
        if self.pending.active().next().is_none() {
            self.seat.over();
        }
    }

    /// Makes sure that the catalog is as fresh as the target asks for.
    pub(super) async fn refresh_catalog(&mut self) -> Result<Result<(), Unread>, SessionEnd> {
        self.notice_changes();
        if self.catalog.is_fresh(self.taken.steady()) {
            return Ok(Ok(()));
        }
        let refreshed = self.renew_catalog().await?;
        self.catalog.failed = refreshed.as_ref().err().cloned();
        Ok(refreshed)
    }

    async fn renew_catalog(&mut self) -> Result<Result<(), Unread>, SessionEnd> {
        let bundle = self.shared.policies.current();
        let digest = bundle.digest().to_owned();
        let refresh = bundle
            .target_named(&self.connection.target)
            .map_or(Duration::from_secs(60), |(_, target)| {
                target.catalog.refresh
            });
        let key = self.place();
        if self.settle_doubt(&key).await? {
            return Ok(Ok(()));
        }
        if !self.catalog.dirty && !self.catalog.private {
            let shared = self.shared.catalogs.shared(&key, &digest);
            let given_up = self
                .catalog
                .read_at
                .max(self.catalog.outdated_by)
                .max(self.shared.catalogs.changed_at(&key));
            let newer = |at: Instant| given_up.is_none_or(|given_up| at > given_up);
            let has_own = |catalog: &Arc<Catalog>| catalog.is_temporary;
            let shared = shared.filter(|_| !self.catalog.current.as_ref().is_some_and(has_own));
            if let Some((catalog, at)) =
                shared.filter(|(_, at)| at.elapsed() < refresh && newer(*at))
            {
                self.catalog.current = Some(catalog);
                self.catalog.explains = None;
                self.catalog.read_at = Some(at);
                self.catalog.fresh_until = at.checked_add(refresh);
                return Ok(Ok(()));
            }
        } else if !self.catalog.dirty {
            return Ok(Ok(()));
        }
        self.drain().await?;
        let in_transaction = self.in_transaction();
        let is_settled = in_transaction && !self.catalog.dirty;
        match &self.catalog.failed {
            // What could not be read when it was time to is not known better by now.
            Some(failed) if is_settled || self.batch_open => return Ok(Err(failed.clone())),
            None if is_settled && self.catalog.current.is_some() => return Ok(Ok(())),
            _ => {}
        }
        if self.status == b'E' {
            return Ok(match self.catalog.current {
                Some(_) => Ok(()),
                None => Err("the transaction is aborted".into()),
            });
        }
        let now = Instant::now();
        let (rows, stamp) = match self.read_catalog().await? {
            Ok(read) => read,
            Err(unread) if unread.is_locked && !in_transaction => {
                let same = self.unchanged_catalog(&key, &digest).await?;
                let Some(catalog) = same else {
                    return Ok(Err(unread));
                };
                self.shared.catalogs.confirm(&key, &digest, &catalog, now);
                self.catalog.take(catalog, now, refresh, false);
                return Ok(Ok(()));
            }
            Err(unread) => return Ok(Err(unread)),
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
            let mut catalog = Catalog::build(&rows, &labels, &mut pins)?;
            catalog.stamp = stamp;
            if let Some(changed) = pins.take_changed() {
                store.keep(target, database, &changed)?;
            }
            Ok::<_, String>((catalog, pins))
        });
        let (catalog, pins) = match built.await {
            Ok(Ok(built)) => built,
            Ok(Err(reason)) => return Ok(Err(reason.into())),
            Err(_) => return Ok(Err("it could not be built".into())),
        };
        let catalog = Arc::new(catalog);
        let private = in_transaction && self.catalog.dirty;
        let for_all = !private && !catalog.is_temporary;
        let published = for_all.then(|| (Arc::clone(&catalog), now));
        self.shared.catalogs.keep(key, &digest, pins, published);
        self.catalog.take(catalog, now, refresh, private);
        Ok(Ok(()))
    }

    /// Where code may have changed the schema, whether it has: if not, and the catalog is good in all else, it goes on.
    async fn settle_doubt(&mut self, key: &Place) -> Result<bool, SessionEnd> {
        if !self.catalog.doubted {
            return Ok(false);
        }
        self.drain().await?;
        if self.status == b'E' {
            return Ok(false);
        }
        self.catalog.doubted = false;
        if self.catalog.dirty || self.catalog.private {
            self.catalog.schema_changed(true);
            return Ok(false);
        }
        let known = self
            .catalog
            .current
            .as_ref()
            .and_then(|it| it.stamp.clone());
        let same = known.is_some() && known == self.stamp().await?;
        if !same {
            self.catalog.schema_changed(true);
            if !self.in_transaction() {
                self.shared.catalogs.changed(key.clone());
            }
        }
        Ok(self.catalog.is_fresh(self.taken.steady()))
    }

    /// What the server's own tables are now, as the session's transaction sees them.
    async fn stamp(&mut self) -> Result<Option<Box<str>>, SessionEnd> {
        let stamp = catalog::stamp();
        let question = [plain(&stamp)];
        let asked = match (self.batch_open, self.status) {
            (true, _) => self.ask_in_batch(&question).await?,
            (false, b'I') => self.ask_within(&TRANSACTION, &question).await?,
            (false, _) => self.ask_within(&SAVEPOINT, &question).await?,
        };
        Ok(asked.ok().and_then(|tables| cell(tables.first())))
    }

    /// A catalog that was read before, if the server's own tables are still what they were then: it is true,
    /// though it cannot be read again now.
    async fn unchanged_catalog(
        &mut self,
        key: &Place,
        digest: &str,
    ) -> Result<Option<Arc<Catalog>>, SessionEnd> {
        let shared = self.shared.catalogs.shared(key, digest);
        let current = self.catalog.current.clone();
        let has_own = current.as_ref().is_some_and(|current| current.is_temporary);
        let shared = shared.filter(|_| !has_own);
        let known = [shared.map(|(catalog, _)| catalog), current];
        let has_stamp = |catalog: &Arc<Catalog>| catalog.stamp.is_some();
        let known: Vec<_> = known.into_iter().flatten().filter(has_stamp).collect();
        if known.is_empty() {
            return Ok(None);
        }
        let stamp = self.stamp().await?;
        Ok(known.into_iter().find(|catalog| catalog.stamp == stamp))
    }

    /// A batch of the extended protocol begins, if none is open: the last moment before it at which the catalog
    /// can be read outside of its transaction.
    pub(super) async fn begin_batch(
        &mut self,
        analysed: Option<&Arc<Analysed>>,
    ) -> Result<(), SessionEnd> {
        self.note_beginning();
        if !self.batch_open && !self.pending.is_skipping() {
            self.refresh_policy().await?;
            if let Some(analysed) = analysed {
                // Where it waited in vain, what comes back is looked at.
                drop(self.await_definitions(analysed).await?);
            }
            let need = analysed.map_or(Need::Fresh, |analysed| analysed.need());
            let waits = need >= Need::Begins || need == Need::Nothing && self.status == b'I';
            if need == Need::Alone && !self.catalog.is_fresh(self.taken.steady()) {
                self.catalog.failed = Some("it was not read before the batch".into());
            }
            // Why it could not be read is kept, and said where it is needed.
            if waits
                && self.scope.needs_catalog()
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
    pub(super) async fn look_again(&mut self, analysed: &Arc<Analysed>) -> Result<(), SessionEnd> {
        let explains = self.catalog.explains.as_ref();
        if explains.is_some_and(|known| std::ptr::eq(known.analysis(), analysed.analysis())) {
            return Ok(());
        }
        let Analysis::Parsed(script) = analysed.analysis() else {
            return Ok(());
        };
        let Some(catalog) = self.catalog_in_use() else {
            return Ok(());
        };
        let statements = script.statements.iter();
        let reading = statements.filter(|it| !it.changes_schema || it.unless_exists);
        let names_unknown = reading.flat_map(|one| &one.relations).any(|named| {
            let found = catalog.resolve(named.schema.as_deref(), &named.name);
            matches!(found, Resolved::Unknown)
        });
        if !names_unknown {
            self.catalog.explains = Some(Arc::clone(analysed));
            return Ok(());
        }
        let made = self.shared.catalogs.made_at(&self.place());
        let fresh_until = self.catalog.fresh_until;
        if self.catalog.outdate(made) && self.refresh_catalog().await?.is_err() {
            // What cannot be read again leaves the older one, which refuses what it does not know.
            self.catalog.fresh_until = fresh_until;
            self.catalog.failed = None;
        }
        Ok(())
    }

    /// Reads the catalog without waiting long for a lock: what the queries returned, and the stamp where no
    /// transaction was open. Nothing that it does stays.
    async fn read_catalog(
        &mut self,
    ) -> Result<Result<(Rows, Option<Box<str>>), Unread>, SessionEnd> {
        let in_hex = !self.encodings.is_utf8() || self.reading_unsure;
        let texts = QUERIES.map(|(query, columns)| match in_hex {
            true => catalog::in_hex(query, columns).into(),
            false => Cow::Borrowed(query),
        });
        let queries = texts.each_ref().map(|text| plain(text));
        let asked = match (self.batch_open, self.status) {
            (true, _) => self.ask_in_batch(&queries).await?,
            (false, b'I') => {
                let stamp = catalog::stamp();
                let with_stamp: Vec<_> = [plain(&stamp)].into_iter().chain(queries).collect();
                self.ask_within(&TRANSACTION, &with_stamp).await?
            }
            (false, _) => self.ask_within(&SAVEPOINT, &queries).await?,
        };
        let mut tables = match asked {
            Ok(tables) => tables,
            Err(unread) => return Ok(Err(unread)),
        };
        let own = tables.len().checked_sub(QUERIES.len());
        let Some(own) = own.filter(|_| !self.server.eof) else {
            return Ok(Err("the server went away".into()));
        };
        let rows = Rows {
            tables: tables.split_off(own),
        };
        let rows = if in_hex { rows.out_of_hex() } else { Ok(rows) };
        let read = rows.map(|rows| (rows, cell(tables.first())));
        Ok(read.map_err(Unread::from))
    }

    /// Asks in a transaction or behind a savepoint, which is gone when this returns.
    async fn ask_within(
        &mut self,
        frame: &Frame,
        questions: &[Question<'_>],
    ) -> Result<Result<Vec<Table>, Unread>, SessionEnd> {
        let before = frame.begin.iter().map(|text| plain(text));
        let after = frame.end.iter().map(|text| plain(text));
        let all: Vec<_> = before
            .chain(questions.iter().copied())
            .chain(after)
            .collect();
        let asked = self.ask_server(NAME, &all).await?;
        let undo: Vec<_> = frame.undo.iter().map(|text| plain(text)).collect();
        for _ in 0..UNDOES {
            if asked.is_ok() || self.status != b'E' || self.server.eof {
                break;
            }
            drop(self.ask_server(NAME, &undo).await?);
        }
        Ok(asked.and_then(|rows| answers(rows, frame.begin.len(), questions.len())))
    }

    /// Asks within the client's batch, which a failure ends: the client is told why.
    async fn ask_in_batch(
        &mut self,
        questions: &[Question<'_>],
    ) -> Result<Result<Vec<Table>, Unread>, SessionEnd> {
        let asked = self.ask_server(NAME, &[plain(HAD_TIMEOUTS)]).await?;
        let had = asked.and_then(|rows| {
            let had = rows
                .tables
                .into_iter()
                .next()
                .and_then(|rows| rows.into_iter().next());
            had.ok_or_else(|| "the server went away".into())
        });
        let asked = match had {
            Ok(had) => {
                let value = |at: usize| Some(had.get(at)?.as_deref()?.as_bytes());
                let bind = [(Some(&b"500"[..]), false), (Some(&b"60000"[..]), false)];
                let back = [(value(0), false), (value(1), false)];
                let set = |value| (SET_TIMEOUTS.as_bytes(), value);
                let all: Vec<Question<'_>> = [set(&bind[..])]
                    .into_iter()
                    .chain(questions.iter().copied())
                    .chain([set(&back[..])])
                    .collect();
                let asked = self.ask_server(NAME, &all).await?;
                asked.and_then(|rows| answers(rows, 1, questions.len()))
            }
            Err(unread) => Err(unread),
        };
        if let Err(unread) = &asked
            && self.pending.is_skipping()
        {
            let refusal = unread.refusal();
            self.tell_client(|out| refusal.write(out));
        }
        Ok(asked)
    }

    /// Asks the server questions of Weir's own, each with the values of its parameters, prepared and run
    /// under a name of Weir's own. Call it only while the server owes nothing. The inner error is what the
    /// server said of the first that failed.
    pub(super) async fn ask_server(
        &mut self,
        own: &[u8],
        questions: &[Question<'_>],
    ) -> Result<Result<Rows, Unread>, SessionEnd> {
        self.capture.rows = Rows::default();
        self.capture.error = None;
        // What failed before has left it there.
        self.tell_server(|out| {
            message::close(out, b'P', own);
            message::close(out, b'S', own);
        });
        self.pending.push_ours(Owed::ClosePortal(name(own)));
        self.pending.push_ours(Owed::CloseStatement(name(own)));
        for (question, values) in questions {
            self.tell_server(|out| {
                message::parse(out, own, question);
                message::bind_values(out, own, own, values);
                message::execute(out, own);
                message::close(out, b'P', own);
                message::close(out, b'S', own);
            });
            self.pending.push_ours(Owed::DescribeStatement);
            self.pending.push_ours(Owed::Bind(name(own), None));
            self.pending.push_ours(Owed::Execute(name(own), None));
            self.pending.push_ours(Owed::ClosePortal(name(own)));
            self.pending.push_ours(Owed::CloseStatement(name(own)));
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
            let field = |code| backend::Fields::new(body).find(code).unwrap_or_default();
            return Ok(Err(Unread::said(field(b'C'), field(b'M'))));
        }
        Ok(Ok(std::mem::take(&mut self.capture.rows)))
    }

    /// How the open transaction is isolated; `None` where the server does not say. Call it only while the server
    /// owes nothing.
    pub(super) async fn ask_isolation(&mut self) -> Result<Option<Box<str>>, SessionEnd> {
        let asked = self
            .ask_server(NAME, &[plain("SHOW transaction_isolation")])
            .await?;
        Ok(asked.ok().and_then(|rows| cell(rows.tables.first())))
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

/// A question without parameters.
fn plain(text: &str) -> Question<'_> {
    (text.as_bytes(), &[])
}

/// What came in answer to these of the questions.
fn answers(rows: Rows, skip: usize, count: usize) -> Result<Vec<Table>, Unread> {
    let tables: Vec<Table> = rows.tables.into_iter().skip(skip).take(count).collect();
    match tables.len() == count {
        true => Ok(tables),
        false => Err("the server went away".into()),
    }
}

fn cell(table: Option<&Table>) -> Option<Box<str>> {
    table?.first()?.first()?.clone()
}
