//! Blocks on their way from the embedded store.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;
use weir_audit::{Body, Closing, EngineId, Event, FindingCode, Hash, Names, Ruling, Timestamp};

use super::ClickHouse;
use crate::store::parts::{day_of, events, text_of, unpack};
use crate::{Collector, CollectorError, SessionSummary};

/// Blocks per turn.
const TURN: usize = 16;
/// No sum claims more.
const MOST: u64 = 1 << 50;

#[derive(Serialize)]
struct Row<'a> {
    time: u64,
    engine: &'a str,
    epoch: u32,
    seq: u64,
    day: u64,
    kind: &'a str,
    session: u64,
    identity: &'a str,
    namespace: &'a str,
    target: &'a str,
    decision: &'a str,
    approver: &'a str,
    tables: Vec<&'a str>,
    labels: Vec<&'a str>,
    rules: Vec<&'a str>,
    would_deny: Vec<&'a str>,
    revision: u64,
    rows: u64,
    bytes: u64,
    masked: u8,
    text: &'a str,
    sha256: String,
    code: &'a str,
    request: &'a str,
    ruling: &'a str,
    reason: &'a str,
    closing: String,
    held_ms: u64,
    event: String,
    received: u64,
}

#[derive(Serialize)]
struct SessionRow {
    id: i64,
    opened: u64,
    last: u64,
    identity: String,
    namespace: String,
    target: String,
    summary: String,
    version: u64,
    received: u64,
}

struct Block {
    id: i64,
    engine: EngineId,
    epoch: u32,
    first_seq: u64,
    last_seq: u64,
    events: Vec<Event>,
}

impl Collector {
    /// Forwards blocks that were not forwarded yet to ClickHouse, if it is the search engine; says how many
    /// events went. Call it again at once while it says more than none, and every second or so else.
    ///
    /// # Errors
    /// When the store failed, or ClickHouse did not take them: they are kept, and come again.
    pub fn forward(&self) -> Result<u64, CollectorError> {
        let Some(far) = self.far() else {
            return Ok(0);
        };
        far.prepare_once(self.max_age())?;
        let blocks = self.unforwarded()?;
        let Some(last) = blocks.last().map(|block| block.id) else {
            return Ok(0);
        };
        let now = Timestamp::from(std::time::SystemTime::now());
        let (mut count, mut sessions) = (0, BTreeSet::new());
        for block in &blocks {
            let rows: Vec<Row<'_>> = block
                .events
                .iter()
                .map(|event| row(event, now))
                .collect::<Result<_, _>>()?;
            let Block {
                engine,
                epoch,
                first_seq,
                last_seq,
                ..
            } = block;
            let token = format!("{engine}-{epoch}-{first_seq}-{last_seq}");
            far.insert("events", &token, &rows)?;
            count += rows.len() as u64;
            for event in &block.events {
                sessions.extend(event.session.as_ref().map(|session| session.id.as_u64()));
                if let Body::Finding(finding) = &event.body
                    && finding.code == FindingCode::UnclosedSession
                {
                    sessions.extend(finding.subject.map(|session| session.as_u64()));
                }
            }
        }
        self.forward_sessions(far, &sessions, now)?;
        self.settle(last)?;
        Ok(count)
    }

    fn unforwarded(&self) -> Result<Vec<Block>, CollectorError> {
        let mut reader = self.reader()?;
        let reader = reader.transaction()?;
        let place: Option<i64> = reader
            .query_row(
                "SELECT value FROM meta WHERE name = 'forwarded'",
                [],
                |row| row.get::<_, String>(0),
            )
            .optional()?
            .and_then(|place| place.parse().ok());
        let mut select = reader.prepare(
            "SELECT b.id, k.text, b.epoch, b.first_seq, b.last_seq, b.previous, b.raw, b.data
             FROM blocks b JOIN keys k ON k.id = b.engine WHERE b.id > ?1 ORDER BY b.id LIMIT ?2",
        )?;
        let mut rows = select.query(params![place.unwrap_or_default(), TURN])?;
        let mut blocks = Vec::new();
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let engine: String = row.get(1)?;
            let engine = engine.parse().map_err(|_| CollectorError::Damaged(id))?;
            let data: Vec<u8> = row.get(7)?;
            let bytes = unpack(id, row.get(6)?, &data)?;
            let events = events(id, &engine, Hash(row.get(5)?), &bytes)?;
            blocks.push(Block {
                id,
                engine,
                epoch: row.get(2)?,
                first_seq: row.get(3)?,
                last_seq: row.get(4)?,
                events: events.into_iter().flatten().collect(),
            });
        }
        Ok(blocks)
    }

    fn forward_sessions(
        &self,
        far: &ClickHouse,
        ids: &BTreeSet<u64>,
        now: Timestamp,
    ) -> Result<(), CollectorError> {
        let mut rows = Vec::new();
        for id in ids {
            let Some(summary) = self.session(*id)? else {
                continue;
            };
            let SessionSummary {
                session,
                opened,
                last,
                ..
            } = &summary;
            let maybe =
                |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
            rows.push(SessionRow {
                id: id.cast_signed(),
                opened: opened.as_micros(),
                last: last.as_micros(),
                identity: session.identity.name.to_string(),
                namespace: maybe(&session.identity.namespace),
                target: maybe(&session.target),
                summary: serde_json::to_string(&summary)?,
                version: now.as_micros(),
                received: now.as_micros() / 1_000_000,
            });
        }
        if rows.is_empty() {
            return Ok(());
        }
        far.insert("sessions", &now.as_micros().to_string(), &rows)
    }
}

fn row(event: &Event, now: Timestamp) -> Result<Row<'_>, CollectorError> {
    let session = event.session.as_deref();
    let statement = match &event.body {
        Body::StatementStarted(started) => Some(&started.statement),
        Body::StatementFinished(finished) => Some(&finished.statement),
        _ => None,
    };
    let mut row = Row {
        time: event.time.as_micros(),
        engine: event.id.engine.as_str(),
        epoch: event.id.epoch,
        seq: event.id.seq,
        day: day_of(event.time).min(day_of(now) + 1),
        kind: event.body.kind(),
        session: session.map_or(0, |session| session.id.as_u64()),
        identity: session.map_or("", |session| &session.identity.name),
        namespace: session
            .and_then(|session| session.identity.namespace.as_deref())
            .unwrap_or_default(),
        target: session
            .and_then(|session| session.target.as_deref())
            .unwrap_or_default(),
        decision: statement.map_or("", |statement| statement.decision.as_str()),
        approver: "",
        tables: listed(statement.map(|statement| &statement.tables)),
        labels: listed(statement.map(|statement| &statement.labels)),
        rules: listed(statement.map(|statement| &statement.rules)),
        would_deny: listed(statement.map(|statement| &statement.would_deny)),
        revision: statement.map_or(0, |statement| statement.revision),
        rows: 0,
        bytes: 0,
        masked: 0,
        text: text_of(&event.body).unwrap_or_default(),
        sha256: String::new(),
        code: "",
        request: "",
        ruling: "",
        reason: "",
        closing: String::new(),
        held_ms: 0,
        event: serde_json::to_string(event)?,
        received: now.as_micros() / 1_000_000,
    };
    match &event.body {
        Body::StatementFinished(finished) => {
            row.rows = finished.rows.min(MOST);
            row.bytes = finished.bytes.min(MOST);
            row.masked = u8::from(!finished.masked.is_empty());
        }
        Body::ConnectionRefused(refused) => {
            row.rules = refused.rules.iter().collect();
        }
        Body::FileTransferred(file) => {
            row.sha256 = file
                .sha256
                .map_or_else(String::new, |digest| digest.to_string());
        }
        Body::AccessRequestCreated(request) => {
            row.request = &request.name;
            row.labels = request.labels.iter().collect();
            row.rules = request.rules.iter().collect();
        }
        Body::AccessRequestDecided(decided) => {
            (row.request, row.approver) = (&decided.name, &decided.approver);
            (row.ruling, row.reason) = match &decided.ruling {
                Ruling::Approve { .. } => ("approve", decided.comment.as_deref().unwrap_or("")),
                Ruling::Deny { reason } => ("deny", &**reason),
            };
        }
        Body::AccessRequestClosed(closed) => {
            row.request = &closed.name;
            row.closing = word_of(closed.closing)?;
            row.held_ms = closed.held_ms;
        }
        Body::Finding(finding) => row.code = finding.code.as_str(),
        _ => {}
    }
    Ok(row)
}

fn listed(names: Option<&Names>) -> Vec<&str> {
    names.map_or_else(Vec::new, |names| names.iter().collect())
}

fn word_of(closing: Closing) -> Result<String, CollectorError> {
    Ok(serde_json::to_value(closing)?
        .as_str()
        .unwrap_or_default()
        .to_owned())
}
