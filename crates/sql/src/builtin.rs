//! What is known of functions by name.

/// A group of functions that policies name as `class:NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FunctionClass {
    /// Known to depend on its arguments alone (and clocks, randomness, session facts).
    Pure,
    /// Runs SQL given as text or reads relations given by name.
    ExecutesSql,
    /// Reads or writes files of the server.
    ReadsFiles,
    /// Reads or writes large objects.
    LargeObject,
    /// Reaches other servers.
    Network,
    /// Reads pages, WAL or replication streams.
    Wal,
    /// Acts on the server or on other sessions.
    Admin,
    /// Changes settings.
    Settings,
    /// Sends notifications.
    Notify,
    /// Reads or moves sequences.
    Sequence,
    /// Returns definitions from the catalog.
    CatalogText,
}

/// The class of a function by its unqualified name, `None` where it is not known.
pub fn class(_name: &str) -> Option<FunctionClass> {
    None
}
