//! What is decided over SSH without a rule: a command that cannot be understood where a rule is about
//! commands, and whatever leads around commands and files. And the words of a refusal.

use super::{Tally, unique};
use crate::decision::Denial;
use crate::ledger::Timestamp;
use crate::matching::{Facts, ssh as matching};
use crate::name::Glob;
use crate::rule::{Action, Mode, RuleName};
use crate::scope::{ScopedPolicy, ScopedRule};
use crate::ssh::{SshMatch, SshRequest};

/// What leads around commands and files needs some enforcing policy that names it: forwarding,
/// subsystems, what is not known.
pub(super) fn refuse_unnamed(policies: &[ScopedPolicy], facts: &Facts<'_>, tally: &mut Tally) {
    let Some((request, rule)) = implicit(facts) else {
        return;
    };
    let enforcing = |policy: &&ScopedPolicy| policy.mode == Mode::Enforce;
    let Some(first) = policies.iter().find(enforcing) else {
        return;
    };
    let mut enforcing = policies.iter().filter(enforcing);
    if !enforcing.any(|policy| allows(policy, facts, &request)) {
        tally.denials.push(denial(first.implicit(rule), &request));
    }
}

/// A command that cannot be understood is refused where a rule is about commands.
pub(super) fn refuse_unknown(
    policy: &ScopedPolicy,
    facts: &Facts<'_>,
    now: Timestamp,
    tally: &mut Tally,
) {
    if let Some(reason) = facts.sql.opaque.filter(|_| {
        let word_for_word = |rule: &&ScopedRule| {
            rule.rule.action == Some(Action::Allow)
                && matching::allows_word_for_word(&rule.rule.matches, facts)
        };
        !policy.allows_opaque() && !policy.rules.iter().any(|rule| word_for_word(&rule))
    }) {
        match policy.governing_commands(now) {
            Some(because) => {
                let rule = &because.rule;
                tally.denials.push(Denial {
                    rule: policy.implicit("(opaque)"),
                    reason: format!("{reason}, so that rule \"{rule}\" cannot be judged"),
                    hint: None,
                });
            }
            None => {
                let rules = policy.rules.iter().filter(|rule| rule.governs_commands());
                for rule in rules {
                    if let Some(exception) = rule.lifted(now) {
                        tally.lift(exception, rule);
                    }
                }
            }
        }
    }
    if let Some((request, rule)) = implicit(facts)
        && policy.governing(now).is_some()
        && !allows(policy, facts, &request)
    {
        tally.denials.push(denial(policy.implicit(rule), &request));
    }
}

fn implicit<'a>(facts: &Facts<'a>) -> Option<(SshRequest<'a>, &'static str)> {
    let request = facts.ssh?;
    Some((request, matching::implicit(&request)?))
}

/// Whether the policy allows by name what is refused without a name.
fn allows(policy: &ScopedPolicy, facts: &Facts<'_>, request: &SshRequest<'_>) -> bool {
    policy.rules.iter().any(|rule| {
        rule.rule.action == Some(Action::Allow)
            && matching::names(&rule.rule.matches, request)
            && rule.allows(facts).is_ok()
    })
}

fn denial(rule: RuleName, request: &SshRequest<'_>) -> Denial {
    let (what, by) = match request {
        SshRequest::Forward { kind, .. } => (
            format!("forwarding ({kind})"),
            format!("channels: [{kind}]"),
        ),
        SshRequest::Subsystem { .. } => (
            "a subsystem other than sftp".to_owned(),
            "subsystems: [NAME]".to_owned(),
        ),
        _ => (
            "a channel or request that is not known".to_owned(),
            "channels: [unknown]".to_owned(),
        ),
    };
    Denial {
        rule,
        reason: format!("{what} is refused unless a policy allows it by name"),
        hint: Some(format!(
            "an Allow rule with `ssh: {{{by}}}` would lift this"
        )),
    }
}

/// What was met, in the words of the policy.
pub(super) fn describe(matches: &SshMatch, request: &SshRequest<'_>, facts: &Facts<'_>) -> String {
    let named = |globs: &[Glob], test: &dyn Fn(&Glob) -> bool| {
        let texts = globs.iter().filter(|glob| test(glob));
        unique(texts.map(|glob| format!("`{glob}`")).collect())
    };
    match request {
        SshRequest::Exec { command } if !matches.commands.is_empty() => {
            let globs = named(&matches.commands, &|glob| matching::may_run(glob, command));
            let what = facts
                .sql
                .opaque
                .map_or("a command that runs", |_| "a command that may run");
            format!("{what} {globs}")
        }
        SshRequest::Exec { .. } => "this command".to_owned(),
        SshRequest::Shell => "a shell".to_owned(),
        SshRequest::Sftp { operation, .. } => {
            let paths = matches.sftp.as_ref().map_or(&[][..], |sftp| &sftp.paths);
            let on = unique(paths.iter().map(|glob| format!("`{glob}`")).collect());
            if on.is_empty() {
                format!("sftp {operation}")
            } else {
                format!("sftp {operation} on {on}")
            }
        }
        SshRequest::Forward { kind, .. } => format!("forwarding ({kind})"),
        SshRequest::Subsystem { .. } => "this subsystem".to_owned(),
        SshRequest::Env { .. } => "this environment variable".to_owned(),
        other => format!("`{}`", other.channel()),
    }
}

/// Whether the request only accompanies another one, which `default: Deny` judges.
pub(super) fn accompanies(policy: &ScopedPolicy, facts: &Facts<'_>) -> bool {
    let listed = policy.rules.iter().any(|rule| {
        let ssh = rule.rule.matches.ssh.as_ref();
        ssh.is_some_and(|ssh| !ssh.commands.is_empty() || !ssh.argv.is_empty())
    });
    let request = facts.ssh.as_ref();
    request.is_some_and(|request| matching::accompanies(request, listed))
}
