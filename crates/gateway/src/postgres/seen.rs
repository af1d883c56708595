//! Labelled values that a client is given in clear, as fingerprints, where a policy asks for them.
//!
//! A masked cell was not seen. The cell of a column that is a labelled one has the value; a cell that is
//! computed from labelled ones, or whose origin is not known, may have any part of one, so that it counts
//! as *uncertain* beside its fingerprint. The same goes for a cell that has no one text.
//!
//! Invariant: a value that was given is fingerprinted or counted. Refuses: to keep more than
//! [`MAX_VALUES`] distinct ones of a statement; the rest is counted.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use weir_audit::{Fingerprint, FingerprintKey, LabelKey, LabelledValuesSeen};
use weir_policy::{LabelId, Scope};
use weir_wire_postgres::backend::Field;
use weir_wire_postgres::frame::Body;

use super::mask;
use super::operation::OutputLabels;
use super::printed::{has_one_text, printed};

/// Distinct values of all labels together that are kept of one statement.
pub(super) const MAX_VALUES: usize = 10_000;
/// So many new ones are an event, before the statement ends.
const BATCH: usize = 1024;
/// A longer document is not looked into.
const MAX_DOCUMENT: usize = 64 * 1024;
/// Nor one that is nested deeper.
const MAX_DEPTH: usize = 32;

/// A label whose values are kept.
#[derive(Debug)]
struct Label {
    id: LabelId,
    name: Arc<str>,
    key: LabelKey,
}

/// What a scope wants to be kept, with the keys.
#[derive(Debug)]
pub(super) struct Wanted(Vec<Arc<Label>>);

impl Wanted {
    /// What the policy asks for; `None` where it asks for nothing.
    pub(super) fn of(scope: &Scope, key: &FingerprintKey) -> Option<Self> {
        let labels = scope.fingerprints().iter().filter_map(|id| {
            let name = scope.label(*id)?;
            Some(Arc::new(Label {
                id: *id,
                key: key.of_label(&name),
                name,
            }))
        });
        let labels: Vec<_> = labels.collect();
        (!labels.is_empty()).then_some(Self(labels))
    }

    fn column(&self, at: usize, output: &OutputLabels, form: Form) -> Option<Column> {
        let carried = self.0.iter().filter(|label| output.carries(label.id));
        let labels: Vec<_> = carried.map(Arc::clone).collect();
        (!labels.is_empty()).then(|| Column {
            at,
            form,
            certain: output.is_value(),
            labels,
        })
    }

    /// The columns of a result that have such values, but for the masked ones. Those of a statement that
    /// was not `read` may have any, where the server does not name the column that they come from.
    pub(super) fn columns(
        &self,
        outputs: &[OutputLabels],
        fields: &[Field],
        read: bool,
        is_masked: impl Fn(usize) -> bool,
    ) -> Box<[Column]> {
        let described = outputs.iter().zip(fields).enumerate();
        let clear = described.filter(|(at, _)| !is_masked(*at));
        clear
            .filter_map(|(at, (output, field))| {
                let form = Form::Cell {
                    type_oid: field.type_oid,
                    binary: field.binary,
                };
                if read || field.table_oid != 0 {
                    return self.column(at, output, form);
                }
                Some(Column {
                    at,
                    form,
                    certain: false,
                    labels: self.0.iter().map(Arc::clone).collect(),
                })
            })
            .collect()
    }

    /// The same of a COPY whose lines have so many fields.
    fn copied(&self, outputs: &[OutputLabels]) -> Box<[Column]> {
        let all = outputs.iter().enumerate();
        all.filter_map(|(at, output)| self.column(at, output, Form::Copied))
            .collect()
    }

    /// Labels of which something may be in a line of a COPY, by what its statement touches; `None` is all.
    fn touched(&self, labels: Option<&[LabelId]>) -> impl Iterator<Item = &Arc<Label>> {
        let all = self.0.iter();
        all.filter(move |label| labels.is_none_or(|labels| labels.contains(&label.id)))
    }
}

/// How a cell holds its value.
#[derive(Debug, Clone, Copy)]
enum Form {
    Cell {
        type_oid: u32,
        binary: bool,
    },
    /// Text of COPY, unescaped.
    Copied,
}

/// A column whose cells are looked at.
#[derive(Debug)]
pub(super) struct Column {
    at: usize,
    form: Form,
    /// Whether its cells are labelled values, whole.
    certain: bool,
    labels: Vec<Arc<Label>>,
}

/// What was seen of one label.
#[derive(Debug)]
struct OfLabel {
    label: Arc<Label>,
    known: HashSet<Fingerprint>,
    new: LabelledValuesSeen,
}

/// What a statement's client was given.
#[derive(Debug, Default)]
pub(super) struct Seen {
    labels: BTreeMap<LabelId, OfLabel>,
    /// Distinct values.
    count: usize,
    /// Of them, those of no event yet.
    pending: usize,
    copy: Option<Copied>,
}

/// How the lines of a COPY are read.
#[derive(Debug)]
struct Copied {
    fields: usize,
    /// `None` where it is not known which column a field is.
    columns: Option<Box<[Column]>>,
}

impl Seen {
    /// Takes a row as the client gets it: the body of a DataRow.
    pub(super) fn row(&mut self, columns: &[Column], body: &[u8]) {
        let mut cells = Body::new(body);
        let Ok(count) = cells.count(4) else { return };
        let mut columns = columns.iter().peekable();
        for at in 0..count {
            let Ok(value) = cells.value() else { return };
            while let Some(column) = columns.next_if(|column| column.at == at) {
                if let Some(value) = value {
                    self.cell(column, value);
                }
            }
        }
    }

    /// Takes a line of a COPY. `outputs` gives the labels of as many fields as it has; where it cannot,
    /// each of `touched` may be in it, or any where that is not known.
    pub(super) fn line(
        &mut self,
        wanted: &Wanted,
        line: &[u8],
        touched: Option<&[LabelId]>,
        outputs: impl Fn(usize) -> Option<Vec<OutputLabels>>,
    ) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
        let copy = match self.copy.take() {
            Some(copy) if copy.fields == fields.len() => copy,
            _ => Copied {
                fields: fields.len(),
                columns: outputs(fields.len()).map(|outputs| wanted.copied(&outputs)),
            },
        };
        match &copy.columns {
            None => {
                for label in wanted.touched(touched) {
                    self.of(label).new.uncertain += 1;
                }
            }
            Some(columns) => {
                for column in columns {
                    match fields.get(column.at) {
                        Some(field) if *field == b"\\N" => {}
                        Some(field) => match unescaped(field) {
                            Some(value) => self.cell(column, &value),
                            None => self.uncertain(column),
                        },
                        None => self.uncertain(column),
                    }
                }
            }
        }
        self.copy = Some(copy);
    }

    fn of(&mut self, label: &Arc<Label>) -> &mut OfLabel {
        self.labels.entry(label.id).or_insert_with(|| OfLabel {
            label: Arc::clone(label),
            known: HashSet::new(),
            new: LabelledValuesSeen::default(),
        })
    }

    fn uncertain(&mut self, column: &Column) {
        for label in &column.labels {
            self.of(label).new.uncertain += 1;
        }
    }

    fn cell(&mut self, column: &Column, value: &[u8]) {
        let (text, mut is_certain, is_document) = match column.form {
            Form::Copied => {
                let text = std::str::from_utf8(value).ok().map(Into::into);
                (text, false, false)
            }
            Form::Cell { type_oid, binary } => {
                let one = has_one_text(type_oid, binary);
                let json = mask::is_json(type_oid);
                (
                    printed(type_oid, binary, value),
                    column.certain && (one || json),
                    json,
                )
            }
        };
        let Some(text) = text else {
            return self.uncertain(column);
        };
        if is_document {
            let document = (text.len() <= MAX_DOCUMENT).then(|| serde_json::from_str(&text).ok());
            let looked = document
                .flatten()
                .map(|document| self.leaves(column, document, 0));
            is_certain &= looked == Some(true);
        }
        self.text(column, &text);
        if !is_certain {
            self.uncertain(column);
        }
    }

    /// Strings and numbers of a document are values of their own, as they are written, and under each of equal
    /// names. Whether it was looked at to its end.
    fn leaves(&mut self, column: &Column, document: &RawValue, depth: usize) -> bool {
        let text = document.get();
        if depth > MAX_DEPTH {
            return false;
        }
        let inner = match text.as_bytes().first() {
            Some(b'"') => {
                let value = serde_json::from_str::<Cow<'_, str>>(text);
                return value.map(|value| self.text(column, &value)).is_ok();
            }
            Some(b'-' | b'0'..=b'9') => {
                self.text(column, text);
                return true;
            }
            Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(text).ok(),
            Some(b'{') => serde_json::from_str::<Members<'_>>(text)
                .ok()
                .map(|all| all.0),
            _ => return true,
        };
        let Some(inner) = inner else {
            return false;
        };
        let mut looked = true;
        for one in inner {
            looked &= self.leaves(column, one, depth + 1);
        }
        looked
    }

    fn text(&mut self, column: &Column, text: &str) {
        for label in &column.labels {
            let value = label.key.fingerprint(text);
            let is_full = self.count >= MAX_VALUES;
            let of = self.of(label);
            if of.known.contains(&value) {
                continue;
            }
            if is_full {
                of.new.beyond += 1;
                continue;
            }
            of.known.insert(value);
            of.new.values.push(value);
            self.count += 1;
            self.pending += 1;
        }
    }

    /// Whether there is enough for an event.
    pub(super) fn is_full(&self) -> bool {
        self.pending >= BATCH
    }

    /// What is new since the last time, by label.
    pub(super) fn take(&mut self, statement: u64) -> Vec<LabelledValuesSeen> {
        self.pending = 0;
        let labels = self.labels.values_mut();
        let new = labels.filter_map(|of| {
            let new = std::mem::take(&mut of.new);
            (new != LabelledValuesSeen::default()).then(|| LabelledValuesSeen {
                statement,
                label: Arc::clone(&of.label.name),
                ..new
            })
        });
        new.collect()
    }
}

/// The values of an object, each of equal names among them.
struct Members<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some((IgnoredAny, value)) = map.next_entry()? {
                    all.push(value);
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// A field of COPY's text format; `None` where an escape is none of those that the server writes.
fn unescaped(field: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        out.push(match bytes.next()? {
            b'\\' => b'\\',
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            _ => return None,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(id: u16, name: &str) -> Arc<Label> {
        Arc::new(Label {
            id: LabelId(id),
            name: name.into(),
            key: key().of_label(name),
        })
    }

    fn key() -> FingerprintKey {
        FingerprintKey::new(b"secret")
    }

    fn column(at: usize, type_oid: u32, binary: bool, certain: bool) -> Column {
        Column {
            at,
            form: Form::Cell { type_oid, binary },
            certain,
            labels: vec![label(0, "pii.ssn")],
        }
    }

    fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
        let mut out = u16::try_from(cells.len()).unwrap().to_be_bytes().to_vec();
        for cell in cells {
            match cell {
                None => out.extend((-1_i32).to_be_bytes()),
                Some(bytes) => {
                    out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
                    out.extend_from_slice(bytes);
                }
            }
        }
        out
    }

    fn of(value: &str) -> Fingerprint {
        key().of_label("pii.ssn").fingerprint(value)
    }

    /// Rows of one column, seen.
    fn seen(column: Column, cells: &[&[u8]]) -> LabelledValuesSeen {
        let (mut seen, columns) = (Seen::default(), [column]);
        for cell in cells {
            seen.row(&columns, &row(&[Some(b"id"), Some(cell)]));
        }
        let mut events = seen.take(7);
        assert_eq!(seen.take(7), Vec::new());
        events.pop().unwrap_or_default()
    }

    #[test]
    fn a_value_is_kept_once_whatever_the_format() {
        let text = seen(column(1, 23, false, true), &[b"42", b"42", b"7"]);
        assert_eq!(text.values, [of("42"), of("7")]);
        assert_eq!((text.statement, &*text.label), (7, "pii.ssn"));
        let binary = seen(column(1, 23, true, true), &[&42_i32.to_be_bytes()]);
        assert_eq!(binary.values, [of("42")]);
        assert_eq!((binary.beyond, binary.uncertain), (0, 0));
    }

    #[test]
    fn null_is_no_value_and_other_columns_are_not_looked_at() {
        let mut seen = Seen::default();
        let columns = [column(1, 25, false, true)];
        seen.row(&columns, &row(&[Some(b"a"), None, Some(b"b")]));
        assert_eq!(seen.take(1), Vec::new());
    }

    #[test]
    fn what_is_computed_is_kept_and_counted() {
        let found = seen(column(1, 25, false, false), &[b"6512-9-635"]);
        assert_eq!((found.values, found.uncertain), (vec![of("6512-9-635")], 1));
    }

    #[test]
    fn what_has_no_one_text_is_counted() {
        let found = seen(column(1, 1186, false, true), &[b"1 day", b"2 days"]);
        assert_eq!((found.values.len(), found.uncertain), (0, 2));
    }

    #[test]
    fn values_inside_a_document_are_values() {
        let document = br#"{"ssn": "805-36-9215", "more": [{"n": 42}], "no": null}"#;
        let found = seen(column(1, 114, false, true), &[document]);
        assert_eq!(found.uncertain, 0);
        assert!(found.values.contains(&of("805-36-9215")) && found.values.contains(&of("42")));
        let found = seen(column(1, 114, false, true), &[b"{"]);
        assert_eq!((found.values.len(), found.uncertain), (1, 1));
        let document = br#"{"a": 10.50, "a": "x\u0041", "b": 123456789012345678901234567890}"#;
        let found = seen(column(1, 114, false, true), &[document]);
        for value in ["10.50", "xA", "123456789012345678901234567890"] {
            assert!(found.values.contains(&of(value)), "{value}");
        }
        assert_eq!(found.uncertain, 0);
        let deep = format!("{}\"x\"{}", "[".repeat(40), "]".repeat(40));
        let found = seen(column(1, 114, false, true), &[deep.as_bytes()]);
        assert_eq!((found.values.len(), found.uncertain), (1, 1));
        let deeper = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        let found = seen(column(1, 114, false, true), &[deeper.as_bytes()]);
        assert_eq!((found.values.len(), found.uncertain), (1, 1));
    }

    #[test]
    fn what_holds_values_or_may_be_written_otherwise_is_kept_and_counted() {
        for (type_oid, text) in [
            (1009, "{805-36-9215}"),
            (2249, "(805-36-9215,1)"),
            (701, "0.30000000000000004"),
            (142, "<a>805-36-9215</a>"),
            (16_400, "Zora@example.test"),
        ] {
            let found = seen(column(1, type_oid, false, true), &[text.as_bytes()]);
            assert_eq!(
                (found.values, found.uncertain),
                (vec![of(text)], 1),
                "{text}"
            );
        }
    }

    #[test]
    fn whatever_a_text_that_was_not_read_shows_may_have_any_value() {
        let wanted = Wanted(vec![label(0, "pii.ssn"), label(1, "pii.mail")]);
        let field = |table_oid| Field {
            name: b"x".as_slice().into(),
            table_oid,
            attribute: 1,
            type_oid: 25,
            binary: false,
        };
        let fields = [field(0), field(20_000)];
        let outputs = [OutputLabels::of_copy(&[]), OutputLabels::of_copy(&[0])];
        let looked_at = |read| {
            let columns = wanted.columns(&outputs, &fields, read, |_| false);
            let of = |column: &Column| (column.at, column.labels.len(), column.certain);
            columns.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(looked_at(true), [(1, 1, true)]);
        assert_eq!(looked_at(false), [(0, 2, false), (1, 1, true)]);
        let mut seen = Seen::default();
        seen.line(&wanted, b"1\n", None, |_| None);
        let uncertain = |event: &LabelledValuesSeen| event.uncertain;
        assert_eq!(
            seen.take(1).iter().map(uncertain).collect::<Vec<_>>(),
            [1, 1]
        );
    }

    #[test]
    fn beyond_the_bound_values_are_counted_and_those_that_are_kept_are_not() {
        let (mut seen, columns) = (Seen::default(), [column(0, 23, true, true)]);
        for number in 0..=MAX_VALUES as i32 {
            seen.row(&columns, &row(&[Some(&number.to_be_bytes())]));
        }
        seen.row(&columns, &row(&[Some(&1_i32.to_be_bytes())]));
        assert!(seen.is_full());
        let found = seen.take(1).pop().unwrap();
        assert_eq!((found.values.len(), found.beyond), (MAX_VALUES, 1));
        assert!(!seen.is_full());
    }

    #[test]
    fn a_copied_line_is_read_where_it_can_be() {
        let wanted = Wanted(vec![label(0, "pii.ssn")]);
        let outputs = |total: usize| {
            let output = |at| OutputLabels::of_copy(if at == 1 { &[0] } else { &[] });
            (total == 2).then(|| (0..total).map(output).collect())
        };
        let (mut seen, touched) = (Seen::default(), Some([LabelId(0)]));
        let touched = touched.as_ref().map(<[LabelId; 1]>::as_slice);
        seen.line(&wanted, b"1\ta\\\\b\n", touched, outputs);
        seen.line(&wanted, b"1\t\\N\n", touched, outputs);
        let found = seen.take(1).pop().unwrap();
        // It says no type.
        assert_eq!((found.values, found.uncertain), (vec![of("a\\b")], 1));
        seen.line(&wanted, b"1\t\\x\n", touched, outputs);
        seen.line(&wanted, b"1,b", touched, outputs);
        assert_eq!(seen.take(1).pop().unwrap().uncertain, 2);
        seen.line(&wanted, b"1,b", Some(&[]), outputs);
        assert_eq!(seen.take(1), Vec::new());
    }
}
