//! `PolicyException` to [`weir_policy::Exception`].

use weir_policy::{Action, Exception, Policy, RuleName, Target, Timestamp};

use super::{Report, cluster_subjects, names, target_globs, unique};
use crate::diagnostic::{Reason, suggest};
use crate::kinds::PolicyExceptionSpec;
use crate::load::{Resource, Resources};

/// The rule that a pod's programs do not have the token of their service account. No policy has it: it
/// holds where Weir injects.
const KUBE_TOKEN: &str = "weir.dev/kube-token";

/// Exceptions that are wrong somewhere are left out: they loosen nothing. Those that are over stay,
/// so that a bundle does not depend on when it was made.
pub(super) fn compile(
    resources: &Resources,
    targets: &[Target],
    policies: &[Policy],
    now: Timestamp,
    report: &mut Report,
) -> Vec<Exception> {
    let good = unique(report, "PolicyException", names(&resources.exceptions));
    let mut exceptions = Vec::new();
    for (resource, good) in resources.exceptions.iter().zip(good) {
        let mark = report.mark();
        let exception = compile_one(resource, targets, policies, report);
        let Some(exception) = exception.filter(|_| good && report.error_since(mark).is_none())
        else {
            continue;
        };
        if exception.is_over(now) {
            let message = format!("it is over since {}", resource.spec.expires);
            report.notice(&resource.origin, "spec.expires", Reason::Expired, message);
        }
        exceptions.push(exception);
    }
    exceptions
}

fn compile_one(
    resource: &Resource<PolicyExceptionSpec>,
    targets: &[Target],
    policies: &[Policy],
    report: &mut Report,
) -> Option<Exception> {
    let (spec, origin) = (&resource.spec, &resource.origin);
    if spec.owner.trim().is_empty() {
        report.error(origin, "spec.owner", "names nobody who answers for it");
    }
    if spec.reason.trim().is_empty() {
        report.error(origin, "spec.reason", "does not say why it is needed");
    }
    if spec.rules.is_empty() {
        report.error(origin, "spec.rules", "names no rule");
    }
    for (i, name) in spec.rules.iter().enumerate() {
        check_rule(
            resource,
            &format!("spec.rules[{i}]"),
            name,
            policies,
            report,
        );
    }
    let until = moment(&spec.expires);
    if until.is_none() {
        let message = format!(
            "`{}` is not a time: it is written like 2027-01-31T18:00:00Z",
            spec.expires
        );
        report.error(origin, "spec.expires", message);
    }
    Some(Exception {
        name: resource.metadata.name.clone(),
        owner: spec.owner.clone(),
        reason: spec.reason.clone(),
        subjects: cluster_subjects(&spec.subjects, origin, report),
        targets: target_globs(report, origin, "spec.targets", &spec.targets, targets),
        rules: spec.rules.clone(),
        until: until?,
    })
}

/// A moment before 1970 is long over.
fn moment(text: &str) -> Option<Timestamp> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp(
        u64::try_from(moment.as_millisecond()).unwrap_or(0),
    ))
}

fn check_rule(
    resource: &Resource<PolicyExceptionSpec>,
    field: &str,
    name: &str,
    policies: &[Policy],
    report: &mut Report,
) {
    let origin = &resource.origin;
    if !name
        .split_once('/')
        .is_some_and(|(policy, rule)| !policy.is_empty() && !rule.is_empty())
    {
        let message = format!(
            "`{name}` is not a rule's name: it is written `policy/rule`, or \
             `namespace:policy/rule` for a GuardPolicy"
        );
        return report.error(origin, field, message);
    }
    if name.contains("/(") {
        let message = format!("`{name}` is refused without a rule: an exception cannot lift that");
        return report.error(origin, field, message);
    }
    if name == KUBE_TOKEN {
        return;
    }
    let mut known = Vec::new();
    for policy in policies {
        for rule in &policy.rules {
            let full = RuleName::new(&policy.name, &rule.name).to_string();
            if full == *name && rule.action == Some(Action::Allow) && rule.limits.is_empty() {
                let message = format!("`{name}` only allows: there is nothing to lift");
                return report.reference(origin, field, Reason::NeverApplies, message, None);
            }
            if !rule.name.starts_with('(') {
                known.push(full);
            }
        }
    }
    if !known.iter().any(|known| known == name) {
        let suggestion = suggest(name, known.iter().map(String::as_str));
        let message = format!("no policy has a rule `{name}`");
        report.reference(origin, field, Reason::UnknownRule, message, suggestion);
    }
}
