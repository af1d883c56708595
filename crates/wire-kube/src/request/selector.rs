//! Field selectors, as `ParseSelector` in `k8s.io/apimachinery/pkg/fields` reads them, and the keys of label
//! selectors, as `Parse` in `k8s.io/apimachinery/pkg/labels` does.

use super::Refused;

/// A comparison of a field with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field, `metadata.name`.
    pub field: String,
    /// How they are compared.
    pub relation: Relation,
    /// The value.
    pub value: String,
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// `=` or `==`.
    Equals,
    /// `!=`.
    NotEquals,
}

/// The terms of a selector, all of which have to hold.
pub(super) fn terms(selector: &str) -> Result<Vec<FieldTerm>, Refused> {
    split(selector)
        .into_iter()
        .filter(|term| !term.is_empty())
        .map(|text| term(text).ok_or(Refused::Selector))
        .collect()
}

/// The labels that a label selector looks at.
pub(super) fn label_keys(selector: &str) -> Vec<String> {
    let (mut keys, mut rest) = (Vec::new(), selector);
    while !rest.is_empty() {
        let requirement =
            rest.trim_start_matches(|c: char| c == '!' || c == ',' || c.is_whitespace());
        let special =
            |c: char| c.is_whitespace() || matches!(c, '!' | '=' | '<' | '>' | '(' | ')' | ',');
        let (key, after) =
            requirement.split_at(requirement.find(special).unwrap_or(requirement.len()));
        if !key.is_empty() {
            keys.push(key.to_owned());
        }
        // Values stand in brackets, which hold no other.
        let comma = after.find([',', '(']);
        let end = comma.and_then(|at| match after.get(at..)?.starts_with('(') {
            true => after.get(at..)?.find(')').map(|close| at + close + 1),
            false => Some(at),
        });
        rest = after.get(end.unwrap_or(after.len())..).unwrap_or_default();
    }
    keys
}

/// Cuts at commas that no backslash is in front of.
fn split(selector: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in selector.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.extend(selector.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.extend(selector.get(start..));
    terms
}

fn term(text: &str) -> Option<FieldTerm> {
    // The operator that comes first; where two begin at one place, the longer.
    let at = text
        .char_indices()
        .find(|(at, c)| *c == '=' || text.get(*at..).is_some_and(|t| t.starts_with("!=")))?
        .0;
    let (field, rest) = text.split_at_checked(at)?;
    let (relation, value) = if let Some(value) = rest.strip_prefix("!=") {
        (Relation::NotEquals, value)
    } else if let Some(value) = rest.strip_prefix("==") {
        (Relation::Equals, value)
    } else {
        (Relation::Equals, rest.strip_prefix('=')?)
    };
    Some(FieldTerm {
        field: field.to_owned(),
        relation,
        value: unescape(value)?,
    })
}

/// A value with its backslashes undone; None where one stands before anything but `\`, `,` and `=`, or an
/// equals sign without one.
fn unescape(value: &str) -> Option<String> {
    let (mut plain, mut chars) = (String::with_capacity(value.len()), value.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            '=' | ',' => return None,
            c => plain.push(c),
        }
    }
    Some(plain)
}
