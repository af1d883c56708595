//! What a rule says about SSH: that it can fire, and that it does not ask for what SSH does not have.

use weir_policy::{
    Action, Exceed, Glob, LimitSpec, Match, Protocol, Rule, SftpMatch, SshChannel, SshMatch,
};

use super::{Around, Report};
use crate::kinds::SshMatch as Spec;
use crate::tree::Origin;

/// Channels that are refused unless a rule names them.
const UNNAMED: &[SshChannel] = &[
    SshChannel::Subsystem,
    SshChannel::DirectTcpip,
    SshChannel::TcpipForward,
    SshChannel::ForwardedTcpip,
    SshChannel::DirectStreamlocal,
    SshChannel::StreamlocalForward,
    SshChannel::ForwardedStreamlocal,
    SshChannel::X11,
    SshChannel::Agent,
    SshChannel::Tun,
    SshChannel::Unknown,
];

pub(super) fn compile(
    spec: &Spec,
    field: &str,
    around: &Around<'_>,
    report: &mut Report,
) -> SshMatch {
    let origin = around.origin;
    if *spec == Spec::default() {
        report.error(origin, field, "says nothing: it has no field");
    }
    let here = around
        .targets
        .iter()
        .any(|target| target.protocol == Protocol::SSH);
    if !around.targets.is_empty() && !here {
        let message = "never applies: no target of this policy speaks SSH";
        report.never(origin, field, message);
    }
    if let Some(i) = spec.argv.iter().position(Vec::is_empty) {
        report.error(origin, &format!("{field}.argv[{i}]"), "has no word");
    }
    let globs = |list: &[String]| list.iter().map(|text| Glob::free(text)).collect();
    SshMatch {
        channels: spec.channels.clone(),
        commands: globs(&spec.commands),
        argv: spec.argv.iter().map(|words| globs(words)).collect(),
        subsystems: globs(&spec.subsystems),
        except_subsystems: globs(&spec.except_subsystems),
        forwarding: spec.forwarding,
        destinations: globs(&spec.destinations),
        env: globs(&spec.env),
        sftp: spec.sftp.as_ref().map(|sftp| SftpMatch {
            operations: sftp.operations.clone(),
            paths: globs(&sftp.paths),
        }),
    }
}

/// Whether an Allow rule with this match lifts something under `default: Allow`.
pub(super) fn lifts(ssh: &SshMatch) -> bool {
    ssh.forwarding
        || !ssh.destinations.is_empty()
        || !ssh.subsystems.is_empty()
        || !ssh.argv.is_empty()
        || ssh.channels.iter().any(|channel| UNNAMED.contains(channel))
}

/// Whether all that it is about shows text to somebody.
pub(super) fn shows(ssh: &SshMatch) -> bool {
    let text = [SshChannel::Exec, SshChannel::Shell];
    let of_commands = SshMatch {
        channels: ssh.channels.clone(),
        commands: ssh.commands.clone(),
        argv: ssh.argv.clone(),
        ..SshMatch::default()
    };
    *ssh == of_commands && ssh.channels.iter().all(|channel| text.contains(channel))
}

/// Fields that no single request has together.
pub(super) fn check(rule: &Rule, field: &str, origin: &Origin, report: &mut Report) {
    let Some(ssh) = &rule.matches.ssh else {
        return;
    };
    let matches = format!("{field}.match");
    let labels = match rule.action {
        Some(Action::Mask) => rule.matches.labels.clone(),
        _ => Vec::new(),
    };
    let plain = Match {
        labels,
        ssh: rule.matches.ssh.clone(),
        opaque: rule.matches.opaque,
        ..Match::default()
    };
    if rule.matches != plain {
        let message = "never applies: what happens over SSH has no SQL and no labels";
        report.never(origin, &matches, message);
    }
    let own = format!("{matches}.ssh");
    let groups = [
        (
            "a command",
            !ssh.commands.is_empty() || !ssh.argv.is_empty(),
            &[SshChannel::Exec][..],
        ),
        (
            "a subsystem",
            !ssh.subsystems.is_empty() || !ssh.except_subsystems.is_empty() || ssh.sftp.is_some(),
            &[SshChannel::Subsystem, SshChannel::Sftp],
        ),
        (
            "forwarding",
            ssh.forwarding || !ssh.destinations.is_empty(),
            UNNAMED,
        ),
        (
            "an environment variable",
            !ssh.env.is_empty(),
            &[SshChannel::Env],
        ),
    ];
    let given: Vec<_> = groups.iter().filter(|(_, given, _)| *given).collect();
    if let [(one, ..), (other, ..), ..] = given.as_slice() {
        let message = format!("never applies: no request is about {one} and about {other}");
        report.never(origin, &own, message);
    }
    if let [(what, _, channels)] = given.as_slice()
        && !ssh.channels.is_empty()
        && !ssh
            .channels
            .iter()
            .any(|channel| channels.contains(channel))
    {
        let message = format!("never applies: none of these is about {what}");
        report.never(origin, &format!("{own}.channels"), message);
    }
    let throttles = |limit: &LimitSpec| matches!(limit.on_exceed, Exceed::Throttle { .. });
    if rule.limits.iter().any(throttles) {
        let message = "a throttle has a rate of rows, and there are none over SSH: give Deny or \
                       RequireApproval";
        report.error(origin, &format!("{field}.limits.onExceed"), message);
    }
    if rule.limits.iter().any(|limit| limit.rows.is_some()) {
        let message = "there are no rows over SSH: give `bytes` or `statements`";
        report.error(origin, &format!("{field}.limits"), message);
    }
}
