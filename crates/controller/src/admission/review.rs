//! `AdmissionReview` of `admission.k8s.io/v1`: question and answer.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::UserInfo;
use serde::Deserialize;
use serde_json::{Value, json};

/// Values in a review: lists, objects, and what is in them. The largest objects that people write have a tenth of them,
/// and each takes many times its bytes in memory.
const MAX_VALUES: usize = 150_000;
/// Fields of an object that are compared one by one: those of the object and of its `metadata`, `spec` and `status`.
const DEPTH: usize = 2;
/// Warnings beyond these are cut, as the API server would.
const MAX_WARNINGS: usize = 16;
const MAX_WARNING: usize = 250;

#[derive(Deserialize)]
struct Review {
    request: Question,
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Question {
    uid: String,
    #[serde(default)]
    pub(super) sub_resource: String,
    #[serde(default)]
    pub(super) namespace: String,
    pub(super) operation: Operation,
    pub(super) user_info: User,
    #[serde(default)]
    pub(super) object: Value,
    #[serde(default)]
    pub(super) old_object: Value,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// Who does it, as the API server authenticated them.
#[derive(Debug, Deserialize)]
pub(super) struct User {
    #[serde(default)]
    pub(super) username: String,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    pub(super) groups: Vec<String>,
    #[serde(default)]
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Everything that is known of them.
    pub(super) fn as_known(&self) -> UserInfo {
        UserInfo {
            username: Some(self.username.clone()),
            uid: self.uid.clone(),
            groups: Some(self.groups.clone()),
            extra: Some(self.extra.clone()),
        }
    }
}

/// What is answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    refusal: Option<String>,
    changed: Option<Value>,
    warnings: Vec<String>,
}

impl Answer {
    /// Yes.
    pub(super) fn allow() -> Self {
        Self::default()
    }

    /// No.
    pub(super) fn refuse(why: impl Into<String>) -> Self {
        Self {
            refusal: Some(why.into()),
            ..Self::default()
        }
    }

    /// Yes, as this object.
    pub(super) fn change(object: Value) -> Self {
        Self {
            changed: Some(object),
            ..Self::default()
        }
    }

    /// Whether it is a yes.
    pub(super) fn allows(&self) -> bool {
        self.refusal.is_none()
    }

    /// The same, with words for whoever asked.
    pub(super) fn warn(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        self
    }
}

/// As much of a review as an answer to one that is not read needs.
#[derive(Deserialize)]
struct Outline {
    request: Uid,
}

#[derive(Deserialize)]
struct Uid {
    uid: String,
}

/// Reads a review in JSON; or the review that says that it is none, or too large a one.
pub(super) fn read(body: &[u8]) -> Result<Question, Vec<u8>> {
    if values(body) > MAX_VALUES {
        let outline = serde_json::from_slice::<Outline>(body);
        let uid = outline.map_or_else(|_| String::new(), |outline| outline.request.uid);
        return Err(written(&json!({
            "uid": uid,
            "allowed": false,
            "status": {"code": 413, "reason": "RequestEntityTooLarge",
                "message": format!("weir: the object has more than {MAX_VALUES} values")},
        })));
    }
    let review = serde_json::from_slice::<Review>(body);
    review.map(|review| review.request).map_err(|error| {
        written(&json!({
            "uid": "",
            "allowed": false,
            "status": {"code": 400, "reason": "BadRequest",
                "message": format!("weir: this is not an AdmissionReview of admission.k8s.io/v1: {error}")},
        }))
    })
}

/// Answers a review with a review in JSON.
pub(super) fn answer(question: &Question, answer: Answer) -> Vec<u8> {
    written(&respond(question, answer))
}

fn written(response: &Value) -> Vec<u8> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": response,
    });
    review.to_string().into_bytes()
}

fn respond(question: &Question, answer: Answer) -> Value {
    let mut response = json!({"uid": question.uid, "allowed": answer.refusal.is_none()});
    let Some(fields) = response.as_object_mut() else {
        return response;
    };
    let warnings: Vec<String> = answer
        .warnings
        .into_iter()
        .take(MAX_WARNINGS)
        .map(cut)
        .collect();
    if !warnings.is_empty() {
        fields.insert("warnings".to_owned(), json!(warnings));
    }
    if let Some(why) = answer.refusal {
        let status = json!({"code": 403, "reason": "Forbidden", "message": format!("weir: {why}")});
        fields.insert("status".to_owned(), status);
        return response;
    }
    if let Some(changed) = answer.changed.filter(|changed| *changed != question.object) {
        let mut patch = Vec::new();
        differ("", 0, &question.object, &changed, &mut patch);
        let patch = Value::from(patch).to_string();
        fields.insert("patchType".to_owned(), json!("JSONPatch"));
        fields.insert("patch".to_owned(), json!(STANDARD.encode(patch)));
    }
    response
}

/// How many values JSON has, without reading it: what begins one, or parts it from the next, outside of texts.
fn values(body: &[u8]) -> usize {
    let (mut count, mut text, mut escaped) = (0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = text,
            b'"' => text = !text,
            b',' | b'[' | b'{' if !text => count += 1,
            _ => {}
        }
    }
    count
}

/// What changes one object into another, as the operations of a JSON Patch. What lies deep is replaced with what holds it,
/// so that the patch is no larger than the object.
fn differ(path: &str, depth: usize, old: &Value, new: &Value, patch: &mut Vec<Value>) {
    let (Some(before), Some(after), true) = (old.as_object(), new.as_object(), depth < DEPTH)
    else {
        patch.push(json!({"op": "replace", "path": path, "value": new}));
        return;
    };
    let at = |name: &str| format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.push(json!({"op": "remove", "path": at(name)}));
    }
    for (name, value) in after {
        match before.get(name) {
            None => patch.push(json!({"op": "add", "path": at(name), "value": value})),
            Some(same) if same == value => {}
            Some(other) => differ(&at(name), depth + 1, other, value, patch),
        }
    }
}

/// A warning of a length that the API server shows in full.
fn cut(mut text: String) -> String {
    text.insert_str(0, "weir: ");
    if text.len() > MAX_WARNING {
        let end = text.floor_char_boundary(MAX_WARNING - "…".len());
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_texts() {
        for (json, count) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a": [1, 2], "b": {}}"#, 5),
            (r#"["a,[{", "\\", "\",[{", ","]"#, 4),
        ] {
            assert_eq!(values(json.as_bytes()), count, "{json}");
        }
    }

    #[test]
    fn a_review_of_too_many_values_is_refused_by_its_own_uid_and_not_read() {
        let of = |count: usize| {
            let many = vec!["{}"; count].join(",");
            format!(
                r#"{{"request": {{"object": {{"spec": {{"containers": [{many}]}}}}, "operation": "CREATE",
                    "userInfo": {{}}, "uid": "7"}}}}"#
            )
        };
        assert!(read(of(MAX_VALUES / 2 - 10).as_bytes()).is_ok());
        let answer = read(of(MAX_VALUES).as_bytes()).unwrap_err();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["response"]["uid"], "7");
        assert_eq!(answer["response"]["allowed"], false);
        assert_eq!(answer["response"]["status"]["code"], 413);
    }

    #[test]
    fn a_patch_is_no_larger_than_the_object_and_makes_it() {
        let containers: Vec<Value> = (0..100)
            .map(|n| json!({"name": n, "env": [{"a": n}]}))
            .collect();
        let old = json!({"metadata": {"name": "x", "a/b~c": 1, "gone": {}}, "spec": {"initContainers": containers,
            "same": [1]}, "kind": "Pod"});
        let mut new = old.clone();
        let list = new["spec"]["initContainers"].as_array_mut().unwrap();
        list.insert(0, json!({"name": "first"}));
        let metadata = new["metadata"].as_object_mut().unwrap();
        metadata.remove("gone");
        metadata.insert("a/b~c".to_owned(), json!({"x": 2}));
        metadata.insert("new".to_owned(), json!([1]));
        new["status"] = json!({"a": 1});
        let mut patch = Vec::new();
        differ("", 0, &old, &new, &mut patch);
        let text = Value::from(patch).to_string();
        assert!(text.len() < new.to_string().len() + 400);
        let mut made = old;
        let patch: json_patch::Patch = serde_json::from_str(&text).unwrap();
        json_patch::patch(&mut made, &patch).unwrap();
        assert_eq!(made, new);
    }
}
