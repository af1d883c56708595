//! Programs with a language of their own: whether what they are given can start another.

use super::given::long_values;
use super::input::is_stdin;
use super::run::is_unknown;
use super::word::size;
use super::{Input, Shell, Written, code, editor, walk};

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
        if matches!(base, "ed" | "red") && !matches!(input, Input::Client) {
            for file in args.iter().filter(|arg| !arg.starts_with('-')) {
                self.edited(file);
            }
        }
        self.spend(size(&texts) / 16);
        for text in texts {
            for line in text.lines() {
                let line = line.trim_start();
                if matches!(base, "ed" | "red")
                    && let Some((_, to)) = line.split_once(['w', 'W'])
                    && !to.trim().is_empty()
                {
                    self.edited(to.trim_start_matches('q').trim());
                }
                let escaped = match base {
                    // Behind an address and a letter, too.
                    "ed" | "red" => line.split_once('!').map(|(_, command)| command),
                    _ => ["+!", "!"]
                        .iter()
                        .find_map(|begin| line.strip_prefix(begin)),
                };
                if let Some(command) = escaped {
                    self.code(command.trim_start_matches('!'));
                }
            }
        }
    }

    pub(super) fn editor(&mut self, base: &str, args: &[String], input: &Input) {
        let mut texts = editor::given(args);
        match input {
            Input::Known(known) => {
                let lines = known.iter().flat_map(|text| text.lines());
                texts.extend(lines.map(|line| format!(":{}", line.trim_start_matches([':', ' ']))));
            }
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
        if !texts.is_empty() {
            // They write what they edit.
            for file in args.iter().filter(|arg| !arg.starts_with(['-', '+', ':'])) {
                self.edited(file);
            }
        }
        self.spend(size(&texts) / 16);
        for text in texts {
            if let Some((_, command)) = text.split_once('!') {
                self.code(command);
            }
            if editor::runs(base, &text) {
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
            || is("elixir")
            || is("groovy")
        {
            &["e", "E"]
        } else if is("node") || is("nodejs") || is("bun") || is("deno") {
            &["e", "p", "eval", "print"]
        } else if is("guile") {
            &["c", "e"]
        } else if is("erl") {
            &["eval", "s", "run"]
        } else if is("m4") {
            &["D"]
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
                if module == "idlelib" || module.starts_with("test") {
                    self.hide("a module of Python's runs what it is given");
                }
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
            if base.starts_with("perl") && letters.starts_with(['M', 'm']) {
                codes.push(letters.get(1..).unwrap_or_default().to_owned());
                continue;
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
            } else if letters.starts_with("rsocket") {
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
        let lines = |arg: &String| {
            let letters = arg.strip_prefix('-').unwrap_or_default();
            letters.starts_with(|c: char| "nplai0w".contains(c)) && letters.contains(['n', 'p'])
        };
        if base.starts_with("perl") && args.iter().any(lines) {
            // It reads the files that it is given names of.
            codes = codes.iter().map(|code| format!("-n {code}")).collect();
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

/// Whether an option of an editor has it read its commands as lines.
fn is_script_mode(arg: &str) -> bool {
    let letters = arg
        .strip_prefix('-')
        .filter(|letters| !letters.starts_with('-'));
    letters.is_some_and(|letters| letters.starts_with(['e', 'E', 's']))
}
