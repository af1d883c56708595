//! Code of other languages that is given in place: whether it can start a program.
//!
//! The code is not understood. It counts as able to start a program if it says a word that does so in
//! its language, or one that reaches such words by name (`getattr`, `eval`, `ctypes` …).

use super::reaches::reaches;

/// Patterns in a program of awk's, at most.
const MAX_PATTERNS: usize = 512;
/// Length of what is looked at before a slash of awk's.
const MAX_WORD: usize = 64;
/// Words by which code starts programs, or gets at what does; lower case.
const SPAWNS: &[&str] = &[
    "system",
    "popen",
    "spawn",
    "subprocess",
    "os.execute",
    "__import__",
    "importlib",
    "getattr",
    "eval",
    "compile(",
    "ctypes",
    "pty.",
    "import pty",
    "globals(",
    "locals(",
    "builtins",
    "__dict__",
    "__class__",
    "__getattribute__",
    "vars(",
    "runpy",
    "posix",
    "fork",
    "pexpect",
    "pickle",
    "marshal",
    "cffi",
    "fiddle",
    "child_process",
    "process.binding",
    "open3",
    "syscall",
    "dlopen",
    "loadlib",
    "code.interact",
    "pdb",
    "breakpoint",
    "webbrowser",
    "antigravity",
    "do shell",
];

/// The same for languages whose names begin so.
const SPAWNS_IN: &[(&str, &[&str])] = &[
    ("perl", &["`", "qx", "<<>>"]),
    (
        "ruby",
        &[
            "`",
            "%x",
            "kernel",
            ".send",
            "__send__",
            "public_send",
            "constantize",
            "method(",
        ],
    ),
    (
        "php",
        &[
            "`",
            "passthru",
            "proc_",
            "assert(",
            "call_user_func",
            "create_function",
            "preg_replace",
            "include",
            "require",
        ],
    ),
    ("node", &["function(", "constructor", "import("]),
    ("tcl", &["open", "uplevel", "subst"]),
    ("expect", &["send", "open", "uplevel", "subst"]),
    ("gdb", &["shell", "!", "call", "print", "run", "pipe", "|"]),
];

/// Whether code of a language other than the shell's can start a program. The language is the name
/// of its program.
pub(super) fn spawns(language: &str, written: &str) -> bool {
    let code = written.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| code.contains(word));
    let own = SPAWNS_IN
        .iter()
        .filter(|(prefix, _)| language.starts_with(prefix));
    let runs = code.match_indices("exec").any(|(at, word)| {
        let after = code.get(at + word.len()..).unwrap_or_default();
        !after.starts_with("ut")
    });
    says(SPAWNS)
        || runs
        || own.into_iter().any(|(_, words)| says(words))
        || language.starts_with("perl") && opens_what_is_not_known(&code)
        || opens_pipe(&code)
        || requires_what_is_not_known(&code)
        || reaches(language, written)
}

/// `require(…)` of something that is not one literal.
fn requires_what_is_not_known(code: &str) -> bool {
    code.match_indices("require(").any(|(at, word)| {
        let inside = code.get(at + word.len()..).unwrap_or_default();
        let inside = inside.split(')').next().unwrap_or_default().trim();
        let literal = inside.len() >= 2
            && inside.starts_with(['\'', '"'])
            && inside
                .chars()
                .skip(1)
                .filter(|c| matches!(c, '\'' | '"'))
                .count()
                == 1;
        !literal
    })
}

/// `open(F, "program |")`, and its relatives.
fn opens_pipe(code: &str) -> bool {
    code.contains("open")
        && (code.contains("|\"")
            || code.contains("|'")
            || code.contains("\"|")
            || code.contains("'|")
            || code.contains("-|")
            || code.contains("|-"))
}

/// `open F, …` of perl with a name that is put together: it may end in a pipe.
fn opens_what_is_not_known(code: &str) -> bool {
    code.match_indices("open").any(|(at, word)| {
        let rest = code.get(at + word.len()..).unwrap_or_default();
        let named =
            rest.starts_with("dir") || rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let mode = rest.split(';').next().unwrap_or_default().split(',').nth(1);
        let plain = mode.is_some_and(|mode| {
            let mode = mode.trim().trim_matches(|c| matches!(c, '\'' | '"'));
            ["<", ">", ">>", "+<"].contains(&mode)
                || mode.starts_with("<:")
                || mode.starts_with(">:")
        });
        !named && !plain
    })
}

/// Whether a program of awk can start another: `system()`, or a pipe outside of strings and patterns. Where a
/// slash may divide or begin a pattern, it may be either.
pub(super) fn awk_spawns(program: &str) -> bool {
    if program.contains("system") || program.contains("@") {
        return true;
    }
    let text: Vec<char> = program.chars().collect();
    let delimited = |mut at: usize, end: char| {
        while let Some(c) = text.get(at) {
            at += 1;
            match *c {
                '\\' => at += 1,
                // Neither goes on in another line.
                '\n' => break,
                c if c == end => break,
                _ => {}
            }
        }
        at
    };
    let mut seen = vec![false; text.len()];
    let mut starts = vec![0];
    let mut patterns = 0;
    while let Some(mut at) = starts.pop() {
        while let Some(c) = text.get(at).copied() {
            let before = seen.get_mut(at);
            if before.is_none_or(|seen| std::mem::replace(seen, true)) {
                break;
            }
            at += 1;
            match c {
                '"' => at = delimited(at, '"'),
                '/' => {
                    let (divides, begins) = slash(text.get(..at - 1).unwrap_or_default());
                    if begins {
                        patterns += 1;
                        if patterns > MAX_PATTERNS {
                            return true;
                        }
                        // In brackets some take a slash for itself.
                        starts.extend([delimited(at, '/'), bracketed(&text, at)]);
                    }
                    if !divides {
                        break;
                    }
                }
                '#' => {
                    let rest = text.get(at..).unwrap_or_default();
                    at += rest.iter().take_while(|c| **c != '\n').count();
                }
                '|' if text.get(at) == Some(&'|') => at += 1,
                '|' => return true,
                _ => {}
            }
        }
    }
    false
}

/// Whether a slash of awk's behind this may divide, and whether it may begin a pattern.
fn slash(before: &[char]) -> (bool, bool) {
    // A word of awk's own is shorter.
    let last = before.len().saturating_sub(MAX_WORD);
    let before: String = before.iter().skip(last).collect();
    let before = before.trim_end();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word = before.trim_end_matches(is_word);
    let word = before.get(word.len()..).unwrap_or_default();
    match before.chars().next_back() {
        Some(c) if is_word(c) => {
            let keyword = [
                "print",
                "printf",
                "return",
                "in",
                "getline",
                "do",
                "else",
                "exit",
                "delete",
                "case",
                "switch",
                "BEGIN",
                "END",
                "BEGINFILE",
                "ENDFILE",
            ];
            (true, keyword.contains(&word))
        }
        Some(']' | '"') => (true, false),
        Some(')' | '/' | '+' | '-' | '\\') => (true, true),
        Some(_) => (false, true),
        // Behind that many blanks it may be either.
        None => (last > 0, true),
    }
}

/// The end of a pattern of awk in whose brackets a slash means itself.
fn bracketed(text: &[char], mut at: usize) -> usize {
    let mut inside = false;
    while let Some(c) = text.get(at) {
        at += 1;
        match *c {
            '\\' => at += 1,
            '[' => inside = true,
            ']' => inside = false,
            '/' | '\n' if !inside => break,
            _ => {}
        }
    }
    at
}

/// The files that a program of awk writes, as far as it names them.
pub(super) fn awk_writes(program: &str) -> Vec<String> {
    let behind = program.match_indices('>').filter_map(|(at, _)| {
        let rest = program.get(at + 1..)?.trim_start_matches('>').trim_start();
        Some(rest.strip_prefix('"')?.split_once('"')?.0.to_owned())
    });
    behind.collect()
}

/// The commands that a script of sed runs, `e COMMAND`, and the files that it writes. `Err` where it runs what
/// it reads.
pub(super) fn sed_runs(script: &str) -> Result<(Vec<String>, Vec<String>), ()> {
    let (mut runs, mut writes) = (Vec::new(), Vec::new());
    let text: Vec<char> = script.chars().collect();
    let mut at = 0;
    let peek = |at: usize| text.get(at).copied();
    // The end of a part that is delimited, behind its delimiter.
    let part = |mut at: usize, end: char| {
        while let Some(c) = peek(at) {
            at += 1;
            if c == '\\' {
                at += 1;
            } else if c == end {
                break;
            }
        }
        at
    };
    let line = |mut at: usize| {
        while peek(at).is_some_and(|c| c != '\n') {
            at += 1;
        }
        at
    };
    while let Some(c) = peek(at) {
        at += 1;
        match c {
            '/' => {
                at = part(at, '/');
                while matches!(peek(at), Some('I' | 'M')) {
                    at += 1;
                }
            }
            '\\' => {
                let end = peek(at).unwrap_or('/');
                at = part(at + 1, end);
            }
            's' | 'y' => {
                let Some(end) = peek(at) else { break };
                at = part(part(at + 1, end), end);
                while let Some(flag) =
                    peek(at).filter(|flag| c == 's' && !matches!(flag, ';' | '\n' | '}' | ' '))
                {
                    at += 1;
                    match flag {
                        'e' => return Err(()),
                        'w' => {
                            let end = line(at);
                            writes.extend(text.get(at..end).map(|file| file.iter().collect()));
                            at = end;
                        }
                        _ => {}
                    }
                }
            }
            'e' => {
                let end = line(at);
                let command: String = text.get(at..end).unwrap_or_default().iter().collect();
                if command.trim().is_empty() || command.trim_start().starts_with(';') {
                    return Err(());
                }
                runs.push(command);
                at = end;
            }
            'w' | 'W' => {
                let end = line(at);
                writes.extend(text.get(at..end).map(|file| file.iter().collect()));
                at = end;
            }
            'a' | 'i' | 'c' => {
                // A text goes on behind a backslash at the end of a line.
                while let Some(c) = peek(at).filter(|c| *c != '\n') {
                    at += if c == '\\' { 2 } else { 1 };
                }
            }
            'r' | 'R' | '#' => {
                at = line(at);
            }
            ':' | 'b' | 't' | 'T' => {
                while peek(at).is_some_and(|c| !matches!(c, ';' | '\n' | '}')) {
                    at += 1;
                }
            }
            _ => {}
        }
    }
    let writes = writes.into_iter();
    Ok((
        runs,
        writes.map(|file: String| file.trim().to_owned()).collect(),
    ))
}
