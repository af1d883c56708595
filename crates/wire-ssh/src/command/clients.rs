//! Clients of other hosts: what they run there, and what their settings run here.

use super::given::{Given, long_values};
use super::transfer::{RSYNC_LOCAL_VALUES, SCP_VALUES};
use super::{Input, Shell};

/// Options of these clients that a word follows.
const SSH_VALUES: &str = "BbcDEeFIiJLlMmoOPpQRSWw";
const SFTP_VALUES: &str = "BbcDFiJloPRSsX";

impl Shell<'_> {
    /// Another host: what runs there counts as running here.
    pub(super) fn ssh(&mut self, base: &str, args: &[String], input: &Input) {
        let values = match base {
            // Its `-M` takes nothing.
            "ssh" | "slogin" => SSH_VALUES.replace('M', ""),
            _ => SSH_VALUES.to_owned(),
        };
        let texts = long_values(args, &["--ssh", "--server", "--client", "-proxycmd"]);
        texts.iter().for_each(|text| self.code(text));
        let given = Given::read(args, &values, 1);
        self.ssh_settings(&given, input);
        if base == "dbclient" {
            given.values('J').iter().for_each(|text| self.code(text));
        }
        let Some((_, rest)) = given.operands.split_first() else {
            return;
        };
        // Options may stand behind the host, too.
        let behind = Given::read(rest, &values, 0);
        let behind = match rest.first().is_some_and(|arg| arg.starts_with('-')) {
            true => Given::read(rest, &values, 1),
            false => behind,
        };
        self.ssh_settings(&behind, input);
        if !behind.operands.is_empty() {
            return self.code_reading(&behind.operands.join(" "), input);
        }
        let nothing = ['N', 'V', 'W', 'O', 'G', 'Q'];
        if !nothing
            .iter()
            .any(|letter| given.has(*letter) || behind.has(*letter))
        {
            self.reads(input, "a shell");
        }
    }

    /// Options of ssh and its relatives that bring settings or code.
    fn ssh_settings(&mut self, given: &Given, input: &Input) {
        for setting in given.values('o') {
            self.ssh_setting(&setting, input);
        }
        for file in given.values('F') {
            self.ssh_file(&file, input);
        }
        if given.has('I') {
            self.hide("ssh loads code from a file");
        }
    }

    fn ssh_file(&mut self, file: &str, input: &Input) {
        if file == "none" {
            return;
        }
        for text in self.program_text(file, input) {
            self.spend(1 + text.len() / 16);
            text.lines().for_each(|line| self.ssh_setting(line, input));
        }
    }

    /// `Name value`, or `Name=value`.
    fn ssh_setting(&mut self, text: &str, input: &Input) {
        let text = text.trim();
        let Some((name, value)) = text.split_once(['=', ' ', '\t']) else {
            return;
        };
        let value = value.trim_start_matches(['=', ' ', '\t']).trim();
        let unquoted = value.trim_matches('"');
        match name.trim_matches('"').to_lowercase().as_str() {
            "proxycommand" | "localcommand" | "knownhostscommand" | "remotecommand"
            | "xauthlocation"
                if value != "none" =>
            {
                self.code(value);
            }
            "match" => {
                let lower = value.to_lowercase();
                if let Some(at) = lower.find("exec") {
                    let text = value.get(at + 4..).unwrap_or_default();
                    self.code(text.trim_start_matches('=').trim().trim_matches('"'));
                }
            }
            "pkcs11provider" | "securitykeyprovider" | "smartcarddevice"
                if !matches!(unquoted, "none" | "internal") =>
            {
                self.hide("ssh loads code from a file");
            }
            // A file may say nothing more than another: deeper ones are not looked at.
            "include" => match self.found(unquoted) {
                None if !super::input::is_stdin(unquoted) => {}
                _ => {
                    self.reads_code(input);
                    self.hide("ssh takes settings from a file that the text may have written");
                }
            },
            _ => {}
        }
    }

    /// Clients that move files.
    pub(super) fn moves(&mut self, base: &str, args: &[String], input: &Input) {
        match base {
            "sshfs" => {
                for list in long_values(args, &["-o"]) {
                    for one in list.split(',') {
                        match one.strip_prefix("ssh_command=") {
                            Some(text) => self.code(text),
                            None => self.ssh_setting(one, input),
                        }
                    }
                }
                return;
            }
            "ssh-keygen" | "ssh-add" => {
                let (values, loads) = match base {
                    "ssh-add" => ("EeHhtTsS", ['s', 'S']),
                    _ => ("aBbCDEFfGIJjKMmNnOPRrsTtVWwYZz", ['D', 'w']),
                };
                if loads
                    .iter()
                    .any(|letter| Given::read(args, values, 9).has(*letter))
                {
                    self.hide("ssh loads code from a file");
                }
                return;
            }
            _ => {}
        }
        let values = match base {
            "scp" => SCP_VALUES,
            "sftp" => SFTP_VALUES,
            _ => "Fiopt",
        };
        let given = Given::read(args, values, usize::MAX);
        self.ssh_settings(&given, input);
        if base == "ssh-copy-id" {
            return;
        }
        for letter in ['S', 'D'] {
            given.values(letter).iter().for_each(|text| self.code(text));
        }
        if base != "sftp" {
            return;
        }
        let batches = given.values('b');
        for batch in &batches {
            self.sftp_batch(batch, input);
        }
        let names_file = given.operands.iter().any(|operand| {
            operand
                .split_once(':')
                .is_some_and(|(_, path)| !path.is_empty())
                || operand.contains("//")
        });
        if batches.is_empty() && !names_file {
            self.sftp_batch("-", input);
        }
    }

    /// Lines for sftp: `!` runs a command here, and what is fetched is written here.
    fn sftp_batch(&mut self, file: &str, input: &Input) {
        let read = file == "-" || super::input::is_stdin(file);
        if read && matches!(input, Input::Unknown) {
            self.reads_unknown = true;
            return;
        }
        for text in self.program_text(file, input) {
            self.spend(1 + text.len() / 16);
            for line in text.lines() {
                let line = line
                    .trim_start()
                    .trim_start_matches(['-', '@'])
                    .trim_start();
                if let Some(command) = line.strip_prefix('!') {
                    self.code(command);
                } else if line.starts_with("get")
                    || line.starts_with("reget")
                    || line.starts_with("mget")
                {
                    self.strews_somewhere();
                }
            }
        }
    }

    /// rsync, towards other hosts and here.
    pub(super) fn rsync(&mut self, args: &[String]) {
        if args.iter().any(|arg| arg == "--server") {
            return self.attached(args, &["--rsh", "--rsync-path"]);
        }
        self.attached(args, &["-e", "--rsh", "--rsync-path"]);
        let given = Given::read(args, RSYNC_LOCAL_VALUES, usize::MAX);
        self.copies_from(&given.operands);
    }
}
