//! What labelled names once meant.
//!
//! A label is configured by name, but follows the column: a table that is renamed or moved to
//! another schema keeps its labels. A pin remembers the object id and attribute number that a
//! labelled name resolved to, and the name. It goes only when the column has that name again, or
//! still, and the configuration no longer labels it. What a column was labelled with through another one stays.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use weir_policy::{LabelId, LabelRules};

use super::query::ColumnRow;
use crate::ports::PinnedColumn;

/// The pins of one database.
#[derive(Debug, Default, Clone)]
pub(crate) struct Pins {
    columns: HashMap<(u32, i16), Vec<Pin>>,
    changed: bool,
}

#[derive(Debug, Clone)]
struct Pin {
    label: Arc<str>,
    /// The name under which the configuration labelled the column; empty where it did not, and the label came
    /// from another column: no name ends that.
    name: String,
}

impl Pins {
    /// Pins that were kept.
    pub(crate) fn from_kept(kept: Vec<PinnedColumn>) -> Self {
        let mut pins = Self::default();
        for column in kept {
            let pin = Pin {
                label: column.label,
                name: column.name,
            };
            let key = (column.oid, column.attribute);
            pins.columns.entry(key).or_default().push(pin);
        }
        pins
    }

    /// All pins, if they are not those that were kept last.
    pub(crate) fn take_changed(&mut self) -> Option<Vec<PinnedColumn>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let row = |(key, pin): (&(u32, i16), &Pin)| PinnedColumn {
            oid: key.0,
            attribute: key.1,
            label: Arc::clone(&pin.label),
            name: pin.name.clone(),
        };
        let mut rows: Vec<PinnedColumn> = self
            .columns
            .iter()
            .flat_map(|(key, pins)| pins.iter().map(move |pin| row((key, pin))))
            .collect();
        rows.sort();
        Some(rows)
    }

    /// Remembers what a column has through another.
    pub(super) fn inherit(&mut self, key: (u32, i16), ids: &[LabelId], rules: &LabelRules) {
        for label in ids.iter().filter_map(|id| rules.name(*id)) {
            let pins = self.columns.entry(key).or_default();
            if pins.iter().all(|pin| pin.label != *label) {
                pins.push(Pin {
                    label: Arc::clone(label),
                    name: String::new(),
                });
                self.changed = true;
            }
        }
    }

    /// Adds to `ids`, the labels that the column's name has, those that it was once labelled with,
    /// and remembers what it has now.
    pub(super) fn follow(
        &mut self,
        (column, attribute): (&ColumnRow<'_>, i16),
        rules: &LabelRules,
        ids: &mut Vec<LabelId>,
    ) {
        let key = (column.oid, attribute);
        if ids.is_empty() && !self.columns.contains_key(&key) {
            return;
        }
        let name = [column.schema, column.relation, column.name]
            .map(quoted)
            .join(".");
        let pins = self.columns.entry(key).or_default();
        let named: Vec<Arc<str>> = ids
            .iter()
            .filter_map(|id| rules.name(*id).cloned())
            .collect();
        let before = pins.len();
        pins.retain(|pin| pin.name != name || named.contains(&pin.label));
        self.changed |= pins.len() != before;
        for label in &named {
            match pins.iter_mut().find(|pin| pin.label == *label) {
                Some(pin) if pin.name == name => continue,
                Some(pin) => pin.name.clone_from(&name),
                None => pins.push(Pin {
                    label: Arc::clone(label),
                    name: name.clone(),
                }),
            }
            self.changed = true;
        }
        ids.extend(pins.iter().filter_map(|pin| rules.id(&pin.label)));
        ids.sort_unstable();
        ids.dedup();
        if pins.is_empty() {
            self.columns.remove(&key);
        }
    }
}

/// A part of a name, so that no two lists of parts are the same when they are joined by dots.
fn quoted(part: &str) -> Cow<'_, str> {
    match part.contains(['.', '"']) {
        true => format!("\"{}\"", part.replace('"', "\"\"")).into(),
        false => part.into(),
    }
}
