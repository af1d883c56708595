//! What is decided about the Kubernetes API without a rule: credentials that are not the pod's,
//! proxies, paths of which nothing is known, and requests that would tell what a masked field holds.
//! And the words of a refusal.

use super::{Tally, unique};
use crate::decision::Denial;
use crate::kubernetes::{Endpoint, KubernetesMatch, KubernetesOperation};
use crate::label::LabelId;
use crate::ledger::Timestamp;
use crate::matching::{Facts, kubernetes as matching};
use crate::name::Glob;
use crate::operation::Use;
use crate::rule::{Action, Mode};
use crate::scope::{Scope, ScopedPolicy, ScopedRule};

/// Leads a connection to where nothing is judged any more.
const PROXY: &str = "proxy";

/// What leads around everything that rules say needs an enforcing policy that names it.
pub(super) fn refuse_unnamed(policies: &[ScopedPolicy], facts: &Facts<'_>, tally: &mut Tally) {
    let Some(operation) = facts.kubernetes else {
        return;
    };
    let enforcing = |policy: &&ScopedPolicy| policy.mode == Mode::Enforce;
    let Some(first) = policies.iter().find(enforcing) else {
        return;
    };
    let mut refuse = |rule: &str, what: &str, by: &str| {
        tally.denials.push(Denial {
            rule: first.implicit(rule),
            reason: format!("{what} is refused unless a policy allows it by name"),
            hint: Some(format!(
                "an Allow rule with `kubernetes: {{{by}}}` would lift this"
            )),
        });
    };
    let allowed = |test: &dyn Fn(&ScopedRule) -> bool| {
        policies.iter().filter(enforcing).any(|policy| {
            let mut rules = policy.rules.iter();
            rules.any(|rule| {
                rule.rule.action == Some(Action::Allow) && test(rule) && rule.allows(facts).is_ok()
            })
        })
    };
    let named = |rule: &ScopedRule| matching::names(&rule.rule.matches, operation);
    let foreign = |rule: &ScopedRule| {
        let kubernetes = rule.rule.matches.kubernetes.as_ref();
        kubernetes.is_some_and(|kubernetes| kubernetes.foreign_identity)
    };
    if operation.foreign_identity && !allowed(&foreign) {
        let what = "a credential that is not the pod's, or an impersonation,";
        refuse("(foreign-identity)", what, "foreignIdentity: true");
    }
    match operation.endpoint {
        Endpoint::Resource(resource) if resource.subresource == PROXY && !allowed(&named) => {
            refuse(
                "(proxy)",
                "a proxy through the API server",
                "subresources: [proxy]",
            );
        }
        Endpoint::Path { known: false, .. } if !allowed(&named) => {
            refuse("(path)", "a path that is no resource", "paths: [PATH]");
        }
        _ => {}
    }
}

/// Whether the request only accompanies others, as discovery does: `default: Deny` judges those.
pub(super) fn accompanies(facts: &Facts<'_>) -> bool {
    facts
        .kubernetes
        .is_some_and(|operation| matches!(operation.endpoint, Endpoint::Path { known: true, .. }))
}

/// A request that answers differently by what a masked field holds, or that copies it to where it is
/// not masked, is refused by the rule that masks it.
pub(super) fn refuse_oracles(
    scope: &Scope,
    policy: &ScopedPolicy,
    facts: &Facts<'_>,
    now: Timestamp,
    tally: &mut Tally,
) {
    let Some(operation) = facts.kubernetes else {
        return;
    };
    let masking = policy.rules.iter().filter(|rule| rule.masks());
    for rule in masking.filter(|rule| rule.restricts(facts).is_ok()) {
        let tells = operation
            .label_uses
            .iter()
            .filter(|used| used.how != Use::Output);
        let mut told = tells.filter(|used| rule.covers(used.label));
        let Some(used) = told.next() else { continue };
        if let Some(exception) = rule.lifted(now) {
            tally.lift(exception, rule);
            continue;
        }
        tally.denials.push(Denial {
            rule: rule.name.clone(),
            reason: tells_of(scope, used.label, used.how),
            hint: rule.rule.hint.clone(),
        });
    }
}

fn tells_of(scope: &Scope, label: LabelId, how: Use) -> String {
    let name = scope.label_name(label);
    match how {
        Use::Write => format!("it would copy {name}, which is masked, to another place"),
        _ => format!("its outcome would tell what {name}, which is masked, holds"),
    }
}

/// What was met, in the words of the policy.
pub(super) fn describe(matches: &KubernetesMatch, operation: &KubernetesOperation<'_>) -> String {
    let met: Vec<String> = operation
        .effects
        .iter()
        .filter(|effect| matches.effects.contains(effect))
        .map(ToString::to_string)
        .collect();
    if !met.is_empty() {
        return format!("a request with the effect {}", unique(met));
    }
    if !matches.commands.is_empty() {
        let may = |glob: &&Glob| matching::runs(std::slice::from_ref(*glob), operation);
        let globs = matches.commands.iter().filter(may);
        let globs = unique(globs.map(|glob| format!("`{glob}`")).collect());
        return format!("a command that may run {globs}");
    }
    let what = match operation.endpoint {
        Endpoint::Resource(resource) => {
            let group = match resource.group {
                "" => String::new(),
                group => format!(".{group}"),
            };
            let sub = match resource.subresource {
                "" => String::new(),
                sub => format!("/{sub}"),
            };
            format!("`{} {}{group}{sub}`", operation.verb, resource.resource)
        }
        Endpoint::Path { path, .. } => format!("`{} {path}`", operation.verb),
    };
    match matches.foreign_identity {
        true => format!("{what} with a credential that is not the pod's"),
        false => what,
    }
}
