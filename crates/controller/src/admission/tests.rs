//! The webhooks, asked as the API server asks them.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use weir_api::{Resources, load_str};
use weir_injection::Settings;

use super::{Admission, Known};
use crate::decisions::access::Right;
use crate::decisions::access::tests::Rights;

mod pods;
mod requests;
mod resources;

/// What is known in tests.
#[derive(Default)]
struct Cluster {
    labels: BTreeMap<String, BTreeMap<String, String>>,
    resources: Resources,
    rootless: bool,
    /// Rights that RBAC gives.
    rights: Vec<(&'static str, Right)>,
    /// No request is known.
    unasked: bool,
    /// RBAC does not answer.
    silent: bool,
}

impl Cluster {
    fn namespace(mut self, name: &str, label: &str, value: &str) -> Self {
        let labels = self.labels.entry(name.to_owned()).or_default();
        labels.insert(label.to_owned(), value.to_owned());
        self
    }

    fn with(mut self, name: &str, yaml: &str) -> Self {
        self.resources.merge(load_str(name, yaml).unwrap());
        self
    }

    fn ask(self, path: &str, question: &Value) -> Answered {
        let now = || "2026-11-27T12:00:00Z".parse::<Timestamp>().unwrap();
        let access = Rights {
            given: self.rights.clone(),
            silent: self.silent,
            ..Rights::default()
        };
        let admission = Admission::new(Arc::new(self), Arc::new(access), "weir-system", now);
        let body = question.to_string();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let answer = runtime.block_on(admission.review(path, body.as_bytes()));
        let answer = answer.unwrap();
        let review: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(review["kind"], "AdmissionReview");
        let response = review["response"].clone();
        assert_eq!(response["uid"], question["request"]["uid"]);
        Answered {
            response,
            object: question["request"]["object"].clone(),
        }
    }
}

impl Known for Cluster {
    fn namespace_labels(&self, name: &str) -> Option<BTreeMap<String, String>> {
        self.labels.get(name).cloned()
    }

    fn resources(&self) -> Resources {
        self.resources.clone()
    }

    fn asks(&self, _: &str, name: &str, spec: &Value) -> bool {
        name == "weir-x1" && spec.is_object() && !self.unasked
    }

    fn injection(&self) -> Option<Settings> {
        let settings = json!({"version": "1.2.3", "namespace": "weir-system",
            "image": "weir.dev/weir-sidecar:1.2.3", "ca": "-----BEGIN CERTIFICATE-----\n"});
        (!self.rootless).then(|| serde_json::from_value(settings).unwrap())
    }
}

/// An answer.
struct Answered {
    response: Value,
    object: Value,
}

impl Answered {
    /// The object as the API server would store it.
    fn object(&self) -> Value {
        assert_eq!(self.response["allowed"], true, "{}", self.response);
        let mut object = self.object.clone();
        if let Some(patch) = self.response["patch"].as_str() {
            assert_eq!(self.response["patchType"], "JSONPatch");
            let patch = STANDARD.decode(patch).unwrap();
            let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
            json_patch::patch(&mut object, &patch).unwrap();
        }
        object
    }

    fn refusal(&self) -> &str {
        assert_eq!(self.response["allowed"], false, "{}", self.response);
        self.response["status"]["message"].as_str().unwrap()
    }

    fn warnings(&self) -> Vec<&str> {
        assert_eq!(self.response["allowed"], true, "{}", self.response);
        let warnings = self.response["warnings"].as_array();
        warnings
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }
}

/// An `AdmissionReview` as the API server sends it; `changes` replace fields of its request.
fn review(changes: Value) -> Value {
    let mut review = json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "0c9a8d74-9cb7-44dd-b98e-09fd62def2f4",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {"username": "alice", "groups": ["stewards", "system:authenticated"],
                "extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=ab"]}},
            "object": null,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    });
    let request = review["request"].as_object_mut().unwrap();
    for (field, value) in changes.as_object().unwrap() {
        request.insert(field.clone(), value.clone());
    }
    review
}

#[tokio::test]
async fn what_is_no_review_is_refused() {
    let admission = Admission::new(
        Arc::new(Cluster::default()),
        Arc::new(Rights::default()),
        "weir-system",
        Timestamp::now,
    );
    for body in ["", "{}", "[]", r#"{"request": {"uid": 1}}"#] {
        let answer = admission
            .review("/mutate/pods", body.as_bytes())
            .await
            .unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["response"]["allowed"], false);
    }
    assert!(admission.review("/mutate/other", b"{}").await.is_none());
}
