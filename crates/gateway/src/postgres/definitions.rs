//! Definitions that sessions of this engine change while statements of others are under way.
//!
//! A statement is judged by the names that are in force, and the server reads its names later: after a lock
//! was waited for, or behind a slow statement of its pipeline. Between the two another session may have given
//! those names to something else. So
//! - a change is known from before it goes to the server until its end has come back, with what it names;
//! - what comes back for a statement goes on only if no change that it could have met was committed since it
//!   was judged, or may be committed just now ([`Watch::met`]);
//! - a statement outside of a transaction that stores something could not be taken back: a change that it
//!   could meet is committed only when it has ended, or was cancelled ([`Watch::cleared`]), and none begins while a
//!   change is being committed ([`Watch::bars_statement`]).
//!
//! Changes by others than sessions of this engine are not known here.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use weir_sql::builtin::{self, FunctionClass};
use weir_sql::{Access, Analysis, Code, RelationRef, Statement, Transaction};

use super::cache::Analysed;
use super::catalog::{Catalog, Resolved, words};
use super::catalogs::{Place, redefines};
use crate::engine::Shared;

/// How many committed changes of a place are told apart; older ones could have met anything.
const REMEMBERED: usize = 64;
/// How long a statement waits for a change, and a change for statements.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a change waits before it has statements cancelled.
const COURTESY: Duration = Duration::from_millis(500);
/// How long a change of a session that is gone may still be committed by the server.
const LINGERS: Duration = Duration::from_secs(5);

/// What is named; nobody knows all that some statements name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    /// It may be anything.
    Any,
    /// Relations, whatever their schemas.
    Only(BTreeSet<Box<str>>),
}

impl Names {
    fn meet(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::Only(some), Self::Only(others)) => !some.is_disjoint(others),
            (Self::Only(some), Self::Any) | (Self::Any, Self::Only(some)) => !some.is_empty(),
            (Self::Any, Self::Any) => true,
        }
    }

    pub(super) fn add(&mut self, others: Self) {
        match (&mut *self, others) {
            (Self::Only(some), Self::Only(others)) => some.extend(others),
            _ => *self = Self::Any,
        }
    }

    /// What a change gives another meaning to.
    pub(super) fn changed_by(statement: &Statement) -> Self {
        let of_relations = matches!(
            statement.tag,
            "ALTER TABLE"
                | "ALTER VIEW"
                | "ALTER MATERIALIZED VIEW"
                | "ALTER FOREIGN TABLE"
                | "ALTER INDEX"
                | "ALTER SEQUENCE"
                | "CREATE TABLE"
                | "CREATE TABLE AS"
                | "SELECT INTO"
                | "CREATE VIEW"
                | "CREATE MATERIALIZED VIEW"
                | "DROP VIEW"
                | "DROP MATERIALIZED VIEW"
                | "CREATE TRIGGER"
                | "CREATE RULE"
                | "CREATE POLICY"
        );
        if !of_relations || !statement.code.is_empty() || statement.relations.is_empty() {
            return Self::Any;
        }
        let named = statement.relations.iter().map(|it| it.name.as_str());
        let renamed = statement.renames.iter().map(|it| it.to.as_str());
        Self::Only(named.chain(renamed).map(Box::from).collect())
    }

    /// What the meaning of a text depends on.
    fn of_text(analysed: &Analysed, catalog: Option<&Catalog>) -> Self {
        let Analysis::Parsed(script) = analysed.analysis() else {
            return Self::Any;
        };
        let mut names = Self::Only(BTreeSet::new());
        for statement in &script.statements {
            names.add(Self::of_statement(statement, catalog));
        }
        names
    }

    fn of_statement(statement: &Statement, catalog: Option<&Catalog>) -> Self {
        let hidden = statement.executes.is_some()
            || statement.fetches.is_some()
            || statement.opaque.is_some()
            || !statement.code.is_empty()
            || !statement.operators.is_empty()
            || !statement.types.is_empty()
            || statement.functions.iter().any(|it| is_foreign(&it.name))
            || catalog.is_some_and(|catalog| catalog.has_function(&statement.fields));
        let inner = statement.prepares.iter().map(|it| &*it.body);
        let inner = inner.chain(statement.declares.iter().map(|it| &*it.body));
        let mut names = match hidden {
            true => Self::Any,
            false => Self::Only(BTreeSet::new()),
        };
        for relation in &statement.relations {
            names.add(Self::behind(relation, catalog));
        }
        for statement in inner.chain(&statement.contained) {
            names.add(Self::of_statement(statement, catalog));
        }
        names
    }

    /// A relation, and all that it reads.
    fn behind(named: &RelationRef, catalog: Option<&Catalog>) -> Self {
        let mut found = BTreeSet::from([Box::from(named.name.as_str())]);
        let Some(catalog) = catalog else {
            return Self::Only(found);
        };
        let relation = match catalog.resolve(named.schema.as_deref(), &named.name) {
            Resolved::One(relation) => relation,
            Resolved::Unknown => return Self::Only(found),
            Resolved::Ambiguous(_) => return Self::Any,
        };
        let runs_code = named.access == Access::Write && relation.has_code();
        if runs_code || relation.calls.iter().any(|name| is_foreign(name)) {
            return Self::Any;
        }
        found.extend(relation.reads.iter().map(|(_, name)| Box::from(&**name)));
        found.extend(catalog.kin_of(relation).map(Box::from));
        Self::Only(found)
    }
}

/// Whether a function is none of the server's own, by its name.
fn is_foreign(name: &str) -> bool {
    builtin::class(name).is_none()
}

/// Whether a statement may give a name another meaning than it has for others.
pub(super) fn gives_meaning(statement: &Statement) -> bool {
    const DEFINING: [&str; 7] = ["create", "alter", "drop", "execute", "call", "do", "import"];
    let runs_definitions = |code: &Code| {
        code.language.as_deref() != Some("plpgsql")
            || words(&code.text).any(|word| DEFINING.contains(&word.as_str()))
    };
    let is_nameless = matches!(
        statement.tag,
        "GRANT" | "REVOKE" | "GRANT ROLE" | "REVOKE ROLE" | "COMMENT" | "CREATE SCHEMA"
    );
    let commits = matches!(statement.transaction, Some(Transaction::CommitPrepared(_)));
    match statement.tag {
        "DO" => statement.code.iter().any(runs_definitions),
        _ => commits || statement.changes_schema && !is_nameless && redefines(statement),
    }
}

/// Whether what a text does outlasts its answer: it is no mere reading.
pub(super) fn outlasts(analysis: &Analysis) -> bool {
    let Analysis::Parsed(script) = analysis else {
        return true;
    };
    let is_pure = |name: &str| builtin::class(name) == Some(FunctionClass::Pure);
    script.statements.iter().any(|statement| {
        let plain_insert = statement.tag == "INSERT" && statement.relations.len() == 1;
        let writes = statement
            .relations
            .iter()
            .any(|it| it.access == Access::Write);
        let reads = matches!(statement.tag, "SELECT" | "SHOW" | "COPY" | "FETCH" | "");
        let pure = statement.functions.iter().all(|it| is_pure(&it.name));
        statement.transaction.is_none()
            && !(pure && (plain_insert || reads && !writes && !statement.changes_schema))
    })
}

/// The changes at all places, and the statements that outlast their answers.
#[derive(Default)]
pub(crate) struct Definitions {
    places: Mutex<HashMap<Place, Changes>>,
    /// Counts what happens to changes.
    turn: AtomicU64,
    /// How many changes are under way.
    open: AtomicU64,
    seats: AtomicU64,
    ended: Notify,
}

#[derive(Default)]
struct Changes {
    open: Vec<Open>,
    committed: VecDeque<Committed>,
    /// The newest that is no longer told apart.
    forgotten: u64,
    lasting: Vec<Lasting>,
}

struct Open {
    seat: u64,
    names: Names,
    /// It may be committed from now on.
    ends: bool,
}

/// A change that was committed, or may have been.
struct Committed {
    at: u64,
    seat: u64,
    names: Names,
}

/// A statement under way that outlasts its answer.
struct Lasting {
    cancel: Arc<Cancel>,
    seat: u64,
    turn: u64,
    analysed: Arc<Analysed>,
    catalog: Option<Arc<Catalog>>,
}

/// Cancels what a session has under way.
struct Cancel {
    send: Box<dyn Fn() + Send + Sync>,
    sent: AtomicBool,
}

/// A text and the catalog that it was judged by.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) analysed: &'a Arc<Analysed>,
    pub(super) catalog: Option<&'a Arc<Catalog>>,
}

impl Reading<'_> {
    fn names(self) -> Names {
        Names::of_text(self.analysed, self.catalog.map(|it| &**it))
    }
}

impl Definitions {
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::SeqCst)
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Place, Changes>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// Where a session stands among those whose changes are known.
#[derive(Clone)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    place: Place,
    seat: u64,
}

impl Watch {
    fn changes<T>(&self, look: impl FnOnce(&mut Changes) -> T) -> T {
        let mut places = self.shared.definitions.places();
        match places.get_mut(&self.place) {
            Some(changes) => look(changes),
            None => look(places.entry(self.place.clone()).or_default()),
        }
    }

    /// Whether a statement that was judged at that turn may have met a change since.
    pub(super) fn met(&self, reading: Reading<'_>, since: u64) -> bool {
        self.changes(|changes| {
            if since < changes.forgotten {
                return true;
            }
            let is_new = |it: &&Committed| it.at > since && it.seat != self.seat;
            let committed = changes.committed.iter().filter(is_new);
            let ending = |it: &&Open| it.ends && it.seat != self.seat;
            let ending = changes.open.iter().filter(ending);
            let changed = committed.map(|it| &it.names);
            let mut names = None;
            changed
                .chain(ending.map(|it| &it.names))
                .any(|changed| changed.meet(names.get_or_insert_with(|| reading.names())))
        })
    }

    /// Whether a statement outside of a transaction waits: what it names is being changed, or a change that it
    /// could meet is being committed.
    pub(super) fn bars_statement(&self, reading: Reading<'_>) -> bool {
        self.changes(|changes| self.is_barred(changes, reading))
    }

    fn is_barred(&self, changes: &Changes, reading: Reading<'_>) -> bool {
        let mut names = None;
        let mut others = changes.open.iter().filter(|it| it.seat != self.seat);
        others.any(|open| {
            (open.ends || matches!(open.names, Names::Only(_)))
                && open
                    .names
                    .meet(names.get_or_insert_with(|| reading.names()))
        })
    }

    /// What this session's changes wait for: statements that they could meet, under way before that turn.
    fn in_the_way(&self, before: u64) -> Vec<Arc<Cancel>> {
        self.changes(|changes| {
            let own = changes.open.iter().find(|it| it.seat == self.seat);
            let others = changes.lasting.iter().filter(|it| {
                let names = || Names::of_text(&it.analysed, it.catalog.as_deref());
                let meets = |own: &Open| own.names.meet(&names());
                it.seat != self.seat && it.turn < before && own.is_some_and(meets)
            });
            others.map(|it| Arc::clone(&it.cancel)).collect()
        })
    }

    /// Waits until nothing is in the way of this session's changes. What is may wait for a lock that they hold:
    /// it is cancelled, again and again.
    pub(super) async fn cleared(&self, before: u64) -> bool {
        let cleared = async {
            let in_the_way = |watch: &Self| !watch.in_the_way(before).is_empty();
            while !self.freed(COURTESY, in_the_way).await {
                for cancel in self.in_the_way(before) {
                    cancel.sent.store(true, Ordering::SeqCst);
                    (cancel.send)();
                }
            }
        };
        tokio::time::timeout(PATIENCE, cleared).await.is_ok()
    }

    /// Waits for as long as something is barred, and no longer than that; whether it is free.
    pub(super) async fn free(&self, barred: impl Fn(&Self) -> bool) -> bool {
        self.freed(PATIENCE, barred).await
    }

    async fn freed(&self, patience: Duration, barred: impl Fn(&Self) -> bool) -> bool {
        let freed = async {
            loop {
                let mut ended = std::pin::pin!(self.shared.definitions.ended.notified());
                ended.as_mut().enable();
                if !barred(self) {
                    return;
                }
                ended.await;
            }
        };
        tokio::time::timeout(patience, freed).await.is_ok()
    }

    fn over(&self) {
        let definitions = &self.shared.definitions;
        self.changes(|changes| {
            let Some(at) = changes.open.iter().position(|it| it.seat == self.seat) else {
                return;
            };
            let names = changes.open.swap_remove(at).names;
            changes.committed.push_back(Committed {
                at: definitions.next(),
                seat: self.seat,
                names,
            });
            if changes.committed.len() > REMEMBERED
                && let Some(oldest) = changes.committed.pop_front()
            {
                changes.forgotten = oldest.at;
            }
            definitions.open.fetch_sub(1, Ordering::SeqCst);
        });
        definitions.ended.notify_waiters();
    }
}

/// A session's own part in it.
pub(super) struct Seat {
    watch: Watch,
    cancel: Arc<Cancel>,
    /// It has changes under way.
    changes: bool,
    /// They are all of the transaction that the message under way ends.
    settles: bool,
    /// It has statements under way that outlast their answers.
    lasts: bool,
}

impl Seat {
    /// A place; `cancel` cancels what the session has under way.
    pub(super) fn take(
        shared: &Arc<Shared>,
        place: Place,
        cancel: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let watch = Watch {
            shared: Arc::clone(shared),
            place,
            seat: shared.definitions.seats.fetch_add(1, Ordering::Relaxed),
        };
        Self {
            watch,
            cancel: Arc::new(Cancel {
                send: Box::new(cancel),
                sent: AtomicBool::new(false),
            }),
            changes: false,
            settles: false,
            lasts: false,
        }
    }

    pub(super) const fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(super) fn turn(&self) -> u64 {
        self.watch.shared.definitions.turn()
    }

    /// Whether another session has changes under way, wherever.
    pub(super) fn others_change(&self) -> bool {
        let open = self.watch.shared.definitions.open.load(Ordering::SeqCst);
        open > u64::from(self.changes)
    }

    /// Whether this session has.
    pub(super) const fn changes(&self) -> bool {
        self.changes
    }

    /// A change is about to go to the server, and may be committed at once if it `ends`.
    pub(super) fn begins(&mut self, names: Names, ends: bool) {
        let (seat, definitions) = (self.watch.seat, &self.watch.shared.definitions);
        self.watch.changes(|changes| {
            match changes.open.iter_mut().find(|it| it.seat == seat) {
                Some(open) => {
                    open.names.add(names);
                    open.ends |= ends;
                }
                None => {
                    definitions.open.fetch_add(1, Ordering::SeqCst);
                    changes.open.push(Open { seat, names, ends });
                }
            }
            definitions.next();
        });
        self.changes = true;
    }

    /// What this session has changed may be committed by what goes to the server next, which changes nothing
    /// itself.
    pub(super) fn ends(&mut self) {
        if self.changes {
            self.begins(Names::Only(BTreeSet::new()), true);
            self.settles = true;
        }
    }

    /// The message under way has been answered, and a transaction may have begun in it.
    pub(super) fn answered(&mut self) {
        if self.settles {
            self.over();
        }
    }

    /// The transaction with the changes is over.
    pub(super) fn over(&mut self) {
        self.settles = false;
        if std::mem::take(&mut self.changes) {
            self.watch.over();
        }
    }

    /// A statement that outlasts its answer is about to go to the server, unless a change is in its way.
    pub(super) fn lasts(&mut self, reading: Reading<'_>) -> bool {
        let (watch, turn) = (&self.watch, self.turn());
        let free = watch.changes(|changes| {
            let free = !watch.is_barred(changes, reading);
            if free {
                changes.lasting.push(Lasting {
                    cancel: Arc::clone(&self.cancel),
                    seat: watch.seat,
                    turn,
                    analysed: Arc::clone(reading.analysed),
                    catalog: reading.catalog.cloned(),
                });
            }
            free
        });
        self.lasts |= free;
        free
    }

    /// Whether what this session had under way was cancelled for a change of another one; asked once.
    pub(super) fn was_cancelled(&self) -> bool {
        self.cancel.sent.swap(false, Ordering::SeqCst)
    }

    /// All that this session had under way has been answered.
    pub(super) fn rests(&mut self) {
        if std::mem::take(&mut self.lasts) {
            let seat = self.watch.seat;
            self.watch
                .changes(|changes| changes.lasting.retain(|it| it.seat != seat));
            self.watch.shared.definitions.ended.notify_waiters();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.rests();
        if !self.changes {
            return;
        }
        // Nobody hears what the server makes of it.
        self.ends();
        let watch = self.watch.clone();
        let changed = move |watch: &Watch| watch.shared.catalogs.changed(watch.place.clone());
        changed(&watch);
        tokio::spawn(async move {
            tokio::time::sleep(LINGERS).await;
            changed(&watch);
            watch.over();
        });
    }
}

#[cfg(test)]
mod tests {
    use weir_sql::LexSettings;

    use super::super::cache::StatementCache;
    use super::*;

    fn analysed(text: &str) -> Arc<Analysed> {
        StatementCache::default().analyse(text, &LexSettings::default())
    }

    fn changed(text: &str) -> Names {
        let analysed = analysed(text);
        let Analysis::Parsed(script) = analysed.analysis() else {
            panic!("{text}");
        };
        Names::changed_by(&script.statements[0])
    }

    #[test]
    fn a_change_meets_what_names_the_same() {
        let rename = changed("ALTER TABLE public.customers RENAME COLUMN ssn TO region");
        let moved = changed("ALTER TABLE customers RENAME TO leads");
        let view = changed("CREATE VIEW v AS SELECT 1");
        let names = |text: &str| Names::of_text(&analysed(text), None);
        for (change, text, met) in [
            (&rename, "SELECT region FROM customers", true),
            (&rename, "WITH c AS (TABLE customers) SELECT 1 FROM c", true),
            (&rename, "DECLARE c CURSOR FOR TABLE customers", true),
            (&rename, "PREPARE p AS TABLE customers", true),
            (&rename, "SELECT region FROM leads", false),
            (&rename, "SELECT f(1)", true),
            (&rename, "SELECT lower('x')", false),
            (&rename, "EXECUTE p", true),
            (&rename, "FETCH c", true),
            (&rename, "DO 'BEGIN END'", true),
            (&moved, "TABLE leads", true),
            (&moved, "TABLE customers", true),
            (&view, "TABLE v", true),
            (&view, "TABLE customers", false),
        ] {
            assert_eq!(change.meet(&names(text)), met, "{text}");
        }
        for text in [
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "ALTER SCHEMA a RENAME TO b",
            "DROP FUNCTION f()",
            "ALTER TYPE t RENAME TO u",
            "DO 'BEGIN END'",
        ] {
            assert_eq!(changed(text), Names::Any, "{text}");
        }
        assert!(Names::Any.meet(&names("TABLE customers")));
        assert!(!Names::Any.meet(&names("SELECT 1")));
    }

    #[test]
    fn only_what_defines_something_gives_a_name_another_meaning() {
        for (text, gives) in [
            ("ALTER TABLE t RENAME a TO b", true),
            ("CREATE OR REPLACE VIEW v AS SELECT 1", true),
            ("DROP FUNCTION f()", true),
            ("COMMIT PREPARED 'x'", true),
            ("DO 'BEGIN ALTER TABLE t RENAME a TO b; END'", true),
            ("DO 'BEGIN EXECUTE x; END'", true),
            ("DO LANGUAGE plperl 'x'", true),
            ("DO 'BEGIN UPDATE t SET a = 1; END'", false),
            ("CREATE TABLE t (a int)", false),
            ("CREATE TEMP TABLE t AS SELECT 1", false),
            ("DROP TABLE t", false),
            ("GRANT SELECT ON t TO u", false),
            ("COMMENT ON TABLE t IS 'x'", false),
            ("UPDATE t SET a = 1", false),
            ("COMMIT", false),
        ] {
            let analysed = analysed(text);
            let Analysis::Parsed(script) = analysed.analysis() else {
                panic!("{text}");
            };
            assert_eq!(gives_meaning(&script.statements[0]), gives, "{text}");
        }
    }

    #[test]
    fn what_stores_something_outlasts_its_answer() {
        for (text, lasts) in [
            ("SELECT a FROM t", false),
            ("SELECT lower(a) FROM t", false),
            ("INSERT INTO t VALUES (1)", false),
            ("COMMIT", false),
            ("SHOW a", false),
            ("COPY t TO STDOUT", false),
            ("INSERT INTO t SELECT a FROM u", true),
            ("INSERT INTO t VALUES (f(1))", true),
            ("UPDATE t SET a = b", true),
            ("DELETE FROM t WHERE a = 'x'", true),
            ("SELECT a INTO u FROM t", true),
            ("CREATE TABLE u AS SELECT a FROM t", true),
            ("SELECT set_config('a.b', a, false) FROM t", true),
            ("SELECT f(a) FROM t", true),
            (
                "WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x",
                true,
            ),
            ("SELECT 1 FROM t; UPDATE t SET a = b", true),
            ("DO 'BEGIN END'", true),
            ("SELECT 1 +", true),
        ] {
            assert_eq!(analysed(text).outlasts(), lasts, "{text}");
        }
    }
}
