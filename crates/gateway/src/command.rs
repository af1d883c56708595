//! What a command string runs, in the policy's terms: the only place where the two meet.

use weir_policy::SshCommand;
use weir_wire_ssh::command::Command;

const _: () = assert!(
    weir_wire_ssh::command::HOST_VALUE as u32 == weir_policy::HOST_VALUE as u32,
    "both mean the host's own values by the same character"
);

/// Calls `with` on what is known of a command.
pub(crate) fn stated<T>(command: &Command, with: impl FnOnce(&SshCommand<'_>) -> T) -> T {
    fn texts(list: &[String]) -> Vec<&str> {
        list.iter().map(String::as_str).collect()
    }
    let argv = command.argv.as_deref().map(texts);
    with(&SshCommand {
        text: &command.text,
        programs: &texts(&command.programs),
        commands: &texts(&command.commands),
        mentions: &texts(&command.mentions),
        argv: argv.as_deref(),
        opaque: command.opaque.as_deref(),
        shell: command.shell,
    })
}
