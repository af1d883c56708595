//! What a block's index says about its events.
//!
//! Shared values are looked at once per frame: the decoder gives equal values equal addresses.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, params};
use weir_audit::{Body, Decision, Event, Session, Timestamp};

use super::CollectorError;
use super::facets::Facets;
use super::ingest::Keys;
use super::texts::TextFilter;

/// Kinds of keys; also the `kind` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(super) enum Kind {
    Engine = 0,
    Identity = 1,
    Target = 2,
    Table = 3,
    Label = 4,
    Decision = 5,
    Body = 6,
    Namespace = 7,
    /// `policy/rule`; in sums only.
    Rule = 8,
    /// Who ruled on a hold.
    Approver = 9,
}

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
    pub(super) fn add(&mut self, events: &[Event], deltas: &mut HashMap<u64, SessionDelta>) {
        let mut seen: HashSet<usize> = HashSet::new();
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
            note_session(event, deltas);
        }
    }

    /// Writes what is known of a block, in place of what was; returns its facets as they are stored.
    pub(super) fn save(
        self,
        store: &Connection,
        keys: &mut Keys<'_>,
        block: i64,
    ) -> Result<Vec<u8>, CollectorError> {
        let facets = self.facets.pack(store, keys)?;
        store
            .prepare_cached("INSERT OR REPLACE INTO block_index VALUES (?1, ?2, ?3)")?
            .execute(params![block, facets, self.texts.pack()])?;
        Ok(facets)
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

fn note_session(event: &Event, deltas: &mut HashMap<u64, SessionDelta>) {
    if let Body::Finding(finding) = &event.body
        && let (weir_audit::FindingCode::UnclosedSession, Some(subject)) =
            (finding.code, finding.subject)
    {
        let delta = deltas.entry(subject.as_u64()).or_default();
        delta.closed = Some(event.time);
        delta.outcome = Some("never closed".to_owned());
        return;
    }
    let Some(session) = &event.session else {
        return;
    };
    let delta = deltas.entry(session.id.as_u64()).or_default();
    if delta.session.is_none() {
        delta.first = event.time;
        delta.epoch = event.id.epoch;
    }
    if delta
        .session
        .as_ref()
        .is_none_or(|have| !Arc::ptr_eq(have, session))
    {
        delta.session = Some(Arc::clone(session));
    }
    delta.last = delta.last.max(event.time);
    match &event.body {
        Body::StatementFinished(finished) => {
            delta.statements += 1;
            delta.rows = delta.rows.saturating_add(finished.rows);
            delta.bytes = delta.bytes.saturating_add(finished.bytes);
            delta.denials += u64::from(finished.statement.decision == Decision::Deny);
        }
        Body::AccessRequestCreated(_) => delta.holds += 1,
        Body::ConnectionClosed(closed) => {
            delta.closed = Some(event.time);
            delta.outcome = Some(closed.reason.to_string());
        }
        Body::ConnectionRefused(refused) => {
            delta.closed = Some(event.time);
            delta.outcome = Some(format!("refused: {}", refused.reason));
        }
        _ => {}
    }
}
