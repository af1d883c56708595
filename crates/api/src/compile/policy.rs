//! `ClusterGuardPolicy` and `GuardPolicy` to [`weir_policy::Policy`].

use weir_policy::{
    Action, DefaultAction, Glob, Label, Match, Mode, Policy, Rule, SubjectSelector, Target,
};

use super::rule::{Around, compile as compile_rule, label_globs};
use super::{References, Report, check_name, names, target_globs, unique};
use crate::diagnostic::Reason;
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
    let good = unique(
        report,
        "ClusterGuardPolicy",
        names(&resources.cluster_policies),
    );
    for (resource, good) in resources.cluster_policies.iter().zip(good) {
        let (spec, origin) = (&resource.spec, &resource.origin);
        let draft = Draft {
            name: resource.metadata.name.clone(),
            grants: true,
            mode: spec.mode,
            default: spec.default,
            targets: &spec.targets,
            audit: &spec.audit,
            rules: &spec.rules,
            origin,
            good,
        };
        let subjects = |report: &mut Report| cluster_subjects(&spec.subjects, origin, report);
        policies.extend(draft.finish(subjects, targets, labels, report));
    }
    let good = unique(report, "GuardPolicy", names(&resources.policies));
    for (resource, good) in resources.policies.iter().zip(good) {
        let (spec, origin) = (&resource.spec, &resource.origin);
        let namespace = resource.metadata.namespace.clone().unwrap_or_default();
        let draft = Draft {
            name: format!("{namespace}:{}", resource.metadata.name),
            grants: false,
            mode: spec.mode,
            default: DefaultAction::Allow,
            targets: &spec.targets,
            audit: &spec.audit,
            rules: &spec.rules,
            origin,
            good,
        };
        let subjects =
            |report: &mut Report| local_subjects(&namespace, &spec.subjects, origin, report);
        policies.extend(draft.finish(subjects, targets, labels, report));
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
            let reason = Reason::NotGranted;
            report.warn(&resource.origin, "metadata.name", reason, message);
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
    audit: &'a AuditSpec,
    rules: &'a [RuleSpec],
    origin: &'a Origin,
    /// Whether its name is.
    good: bool,
}

impl Draft<'_> {
    fn finish(
        self,
        subjects: impl FnOnce(&mut Report) -> Vec<SubjectSelector>,
        targets: &[Target],
        labels: &mut Vec<Label>,
        report: &mut Report,
    ) -> Option<Policy> {
        let (mark, known_labels) = (report.mark(), labels.len());
        let subjects = subjects(report);
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
        let texts = &self.audit.fingerprints;
        let fingerprints = label_globs(texts, "spec.audit.fingerprints", &around, labels, report);
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
        let good = self.good && report.error_since(mark).is_none();
        let policy = Policy {
            name: self.name,
            grants: self.grants,
            mode: self.mode,
            default: self.default,
            subjects,
            targets: globs,
            record: self.audit.record,
            delivery: self.audit.delivery,
            fingerprints,
            rules,
        };
        if good || report.references() == References::Strict {
            return Some(policy);
        }
        labels.truncate(known_labels);
        let broken = broken(policy);
        if broken.is_none() {
            let message = "whom and what it selects cannot be told: it is left out";
            report.warning(self.origin, "spec", message);
        }
        broken
    }
}

/// What stands for a policy that is not valid: it grants nothing, refuses what it selects if it was
/// to restrict anything, and has it recorded as it asked.
fn broken(policy: Policy) -> Option<Policy> {
    let selects = |subject: &SubjectSelector| *subject != SubjectSelector::default();
    if policy.targets.is_empty() || !policy.subjects.iter().any(selects) {
        return None;
    }
    let restricts = policy.mode == Mode::Enforce
        && (!policy.grants || policy.default == DefaultAction::Deny || !policy.rules.is_empty());
    let refuse = || Rule {
        name: "(invalid)".to_owned(),
        matches: Match::default(),
        action: Some(Action::Deny),
        mask: None,
        limits: Vec::new(),
        approval: None,
        reason: Some("the policy is not valid and refuses everything that it selects".to_owned()),
        hint: None,
    };
    Some(Policy {
        grants: false,
        default: DefaultAction::Allow,
        rules: restricts.then(refuse).into_iter().collect(),
        ..policy
    })
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
                report.never(origin, field, message);
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

pub(crate) fn cluster_subjects(
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

pub(crate) fn local_subjects(
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
