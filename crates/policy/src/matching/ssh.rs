//! Whether a rule's match holds for what happens over SSH, in both readings.
//!
//! A restricting rule compares each glob with every program and simple command that may run and with
//! the whole text. An Allow rule compares it with the whole text, and only if the shell adds nothing
//! to it: what `git-upload-pack *` allows cannot be extended by `; id`.

use super::paths::{may_lie, renames};
use super::{Facts, Field};
use crate::destination::spellings;
use crate::name::Glob;
use crate::rule::Match;
use crate::ssh::{SftpMatch, SftpOperation, SshChannel, SshCommand, SshMatch, SshRequest};

/// The subsystem that file operations belong to.
const SFTP: &str = "sftp";

pub(super) fn test(field: Field, holds: bool) -> Result<(), Field> {
    if holds { Ok(()) } else { Err(field) }
}

/// What of a match only SQL has: such a rule is about something else.
pub(super) fn of_sql(matches: &Match) -> Result<(), Field> {
    test(Field::Effects, matches.effects.is_empty())?;
    test(
        Field::Tables,
        matches.tables.is_empty() && matches.except_tables.is_empty() && matches.access.is_none(),
    )?;
    test(Field::Functions, matches.functions.is_empty())?;
    test(Field::Settings, matches.settings.is_empty())?;
    test(Field::Where, matches.where_clause.is_none())?;
    test(Field::Unproven, !matches.unproven)?;
    test(Field::Columns, matches.columns.is_empty())
}

fn no_labels(matches: &Match) -> Result<(), Field> {
    let none = matches.labels.is_empty() && matches.uses.is_empty();
    test(Field::Labels, none)
}

/// Whether a rule masks values in what a command or a shell shows.
pub(super) fn masks(matches: &Match, request: &SshRequest<'_>) -> bool {
    let shows = matches!(request, SshRequest::Exec { .. } | SshRequest::Shell);
    shows && of_sql(matches).is_ok() && about(matches, request).is_ok()
}

/// The restricting reading.
pub(super) fn restricts(matches: &Match, facts: &Facts<'_>) -> Result<(), Field> {
    let Some(request) = facts.ssh else {
        return test(Field::SshChannels, matches.ssh.is_none());
    };
    of_sql(matches)?;
    no_labels(matches)?;
    about(matches, &request)
}

fn about(matches: &Match, request: &SshRequest<'_>) -> Result<(), Field> {
    let request = *request;
    opens(matches, &request)?;
    let Some(ssh) = &matches.ssh else {
        return Ok(());
    };
    let shell = matches!(request, SshRequest::Exec { command } if command.shell);
    if !(shell && ssh.channels.contains(&SshChannel::Shell)) {
        channels(ssh, &request)?;
    }
    if !ssh.commands.is_empty() || !ssh.argv.is_empty() {
        let SshRequest::Exec { command } = request else {
            return Err(Field::SshCommands);
        };
        test(
            Field::SshCommands,
            ssh.commands.is_empty() || ssh.commands.iter().any(|glob| may_run(glob, command)),
        )?;
        test(
            Field::SshArgv,
            ssh.argv.is_empty() || ssh.argv.iter().any(|words| may_be(words, command)),
        )?;
    }
    subsystems(ssh, &request)?;
    forwards(ssh, &request, true)?;
    env(ssh, &request)?;
    let Some(sftp) = &ssh.sftp else {
        return Ok(());
    };
    let SshRequest::Sftp { operation, paths } = request else {
        return Err(Field::Sftp);
    };
    let meant = |path: &&[u8]| sftp.paths.iter().any(|glob| may_lie(glob, path));
    let at = sftp.paths.is_empty() || paths.iter().any(meant);
    // Nobody knows what an extension does, and to what.
    let unknown = operation == SftpOperation::Extended && paths.is_empty();
    test(
        Field::Sftp,
        unknown || holds_operation(sftp, operation) && at || renames(sftp, operation, paths),
    )
}

/// The reading of Allow rules.
pub(super) fn allows(matches: &Match, facts: &Facts<'_>) -> Result<(), Field> {
    let Some(request) = facts.ssh else {
        return test(Field::SshChannels, matches.ssh.is_none());
    };
    of_sql(matches)?;
    no_labels(matches)?;
    opens(matches, &request)?;
    let Some(ssh) = &matches.ssh else {
        return Ok(());
    };
    channels(ssh, &request)?;
    if !ssh.commands.is_empty() || !ssh.argv.is_empty() {
        let SshRequest::Exec { command } = request else {
            return Err(Field::SshCommands);
        };
        test(
            Field::SshCommands,
            ssh.commands.is_empty() || is_within(&ssh.commands, command),
        )?;
        test(
            Field::SshArgv,
            ssh.argv.is_empty() || ssh.argv.iter().any(|words| stays_exactly(words, command)),
        )?;
    }
    subsystems(ssh, &request)?;
    forwards(ssh, &request, false)?;
    env(ssh, &request)?;
    match (&ssh.sftp, request) {
        (None, _) => Ok(()),
        (Some(sftp), SshRequest::Sftp { operation, paths }) => {
            let within = |path: &&[u8]| sftp.paths.iter().any(|glob| glob.matches_bytes(path));
            test(
                Field::Sftp,
                holds_operation(sftp, operation)
                    && (sftp.paths.is_empty() || paths.iter().all(within)),
            )
        }
        // Whoever may do some file operations may start the subsystem.
        (Some(_), SshRequest::Subsystem { name }) => test(Field::Sftp, name == SFTP),
        (Some(_), _) => Err(Field::Sftp),
    }
}

/// Whether an Allow rule names, word for word, the command that is asked for: what it runs need not
/// be understood then.
pub(crate) fn allows_word_for_word(matches: &Match, facts: &Facts<'_>) -> bool {
    matches.ssh.as_ref().is_some_and(|ssh| !ssh.argv.is_empty()) && allows(matches, facts).is_ok()
}

/// Whether the match names what is refused unless it is named: forwarding, a subsystem other than
/// `sftp`, something unknown.
pub(crate) fn names(matches: &Match, request: &SshRequest<'_>) -> bool {
    let Some(ssh) = &matches.ssh else {
        return false;
    };
    let by_channel = ssh.channels.contains(&request.channel());
    match request {
        SshRequest::Forward { .. } => by_channel || ssh.forwarding || !ssh.destinations.is_empty(),
        SshRequest::Subsystem { .. } => by_channel || !ssh.subsystems.is_empty(),
        _ => by_channel,
    }
}

/// What of these requests is refused unless some policy allows it by name.
pub(crate) fn implicit(request: &SshRequest<'_>) -> Option<&'static str> {
    match request {
        SshRequest::Forward { .. } => Some("(forwarding)"),
        SshRequest::Subsystem { name } if *name != SFTP => Some("(subsystem)"),
        SshRequest::Unknown { .. } => Some("(unknown)"),
        _ => None,
    }
}

/// Requests that only accompany another one: `default: Deny` judges that one. Where commands are listed, a
/// variable may change what they do, unless it is known to be harmless.
pub(crate) fn accompanies(request: &SshRequest<'_>, lists_commands: bool) -> bool {
    match request {
        SshRequest::Session | SshRequest::Pty => true,
        SshRequest::Env { harmless, .. } => *harmless || !lists_commands,
        _ => false,
    }
}

/// Whether a rule is about the opening of a session: only one that names it. All others are about what comes
/// in it.
fn opens(matches: &Match, request: &SshRequest<'_>) -> Result<(), Field> {
    let named = |ssh: &SshMatch| ssh.channels.contains(&SshChannel::Session);
    let is_session = matches!(request, SshRequest::Session);
    test(
        Field::SshChannels,
        !is_session || matches.ssh.as_ref().is_some_and(named),
    )
}

fn channels(ssh: &SshMatch, request: &SshRequest<'_>) -> Result<(), Field> {
    test(
        Field::SshChannels,
        ssh.channels.is_empty() || ssh.channels.contains(&request.channel()),
    )
}

fn subsystems(ssh: &SshMatch, request: &SshRequest<'_>) -> Result<(), Field> {
    if ssh.subsystems.is_empty() && ssh.except_subsystems.is_empty() {
        return Ok(());
    }
    let name = match request {
        SshRequest::Subsystem { name } => name,
        SshRequest::Sftp { .. } => SFTP,
        _ => return Err(Field::SshSubsystems),
    };
    let listed = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name));
    test(
        Field::SshSubsystems,
        (ssh.subsystems.is_empty() || listed(&ssh.subsystems)) && !listed(&ssh.except_subsystems),
    )
}

fn forwards(ssh: &SshMatch, request: &SshRequest<'_>, unknown: bool) -> Result<(), Field> {
    if !ssh.forwarding && ssh.destinations.is_empty() {
        return Ok(());
    }
    let SshRequest::Forward { kind, destination } = request else {
        return Err(Field::SshForwarding);
    };
    let listed = |to: &str| ssh.destinations.iter().any(|glob| glob.matches(to));
    let may_be = |to: &String| ssh.destinations.iter().any(|glob| glob.may_match(to));
    let holds = ssh.destinations.is_empty()
        || destination.map_or(unknown, |to| {
            listed(to) || unknown && spellings(*kind, to).iter().any(may_be)
        });
    test(Field::SshDestinations, holds)
}

fn env(ssh: &SshMatch, request: &SshRequest<'_>) -> Result<(), Field> {
    let holds = ssh.env.is_empty()
        || matches!(request, SshRequest::Env { name, .. } if ssh.env.iter().any(|g| g.matches(name)));
    test(Field::SshEnv, holds)
}

fn holds_operation(sftp: &SftpMatch, operation: SftpOperation) -> bool {
    sftp.operations.is_empty() || sftp.operations.contains(&operation)
}

pub(crate) fn may_run(glob: &Glob, command: &SshCommand<'_>) -> bool {
    let parts = command.programs.iter().chain(command.commands);
    glob.matches(command.text)
        || parts.copied().any(|part| glob.may_match(part))
        || glob.is_literal() && command.mentions.iter().any(|word| glob.matches(word))
}

/// Whether the words may be those of some part of the command: all of them where they are known,
/// else its program.
fn may_be(words: &[Glob], command: &SshCommand<'_>) -> bool {
    if is_exactly(words, command) {
        return true;
    }
    command.argv.is_none()
        && words.first().is_some_and(|first| {
            let programs = command.programs.iter();
            programs.copied().any(|program| first.may_match(program))
        })
}

fn is_exactly(words: &[Glob], command: &SshCommand<'_>) -> bool {
    compare(words, command, Glob::matches)
}

/// The same, and no word leads out of the directory that its glob says.
fn stays_exactly(words: &[Glob], command: &SshCommand<'_>) -> bool {
    compare(words, command, |glob, word| {
        glob.matches(word) && !climbs(glob, word)
    })
}

fn compare(words: &[Glob], command: &SshCommand<'_>, holds: impl Fn(&Glob, &str) -> bool) -> bool {
    command.argv.is_some_and(|argv| {
        argv.len() == words.len() && argv.iter().zip(words).all(|(word, glob)| holds(glob, word))
    })
}

/// Whether a word leads up by `..` where the glob says a directory, and no `..` itself: `data/*` does not
/// allow `data/../secret`.
fn climbs(glob: &Glob, word: &str) -> bool {
    let up = |text: &str| text.split('/').any(|part| part == "..");
    !glob.is_literal() && glob.text().contains('/') && !up(glob.text()) && up(word)
}

/// Whether the rule's globs cover the whole of the command: the text, and what the program named in
/// it runs in turn (`find * ` does not allow `find . -exec sh`).
pub(super) fn is_within(globs: &[Glob], command: &SshCommand<'_>) -> bool {
    let Some(argv) = command.argv else {
        return false;
    };
    let joined = argv.join(" ");
    let Some(glob) = globs
        .iter()
        .filter(|glob| !argv.iter().any(|word| climbs(glob, word)))
        .find(|glob| glob.matches(command.text) || glob.matches(&joined))
    else {
        return false;
    };
    let first = |glob: &Glob| glob.text().split(' ').next().map(Glob::free);
    let spelt = |program: &str| {
        let mut words = glob.text().split(' ');
        words.any(|word| word == program)
            || globs.iter().filter_map(first).any(|g| g.matches(program))
    };
    command.programs.iter().copied().all(|program| {
        let base = program.rsplit('/').next().unwrap_or(program);
        argv.first()
            .is_some_and(|own| program == *own || own.rsplit('/').next() == Some(program))
            || spelt(program)
            || spelt(base)
    })
}
