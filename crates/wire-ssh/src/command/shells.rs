//! Shells and builtins: texts, scripts, what is read and what is written for later.

use super::input::is_stdin;
use super::kin::changes_grammar;
use super::options::{CODE_IN_ENVIRONMENT, COMMANDS_IN_ENVIRONMENT, SHELLS, is_harmless};
use super::word::{FIELD, HOST, PLAIN, SENT, SPLIT, STREAM, UNKNOWN, WILD, is_blank, may_be};
use super::{Input, Shell, Written, walk};

/// Files that a text writes, at most.
const MAX_WRITTEN: usize = 256;
/// Length of a path, at most: Linux takes 4096.
const MAX_PATH: usize = 4096;

/// Shells whose grammar is neither that of POSIX nor near it.
const FOREIGN: &[&str] = &["fish", "csh", "tcsh", "rc", "es", "elvish", "nu", "xonsh"];
/// Files from which shells take commands when they start.
const SETTINGS: &[&str] = &[
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".profile",
    ".bash_logout",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".zlogin",
    ".kshrc",
    ".mkshrc",
    ".shrc",
    "profile",
    "bash.bashrc",
    "bashrc",
    "environment",
];

impl Shell<'_> {
    pub(super) fn cloud(&mut self, name: &str) {
        if name.contains(UNKNOWN) || name.contains(FIELD) {
            self.variables.clouded = true;
        } else {
            self.variables.cloud(name);
        }
    }

    pub(super) fn declares(&mut self, args: &[String]) {
        let attributes = |letters: &[char]| {
            let mut options = args.iter().filter(|arg| arg.starts_with('-'));
            options.any(|arg| arg.contains(letters))
        };
        // Capitals, small letters, sums: what is held is not what is assigned.
        let changes = attributes(&['l', 'u', 'c', 'i', 'L', 'R', 'Z', 'T', 'E', 'F', 'H']);
        for arg in args {
            if arg.starts_with('-') {
                self.variables.clouded |= arg.contains('n');
                continue;
            }
            self.declares_one(arg, attributes(&['n']));
            if changes {
                let name = arg.split(['=', '[', '+']).next().unwrap_or(arg);
                self.cloud(name);
                self.computes(arg);
            }
            if let Some((name, value)) = arg.split_once('=') {
                if name.contains(UNKNOWN) {
                    self.variables.clouded = true;
                } else {
                    let name = name
                        .trim_end_matches('+')
                        .split('[')
                        .next()
                        .unwrap_or(name)
                        .to_owned();
                    self.environment(&name, value);
                    self.variables.assign(&name, value.to_owned());
                }
            }
        }
    }

    /// The place in an array that a declared name says, what a name for another variable says, and a list in a
    /// text are computed or expanded once more.
    fn declares_one(&mut self, arg: &str, refers: bool) {
        let (name, value) = arg.split_once('=').unwrap_or((arg, ""));
        if name.contains('[') {
            self.computes(arg);
        }
        self.computes_name(name);
        if refers {
            self.computes(arg);
        }
        if value.trim_start().starts_with('(') && value.contains(['$', '`', SPLIT, SENT]) {
            self.reads_commands |= value.contains(SENT);
            self.hide("a list in a text is expanded once more");
        }
    }

    pub(super) fn sets(&mut self, args: &[String]) {
        if args
            .iter()
            .any(|arg| matches!(arg.as_str(), "-H" | "histexpand" | "-Ho"))
        {
            self.hide("history expansion is switched on");
        }
        let end = args.iter().position(|arg| arg == "--");
        let own = args.get(..end.unwrap_or(args.len())).unwrap_or_default();
        let mut options = own.windows(2).filter(|pair| {
            pair.first()
                .is_some_and(|arg| arg.starts_with(['-', '+']) && arg.ends_with('o'))
        });
        let named = |pair: &[String]| pair.last().is_some_and(|name| changes_grammar(name));
        if options.any(named) {
            self.hide("an option changes how shells read what follows");
        }
        for arg in args.iter().filter(|arg| *arg != "--") {
            self.variables.positional.insert(arg.clone());
        }
        let joined = args
            .iter()
            .filter(|arg| *arg != "--")
            .cloned()
            .collect::<Vec<_>>();
        self.variables
            .positional
            .insert(joined.join(&FIELD.to_string()));
    }

    /// The variables that the client has set.
    pub(super) fn sent_environment(&mut self) {
        for (name, value) in self.sent {
            let value: String = value
                .chars()
                .map(|c| if c <= WILD { SPLIT } else { c })
                .collect();
            self.environment(name, &value);
            if !is_harmless(name) && !COMMANDS_IN_ENVIRONMENT.contains(name) {
                self.hide("the client has set an environment variable that may change what runs");
            }
        }
    }

    /// Another directory: what is known of its name.
    pub(super) fn changes_directory(&mut self, args: &[String]) {
        let plain = |c: char| c.is_alphanumeric() || " ~_+-./,:@%=".contains(c) || c <= STREAM;
        let known = |arg: &String| {
            !arg.contains([SPLIT, SENT]) && arg.chars().all(|c| plain(c) || c == HOST)
        };
        // `-P` follows links, whose targets nobody knows here.
        let follows = args.iter().any(|arg| arg.starts_with('-') && arg.len() > 1);
        self.variables.moved = true;
        self.variables.lost |= follows || !args.iter().all(known);
        let devices = |arg: &String| arg.contains("dev") || arg.contains("proc") || !known(arg);
        self.variables.among_devices |= args.iter().any(devices);
    }

    /// Variables that other programs run, or that bring code into them.
    pub(super) fn environment(&mut self, name: &str, value: &str) {
        if PLAIN.contains(&name) && !self.variables.values.contains_key(name) {
            // What runs reads it, and nothing else does.
            self.variables.assign(name, HOST.to_string());
        }
        self.variables.assign(name, value.to_owned());
        if matches!(name, "BASH_ENV" | "ENV") && !value.is_empty() {
            self.script_file(value, &Input::Client);
        }
        if COMMANDS_IN_ENVIRONMENT.contains(&name) && !value.is_empty() {
            self.code(value);
        } else if CODE_IN_ENVIRONMENT.contains(&name) && !value.is_empty() {
            self.hide("an environment variable brings code into what runs");
        } else if (name.starts_with("PS") || name == "MAILPATH")
            && value.contains(['$', '`', '\\'])
            && value.contains(['(', '`'])
        {
            self.hide("a prompt in it runs commands");
        } else if name.starts_with("GIT_CONFIG_KEY_") || name.starts_with("GIT_CONFIG_VALUE_") {
            self.hide("an environment variable configures git");
        } else if name.starts_with("BASH_FUNC_") {
            self.hide("an environment variable defines a function");
        }
    }

    /// A shell: a text, a script, or what it reads.
    pub(super) fn shell(&mut self, base: &str, args: &[String], input: &Input) {
        if FOREIGN.contains(&base) {
            return self.foreign(args, input);
        }
        let (mut text, mut at) = (false, 0);
        let mut stdin = false;
        while let Some(arg) = args.get(at) {
            if arg == "--" || arg == "-" {
                at += 1;
                break;
            }
            if matches!(arg.as_str(), "--rcfile" | "--init-file") {
                if let Some(file) = args.get(at + 1).cloned() {
                    self.script_file(&file, input);
                }
                at += 2;
                continue;
            }
            if arg.starts_with("--") {
                text |= arg == "--command";
                if arg == "--login" && self.writes_settings() {
                    self.hide("a shell reads its settings where the text may have written them");
                }
                at += 1;
                continue;
            }
            let Some(letters) = arg.strip_prefix(['-', '+']) else {
                break;
            };
            // Some take `+c` for it, too.
            text |= letters.contains('c');
            stdin |= letters.contains('s') && arg.starts_with('-');
            let home = self.variables.values.contains_key("HOME");
            if letters.contains(['i', 'l'])
                && (home && !self.written.is_empty() || self.writes_settings())
            {
                self.hide("a shell reads its settings where the text may have written them");
            }
            at += 1;
            at += letters.matches(['o', 'O']).count();
        }
        let operands = args.get(at..).unwrap_or_default();
        if text {
            let Some((text, rest)) = operands.split_first() else {
                return;
            };
            if let Some(own) = rest.first() {
                self.variables.assign("0", own.clone());
            }
            // `$0` comes first.
            for value in rest.iter().skip(1) {
                self.variables.positional.insert(value.clone());
            }
            let all = rest.get(1..).unwrap_or_default().join(&FIELD.to_string());
            if !all.is_empty() {
                self.variables.positional.insert(all);
            }
            if text.contains([SPLIT, SENT]) && is_blank(text.trim()) {
                return self.hide("which text the shell runs is not known");
            }
            self.code_reading(text, input);
            return;
        }
        match operands.first() {
            Some(file) if !stdin => self.script_file(file, input),
            _ => self.reads(input, "a shell"),
        }
    }

    /// Whether the text writes a file from which shells take commands when they start.
    fn writes_settings(&self) -> bool {
        self.written.iter().any(|(path, _)| {
            let name = path.rsplit('/').next().unwrap_or_default();
            SETTINGS.contains(&name) || path.contains("profile.d/")
        })
    }

    /// A shell with a grammar of its own: words that mean the same to all are understood, and nothing else.
    fn foreign(&mut self, args: &[String], input: &Input) {
        let (mut at, mut texts) = (0, false);
        while let Some(arg) = args.get(at).filter(|arg| arg.starts_with('-')) {
            at += 1;
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            let takes = match name.strip_prefix("--") {
                Some(long) => matches!(long, "command" | "init-command" | "commands" | "execute"),
                None => name.to_lowercase().ends_with('c'),
            };
            let joined = !arg.starts_with("--") && arg.to_lowercase().contains('c') && !takes;
            if joined {
                self.hide("a text for a shell of another grammar is not understood");
            }
            if !takes {
                continue;
            }
            texts = true;
            let text = value.or_else(|| args.get(at).cloned()).unwrap_or_default();
            at += usize::from(!arg.contains('='));
            let plain = |c: char| c.is_ascii_alphanumeric() || " _+-./,:@%=".contains(c);
            if !text.chars().all(plain) {
                self.hide("a text for a shell of another grammar is not understood");
            }
            self.code_reading(&text, input);
        }
        match args.get(at) {
            _ if texts => {}
            Some(file) => self.script_file(file, input),
            None => self.reads(input, "a shell"),
        }
    }

    /// A text whose commands read the same as the shell around them.
    pub(super) fn code_reading(&mut self, text: &str, input: &Input) {
        let before = self.reads_commands;
        self.reads_commands = false;
        self.code(text);
        if self.reads_commands && !matches!(input, Input::Client) {
            self.reads(input, "a shell");
        }
        self.reads_commands |= before;
    }

    /// A program that runs the commands it reads.
    pub(super) fn reads(&mut self, input: &Input, who: &str) {
        match input {
            Input::Client => self.reads_commands = true,
            Input::Known(texts) => {
                self.reads_commands = true;
                for text in texts.clone() {
                    self.code(&text);
                }
            }
            Input::File(path) => self.program(&path.clone()),
            Input::Unknown => {
                self.hide(&format!("{who} runs what it reads, and that is not known"))
            }
        }
    }

    pub(super) fn reads_jobs(&mut self, input: &Input) {
        let Input::Known(texts) = input else {
            return self.reads(input, "crontab");
        };
        for text in texts.clone() {
            for line in text.lines() {
                let fields = if line.trim_start().starts_with('@') {
                    1
                } else {
                    5
                };
                let mut rest = line.trim_start();
                for _ in 0..fields {
                    rest = rest
                        .split_once(char::is_whitespace)
                        .map_or("", |(_, rest)| rest.trim_start());
                }
                self.code(rest);
            }
        }
    }

    /// A script by its name.
    pub(super) fn script_file(&mut self, file: &str, input: &Input) {
        if is_stdin(file) {
            return self.reads(input, "a shell");
        }
        if self.variables.among_devices && !file.starts_with('/') {
            self.reads_code(input);
        }
        if let Some(number) = walk::stream(file) {
            match self.streams.get(number).cloned().flatten() {
                Some(texts) => texts.iter().for_each(|text| self.code(text)),
                None => self.hide("a shell runs what a pipe gives it, and that is not known"),
            }
            return;
        }
        if file.starts_with("/dev/fd/") || file.starts_with("/proc/") {
            return self.hide("a shell runs what it reads from elsewhere, and that is not known");
        }
        if is_blank(file) || file.starts_with([SPLIT, SENT]) {
            return self.hide("which script the shell runs is not known");
        }
        self.program(file);
        self.runs_written(file, &[]);
    }

    /// The text of a program that is given as a file; hides what cannot be known.
    pub(super) fn program_text(&mut self, file: &str, input: &Input) -> Vec<String> {
        let known = match file {
            file if file == "-" || is_stdin(file) => {
                self.reads_code(input);
                match input {
                    Input::Known(texts) => Some(texts.clone()),
                    Input::Client | Input::File(_) => Some(Vec::new()),
                    Input::Unknown => None,
                }
            }
            file => match walk::stream(file) {
                Some(number) => self.streams.get(number).cloned().flatten(),
                None => match self.found(file) {
                    Some(Written::Texts(texts)) => Some(texts),
                    Some(Written::Unknown) => None,
                    Some(Written::Like(_) | Written::Below) | None => Some(Vec::new()),
                },
            },
        };
        known.unwrap_or_else(|| {
            self.hide("it runs a program text that is not known");
            Vec::new()
        })
    }

    /// What a redirection from a file gives.
    pub(super) fn file(&mut self, path: &str) -> Input {
        if path == "/dev/tty" || is_stdin(path) {
            return Input::Client;
        }
        if let Some(number) = walk::stream(path) {
            return match self.streams.get(number).cloned().flatten() {
                Some(texts) => Input::Known(texts),
                None => Input::Unknown,
            };
        }
        if path.starts_with("/dev/fd/") || path.starts_with("/proc/self/fd") {
            return Input::Unknown;
        }
        match self.found(path) {
            Some(Written::Texts(texts)) => Input::Known(texts),
            Some(_) => {
                self.fetches = true;
                Input::Unknown
            }
            None => Input::File(path.to_owned()),
        }
    }

    pub(super) fn wrote(&mut self, path: String, texts: Option<Vec<String>>) {
        self.remembers(path, texts.map_or(Written::Unknown, Written::Texts));
    }

    /// A file that the text changes, where it has a name: what is in it is the host's for the rest.
    pub(super) fn edited(&mut self, path: &str) {
        if !path.contains(UNKNOWN) && !path.is_empty() {
            self.wrote(path.to_owned(), None);
        }
    }

    /// Remembers a file that was written. What was written to it before may still be what is run.
    pub(super) fn remembers(&mut self, path: String, written: Written) {
        if path.starts_with("/dev/") || path.len() > MAX_PATH {
            return;
        }
        let entry = (path, written);
        self.written.retain(|known| *known != entry);
        self.spend(1 + self.written.len() / 8);
        if self.written.len() >= MAX_WRITTEN {
            return self.hide("it writes too many files to be understood");
        }
        self.written.push(entry);
    }

    pub(super) fn listed_script(&mut self, path: &str) -> Option<Written> {
        self.program(path);
        self.found(path)
    }

    /// What the text has written to a file, as far as it is known.
    pub(super) fn found(&self, path: &str) -> Option<Written> {
        self.found_by_name(path).or_else(|| self.strewn(path))
    }

    /// The same, of what was written by a name.
    fn found_by_name(&self, path: &str) -> Option<Written> {
        fn base(path: &str) -> &str {
            path.rsplit('/').next().unwrap_or(path)
        }
        let same = |known: &str| {
            let (named, own) = (base(known), base(path));
            known == path
                || named == own
                || may_be(known, path)
                || may_be(path, known)
                || !is_blank(own) && may_be(own, named)
        };
        let mut written = self.written.iter().rev();
        let found = written.find(|(known, written)| *written != Written::Below && same(known));
        found.map(|(_, written)| written.clone())
    }

    /// A file that is a copy of another, or a link to it: the text may have written that.
    fn runs_copy(&mut self, source: &str) {
        let mut sources = vec![source.to_owned()];
        for _ in 0..8 {
            let Some(source) = sources.pop() else { return };
            if is_stdin(&source) {
                self.reads_commands = true;
            }
            match self.found(&source) {
                None => {}
                Some(Written::Texts(texts)) => texts.iter().for_each(|text| self.code(text)),
                Some(Written::Unknown) => {
                    self.hide("it runs a file that it writes, and what is written is not known");
                }
                Some(Written::Below) => {}
                Some(Written::Like(others)) => {
                    sources.extend(others.into_iter().filter(|other| *other != source));
                }
            }
        }
    }

    /// A program that the same text has written. One without a directory is looked for where programs are.
    pub(super) fn runs_program(&mut self, name: &str, args: &[String]) {
        let here = name.contains('/') || self.variables.values.contains_key("PATH");
        let found = match here {
            true => self.found(name),
            false => self.found_by_name(name),
        };
        self.runs_found(name, args, found);
    }

    /// A script that the same text has written.
    pub(super) fn runs_written(&mut self, path: &str, args: &[String]) {
        let found = self.found(path);
        self.runs_found(path, args, found);
    }

    fn runs_found(&mut self, path: &str, args: &[String], found: Option<Written>) {
        if path.len() > MAX_PATH {
            return;
        }
        self.spend(self.written.len() * (1 + path.len() / 256));
        match found {
            None | Some(Written::Below) => {}
            Some(Written::Texts(texts)) => texts.iter().for_each(|text| self.code(text)),
            Some(Written::Unknown) => {
                self.hide("it runs a file that it writes, and what is written is not known");
            }
            Some(Written::Like(sources)) => {
                for source in sources {
                    self.runs_copy(&source);
                    let mut argv = vec![source];
                    argv.extend(args.iter().cloned());
                    if let Some(source) = argv.first() {
                        self.program(source);
                    }
                    self.listed(&argv);
                    let base = argv
                        .first()
                        .and_then(|source| source.rsplit('/').next())
                        .unwrap_or_default()
                        .to_owned();
                    if SHELLS.contains(&base.as_str()) {
                        self.shell(&base, args, &Input::Client);
                    }
                }
            }
        }
    }
}
