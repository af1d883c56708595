//! The recording of a channel: what a command or a terminal wrote and read, in the order of time.

use weir_audit::Stream;
use weir_collector::exports::{Piece, Utf8};

use super::super::table::{Screen, Style};
use super::super::terminal::{Plain, Playback, RESTORE};
use super::super::text::lines;

/// How a channel is shown.
#[derive(Debug)]
pub(super) struct Shown {
    /// Whether a terminal's drawing goes to this one.
    raw: bool,
    screen: Screen,
    playback: Playback,
    plain: Plain,
    texts: [Utf8; 3],
    last: Stream,
    played: bool,
    ended_line: bool,
}

impl Shown {
    pub(super) fn new(screen: Screen, raw: bool) -> Self {
        Self {
            raw,
            screen,
            playback: Playback::default(),
            plain: Plain::default(),
            texts: Default::default(),
            last: Stream::Stdout,
            played: false,
            ended_line: true,
        }
    }

    /// A piece as it is to be shown; keys are not, since the terminal showed them.
    pub(super) fn piece(&mut self, piece: &Piece) -> String {
        let place = match piece.stream {
            Stream::TerminalOutput if self.raw => {
                self.played = true;
                return self.playback.text(&piece.bytes);
            }
            Stream::TerminalOutput => {
                let text = lines(&self.plain.text(&piece.bytes));
                self.note_end(&text);
                return text;
            }
            Stream::TerminalResize => {
                // Within a drawing there is no place for words.
                let Some((columns, rows)) = piece.size().filter(|_| !self.played) else {
                    return String::new();
                };
                let text = format!("(terminal {columns}x{rows})\n");
                return self.on_its_line(&self.screen.paint(&text, Style::Dim));
            }
            Stream::Stdout => 0,
            Stream::Stderr => 1,
            Stream::Stdin => 2,
            _ => return String::new(),
        };
        let bytes = self
            .texts
            .get_mut(place)
            .map(|utf8| utf8.text(&piece.bytes));
        let text = lines(&bytes.unwrap_or_default());
        let mut out = String::new();
        if std::mem::replace(&mut self.last, piece.stream) != piece.stream {
            let name = ["stdout", "stderr", "stdin"].get(place).unwrap_or(&"");
            let mark = self.screen.paint(&format!("── {name}"), Style::Dim);
            out = self.on_its_line(&(mark + "\n"));
        }
        let style = match piece.stream {
            Stream::Stderr => Style::Waits,
            _ => Style::Plain,
        };
        out.push_str(&self.screen.paint(&text, style));
        self.note_end(&text);
        out
    }

    /// Ends what was shown: the next line begins at its start, on a terminal as it was.
    pub(super) fn end(&mut self) -> String {
        if std::mem::take(&mut self.played) {
            self.ended_line = true;
            return RESTORE.to_owned();
        }
        self.on_its_line("")
    }

    fn on_its_line(&mut self, text: &str) -> String {
        let before = if self.ended_line { "" } else { "\n" };
        self.ended_line = true;
        format!("{before}{text}")
    }

    fn note_end(&mut self, text: &str) {
        if !text.is_empty() {
            self.ended_line = text.ends_with('\n');
        }
    }
}
