//! One simple command: what it runs besides its own program.

use super::options::{
    CODE_IN_ENVIRONMENT, COMMANDS_IN_ENVIRONMENT, SHELLS, SPECIAL, SUBCOMMANDS, WRAPPERS, Wrapper,
};
use super::word::{ANY, FIELD, SENT, SPLIT, is_blank, may_be};
use super::{Input, Shell, Written, code, walk};

/// Programs around programs, at most.
const MAX_WRAPPED: usize = 32;

impl Shell<'_> {
    /// A command whose words are known, as far as they are.
    pub(super) fn invoke(&mut self, argv: &[String], input: &Input, wrapped: usize) {
        self.spend(2);
        if self.is_spent() {
            return;
        }
        if wrapped > MAX_WRAPPED {
            return self.hide("it is nested too deeply");
        }
        let Some((name, args)) = argv.split_first() else {
            return;
        };
        if name.is_empty() || (name.starts_with('-') && name.len() < 3) {
            // `time -p`: the word behind it is the program.
            return self.invoke(args, input, wrapped + 1);
        }
        if name.contains([SPLIT, SENT]) || is_blank(name) {
            self.program(name);
            return self.hide("which program runs is decided when it runs");
        }
        self.program(name);
        self.listed(argv);
        let base = name
            .rsplit('/')
            .next()
            .unwrap_or(name)
            .trim_start_matches(['=', '\\']);
        if base.is_empty() {
            // A directory.
            return;
        }
        if is_blank(base) {
            return self.hide("which program runs is decided when it runs");
        }
        if self.variables.functions.contains(base) {
            self.called(args, input, wrapped);
        }
        self.runs_written(name, args);
        if base.contains(ANY) {
            let names = SPECIAL.iter().chain(SHELLS);
            let wrappers = WRAPPERS.iter().flat_map(|wrapper| wrapper.names);
            let meant: Vec<&str> = names
                .chain(wrappers)
                .copied()
                .filter(|one| may_be(base, one))
                .collect();
            for one in meant {
                self.special(one, args, input, wrapped);
            }
        } else {
            self.special(base, args, input, wrapped);
        }
    }

    /// A function of the text: its words may become programs.
    fn called(&mut self, args: &[String], input: &Input, wrapped: usize) {
        for arg in args {
            if self.variables.positional.len() < 64 {
                self.variables.positional.insert(arg.clone());
            } else {
                self.variables.positional.insert(SPLIT.to_string());
            }
        }
        // `f(){ "$@"; }` runs its arguments as they are.
        self.invoke(args, input, wrapped + 1);
    }

    fn special(&mut self, base: &str, args: &[String], input: &Input, wrapped: usize) {
        if SHELLS.contains(&base) {
            return self.shell(args, input);
        }
        let linker = ["ld-linux", "ld-musl", "ld.so", "ld64"]
            .iter()
            .any(|prefix| base.starts_with(prefix));
        let wrapper = WRAPPERS
            .iter()
            .find(|wrapper| wrapper.names.contains(&base));
        if let Some(wrapper) = wrapper {
            return self.wrapper(base, wrapper, args, input, wrapped);
        }
        if linker {
            let skip = args.iter().position(|arg| !arg.starts_with('-'));
            return self.invoke(
                args.get(skip.unwrap_or(0)..).unwrap_or_default(),
                input,
                wrapped + 1,
            );
        }
        if let Some((_, verbs, skip)) = SUBCOMMANDS.iter().find(|(name, _, _)| *name == base)
            && let Some(at) = args.iter().position(|arg| verbs.contains(&arg.as_str()))
        {
            self.subcommand(
                args.get(at + 1..).unwrap_or_default(),
                *skip,
                input,
                wrapped,
            );
        }
        match base {
            "eval" => {
                let text = args.join(" ");
                if text.contains([SPLIT, SENT]) || is_blank(text.trim()) {
                    return self.hide("what eval runs is not known");
                }
                self.code(&text);
            }
            "source" | "." => match args.first() {
                Some(file) => self.script_file(file, input),
                None => {}
            },
            "trap" => {
                let text = args.iter().find(|arg| *arg != "--");
                if let Some(text) = text.filter(|text| !text.is_empty() && *text != "-") {
                    self.code(text);
                }
            }
            "alias" => {
                for (_, text) in args.iter().filter_map(|arg| arg.split_once('=')) {
                    self.code(text);
                }
            }
            "export" | "declare" | "typeset" | "local" | "readonly" => self.declares(args),
            "read" | "mapfile" | "readarray" | "getopts" | "unset" => {
                for name in args.iter().filter(|arg| !arg.starts_with('-')) {
                    self.cloud(name);
                }
            }
            "printf" if args.first().is_some_and(|arg| arg.starts_with("-v")) => {
                let attached = args.first().and_then(|arg| arg.strip_prefix("-v"));
                let name = attached
                    .filter(|name| !name.is_empty())
                    .or(args.get(1).map(String::as_str));
                if let Some(name) = name.map(str::to_owned) {
                    self.cloud(&name);
                }
            }
            "set" => self.sets(args),
            "fc" => {
                if args
                    .iter()
                    .any(|arg| arg.starts_with("-s") || arg.starts_with("-e"))
                    || args.is_empty()
                {
                    self.hide("fc runs commands again that are not known");
                }
            }
            "history" if args.first().is_some_and(|arg| arg == "-s") => {
                self.invoke(args.get(1..).unwrap_or_default(), input, wrapped + 1);
            }
            "enable" if args.iter().any(|arg| arg.starts_with("-f")) => {
                self.hide("the shell loads code from a file");
            }
            "bind" | "complete" | "compgen" => self.attached(args, &["-x", "-C", "-F", "-f"]),
            "hash" if args.first().is_some_and(|arg| arg == "-p") => {
                if let Some(file) = args.get(1).cloned() {
                    self.invoke(&[file], input, wrapped + 1);
                }
            }
            "xargs" => self.xargs(args, wrapped),
            "parallel" | "rush" => self.parallel(args, input, wrapped),
            "find" | "gfind" | "fd" | "fdfind" => self.find(args, input, wrapped),
            "su" | "runuser" => self.su(args, input, wrapped),
            "script" | "sg" | "newgrp" => {
                self.after(args, &["-c", "--command"]);
                if base == "sg" {
                    self.tail(args, 1);
                } else if !args.iter().any(|arg| arg.contains('c')) {
                    self.reads(input, "a shell");
                }
            }
            "watch" => self.joined(args, "nd", input),
            "at" | "batch" => {
                if !args
                    .iter()
                    .any(|arg| matches!(arg.as_str(), "-f" | "-l" | "-c" | "-r" | "-d"))
                {
                    self.reads(input, "at");
                }
            }
            "crontab" => {
                if args.iter().any(|arg| arg == "-") || args.is_empty() {
                    self.reads_jobs(input);
                }
            }
            "flock" => self.flock(args, input, wrapped),
            "ssh" | "slogin" | "mosh" | "dbclient" | "rsh" => self.ssh(args, input),
            "tmux" | "screen" | "zellij" => {
                for arg in args.iter().filter(|arg| !arg.starts_with('-')) {
                    self.code(arg);
                }
                self.tail(args, 0);
            }
            "awk" | "gawk" | "mawk" | "nawk" | "original-awk" => self.awk(args),
            "sed" | "gsed" => self.sed(args),
            "tar" | "gtar" | "bsdtar" => {
                self.attached(
                    args,
                    &[
                        "--to-command",
                        "--use-compress-program",
                        "--info-script",
                        "--rsh-command",
                        "-I",
                        "-F",
                    ],
                );
                for arg in args {
                    if let Some(text) = arg.split_once("exec=").map(|(_, text)| text.to_owned()) {
                        self.code(&text);
                    }
                }
            }
            "rsync" => self.attached(args, &["-e", "--rsh", "--rsync-path"]),
            "scp" | "sftp" => self.ssh_options(args, &["-S", "-D"]),
            "git" => self.git(args),
            "zip" => self.attached(args, &["-TT", "--unzip-command"]),
            "man" | "less" | "more" | "most" | "psql" | "mysql" | "mariadb" | "sqlite3" | "ftp"
            | "lftp" | "telnet" | "mail" | "mailx" | "bc" | "dc" | "gnuplot" | "octave" | "ed"
            | "red" => self.escapes(base, args, input),
            "vi" | "vim" | "nvim" | "ex" | "view" | "vimdiff" | "rvim" | "emacs" | "nano"
            | "pico" | "joe" => self.editor(args, input),
            "nc" | "ncat" | "netcat" | "nc.traditional" | "nc.openbsd" => {
                self.attached(args, &["-e", "-c", "--exec", "--sh-exec", "--lua-exec"]);
            }
            "socat" => {
                for arg in args {
                    let upper = arg.to_uppercase();
                    for kind in ["EXEC:", "SYSTEM:", "SHELL:"] {
                        if let Some(at) = upper.find(kind)
                            && let Some(text) = arg.get(at + kind.len()..)
                        {
                            self.code(text.split(',').next().unwrap_or(text).trim_matches('"'));
                        }
                    }
                }
            }
            "gdb" | "lldb" => {
                if let Some(at) = args.iter().position(|arg| arg == "--args" || arg == "--") {
                    self.invoke(args.get(at + 1..).unwrap_or_default(), input, wrapped + 1);
                } else {
                    self.interpreter("gdb", args, &["ex", "iex", "eval-command", "o"], input);
                }
            }
            "make" | "gmake" | "ninja" | "just" | "rake" => {
                if args.iter().any(|arg| {
                    arg.starts_with("--eval")
                        || arg.starts_with("-E")
                        || arg == "-f-"
                        || arg == "/dev/stdin"
                        || arg == "-"
                }) {
                    self.hide("make runs text that is given to it");
                }
            }
            "run-parts" | "start-stop-daemon" | "daemon" => {
                self.attached(args, &["--exec", "-x", "-a", "--startas"]);
                if let Some(at) = args.iter().position(|arg| arg == "--") {
                    self.invoke(args.get(at + 1..).unwrap_or_default(), input, wrapped + 1);
                }
            }
            "nix-shell" | "nix" | "guix" | "toolbox" | "distrobox" | "flatpak-spawn"
            | "machinectl" | "lxc-attach" | "lxc" | "capsh" => {
                self.attached(args, &["--run", "--command", "-c"]);
                if let Some(at) = args.iter().position(|arg| arg == "--") {
                    self.invoke(args.get(at + 1..).unwrap_or_default(), input, wrapped + 1);
                }
            }
            "ln" | "cp" | "mv" | "install" | "link" | "rename" => self.copies(args),
            "tee" => {
                let texts = match input {
                    Input::Known(texts) => Some(texts.clone()),
                    _ => None,
                };
                for file in args.iter().filter(|arg| !arg.starts_with('-')) {
                    self.wrote(file.clone(), texts.clone());
                }
            }
            "dd" => {
                let texts = match input {
                    Input::Known(texts) => Some(texts.clone()),
                    _ => None,
                };
                for file in args.iter().filter_map(|arg| arg.strip_prefix("of=")) {
                    self.wrote(file.to_owned(), texts.clone());
                }
            }
            _ => self.languages(base, args, input),
        }
    }

    fn cloud(&mut self, name: &str) {
        if name.contains([ANY, SPLIT, SENT, FIELD]) {
            self.variables.clouded = true;
        } else {
            self.variables.cloud(name);
        }
    }

    fn declares(&mut self, args: &[String]) {
        for arg in args {
            if arg.starts_with('-') {
                self.variables.clouded |= arg.contains('n');
                continue;
            }
            if let Some((name, value)) = arg.split_once('=') {
                if name.contains([ANY, SPLIT, SENT]) {
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

    fn sets(&mut self, args: &[String]) {
        if args
            .iter()
            .any(|arg| matches!(arg.as_str(), "-H" | "histexpand" | "-Ho"))
        {
            self.hide("history expansion is switched on");
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

    /// Variables that other programs run, or that bring code into them.
    pub(super) fn environment(&mut self, name: &str, value: &str) {
        if matches!(name, "BASH_ENV" | "ENV") && !value.is_empty() {
            self.script_file(value, &Input::Client);
        }
        if COMMANDS_IN_ENVIRONMENT.contains(&name) && !value.is_empty() {
            self.code(value);
        } else if CODE_IN_ENVIRONMENT.contains(&name) && !value.is_empty() {
            self.hide("an environment variable brings code into what runs");
        } else if name.starts_with("BASH_FUNC_") {
            self.hide("an environment variable defines a function");
        }
    }

    /// A shell: a text, a script, or what it reads.
    fn shell(&mut self, args: &[String], input: &Input) {
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
                at += 1;
                continue;
            }
            let Some(letters) = arg.strip_prefix(['-', '+']) else {
                break;
            };
            text |= letters.contains('c') && arg.starts_with('-');
            stdin |= letters.contains('s') && arg.starts_with('-');
            at += 1;
            if letters.ends_with(['o', 'O']) {
                at += 1;
            }
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

    /// A text whose commands read the same as the shell around them.
    fn code_reading(&mut self, text: &str, input: &Input) {
        let before = self.reads_commands;
        self.reads_commands = false;
        self.code(text);
        if self.reads_commands && !matches!(input, Input::Client) {
            self.reads(input, "a shell");
        }
        self.reads_commands |= before;
    }

    /// A program that runs the commands it reads.
    fn reads(&mut self, input: &Input, who: &str) {
        match input {
            Input::Client => self.reads_commands = true,
            Input::Known(texts) => {
                self.reads_commands = true;
                for text in texts.clone() {
                    self.code(&text);
                }
            }
            Input::File => {}
            Input::Unknown => {
                self.hide(&format!("{who} runs what it reads, and that is not known"))
            }
        }
    }

    fn reads_jobs(&mut self, input: &Input) {
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
    fn script_file(&mut self, file: &str, input: &Input) {
        if matches!(file, "/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0") {
            return self.reads(input, "a shell");
        }
        if let Some(number) = walk::stream(file) {
            match self.streams.get(number).cloned().flatten() {
                Some(texts) => texts.iter().for_each(|text| self.code(text)),
                None => self.hide("a shell runs what a pipe gives it, and that is not known"),
            }
            return;
        }
        if is_blank(file) || file.starts_with([SPLIT, SENT]) {
            return self.hide("which script the shell runs is not known");
        }
        self.runs_written(file, &[]);
    }

    /// What a redirection from a file gives.
    pub(super) fn file(&mut self, path: &str) -> Input {
        if matches!(path, "/dev/stdin" | "/dev/fd/0" | "/dev/tty") {
            return Input::Client;
        }
        if let Some(number) = walk::stream(path) {
            return match self.streams.get(number).cloned().flatten() {
                Some(texts) => Input::Known(texts),
                None => Input::Unknown,
            };
        }
        match self.found(path) {
            Some(Written::Texts(texts)) => Input::Known(texts),
            Some(_) => Input::Unknown,
            None => Input::File,
        }
    }

    pub(super) fn wrote(&mut self, path: String, texts: Option<Vec<String>>) {
        if path.starts_with("/dev/") || self.written.len() > 256 {
            return;
        }
        let written = texts.map_or(Written::Unknown, Written::Texts);
        self.written.push((path, written));
    }

    fn found(&self, path: &str) -> Option<Written> {
        fn base(path: &str) -> &str {
            path.rsplit('/').next().unwrap_or(path)
        }
        let same = |known: &str| {
            known == path || base(known) == base(path) || may_be(known, path) || may_be(path, known)
        };
        let found = self.written.iter().rev().find(|(known, _)| same(known));
        found.map(|(_, written)| written.clone())
    }

    /// A program or script that the same text has written.
    fn runs_written(&mut self, path: &str, args: &[String]) {
        match self.found(path) {
            None => {}
            Some(Written::Texts(texts)) => texts.iter().for_each(|text| self.code(text)),
            Some(Written::Unknown) => {
                self.hide("it runs a file that it writes, and what is written is not known");
            }
            Some(Written::Like(sources)) => {
                for source in sources {
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
                        self.shell(args, &Input::Client);
                    }
                }
            }
        }
    }

    /// A file under another name: of a program it counts as running it.
    fn copies(&mut self, args: &[String]) {
        let files: Vec<String> = args
            .iter()
            .filter(|arg| !arg.starts_with('-'))
            .cloned()
            .collect();
        let Some((to, sources)) = files.split_last() else {
            return;
        };
        let sources = if sources.is_empty() {
            std::slice::from_ref(to)
        } else {
            sources
        };
        for source in sources {
            let program = ["bin/", "sbin/", "libexec/"]
                .iter()
                .any(|part| source.contains(part));
            if program {
                self.program(source);
            }
        }
        self.written
            .push((to.clone(), Written::Like(sources.to_vec())));
    }

    fn wrapper(
        &mut self,
        base: &str,
        wrapper: &Wrapper,
        args: &[String],
        input: &Input,
        wrapped: usize,
    ) {
        if base == "command"
            && args
                .first()
                .is_some_and(|arg| wrapper.looks.contains(&arg.as_str()))
        {
            return;
        }
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            if arg == "--" {
                at += 1;
                break;
            }
            if wrapper.looks.contains(&arg.as_str()) && base == "sudo" {
                break;
            }
            if base == "env" && (arg.starts_with("-S") || arg.starts_with("--split-string")) {
                self.code(&self.split_string(args, at));
                return;
            }
            let assigns = matches!(base, "env" | "sudo" | "doas" | "time" | "exec")
                && arg.split_once('=').is_some_and(|(name, _)| {
                    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                });
            if assigns {
                if let Some((name, value)) = arg.split_once('=') {
                    let (name, value) = (name.to_owned(), value.to_owned());
                    self.environment(&name, &value);
                }
                at += 1;
                continue;
            }
            let Some(letters) = arg.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
                break;
            };
            at += 1;
            if arg.starts_with("--") {
                at += usize::from(wrapper.long.contains(&arg.as_str()));
            } else if wrapper.short.contains(|c| letters.ends_with(c))
                && !letters
                    .chars()
                    .rev()
                    .skip(1)
                    .any(|c| wrapper.short.contains(c))
            {
                at += 1;
            }
        }
        at += wrapper.skip;
        let rest = args.get(at..).unwrap_or_default();
        if rest.is_empty()
            && matches!(
                base,
                "sudo" | "su" | "chroot" | "unshare" | "nsenter" | "doas"
            )
            && args.iter().any(|arg| {
                arg.starts_with("-s") || arg.starts_with("-i") || !matches!(base, "sudo" | "doas")
            })
        {
            return self.reads(input, "a shell");
        }
        if matches!(base, "strace" | "ltrace" | "setarch" | "prlimit" | "choom")
            || base.starts_with("unshare")
        {
            // Their options are many: a word that follows one may be the program.
            for start in 1..args.len().min(6) {
                if args.get(start - 1).is_some_and(|arg| arg.starts_with('-')) && start < at {
                    self.invoke(args.get(start..).unwrap_or_default(), input, wrapped + 1);
                }
            }
        }
        self.invoke(rest, input, wrapped + 1);
    }

    fn split_string(&self, args: &[String], at: usize) -> String {
        let mut text = String::new();
        for (i, arg) in args.iter().enumerate().skip(at) {
            let arg = if i == at {
                arg.trim_start_matches("--split-string")
                    .trim_start_matches("-S")
                    .trim_start_matches('=')
            } else {
                arg
            };
            text.push_str(arg);
            text.push(' ');
        }
        text
    }

    fn subcommand(&mut self, args: &[String], skip: usize, input: &Input, wrapped: usize) {
        if let Some(at) = args.iter().position(|arg| arg == "--") {
            return self.invoke(args.get(at + 1..).unwrap_or_default(), input, wrapped + 1);
        }
        // Which options take a word is not known: each may have taken one.
        let is_option = |at: &usize| args.get(*at).is_some_and(|arg| arg.starts_with('-'));
        let (options, words): (Vec<usize>, Vec<usize>) = (0..args.len()).partition(is_option);
        let Some(first) = words.get(skip).copied() else {
            return;
        };
        let before = options.iter().take_while(|at| **at < first).count();
        for at in words.into_iter().skip(skip).take(1 + before.min(8)) {
            self.invoke(args.get(at..).unwrap_or_default(), input, wrapped + 1);
        }
    }

    /// Words that follow one of these options, or are attached to it, are texts for a shell.
    fn attached(&mut self, args: &[String], options: &[&str]) {
        for (at, arg) in args.iter().enumerate() {
            for option in options {
                let text = match arg.strip_prefix(option) {
                    Some("") => args.get(at + 1).map(String::as_str),
                    Some(rest) => rest
                        .strip_prefix('=')
                        .or((!option.starts_with("--")).then_some(rest)),
                    None => None,
                };
                if let Some(text) = text.map(str::to_owned) {
                    self.code(&text);
                }
            }
        }
    }

    /// As `attached`, also where letters are joined (`-qc TEXT`).
    fn after(&mut self, args: &[String], options: &[&str]) {
        for (at, arg) in args.iter().enumerate() {
            let joined = arg.starts_with('-') && !arg.starts_with("--") && arg.ends_with('c');
            let text = if joined || options.contains(&arg.as_str()) {
                args.get(at + 1).cloned()
            } else {
                options.iter().find_map(|option| {
                    arg.strip_prefix(option)?
                        .strip_prefix('=')
                        .map(str::to_owned)
                })
            };
            if let Some(text) = text {
                self.code(&text);
            }
        }
    }

    /// The words behind the first `skip` operands, as one text.
    fn tail(&mut self, args: &[String], skip: usize) {
        let operands: Vec<&str> = args
            .iter()
            .map(String::as_str)
            .filter(|arg| !arg.starts_with('-'))
            .skip(skip)
            .collect();
        if !operands.is_empty() {
            self.code(&operands.join(" "));
        }
    }

    fn joined(&mut self, args: &[String], short: &str, input: &Input) {
        let mut at = 0;
        while let Some(arg) = args.get(at).filter(|arg| arg.starts_with('-')) {
            at += 1 + usize::from(!arg.starts_with("--") && arg.ends_with(|c| short.contains(c)));
        }
        let rest = args.get(at..).unwrap_or_default();
        self.invoke(rest, input, 1);
        self.code(&rest.join(" "));
    }

    fn xargs(&mut self, args: &[String], wrapped: usize) {
        let mut at = 0;
        let mut replaced = None;
        while let Some(arg) = args.get(at) {
            let Some(letters) = arg.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
                break;
            };
            at += 1;
            if arg == "--" {
                break;
            }
            let takes = !arg.starts_with("--")
                && letters.ends_with(['I', 'n', 'P', 'L', 's', 'd', 'a', 'E', 'J', 'R', 'S'])
                && letters.len() == 1;
            if let Some(text) = letters.strip_prefix('I') {
                let next = args.get(at).cloned().unwrap_or_default();
                replaced = Some(if text.is_empty() {
                    next
                } else {
                    text.to_owned()
                });
            } else if letters == "i" || arg == "--replace" {
                replaced = Some("{}".to_owned());
            }
            at += usize::from(takes);
        }
        let mut argv: Vec<String> = args.get(at..).unwrap_or_default().to_vec();
        if argv.is_empty() {
            return;
        }
        match replaced.filter(|text| !text.is_empty()) {
            Some(text) => {
                for word in &mut argv {
                    *word = word.replace(&text, &SPLIT.to_string());
                }
            }
            None => argv.push(SPLIT.to_string()),
        }
        self.invoke(&argv, &Input::Unknown, wrapped + 1);
    }

    fn parallel(&mut self, args: &[String], input: &Input, wrapped: usize) {
        let mut operands = Vec::new();
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            if arg.starts_with(":::") {
                break;
            }
            if arg.starts_with('-') && operands.is_empty() {
                at += usize::from(matches!(
                    arg.as_str(),
                    "-j" | "-n" | "-N" | "-S" | "-a" | "--jobs" | "-L" | "-I"
                ));
            } else {
                operands.push(arg.clone());
            }
            at += 1;
        }
        let given: Vec<String> = args
            .get(at..)
            .unwrap_or_default()
            .iter()
            .filter(|arg| !arg.starts_with(":::"))
            .cloned()
            .collect();
        if operands.is_empty() {
            if given.is_empty() {
                return self.reads(input, "parallel");
            }
            return given.iter().for_each(|text| self.code(text));
        }
        let text = operands.join(" ");
        if given.is_empty() {
            self.code(&text.replace("{}", &SPLIT.to_string()));
        }
        for one in given {
            let filled = if text.contains("{}") {
                text.replace("{}", &one)
            } else {
                format!("{text} {one}")
            };
            self.code(&filled);
        }
        self.invoke(&operands, input, wrapped + 1);
    }

    fn find(&mut self, args: &[String], input: &Input, wrapped: usize) {
        for (at, arg) in args.iter().enumerate() {
            if !matches!(
                arg.as_str(),
                "-exec" | "-execdir" | "-ok" | "-okdir" | "-x" | "-X" | "--exec" | "--exec-batch"
            ) {
                continue;
            }
            let rest = args.get(at + 1..).unwrap_or_default();
            let end = rest
                .iter()
                .position(|arg| arg == ";" || arg == "+")
                .unwrap_or(rest.len());
            let mut argv: Vec<String> = rest.get(..end).unwrap_or_default().to_vec();
            // A file that is found is named by whoever made it.
            for word in &mut argv {
                *word = word.replace("{}", &ANY.to_string());
            }
            self.invoke(&argv, input, wrapped + 1);
        }
    }

    fn su(&mut self, args: &[String], input: &Input, wrapped: usize) {
        let text = args.iter().any(|arg| {
            arg == "--command"
                || (arg.starts_with('-') && !arg.starts_with("--") && arg.ends_with('c'))
        });
        if text {
            return self.after(args, &["--command"]);
        }
        if args.iter().any(|arg| arg == "-u") {
            let at = args
                .iter()
                .position(|arg| arg == "--")
                .or(args.iter().position(|arg| arg == "-u").map(|at| at + 1));
            return self.invoke(
                args.get(at.unwrap_or(0) + 1..).unwrap_or_default(),
                input,
                wrapped + 1,
            );
        }
        self.reads(input, "a shell");
    }

    fn flock(&mut self, args: &[String], input: &Input, wrapped: usize) {
        let mut at = 0;
        while let Some(arg) = args.get(at).filter(|arg| arg.starts_with('-')) {
            at += 1 + usize::from(matches!(
                arg.as_str(),
                "-w" | "-E" | "--wait" | "--timeout" | "--conflict-exit-code"
            ));
        }
        let rest = args.get(at + 1..).unwrap_or_default();
        if rest
            .first()
            .is_some_and(|arg| arg == "-c" || arg == "--command")
        {
            return rest
                .iter()
                .skip(1)
                .take(1)
                .cloned()
                .for_each(|text| self.code(&text));
        }
        let own = rest
            .iter()
            .position(|arg| !arg.starts_with('-'))
            .unwrap_or(rest.len());
        self.invoke(rest.get(own..).unwrap_or_default(), input, wrapped + 1);
    }

    /// Another host: what runs there counts as running here.
    fn ssh(&mut self, args: &[String], input: &Input) {
        self.ssh_options(args, &[]);
        let mut at = 0;
        while let Some(arg) = args.get(at).filter(|arg| arg.starts_with('-')) {
            at += 1;
            if arg == "--" {
                break;
            }
            let takes = arg.ends_with(|c| "BbcDEeFIiJLlmOoPpQRSWw".contains(c)) && arg.len() == 2;
            at += usize::from(takes);
        }
        let mut rest = args.get(at + 1..).unwrap_or_default();
        // Options may stand behind the host, too.
        while rest.first().is_some_and(|arg| arg.starts_with('-')) {
            let takes = rest
                .first()
                .is_some_and(|arg| arg.len() == 2 && "pliFoL".contains(&arg[1..]));
            rest = rest.get(1 + usize::from(takes)..).unwrap_or_default();
        }
        if !rest.is_empty() {
            self.code_reading(&rest.join(" "), input);
        } else if args.get(at).is_some()
            && !args
                .iter()
                .any(|arg| arg.starts_with("-N") || arg.starts_with("-V"))
        {
            self.reads(input, "a shell");
        }
    }

    fn ssh_options(&mut self, args: &[String], programs: &[&str]) {
        self.attached(args, programs);
        for arg in args {
            let option = arg.trim_start_matches("-o").trim();
            let split = option.split_once(['=', ' ', '\t']);
            let Some((name, text)) = split else { continue };
            let name = name.to_lowercase();
            if matches!(
                name.as_str(),
                "proxycommand" | "localcommand" | "knownhostscommand" | "remotecommand"
            ) && text.trim() != "none"
            {
                self.code(text.trim());
            }
        }
    }

    fn git(&mut self, args: &[String]) {
        self.attached(
            args,
            &[
                "--upload-pack",
                "--receive-pack",
                "--exec",
                "-x",
                "--open-files-in-pager",
                "--tree-filter",
                "--msg-filter",
                "--index-filter",
            ],
        );
        for (at, arg) in args.iter().enumerate() {
            if arg == "foreach" {
                self.tail(args.get(at + 1..).unwrap_or_default(), 0);
            }
            let given = match arg.as_str() {
                "-c" | "--config-env" => args.get(at + 1),
                _ => None,
            };
            let Some((name, value)) = given.and_then(|text| text.split_once('=')) else {
                continue;
            };
            let (name, value) = (name.to_lowercase(), value.to_owned());
            if let Some(text) = value.strip_prefix('!') {
                self.code(text);
            } else if [
                "sshcommand",
                "pager",
                "editor",
                "fsmonitor",
                "hookspath",
                "askpass",
                "helper",
                "textconv",
                "external",
                "cmd",
                "gitproxy",
                "program",
                "uploadpack",
                "receivepack",
            ]
            .iter()
            .any(|end| name.contains(end))
            {
                self.code(&value);
            }
        }
    }

    fn awk(&mut self, args: &[String]) {
        let mut at = 0;
        let mut programs = Vec::new();
        let mut file = false;
        while let Some(arg) = args
            .get(at)
            .filter(|arg| arg.starts_with('-') && arg.len() > 1)
        {
            at += 1;
            match arg.as_str() {
                "--" => break,
                "-v" | "-F" | "-i" | "-l" | "--assign" | "--field-separator" | "--include"
                | "--load" => at += 1,
                "-f" | "--file" => {
                    file = true;
                    at += 1;
                }
                "-e" | "--source" => {
                    programs.extend(args.get(at).cloned());
                    at += 1;
                }
                arg => {
                    file |= arg.starts_with("-f") || arg.starts_with("--file=");
                    programs.extend(arg.strip_prefix("--source=").map(str::to_owned));
                }
            }
        }
        if programs.is_empty() && !file {
            programs.extend(args.get(at).cloned());
        }
        if programs
            .iter()
            .any(|program| is_unknown(program) || code::awk_spawns(program))
        {
            self.hide("the awk program in it can run others");
        }
    }

    fn sed(&mut self, args: &[String]) {
        let mut scripts = Vec::new();
        let mut file = false;
        let mut at = 0;
        let mut operands = Vec::new();
        while let Some(arg) = args.get(at) {
            at += 1;
            if let Some(text) = arg.strip_prefix("--expression=") {
                scripts.push(text.to_owned());
            } else if arg == "-e"
                || arg == "--expression"
                || (arg.starts_with('-')
                    && !arg.starts_with("--")
                    && arg.ends_with('e')
                    && !arg.starts_with("-i"))
            {
                scripts.extend(args.get(at).cloned());
                at += 1;
            } else if arg == "-f" || arg == "--file" {
                file = true;
                at += 1;
            } else if !arg.starts_with('-') {
                operands.push(arg.clone());
            }
        }
        if scripts.is_empty() && !file {
            scripts.extend(operands.into_iter().next());
        }
        for script in scripts {
            match code::sed_runs(&script) {
                Ok(commands) => commands.iter().for_each(|command| self.code(command)),
                Err(()) => self.hide("the sed script in it runs what it reads"),
            }
        }
    }

    /// Programs that run a line which begins with `!` (or `\!`, `.shell`).
    fn escapes(&mut self, base: &str, args: &[String], input: &Input) {
        if base == "man" {
            self.attached(args, &["-P", "--pager", "-H"]);
        }
        let mut texts: Vec<String> = args.to_vec();
        match input {
            Input::Known(known) => texts.extend(known.iter().cloned()),
            Input::Unknown if matches!(base, "ed" | "red") => {
                return self.hide("an editor runs what it reads, and that is not known");
            }
            _ => {}
        }
        for text in texts {
            for line in text.lines() {
                let line = line.trim_start();
                let escaped = line
                    .strip_prefix("+!")
                    .or_else(|| line.strip_prefix("\\!"))
                    .or_else(|| line.strip_prefix('!'))
                    .or_else(|| line.strip_prefix(".shell"))
                    .or_else(|| line.strip_prefix(".system"))
                    .or_else(|| line.strip_prefix("system "));
                if let Some(command) = escaped {
                    self.code(command.trim_start_matches('!'));
                } else if line.starts_with("r !")
                    || line.starts_with("w !")
                    || line.starts_with("e !")
                {
                    self.code(line.get(3..).unwrap_or_default());
                } else if let Some((_, program)) = line.to_lowercase().split_once("program ")
                    && matches!(base, "psql")
                {
                    self.code(program.trim_matches(|c| matches!(c, '\'' | '"' | ';' | ' ')));
                } else if let Some((_, command)) = line.split_once("\\!") {
                    self.code(command);
                } else if let Some((_, command)) = line.split_once("\\|") {
                    self.code(command);
                }
            }
        }
    }

    fn editor(&mut self, args: &[String], input: &Input) {
        let mut texts: Vec<String> = args.to_vec();
        match input {
            Input::Known(known) => texts.extend(known.iter().cloned()),
            Input::Unknown => {
                return self.hide("an editor runs what it reads, and that is not known");
            }
            _ => {}
        }
        for text in texts {
            let lower = text.to_lowercase();
            if let Some((_, command)) = text.split_once('!') {
                self.code(command);
            }
            let runs = [
                "system(",
                "term",
                "job_start",
                "libcall",
                "shell-command",
                "call-process",
                "start-process",
                "python",
                "perl",
                "lua",
                "ruby",
            ];
            if runs.iter().any(|word| lower.contains(word))
                && text.starts_with(['+', ':', '-', '('])
            {
                self.hide("an editor runs code that is given to it");
            }
        }
    }

    fn languages(&mut self, base: &str, args: &[String], input: &Input) {
        let is = |name: &str| {
            base.strip_prefix(name).is_some_and(|rest| {
                rest.chars()
                    .all(|c| c.is_ascii_digit() || c == '.' || c == '-')
            })
        };
        let options: &[&str] = if is("python") || is("pypy") || is("ipython") {
            &["c"]
        } else if is("perl")
            || is("ruby")
            || is("lua")
            || is("luajit")
            || is("Rscript")
            || is("R")
            || is("julia")
            || is("ghc")
            || is("guile")
            || is("elixir")
            || is("groovy")
        {
            &["e", "E"]
        } else if is("node") || is("nodejs") || is("bun") || is("deno") {
            &["e", "p", "eval", "print"]
        } else if is("php") {
            &["r", "R", "B", "E"]
        } else if is("tclsh") || is("wish") || is("expect") {
            &["c"]
        } else {
            return;
        };
        self.interpreter(base, args, options, input);
    }

    /// Code in place, a script, or what is read.
    fn interpreter(&mut self, base: &str, args: &[String], options: &[&str], input: &Input) {
        let mut given = false;
        let mut codes = Vec::new();
        let mut operand = None;
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            at += 1;
            let Some(letters) = arg.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
                operand = Some(arg.clone());
                break;
            };
            let long = letters.trim_start_matches('-');
            if let Some((name, value)) = long
                .split_once('=')
                .filter(|(name, _)| options.contains(name))
            {
                let _ = name;
                given = true;
                codes.push(value.to_owned());
                continue;
            }
            if options.contains(&long) {
                given = true;
                codes.extend(args.get(at).cloned());
                at += 1;
                continue;
            }
            if arg.starts_with("--") {
                continue;
            }
            if letters.starts_with('m') && base.starts_with("py") {
                // A module: what follows may be code for it.
                let module = if letters.len() > 1 {
                    letters.get(1..).unwrap_or_default().to_owned()
                } else {
                    args.get(at).cloned().unwrap_or_default()
                };
                if matches!(
                    module.as_str(),
                    "timeit" | "pdb" | "cProfile" | "profile" | "trace" | "runpy" | "pty" | "code"
                ) {
                    codes.extend(args.get(at..).unwrap_or_default().iter().cloned());
                    if module != "timeit" {
                        self.runs_written(args.last().map_or("", String::as_str), &[]);
                    }
                }
                given = true;
                break;
            }
            // `-ne CODE`, `-cCODE`.
            let found = letters
                .char_indices()
                .find(|(_, c)| options.contains(&c.to_string().as_str()));
            if let Some((index, c)) = found {
                let rest = letters.get(index + c.len_utf8()..).unwrap_or_default();
                given = true;
                if rest.is_empty() {
                    codes.extend(args.get(at).cloned());
                    at += 1;
                } else {
                    codes.push(rest.to_owned());
                }
            } else if base.starts_with("py") && matches!(letters, "W" | "X") {
                at += 1;
            } else if (base.starts_with("perl") && letters.starts_with('M'))
                || letters.starts_with("rsocket")
            {
                codes.push(letters.to_owned());
            }
        }
        if !given {
            let texts = match operand.as_deref() {
                Some("-" | "/dev/stdin") | None => match input {
                    Input::Known(texts) => texts.clone(),
                    Input::Unknown => {
                        return self
                            .hide("an interpreter runs what it reads, and that is not known");
                    }
                    Input::Client | Input::File => return,
                },
                Some(file) => {
                    match walk::stream(file) {
                        Some(number) => match self.streams.get(number).cloned().flatten() {
                            Some(texts) => texts,
                            None => return self.hide(
                                "an interpreter runs what a pipe gives it, and that is not known",
                            ),
                        },
                        None => match self.found(file) {
                            Some(Written::Texts(texts)) => texts,
                            Some(Written::Unknown) => {
                                return self.hide("it runs a file that it writes, and what is written is not known");
                            }
                            _ => return,
                        },
                    }
                }
            };
            codes.extend(texts);
        }
        if codes
            .iter()
            .any(|text| is_unknown(text) || code::spawns(base, text))
        {
            self.hide("code in it can run other programs");
        }
    }
}

/// Nothing of the text is known, or some of it was chosen by the client.
fn is_unknown(text: &str) -> bool {
    is_blank(text.trim()) || text.contains([SPLIT, SENT])
}
