//! What a condition is about: a request, and the object that it carries, with what is not known of it.

use std::collections::BTreeMap;
use std::fmt;

/// A request, as `request` has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The verb; for a path that is no resource, the method in lower case.
    pub verb: &'a str,
    /// The API group; empty for the core group, and where it is no resource.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
    /// The resource.
    pub resource: &'a str,
    /// The subresource; empty where there is none.
    pub subresource: &'a str,
    /// The namespace; none where the request leaves it open, which makes `request.namespace` unknown.
    pub namespace: Option<&'a str>,
    /// The name of the object; none where the request leaves it open, likewise.
    pub name: Option<&'a str>,
    /// Whether nothing is to be stored.
    pub dry_run: bool,
}

/// The object that a request carries.
#[derive(Clone, Copy, Debug, Default)]
pub enum Object<'a> {
    /// None: `object` is null.
    #[default]
    Absent,
    /// One that cannot be read: nothing is known of it.
    Unread,
    /// None of the kind that the condition speaks of, and none that changes one: what it says of `object` is not
    /// about the request.
    Another,
    /// A whole object.
    Whole {
        /// The object.
        value: &'a serde_json::Value,
        /// What of it is not known.
        holes: Option<&'a Holes>,
    },
    /// A patch of an object that is there, of which nothing else is known.
    Changes {
        /// The fields that get a value, where the patch says them as an object does.
        value: Option<&'a serde_json::Value>,
        /// What of them is not known.
        holes: &'a Holes,
        /// It is all that its manager says of the object: fields that it no longer names may go.
        applied: bool,
        /// Which fields it changes.
        touches: &'a dyn Touches,
    },
}

/// Which fields a patch changes.
pub trait Touches: fmt::Debug + Send + Sync {
    /// Whether it may change the field at this path of names, something above it or a part of it. The empty
    /// path is the object as a whole.
    fn touches(&self, path: &[String]) -> bool;
}

/// What is not known at a place of an object and below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holes {
    /// It is part of a patch: what it does not name stays as it is, null takes away.
    Patch {
        /// Items of lists are patches, too, and join those that are there.
        lists: bool,
    },
    /// Some places are not known.
    Some(Places),
}

/// Places that are not known, at a place and below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    here: bool,
    members: BTreeMap<String, Holes>,
    items: Option<Box<Holes>>,
}

impl Default for Holes {
    fn default() -> Self {
        Self::Some(Places::default())
    }
}

impl Holes {
    /// Adds a place that is not known, by its path of members and, for none, all items of a list.
    pub fn add<'s>(&mut self, path: impl IntoIterator<Item = Option<&'s str>>) {
        let mut at = self;
        for step in path {
            let Holes::Some(places) = at else { return };
            at = match step {
                Some(name) => places.members.entry(name.to_owned()).or_default(),
                None => &mut **places.items.get_or_insert_default(),
            };
        }
        if let Holes::Some(places) = at {
            places.here = true;
        }
    }

    /// Whether something that is not there may be there all the same.
    pub(crate) fn is_open(&self, list: bool) -> bool {
        match self {
            Holes::Patch { lists } => !list || *lists,
            Holes::Some(places) => places.here,
        }
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Holes> {
        match self {
            Holes::Patch { .. } => Some(self),
            Holes::Some(places) => places.members.get(name),
        }
    }

    pub(crate) fn items(&self) -> Option<&Holes> {
        match self {
            Holes::Patch { lists } => lists.then_some(self),
            Holes::Some(places) => places.items.as_deref(),
        }
    }

    pub(crate) fn is_patch(&self) -> bool {
        matches!(self, Holes::Patch { .. })
    }
}
