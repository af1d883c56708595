//! Which values of an object are shown, and what stands in place of the others.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir_detect::{Kind, Span, names_secret};
use weir_policy::{Decision, LabelId, Scope};
use weir_wire_kube::rewrite::{Part, Text, Values};
use weir_wire_kube::{FieldPattern, Resource, Segment};

use super::builtin::is_builtin;
use super::copies::Copies;
use crate::engine::Shared;
use crate::values::{KnownScanner, Scanner, Shown};

/// A labelled field of the resource, and what stands in its place.
#[derive(Debug, Clone)]
struct Masked {
    label: Arc<str>,
    shown: Shown,
}

/// Masks the values of objects of one resource.
#[derive(Debug, Clone)]
pub(super) struct Masks {
    patterns: Arc<[FieldPattern]>,
    masked: Arc<[Masked]>,
    scanner: Option<Arc<Scanner>>,
    /// Values of named fields are bytes, which JSON shows in Base64.
    bytes: bool,
    /// What a Table's columns show of named fields is not known.
    hides_cells: bool,
}

/// Members of the API's own kinds that no Table shows, nor anything below them.
const UNPRINTED: [&str; 17] = [
    "annotations",
    "args",
    "binaryData",
    "caBundle",
    "command",
    "data",
    "env",
    "envFrom",
    "httpHeaders",
    "lifecycle",
    "livenessProbe",
    "managedFields",
    "readinessProbe",
    "startupProbe",
    "stringData",
    "value",
    "volumes",
];

impl Masks {
    /// What a decision asks for. None: nothing is masked.
    pub(super) fn new(
        shared: &Shared,
        scope: &Scope,
        resource: Option<&Resource>,
        labels: &[(FieldPattern, LabelId)],
        decision: &Decision,
        (known, revision): (&KnownScanner, u64),
    ) -> Option<Self> {
        let obligations = &decision.obligations;
        let mut patterns = Vec::new();
        let mut masked = Vec::new();
        for (index, mask) in &obligations.masks {
            let Some((pattern, id)) = labels.get(*index) else {
                continue;
            };
            patterns.push(pattern.clone());
            masked.push(Masked {
                label: scope.label(*id).unwrap_or_default(),
                shown: Shown::new(mask.clone(), &shared.token_key),
            });
        }
        let scanner = known.scanner(revision, &obligations.values, || {
            let name = |label| scope.label(label);
            Scanner::new(&obligations.values, name, &shared.token_key)
        });
        if masked.is_empty() && scanner.is_none() {
            return None;
        }
        Some(Self::of(resource, patterns, masked.into(), scanner))
    }

    fn of(
        resource: Option<&Resource>,
        patterns: Vec<FieldPattern>,
        masked: Arc<[Masked]>,
        scanner: Option<Arc<Scanner>>,
    ) -> Self {
        let secrets = resource.is_some_and(|it| it.group.is_empty() && it.resource == "secrets");
        let builtin = resource.is_some_and(is_builtin);
        let unprinted = |field: &FieldPattern| field.names().any(|name| UNPRINTED.contains(&name));
        Self {
            hides_cells: !(masked.is_empty() || builtin && patterns.iter().all(unprinted)),
            patterns: patterns.into(),
            masked,
            scanner,
            bytes: secrets,
        }
    }

    /// Whether a cell of this column is hidden; none where its column is not known.
    fn hides_cell(&self, column: Option<&str>) -> bool {
        if !self.hides_cells || column.is_some_and(|column| HANDLE_COLUMNS.contains(&column)) {
            return false;
        }
        let known = SAFE_COLUMNS.iter().find(|(name, _)| column == Some(*name));
        let Some((_, members)) = known else {
            return true;
        };
        members.iter().any(|path| {
            let path: Vec<Segment> = path
                .iter()
                .map(|name| Segment::Member((*name).into()))
                .collect();
            let mut fields = self.patterns.iter();
            fields.any(|field| field.covers(&path) || field.is_below(&path))
        })
    }

    pub(super) fn patterns(&self) -> Arc<[FieldPattern]> {
        Arc::clone(&self.patterns)
    }

    pub(super) fn scanner(&self) -> Option<&Arc<Scanner>> {
        self.scanner.as_ref()
    }

    /// What stands in place of what may hold any of the named fields.
    fn instead(&self) -> String {
        match self.masked.first().map(|masked| &masked.shown) {
            Some(Shown::Fixed(text)) => String::from_utf8_lossy(text).into_owned(),
            // Nobody types it: see what counts as a mask that is written back.
            _ => "********".to_owned(),
        }
    }

    /// Whether the resource has fields that are masked by name.
    pub(super) fn has_fields(&self) -> bool {
        !self.masked.is_empty()
    }
}

/// Members of metadata by which objects and lists are found again.
pub(super) const HANDLES: [&str; 10] = [
    "apiVersion",
    "continue",
    "generateName",
    "kind",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "time",
    "uid",
];
/// The shortest and the longest text in Base64 that is looked into.
const ENCODED: std::ops::Range<usize> = 16..1 << 20;

/// Members that hold the words of a command.
const COMMANDS: [&str; 8] = [
    "args",
    "argument",
    "arguments",
    "argv",
    "cmd",
    "command",
    "commands",
    "entrypoint",
];

/// The shortest number that is a secret where its name says so.
const SHORTEST_NUMBER: usize = 6;

/// Columns of a Table that show what names an object.
const HANDLE_COLUMNS: [&str; 4] = ["Name", "Namespace", "Age", "Created At"];
/// Columns that by their name show nothing that anybody would hide, unless it is one of these members that is
/// hidden.
const SAFE_COLUMNS: [(&str, [&[&str]; 2]); 5] = [
    ("Kind", [&["kind"], &["spec", "kind"]]),
    ("Type", [&["type"], &["spec", "type"]]),
    ("Data", [&["data"], &["spec", "data"]]),
    ("Ready", [&["status", "ready"], &["status", "conditions"]]),
    ("Phase", [&["phase"], &["status", "phase"]]),
];

/// Masks as an answer goes by.
pub(super) struct Masking {
    masks: Masks,
    spans: Vec<Span>,
    buffer: Vec<u8>,
    /// Values of the object's labelled fields, of which it may hold a copy.
    pub(super) copied: Copies,
    /// Labels of what was masked.
    pub(super) labels: BTreeSet<Arc<str>>,
    /// Where the list goes on.
    pub(super) continues: Option<String>,
}

impl Masking {
    pub(super) fn new(masks: Masks) -> Self {
        Self {
            copied: Copies::new(masks.instead()),
            masks,
            spans: Vec::new(),
            buffer: Vec::new(),
            labels: BTreeSet::new(),
            continues: None,
        }
    }

    /// Whether some fields are masked by name.
    pub(super) fn has_fields(&self) -> bool {
        self.masks.has_fields()
    }

    /// A text in whose words values may stand, masked; none where it holds none.
    pub(super) fn text(&mut self, text: &str) -> Option<String> {
        let mut out = String::new();
        self.scan(text, &mut out).then_some(out)
    }

    fn named(&mut self, index: usize, value: &str, out: &mut String) -> bool {
        let Some(masked) = self.masks.masked.get(index) else {
            return true;
        };
        if value.is_empty() {
            return false;
        }
        self.labels.insert(Arc::clone(&masked.label));
        self.buffer.clear();
        let decoded = self.masks.bytes.then(|| STANDARD.decode(value).ok());
        match decoded.flatten() {
            Some(bytes) => {
                // What cannot be shown in part is not shown at all.
                if masked.shown.write(&bytes, &mut self.buffer).is_none() {
                    self.buffer.clear();
                }
                self.copied.add(&bytes, &self.buffer);
                STANDARD.encode_string(&self.buffer, out);
            }
            None => {
                if masked
                    .shown
                    .write(value.as_bytes(), &mut self.buffer)
                    .is_none()
                {
                    self.buffer.clear();
                }
                self.copied.add(value.as_bytes(), &self.buffer);
                out.push_str(&String::from_utf8_lossy(&self.buffer));
            }
        }
        true
    }

    /// A value whose name says that it is a secret; as `bytes`, in Base64, it stays that.
    fn secret(&mut self, value: &str, bytes: bool, out: &mut String) -> bool {
        let Some((label, shown)) = self.masks.scanner.as_ref().and_then(|scanner| {
            let shown = scanner.shown(Kind::Password)?;
            Some((scanner.label(Kind::Password)?, shown))
        }) else {
            return false;
        };
        self.labels.insert(label);
        self.buffer.clear();
        let decoded = bytes.then(|| STANDARD.decode(value).ok()).flatten();
        let plain = decoded.as_deref().unwrap_or(value.as_bytes());
        if shown.write(plain, &mut self.buffer).is_none() {
            self.buffer.clear();
        }
        match decoded {
            Some(_) => STANDARD.encode_string(&self.buffer, out),
            None => out.push_str(&String::from_utf8_lossy(&self.buffer)),
        }
        true
    }

    fn scan(&mut self, value: &str, out: &mut String) -> bool {
        let Some(scanner) = self.masks.scanner.clone() else {
            return false;
        };
        if !scanner.scan(value.as_bytes(), &mut self.spans, &mut self.labels) {
            return false;
        }
        self.buffer.clear();
        let shown = scanner.replace(value.as_bytes(), &self.spans, &mut self.buffer);
        if shown.is_some() {
            out.push_str(&String::from_utf8_lossy(&self.buffer));
        }
        true
    }
}

impl Masking {
    /// Whether a value is what is shown in place of secrets.
    fn is_mask(&self, value: &str) -> bool {
        let scanner = self.masks.scanner.as_ref();
        let shown = scanner.and_then(|scanner| scanner.shown(Kind::Password));
        matches!(shown, Some(Shown::Fixed(mask)) if **mask == *value.as_bytes())
    }

    /// Text in Base64, as `binaryData` has it, and as people write it elsewhere.
    fn scan_encoded(&mut self, value: &str, out: &mut String) -> bool {
        let digit = |b: &u8| b.is_ascii_alphanumeric() | matches!(b, b'+' | b'/' | b'=' | b'\n');
        // No branch within a stretch: it is vectorised.
        let digits = |stretch: &[u8]| stretch.iter().fold(true, |all, b| all & digit(b));
        if !ENCODED.contains(&value.len()) || !value.as_bytes().chunks(64).all(digits) {
            return false;
        }
        let Some(scanner) = self.masks.scanner.clone() else {
            return false;
        };
        let Ok(plain) = STANDARD.decode(value.replace('\n', "")) else {
            return false;
        };
        if !scanner.scan(&plain, &mut self.spans, &mut self.labels) {
            return false;
        }
        self.buffer.clear();
        // What cannot be shown in part is not shown at all.
        if scanner
            .replace(&plain, &self.spans, &mut self.buffer)
            .is_none()
        {
            self.buffer.clear();
        }
        STANDARD.encode_string(&self.buffer, out);
        true
    }
}

impl Values for Masking {
    fn replace(&mut self, text: &Text<'_>, out: &mut String) -> bool {
        if let Some(index) = text.field {
            return self.named(index, text.value, out);
        }
        if self.masks.has_fields()
            && let Some(instead) = self.copied.may_hold(text)
        {
            out.push_str(instead);
            return true;
        }
        // What names an object, or a list's rest, is sent back: it is nobody's secret.
        if text.part == Part::Identity && text.key.is_some_and(|key| HANDLES.contains(&key)) {
            return false;
        }
        if text.part == Part::Cell && self.masks.hides_cell(text.cell) {
            return self.named(0, text.value, out);
        }
        if let Some(column) = text.cell
            && is_secret_name(column, text.value)
            && self.secret(text.value, false, out)
        {
            return true;
        }
        let named = |name: Option<&str>| name.is_some_and(|name| is_secret_name(name, text.value));
        // `name: DB_PASSWORD, value: …` of an environment variable, `password: {value: …}` of anything.
        let by_name = named(text.whose);
        // `--password`, and then the password, as two words of a command.
        let option = text.before.and_then(|before| before.strip_prefix('-'));
        let by_name = by_name || named(option.map(|name| name.trim_start_matches('-')));
        let word = text.before.filter(|_| is_word_of_command(text));
        let by_name = by_name || named(word);
        let bytes = self.masks.bytes && text.part == Part::Body;
        if (by_name || named(text.key)) && self.secret(text.value, bytes, out) {
            return true;
        }
        self.scan(text.value, out) || self.scan_encoded(text.value, out)
    }

    fn cell(&mut self, column: Option<&str>) -> bool {
        let hides = self.masks.hides_cell(column);
        if hides && let Some(masked) = self.masks.masked.first() {
            self.labels.insert(Arc::clone(&masked.label));
        }
        hides
    }

    fn bare(&mut self, key: Option<&str>, whose: Option<&str>, number: &[u8]) -> bool {
        // What is short is a count, a port or a year.
        if number.len() < SHORTEST_NUMBER || !number.iter().all(u8::is_ascii_digit) {
            return false;
        }
        if ![key, whose].into_iter().flatten().any(names_secret) {
            return false;
        }
        let scanner = self.masks.scanner.as_ref();
        let label = scanner.and_then(|scanner| scanner.label(Kind::Password));
        self.labels.extend(label.clone());
        label.is_some()
    }

    fn list_continues(&mut self, token: &str) {
        if !token.is_empty() {
            self.continues = Some(token.to_owned());
        }
    }

    fn reads_names(&self) -> bool {
        self.masks.scanner.is_some()
    }

    fn names_hidden(&mut self, name: &str) -> bool {
        names_secret(name)
    }

    fn late(&mut self, name: &str, value: &str, part: Part, out: &mut String) -> bool {
        let bytes = self.masks.bytes && part == Part::Body;
        let masked = self.is_mask(value);
        !masked && is_secret_name(name, value) && self.secret(value, bytes, out)
    }

    fn hides(&mut self, text: &Text<'_>) -> bool {
        self.replace(text, &mut String::new())
    }
}

/// Whether a text is one word of a command whose word before may name it: `password`, and then the password. What
/// is an option is no value, and behind `secret` stands the name of one.
fn is_word_of_command(text: &Text<'_>) -> bool {
    const NOT: [&str; 2] = ["secret", "secrets"];
    let command = text.key.is_some_and(|key| COMMANDS.contains(&key));
    let before = text.before.is_some_and(|before| {
        !before.contains(char::is_whitespace)
            && !NOT.contains(&before.to_ascii_lowercase().as_str())
    });
    command && before && !text.value.starts_with('-')
}

/// Whether a name says that the value beside it is a secret, and the value may be one.
fn is_secret_name(name: &str, value: &str) -> bool {
    let plain = matches!(value, "" | "true" | "false" | "null" | "none" | "None");
    !plain && names_secret(name)
}

/// Only counts, where nothing is masked.
#[derive(Default)]
pub(super) struct Counting {
    pub(super) continues: Option<String>,
}

impl Values for Counting {
    fn replace(&mut self, _: &Text<'_>, _: &mut String) -> bool {
        false
    }

    fn number(&mut self, _: usize) -> bool {
        false
    }

    fn list_continues(&mut self, token: &str) {
        if !token.is_empty() {
            self.continues = Some(token.to_owned());
        }
    }
}
