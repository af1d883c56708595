//! The digest of a snapshot: equal for equal content on both sides of the wire.
//!
//! It is taken over the JSON as it was sent, not over what this version understands of it, so that
//! an older sidecar verifies what a newer controller says.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{ControlError, Snapshot};

/// The parts of a snapshot that are its content.
const CONTENT: [&str; 4] = ["resources", "secrets", "services", "settings"];

impl Snapshot {
    /// SHA-256 in hex over the content: everything but `revision` and `digest`.
    ///
    /// # Errors
    /// The content cannot be written as JSON.
    pub fn content_digest(&self) -> Result<String, ControlError> {
        let value =
            serde_json::to_value(self).map_err(|error| ControlError::Answer(error.to_string()))?;
        Ok(content_digest(&value))
    }
}

/// The digest of a snapshot as it stands in JSON.
pub(crate) fn content_digest(snapshot: &Value) -> String {
    let mut text = String::from("{");
    for (n, name) in CONTENT.into_iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\"{name}\":");
        canonical(snapshot.get(name).unwrap_or(&Value::Null), &mut text);
    }
    text.push('}');
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Writes a value without spaces, members ordered by name.
fn canonical(value: &Value, into: &mut String) {
    match value {
        Value::Array(items) => {
            into.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    into.push(',');
                }
                canonical(item, into);
            }
            into.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            into.push('{');
            for (n, (name, member)) in members.into_iter().enumerate() {
                if n > 0 {
                    into.push(',');
                }
                let _ = write!(into, "{}:", Value::from(name.as_str()));
                canonical(member, into);
            }
            into.push('}');
        }
        scalar => {
            let _ = write!(into, "{scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_members_and_the_revision_do_not_matter() {
        let one = json!({"revision": 1, "digest": "", "resources": [{"b": 1, "a": [true, null]}],
            "services": [], "secrets": {"x": {"k": "v"}}, "settings": {"keepSeconds": 5}});
        let other = json!({"settings": {"keepSeconds": 5}, "secrets": {"x": {"k": "v"}},
            "services": [], "resources": [{"a": [true, null], "b": 1}], "revision": 9});
        assert_eq!(content_digest(&one), content_digest(&other));
        let changed = json!({"settings": {"keepSeconds": 6}, "secrets": {"x": {"k": "v"}},
            "services": [], "resources": [{"a": [true, null], "b": 1}]});
        assert_ne!(content_digest(&one), content_digest(&changed));
    }

    #[test]
    fn both_sides_of_the_wire_agree() {
        let snapshot = Snapshot {
            revision: 7,
            resources: vec![json!({"kind": "Target", "spec": {"z": "é\n\"", "a": 1.5}})],
            ..Snapshot::default()
        };
        let sent = serde_json::to_string(&snapshot).unwrap();
        let received: Value = serde_json::from_str(&sent).unwrap();
        assert_eq!(
            snapshot.content_digest().unwrap(),
            content_digest(&received)
        );
    }

    #[test]
    fn a_field_that_is_not_known_here_counts() {
        let mut value = serde_json::to_value(Snapshot::default()).unwrap();
        let before = content_digest(&value);
        value["settings"]["newer"] = json!(true);
        assert_ne!(before, content_digest(&value));
    }
}
