//! Where a value stands in an answer of the API server: which object it belongs to, and in which part.

/// The annotation in which `kubectl apply` keeps what was applied, as JSON.
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotations in which others keep a copy of what was applied, by the end of their names. Some pack it.
const COPIES: [&str; 4] = [
    "/applied",
    "/last-applied",
    "/last-handled-configuration",
    "/original",
];

/// The shortest value whose copies are looked for in other words.
pub const SHORTEST_COPY: usize = 8;

/// Whether an annotation of this name is a copy of what was applied.
pub(crate) fn is_copy(name: &str) -> bool {
    COPIES.iter().any(|copy| name.ends_with(copy))
}

/// What is known of a place by the names on the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Place {
    /// Anywhere in an object.
    #[default]
    Body,
    /// The answer itself: an object, a list, a Table or a watch event.
    Document,
    /// The object of a watch event, which may be a Table or a list again.
    Event,
    /// The list of a list's objects.
    Items,
    /// An object in a list or in a row.
    Object,
    /// The rows of a Table.
    Rows,
    Row,
    /// The cells of a row.
    Cells,
    Cell,
    /// Something within a cell.
    InCell,
    /// The columns of a Table.
    Columns,
    Column,
    /// What a column is called.
    ColumnName,
    /// `metadata` of a list or of an object.
    Metadata,
    /// Where a list goes on.
    Continue,
    Annotations,
    Annotation,
    /// `metadata.labels`, and what is in it.
    Labels,
    /// The value of [`LAST_APPLIED`], wherever it stands.
    LastApplied,
    ManagedFields,
    Manager,
    /// Paths of the fields that a manager owns.
    Owned,
    /// `kind` of the answer.
    Kind,
    /// `type` of a watch event.
    EventType,
    /// What names an object: kind, API version and metadata without annotations and labels.
    Identity,
}

impl Place {
    /// The place of a member.
    pub(super) fn member(self, name: &str) -> Place {
        match (self, name) {
            (Place::Document | Place::Event, "items") => Place::Items,
            (Place::Document | Place::Event, "rows") => Place::Rows,
            (Place::Document | Place::Event, "columnDefinitions") => Place::Columns,
            (Place::Document, "object") => Place::Event,
            (Place::Document, "kind") => Place::Kind,
            (Place::Document, "type") => Place::EventType,
            (Place::Document | Place::Event | Place::Object, "metadata") => Place::Metadata,
            (Place::Document | Place::Event | Place::Object, "kind" | "apiVersion") => {
                Place::Identity
            }
            (Place::Cell | Place::InCell, _) => Place::InCell,
            (Place::Row, "object") => Place::Object,
            (Place::Row, "cells") => Place::Cells,
            (Place::Column, "name") => Place::ColumnName,
            (Place::Metadata, "annotations") => Place::Annotations,
            (Place::Metadata, "labels") => Place::Labels,
            (Place::Metadata, "managedFields") => Place::ManagedFields,
            (Place::Metadata, "continue") => Place::Continue,
            (Place::Manager, "fieldsV1") | (Place::Owned, _) => Place::Owned,
            (_, LAST_APPLIED) => Place::LastApplied,
            (Place::Annotations | Place::Annotation, _) => Place::Annotation,
            (Place::Labels, _) => Place::Labels,
            (Place::Metadata | Place::Manager | Place::Identity, _) => Place::Identity,
            _ => Place::Body,
        }
    }

    /// The place of an item of a list.
    pub(super) fn item(self) -> Place {
        match self {
            Place::Document | Place::Items => Place::Object,
            Place::Rows => Place::Row,
            Place::Cells => Place::Cell,
            Place::Cell | Place::InCell => Place::InCell,
            Place::Columns => Place::Column,
            Place::ManagedFields => Place::Manager,
            Place::Annotation | Place::Annotations => Place::Annotation,
            Place::Labels => Place::Labels,
            Place::Metadata | Place::Identity | Place::Manager => Place::Identity,
            Place::Owned => Place::Owned,
            _ => Place::Body,
        }
    }

    /// Whether the fields of an object begin here.
    #[inline]
    pub(super) fn is_root(self) -> bool {
        matches!(self, Place::Document | Place::Event | Place::Object)
    }

    /// The part that a caller is told.
    #[inline]
    pub(super) fn part(self) -> Part {
        match self {
            Place::Annotations | Place::Annotation | Place::LastApplied => Part::Annotation,
            Place::Labels => Part::Label,
            Place::Cells | Place::Cell | Place::InCell => Part::Cell,
            Place::Metadata
            | Place::Continue
            | Place::ManagedFields
            | Place::Manager
            | Place::Owned
            | Place::Kind
            | Place::EventType
            | Place::Columns
            | Place::Column
            | Place::ColumnName
            | Place::Identity => Part::Identity,
            Place::Body
            | Place::Document
            | Place::Event
            | Place::Items
            | Place::Object
            | Place::Rows
            | Place::Row => Part::Body,
        }
    }
}

/// Which part of an answer a text belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// What names an object and says how it is stored: kind, API version, metadata; and the frame of
    /// lists, Tables and watch events. Clients send it back, and expect it as it was.
    Identity,
    /// An annotation.
    Annotation,
    /// A label of the object.
    Label,
    /// A cell of a Table.
    Cell,
    /// Anything else.
    Body,
}
