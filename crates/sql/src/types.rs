//! Types of the server's whose values have no length or padding of their own, or keep what they have in a cast to
//! their type, by their names in the catalog.

/// Documents: what they say may be `null` without being null.
pub(crate) const DOCUMENTS: &[&str] = &["json", "jsonb"];
/// To which a document is cast by its meaning.
pub(crate) const NUMBERS: &[&str] = &[
    "bool", "float4", "float8", "int2", "int4", "int8", "numeric",
];
/// All others: no documents, and of which a cast to a number is never null.
pub(crate) const OTHERS: &[&str] = &[
    "bytea",
    "date",
    "inet",
    "text",
    "timestamp",
    "timestamptz",
    "uuid",
    "varchar",
];

/// The type of this name, if it is one of them.
pub fn own_type(name: &str) -> Option<&'static str> {
    let mut all = [DOCUMENTS, NUMBERS, OTHERS].into_iter().flatten().copied();
    all.find(|own| *own == name)
}
