//! Code of other languages that gets at what starts programs without saying so: by names that it makes, by
//! modules that run what they are given, by letters that mean others.

/// Modules and functions of Python that start programs or run code for others, or find things by name.
const PYTHON: &[&str] = &[
    "operator",
    "attrgetter",
    "methodcaller",
    "inspect",
    "pydoc",
    "help",
    "mailcap",
    "pkgutil",
    "resolve_name",
    "pipes",
    "doctest",
    "logging.config",
    "imaplib",
    "timeit",
    "trace",
    "cProfile",
    "profile",
    "codeop",
    "InteractiveInterpreter",
    "InteractiveConsole",
    "idlelib",
    "tkinter",
    "turtle",
    "ensurepip",
    "venv",
    "virtualenv",
    "distutils",
    "setuptools",
    "pip",
    "lib2to3",
    "multiprocessing",
    "unittest",
    "shelve",
    "ForwardRef",
    "get_type_hints",
    "make_dataclass",
    "CGIHTTPRequestHandler",
    "rlcompleter",
    "zipimport",
    "imp",
    "bdb",
    "modules",
    "gi_frame",
    "cr_frame",
    "f_globals",
    "f_back",
    "f_builtins",
    "copyreg",
    "load_extension",
    "enable_load_extension",
    "get_objects",
    "get_referrers",
    "run_process",
    "getProcessOutput",
    "jinja2",
    "mako",
    "joblib",
    "dill",
    "unsafe_load",
    "plumbum",
    "fabric",
    "invoke",
    "sarge",
    "IPython",
    "cgitb",
    "Formatter",
    "get_field",
    "__builtins__",
    "__loader__",
    "__spec__",
];
/// Names with an underscore in front that code of Python may say.
const PYTHON_OWN: &[&str] = &[
    "_exit",
    "_MEIPASS",
    "__version__",
    "__file__",
    "__name__",
    "__doc__",
    "__path__",
    "__main__",
    "__future__",
    "__all__",
];
/// The same of Perl.
const PERL: &[&str] = &[
    "readpipe",
    "FileHandle",
    "IPC",
    "Pod",
    "CPAN",
    "Module",
    "ExtUtils",
    "App",
    "TAP",
    "Shell",
    "Expect",
    "Proc",
    "Safe",
    "Inline",
    "AutoLoader",
    "SelfLoader",
    "Devel",
    "DB",
    "B",
    "Opcode",
    "Symbol",
];
/// The same of Ruby.
const RUBY: &[&str] = &[
    "IO",
    "ObjectSpace",
    "const_get",
    "binding",
    "TOPLEVEL_BINDING",
    "instance_method",
    "singleton_method",
    "public_method",
    "define_method",
    "to_proc",
    "trap",
    "set_trace_func",
    "DRb",
    "Gem",
    "Bundler",
    "Rake",
    "sh",
    "PTY",
    "Process",
    "ERB",
    "unsafe_load",
    "RubyVM",
    "Binding",
    "UnboundMethod",
    "Object",
    "Class",
];
/// The same of JavaScript.
const NODE: &[&str] = &[
    "globalThis",
    "global",
    "Reflect",
    "arguments",
    "module",
    "Module",
    "mainModule",
    "createRequire",
    "getBuiltinModule",
    "__proto__",
    "getPrototypeOf",
    "getOwnPropertyNames",
    "getOwnPropertyDescriptors",
    "Deno",
    "Bun",
    "with",
];
/// Modules of JavaScript that run programs or code.
const NODE_MODULES: &[&str] = &[
    "vm",
    "module",
    "cluster",
    "worker_threads",
    "inspector",
    "repl",
    "process",
    "wasi",
    "test",
    "shelljs",
    "execa",
    "zx",
    "cross-spawn",
];
/// What code may ask of `process`.
const NODE_PROCESS: &[&str] = &[
    "argv",
    "env",
    "version",
    "versions",
    "exit",
    "exitCode",
    "stdin",
    "stdout",
    "stderr",
    "cwd",
    "platform",
    "arch",
    "pid",
    "ppid",
    "uptime",
    "memoryUsage",
    "hrtime",
    "nextTick",
    "on",
    "once",
    "title",
    "release",
    "getuid",
];
/// Functions of PHP that call what they are given by name, and others that reach further.
const PHP: &[&str] = &[
    "array_filter",
    "array_walk",
    "array_walk_recursive",
    "array_reduce",
    "usort",
    "uasort",
    "uksort",
    "array_udiff",
    "array_uintersect",
    "array_diff_ukey",
    "array_map",
    "register_shutdown_function",
    "register_tick_function",
    "ob_start",
    "iterator_apply",
    "mb_ereg_replace",
    "forward_static_call",
    "reflectionfunction",
    "reflectionmethod",
    "reflectionclass",
    "closure",
    "ffi",
    "dl",
    "mail",
    "mb_send_mail",
    "imap_open",
    "set_error_handler",
    "set_exception_handler",
    "spl_autoload_register",
    "header_register_callback",
    "createfunction",
    "sqlitecreatefunction",
    "unserialize",
    "callbackfilteriterator",
];
/// The same of Lua.
const LUA: &[&str] = &[
    "load",
    "loadstring",
    "dofile",
    "loadfile",
    "debug",
    "package",
    "_G",
    "_ENV",
    "getfenv",
    "setfenv",
    "rawget",
    "ffi",
];
/// Words of further languages.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "R",
        &[
            "get",
            "get0",
            "mget",
            "match.fun",
            "do.call",
            "pipe",
            "getExportedValue",
            "getNamespace",
            "asNamespace",
            "shell",
        ],
    ),
    (
        "julia",
        &["run", "ccall", "include", "getfield", "getproperty"],
    ),
    (
        "groovy",
        &[
            "execute",
            "ProcessBuilder",
            "Runtime",
            "metaClass",
            "invokeMethod",
            "Class",
        ],
    ),
    ("elixir", &["cmd", "apply", "Port", "Code"]),
    ("erl", &["os", "apply", "open_port"]),
    ("guile", &["primitive", "resolve", "module", "load"]),
    (
        "m4",
        &["builtin", "indir", "syscmd", "esyscmd", "format", "include"],
    ),
];

/// Whether code of a language, known by the name of its program, may reach what it does not say.
pub(super) fn reaches(language: &str, code: &str) -> bool {
    let is = |name: &str| language.starts_with(name);
    let words = |list: &[&str]| says(code, list);
    match language {
        _ if is("py") || is("ipython") => {
            words(PYTHON) || hides_letters(code) || owns(code) || is_encoded(code)
        }
        _ if is("perl") => words(PERL) || perl(code),
        _ if is("ruby") => words(RUBY) || code.contains("\"|") || code.contains("'|"),
        _ if is("node") || is("bun") || is("deno") => words(NODE) || javascript(code),
        _ if is("php") => php(code),
        _ if is("lua") => words(LUA) || ["os", "io"].iter().any(|name| !is_dotted(code, name)),
        _ if is("tclsh") || is("wish") || is("expect") => tcl(code),
        _ => {
            let own = OTHERS.iter().filter(|(name, _)| is(name));
            own.into_iter().any(|(_, list)| words(list))
        }
    }
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The words of a text, each with what is before and behind it.
fn cut(code: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = code.get(at..)?;
        let start = at + rest.find(is_word)?;
        let rest = code.get(start..)?;
        let end = start + rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        at = end;
        Some((code.get(..start)?, code.get(start..end)?, code.get(end..)?))
    })
}

/// Whether one of these is a word of the code; some are several with dots between them.
fn says(code: &str, list: &[&str]) -> bool {
    cut(code).any(|(before, word, _)| {
        list.iter().any(|one| match one.rsplit_once('.') {
            None => *one == word,
            Some((first, last)) => {
                last == word
                    && before
                        .strip_suffix('.')
                        .is_some_and(|it| it.ends_with(first))
            }
        })
    })
}

/// Whether a character of Python's names counts as other letters.
fn hides_letters(code: &str) -> bool {
    code.chars().any(|c| {
        matches!(u32::from(c),
            0xaa | 0xba | 0x132..=0x133 | 0x13f..=0x140 | 0x149 | 0x17f | 0x1c4..=0x1cc | 0x1f1..=0x1f3
            | 0x2b0..=0x2e4 | 0x1d2c..=0x1d6a | 0x1d78 | 0x1d9b..=0x1dbf | 0x1e9a..=0x1e9b
            | 0x203f..=0x2040 | 0x2054 | 0x2071 | 0x207f | 0x2090..=0x209c | 0x2100..=0x214f | 0x2160..=0x217f
            | 0x24b6..=0x24e9 | 0x2c7c..=0x2c7d | 0xa69c..=0xa69d | 0xa770 | 0xa7f2..=0xa7f9 | 0xab5c..=0xab5f
            | 0xfb00..=0xfb06 | 0xfe33..=0xfe34 | 0xfe4d..=0xfe4f | 0xff10..=0xff5a
            | 0x10780..=0x107ba | 0x1d400..=0x1d7ff | 0x1f130..=0x1f149)
    })
}

/// Whether code of Python says that it is written in letters of another kind.
fn is_encoded(code: &str) -> bool {
    let first = code.lines().take(2);
    first.into_iter().any(|line| {
        let said = line.split_once("coding").map_or("", |(_, rest)| rest);
        let name = said.strip_prefix([':', '=']).unwrap_or_default().trim();
        let plain = [
            "utf-8",
            "utf8",
            "utf_8",
            "latin",
            "ascii",
            "us-ascii",
            "iso-8859-1",
        ];
        let lower = name.to_lowercase();
        line.trim_start().starts_with('#')
            && !name.is_empty()
            && !plain.iter().any(|one| lower.starts_with(one))
    })
}

/// Whether code of Python asks for a name of its modules' own.
fn owns(code: &str) -> bool {
    code.split(['\n', ';']).any(|line| {
        let begins = line.trim_start_matches(['"', '\'', ' ', '\t']);
        let imports = begins.starts_with("from ") || begins.starts_with("import ");
        cut(line).any(|(before, word, _)| {
            let asked = imports || before.trim_end_matches([' ', '\t', '\\']).ends_with('.');
            asked && word.starts_with('_') && word.len() > 1 && !PYTHON_OWN.contains(&word)
        })
    })
}

fn perl(code: &str) -> bool {
    let reads = code.contains("<>") || code.contains("<ARGV>") || code.starts_with("-n");
    let files = [
        "@ARGV",
        "*ARGV",
        "$ARGV[",
        "@{ARGV}",
        "@::ARGV",
        "@main::ARGV",
    ];
    let marks = [
        "IO::File",
        "IO::Pipe",
        "IO::Zlib",
        "&{",
        "&$",
        "->$",
        "->(",
        "*{",
        "__PACKAGE__",
        "new $",
        "new {",
    ];
    // Names that are texts.
    let symbolic = ["@$", "@{\"", "@{'", "$::{", "%::", "*$", "$main::{"];
    reads
        && files
            .iter()
            .chain(&symbolic)
            .any(|file| code.contains(file))
        || marks.iter().any(|mark| code.contains(mark))
        || makes_objects(code)
        || evaluates(code)
}

/// `$name->new`: of a class that another text names.
fn makes_objects(code: &str) -> bool {
    code.match_indices("->new").any(|(at, _)| {
        let before = code.get(..at).unwrap_or_default();
        let name = before.trim_end_matches(|c| is_word(c) || c == ':');
        name.ends_with(['$', '"', '\'', ')', '}', ']'])
    })
}

/// A substitution whose text is code, evaluated twice: `s/…/…/ee`.
fn evaluates(code: &str) -> bool {
    cut(code).any(|(before, word, rest)| {
        let flags = word.chars().all(|c| "msixpodualngcer".contains(c));
        let twice = word.chars().filter(|c| *c == 'e').count() > 1;
        let behind = before.chars().next_back();
        let delimits = behind.is_some_and(|c| "/})]>|!#,~^'\"".contains(c));
        let ends = rest.trim_start_matches(' ').chars().next();
        let ends = ends.is_none_or(|c| matches!(c, ';' | ',' | ')' | '}' | '\n'));
        flags && twice && delimits && ends && word != "else"
    })
}

fn javascript(code: &str) -> bool {
    // Letters by their numbers, in names too.
    if ["\\u", "\\x", "{[", "]("]
        .iter()
        .any(|mark| code.contains(mark))
        || puts_together(code)
    {
        return true;
    }
    cut(code).any(|(before, word, rest)| match word {
        "require" if before.ends_with(['\'', '"', '`']) => false,
        "require" if rest.starts_with(".resolve") => false,
        "require" => {
            let named = rest.strip_prefix('(').and_then(|rest| {
                let end = rest
                    .chars()
                    .next()
                    .filter(|c| matches!(c, '\'' | '"' | '`'))?;
                let (name, rest) = rest.get(1..)?.split_once(end)?;
                rest.starts_with(')').then_some(name)
            });
            named.is_none_or(runs_as_module)
        }
        "from" | "import" => {
            let rest = rest.trim_start();
            let named = rest.strip_prefix(['\'', '"']);
            named.is_some_and(|rest| {
                runs_as_module(rest.split(['\'', '"']).next().unwrap_or_default())
            })
        }
        "this" => rest.trim_start().trim_start_matches("?.").starts_with('['),
        "process" => {
            let asked = rest.trim_start().strip_prefix('.').map(str::trim_start);
            let quoted = before.ends_with(['\'', '"', '`', '_']);
            let name = asked.and_then(|rest| rest.split(|c| !is_word(c)).next());
            !quoted && !name.is_some_and(|name| NODE_PROCESS.contains(&name))
        }
        _ => false,
    })
}

/// Whether two texts in it are put together: nobody does who has nothing to hide.
fn puts_together(code: &str) -> bool {
    let quotes = ['"', '\'', '`'];
    code.match_indices('+').any(|(at, _)| {
        let before = code.get(..at).unwrap_or_default().trim_end_matches(' ');
        let after = code
            .get(at + 1..)
            .unwrap_or_default()
            .trim_start_matches(' ');
        before.ends_with(quotes) && after.starts_with(quotes)
    })
}

fn runs_as_module(name: &str) -> bool {
    let name = name.strip_prefix("node:").unwrap_or(name);
    name.contains(['\\', '$']) || NODE_MODULES.contains(&name)
}

fn php(code: &str) -> bool {
    let lower = code.to_lowercase();
    let calls = |mark: &str| lower.contains(mark);
    // `$name(…)`, and what else calls by a name that is made.
    let dynamic = cut(&lower).any(|(before, _, rest)| {
        let value = before.ends_with('$') || before.ends_with("${");
        value && rest.trim_start_matches([' ', '}']).starts_with('(')
    });
    says(&lower, PHP)
        || dynamic
        || [
            ")(", "](", "}(", "\"(", "'(", "->$", "::$", "->{", "::{", "$$", "${", "new $",
        ]
        .iter()
        .any(|mark| calls(mark))
}

/// Whether a name is only used for what it says behind a dot.
fn is_dotted(code: &str, name: &str) -> bool {
    cut(code).all(|(_, word, rest)| {
        let dotted = rest
            .strip_prefix('.')
            .is_some_and(|rest| rest.starts_with(is_word));
        word != name || dotted
    })
}

/// A command of Tcl whose name is made.
fn tcl(code: &str) -> bool {
    let starts = |at: usize| {
        let before = code
            .get(..at)
            .unwrap_or_default()
            .trim_end_matches([' ', '\t']);
        before.is_empty() || before.ends_with(['\n', ';', '[', '{', '"'])
    };
    let mut made = code.match_indices(['$', '[', '\\', '"']);
    made.any(|(at, _)| starts(at)) || code.contains("{*}")
}
