//! Values that are found in results, and what stands in their place.
//!
//! Cells that no label names are searched for the kinds of values that labels' detectors name. In
//! text a found value is replaced by what its label's mask makes of it. In JSON it is starred inside
//! its string, so that the document stays one; elsewhere (arrays, composites, XML, types of the
//! database) the cell becomes NULL. Numbers, times, UUIDs and bytes are not searched: a number alone
//! tells nothing. In COPY data, notices and errors a found value is starred byte by byte, so that
//! every length stays.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_detect::Span;
use weir_wire_postgres::message::Cell;

use super::mask;
use crate::values::{Scanner, star};

/// Types that are not searched: numbers, times, booleans, identifiers of the server, UUIDs, bytea
/// (`pg_type.dat`).
const NOT_SEARCHED: [u32; 18] = [
    16, 17, 20, 21, 23, 26, 27, 28, 29, 700, 701, 1082, 1083, 1114, 1184, 1186, 1266, 1700,
];
const UUID: u32 = 2950;

/// What was found in a result.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Columns by number.
    pub(super) columns: BTreeSet<usize>,
    /// Labels by name.
    pub(super) labels: BTreeSet<Arc<str>>,
    spans: Vec<Span>,
}

/// How a type holds text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    Other,
}

impl Form {
    /// How a type's cells are searched; `None`: not at all.
    pub(super) fn of(type_oid: u32) -> Option<Self> {
        if NOT_SEARCHED.contains(&type_oid) || type_oid == UUID {
            return None;
        }
        Some(if mask::is_text(type_oid) {
            Self::Text
        } else if mask::is_json(type_oid) {
            Self::Json
        } else {
            Self::Other
        })
    }
}

impl Scanner {
    /// Appends what stands in place of a cell; `Same` where nothing was found.
    pub(super) fn cell(
        &self,
        form: Form,
        column: usize,
        value: &[u8],
        out: &mut Vec<u8>,
        found: &mut Found,
    ) -> Cell {
        if !self.scan(value, &mut found.spans, &mut found.labels) {
            return Cell::Same;
        }
        found.columns.insert(column);
        let start = out.len();
        let written = match form {
            Form::Text => self.replace(value, &found.spans, out),
            Form::Json => star_json(value, &found.spans, out),
            Form::Other => None,
        };
        if written.is_none() {
            out.truncate(start);
            return Cell::Null;
        }
        Cell::Value
    }

    /// Stars what is found in bytes that are not a cell; whether anything was.
    pub(super) fn star(&self, bytes: &mut [u8], found: &mut Found) -> bool {
        if !self.scan(bytes, &mut found.spans, &mut found.labels) {
            return false;
        }
        for span in &found.spans {
            star(bytes.get_mut(span.start..span.end).unwrap_or_default());
        }
        true
    }
}

/// Appends a JSON document whose found values are starred; `None` where one is not inside a string,
/// or holds an escape.
fn star_json(value: &[u8], spans: &[Span], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    out.extend_from_slice(value);
    let (mut at, mut in_string) = (0, false);
    for span in spans {
        let between = value.get(at..span.start)?;
        let mut escaped = false;
        for byte in between {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ => {}
            }
        }
        let found = value.get(span.start..span.end)?;
        if !in_string || escaped || found.iter().any(|byte| matches!(byte, b'"' | b'\\')) {
            return None;
        }
        star(out.get_mut(start + span.start..start + span.end)?);
        at = span.end;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use weir_detect::mask::TokenKey;
    use weir_policy::{LabelId, Mask, ValueMask};

    use super::*;

    fn scanner(masks: &[(&str, Mask)]) -> Arc<Scanner> {
        let value = |(at, (detector, mask)): (usize, &(&str, Mask))| ValueMask {
            label: LabelId(at as u16),
            detectors: [(*detector).to_owned()].into(),
            mask: mask.clone(),
        };
        let values: Vec<ValueMask> = masks.iter().enumerate().map(value).collect();
        let name = |id: LabelId| Some(Arc::from(format!("pii.{}", id.0)));
        Scanner::new(&values, name, &Arc::new(TokenKey::new(b"key"))).unwrap()
    }

    fn cell(scanner: &Scanner, type_oid: u32, value: &str) -> Option<String> {
        let (mut out, mut found) = (b"before".to_vec(), Found::default());
        let form = Form::of(type_oid)?;
        let shown = match scanner.cell(form, 3, value.as_bytes(), &mut out, &mut found) {
            Cell::Same => value.to_owned(),
            Cell::Null => "NULL".to_owned(),
            Cell::Value => String::from_utf8(out.split_off(6)).unwrap(),
        };
        assert_eq!(out, b"before");
        Some(shown)
    }

    const PARTIAL: Mask = Mask::Partial {
        keep_first: 0,
        keep_last: 4,
    };

    #[test]
    fn a_found_value_is_replaced_as_its_label_says() {
        let scanner = scanner(&[
            ("ssn", PARTIAL),
            ("email", Mask::Constant("[mail]".into())),
            ("pan", Mask::Null),
        ]);
        assert_eq!(
            cell(&scanner, 25, "call zora@example.test, ssn 805-36-9215!").as_deref(),
            Some("call [mail], ssn ***-**-9215!")
        );
        assert_eq!(
            cell(&scanner, 25, "4000006739051240 x").as_deref(),
            Some("NULL")
        );
        assert_eq!(
            cell(&scanner, 25, "nothing here").as_deref(),
            Some("nothing here")
        );
    }

    #[test]
    fn a_document_stays_a_document() {
        let scanner = scanner(&[("email", PARTIAL), ("pan", PARTIAL)]);
        assert_eq!(
            cell(&scanner, 114, r#"{"a": "q\"", "m": "zora@example.test"}"#).as_deref(),
            Some(r#"{"a": "q\"", "m": "****@*******.****"}"#)
        );
        assert_eq!(
            cell(&scanner, 3802, r#"{"card": 4000006739051240}"#).as_deref(),
            Some("NULL")
        );
    }

    #[test]
    fn what_is_neither_text_nor_json_becomes_null() {
        let scanner = scanner(&[("email", PARTIAL)]);
        assert_eq!(
            cell(&scanner, 1009, "{zora@example.test}").as_deref(),
            Some("NULL")
        );
        assert_eq!(
            cell(&scanner, 20_000, "(1,zora@example.test)").as_deref(),
            Some("NULL")
        );
        assert_eq!(cell(&scanner, 23, "7"), None);
    }

    #[test]
    fn bytes_that_are_not_a_cell_keep_their_length() {
        let scanner = scanner(&[("email", Mask::Null)]);
        let mut bytes = "1\tzora@example.test\té\n".to_owned().into_bytes();
        let mut found = Found::default();
        assert!(scanner.star(&mut bytes, &mut found));
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "1\t****@*******.****\té\n"
        );
        assert_eq!(found.labels, BTreeSet::from(["pii.0".into()]));
    }

    #[test]
    fn the_strictest_mask_of_two_labels_holds() {
        let scanner = scanner(&[("email", PARTIAL), ("email", Mask::Null)]);
        assert_eq!(
            cell(&scanner, 25, "zora@example.test").as_deref(),
            Some("NULL")
        );
    }
}
