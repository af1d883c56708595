//! Objects in protobuf, as typed clients send them.
//!
//! A body is `k8s\0` and a `runtime.Unknown` message (`k8s.io/apimachinery/pkg/runtime/generated.proto`)
//! around the object. For kinds that rules speak of the fields are known and the object becomes what it
//! would be in JSON; what is not known is remembered by its place, and its texts are kept.
//!
//! Refuses: encodings within the envelope, groups, a field twice that is no list, depth and counts above
//! the bounds.

mod schema;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::Resource;
use crate::body::Step;
use schema::{Field, Kind, Message, Shape};

const MAGIC: &[u8] = b"k8s\0";
/// How deep messages may be nested.
const MAX_DEPTH: usize = 64;
/// The most fields of one body, those of messages that are not known included.
const MAX_FIELDS: usize = 200_000;
/// The most places of one body that are not known.
const MAX_UNKNOWN: usize = 1000;
/// The most text that is kept of what is not known, in bytes.
const MAX_TEXT: usize = 16 << 20;

/// An object that was sent as protobuf.
#[derive(Debug, Default)]
pub(crate) struct Object {
    /// What it would be in JSON, as far as it is known.
    pub(crate) value: Value,
    /// Places that hold something which is not known.
    pub(crate) unknown: Vec<Vec<Step>>,
    /// Some such place may be any field at all: a later version's, outside of metadata.
    pub(crate) unlisted: bool,
    /// Texts at such places. What only looks like text is among them.
    pub(crate) texts: Vec<String>,
}

/// Why a body cannot be read.
pub(crate) type Unread = &'static str;

const BROKEN: Unread = "the protobuf is broken";
const TWICE: Unread = "the protobuf holds a field twice";
const TOO_MUCH: Unread = "the protobuf holds too much";

/// Reads a body that is sent to a resource. Of kinds that hold no workload everything is unknown.
pub(crate) fn object(body: &[u8], resource: &Resource) -> Result<Object, Unread> {
    let envelope = body
        .strip_prefix(MAGIC)
        .ok_or("it is not protobuf as Kubernetes has it")?;
    let (mut kind, mut api_version, mut raw) = (String::new(), String::new(), None);
    let mut fields = Fields { rest: envelope };
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => {
                let mut fields = Fields { rest: bytes };
                while let Some((number, wire)) = fields.next()? {
                    match (number, wire) {
                        (1, Wire::Bytes(text)) => api_version = string(text)?,
                        (2, Wire::Bytes(text)) => kind = string(text)?,
                        _ => return Err(BROKEN),
                    }
                }
            }
            (2, Wire::Bytes(bytes)) if raw.is_none() => raw = Some(bytes),
            (3 | 4, Wire::Bytes(b""))
            | (4, Wire::Bytes(b"application/vnd.kubernetes.protobuf")) => {}
            (3 | 4, _) => return Err("the object within the protobuf is encoded once more"),
            _ => return Err(BROKEN),
        }
    }
    let raw = raw.unwrap_or_default();
    let mut reader = Reader {
        object: Object::default(),
        at: Vec::new(),
        fields: 0,
        text: 0,
    };
    // What says no kind is taken for the resource's own.
    let known = schema::kind(resource);
    let message = match (known, kind.as_str()) {
        (_, "DeleteOptions") => schema::message("DeleteOptions"),
        (Some((own, message)), name) if name == own || name.is_empty() => Some(message),
        (Some(_), _) => return Err("it is of another kind than the resource"),
        (None, _) if schema::may_hold_pods(resource) => {
            return Err("it is protobuf of a kind that is not read");
        }
        (None, _) => None,
    };
    match message {
        Some(message) => {
            let mut members = Map::new();
            for (name, text) in [("apiVersion", api_version), ("kind", kind)] {
                if !text.is_empty() {
                    members.insert(name.to_owned(), text.into());
                }
            }
            reader.message(message, raw, &mut members)?;
            reader.object.value = Value::Object(members);
        }
        None => reader.unknown(raw)?,
    }
    Ok(reader.object)
}

/// What a field holds, by its wire type.
#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Fixed,
    Bytes(&'a [u8]),
}

/// The fields of a message, one after another.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, Unread> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| BROKEN)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => self.take(8).map(|_| Wire::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| BROKEN)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Wire::Fixed)?,
            _ => return Err(BROKEN),
        };
        match number {
            0 => Err(BROKEN),
            number => Ok(Some((number, wire))),
        }
    }

    fn varint(&mut self) -> Result<u64, Unread> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(BROKEN)?;
            self.rest = rest;
            let bits = u64::from(byte & 127);
            if shift == 63 && bits > 1 {
                return Err(BROKEN);
            }
            value |= bits << shift;
            if *byte < 128 {
                return Ok(value);
            }
        }
        Err(BROKEN)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Unread> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(BROKEN)?;
        self.rest = rest;
        Ok(taken)
    }
}

struct Reader {
    object: Object,
    at: Vec<Step>,
    fields: usize,
    text: usize,
}

impl Reader {
    fn count(&mut self) -> Result<(), Unread> {
        self.fields += 1;
        match self.fields > MAX_FIELDS || self.at.len() > MAX_DEPTH {
            true => Err(TOO_MUCH),
            false => Ok(()),
        }
    }

    fn message(
        &mut self,
        message: &'static Message,
        bytes: &[u8],
        members: &mut Map<String, Value>,
    ) -> Result<(), Unread> {
        let mut seen = Vec::new();
        let mut fields = Fields { rest: bytes };
        while let Some((number, wire)) = fields.next()? {
            self.count()?;
            let Some(field) = message.get(&number) else {
                // It may be any member that has no name here, and what lies below it.
                self.note()?;
                let metadata = matches!(self.at.last(), Some(Step::Member(at)) if at == "metadata");
                self.object.unlisted |= !metadata;
                if let Wire::Bytes(bytes) = wire {
                    self.texts(bytes, 0)?;
                }
                continue;
            };
            if field.shape == Shape::One {
                if seen.contains(&number) {
                    return Err(TWICE);
                }
                seen.push(number);
            }
            if field.name.is_empty() {
                let (Wire::Bytes(bytes), Kind::Message(part)) = (wire, field.kind) else {
                    return Err(BROKEN);
                };
                let part = schema::message(part).ok_or(BROKEN)?;
                self.message(part, bytes, members)?;
                continue;
            }
            self.at.push(Step::Member(field.name.to_owned()));
            self.field(field, wire, members)?;
            self.at.pop();
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &Field,
        wire: Wire<'_>,
        members: &mut Map<String, Value>,
    ) -> Result<(), Unread> {
        let name = field.name.to_owned();
        match field.shape {
            Shape::One => {
                if let Some(value) = self.value(field.kind, wire)? {
                    members.insert(name, value);
                }
            }
            Shape::List => {
                let entry = members
                    .entry(name)
                    .or_insert_with(|| Value::Array(Vec::new()));
                self.at.push(Step::Item);
                // Numbers may come packed into one field: they are not looked at.
                let value = match (field.kind, wire) {
                    (Kind::Int, _) => Some(Value::from(0)),
                    (kind, wire) => self.value(kind, wire)?,
                };
                self.at.pop();
                if let Value::Array(items) = entry {
                    items.push(value.unwrap_or_else(|| Value::from("")));
                }
            }
            Shape::Map => {
                let Wire::Bytes(bytes) = wire else {
                    return Err(BROKEN);
                };
                let (mut key, mut value) = (String::new(), None);
                let mut fields = Fields { rest: bytes };
                while let Some((number, wire)) = fields.next()? {
                    match (number, wire) {
                        (1, Wire::Bytes(text)) => key = string(text)?,
                        (2, wire) => value = Some(wire),
                        _ => return Err(BROKEN),
                    }
                }
                self.at.push(Step::Member(key.clone()));
                let value = match value {
                    Some(wire) => self.value(field.kind, wire)?,
                    None => None,
                };
                self.at.pop();
                let entry = members
                    .entry(name)
                    .or_insert_with(|| Value::Object(Map::new()));
                let value = value.unwrap_or_else(|| Value::from(""));
                if let Value::Object(map) = entry
                    && map.insert(key, value).is_some()
                {
                    return Err(TWICE);
                }
            }
        }
        Ok(())
    }

    /// A value; None for an empty one, which stands for one that is not set.
    fn value(&mut self, kind: Kind, wire: Wire<'_>) -> Result<Option<Value>, Unread> {
        self.count()?;
        Ok(match (kind, wire) {
            (Kind::String, Wire::Bytes(b"")) => None,
            (Kind::String, Wire::Bytes(text)) => Some(string(text)?.into()),
            (Kind::Bytes, Wire::Bytes(bytes)) => Some(crate::body::encode(bytes).into()),
            (Kind::Bool, Wire::Varint(value)) => Some((value != 0).into()),
            (Kind::Int, Wire::Varint(value)) => Some(value.cast_signed().into()),
            (Kind::Quantity, Wire::Bytes(bytes)) => {
                let mut text = None;
                let mut fields = Fields { rest: bytes };
                while let Some((number, wire)) = fields.next()? {
                    match (number, wire) {
                        (1, Wire::Bytes(bytes)) if text.is_none() => text = Some(string(bytes)?),
                        _ => return Err(BROKEN),
                    }
                }
                text.filter(|text| !text.is_empty()).map(Value::from)
            }
            (Kind::Message(message), Wire::Bytes(bytes)) => {
                let message = schema::message(message).ok_or(BROKEN)?;
                let mut members = Map::new();
                self.message(message, bytes, &mut members)?;
                Some(members.into())
            }
            (Kind::Other, Wire::Bytes(b"")) => None,
            (Kind::Other, Wire::Bytes(bytes)) => {
                self.unknown(bytes)?;
                Some(Map::new().into())
            }
            _ => return Err(BROKEN),
        })
    }

    /// Something at this place is not known.
    fn note(&mut self) -> Result<(), Unread> {
        if !self.object.unknown.contains(&self.at) {
            self.object.unknown.push(self.at.clone());
        }
        match self.object.unknown.len() > MAX_UNKNOWN {
            true => Err(TOO_MUCH),
            false => Ok(()),
        }
    }

    fn unknown(&mut self, bytes: &[u8]) -> Result<(), Unread> {
        self.note()?;
        self.texts(bytes, 0)
    }

    /// Keeps what may be text: bytes that are UTF-8, and what lies within them if they are a message.
    fn texts(&mut self, bytes: &[u8], depth: usize) -> Result<(), Unread> {
        self.count()?;
        if let Ok(text) = std::str::from_utf8(bytes) {
            self.text += text.len();
            if self.text > MAX_TEXT {
                return Err(TOO_MUCH);
            }
            self.object.texts.push(text.to_owned());
        }
        if depth >= MAX_DEPTH {
            return Ok(());
        }
        let mut fields = Fields { rest: bytes };
        while let Ok(Some((_, wire))) = fields.next() {
            if let Wire::Bytes(inner) = wire {
                self.texts(inner, depth + 1)?;
            }
        }
        Ok(())
    }
}

fn string(bytes: &[u8]) -> Result<String, Unread> {
    String::from_utf8(bytes.to_vec()).map_err(|_| BROKEN)
}
