//! JSON and YAML as values, within bounds, and only where every reader takes them the same way.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The most values of one body.
const MAX_VALUES: usize = 400_000;
/// How deep they may be nested; `serde_json` has the same.
const MAX_DEPTH: usize = 128;

/// One JSON text.
pub(super) fn json(body: &[u8]) -> Result<Value, String> {
    let left = Cell::new(MAX_VALUES);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Seed(&left)
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|_| "it is not valid JSON, or holds a member twice".to_owned())
}

/// One YAML document.
pub(super) fn yaml(body: &[u8]) -> Result<Value, String> {
    // Clients send JSON under this name as well, and more of it fits.
    if let Ok(value) = json(body) {
        return Ok(value);
    }
    let broken = |_| "it is not valid YAML, or holds more than one document".to_owned();
    let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?;
    // Tags say how a value is read, and not every reader knows the same ones.
    let tagged = text.as_bytes().windows(2).any(|pair| {
        matches!(
            pair,
            [
                b' ' | b'\n' | b'\t' | b'[' | b'{' | b',' | b'-' | b':' | b'?',
                b'!'
            ]
        )
    });
    if tagged || text.starts_with('!') {
        return Err("it is YAML with tags".to_owned());
    }
    // Breaks of lines by YAML 1.1, which the server reads, and none by YAML 1.2.
    if text.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
        return Err("it is YAML with breaks of lines that not every reader knows".to_owned());
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_VALUES,
            max_documents: 1,
        },
        strict_booleans: true,
    };
    let Tree(value) = serde_saphyr::from_str_with_options(text, options).map_err(broken)?;
    Ok(value)
}

struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        let left = Cell::new(MAX_VALUES);
        Seed(&left).deserialize(deserializer).map(Tree)
    }
}

/// Makes a value, as long as some are left.
struct Seed<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.0.get().checked_sub(1) {
            Some(left) => self.0.set(left),
            None => return Err(D::Error::custom("too many values")),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Seed(self.0))? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Seed(self.0))?;
            if name == "<<" || map.insert(name, value).is_some() {
                return Err(A::Error::custom("a member twice"));
            }
        }
        Ok(map.into())
    }
}
