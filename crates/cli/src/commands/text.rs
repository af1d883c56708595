//! Values as people read them.
//!
//! Invariants: recorded text cannot reach the terminal as a control sequence, nor unseen; what is hidden
//! of a text is counted in its place.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns that a text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// A text on one line: white space becomes one space, the end of a line `↵`, control characters become visible.
/// What stands behind a comment must not seem a part of it.
pub(crate) fn one_line(text: &str) -> String {
    joined(text, " ↵ ")
}

/// A text as one word of a shell, to be pasted.
pub(crate) fn word(text: &str) -> String {
    format!("'{}'", joined(text, " ").replace('\'', "'\\''"))
}

fn joined(text: &str, line_end: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = false;
    for part in text.trim().split_inclusive(char::is_whitespace) {
        let word = part.trim_end();
        if !word.is_empty() && !out.is_empty() {
            out.push_str(if lines { line_end } else { " " });
            lines = false;
        }
        visible(word, &mut out);
        lines |= part.ends_with([
            '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
        ]);
    }
    out
}

/// A text that keeps its lines; other control characters become visible.
pub(crate) fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(['\n', '\t']) {
        let (body, end) = match part.char_indices().next_back() {
            Some((at, end @ ('\n' | '\t'))) => (part.get(..at).unwrap_or_default(), Some(end)),
            _ => (part, None),
        };
        visible(body, &mut out);
        out.extend(end);
    }
    out
}

/// A cell of a result: on one line, its white space kept in number.
pub(crate) fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('↵'),
            '\t' => out.push('⇥'),
            other => push_visible(other, &mut out),
        }
    }
    out
}

fn visible(text: &str, out: &mut String) {
    for c in text.chars() {
        push_visible(c, out);
    }
}

fn push_visible(c: char, out: &mut String) {
    // Also what takes no room or reorders what follows: a statement must read as it ran.
    if weir_api::is_hidden(c) {
        out.extend(c.escape_unicode());
    } else {
        out.push(c);
    }
}

/// A text in at most `room` columns, with what is hidden counted: `SELECT a… (+1,204)`.
pub(crate) fn shorten(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let total = text.chars().count();
    let longest = format!("… (+{})", grouped(as_u64(total)));
    let keep = room.saturating_sub(width(&longest));
    let (mut taken, mut kept, mut end) = (0, 0, 0);
    for (at, c) in text.char_indices() {
        taken += c.width().unwrap_or(0);
        if taken > keep {
            break;
        }
        kept += 1;
        end = at + c.len_utf8();
    }
    let start = text.get(..end).unwrap_or_default();
    format!("{start}… (+{})", grouped(as_u64(total - kept)))
}

/// A text of one line in lines of at most `room` columns; nothing of it is left out.
pub(crate) fn folded(text: &str, room: usize) -> Vec<String> {
    let (mut lines, mut taken) = (vec![String::new()], 0);
    for c in text.chars() {
        let columns = c.width().unwrap_or(0);
        if taken + columns > room.max(2) {
            lines.push(String::new());
            taken = 0;
        }
        taken += columns;
        if let Some(line) = lines.last_mut() {
            line.push(c);
        }
    }
    lines
}

/// A number with its thousands grouped.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 row`, `2,000 rows`.
pub(crate) fn counted(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(number))
}

/// Bytes, in the unit that leaves one to four digits.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = "KiB";
    for next in UNITS.iter().skip(1) {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    if tenths >= 1000 {
        format!("{} {unit}", tenths / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// A duration, in its two largest units.
pub(crate) fn duration(duration: Duration) -> String {
    let (seconds, micros) = (duration.as_secs(), duration.subsec_micros());
    match seconds {
        0 if micros < 1_000 => format!("{micros} µs"),
        0 if micros < 10_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        0 => format!("{} ms", micros / 1_000),
        1..10 => format!("{seconds}.{} s", micros / 100_000),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// `+00:01:02.345`, the place in a session.
pub(crate) fn offset(offset: Duration) -> String {
    let seconds = offset.as_secs();
    let (hours, minutes) = (seconds / 3_600, seconds % 3_600 / 60);
    let (seconds, millis) = (seconds % 60, offset.subsec_millis());
    format!("+{hours:02}:{minutes:02}:{seconds:02}.{millis:03}")
}

/// A count as the type in which events carry counts.
pub(crate) fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
