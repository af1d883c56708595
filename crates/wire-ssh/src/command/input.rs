//! What a command reads from the client and takes for code, besides what shells read.

use super::lex::Part;
use super::word::SENT;
use super::{Input, Shell};

/// Whether a path is standard input under one of its names.
pub(super) fn is_stdin(path: &str) -> bool {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    path.starts_with('/')
        && matches!(
            parts.as_slice(),
            ["dev", "stdin"]
                | ["dev", "fd", "0"]
                | ["proc", _, "fd", "0"]
                | ["proc", _, "task", _, "fd", "0"]
        )
}

impl Shell<'_> {
    /// A program that takes what it reads for code, and may start others.
    pub(super) fn reads_code(&mut self, input: &Input) {
        self.reads_commands |= matches!(input, Input::Client);
    }

    /// A shell computes with a text: what the client has sent in it may name a place in an array, and that runs
    /// commands.
    pub(super) fn computes(&mut self, text: &str) {
        self.reads_commands |= text.contains(SENT);
        for name in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            if self.reads_commands || self.is_spent() {
                return;
            }
            let values = self.variables.values.get(name);
            let size: usize = values.into_iter().flatten().map(String::len).sum();
            let mut values = values.into_iter().flatten();
            let sent = values.any(|value| value.contains(SENT));
            self.reads_commands |= sent;
            self.spend(1 + size / 64);
        }
    }

    /// The same, for the parts of an expression.
    pub(super) fn computes_parts(&mut self, parts: &[Part]) {
        for part in parts {
            match part {
                Part::Text(text) => self.computes(text),
                Part::Parameter { name, .. } => self.computes(name),
                _ => {}
            }
        }
    }
}
