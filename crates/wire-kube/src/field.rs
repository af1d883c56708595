//! Fields of objects, as policies name them: `data.*`, `spec.containers[*].env[*].value`,
//! `metadata.annotations["example.com/key"]`, `status.**`.
//!
//! `*` within a member's name stands for any text, `[*]` for the items of a list, `**` for any number of
//! members and items. A field that is named includes what lies below it.

use std::fmt;

/// Most members and lists that a pattern names.
const MAX_PARTS: usize = 32;

/// A place on the way from an object to one of its fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A member of an object, by name.
    Member(Box<str>),
    /// An item of a list.
    Item,
}

/// Names fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPattern {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// A member whose name matches.
    Member(Box<str>),
    /// An item of a list.
    Item,
    /// Any number of members and items.
    Any,
}

impl fmt::Display for FieldPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FieldPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (part, after) = if let Some(after) = rest.strip_prefix("[*]") {
                (Part::Item, after)
            } else if let Some(quoted) = rest.strip_prefix("[\"") {
                let (name, after) = quoted
                    .split_once("\"]")
                    .ok_or_else(|| format!("`{text}` has a `[\"` without its `\"]`"))?;
                (Part::Member(name.into()), after)
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                let part = match name {
                    "" => return Err(format!("`{text}` has a member without a name")),
                    "**" => Part::Any,
                    name if name.contains("**") => {
                        return Err(format!("`**` stands alone, which it does not in `{text}`"));
                    }
                    name => Part::Member(name.into()),
                };
                (part, after)
            };
            parts.push(part);
            rest = match after.strip_prefix('.') {
                Some("") => return Err(format!("`{text}` ends with a dot")),
                Some(rest) => rest,
                None if after.is_empty() || after.starts_with('[') => after,
                None => return Err(format!("`{text}` lacks a dot before `{after}`")),
            };
        }
        match parts.len() {
            0 => Err("a field has a name".to_owned()),
            n if n > MAX_PARTS => Err(format!("`{text}` has more than {MAX_PARTS} parts")),
            _ => Ok(Self {
                text: text.into(),
                parts,
            }),
        }
    }

    /// The names of members that it is made of, as they are written.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Member(name) => Some(&**name),
            Part::Item | Part::Any => None,
        })
    }

    /// Whether a place is the field, or lies below it.
    #[must_use]
    pub fn covers(&self, path: &[Segment]) -> bool {
        self.reached(self.follow(path))
    }

    /// Whether the field, or a part of it, may lie below a place.
    #[must_use]
    pub fn is_below(&self, path: &[Segment]) -> bool {
        self.open(self.follow(path))
    }

    fn follow(&self, path: &[Segment]) -> Progress {
        path.iter().fold(self.begin(), |progress, segment| {
            let name = match segment {
                Segment::Member(name) => Some(&**name),
                Segment::Item => None,
            };
            self.step(progress, name)
        })
    }

    /// The progress at the object itself.
    pub(crate) fn begin(&self) -> Progress {
        self.close(1)
    }

    /// The progress one member (by name) or one item further down.
    pub(crate) fn step(&self, progress: Progress, member: Option<&str>) -> Progress {
        let end = 1 << self.parts.len();
        let mut next = progress & end;
        let mut rest = progress & !end;
        while rest != 0 {
            let at = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            match (self.parts.get(at), member) {
                (Some(Part::Any), _) => next |= 1 << at,
                (Some(Part::Item), None) => next |= 2 << at,
                // What clients write as text into `stringData` is read from `data`.
                (Some(Part::Member(glob)), Some(name))
                    if matches(glob, name)
                        || at == 0 && **glob == *"data" && name == "stringData" =>
                {
                    next |= 2 << at;
                }
                _ => {}
            }
        }
        self.close(next)
    }

    /// Whether the place is the field, or lies below it.
    pub(crate) fn reached(&self, progress: Progress) -> bool {
        progress & (1 << self.parts.len()) != 0
    }

    /// Whether the field may lie below the place.
    pub(crate) fn open(&self, progress: Progress) -> bool {
        progress & !(1 << self.parts.len()) != 0
    }

    /// Any number of members and items is none as well.
    fn close(&self, mut progress: Progress) -> Progress {
        for (at, part) in self.parts.iter().enumerate() {
            if *part == Part::Any && progress & (1 << at) != 0 {
                progress |= 2 << at;
            }
        }
        progress
    }
}

/// How far along a pattern a place may be: bit `n` where the first `n` parts are used up.
pub(crate) type Progress = u64;

/// Whether a name matches, where `*` stands for any text.
fn matches(glob: &str, name: &str) -> bool {
    let mut pieces = glob.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<Segment> {
        let parts = text.split('.').filter(|part| !part.is_empty());
        parts
            .map(|part| match part {
                "[]" => Segment::Item,
                name => Segment::Member(name.into()),
            })
            .collect()
    }

    #[test]
    fn a_field_includes_what_lies_below_it() {
        for (pattern, at, covers, below) in [
            ("data.*", "data.password", true, false),
            ("data.*", "data", false, true),
            ("data.*", "", false, true),
            ("data.*", "metadata.name", false, false),
            ("data", "data.a.b", true, false),
            (
                "spec.c[*].env[*].value",
                "spec.c.[].env.[].value",
                true,
                false,
            ),
            (
                "spec.c[*].env[*].value",
                "spec.c.[].env.[].name",
                false,
                false,
            ),
            ("spec.c[*].env[*].value", "spec.c.[]", false, true),
            ("status.**", "status", true, true),
            ("status.**", "status.x.[].y", true, true),
            ("**.value", "a.b.[].value", true, true),
            ("**.value", "a.b", false, true),
            ("spec.db*word", "spec.dbpassword", true, false),
            ("spec.db*word", "spec.dbwords", false, false),
            (
                "metadata.annotations[\"a.b/c\"]",
                "metadata.annotations",
                false,
                true,
            ),
            ("data.*", "stringData.password", true, false),
            ("spec.data.*", "spec.stringData.password", false, false),
        ] {
            let pattern = FieldPattern::parse(pattern).unwrap();
            assert_eq!(pattern.covers(&path(at)), covers, "{pattern} {at}");
            assert_eq!(pattern.is_below(&path(at)), below, "{pattern} {at}");
        }
        let dotted = FieldPattern::parse("metadata.annotations[\"a.b/c\"].x").unwrap();
        let mut at = path("metadata.annotations");
        at.push(Segment::Member("a.b/c".into()));
        at.push(Segment::Member("x".into()));
        assert!(dotted.covers(&at));
    }

    #[test]
    fn many_wildcards_cost_no_more_than_their_number() {
        let pattern = FieldPattern::parse(&format!("{}x", "**.".repeat(31))).unwrap();
        assert!(!pattern.covers(&vec![Segment::Item; 100_000]));
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a[0]",
            "a[\"b",
            "a[*]b",
            "a**",
            &"a.".repeat(33),
        ] {
            assert!(FieldPattern::parse(text).is_err(), "{text}");
        }
    }
}
