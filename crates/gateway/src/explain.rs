//! What would be decided, without a server: for `weir explain`. What is common to protocols, and SSH.

use std::sync::Arc;

use weir_policy::{
    Bundle, Decision, ForwardKind, NoCounters, Operation, Protocol, Scope, SftpOperation,
    SshChannel, SshOperation, SshRequest, Subject, Timestamp,
};
use weir_wire_ssh::command::{Command, analyze};
use weir_wire_ssh::sftp::normalised;

use crate::command;
use crate::leash::quarantined;
use crate::millis;

/// What somebody would ask a host for.
#[derive(Clone, Copy, Debug)]
pub enum SshQuestion<'a> {
    /// A command.
    Command(&'a str),
    /// A file operation, and its paths.
    Sftp(SftpOperation, &'a [String]),
    /// Any other channel or request, and what it names: a subsystem, a variable, a destination.
    Channel(SshChannel, Option<&'a str>),
}

/// An answer, and what was understood of the question.
#[derive(Debug)]
pub struct SshAnswer {
    /// The decision.
    pub decision: Decision,
    /// What the command runs, where it is one.
    pub command: Option<Command>,
}

/// What a subject may do at a target, which is of a protocol.
///
/// # Errors
/// The target is unknown, of another protocol or refused as a whole, the subject is cut off, or no policy
/// selects both.
pub(crate) fn scope_of(
    bundle: &Bundle,
    subject: &Subject,
    (target, protocol): (&str, Protocol),
    now: Timestamp,
) -> Result<Arc<Scope>, String> {
    let (id, found) = bundle
        .target_named(target)
        .ok_or_else(|| format!("there is no target {target:?}"))?;
    if found.protocol != protocol {
        let spoken = found.protocol;
        return Err(format!(
            "target {target:?} is of protocol {spoken:?}, not {protocol:?}"
        ));
    }
    if let Some(quarantine) = bundle.quarantine(subject) {
        return Err(format!("refused: {}", quarantined(&quarantine.name)));
    }
    if let Some(reason) = &found.refused {
        return Err(format!("refused: target {target:?} is refused: {reason}"));
    }
    bundle.scope(subject, id, now).ok_or_else(|| {
        format!(
            "refused: no policy selects {:?} and target {target:?}",
            subject.name
        )
    })
}

/// The decision on what is asked for.
///
/// # Errors
/// See [`scope_of`]; or the channel is none that is asked for by its name.
pub fn explain_ssh(
    bundle: &Bundle,
    subject: &Subject,
    target: &str,
    question: SshQuestion<'_>,
) -> Result<SshAnswer, String> {
    let now = millis();
    let scope = scope_of(bundle, subject, (target, Protocol::SSH), now)?;
    let decide = |request: SshRequest<'_>| decided(&scope, request, now);
    let plain = |decision| SshAnswer {
        decision,
        command: None,
    };
    match question {
        SshQuestion::Command(text) => {
            let command = analyze(text.as_bytes(), &[]);
            let decision = command::stated(&command, |command| {
                decided(&scope, SshRequest::Exec { command }, now)
            });
            Ok(SshAnswer {
                decision,
                command: Some(command),
            })
        }
        SshQuestion::Sftp(operation, paths) => {
            let paths: Vec<Vec<u8>> = paths
                .iter()
                .map(|path| normalised(path.as_bytes(), None))
                .collect();
            let paths: Vec<&[u8]> = paths.iter().map(Vec::as_slice).collect();
            let paths = &paths;
            Ok(plain(decide(SshRequest::Sftp { operation, paths })))
        }
        SshQuestion::Channel(channel, named) => Ok(plain(decide(request(channel, named)?))),
    }
}

fn decided(scope: &Scope, request: SshRequest<'_>, now: Timestamp) -> Decision {
    let operation = SshOperation { request };
    scope.decide(&Operation::Ssh(&operation), &NoCounters, now)
}

fn request(channel: SshChannel, named: Option<&str>) -> Result<SshRequest<'_>, String> {
    let name = || named.ok_or_else(|| format!("which {channel} is meant?"));
    Ok(match channel {
        SshChannel::Session => SshRequest::Session,
        SshChannel::Shell => SshRequest::Shell,
        SshChannel::Pty => SshRequest::Pty,
        SshChannel::Env => {
            let name = name()?;
            let harmless = weir_wire_ssh::command::is_harmless(name);
            SshRequest::Env { name, harmless }
        }
        SshChannel::Subsystem => SshRequest::Subsystem { name: name()? },
        SshChannel::Unknown => SshRequest::Unknown {
            name: named.unwrap_or("unknown"),
        },
        SshChannel::Exec => return Err("a command is asked for as one".to_owned()),
        SshChannel::Sftp => return Err("a file operation is asked for as one".to_owned()),
        forward => SshRequest::Forward {
            kind: ForwardKind::parse(forward.name())
                .ok_or_else(|| format!("{forward} is no forwarding"))?,
            destination: named,
        },
    })
}
