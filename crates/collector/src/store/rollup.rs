//! Sums per day, kept while evidence arrives: the overview and the questions read these, not events.
//!
//! Invariants
//! - Sums are written in the transaction that stores the frames that they count, so nothing is
//!   counted twice and nothing that was acknowledged is missing.
//! - Whatever numbers an engine claims, a sum never overflows.
//! - An engine whose clock is ahead counts for tomorrow at most.
//!
//! They outlive the evidence that the store's size drove out, and go by age with the rest: by when something
//! last counted into them, whatever day an engine's clock said.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};
use weir_audit::{Body, Decision, Event, Names, Session, StatementFinished, Timestamp};

use super::CollectorError;
use super::clock::own_day;
use super::holds::HoldNotes;
use super::index::Kind;
use super::ingest::Keys;

const DAY_US: u64 = 24 * 3600 * 1_000_000;
/// No sum claims more: two of them still fit SQLite's integers.
const MOST: u64 = 1 << 61;

/// Days since 1970-01-01, UTC.
pub(crate) fn day_of(time: Timestamp) -> u64 {
    time.as_micros() / DAY_US
}

/// The first instant of a day.
pub(crate) fn begin_of(day: u64) -> Timestamp {
    Timestamp::from_micros(day.saturating_mul(DAY_US))
}

/// The tables.
pub(super) const NAMES: [&str; 5] = [
    "daily",
    "daily_labels",
    "daily_tables",
    "daily_rules",
    "daily_findings",
];

pub(super) const TABLES: &str = "
CREATE TABLE daily(day INTEGER NOT NULL, namespace INTEGER NOT NULL, identity INTEGER NOT NULL,
  target INTEGER NOT NULL, statements INTEGER NOT NULL, rows INTEGER NOT NULL,
  bytes INTEGER NOT NULL, denials INTEGER NOT NULL, holds INTEGER NOT NULL,
  PRIMARY KEY(day, namespace, identity, target)) WITHOUT ROWID;
CREATE TABLE daily_labels(day INTEGER NOT NULL, namespace INTEGER NOT NULL,
  identity INTEGER NOT NULL, target INTEGER NOT NULL, label INTEGER NOT NULL,
  statements INTEGER NOT NULL, rows INTEGER NOT NULL, masked INTEGER NOT NULL,
  last INTEGER NOT NULL, PRIMARY KEY(day, namespace, identity, target, label)) WITHOUT ROWID;
CREATE TABLE daily_tables(day INTEGER NOT NULL, namespace INTEGER NOT NULL,
  identity INTEGER NOT NULL, target INTEGER NOT NULL, name INTEGER NOT NULL,
  statements INTEGER NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
  last INTEGER NOT NULL, PRIMARY KEY(day, namespace, identity, target, name)) WITHOUT ROWID;
CREATE TABLE daily_rules(day INTEGER NOT NULL, namespace INTEGER NOT NULL,
  identity INTEGER NOT NULL, target INTEGER NOT NULL, rule INTEGER NOT NULL,
  revision INTEGER NOT NULL, denied INTEGER NOT NULL, held INTEGER NOT NULL,
  masked INTEGER NOT NULL, would_deny INTEGER NOT NULL, last INTEGER NOT NULL,
  PRIMARY KEY(day, namespace, identity, target, rule, revision)) WITHOUT ROWID;
CREATE TABLE daily_findings(day INTEGER NOT NULL, namespace INTEGER NOT NULL, code TEXT NOT NULL,
  count INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY(day, namespace, code)) WITHOUT ROWID;
";

/// On whose behalf, and to what.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Who {
    namespace: Option<Arc<str>>,
    identity: Arc<str>,
    target: Option<Arc<str>>,
}

impl Who {
    fn of(session: &Session) -> Self {
        Self {
            namespace: session.identity.namespace.clone(),
            identity: Arc::clone(&session.identity.name),
            target: session.target.clone(),
        }
    }
}

/// What makes statements alike enough to be counted together. Lists are told apart by address: the
/// cell holds them, so an address stays theirs.
#[derive(PartialEq, Eq, Hash)]
struct Alike {
    day: u64,
    who: usize,
    decision: Decision,
    masked: bool,
    revision: u64,
    lists: [usize; 4],
}

struct Cell {
    rules: Names,
    would_deny: Names,
    tables: Names,
    labels: Names,
    statements: u64,
    rows: u64,
    bytes: u64,
    last: Timestamp,
}

/// Day, namespace and code of findings.
type FoundOn = (u64, Option<Arc<str>>, &'static str);

/// Sums of one batch.
pub(super) struct Rollup {
    today: u64,
    whose: Vec<Who>,
    places: HashMap<Who, usize>,
    cells: HashMap<Alike, Cell>,
    holds: HashMap<(u64, usize), u64>,
    findings: HashMap<FoundOn, (u64, Timestamp)>,
    notes: HoldNotes,
}

#[derive(Default, Clone, Copy)]
struct Daily {
    statements: u64,
    rows: u64,
    bytes: u64,
    denials: u64,
    holds: u64,
}

#[derive(Default, Clone, Copy)]
struct RuleSum {
    denied: u64,
    held: u64,
    masked: u64,
    would_deny: u64,
    last: Timestamp,
}

#[derive(Default, Clone, Copy)]
struct NameSum {
    statements: u64,
    rows: u64,
    /// Masked rows of a label, bytes of a table.
    other: u64,
    last: Timestamp,
}

impl NameSum {
    fn add(&mut self, cell: &Cell, other: u64) {
        self.statements += cell.statements;
        self.rows = plus(self.rows, cell.rows);
        self.other = plus(self.other, other);
        self.last = self.last.max(cell.last);
    }
}

impl Rollup {
    /// Sums of what arrives at `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            today: day_of(now),
            whose: Vec::new(),
            places: HashMap::new(),
            cells: HashMap::new(),
            holds: HashMap::new(),
            findings: HashMap::new(),
            notes: HoldNotes::default(),
        }
    }

    /// Adds the events of one frame.
    pub(super) fn add(&mut self, events: &[Event]) {
        // Sessions of one frame are told apart by address.
        let mut seen: HashMap<usize, usize> = HashMap::new();
        for event in events {
            let session = event.session.as_deref();
            let who = session.map(|session| {
                let address = std::ptr::from_ref(session).addr();
                *seen
                    .entry(address)
                    .or_insert_with(|| place(&mut self.places, &mut self.whose, session))
            });
            let day = day_of(event.time).min(self.today.saturating_add(1));
            match (&event.body, who) {
                (Body::StatementFinished(finished), Some(who)) => {
                    self.statement(day, who, event.time, finished);
                }
                (Body::ConnectionRefused(refused), Some(who)) if !refused.rules.is_empty() => {
                    self.refused(day, who, event.time, &refused.rules);
                }
                (Body::AccessRequestCreated(_), Some(who)) => {
                    *self.holds.entry((day, who)).or_default() += 1;
                }
                (Body::Finding(finding), _) => {
                    let namespace = session.and_then(|s| s.identity.namespace.clone());
                    let entry = self
                        .findings
                        .entry((day, namespace, finding.code.as_str()))
                        .or_default();
                    entry.0 += 1;
                    entry.1 = entry.1.max(event.time);
                }
                _ => {}
            }
            self.notes.add(event);
        }
    }

    fn statement(&mut self, day: u64, who: usize, time: Timestamp, finished: &StatementFinished) {
        let statement = &finished.statement;
        let lists = [
            &statement.rules,
            &statement.would_deny,
            &statement.tables,
            &statement.labels,
        ];
        let alike = Alike {
            day,
            who,
            decision: statement.decision,
            masked: !finished.masked.is_empty(),
            revision: statement.revision,
            lists: lists.map(address),
        };
        let cell = self.cells.entry(alike).or_insert_with(|| Cell {
            rules: statement.rules.clone(),
            would_deny: statement.would_deny.clone(),
            tables: statement.tables.clone(),
            labels: statement.labels.clone(),
            statements: 0,
            rows: 0,
            bytes: 0,
            last: time,
        });
        cell.statements += 1;
        cell.rows = plus(cell.rows, finished.rows);
        cell.bytes = plus(cell.bytes, finished.bytes);
        cell.last = cell.last.max(time);
    }

    /// A connection that rules refused is no statement, but they denied something.
    fn refused(&mut self, day: u64, who: usize, time: Timestamp, rules: &Names) {
        let alike = Alike {
            day,
            who,
            decision: Decision::Deny,
            masked: false,
            revision: 0,
            lists: [address(rules), 0, 0, 0],
        };
        self.cells.entry(alike).or_insert_with(|| Cell {
            rules: rules.clone(),
            would_deny: Names::empty(),
            tables: Names::empty(),
            labels: Names::empty(),
            statements: 0,
            rows: 0,
            bytes: 0,
            last: time,
        });
    }

    /// Adds the sums to the store's, at `own` of its own time.
    pub(super) fn save(
        self,
        store: &Connection,
        keys: &mut Keys<'_>,
        (engine, own): (i64, i64),
    ) -> Result<(), CollectorError> {
        let whose = self.whose.iter().map(|who| numbers(store, keys, who));
        let whose = whose.collect::<Result<Vec<_>, _>>()?;
        let of = |who: usize| whose.get(who).copied().unwrap_or_default();
        let mut sums = Sums::default();
        for (alike, cell) in &self.cells {
            sums.add(store, keys, alike, cell)?;
        }
        for (at, raised) in self.holds {
            sums.daily.entry(at).or_default().holds += raised;
        }
        sums.save(store, &of, own_day(own))?;
        for ((day, namespace, code), (count, last)) in &self.findings {
            let namespace = number_or_none(store, keys, Kind::Namespace, namespace.as_ref())?;
            store
                .prepare_cached(
                    "INSERT INTO daily_findings VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE
                     SET count = count + excluded.count, last = max(last, excluded.last),
                     received = max(received, excluded.received)",
                )?
                .execute(params![
                    day,
                    namespace,
                    code,
                    count,
                    last.as_micros(),
                    own_day(own)
                ])?;
        }
        self.notes.save(store, keys, (engine, own))
    }
}

/// Sums of a batch by their places in the tables.
#[derive(Default)]
struct Sums {
    daily: HashMap<(u64, usize), Daily>,
    labels: HashMap<(u64, usize, i64), NameSum>,
    tables: HashMap<(u64, usize, i64), NameSum>,
    rules: HashMap<(u64, usize, i64, u64), RuleSum>,
}

impl Sums {
    fn add(
        &mut self,
        store: &Connection,
        keys: &mut Keys<'_>,
        alike: &Alike,
        cell: &Cell,
    ) -> Result<(), CollectorError> {
        let (day, who) = (alike.day, alike.who);
        if cell.statements > 0 {
            let sum = self.daily.entry((day, who)).or_default();
            sum.statements += cell.statements;
            sum.rows = plus(sum.rows, cell.rows);
            sum.bytes = plus(sum.bytes, cell.bytes);
            if alike.decision == Decision::Deny {
                sum.denials += cell.statements;
            }
            for label in cell.labels.as_slice() {
                let label = keys.number(store, Kind::Label, label)?;
                let masked = if alike.masked { cell.rows } else { 0 };
                let sum = self.labels.entry((day, who, label)).or_default();
                sum.add(cell, masked);
            }
            for table in some_or_none(&cell.tables) {
                let table = number_or_none(store, keys, Kind::Table, table)?;
                let sum = self.tables.entry((day, who, table)).or_default();
                sum.add(cell, cell.bytes);
            }
        }
        // A connection that was refused has no statement, and is one denial.
        let counted = cell.statements.max(1);
        if alike.decision != Decision::Permit || alike.masked {
            for rule in some_or_none(&cell.rules) {
                let rule = number_or_none(store, keys, Kind::Rule, rule)?;
                let place = (day, who, rule, alike.revision);
                let sum = self.rules.entry(place).or_default();
                match alike.decision {
                    Decision::Deny => sum.denied += counted,
                    Decision::Hold => sum.held += counted,
                    Decision::Permit => {}
                }
                sum.masked += if alike.masked { counted } else { 0 };
                sum.last = sum.last.max(cell.last);
            }
        }
        for rule in cell.would_deny.as_slice() {
            let rule = keys.number(store, Kind::Rule, rule)?;
            let place = (day, who, rule, alike.revision);
            let sum = self.rules.entry(place).or_default();
            sum.would_deny += counted;
            sum.last = sum.last.max(cell.last);
        }
        Ok(())
    }

    fn save(
        self,
        store: &Connection,
        of: &dyn Fn(usize) -> Numbers,
        received: i64,
    ) -> Result<(), CollectorError> {
        let mut daily = store.prepare_cached(&format!(
            "INSERT INTO daily VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10) ON CONFLICT DO UPDATE SET {}",
            grow(&["statements", "rows", "bytes", "denials", "holds"])
        ))?;
        for ((day, who), sum) in self.daily {
            let (n, i, t) = of(who);
            daily.execute(params![
                day,
                n,
                i,
                t,
                sum.statements,
                sum.rows,
                sum.bytes,
                sum.denials,
                sum.holds,
                received
            ])?;
        }
        for (table, other, sums) in [
            ("daily_labels", "masked", self.labels),
            ("daily_tables", "bytes", self.tables),
        ] {
            let mut named = store.prepare_cached(&format!(
                "INSERT INTO {table} VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10) ON CONFLICT DO UPDATE
                 SET {}, last = max(last, excluded.last)",
                grow(&["statements", "rows", other])
            ))?;
            for ((day, who, name), sum) in sums {
                let (n, i, t) = of(who);
                let last = sum.last.as_micros();
                named.execute(params![
                    day,
                    n,
                    i,
                    t,
                    name,
                    sum.statements,
                    sum.rows,
                    sum.other,
                    last,
                    received
                ])?;
            }
        }
        let mut rules = store.prepare_cached(&format!(
            "INSERT INTO daily_rules VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)
             ON CONFLICT DO UPDATE SET {}, last = max(last, excluded.last)",
            grow(&["denied", "held", "masked", "would_deny"])
        ))?;
        for ((day, who, rule, revision), sum) in self.rules {
            let (n, i, t) = of(who);
            rules.execute(params![
                day,
                n,
                i,
                t,
                rule,
                revision.cast_signed(),
                sum.denied,
                sum.held,
                sum.masked,
                sum.would_deny,
                sum.last.as_micros(),
                received
            ])?;
        }
        Ok(())
    }
}

/// Keys of namespace, identity and target; 0 for none.
type Numbers = (i64, i64, i64);

fn numbers(store: &Connection, keys: &mut Keys<'_>, who: &Who) -> Result<Numbers, CollectorError> {
    Ok((
        number_or_none(store, keys, Kind::Namespace, who.namespace.as_ref())?,
        keys.number(store, Kind::Identity, &who.identity)?,
        number_or_none(store, keys, Kind::Target, who.target.as_ref())?,
    ))
}

/// The number of a key, or 0.
pub(super) fn number_or_none(
    store: &Connection,
    keys: &mut Keys<'_>,
    kind: Kind,
    text: Option<&Arc<str>>,
) -> Result<i64, CollectorError> {
    text.map_or(Ok(0), |text| keys.number(store, kind, text))
}

fn place(places: &mut HashMap<Who, usize>, whose: &mut Vec<Who>, session: &Session) -> usize {
    let who = Who::of(session);
    *places.entry(who).or_insert_with_key(|who| {
        whose.push(who.clone());
        whose.len() - 1
    })
}

/// Each name, or once none.
fn some_or_none(names: &Names) -> impl Iterator<Item = Option<&Arc<str>>> {
    let none = names.is_empty().then_some(None);
    names.as_slice().iter().map(Some).chain(none)
}

fn address(names: &Names) -> usize {
    if names.is_empty() {
        0
    } else {
        names.as_slice().as_ptr().addr()
    }
}

fn plus(a: u64, b: u64) -> u64 {
    a.saturating_add(b).min(MOST)
}

/// `SET` of columns that grow by what is inserted.
fn grow(columns: &[&str]) -> String {
    let one = |name: &&str| format!("{name} = min({name} + excluded.{name}, {MOST}), ");
    let grown: String = columns.iter().map(one).collect();
    grown + "received = max(received, excluded.received)"
}

/// Forgets sums and holds into which nothing counted since `before`, a time of the store's own.
pub(super) fn forget(store: &Connection, before: i64) -> Result<(), CollectorError> {
    let forget = |table: &str| {
        store.execute(
            &format!("DELETE FROM {table} WHERE received < ?1"),
            [own_day(before)],
        )
    };
    for table in NAMES {
        forget(table)?;
    }
    let mut gone = 0;
    for table in super::seen::NAMES {
        gone += forget(table)?;
    }
    if gone > 0 {
        super::seen::forget_labels(store)?;
    }
    super::holds::forget(store, before)
}
