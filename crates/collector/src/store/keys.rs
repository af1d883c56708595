//! Numbers of names: a name stands once in the store, everything else has its number.
//!
//! Names come from engines, so they are looked up with keyed hashes that nobody can aim at. A batch has the
//! same name at the same address again and again: where it was looked up before, the address is enough.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::CollectorError;
use super::fast::FastMap;

/// Names whose numbers are remembered.
const REMEMBERED: usize = 100_000;

/// Names that are held at once, so that they are known by their addresses.
const HELD: usize = 16_384;

/// Kinds of keys; also the `kind` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(super) enum Kind {
    Engine = 0,
    Identity = 1,
    Target = 2,
    Table = 3,
    Label = 4,
    Decision = 5,
    Body = 6,
    Namespace = 7,
    /// `policy/rule`; in sums only.
    Rule = 8,
    /// Who ruled on a hold.
    Approver = 9,
}

/// Names with their numbers.
#[derive(Default)]
pub(super) struct Known {
    kinds: [HashMap<Arc<str>, i64>; Kind::Approver as usize + 1],
}

impl Known {
    fn get(&self, kind: Kind, name: &str) -> Option<i64> {
        self.kinds.get(kind as usize)?.get(name).copied()
    }

    fn add(&mut self, kind: Kind, name: Arc<str>, number: i64) {
        if let Some(names) = self.kinds.get_mut(kind as usize) {
            names.insert(name, number);
        }
    }

    /// Remembers others, too; forgets what was remembered when that is very much.
    pub(super) fn remember(&mut self, others: Self) {
        if self.kinds.iter().map(HashMap::len).sum::<usize>() > REMEMBERED {
            *self = Self::default();
        }
        for (names, others) in self.kinds.iter_mut().zip(others.kinds) {
            names.extend(others);
        }
    }
}

/// Numbers for one transaction: as they are remembered, else from the store, else new.
pub(super) struct Keys<'a> {
    remembered: &'a Known,
    /// What was looked up or made; it is remembered only once the transaction is committed.
    new: Known,
    /// By address; the name is held, so that the address stays its own.
    places: FastMap<(Kind, usize), (Arc<str>, i64)>,
}

impl<'a> Keys<'a> {
    /// Keys with nothing to say yet but what is `remembered`.
    pub(super) fn new(remembered: &'a Known) -> Self {
        Self {
            remembered,
            new: Known::default(),
            places: FastMap::default(),
        }
    }

    /// The number of a name that others share.
    pub(super) fn number(
        &mut self,
        store: &Connection,
        kind: Kind,
        name: &Arc<str>,
    ) -> Result<i64, CollectorError> {
        let place = (kind, name.as_ptr().addr());
        if let Some((_, number)) = self.places.get(&place) {
            return Ok(*number);
        }
        let number = self.number_of(store, kind, name)?;
        if self.places.len() >= HELD {
            self.places.clear();
        }
        self.places.insert(place, (Arc::clone(name), number));
        Ok(number)
    }

    /// The number of a name, 0 for none.
    pub(super) fn number_or_none(
        &mut self,
        store: &Connection,
        kind: Kind,
        name: Option<&Arc<str>>,
    ) -> Result<i64, CollectorError> {
        name.map_or(Ok(0), |name| self.number(store, kind, name))
    }

    /// The number of a name by its text alone.
    pub(super) fn number_of(
        &mut self,
        store: &Connection,
        kind: Kind,
        name: &str,
    ) -> Result<i64, CollectorError> {
        let known = self.remembered.get(kind, name);
        if let Some(number) = known.or_else(|| self.new.get(kind, name)) {
            return Ok(number);
        }
        let stored = store
            .prepare_cached("SELECT id FROM keys WHERE kind = ?1 AND text = ?2")?
            .query_row(params![kind as u8, name], |row| row.get(0))
            .optional()?;
        let number = match stored {
            Some(number) => number,
            None => store
                .prepare_cached("INSERT INTO keys(kind, text) VALUES (?1, ?2)")?
                .insert(params![kind as u8, name])?,
        };
        self.new.add(kind, name.into(), number);
        Ok(number)
    }

    /// What is to be remembered once it is committed.
    pub(super) fn into_new(self) -> Known {
        self.new
    }
}

/// Names without numbers, each with its place among the others, from 1. A name is known by its address alone: it
/// may have several places.
#[derive(Default)]
pub(super) struct Unnumbered {
    places: FastMap<(Kind, usize), i64>,
    /// They are held, so that the addresses stay theirs.
    names: Vec<(Kind, Arc<str>)>,
}

impl Unnumbered {
    /// The place of a name.
    pub(super) fn place(&mut self, kind: Kind, name: &Arc<str>) -> i64 {
        let names = &mut self.names;
        *self
            .places
            .entry((kind, name.as_ptr().addr()))
            .or_insert_with(|| {
                names.push((kind, Arc::clone(name)));
                i64::try_from(names.len()).unwrap_or(i64::MAX)
            })
    }

    /// The place of a name, 0 for none.
    pub(super) fn place_or_none(&mut self, kind: Kind, name: Option<&Arc<str>>) -> i64 {
        name.map_or(0, |name| self.place(kind, name))
    }

    /// The numbers of all of them, in the order of their places.
    pub(super) fn numbers(
        &self,
        store: &Connection,
        keys: &mut Keys<'_>,
    ) -> Result<Vec<i64>, CollectorError> {
        let names = self.names.iter();
        names
            .map(|(kind, name)| keys.number_of(store, *kind, name))
            .collect()
    }
}

/// The number of the name at a place, 0 for none.
pub(super) fn number_at(numbers: &[i64], place: i64) -> i64 {
    let at = usize::try_from(place)
        .ok()
        .and_then(|place| place.checked_sub(1));
    at.and_then(|at| numbers.get(at))
        .copied()
        .unwrap_or_default()
}
