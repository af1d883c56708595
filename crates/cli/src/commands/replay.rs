//! `replay`: a session, statement by statement, as its client saw it.
//!
//! Invariants: results are shown from the recording only, after masks; what is kept in memory of a
//! statement before its end is bounded, a larger result is shown as it comes; a recorded terminal
//! draws on the reader's only if that is one, and never reaches beyond its screen.

mod channel;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use weir_audit::{
    Body, Column, Event, RecordingChunk, SessionId, StatementFinished, Stream, Timestamp, Value,
};

use weir_collector::client::path_with;
use weir_collector::exports::asciicast::{Export, Version};
use weir_collector::exports::merged;

use crate::cluster::Home;

use super::connect::{Connect, Failure, Form, document, parsed, write, write_to};
use super::events::{asked, decision, is_channel, moved, outcome, rules, summary};
use super::table::{Screen, Style};
use super::text::{duration, lines, offset, one_line, shorten, width};
use super::time::between;
use super::values::{is_number, result_cell, value};
use channel::Shown;

/// Bytes of results that are kept until their statement ends.
const KEPT: usize = 16 << 20;
/// A cell is cut here, with what is hidden counted.
const CELL: usize = 200;

/// Arguments of `weir replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// The session, as `weir sessions` names it
    session: String,
    /// At the recorded speed times FACTOR [default: shells on a terminal as they were, the rest at once]
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    speed: Option<f64>,
    /// Wait at most so long between two events [default: 2s for shells without --speed]
    #[arg(long, value_name = "TIME", value_parser = idle)]
    max_idle: Option<Duration>,
    /// Draw what shells drew, or show its text
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    raw: Raw,
    /// Write one terminal in this format instead
    #[arg(long, value_enum, value_name = "FORMAT")]
    export: Option<Format>,
    /// Write the export into this file [default: standard output]
    #[arg(short, long, value_name = "FILE", requires = "export")]
    file: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
}

/// When a recorded terminal draws on the reader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Raw {
    /// If standard output is a terminal
    Auto,
    /// Always
    Always,
    /// Never: its text is shown
    Never,
}

impl Raw {
    fn wanted(self) -> bool {
        use std::io::IsTerminal as _;
        match self {
            Self::Auto => std::io::stdout().is_terminal(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// What a terminal's recording can become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// asciicast v3, for asciinema and its players
    Asciicast,
    /// asciicast v2, for older ones
    AsciicastV2,
}

impl From<Format> for Version {
    fn from(format: Format) -> Self {
        match format {
            Format::Asciicast => Self::V3,
            Format::AsciicastV2 => Self::V2,
        }
    }
}

/// The longest wait in a shell that is played unasked.
const IDLE: Duration = Duration::from_secs(2);

fn idle(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => match text.strip_suffix('m') {
            Some(number) => (number, 60.0),
            None => (text.trim_end_matches('s'), 1.0),
        },
    };
    let number = number.parse::<f64>().ok();
    let seconds = number.map(|number| number * unit);
    let idle = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    idle.ok_or_else(|| "expected a time such as 500ms, 2s or 1m".to_owned())
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.trim_end_matches('x').parse::<f64>();
    let factor = factor
        .ok()
        .filter(|factor| (0.001..=1_000_000.0).contains(factor));
    factor.ok_or_else(|| "expected a factor such as 1, 0.5 or 10".to_owned())
}

pub(super) async fn replay(args: ReplayArgs, home: Home) -> Result<(), Failure> {
    // The id of a statement also names its session.
    let unknown = || Failure::NoSession(one_line(&args.session));
    let (session, number) = match args.session.split_once('/') {
        Some((session, number)) => (session, Some(number.parse().map_err(|_| unknown())?)),
        None => (&*args.session, None),
    };
    let session: SessionId = session.parse().map_err(|_| unknown())?;
    let client = args.connect.source(home).await?;
    let path = path_with(
        &format!("/v1/sessions/{session}/replay"),
        &[("namespace", args.connect.namespace())],
    );
    if let Some(format) = args.export {
        let mut export = Export::new(number);
        let mut result = Ok(());
        let streamed = client
            .stream(&path, |event: Event| {
                result = export.event(event);
                result.is_ok()
            })
            .await;
        streamed?;
        result?;
        return write_to(args.file.as_deref(), &export.cast(format.into())?);
    }
    let form = args.connect.output;
    let pace = Pace {
        speed: args.speed,
        max_idle: args.max_idle,
        raw: args.raw.wanted(),
    };
    let mut player = Player::new(Screen::of_stdout(), pace);
    let mut result = Ok(());
    let mut all: Vec<serde_json::Value> = Vec::new();
    let mut first = true;
    let streamed = client
        .stream(&path, |raw: Box<RawValue>| {
            result = match form {
                Form::Table => parsed(&raw).and_then(|event| {
                    player.event(event, &mut |step| match step {
                        // The terminal's reader waits, and nothing else runs in this process.
                        Step::Wait(time) => {
                            std::thread::sleep(time);
                            Ok(())
                        }
                        Step::Show(text) => write(&text),
                    })
                }),
                Form::Json => {
                    let before = if std::mem::take(&mut first) {
                        "[\n"
                    } else {
                        ",\n"
                    };
                    write(&format!("{before}{}", raw.get()))
                }
                Form::Yaml => parsed(&raw).map(|value| all.push(value)),
                Form::Csv => Err(Failure::NoTable),
            };
            result.is_ok()
        })
        .await;
    streamed?;
    result?;
    match form {
        Form::Table => write(&player.rest()),
        Form::Json => write(if first { "[]\n" } else { "\n]\n" }),
        Form::Yaml | Form::Csv => write(&document(&all, form)?),
    }
}

/// What a player asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Wait(Duration),
    Show(String),
}

/// How fast, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// The recorded speed times this.
    pub(super) speed: Option<f64>,
    /// The longest wait.
    pub(super) max_idle: Option<Duration>,
    /// Whether a recorded terminal draws on the reader's.
    pub(super) raw: bool,
}

/// Turns a session's events into steps.
pub(super) struct Player {
    screen: Screen,
    pace: Pace,
    opened: Option<Timestamp>,
    /// The place in the session that was shown last.
    reached: Duration,
    pending: BTreeMap<u64, Pending>,
    kept: usize,
}

#[derive(Default)]
struct Pending {
    chunks: Vec<RecordingChunk>,
    columns: Option<Arc<[Column]>>,
    /// The columns' widths so far: the pieces of a result line up.
    widths: Vec<usize>,
    early: bool,
}

type Take<'a> = dyn FnMut(Step) -> Result<(), Failure> + 'a;

impl Player {
    pub(super) fn new(screen: Screen, pace: Pace) -> Self {
        Self {
            screen,
            pace,
            opened: None,
            reached: Duration::ZERO,
            pending: BTreeMap::new(),
            kept: 0,
        }
    }

    pub(super) fn event(&mut self, event: Event, take: &mut Take<'_>) -> Result<(), Failure> {
        let opened = *self.opened.get_or_insert(event.time);
        let at = between(opened, event.time);
        match event.body {
            Body::StatementFinished(finished) => self.finished(at, &finished, take),
            Body::RecordingChunk(chunk) => {
                self.kept += chunk.rows.byte_len();
                let pending = self.pending.entry(chunk.statement).or_default();
                pending.chunks.push(chunk);
                if self.kept > KEPT {
                    self.early(take)
                } else {
                    Ok(())
                }
            }
            Body::StatementStarted(_) | Body::LabelledValuesSeen(_) | Body::Heartbeat(_) => Ok(()),
            _ => {
                self.wait(at, take)?;
                let (word, what) = summary(&event);
                let who = match &event.session {
                    Some(session) if matches!(event.body, Body::ConnectionOpened(_)) => {
                        format!("{} · ", one_line(&session.identity.name))
                    }
                    _ => String::new(),
                };
                let stamp = self.screen.paint(&offset(at), Style::Dim);
                take(Step::Show(format!(
                    "{stamp}  {}  {who}{what}\n",
                    word.painted(self.screen)
                )))
            }
        }
    }

    /// What was recorded of statements that never ended.
    pub(super) fn rest(&mut self) -> String {
        let mut out = String::new();
        for (number, mut pending) in std::mem::take(&mut self.pending) {
            let _ = writeln!(
                out,
                "\nstatement {number} has not ended; its result so far:"
            );
            let chunks = std::mem::take(&mut pending.chunks);
            let (timed, rows) = parts(chunks);
            for chunk in rows {
                out.push_str(&pending.show(&chunk, self.screen));
            }
            out.push_str(&self.at_once(&timed));
        }
        out
    }

    /// A channel without its times.
    fn at_once(&self, chunks: &[RecordingChunk]) -> String {
        let mut shown = Shown::new(self.screen, self.pace.raw);
        let Some(pieces) = merged(chunks) else {
            return DAMAGED.to_owned();
        };
        let mut out: String = pieces.iter().map(|piece| shown.piece(piece)).collect();
        out.push_str(&shown.end());
        out.push_str(&cut(chunks));
        out
    }

    /// A channel of the statement that began at `began`, at its pace.
    fn channel(
        &mut self,
        began: Duration,
        chunks: &[RecordingChunk],
        take: &mut Take<'_>,
    ) -> Result<(), Failure> {
        let Some(pieces) = merged(chunks) else {
            return take(Step::Show(DAMAGED.to_owned()));
        };
        let drawn = pieces
            .iter()
            .any(|piece| piece.stream == Stream::TerminalOutput);
        let before = self.pace;
        if drawn && self.pace.raw && self.pace.speed.is_none() {
            self.pace.speed = Some(1.0);
            self.pace.max_idle = self.pace.max_idle.or(Some(IDLE));
        }
        let mut shown = Shown::new(self.screen, self.pace.raw);
        let mut played = Ok(());
        for piece in &pieces {
            let text = shown.piece(piece);
            if text.is_empty() {
                continue;
            }
            played = self
                .wait(began + piece.at, take)
                .and_then(|()| take(Step::Show(text)));
            if played.is_err() {
                break;
            }
        }
        self.pace = before;
        // Whatever happened, the reader gets their terminal back.
        let ended = take(Step::Show(shown.end() + &cut(chunks)));
        played.and(ended)
    }

    fn wait(&mut self, at: Duration, take: &mut Take<'_>) -> Result<(), Failure> {
        let ahead = at.saturating_sub(self.reached);
        self.reached = self.reached.max(at);
        match self.pace.speed {
            Some(speed) if !ahead.is_zero() => {
                let time = Duration::try_from_secs_f64(ahead.as_secs_f64() / speed);
                let time = time.unwrap_or(ahead);
                let longest = self.pace.max_idle.unwrap_or(time);
                take(Step::Wait(time.min(longest)))
            }
            _ => Ok(()),
        }
    }

    /// Too much is kept: shows it before the statement's text is known.
    fn early(&mut self, take: &mut Take<'_>) -> Result<(), Failure> {
        self.kept = 0;
        let mut all = std::mem::take(&mut self.pending);
        for (number, pending) in &mut all {
            if !std::mem::replace(&mut pending.early, true) {
                take(Step::Show(format!(
                    "\nthe result of statement {number}, whose text follows:\n"
                )))?;
            }
            let (timed, rows) = parts(std::mem::take(&mut pending.chunks));
            for chunk in rows {
                take(Step::Show(pending.show(&chunk, self.screen)))?;
            }
            if !timed.is_empty() {
                take(Step::Show(self.at_once(&timed)))?;
            }
        }
        self.pending = all;
        Ok(())
    }

    fn finished(
        &mut self,
        end: Duration,
        finished: &StatementFinished,
        take: &mut Take<'_>,
    ) -> Result<(), Failure> {
        let began = end.saturating_sub(Duration::from_micros(finished.duration_us));
        self.wait(began, take)?;
        take(Step::Show(self.header(began, finished)))?;
        let mut pending = self
            .pending
            .remove(&finished.statement.number)
            .unwrap_or_default();
        let empty = finished.rows == 0 && (finished.bytes == 0 || !has_output(finished));
        let recorded = pending.early || !pending.chunks.is_empty() || empty;
        let (timed, rows) = parts(std::mem::take(&mut pending.chunks));
        for chunk in rows.iter().chain(&timed) {
            self.kept = self.kept.saturating_sub(chunk.rows.byte_len());
        }
        for chunk in rows {
            self.wait(began + Duration::from_millis(chunk.offset_ms.into()), take)?;
            take(Step::Show(pending.show(&chunk, self.screen)))?;
        }
        if !timed.is_empty() {
            self.channel(began, &timed, take)?;
        }
        self.wait(end, take)?;
        let mut said = format!(
            "{}, {} in {}",
            outcome(&finished.outcome).painted(self.screen),
            moved(finished),
            duration(Duration::from_micros(finished.duration_us))
        );
        if !recorded {
            said.push_str(" (the result was not recorded)");
        }
        if let Some(reason) = &finished.statement.reason {
            let _ = write!(said, ": {}", one_line(reason));
        }
        take(Step::Show(format!("({said})\n")))
    }

    fn header(&self, began: Duration, finished: &StatementFinished) -> String {
        let statement = &finished.statement;
        let stamp = self.screen.paint(&offset(began), Style::Dim);
        let number = statement.number;
        let mut out = format!(
            "\n{stamp}  #{number}  {}",
            decision(finished).painted(self.screen)
        );
        let rules = rules(finished);
        if !rules.is_empty() {
            let _ = write!(out, " by {rules}");
        }
        out.push('\n');
        for line in lines(&asked(statement)).trim_end().lines() {
            let _ = writeln!(out, "  {line}");
        }
        for (index, parameter) in statement.parameters.iter().enumerate() {
            let _ = match parameter {
                // Of a channel they are its environment.
                Value::Text(text) if is_channel(statement) => {
                    writeln!(out, "  {}", one_line(text))
                }
                other => writeln!(out, "  ${} = {}", index + 1, value(other)),
            };
        }
        out
    }
}

/// Said in place of what cannot be read.
const DAMAGED: &str = "(this part of the recording is damaged)\n";

/// A channel's chunks, and those of a result.
fn parts(chunks: Vec<RecordingChunk>) -> (Vec<RecordingChunk>, Vec<RecordingChunk>) {
    let timed = |chunk: &RecordingChunk| chunk.stream.is_timed();
    chunks.into_iter().partition(timed)
}

/// Says that a channel was not kept whole.
fn cut(chunks: &[RecordingChunk]) -> String {
    match chunks.iter().any(|chunk| chunk.rows.is_truncated()) {
        true => "(more followed than was recorded)\n".to_owned(),
        false => String::new(),
    }
}

/// Whether its bytes are output, and not those of a file.
fn has_output(finished: &StatementFinished) -> bool {
    matches!(
        finished.statement.command.as_deref(),
        Some("exec" | "shell")
    )
}

impl Pending {
    fn show(&mut self, chunk: &RecordingChunk, screen: Screen) -> String {
        if chunk.columns.is_some() {
            self.columns.clone_from(&chunk.columns);
            self.widths.clear();
        }
        let Ok(rows) = chunk.rows.decode() else {
            return DAMAGED.to_owned();
        };
        let mut out = match chunk.stream {
            Stream::Result => {
                let columns = self.columns.as_deref().unwrap_or_default();
                result(
                    columns,
                    chunk.columns.is_some(),
                    &rows,
                    &mut self.widths,
                    screen,
                )
            }
            // COPY: each message is one cell, shown as it is.
            _ => rows
                .iter()
                .flatten()
                .flatten()
                .map(|bytes| lines(&String::from_utf8_lossy(bytes)))
                .collect(),
        };
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        if chunk.rows.is_truncated() {
            out.push_str("(cells above were too large to record whole)\n");
        }
        out
    }
}

/// A piece of a result as an aligned table; masked columns say so.
fn result(
    columns: &[Column],
    titled: bool,
    rows: &[Vec<Option<&[u8]>>],
    widths: &mut Vec<usize>,
    screen: Screen,
) -> String {
    let titles: Vec<String> = columns
        .iter()
        .map(|column| {
            let mark = if column.masked { " (masked)" } else { "" };
            format!("{}{mark}", super::text::cell(&column.name))
        })
        .collect();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().enumerate();
            cells
                .map(|(index, cell)| shorten(&result_cell(*cell, columns.get(index)), CELL))
                .collect()
        })
        .collect();
    for row in std::iter::once(&titles).chain(&cells) {
        widths.resize(widths.len().max(row.len()), 0);
        for (have, cell) in widths.iter_mut().zip(row) {
            *have = (*have).max(width(cell));
        }
    }
    let line = |row: &[String], style: &dyn Fn(usize) -> Style| {
        let mut out = String::from(" ");
        for (index, (cell, room)) in row.iter().zip(widths.iter()).enumerate() {
            let padding = " ".repeat(room.saturating_sub(width(cell)));
            let painted = screen.paint(cell, style(index));
            let divider = if index == 0 { " " } else { " │ " };
            out.push_str(divider);
            if columns.get(index).is_some_and(is_number) {
                out.push_str(&padding);
                out.push_str(&painted);
            } else {
                out.push_str(&painted);
                out.push_str(&padding);
            }
        }
        out.trim_end().to_owned() + "\n"
    };
    let masked = |index: usize| match columns.get(index) {
        Some(column) if column.masked => Style::Waits,
        _ => Style::Plain,
    };
    let mut out = String::new();
    if titled && !titles.is_empty() {
        out.push_str(&line(&titles, &masked));
        let rules: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        let _ = writeln!(out, " {}", rules.join("┼"));
    }
    for row in &cells {
        out.push_str(&line(row, &masked));
    }
    out
}
