//! What a command string runs, as far as it can be told without running it.
//!
//! The answer over-approximates: every program that may run is in it, also those that wrappers,
//! nested shells, evaluated text and written scripts start. Where even that cannot be told, the
//! command is [opaque](Command::opaque) and says why. What a program does by itself is not known:
//! a script that is on the server, a copy of a tool under another name, a compiled program. Only an
//! allow-list stops those.
//!
//! The shell is assumed to be POSIX or bash. What ksh and zsh read otherwise is opaque where Weir knows of
//! it; fish, csh and others as login shells are not thought of. Depth, length and work are bounded; beyond the bounds a command is opaque.

mod clients;
mod code;
mod databases;
mod editor;
mod given;
mod input;
mod kin;
mod lex;
mod mentions;
mod options;
mod prints;
mod reaches;
mod run;
mod settings;
mod shells;
mod sums;
mod texts;
mod tools;
mod transfer;
mod unpacked;
mod walk;
mod word;
mod wrapped;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use transfer::Recognised;

pub use options::is_harmless;

use word::{SPLIT, Variables, WILD, shown, told};

/// The longest command that is analysed, in bytes. Linux gives no more to a shell in one argument
/// than 128 KiB.
pub const MAX_TEXT: usize = 256 * 1024;

/// In what is listed this stands for a value that is not known, and that is the host's own: its user's
/// home, a number. Nobody who writes a command chooses it.
pub const HOST_VALUE: char = '\u{6}';

/// Programs and simple commands that are listed, at most, of each.
const MAX_LISTED: usize = 2048;
/// Length of a listed program or command, in bytes; what follows is `*`.
const MAX_LISTED_LENGTH: usize = 1024;
/// Steps of the analysis.
const WORK: usize = 200_000;
/// Times that the text is walked, to learn what variables hold.
const PASSES: usize = 4;

/// What a command string runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The text as sent; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Every program that may run: as written, and its base name. In these and in `commands`, `*`
    /// stands for text that is not known; in `commands`, [`HOST_VALUE`] for a value of the host's own.
    pub programs: Vec<String>,
    /// Every simple command that may run: its words joined by one space, the program as its base name.
    pub commands: Vec<String>,
    /// Words that are given to programs which may start others, for all that is known of them: one of
    /// these may be what they start.
    pub mentions: Vec<String>,
    /// The words, if it is one simple command that the shell expands nothing in.
    pub argv: Option<Vec<String>>,
    /// Why it cannot be told what runs, if so.
    pub opaque: Option<String>,
    /// It starts a shell that reads commands from the client.
    pub shell: bool,
    /// A file transfer, if the command is one and nothing else. In the paths of scp `*` may stand for
    /// what the shell finds.
    pub recognised: Option<Recognised>,
}

/// Analyses the text of an exec request. `sent` are the environment variables that the client has set for it,
/// and their values: they count as assigned in front of it.
pub fn analyze(text: &[u8], sent: &[(&str, &str)]) -> Command {
    let lossy = String::from_utf8_lossy(text.get(..MAX_TEXT).unwrap_or(text));
    let mut command = Command {
        text: lossy.into_owned(),
        ..Command::default()
    };
    let opaque = |command: Command, why: &str| Command {
        opaque: Some(why.to_owned()),
        ..command
    };
    if text.len() > MAX_TEXT {
        return opaque(command, "the command is too long to be understood");
    }
    if command.text.contains(|c: char| c <= WILD) {
        return opaque(command, "the command has control characters in it");
    }
    let (mut variables, mut written) = (Variables::default(), Vec::new());
    for pass in 1..=PASSES + 1 {
        let mut shell = Shell::new(sent, variables.clone());
        shell.written = written;
        shell.sent_environment();
        shell.code(&command.text);
        shell.settle_unknown();
        // What is written late may be read early.
        let unread = pass == 1 && !shell.written.is_empty();
        let settled = shell.variables == variables && !unread;
        if settled || pass > PASSES || shell.is_spent() {
            command.programs = shell.programs.into_iter().collect();
            command.commands = shell.commands.into_iter().collect();
            command.mentions = shell.mentions.into_iter().collect();
            command.shell = shell.reads_commands;
            command.opaque = shell.opaque;
            break;
        }
        if pass == PASSES {
            shell.variables.widen(&variables);
        }
        variables = shell.variables;
        written = shell.written;
    }
    command.argv = words(&command.text, false);
    let patterns = || words(&command.text, true).filter(|words| transfer::is_scp(words));
    let known = command.argv.clone().or_else(patterns);
    command.recognised = known.as_deref().and_then(transfer::recognise);
    command
}

/// The words of a command that is nothing but words, and perhaps patterns: `*` stands for what the
/// shell finds.
fn words(text: &str, patterns: bool) -> Option<Vec<String>> {
    use lex::{Part, Token};
    let script = lex::read(text, 0).ok()?;
    let mut words = Vec::new();
    for token in &script.tokens {
        let Token::Word(word) = token else {
            return None;
        };
        let mut plain = String::new();
        for part in &word.parts {
            match part {
                Part::Text(text) => plain.push_str(text),
                // Its own directory, or another user's: no other word comes of it.
                Part::Tilde if !words.is_empty() => plain.push('~'),
                Part::Glob | Part::Set(_) if patterns => plain.push('*'),
                Part::BraceComma => plain.push(','),
                Part::BraceOpen if word.parts.len() == 2 => plain.push('{'),
                Part::BraceClose if word.parts.len() == 2 => plain.push('}'),
                _ => return None,
            }
        }
        words.push(plain);
    }
    let first = script.tokens.first()?;
    let reserved = matches!(first, Token::Word(word) if word.plain().is_some_and(is_reserved));
    let assigns = words.first()?.contains('=');
    (!reserved && !assigns && !words.first()?.is_empty()).then_some(words)
}

fn is_reserved(word: &str) -> bool {
    matches!(
        word,
        "if" | "for"
            | "while"
            | "until"
            | "case"
            | "select"
            | "function"
            | "time"
            | "coproc"
            | "[["
            | "{"
            | "!"
    )
}

/// What a command reads.
#[derive(Clone, Debug)]
enum Input {
    /// What the client sends.
    Client,
    /// One of these texts.
    Known(Vec<String>),
    /// A file of the server.
    File(String),
    /// Something that is not known.
    Unknown,
}

/// What was written to a file by the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Written {
    Texts(Vec<String>),
    Unknown,
    /// A copy of, or a link to, one of these.
    Like(Vec<String>),
    /// Files below this directory, of names and contents that are not known.
    Below,
}

/// One walk over the text.
struct Shell<'a> {
    sent: &'a [(&'a str, &'a str)],
    variables: Variables,
    programs: BTreeSet<String>,
    commands: BTreeSet<String>,
    mentions: BTreeSet<String>,
    opaque: Option<String>,
    reads_commands: bool,
    /// What pipes in the place of files give.
    streams: Vec<Option<Vec<String>>>,
    written: Vec<(String, Written)>,
    /// Loops around the command that is looked at.
    loops: usize,
    depth: usize,
    /// The texts around the command that is looked at.
    walked: Vec<String>,
    work: usize,
    /// It computes with text that is not known.
    computes_unknown: bool,
    /// A program reads commands that are not known.
    reads_unknown: bool,
    /// It makes text of text that stands in it.
    assembles: bool,
    /// It takes something from elsewhere, or reads what it has written.
    fetches: bool,
}

impl Shell<'_> {
    fn new<'a>(sent: &'a [(&'a str, &'a str)], variables: Variables) -> Shell<'a> {
        Shell {
            sent,
            variables,
            programs: BTreeSet::new(),
            commands: BTreeSet::new(),
            mentions: BTreeSet::new(),
            opaque: None,
            reads_commands: false,
            streams: Vec::new(),
            written: Vec::new(),
            loops: 0,
            depth: 0,
            walked: Vec::new(),
            work: WORK,
            computes_unknown: false,
            reads_unknown: false,
            assembles: false,
            fetches: false,
        }
    }

    /// A text that a shell runs.
    fn code(&mut self, text: &str) {
        if walk::is_chosen(text) {
            return self.hide("it runs text that the client sent in an environment variable");
        }
        // Read once more, what is not known may be anything: `;` and a command.
        let wild = text.contains([WILD, SPLIT]);
        if wild || word::is_blank(text.trim()) && !text.trim().is_empty() {
            return self.hide("it runs text that is not known");
        }
        self.spend(1 + text.len() / 16);
        if self.is_spent() {
            return;
        }
        // What it runs may be what it writes, and so on: once more it says nothing new.
        if self.walked.iter().any(|walked| walked == text) {
            return;
        }
        if self.depth >= lex::MAX_DEPTH {
            return self.hide("it is nested too deeply");
        }
        match lex::read(text, self.depth) {
            Ok(script) => {
                self.depth += 1;
                self.walked.push(text.to_owned());
                let loops = std::mem::take(&mut self.loops);
                self.script(&script, &Input::Client);
                self.loops = loops;
                self.walked.pop();
                self.depth -= 1;
            }
            Err(why) => self.hide(why),
        }
    }

    fn hide(&mut self, why: &str) {
        self.opaque.get_or_insert_with(|| why.to_owned());
    }

    fn spend(&mut self, steps: usize) {
        self.work = self.work.saturating_sub(steps);
        if self.work == 0 {
            self.hide("it is too long or too deeply nested to be understood");
        }
    }

    fn is_spent(&self) -> bool {
        self.work == 0
    }

    /// Lists a program, as written and by its base name.
    fn program(&mut self, name: &str) {
        let name = cut(&shown(name));
        let base = name.rsplit('/').next().unwrap_or_default().to_owned();
        // `=program` is its path, to some shells.
        let bare = base.trim_start_matches('=').to_owned();
        for one in [bare, base, name] {
            if self.programs.len() >= MAX_LISTED {
                return self.hide("it runs too many programs to be understood");
            }
            if !one.is_empty() {
                self.programs.insert(one);
            }
        }
    }

    fn listed(&mut self, argv: &[String]) {
        let Some((name, args)) = argv.split_first() else {
            return;
        };
        let mut text = told(name.rsplit('/').next().unwrap_or(name));
        for arg in args {
            if text.len() > MAX_LISTED_LENGTH {
                break;
            }
            text.push(' ');
            text.push_str(&told(arg));
        }
        if self.commands.len() >= MAX_LISTED {
            return self.hide("it runs too many programs to be understood");
        }
        self.commands.insert(cut(&text));
    }
}

fn cut(text: &str) -> String {
    if text.len() <= MAX_LISTED_LENGTH {
        return text.to_owned();
    }
    let end = text
        .char_indices()
        .map(|(at, _)| at)
        .take_while(|at| *at < MAX_LISTED_LENGTH)
        .last();
    format!("{}*", text.get(..end.unwrap_or(0)).unwrap_or_default())
}
