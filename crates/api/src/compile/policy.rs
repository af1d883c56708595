//! `ClusterGuardPolicy` and `GuardPolicy` to [`weir_policy::Policy`].

use weir_policy::{
    Action, DefaultAction, Glob, Label, Mode, Policy, Rule, SubjectSelector, Target,
};

use super::rule::{Around, compile as compile_rule};
use super::{Report, check_name, target_globs};
use crate::kinds::{AuditSpec, LocalSubjectSpec, RuleSpec, SubjectSpec};
use crate::load::Resources;
use crate::tree::Origin;

pub(super) fn compile(
    resources: &Resources,
    targets: &[Target],
    labels: &mut Vec<Label>,
    report: &mut Report,
) -> Vec<Policy> {
    let mut policies = Vec::new();
    for resource in &resources.cluster_policies {
        let (spec, origin) = (&resource.spec, &resource.origin);
        let draft = Draft {
            name: resource.metadata.name.clone(),
            grants: true,
            mode: spec.mode,
            default: spec.default,
            targets: &spec.targets,
            audit: spec.audit,
            rules: &spec.rules,
            origin,
        };
        let subjects = cluster_subjects(&spec.subjects, origin, report);
        policies.push(draft.finish(subjects, targets, labels, report));
    }
    for resource in &resources.policies {
        let (spec, origin) = (&resource.spec, &resource.origin);
        let namespace = resource.metadata.namespace.clone().unwrap_or_default();
        let draft = Draft {
            name: format!("{namespace}:{}", resource.metadata.name),
            grants: false,
            mode: spec.mode,
            default: DefaultAction::Allow,
            targets: &spec.targets,
            audit: spec.audit,
            rules: &spec.rules,
            origin,
        };
        let subjects = local_subjects(&namespace, &spec.subjects, origin, report);
        policies.push(draft.finish(subjects, targets, labels, report));
    }
    policies
}

/// A target that no cluster policy grants refuses every connection: rarely meant.
pub(super) fn check_granted(resources: &Resources, policies: &[Policy], report: &mut Report) {
    for resource in &resources.targets {
        let name = &resource.metadata.name;
        let granted = policies
            .iter()
            .any(|p| p.grants && p.targets.iter().any(|glob| glob.matches(name)));
        if !granted {
            let message = format!(
                "no ClusterGuardPolicy names Target `{name}`: every connection to it is refused"
            );
            report.warning(&resource.origin, "metadata.name", message);
        }
    }
}

/// A policy of either kind before its rules are compiled.
struct Draft<'a> {
    name: String,
    grants: bool,
    mode: Mode,
    default: DefaultAction,
    targets: &'a [String],
    audit: AuditSpec,
    rules: &'a [RuleSpec],
    origin: &'a Origin,
}

impl Draft<'_> {
    fn finish(
        self,
        subjects: Vec<SubjectSelector>,
        targets: &[Target],
        labels: &mut Vec<Label>,
        report: &mut Report,
    ) -> Policy {
        let globs = target_globs(report, self.origin, "spec.targets", self.targets, targets);
        let around = Around {
            policy: &self.name,
            grants: self.grants,
            default: self.default,
            targets: targets
                .iter()
                .filter(|target| globs.iter().any(|glob| glob.matches(&target.name)))
                .collect(),
            globs: &globs,
            origin: self.origin,
        };
        let mut rules: Vec<Rule> = Vec::new();
        for (i, spec) in self.rules.iter().enumerate() {
            let field = format!("spec.rules[{i}]");
            let name = format!("{field}.name");
            check_name(report, self.origin, &name, &spec.name);
            if rules.iter().any(|rule| rule.name == spec.name) {
                let message = format!("another rule of this policy is called `{}`", spec.name);
                report.error(self.origin, &name, message);
            }
            let earlier = self.rules.get(..i).unwrap_or_default();
            let rule = compile_rule(spec, &field, &around, labels, report);
            check_against(spec, earlier, &field, self.origin, report);
            rules.push(rule);
        }
        Policy {
            name: self.name,
            grants: self.grants,
            mode: self.mode,
            default: self.default,
            subjects,
            targets: globs,
            record: self.audit.record,
            delivery: self.audit.delivery,
            rules,
        }
    }
}

/// Two rules about the same thing: one of them says nothing, or they contradict each other.
fn check_against(
    rule: &RuleSpec,
    earlier: &[RuleSpec],
    field: &str,
    origin: &Origin,
    report: &mut Report,
) {
    for other in earlier.iter().filter(|other| other.matches == rule.matches) {
        match (other.action, rule.action) {
            (Some(Action::Deny), Some(Action::Allow))
            | (Some(Action::Allow), Some(Action::Deny)) => {
                let message = format!(
                    "it contradicts rule `{}`, which matches the same: the Deny wins, the Allow \
                     never applies",
                    other.name
                );
                report.error(origin, field, message);
            }
            (Some(first), Some(second)) if first == second && rule.limits == other.limits => {
                report.error(origin, field, format!("it repeats rule `{}`", other.name));
            }
            _ => {}
        }
    }
}

fn globs(list: &[String]) -> Vec<Glob> {
    list.iter().map(|text| Glob::free(text)).collect()
}

fn cluster_subjects(
    specs: &[SubjectSpec],
    origin: &Origin,
    report: &mut Report,
) -> Vec<SubjectSelector> {
    if specs.is_empty() {
        let message = "selects nobody; `subjects: [{names: [\"*\"]}]` selects everybody";
        report.error(origin, "spec.subjects", message);
    }
    let mut selectors = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        if *spec == SubjectSpec::default() {
            let message = "selects nobody: give at least one field, such as `names`";
            report.error(origin, &format!("spec.subjects[{i}]"), message);
        }
        selectors.push(SubjectSelector {
            names: globs(&spec.names),
            namespaces: globs(&spec.namespaces),
            service_accounts: globs(&spec.service_accounts),
            pods: globs(&spec.pods),
            groups: globs(&spec.groups),
            claims: spec
                .claims
                .iter()
                .map(|(k, v)| (k.clone(), Glob::free(v)))
                .collect(),
        });
    }
    selectors
}

fn local_subjects(
    namespace: &str,
    specs: &[LocalSubjectSpec],
    origin: &Origin,
    report: &mut Report,
) -> Vec<SubjectSelector> {
    let own = SubjectSelector {
        namespaces: vec![Glob::Literal(namespace.to_owned())],
        ..SubjectSelector::default()
    };
    if specs.is_empty() {
        return vec![own];
    }
    let mut selectors = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        if *spec == LocalSubjectSpec::default() {
            let message = "selects nobody: leave `subjects` out to select the whole namespace";
            report.error(origin, &format!("spec.subjects[{i}]"), message);
        }
        selectors.push(SubjectSelector {
            service_accounts: globs(&spec.service_accounts),
            pods: globs(&spec.pods),
            ..own.clone()
        });
    }
    selectors
}
