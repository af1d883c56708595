//! Tables for spreadsheets: RFC 4180, safe to open.
//!
//! Invariants
//! - Every cell is quoted.
//! - No cell is a formula: recorded text is hostile, and spreadsheets calculate what begins with
//!   `=`, `+`, `-` or `@` (their wide forms too), also behind a tab or a line end. Such a cell gets
//!   an apostrophe in front, which spreadsheets do not show. Whoever parses the file takes one
//!   apostrophe away from a cell that begins with one before such a character.
//! - Other control characters are shown as `\u{…}`.

use weir_audit::{Body, Event, Names, RecordingChunk, Value};

use crate::{Answer, SessionSummary};

/// Columns of events.
pub const EVENT_COLUMNS: [&str; 25] = [
    "time",
    "id",
    "kind",
    "session",
    "identity",
    "namespace",
    "target",
    "protocol",
    "database",
    "user",
    "client",
    "number",
    "command",
    "text",
    "parameters",
    "decision",
    "outcome",
    "rows",
    "bytes",
    "duration_us",
    "tables",
    "labels",
    "masked",
    "rules",
    "detail",
];

/// Columns of sessions.
pub const SESSION_COLUMNS: [&str; 17] = [
    "session",
    "identity",
    "namespace",
    "owner",
    "target",
    "protocol",
    "database",
    "user",
    "client",
    "engine",
    "opened",
    "last",
    "closed",
    "statements",
    "rows",
    "denials",
    "outcome",
];

/// A line of these cells.
#[must_use]
pub fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for cell in cells {
        if !out.is_empty() {
            out.push(',');
        }
        quote(cell, &mut out);
    }
    out.push_str("\r\n");
    out
}

fn quote(cell: &str, out: &mut String) {
    const FORMULAS: &str = "=+-@\t\r\n＝＋－＠";
    out.push('"');
    let first = cell.trim_start_matches(' ').chars().next();
    if first.is_some_and(|first| FORMULAS.contains(first)) {
        out.push('\'');
    }
    for c in cell.chars() {
        match c {
            '"' => out.push_str("\"\""),
            '\n' | '\t' | '\r' => out.push(c),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// An answer as a table, columns first.
#[must_use]
pub fn answer(answer: &Answer) -> String {
    let mut out = line(answer.columns.iter().map(String::as_str));
    for row in &answer.rows {
        out.push_str(&line(row.iter().map(String::as_str)));
    }
    out
}

/// Events as a table, columns first.
#[must_use]
pub fn events(events: &[Event]) -> String {
    let mut out = line(EVENT_COLUMNS);
    for event in events {
        let cells = event_cells(event);
        out.push_str(&line(cells.iter().map(String::as_str)));
    }
    out
}

/// Sessions as a table, columns first.
#[must_use]
pub fn sessions(sessions: &[SessionSummary]) -> String {
    let mut out = line(SESSION_COLUMNS);
    for summary in sessions {
        let session = &summary.session;
        let cells = [
            session.id.to_string(),
            session.identity.name.to_string(),
            text(session.identity.namespace.as_deref()),
            text(session.identity.owner.as_deref()),
            text(session.target.as_deref()),
            text(session.protocol.as_deref()),
            text(session.database.as_deref()),
            text(session.user.as_deref()),
            text(session.client.as_deref()),
            summary.engine.to_string(),
            summary.opened.to_string(),
            summary.last.to_string(),
            summary.closed.map_or_else(String::new, |at| at.to_string()),
            summary.statements.to_string(),
            summary.rows.to_string(),
            summary.denials.to_string(),
            text(summary.outcome.as_deref()),
        ];
        out.push_str(&line(cells.iter().map(String::as_str)));
    }
    out
}

fn event_cells(event: &Event) -> Vec<String> {
    let session = event.session.as_deref();
    let statement = match &event.body {
        Body::StatementStarted(started) => Some(&started.statement),
        Body::StatementFinished(finished) => Some(&finished.statement),
        _ => None,
    };
    let finished = match &event.body {
        Body::StatementFinished(finished) => Some(finished),
        _ => None,
    };
    let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    let of = |take: fn(&weir_audit::Session) -> Option<&str>| text(session.and_then(take));
    let parameters = statement.map(|statement| statement.parameters.iter().map(shown));
    let detail = match &event.body {
        // The columns say it all.
        Body::StatementStarted(_) | Body::StatementFinished(_) => String::new(),
        // What was recorded is no table's cell.
        Body::RecordingChunk(chunk) => {
            let RecordingChunk {
                statement,
                index,
                offset_ms,
                stream,
                rows,
                ..
            } = chunk;
            serde_json::json!({
                "kind": event.body.kind(),
                "statement": statement,
                "index": index,
                "offset_ms": offset_ms,
                "stream": stream,
                "rows": rows.len(),
            })
            .to_string()
        }
        other => serde_json::to_string(other).unwrap_or_default(),
    };
    vec![
        event.time.to_string(),
        event.id.to_string(),
        event.body.kind().to_owned(),
        session.map_or_else(String::new, |session| session.id.to_string()),
        of(|session| Some(&session.identity.name)),
        of(|session| session.identity.namespace.as_deref()),
        of(|session| session.target.as_deref()),
        of(|session| session.protocol.as_deref()),
        of(|session| session.database.as_deref()),
        of(|session| session.user.as_deref()),
        of(|session| session.client.as_deref()),
        number(statement.map(|statement| statement.number)),
        text(statement.and_then(|statement| statement.command.as_deref())),
        text(statement.and_then(|statement| statement.text.as_deref())),
        parameters.map_or_else(String::new, |all| all.collect::<Vec<_>>().join("; ")),
        text(statement.map(|statement| statement.decision.as_str())),
        text(finished.map(|finished| finished.outcome.status())),
        number(finished.map(|finished| finished.rows)),
        number(finished.map(|finished| finished.bytes)),
        number(finished.map(|finished| finished.duration_us)),
        names(statement.map(|statement| &statement.tables)),
        names(statement.map(|statement| &statement.labels)),
        names(finished.map(|finished| &finished.masked)),
        names(statement.map(|statement| &statement.rules)),
        detail,
    ]
}

fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

fn names(names: Option<&Names>) -> String {
    names.map_or_else(String::new, |names| {
        names.iter().collect::<Vec<_>>().join(", ")
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Text(text) => text.to_string(),
        Value::Binary(bytes) => format!("({} bytes)", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for hostile in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "＝1",
            "＠x",
            "  =1",
            "=cmd|'/c calc'!A0",
        ] {
            let line = line([hostile]);
            assert!(line.starts_with("\"'"), "{line}");
        }
        for harmless in ["select 1", "a=b", "5", ""] {
            assert_eq!(line([harmless]), format!("\"{harmless}\"\r\n"));
        }
    }

    #[test]
    fn what_was_recorded_is_counted_and_not_shown() {
        let mut rows = weir_audit::ChunkBuilder::new(1024);
        rows.push_row([Some(&b"s3cret"[..])]);
        let chunk = RecordingChunk {
            statement: 7,
            rows: rows.take(),
            ..RecordingChunk::default()
        };
        let event = Event {
            schema: weir_audit::SCHEMA,
            id: "e1-1-1".parse().unwrap(),
            time: weir_audit::Timestamp::from_micros(1),
            session: None,
            body: chunk.into(),
        };
        assert!(serde_json::to_string(&event).unwrap().contains("s3cret"));
        let cells = event_cells(&event).join(" ");
        assert!(cells.contains(r#""rows":1"#) && cells.contains(r#""statement":7"#));
        assert!(!cells.contains("s3cret"), "{cells}");
    }

    #[test]
    fn quotes_and_lines_stay_inside_their_cell() {
        assert_eq!(line(["a\",\"b\n", "c"]), "\"a\"\",\"\"b\n\",\"c\"\r\n");
        assert_eq!(line(["\u{0}\u{1b}[2J"]), "\"\\u{0}\\u{1b}[2J\"\r\n");
    }
}
