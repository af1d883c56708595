//! Whether a pod is governed: who asked for it, and who may ask that it is not.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::names::{ENFORCE, INJECT};
use crate::refusal::Refusal;
use crate::settings::Settings;

/// The namespace of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Namespace {
    /// Whether pods may run here only if they are governed.
    pub fn is_enforced(&self) -> bool {
        self.labels
            .get(ENFORCE)
            .is_some_and(|value| value == "true")
    }

    fn is_injected(&self) -> bool {
        self.labels
            .get(INJECT)
            .is_some_and(|value| value == "enabled")
    }
}

/// Whether a pod is governed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Governed {
    /// It is, and does not run otherwise.
    Enforced,
    /// It is.
    Asked,
    /// It is not: nobody asked.
    NotAsked,
    /// It is not though somebody asked, and why.
    Not(&'static str),
}

/// Decides whether a pod is governed; a pod that must be and cannot be is refused.
pub fn governed(
    pod: &Value,
    namespace: &Namespace,
    settings: &Settings,
) -> Result<Governed, Refusal> {
    if namespace.name == "kube-system" || namespace.name == settings.namespace {
        return Ok(Governed::Not(
            "pods of kube-system and of Weir's own namespace are never injected",
        ));
    }
    let enforced = namespace.is_enforced();
    if !enforced {
        let said = [mark(pod, "labels"), mark(pod, "annotations")];
        let enabled = said.contains(&Some("enabled"));
        if !enabled && said.contains(&Some("disabled")) {
            return Ok(Governed::Not("weir.dev/inject is disabled on the pod"));
        }
        if !enabled && !namespace.is_injected() {
            return Ok(Governed::NotAsked);
        }
    }
    let obstacle = obstacle(pod);
    match (obstacle, enforced) {
        (None, true) => Ok(Governed::Enforced),
        (None, false) => Ok(Governed::Asked),
        (Some((refusal, _)), true) => Err(refusal),
        (Some((_, note)), false) => Ok(Governed::Not(note)),
    }
}

/// What keeps a pod from being governed: as a refusal, and as a note.
fn obstacle(pod: &Value) -> Option<(Refusal, &'static str)> {
    if pod
        .pointer("/metadata/annotations/kubernetes.io~1config.mirror")
        .is_some()
    {
        return Some((
            Refusal::Static,
            "a static pod runs unprotected: its node made it",
        ));
    }
    if pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true) {
        let note = "the pod runs unprotected: hostNetwork shares the node's network";
        return Some((Refusal::HostNetwork, note));
    }
    if pod.pointer("/spec/os/name").and_then(Value::as_str) == Some("windows") {
        return Some((
            Refusal::Windows,
            "the pod runs unprotected: Weir governs Linux pods",
        ));
    }
    None
}

fn mark<'a>(pod: &'a Value, place: &str) -> Option<&'a str> {
    pod.get("metadata")?.get(place)?.get(INJECT)?.as_str()
}
