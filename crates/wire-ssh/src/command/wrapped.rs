//! Programs that run another one: behind their options, in a text, by what they read.

use super::given::{Given, is_cut, long_values};
use super::options::{SHELLS, Wrapper};
use super::word::{SENT, SPLIT, WILD};
use super::{Input, Shell};

/// Letters of xargs that a word follows.
const XARGS_VALUES: &str = "adEIJLnPRsS";
/// Long options of xargs that a word follows.
const XARGS_LONG: &[&str] = &[
    "arg-file",
    "delimiter",
    "max-args",
    "max-chars",
    "max-procs",
    "process-slot-var",
];
/// Programs in one command of which it is not known whether they start, at most.
const MAX_EMBEDDED: usize = 8;
/// Programs that take code, or text for a shell, behind options of theirs.
const TAKES_CODE: &[&str] = &[
    "env", "xargs", "awk", "gawk", "mawk", "nawk", "sed", "perl", "ruby", "node", "nodejs", "php",
    "lua", "expect", "find", "su", "runuser", "script", "watch", "flock", "ssh", "tar", "git",
];

impl Shell<'_> {
    pub(super) fn wrapper(
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
        if let ("exec", [], Input::Known(texts)) = (base, args, input) {
            // What is read from now on: by a shell, perhaps.
            return texts.clone().iter().for_each(|text| self.code(text));
        }
        // Whether an option may have taken the word behind it.
        let mut unsure = false;
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            if arg == "--" {
                at += 1;
                break;
            }
            if wrapper.looks.contains(&arg.as_str()) && base == "sudo" {
                break;
            }
            if base == "env"
                && let Some(text) = split_text(arg)
            {
                return self.split_string(text, args.get(at + 1..).unwrap_or_default());
            }
            let assigns = matches!(base, "env" | "sudo" | "doas" | "time" | "exec")
                && arg.split_once('=').is_some_and(|(name, _)| {
                    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    let any = base == "env" && !name.starts_with('-');
                    !name.is_empty() && (any || name.chars().all(plain))
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
            if let Some(long) = arg.strip_prefix("--") {
                let cut = |one: &&str| is_cut(long, one.trim_start_matches('-'));
                let takes = !long.contains('=') && wrapper.long.iter().any(cut);
                unsure |= !takes && !long.contains('=');
                at += usize::from(takes);
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
                let option = args.get(start - 1).map_or("", String::as_str);
                let names = matches!(option, "-o" | "--output");
                if option.starts_with('-') && !names && start < at {
                    self.invoke(args.get(start..).unwrap_or_default(), input, wrapped + 1);
                }
            }
            self.pipes(args);
        }
        let passed_by = args.get(..at).unwrap_or_default();
        if unsure || passed_by.iter().any(|arg| is_shell(arg)) {
            self.embedded(args, input, wrapped, true);
        }
        self.invoke(rest, input, wrapped + 1);
    }

    /// What `env -S` makes words of, and the words behind it.
    fn split_string(&mut self, text: Option<&str>, behind: &[String]) {
        let (text, behind) = match (text, behind.split_first()) {
            (Some(text), _) => (text, behind),
            (None, Some((text, rest))) => (text.as_str(), rest),
            (None, None) => return,
        };
        if text.contains(['\\', '$', '#']) {
            return self.hide("env divides a text into words by a grammar of its own");
        }
        let mut text = text.to_owned();
        for arg in behind {
            text.push_str(" '");
            text.push_str(&arg.replace('\'', "'\\''"));
            text.push('\'');
        }
        self.code(&text);
    }

    /// Shells, and others that take code, anywhere behind a program of whose options not all are known: one of
    /// them may be what it starts. `starts`: it does start one.
    pub(super) fn embedded(
        &mut self,
        args: &[String],
        input: &Input,
        wrapped: usize,
        starts: bool,
    ) {
        self.spend(args.len() / 16);
        let text_at = args.iter().rposition(|arg| {
            let letters = arg.strip_prefix(['-', '+']);
            letters.is_some_and(|letters| letters.contains('c'))
        });
        let mut found = 0;
        for (at, arg) in args.iter().enumerate() {
            let rest = args.get(at + 1..).unwrap_or_default();
            let base = arg.rsplit('/').next().unwrap_or(arg);
            let text = text_at.is_some_and(|text_at| text_at > at);
            let code = TAKES_CODE.contains(&base) || base.starts_with("python");
            let wanted = match is_shell(arg) {
                true => starts || text || !self.written.is_empty(),
                false => code && !rest.is_empty(),
            };
            if !wanted {
                continue;
            }
            found += 1;
            if found > MAX_EMBEDDED {
                return self.hide("it names too many programs to be understood");
            }
            self.spend(1 + rest.len() / 16);
            let own = args.get(at..).unwrap_or_default();
            if starts {
                self.invoke(own, input, wrapped + 1);
                continue;
            }
            // It may as well be the name of something else: what it would read is not asked for.
            let before = self.reads_commands;
            self.invoke(own, &Input::File(String::new()), wrapped + 1);
            self.reads_commands = before;
        }
    }

    /// Words behind which a program is started: `!PROGRAM`, `|PROGRAM`.
    pub(super) fn pipes(&mut self, args: &[String]) {
        for arg in args {
            let text = arg.trim_start_matches("-o").strip_prefix(['!', '|']);
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                self.code(text);
            }
        }
    }

    pub(super) fn subcommand(
        &mut self,
        args: &[String],
        skip: usize,
        input: &Input,
        wrapped: usize,
    ) {
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

    /// Words that follow one of these options, or are attached to it, are texts for a shell. Long options may
    /// be cut short, letters joined.
    pub(super) fn attached(&mut self, args: &[String], options: &[&str]) {
        for (at, arg) in args.iter().enumerate() {
            for option in options {
                if let Some(text) = joined_value(arg, option) {
                    let text = match text {
                        "" => args.get(at + 1).cloned().unwrap_or_default(),
                        text => text.to_owned(),
                    };
                    self.code(&text);
                    continue;
                }
                let (name, value) = arg
                    .split_once('=')
                    .map_or((&**arg, None), |(name, value)| (name, Some(value)));
                let cut = name.len() > 3 && name.starts_with("--") && option.starts_with(name);
                let text = match arg.strip_prefix(option) {
                    None if cut => value.or(args.get(at + 1).map(String::as_str)),
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
    pub(super) fn after(&mut self, args: &[String], options: &[&str]) {
        for (at, arg) in args.iter().enumerate() {
            let letters = arg.strip_prefix('-').filter(|it| !it.starts_with('-'));
            let attached = letters.and_then(|letters| Some(letters.split_once('c')?.1));
            let joined = attached == Some("");
            let text = if let Some(text) = attached.filter(|text| !text.is_empty()) {
                Some(text.to_owned())
            } else if joined || options.contains(&arg.as_str()) {
                args.get(at + 1).cloned()
            } else {
                let (name, value) = arg.split_once('=').unwrap_or((arg, ""));
                let cut = |option: &&str| {
                    let names = (name.strip_prefix("--"), option.strip_prefix("--"));
                    matches!(names, (Some(name), Some(option)) if is_cut(name, option))
                };
                match options.iter().any(cut) {
                    true if arg.contains('=') => Some(value.to_owned()),
                    true => args.get(at + 1).cloned(),
                    false => None,
                }
            };
            if let Some(text) = text {
                self.code(&text);
            }
        }
    }

    /// The words behind the first `skip` operands, as one text.
    pub(super) fn tail(&mut self, args: &[String], skip: usize) {
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

    pub(super) fn joined(&mut self, args: &[String], short: &str, input: &Input) {
        let mut at = 0;
        while let Some(arg) = args.get(at).filter(|arg| arg.starts_with('-')) {
            at += 1 + usize::from(!arg.starts_with("--") && arg.ends_with(|c| short.contains(c)));
        }
        let rest = args.get(at..).unwrap_or_default();
        self.invoke(rest, input, 1);
        self.code(&rest.join(" "));
    }

    pub(super) fn xargs(&mut self, args: &[String], wrapped: usize) {
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
            if let Some(long) = letters.strip_prefix('-') {
                let (name, value) = long.split_once('=').unwrap_or((long, ""));
                if is_cut(name, "replace") && name.len() > 1 {
                    replaced = Some(if value.is_empty() { "{}" } else { value }.to_owned());
                }
                let takes = XARGS_LONG.iter().any(|one| is_cut(name, one));
                at += usize::from(takes && !long.contains('='));
                continue;
            }
            for (index, letter) in letters.char_indices() {
                let rest = letters.get(index + letter.len_utf8()..).unwrap_or_default();
                match letter {
                    'i' => {
                        replaced = Some(if rest.is_empty() { "{}" } else { rest }.to_owned());
                        break;
                    }
                    'e' | 'l' => break,
                    letter if XARGS_VALUES.contains(letter) => {
                        let value = match rest {
                            "" => args.get(at).cloned().unwrap_or_default(),
                            rest => rest.to_owned(),
                        };
                        at += usize::from(rest.is_empty());
                        if matches!(letter, 'I' | 'J') {
                            replaced = Some(value);
                        }
                        break;
                    }
                    _ => {}
                }
            }
        }
        let mut argv: Vec<String> = args.get(at..).unwrap_or_default().to_vec();
        if argv.is_empty() {
            return;
        }
        match replaced.filter(|text| !text.is_empty()) {
            Some(text) => {
                for word in &mut argv {
                    *word = word.replace(&text, &SENT.to_string());
                }
            }
            None => argv.push(SPLIT.to_string()),
        }
        self.invoke(&argv, &Input::Unknown, wrapped + 1);
    }

    pub(super) fn parallel(&mut self, args: &[String], input: &Input, wrapped: usize) {
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

    pub(super) fn find(&mut self, args: &[String], input: &Input, wrapped: usize) {
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
                *word = word.replace("{}", &WILD.to_string());
            }
            self.invoke(&argv, input, wrapped + 1);
        }
    }

    pub(super) fn su(&mut self, args: &[String], input: &Input, wrapped: usize) {
        let given = Given::read(args, "cCgGsTuw", usize::MAX);
        let dashed = args
            .iter()
            .position(|arg| arg == "--")
            .unwrap_or(args.len());
        let own = args.get(..dashed).unwrap_or_default();
        let mut texts = given.values('c');
        texts.extend(long_values(own, &["--command", "--session-command"]));
        let mut shells = given.values('s');
        shells.extend(long_values(own, &["--shell"]));
        shells.iter().for_each(|shell| self.program(shell));
        let user = given.has('u') || given.has_long("user");
        texts.iter().for_each(|text| self.code_reading(text, input));
        // What follows the user is for the shell; behind `runuser -u USER` it is a command.
        let operands: Vec<String> = given
            .operands
            .iter()
            .filter(|it| *it != "-")
            .cloned()
            .collect();
        let rest = operands.get(1..).unwrap_or_default();
        if user {
            let long = own
                .iter()
                .any(|arg| arg.starts_with("--u") && !arg.contains('='));
            self.invoke(if long { rest } else { &operands }, input, wrapped + 1);
            self.embedded(args, input, wrapped, true);
        } else if !rest.is_empty() {
            self.shell("sh", rest, input);
        } else if texts.is_empty() {
            self.reads(input, "a shell");
        }
    }

    pub(super) fn flock(&mut self, args: &[String], input: &Input, wrapped: usize) {
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
            if let Some(text) = rest.get(1) {
                self.code(text);
            }
            return;
        }
        let own = rest
            .iter()
            .position(|arg| !arg.starts_with('-'))
            .unwrap_or(rest.len());
        self.invoke(rest.get(own..).unwrap_or_default(), input, wrapped + 1);
    }
}

/// What stands behind the letter of an option that is joined with others: `-ave TEXT`.
fn joined_value<'a>(arg: &'a str, option: &str) -> Option<&'a str> {
    let mut own = option.strip_prefix('-')?.chars();
    let (Some(letter), None) = (own.next(), own.next()) else {
        return None;
    };
    let letters = arg
        .strip_prefix('-')
        .filter(|letters| !letters.starts_with(['-', letter]))?;
    let at = letters.find(letter)?;
    let before = letters.get(..at)?;
    let joined = before.chars().all(|c| c.is_ascii_alphanumeric());
    joined.then(|| letters.get(at + 1..))?
}

/// Whether a word is a shell's name.
fn is_shell(word: &str) -> bool {
    SHELLS.contains(&word.rsplit('/').next().unwrap_or(word))
}

/// Whether an option of env has it make words of a text; the text, where it is attached.
fn split_text(arg: &str) -> Option<Option<&str>> {
    if let Some(long) = arg.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        return (name.len() > 1 && is_cut(name, "split-string") || name == "s").then_some(value);
    }
    let letters = arg.strip_prefix('-')?;
    let (before, text) = letters.split_once('S')?;
    let plain = before.chars().all(|c| matches!(c, 'i' | '0' | 'v'));
    plain.then_some(Some(text).filter(|text| !text.is_empty()))
}
