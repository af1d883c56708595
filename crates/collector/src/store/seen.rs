//! Who was given a labelled value, found by its fingerprint.
//!
//! A row for each value of a statement, by the store's own day on which it came, so that old ones go as a
//! whole; beside them the statements whose client was given values that are not all among them. The rows are
//! made from `labelled_values_seen` events, which are in the chain.
//!
//! Invariant: an answer takes a bounded number of labels, looks only at days of which there are rows, and holds a
//! bounded number of statements: an engine can name any label and have any clock.
//! Refuses: what an engine says of a session that another one opened.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use weir_audit::{Body, Event, Fingerprint, LabelledValuesSeen, Session, SessionId, Timestamp};

use super::clock::own_day;
use super::ingest::signed;
use super::keys::{Keys, Kind};
use super::overview::key;
use super::query::label_fits;
use super::{Collector, CollectorError};
use crate::log::judge::is_zero;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS seen(day INTEGER NOT NULL, value INTEGER NOT NULL, label INTEGER NOT NULL,
  session INTEGER NOT NULL, statement INTEGER NOT NULL, at INTEGER NOT NULL, received INTEGER NOT NULL,
  PRIMARY KEY(day, value, label, session, statement)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen_more(day INTEGER NOT NULL, label INTEGER NOT NULL, session INTEGER NOT NULL,
  statement INTEGER NOT NULL, at INTEGER NOT NULL, beyond INTEGER NOT NULL,
  uncertain INTEGER NOT NULL, received INTEGER NOT NULL, PRIMARY KEY(day, label, session, statement)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen_labels(label INTEGER PRIMARY KEY);
";

/// The tables whose rows retention forgets, by the store's own day on which they came.
pub(super) const NAMES: [&str; 2] = ["seen", "seen_more"];

/// Rows that are looked at for one answer, and statements that are told apart for who perhaps was given it.
const MOST_ROWS: usize = 100_000;
/// Labels of one question, the first that came; and what is no longer a name.
const MOST_LABELS: usize = 4096;
const LONGEST_LABEL: usize = 253;
/// Statements that an answer lists, the newest first.
const LISTED: usize = 100;
/// A cell count is never more.
const MOST: u64 = i64::MAX.unsigned_abs();

/// Who is looked for.
#[derive(Clone, Debug, Default)]
pub struct SawFilter {
    /// Given at or after.
    pub since: Option<Timestamp>,
    /// Given before.
    pub until: Option<Timestamp>,
    /// To identities of this namespace.
    pub namespace: Option<String>,
    /// Labels by name, and the value's fingerprint under each.
    pub values: Vec<(String, Fingerprint)>,
}

/// Who was given a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saw {
    /// Under which labels it was looked for: those of which fingerprints are kept.
    pub labels: Vec<String>,
    /// Of how many other labels fingerprints are kept, which were too many to be looked at: they can be asked
    /// about by name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Who was given it, by name.
    pub identities: Vec<SawBy>,
    /// In which statements; the newest first, 100 at most.
    pub statements: Vec<SawIn>,
    /// Whether there are more than were looked at: numbers are a least then.
    #[serde(default)]
    pub more: bool,
    /// Who was given other values of these labels than are kept: the value may be among them.
    pub perhaps: Vec<SawPerhaps>,
}

/// One identity that was given it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SawBy {
    /// Its name.
    pub identity: String,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// As which labels.
    pub labels: Vec<String>,
    /// In how many statements.
    pub statements: u64,
    /// In how many sessions.
    pub sessions: u64,
    /// First.
    pub first: Timestamp,
    /// Last.
    pub last: Timestamp,
}

/// One statement whose client was given it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SawIn {
    /// When, by the engine's clock.
    pub time: Timestamp,
    /// Whose.
    pub identity: String,
    /// As which label.
    pub label: String,
    /// The session.
    pub session: SessionId,
    /// The statement's number in it.
    pub statement: u64,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// One identity that was given values that are not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SawPerhaps {
    /// Its name.
    pub identity: String,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// In how many statements.
    pub statements: u64,
    /// Cells beyond what is kept of one statement.
    pub beyond: u64,
    /// Cells that are computed from labelled values, or have no one text.
    pub uncertain: u64,
    /// First.
    pub first: Timestamp,
    /// Last.
    pub last: Timestamp,
}

/// Labels that a question is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SawLabels {
    /// Their names, sorted.
    pub names: Vec<String>,
    /// How many more there are.
    pub left_out: u64,
}

/// What a batch says about values, in its order.
#[derive(Default)]
pub(super) struct SeenNotes(Vec<(u64, Timestamp, LabelledValuesSeen)>);

impl SeenNotes {
    /// Takes note of the events that are about values.
    pub(super) fn add(&mut self, events: &[Event]) {
        for event in events {
            if let (Body::LabelledValuesSeen(seen), Some(session)) = (&event.body, &event.session) {
                let note = (session.id.as_u64(), event.time, (**seen).clone());
                self.0.push(note);
            }
        }
    }

    /// Writes them, but for those of sessions that are others'; `own` is the store's own time.
    pub(super) fn save(
        self,
        store: &Connection,
        keys: &mut Keys<'_>,
        others: &HashSet<u64>,
        own: i64,
    ) -> Result<(), CollectorError> {
        let received = own_day(own);
        let theirs =
            |(session, _, _): &(u64, Timestamp, LabelledValuesSeen)| !others.contains(session);
        for (session, at, seen) in self.0.into_iter().filter(theirs) {
            let label = keys.number(store, Kind::Label, &seen.label)?;
            store
                .prepare_cached("INSERT OR IGNORE INTO seen_labels VALUES (?1)")?
                .execute([label])?;
            let session = signed(session);
            let (statement, at) = (seen.statement.cast_signed(), at.as_micros());
            let mut insert = store
                .prepare_cached("INSERT OR IGNORE INTO seen VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
            for value in &seen.values {
                insert.execute(params![
                    received,
                    signed(value.0),
                    label,
                    session,
                    statement,
                    at,
                    received
                ])?;
            }
            if seen.beyond > 0 || seen.uncertain > 0 {
                store
                    .prepare_cached(&format!(
                        "INSERT INTO seen_more VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                         ON CONFLICT DO UPDATE SET beyond = min(beyond + excluded.beyond, {MOST}),
                         uncertain = min(uncertain + excluded.uncertain, {MOST}),
                         received = max(received, excluded.received)"
                    ))?
                    .execute(params![
                        received,
                        label,
                        session,
                        statement,
                        at,
                        seen.beyond.min(MOST),
                        seen.uncertain.min(MOST),
                        received
                    ])?;
            }
        }
        Ok(())
    }
}

impl Collector {
    /// Labels of whose values fingerprints are kept: those that `wanted` names, as far as a `*` at its end, or
    /// all. Of too many the first that came.
    ///
    /// # Errors
    /// When the store failed.
    pub fn saw_labels(&self, wanted: Option<&str>) -> Result<SawLabels, CollectorError> {
        let reader = self.reader()?;
        let mut select = reader.prepare(
            "SELECT k.text FROM seen_labels s JOIN keys k ON k.id = s.label ORDER BY k.id",
        )?;
        let mut rows = select.query([])?;
        let mut labels = SawLabels::default();
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str().unwrap_or_default();
            if !wanted.is_none_or(|wanted| label_fits(wanted, name)) {
                continue;
            }
            if labels.names.len() < MOST_LABELS && name.len() <= LONGEST_LABEL {
                labels.names.push(name.to_owned());
            } else {
                labels.left_out += 1;
            }
        }
        labels.names.sort_unstable();
        Ok(labels)
    }

    /// Who was given the value of these fingerprints.
    ///
    /// # Errors
    /// When the store failed.
    pub fn saw(&self, filter: &SawFilter) -> Result<Saw, CollectorError> {
        let reader = self.reader()?;
        let mut saw = Saw {
            labels: filter
                .values
                .iter()
                .map(|(label, _)| label.clone())
                .collect(),
            ..Saw::default()
        };
        let namespace = match &filter.namespace {
            None => None,
            Some(name) => match key(&reader, Kind::Namespace, name)? {
                None => return Ok(saw),
                number => number,
            },
        };
        let mut labels = Vec::new();
        for (name, value) in &filter.values {
            if let Some(number) = key(&reader, Kind::Label, name)? {
                labels.push((number, name.clone(), *value));
            }
        }
        let range = Range::of(filter);
        let mut found = Found::default();
        range.values(&reader, namespace, &labels, &mut found)?;
        let (perhaps, more) = range.perhaps(&reader, namespace, &labels)?;
        saw.more = more || found.rows > MOST_ROWS;
        saw.identities = found.identities();
        saw.statements = found.listed(&reader)?;
        saw.perhaps = perhaps;
        Ok(saw)
    }
}

/// The times that are asked about, both included.
struct Range {
    since: i64,
    last: i64,
}

/// A label's number, its name, and the value under it.
type Label = (i64, String, Fingerprint);

impl Range {
    fn of(filter: &SawFilter) -> Self {
        let number = |time: Timestamp| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        Self {
            since: filter.since.map_or(0, number),
            last: filter.until.map_or(i64::MAX, |until| number(until) - 1),
        }
    }

    fn values(
        &self,
        store: &Connection,
        namespace: Option<i64>,
        labels: &[Label],
        found: &mut Found,
    ) -> Result<(), CollectorError> {
        let mut days = Days::of(store, "seen")?;
        let mut select = store.prepare(
            "SELECT v.session, v.statement, v.at, s.identity, s.namespace,
               (SELECT text FROM keys WHERE id = s.identity), (SELECT text FROM keys WHERE id = s.namespace)
             FROM seen v JOIN sessions s ON s.id = v.session
             WHERE v.day = ?1 AND v.value = ?2 AND v.label = ?3 AND v.at >= ?4 AND v.at <= ?5
               AND (?6 IS NULL OR s.namespace = ?6)",
        )?;
        while let Some(day) = days.before()? {
            for (number, name, value) in labels {
                let asked = params![
                    day,
                    signed(value.0),
                    number,
                    self.since,
                    self.last,
                    namespace
                ];
                let mut rows = select.query(asked)?;
                while let Some(row) = rows.next()? {
                    found.rows += 1;
                    if found.rows > MOST_ROWS {
                        return Ok(());
                    }
                    let at: u64 = row.get(2)?;
                    let one = Row {
                        session: row.get::<_, i64>(0)?.cast_unsigned(),
                        statement: row.get::<_, i64>(1)?.cast_unsigned(),
                        at: Timestamp::from_micros(at),
                        identity: row.get(5)?,
                        namespace: row.get(6)?,
                        label: name.clone(),
                    };
                    found.add(one);
                }
            }
        }
        Ok(())
    }

    /// Who perhaps was given it, and whether there are more statements than were told apart.
    fn perhaps(
        &self,
        store: &Connection,
        namespace: Option<i64>,
        labels: &[Label],
    ) -> Result<(Vec<SawPerhaps>, bool), CollectorError> {
        let mut days = Days::of(store, "seen_more")?;
        let mut found: HashMap<(i64, Option<i64>), SawPerhaps> = HashMap::new();
        let mut statements: HashSet<(i64, i64)> = HashSet::new();
        let mut more = false;
        let mut select = store.prepare(
            "SELECT m.session, m.statement, m.at, m.beyond, m.uncertain, s.identity, s.namespace
             FROM seen_more m JOIN sessions s ON s.id = m.session
             WHERE m.day = ?1 AND m.label = ?2 AND m.at >= ?3 AND m.at <= ?4
               AND (?5 IS NULL OR s.namespace = ?5)",
        )?;
        while let Some(day) = days.before()? {
            for (number, _, _) in labels {
                let asked = params![day, number, self.since, self.last, namespace];
                let mut rows = select.query(asked)?;
                while let Some(row) = rows.next()? {
                    let place: (i64, i64) = (row.get(0)?, row.get(1)?);
                    let at = Timestamp::from_micros(row.get(2)?);
                    let who = (row.get(5)?, row.get(6)?);
                    let one = found.entry(who).or_insert_with(|| SawPerhaps {
                        identity: String::new(),
                        namespace: None,
                        statements: 0,
                        beyond: 0,
                        uncertain: 0,
                        first: at,
                        last: at,
                    });
                    if statements.len() < MOST_ROWS {
                        one.statements += u64::from(statements.insert(place));
                    } else if !statements.contains(&place) {
                        more = true;
                    }
                    one.beyond = one.beyond.saturating_add(row.get(3)?);
                    one.uncertain = one.uncertain.saturating_add(row.get(4)?);
                    one.first = one.first.min(at);
                    one.last = one.last.max(at);
                }
            }
        }
        let mut name = store.prepare("SELECT text FROM keys WHERE id = ?1")?;
        let mut text = |number: i64| -> Result<Option<String>, CollectorError> {
            Ok(name.query_row([number], |row| row.get(0)).optional()?)
        };
        let mut perhaps = Vec::new();
        for ((identity, namespace), mut one) in found {
            one.identity = text(identity)?.unwrap_or_default();
            one.namespace = namespace.map_or(Ok(None), &mut text)?;
            perhaps.push(one);
        }
        perhaps.sort_by(|a, b| (&a.identity, &a.namespace).cmp(&(&b.identity, &b.namespace)));
        Ok((perhaps, more))
    }
}

/// The days of which a table has rows, the last one first.
struct Days<'a> {
    next: rusqlite::Statement<'a>,
    place: i64,
}

impl<'a> Days<'a> {
    fn of(store: &'a Connection, table: &str) -> Result<Self, CollectorError> {
        let sql = format!("SELECT day FROM {table} WHERE day < ?1 ORDER BY day DESC LIMIT 1");
        Ok(Self {
            next: store.prepare(&sql)?,
            place: i64::MAX,
        })
    }

    fn before(&mut self) -> Result<Option<i64>, CollectorError> {
        let day = self.next.query_row([self.place], |row| row.get(0));
        let day = day.optional()?;
        self.place = day.unwrap_or(self.place);
        Ok(day)
    }
}

/// Forgets labels of which no fingerprint is kept any more.
pub(super) fn forget_labels(store: &Connection) -> Result<(), CollectorError> {
    store.execute(
        "DELETE FROM seen_labels WHERE label NOT IN (SELECT label FROM seen)
         AND label NOT IN (SELECT label FROM seen_more)",
        [],
    )?;
    Ok(())
}

/// One row that has the value.
struct Row {
    session: u64,
    statement: u64,
    at: Timestamp,
    identity: String,
    namespace: Option<String>,
    label: String,
}

#[derive(Default)]
struct Found {
    rows: usize,
    by: BTreeMap<(String, Option<String>), Group>,
    newest: Vec<Row>,
}

struct Group {
    labels: BTreeSet<String>,
    statements: BTreeSet<(u64, u64)>,
    sessions: BTreeSet<u64>,
    first: Timestamp,
    last: Timestamp,
}

impl Found {
    fn add(&mut self, row: Row) {
        let who = (row.identity.clone(), row.namespace.clone());
        let group = self.by.entry(who).or_insert_with(|| Group {
            labels: BTreeSet::new(),
            statements: BTreeSet::new(),
            sessions: BTreeSet::new(),
            first: row.at,
            last: row.at,
        });
        if !group.labels.contains(&row.label) {
            group.labels.insert(row.label.clone());
        }
        group.statements.insert((row.session, row.statement));
        group.sessions.insert(row.session);
        group.first = group.first.min(row.at);
        group.last = group.last.max(row.at);
        self.newest.push(row);
        if self.newest.len() >= 2 * LISTED {
            self.keep_newest();
        }
    }

    fn keep_newest(&mut self) {
        self.newest.sort_by_key(|row| std::cmp::Reverse(row.at));
        self.newest.truncate(LISTED);
    }

    fn identities(&self) -> Vec<SawBy> {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let by = self.by.iter().map(|((identity, namespace), group)| SawBy {
            identity: identity.clone(),
            namespace: namespace.clone(),
            labels: group.labels.iter().cloned().collect(),
            statements: count(group.statements.len()),
            sessions: count(group.sessions.len()),
            first: group.first,
            last: group.last,
        });
        by.collect()
    }

    fn listed(mut self, store: &Connection) -> Result<Vec<SawIn>, CollectorError> {
        self.keep_newest();
        let mut context = store.prepare("SELECT context FROM sessions WHERE id = ?1")?;
        let mut listed = Vec::new();
        for row in self.newest {
            let text: String = context.query_row([signed(row.session)], |row| row.get(0))?;
            let session: Session = serde_json::from_str(&text)?;
            listed.push(SawIn {
                time: row.at,
                identity: row.identity,
                label: row.label,
                session: SessionId::new(row.session),
                statement: row.statement,
                target: session.target.as_deref().map(str::to_owned),
            });
        }
        Ok(listed)
    }
}
