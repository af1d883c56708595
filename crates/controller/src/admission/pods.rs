//! Pods that are made, and debug containers that are added to them.

use serde_json::{Value, json};
use weir_injection::{Governed, Namespace, Settings, inject, inject_ephemeral};

use super::Admission;
use super::review::{Answer, Operation, Question};
use crate::keepers::Keepers;

/// Pod annotation: who made it, as the API server authenticated them.
pub(crate) const CREATED_BY: &str = "weir.dev/created-by";

/// What the API server proved of a namespace by asking at a path that only such namespaces ask. A
/// namespace that was labelled a moment ago may not be known here yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proven {
    /// It is labelled `weir.dev/inject: enabled`.
    Injected,
    /// It is labelled `weir.dev/enforce: "true"`.
    Enforced,
}

/// Injects.
pub(super) fn mutate(own: &Admission, question: &Question, proven: Option<Proven>) -> Answer {
    let mut labels = own
        .known
        .namespace_labels(&question.namespace)
        .unwrap_or_default();
    match proven {
        None => {}
        Some(Proven::Injected) => {
            labels.insert(weir_injection::INJECT.to_owned(), "enabled".to_owned());
            // the enforced have a path of their own
            labels.remove(weir_injection::ENFORCE);
        }
        Some(Proven::Enforced) => {
            labels.insert(weir_injection::ENFORCE.to_owned(), "true".to_owned());
        }
    }
    let namespace = Namespace {
        name: question.namespace.clone(),
        labels,
    };
    match (question.operation, question.sub_resource.as_str()) {
        (Operation::Create, "") => match own.known.injection() {
            Some(mut settings) => {
                if let Some(kubernetes) = &mut settings.kubernetes {
                    kubernetes.may_keep = may_keep(own, question);
                }
                create(question, &namespace, &settings)
            }
            None => Answer::refuse("the controller has no root yet; try again in a moment"),
        },
        (Operation::Update, "ephemeralcontainers") => {
            match inject_ephemeral(&question.old_object, &question.object, &namespace) {
                Ok(injected) => Answer::change(injected.pod).warn(injected.notes),
                Err(refusal) => Answer::refuse(refusal.to_string()),
            }
        }
        _ => Answer::allow(),
    }
}

fn create(question: &Question, namespace: &Namespace, settings: &Settings) -> Answer {
    match inject(&question.object, namespace, settings) {
        Ok(injected) => {
            let mut pod = injected.pod;
            if matches!(injected.governed, Governed::Asked | Governed::Enforced) {
                sign(&mut pod, &question.user_info.username);
            }
            Answer::change(pod).warn(injected.notes)
        }
        Err(refusal) => Answer::refuse(refusal.to_string()),
    }
}

/// Whether a PolicyException lets the pod's programs keep the token of its service account.
fn may_keep(own: &Admission, question: &Question) -> bool {
    let account = question.object.pointer("/spec/serviceAccountName");
    let account = account.and_then(Value::as_str).unwrap_or("default");
    Keepers::of(&own.known.resources(), (own.now)()).contains(&question.namespace, account)
}

/// Says who made the pod, so that they do not approve its requests.
fn sign(pod: &mut Value, user: &str) {
    let annotations = pod.pointer_mut("/metadata/annotations");
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.insert(CREATED_BY.to_owned(), json!(user));
    }
}
