//! A YAML document as a tree that remembers where each part stands.
//!
//! The tree is the only thing that knows YAML: strictness, paths and suggestions are added on top
//! of it by `de`. Syntax errors and duplicate keys are found here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Line and column, from 1.
pub(crate) type Place = (u64, u64);

/// Where each field of a document stands.
#[derive(Clone, Debug)]
pub struct Origin {
    pub(crate) file: Arc<str>,
    pub(crate) places: Arc<BTreeMap<String, Place>>,
}

impl Origin {
    /// The place of a field, or of the nearest field around it.
    pub(crate) fn place(&self, field: &str) -> Place {
        let mut path = field;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None if path.is_empty() => return (0, 0),
                None => path = "",
            }
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) name: String,
}

impl Node {
    /// Records the place of this node and of everything in it.
    pub(crate) fn places(&self, path: &str, into: &mut BTreeMap<String, Place>) {
        into.insert(path.to_owned(), self.place);
        match &self.value {
            Value::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    item.places(&format!("{path}[{i}]"), into);
                }
            }
            Value::Map(entries) => {
                for (key, node) in entries {
                    let dot = if path.is_empty() { "" } else { "." };
                    node.places(&format!("{path}{dot}{}", key.name), into);
                }
            }
            _ => {}
        }
    }

    /// The text of a top-level field.
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        match self.field(field)?.value {
            Value::Text(ref text) => Some(text),
            _ => None,
        }
    }

    fn field(&self, field: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.name == field)
                .map(|(_, node)| node),
            _ => None,
        }
    }
}

/// A syntax error and where it is.
pub(crate) struct Malformed {
    pub(crate) message: String,
    pub(crate) place: Place,
}

/// The documents of one file. Empty documents are left out.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, Malformed> {
    // `no` and `y` are words: only `true` and `false` are truth values.
    let options = serde_saphyr::options! { strict_booleans: true };
    let documents = serde_saphyr::from_multiple_with_options::<Node>(text, options);
    let documents = documents.map_err(|error| Malformed {
        message: error.without_snippet().to_string(),
        place: error.location().map_or((0, 0), place),
    })?;
    Ok(documents
        .into_iter()
        .filter(|node| !matches!(node.value, Value::Null))
        .collect())
}

fn place(location: Location) -> Place {
    (location.line(), location.column())
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Node {
            place: place(spanned.referenced),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Key {
            place: place(spanned.referenced),
            name: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
                Value::deserialize(inner)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Int(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Int(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Value::Map(entries))
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}
