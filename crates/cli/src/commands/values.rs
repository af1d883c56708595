//! Recorded values as text.

use std::fmt::Write as _;

use weir_audit::{Column, Value};

use super::text::{cell, one_line, shorten};

/// A parameter, as SQL would write it.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Text(text) => format!("'{}'", shorten(&one_line(text), 80)),
        Value::Binary(bytes) => shorten(&hex(bytes), 80),
    }
}

/// A cell of a result; common binary types are decoded.
pub(super) fn result_cell(bytes: Option<&[u8]>, column: Option<&Column>) -> String {
    let Some(bytes) = bytes else {
        return "null".to_owned();
    };
    let binary = column.filter(|column| column.binary);
    let decoded = binary.and_then(|column| decode(column.type_id, bytes));
    match (decoded, binary, std::str::from_utf8(bytes)) {
        (Some(text), ..) => cell(&text),
        (None, None, Ok(text)) => cell(text),
        _ => hex(bytes),
    }
}

/// Whether a column's cells read best aligned to the right.
pub(super) fn is_number(column: &Column) -> bool {
    matches!(column.type_id, 20 | 21 | 23 | 26 | 700 | 701 | 1700)
}

/// PostgreSQL's binary formats of its built-in types, by OID (`pg_type.dat`).
fn decode(type_id: u32, bytes: &[u8]) -> Option<String> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    match type_id {
        16 => match bytes {
            [0] => Some("f".to_owned()),
            [1] => Some("t".to_owned()),
            _ => None,
        },
        20 => Some(i64::from_be_bytes(bytes.try_into().ok()?).to_string()),
        21 => Some(i16::from_be_bytes(bytes.try_into().ok()?).to_string()),
        23 => Some(i32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        26 => Some(u32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        700 => Some(f32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        701 => Some(f64::from_be_bytes(bytes.try_into().ok()?).to_string()),
        18 | 19 | 25 | 114 | 705 | 1042 | 1043 => text(bytes),
        3802 => bytes.strip_prefix(&[1]).and_then(text),
        2950 => uuid(bytes),
        1082 => date(i32::from_be_bytes(bytes.try_into().ok()?)),
        1114 => instant(i64::from_be_bytes(bytes.try_into().ok()?), ""),
        1184 => instant(i64::from_be_bytes(bytes.try_into().ok()?), "+00"),
        _ => None,
    }
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    let mut out = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
    Some(out)
}

/// 2000-01-01T00:00:00Z, from which PostgreSQL counts, in seconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800;

fn date(days: i32) -> Option<String> {
    let seconds = i64::from(days)
        .checked_mul(86_400)?
        .checked_add(POSTGRES_EPOCH)?;
    let time = jiff::Timestamp::from_second(seconds).ok()?.to_string();
    // A year before Christ is longer than four digits.
    time.split_once('T').map(|(date, _)| date.to_owned())
}

fn instant(micros: i64, zone: &str) -> Option<String> {
    let micros = micros.checked_add(POSTGRES_EPOCH.checked_mul(1_000_000)?)?;
    let time = jiff::Timestamp::from_microsecond(micros).ok()?.to_string();
    Some(format!(
        "{}{zone}",
        time.trim_end_matches('Z').replace('T', " ")
    ))
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::from("\\x");
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}
