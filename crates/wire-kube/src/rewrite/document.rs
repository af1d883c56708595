//! What a document of an answer turns out to be: an object, a list of them, a watch event.

use super::place::Place;

/// How much of a document is kept back until it is known what it is.
const MAX_WAITING: usize = 4096;

/// What is known of the document so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Document {
    shape: Shape,
    kind: Kind,
    event: EventType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shape {
    #[default]
    Undecided,
    /// Named like a list, and neither items nor anything else seen yet.
    Named,
    List,
    Object,
    Event,
    /// A bookmark, an error, a Status.
    NoObject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Other,
    List,
    Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum EventType {
    #[default]
    None,
    Object,
    NoObject,
}

impl Document {
    /// A member of the document comes. Whether an object begins with it.
    pub(super) fn member(&mut self, place: Place, waiting: usize) -> bool {
        if !matches!(self.shape, Shape::Undecided | Shape::Named) {
            return false;
        }
        self.shape = match place {
            Place::Kind | Place::Identity | Place::EventType if waiting <= MAX_WAITING => {
                return false;
            }
            Place::Items | Place::Rows | Place::Columns => Shape::List,
            Place::Event if self.event == EventType::Object => Shape::Event,
            Place::Event if self.event == EventType::NoObject => Shape::NoObject,
            _ if self.kind == Kind::Status => Shape::NoObject,
            Place::Metadata if self.kind == Kind::List => Shape::Named,
            _ => Shape::Object,
        };
        matches!(self.shape, Shape::Object | Shape::Event)
    }

    /// The document's kind.
    pub(super) fn kind(&mut self, kind: &str) {
        self.kind = match kind {
            "Status" => Kind::Status,
            "Table" => Kind::List,
            kind if kind.ends_with("List") => Kind::List,
            _ => Kind::Other,
        };
    }

    /// The type of a watch event.
    pub(super) fn event_type(&mut self, event: &str) {
        self.event = match event {
            "BOOKMARK" | "ERROR" => EventType::NoObject,
            _ => EventType::Object,
        };
    }

    pub(super) fn is_decided(&self) -> bool {
        self.shape != Shape::Undecided
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self.shape, Shape::Object | Shape::Event)
    }

    /// Whether items and rows at its top are objects of their own.
    pub(super) fn counts_items(&self) -> bool {
        !matches!(self.shape, Shape::Event | Shape::NoObject)
    }
}
