//! `AdmissionReview` of `admission.k8s.io/v1`: question and answer.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::UserInfo;
use serde::Deserialize;
use serde_json::{Value, json};

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

/// Reads a review in JSON; or the review that says that it is none.
pub(super) fn read(body: &[u8]) -> Result<Question, Vec<u8>> {
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
        let patch = json!(json_patch::diff(&question.object, &changed)).to_string();
        fields.insert("patchType".to_owned(), json!("JSONPatch"));
        fields.insert("patch".to_owned(), json!(STANDARD.encode(patch)));
    }
    response
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
