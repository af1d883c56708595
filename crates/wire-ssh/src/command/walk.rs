//! From tokens to the simple commands that may run, each with what it reads.

use super::lex::{Operation, Part, Redirect, RedirectKind, Script, Token, Word};
use super::prints::prints;
use super::word::{FIELD, SENT, SPLIT, STREAM, WILD, size};
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
    /// Behind the end of a compound command: redirections, and words that go on with one around it.
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
    /// Behind `coproc`.
    Coprocess,
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
        // Whether a test compares numbers, and what is in it.
        let (mut counts, mut compared) = (false, Vec::<String>::new());
        let mut variable = String::new();
        for (at, token) in script.tokens.iter().enumerate() {
            if self.is_spent() {
                return;
            }
            if let (Input::Known(texts), Token::End | Token::Then | Token::CaseEnd) = (&base, token)
            {
                self.spend(size(texts) / 64);
            }
            match token {
                Token::Word(word) => {
                    self.visit(word);
                    let plain = word.plain();
                    if state == State::After {
                        if !plain.is_some_and(goes_on) {
                            self.hide("a word stands where no shell takes one");
                        }
                        state = State::Command;
                    }
                    if state == State::Coprocess {
                        state = State::Command;
                        let next = script.tokens.get(at + 1);
                        let names = match next {
                            Some(Token::Word(next)) => next.plain().is_some_and(is_compound),
                            next => matches!(next, Some(Token::Open)),
                        };
                        if names && !plain.is_some_and(is_compound) {
                            continue;
                        }
                    }
                    match state {
                        State::Test if plain == Some("]]") => {
                            if counts {
                                compared.iter().for_each(|text| self.computes(text));
                            }
                            (counts, compared) = (false, Vec::new());
                            state = State::After;
                        }
                        State::Test => {
                            counts |= plain.is_some_and(is_sum);
                            let values = self.text_of(word);
                            compared.extend(values);
                        }
                        State::After | State::Coprocess => {}
                        State::For if variable.is_empty() => {
                            variable = plain.unwrap_or("_").to_owned();
                        }
                        State::For if plain == Some("in") => state = State::Items,
                        State::For if matches!(plain, Some("do" | "{")) => {
                            self.spend(self.variables.positional.len());
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
                            Some("coproc") => {
                                input = Input::Unknown;
                                state = State::Coprocess;
                            }
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
                            _ if is_arithmetic(word) => {
                                if let Some(Part::Arithmetic(parts)) = word.parts.get(1) {
                                    self.computes_or_runs(parts);
                                }
                                state = State::After;
                            }
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
                Token::Sum(text) => self.computes_raw(text),
                Token::Open if matches!(state, State::Patterns | State::Test) => {}
                Token::Close if state == State::Test => {}
                Token::Open => {
                    let defines = simple.words.len() == 1
                        && matches!(script.tokens.get(at + 1), Some(Token::Close));
                    if state == State::Coprocess {
                        state = State::Command;
                    }
                    if defines {
                        let name = simple.words.first().and_then(|word| word.plain());
                        self.variables
                            .functions
                            .insert(name.unwrap_or("_").to_owned());
                        simple = Simple::default();
                    } else if !simple.words.is_empty() {
                        self.hide("a parenthesis stands where few shells take one");
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
                Part::Arithmetic(parts) | Part::Index(parts) => {
                    self.computes_place(parts);
                    self.visit_parts(parts);
                }
                Part::Set(text) => self.computes(text),
                Part::Sum(text) => self.computes_raw(text),
                Part::Parameter {
                    index, operation, ..
                } => {
                    self.computes_place(index);
                    self.visit_parts(index);
                    if let Operation::Default { word, .. }
                    | Operation::Alternative(word)
                    | Operation::Other(word)
                    | Operation::Indirect(word) = operation
                    {
                        self.visit(word);
                    }
                }
                _ => {}
            }
        }
    }

    /// What is led into a compound command: a shell inside of it may read it.
    fn redirected_compound(&mut self, redirect: &Redirect) {
        let input = self.redirected(&[redirect], &Input::Client);
        if redirect.writes() {
            for target in self.text_of(&redirect.target) {
                self.wrote(target, None);
            }
        }
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
            .filter(|redirect| redirect.writes())
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
        let rest = words.get(assigned..).unwrap_or_default();
        self.reads_otherwise(rest);
        if rest
            .first()
            .and_then(|word| word.plain())
            .is_some_and(declares)
        {
            // What is assigned there is one word, too.
            for word in rest.iter().skip(1) {
                self.assignment(word);
            }
        }
        for argv in self.argvs(rest) {
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
        let Some((name, adds, parts)) = assigned(word) else {
            return;
        };
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
            self.assigns_meaning(&name, &reading);
            if let Some((place, value)) = placed(&reading) {
                self.computes(place);
                self.environment(&name, value);
                if reading.starts_with(WILD) {
                    continue;
                }
            }
            if reading.contains(FIELD) {
                for element in reading.split(FIELD).filter(|element| !element.is_empty()) {
                    if let Some((place, value)) = placed(element) {
                        self.computes(place);
                        self.variables.assign(&name, value.to_owned());
                        if element.starts_with(WILD) {
                            continue;
                        }
                    }
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

    /// What the commands print, where it can be told: of one, or of several with pipes between them.
    pub(super) fn output(&mut self, script: &Script) -> Option<Vec<String>> {
        self.spend(1);
        let mut input = Input::Client;
        let mut stages = script
            .tokens
            .split(|token| matches!(token, Token::Pipe))
            .peekable();
        while let Some(stage) = stages.next() {
            let (mut words, mut redirects) = (Vec::new(), Vec::new());
            for token in stage {
                match token {
                    Token::Word(word) => words.push(word),
                    Token::Redirect(redirect) => redirects.push(redirect),
                    _ => return None,
                }
            }
            let compound = words.first().and_then(|word| word.plain());
            let compound = compound.is_some_and(|word| is_compound(word) || word == "!");
            let output = match compound {
                true => None,
                false => self.output_of(&words, &redirects, &input),
            };
            if stages.peek().is_none() {
                return output;
            }
            input = output.map_or(Input::Unknown, Input::Known);
        }
        None
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
            let says_place = argv.first().is_some_and(|name| name == "pwd");
            texts.push(match says_place {
                true if argv.iter().any(|arg| arg.starts_with("-P")) => vec![WILD.to_string()],
                true => self.value("PWD"),
                false => prints(&argv, &own)?,
            });
            self.spend(texts.iter().map(|texts| size(texts)).sum::<usize>() / 64);
        }
        (texts.len() <= MAX_COMBINED).then(|| texts.into_iter().flatten().collect())
    }
}

fn is_arithmetic(word: &Word) -> bool {
    matches!(word.parts.first(), Some(Part::Text(text)) if text == "((") && word.parts.len() == 2
}

/// Builtins that take assignments.
fn declares(word: &str) -> bool {
    matches!(
        word,
        "declare" | "typeset" | "local" | "readonly" | "export"
    )
}

/// Tests that compute with what they compare.
fn is_sum(word: &str) -> bool {
    matches!(word, "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge" | "-v")
}

/// Words that may follow the end of a compound command.
fn goes_on(word: &str) -> bool {
    matches!(
        word,
        "then" | "else" | "elif" | "fi" | "do" | "done" | "esac" | "}" | "{"
    )
}

/// Words that begin a compound command.
fn is_compound(word: &str) -> bool {
    matches!(
        word,
        "{" | "[[" | "if" | "for" | "while" | "until" | "case" | "select"
    )
}

/// The place and the value of an element that says its place: `[…]=value`.
fn placed(element: &str) -> Option<(&str, &str)> {
    let (place, value) = match element.strip_prefix(WILD) {
        Some(rest) => ("", rest),
        None => {
            let rest = element.strip_prefix('[')?;
            rest.split_once("]=").or_else(|| rest.split_once("]+="))?
        }
    };
    let value = match place.is_empty() && element.starts_with(WILD) {
        true => value.strip_prefix('+').unwrap_or(value).strip_prefix('=')?,
        false => value,
    };
    Some((place, value))
}

/// The name, whether it is added to, and the value of `NAME=…`, `NAME+=…` and `NAME[…]=…`.
fn assigned(word: &Word) -> Option<(String, bool, Vec<Part>)> {
    let (text, from) = match word.parts.as_slice() {
        [Part::Text(name), Part::Index(_), Part::Text(rest), ..] => (format!("{name}{rest}"), 3),
        [Part::Text(text), ..] => (text.clone(), 1),
        _ => return None,
    };
    let (name, value) = text.split_once('=')?;
    let adds = name.ends_with('+');
    let name = name.trim_end_matches('+');
    let name = name.split('[').next().unwrap_or(name);
    let mut characters = name.chars();
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    let named = characters.next().is_some_and(begins)
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    let mut parts = vec![Part::Text(value.to_owned())];
    parts.extend(word.parts.get(from..).unwrap_or_default().iter().cloned());
    named.then(|| (name.to_owned(), adds, parts))
}

fn is_assignment(word: &Word) -> bool {
    assigned(word).is_some()
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
