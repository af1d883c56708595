//! Aligned columns that fit the screen.
//!
//! Invariants: no line is wider than the screen while the fixed columns fit; where the last column
//! would be left with too little room, the detail columns move beneath their row.

use std::fmt::Write as _;

use super::text::{shorten, width};

const GAP: &str = "  ";
const INDENT: &str = "    ";
/// Less room than this for the last column is no pleasure.
const LEAST: usize = 40;

/// Where and how to draw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    /// In characters.
    pub(crate) width: usize,
    /// Whether colours are wanted.
    pub(crate) colour: bool,
}

/// How a cell is to be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    Plain,
    Good,
    Bad,
    Waits,
    Dim,
}

impl Screen {
    /// The terminal of standard output, or a wide page where there is none.
    pub(crate) fn of_stdout() -> Self {
        use std::io::IsTerminal as _;
        let terminal = std::io::stdout().is_terminal();
        let columns = terminal_size::terminal_size().map(|(columns, _)| usize::from(columns.0));
        Self {
            width: columns.filter(|_| terminal).unwrap_or(160).max(40),
            colour: terminal && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// A text in its style.
    pub(crate) fn paint(self, text: &str, style: Style) -> String {
        let code = match style {
            Style::Plain => return text.to_owned(),
            Style::Good => "32",
            Style::Bad => "1;31",
            Style::Waits => "1;33",
            Style::Dim => "2",
        };
        if self.colour && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column<'a> {
    title: &'a str,
    right: bool,
    detail: bool,
}

impl<'a> Column<'a> {
    pub(crate) const fn text(title: &'a str) -> Self {
        Self {
            title,
            right: false,
            detail: false,
        }
    }

    pub(crate) const fn number(title: &'a str) -> Self {
        Self {
            title,
            right: true,
            detail: false,
        }
    }

    /// May move beneath the row.
    pub(crate) const fn detail(title: &'a str) -> Self {
        Self {
            title,
            right: false,
            detail: true,
        }
    }
}

/// A cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn painted(&self, screen: Screen) -> String {
        screen.paint(&self.text, self.style)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::Plain)
    }
}

/// Draws rows under their titles. The last column takes the room that is left.
pub(crate) fn draw(columns: &[Column<'_>], rows: &[Vec<Cell>], screen: Screen) -> String {
    let mut widths: Vec<usize> = columns.iter().map(|column| width(column.title)).collect();
    for row in rows {
        for (have, cell) in widths.iter_mut().zip(row) {
            *have = (*have).max(width(&cell.text));
        }
    }
    let fixed: usize = widths
        .iter()
        .rev()
        .skip(1)
        .map(|width| width + GAP.len())
        .sum();
    let wanted = widths.last().copied().unwrap_or_default();
    let left = screen.width.saturating_sub(fixed);
    let beneath = left < wanted.min(LEAST) && columns.iter().any(|column| column.detail);
    if !beneath && let Some(last) = widths.last_mut() {
        *last = (*last).min(left.max(8));
    }
    let mut out = String::new();
    let titles: Vec<Cell> = columns
        .iter()
        .map(|column| Cell::styled(column.title, Style::Dim))
        .collect();
    for (index, row) in std::iter::once(&titles).chain(rows).enumerate() {
        line(columns, &widths, row, beneath, screen, &mut out);
        if beneath && index > 0 {
            for (column, cell) in columns.iter().zip(row) {
                if column.detail && !cell.text.is_empty() {
                    let text = shorten(&cell.text, screen.width - INDENT.len());
                    let _ = writeln!(out, "{INDENT}{}", screen.paint(&text, cell.style));
                }
            }
        }
    }
    out
}

fn line(
    columns: &[Column<'_>],
    widths: &[usize],
    row: &[Cell],
    beneath: bool,
    screen: Screen,
    out: &mut String,
) {
    // Padding is owed until something follows it, so that no line ends in blanks.
    let (mut owed, mut first) = (0, true);
    for ((column, room), cell) in columns.iter().zip(widths).zip(row) {
        if beneath && column.detail {
            continue;
        }
        if !first {
            owed += GAP.len();
        }
        first = false;
        let text = shorten(&cell.text, *room);
        let padding = room.saturating_sub(width(&text));
        if text.is_empty() {
            owed += padding;
            continue;
        }
        let before = owed + if column.right { padding } else { 0 };
        out.extend(std::iter::repeat_n(' ', before));
        out.push_str(&screen.paint(&text, cell.style));
        owed = if column.right { 0 } else { padding };
    }
    out.push('\n');
}
