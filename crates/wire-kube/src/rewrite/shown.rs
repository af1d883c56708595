//! What a caller is shown of an answer, and what it decides.

use super::Part;

/// A string and its place.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The string itself, decoded.
    pub value: &'a str,
    /// The nearest member's name.
    pub key: Option<&'a str>,
    /// The string that stood before as `name` or `key` beside that member, as in environment variables.
    pub name: Option<&'a str>,
    /// Where the nearest member is `value` or the like, whose value it is: the `name` beside it, or the name of what
    /// it stands in.
    pub whose: Option<&'a str>,
    /// The string that is the item before in the same list, as in a command's words.
    pub before: Option<&'a str>,
    /// The first field pattern that covers the place, by index.
    pub field: Option<usize>,
    /// The name of the column, of a Table's cell, where it is known.
    pub cell: Option<&'a str>,
    /// Which part of the answer it stands in.
    pub part: Part,
}

/// Decides about what goes by.
pub trait Values {
    /// Whether `out`, which is empty and is written as plain text, takes the string's place.
    fn replace(&mut self, text: &Text<'_>, out: &mut String) -> bool;

    /// Whether null takes the place of a number or bool that pattern `field` covers.
    fn number(&mut self, field: usize) -> bool {
        let _ = field;
        true
    }

    /// Whether null takes the place of a number or bool in a Table's cell; its column, where it is known.
    fn cell(&mut self, column: Option<&str>) -> bool {
        let _ = column;
        false
    }

    /// Whether null takes the place of a number anywhere else; the nearest member's name, and whose value it is.
    fn bare(&mut self, key: Option<&str>, whose: Option<&str>, number: &[u8]) -> bool {
        let _ = (key, whose, number);
        false
    }

    /// Whether the text of a name in `managedFields` may be hidden, as [`Values::hides`] says.
    fn reads_names(&self) -> bool {
        false
    }

    /// Whether a text is hidden that stands in the name of a member of `managedFields`, as an item of a set or a
    /// key of a list: the member is dropped.
    fn hides(&mut self, text: &Text<'_>) -> bool {
        let _ = text;
        false
    }

    /// Whether a name says that the value beside it is to be hidden, where that came before it.
    fn names_hidden(&mut self, name: &str) -> bool {
        let _ = name;
        false
    }

    /// Whether `out` takes a string's place, of which `name` says what it is: it was shown to [`Values::replace`]
    /// before that name was known.
    fn late(&mut self, name: &str, value: &str, part: Part, out: &mut String) -> bool {
        let _ = (name, value, part, out);
        false
    }

    /// The list goes on: the token that asks for its next page.
    fn list_continues(&mut self, token: &str) {
        let _ = token;
    }
}
