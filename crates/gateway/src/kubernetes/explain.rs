//! What would be decided about a request to a Kubernetes API, without a server: for `weir explain`. The
//! request is read as it would be on its way.

use weir_policy::{Bundle, Decision, NoCounters, Protocol, Subject};
use weir_wire_kube as wire;

use super::asked::{Asked, Object};
use crate::explain::scope_of;
use crate::millis;

/// What somebody would ask a Kubernetes API for.
#[derive(Clone, Copy, Debug, Default)]
pub struct KubernetesQuestion<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path, and the query after a `?`.
    pub url: &'a str,
    /// The content type of the object; none is JSON.
    pub content_type: Option<&'a str>,
    /// The object.
    pub object: Option<&'a [u8]>,
}

/// An answer, and what was understood of the question.
#[derive(Debug)]
pub struct KubernetesAnswer {
    /// The decision.
    pub decision: Decision,
    /// The verb and the resource.
    pub request: String,
    /// The labelled fields that the answer may hold, in the order of the decision's masks.
    pub fields: Vec<String>,
}

/// The decision on what is asked for.
///
/// # Errors
/// The request cannot be read, the target is unknown or of another protocol, or no policy selects subject
/// and target.
pub fn explain_kubernetes(
    bundle: &Bundle,
    subject: &Subject,
    target: &str,
    question: KubernetesQuestion<'_>,
) -> Result<KubernetesAnswer, String> {
    let now = millis();
    let scope = scope_of(bundle, subject, (target, Protocol::Kubernetes), now)?;
    let (path, query) = match question.url.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (question.url, None),
    };
    let request = wire::parse(question.method, path, query);
    let request = request.map_err(|refused| format!("ambiguous request refused: {refused}"))?;
    let object = question.object.map(|bytes| Object {
        kind: wire::body_kind(question.content_type),
        bytes,
    });
    let asked = Asked::new(request, false, object.as_ref(), &scope);
    let decision = asked.judge(|operation| scope.decide(operation, &NoCounters, now));
    let fields = asked.labels.iter().map(|(field, _)| field.to_string());
    Ok(KubernetesAnswer {
        decision,
        request: asked.stream().unwrap_or_else(|| asked.command_tag()),
        fields: fields.collect(),
    })
}
