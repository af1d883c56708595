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
use super::fast::FastMap;
use super::keys::{Keys, Kind, Unnumbered, number_at};

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

    fn add(&mut self, rows: u64, other: u64, time: Timestamp) {
        self.merge(Self {
            statements: 1,
            rows,
            other,
            last: time,
        });
    }
}

/// Sums by their places in the tables.
#[derive(Default)]
pub(super) struct Sums {
    daily: FastMap<Whose, Daily>,
    labels: FastMap<(Whose, i64), NameSum>,
    tables: FastMap<(Whose, i64), NameSum>,
    /// Revisions are what engines say they are.
    rules: HashMap<(Whose, i64, u64), RuleSum>,
    findings: FastMap<(u64, i64, &'static str), FindingSum>,
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
        let Self {
            daily,
            labels,
            tables,
            rules,
            findings,
        } = others;
        self.extend(daily, labels, tables, rules, findings);
    }

    fn extend(
        &mut self,
        daily: impl IntoIterator<Item = (Whose, Daily)>,
        labels: impl IntoIterator<Item = ((Whose, i64), NameSum)>,
        tables: impl IntoIterator<Item = ((Whose, i64), NameSum)>,
        rules: impl IntoIterator<Item = ((Whose, i64, u64), RuleSum)>,
        findings: impl IntoIterator<Item = ((u64, i64, &'static str), FindingSum)>,
    ) {
        for (place, sum) in daily {
            self.daily.entry(place).or_default().merge(sum);
        }
        for (place, sum) in labels {
            self.labels.entry(place).or_default().merge(sum);
        }
        for (place, sum) in tables {
            self.tables.entry(place).or_default().merge(sum);
        }
        for (place, sum) in rules {
            self.rules.entry(place).or_default().merge(sum);
        }
        for (place, sum) in findings {
            self.findings.entry(place).or_default().add(sum);
        }
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
            for (((day, (n, i, t)), name), sum) in in_order(sums) {
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
        for (((day, (n, i, t)), rule, revision), sum) in in_order(&self.rules) {
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

/// Sums of what arrives, by names that have no numbers yet, and by the days that engines' clocks say.
#[derive(Default)]
pub(super) struct Counts {
    sums: Sums,
    names: Unnumbered,
}

impl Counts {
    /// Counts the events of one frame.
    pub(super) fn add(&mut self, events: &[Event]) {
        // Sessions of one frame are told apart by address.
        let mut known: FastMap<usize, Numbers> = FastMap::default();
        for event in events {
            let day = day_of(event.time);
            if let Body::Finding(finding) = &event.body {
                let session = event.session.as_ref();
                let namespace = session.and_then(|session| session.identity.namespace.as_ref());
                let namespace = self.names.place_or_none(Kind::Namespace, namespace);
                let place = (day, namespace, finding.code.as_str());
                let sum = self.sums.findings.entry(place).or_default();
                sum.add(FindingSum(1, event.time));
            }
            let Some(session) = event.session.as_ref().filter(|_| counts(&event.body)) else {
                continue;
            };
            let names = &mut self.names;
            let who = known.entry(Arc::as_ptr(session).addr());
            let whose = (day, *who.or_insert_with(|| places(names, session)));
            match &event.body {
                Body::StatementFinished(finished) => self.statement(whose, event.time, finished),
                Body::AccessRequestCreated(_) => {
                    self.sums.daily.entry(whose).or_default().holds += 1;
                }
                // It has no statement, but rules denied something.
                Body::ConnectionRefused(refused) => {
                    for rule in refused.rules.as_slice() {
                        self.rule((whose, 0), Some(rule), event.time).denied += 1;
                    }
                }
                _ => {}
            }
        }
    }

    fn statement(&mut self, whose: Whose, time: Timestamp, finished: &StatementFinished) {
        let (statement, rows) = (&finished.statement, finished.rows);
        let (decision, masked) = (statement.decision, !finished.masked.is_empty());
        let sum = self.sums.daily.entry(whose).or_default();
        sum.statements += 1;
        sum.rows = plus(sum.rows, rows);
        sum.bytes = plus(sum.bytes, finished.bytes);
        sum.denials += u64::from(decision == Decision::Deny);
        for label in statement.labels.as_slice() {
            let label = self.names.place(Kind::Label, label);
            let sum = self.sums.labels.entry((whose, label)).or_default();
            sum.add(rows, if masked { rows } else { 0 }, time);
        }
        for table in some_or_none(&statement.tables) {
            let table = self.names.place_or_none(Kind::Table, table);
            let sum = self.sums.tables.entry((whose, table)).or_default();
            sum.add(rows, finished.bytes, time);
        }
        let under = (whose, statement.revision);
        if decision != Decision::Permit || masked {
            for rule in some_or_none(&statement.rules) {
                let sum = self.rule(under, rule, time);
                sum.denied += u64::from(decision == Decision::Deny);
                sum.held += u64::from(decision == Decision::Hold);
                sum.masked += u64::from(masked);
            }
        }
        for rule in statement.would_deny.as_slice() {
            self.rule(under, Some(rule), time).would_deny += 1;
        }
    }

    /// The sum of a rule of a revision, or of none.
    fn rule(
        &mut self,
        (whose, revision): (Whose, u64),
        rule: Option<&Arc<str>>,
        time: Timestamp,
    ) -> &mut RuleSum {
        let rule = self.names.place_or_none(Kind::Rule, rule);
        let sum = self.sums.rules.entry((whose, rule, revision)).or_default();
        sum.last = sum.last.max(time);
        sum
    }

    /// Adds them to others, by the store's numbers. They arrived at `now`.
    pub(super) fn add_to(
        self,
        others: &mut Sums,
        store: &Connection,
        keys: &mut Keys<'_>,
        now: Timestamp,
    ) -> Result<(), CollectorError> {
        let numbers = self.names.numbers(store, keys)?;
        let tomorrow = day_of(now).saturating_add(1);
        let number = |place: i64| number_at(&numbers, place);
        let whose =
            |(day, (n, i, t)): Whose| (day.min(tomorrow), (number(n), number(i), number(t)));
        let Sums {
            daily,
            labels,
            tables,
            rules,
            findings,
        } = self.sums;
        let daily = daily.into_iter().map(|(of, sum)| (whose(of), sum));
        let named = |((of, name), sum)| ((whose(of), number(name)), sum);
        let rules = rules.into_iter();
        let rules =
            rules.map(|((of, rule, revision), sum)| ((whose(of), number(rule), revision), sum));
        let findings = findings.into_iter();
        let findings =
            findings.map(|((day, of, code), sum)| ((day.min(tomorrow), number(of), code), sum));
        others.extend(
            daily,
            labels.into_iter().map(named),
            tables.into_iter().map(named),
            rules,
            findings,
        );
        Ok(())
    }
}

/// Rows in the order in which their table has them.
fn in_order<K: Ord, V, S>(sums: &HashMap<K, V, S>) -> Vec<(&K, &V)> {
    let mut sums: Vec<_> = sums.iter().collect();
    sums.sort_unstable_by(|a, b| a.0.cmp(b.0));
    sums
}

/// Keys of namespace, identity and target; 0 for none.
type Numbers = (i64, i64, i64);

/// A day, and whose sums of that day.
type Whose = (u64, Numbers);

fn places(names: &mut Unnumbered, session: &Session) -> Numbers {
    let identity = &session.identity;
    (
        names.place_or_none(Kind::Namespace, identity.namespace.as_ref()),
        names.place(Kind::Identity, &identity.name),
        names.place_or_none(Kind::Target, session.target.as_ref()),
    )
}

/// Whether sums by whose they are count such events.
fn counts(body: &Body) -> bool {
    matches!(
        body,
        Body::StatementFinished(_) | Body::AccessRequestCreated(_) | Body::ConnectionRefused(_)
    )
}

/// Each name, or once none.
fn some_or_none(names: &Names) -> impl Iterator<Item = Option<&Arc<str>>> {
    let none = names.is_empty().then_some(None);
    names.as_slice().iter().map(Some).chain(none)
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
