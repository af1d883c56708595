//! What a block's index says about its events.
//!
//! Shared values are looked at once per frame: the decoder gives equal values equal addresses.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};
use weir_audit::{Body, Decision, Event, FindingCode, Session, SessionId, Timestamp};

use super::CollectorError;
use super::facets::{Facets, Mentioned};
use super::fast::{FastMap, FastSet};
use super::keys::Keys;
use super::texts::TextFilter;

/// What one batch adds to a session.
#[derive(Default)]
pub(super) struct SessionDelta {
    pub(super) session: Option<Arc<Session>>,
    pub(super) epoch: u32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) closed: Option<Timestamp>,
    pub(super) outcome: Option<String>,
    pub(super) statements: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) denials: u64,
    pub(super) holds: u64,
}

/// What one batch adds to sessions, in the order in which they come.
#[derive(Default)]
pub(super) struct SessionDeltas {
    places: HashMap<u64, usize>,
    deltas: Vec<(u64, SessionDelta)>,
}

impl SessionDeltas {
    /// Adds the events of one frame.
    pub(super) fn add(&mut self, events: &[Event]) {
        let mut places: FastMap<usize, usize> = FastMap::default();
        for event in events {
            let unclosed = unclosed(&event.body);
            let place = match (unclosed, &event.session) {
                (Some(subject), _) => self.place(subject),
                (None, Some(session)) => *places
                    .entry(Arc::as_ptr(session).addr())
                    .or_insert_with(|| self.place(session.id)),
                (None, None) => continue,
            };
            if let Some((_, delta)) = self.deltas.get_mut(place) {
                match &event.session {
                    Some(session) if unclosed.is_none() => delta.add(event, session),
                    _ => delta.close(event.time, "never closed".to_owned()),
                }
            }
        }
    }

    fn place(&mut self, id: SessionId) -> usize {
        let deltas = &mut self.deltas;
        *self.places.entry(id.as_u64()).or_insert_with(|| {
            deltas.push((id.as_u64(), SessionDelta::default()));
            deltas.len() - 1
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(u64, SessionDelta)> {
        self.deltas.iter()
    }
}

/// The session of which a finding says that it will not be closed any more.
fn unclosed(body: &Body) -> Option<SessionId> {
    match body {
        Body::Finding(finding) if finding.code == FindingCode::UnclosedSession => finding.subject,
        _ => None,
    }
}

impl SessionDelta {
    fn close(&mut self, at: Timestamp, outcome: String) {
        self.closed = Some(at);
        self.outcome = Some(outcome);
    }

    fn add(&mut self, event: &Event, session: &Arc<Session>) {
        if self.session.is_none() {
            self.first = event.time;
            self.epoch = event.id.epoch;
        }
        let same = |have: &Arc<Session>| Arc::ptr_eq(have, session);
        if !self.session.as_ref().is_some_and(same) {
            self.session = Some(Arc::clone(session));
        }
        self.last = self.last.max(event.time);
        match &event.body {
            Body::StatementFinished(finished) => {
                self.statements += 1;
                self.rows = self.rows.saturating_add(finished.rows);
                self.bytes = self.bytes.saturating_add(finished.bytes);
                self.denials += u64::from(finished.statement.decision == Decision::Deny);
            }
            Body::AccessRequestCreated(_) => self.holds += 1,
            Body::ConnectionClosed(closed) => self.close(event.time, closed.reason.to_string()),
            Body::ConnectionRefused(refused) => {
                self.close(event.time, format!("refused: {}", refused.reason));
            }
            _ => {}
        }
    }
}

/// The index of the block that is being filled.
#[derive(Default)]
pub(super) struct BlockIndex {
    pub(super) facets: Facets,
    pub(super) texts: TextFilter,
    pub(super) first_time: Option<Timestamp>,
    pub(super) last_time: Timestamp,
}

impl BlockIndex {
    /// Adds the events of one frame.
    pub(super) fn add(&mut self, events: &[Event]) {
        let mut seen: FastSet<usize> = FastSet::default();
        self.facets.add(events);
        for event in events {
            self.last_time = self.last_time.max(event.time);
            let first = self.first_time.get_or_insert(event.time);
            *first = (*first).min(event.time);
            if let Some(text) = text_of(&event.body)
                && seen.insert(text.as_ptr().addr())
            {
                self.texts.add(text);
            }
        }
    }

    /// Writes what is known of a block, in place of what was; returns what it is about.
    pub(super) fn save(
        self,
        store: &Connection,
        keys: &mut Keys<'_>,
        block: i64,
    ) -> Result<Mentioned, CollectorError> {
        let (facets, mentioned) = self.facets.pack(store, keys)?;
        store
            .prepare_cached("INSERT OR REPLACE INTO block_index VALUES (?1, ?2, ?3)")?
            .execute(params![block, facets, self.texts.pack()])?;
        Ok(mentioned)
    }
}

/// The text in which a search for text looks.
pub(crate) fn text_of(body: &Body) -> Option<&str> {
    match body {
        Body::StatementStarted(started) => started.statement.text.as_deref(),
        Body::StatementFinished(finished) => finished.statement.text.as_deref(),
        Body::AccessRequestCreated(request) => Some(&request.statement),
        Body::FileTransferred(file) => Some(&file.path),
        Body::KubernetesAnswered(request) => request.server_audit_id.as_deref(),
        Body::Finding(finding) => Some(&finding.message),
        Body::ConnectionRefused(refused) => Some(&refused.reason),
        _ => None,
    }
}
