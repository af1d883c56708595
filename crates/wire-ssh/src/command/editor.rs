//! What editors are told to do as they start.

/// Commands of vi and vim that change a text, look at it, or end; the shortest form, and the rest of it.
const PLAIN: &[(&str, &str)] = &[
    ("", ""),
    ("q", "uit"),
    ("qa", "ll"),
    ("quita", "ll"),
    ("wq", ""),
    ("wqa", "ll"),
    ("x", "it"),
    ("xa", "ll"),
    ("exi", "t"),
    ("cq", "uit"),
    ("w", "rite"),
    ("wa", "ll"),
    ("wn", "ext"),
    ("up", "date"),
    ("e", "dit"),
    ("n", "ext"),
    ("d", "elete"),
    ("m", "ove"),
    ("t", ""),
    ("co", "py"),
    ("j", "oin"),
    ("y", "ank"),
    ("p", "rint"),
    ("P", "rint"),
    ("nu", "mber"),
    ("l", "ist"),
    ("k", ""),
    ("ma", "rk"),
    ("sor", "t"),
    ("u", "ndo"),
    ("red", "o"),
    ("noh", "lsearch"),
    ("sy", "ntax"),
    ("ret", "ab"),
    ("a", "ppend"),
    ("i", "nsert"),
    ("c", "hange"),
    ("r", "ead"),
    ("f", "ile"),
    ("ve", "rsion"),
    ("set", ""),
    ("se", "t"),
    ("setl", "ocal"),
    ("setf", "iletype"),
    ("filet", "ype"),
    ("colo", "rscheme"),
    ("ec", "ho"),
    ("vs", "plit"),
    ("sp", "lit"),
    ("tabe", "dit"),
    ("winc", "md"),
    ("star", "tinsert"),
];
/// Settings whose values are programs, code, or files with code in them.
const SETTINGS: &[&str] = &[
    "sh",
    "shell",
    "shcf",
    "shellcmdflag",
    "sp",
    "shellpipe",
    "srr",
    "shellredir",
    "shq",
    "shellquote",
    "sxq",
    "shellxquote",
    "mp",
    "gp",
    "fp",
    "ep",
    "kp",
    "ccv",
    "charconvert",
    "dex",
    "pex",
    "inde",
    "fde",
    "fex",
    "inex",
    "stl",
    "statusline",
    "tal",
    "tabline",
    "fdt",
    "foldtext",
    "tfu",
    "ofu",
    "cfu",
    "ex",
    "exrc",
    "rtp",
    "runtimepath",
    "pp",
    "packpath",
    "lpl",
    "loadplugins",
    "ml",
    "modeline",
    "mle",
];
/// Words of Lisp that reach others by their names, or start programs.
const LISP: &[&str] = &[
    "intern", "funcall", "apply", "eval", "read", "load", "process", "command", "shell", "symbol",
    "require", "compile", "term", "make-",
];

/// What an editor's words tell it to do: `+COMMAND`, and what follows `-c` and its like.
pub(super) fn given(args: &[String]) -> Vec<String> {
    let mut texts = Vec::new();
    for (at, arg) in args.iter().enumerate() {
        if arg.starts_with('+') {
            texts.push(arg.clone());
        }
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (arg.as_str(), None),
        };
        let takes = matches!(
            name,
            "-c" | "--cmd" | "-eval" | "--eval" | "-execute" | "--execute" | "-f" | "--funcall"
        );
        if takes && let Some(text) = value.or(args.get(at + 1).map(String::as_str)) {
            texts.push(format!(":{text}"));
        }
    }
    texts
}

/// Whether a text that an editor is given may run a program, other than by an exclamation mark.
pub(super) fn runs(base: &str, text: &str) -> bool {
    let Some(text) = text.strip_prefix([':', '+']) else {
        return false;
    };
    match base {
        "emacs" => {
            let lower = text.to_lowercase();
            LISP.iter().any(|word| lower.contains(word))
        }
        "nano" | "pico" | "joe" => false,
        _ => text.split(['|', '\n']).any(command_runs),
    }
}

/// One command of vi's, perhaps behind lines that it is about.
fn command_runs(command: &str) -> bool {
    let command = command.trim_start_matches([' ', '\t', ':']);
    if command.starts_with(['/', '?']) {
        // Where to begin. What else is asked for stands behind the pattern.
        let end = command.chars().next().unwrap_or('/');
        let behind = command.get(1..).and_then(|rest| rest.split_once(end));
        return behind.is_some_and(|(_, rest)| command_runs(rest));
    }
    let range = |c: char| c.is_ascii_digit() || "%$.,;+-'<>* \t".contains(c);
    let command = command.trim_start_matches(range);
    let letters = command
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .count();
    let (name, rest) = command.split_at(letters);
    // What follows is part of a pattern, or of another command.
    match name {
        _ if rest.contains('`') || rest.contains("\\=") => true,
        "" => rest.starts_with(['@', '*', '&', '/', '?']),
        name if name.starts_with('s') && substitutes(name, rest) => false,
        "g" | "global" | "v" | "vglobal" => each_runs(rest),
        "norm" | "normal" => {
            rest.contains([':', '@', 'K', 'Q', '\\', '!', '"', '=', 'g']) && rest.trim() != "gg=G"
        }
        name if name.starts_with(|c: char| c.is_ascii_uppercase()) => {
            matches!(name, "TOhtml" | "Man" | "Termdebug" | "Next")
        }
        "set" | "se" | "setl" | "setlocal" => rest.split_whitespace().any(sets_program),
        "ec" | "echo" => rest.contains('('),
        name => !PLAIN.iter().any(|(short, more)| {
            let behind = name.strip_prefix(short);
            behind.is_some_and(|behind| more.starts_with(behind))
        }),
    }
}

/// `s/…/…/`, whose delimiter may be another character.
fn substitutes(name: &str, rest: &str) -> bool {
    let full = "substitute".starts_with(name);
    full && rest.starts_with(|c: char| !c.is_alphanumeric() && !matches!(c, '"' | '|'))
}

/// `g/…/command`.
fn each_runs(rest: &str) -> bool {
    let rest = rest.trim_start_matches('!');
    let Some(end) = rest.chars().next() else {
        return false;
    };
    let behind = rest
        .get(end.len_utf8()..)
        .and_then(|rest| rest.split_once(end));
    behind.is_none_or(|(_, command)| command_runs(command))
}

fn sets_program(word: &str) -> bool {
    let name: String = word.chars().take_while(char::is_ascii_alphabetic).collect();
    SETTINGS.contains(&name.as_str())
        || ["prg", "expr", "func"]
            .iter()
            .any(|end| name.ends_with(end))
}
