//! A request as people see it, made from the evidence of it: the same in standalone, in a pod, and for
//! whoever reads the record.

use std::sync::Arc;

use weir_api::kinds::{
    self, AccessRequestSpec, ApproverDecision, DecisionVia, RequestDecision, Requester,
};
use weir_audit::{
    AccessRequestCreated, AccessRequestDecided, Binding, Names, Ruling, Session, Timestamp, Value,
    Via,
};

use super::Decision;

/// The request of a session as the spec of an AccessRequest; its summary is the request's own, or is
/// made where it has none.
#[must_use]
pub fn spec(session: &Session, created: &AccessRequestCreated) -> AccessRequestSpec {
    let text = |field: &Option<Arc<str>>| field.as_deref().map(str::to_owned);
    let names = |names: &Names| names.iter().map(str::to_owned).collect::<Vec<String>>();
    let texts = |list: &[Arc<str>]| {
        list.iter()
            .map(ToString::to_string)
            .collect::<Vec<String>>()
    };
    let identity = &session.identity;
    let rule = created.rules.iter().next().unwrap_or_default();
    let (policy, rule) = rule.rsplit_once('/').unwrap_or((rule, ""));
    let columns = created.columns.iter().map(|one| kinds::LabelledColumns {
        label: one.label.to_string(),
        columns: names(&one.columns),
    });
    let mut spec = AccessRequestSpec {
        requester: Requester {
            name: identity.name.to_string(),
            namespace: text(&identity.namespace),
            service_account: text(&identity.service_account),
            pod: text(&identity.pod),
            workload: text(&identity.workload),
        },
        summary: texts(&created.summary),
        target: text(&session.target).unwrap_or_default(),
        protocol: text(&session.protocol),
        database: text(&session.database),
        login: text(&session.user),
        session: Some(session.id.to_string()),
        number: Some(created.number),
        policy: policy.to_owned(),
        rule: rule.to_owned(),
        statement: created.statement.to_string(),
        detail: text(&created.detail),
        parameters: created.parameters.iter().map(parameter).collect(),
        fingerprint: created.fingerprint.map(|print| format!("{print:016x}")),
        effects: names(&created.effects),
        tables: names(&created.tables),
        labels: names(&created.labels),
        columns: columns.collect(),
        estimated_rows: created.estimate,
        delivered_rows: Some(created.rows),
        delivered_bytes: Some(created.bytes),
        reason: created.reason.to_string(),
        deadline: created.deadline.to_string(),
        binding: match created.binding {
            Binding::Exact => kinds::Binding::Exact,
            Binding::Shape => kinds::Binding::Shape,
        },
        max_minutes: created.max_minutes,
        shape: text(&created.shape),
        free_literals: texts(&created.free_literals),
        groups: names(&created.groups),
        users: names(&created.users),
        count: created.approvals.max(1),
    };
    if spec.summary.is_empty() {
        spec.summary = weir_api::summary(&spec);
    }
    spec
}

fn parameter(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Text(text) => Some(text.to_string()),
        Value::Binary(bytes) => {
            let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
            Some(format!("\\x{}", hex.collect::<String>()))
        }
    }
}

/// A decision in evidence as the status of an AccessRequest has it.
#[must_use]
pub fn decision(decided: &AccessRequestDecided, at: Timestamp) -> ApproverDecision {
    let taken = Decision {
        ruling: decided.ruling.clone(),
        binding: decided.binding,
        minutes: decided.minutes,
        comment: decided.comment.clone(),
    };
    ApproverDecision {
        via: decided.via.map(via_name),
        ..decision_of(&taken, &decided.approver, at)
    }
}

/// What approvals are good for together: the narrowest.
pub(super) fn binding_of(decisions: &[ApproverDecision]) -> Binding {
    let mut approvals = decisions
        .iter()
        .filter(|one| one.decision == RequestDecision::Approve);
    let shape = |one: &ApproverDecision| one.binding == Some(kinds::Binding::Shape);
    let some = decisions.iter().any(shape);
    if some && approvals.all(shape) {
        Binding::Shape
    } else {
        Binding::Exact
    }
}

/// A decision as a request's status has it, without how its approver was proved.
pub(super) fn decision_of(decision: &Decision, approver: &str, at: Timestamp) -> ApproverDecision {
    let (yes, reason, rows) = match &decision.ruling {
        Ruling::Approve { rows } => (
            RequestDecision::Approve,
            decision.comment.as_deref().map(str::to_owned),
            *rows,
        ),
        Ruling::Deny { reason } => (RequestDecision::Deny, Some(reason.to_string()), None),
    };
    ApproverDecision {
        approver: approver.to_owned(),
        decision: yes,
        at: at.to_string(),
        reason,
        rows,
        binding: (decision.binding == Binding::Shape).then_some(kinds::Binding::Shape),
        minutes: decision.minutes,
        via: None,
    }
}

pub(super) const fn via_name(via: Via) -> DecisionVia {
    match via {
        Via::Kubernetes => DecisionVia::Kubernetes,
        Via::Oidc => DecisionVia::Oidc,
        Via::Socket => DecisionVia::Socket,
        Via::Slack => DecisionVia::Slack,
    }
}

pub(super) const fn via_of(via: DecisionVia) -> Via {
    match via {
        DecisionVia::Kubernetes => Via::Kubernetes,
        DecisionVia::Oidc => Via::Oidc,
        DecisionVia::Socket => Via::Socket,
        DecisionVia::Slack => Via::Slack,
    }
}
