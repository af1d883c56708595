//! What a rule says about the Kubernetes API: that it can fire, and that it does not ask for what no
//! request has.

use weir_condition::Condition;
use weir_policy::{Action, Glob, KubernetesMatch, Match, Protocol, Rule};

use super::{Around, Report};
use crate::compile::names::check_resource;
use crate::kinds::{KubernetesMatch as Spec, RuleSpec};
use crate::tree::Origin;

/// Verbs of requests that carry an object.
const WRITES: [&str; 3] = ["create", "update", "patch"];

pub(super) fn compile(
    spec: &Spec,
    field: &str,
    around: &Around<'_>,
    report: &mut Report,
) -> KubernetesMatch {
    let origin = around.origin;
    if *spec == Spec::default() {
        report.error(origin, field, "says nothing: it has no field");
    }
    let mut targets = around.targets.iter();
    let here = targets.any(|target| target.protocol == Protocol::Kubernetes);
    if !around.targets.is_empty() && !here {
        let message = "never applies: no target of this policy is a Kubernetes API";
        report.never(origin, field, message);
    }
    for (i, resource) in spec.resources.iter().enumerate() {
        check_resource(report, origin, &format!("{field}.resources[{i}]"), resource);
    }
    let of_objects = [
        &spec.groups,
        &spec.resources,
        &spec.subresources,
        &spec.namespaces,
        &spec.names,
    ];
    if !spec.paths.is_empty() && of_objects.iter().any(|list| !list.is_empty()) {
        let message = "never applies: a path that is no resource has no group, resource, namespace \
                       or name";
        report.never(origin, field, message);
    }
    let globs = |list: &[String]| list.iter().map(|text| Glob::free(text)).collect();
    KubernetesMatch {
        verbs: globs(&spec.verbs),
        groups: globs(&spec.groups),
        resources: globs(&spec.resources),
        subresources: globs(&spec.subresources),
        namespaces: globs(&spec.namespaces),
        names: globs(&spec.names),
        paths: globs(&spec.paths),
        effects: spec.effects.clone(),
        commands: globs(&spec.commands),
        foreign_identity: spec.foreign_identity,
        when: None,
    }
}

/// The condition of a rule, which is about the Kubernetes API by having one.
pub(super) fn compile_when(
    rule: &RuleSpec,
    field: &str,
    around: &Around<'_>,
    report: &mut Report,
) -> Option<Condition> {
    let (spec, origin) = (&rule.matches, around.origin);
    let text = spec.when.as_deref()?;
    let other = [
        (
            spec.sql.is_some() || !spec.columns.is_empty() || spec.unproven,
            "SQL",
        ),
        (spec.ssh.is_some(), "SSH"),
        (spec.mysql.is_some(), "MySQL"),
    ];
    if let Some((_, what)) = other.iter().find(|(is, _)| *is) {
        let message = format!(
            "a CEL expression is for rules about the Kubernetes API, and this one is about {what}"
        );
        report.error(origin, field, message);
        return None;
    }
    let mut targets = around.targets.iter();
    let here = targets.any(|target| target.protocol == Protocol::Kubernetes);
    if spec.kubernetes.is_none() && !around.targets.is_empty() && !here {
        let message = "never applies: a CEL expression is for rules about the Kubernetes API, and no \
                       target of this policy is one";
        report.never(origin, field, message);
    }
    let condition = match Condition::parse(text) {
        Ok(condition) => condition,
        Err(wrong) => {
            let place = wrong
                .column
                .map(|column| format!("at character {column}: "));
            let message = format!("{}{wrong}", place.unwrap_or_default());
            report.error(origin, field, message);
            return None;
        }
    };
    let writes = |verb: &String| WRITES.contains(&verb.as_str());
    let verbs = spec.kubernetes.as_ref().map_or(&[][..], |spec| &spec.verbs);
    let only_writes = !verbs.is_empty() && verbs.iter().all(writes);
    let guarded = text.contains("object != null") || text.contains("object == null");
    let restricts = rule.action != Some(Action::Allow);
    if condition.reads_object() && restricts && !only_writes && !guarded {
        let message = "`object` is null in requests that carry none, for which this rule holds: name the \
                       verbs that carry one (create, update, patch), or test `object != null`";
        report.warning(origin, field, message);
    }
    Some(condition)
}

/// Whether an Allow rule with this match lifts something under `default: Allow`.
pub(super) fn lifts(kubernetes: &KubernetesMatch) -> bool {
    kubernetes.foreign_identity
        || !kubernetes.subresources.is_empty()
        || !kubernetes.paths.is_empty()
}

/// Fields that no single request has together.
pub(super) fn check(rule: &Rule, field: &str, origin: &Origin, report: &mut Report) {
    if rule.matches.kubernetes.is_none() {
        return;
    }
    let plain = Match {
        labels: rule.matches.labels.clone(),
        uses: rule.matches.uses,
        kubernetes: rule.matches.kubernetes.clone(),
        opaque: rule.matches.opaque,
        ..Match::default()
    };
    if rule.matches != plain {
        let message = "never applies: a request to the Kubernetes API has no SQL";
        report.never(origin, &format!("{field}.match"), message);
    }
    let masks_path = |kubernetes: &KubernetesMatch| !kubernetes.paths.is_empty();
    if rule.action == Some(Action::Mask) && rule.matches.kubernetes.as_ref().is_some_and(masks_path)
    {
        let message = "what a path that is no resource answers cannot be masked";
        report.error(origin, &format!("{field}.action"), message);
    }
}
