//! One simple command: what it runs besides its own program.

use super::given::{Given, long_values};
use super::input::is_stdin;
use super::mentions::is_harmless;
use super::options::{SHELLS, SPECIAL, SUBCOMMANDS, WRAPPERS};
use super::prints::prints;
use super::word::{ANY, FIELD, HOST, SENT, SPLIT, UNKNOWN, WILD, is_blank, may_be};
use super::{Input, Shell};

/// Programs around programs, at most.
const MAX_WRAPPED: usize = 32;

impl Shell<'_> {
    /// A command whose words are known, as far as they are.
    pub(super) fn invoke(&mut self, argv: &[String], input: &Input, wrapped: usize) {
        self.spend(2 + argv.len() / 16);
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
        if name.starts_with("BASH_ALIASES") || name.starts_with("BASH_CMDS") {
            return self.hide("it changes what names of programs mean");
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
        self.makes(base, args, input);
        if self.variables.functions.contains(base) {
            self.called(args, input, wrapped);
        }
        self.runs_program(name, args);
        if base.contains([ANY, HOST, WILD]) {
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

    /// A function of the text: its words may become programs, and what it reads is for the shells in it.
    fn called(&mut self, args: &[String], input: &Input, wrapped: usize) {
        if let Input::Known(texts) = input
            && self.reads_commands
        {
            texts.clone().iter().for_each(|text| self.code(text));
        }
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

    /// A file takes what is read.
    fn takes(&mut self, file: Option<&String>, input: &Input) {
        let texts = match input {
            Input::Known(texts) => Some(texts.clone()),
            _ => None,
        };
        if let Some(file) = file {
            self.wrote(file.clone(), texts);
        }
    }

    fn special(&mut self, base: &str, args: &[String], input: &Input, wrapped: usize) {
        if SHELLS.contains(&base) {
            return self.shell(base, args, input);
        }
        self.writes_files(base, args, input);
        self.takes_settings(base, args);
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
        if self.kin(base, args) {
            return;
        }
        match base {
            "docker" | "podman" | "nerdctl" => self.attached(args, &["--entrypoint"]),
            "eval" => {
                let text = args.join(" ");
                if text.contains([SPLIT, SENT]) || is_blank(text.trim()) {
                    return self.hide("what eval runs is not known");
                }
                self.code(&text);
            }
            "source" | "." => {
                if let Some(file) = args.first() {
                    self.script_file(file, input);
                }
            }
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
            "getopts" | "unset" => {
                for name in args.iter().filter(|arg| !arg.starts_with('-')) {
                    self.computes_name(name);
                    self.cloud(name);
                }
            }
            "wait" => args.iter().for_each(|arg| self.computes_name(arg)),
            "read" | "mapfile" | "readarray" => {
                if base != "read" {
                    self.attached(args, &["-C"]);
                }
                for name in args.iter().filter(|arg| !arg.starts_with('-')) {
                    self.computes_name(name);
                    self.cloud(name);
                    if !name.contains(UNKNOWN) && !name.contains(FIELD) {
                        // The client may have written what is read.
                        self.variables.assign(name, SENT.to_string());
                    }
                }
            }
            "printf" if args.first().is_some_and(|arg| arg.starts_with("-v")) => {
                let attached = args.first().and_then(|arg| arg.strip_prefix("-v"));
                let name = attached
                    .filter(|name| !name.is_empty())
                    .or(args.get(1).map(String::as_str));
                if let Some(name) = name.map(str::to_owned) {
                    self.computes_name(&name);
                    self.cloud(&name);
                    let skip = if attached.is_some_and(str::is_empty) {
                        2
                    } else {
                        1
                    };
                    let mut argv = vec!["printf".to_owned()];
                    argv.extend(args.iter().skip(skip).cloned());
                    for text in prints(&argv, input).unwrap_or_default() {
                        self.variables.assign(&name, text);
                    }
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
            "let" => args.iter().for_each(|arg| self.computes(arg)),
            "[" | "test" if args.iter().any(|arg| arg == "-v") => {
                args.iter().for_each(|arg| self.computes(arg));
            }
            "cd" | "pushd" => self.changes_directory(args),
            "complete" | "compgen"
                if args.iter().any(|arg| arg.starts_with("-W"))
                    && args.iter().any(|arg| arg.contains(['$', '`'])) =>
            {
                self.hide("a list of words in it is expanded once more");
            }
            "bind" | "complete" | "compgen" => self.attached(args, &["-x", "-C", "-F", "-f"]),
            "hash" if args.iter().any(|arg| arg.contains('=')) => self.hashes(args),
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
                // A group, or a file, and then what runs.
                let words = Given::read(args, "cEBIOTmo", usize::MAX);
                match base == "script" && (words.has('c') || words.has_long("command")) {
                    true => {}
                    false if base == "script" => self.tail(&words.operands, 1),
                    false => self.tail(args, 1),
                }
                let given = args.iter().any(|arg| {
                    arg.starts_with("--c")
                        || arg.starts_with('-') && !arg.starts_with("--") && arg.contains('c')
                });
                if base != "sg" && !given {
                    self.reads(input, "a shell");
                }
            }
            "watch" => self.joined(args, "nd", input),
            "at" | "batch" => {
                for file in long_values(args, &["-f"]) {
                    self.script_file(&file, input);
                }
                if !args
                    .iter()
                    .any(|arg| matches!(arg.as_str(), "-f" | "-l" | "-c" | "-r" | "-d"))
                {
                    self.reads(input, "at");
                }
            }
            "crontab" => {
                let file = args
                    .iter()
                    .rev()
                    .find(|arg| *arg == "-" || !arg.starts_with('-'));
                match file.map(|file| self.file(file)) {
                    Some(Input::File(name)) if name != "-" => {}
                    Some(Input::Known(texts)) => self.reads_jobs(&Input::Known(texts)),
                    Some(Input::Unknown) => self.reads_jobs(&Input::Unknown),
                    Some(_) => self.reads_jobs(input),
                    None if args.is_empty() => self.reads_jobs(input),
                    None => {}
                }
            }
            "flock" => self.flock(args, input, wrapped),
            "ssh" | "slogin" | "mosh" | "dbclient" | "rsh" | "autossh" | "plink" => {
                self.ssh(base, args, input);
            }
            "tmux" | "screen" | "zellij" => {
                for arg in args.iter().filter(|arg| !arg.starts_with('-')) {
                    self.code(arg);
                }
                self.tail(args, 0);
            }
            "awk" | "gawk" | "mawk" | "nawk" | "original-awk" => self.awk(args, input),
            "sed" | "gsed" => self.sed(args, input),
            "tar" | "gtar" | "bsdtar" => {
                self.attached(
                    args,
                    &[
                        "--to-command",
                        "--use-compress-program",
                        "--info-script",
                        "--new-volume-script",
                        "--rsh-command",
                        "--rmt-command",
                    ],
                );
                for arg in args {
                    if let Some(text) = arg.split_once("exec=").map(|(_, text)| text.to_owned()) {
                        self.code(&text);
                    }
                }
            }
            "rsync" => self.rsync(args),
            "sort" => {
                self.attached(args, &["--compress-program"]);
                let at = args.iter().position(|arg| arg == "-o" || arg == "--output");
                self.takes(at.and_then(|at| args.get(at + 1)), input);
                let attached = |arg: &String| {
                    let file = arg.strip_prefix("--output=");
                    file.or_else(|| arg.strip_prefix("-o")).map(str::to_owned)
                };
                self.takes(args.iter().find_map(attached).as_ref(), input);
            }
            "split" | "csplit" => {
                let before = std::mem::take(&mut self.reads_commands);
                self.attached(args, &["--filter"]);
                if self.reads_commands && !matches!(input, Input::Client) {
                    self.reads(input, "a shell");
                }
                self.reads_commands |= before;
                // Pieces of what is read, by names that begin so.
                for arg in args.iter().chain([&"x".to_owned()]) {
                    let begin = arg.trim_start_matches("-f").trim_start_matches("--prefix=");
                    if !begin.starts_with('-') && !begin.is_empty() {
                        self.wrote(format!("{begin}{ANY}"), None);
                    }
                }
            }
            "gcc" | "cc" | "clang" | "g++" | "c++" | "tcc"
                if args
                    .iter()
                    .any(|arg| arg == "-" || arg.starts_with("-wrapper")) =>
            {
                for list in long_values(args, &["-wrapper"]) {
                    let argv: Vec<String> = list.split(',').map(str::to_owned).collect();
                    self.invoke(&argv, input, wrapped + 1);
                }
                let at = args.iter().position(|arg| arg == "-o");
                let name = at.and_then(|at| args.get(at + 1));
                self.wrote(name.map_or("a.out", String::as_str).to_owned(), None);
            }
            "m4" | "guile" | "deno" | "erl" | "rpm" | "julia" => {
                self.languages(base, args, input);
                self.mentions(base, args);
                if args.iter().all(|arg| arg.starts_with('-') || is_stdin(arg)) {
                    self.reads_code(input);
                }
                if let Input::Known(texts) = input {
                    self.mentions(base, texts);
                }
            }
            "scp" | "sftp" | "sshfs" | "ssh-copy-id" | "ssh-keygen" | "ssh-add" => {
                self.moves(base, args, input);
            }
            "git" => self.git(args, input),
            "zip" => self.attached(args, &["-TT", "--unzip-command"]),
            "psql" | "mysql" | "mariadb" | "sqlite3" | "sqlite" | "ftp" | "lftp" | "telnet"
            | "mail" | "mailx" | "bc" | "dc" | "gnuplot" | "octave" => {
                self.database(base, args, input)
            }
            "man" | "less" | "more" | "most" | "ed" | "red" => self.escapes(base, args, input),
            "apt" | "apt-get" | "aptitude" | "dpkg" => self.packages(args),
            // Other names for programs.
            "mount" | "update-alternatives" | "dpkg-divert" => {
                for arg in args.iter().filter(|arg| arg.contains("bin/")) {
                    self.program(arg);
                }
            }
            "java" => {
                for arg in args {
                    for name in ["OnError=", "OnOutOfMemoryError="] {
                        if let Some((_, text)) = arg.split_once(name) {
                            self.code(text);
                        }
                    }
                }
            }
            "sbcl" | "clisp" | "racket" | "swipl" | "gforth" | "ocaml" | "ghci" | "scala"
            | "clojure" | "clj" | "irb" | "pry" | "jshell" | "jrunscript" | "pwsh"
            | "powershell" | "osascript" => {
                let code = |arg: &String| {
                    let name = arg.trim_start_matches('-').to_lowercase();
                    arg.starts_with('-') && name.starts_with(['e', 'c', 'g', 'x', 'f'])
                };
                if args.iter().any(code) || matches!(input, Input::Known(_) | Input::Unknown) {
                    self.hide("code in it can run other programs");
                }
                self.reads_code(input);
                self.mentions(base, args);
            }
            "ansible" => self.attached(args, &["-a", "--args"]),
            "wget" => self.attached(args, &["--use-askpass"]),
            "vi" | "vim" | "nvim" | "ex" | "view" | "vimdiff" | "rvim" | "emacs" | "nano"
            | "pico" | "joe" => self.editor(base, args, input),
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
                    let value = match arg.strip_prefix('-') {
                        Some(long) if long.starts_with('-') => long.split_once('=').map(|it| it.1),
                        Some(letters) => letters.split_once('f').map(|it| it.1),
                        None => Some(arg.as_str()),
                    };
                    arg.starts_with("--eval")
                        || arg.starts_with("-E")
                        || arg == "-"
                        || value.is_some_and(|file| file == "-" || is_stdin(file))
                }) {
                    self.hide("make runs text that is given to it");
                }
                self.made(args);
            }
            "run-parts" => {
                let programs = |arg: &String| {
                    let arg = arg.trim_end_matches('/');
                    arg.ends_with("bin") || arg.ends_with("libexec") || arg.starts_with("--r")
                };
                if args.iter().any(programs) {
                    self.hide("it runs the programs of a directory");
                }
            }
            "start-stop-daemon" | "daemon" => {
                self.attached(args, &["--exec", "-x", "-a", "--startas"]);
                let program = long_values(args, &["--exec", "-x", "--startas", "-a"]);
                if let (Some(program), Some(at)) =
                    (program.first(), args.iter().position(|arg| arg == "--"))
                {
                    let mut argv = vec![program.clone()];
                    argv.extend(args.iter().skip(at + 1).cloned());
                    self.invoke(&argv, input, wrapped + 1);
                }
                if let Some(at) = args.iter().position(|arg| arg == "--") {
                    self.invoke(args.get(at + 1..).unwrap_or_default(), input, wrapped + 1);
                }
            }
            "nix-shell" | "nix" | "guix" | "toolbox" | "distrobox" | "flatpak-spawn"
            | "machinectl" | "lxc-attach" | "lxc" | "capsh" => {
                self.attached(args, &["--run", "--command", "-c"]);
                if let Some(at) = args.iter().position(|arg| arg == "--") {
                    self.invoke(args.get(at + 1..).unwrap_or_default(), input, wrapped + 1);
                } else {
                    self.mentions(base, args);
                }
            }
            "cp" | "install" if args.iter().any(|arg| is_stdin(arg)) => {
                self.takes(args.last(), input);
            }
            "ln" | "cp" | "mv" | "install" | "link" | "rename" => self.copies(args),
            "tee" => {
                for file in args.iter().filter(|arg| !arg.starts_with('-')) {
                    self.takes(Some(file), input);
                }
            }
            "dd" => {
                for file in args.iter().filter_map(|arg| arg.strip_prefix("of=")) {
                    self.takes(Some(&file.to_owned()), input);
                }
            }
            _ => {
                self.languages(base, args, input);
                self.mentions(base, args);
                if !is_harmless(base) {
                    self.embedded(args, input, wrapped, false);
                    self.pipes(args);
                }
            }
        }
    }
}

/// Nothing of the text is known, or some of it was chosen by the client.
pub(super) fn is_unknown(text: &str) -> bool {
    is_blank(text.trim()) || text.contains([SPLIT, SENT])
}
