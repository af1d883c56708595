//! Values while an expression is evaluated, and what is asked of two of them.

use std::cmp::Ordering;
use std::rc::Rc;

use serde_json::Value as Json;

use crate::object::Holes;

/// A value. Texts, lists and objects of the request are not copied.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(&'a str),
    /// A text that was put together.
    Made(Rc<str>),
    /// A list that was put together.
    List(Rc<Vec<Value<'a>>>),
    /// A list or an object of the request, and what of it is not known.
    Node(&'a Json, Option<&'a Holes>),
}

impl<'a> Value<'a> {
    pub(crate) fn of(json: &'a Json, holes: Option<&'a Holes>) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => number
                .as_i64()
                .map(Self::Int)
                .or_else(|| number.as_u64().map(Self::UInt))
                .or_else(|| number.as_f64().map(Self::Double))
                .unwrap_or(Self::Null),
            Json::String(text) => Self::Text(text),
            Json::Array(_) | Json::Object(_) => Self::Node(json, holes),
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Made(text) => Some(text),
            _ => None,
        }
    }

    /// How two numbers, texts or truth values are ordered; none for what has no order.
    pub(crate) fn order(&self, other: &Self) -> Option<Ordering> {
        if let (Some(left), Some(right)) = (self.text(), other.text()) {
            return Some(left.cmp(right));
        }
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => Some(left.cmp(right)),
            _ => self.number()?.order(other.number()?),
        }
    }

    pub(crate) fn is_number(&self) -> bool {
        self.number().is_some()
    }

    fn number(&self) -> Option<Number> {
        match *self {
            Self::Int(value) => Some(Number::Whole(value.into())),
            Self::UInt(value) => Some(Number::Whole(value.into())),
            Self::Double(value) => Some(Number::Double(value)),
            _ => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Number {
    Whole(i128),
    Double(f64),
}

impl Number {
    fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => Some(left.cmp(&right)),
            (Self::Double(left), Self::Double(right)) => left.partial_cmp(&right),
            (Self::Whole(left), Self::Double(right)) => whole_and_double(left, right),
            (Self::Double(left), Self::Whole(right)) => {
                whole_and_double(right, left).map(Ordering::reverse)
            }
        }
    }
}

/// Exact, however large they are: 2^63 + 1 is not 2^63, although it is as a double.
fn whole_and_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // The cast saturates, far beyond every whole number that there is here.
    let floor = double.floor() as i128;
    Some(whole.cmp(&floor).then_with(|| {
        if double > double.floor() {
            Ordering::Less
        } else {
            Ordering::Equal
        }
    }))
}
