//! What a command reads from the client and takes for code, besides what shells read.

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
}
