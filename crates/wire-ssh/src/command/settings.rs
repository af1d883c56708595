//! Settings that make programs run others: those of git, and files of settings that the text itself writes.

use super::given::long_values;
use super::input::is_stdin;
use super::lex::MAX_DEPTH;
use super::{Input, Shell, Written};

/// Programs, and the files by whose ends they are known that they take settings or code from.
const FILES: &[(&[&str], &[&str])] = &[
    (&["git"], &[".gitconfig", "git/config", ".gitmodules"]),
    (
        &[
            "ssh",
            "scp",
            "sftp",
            "rsync",
            "git",
            "mosh",
            "autossh",
            "sshfs",
            "ssh-copy-id",
        ],
        &[".ssh/config", "ssh/ssh_config", ".ssh/rc"],
    ),
    (&["make", "gmake"], &["Makefile", "makefile", "GNUmakefile"]),
    (
        &["npm", "npx", "yarn", "pnpm", "bun"],
        &["package.json", ".npmrc"],
    ),
    (
        &["vi", "vim", "nvim", "ex", "view"],
        &[".vimrc", ".exrc", "init.vim", "init.lua"],
    ),
    (&["emacs"], &[".emacs", "init.el"]),
    (
        &["systemctl"],
        &[".service", ".timer", ".socket", ".path", ".mount"],
    ),
    (&["psql"], &[".psqlrc"]),
    (&["mysql", "mariadb"], &[".my.cnf", "my.cnf"]),
    (&["sqlite3"], &[".sqliterc"]),
    (&["gdb"], &[".gdbinit"]),
    (&["lldb"], &[".lldbinit"]),
    (&["tmux"], &[".tmux.conf", "tmux.conf"]),
    (&["screen"], &[".screenrc"]),
    (&["wget"], &[".wgetrc"]),
    (&["lftp"], &[".lftprc", "lftp/rc"]),
    (&["mail", "mailx"], &[".mailrc"]),
    (&["rake"], &["Rakefile"]),
    (&["just"], &["justfile", "Justfile"]),
    (&["ninja"], &["build.ninja"]),
    (&["cmake"], &["CMakeLists.txt"]),
    (&["ant"], &["build.xml"]),
    (&["mvn"], &["pom.xml"]),
    (&["gradle"], &["build.gradle", "build.gradle.kts"]),
    (
        &["cargo"],
        &["Cargo.toml", "build.rs", ".cargo/config.toml"],
    ),
    (&["pip", "pip3"], &["setup.py", "pyproject.toml"]),
    (
        &["ansible", "ansible-playbook"],
        &["ansible.cfg", ".yml", ".yaml"],
    ),
    (&["go"], &[".go"]),
];

/// Languages, and the ends of files that their programs load.
const LANGUAGES: &[(&str, &[&str])] = &[
    ("py", &[".py", ".pth", ".so"]),
    ("ipython", &[".py"]),
    ("perl", &[".pm", ".pl", ".ph"]),
    ("ruby", &[".rb"]),
    ("node", &[".js", ".mjs", ".cjs", ".json", ".node"]),
    ("php", &[".php"]),
    ("lua", &[".lua"]),
    ("tclsh", &[".tcl"]),
    ("julia", &[".jl"]),
];

/// Sections of git's settings in which nothing runs a program, unless a name is told below.
const SECTIONS: &[&str] = &[
    "user",
    "author",
    "committer",
    "color",
    "http",
    "https",
    "advice",
    "safe",
    "fetch",
    "pull",
    "push",
    "init",
    "gc",
    "pack",
    "status",
    "log",
    "tag",
    "column",
    "rerere",
    "rebase",
    "branch",
    "transfer",
    "index",
    "feature",
    "commit",
    "diff",
    "merge",
    "protocol",
    "submodule",
    "receive",
    "lfs",
    "format",
    "blame",
    "grep",
    "stash",
    "worktree",
    "notes",
    "repack",
    "checkout",
    "clone",
    "clean",
    "apply",
    "am",
    "add",
    "fsck",
    "extensions",
    "uploadpack",
    "remote",
    "url",
    "versionsort",
    "i18n",
    "maintenance",
    "reset",
    "revert",
    "switch",
    "showbranch",
];

/// Names of the section `core` that run nothing.
const CORE: &[&str] = &[
    "quotepath",
    "autocrlf",
    "safecrlf",
    "filemode",
    "ignorecase",
    "longpaths",
    "precomposeunicode",
    "eol",
    "abbrev",
    "compression",
    "loosecompression",
    "bigfilethreshold",
    "preloadindex",
    "untrackedcache",
    "commentchar",
    "commentstring",
    "symlinks",
    "bare",
    "whitespace",
    "logallrefupdates",
    "packedgitlimit",
    "packedgitwindowsize",
    "deltabasecachelimit",
    "sparsecheckout",
    "sparsecheckoutcone",
    "multipackindex",
    "commitgraph",
    "fscache",
    "fsync",
    "fsyncmethod",
    "sharedrepository",
    "splitindex",
    "trustctime",
    "checkstat",
    "protecthfs",
    "protectntfs",
    "excludesfile",
    "worktree",
    "repositoryformatversion",
    "warnambiguousrefs",
    "createobject",
    "usereplacerefs",
];

/// What the last part of a name of git's says that runs something.
const RUNS: &[&str] = &[
    "command",
    "cmd",
    "driver",
    "textconv",
    "external",
    "uploadpack",
    "receivepack",
    "vcs",
    "hook",
    "program",
    "helper",
    "clean",
    "smudge",
    "process",
    "path",
    "templatedir",
    "editor",
    "pager",
    "proxy",
];

/// Variables that make's own rules run, or read as makefiles.
const MAKES: &[&str] = &[
    "CC",
    "CXX",
    "CPP",
    "FC",
    "AS",
    "AR",
    "LD",
    "RM",
    "LEX",
    "YACC",
    "M2C",
    "PC",
    "CO",
    "GET",
    "LINT",
    "MAKEINFO",
    "TEX",
    "WEAVE",
    "TANGLE",
    "CFLAGS",
    "CXXFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
    "LDLIBS",
    "LOADLIBES",
    "ASFLAGS",
    "ARFLAGS",
    "FFLAGS",
    "LFLAGS",
    "YFLAGS",
    "COFLAGS",
    "GFLAGS",
    "PFLAGS",
    "RFLAGS",
    "TARGET_ARCH",
    "MAKEFILES",
    "MAKE",
    "MAKE_COMMAND",
    "OUTPUT_OPTION",
];

impl Shell<'_> {
    /// Settings that the text has written for a program, and files that it names for one.
    pub(super) fn takes_settings(&mut self, base: &str, args: &[String]) {
        if self.written.is_empty() {
            return;
        }
        let own: Vec<&str> = FILES
            .iter()
            .filter(|(programs, _)| programs.contains(&base))
            .flat_map(|(_, files)| files.iter().copied())
            .collect();
        let foreign = base == "git"
            && args.iter().any(|arg| {
                arg.starts_with("--git-d") || arg.starts_with("--exec-p") || arg == "-C"
            });
        let is_own = |path: &str| {
            let base = path.rsplit('/').next().unwrap_or(path);
            own.iter().any(|end| {
                path.ends_with(end) && (end.starts_with('.') || end.contains('/') || base == *end)
            }) || foreign && (base == "config" || base.starts_with("git-"))
        };
        let found = self.written.iter().filter(|(path, _)| is_own(path));
        let found: Vec<(String, Written)> = found.cloned().collect();
        for (path, written) in found {
            match written {
                Written::Texts(texts) if base == "git" && !path.contains("ssh/") => {
                    texts.iter().for_each(|text| self.git_file(text));
                }
                Written::Texts(texts) if base == "systemctl" => {
                    texts.iter().for_each(|text| self.unit_file(text));
                }
                _ => self.hide("it runs a program whose settings it writes"),
            }
        }
        if base == "git" {
            self.runs_hooks("hooks");
        }
        let named = match base {
            "make" | "gmake" => long_values(args, &["-f", "--file", "--makefile"]),
            "apt" | "apt-get" => args.to_vec(),
            "dpkg" | "npm" | "ansible-playbook" | "docker-compose" => args.to_vec(),
            _ => Vec::new(),
        };
        if named.iter().any(|file| self.found(file).is_some()) {
            self.hide("it runs a program on a file that it writes");
        }
    }

    /// A language whose programs may load files that the text has written.
    pub(super) fn loads_written(&mut self, base: &str) {
        let ends = LANGUAGES
            .iter()
            .find(|(language, _)| base.starts_with(language));
        let ends = ends.map_or(&[][..], |(_, ends)| *ends);
        let loads = |(path, _): &(String, Written)| ends.iter().any(|end| path.ends_with(end));
        if self.written.iter().any(loads) {
            self.hide("code in it may load a file that it writes");
        }
    }

    /// Variables of make: their values are expanded by make, and then by a shell.
    pub(super) fn made(&mut self, args: &[String]) {
        let mut values: Vec<String> = args
            .iter()
            .filter(|arg| !arg.starts_with('-'))
            .filter_map(|arg| Some(arg.split_once('=')?.1.to_owned()))
            .collect();
        for name in MAKES {
            values.extend(
                self.variables
                    .values
                    .get(*name)
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
        }
        for value in values {
            if value.contains(['$', '`']) {
                self.hide("make expands a value that is given to it");
            } else if value.contains([';', '|', '&', '\'', '"', '\\', '<', '>', '(', '\n']) {
                self.code(&value);
            } else {
                self.mentions_words(&value);
            }
        }
    }

    /// Packages, whose managers run what their settings say.
    pub(super) fn packages(&mut self, args: &[String]) {
        const HARMLESS: [&str; 9] = [
            "acquire::",
            "apt::get::",
            "apt::install",
            "apt::cache",
            "debug::",
            "dpkg::use-pty",
            "dpkg::lock",
            "quiet",
            "apt::authentication",
        ];
        self.attached(args, &["--pre-invoke", "--post-invoke", "--status-logger"]);
        let mut settings = long_values(args, &["-o", "--option"]);
        settings.extend(
            args.iter()
                .filter_map(|arg| arg.strip_prefix("-o").map(str::to_owned)),
        );
        for setting in settings {
            let Some((name, value)) = setting.split_once('=') else {
                continue;
            };
            let name = name.to_lowercase();
            let detects = name.contains("detect");
            match name.starts_with("dpkg::options") {
                true => self.attached(
                    &[value.to_owned()],
                    &["--pre-invoke", "--post-invoke", "--status-logger"],
                ),
                false if HARMLESS.iter().any(|begin| name.starts_with(begin)) && !detects => {}
                false => self.code(value),
            }
        }
        let mut files = long_values(args, &["-c", "--config-file"]);
        files.retain(|file| is_stdin(file) || self.found(file).is_some());
        if !files.is_empty() {
            self.hide("it runs a program whose settings it writes");
        }
    }

    pub(super) fn git(&mut self, args: &[String], input: &Input) {
        self.attached(
            args,
            &[
                "--upload-pack",
                "--receive-pack",
                "--exec",
                "--open-files-in-pager",
                "--extcmd",
                "--tree-filter",
                "--msg-filter",
                "--index-filter",
                "--env-filter",
                "--commit-filter",
                "--tag-name-filter",
                "--parent-filter",
                "--setup",
                "--access-hook",
                "--httpd",
                "--browser",
                "--tool",
                "--to-cmd",
                "--cc-cmd",
                "--sendmail-cmd",
                "--smtp-server",
            ],
        );
        for (verb, option) in [
            ("clone", "-u"),
            ("grep", "-O"),
            ("rebase", "-x"),
            ("difftool", "-x"),
        ] {
            if args.iter().any(|arg| arg == verb) {
                self.attached(args, &[option]);
            }
        }
        if !long_values(args, &["--template"]).is_empty() {
            self.runs_hooks("");
        }
        let given = long_values(args, &["-c", "--config"]);
        let joined = args
            .iter()
            .filter_map(|arg| arg.strip_prefix("-c").map(str::to_owned));
        for setting in given.into_iter().chain(joined) {
            let (name, value) = setting.split_once('=').unwrap_or((&setting, ""));
            self.git_setting(name, value, input);
        }
        let configures = args.iter().any(|arg| arg == "config");
        let words: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
        for pair in words.windows(2).filter(|_| configures) {
            if let [name, value] = pair
                && name.contains('.')
            {
                self.git_setting(name, value, input);
            }
        }
        for (at, arg) in args.iter().enumerate() {
            if arg.starts_with("ext::") {
                self.git_helper(arg);
            } else if let Some(text) = arg.strip_prefix('!') {
                self.code(text);
            }
            if arg == "--rename-section" || arg == "rename-section" {
                self.hide("git gives settings another name");
            }
            if arg == "remote-ext" {
                let address = args.get(at + 2).map_or("", String::as_str);
                self.git_helper(&format!("ext::{address}"));
            }
            if arg.starts_with("--config-e") {
                self.hide("git takes configuration from an environment variable");
            }
            if arg == "foreach" {
                self.tail(args.get(at + 1..).unwrap_or_default(), 0);
            }
        }
    }

    /// A place that a program leads to: its words are divided, and may be disguised, in a way of its own.
    fn git_helper(&mut self, text: &str) {
        let Some((_, text)) = text.split_once("ext::") else {
            return;
        };
        match text.contains(['%', '\\', '"', '\'']) {
            true => self.hide("git runs a text that another program reads"),
            false => self.code(text),
        }
    }

    /// A unit of systemd's: what it starts.
    fn unit_file(&mut self, text: &str) {
        for line in text.lines().map(str::trim) {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            if name.starts_with("Exec") || line.ends_with('\\') {
                self.code(value.trim().trim_start_matches(['@', '-', ':', '+', '!']));
            }
        }
    }

    /// A file of git's settings.
    fn git_file(&mut self, text: &str) {
        if self.depth >= MAX_DEPTH {
            return self.hide("it is nested too deeply");
        }
        self.depth += 1;
        self.git_lines(text);
        self.depth -= 1;
    }

    fn git_lines(&mut self, text: &str) {
        self.spend(1 + text.len() / 16);
        let mut section = String::new();
        for line in text.lines() {
            self.spend(1);
            if self.is_spent() {
                return;
            }
            let mut line = line.trim();
            if let Some((name, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']'))
            {
                section = name.replace(['"', ' '], ".").replace("..", ".");
                line = rest.trim();
            }
            if line.starts_with(['#', ';']) || line.is_empty() {
                continue;
            }
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            if value.contains('\\') {
                return self.hide("it writes settings of git that are not understood");
            }
            let name = format!("{}.{}", section.trim_matches('.'), name.trim());
            self.git_setting(&name, value.replace('"', "").trim(), &Input::Unknown);
        }
    }

    fn git_setting(&mut self, name: &str, value: &str, input: &Input) {
        let name = name.to_lowercase();
        self.git_helper(&name);
        self.git_helper(value);
        if let Some(text) = value.strip_prefix('!') {
            return self.code(text);
        }
        if name.starts_with("include") && name.ends_with("path") {
            for text in self.program_text(value, input) {
                self.git_file(&text);
            }
            return;
        }
        let mut parts = name.split('.');
        let (section, last) = (
            parts.next().unwrap_or_default(),
            name.rsplit('.').next().unwrap_or_default(),
        );
        let is_path = matches!(section, "submodule" | "safe" | "worktree") && last == "path";
        let web = matches!(section, "http" | "https") && last == "proxy";
        let harmless = match section {
            "core" => CORE.contains(&last),
            "credential" => matches!(last, "username" | "usehttppath" | "interactive"),
            section => {
                SECTIONS.contains(&section)
                    && (is_path || web || !RUNS.iter().any(|end| last.ends_with(end)))
            }
        };
        let flag = matches!(value, "" | "true" | "false" | "yes" | "no" | "on" | "off")
            || value.chars().all(|c| c.is_ascii_digit());
        if harmless || flag {
            return;
        }
        if last == "hookspath" || last == "templatedir" {
            self.program(value);
            return self.runs_hooks(value);
        }
        self.code(value);
    }

    /// Hooks that the text has written below a directory.
    fn runs_hooks(&mut self, directory: &str) {
        let below = |path: &str| {
            let mut parents = path.rsplit('/').skip(1);
            directory.is_empty() && path.contains("hooks/")
                || parents.any(|parent| Some(parent) == directory.rsplit('/').next())
                || directory.starts_with('.')
        };
        let hooks = self.written.iter().filter(|(path, _)| below(path));
        for (_, written) in hooks.cloned().collect::<Vec<_>>() {
            match written {
                Written::Texts(texts) => texts.iter().for_each(|text| self.code(text)),
                _ => self.hide("git runs hooks that the text writes"),
            }
        }
    }
}
