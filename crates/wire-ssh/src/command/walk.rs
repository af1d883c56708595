//! From tokens to the simple commands that may run, each with what it reads.

use super::lex::{Operation, Part, Redirect, RedirectKind, Script, Token, Word};
use super::word::{ANY, FIELD, HOST, SENT, SPLIT, STREAM};
use super::{Input, Shell};

/// Combinations of readings of one command, at most.
const MAX_COMBINED: usize = 64;

#[derive(Default)]
struct Simple<'a> {
    words: Vec<&'a Word>,
    redirects: Vec<&'a Redirect>,
}

impl Simple<'_> {
    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.redirects.is_empty()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Command,
    /// Behind the end of a compound command: redirections only.
    After,
    /// Behind `for` or `select`.
    For,
    /// Behind `for NAME in`.
    Items,
    /// Behind `case`, up to `in`.
    Case,
    /// The patterns of a case.
    Patterns,
    /// Inside of `[[`.
    Test,
    /// Behind `function`.
    Function,
}

impl Shell<'_> {
    /// Every command of the list.
    pub(super) fn script(&mut self, script: &Script, input: &Input) {
        self.spend(1);
        let mut simple = Simple::default();
        let mut state = State::Command;
        let (mut base, mut input) = (input.clone(), input.clone());
        let mut frames: Vec<Input> = Vec::new();
        let mut cases = 0_usize;
        let mut variable = String::new();
        for (at, token) in script.tokens.iter().enumerate() {
            if self.is_spent() {
                return;
            }
            match token {
                Token::Word(word) => {
                    self.visit(word);
                    let plain = word.plain();
                    match state {
                        State::Test if plain == Some("]]") => state = State::After,
                        State::Test | State::After => {}
                        State::For if variable.is_empty() => {
                            variable = plain.unwrap_or("_").to_owned();
                        }
                        State::For if plain == Some("in") => state = State::Items,
                        State::For if plain == Some("do") => {
                            let positional: Vec<String> =
                                self.variables.positional.iter().cloned().collect();
                            for value in positional {
                                self.variables.assign(&variable, value);
                            }
                            state = State::Command;
                        }
                        State::For => {}
                        State::Items => {
                            for fields in self.fields(word) {
                                for field in fields {
                                    self.variables.assign(&variable, field);
                                }
                            }
                        }
                        State::Case if plain == Some("in") => state = State::Patterns,
                        State::Case => {}
                        State::Patterns if plain == Some("esac") => {
                            cases = cases.saturating_sub(1);
                            base = frames.pop().unwrap_or(base);
                            state = State::After;
                        }
                        State::Patterns => {}
                        State::Function => {
                            self.variables
                                .functions
                                .insert(plain.unwrap_or("_").to_owned());
                            state = State::Command;
                        }
                        State::Command if !simple.is_empty() => simple.words.push(word),
                        State::Command => match plain {
                            Some("if" | "{") => {
                                frames.push(std::mem::replace(&mut base, input.clone()));
                            }
                            Some("while" | "until") => {
                                self.loops += 1;
                                frames.push(std::mem::replace(&mut base, input.clone()));
                            }
                            Some("for" | "select") => {
                                self.loops += 1;
                                frames.push(std::mem::replace(&mut base, input.clone()));
                                variable = String::new();
                                state = State::For;
                            }
                            Some("coproc") => input = Input::Unknown,
                            Some("then" | "else" | "elif" | "do" | "!" | "time") => {}
                            Some("fi" | "}") => {
                                base = frames.pop().unwrap_or(base);
                                state = State::After;
                            }
                            Some("done") => {
                                self.loops = self.loops.saturating_sub(1);
                                base = frames.pop().unwrap_or(base);
                                state = State::After;
                            }
                            Some("case") => {
                                cases += 1;
                                frames.push(std::mem::replace(&mut base, input.clone()));
                                state = State::Case;
                            }
                            Some("esac") if cases > 0 => {
                                cases -= 1;
                                base = frames.pop().unwrap_or(base);
                                state = State::After;
                            }
                            Some("function") => state = State::Function,
                            Some("[[") => state = State::Test,
                            _ if is_arithmetic(word) => state = State::After,
                            _ => simple.words.push(word),
                        },
                    }
                }
                Token::Redirect(redirect) => {
                    self.visit(&redirect.target);
                    if state == State::After {
                        self.redirected_compound(redirect);
                    } else if state != State::Test {
                        simple.redirects.push(redirect);
                    }
                }
                Token::Open if matches!(state, State::Patterns | State::Test) => {}
                Token::Close if state == State::Test => {}
                Token::Open => {
                    let defines = simple.words.len() == 1
                        && matches!(script.tokens.get(at + 1), Some(Token::Close));
                    if defines {
                        let name = simple.words.first().and_then(|word| word.plain());
                        self.variables
                            .functions
                            .insert(name.unwrap_or("_").to_owned());
                        simple = Simple::default();
                    }
                    frames.push(std::mem::replace(&mut base, input.clone()));
                }
                Token::Close if state == State::Patterns => state = State::Command,
                Token::Close => {
                    let defined = matches!(
                        at.checked_sub(1).and_then(|i| script.tokens.get(i)),
                        Some(Token::Open)
                    );
                    self.finish(&mut simple, &input);
                    base = frames.pop().unwrap_or(base);
                    input = base.clone();
                    state = if defined {
                        State::Command
                    } else {
                        State::After
                    };
                }
                Token::CaseEnd => {
                    self.finish(&mut simple, &input);
                    input = base.clone();
                    state = if cases > 0 {
                        State::Patterns
                    } else {
                        State::Command
                    };
                }
                Token::Pipe if matches!(state, State::Patterns | State::Test) => {}
                Token::Pipe => {
                    let output = if state == State::Command && !simple.is_empty() {
                        self.output_of(&simple.words, &simple.redirects, &input)
                    } else {
                        None
                    };
                    self.finish(&mut simple, &input);
                    input = output.map_or(Input::Unknown, Input::Known);
                    state = State::Command;
                }
                Token::End | Token::Then => {
                    self.finish(&mut simple, &input);
                    input = base.clone();
                    if !matches!(state, State::Patterns | State::Test | State::Case) {
                        let asks = state == State::For && matches!(token, Token::End);
                        state = if asks { State::For } else { State::Command };
                    }
                }
            }
        }
        self.finish(&mut simple, &input);
    }

    /// The commands inside of a word.
    fn visit(&mut self, word: &Word) {
        self.visit_parts(&word.parts);
    }

    fn visit_parts(&mut self, parts: &[Part]) {
        for part in parts {
            match part {
                Part::Command { script, .. } => self.script(script, &Input::Client),
                // What a shell in it reads is written by the command around it.
                Part::Process(script) => self.script(script, &Input::Unknown),
                Part::Text(text) if is_subscript(text) => {
                    self.hide(
                        "a text in it computes the place in an array, which may run commands",
                    );
                }
                Part::Arithmetic(parts) => self.visit_parts(parts),
                Part::Parameter {
                    operation:
                        Operation::Default { word, .. }
                        | Operation::Alternative(word)
                        | Operation::Other(word),
                    ..
                } => self.visit(word),
                _ => {}
            }
        }
    }

    /// What is led into a compound command: a shell inside of it may read it.
    fn redirected_compound(&mut self, redirect: &Redirect) {
        let input = self.redirected(&[redirect], &Input::Client);
        if let Input::Known(texts) = input
            && self.reads_commands
        {
            for text in texts {
                self.code(&text);
            }
        }
    }

    /// What the command reads, and what it writes is remembered.
    fn redirected(&mut self, redirects: &[&Redirect], input: &Input) -> Input {
        let mut own = input.clone();
        for redirect in redirects {
            let targets = self.text_of(&redirect.target);
            for target in &targets {
                if target.starts_with("/dev/tcp/") || target.starts_with("/dev/udp/") {
                    self.program(target);
                }
            }
            match redirect.kind {
                RedirectKind::Text if redirect.stdin => {
                    own = Input::Known(
                        targets
                            .into_iter()
                            .map(|text| format!("{text}\n"))
                            .collect(),
                    );
                }
                RedirectKind::Read if redirect.stdin => {
                    own = match targets.first() {
                        Some(target) => self.file(target),
                        None => Input::Unknown,
                    };
                }
                RedirectKind::Duplicate if redirect.stdin => own = Input::Unknown,
                _ => {}
            }
        }
        own
    }

    fn finish(&mut self, simple: &mut Simple<'_>, input: &Input) {
        let Simple { words, redirects } = std::mem::take(simple);
        if words.is_empty() && redirects.is_empty() {
            return;
        }
        self.spend(1);
        let own = self.redirected(&redirects, input);
        let writes: Vec<&&Redirect> = redirects
            .iter()
            .filter(|redirect| redirect.kind == RedirectKind::Write)
            .collect();
        if !writes.is_empty() {
            let output = self.output_of(&words, &redirects, input);
            for redirect in writes {
                for target in self.text_of(&redirect.target) {
                    self.wrote(target, output.clone());
                }
            }
        }
        let assigned = words.iter().take_while(|word| is_assignment(word)).count();
        for word in words.iter().take(assigned) {
            self.assignment(word);
        }
        for argv in self.argvs(words.get(assigned..).unwrap_or_default()) {
            self.invoke(&argv, &own, 0);
        }
    }

    /// The readings of a command.
    pub(super) fn argvs(&mut self, words: &[&Word]) -> Vec<Vec<String>> {
        let mut argvs: Vec<Vec<String>> = vec![Vec::new()];
        for word in words {
            let readings = self.fields(word);
            if let [reading] = readings.as_slice() {
                for argv in &mut argvs {
                    argv.extend(reading.iter().cloned());
                }
                continue;
            }
            let mut longer = Vec::new();
            for argv in &argvs {
                for reading in &readings {
                    self.spend(1 + argv.len() / 8);
                    let mut own = argv.clone();
                    own.extend(reading.iter().cloned());
                    longer.push(own);
                }
            }
            if longer.len() > MAX_COMBINED {
                let unknown = SPLIT.to_string();
                for argv in &mut argvs {
                    argv.push(unknown.clone());
                }
            } else {
                longer.sort_unstable();
                longer.dedup();
                argvs = longer;
            }
        }
        argvs
    }

    fn assignment(&mut self, word: &Word) {
        let mut parts = word.parts.clone();
        let Some(Part::Text(text)) = parts.first_mut() else {
            return;
        };
        let Some((name, rest)) = text.split_once('=') else {
            return;
        };
        let adds = name.ends_with('+');
        let name = name.trim_end_matches('+');
        let name = name.split('[').next().unwrap_or(name).to_owned();
        *text = rest.to_owned();
        let refers = parts
            .iter()
            .any(|part| matches!(part, Part::Parameter { name: other, .. } if *other == name));
        let value = Word {
            parts,
            quoted: true,
        };
        let readings = self.readings_of(&value);
        if self.loops > 0 && (adds || refers) {
            self.variables.cloud(&name);
        }
        for reading in readings {
            if adds {
                let before = self
                    .variables
                    .values
                    .get(&name)
                    .cloned()
                    .unwrap_or_default();
                for value in before {
                    if value.len() + reading.len() < 4096 {
                        self.variables.assign(&name, format!("{value}{reading}"));
                    }
                }
            }
            if reading.contains(FIELD) {
                for element in reading.split(FIELD).filter(|element| !element.is_empty()) {
                    self.variables.assign(&name, element.to_owned());
                }
            }
            self.environment(&name, &reading);
            self.variables.assign(&name, reading);
        }
    }

    /// The readings of a value: words stay together, elements of an array do not.
    fn readings_of(&mut self, word: &Word) -> Vec<String> {
        let mut readings = Vec::new();
        for fields in self.fields(word) {
            readings.push(fields.join(&FIELD.to_string()));
        }
        readings
    }

    /// What the commands print, where it can be told.
    pub(super) fn output(&mut self, script: &Script) -> Option<Vec<String>> {
        self.spend(1);
        let (mut words, mut redirects) = (Vec::new(), Vec::new());
        for token in &script.tokens {
            match token {
                Token::Word(word) => words.push(word),
                Token::Redirect(redirect) => redirects.push(redirect),
                _ => return None,
            }
        }
        let compound = words.first().and_then(|word| word.plain());
        if matches!(
            compound,
            Some("if" | "for" | "while" | "case" | "{" | "[[" | "until")
        ) {
            return None;
        }
        self.output_of(&words, &redirects, &Input::Client)
    }

    fn output_of(
        &mut self,
        words: &[&Word],
        redirects: &[&Redirect],
        input: &Input,
    ) -> Option<Vec<String>> {
        let assigned = words.iter().take_while(|word| is_assignment(word)).count();
        let words = words.get(assigned..)?;
        let own = self.redirected(redirects, input);
        if words.is_empty() {
            // `$(<file)` prints the file.
            return None;
        }
        let mut texts = Vec::new();
        for argv in self.argvs(words) {
            texts.push(prints(&argv, &own)?);
        }
        (texts.len() <= MAX_COMBINED).then(|| texts.into_iter().flatten().collect())
    }
}

fn is_arithmetic(word: &Word) -> bool {
    matches!(word.parts.first(), Some(Part::Text(text)) if text == "((") && word.parts.len() == 2
}

/// `NAME=…`, `NAME+=…` and `NAME[…]=…`.
fn is_assignment(word: &Word) -> bool {
    let Some(Part::Text(text)) = word.parts.first() else {
        return false;
    };
    let Some((name, _)) = text.split_once('=') else {
        return false;
    };
    let name = name.trim_end_matches('+');
    let name = name.split('[').next().unwrap_or(name);
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What a program prints that does nothing but print, and what is known of the output of some others.
fn prints(argv: &[String], input: &Input) -> Option<Vec<String>> {
    let (name, args) = argv.split_first()?;
    let one = |text: String| Some(vec![text]);
    let rest = |args: &[String]| args.join(" ");
    match name.rsplit('/').next().unwrap_or(name) {
        "echo" => {
            let options = args
                .iter()
                .take_while(|a| matches!(a.as_str(), "-n" | "-e" | "-ne" | "-en" | "-E"));
            let skip = options.count();
            let text = rest(args.get(skip..)?);
            let decoded = unescape(&text);
            let mut texts = vec![format!("{text}\n")];
            if decoded != text {
                texts.push(format!("{decoded}\n"));
            }
            Some(texts)
        }
        "printf" => {
            let args = if args.first().is_some_and(|a| a == "--") {
                args.get(1..)?
            } else {
                args
            };
            let (format, args) = args.split_first()?;
            (format != "-v").then(|| vec![printf(format, args)])
        }
        "cat" | "tee"
            if args
                .iter()
                .all(|a| a == "-" || a == "-u" || name.ends_with("tee")) =>
        {
            match input {
                Input::Known(texts) => Some(texts.clone()),
                _ => None,
            }
        }
        "which" | "readlink" | "realpath" | "whereis" => args
            .iter()
            .rev()
            .find(|a| !a.starts_with('-'))
            .cloned()
            .map(|a| vec![a]),
        "command" | "type"
            if args.first().is_some_and(|a| {
                a.starts_with("-v") || a.starts_with("-p") || a.starts_with("-P")
            }) =>
        {
            args.get(1).cloned().map(|a| vec![a])
        }
        "pwd" | "hostname" | "whoami" | "id" | "uname" | "nproc" | "arch" | "tty" => {
            one(HOST.to_string())
        }
        "date" if args.iter().all(|arg| says_nothing(arg)) => one(HOST.to_string()),
        "wc" if args.iter().all(|arg| arg.starts_with('-')) => one(HOST.to_string()),
        "dirname" | "basename" | "date" | "mktemp" | "getconf" | "tput" | "stat" | "wc" => {
            one(ANY.to_string())
        }
        "git"
            if args
                .first()
                .is_some_and(|a| a == "rev-parse" || a == "describe") =>
        {
            one(ANY.to_string())
        }
        // Their output is made to be evaluated.
        "ssh-agent" | "dircolors" | "resize" | "brew" | "pyenv" | "rbenv" | "nodenv" | "direnv"
        | "opam" | "conda" | "keychain" | "lesspipe" | "true" | ":" => one(String::new()),
        _ => None,
    }
}

fn printf(format: &str, args: &[String]) -> String {
    let mut text = String::new();
    let mut args = args.iter().peekable();
    for _ in 0..256 {
        let mut characters = format.chars().peekable();
        let mut used = false;
        while let Some(c) = characters.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            while characters
                .next_if(|c| c.is_ascii_digit() || "-+ #.*".contains(*c))
                .is_some()
            {}
            match characters.next() {
                Some('%') => text.push('%'),
                Some('s') => {
                    used = true;
                    text.push_str(args.next().map_or("", String::as_str));
                }
                Some('b') => {
                    used = true;
                    text.push_str(&unescape(args.next().map_or("", String::as_str)));
                }
                Some(_) => {
                    used = true;
                    args.next();
                    text.push(SPLIT);
                }
                None => {}
            }
        }
        if !used || args.peek().is_none() {
            break;
        }
    }
    unescape(&text)
}

/// Backslashes as `echo -e` and `printf` read them.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('x') => {
                let c = digits(&mut characters, 16, 2, 0);
                out.push(c);
            }
            Some('u') => {
                let c = digits(&mut characters, 16, 4, 0);
                out.push(c);
            }
            Some(c @ '0'..='7') => {
                let first = c.to_digit(8).unwrap_or(0);
                let c = digits(&mut characters, 8, 3 - usize::from(first > 0), first);
                out.push(c);
            }
            Some('c') => break,
            Some(c @ ('\\' | '"' | '\'')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}

fn digits(
    characters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    radix: u32,
    most: usize,
    first: u32,
) -> char {
    let mut value = first;
    for _ in 0..most {
        let Some(digit) = characters.peek().and_then(|c| c.to_digit(radix)) else {
            break;
        };
        characters.next();
        value = value * radix + digit;
    }
    char::from_u32(value).unwrap_or('?')
}

/// Whether the client chose some of it.
pub(super) fn is_chosen(text: &str) -> bool {
    text.contains(SENT)
}

/// The number of a pipe in the place of a file.
pub(super) fn stream(path: &str) -> Option<usize> {
    path.strip_prefix(STREAM)?.parse().ok()
}

/// `name[$(…)]` as data: bash runs what is in it when it counts with the text.
fn is_subscript(text: &str) -> bool {
    ["[$(", "[`"].iter().any(|opening| {
        text.match_indices(opening).any(|(at, _)| {
            let before = text.get(..at).and_then(|before| before.chars().next_back());
            before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    })
}

/// An option, or a format of which nothing but times comes.
fn says_nothing(arg: &str) -> bool {
    let Some(format) = arg.strip_prefix('+') else {
        return arg == "-u" || arg == "-R" || arg == "-Iseconds";
    };
    let mut letters = format.chars();
    while let Some(c) = letters.next() {
        match c {
            '%' => drop(letters.next()),
            'T' | 'Z' => {}
            c if c.is_alphabetic() || c <= HOST => return false,
            _ => {}
        }
    }
    true
}
