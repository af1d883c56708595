//! What programs print, as far as it can be told.

use super::Input;
use super::word::{ANY, HOST, SPLIT, WILD};

/// What a program prints that does nothing but print, and what is known of the output of some others.
pub(super) fn prints(argv: &[String], input: &Input) -> Option<Vec<String>> {
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
        // A link may say anything.
        "readlink" | "realpath" => one(WILD.to_string()),
        "which" | "whereis" => args
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
        "hostname" | "whoami" | "id" | "uname" | "nproc" | "arch" | "tty" => one(HOST.to_string()),
        "date" if args.iter().all(|arg| says_nothing(arg)) => one(HOST.to_string()),
        "wc" if args.iter().all(|arg| arg.starts_with('-')) => one(HOST.to_string()),
        "tr" if args.first().is_some_and(|arg| arg == "-dc" || arg == "-cd")
            && args
                .get(1)
                .is_some_and(|kept| matches!(kept.as_str(), "0-9" | "[:digit:]")) =>
        {
            one(HOST.to_string())
        }
        "pgrep" | "grep" if args.iter().any(|arg| arg == "-c" || arg == "--count") => {
            one(HOST.to_string())
        }
        "stat" => {
            let counts = |arg: &String| {
                let format = arg.strip_prefix("--format=").unwrap_or(arg);
                matches!(
                    format,
                    "%s" | "%X" | "%Y" | "%Z" | "%W" | "%a" | "%h" | "%u" | "%g" | "%i" | "%b"
                )
            };
            let formats = args.iter().filter(|arg| arg.contains('%'));
            let known = formats.clone().count() > 0 && formats.clone().all(counts);
            one(if known { HOST } else { WILD }.to_string())
        }
        "mktemp" if args.iter().all(|arg| arg.starts_with('-')) => one(HOST.to_string()),
        "dirname" | "basename" | "date" | "mktemp" | "getconf" | "tput" | "wc" => {
            let wild = args.iter().any(|arg| !arg.chars().all(is_tame));
            one(if wild { WILD } else { ANY }.to_string())
        }
        "git"
            if args
                .first()
                .is_some_and(|a| a == "rev-parse" || a == "describe") =>
        {
            one(WILD.to_string())
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
                Some('c') => {
                    used = true;
                    text.extend(args.next().and_then(|arg| arg.chars().next()));
                }
                Some('d' | 'i' | 'o' | 'u' | 'x' | 'X' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G') => {
                    used = true;
                    args.next();
                    text.push(HOST);
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
            Some('a') => out.push(SPLIT),
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
    let c = char::from_u32(value).unwrap_or('?');
    // These mean something here.
    if c <= WILD { SPLIT } else { c }
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
            c if c.is_alphabetic() || c <= WILD => return false,
            _ => {}
        }
    }
    true
}

/// Whether a character means nothing to a shell that reads it as code.
fn is_tame(c: char) -> bool {
    c.is_alphanumeric() || "_+-./,:@%= ".contains(c) || matches!(c, ANY | HOST)
}

/// Whether a text is nothing but a number.
pub(super) fn is_number(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_digit() || c.is_ascii_whitespace())
}
