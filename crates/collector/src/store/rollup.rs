//! Sums per day, kept while evidence arrives: the overview and the questions read these, not events.
//!
//! Invariants
//! - Each frame that is stored is counted once: sums are written after the blocks that they count, and the store
//!   knows up to which (`backlog`).
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

/// What is counted of one batch.
pub(super) struct Rollup {
    today: u64,
    whose: Vec<Who>,
    places: HashMap<Who, usize>,
    cells: HashMap<Alike, Cell>,
    holds: HashMap<(u64, usize), u64>,
    findings: HashMap<FoundOn, FindingSum>,
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

/// How many findings, and when the last one was.
#[derive(Default, Clone, Copy)]
struct FindingSum(u64, Timestamp);

impl FindingSum {
    fn add(&mut self, other: Self) {
        self.0 = plus(self.0, other.0);
        self.1 = self.1.max(other.1);
    }
}

impl Daily {
    fn merge(&mut self, other: Self) {
        self.statements = plus(self.statements, other.statements);
        self.rows = plus(self.rows, other.rows);
        self.bytes = plus(self.bytes, other.bytes);
        self.denials = plus(self.denials, other.denials);
        self.holds = plus(self.holds, other.holds);
    }
}

impl RuleSum {
    fn merge(&mut self, other: Self) {
        self.denied = plus(self.denied, other.denied);
        self.held = plus(self.held, other.held);
        self.masked = plus(self.masked, other.masked);
        self.would_deny = plus(self.would_deny, other.would_deny);
        self.last = self.last.max(other.last);
    }
}

impl NameSum {
    fn merge(&mut self, other: Self) {
        self.statements = plus(self.statements, other.statements);
        self.rows = plus(self.rows, other.rows);
        self.other = plus(self.other, other.other);
        self.last = self.last.max(other.last);
    }

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
                    entry.add(FindingSum(1, event.time));
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

    /// Adds what was counted to `sums`.
    pub(super) fn sums(
        &self,
        store: &Connection,
        keys: &mut Keys<'_>,
        sums: &mut Sums,
    ) -> Result<(), CollectorError> {
        let whose = self.whose.iter().map(|who| numbers(store, keys, who));
        let whose = whose.collect::<Result<Vec<_>, _>>()?;
        let of = |who: usize| whose.get(who).copied().unwrap_or_default();
        for (alike, cell) in &self.cells {
            sums.add(store, keys, (alike, of(alike.who)), cell)?;
        }
        for ((day, who), raised) in &self.holds {
            sums.daily.entry((*day, of(*who))).or_default().holds += raised;
        }
        for ((day, namespace, code), found) in &self.findings {
            let namespace = number_or_none(store, keys, Kind::Namespace, namespace.as_ref())?;
            let sum = sums.findings.entry((*day, namespace, code)).or_default();
            sum.add(*found);
        }
        Ok(())
    }

    /// Writes what was said of holds, at `own` of the store's own time.
    pub(super) fn save_notes(
        self,
        store: &Connection,
        keys: &mut Keys<'_>,
        (engine, own): (i64, i64),
    ) -> Result<(), CollectorError> {
        self.notes.save(store, keys, (engine, own))
    }
}

/// Sums by their places in the tables.
#[derive(Default)]
pub(super) struct Sums {
    daily: HashMap<(u64, Numbers), Daily>,
    labels: HashMap<(u64, Numbers, i64), NameSum>,
    tables: HashMap<(u64, Numbers, i64), NameSum>,
    rules: HashMap<(u64, Numbers, i64, u64), RuleSum>,
    findings: HashMap<(u64, i64, &'static str), FindingSum>,
}

impl Sums {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.daily.len()
            + self.labels.len()
            + self.tables.len()
            + self.rules.len()
            + self.findings.len()
    }

    /// Adds others.
    pub(super) fn merge(&mut self, others: Self) {
        for (place, sum) in others.daily {
            self.daily.entry(place).or_default().merge(sum);
        }
        for (place, sum) in others.labels {
            self.labels.entry(place).or_default().merge(sum);
        }
        for (place, sum) in others.tables {
            self.tables.entry(place).or_default().merge(sum);
        }
        for (place, sum) in others.rules {
            self.rules.entry(place).or_default().merge(sum);
        }
        for (place, sum) in others.findings {
            self.findings.entry(place).or_default().add(sum);
        }
    }

    fn add(
        &mut self,
        store: &Connection,
        keys: &mut Keys<'_>,
        (alike, who): (&Alike, Numbers),
        cell: &Cell,
    ) -> Result<(), CollectorError> {
        let day = alike.day;
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

    /// Adds them to the store's; `received` is a day of its own.
    pub(super) fn save(&self, store: &Connection, received: i64) -> Result<(), CollectorError> {
        let mut daily = store.prepare_cached(&format!(
            "INSERT INTO daily VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10) ON CONFLICT DO UPDATE SET {}",
            grow(&["statements", "rows", "bytes", "denials", "holds"])
        ))?;
        for ((day, (n, i, t)), sum) in in_order(&self.daily) {
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
            ("daily_labels", "masked", &self.labels),
            ("daily_tables", "bytes", &self.tables),
        ] {
            let mut named = store.prepare_cached(&format!(
                "INSERT INTO {table} VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10) ON CONFLICT DO UPDATE
                 SET {}, last = max(last, excluded.last)",
                grow(&["statements", "rows", other])
            ))?;
            for ((day, (n, i, t), name), sum) in in_order(sums) {
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
        for ((day, (n, i, t), rule, revision), sum) in in_order(&self.rules) {
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
        let mut findings = store.prepare_cached(
            "INSERT INTO daily_findings VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE
             SET count = count + excluded.count, last = max(last, excluded.last),
             received = max(received, excluded.received)",
        )?;
        for ((day, namespace, code), FindingSum(count, last)) in in_order(&self.findings) {
            findings.execute(params![
                day,
                namespace,
                code,
                count,
                last.as_micros(),
                received
            ])?;
        }
        Ok(())
    }
}

/// Rows in the order in which their table has them.
fn in_order<K: Ord, V>(sums: &HashMap<K, V>) -> Vec<(&K, &V)> {
    let mut sums: Vec<_> = sums.iter().collect();
    sums.sort_unstable_by(|a, b| a.0.cmp(b.0));
    sums
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
