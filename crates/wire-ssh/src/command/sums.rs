//! Text that bash computes with. A name in it stands for a value that is computed in turn, and what is in the
//! brackets behind a name is expanded like any word: `a[$(id)]`, wherever it comes from, runs `id`.

use std::collections::BTreeSet;

use super::lex::Part;
use super::prints::is_number;
use super::word::{FIELD, SENT, SPLIT, WILD, is_all};
use super::{Input, Shell};

/// Programs that make other text of what they read.
const TRANSFORMERS: &[&str] = &[
    "base32", "base64", "basenc", "bc", "bunzip2", "bzcat", "column", "cpp", "cut", "dc", "dd",
    "envsubst", "expand", "fmt", "fold", "gpg", "gunzip", "gzip", "head", "hexdump", "iconv", "jq",
    "m4", "nl", "od", "openssl", "paste", "pr", "qprint", "recode", "rev", "sed", "shuf", "sort",
    "strings", "tac", "tail", "tr", "unexpand", "uniq", "unxz", "unzstd", "uudecode", "xxd", "xz",
    "xzcat", "zcat", "zstd",
];

/// What a text of code says that puts other text together.
const ASSEMBLES: &[&str] = &[
    "$(",
    "`",
    "chr",
    "decode",
    "unhex",
    "fromhex",
    "\\x",
    "\\u",
    "\\0",
    "\\1",
    "join",
    "::-1",
    "replace",
    "translate",
    "rot",
    "64",
    "%c",
    "pack",
    "reverse",
];

impl Shell<'_> {
    /// A shell computes with a text.
    pub(super) fn computes(&mut self, text: &str) {
        let (mut known, mut rest) = (BTreeSet::new(), vec![text.to_owned()]);
        while let Some(text) = rest.pop() {
            self.spend(1 + text.len() / 16);
            if self.is_spent() {
                return;
            }
            self.reads_commands |= text.contains(SENT);
            self.computes_unknown |= text.contains(SPLIT);
            // Of a list, its elements count.
            if text.contains(WILD) && !text.contains(FIELD) {
                self.hide("it computes with the name of a file");
            }
            if text.contains('`') || text.contains("$(") {
                self.hide("a text in it computes the place in an array, which may run commands");
            }
            for name in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
                let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
                if name.starts_with(begins) && known.insert(name.to_owned()) {
                    rest.extend(self.value(name));
                }
            }
        }
    }

    /// The same, for the parts of an expression.
    pub(super) fn computes_parts(&mut self, parts: &[Part]) {
        let whole = |part: &Part| matches!(part, Part::Text(text) if is_number(text));
        if !parts.iter().all(whole) {
            for text in self.readings(parts) {
                self.computes(&text);
            }
        }
    }

    /// The same, for the place in an array. All of its places need no sum.
    pub(super) fn computes_place(&mut self, index: &[Part]) {
        if !is_all(index) {
            self.computes_parts(index);
        }
    }

    /// The same, for what may be a sum and was read as commands.
    pub(super) fn computes_raw(&mut self, text: &str) {
        let (mut quoted, mut plain, mut last) = (false, String::new(), ' ');
        for c in text.chars() {
            quoted ^= c == '\'';
            if (quoted || last == '\\') && matches!(c, '$' | '`') {
                return self
                    .hide("a text in it computes the place in an array, which may run commands");
            }
            plain.push(if matches!(c, '$' | '`') { ' ' } else { c });
            last = c;
        }
        self.computes_unknown |= text.contains("$(") || text.contains('`');
        self.computes(&plain);
    }

    /// A name that a command is given for a variable: the place in an array that it may say is computed.
    pub(super) fn computes_name(&mut self, name: &str) {
        if name.contains(['[', SENT, SPLIT]) {
            self.computes(name);
        }
    }

    /// What is a sum to one shell is a command in a command to another.
    pub(super) fn computes_or_runs(&mut self, parts: &[Part]) {
        let mut joins = false;
        for (at, part) in parts.iter().enumerate() {
            let Part::Text(text) = part else { continue };
            self.mentions_words(text);
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            joins |= at > 0 && text.starts_with(is_word);
            joins |= at + 1 < parts.len() && text.ends_with(is_word);
            joins |= text.contains('\\');
        }
        if joins {
            self.hide("what shells read in different ways");
        }
    }

    /// Notes whether a command may make text of text that it is given.
    pub(super) fn makes(&mut self, base: &str, args: &[String], input: &Input) {
        let literal = |text: &String| text.chars().any(char::is_alphabetic);
        let fed = matches!(input, Input::Known(texts) if texts.iter().any(literal));
        let is_awk = base.ends_with("awk");
        self.assembles |= fed && (TRANSFORMERS.contains(&base) || is_awk);
        if is_awk {
            let fixed = |text: &String| {
                let strings = text.split('"').skip(1).step_by(2);
                strings
                    .flat_map(str::chars)
                    .all(|c| "%0123456789.-dsfiux\\nt ,:".contains(c))
            };
            let code = args.iter().find(|arg| !arg.starts_with('-'));
            self.assembles |= !code.is_none_or(fixed);
        }
        let is_code = |name: &&str| base.starts_with(*name);
        if [
            "python", "perl", "ruby", "node", "php", "lua", "jq", "tclsh",
        ]
        .iter()
        .any(is_code)
        {
            let says = |arg: &String| ASSEMBLES.iter().any(|word| arg.contains(word));
            self.assembles |= fed || args.iter().any(says);
        }
    }

    /// What is not known was computed with, or read as commands by a program: where this very text may have
    /// made it, anything may run.
    pub(super) fn settle_unknown(&mut self) {
        if self.computes_unknown && self.assembles {
            self.hide("it computes with text that it makes");
        }
        if self.reads_unknown && (self.assembles || self.fetches) {
            self.hide("a program runs commands that it reads, and they are not known");
        }
    }
}
