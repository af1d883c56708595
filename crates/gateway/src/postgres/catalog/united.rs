//! Relations of one name: which of them a statement means depends on `search_path`, so that each of them may be met.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Relation;

impl Relation {
    /// Whether another one has the same columns, as far as names tell.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.columns.iter(), other.columns.iter());
        let names = mine.map(|column| &column.name);
        self.has_system == other.has_system && names.eq(theirs.map(|column| &column.name))
    }

    /// One that does whatever any of several does. Its columns are those of the first.
    pub(super) fn unite<'a>(mut all: impl Iterator<Item = &'a Self>) -> Option<Self> {
        let mut united = all.next()?.clone();
        for other in all {
            united.has_system &= other.has_system;
            united.over_labelled |= other.over_labelled;
            united.over_settings |= other.over_settings;
            united.reaches |= other.reaches;
            united.collects |= other.collects;
            united.redefines = united.redefines.max(other.redefines);
            united.redefines_read = united.redefines_read.max(other.redefines_read);
            united.calls.extend_from_slice(&other.calls);
            united.reads.extend_from_slice(&other.reads);
            united.code.extend_from_slice(&other.code);
            united.kin = united.kin.iter().chain(&*other.kin).cloned().collect();
            if united.is_like(other) {
                united.add_columns(other);
            }
        }
        united.calls = distinct(united.calls);
        united.reads = distinct(united.reads);
        united.code = distinct(united.code);
        let kin: BTreeSet<Arc<str>> = united.kin.iter().cloned().collect();
        united.kin = kin.into_iter().collect();
        Some(united)
    }

    fn add_columns(&mut self, other: &Self) {
        let either = |mine: &mut Vec<bool>, theirs: &[bool]| {
            mine.iter_mut()
                .zip(theirs)
                .for_each(|(mine, theirs)| *mine |= theirs);
        };
        either(&mut self.filled, &other.filled);
        either(&mut self.primary, &other.primary);
        either(&mut self.unique, &other.unique);
        either(&mut self.defaults, &other.defaults);
        for (mine, theirs) in self.types.iter_mut().zip(&other.types) {
            *mine = mine.filter(|_| *mine == *theirs);
        }
        for (index, labels) in other.labels.iter().enumerate() {
            self.add(index, &labels.ids, labels.derived);
        }
    }
}

fn distinct<T: Ord>(all: Vec<T>) -> Vec<T> {
    let all: BTreeSet<T> = all.into_iter().collect();
    all.into_iter().collect()
}
