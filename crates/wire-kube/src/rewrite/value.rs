//! Strings that are values: shown to the caller, and read where they say what an answer is.

use super::place::{self, Part, Place};
use super::stack::Stack;
use super::{Event, Rewriter, Text, Token, Values};
use crate::json::{self, Invalid};

/// The most columns of a Table whose names are kept, and the longest name.
const MAX_COLUMNS: usize = 256;
const MAX_COLUMN: usize = 256;
/// Buffers above this do not stay in memory.
const KEPT: usize = 64 * 1024;

impl Rewriter {
    /// A string that is a value. Whether the replacement takes its place.
    pub(super) fn value<V: Values>(
        &mut self,
        token: &Token<'_>,
        values: &mut V,
    ) -> Result<bool, Invalid> {
        if let Some(text) = token.text {
            return Ok(self.decide(text, values));
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let replaced = json::text(token.raw, &mut scratch).map(|text| self.decide(text, values));
        scratch.clear();
        scratch.shrink_to(KEPT);
        self.scratch = scratch;
        replaced
    }

    fn decide<V: Values>(&mut self, text: &str, values: &mut V) -> bool {
        let child = self.stack.child();
        if self.stack.knows() {
            self.replacement.clear();
            let whose = self.stack.whose();
            return whose.is_some_and(|name| {
                values.late(name, text, child.place.part(), &mut self.replacement)
            });
        }
        let mut field = child.field;
        match child.place {
            Place::Kind => self.document.kind(text),
            Place::EventType => self.document.event_type(text),
            Place::ColumnName if self.columns.len() < MAX_COLUMNS => {
                let name = Some(text).filter(|name| name.len() <= MAX_COLUMN);
                self.columns.push(name.unwrap_or_default().into());
            }
            Place::Continue if !text.is_empty() && !self.embedded => values.list_continues(text),
            Place::LastApplied if field.is_none() => match self.embed(text, false, values) {
                Some(changed) => return changed,
                // What cannot be read is one of the fields.
                None => field = (!self.fields.is_empty()).then_some(0),
            },
            _ => {}
        }
        let mut masked = None;
        if child.place == Place::Annotation && field.is_none() && !self.fields.is_empty() {
            let copy = self.stack.names().0.is_some_and(place::is_copy);
            let embeds = copy || text.trim_start().starts_with(['{', '[']);
            match embeds.then(|| self.embed(text, true, values)).flatten() {
                Some(true) => masked = Some(std::mem::take(&mut self.replacement)),
                Some(false) => {}
                None => field = copy.then_some(0),
            }
        }
        let text = masked.as_deref().unwrap_or(text);
        let reads_names = values.reads_names();
        let (key, name) = self.stack.names();
        let cell = column(&self.columns, &self.stack, child.place);
        let shown = Text {
            value: text,
            key,
            name,
            whose: reads_names.then(|| self.stack.whose()).flatten(),
            field,
            before: self.stack.before(),
            cell,
            part: child.place.part(),
        };
        self.replacement.clear();
        let replaced = values.replace(&shown, &mut self.replacement);
        let late = self.stack.string(text);
        if reads_names && late.is_some_and(|name| values.names_hidden(name)) {
            self.stack.is_late();
        }
        match masked {
            Some(masked) if !replaced => {
                self.replacement = masked;
                true
            }
            _ => replaced,
        }
    }

    /// JSON in a string: whether it is changed, by the replacement. None where it is no JSON. The fields begin at
    /// its top, or at any object within.
    fn embed<V: Values>(&mut self, text: &str, anywhere: bool, values: &mut V) -> Option<bool> {
        if self.embedded {
            return None;
        }
        let mut inner = Rewriter::new(self.fields.clone(), self.limits);
        inner.embedded = true;
        if anywhere {
            inner.stack.begin_anywhere();
        }
        let (mut rest, mut out) = (text.as_bytes(), Vec::with_capacity(text.len()));
        while inner.feed(&mut rest, &mut out, values).ok()? != Event::None {}
        inner.finish().ok()?;
        inner.hide_late(&mut out, 0, values);
        if out == text.as_bytes() {
            return Some(false);
        }
        self.replacement = String::from_utf8(out).ok()?;
        Some(true)
    }
}

/// The name of the column that a cell belongs to.
pub(super) fn column<'a>(columns: &'a [Box<str>], stack: &Stack, place: Place) -> Option<&'a str> {
    let column = columns.get(stack.index());
    column.filter(|_| place == Place::Cell).map(|name| &**name)
}

/// Whether the name of a member of `managedFields` holds what is hidden: `v:` and a value, `k:` and the values of
/// some members.
pub(super) fn hides<V: Values>(stack: &Stack, name: &str, values: &mut V) -> bool {
    let Some(field) = stack.owned() else {
        return false;
    };
    let Some(("v:" | "k:", held)) = name.split_at_checked(2) else {
        return false;
    };
    match serde_json::from_str(held) {
        Ok(value) => holds_hidden(&value, Some(field), None, values),
        Err(_) => values.hides(&named(held, Some(field), None)),
    }
}

fn holds_hidden<V: Values>(
    value: &serde_json::Value,
    key: Option<&str>,
    name: Option<&str>,
    values: &mut V,
) -> bool {
    use serde_json::Value;
    match value {
        Value::String(text) => values.hides(&named(text, key, name)),
        Value::Array(items) => items
            .iter()
            .any(|item| holds_hidden(item, key, name, values)),
        Value::Object(members) => {
            let beside = members.get("name").or_else(|| members.get("key"));
            let beside = beside.and_then(Value::as_str);
            let mut members = members.iter();
            members.any(|(key, value)| holds_hidden(value, Some(key), beside, values))
        }
        _ => false,
    }
}

fn named<'a>(value: &'a str, key: Option<&'a str>, name: Option<&'a str>) -> Text<'a> {
    Text {
        value,
        key,
        name,
        whose: None,
        before: None,
        field: None,
        cell: None,
        part: Part::Body,
    }
}
