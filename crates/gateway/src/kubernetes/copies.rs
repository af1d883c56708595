//! Copies of an object's labelled values in its own annotations.
//!
//! An object's metadata comes before its values, so annotations are looked at once more where the object has
//! ended. It is held back until then.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use memchr::memmem;
use weir_wire_kube::rewrite::{Event, Limits, Part, Rewriter, SHORTEST_COPY, Text, Values};

/// The shortest value that is looked for where it may be a word.
const SHORTEST_WORD: usize = 16;
/// Most values of one object.
const MOST: usize = 256;
/// Annotations by which an object is found again.
const HANDLES: [&str; 2] = [
    "meta.helm.sh/release-name",
    "meta.helm.sh/release-namespace",
];

/// Values of one object and what stands in their place.
#[derive(Default)]
pub(super) struct Copies {
    texts: Vec<(String, String)>,
    /// What stands in place of an annotation of which it is not known whether it holds a value.
    instead: String,
    /// The object has more values than are kept: any annotation may hold one.
    more: bool,
    /// The object goes out in parts, before all of its values are known.
    parted: bool,
}

impl Copies {
    /// `instead`: what stands in place of an annotation that may hold any value.
    pub(super) fn new(instead: String) -> Self {
        Self {
            instead,
            ..Self::default()
        }
    }

    /// A value is masked.
    pub(super) fn add(&mut self, value: &[u8], shown: &[u8]) {
        let digits = value.iter().any(u8::is_ascii_digit);
        let shortest = if digits { SHORTEST_COPY } else { SHORTEST_WORD };
        if value.len() < shortest || value == shown {
            return;
        }
        if self.texts.len() >= 2 * MOST {
            self.more = true;
            return;
        }
        let encoded = (STANDARD_NO_PAD.encode(value), STANDARD_NO_PAD.encode(shown));
        self.texts.push(encoded);
        if let Ok(value) = std::str::from_utf8(value) {
            let shown = String::from_utf8_lossy(shown).into_owned();
            self.texts.push((value.to_owned(), shown));
        }
    }

    /// Forgets the values: another object begins.
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        (self.more, self.parted) = (false, false);
    }

    /// The object that is in `out` from `mark` on has ended: masks what its annotations hold of its values.
    pub(super) fn hide(&mut self, out: &mut Vec<u8>, mark: usize) {
        // What went out in parts was looked at then.
        if self.texts.is_empty() || self.parted {
            self.clear();
            return;
        }
        // The longest first: a shorter one may be a part of it.
        self.texts
            .sort_unstable_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        let object = out.get(mark..).unwrap_or_default();
        let held =
            |(value, _): &(String, String)| memmem::find(object, plain(value).as_bytes()).is_some();
        if self.more || self.texts.iter().any(held) {
            self.rewrite(out, mark);
        }
        self.clear();
    }

    /// The object that is in `out` from `mark` on is too large to wait for: what there is of it goes out. From here
    /// on, and in that, any annotation may hold one of its values.
    pub(super) fn part(&mut self, out: &mut Vec<u8>, mark: usize) {
        if !self.parted {
            self.parted = true;
            self.rewrite(out, mark);
        }
    }

    fn rewrite(&mut self, out: &mut Vec<u8>, mark: usize) {
        let object = out.get(mark..).unwrap_or_default();
        let mut rewriter = Rewriter::new([].into(), Limits::default());
        let (mut rest, mut hidden) = (object, Vec::with_capacity(object.len()));
        let mut read = Ok(Event::ObjectBegins);
        while matches!(read, Ok(event) if event != Event::None) {
            read = rewriter.feed(&mut rest, &mut hidden, self);
        }
        // What was written by a rewriter is read by one.
        if read.is_ok() {
            out.truncate(mark);
            out.extend_from_slice(&hidden);
        }
    }

    /// What stands in place of a text that may hold any of the values.
    pub(super) fn may_hold(&self, text: &Text<'_>) -> Option<&str> {
        let any = (self.more || self.parted) && is_looked_at(text);
        (any && text.value.len() >= SHORTEST_COPY).then_some(&*self.instead)
    }
}

/// Whether a text is one that may hold copies.
fn is_looked_at(text: &Text<'_>) -> bool {
    text.part == Part::Annotation && text.key.is_none_or(|key| !HANDLES.contains(&key))
}

/// The longest part of a value that is the same in JSON, however that is written.
fn plain(value: &str) -> &str {
    let same = |c: char| !c.is_ascii_alphanumeric() && !"-_./:=+".contains(c);
    let parts = value.split(same);
    parts.max_by_key(|part| part.len()).unwrap_or_default()
}

impl Values for Copies {
    fn replace(&mut self, text: &Text<'_>, out: &mut String) -> bool {
        if !is_looked_at(text) {
            return false;
        }
        if let Some(instead) = self.may_hold(text) {
            out.push_str(instead);
            return true;
        }
        let mut held = self.texts.iter();
        if !held.any(|(value, _)| text.value.contains(value.as_str())) {
            return false;
        }
        let mut hidden = text.value.to_owned();
        for (value, shown) in &self.texts {
            hidden = hidden.replace(value.as_str(), shown);
        }
        out.push_str(&hidden);
        true
    }

    fn number(&mut self, _: usize) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(values: &[&str], object: &str) -> String {
        let mut copies = Copies::new("***".to_owned());
        for value in values {
            copies.add(value.as_bytes(), b"[masked]");
        }
        let mut out = b"before,".to_vec();
        out.extend_from_slice(object.as_bytes());
        copies.hide(&mut out, 7);
        let out = String::from_utf8(out).unwrap();
        out.strip_prefix("before,").unwrap().to_owned()
    }

    #[test]
    fn annotations_that_hold_a_value_are_masked_and_nothing_else_is() {
        let value = "s3cr3t-of-ours";
        let encoded = STANDARD_NO_PAD.encode(value);
        let object = |text: &str| {
            format!(
                r#"{{"kind":"Secret","metadata":{{"name":"{value}","labels":{{"a":"b"}},"annotations":{{"a":"{text}"}}}},"spec":{{"b":"{value}"}}}}"#
            )
        };
        let masked = STANDARD_NO_PAD.encode("[masked]");
        assert_eq!(hidden(&[value], &object(value)), object("[masked]"));
        let diff = |text: &str| object(&format!("- password: {text}"));
        assert_eq!(hidden(&[value], &diff(value)), diff("[masked]"));
        assert_eq!(hidden(&[value], &diff(&encoded)), diff(&masked));
        let lines = "first-line-9\n\"second\"";
        let quoted = object(r#"first-line-9\n\"second\""#);
        let shown = quoted.replacen(r#""a":"first-line-9\n\"second\"""#, r#""a":"[masked]""#, 1);
        assert_eq!(hidden(&[lines], &quoted), shown);
        // Words are everywhere.
        let word = object("postgres");
        assert_eq!(hidden(&["postgres", "1"], &word), word);
        // More values than are kept: the one that is looked for may not be among them.
        let many: Vec<String> = (0..=MOST).map(|n| format!("a-value-{n}")).collect();
        let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
        many.push(value);
        assert_eq!(hidden(&many, &object(value)), object("***"));
        assert_eq!(hidden(&many, &object("short")), object("short"));
        // An event of a watch, a row of a Table.
        for whole in [
            format!(r#"{{"type":"ADDED","object":{}}}"#, object("{}")),
            format!(r#"{{"cells":["a"],"object":{}}}"#, object("{}")),
        ] {
            let with = |text: &str| whole.replace("{}", text);
            assert_eq!(hidden(&[value], &with(value)), with("[masked]"));
        }
    }
    #[test]
    fn of_an_object_that_goes_out_in_parts_no_annotation_is_shown() {
        let begun = r#"{"kind":"ConfigMap","metadata":{"name":"a","annotations":{"note":"pw: s3cr3t-of-ours","n":"1"},"labels":{"a":"a-long-label"}},"data":{"a":"#;
        let mut copies = Copies::new("***".to_owned());
        let mut out = format!("before,{begun}").into_bytes();
        copies.part(&mut out, 7);
        let masked = begun.replace("pw: s3cr3t-of-ours", "***");
        assert_eq!(String::from_utf8(out).unwrap(), format!("before,{masked}"));
    }
}
