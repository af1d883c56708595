//! What schemars writes, as the structural schema that an API server takes.
//!
//! Optional is not nullable, documented variants become an `enum` whose meanings go into the
//! description, and whatever has no bound gets one. A keyword that this module does not know is an
//! error: nothing goes out that nobody has thought about.

use serde_json::{Map, Value, json};

/// Bounds of what has none of its own.
const MAX_LENGTH: u64 = 253;
const MAX_ITEMS: u64 = 64;
const MAX_PROPERTIES: u64 = 64;

/// Where, and what is wrong there.
type Failure = (String, String);

/// Makes a schema structural.
pub(super) fn structural(schema: Value, path: &str) -> Result<Value, Failure> {
    let Value::Object(schema) = schema else {
        return Err((path.to_owned(), "is not an object".to_owned()));
    };
    node(schema, path, false).map(Value::Object)
}

fn node(
    mut schema: Map<String, Value>,
    path: &str,
    item: bool,
) -> Result<Map<String, Value>, Failure> {
    let fail = |message: String| (path.to_owned(), message);
    let optional = take_null(&mut schema);
    take_variants(&mut schema);
    for noise in ["$schema", "title"] {
        schema.remove(noise);
    }
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.remove("additionalProperties");
    }
    if optional && item {
        schema.insert("nullable".to_owned(), json!(true));
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = unwrapped(text);
    }
    if let Some(default) = schema.remove("default")
        && let Some(default) = stated(default)
    {
        schema.insert("default".to_owned(), default);
    }
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or("");
    match kind.to_owned().as_str() {
        "object" => object(&mut schema, path)?,
        "array" => {
            bound(&mut schema, "maxItems", MAX_ITEMS);
            schema
                .entry("x-kubernetes-list-type")
                .or_insert_with(|| json!("atomic"));
            let Some(Value::Object(items)) = schema.remove("items") else {
                return Err(fail("a list without items".to_owned()));
            };
            let items = node(items, &format!("{path}[]"), true)?;
            schema.insert("items".to_owned(), Value::Object(items));
        }
        "string" => {
            if !schema.contains_key("enum") {
                bound(&mut schema, "maxLength", MAX_LENGTH);
            }
        }
        "integer" => integer(&mut schema),
        "boolean" => {}
        "" if schema.contains_key("x-kubernetes-int-or-string") => {}
        other => return Err(fail(format!("type `{other}` is not expected"))),
    }
    match schema.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        Some(key) => Err(fail(format!("keyword `{key}` is not expected"))),
        None => Ok(schema),
    }
}

const KNOWN: [&str; 24] = [
    "additionalProperties",
    "anyOf",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "nullable",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
];

fn object(schema: &mut Map<String, Value>, path: &str) -> Result<(), Failure> {
    if let Some(Value::Object(properties)) = schema.remove("properties") {
        let mut done = Map::new();
        for (name, property) in properties {
            let path = format!("{path}.{name}");
            let Value::Object(property) = property else {
                return Err((path, "has no schema".to_owned()));
            };
            done.insert(name, Value::Object(node(property, &path, false)?));
        }
        schema.insert("properties".to_owned(), Value::Object(done));
    }
    if let Some(Value::Object(values)) = schema.remove("additionalProperties") {
        bound(schema, "maxProperties", MAX_PROPERTIES);
        let values = node(values, &format!("{path}.*"), true)?;
        schema.insert("additionalProperties".to_owned(), Value::Object(values));
    }
    Ok(())
}

fn bound(schema: &mut Map<String, Value>, keyword: &str, value: u64) {
    schema.entry(keyword).or_insert_with(|| Value::from(value));
}

/// Integers of the API server are signed: `uint16` becomes a range.
fn integer(schema: &mut Map<String, Value>) {
    let format = schema.get("format").and_then(Value::as_str).unwrap_or("");
    let (format, max) = match format {
        "uint16" => ("int32", Some(u64::from(u16::MAX))),
        "uint32" => ("int64", Some(u64::from(u32::MAX))),
        _ => ("int64", None),
    };
    schema.insert("format".to_owned(), json!(format));
    if let Some(max) = max {
        bound(schema, "maximum", max);
    }
}

/// Unwraps `Option`: whether the schema admitted null.
fn take_null(schema: &mut Map<String, Value>) -> bool {
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            schema.insert("type".to_owned(), kind);
        }
        if let Some(Value::Array(values)) = schema.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
        return true;
    }
    let null = json!({"type": "null"});
    let inner = match schema.get("anyOf").and_then(Value::as_array) {
        Some(list) => match list.as_slice() {
            [Value::Object(inner), other] if *other == null => inner.clone(),
            _ => return false,
        },
        None => return false,
    };
    schema.remove("anyOf");
    for (key, value) in inner {
        schema.entry(key).or_insert(value);
    }
    true
}

/// `oneOf` constants become an `enum`, and their meanings a part of the description.
fn take_variants(schema: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = schema.remove("oneOf") else {
        return;
    };
    let mut names = Vec::new();
    let mut meanings = Vec::new();
    for variant in &variants {
        let text = |key: &str| variant.get(key).and_then(Value::as_str);
        let listed = variant.get("enum").and_then(Value::as_array);
        let plain = listed.into_iter().flatten().filter_map(Value::as_str);
        names.extend(plain.chain(text("const")).map(str::to_owned));
        if let (Some(name), Some(meaning)) = (text("const"), text("description")) {
            let meaning = unwrapped(meaning);
            meanings.push(format!("`{name}`: {}", meaning.trim_end_matches('.')));
        }
    }
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), json!(names));
    if meanings.is_empty() {
        return;
    }
    let about = schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or("")
        .trim_end();
    let about = format!("{about} {}.", meanings.join("; "));
    schema.insert("description".to_owned(), json!(about.trim_start()));
}

/// A default without what is left out anyway; none if nothing remains.
fn stated(default: Value) -> Option<Value> {
    match default {
        Value::Null => None,
        Value::Array(list) if list.is_empty() => None,
        Value::String(text) if text.is_empty() => None,
        Value::Object(fields) => {
            let fields: Map<String, Value> = fields
                .into_iter()
                .filter_map(|(name, value)| Some((name, stated(value)?)))
                .collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        other => Some(other),
    }
}

/// Lines of a doc comment as running text; paragraphs stay.
fn unwrapped(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        words.join(" ")
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}
