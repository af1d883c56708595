//! Blocks on their way from the embedded store.

use std::collections::BTreeSet;

use serde::Serialize;
use weir_audit::{Body, Closing, Event, FindingCode, Names, Ruling, Timestamp};

use super::ClickHouse;
use crate::store::parts::{day_of, text_of};
use crate::store::{Cursor, Outgoing};
use crate::{Collector, CollectorError, SessionSummary};

/// Blocks per turn.
const TURN: usize = 16;
/// Bytes of rows in one insert; a single row may be longer.
const PART: usize = 16 << 20;
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
        let blocks = self.outgoing(Cursor::Forwarded, TURN, usize::MAX)?;
        let Some(last) = blocks.last().map(|block| block.id) else {
            return Ok(0);
        };
        let now = Timestamp::from(std::time::SystemTime::now());
        let (mut count, mut sessions) = (0, BTreeSet::new());
        for block in &blocks {
            let Outgoing {
                engine,
                epoch,
                first_seq,
                last_seq,
                ..
            } = block;
            for (number, part) in parts(&block.events).enumerate() {
                let rows: Vec<Row<'_>> = part
                    .iter()
                    .map(|event| row(event, now))
                    .collect::<Result<_, _>>()?;
                let mut token = format!("{engine}-{epoch}-{first_seq}-{last_seq}");
                if number > 0 {
                    token.push_str(&format!("-{number}"));
                }
                far.insert("events", &token, &rows)?;
                count += rows.len() as u64;
            }
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
        self.taken(Cursor::Forwarded, last)?;
        Ok(count)
    }

    fn forward_sessions(
        &self,
        far: &ClickHouse,
        ids: &BTreeSet<u64>,
        now: Timestamp,
    ) -> Result<(), CollectorError> {
        let (mut rows, mut bytes, mut number) = (Vec::new(), 0, 0);
        let mut insert = |rows: &mut Vec<SessionRow>| {
            let token = format!("{}-{number}", now.as_micros());
            number += 1;
            far.insert("sessions", &token, &std::mem::take(rows))
        };
        self.follow()?;
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
            let text = serde_json::to_string(&summary)?;
            if bytes + text.len() > PART && !rows.is_empty() {
                insert(&mut rows)?;
                bytes = 0;
            }
            bytes += text.len();
            rows.push(SessionRow {
                id: id.cast_signed(),
                opened: opened.as_micros(),
                last: last.as_micros(),
                identity: session.identity.name.to_string(),
                namespace: maybe(&session.identity.namespace),
                target: maybe(&session.target),
                summary: text,
                version: now.as_micros(),
            });
        }
        if rows.is_empty() {
            return Ok(());
        }
        insert(&mut rows)
    }
}

/// The events of a block in parts that are bounded when they are written out, or of one event; always the same.
fn parts(events: &[Event]) -> impl Iterator<Item = &[Event]> {
    let mut weight = 0;
    events.chunk_by(move |one, next| {
        weight += one.weight();
        let together = weight + next.weight() <= PART;
        if !together {
            weight = 0;
        }
        together
    })
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

#[cfg(test)]
mod tests {
    use weir_audit::{EventId, Finding, SCHEMA};

    use super::*;

    #[test]
    fn a_block_goes_in_parts_that_are_bounded_and_lose_nothing() {
        let message: std::sync::Arc<str> = "x".repeat(PART / 3).into();
        let event = |seq| Event {
            schema: SCHEMA,
            id: EventId {
                engine: "e1".parse().unwrap(),
                epoch: 1,
                seq,
            },
            time: Timestamp::default(),
            session: None,
            body: Body::Finding(Finding {
                code: FindingCode::Other,
                message: message.clone(),
                subject: None,
                engine: None,
            }),
        };
        let events: Vec<Event> = (1..=7).map(event).collect();
        let sizes: Vec<usize> = parts(&events).map(<[Event]>::len).collect();
        assert_eq!(sizes, [2, 2, 2, 1]);
        assert_eq!(parts(&events).flatten().count(), 7);
        assert_eq!(parts(&[]).count(), 0);
    }
}
