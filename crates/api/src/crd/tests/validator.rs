//! What an API server does with an object: unknown fields are refused (as `kubectl` asks it to),
//! defaults are filled in, then the schema is checked, then the CEL rules.
//!
//! Only the keywords that [`super::super::structural`] lets through are known here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use cel::extractors::This;
use cel::{Context, Program};
use serde_json::{Map, Value};

/// Fills in the defaults, in place.
pub(super) fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, property) in map(schema, "properties") {
                if fields.get(name).is_none_or(Value::is_null) {
                    fields.remove(name);
                    if let Some(default) = property.get("default") {
                        fields.insert(name.clone(), default.clone());
                    }
                }
                if let Some(field) = fields.get_mut(name) {
                    fill(property, field);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                fill(&schema["items"], item);
            }
        }
        _ => {}
    }
}

/// What is wrong with an object that is made, or that replaces `old`.
pub(super) fn refusals(schema: &Value, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut object = object.clone();
    fill(schema, &mut object);
    let old = old.cloned().map(|mut old| {
        fill(schema, &mut old);
        old
    });
    let mut found = Vec::new();
    check(schema, &object, "", &mut found);
    if found.is_empty() {
        judge(schema, &object, old.as_ref(), "", &mut found);
    }
    found
}

fn map<'a>(schema: &'a Value, keyword: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema[keyword].as_object().into_iter().flat_map(Map::iter)
}

fn within(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn check(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let mut wrong = |message: String| found.push(format!("{path}: {message}"));
    let number = |keyword: &str| schema[keyword].as_i64();
    let count = |keyword: &str| number(keyword).map(|n| usize::try_from(n).expect("a count"));
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let either = schema["x-kubernetes-int-or-string"] == true;
    if !(either && ["integer", "string"].contains(&kind)) && schema["type"] != kind {
        return wrong(format!("{kind} instead of {}", schema["type"]));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        wrong(format!("unsupported value {value}"));
    }
    match value {
        Value::Number(n) => {
            let Some(n) = n.as_i64() else {
                return wrong("beyond 64 bits".to_owned());
            };
            if number("minimum").is_some_and(|min| n < min)
                || number("maximum").is_some_and(|max| n > max)
            {
                wrong(format!("{n} out of range"));
            }
        }
        Value::String(text) => {
            let length = text.chars().count();
            if count("minLength").is_some_and(|min| length < min)
                || count("maxLength").is_some_and(|max| length > max)
                || schema["pattern"]
                    .as_str()
                    .is_some_and(|pattern| !matches(pattern, text))
            {
                wrong(format!("not so: {text}"));
            }
        }
        Value::Array(items) => {
            if count("minItems").is_some_and(|min| items.len() < min)
                || count("maxItems").is_some_and(|max| items.len() > max)
            {
                wrong(format!("{} entries", items.len()));
            }
            if let Some(key) = schema["x-kubernetes-list-map-keys"][0].as_str() {
                for (i, item) in items.iter().enumerate() {
                    if items[..i].iter().any(|other| other[key] == item[key]) {
                        found.push(format!("{path}[{i}]: duplicate"));
                    }
                }
            }
            for (i, item) in items.iter().enumerate() {
                check(&schema["items"], item, &format!("{path}[{i}]"), found);
            }
        }
        Value::Object(fields) => object(schema, fields, path, found),
        _ => {}
    }
}

fn object(schema: &Value, fields: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("a name");
        if !fields.contains_key(name) {
            found.push(format!("{}: required", within(path, name)));
        }
    }
    if path == "metadata" {
        return;
    }
    for (name, value) in fields {
        let path = within(path, name);
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) => found.push(format!("{path}: unknown field")),
            (Value::Null, values) => check(values, value, &path, found),
            (property, _) => check(property, value, &path, found),
        }
    }
}

/// What was compiled once.
fn cached<T>(
    cache: &'static std::thread::LocalKey<RefCell<HashMap<String, Rc<T>>>>,
    text: &str,
    make: impl FnOnce() -> T,
) -> Rc<T> {
    cache.with_borrow_mut(|cache| {
        if let Some(made) = cache.get(text) {
            return Rc::clone(made);
        }
        let made = Rc::new(make());
        cache.insert(text.to_owned(), Rc::clone(&made));
        made
    })
}

thread_local! {
    static PATTERNS: RefCell<HashMap<String, Rc<regex::Regex>>> = RefCell::default();
    static PROGRAMS: RefCell<HashMap<String, Rc<Program>>> = RefCell::default();
}

fn matches(pattern: &str, text: &str) -> bool {
    let make = || regex::Regex::new(pattern).expect(pattern);
    cached(&PATTERNS, pattern, make).is_match(text)
}

/// The CEL rules of a schema and of everything in it.
fn judge(schema: &Value, value: &Value, old: Option<&Value>, path: &str, found: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let text = rule["rule"].as_str().expect("a rule");
        let of_change = text.contains("oldSelf");
        if of_change && old.is_none() {
            continue;
        }
        let holds = evaluate(text, value, old);
        if !holds {
            let message = rule["message"].as_str().expect("a message");
            found.push(format!("{path}: {message}"));
        }
    }
    match value {
        Value::Object(fields) => {
            for (name, property) in map(schema, "properties") {
                if let Some(field) = fields.get(name) {
                    let old = old.and_then(|old| old.get(name));
                    judge(property, field, old, &within(path, name), found);
                }
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                judge(&schema["items"], item, None, &format!("{path}[{i}]"), found);
            }
        }
        _ => {}
    }
}

pub(super) fn compiles(rule: &str) -> bool {
    Program::compile(rule).is_ok()
}

fn evaluate(rule: &str, value: &Value, old: Option<&Value>) -> bool {
    let make = || Program::compile(rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
    let program = cached(&PROGRAMS, rule, make);
    let mut context = Context::default();
    context.add_variable("self", value).expect("a value");
    if let Some(old) = old {
        context.add_variable("oldSelf", old).expect("a value");
    }
    kubernetes_library(&mut context);
    match program.execute(&context) {
        Ok(cel::Value::Bool(holds)) => holds,
        other => panic!("{rule} on {value}: {other:?}"),
    }
}

/// Of the library that Kubernetes adds to CEL, what the rules use.
fn kubernetes_library(context: &mut Context<'_, '_>) {
    let added = [
        context.add_function("isIP", |text: Arc<String>| text.parse::<IpAddr>().is_ok()),
        context.add_function("isCIDR", |text: Arc<String>| network(&text).is_some()),
        context.add_function("cidr", |text: Arc<String>| text),
        context.add_function("masked", |This(text): This<Arc<String>>| {
            Arc::new(network(&text).unwrap_or_default())
        }),
        context.add_function(
            "replace",
            |This(text): This<Arc<String>>, from: Arc<String>, to: Arc<String>| {
                Arc::new(text.replace(from.as_str(), &to))
            },
        ),
    ];
    assert!(added.iter().all(Result::is_ok));
}

/// The network of `address/length`, without bits beyond its length.
fn network(text: &str) -> Option<String> {
    let (address, length) = text.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    let masked: IpAddr = match address.parse().ok()? {
        IpAddr::V4(v4) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            std::net::Ipv4Addr::from(u32::from(v4) & mask).into()
        }
        IpAddr::V6(v6) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            std::net::Ipv6Addr::from(u128::from(v6) & mask).into()
        }
        _ => return None,
    };
    Some(format!("{masked}/{length}"))
}
