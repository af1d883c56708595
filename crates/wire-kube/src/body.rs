//! What a request's body says, as far as rules ask: which fields it may change or compare, whether a
//! workload in it reads Secrets or steps out of its container, which texts it holds.
//!
//! Invariants: where it is not sure, it says yes; a body that cannot be read is [`BodyFacts::opaque`],
//! and may do anything. The work is linear in the body, which is bounded.
//!
//! Refuses to know what is not in the body: fields that a replaced object loses because they are missing,
//! what a workload already has that is patched.

mod pod;
mod tree;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::field::Progress;
use crate::rewrite::{LAST_APPLIED, SHORTEST_COPY, is_copy};
use crate::{BodyKind, FieldPattern, Resource, protobuf};

pub use pod::ServiceAccount;

/// The largest body that is read. The API server takes 3 MiB.
pub const MAX_BODY: usize = 4 << 20;
/// The most steps of a path in a JSON patch.
const MAX_STEPS: usize = 128;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Member(String),
    Item,
    /// A number in a JSON pointer: an item of a list, or a member of that name.
    Either(String),
}

/// What a body says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BodyFacts {
    /// A workload in it gets values of Secrets: as variables, as files, or by sharing another container.
    pub reads_secrets: bool,
    /// The same of ConfigMaps.
    pub reads_configs: bool,
    /// It names a Secret, in whatever way.
    pub names_secrets: bool,
    /// A workload in it steps out of its container: privileged, with added capabilities, with namespaces
    /// or directories of the node.
    pub privileged: bool,
    /// The service account that a workload in it runs as, where one is named.
    pub service_account: Option<ServiceAccount>,
    /// The type of a Secret.
    pub secret_type: Option<String>,
    /// Options of a delete that ask for a dry run.
    pub(crate) dry_run: bool,
    /// The body, for conditions: the object, the patch, or the operations of a JSON patch. An object that
    /// came as protobuf lacks what is not known, see [`BodyFacts::is_partial`].
    pub json: Option<Value>,
    /// Why it cannot be read.
    pub opaque: Option<String>,
    pieces: Vec<Piece>,
    unknown: Vec<Vec<Step>>,
    /// Something in it may be any field at all.
    unlisted: bool,
    texts: Vec<String>,
    secret: bool,
}

/// What a JSON patch does with a value that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is compared.
    Compared,
    /// It is copied or moved from here.
    From,
    /// It is copied or moved to here.
    To,
}

/// A value, where it goes and how.
#[derive(Debug, Clone, PartialEq)]
struct Piece {
    at: Vec<Step>,
    how: How,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// An object, or what of it is given.
    Object,
    /// Merged with what is there. Null takes away.
    Strategic,
    /// The same, and lists are replaced as a whole.
    Merge,
    /// Added, taken away, or put in the place of what is there.
    Put,
    /// An item is added to a list.
    Append,
    /// Compared.
    Test,
    /// Copied or moved from here.
    From,
    /// Copied or moved to here.
    To,
}

/// Reads the body of a request about a resource.
pub fn facts(resource: &Resource, kind: BodyKind, body: &[u8]) -> BodyFacts {
    let mut facts = BodyFacts {
        secret: resource.group.is_empty() && resource.resource == "secrets",
        ..BodyFacts::default()
    };
    if let Err(why) = facts.read(resource, kind, body) {
        facts = BodyFacts {
            reads_secrets: true,
            reads_configs: true,
            names_secrets: true,
            privileged: true,
            service_account: Some(ServiceAccount::Any),
            opaque: Some(why),
            texts: facts.texts,
            secret: facts.secret,
            ..BodyFacts::default()
        };
    }
    facts
}

/// Whether the options of a delete, which are its body, ask for a dry run: then, and only then, is it one,
/// whatever the URL says. Options that are not read here do not.
pub fn asks_for_dry_run(kind: BodyKind, options: &[u8]) -> bool {
    facts(&Resource::default(), kind, options).dry_run
}

impl BodyFacts {
    fn read(&mut self, resource: &Resource, kind: BodyKind, body: &[u8]) -> Result<(), String> {
        if body.len() > MAX_BODY {
            return Err("it is too large to be read".to_owned());
        }
        if body.is_empty() {
            return Ok(());
        }
        let value = match kind {
            BodyKind::Json => tree::json(body)?,
            BodyKind::JsonPatch => {
                let operations = tree::json(body)?;
                self.operations(&operations)?;
                self.json = Some(operations);
                return self.look(resource);
            }
            BodyKind::MergePatch | BodyKind::StrategicPatch => tree::json(body)?,
            BodyKind::Yaml | BodyKind::ApplyYaml => tree::yaml(body)?,
            BodyKind::Protobuf => {
                let object = protobuf::object(body, resource)?;
                self.texts = object.texts;
                self.unknown = object.unknown;
                self.unlisted = object.unlisted;
                object.value
            }
            BodyKind::Cbor | BodyKind::ApplyCbor => return Err("CBOR is not read".to_owned()),
            BodyKind::Other => return Err("its content type is not known".to_owned()),
        };
        self.pieces.push(Piece {
            at: Vec::new(),
            how: match kind {
                BodyKind::MergePatch => How::Merge,
                BodyKind::StrategicPatch => How::Strategic,
                _ => How::Object,
            },
            value: value.clone(),
        });
        self.json = Some(value);
        self.look(resource)
    }

    fn look(&mut self, resource: &Resource) -> Result<(), String> {
        // Schemas of custom resources name fields, and set none.
        if resource.group == "apiextensions.k8s.io" {
            return Ok(());
        }
        let mut pod = pod::Pod::new(resource);
        for piece in &self.pieces {
            match piece.how {
                How::Test => {}
                How::From | How::To => pod.piece(&piece.at, &Value::Bool(true)),
                _ => pod.piece(&piece.at, &piece.value),
            }
        }
        if self.unlisted {
            pod.may_do_anything();
        }
        self.reads_secrets = pod.reads_secrets;
        self.reads_configs = pod.reads_configs;
        self.names_secrets = pod.names_secrets || pod.reads_secrets;
        self.privileged = pod.privileged;
        self.service_account = pod.service_account;
        self.dry_run = pod.dry_run;
        self.secret_type = pod.secret_type.filter(|_| self.secret);
        Ok(())
    }

    /// The operations of a JSON patch, RFC 6902.
    fn operations(&mut self, operations: &Value) -> Result<(), String> {
        let broken = || "it is no JSON patch".to_owned();
        for operation in operations.as_array().ok_or_else(broken)? {
            let operation = operation.as_object().ok_or_else(broken)?;
            let text = |name| operation.get(name).and_then(Value::as_str);
            let at = pointer(text("path").ok_or_else(broken)?).ok_or_else(broken)?;
            let value = operation.get("value").cloned().unwrap_or_default();
            let how = match text("op").ok_or_else(broken)? {
                "add" if at.last() == Some(&Step::Member("-".to_owned())) => How::Append,
                "add" | "replace" | "remove" => How::Put,
                "test" => How::Test,
                "copy" | "move" => {
                    let from = pointer(text("from").ok_or_else(broken)?).ok_or_else(broken)?;
                    self.pieces.push(Piece {
                        at: from,
                        how: How::From,
                        value: Value::Null,
                    });
                    How::To
                }
                _ => return Err(broken()),
            };
            self.pieces.push(Piece { at, how, value });
        }
        Ok(())
    }

    /// Whether something in it is not known, so that [`BodyFacts::json`] is not all of it.
    pub fn is_partial(&self) -> bool {
        !self.unknown.is_empty() || self.opaque.is_some()
    }

    /// Places of [`BodyFacts::json`] at which something is that is not known: names of members, and none for
    /// the items of a list.
    pub fn unknown(&self) -> impl Iterator<Item = impl Iterator<Item = Option<&str>>> {
        self.unknown.iter().map(|place| {
            place.iter().map(|step| match step {
                Step::Member(name) | Step::Either(name) => Some(name.as_str()),
                Step::Item => None,
            })
        })
    }

    /// Whether it may set, change, remove, compare or copy a field, or a part of it.
    pub fn sets(&self, field: &FieldPattern) -> bool {
        let touches = |at: &[Step]| {
            let progress = follow(field, at);
            field.reached(progress) || field.open(progress)
        };
        self.opaque.is_some()
            || self.unknown.iter().any(|at| touches(at))
            || self.pieces.iter().any(|piece| match piece.how {
                How::Put | How::Test | How::From | How::To => touches(&piece.at),
                How::Append => {
                    let (_, list) = piece.at.split_last().unwrap_or((&Step::Item, &[]));
                    let progress = field.step(follow(field, list), None);
                    touched(field, progress, &piece.value, piece.how)
                }
                How::Object | How::Strategic | How::Merge => {
                    touched(field, follow(field, &piece.at), &piece.value, piece.how)
                }
            })
    }

    /// Whether it compares, copies or moves a field, something above it or a part of it: the answer then
    /// says something about its value. So it does of annotations, which may hold a copy, and of `managedFields`,
    /// which name items by their values.
    pub fn tests_or_copies(&self, field: &FieldPattern) -> bool {
        self.opaque.is_some()
            || self.pieces.iter().any(|piece| {
                let progress = follow(field, &piece.at);
                match piece.how {
                    How::Test | How::From | How::To => {
                        field.reached(progress) || field.open(progress) || piece.tells_of_copy()
                    }
                    How::Strategic => compares(field, progress, &piece.value),
                    _ => false,
                }
            })
    }

    /// The last step to each value that a JSON patch compares, or copies or moves, from or to; none for an item of a
    /// list.
    pub fn taken(&self) -> impl Iterator<Item = (Option<&str>, Taken)> {
        self.pieces.iter().filter_map(|piece| {
            let name = match piece.at.last() {
                Some(Step::Member(name)) => Some(name.as_str()),
                _ => None,
            };
            let taken = match piece.how {
                How::Test => Taken::Compared,
                How::From => Taken::From,
                How::To => Taken::To,
                _ => return None,
            };
            Some((name, taken))
        })
    }

    /// Whether it says what was applied, or another copy of the object in an annotation, to be something that holds
    /// the field.
    pub fn sets_applied(&self, field: &FieldPattern) -> bool {
        self.pieces.iter().any(|piece| {
            let mut names = piece.at.iter().rev().map(|step| match step {
                Step::Member(name) | Step::Either(name) => name.as_str(),
                Step::Item => "",
            });
            let name = names.next().unwrap_or_default();
            let above = names.next().unwrap_or_default();
            applies(field, &piece.value, above, name)
        })
    }

    /// Whether any string that is a value is like this, also those that a Secret holds in Base64 and those
    /// of the configuration that `kubectl apply` keeps in an annotation; of protobuf that is not known, all
    /// that may be one.
    pub fn any_string(&self, mut is: impl FnMut(&str) -> bool) -> bool {
        self.texts.iter().any(|text| is(text))
            || self.pieces.iter().any(|piece| {
                let last = match piece.at.last() {
                    Some(Step::Member(name)) => name.as_str(),
                    _ => "",
                };
                let inside = Inside {
                    root: self.secret && piece.at.is_empty(),
                    data: self.secret && in_data(&piece.at),
                    applied: last == LAST_APPLIED,
                };
                self.any_in(&piece.value, inside, &mut is)
            })
    }

    fn any_in(&self, value: &Value, inside: Inside, is: &mut dyn FnMut(&str) -> bool) -> bool {
        match value {
            Value::String(text) => {
                is(text)
                    || inside.data && decode(text).is_some_and(|plain| is(&plain))
                    || inside.applied
                        && tree::json(text.as_bytes()).is_ok_and(|value| {
                            let inside = Inside {
                                root: self.secret,
                                ..Inside::default()
                            };
                            self.any_in(&value, inside, is)
                        })
            }
            Value::Array(items) => {
                let inside = Inside {
                    root: false,
                    ..inside
                };
                items.iter().any(|item| self.any_in(item, inside, is))
            }
            Value::Object(members) => members.iter().any(|(name, value)| {
                let inside = Inside {
                    root: false,
                    data: inside.data || inside.root && name == "data",
                    applied: name == LAST_APPLIED,
                };
                self.any_in(value, inside, is)
            }),
            _ => false,
        }
    }
}

/// Where a string stands.
#[derive(Debug, Clone, Copy, Default)]
struct Inside {
    /// The Secret itself.
    root: bool,
    /// The data of a Secret.
    data: bool,
    /// What was applied, as JSON.
    applied: bool,
}

fn in_data(at: &[Step]) -> bool {
    matches!(at.first(), Some(Step::Member(name)) if name == "data")
}

/// Whether a value at a place may touch the field.
fn touched(field: &FieldPattern, progress: Progress, value: &Value, how: How) -> bool {
    if field.reached(progress) {
        return true;
    }
    if !field.open(progress) {
        return false;
    }
    match value {
        Value::Object(members) => members.iter().any(|(name, value)| {
            if matches!(name.as_str(), "$patch" | "$retainKeys") {
                return true;
            }
            // `$setElementOrder/NAME` and `$deleteFromPrimitiveList/NAME` are about the list NAME.
            match name.strip_prefix('$').and_then(|name| name.split_once('/')) {
                Some((_, list)) => {
                    let progress = field.step(progress, Some(list));
                    field.reached(progress) || field.reached(field.step(progress, None))
                }
                None => touched(field, field.step(progress, Some(name)), value, how),
            }
        }),
        Value::Array(_) if how == How::Merge => true,
        Value::Array(items) => {
            let progress = field.step(progress, None);
            items.iter().any(|item| touched(field, progress, item, how))
        }
        Value::Null => matches!(how, How::Strategic | How::Merge),
        // What is no object has nothing below it.
        _ => false,
    }
}

/// Whether a strategic patch takes items of a list away by values of the field.
fn compares(field: &FieldPattern, progress: Progress, value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            let deletes = members.get("$patch").and_then(Value::as_str) == Some("delete");
            members.iter().any(|(name, value)| {
                if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
                    let progress = field.step(progress, Some(list));
                    return field.reached(progress) || field.reached(field.step(progress, None));
                }
                let progress = field.step(progress, Some(name));
                deletes && field.reached(progress) || compares(field, progress, value)
            })
        }
        Value::Array(items) => {
            let progress = field.step(progress, None);
            items.iter().any(|item| compares(field, progress, item))
        }
        _ => false,
    }
}

impl Piece {
    /// Whether it compares, copies or moves what may hold a copy of any field.
    fn tells_of_copy(&self) -> bool {
        let names = self.at.iter().map(|step| match step {
            Step::Member(name) => Some(name.as_str()),
            Step::Item | Step::Either(_) => None,
        });
        match names.take(3).collect::<Vec<_>>().as_slice() {
            [] | [Some("metadata")] | [Some("metadata"), Some("managedFields"), ..] => true,
            [Some("metadata"), Some("annotations"), name] if self.how == How::Test => {
                let short = self
                    .value
                    .as_str()
                    .is_some_and(|text| text.len() < SHORTEST_COPY);
                !short || name.is_some_and(|name| name == LAST_APPLIED || is_copy(name))
            }
            [Some("metadata"), Some("annotations"), ..] => true,
            _ => false,
        }
    }
}

/// Whether a copy of the object in an annotation, somewhere in a value, holds the field. `above` and `name` are the
/// members that the value stands in.
fn applies(field: &FieldPattern, value: &Value, above: &str, name: &str) -> bool {
    match value {
        Value::String(text) if name == LAST_APPLIED => match tree::json(text.as_bytes()) {
            Ok(object) => touched(field, field.begin(), &object, How::Object),
            Err(_) => true,
        },
        Value::String(text) if above == "annotations" => {
            let copy = is_copy(name);
            if !copy && !text.trim_start().starts_with(['{', '[']) {
                return false;
            }
            match tree::json(text.as_bytes()) {
                Ok(object) => holds(field, &object),
                Err(_) => copy,
            }
        }
        Value::Object(members) => members
            .iter()
            .any(|(member, value)| applies(field, value, name, member)),
        Value::Array(items) => items.iter().any(|item| applies(field, item, "", "")),
        _ => false,
    }
}

/// Whether some object within a value has the field.
fn holds(field: &FieldPattern, value: &Value) -> bool {
    touched(field, field.begin(), value, How::Object)
        || match value {
            Value::Object(members) => members.values().any(|value| holds(field, value)),
            Value::Array(items) => items.iter().any(|item| holds(field, item)),
            _ => false,
        }
}

fn follow(field: &FieldPattern, at: &[Step]) -> Progress {
    at.iter().fold(field.begin(), |progress, step| match step {
        Step::Member(name) => field.step(progress, Some(name)),
        Step::Item => field.step(progress, None),
        Step::Either(name) => field.step(progress, Some(name)) | field.step(progress, None),
    })
}

/// The path of a JSON pointer, RFC 6901.
fn pointer(text: &str) -> Option<Vec<Step>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    // Without a slash in front the server ignores what stands there.
    let steps = text.strip_prefix('/')?.split('/');
    let steps: Vec<Step> = steps
        .map(|step| {
            let name: Cow<'_, str> = match step.contains('~') {
                true => step.replace("~1", "/").replace("~0", "~").into(),
                false => step.into(),
            };
            let digits = name.strip_prefix('-').unwrap_or(&name);
            match !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
                true => Step::Either(name.into_owned()),
                false => Step::Member(name.into_owned()),
            }
        })
        .take(MAX_STEPS + 1)
        .collect();
    (steps.len() <= MAX_STEPS).then_some(steps)
}

/// Text in Base64.
fn decode(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

/// Bytes as JSON has them.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
