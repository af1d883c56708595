//! Sessions in a line each: kept while events come, found again by who and where.
//!
//! That a session began and ended is in its line with the batch that says so; how much happened in it is written
//! with the sums (`backlog`), and whoever reads lines has that written first.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use weir_audit::{EngineId, Session, SessionId, Timestamp};

use super::index::SessionDelta;
use super::ingest::signed;
use super::keys::{Keys, Kind};
use super::overview::key;
use super::query::{DEFAULT_LIMIT, MAX_LIMIT};
use super::{Collector, CollectorError};

/// Which sessions to find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Active at or after.
    pub since: Option<Timestamp>,
    /// Opened before.
    pub until: Option<Timestamp>,
    /// Name of the identity.
    pub identity: Option<String>,
    /// The identity's namespace.
    pub namespace: Option<String>,
    /// Name of the target.
    pub target: Option<String>,
    /// At most so many (100 when absent, 10,000 at most).
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// A page of sessions, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<SessionSummary>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One session in a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// Who, where, as whom.
    pub session: Session,
    /// Which engine saw it.
    pub engine: EngineId,
    /// Its first event.
    pub opened: Timestamp,
    /// Its last event so far.
    pub last: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Timestamp>,
    /// Statements finished.
    pub statements: u64,
    /// Rows that the client received.
    pub rows: u64,
    /// Bytes of rows that the client received.
    pub bytes: u64,
    /// Statements denied.
    pub denials: u64,
    /// Holds raised.
    pub holds: u64,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

impl Collector {
    /// Sessions that match, newest first.
    ///
    /// # Errors
    /// When the store failed or the cursor is not valid.
    pub fn sessions(&self, filter: &SessionFilter) -> Result<SessionPage, CollectorError> {
        if let Some(far) = self.far() {
            return far.sessions(filter);
        }
        let reader = self.counted()?;
        let limit = filter.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let cursor = match &filter.cursor {
            None => (i64::MAX, i64::MAX),
            Some(text) => parse_cursor(text)?,
        };
        // Names are looked up once; a name that was never seen has no sessions.
        let mut numbers = Vec::new();
        for (kind, text) in [
            (Kind::Identity, &filter.identity),
            (Kind::Target, &filter.target),
            (Kind::Namespace, &filter.namespace),
        ] {
            let number = match text {
                None => None,
                Some(text) => Some(key(&reader, kind, text)?.unwrap_or_default()),
            };
            numbers.push(number);
        }
        let by = |column: &str, number: usize| match numbers.get(number) {
            Some(Some(_)) => format!("AND s.{column} = ?{}", number + 5),
            _ => format!("AND ?{} IS NULL", number + 5),
        };
        let mut select = reader.prepare(&format!(
            "{LINE} WHERE (s.opened, s.id) < (?1, ?2) AND s.last >= ?3 AND s.opened < ?4 {} {} {}
             ORDER BY s.opened DESC, s.id DESC LIMIT ?8",
            by("identity", 0),
            by("target", 1),
            by("namespace", 2)
        ))?;
        let bound = |time: Option<Timestamp>, other: i64| {
            time.map_or(other, |time| {
                i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
            })
        };
        let mut rows = select.query(params![
            cursor.0,
            cursor.1,
            bound(filter.since, 0),
            bound(filter.until, i64::MAX),
            numbers.first(),
            numbers.get(1),
            numbers.get(2),
            limit + 1
        ])?;
        let mut sessions = Vec::new();
        while let Some(row) = rows.next()? {
            sessions.push(summary(row)?);
        }
        let more = sessions.len() > limit;
        sessions.truncate(limit);
        let next = sessions.last().filter(|_| more);
        let next = next.map(|last| format!("{}.{}", last.opened.as_micros(), last.session.id));
        Ok(SessionPage { sessions, next })
    }

    /// One session, as the embedded store has it, up to where blocks were followed.
    pub(crate) fn session(&self, id: u64) -> Result<Option<SessionSummary>, CollectorError> {
        let reader = self.reader()?;
        let mut select = reader.prepare(&format!("{LINE} WHERE s.id = ?1"))?;
        let mut rows = select.query([signed(id)])?;
        rows.next()?.map(summary).transpose()
    }
}

/// When the session was opened at which a cursor stands, and its number as SQLite has it.
pub(crate) fn parse_cursor(text: &str) -> Result<(i64, i64), CollectorError> {
    let (opened, id) = text.split_once('.').ok_or(CollectorError::Cursor)?;
    let id: SessionId = id.parse().map_err(|_| CollectorError::Cursor)?;
    Ok((
        opened.parse().map_err(|_| CollectorError::Cursor)?,
        signed(id.as_u64()),
    ))
}

const LINE: &str = "SELECT s.context, e.text, s.opened, s.last, s.closed, s.statements, s.rows,
     s.bytes, s.denials, s.holds, s.outcome FROM sessions s JOIN keys e ON e.id = s.engine";

fn summary(row: &rusqlite::Row<'_>) -> Result<SessionSummary, CollectorError> {
    let context: String = row.get(0)?;
    let engine: String = row.get(1)?;
    let closed: Option<u64> = row.get(4)?;
    Ok(SessionSummary {
        session: serde_json::from_str(&context)?,
        engine: engine.parse().map_err(|_| CollectorError::Damaged(0))?,
        opened: Timestamp::from_micros(row.get(2)?),
        last: Timestamp::from_micros(row.get(3)?),
        closed: closed.map(Timestamp::from_micros),
        statements: row.get(5)?,
        rows: row.get(6)?,
        bytes: row.get(7)?,
        denials: row.get(8)?,
        holds: row.get(9)?,
        outcome: row.get(10)?,
    })
}

/// What became of a session's line.
pub(super) enum Saved {
    /// Nothing of it grew.
    Known,
    /// It was there.
    Grown,
    /// It is new, of so many bytes.
    New(usize),
    /// The session is another engine's: nothing of it is changed.
    Anothers,
}

/// What of a text stands in a session's line, and of all names in one of its lists: a frame has a text once for any
/// number of sessions, and the line of each has it. The events have all of it.
const TEXT: usize = 256;
const LIST: usize = 1 << 10;

/// What stands in a session's line. What is cut ends with `…`.
fn context(session: &Session) -> Result<String, CollectorError> {
    let mut line = session.clone();
    let identity = Arc::make_mut(&mut line.identity);
    for text in [
        &mut identity.workload,
        &mut identity.node,
        &mut identity.issuer,
        &mut identity.subject,
        &mut identity.email,
        &mut identity.owner,
        &mut line.target,
        &mut line.protocol,
        &mut line.database,
        &mut line.user,
        &mut line.client,
        &mut line.destination,
        &mut line.application,
    ] {
        if let Some(long) = text.as_deref().filter(|text| text.len() > TEXT) {
            *text = Some(shortened(long).into());
        }
    }
    for list in [&mut identity.images, &mut identity.groups] {
        let mut room = LIST;
        let fits = |name: &&str| {
            let left = room.checked_sub(name.len());
            room = left.unwrap_or_default();
            left.is_some()
        };
        let kept: Vec<&str> = list.iter().take_while(fits).collect();
        let hidden = list.len() - kept.len();
        if hidden > 0 {
            let rest = format!("… and {hidden} more");
            *list = kept.into_iter().chain([rest.as_str()]).collect();
        }
    }
    Ok(serde_json::to_string(&line)?)
}

fn shortened(text: &str) -> String {
    let kept = text.floor_char_boundary(TEXT);
    format!("{}…", text.get(..kept).unwrap_or_default())
}

/// What blocks add to the lines of sessions. It is written for many blocks at once (`backlog`).
#[derive(Default)]
pub(super) struct Growths(HashMap<u64, Growth>);

#[derive(Default)]
struct Growth {
    last: Timestamp,
    statements: u64,
    rows: u64,
    bytes: u64,
    denials: u64,
    holds: u64,
}

impl Growths {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds what happened in a session that has a line.
    pub(super) fn add(&mut self, id: u64, delta: &SessionDelta) {
        self.grow(
            id,
            &Growth {
                last: delta.last,
                statements: delta.statements,
                rows: delta.rows,
                bytes: delta.bytes,
                denials: delta.denials,
                holds: delta.holds,
            },
        );
    }

    /// Adds others.
    pub(super) fn merge(&mut self, others: Self) {
        for (id, growth) in others.0 {
            self.grow(id, &growth);
        }
    }

    fn grow(&mut self, id: u64, more: &Growth) {
        let growth = self.0.entry(id).or_default();
        growth.last = growth.last.max(more.last);
        for (sum, more) in [
            (&mut growth.statements, more.statements),
            (&mut growth.rows, more.rows),
            (&mut growth.bytes, more.bytes),
            (&mut growth.denials, more.denials),
            (&mut growth.holds, more.holds),
        ] {
            *sum = sum.saturating_add(more).min(i64::MAX.unsigned_abs());
        }
    }

    /// Writes them.
    pub(super) fn save(&self, store: &Connection) -> Result<(), CollectorError> {
        let mut update = store.prepare_cached(
            "UPDATE sessions SET last = max(last, ?2), statements = statements + ?3, rows = rows + ?4,
             bytes = bytes + ?5, denials = denials + ?6, holds = holds + ?7 WHERE id = ?1",
        )?;
        let mut growths: Vec<_> = self
            .0
            .iter()
            .map(|(id, growth)| (signed(*id), growth))
            .collect();
        growths.sort_unstable_by_key(|(id, _)| *id);
        for (id, growth) in growths {
            update.execute(params![
                id,
                growth.last.as_micros(),
                growth.statements,
                growth.rows,
                growth.bytes,
                growth.denials,
                growth.holds
            ])?;
        }
        Ok(())
    }
}

/// Whose line a session has, and when it was opened, by that.
pub(super) fn line_of(store: &Connection, id: u64) -> Result<Option<(i64, u64)>, CollectorError> {
    let line = store
        .prepare_cached("SELECT engine, opened FROM sessions WHERE id = ?1")?
        .query_row([signed(id)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(line)
}

/// Writes a session's line, but for how it grew.
pub(super) fn save_session(
    store: &Connection,
    keys: &mut Keys<'_>,
    (engine, own): (i64, bool),
    id: u64,
    delta: &SessionDelta,
) -> Result<Saved, CollectorError> {
    let outcome = delta.outcome.as_deref();
    let outcome = outcome.map(|text| match text.len() {
        0..=TEXT => text.to_owned(),
        _ => shortened(text),
    });
    let closed = delta.closed.map(Timestamp::as_micros);
    let Some(session) = &delta.session else {
        store
            .prepare_cached(
                "UPDATE sessions SET closed = coalesce(closed, ?2), outcome = coalesce(outcome, ?3)
                 WHERE id = ?1 AND (engine = ?4 OR ?5)",
            )?
            .execute(params![signed(id), closed, outcome, engine, own])?;
        return Ok(Saved::Known);
    };
    let first = delta.first.as_micros();
    match line_of(store, id)? {
        Some((owner, _)) if owner != engine => return Ok(Saved::Anothers),
        Some((_, opened)) => {
            if closed.is_some() || first < opened {
                store
                    .prepare_cached(
                        "UPDATE sessions SET opened = min(opened, ?2), closed = coalesce(?3, closed),
                         outcome = coalesce(?4, outcome) WHERE id = ?1",
                    )?
                    .execute(params![signed(id), first, closed, outcome])?;
            }
            return Ok(Saved::Grown);
        }
        None => {}
    }
    let identity = keys.number(store, Kind::Identity, &session.identity.name)?;
    let target = match &session.target {
        Some(target) => Some(keys.number(store, Kind::Target, target)?),
        None => None,
    };
    let namespace = match &session.identity.namespace {
        Some(namespace) => Some(keys.number(store, Kind::Namespace, namespace)?),
        None => None,
    };
    let context = context(session)?;
    store
        .prepare_cached(
            "INSERT INTO sessions(id, engine, epoch, identity, target, context, opened,
             last, closed, statements, rows, bytes, denials, holds, outcome, namespace)
             VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,0,0,0,0,0,?10,?11)",
        )?
        .execute(params![
            signed(id),
            engine,
            delta.epoch,
            identity,
            target,
            context,
            first,
            delta.last.as_micros(),
            closed,
            outcome,
            namespace
        ])?;
    Ok(Saved::New(
        context.len() + outcome.map_or(0, |text| text.len()),
    ))
}
