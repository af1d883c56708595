//! Holds in a row each, and who ruled on them: what the questions about approvals read.
//!
//! A hold is its engine's: what another engine says of a request of the same name is another hold.
//! Of a statement the beginning is kept here; the whole is in the events.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use weir_api::abridged;
use weir_audit::{AccessRequestCreated, Body, Closing, Event, Names, Ruling, Session, Timestamp};

use super::CollectorError;
use super::ingest::signed;
use super::keys::{Keys, Kind};

/// Characters of a statement that are kept in a row.
pub(crate) const SHOWN: usize = 400;

pub(super) const TABLES: &str = "
CREATE TABLE holds(id INTEGER PRIMARY KEY, engine INTEGER NOT NULL, name TEXT NOT NULL,
  raised INTEGER NOT NULL, namespace INTEGER NOT NULL, identity INTEGER NOT NULL,
  target INTEGER NOT NULL, session INTEGER NOT NULL, statement TEXT NOT NULL,
  rules TEXT NOT NULL, labels TEXT NOT NULL, closing TEXT, held_ms INTEGER, UNIQUE(engine, name));
CREATE INDEX holds_raised ON holds(raised);
CREATE TABLE rulings(hold INTEGER NOT NULL, at INTEGER NOT NULL, approver INTEGER NOT NULL,
  ruling TEXT NOT NULL, reason TEXT, rows INTEGER);
CREATE INDEX rulings_approver ON rulings(approver, at);
CREATE INDEX rulings_hold ON rulings(hold);
";

/// What a batch says about holds, in its order.
#[derive(Default)]
pub(super) struct HoldNotes {
    notes: Vec<(Timestamp, Note)>,
}

enum Note {
    Raised(Arc<Session>, Box<AccessRequestCreated>),
    Ruled {
        name: Arc<str>,
        approver: Arc<str>,
        ruling: Ruling,
        comment: Option<Arc<str>>,
    },
    Closed {
        name: Arc<str>,
        closing: Closing,
        held_ms: u64,
    },
}

impl HoldNotes {
    /// Takes note of the events that are about holds.
    pub(super) fn add(&mut self, events: &[Event]) {
        events.iter().for_each(|event| self.note(event));
    }

    fn note(&mut self, event: &Event) {
        let note = match (&event.body, &event.session) {
            (Body::AccessRequestCreated(request), Some(session)) => {
                let mut request = request.clone();
                request.statement = abridged(&request.statement, SHOWN).into();
                request.parameters = Vec::new();
                Note::Raised(Arc::clone(session), request)
            }
            (Body::AccessRequestDecided(decided), _) => Note::Ruled {
                name: Arc::clone(&decided.name),
                approver: Arc::clone(&decided.approver),
                ruling: decided.ruling.clone(),
                comment: decided.comment.clone(),
            },
            (Body::AccessRequestClosed(closed), _) => Note::Closed {
                name: Arc::clone(&closed.name),
                closing: closed.closing,
                held_ms: closed.held_ms,
            },
            _ => return,
        };
        self.notes.push((event.time, note));
    }

    /// Writes them, at `own` of the store's own time.
    pub(super) fn save(
        self,
        store: &Connection,
        keys: &mut Keys<'_>,
        (engine, own): (i64, i64),
    ) -> Result<(), CollectorError> {
        for (at, note) in self.notes {
            match note {
                Note::Raised(session, request) => {
                    raised(store, keys, (engine, own), at, &session, &request)?;
                }
                Note::Ruled {
                    name,
                    approver,
                    ruling,
                    comment,
                } => {
                    let Some(hold) = number(store, engine, &name)? else {
                        continue;
                    };
                    let approver = keys.number(store, Kind::Approver, &approver)?;
                    let (word, reason, rows) = match ruling {
                        Ruling::Approve { rows } => ("approve", comment, rows),
                        Ruling::Deny { reason } => ("deny", Some(reason), None),
                    };
                    store
                        .prepare_cached("INSERT INTO rulings VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                        .execute(params![
                            hold,
                            at.as_micros(),
                            approver,
                            word,
                            reason,
                            rows.map(u64::cast_signed)
                        ])?;
                }
                Note::Closed {
                    name,
                    closing,
                    held_ms,
                } => {
                    store
                        .prepare_cached(
                            "UPDATE holds SET closing = ?3, held_ms = ?4
                             WHERE engine = ?1 AND name = ?2",
                        )?
                        .execute(params![
                            engine,
                            name,
                            word_of(closing)?,
                            held_ms.min(i64::MAX.unsigned_abs())
                        ])?;
                }
            }
        }
        Ok(())
    }
}

fn raised(
    store: &Connection,
    keys: &mut Keys<'_>,
    (engine, own): (i64, i64),
    at: Timestamp,
    session: &Session,
    request: &AccessRequestCreated,
) -> Result<(), CollectorError> {
    let identity = &session.identity;
    let namespace = keys.number_or_none(store, Kind::Namespace, identity.namespace.as_ref())?;
    let target = keys.number_or_none(store, Kind::Target, session.target.as_ref())?;
    store
        .prepare_cached(
            "INSERT OR IGNORE INTO holds(engine, name, raised, namespace, identity, target,
             session, statement, rules, labels, received) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
        )?
        .execute(params![
            engine,
            request.name,
            at.as_micros(),
            namespace,
            keys.number(store, Kind::Identity, &identity.name)?,
            target,
            signed(session.id.as_u64()),
            request.statement,
            joined(&request.rules),
            joined(&request.labels),
            own
        ])?;
    Ok(())
}

fn number(store: &Connection, engine: i64, name: &str) -> Result<Option<i64>, CollectorError> {
    let number = store
        .prepare_cached("SELECT id FROM holds WHERE engine = ?1 AND name = ?2")?
        .query_row(params![engine, name], |row| row.get(0))
        .optional()?;
    Ok(number)
}

/// As JSON has it.
fn word_of(closing: Closing) -> Result<String, CollectorError> {
    let word = serde_json::to_value(closing)?;
    Ok(word.as_str().unwrap_or_default().to_owned())
}

fn joined(names: &Names) -> String {
    names.iter().collect::<Vec<_>>().join(", ")
}

/// Forgets holds that were received before `before`, a time of the store's own.
pub(super) fn forget(store: &Connection, before: i64) -> Result<(), CollectorError> {
    store.execute(
        "DELETE FROM rulings WHERE hold IN (SELECT id FROM holds WHERE received < ?1)",
        [before],
    )?;
    store.execute("DELETE FROM holds WHERE received < ?1", [before])?;
    Ok(())
}
