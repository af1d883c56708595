//! Messages that Weir itself writes, to either side.

use crate::ProtocolError;
use crate::frame::Body;

/// Appends a message with this tag whose body `fill` writes.
pub fn message(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(slot) = out
        .get_mut(start..)
        .and_then(|tail| tail.first_chunk_mut::<4>())
    {
        *slot = length.to_be_bytes();
    }
}

fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().copied().filter(|byte| *byte != 0));
    out.push(0);
}

/// What an error or notice of Weir's says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report<'a> {
    /// Five characters.
    pub sqlstate: &'a str,
    /// Primary text.
    pub message: &'a str,
    /// Second line, where there is one.
    pub detail: Option<&'a str>,
    /// What to do about it.
    pub hint: Option<&'a str>,
}

/// Appends an ErrorResponse of severity `severity` (`ERROR` or `FATAL`).
pub fn error(out: &mut Vec<u8>, severity: &str, report: &Report<'_>) {
    report_fields(out, b'E', severity, report);
}

/// Appends a NoticeResponse.
pub fn notice(out: &mut Vec<u8>, report: &Report<'_>) {
    report_fields(out, b'N', "NOTICE", report);
}

fn report_fields(out: &mut Vec<u8>, tag: u8, severity: &str, report: &Report<'_>) {
    message(out, tag, |out| {
        let mut field = |code: u8, value: &str| {
            out.push(code);
            cstr(out, value.as_bytes());
        };
        field(b'S', severity);
        field(b'V', severity);
        field(b'C', report.sqlstate);
        field(b'M', report.message);
        report
            .detail
            .into_iter()
            .for_each(|detail| field(b'D', detail));
        report.hint.into_iter().for_each(|hint| field(b'H', hint));
        out.push(0);
    });
}

/// Appends a copy of an ErrorResponse or NoticeResponse that keeps only what cannot carry data:
/// severity, SQLSTATE, source position and the names of schema objects.
pub fn scrubbed(out: &mut Vec<u8>, tag: u8, body: &[u8], text: &str) {
    message(out, tag, |out| {
        for (code, value) in crate::backend::Fields::new(body) {
            match code {
                b'S' | b'V' | b'C' | b'F' | b'L' | b'R' => {
                    out.push(code);
                    cstr(out, value);
                }
                b'M' => {
                    out.push(b'M');
                    cstr(out, text.as_bytes());
                }
                _ => {}
            }
        }
        out.push(0);
    });
}

/// Appends a copy of an ErrorResponse or NoticeResponse whose fields are at most `most` bytes long,
/// cut at a character's start, with a mark where something is missing.
pub fn cut(out: &mut Vec<u8>, tag: u8, body: &[u8], most: usize) {
    message(out, tag, |out| {
        for (code, value) in crate::backend::Fields::new(body) {
            out.push(code);
            if value.len() <= most {
                cstr(out, value);
                continue;
            }
            let is_start = |at: &usize| value.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
            let end = (0..=most).rev().find(is_start).unwrap_or(0);
            let mut kept = value.get(..end).unwrap_or_default().to_vec();
            kept.extend_from_slice(
                format!("... ({} bytes withheld)", value.len() - end).as_bytes(),
            );
            cstr(out, &kept);
        }
        out.push(0);
    });
}

/// Appends a ReadyForQuery.
pub fn ready(out: &mut Vec<u8>, status: u8) {
    message(out, b'Z', |out| out.push(status));
}

/// Appends a `Query`.
pub fn query(out: &mut Vec<u8>, text: &str) {
    message(out, b'Q', |out| cstr(out, text.as_bytes()));
}

/// Appends a `Parse` without parameter types.
pub fn parse(out: &mut Vec<u8>, name: &[u8], text: &[u8]) {
    message(out, b'P', |out| {
        cstr(out, name);
        cstr(out, text);
        out.extend_from_slice(&[0, 0]);
    });
}

/// Appends a `Bind` without parameters and with text results.
pub fn bind(out: &mut Vec<u8>, portal: &[u8], statement: &[u8]) {
    message(out, b'B', |out| {
        cstr(out, portal);
        cstr(out, statement);
        out.extend_from_slice(&[0; 6]);
    });
}

/// Appends a `Describe` (`kind` is `S` or `P`).
pub fn describe(out: &mut Vec<u8>, kind: u8, name: &[u8]) {
    message(out, b'D', |out| {
        out.push(kind);
        cstr(out, name);
    });
}

/// Appends a `Close` (`kind` is `S` or `P`).
pub fn close(out: &mut Vec<u8>, kind: u8, name: &[u8]) {
    message(out, b'C', |out| {
        out.push(kind);
        cstr(out, name);
    });
}

/// Appends an `Execute` of all rows.
pub fn execute(out: &mut Vec<u8>, portal: &[u8]) {
    message(out, b'E', |out| {
        cstr(out, portal);
        out.extend_from_slice(&[0; 4]);
    });
}

/// Appends a `Sync`.
pub fn sync(out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'S', 0, 0, 0, 4]);
}

/// Appends a `Flush`.
pub fn flush(out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'H', 0, 0, 0, 4]);
}

/// What stands in a masked cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell<'a> {
    /// SQL NULL.
    Null,
    /// These bytes, valid for the column's type and format.
    Bytes(std::borrow::Cow<'a, [u8]>),
}

/// Appends a DataRow whose cell `i` is replaced by what `mask(i, value)` gives, where it gives
/// something; a NULL cell stays NULL and is not shown to `mask`.
///
/// # Errors
/// The body does not have a row's shape; `out` is then as it was.
pub fn masked_row<'a>(
    out: &mut Vec<u8>,
    body: &'a [u8],
    mut mask: impl FnMut(usize, &'a [u8]) -> Option<Cell<'a>>,
) -> Result<(), ProtocolError> {
    let start = out.len();
    let result = (|| {
        let mut cells = Body::new(body);
        let count = cells.count(4)?;
        message_result(out, b'D', |out| {
            out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
            for index in 0..count {
                let value = cells.value()?;
                match value.and_then(|value| mask(index, value)) {
                    Some(Cell::Null) => put(out, None),
                    Some(Cell::Bytes(bytes)) => put(out, Some(&bytes)),
                    None => put(out, value),
                }
            }
            cells.end()
        })
    })();
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn put(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        Some(bytes) => {
            out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

fn message_result(
    out: &mut Vec<u8>,
    tag: u8,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    let mut result = Ok(());
    message(out, tag, |out| result = fill(out));
    result
}
