//! An expression that was checked: every name has a meaning, every regular expression is compiled.

use regex::bytes::Regex;

/// A field of `request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestField {
    Verb,
    Group,
    Version,
    Resource,
    Subresource,
    Namespace,
    Name,
    DryRun,
}

impl RequestField {
    pub(crate) const ALL: [(&'static str, Self); 8] = [
        ("verb", Self::Verb),
        ("group", Self::Group),
        ("version", Self::Version),
        ("resource", Self::Resource),
        ("subresource", Self::Subresource),
        ("namespace", Self::Namespace),
        ("name", Self::Name),
        ("dryRun", Self::DryRun),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

/// A function of a text and another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Debug)]
pub(crate) enum Expression {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(String),
    List(Vec<Expression>),
    Request(RequestField),
    Object,
    /// A variable of a loop around it, by its place.
    Slot(usize),
    Select(Box<Expression>, String),
    /// `has(of.field)`.
    Has(Box<Expression>, String),
    Index(Box<[Expression; 2]>),
    Not(Box<Expression>),
    Negate(Box<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    /// Condition, then, else.
    Choice(Box<[Expression; 3]>),
    Binary(Operator, Box<[Expression; 2]>),
    Size(Box<Expression>),
    Test(TextTest, Box<[Expression; 2]>),
    Matches(Box<Expression>, Regex),
    Loop(Box<Loop>),
    /// The list at a place with one more item.
    Append(usize, Box<Expression>),
    /// Whether it is true, or fails.
    NotFalse(Box<Expression>),
}

/// What `all`, `exists`, `exists_one`, `map` and `filter` are made of. What is gathered is at the first
/// place after those of the loops around it, the item at the next.
#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) range: Expression,
    pub(crate) start: Expression,
    pub(crate) goes_on: Expression,
    pub(crate) step: Expression,
    pub(crate) result: Expression,
}

impl Expression {
    /// Adds the places of the object that it reads.
    pub(crate) fn reads(&self, places: &mut Vec<Vec<String>>) {
        if let Some(place) = self.place() {
            places.push(place);
            return;
        }
        match self {
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::UInt(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Request(_)
            | Self::Object
            | Self::Slot(_) => {}
            Self::List(all) | Self::And(all) | Self::Or(all) => {
                all.iter().for_each(|one| one.reads(places));
            }
            Self::Select(of, _)
            | Self::Has(of, _)
            | Self::Not(of)
            | Self::Negate(of)
            | Self::Size(of)
            | Self::Matches(of, _)
            | Self::Append(_, of)
            | Self::NotFalse(of) => of.reads(places),
            Self::Index(two) | Self::Binary(_, two) | Self::Test(_, two) => {
                two.iter().for_each(|one| one.reads(places));
            }
            Self::Choice(three) => three.iter().for_each(|one| one.reads(places)),
            Self::Loop(parts) => {
                let Loop {
                    range,
                    start,
                    goes_on,
                    step,
                    result,
                } = &**parts;
                [range, start, goes_on, step, result]
                    .into_iter()
                    .for_each(|one| one.reads(places));
            }
        }
    }

    /// The place of the object that it is.
    fn place(&self) -> Option<Vec<String>> {
        let (of, name) = match self {
            Self::Object => return Some(Vec::new()),
            Self::Select(of, name) | Self::Has(of, name) => (&**of, name),
            Self::Index(two) => match &**two {
                [of, Self::Text(name)] => (of, name),
                _ => return None,
            },
            _ => return None,
        };
        let mut place = of.place()?;
        place.push(name.clone());
        Some(place)
    }
}
