//! What people are shown of a request beside its line: in whose name it asks, and its object.
//!
//! Invariants: values of labelled fields and of Secrets are hidden, their names are not; what is left out
//! is counted, and said before the object begins; what cannot be shown is said to be hidden. Whatever is
//! shown, an approval is for one request, and its digest is that of the whole object.

use http::request;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use weir_wire_kube::body::facts;
use weir_wire_kube::{BodyKind, FieldPattern, Resource, Segment};

use super::asked::Object;
use super::credentials::{self, Claim, Presented};

/// Most bytes of an object that people are shown.
const OBJECT: usize = 128 << 10;
/// Most characters of one of its texts, and of an annotation.
const TEXT: usize = 16 << 10;
const ANNOTATION: usize = 1024;
/// What stands in place of a value.
const HIDDEN: &str = "‹hidden›";
/// What was applied, as JSON in an annotation.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What people are shown; none where there is nothing beside the line.
pub(super) fn detail(
    head: &request::Parts,
    claim: Claim,
    resource: Option<&Resource>,
    object: Option<&Object<'_>>,
    fields: &[FieldPattern],
) -> Option<String> {
    let mut words = Vec::new();
    for (name, value) in &head.headers {
        if credentials::acts_for_another(name) {
            let value = String::from_utf8_lossy(value.as_bytes());
            words.push(format!("In the name of another, {name}: {value}"));
        }
    }
    if claim.presented == Presented::Other {
        words.push("With credentials of its own, not those of its pod.".to_owned());
    }
    if let Some(object) = object.filter(|object| !object.bytes.is_empty()) {
        words.push(shown(resource, object, fields));
    }
    (!words.is_empty()).then(|| words.join("\n"))
}

/// The object in words.
fn shown(resource: Option<&Resource>, object: &Object<'_>, fields: &[FieldPattern]) -> String {
    let (size, digest) = (object.bytes.len(), Sha256::digest(object.bytes));
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let whole = format!("Its object ({size} bytes, sha256 {digest})");
    let Some(resource) = resource else {
        return format!("{whole} is not shown: it belongs to no resource.");
    };
    let facts = facts(resource, object.kind, object.bytes);
    let partial = facts.is_partial();
    let Some(mut value) = facts.json else {
        let why = facts.opaque.as_deref().unwrap_or("it cannot be read");
        return format!("{whole} is not shown: {why}.");
    };
    let mut masking = Masking::new(resource, fields);
    match object.kind {
        BodyKind::JsonPatch => masking.operations(&mut value),
        _ => masking.value(&mut value, &mut Vec::new()),
    }
    let text = printed(value);
    let mut notes = Vec::new();
    if masking.hidden > 0 {
        notes.push(format!("{} values are hidden", masking.hidden));
    }
    if masking.cut > 0 {
        notes.push(format!(
            "{} characters of long texts are left out",
            masking.cut
        ));
    }
    if partial {
        notes.push("parts of it that Weir does not know are left out".to_owned());
    }
    let mut kept = text.len().min(OBJECT);
    while !text.is_char_boundary(kept) {
        kept -= 1;
    }
    let (kept, rest) = text.split_at(kept);
    if !rest.is_empty() {
        notes.push(format!(
            "its last {} characters of {} are left out",
            rest.chars().count(),
            text.chars().count()
        ));
    }
    let notes = match notes.as_slice() {
        [] => String::new(),
        notes => format!(" BUT {}", notes.join("; ")),
    };
    format!("{whole}{notes}:\n{kept}")
}

/// As JSON, what it is to be before what describes it.
fn printed(mut value: Value) -> String {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    let metadata = value
        .as_object_mut()
        .and_then(|members| members.remove("metadata"));
    match metadata {
        Some(metadata) => {
            let names = ["name", "generateName", "namespace"];
            let names = names.iter().filter_map(|name| metadata.get(name)?.as_str());
            let names: Vec<&str> = names.collect();
            format!(
                "# {}\n{}\n# metadata\n{}",
                names.join(" in "),
                pretty(&value),
                pretty(&metadata)
            )
        }
        None => pretty(&value),
    }
}

/// Hides values, and shortens long ones.
struct Masking {
    fields: Vec<FieldPattern>,
    hidden: usize,
    /// Characters that are left out.
    cut: usize,
}

impl Masking {
    fn new(resource: &Resource, fields: &[FieldPattern]) -> Self {
        let mut fields = fields.to_vec();
        if resource.group.is_empty() && resource.resource == "secrets" {
            // `stringData` is read as `data`.
            fields.extend(FieldPattern::parse("data").ok());
        }
        Self {
            fields,
            hidden: 0,
            cut: 0,
        }
    }

    fn value(&mut self, value: &mut Value, path: &mut Vec<Segment>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    path.push(Segment::Member(name.as_str().into()));
                    self.value(value, path);
                    path.pop();
                }
            }
            Value::Array(items) => {
                for value in items {
                    path.push(Segment::Item);
                    self.value(value, path);
                    path.pop();
                }
            }
            Value::Null => {}
            value => {
                let name = match path.last() {
                    Some(Segment::Member(name)) => &**name,
                    _ => "",
                };
                let applied = name == APPLIED && !self.fields.is_empty();
                if applied || self.fields.iter().any(|field| field.covers(path)) {
                    self.hide(value);
                } else if let Value::String(text) = value {
                    let annotates = matches!(path.as_slice(), [Segment::Member(first), Segment::Member(second), _]
                        if **first == *"metadata" && **second == *"annotations");
                    self.shorten(text, if annotates { ANNOTATION } else { TEXT });
                }
            }
        }
    }

    /// The operations of a JSON patch: where a labelled field may be meant, the whole value is hidden.
    fn operations(&mut self, operations: &mut Value) {
        let Some(operations) = operations.as_array_mut() else {
            return self.hide(operations);
        };
        for operation in operations {
            let pointer = operation.get("path").and_then(Value::as_str);
            let pointer = pointer.unwrap_or_default().to_owned();
            if let Some(value) = operation.get_mut("value") {
                if self.may_mean(&pointer) {
                    self.hide(value);
                } else if let Value::String(text) = value {
                    self.shorten(text, TEXT);
                }
            }
        }
    }

    /// Whether a place of a JSON patch may be a labelled field, lie below one or above it.
    fn may_mean(&self, pointer: &str) -> bool {
        let steps = || pointer.split('/').skip(1);
        // A number names an item or a member.
        let number =
            |step: &str| !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
        if !self.fields.is_empty() && steps().any(|step| number(step) || step == "-") {
            return true;
        }
        let path: Vec<Segment> = steps()
            .map(|step| Segment::Member(step.replace("~1", "/").replace("~0", "~").into()))
            .collect();
        let mut fields = self.fields.iter();
        fields.any(|field| field.covers(&path) || field.is_below(&path))
            || !self.fields.is_empty() && pointer.contains("last-applied-configuration")
    }

    fn hide(&mut self, value: &mut Value) {
        if !value.is_null() {
            *value = HIDDEN.into();
            self.hidden += 1;
        }
    }

    fn shorten(&mut self, text: &mut String, most: usize) {
        let total = text.chars().count();
        if total > most {
            let kept: String = text.chars().take(most).collect();
            *text = format!("{kept}… (+{})", total - most);
            self.cut += total - most;
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_wire_kube as wire;

    use super::*;

    fn resource(path: &str) -> Resource {
        let request = wire::parse("POST", path, None).unwrap();
        request.resource.unwrap()
    }

    fn of(path: &str, kind: BodyKind, body: &str, fields: &[&str]) -> String {
        let fields = fields
            .iter()
            .map(|field| FieldPattern::parse(field).unwrap());
        let fields: Vec<FieldPattern> = fields.collect();
        let bytes = body.as_bytes();
        shown(Some(&resource(path)), &Object { kind, bytes }, &fields)
    }

    const PODS: &str = "/api/v1/namespaces/shop/pods";
    const SECRETS: &str = "/api/v1/namespaces/shop/secrets";

    #[test]
    fn an_object_is_shown_but_for_what_is_labelled() {
        let body = r#"{"kind": "Pod", "metadata": {"name": "benign", "annotations": {"owner": "s3cret",
            "kubectl.kubernetes.io/last-applied-configuration": "{\"s3cret\": 1}"}},
            "spec": {"containers": [{"image": "registry.example/ok:1", "env": [{"name": "A", "value": "s3cret"}]}]}}"#;
        let fields = [
            "spec.containers[*].env[*].value",
            "metadata.annotations.owner",
        ];
        let text = of(PODS, BodyKind::Json, body, &fields);
        assert!(
            text.contains("registry.example/ok:1") && text.contains("\"benign\""),
            "{text}"
        );
        assert!(
            !text.contains("s3cret") && text.contains("3 values are hidden"),
            "{text}"
        );
        let plain = of(PODS, BodyKind::Json, body, &[]);
        assert!(
            plain.contains("s3cret") && !plain.contains("hidden"),
            "{plain}"
        );
        let yaml = of(PODS, BodyKind::ApplyYaml, "spec: {nodeName: n1}", &[]);
        assert!(yaml.contains("\"nodeName\": \"n1\""), "{yaml}");
    }

    #[test]
    fn values_of_secrets_are_never_shown() {
        let body = r#"{"data": {"password": "czNjcmV0"}, "stringData": {"token": "s3cret"}, "type": "Opaque"}"#;
        let text = of(SECRETS, BodyKind::Json, body, &[]);
        assert!(
            !text.contains("czNjcmV0") && !text.contains("s3cret"),
            "{text}"
        );
        assert!(text.contains("password") && text.contains("token") && text.contains("Opaque"));
        for path in ["/data/password", "/data", "", "/stringData/0"] {
            let patch = format!(r#"[{{"op": "replace", "path": "{path}", "value": "s3cret"}}]"#);
            let text = of(SECRETS, BodyKind::JsonPatch, &patch, &[]);
            assert!(
                !text.contains("s3cret") && text.contains("replace"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_left_out_is_counted_before_anything_else() {
        let filler = "a".repeat(TEXT + 7);
        let text = of(
            PODS,
            BodyKind::Json,
            &format!(r#"{{"spec": {{"x": "{filler}"}}}}"#),
            &[],
        );
        assert!(
            text.contains("7 characters of long texts are left out"),
            "{}",
            &text[..300]
        );
        let many: Vec<String> = (0..20_000).map(|i| format!("\"k{i:05}\": \"v\"")).collect();
        let long = format!(
            r#"{{"metadata": {{"labels": {{{}}}}}, "spec": {{"nodeName": "n1"}}}}"#,
            many.join(",")
        );
        let text = of(PODS, BodyKind::Json, &long, &[]);
        let (first, rest) = text.split_once('\n').unwrap();
        assert!(
            first.contains("BUT its last ") && first.contains("sha256 "),
            "{first}"
        );
        assert!(rest.contains("\"nodeName\": \"n1\"") && rest.len() <= OBJECT);
        let other = of(PODS, BodyKind::Json, &long.replace("k19999", "k1999x"), &[]);
        assert!(other != text, "the digest is of the whole");
        for (kind, body) in [(BodyKind::Other, "x"), (BodyKind::Json, "{")] {
            let text = of(PODS, kind, body, &[]);
            assert!(text.contains("is not shown: "), "{text}");
        }
    }
}
