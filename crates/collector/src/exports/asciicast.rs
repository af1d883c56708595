//! A terminal's recording as an asciicast: a header and one JSON array per event, as players of
//! asciinema read them. In version 3 (<https://docs.asciinema.org/manual/asciicast/v3/>) an event says how
//! many seconds after the one before it came, in version 2
//! (<https://docs.asciinema.org/manual/asciicast/v2/>) how many after the beginning.
//!
//! Invariants: one statement per file; what is kept of it in memory is bounded; bytes that are not
//! UTF-8 are replaced, and a character is never cut in two.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use weir_audit::{Body, Event, Outcome, RecordingChunk, Session, StatementFinished, Stream};

use super::moments::{Piece, Utf8, merged};

/// Bytes of recordings that are kept until the session's end.
const KEPT: usize = 512 << 20;
/// The size of a terminal that never said one.
const SIZE: (u32, u32) = (80, 24);

/// The version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// For older players. It has no exit status.
    V2,
    /// The newest.
    V3,
}

/// Why there is no asciicast.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CastError {
    /// Nothing of a terminal was recorded.
    #[error("nothing of a terminal is recorded")]
    NoTerminal,
    /// There are several, with these numbers.
    #[error("there are several terminals: {}", list(.0))]
    Several(Vec<u64>),
    /// A recording cannot be read.
    #[error("a recording is damaged")]
    Damaged,
    /// It is more than is kept in memory.
    #[error("the recordings of the session have more than {KEPT} bytes")]
    TooMuch,
}

fn list(numbers: &[u64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    numbers.join(", ")
}

/// Collects the channels of a session.
#[derive(Default)]
pub struct Export {
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
    /// Of the statement with this number, or of the only terminal.
    #[must_use]
    pub fn new(only: Option<u64>) -> Self {
        Self {
            only,
            ..Self::default()
        }
    }

    /// Takes the session's next event.
    ///
    /// # Errors
    /// When there is too much to keep.
    pub fn event(&mut self, mut event: Event) -> Result<(), CastError> {
        let wanted = |number: u64| self.only.is_none_or(|only| only == number);
        match std::mem::replace(&mut event.body, Body::Heartbeat(Default::default())) {
            Body::RecordingChunk(chunk) if chunk.stream.is_timed() && wanted(chunk.statement) => {
                self.kept += chunk.rows.byte_len();
                if self.kept > KEPT {
                    return Err(CastError::TooMuch);
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
    ///
    /// # Errors
    /// When there is none, more than one, or a damaged one.
    pub fn cast(self, version: Version) -> Result<String, CastError> {
        let asked = self.only.is_some();
        let mut found = self.statements.into_iter();
        let mut terminals = found
            .by_ref()
            .filter(|(_, recorded)| asked || recorded.is_terminal());
        let Some((number, recorded)) = terminals.next() else {
            return Err(CastError::NoTerminal);
        };
        let others: Vec<u64> = terminals.map(|(number, _)| number).collect();
        if !others.is_empty() {
            let all = std::iter::once(number).chain(others);
            return Err(CastError::Several(all.collect()));
        }
        written(&recorded, version)
    }
}

fn written(recorded: &Recorded, version: Version) -> Result<String, CastError> {
    let pieces = merged(&recorded.chunks).ok_or(CastError::Damaged)?;
    let mut out = format!("{}\n", header(recorded, &pieces, version));
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
        let at = match version {
            Version::V2 => piece.at.max(before),
            Version::V3 => piece.at.saturating_sub(before),
        };
        line(&mut out, at, code, &text);
        before = before.max(piece.at);
    }
    if version == Version::V3
        && let Some((_, finished)) = &recorded.finished
        && let Some(status) = status(&finished.outcome)
    {
        let end = Duration::from_micros(finished.duration_us);
        line(&mut out, end.saturating_sub(before), "x", &status);
    }
    Ok(out)
}

fn line(out: &mut String, at: Duration, code: &str, data: &str) {
    let (seconds, millis) = (at.as_secs(), at.subsec_millis());
    let _ = writeln!(out, "[{seconds}.{millis:03}, \"{code}\", {}]", json!(data));
}

fn header(recorded: &Recorded, pieces: &[Piece], version: Version) -> Value {
    // A client without a terminal of its own asks for one of no size.
    let mut sizes = pieces.iter().filter_map(Piece::size);
    let (columns, rows) = sizes
        .find(|(columns, rows)| *columns > 0 && *rows > 0)
        .unwrap_or(SIZE);
    let mut header = match version {
        Version::V2 => json!({"version": 2, "width": columns, "height": rows}),
        Version::V3 => json!({"version": 3, "term": {"cols": columns, "rows": rows}}),
    };
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
        put(
            &mut header,
            "timestamp",
            json!(began.as_micros() / 1_000_000),
        );
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
    let Some(term) = term else {
        return header;
    };
    match version {
        Version::V2 => put(&mut header, "env", json!({ "TERM": term })),
        Version::V3 => {
            if let Some(fields) = header.get_mut("term") {
                put(fields, "type", json!(term));
            }
        }
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
