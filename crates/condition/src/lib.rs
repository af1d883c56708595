//! Conditions of rules: expressions of the Common Expression Language (<https://cel.dev>) over a request to
//! the Kubernetes API and the object that it carries.
//!
//! Invariants: an expression is checked when it is read, and no larger than [`MAX_TEXT`], [`MAX_NODES`] and
//! [`MAX_DEPTH`]; evaluating it takes at most [`MAX_STEPS`] steps and memory in proportion to them, whatever
//! the object holds. What fails, takes longer or is not known is neither true nor false: a rule that
//! restricts counts it as true, a rule that allows as false.
//!
//! Refuses: variables other than `request` and `object`, functions that are not in the list, regular
//! expressions that are not literals, clocks and every other source of what is not in the request.

mod compile;
mod evaluate;
mod expression;
mod object;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use evaluate::{Evaluation, Unknown, View};
use expression::Expression;
use value::Value;

pub use object::{Holes, Object, Request, Touches};

/// The longest expression, in bytes.
pub const MAX_TEXT: usize = 4096;
/// The most operators, names and literals of one.
pub const MAX_NODES: usize = 1000;
/// How deep they may be nested.
pub const MAX_DEPTH: usize = 32;
/// How deep `all`, `exists` and the like may be nested.
pub const MAX_LOOPS: usize = 2;
/// The most steps that one evaluation takes: a part of the expression, an item of a list that is looked at,
/// 16 bytes of a text.
pub const MAX_STEPS: u32 = 100_000;

/// An expression that was read and checked. Cheap to clone; two are equal if their texts are.
#[derive(Clone)]
pub struct Condition(Arc<Inner>);

struct Inner {
    text: String,
    expression: Expression,
    /// The places of the object that it reads.
    reads: Vec<Vec<String>>,
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Wrong {
    /// What is wrong with it.
    pub message: String,
    /// Where, counted in characters from 1, as far as that is known.
    pub column: Option<usize>,
}

impl Condition {
    /// Reads and checks an expression.
    ///
    /// # Errors
    /// It is too large, not CEL, or names what there is not.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let expression = compile::read(text)?;
        let mut reads = Vec::new();
        expression.reads(&mut reads);
        Ok(Self(Arc::new(Inner {
            text: text.to_owned(),
            expression,
            reads,
        })))
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether it reads the object of the request.
    pub fn reads_object(&self) -> bool {
        !self.0.reads.is_empty()
    }

    /// Whether a rule that restricts is about the request: unless the condition is known not to hold, also
    /// after what the request changes.
    pub fn restricts(&self, request: &Request<'_>, object: &Object<'_>) -> bool {
        match *object {
            Object::Absent => self.may_hold(request, View::Absent),
            Object::Unread => self.may_hold(request, View::Unknown),
            Object::Another => match self.evaluate(request, View::Absent) {
                Ok(Value::Bool(false)) => false,
                Ok(_) => true,
                Err(_) => self.holds_already(request),
            },
            Object::Whole { value, holes } => self.may_hold(request, View::Known(value, holes)),
            Object::Changes {
                value,
                holes,
                applied,
                touches,
            } => {
                // What is applied takes away what it no longer names.
                let applied = value.filter(|_| applied);
                if applied.is_some_and(|value| self.may_hold(request, View::Known(value, None))) {
                    return true;
                }
                if self.0.reads.iter().any(|path| touches.touches(path)) {
                    let view = value.map_or(View::Unknown, |value| View::Known(value, Some(holes)));
                    return self.may_hold(request, view);
                }
                self.holds_already(request)
            }
        }
    }

    /// Nothing that it reads changes: whatever it says of the object, it said before. Whether it may hold by what
    /// it says of the request.
    fn holds_already(&self, request: &Request<'_>) -> bool {
        match self.evaluate(request, View::Unknown) {
            Ok(Value::Bool(false)) | Err(Unknown::Object) => false,
            Ok(_) | Err(Unknown::Failed) => true,
        }
    }

    /// Whether a rule that allows is about the request: only if the condition is known to hold.
    pub fn allows(&self, request: &Request<'_>, object: &Object<'_>) -> bool {
        let view = match *object {
            Object::Absent => View::Absent,
            Object::Unread | Object::Another | Object::Changes { value: None, .. } => View::Unknown,
            Object::Whole { value, holes } => View::Known(value, holes),
            Object::Changes {
                value: Some(value),
                holes,
                ..
            } => View::Known(value, Some(holes)),
        };
        matches!(self.evaluate(request, view), Ok(Value::Bool(true)))
    }

    fn may_hold(&self, request: &Request<'_>, view: View<'_>) -> bool {
        !matches!(self.evaluate(request, view), Ok(Value::Bool(false)))
    }

    fn evaluate<'a>(
        &'a self,
        request: &'a Request<'a>,
        view: View<'a>,
    ) -> Result<Value<'a>, Unknown> {
        Evaluation::new(request, view).run(&self.0.expression)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.0.text)
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Condition {}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.text)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}
