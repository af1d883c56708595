//! AccessRequests: who may make them, decide on them, and say where they stand.
//!
//! Invariants: what is asked for never changes. A decision carries the user whom the API server
//! authenticated and our clock, whatever was typed in; it is appended, once per person, and counts by
//! the rules of `decisions::rules`; whoever may act as the requester is refused. Only the controller
//! makes requests, says where they stand, and writes the decisions of people whom it proved itself.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use weir_api::kinds::{
    AccessRequestPhase, AccessRequestSpec, AccessRequestStatus, ApproverDecision, DecisionVia,
};

use super::Admission;
use super::review::{Answer, Operation, Question};
use crate::decisions::access::{Access, may_act_as};
use crate::decisions::rules::{Request, Reviewer, actor, acts_as, may_decide, within};
use crate::requests::OWNER;

/// How often a request that is not known is looked for, and how long after each other: a watch is that late.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);
/// Who removes objects on behalf of the cluster.
const CLEANERS: [&str; 2] = [
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
];

/// Stamps a new decision with who decided, how that is known, and when. Whom the controller proved
/// itself stays.
pub(super) fn mutate(own: &Admission, question: &Question) -> Answer {
    let by_controller = question.user_info.username == own.controller;
    let count = |object: &Value| decisions(object).map_or(0, Vec::len);
    // More than one at a time is refused later.
    if count(&question.object) != count(&question.old_object) + 1 {
        return Answer::allow();
    }
    let mut object = question.object.clone();
    let added = object
        .pointer_mut("/status/decisions")
        .and_then(Value::as_array_mut)
        .and_then(|all| all.last_mut()?.as_object_mut());
    if let Some(decision) = added {
        if !by_controller {
            let (approver, via) = (&question.user_info.username, DecisionVia::Kubernetes);
            decision.insert("approver".to_owned(), json!(approver));
            decision.insert("via".to_owned(), json!(via));
        }
        decision.insert("at".to_owned(), json!((own.now)().to_string()));
    }
    Answer::change(object)
}

fn decisions(object: &Value) -> Option<&Vec<Value>> {
    object
        .pointer("/status/decisions")
        .and_then(Value::as_array)
}

/// Judges what is done to a request.
pub(super) fn validate(own: &Admission, question: &Question) -> Answer {
    let is_controller = question.user_info.username == own.controller;
    let judged = match (question.operation, question.sub_resource.as_str()) {
        (Operation::Create, _) if is_controller => Ok(()),
        (Operation::Create, _) => {
            Err("AccessRequests are made by Weir's controller alone".to_owned())
        }
        (Operation::Update, "") => update(question, is_controller),
        (Operation::Update, "status") if is_controller => by_controller(question, (own.now)()),
        (Operation::Update, "status") => by_reviewer(question, (own.now)()),
        (Operation::Update, _) => Err("this part of an AccessRequest cannot be changed".to_owned()),
        (Operation::Delete, _) => delete(question, is_controller),
        (Operation::Connect, _) => Err("nothing connects to an AccessRequest".to_owned()),
    };
    match judged {
        Ok(()) => Answer::allow(),
        Err(why) => Answer::refuse(why),
    }
}

type Judged = Result<(), String>;

/// Anything but the status: nobody changes what is asked for, nor how the request is found.
fn update(question: &Question, is_controller: bool) -> Judged {
    unchanged_spec(question)?;
    if is_controller || CLEANERS.contains(&question.user_info.username.as_str()) {
        return Ok(());
    }
    for field in ["labels", "ownerReferences", "finalizers"] {
        if metadata(&question.object, field) != metadata(&question.old_object, field) {
            return Err(format!(
                "only Weir's controller changes metadata.{field} of an AccessRequest"
            ));
        }
    }
    if ours(&question.object) != ours(&question.old_object) {
        return Err(
            "only Weir's controller changes annotations that begin with weir.dev/".to_owned(),
        );
    }
    Ok(())
}

fn unchanged_spec(question: &Question) -> Judged {
    if question.object.get("spec") == question.old_object.get("spec") {
        Ok(())
    } else {
        Err("what an AccessRequest asks for cannot be changed".to_owned())
    }
}

/// A field of the metadata; empty is absent.
fn metadata<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    let value = object.get("metadata")?.get(field)?;
    let empty = value.is_null()
        || value.as_object().is_some_and(Map::is_empty)
        || value.as_array().is_some_and(Vec::is_empty);
    (!empty).then_some(value)
}

/// Weir's annotations.
fn ours(object: &Value) -> Vec<(&String, &Value)> {
    let all = metadata(object, "annotations").and_then(Value::as_object);
    let ours = |(name, _): &(&String, &Value)| name.starts_with(weir_injection::PREFIX);
    all.into_iter().flatten().filter(ours).collect()
}

/// The controller says where a request stands, and reopens nothing. It decides nothing itself: what it
/// adds is the decision of somebody whom it proved.
fn by_controller(question: &Question, now: Timestamp) -> Judged {
    unchanged_spec(question)?;
    let Some(new) = status(&question.object)? else {
        return Err("the status of an AccessRequest cannot be removed".to_owned());
    };
    let old = status(&question.old_object)?;
    let made = old.as_ref().map_or(&[][..], |old| &old.decisions);
    match added(&new, made)? {
        None => {}
        Some(decision) => {
            let proved = matches!(decision.via, Some(DecisionVia::Oidc | DecisionVia::Slack));
            if !proved
                || decision.approver.is_empty()
                || question.user_info.username == decision.approver
            {
                return Err("decisions are made by people, not by Weir's controller".to_owned());
            }
            // Their groups were seen with the credential; here everybody is in all of them.
            let spec = spec(question)?;
            let reviewer = Reviewer {
                name: &decision.approver,
                groups: &spec.groups,
                extra: &std::collections::BTreeMap::new(),
            };
            counts(question, &spec, old.as_ref(), reviewer, decision, now)?;
        }
    }
    if let Some(old) = old
        && old.phase != AccessRequestPhase::Pending
        && new.phase != old.phase
    {
        return Err(format!("the request is {:?}, which is final", old.phase));
    }
    Ok(())
}

/// The one decision that is new, if any is.
fn added<'a>(
    new: &'a AccessRequestStatus,
    made: &[ApproverDecision],
) -> Result<Option<&'a ApproverDecision>, String> {
    let Some(added) = new.decisions.strip_prefix(made) else {
        return Err("decisions are final: those that were made cannot be changed".to_owned());
    };
    match added {
        [] => Ok(None),
        [decision] => Ok(Some(decision)),
        _ => Err("one decision at a time".to_owned()),
    }
}

fn spec(question: &Question) -> Result<AccessRequestSpec, String> {
    let spec = question.old_object.get("spec").cloned().unwrap_or_default();
    serde_json::from_value(spec).map_err(|error| format!("the request cannot be read: {error}"))
}

/// Whether a decision counts, as far as that can be told without asking the cluster.
fn counts(
    question: &Question,
    spec: &AccessRequestSpec,
    status: Option<&AccessRequestStatus>,
    reviewer: Reviewer<'_>,
    decision: &ApproverDecision,
    now: Timestamp,
) -> Judged {
    let owners = metadata(&question.old_object, "annotations");
    let owners = owners.and_then(|all| all.get(OWNER)?.as_str());
    let request = Request {
        spec,
        status,
        owners: owners.unwrap_or_default(),
    };
    may_decide(request, reviewer, now).map_err(|refused| refused.to_string())?;
    within(spec, decision).map_err(|refused| refused.to_string())
}

/// Refuses a reviewer's decision that may be the requester's own: by somebody who may act as its service
/// account. What the cluster does not say is a refusal.
pub(super) async fn validate_rights(own: &Admission, question: &Question) -> Answer {
    let people = question.user_info.username != own.controller;
    let decides = question.operation == Operation::Update && question.sub_resource == "status";
    let count = |object: &Value| decisions(object).map_or(0, Vec::len);
    if !people || !decides || count(&question.object) <= count(&question.old_object) {
        return Answer::allow();
    }
    let spec = match spec(question) {
        Ok(spec) => spec,
        Err(why) => return Answer::refuse(why),
    };
    if !is_asked(own, question).await {
        return Answer::refuse("this request is not known here; try again in a moment");
    }
    let user = question.user_info.as_known();
    let access: &dyn Access = &*own.access;
    match may_act_as(access, &user, actor(&spec)).await {
        Ok(None) => Answer::allow(),
        Ok(Some(how)) => Answer::refuse(acts_as(&question.user_info.username, &how)),
        Err(why) => Answer::refuse(format!(
            "whether {} may act as the requester cannot be looked up: {why}",
            question.user_info.username
        )),
    }
}

/// Whether what is decided on is there as the API server tells it, if need be a moment later. Nobody proves at this port to
/// be the API server, and whose rights are looked up is not said for requests that somebody made up.
async fn is_asked(own: &Admission, question: &Question) -> bool {
    let old = &question.old_object;
    let (Some(name), Some(spec)) = (
        old.pointer("/metadata/name").and_then(Value::as_str),
        old.get("spec"),
    ) else {
        return false;
    };
    for _ in 0..TRIES {
        if own.known.asks(&question.namespace, name, spec) {
            return true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

/// A reviewer decides, and does nothing else.
fn by_reviewer(question: &Question, now: Timestamp) -> Judged {
    unchanged_spec(question)?;
    let user = &question.user_info;
    let Some(new) = status(&question.object)? else {
        return Err("the status of an AccessRequest cannot be removed".to_owned());
    };
    let old = status(&question.old_object)?.unwrap_or(AccessRequestStatus {
        phase: AccessRequestPhase::Pending,
        decisions: Vec::new(),
        observed_generation: None,
        conditions: Vec::new(),
        notified: Vec::new(),
        repeats: 0,
    });
    if new.phase != old.phase {
        return Err("only Weir's controller changes the phase; add a decision".to_owned());
    }
    if new.conditions != old.conditions || new.observed_generation != old.observed_generation {
        return Err("only Weir's controller reports conditions".to_owned());
    }
    if new.notified != old.notified {
        return Err("only Weir's controller says who was notified".to_owned());
    }
    if new.repeats != old.repeats {
        return Err("only Weir's controller says how many wait".to_owned());
    }
    let Some(decision) = added(&new, &old.decisions)? else {
        return Ok(());
    };
    if decision.approver != user.username || decision.via != Some(DecisionVia::Kubernetes) {
        return Err("a decision carries the name of whoever makes it".to_owned());
    }
    let reviewer = Reviewer {
        name: &user.username,
        groups: &user.groups,
        extra: &user.extra,
    };
    counts(
        question,
        &spec(question)?,
        Some(&old),
        reviewer,
        decision,
        now,
    )
}

fn status(object: &Value) -> Result<Option<AccessRequestStatus>, String> {
    match object.get("status") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(fields)) if fields.is_empty() => Ok(None),
        Some(status) => serde_json::from_value(status.clone())
            .map(Some)
            .map_err(|error| format!("the status cannot be read: {error}")),
    }
}

/// A request that waits is denied, not deleted: a denial says who and why.
fn delete(question: &Question, is_controller: bool) -> Judged {
    let user = question.user_info.username.as_str();
    if is_controller || CLEANERS.contains(&user) {
        return Ok(());
    }
    match status(&question.old_object)? {
        Some(status) if status.phase != AccessRequestPhase::Pending => Ok(()),
        _ => Err("the request waits for a decision: deny it instead of deleting it".to_owned()),
    }
}
