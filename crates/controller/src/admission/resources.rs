//! Targets, labels, policies and exceptions: read strictly and compiled with what is in force.
//!
//! What is wrong with the object itself refuses it, and so does an address that another Target has.
//! That something it names does not exist yet is a warning, since manifests arrive in any order;
//! its status says the same until it does. Objects that the change puts out of force are named.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use weir_api::kinds::{API_VERSION, GuardPolicySpec, KINDS};
use weir_api::{
    CompileOptions, Diagnostic, Reason, References, Resource, Resources, Severity, compile,
    load_str,
};

use super::Admission;
use super::review::{Answer, Operation, Question};
use crate::text::{finding, findings};

/// What diagnostics call the object in question.
const SUBJECT: &str = "object";
/// GuardPolicies of one namespace, and their rules together.
const MAX_POLICIES: usize = 64;
const MAX_RULES: usize = 1000;
/// How many objects that the change puts out of force are named.
const NAMED: usize = 5;

/// Puts down who orders a quarantine, changes one, or lifts it.
pub(super) fn mutate(question: &Question) -> Answer {
    let mut object = question.object.clone();
    for place in ["/spec/lifted", "/spec"] {
        let Some(now) = object.pointer_mut(place).and_then(Value::as_object_mut) else {
            continue;
        };
        let before = question.old_object.pointer(place);
        let said = |value: &Value, field: &str| value.get(field).cloned();
        let unchanged = before.is_some_and(|before| {
            let asked = ["subjects", "reason"]
                .iter()
                .all(|field| said(before, field) == now.get(*field).cloned());
            asked && (before.get("lifted").is_none() || now.contains_key("lifted"))
        });
        let by = before.filter(|_| unchanged).and_then(|one| said(one, "by"));
        let by = by.unwrap_or_else(|| json!(question.user_info.username));
        now.insert("by".to_owned(), by);
    }
    Answer::change(object)
}

/// Judges a new version of an object.
pub(super) fn validate(own: &Admission, question: &Question) -> Answer {
    if question.operation == Operation::Update
        && question.object.get("spec") == question.old_object.get("spec")
    {
        // an object that an older version took over can still be labelled and let go
        return Answer::allow();
    }
    let manifest = match manifest(&question.object) {
        Ok(manifest) => manifest,
        Err(why) => return Answer::refuse(why),
    };
    let object = match load_str(SUBJECT, &manifest.to_string()) {
        Ok(object) => object,
        Err(errors) => return Answer::refuse(findings(&errors)),
    };
    if !object.requests.is_empty() {
        return Answer::refuse("AccessRequests are made by Weir's controller alone");
    }
    let mut known = own.known.resources();
    if let Some(policy) = object.policies.first() {
        if let Err(why) = fits(&known, policy) {
            return Answer::refuse(why);
        }
        // They tighten for their own namespaces, and nothing that others say hangs on them.
        known.policies.clear();
    }
    let mut after = without(known.clone(), &object);
    after.merge(object);
    let after = own.diagnose(&after);
    let (found, others): (Vec<_>, Vec<_>) =
        after.into_iter().partition(|found| &*found.file == SUBJECT);
    let (errors, warnings): (Vec<_>, Vec<_>) = found.into_iter().partition(refuses);
    if !errors.is_empty() {
        return Answer::refuse(findings(&errors));
    }
    let grave = |found: &&Diagnostic| found.severity > Severity::Warning;
    let before = if others.iter().any(|found| grave(&found)) {
        own.diagnose(&known)
    } else {
        Vec::new()
    };
    let fallen: BTreeSet<&str> = others
        .iter()
        .filter(grave)
        .filter(|found| !before.iter().any(|other| same(found, other)))
        .map(|found| &*found.file)
        .collect();
    let fallen = fallen
        .into_iter()
        .take(NAMED)
        .map(|name| format!("{name} does not fit it"));
    Answer::allow().warn(warnings.iter().map(finding).chain(fallen))
}

/// Whether a GuardPolicy has room beside the others of its namespace. Whoever administers a namespace writes them, and
/// every replica compiles those of all namespaces with each change.
fn fits(known: &Resources, policy: &Resource<GuardPolicySpec>) -> Result<(), String> {
    let own = &policy.metadata;
    let others = known.policies.iter().filter(|other| {
        other.metadata.namespace == own.namespace && other.metadata.name != own.name
    });
    let (count, rules) = others.fold((1, policy.spec.rules.len()), |(count, rules), other| {
        (count + 1, rules + other.spec.rules.len())
    });
    if count > MAX_POLICIES || rules > MAX_RULES {
        return Err(format!(
            "a namespace may have {MAX_POLICIES} GuardPolicies with {MAX_RULES} rules together; with this one it would \
             have {count} with {rules}"
        ));
    }
    Ok(())
}

/// What keeps an object from being stored. A conflict of addresses is about two Targets, but lets
/// nobody use either of them.
fn refuses(found: &Diagnostic) -> bool {
    found.severity == Severity::Error || found.reason == Reason::AddressConflict
}

/// The object as a file would hold it: without what the server keeps in it.
fn manifest(object: &Value) -> Result<Value, String> {
    let kind = object
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !KINDS.contains(&kind) {
        return Err(format!("`{kind}` is not a kind of {API_VERSION}"));
    }
    let mut metadata = Map::new();
    for field in ["name", "namespace"] {
        if let Some(value) = object.pointer(&format!("/metadata/{field}")) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    if !metadata.contains_key("name") {
        // `generateName`: the name comes later, and nothing refers to it
        metadata.insert("name".to_owned(), json!("generated"));
    }
    Ok(json!({
        "apiVersion": object.get("apiVersion"),
        "kind": kind,
        "metadata": metadata,
        "spec": object.get("spec"),
    }))
}

impl Admission {
    fn diagnose(&self, resources: &Resources) -> Vec<Diagnostic> {
        let now = u64::try_from((self.now)().as_millisecond()).unwrap_or_default();
        let options = CompileOptions {
            references: References::Lenient,
            now: weir_policy::Timestamp(now),
            ..CompileOptions::default()
        };
        match compile(resources, &options) {
            Ok(compiled) => compiled.diagnostics,
            Err(diagnostics) => diagnostics,
        }
    }
}

/// Two findings of different runs are one.
fn same(a: &Diagnostic, b: &Diagnostic) -> bool {
    (a.severity, &a.file, &a.field, &a.message) == (b.severity, &b.file, &b.field, &b.message)
}

/// What is known, without earlier versions of the object.
fn without(mut known: Resources, object: &Resources) -> Resources {
    macro_rules! drop_earlier {
        ($($list:ident),*) => {$(
            known.$list.retain(|old| !object.$list.iter().any(|new| {
                new.metadata.name == old.metadata.name
                    && new.metadata.namespace == old.metadata.namespace
            }));
        )*};
    }
    drop_earlier!(
        targets,
        labels,
        cluster_policies,
        policies,
        exceptions,
        quarantines
    );
    known
}
