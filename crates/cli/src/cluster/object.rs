//! Objects of the API as JSON: the few questions that commands ask of them.
//!
//! Objects stay JSON, so that a command line that is older or newer than the cluster still reads
//! what it needs.

use serde_json::Value;

/// What stands at a path, such as `/metadata/name`.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A number at a path; 0 where there is none.
pub(crate) fn number(object: &Value, pointer: &str) -> u64 {
    object
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_default()
}

/// A list at a path; empty where there is none.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Its name.
pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// `namespace/name`, or the name of what has no namespace.
pub(crate) fn full_name(object: &Value) -> String {
    match text(object, "/metadata/namespace") {
        "" => name(object).to_owned(),
        namespace => format!("{namespace}/{}", name(object)),
    }
}

/// Whether a text can be the name of an object: anything else could be another path.
pub(crate) fn is_name(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(|c| edge(c) || matches!(c, '-' | '.'))
}

/// A label.
pub(crate) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    keyed(object, "labels", key)
}

/// An annotation.
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    keyed(object, "annotations", key)
}

fn keyed<'a>(object: &'a Value, field: &str, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get(field)?.get(key)?.as_str()
}

/// A condition: its status, reason and message.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let found = list(object, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == kind)?;
    Some((
        text(found, "/status"),
        text(found, "/reason"),
        text(found, "/message"),
    ))
}

/// Whether a condition is true.
pub(crate) fn is(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|(status, ..)| status == "True")
}

/// Whether a pod carries Weir's sidecar where it belongs: first.
pub(crate) fn has_sidecar(pod: &Value) -> bool {
    list(pod, "/spec/initContainers")
        .first()
        .is_some_and(|first| text(first, "/name") == "weir-sidecar")
}

/// How a namespace takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Membership {
    /// Not, but for pods that ask for it themselves.
    None,
    /// Its pods get the sidecar.
    OptedIn,
    /// Its pods get the sidecar and may not be without.
    Enforced,
}

/// How a namespace takes part, by its labels.
pub(crate) fn membership(namespace: &Value) -> Membership {
    if label(namespace, "weir.dev/enforce") == Some("true") {
        Membership::Enforced
    } else if label(namespace, "weir.dev/inject") == Some("enabled") {
        Membership::OptedIn
    } else {
        Membership::None
    }
}

/// What a pod's own label or annotation says about injection; the label goes first.
pub(crate) fn wish(pod: &Value) -> Option<&str> {
    label(pod, "weir.dev/inject").or_else(|| annotation(pod, "weir.dev/inject"))
}
