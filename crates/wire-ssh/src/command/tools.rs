//! Programs with a language of their own: whether what they are given can start another.

use super::given::long_values;
use super::input::is_stdin;
use super::run::is_unknown;
use super::word::size;
use super::{Input, Shell, Written, code, walk};

impl Shell<'_> {
    /// A file under another name: of a program it counts as running it.
    pub(super) fn copies(&mut self, args: &[String]) {
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
        self.remembers(to.clone(), Written::Like(sources.to_vec()));
    }

    pub(super) fn awk(&mut self, args: &[String], input: &Input) {
        let mut at = 0;
        let mut programs = Vec::new();
        let (mut file, mut included) = (false, 0);
        while let Some(arg) = args
            .get(at)
            .filter(|arg| arg.starts_with('-') && arg.len() > 1)
        {
            at += 1;
            match arg.as_str() {
                "--" => break,
                "-v" | "-F" | "--assign" | "--field-separator" => at += 1,
                "-l" | "--load" => {
                    let library = args.get(at).map_or("", String::as_str);
                    if library.contains('/') || self.found(library).is_some() {
                        self.hide("awk loads code from a file");
                    }
                    at += 1;
                }
                "-i" | "--include" => {
                    let name = args.get(at).cloned().unwrap_or_default();
                    programs.extend(self.program_text(&name, input));
                    included = programs.len();
                    at += 1;
                }
                "-f" | "--file" => {
                    file = true;
                    let name = args.get(at).cloned().unwrap_or_default();
                    programs.extend(self.program_text(&name, input));
                    at += 1;
                }
                "-e" | "--source" => {
                    programs.extend(args.get(at).cloned());
                    at += 1;
                }
                arg => {
                    let attached = arg
                        .strip_prefix("--file=")
                        .or_else(|| arg.strip_prefix("-f"));
                    if let Some(name) = attached.map(str::to_owned) {
                        file = true;
                        programs.extend(self.program_text(&name, input));
                    }
                    programs.extend(arg.strip_prefix("--source=").map(str::to_owned));
                    let include = arg
                        .strip_prefix("--include=")
                        .or_else(|| arg.strip_prefix("-i"));
                    if let Some(name) = include.map(str::to_owned) {
                        programs.extend(self.program_text(&name, input));
                        included = programs.len();
                    }
                }
            }
        }
        if programs.len() == included && !file {
            programs.extend(args.get(at).cloned());
        }
        self.spend(size(&programs) / 16);
        if programs
            .iter()
            .any(|program| is_unknown(program) || code::awk_spawns(program))
        {
            self.hide("the awk program in it can run others");
        }
        for file in programs
            .iter()
            .flat_map(|program| code::awk_writes(program))
        {
            self.wrote(file, None);
        }
    }

    pub(super) fn sed(&mut self, args: &[String], input: &Input) {
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
            } else if let Some(name) = sed_file(arg) {
                file = true;
                let next = args.get(at).cloned().unwrap_or_default();
                at += usize::from(name.is_empty());
                let name = if name.is_empty() { next } else { name };
                scripts.extend(self.program_text(&name, input));
            } else if !arg.starts_with('-') {
                operands.push(arg.clone());
            }
        }
        if scripts.is_empty() && !file && !operands.is_empty() {
            scripts.push(operands.remove(0));
        }
        self.spend(size(&scripts) / 16);
        let in_place = args
            .iter()
            .any(|arg| arg.starts_with("-i") || arg.starts_with("--in"));
        for edited in operands.into_iter().filter(|_| in_place) {
            if self.found(&edited).is_some() {
                self.wrote(edited, None);
            }
        }
        for script in scripts {
            match code::sed_runs(&script) {
                Ok((commands, files)) => {
                    commands.iter().for_each(|command| self.code(command));
                    files.into_iter().for_each(|file| self.wrote(file, None));
                }
                Err(()) => self.hide("the sed script in it runs what it reads"),
            }
        }
    }

    /// Programs that run a line which begins with `!`.
    pub(super) fn escapes(&mut self, base: &str, args: &[String], input: &Input) {
        if base == "man" {
            self.attached(args, &["-P", "--pager", "-H"]);
        }
        let mut texts: Vec<String> = args.to_vec();
        match input {
            Input::Known(known) => texts.extend(known.iter().cloned()),
            Input::Unknown if matches!(base, "ed" | "red") => {
                return self.hide("an editor runs what it reads, and that is not known");
            }
            Input::Client if matches!(base, "ed" | "red") => self.reads_commands = true,
            _ => {}
        }
        self.spend(size(&texts) / 16);
        for text in texts {
            for line in text.lines() {
                let line = line.trim_start();
                let escaped = ["+!", "!", "r !", "w !", "e !"]
                    .iter()
                    .find_map(|begin| line.strip_prefix(begin));
                if let Some(command) = escaped {
                    self.code(command.trim_start_matches('!'));
                }
            }
        }
    }

    pub(super) fn editor(&mut self, base: &str, args: &[String], input: &Input) {
        let mut texts: Vec<String> = args.to_vec();
        match input {
            Input::Known(known) => texts.extend(known.iter().cloned()),
            Input::Unknown => {
                return self.hide("an editor runs what it reads, and that is not known");
            }
            Input::Client if base == "ex" || args.iter().any(|arg| is_script_mode(arg)) => {
                self.reads_commands = true;
            }
            _ => {}
        }
        for file in long_values(args, &["-S", "-u", "-s", "-l", "--load", "--script"]) {
            texts.extend(
                self.program_text(&file, input)
                    .into_iter()
                    .map(|text| format!(":{text}")),
            );
        }
        self.spend(size(&texts) / 16);
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

    pub(super) fn languages(&mut self, base: &str, args: &[String], input: &Input) {
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
    pub(super) fn interpreter(
        &mut self,
        base: &str,
        args: &[String],
        options: &[&str],
        input: &Input,
    ) {
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
                    "timeit"
                        | "pdb"
                        | "cProfile"
                        | "profile"
                        | "trace"
                        | "runpy"
                        | "pty"
                        | "code"
                        | "asyncio"
                ) {
                    codes.extend(args.get(at..).unwrap_or_default().iter().cloned());
                    self.reads_code(input);
                    if module != "timeit" {
                        self.runs_written(args.last().map_or("", String::as_str), &[]);
                    }
                }
                given = true;
                break;
            }
            // `-ne CODE`, `-cCODE`.
            if letters == "i" {
                self.reads_code(input);
            }
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
                name if name.is_none_or(|file| file == "-" || is_stdin(file)) => match input {
                    Input::Known(texts) => texts.clone(),
                    Input::Unknown => {
                        return self
                            .hide("an interpreter runs what it reads, and that is not known");
                    }
                    Input::Client => {
                        self.reads_commands = true;
                        return;
                    }
                    Input::File(path) => return self.program(&path.clone()),
                },
                file => {
                    let file = file.unwrap_or_default();
                    match walk::stream(file) {
                        Some(number) => match self.streams.get(number).cloned().flatten() {
                            Some(texts) => texts,
                            None => return self.hide(
                                "an interpreter runs what a pipe gives it, and that is not known",
                            ),
                        },
                        None => match self.listed_script(file) {
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
        self.spend(size(&codes) / 16);
        codes.iter().for_each(|code| self.code_writes(code));
        self.loads_written(base);
        // Perl takes the names of files for commands.
        let pipes =
            |arg: &String| arg.trim_end().ends_with('|') || arg.trim_start().starts_with('|');
        if base.starts_with("perl")
            && args
                .get(at.saturating_sub(1)..)
                .unwrap_or_default()
                .iter()
                .any(pipes)
        {
            self.hide("perl runs what it is given as the name of a file");
        }
        if codes
            .iter()
            .any(|text| is_unknown(text) || code::spawns(base, text))
        {
            self.hide("code in it can run other programs");
        }
    }
}

/// The file that an option of sed names: empty where it is the next word.
fn sed_file(arg: &str) -> Option<String> {
    if let Some(long) = arg.strip_prefix("--") {
        let (name, file) = long.split_once('=').unwrap_or((long, ""));
        return "file"
            .starts_with(name)
            .then(|| file.to_owned())
            .filter(|_| name.len() > 1);
    }
    let letters = arg.strip_prefix('-')?;
    let (before, file) = letters.split_once('f')?;
    before
        .chars()
        .all(|c| "nrEsuz".contains(c))
        .then(|| file.to_owned())
}

/// Whether an option of an editor has it read its commands as lines.
fn is_script_mode(arg: &str) -> bool {
    let letters = arg
        .strip_prefix('-')
        .filter(|letters| !letters.starts_with('-'));
    letters.is_some_and(|letters| letters.starts_with(['e', 'E', 's']))
}
