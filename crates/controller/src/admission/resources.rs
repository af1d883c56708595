//! Targets, labels, policies and exceptions: read strictly and compiled with what is in force.
//!
//! What is wrong with the object itself refuses it. That something it names does not exist yet is a
//! warning, since manifests arrive in any order; its status says the same until it does. To tell
//! the two apart the object is compiled twice: with what is in force, and with stand-ins for
//! everything that it names and nobody knows. An error that the stand-ins cure is a warning.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use weir_api::kinds::{API_VERSION, KINDS, RuleSpec};
use weir_api::{CompileOptions, Diagnostic, Resources, Severity, compile, load_str};
use weir_policy::Glob;

use super::Admission;
use super::review::{Answer, Question};

/// What diagnostics call the object in question.
const SUBJECT: &str = "object";
/// What they call stand-ins.
const STAND_IN: &str = "stand-in";
/// The name that stands for a glob.
const ANY: &str = "any";
/// How many objects that the change puts out of force are named.
const NAMED: usize = 5;

/// Judges a new version of an object.
pub(super) fn validate(own: &Admission, question: &Question) -> Answer {
    let manifest = match manifest(&question.object) {
        Ok(manifest) => manifest,
        Err(why) => return Answer::refuse(why),
    };
    let object = match load_str(SUBJECT, &manifest.to_string()) {
        Ok(object) => object,
        Err(errors) => return Answer::refuse(text(&errors)),
    };
    if !object.requests.is_empty() {
        return Answer::refuse("AccessRequests are made by Weir's controller alone");
    }
    let known = own.known.resources();
    let before = diagnose(&known);
    let known = without(known, &object);
    let after = diagnose(&joined(&known, &object));
    let cured = match stand_ins(&object, &known) {
        Some(stand_ins) => diagnose(&joined(&joined(&known, &stand_ins), &object)),
        None => after.clone(),
    };
    let is_own = |diagnostic: &&Diagnostic| &*diagnostic.file == SUBJECT;
    let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
    let (lasting, warnings): (Vec<_>, Vec<_>) = after
        .iter()
        .filter(is_own)
        .cloned()
        .partition(|found| is_error(found) && cured.iter().any(|other| same(found, other)));
    if !lasting.is_empty() {
        return Answer::refuse(text(&lasting));
    }
    let fallen: BTreeSet<&str> = after
        .iter()
        .filter(|found| is_error(found) && !is_own(found))
        .filter(|found| !before.iter().any(|other| same(found, other)))
        .map(|found| &*found.file)
        .collect();
    let fallen = fallen
        .into_iter()
        .take(NAMED)
        .map(|name| format!("{name} does not fit it: what is in force of it stays"));
    Answer::allow().warn(warnings.iter().map(line).chain(fallen))
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

fn diagnose(resources: &Resources) -> Vec<Diagnostic> {
    match compile(resources, &CompileOptions::default()) {
        Ok(compiled) => compiled.warnings,
        Err(diagnostics) => diagnostics,
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
    drop_earlier!(targets, labels, cluster_policies, policies, exceptions);
    known
}

fn joined(a: &Resources, b: &Resources) -> Resources {
    let mut all = a.clone();
    all.targets.extend(b.targets.iter().cloned());
    all.labels.extend(b.labels.iter().cloned());
    all.cluster_policies
        .extend(b.cluster_policies.iter().cloned());
    all.policies.extend(b.policies.iter().cloned());
    all.exceptions.extend(b.exceptions.iter().cloned());
    all
}

/// Stand-ins for what an object names and nobody knows; none if everything is known.
fn stand_ins(object: &Resources, known: &Resources) -> Option<Resources> {
    let mut targets: BTreeSet<&str> = BTreeSet::new();
    let mut labels: BTreeSet<&str> = BTreeSet::new();
    for policy in &object.cluster_policies {
        targets.extend(policy.spec.targets.iter().map(String::as_str));
        named_by_rules(&policy.spec.rules, &mut targets, &mut labels);
    }
    for policy in &object.policies {
        targets.extend(policy.spec.targets.iter().map(String::as_str));
        named_by_rules(&policy.spec.rules, &mut targets, &mut labels);
    }
    for label in &object.labels {
        targets.extend(
            label
                .spec
                .columns
                .iter()
                .filter_map(|entry| entry.target.as_deref()),
        );
        targets.extend(
            label
                .spec
                .kubernetes
                .iter()
                .filter_map(|entry| entry.target.as_deref()),
        );
    }
    let mut rules: BTreeSet<&str> = BTreeSet::new();
    for exception in &object.exceptions {
        targets.extend(exception.spec.targets.iter().map(String::as_str));
        rules.extend(exception.spec.rules.iter().map(String::as_str));
    }
    targets.retain(|name| {
        let glob = Glob::free(name);
        !known
            .targets
            .iter()
            .any(|target| glob.matches(&target.metadata.name))
    });
    labels.retain(|name| {
        let glob = Glob::free(name);
        !known
            .labels
            .iter()
            .any(|label| glob.matches(&label.metadata.name))
    });
    rules.retain(|rule| !has_policy(known, rule));
    if targets.is_empty() && labels.is_empty() && rules.is_empty() {
        return None;
    }
    let mut documents: Vec<Value> = targets.into_iter().map(target).collect();
    documents.extend(labels.into_iter().map(label));
    documents.extend(rules.into_iter().filter_map(policy));
    let documents: Vec<String> = documents.iter().map(Value::to_string).collect();
    load_str(STAND_IN, &documents.join("\n---\n")).ok()
}

fn named_by_rules<'a>(
    rules: &'a [RuleSpec],
    targets: &mut BTreeSet<&'a str>,
    labels: &mut BTreeSet<&'a str>,
) {
    for rule in rules {
        labels.extend(rule.matches.labels.iter().map(String::as_str));
        let columns = rule.matches.columns.iter();
        targets.extend(columns.filter_map(|entry| entry.target.as_deref()));
    }
}

/// Whether the policy of a `policy/rule` is known.
fn has_policy(known: &Resources, rule: &str) -> bool {
    let Some((policy, _)) = rule.split_once('/') else {
        return true;
    };
    match policy.split_once(':') {
        Some((namespace, name)) => known.policies.iter().any(|policy| {
            policy.metadata.name == name && policy.metadata.namespace.as_deref() == Some(namespace)
        }),
        None => known
            .cluster_policies
            .iter()
            .any(|known| known.metadata.name == policy),
    }
}

/// A name that a glob matches.
fn name_for(glob: &str) -> String {
    glob.replace('*', ANY).replace('?', "x")
}

fn document(kind: &str, metadata: Value, spec: Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
}

fn target(glob: &str) -> Value {
    let name = name_for(glob);
    let host = format!("{name}.invalid");
    let spec = json!({"protocol": "PostgreSQL", "addresses": [{"host": host, "port": 5432}]});
    document("Target", json!({"name": name}), spec)
}

fn label(glob: &str) -> Value {
    let spec = json!({"columns": [{"target": "*", "table": "*.*", "columns": ["*"]}]});
    document("DataLabel", json!({"name": name_for(glob)}), spec)
}

fn policy(rule: &str) -> Option<Value> {
    let (policy, rule) = rule.split_once('/')?;
    let rules =
        json!([{"name": rule, "match": {"sql": {"effects": ["Delete"]}}, "action": "Deny"}]);
    let mut spec = json!({"mode": "Enforce", "targets": ["*"], "rules": rules});
    Some(match policy.split_once(':') {
        Some((namespace, name)) => document(
            "GuardPolicy",
            json!({"namespace": namespace, "name": name}),
            spec,
        ),
        None => {
            if let Some(spec) = spec.as_object_mut() {
                spec.insert("subjects".to_owned(), json!([{"names": ["*"]}]));
            }
            document("ClusterGuardPolicy", json!({"name": policy}), spec)
        }
    })
}

/// All findings in one text.
fn text(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(line).collect();
    lines.join("; ")
}

/// A finding without the place in a file that nobody sees.
fn line(diagnostic: &Diagnostic) -> String {
    let mut text = String::new();
    if !diagnostic.field.is_empty() {
        text.push_str(&diagnostic.field);
        text.push_str(": ");
    }
    text.push_str(&diagnostic.message);
    if let Some(suggestion) = &diagnostic.suggestion {
        text.push_str(&format!(" ({suggestion})"));
    }
    text
}
