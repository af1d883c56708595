//! Evaluates an expression in a bounded number of steps, over values of which parts may not be known.

use std::cmp::Ordering;
use std::rc::Rc;

use serde_json::Value as Json;

use crate::MAX_STEPS;
use crate::expression::{Expression, Loop, Operator, RequestField, TextTest};
use crate::object::{Holes, Request};
use crate::value::Value;

/// Bytes of text that are one step.
const TEXT: usize = 16;
/// Steps that a byte is which a regular expression looks at: it may be in hundreds of states.
const MATCHED: usize = 8;

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// It depends on a part of the object that is not known.
    Object,
    /// It depends on something else that is not known, has no meaning, or takes too long.
    Failed,
}

type Outcome<'a> = Result<Value<'a>, Unknown>;

/// What `object` is.
#[derive(Clone, Copy)]
pub(crate) enum View<'a> {
    Absent,
    Unknown,
    Known(&'a Json, Option<&'a Holes>),
}

pub(crate) struct Evaluation<'a> {
    request: &'a Request<'a>,
    object: View<'a>,
    slots: Vec<Outcome<'a>>,
    steps: u32,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(request: &'a Request<'a>, object: View<'a>) -> Self {
        Self {
            request,
            object,
            slots: Vec::new(),
            steps: MAX_STEPS,
        }
    }

    pub(crate) fn run(&mut self, expression: &'a Expression) -> Outcome<'a> {
        self.spend(1)?;
        match expression {
            Expression::Null => Ok(Value::Null),
            Expression::Bool(value) => Ok(Value::Bool(*value)),
            Expression::Int(value) => Ok(Value::Int(*value)),
            Expression::UInt(value) => Ok(Value::UInt(*value)),
            Expression::Double(value) => Ok(Value::Double(*value)),
            Expression::Text(text) => Ok(Value::Text(text)),
            Expression::List(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.run(item)).collect();
                Ok(Value::List(Rc::new(items?)))
            }
            Expression::Request(field) => self.request(*field),
            Expression::Object => match self.object {
                View::Absent => Ok(Value::Null),
                View::Unknown => Err(Unknown::Object),
                View::Known(json, holes) => Ok(Value::of(json, holes)),
            },
            Expression::Slot(slot) => self
                .slots
                .get(*slot)
                .cloned()
                .unwrap_or(Err(Unknown::Failed)),
            Expression::Select(of, name) => {
                let of = self.run(of)?;
                self.member(&of, name)?.ok_or(Unknown::Failed)
            }
            Expression::Has(of, name) => {
                let of = self.run(of)?;
                Ok(Value::Bool(self.member(&of, name)?.is_some()))
            }
            Expression::Index(two) => {
                let [of, at] = &**two;
                let (of, at) = (self.run(of)?, self.run(at)?);
                self.index(&of, &at)
            }
            Expression::Not(of) => Ok(Value::Bool(!truth(&self.run(of)?)?)),
            Expression::Negate(of) => match self.run(of)? {
                Value::Int(value) => value.checked_neg().map(Value::Int).ok_or(Unknown::Failed),
                Value::Double(value) => Ok(Value::Double(-value)),
                _ => Err(Unknown::Failed),
            },
            Expression::And(all) => self.logic(all, false),
            Expression::Or(all) => self.logic(all, true),
            Expression::Choice(three) => {
                let [condition, then, other] = &**three;
                match truth(&self.run(condition)?)? {
                    true => self.run(then),
                    false => self.run(other),
                }
            }
            Expression::Binary(operator, two) => {
                let [left, right] = &**two;
                let (left, right) = (self.run(left)?, self.run(right)?);
                self.binary(*operator, left, right)
            }
            Expression::Size(of) => {
                let of = self.run(of)?;
                self.size(&of)
            }
            Expression::Test(test, two) => {
                let [of, part] = &**two;
                let (of, part) = (self.run(of)?, self.run(part)?);
                let (of, part) = of.text().zip(part.text()).ok_or(Unknown::Failed)?;
                self.spend_text(of.len() + part.len())?;
                Ok(Value::Bool(match test {
                    TextTest::Contains => of.contains(part),
                    TextTest::StartsWith => of.starts_with(part),
                    TextTest::EndsWith => of.ends_with(part),
                }))
            }
            Expression::Matches(of, regex) => {
                let of = self.run(of)?;
                let text = of.text().ok_or(Unknown::Failed)?;
                self.spend(text.len().saturating_mul(MATCHED))?;
                Ok(Value::Bool(regex.is_match(text.as_bytes())))
            }
            Expression::Loop(parts) => self.all(parts),
            Expression::Append(slot, item) => {
                let item = self.run(item)?;
                // The place is given its next value right after this.
                let taken = self.slots.get_mut(*slot).ok_or(Unknown::Failed)?;
                let Value::List(mut list) = std::mem::replace(taken, Err(Unknown::Failed))? else {
                    return Err(Unknown::Failed);
                };
                Rc::make_mut(&mut list).push(item);
                Ok(Value::List(list))
            }
            Expression::NotFalse(of) => {
                Ok(Value::Bool(!matches!(self.run(of), Ok(Value::Bool(false)))))
            }
        }
    }

    fn spend(&mut self, steps: usize) -> Result<(), Unknown> {
        let left = u32::try_from(steps)
            .ok()
            .and_then(|steps| self.steps.checked_sub(steps));
        // Nothing that follows is free, whatever took all there was.
        self.steps = left.unwrap_or(0);
        left.map(drop).ok_or(Unknown::Failed)
    }

    fn spend_text(&mut self, bytes: usize) -> Result<(), Unknown> {
        self.spend(bytes / TEXT)
    }

    fn request(&self, field: RequestField) -> Outcome<'a> {
        let request = self.request;
        let text = match field {
            RequestField::DryRun => return Ok(Value::Bool(request.dry_run)),
            RequestField::Verb => Some(request.verb),
            RequestField::Group => Some(request.group),
            RequestField::Version => Some(request.version),
            RequestField::Resource => Some(request.resource),
            RequestField::Subresource => Some(request.subresource),
            RequestField::Namespace => request.namespace,
            RequestField::Name => request.name,
        };
        text.map(Value::Text).ok_or(Unknown::Failed)
    }

    /// A member of an object; none where it is known not to be there.
    fn member(&self, of: &Value<'a>, name: &str) -> Result<Option<Value<'a>>, Unknown> {
        let Value::Node(Json::Object(members), holes) = of else {
            return Err(Unknown::Failed);
        };
        let below = holes.and_then(|holes| holes.member(name));
        if holes.is_some_and(Holes::is_patch) {
            // Directives say what becomes of the members beside them.
            if members.keys().any(|name| name.starts_with('$')) {
                return Err(Unknown::Object);
            }
            if members.get(name).is_some_and(Json::is_null) {
                return Ok(None);
            }
        }
        match members.get(name) {
            Some(member) => Ok(Some(Value::of(member, below))),
            None if holes.is_some_and(|holes| holes.is_open(false)) => Err(Unknown::Object),
            None if below.is_some() => Err(Unknown::Object),
            None => Ok(None),
        }
    }

    fn index(&mut self, of: &Value<'a>, at: &Value<'a>) -> Outcome<'a> {
        if let Some(name) = at.text() {
            return self.member(of, name)?.ok_or(Unknown::Failed);
        }
        let at = match *at {
            Value::Int(at) => usize::try_from(at).ok(),
            Value::UInt(at) => usize::try_from(at).ok(),
            _ => None,
        };
        let at = at.ok_or(Unknown::Failed)?;
        match of {
            Value::List(items) => items.get(at).cloned(),
            Value::Node(Json::Array(items), holes) => {
                closed(*holes, true)?;
                let below = holes.and_then(Holes::items);
                items.get(at).map(|item| Value::of(item, below))
            }
            _ => None,
        }
        .ok_or(Unknown::Failed)
    }

    /// `&&` and `||`: the value that decides does, whatever else fails.
    fn logic(&mut self, all: &'a [Expression], decides: bool) -> Outcome<'a> {
        let mut unknown = None;
        for one in all {
            match self.run(one).and_then(|value| truth(&value)) {
                Ok(value) if value == decides => return Ok(Value::Bool(decides)),
                Ok(_) => {}
                Err(Unknown::Object) if unknown.is_some() => {}
                Err(why) => unknown = Some(why),
            }
        }
        unknown.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn binary(&mut self, operator: Operator, left: Value<'a>, right: Value<'a>) -> Outcome<'a> {
        let order = |holds: fn(Ordering) -> bool| {
            let comparable = left.text().is_some() == right.text().is_some()
                && left.is_number() == right.is_number();
            match left.order(&right) {
                Some(order) => Ok(Value::Bool(holds(order))),
                // Not a number.
                None if comparable && left.is_number() => Ok(Value::Bool(false)),
                None => Err(Unknown::Failed),
            }
        };
        match operator {
            Operator::Equal => self.equal(&left, &right).map(Value::Bool),
            Operator::Unequal => self.equal(&left, &right).map(|equal| Value::Bool(!equal)),
            Operator::In => self.is_in(&left, &right).map(Value::Bool),
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => {
                let shorter = left.text().zip(right.text());
                let shorter = shorter.map_or(0, |(left, right)| left.len().min(right.len()));
                self.spend_text(shorter)?;
                match operator {
                    Operator::Less => order(Ordering::is_lt),
                    Operator::LessOrEqual => order(Ordering::is_le),
                    Operator::Greater => order(Ordering::is_gt),
                    _ => order(Ordering::is_ge),
                }
            }
            Operator::Add => self.add(&left, &right),
            Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
                arithmetic(operator, &left, &right)
            }
        }
    }

    fn add(&mut self, left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
        if let Some((left, right)) = left.text().zip(right.text()) {
            self.spend_text(left.len() + right.len())?;
            return Ok(Value::Made([left, right].concat().into()));
        }
        if left.is_number() {
            return arithmetic(Operator::Add, left, right);
        }
        let mut items = self.items(left)?;
        items.extend(self.items(right)?);
        Ok(Value::List(Rc::new(items)))
    }

    /// All items of a list, which is known as a whole.
    fn items(&mut self, list: &Value<'a>) -> Result<Vec<Value<'a>>, Unknown> {
        match list {
            Value::List(items) => {
                self.spend(items.len())?;
                Ok(items.to_vec())
            }
            Value::Node(Json::Array(items), holes) => {
                closed(*holes, true)?;
                self.spend(items.len())?;
                let below = holes.and_then(Holes::items);
                Ok(items.iter().map(|item| Value::of(item, below)).collect())
            }
            _ => Err(Unknown::Failed),
        }
    }

    fn size(&mut self, of: &Value<'a>) -> Outcome<'a> {
        let size = match of {
            Value::List(items) => items.len(),
            Value::Node(Json::Array(items), holes) => {
                closed(*holes, true)?;
                items.len()
            }
            Value::Node(Json::Object(members), holes) => {
                all_known(*holes)?;
                members.len()
            }
            of => {
                let text = of.text().ok_or(Unknown::Failed)?;
                self.spend_text(text.len())?;
                text.chars().count()
            }
        };
        i64::try_from(size)
            .map(Value::Int)
            .map_err(|_| Unknown::Failed)
    }

    fn is_in(&mut self, one: &Value<'a>, all: &Value<'a>) -> Result<bool, Unknown> {
        if let Value::Node(Json::Object(_), _) = all {
            let name = one.text().ok_or(Unknown::Failed)?;
            return Ok(self.member(all, name)?.is_some());
        }
        let (items, open): (Vec<Value<'a>>, bool) = match all {
            Value::Node(Json::Array(items), holes) => {
                let below = holes.and_then(Holes::items);
                self.spend(items.len())?;
                let items = items.iter().map(|item| Value::of(item, below));
                (items.collect(), closed(*holes, true).is_err())
            }
            all => (self.items(all)?, false),
        };
        for item in &items {
            if self.equal(one, item)? {
                return Ok(true);
            }
        }
        if open {
            Err(Unknown::Object)
        } else {
            Ok(false)
        }
    }

    /// Values of different kinds are not equal.
    fn equal(&mut self, left: &Value<'a>, right: &Value<'a>) -> Result<bool, Unknown> {
        self.spend(1)?;
        if let Some((left, right)) = left.text().zip(right.text()) {
            self.spend_text(left.len().min(right.len()))?;
            return Ok(left == right);
        }
        match (left, right) {
            (Value::Null, Value::Null) => Ok(true),
            (Value::Node(Json::Object(left), before), Value::Node(Json::Object(right), after)) => {
                all_known(*before)?;
                all_known(*after)?;
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (name, value) in left {
                    let Some(other) = right.get(name) else {
                        return Ok(false);
                    };
                    if !self.equal(&Value::of(value, None), &Value::of(other, None))? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (
                Value::List(_) | Value::Node(Json::Array(_), _),
                Value::List(_) | Value::Node(Json::Array(_), _),
            ) => {
                let (left, right) = (self.items(left)?, self.items(right)?);
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (left, right) in left.iter().zip(&right) {
                    if !self.equal(left, right)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (left, right) => Ok(left.order(right) == Some(Ordering::Equal)),
        }
    }

    fn all(&mut self, parts: &'a Loop) -> Outcome<'a> {
        let range = self.run(&parts.range)?;
        let (items, open) = match &range {
            Value::Node(Json::Object(members), holes) => {
                all_known(*holes)?;
                self.spend(members.len())?;
                let names = members.keys().map(|name| Value::Text(name));
                (names.collect(), false)
            }
            Value::Node(Json::Array(items), holes) => {
                self.spend(items.len())?;
                let below = holes.and_then(Holes::items);
                let items = items.iter().map(|item| Value::of(item, below));
                (items.collect(), closed(*holes, true).is_err())
            }
            range => (self.items(range)?, false),
        };
        let start = self.run(&parts.start);
        let outer = self.slots.len();
        self.slots.push(start);
        self.slots.push(Err(Unknown::Failed));
        let decided = self.each(parts, outer, items);
        self.slots.truncate(outer + 1);
        // Items that are not known change nothing any more where it is decided.
        let result = match decided {
            Ok(decided) if open && !decided => Err(Unknown::Object),
            Ok(_) => self.run(&parts.result),
            Err(why) => Err(why),
        };
        self.slots.truncate(outer);
        result
    }

    /// Takes the items one after another, and says whether the rest could be left out.
    fn each(
        &mut self,
        parts: &'a Loop,
        outer: usize,
        items: Vec<Value<'a>>,
    ) -> Result<bool, Unknown> {
        for item in items {
            if !truth(&self.run(&parts.goes_on)?)? {
                return Ok(true);
            }
            self.put(outer + 1, Ok(item));
            let next = self.run(&parts.step);
            if self.steps == 0 {
                return Err(Unknown::Failed);
            }
            self.put(outer, next);
        }
        Ok(!truth(&self.run(&parts.goes_on)?)?)
    }

    fn put(&mut self, slot: usize, value: Outcome<'a>) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = value;
        }
    }
}

fn truth(value: &Value<'_>) -> Result<bool, Unknown> {
    match value {
        Value::Bool(value) => Ok(*value),
        _ => Err(Unknown::Failed),
    }
}

/// Whether all members or items are there.
fn closed(holes: Option<&Holes>, list: bool) -> Result<(), Unknown> {
    match holes.is_some_and(|holes| holes.is_open(list)) {
        true => Err(Unknown::Object),
        false => Ok(()),
    }
}

/// Whether nothing is unknown here and below.
fn all_known(holes: Option<&Holes>) -> Result<(), Unknown> {
    match holes {
        Some(_) => Err(Unknown::Object),
        None => Ok(()),
    }
}

fn arithmetic<'a>(operator: Operator, left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    let done = match (left, right) {
        (Value::Int(left), Value::Int(right)) => match operator {
            Operator::Add => left.checked_add(*right),
            Operator::Subtract => left.checked_sub(*right),
            Operator::Multiply => left.checked_mul(*right),
            Operator::Divide => left.checked_div(*right),
            Operator::Remainder => left.checked_rem(*right),
            _ => None,
        }
        .map(Value::Int),
        (Value::UInt(left), Value::UInt(right)) => match operator {
            Operator::Add => left.checked_add(*right),
            Operator::Subtract => left.checked_sub(*right),
            Operator::Multiply => left.checked_mul(*right),
            Operator::Divide => left.checked_div(*right),
            Operator::Remainder => left.checked_rem(*right),
            _ => None,
        }
        .map(Value::UInt),
        (Value::Double(left), Value::Double(right)) => match operator {
            Operator::Add => Some(left + right),
            Operator::Subtract => Some(left - right),
            Operator::Multiply => Some(left * right),
            Operator::Divide => Some(left / right),
            _ => None,
        }
        .map(Value::Double),
        _ => None,
    };
    done.ok_or(Unknown::Failed)
}
