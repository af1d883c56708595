//! AccessRequests: who may make them, decide on them, and say where they stand.
//!
//! Invariants: what is asked for never changes. A decision carries the user whom the API server
//! authenticated and our clock, whatever was typed in; it is appended, once per person, by a member
//! of the request's groups who is neither the requester nor its owner, while the request waits.
//! Only the controller makes requests and says where they stand.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use weir_api::kinds::{
    AccessRequestPhase, AccessRequestSpec, AccessRequestStatus, ApproverDecision,
};

use super::Admission;
use super::review::{Answer, Operation, Question, User};

/// Annotation of a request: who owns the requester, users and groups with commas between them.
pub(crate) const OWNER: &str = "weir.dev/owner";

/// Who removes objects on behalf of the cluster.
const CLEANERS: [&str; 2] = [
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
];
/// What the API server says of a token that was issued for a pod.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

/// Stamps new decisions with who decided and when.
pub(super) fn mutate(own: &Admission, question: &Question) -> Answer {
    let known = decisions(&question.old_object).map_or(0, Vec::len);
    let mut object = question.object.clone();
    let added = object
        .pointer_mut("/status/decisions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .skip(known)
        .filter_map(Value::as_object_mut);
    let at = (own.now)().to_string();
    for decision in added {
        decision.insert("approver".to_owned(), json!(question.user_info.username));
        decision.insert("at".to_owned(), json!(at));
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
        (Operation::Update, "status") if is_controller => by_controller(question),
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

/// The controller says where a request stands; it decides nothing and reopens nothing.
fn by_controller(question: &Question) -> Judged {
    unchanged_spec(question)?;
    let (Some(new), old) = (status(&question.object)?, status(&question.old_object)?) else {
        return Err("the status of an AccessRequest cannot be removed".to_owned());
    };
    let Some(old) = old else {
        return nothing_decided(&new);
    };
    if new.decisions != old.decisions {
        return Err("decisions are made by people, not by Weir's controller".to_owned());
    }
    if old.phase != AccessRequestPhase::Pending && new.phase != old.phase {
        return Err(format!("the request is {:?}, which is final", old.phase));
    }
    Ok(())
}

fn nothing_decided(status: &AccessRequestStatus) -> Judged {
    if status.decisions.is_empty() {
        Ok(())
    } else {
        Err("decisions are made by people, not by Weir's controller".to_owned())
    }
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
    let Some(added) = new.decisions.strip_prefix(old.decisions.as_slice()) else {
        return Err("decisions are final: those that were made cannot be changed".to_owned());
    };
    let decision = match added {
        [] => return Ok(()),
        [decision] => decision,
        _ => return Err("one decision at a time".to_owned()),
    };
    if old.phase != AccessRequestPhase::Pending {
        return Err(format!("the request is {:?}, which is final", old.phase));
    }
    if decision.approver != user.username {
        return Err("a decision carries the name of whoever makes it".to_owned());
    }
    may_decide(question, user, &old.decisions, now)
}

/// Whether a user may decide on a request that waits.
fn may_decide(
    question: &Question,
    user: &User,
    made: &[ApproverDecision],
    now: Timestamp,
) -> Judged {
    let spec = question.old_object.get("spec").cloned().unwrap_or_default();
    let spec: AccessRequestSpec = serde_json::from_value(spec)
        .map_err(|error| format!("the request cannot be read: {error}"))?;
    let deadline: Timestamp = spec
        .deadline
        .parse()
        .map_err(|error| format!("the request's deadline cannot be read: {error}"))?;
    if now >= deadline {
        return Err(format!(
            "nobody decided before {deadline}: the request has expired"
        ));
    }
    if made
        .iter()
        .any(|decision| decision.approver == user.username)
    {
        return Err(format!("{} has decided already", user.username));
    }
    if is_requester(&spec, user) {
        return Err("a requester does not decide on its own request".to_owned());
    }
    if owns(&question.old_object, user) {
        return Err("whoever owns the requester does not decide on its requests".to_owned());
    }
    if !spec.groups.iter().any(|group| user.groups.contains(group)) {
        return Err(format!(
            "{} is in none of the groups that may decide: {}",
            user.username,
            spec.groups.join(", ")
        ));
    }
    Ok(())
}

fn is_requester(spec: &AccessRequestSpec, user: &User) -> bool {
    let requester = &spec.requester;
    let (Some(namespace), Some(account)) = (&requester.namespace, &requester.service_account)
    else {
        return user.username == requester.name;
    };
    let here = user.username.strip_prefix("system:serviceaccount:");
    let (in_namespace, by_name) = here
        .and_then(|user| user.split_once(':'))
        .map_or((false, false), |(ns, name)| {
            (ns == namespace, ns == namespace && name == account)
        });
    let pods = user.extra.get(POD_NAME);
    let same_pod = requester
        .pod
        .as_ref()
        .zip(pods)
        .is_some_and(|(pod, pods)| pods.contains(pod));
    by_name || (in_namespace && same_pod)
}

fn owns(request: &Value, user: &User) -> bool {
    let owners = metadata(request, "annotations").and_then(|all| all.get(OWNER)?.as_str());
    let mut owners = owners
        .into_iter()
        .flat_map(|owners| owners.split(',').map(str::trim));
    owners.any(|owner| {
        !owner.is_empty() && (user.username == owner || user.groups.iter().any(|g| g == owner))
    })
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
