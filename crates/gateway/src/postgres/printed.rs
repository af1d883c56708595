//! The text of a cell, as the server prints it: the same for both formats.
//!
//! Refuses: types whose text depends on settings of the session (intervals, money, times with a zone), and
//! binary forms that are not known here. Dates and moments must be in ISO form, `bytea` may be in either.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::{SignedDuration, Span};

use super::mask;

// `pg_type.dat`.
const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const OID: u32 = 26;
const JSON: u32 = 114;
const XML: u32 = 142;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const MONEY: u32 = 790;
const CIDR: u32 = 650;
const INET: u32 = 869;
const DATE: u32 = 1082;
const TIME: u32 = 1083;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const INTERVAL: u32 = 1186;
const TIMETZ: u32 = 1266;
const NUMERIC: u32 = 1700;
const UUID: u32 = 2950;
const JSONB: u32 = 3802;

/// Most digits of a number before it is looked at no further.
const MAX_DIGITS: usize = 4096;

/// Whether equal values have equal texts, whatever the session's settings are, and nothing that could be
/// asked for stands inside of one. Texts of floats depend on `extra_float_digits`; what is not known here
/// may be an array, a record, a range, a document.
pub(super) fn has_one_text(type_oid: u32, binary: bool) -> bool {
    match type_oid {
        BOOL | BYTEA | INT8 | INT2 | INT4 | OID | CIDR | INET | DATE | TIME | TIMESTAMP
        | TIMESTAMPTZ | NUMERIC | UUID => true,
        FLOAT4 | FLOAT8 => binary,
        oid => mask::is_text(oid),
    }
}

/// The text of a value of this type and format; `None` where it has no one text.
pub(super) fn printed(type_oid: u32, binary: bool, value: &[u8]) -> Option<Cow<'_, str>> {
    if !binary {
        let text = std::str::from_utf8(value).ok()?;
        return match type_oid {
            MONEY | INTERVAL | TIMETZ => None,
            DATE | TIMESTAMP | TIMESTAMPTZ => is_iso(text).then_some(text.into()),
            BYTEA if !text.starts_with("\\x") => Some(hex(&unescaped(text)?).into()),
            _ => Some(text.into()),
        };
    }
    let text = match type_oid {
        JSON | XML => return Some(std::str::from_utf8(value).ok()?.into()),
        oid if mask::is_text(oid) => return Some(std::str::from_utf8(value).ok()?.into()),
        JSONB => {
            let (1, text) = value.split_first()? else {
                return None;
            };
            return Some(std::str::from_utf8(text).ok()?.into());
        }
        BOOL => match value {
            [0] => "f".to_owned(),
            [1] => "t".to_owned(),
            _ => return None,
        },
        BYTEA => hex(value),
        INT2 => i16::from_be_bytes(value.try_into().ok()?).to_string(),
        INT4 => i32::from_be_bytes(value.try_into().ok()?).to_string(),
        INT8 => i64::from_be_bytes(value.try_into().ok()?).to_string(),
        OID => u32::from_be_bytes(value.try_into().ok()?).to_string(),
        FLOAT4 => {
            let number = f32::from_be_bytes(value.try_into().ok()?);
            float(&format!("{number:e}"), number.into(), 6)?
        }
        FLOAT8 => {
            let number = f64::from_be_bytes(value.try_into().ok()?);
            float(&format!("{number:e}"), number, 15)?
        }
        NUMERIC => numeric(value)?,
        UUID => uuid(value.try_into().ok()?),
        DATE => {
            let days = i32::from_be_bytes(value.try_into().ok()?);
            let start = jiff::civil::date(2000, 1, 1);
            let days = Span::new().try_days(days).ok()?;
            let date = start.checked_add(days).ok()?;
            positive(date.year())?;
            date.to_string()
        }
        TIME => {
            let micros = i64::from_be_bytes(value.try_into().ok()?);
            let start = jiff::civil::time(0, 0, 0, 0);
            let time = start
                .checked_add(SignedDuration::from_micros(micros))
                .ok()?;
            time.strftime("%H:%M:%S%.f").to_string()
        }
        TIMESTAMP | TIMESTAMPTZ => {
            let micros = i64::from_be_bytes(value.try_into().ok()?);
            let start = jiff::civil::date(2000, 1, 1).at(0, 0, 0, 0);
            let moment = start
                .checked_add(SignedDuration::from_micros(micros))
                .ok()?;
            positive(moment.year())?;
            let zone = if type_oid == TIMESTAMPTZ { "+00" } else { "" };
            format!("{}{zone}", moment.strftime("%Y-%m-%d %H:%M:%S%.f"))
        }
        INET | CIDR => address(value)?,
        _ => return None,
    };
    Some(text.into())
}

/// Years before the first are printed otherwise.
fn positive(year: i16) -> Option<()> {
    (year > 0).then_some(())
}

/// Whether a date begins with its year.
fn is_iso(text: &str) -> bool {
    let text = text.as_bytes();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let year = digits.count();
    year >= 4 && text.get(year) == Some(&b'-') || text.ends_with(b"infinity")
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 + 2 * bytes.len());
    out.push_str("\\x");
    for byte in bytes {
        // Writing to a text cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The bytes of the older form: a backslash is doubled, what cannot be printed is three octal digits.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        if let Some(after) = rest.strip_prefix(b"\\") {
            out.push(b'\\');
            rest = after;
            continue;
        }
        let (digits, after) = rest.split_at_checked(3)?;
        let digits = std::str::from_utf8(digits).ok()?;
        out.push(u8::from_str_radix(digits, 8).ok()?);
        rest = after;
    }
    Some(out)
}

/// A number from its shortest digits (`1.25e-7`): without an exponent between 10^-4 and `10^fixed`.
fn float(shortest: &str, number: f64, fixed: i32) -> Option<String> {
    if number.is_nan() {
        return Some("NaN".to_owned());
    }
    if number.is_infinite() {
        let text = if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        return Some(text.to_owned());
    }
    let (digits, exponent) = shortest.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    if (-4..fixed).contains(&exponent) {
        // The same digits, as Rust writes them without an exponent.
        let (sign, digits) = match digits.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", digits),
        };
        let digits: String = digits.chars().filter(|c| *c != '.').collect();
        let text = match usize::try_from(exponent) {
            Err(_) => {
                let zeros = usize::try_from(-exponent - 1).unwrap_or_default();
                format!("0.{}{digits}", "0".repeat(zeros))
            }
            Ok(whole) if digits.len() <= whole + 1 => {
                format!("{digits}{}", "0".repeat(whole + 1 - digits.len()))
            }
            Ok(whole) => {
                let (whole, rest) = digits.split_at(whole + 1);
                format!("{whole}.{rest}")
            }
        };
        return Some(format!("{sign}{text}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    Some(format!("{digits}e{sign}{:02}", exponent.abs()))
}

/// Groups of four decimal digits, the weight of the first, a sign, and how many digits are shown after
/// the point.
fn numeric(value: &[u8]) -> Option<String> {
    let short = |at: usize| {
        let bytes = value.get(2 * at..2 * at + 2)?;
        Some(i16::from_be_bytes(bytes.try_into().ok()?))
    };
    let (count, weight, sign, scale) = (short(0)?, short(1)?, short(2)?, short(3)?);
    let text = match sign.cast_unsigned() {
        0x0000 => "",
        0x4000 => "-",
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    let count = usize::try_from(count).ok()?;
    let (weight, scale) = (i32::from(weight), usize::try_from(scale).ok()?);
    if scale > MAX_DIGITS || weight > (MAX_DIGITS / 4) as i32 || value.len() != 8 + 2 * count {
        return None;
    }
    let group = |place: i32| -> Option<i16> {
        let at = usize::try_from(weight - place).ok();
        at.filter(|at| *at < count)
            .map_or(Some(0), |at| short(4 + at))
    };
    let mut out = text.to_owned();
    if weight < 0 {
        out.push('0');
    }
    for place in (0..=weight).rev() {
        let digits = group(place)?;
        if place == weight {
            let _ = write!(out, "{digits}");
        } else {
            let _ = write!(out, "{digits:04}");
        }
    }
    if scale > 0 {
        let mut fraction = String::with_capacity(scale + 4);
        let mut place = -1;
        while fraction.len() < scale {
            let _ = write!(fraction, "{:04}", group(place)?);
            place -= 1;
        }
        fraction.truncate(scale);
        out.push('.');
        out.push_str(&fraction);
    }
    Some(out)
}

fn uuid(bytes: [u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Family, bits of the mask, whether it is a network, length, bytes.
fn address(value: &[u8]) -> Option<String> {
    let ([_, bits, is_network, _], bytes) = value.split_first_chunk::<4>()?;
    let (text, whole) = match bytes.len() {
        4 => (
            Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string(),
            32,
        ),
        16 => (
            Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string(),
            128,
        ),
        _ => return None,
    };
    if *is_network == 0 && *bits == whole {
        return Some(text);
    }
    Some(format!("{text}/{bits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(oid: u32, bytes: &[u8]) -> Option<String> {
        printed(oid, true, bytes).map(Cow::into_owned)
    }

    fn shorts(list: &[u16]) -> Vec<u8> {
        list.iter().flat_map(|short| short.to_be_bytes()).collect()
    }

    // What PostgreSQL 17 prints for these bytes.
    #[test]
    fn binary_values_have_the_text_that_the_server_prints() {
        let number = |list: &[u16]| binary(NUMERIC, &shorts(list));
        for (found, wanted) in [
            (binary(INT4, &(-7_i32).to_be_bytes()), "-7"),
            (binary(INT8, &8_053_692_150_i64.to_be_bytes()), "8053692150"),
            (binary(INT2, &12_i16.to_be_bytes()), "12"),
            (binary(BOOL, &[1]), "t"),
            (binary(25, b"Zora"), "Zora"),
            (binary(JSONB, b"\x01{\"a\": 1}"), "{\"a\": 1}"),
            (number(&[2, 1, 0, 2, 1, 2345]), "12345.00"),
            (number(&[1, 0, 0x4000, 0, 7]), "-7"),
            (number(&[1, 65535, 0, 3, 1250]), "0.125"),
            (number(&[1, 65534, 0, 6, 1200]), "0.000012"),
            (number(&[0, 0, 0, 0]), "0"),
            (number(&[1, 2, 0, 0, 3]), "300000000"),
            (binary(DATE, &(8766_i32).to_be_bytes()), "2024-01-01"),
            (binary(DATE, &(-1_i32).to_be_bytes()), "1999-12-31"),
            (binary(TIME, &3_661_500_000_i64.to_be_bytes()), "01:01:01.5"),
            (
                binary(TIMESTAMP, &1_500_000_i64.to_be_bytes()),
                "2000-01-01 00:00:01.5",
            ),
            (
                binary(TIMESTAMPTZ, &0_i64.to_be_bytes()),
                "2000-01-01 00:00:00+00",
            ),
            (binary(BYTEA, &[0xde, 0xad]), "\\xdead"),
            (binary(FLOAT8, &1234.5_f64.to_be_bytes()), "1234.5"),
            (binary(FLOAT8, &1e15_f64.to_be_bytes()), "1e+15"),
            (
                binary(FLOAT8, &123_456_789_012_345_f64.to_be_bytes()),
                "123456789012345",
            ),
            (binary(FLOAT8, &(-0.000_12_f64).to_be_bytes()), "-0.00012"),
            (binary(FLOAT8, &0.000_01_f64.to_be_bytes()), "1e-05"),
            (binary(FLOAT8, &0_f64.to_be_bytes()), "0"),
            (binary(FLOAT4, &1e6_f32.to_be_bytes()), "1e+06"),
            (binary(FLOAT4, &0.1_f32.to_be_bytes()), "0.1"),
            (binary(INET, &[2, 32, 0, 4, 10, 0, 0, 1]), "10.0.0.1"),
            (binary(CIDR, &[2, 8, 1, 4, 10, 0, 0, 0]), "10.0.0.0/8"),
        ] {
            assert_eq!(found.as_deref(), Some(wanted));
        }
        let id = [
            0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38,
            0x0a, 0x11,
        ];
        assert_eq!(
            binary(UUID, &id).as_deref(),
            Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
        );
    }

    #[test]
    fn text_is_what_the_server_printed_where_it_has_one_form() {
        let text = |oid, text: &'static str| printed(oid, false, text.as_bytes());
        assert_eq!(text(25, "Zora X").as_deref(), Some("Zora X"));
        assert_eq!(text(DATE, "2024-01-01").as_deref(), Some("2024-01-01"));
        assert_eq!(text(DATE, "01.01.2024"), None);
        assert_eq!(text(INTERVAL, "1 day"), None);
        assert_eq!(text(BYTEA, "\\xdead").as_deref(), Some("\\xdead"));
        assert_eq!(
            text(BYTEA, "\\336\\255a\\\\").as_deref(),
            Some("\\xdead615c")
        );
        assert_eq!(printed(25, false, b"\xff"), None);
    }

    #[test]
    fn what_may_hold_other_values_or_be_written_in_another_way_has_more_than_one_text() {
        for (type_oid, in_text, in_binary) in [
            (25, true, true),
            (1043, true, true),
            (INT4, true, true),
            (NUMERIC, true, true),
            (FLOAT8, false, true),
            (MONEY, false, false),
            (INTERVAL, false, false),
            (XML, false, false),
            (1009, false, false),   // text[]
            (2249, false, false),   // record
            (3904, false, false),   // int4range
            (16_400, false, false), // an extension's
        ] {
            let found = [false, true].map(|binary| has_one_text(type_oid, binary));
            assert_eq!(found, [in_text, in_binary], "{type_oid}");
        }
    }

    #[test]
    fn what_has_not_its_types_form_has_no_text() {
        for oid in 0..4000 {
            for length in 0..24 {
                let _ = binary(oid, &vec![0x7f; length]);
                let _ = binary(oid, &vec![0xff; length]);
            }
        }
        assert_eq!(binary(INT4, b"123"), None);
        assert_eq!(binary(UUID, b"123"), None);
        assert_eq!(binary(1009, b"{a}"), None);
        assert_eq!(binary(DATE, &i32::MAX.to_be_bytes()), None);
    }
}
