//! What labelled names once meant.
//!
//! A label is configured by name, but follows the column: a table that is renamed or moved to
//! another schema keeps its labels. A pin remembers the object id and attribute number that a
//! labelled name resolved to.

use std::collections::{HashMap, HashSet};

use weir_policy::LabelId;

/// The pins of one database, for one revision of the labels.
#[derive(Debug, Default, Clone)]
pub(crate) struct Pins {
    digest: String,
    columns: HashMap<(u32, i16), HashSet<LabelId>>,
}

impl Pins {
    /// The same pins for a bundle with this digest: label ids mean something only within a bundle,
    /// so pins of another are dropped, and its names are resolved afresh.
    pub(crate) fn for_bundle(mut self, digest: &str) -> Self {
        if self.digest != digest {
            self = Self {
                digest: digest.to_owned(),
                columns: HashMap::new(),
            };
        }
        self
    }

    /// Adds to `ids` what the column was once labelled with, and remembers what it is now.
    pub(super) fn follow(&mut self, oid: u32, attribute: i16, ids: &mut Vec<LabelId>) {
        if ids.is_empty() && !self.columns.contains_key(&(oid, attribute)) {
            return;
        }
        let pinned = self.columns.entry((oid, attribute)).or_default();
        pinned.extend(ids.iter().copied());
        ids.clear();
        ids.extend(pinned.iter().copied());
        ids.sort_unstable();
    }
}
