//! Programs that run another one: behind their options, in a text, by what they read.

use super::options::Wrapper;
use super::word::{SENT, SPLIT, WILD};
use super::{Input, Shell};

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
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            if arg == "--" {
                at += 1;
                break;
            }
            if wrapper.looks.contains(&arg.as_str()) && base == "sudo" {
                break;
            }
            if base == "env" && (arg.starts_with("-S") || arg.starts_with("--s")) {
                self.code(&self.split_string(args, at));
                return;
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

    pub(super) fn split_string(&self, args: &[String], at: usize) -> String {
        let mut text = String::new();
        for (i, arg) in args.iter().enumerate().skip(at) {
            let arg = if i == at {
                match arg.strip_prefix("--") {
                    Some(long) => long.split_once('=').map_or("", |(_, text)| text),
                    None => arg.trim_start_matches("-S").trim_start_matches('='),
                }
            } else {
                arg
            };
            text.push_str(arg);
            text.push(' ');
        }
        text
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
