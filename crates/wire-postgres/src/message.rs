//! Messages that Weir itself writes, to either side.

use crate::ProtocolError;
use crate::frame::Body;
use crate::sqlstate;

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
/// severity, SQLSTATE where it is one of the server's own, and source position.
pub fn scrubbed(out: &mut Vec<u8>, tag: u8, body: &[u8], text: &str) {
    message(out, tag, |out| {
        for (code, value) in crate::backend::Fields::new(body) {
            match code {
                b'C' if !sqlstate::is_known(value) => {
                    out.push(code);
                    cstr(out, sqlstate::RAISED);
                }
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

/// Appends a copy of an ErrorResponse or NoticeResponse without its detail, hint and context, which may
/// carry data where its message cannot.
pub fn without_detail(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    message(out, tag, |out| {
        for (code, value) in crate::backend::Fields::new(body) {
            if !matches!(code, b'D' | b'H' | b'W' | b'p' | b'q') {
                out.push(code);
                cstr(out, value);
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

/// Appends a `Bind` with these values, each in text or binary; results come as text.
pub fn bind_values(
    out: &mut Vec<u8>,
    portal: &[u8],
    statement: &[u8],
    values: &[(Option<&[u8]>, bool)],
) {
    let count = u16::try_from(values.len()).unwrap_or(u16::MAX);
    message(out, b'B', |out| {
        cstr(out, portal);
        cstr(out, statement);
        out.extend_from_slice(&count.to_be_bytes());
        for (_, binary) in values {
            out.extend_from_slice(&u16::from(*binary).to_be_bytes());
        }
        out.extend_from_slice(&count.to_be_bytes());
        for (value, _) in values {
            let length = value.map(|value| i32::try_from(value.len()).unwrap_or(i32::MAX));
            out.extend_from_slice(&length.unwrap_or(-1).to_be_bytes());
            out.extend_from_slice(value.unwrap_or_default());
        }
        out.extend_from_slice(&[0; 2]);
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

/// What was put in place of a masked cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// SQL NULL.
    Null,
    /// The bytes that were appended, valid for the column's type and format.
    Value,
    /// Nothing: the cell stays as it is.
    Same,
}

/// Appends a DataRow in which `mask` has appended what stands in the cells of `masks`, which are
/// sorted by column; a NULL cell stays NULL and is not shown to `mask`.
///
/// # Errors
/// The body does not have a row's shape; `out` is then as it was.
pub fn masked_row<M>(
    out: &mut Vec<u8>,
    body: &[u8],
    masks: &[(usize, M)],
    mut mask: impl FnMut(&M, &[u8], &mut Vec<u8>) -> Cell,
) -> Result<(), ProtocolError> {
    let start = out.len();
    let mut filled = Ok(());
    message(out, b'D', |out| {
        filled = mask_cells(out, body, masks, &mut mask)
    });
    if filled.is_err() {
        out.truncate(start);
    }
    filled
}

/// Everything between two masked cells is copied at once.
fn mask_cells<M>(
    out: &mut Vec<u8>,
    body: &[u8],
    masks: &[(usize, M)],
    mask: &mut impl FnMut(&M, &[u8], &mut Vec<u8>) -> Cell,
) -> Result<(), ProtocolError> {
    let mut cells = Body::new(body);
    let count = cells.count(4)?;
    let mut masks = masks.iter();
    let mut next = masks.next();
    let mut copied = 0;
    for index in 0..count {
        let cell = body.len() - cells.rest().len();
        let value = cells.value()?;
        while next.is_some_and(|(at, _)| *at < index) {
            next = masks.next();
        }
        let (Some((_, how)), Some(value)) = (next.filter(|(at, _)| *at == index), value) else {
            continue;
        };
        out.extend_from_slice(body.get(copied..cell).unwrap_or_default());
        let length = out.len();
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        match mask(how, value, out) {
            Cell::Same => {
                out.truncate(length);
                copied = cell;
                continue;
            }
            Cell::Null => out.truncate(length + 4),
            Cell::Value => {
                let written = out.len().saturating_sub(length + 4);
                let written = u32::try_from(written).unwrap_or(u32::MAX);
                if let Some(slot) = out.get_mut(length..length + 4) {
                    slot.copy_from_slice(&written.to_be_bytes());
                }
            }
        }
        copied = body.len() - cells.rest().len();
    }
    cells.end()?;
    out.extend_from_slice(body.get(copied..).unwrap_or_default());
    Ok(())
}
