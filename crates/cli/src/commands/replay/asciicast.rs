//! A terminal's recording as an asciicast (version 3): a header and one JSON array per event,
//! `[seconds since the event before, code, data]`, as players of asciinema read them
//! (<https://docs.asciinema.org/manual/asciicast/v3/>).
//!
//! Invariants: one statement per file; what is kept of it in memory is bounded; bytes that are not
//! UTF-8 are replaced, and a character is never cut in two.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use weir_audit::{Body, Event, Outcome, RecordingChunk, Session, StatementFinished, Stream};

use super::super::connect::Failure;
use super::super::terminal::Utf8;
use super::super::time::between;
use super::channel::{Piece, merged};

/// Bytes of recordings that are kept until the session's end.
const KEPT: usize = 512 << 20;
/// The size of a terminal that never said one.
const SIZE: (u32, u32) = (80, 24);

/// Collects the channels of a session.
#[derive(Default)]
pub(crate) struct Export {
    /// The one that is asked for.
    only: Option<u64>,
    statements: BTreeMap<u64, Recorded>,
    kept: usize,
}

#[derive(Default)]
struct Recorded {
    chunks: Vec<RecordingChunk>,
    finished: Option<(Event, Box<StatementFinished>)>,
    /// The first event, if nothing says when the statement began.
    seen: Option<Event>,
}

impl Recorded {
    fn is_terminal(&self) -> bool {
        let terminal = |chunk: &RecordingChunk| chunk.stream == Stream::TerminalOutput;
        self.chunks.iter().any(terminal)
    }
}

impl Export {
    pub(crate) fn new(only: Option<u64>) -> Self {
        Self {
            only,
            ..Self::default()
        }
    }

    pub(crate) fn event(&mut self, mut event: Event) -> Result<(), Failure> {
        let wanted = |number: u64| self.only.is_none_or(|only| only == number);
        match std::mem::replace(&mut event.body, Body::Heartbeat(Default::default())) {
            Body::RecordingChunk(chunk) if chunk.stream.is_timed() && wanted(chunk.statement) => {
                self.kept += chunk.rows.byte_len();
                if self.kept > KEPT {
                    return Err(Failure::TooMuch);
                }
                let recorded = self.statements.entry(chunk.statement).or_default();
                recorded.chunks.push(chunk);
                recorded.seen.get_or_insert(event);
            }
            Body::StatementFinished(finished) => {
                if let Some(recorded) = self.statements.get_mut(&finished.statement.number) {
                    recorded.finished = Some((event, finished));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The asciicast of the terminal that was asked for, or of the only one.
    pub(crate) fn cast(self) -> Result<String, Failure> {
        let asked = self.only.is_some();
        let mut found = self.statements.into_iter();
        let mut terminals = found
            .by_ref()
            .filter(|(_, recorded)| asked || recorded.is_terminal());
        let Some((number, recorded)) = terminals.next() else {
            return Err(Failure::NoTerminal);
        };
        let others: Vec<u64> = terminals.map(|(number, _)| number).collect();
        if !others.is_empty() {
            let all = std::iter::once(number).chain(others);
            let all: Vec<String> = all.map(|number| number.to_string()).collect();
            return Err(Failure::Terminals(all.join(", ")));
        }
        written(&recorded)
    }
}

fn written(recorded: &Recorded) -> Result<String, Failure> {
    let pieces = merged(&recorded.chunks).ok_or(Failure::Damaged)?;
    let mut out = format!("{}\n", header(recorded, &pieces));
    let mut texts: [Utf8; 4] = Default::default();
    let mut before = Duration::ZERO;
    let mut sized = false;
    let terminal = recorded.is_terminal();
    for piece in &pieces {
        let (code, place) = match piece.stream {
            Stream::TerminalOutput | Stream::Stdout => ("o", 0),
            Stream::Stderr => ("o", 1),
            Stream::TerminalInput | Stream::Stdin => ("i", 2),
            Stream::TerminalResize if std::mem::replace(&mut sized, true) => ("r", 3),
            _ => continue,
        };
        let text = texts.get_mut(place).map(|utf8| utf8.text(&piece.bytes));
        let mut text = text.unwrap_or_default();
        if text.is_empty() {
            continue;
        }
        if !terminal && code == "o" {
            // Without a terminal nobody put the carriage back.
            text = text.replace('\n', "\r\n");
        }
        line(&mut out, piece.at.saturating_sub(before), code, &text);
        before = before.max(piece.at);
    }
    if let Some((_, finished)) = &recorded.finished
        && let Some(status) = status(&finished.outcome)
    {
        let end = Duration::from_micros(finished.duration_us);
        line(&mut out, end.saturating_sub(before), "x", &status);
    }
    Ok(out)
}

fn line(out: &mut String, wait: Duration, code: &str, data: &str) {
    let (seconds, millis) = (wait.as_secs(), wait.subsec_millis());
    let _ = writeln!(out, "[{seconds}.{millis:03}, \"{code}\", {}]", json!(data));
}

fn header(recorded: &Recorded, pieces: &[Piece]) -> Value {
    let (columns, rows) = pieces.iter().find_map(Piece::size).unwrap_or(SIZE);
    let mut header = json!({"version": 3, "term": {"cols": columns, "rows": rows}});
    let began = match (&recorded.finished, &recorded.seen) {
        (Some((event, finished)), _) => Some(
            event
                .time
                .minus(Duration::from_micros(finished.duration_us)),
        ),
        (None, Some(event)) => Some(event.time),
        (None, None) => None,
    };
    if let Some(began) = began {
        let since = between(weir_audit::Timestamp::default(), began);
        put(&mut header, "timestamp", json!(since.as_secs()));
    }
    let event = recorded.finished.as_ref().map(|(event, _)| event);
    let session = event
        .or(recorded.seen.as_ref())
        .and_then(|e| e.session.as_deref());
    if let Some(session) = session {
        put(&mut header, "title", json!(title(session)));
    }
    let Some((_, finished)) = &recorded.finished else {
        return header;
    };
    if let Some(text) = &finished.statement.text {
        put(&mut header, "command", json!(text));
    }
    let term = finished
        .statement
        .parameters
        .iter()
        .find_map(|variable| match variable {
            weir_audit::Value::Text(text) => text.strip_prefix("TERM="),
            _ => None,
        });
    if let (Some(term), Some(fields)) = (term, header.get_mut("term")) {
        put(fields, "type", json!(term));
    }
    header
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

fn title(session: &Session) -> String {
    let who = &session.identity.name;
    let target = session.target.as_deref().unwrap_or("?");
    match session.user.as_deref() {
        Some(user) => format!("{who} as {user} on {target}, session {}", session.id),
        None => format!("{who} on {target}, session {}", session.id),
    }
}

/// The exit status, where there was one.
fn status(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Completed => Some("0".to_owned()),
        Outcome::Failed { code } => code.strip_prefix("exit ").map(str::to_owned),
        _ => None,
    }
}
