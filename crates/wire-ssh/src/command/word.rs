//! What a word may stand for once the shell has expanded it.
//!
//! A word has a few *readings*. A reading is text in which control characters stand for what is not
//! known; they cannot be in a command, whose control characters of this range are refused.

use std::collections::{BTreeMap, BTreeSet};

use super::Shell;
use super::lex::{Operation, Part, Word};

/// Text that is not known and is no more than a part of one word. Nobody who writes a command chooses it: read
/// as code it is nothing but a part of a word.
pub(super) const ANY: char = '\u{1}';
/// Separates words that come out of one.
pub(super) const FIELD: char = '\u{2}';
/// Text that is not known and may be several words.
pub(super) const SPLIT: char = '\u{3}';
/// The same, chosen by the client.
pub(super) const SENT: char = '\u{4}';
/// Followed by a number: a pipe in the place of a file.
pub(super) const STREAM: char = '\u{5}';
/// As `ANY`, where the value is the host's own: nobody who writes a command chooses it.
pub(super) const HOST: char = super::HOST_VALUE;
/// As `ANY`, where it may have any character: names of files, which anybody may have made.
pub(super) const WILD: char = '\u{7}';
/// Everything that stands for text that is not known.
pub(super) const UNKNOWN: [char; 5] = [ANY, HOST, WILD, SPLIT, SENT];

/// Readings of one word, at most.
const MAX_READINGS: usize = 48;
/// Words that are tried while braces are taken apart, at most.
const MAX_WORDS: usize = 8 * MAX_READINGS;
/// Braces in one word, at most.
const MAX_BRACES: usize = 32;
/// Length of a reading that was put together, at most.
const MAX_LENGTH: usize = 8192;

/// What variables may hold, whatever the order in which commands run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variables {
    pub(super) values: BTreeMap<String, BTreeSet<String>>,
    /// `$1`, `$@` and the others.
    pub(super) positional: BTreeSet<String>,
    /// Functions that the text defines.
    pub(super) functions: BTreeSet<String>,
    /// Characters that separate words besides white space.
    pub(super) separators: BTreeSet<char>,
    /// A name that is not known was assigned.
    pub(super) clouded: bool,
    /// The directory was changed to one whose name may have any character.
    pub(super) lost: bool,
    /// The directory was changed.
    pub(super) moved: bool,
    /// The directory was changed, perhaps to one where files are what commands read.
    pub(super) among_devices: bool,
}

impl Variables {
    pub(super) fn assign(&mut self, name: &str, value: String) {
        if name == "IFS" {
            self.separators.extend(value.chars().filter(|c| *c > WILD));
        }
        let values = self.values.entry(name.to_owned()).or_default();
        if values.len() >= MAX_READINGS {
            values.insert(SPLIT.to_string());
        } else {
            values.insert(value);
        }
    }

    /// What was not the same before may be anything.
    pub(super) fn widen(&mut self, before: &Variables) {
        let names: Vec<String> = self.values.keys().cloned().collect();
        for name in names {
            if self.values.get(&name) != before.values.get(&name) {
                self.cloud(&name);
            }
        }
        if self.positional != before.positional {
            self.positional.insert(SPLIT.to_string());
        }
    }

    pub(super) fn cloud(&mut self, name: &str) {
        self.values
            .entry(name.to_owned())
            .or_default()
            .insert(SPLIT.to_string());
    }
}

/// Variables whose values nobody chooses, and that are one word.
pub(super) const PLAIN: &[&str] = &[
    "HOME", "PWD", "OLDPWD", "USER", "LOGNAME", "HOSTNAME", "TMPDIR", "UID", "EUID", "PPID",
    "RANDOM", "SECONDS", "LINENO", "BASHPID", "$", "!", "#", "?", "-",
];

/// Variables that hold a piece of what this very text says.
const ECHOES: &[&str] = &[
    "_",
    "BASH_EXECUTION_STRING",
    "BASH_COMMAND",
    "BASH_ARGV",
    "REPLY",
    "OPTARG",
    "SSH_ORIGINAL_COMMAND",
    "DIRSTACK",
    "MAPFILE",
    "COPROC",
    "BASH_REMATCH",
    "BASH_SOURCE",
    "BASH_ARGV0",
    "BASH_ALIASES",
    "BASH_CMDS",
    "FUNCNAME",
    "READLINE_LINE",
    "COMP_LINE",
    "COMP_WORDS",
];

impl Shell<'_> {
    /// The readings of a word, each as the words that come out of it.
    pub(super) fn fields(&mut self, word: &Word) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        let mut budget = MAX_WORDS;
        let words = braces(&word.parts, 0, &mut budget);
        self.spend((MAX_WORDS - budget) * (1 + word.parts.len() / 16));
        let unknown = || vec![vec![Part::Text(SPLIT.to_string())]];
        for parts in words.unwrap_or_else(unknown) {
            let readings = self.readings(&parts);
            all.push(readings);
        }
        // Alternatives in braces are words of the same command.
        let mut fields: Vec<Vec<String>> = vec![Vec::new()];
        for readings in all {
            let mut longer = Vec::new();
            for before in &fields {
                for reading in &readings {
                    if longer.len() >= MAX_READINGS {
                        self.hide("a word in it may stand for too many others");
                        break;
                    }
                    let mut own: Vec<String> = before.clone();
                    let mut words = reading.split(FIELD).filter(|w| !w.is_empty()).peekable();
                    if words.peek().is_none() && word.quoted {
                        own.push(String::new());
                    }
                    own.extend(words.map(str::to_owned));
                    longer.push(own);
                }
            }
            fields = longer;
        }
        fields
    }

    /// The readings of a word that stays one: a value, a file, a text.
    pub(super) fn text_of(&mut self, word: &Word) -> Vec<String> {
        let readings = self.readings(&word.parts);
        readings
            .into_iter()
            .map(|text| text.replace(FIELD, " "))
            .collect()
    }

    pub(super) fn readings(&mut self, parts: &[Part]) -> Vec<String> {
        let mut readings = vec![String::new()];
        for part in parts {
            let values = self.part(part);
            self.spend(1 + values.len() / 4 + size(&values) / 64);
            if self.is_spent() {
                return vec![SPLIT.to_string()];
            }
            if let [value] = values.as_slice() {
                for reading in &mut readings {
                    reading.push_str(value);
                }
            } else {
                let mut product = BTreeSet::new();
                for reading in &readings {
                    for value in &values {
                        product.insert(format!("{reading}{value}"));
                        self.spend(1);
                    }
                    if product.len() > MAX_READINGS {
                        break;
                    }
                }
                readings = if product.len() > MAX_READINGS {
                    vec![SPLIT.to_string()]
                } else {
                    product.into_iter().collect()
                };
            }
            let literal = matches!(part, Part::Text(_));
            if !literal && readings.iter().any(|reading| reading.len() > MAX_LENGTH) {
                readings = vec![SPLIT.to_string()];
            }
        }
        readings
    }

    fn part(&mut self, part: &Part) -> Vec<String> {
        match part {
            Part::Text(text) => vec![text.clone()],
            Part::Glob | Part::Set(_) | Part::Index(_) => vec![WILD.to_string()],
            Part::Sum(_) => vec![String::new()],
            Part::Range => vec![ANY.to_string()],
            Part::Arithmetic(parts) => {
                self.computes_parts(parts);
                vec![HOST.to_string()]
            }
            Part::BraceOpen => vec!["{".to_owned()],
            Part::BraceComma => vec![",".to_owned()],
            Part::BraceClose => vec!["}".to_owned()],
            Part::Tilde => vec!["~".to_owned()],
            Part::Process(script) => {
                let output = self.output(script);
                self.streams.push(output);
                vec![format!("{STREAM}{}", self.streams.len() - 1)]
            }
            Part::Command { script, quoted } => match self.output(script) {
                Some(texts) => {
                    let trimmed = texts
                        .iter()
                        .map(|text| text.trim_end_matches('\n').to_owned());
                    self.split(trimmed.collect(), *quoted)
                }
                None => vec![SPLIT.to_string()],
            },
            Part::Parameter {
                name,
                index,
                operation,
                quoted,
            } => {
                self.computes_place(index);
                let values = self.parameter(name, index, operation);
                self.split(values, *quoted)
            }
        }
    }

    /// Words come apart where a value is not quoted.
    fn split(&self, values: Vec<String>, quoted: bool) -> Vec<String> {
        if quoted {
            return values;
        }
        let apart = |text: &str, more: &BTreeSet<char>| {
            text.replace(
                |c: char| c.is_ascii_whitespace() || more.contains(&c),
                &FIELD.to_string(),
            )
        };
        let mut split = BTreeSet::new();
        for value in &values {
            split.insert(apart(value, &BTreeSet::new()));
            split.insert(apart(value, &self.variables.separators));
        }
        split.into_iter().collect()
    }

    fn parameter(&mut self, name: &str, index: &[Part], operation: &Operation) -> Vec<String> {
        let mut values = self.value(name);
        match operation {
            Operation::Value => {}
            Operation::Length => return vec![HOST.to_string()],
            Operation::Default { word, assigns } => {
                let others = self.readings(&word.parts);
                if *assigns {
                    for other in &others {
                        self.variables.assign(name, other.clone());
                    }
                }
                values.extend(others);
            }
            Operation::Alternative(word) => {
                values = self.readings(&word.parts);
                values.push(String::new());
            }
            Operation::Other(word) | Operation::Indirect(word) => {
                // The places of an array are not what another variable names.
                if matches!(operation, Operation::Indirect(_)) && !is_all(index) {
                    self.computes(name);
                }
                if matches!(word.parts.first(), Some(Part::Text(text)) if text.starts_with("@P")) {
                    self.hide("a value in it is expanded once more");
                }
                if matches!(word.parts.first(), Some(Part::Text(text)) if text.starts_with(':')) {
                    self.computes_parts(&word.parts);
                }
                let own = self.variables.values.contains_key(name) || self.is_echo(name);
                let tame = !own && !self.is_sent(name) && !name.is_empty();
                let wild = values.iter().any(|value| value.contains(WILD));
                values = vec![if tame && !wild { ANY } else { SPLIT }.to_string()];
            }
        }
        values
    }

    pub(super) fn value(&self, name: &str) -> Vec<String> {
        let unknown = |c: char| vec![c.to_string()];
        if matches!(name, "0" | "SHELL" | "BASH") {
            let mut values = vec!["/bin/sh".to_owned()];
            values.extend(
                self.variables
                    .values
                    .get(name)
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
            return values;
        }
        if matches!(name, "@" | "*") || name.bytes().all(|b| b.is_ascii_digit()) {
            let mut values: Vec<String> = self.variables.positional.iter().cloned().collect();
            values.push(String::new());
            return values;
        }
        let mut values: Vec<String> = match self.variables.values.get(name) {
            Some(values) => values.iter().cloned().collect(),
            None if matches!(name, "PWD" | "OLDPWD") && self.variables.lost => {
                return unknown(WILD);
            }
            None if PLAIN.contains(&name) && self.is_sent(name) => Vec::new(),
            None if PLAIN.contains(&name) => {
                return unknown(if self.variables.clouded { SPLIT } else { HOST });
            }
            None if name == "IFS" => return vec![" ".to_owned()],
            None if self.is_echo(name) || self.variables.clouded => return unknown(SPLIT),
            None => Vec::new(),
        };
        if self.is_sent(name) {
            values.push(SENT.to_string());
        } else if values.is_empty() {
            return unknown(ANY);
        }
        if self.variables.clouded {
            values.push(SPLIT.to_string());
        }
        values
    }

    fn is_echo(&self, name: &str) -> bool {
        ECHOES.contains(&name)
    }

    /// Whether the client may have set it.
    fn is_sent(&self, name: &str) -> bool {
        // The terminal's name comes with the request for one.
        matches!(name, "TERM" | "DISPLAY")
            || name.starts_with("LC_")
            || name.starts_with("LANG")
            || self.sent.iter().any(|(sent, _)| *sent == name)
    }
}

/// The words that braces make of one; the word itself if it has none that do. None where they are too many.
fn braces(parts: &[Part], depth: usize, budget: &mut usize) -> Option<Vec<Vec<Part>>> {
    *budget = budget.checked_sub(1)?;
    let whole = || vec![parts.to_vec()];
    let opens = parts.iter().filter(|part| matches!(part, Part::BraceOpen));
    let (count, length) = (opens.take(MAX_BRACES + 1).count(), parts.len());
    if count == 0 {
        return Some(whole());
    }
    if count > MAX_BRACES || depth > MAX_BRACES || length > 4096 {
        return None;
    }
    for (open, part) in parts.iter().enumerate() {
        if !matches!(part, Part::BraceOpen) {
            continue;
        }
        let Some((close, commas)) = closing(parts, open) else {
            continue;
        };
        let slice = |from: usize, to: usize| parts.get(from..to).unwrap_or_default();
        let (before, after) = (slice(0, open), slice(close + 1, parts.len()));
        let mut middles: Vec<Vec<Part>> = Vec::new();
        if commas.is_empty() {
            let dots = slice(open + 1, close);
            if !matches!(dots, [Part::Text(text)] if text.contains("..")) {
                continue;
            }
            middles.push(vec![Part::Range]);
        } else {
            let mut from = open + 1;
            for comma in commas.into_iter().chain([close]) {
                middles.push(slice(from, comma).to_vec());
                from = comma + 1;
            }
        }
        let mut words = Vec::new();
        for middle in middles {
            let mut word = before.to_vec();
            word.extend(middle);
            word.extend(after.iter().cloned());
            words.extend(braces(&word, depth + 1, budget)?);
            if words.len() > MAX_READINGS {
                return None;
            }
        }
        return Some(words);
    }
    Some(whole())
}

fn closing(parts: &[Part], open: usize) -> Option<(usize, Vec<usize>)> {
    let (mut depth, mut commas) = (0_usize, Vec::new());
    for (at, part) in parts.iter().enumerate().skip(open) {
        match part {
            Part::BraceOpen => depth += 1,
            Part::BraceClose => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some((at, commas));
                }
            }
            Part::BraceComma if depth == 1 => commas.push(at),
            _ => {}
        }
    }
    None
}

/// Whether it stands for all places of an array.
pub(super) fn is_all(index: &[Part]) -> bool {
    matches!(index, [Part::Text(all)] if matches!(all.as_str(), "@" | "*"))
}

/// Bytes of all of them.
pub(super) fn size(texts: &[String]) -> usize {
    texts.iter().map(String::len).sum()
}

/// Whether a text has nothing that is known.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars()
        .all(|c| UNKNOWN.contains(&c) || matches!(c, '/' | '.'))
        && text.contains(UNKNOWN)
}

/// Whether a pattern may stand for the name.
pub(super) fn may_be(pattern: &str, name: &str) -> bool {
    if !pattern.contains(UNKNOWN) {
        return pattern == name;
    }
    let mut pieces = pattern.split(UNKNOWN);
    let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut last = "";
    for piece in pieces {
        let Some(at) = rest.find(last) else {
            return false;
        };
        rest = rest.get(at + last.len()..).unwrap_or_default();
        last = piece;
    }
    rest.ends_with(last)
}

/// A pattern as rules compare it.
pub(super) fn shown(text: &str) -> String {
    told(&text.replace(HOST, ANY.encode_utf8(&mut [0; 4])))
}

/// The same, with values of the host's own told apart.
pub(super) fn told(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let c = if matches!(c, ANY | WILD | SPLIT | SENT | STREAM) {
            '*'
        } else {
            c
        };
        if c == '*' && shown.ends_with('*') {
            continue;
        }
        shown.push(if c == FIELD { ' ' } else { c });
    }
    shown
}
