//! One session, moment by moment: statements with what came back, terminals, files, requests.
//!
//! Invariants
//! - What is shown of a result is what the client saw, masks included.
//! - A page holds a bounded part of a session; what is left out of a result or a text is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use hyper::{Response, StatusCode};
use weir_audit::{
    Body as What, Column, Event, RecordingChunk, Session as Connection, SessionId,
    StatementFinished, Stream, Timestamp, Value,
};
use weir_serve::Body;

use super::Inner;
use super::assets;
use super::frame::{Frame, Here, answer, page};
use super::guard::WithPlayer;
use super::html::{self, Html, visible};
use super::problem::Problem;
use super::request::Asked;
use super::rows::{EventRow, login};
use super::sessions::Session;
use super::show::{between, clock, count, counted, moment, short_name, size, span};
use super::sql::{self, Shown};
use crate::exports::asciicast::{CastError, Export, Version};

/// Steps of a page.
const STEPS: usize = 200;
/// Rows of a result, characters of a cell, bytes of a text.
const ROWS: usize = 50;
const CELL: usize = 200;
const TEXT: usize = 64 << 10;
/// Bytes of recordings that a page may hold.
const KEPT: usize = 32 << 20;

/// One moment of a session.
struct Step {
    number: Option<u64>,
    at_ms: u64,
    clock: String,
    event: EventRow,
    /// The whole text, beyond what a list shows.
    text: Option<Shown>,
    parameters: Vec<Html>,
    result: Option<Table>,
    streams: Vec<Streamed>,
    terminal: bool,
    noted: Vec<EventRow>,
}

/// What came back.
struct Table {
    heads: Vec<Head>,
    rows: Vec<Vec<Cell>>,
    hidden: Option<String>,
    truncated: bool,
}

struct Head {
    name: Html,
    masked: bool,
}

struct Cell {
    html: Html,
    null: bool,
    masked: bool,
    hidden: Option<String>,
}

/// The bytes of a command's stream, as text.
struct Streamed {
    name: &'static str,
    text: Shown,
}

struct Tick {
    x: f64,
    tone: &'static str,
}

#[derive(Template)]
#[template(path = "replay.html")]
struct ReplayPage {
    frame: Frame,
    id: String,
    facts: Vec<(&'static str, Html)>,
    began: String,
    total_ms: u64,
    lasted: String,
    ticks: Vec<Tick>,
    steps: Vec<Step>,
    from: usize,
    before: Option<usize>,
    after: Option<usize>,
    player: bool,
}

/// What is gathered of a session.
#[derive(Default)]
struct Gathered {
    skip: usize,
    began: Option<Timestamp>,
    last: Option<Timestamp>,
    connection: Option<Connection>,
    steps: Vec<Step>,
    more: bool,
    chunks: BTreeMap<u64, Vec<RecordingChunk>>,
    noted: BTreeMap<u64, Vec<EventRow>>,
    kept: usize,
}

impl Inner {
    pub(super) async fn replay_page(
        &self,
        session: &Session,
        asked: &Asked,
        rest: &str,
    ) -> Result<Response<Body>, Problem> {
        let none = || Problem::not_found("There is no such session.");
        if let Some((id, number)) = rest.split_once("/cast/") {
            let id = id.parse().map_err(|_| none())?;
            let number = number.parse().map_err(|_| none())?;
            return self.cast(session, asked, id, number).await;
        }
        let id: SessionId = rest.parse().map_err(|_| none())?;
        let skip = asked.fields.parsed("from")?.unwrap_or(0);
        let reads = self.reading(session, asked).await?;
        let gathered = self.blocking(&reads.on, move |store| {
            let mut gathered = Gathered {
                skip,
                ..Gathered::default()
            };
            store.replay(id, reads.namespace.as_deref(), &mut |event| {
                gathered.take(event)
            })?;
            Ok(gathered)
        });
        let gathered = gathered.await?;
        let frame = self.frame(session, Here::Sessions).await;
        let shown = gathered.page(frame, id, skip).ok_or_else(none)?;
        let mut response = page(&shown)?;
        if shown.player {
            response.extensions_mut().insert(WithPlayer);
        }
        Ok(response)
    }

    /// The terminal of one statement, as the player reads it.
    async fn cast(
        &self,
        session: &Session,
        asked: &Asked,
        id: SessionId,
        number: u64,
    ) -> Result<Response<Body>, Problem> {
        let reads = self.reading(session, asked).await?;
        let cast = self.blocking(&reads.on, move |store| {
            let mut export = Export::new(Some(number));
            let mut failed = None;
            store.replay(id, reads.namespace.as_deref(), &mut |event| {
                failed = export.event(event).err();
                failed.is_none()
            })?;
            Ok(failed.map_or_else(|| export.cast(Version::V2), Err))
        });
        let cast = cast.await?.map_err(|error| match error {
            CastError::NoTerminal | CastError::Several(_) => {
                Problem::not_found("Nothing of a terminal is recorded.")
            }
            CastError::Damaged | CastError::TooMuch => Problem::failed(error.to_string()),
        })?;
        Ok(answer(
            StatusCode::OK,
            "application/x-asciicast",
            cast.into(),
        ))
    }
}

impl Gathered {
    /// Takes an event; false once the page is full.
    fn take(&mut self, event: Event) -> bool {
        self.began.get_or_insert(event.time);
        self.last = self.last.max(Some(event.time));
        if self.connection.is_none() {
            self.connection = event.session.as_deref().cloned();
        }
        match &event.body {
            What::RecordingChunk(chunk) => {
                self.kept += chunk.rows.byte_len();
                if self.kept <= KEPT && self.skip == 0 {
                    self.chunks
                        .entry(chunk.statement)
                        .or_default()
                        .push(chunk.clone());
                }
                return true;
            }
            What::FileTransferred(file) => {
                let noted = self.noted.entry(file.statement).or_default();
                noted.push(EventRow::new(&event));
                return true;
            }
            What::KubernetesAnswered(answered) => {
                let noted = self.noted.entry(answered.statement).or_default();
                noted.push(EventRow::new(&event));
                return true;
            }
            What::StatementStarted(_) => return true,
            _ => {}
        }
        if self.skip > 0 {
            self.skip -= 1;
            self.chunks.clear();
            self.noted.clear();
            return true;
        }
        if self.steps.len() >= STEPS {
            self.more = true;
            return false;
        }
        let step = self.step(&event);
        self.steps.push(step);
        true
    }

    fn step(&mut self, event: &Event) -> Step {
        let began = self.began.unwrap_or(event.time);
        let What::StatementFinished(finished) = &event.body else {
            return Step {
                number: None,
                at_ms: millis(between(began, event.time)),
                clock: clock(event.time),
                event: EventRow::new(event),
                text: None,
                parameters: Vec::new(),
                result: None,
                streams: Vec::new(),
                terminal: false,
                noted: Vec::new(),
            };
        };
        let number = finished.statement.number;
        let chunks = self.chunks.remove(&number).unwrap_or_default();
        let at = event
            .time
            .minus(Duration::from_micros(finished.duration_us));
        let is_sql = !chunks.iter().any(|chunk| chunk.stream.is_timed());
        let text = finished.statement.text.as_deref();
        Step {
            number: Some(number),
            at_ms: millis(between(began, at)),
            clock: clock(at),
            event: EventRow::new(event),
            text: text.map(|text| match is_sql {
                true => sql::shown(text, TEXT),
                false => sql::plain(text, TEXT),
            }),
            parameters: finished.statement.parameters.iter().map(value).collect(),
            result: table(&chunks, finished),
            streams: streams(&chunks),
            terminal: chunks
                .iter()
                .any(|chunk| chunk.stream == Stream::TerminalOutput),
            noted: self.noted.remove(&number).unwrap_or_default(),
        }
    }

    fn page(self, frame: Frame, id: SessionId, from: usize) -> Option<ReplayPage> {
        let connection = self.connection?;
        let began = self.began?;
        let total = between(began, self.last.unwrap_or(began));
        // The slider's steps are of 10 ms, and its last one is the end.
        let total_ms = millis(total).max(1).next_multiple_of(10);
        let ticks = self.steps.iter().map(|step| Tick {
            // Milliseconds of a session are far below what a double holds exactly.
            x: (step.at_ms as f64 / total_ms as f64 * 1000.0).clamp(0.0, 1000.0),
            tone: step.event.tone.class(),
        });
        Some(ReplayPage {
            frame,
            id: id.to_string(),
            facts: facts(&connection),
            began: moment(began),
            total_ms,
            lasted: span(total),
            ticks: ticks.collect(),
            player: self.steps.iter().any(|step| step.terminal),
            before: (from > 0).then(|| from.saturating_sub(STEPS)),
            after: self.more.then_some(from + STEPS),
            steps: self.steps,
            from,
        })
    }
}

fn facts(connection: &Connection) -> Vec<(&'static str, Html)> {
    let identity = &connection.identity;
    let groups = identity.groups.iter().collect::<Vec<_>>().join(", ");
    let optional = [
        ("Identity", Some(short_name(&identity.name))),
        (
            "Full name",
            Some(&*identity.name).filter(|name| short_name(name) != *name),
        ),
        ("Pod", identity.pod.as_deref()),
        ("Workload", identity.workload.as_deref()),
        ("E-mail", identity.email.as_deref()),
        ("Owner", identity.owner.as_deref()),
        (
            "Groups",
            Some(groups.as_str()).filter(|groups| !groups.is_empty()),
        ),
        ("Target", connection.target.as_deref()),
        ("Protocol", connection.protocol.as_deref()),
        ("Destination", connection.destination.as_deref()),
        ("Client", connection.client.as_deref()),
        ("Application", connection.application.as_deref()),
    ];
    let mut facts: Vec<_> = optional
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, visible(value))))
        .collect();
    facts.push(("Login", visible(&login(connection))));
    facts
}

fn table(chunks: &[RecordingChunk], finished: &StatementFinished) -> Option<Table> {
    let results = || chunks.iter().filter(|chunk| !chunk.stream.is_timed());
    let first = results().next()?;
    let columns: &[Column] = results()
        .find_map(|c| c.columns.as_deref())
        .unwrap_or_default();
    let masked = |at: usize| columns.get(at).is_some_and(|column| column.masked);
    let mut rows = Vec::new();
    let mut recorded = 0;
    for chunk in results() {
        recorded += chunk.rows.len();
        let room = ROWS.saturating_sub(rows.len());
        if room == 0 {
            continue;
        }
        for row in chunk
            .rows
            .decode()
            .unwrap_or_default()
            .into_iter()
            .take(room)
        {
            let cells = row
                .into_iter()
                .enumerate()
                .map(|(at, cell)| Cell::new(cell, masked(at)));
            rows.push(cells.collect());
        }
    }
    let hidden = recorded.saturating_sub(rows.len());
    let hidden = u64::try_from(hidden).unwrap_or(u64::MAX);
    let truncated = results().any(|chunk| chunk.rows.is_truncated());
    let unrecorded = finished
        .rows
        .saturating_sub(u64::try_from(recorded).unwrap_or(u64::MAX));
    let is_copy = first.stream != Stream::Result;
    let left = match (hidden, if is_copy { 0 } else { unrecorded }) {
        (0, 0) => None,
        (0, gone) => Some(format!("{} not recorded", counted(gone, "row", "rows"))),
        (more, 0) => Some(format!(
            "{} recorded",
            counted(more, "more row", "more rows")
        )),
        (more, gone) => Some(format!(
            "{} recorded, {} not recorded",
            counted(more, "more row", "more rows"),
            count(gone)
        )),
    };
    Some(Table {
        heads: columns
            .iter()
            .map(|column| Head {
                name: visible(&column.name),
                masked: column.masked,
            })
            .collect(),
        rows,
        hidden: left,
        truncated,
    })
}

impl Cell {
    fn new(cell: Option<&[u8]>, masked: bool) -> Self {
        let Some(bytes) = cell else {
            return Self {
                html: Html::default(),
                null: true,
                masked,
                hidden: None,
            };
        };
        let (html, hidden) = match std::str::from_utf8(bytes) {
            Ok(text) => {
                let shown: String = text.chars().take(CELL).collect();
                (visible(&shown), text.chars().count().saturating_sub(CELL))
            }
            Err(_) => {
                let hex: String = bytes
                    .iter()
                    .take(CELL / 2)
                    .map(|b| format!("{b:02x}"))
                    .collect();
                (
                    visible(&format!("\\x{hex}")),
                    bytes.len().saturating_sub(CELL / 2),
                )
            }
        };
        let hidden = u64::try_from(hidden).unwrap_or(u64::MAX);
        Self {
            html,
            null: false,
            masked,
            hidden: (hidden > 0).then(|| format!("… {} more", count(hidden))),
        }
    }
}

fn value(value: &Value) -> Html {
    match value {
        Value::Null => visible("NULL"),
        Value::Text(text) => sql::plain(text, CELL * 4).html,
        Value::Binary(bytes) => {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            visible(&format!("{} of binary", size(length)))
        }
    }
}

/// The streams of a command without a terminal, each as one text.
fn streams(chunks: &[RecordingChunk]) -> Vec<Streamed> {
    let named = [
        (Stream::Stdin, "standard input"),
        (Stream::Stdout, "standard output"),
        (Stream::Stderr, "standard error"),
    ];
    let text = |(stream, name)| {
        let mut bytes = Vec::new();
        for chunk in chunks.iter().filter(|chunk| chunk.stream == stream) {
            for moment in chunk.rows.moments().unwrap_or_default() {
                bytes.extend_from_slice(moment.bytes);
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        (!bytes.is_empty()).then(|| Streamed {
            name,
            text: sql::plain(&text, TEXT),
        })
    };
    named.into_iter().filter_map(text).collect()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
