//! What one bundle lets through that the one before did not, for people who must look at it.
//!
//! Conservative: where it cannot be said whether a change loosens (another match, other subjects), it is
//! said to. A change that only tightens is not. Refuses: to know time; an exception that is over
//! loosened nothing new.

use std::collections::BTreeMap;

use crate::bundle::Bundle;
use crate::label::{Label, Mask};
use crate::rule::{Action, Approval, DefaultAction, Exceed, LimitSpec, Mode, Policy, Rule};

/// Sentences that are told; the rest are counted.
const MOST: usize = 20;

/// Each way in which `after` is looser than `before`, in a sentence; empty if it is not.
pub fn loosened(before: &Bundle, after: &Bundle) -> Vec<String> {
    let mut found = Vec::new();
    policies(before.policies(), after.policies(), &mut found);
    exceptions(before, after, &mut found);
    labels(before.all_labels(), after.all_labels(), &mut found);
    if found.len() > MOST {
        let more = found.len() - MOST;
        found.truncate(MOST);
        found.push(format!("{more} more changes of this kind"));
    }
    found
}

fn policies(before: &[Policy], after: &[Policy], found: &mut Vec<String>) {
    let new: BTreeMap<&str, &Policy> = by_name(after, |policy| &policy.name);
    let old: BTreeMap<&str, &Policy> = by_name(before, |policy| &policy.name);
    for policy in before {
        let name = &policy.name;
        match new.get(name.as_str()) {
            Some(now) => changed(policy, now, found),
            None if policy.mode == Mode::Enforce => {
                found.push(format!("policy {name} was removed"));
            }
            None => {}
        }
    }
    for policy in after.iter().filter(|policy| policy.grants) {
        if !old.contains_key(policy.name.as_str()) {
            let name = &policy.name;
            found.push(format!(
                "policy {name} is new and lets subjects reach targets"
            ));
        }
    }
}

fn changed(before: &Policy, after: &Policy, found: &mut Vec<String>) {
    let name = &before.name;
    if after.grants && !before.grants {
        found.push(format!("policy {name} lets subjects reach targets now"));
    }
    if before.mode == Mode::Enforce && after.mode == Mode::Observe {
        found.push(format!("policy {name} went from Enforce to Observe"));
        return;
    }
    if before.mode == Mode::Observe && !before.grants {
        // What did not bind can only bind more.
        return;
    }
    if before.default == DefaultAction::Deny && after.default == DefaultAction::Allow {
        found.push(format!(
            "policy {name} permits now what none of its rules allows"
        ));
    }
    if before.subjects != after.subjects || before.targets != after.targets {
        found.push(format!("policy {name} is about other subjects or targets"));
    }
    if after.record < before.record {
        found.push(format!("policy {name} records less"));
    }
    if after.delivery < before.delivery {
        found.push(format!("policy {name} records less surely"));
    }
    let kept = |glob| after.fingerprints.contains(glob);
    if !before.fingerprints.iter().all(kept) {
        found.push(format!("policy {name} keeps fingerprints of fewer labels"));
    }
    rules(before, after, found);
}

fn rules(before: &Policy, after: &Policy, found: &mut Vec<String>) {
    let new: BTreeMap<&str, &Rule> = by_name(&after.rules, |rule| &rule.name);
    let old: BTreeMap<&str, &Rule> = by_name(&before.rules, |rule| &rule.name);
    for rule in &before.rules {
        let name = format!("{}/{}", before.name, rule.name);
        match new.get(rule.name.as_str()) {
            Some(now) => rule_changed(&name, rule, now, found),
            None if restricts(rule) => found.push(format!("rule {name} was removed")),
            None => {}
        }
    }
    for rule in &after.rules {
        let is_new = !old.contains_key(rule.name.as_str());
        if is_new && rule.action == Some(Action::Allow) {
            found.push(format!(
                "rule {}/{} is new and allows",
                after.name, rule.name
            ));
        }
    }
}

/// Whether anything is refused, held, masked or limited by it.
fn restricts(rule: &Rule) -> bool {
    !rule.limits.is_empty() || strength(rule.action) > 0
}

const fn strength(action: Option<Action>) -> u8 {
    match action {
        None | Some(Action::Allow) => 0,
        Some(Action::Mask) => 1,
        Some(Action::RequireApproval) => 2,
        Some(Action::Deny) => 3,
    }
}

fn rule_changed(name: &str, before: &Rule, after: &Rule, found: &mut Vec<String>) {
    let (was, is) = (strength(before.action), strength(after.action));
    if is < was {
        found.push(format!(
            "rule {name} does {} instead of {}",
            called(after.action),
            called(before.action)
        ));
    } else if after.action == Some(Action::Allow) && before.action.is_none() {
        found.push(format!("rule {name} allows now"));
    }
    if before.matches != after.matches && (restricts(before) || is == 0) {
        found.push(format!("rule {name} matches something else"));
    }
    if let Some(mask) = &before.mask
        && after.mask.as_ref().is_none_or(|now| weaker(now, mask))
    {
        found.push(format!("rule {name} masks less"));
    }
    for limit in &before.limits {
        let mut same = after.limits.iter().filter(|now| now.per == limit.per);
        if !same.any(|now| holds(now, limit)) {
            found.push(format!("rule {name} has higher limits or milder ones"));
            break;
        }
    }
    if let (Some(was), Some(is)) = (&before.approval, &after.approval)
        && approval_is_easier(was, is)
    {
        found.push(format!("rule {name} is approved more easily"));
    }
}

const fn called(action: Option<Action>) -> &'static str {
    match action {
        None => "nothing but limit",
        Some(Action::Allow) => "Allow",
        Some(Action::Mask) => "Mask",
        Some(Action::RequireApproval) => "RequireApproval",
        Some(Action::Deny) => "Deny",
    }
}

/// Whether `now` limits at least as much as `before`, over the same window.
fn holds(now: &LimitSpec, before: &LimitSpec) -> bool {
    let most = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    most(now.rows) <= most(before.rows)
        && most(now.bytes) <= most(before.bytes)
        && most(now.statements) <= most(before.statements)
        && match (now.on_exceed, before.on_exceed) {
            (Exceed::Deny, _) | (Exceed::RequireApproval, Exceed::RequireApproval) => true,
            (Exceed::RequireApproval, Exceed::Throttle { .. }) => true,
            (
                Exceed::Throttle {
                    rows_per_second: now,
                },
                Exceed::Throttle {
                    rows_per_second: before,
                },
            ) => now <= before,
            _ => false,
        }
}

fn approval_is_easier(before: &Approval, after: &Approval) -> bool {
    let new = |now: &[String], was: &[String]| now.iter().any(|one| !was.contains(one));
    after.count < before.count || new(&after.groups, &before.groups)
}

/// Whether a mask hides less than another.
fn weaker(now: &Mask, before: &Mask) -> bool {
    now != before && before.strictest(now) != *now
}

fn exceptions(before: &Bundle, after: &Bundle, found: &mut Vec<String>) {
    let old = by_name(before.exceptions(), |exception| &exception.name);
    for exception in after.exceptions() {
        let name = &exception.name;
        let lifts = exception.rules.join(", ");
        match old.get(name.as_str()) {
            None => found.push(format!(
                "exception {name} of {} lifts {lifts}: {}",
                exception.owner, exception.reason
            )),
            Some(was) if exception.until > was.until => {
                found.push(format!("exception {name} lifts {lifts} for longer"));
            }
            Some(was) if was.rules != exception.rules => {
                found.push(format!("exception {name} lifts other rules: {lifts}"));
            }
            Some(was) if was.subjects != exception.subjects || was.targets != exception.targets => {
                found.push(format!("exception {name} frees other subjects or targets"));
            }
            Some(_) => {}
        }
    }
}

fn labels(before: &[Label], after: &[Label], found: &mut Vec<String>) {
    let new = by_name(after, |label| &label.name);
    for label in before.iter().filter(|label| !label.anonymous) {
        let name = &label.name;
        let Some(now) = new.get(name.as_str()) else {
            found.push(format!("label {name} was removed"));
            continue;
        };
        let fewer = label.columns.iter().any(|one| !now.columns.contains(one))
            || label.fields.iter().any(|one| !now.fields.contains(one))
            || label
                .detectors
                .iter()
                .any(|one| !now.detectors.contains(one));
        if fewer {
            found.push(format!("label {name} is in fewer places"));
        }
        if label.honey && !now.honey {
            found.push(format!("label {name} is honey no more"));
        }
        if weaker(&now.mask, &label.mask) {
            found.push(format!("label {name} is masked less"));
        }
    }
}

fn by_name<T>(all: &[T], name: impl Fn(&T) -> &String) -> BTreeMap<&str, &T> {
    all.iter().map(|one| (name(one).as_str(), one)).collect()
}
