//! Clients of databases and others that take commands of their own, some of which run programs.

use super::given::{Given, long_values};
use super::input::is_stdin;
use super::word::size;
use super::{Input, Shell};

/// Files in files, at most.
const DEPTH: usize = 8;

/// How a client reads its commands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    Sqlite,
    Psql,
    Mysql,
    Lftp,
    Dc,
    Gnuplot,
    Octave,
    /// One that takes `!` at the beginning of a line.
    Other,
}

impl Client {
    fn of(base: &str) -> Self {
        match base {
            "sqlite3" | "sqlite" => Self::Sqlite,
            "psql" => Self::Psql,
            "mysql" | "mariadb" => Self::Mysql,
            "lftp" => Self::Lftp,
            "dc" => Self::Dc,
            "gnuplot" => Self::Gnuplot,
            "octave" => Self::Octave,
            _ => Self::Other,
        }
    }
}

impl Shell<'_> {
    /// A client that was given commands, or reads them.
    pub(super) fn database(&mut self, base: &str, args: &[String], input: &Input) {
        let client = Client::of(base);
        let (mut texts, mut files) = (Vec::new(), Vec::new());
        let reads;
        let asks = ["--version", "--help", "-version", "-help", "-V", "-?"];
        let looks = args.iter().any(|arg| asks.contains(&arg.as_str()));
        match client {
            Client::Sqlite => {
                let operands = sqlite_operands(args, &mut texts, &mut files);
                let commands = operands.get(1..).unwrap_or_default();
                reads = commands.is_empty();
                texts.extend(commands.iter().cloned());
            }
            Client::Psql => {
                let given = Given::read(args, "cdfFhLopPRTUv", usize::MAX);
                texts.extend(given.values('c'));
                texts.extend(long_values(args, &["--command"]));
                files.extend(given.values('f'));
                files.extend(long_values(args, &["--file"]));
                let mut out = given.values('o');
                out.extend(long_values(args, &["--output"]));
                for text in out.iter().filter_map(|out| out.strip_prefix('|')) {
                    self.code(text);
                }
                reads = texts.is_empty()
                    && files.is_empty()
                    && !given.has('l')
                    && !given.has_long("list");
            }
            Client::Mysql => {
                let given = Given::read(args, "DehPSu", usize::MAX);
                texts.extend(given.values('e'));
                texts.extend(long_values(args, &["--execute", "--init-command"]));
                reads = !given.has('e') && !given.has_long("execute");
                for text in long_values(args, &["--pager"]) {
                    self.code(&text);
                }
            }
            Client::Lftp | Client::Dc | Client::Gnuplot | Client::Octave => {
                for (at, arg) in args.iter().enumerate() {
                    let next = || args.get(at + 1).cloned();
                    match arg.as_str() {
                        "-e" | "-c" | "--eval" | "--expression" => texts.extend(next()),
                        "-f" | "--file" => files.extend(next()),
                        long => texts.extend(long.split_once('=').map(|(_, text)| text.to_owned())),
                    }
                }
                let operands = args
                    .iter()
                    .filter(|arg| !arg.starts_with('-') || *arg == "-");
                let takes_files = matches!(client, Client::Dc | Client::Gnuplot | Client::Octave);
                if takes_files && texts.is_empty() {
                    files.extend(operands.cloned());
                }
                reads = texts.is_empty() && files.is_empty();
            }
            Client::Other => reads = !matches!(base, "telnet" | "mail" | "mailx" | "bc"),
        }
        if reads && !looks {
            files.push("-".to_owned());
        }
        for file in files {
            self.client_file(client, &file, input, 0);
        }
        self.spend(size(&texts) / 16);
        for text in texts {
            self.client_text(client, &text, input, 0);
        }
    }

    fn client_file(&mut self, client: Client, file: &str, input: &Input, depth: usize) {
        if depth > DEPTH {
            return self.hide("it is nested too deeply");
        }
        let read = file == "-" || is_stdin(file);
        if read && matches!(input, Input::Unknown) {
            self.reads_unknown = true;
            return;
        }
        for text in self.program_text(file, input) {
            self.spend(1 + text.len() / 16);
            self.client_text(client, &text, input, depth + 1);
        }
    }

    fn client_text(&mut self, client: Client, text: &str, input: &Input, depth: usize) {
        for line in text.lines() {
            let line = line.trim();
            self.spend(1);
            if self.is_spent() {
                return;
            }
            match client {
                Client::Sqlite => self.sqlite_line(line, input, depth),
                Client::Psql => self.psql_line(line, input, depth),
                Client::Mysql => {
                    for statement in line.split(';') {
                        self.mysql_statement(statement.trim(), input, depth);
                    }
                }
                Client::Lftp => self.lftp_line(line),
                Client::Dc => {
                    for (at, _) in line.match_indices('!') {
                        let rest = line.get(at + 1..).unwrap_or_default();
                        self.spend(1);
                        if !self.is_spent() && !rest.starts_with(['<', '>', '=']) {
                            self.code(rest);
                        }
                    }
                }
                Client::Gnuplot | Client::Octave => {
                    let words = [
                        "system",
                        "shell_cmd",
                        "popen",
                        "exec",
                        "dos(",
                        "unix(",
                        "`",
                        "\"<",
                        "'<",
                        "eval",
                        "load",
                        "call",
                    ];
                    if let Some(command) = line.strip_prefix('!') {
                        self.code(command);
                    } else if words.iter().any(|word| line.contains(word)) {
                        self.hide("code in it can run other programs");
                    }
                }
                Client::Other => {
                    if let Some(command) =
                        line.strip_prefix('!').or_else(|| line.strip_prefix("~!"))
                    {
                        self.code(command);
                    }
                }
            }
        }
    }

    fn lftp_line(&mut self, line: &str) {
        if line.contains('|') {
            self.hide("a client runs what it is given");
        }
        for statement in line.split(';') {
            self.spend(1);
            if self.is_spent() {
                return;
            }
            let statement = statement.trim();
            if statement.starts_with("source") {
                self.hide("a client runs what it is given");
            }
            if statement.contains("get") {
                self.strews_somewhere();
            }
            let runs = statement.strip_prefix('!');
            if let Some(command) = runs.or_else(|| statement.strip_prefix("shell ")) {
                self.code(command);
            }
        }
    }

    fn sqlite_line(&mut self, line: &str, input: &Input, depth: usize) {
        let Some(command) = line.strip_prefix('.') else {
            let lower = line.to_lowercase();
            if lower.contains("load_extension") || lower.contains("edit(") {
                self.hide("SQL in it runs programs or loads code");
            }
            if lower.contains("writefile") {
                self.strews_somewhere();
            }
            return;
        };
        let (name, rest) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        // Names may be cut short.
        let is = |full: &str| name.len() > 1 && full.starts_with(name);
        if let Some((_, text)) = rest.split_once('|') {
            self.code(text.trim_end_matches(['\'', '"']));
        }
        if is("shell") || is("system") {
            self.code(rest);
        } else if is("load") {
            self.hide("a client loads code from a file");
        } else if is("read") {
            self.client_file(
                Client::Sqlite,
                rest.trim_matches(['\'', '"', ' ']),
                input,
                depth,
            );
        } else if [
            "output", "once", "excel", "archive", "ar", "backup", "save", "clone", "log", "trace",
        ]
        .iter()
        .any(|one| is(one))
        {
            self.strews_somewhere();
        }
    }

    fn psql_line(&mut self, line: &str, input: &Input, depth: usize) {
        let lower = line.to_lowercase();
        if let Some((before, _)) = lower.split_once("program ") {
            let program = line.get(before.len() + 8..).unwrap_or_default();
            self.code(program.trim_matches(|c| matches!(c, '\'' | '"' | ';' | ' ' | ')')));
        }
        // Inside of a text nothing is a command; where one begins must be sure.
        let odd = line.matches('\'').count() % 2 == 1;
        let unsure = odd
            || ["\"", "$", "--", "/*"]
                .iter()
                .any(|mark| line.contains(mark));
        let mut quoted = false;
        for (at, c) in line.char_indices() {
            quoted ^= c == '\'';
            if c != '\\' {
                continue;
            }
            self.spend(1 + (line.len() - at) / 64);
            if self.is_spent() {
                return;
            }
            let rest = line.get(at + 1..).unwrap_or_default();
            if let Some(command) = rest.strip_prefix('!') {
                self.code(command);
                continue;
            }
            if quoted && !unsure {
                continue;
            }
            let (name, rest) = rest
                .split_once(|c: char| !c.is_ascii_lowercase())
                .map_or((rest, ""), |(name, _)| {
                    (name, rest.get(name.len()..).unwrap_or_default())
                });
            if let Some((_, text)) = rest.split_once('`') {
                self.code(text.split('`').next().unwrap_or_default());
            }
            match name {
                "o" | "out" | "g" | "gx" | "w" | "write" => match rest.split_once('|') {
                    Some((_, text)) => self.code(text.trim_end_matches(['\'', '"'])),
                    None => self.strews_somewhere(),
                },
                "i" | "ir" | "include" => {
                    self.client_file(Client::Psql, rest.trim_matches([' ', '\'']), input, depth);
                }
                "setenv" => {
                    if let Some((name, value)) = rest.trim().split_once(char::is_whitespace) {
                        self.environment(name, value.trim_matches('\''));
                    }
                }
                _ => {}
            }
        }
    }

    fn mysql_statement(&mut self, text: &str, input: &Input, depth: usize) {
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match name.to_lowercase().as_str() {
            "system" | "pager" => self.code(rest),
            "source" | "\\." => self.client_file(Client::Mysql, rest.trim(), input, depth),
            "tee" | "\\t" => self.strews_somewhere(),
            _ => {
                for mark in ["\\!", "\\P"] {
                    if let Some((_, command)) = text.split_once(mark) {
                        self.code(command);
                    }
                }
            }
        }
    }
}

/// The operands of sqlite3; commands and files that its options name are added to the others.
fn sqlite_operands(
    args: &[String],
    texts: &mut Vec<String>,
    files: &mut Vec<String>,
) -> Vec<String> {
    let mut operands = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(option) = arg.strip_prefix('-') else {
            operands.push(arg.clone());
            continue;
        };
        match option.trim_start_matches('-') {
            "cmd" => texts.extend(args.next().cloned()),
            "init" => files.extend(args.next().cloned()),
            "separator" | "newline" | "nullvalue" | "vfs" | "mmap" | "maxsize" | "heap"
            | "sorterref" | "escape" | "nonce" | "key" | "hexkey" | "textkey" => drop(args.next()),
            "lookaside" | "pagecache" => drop(args.by_ref().take(2).count()),
            _ => {}
        }
    }
    operands
}
