//! Files that programs write: copies under other names, archives, what comes from elsewhere. What is run of
//! them is not known by its name.

use super::given::{Given, long_values};
use super::input::is_stdin;
use super::transfer::{SCP_VALUES, is_remote};
use super::word::{HOST, UNKNOWN};
use super::{Input, Shell, Written};

/// In place of a directory: anywhere but where the system keeps its programs.
const SOMEWHERE: &str = "~";
/// In place of a directory: anywhere.
const ANYWHERE: &str = "//";
/// Letters of tar's that a word follows.
const TAR_VALUES: &str = "bCfFgHIKLNTVX";
/// Programs that take archives apart.
const UNPACKERS: &[&str] = &[
    "unzip",
    "7z",
    "7za",
    "7zr",
    "7zz",
    "ar",
    "jar",
    "pax",
    "cpio",
    "unrar",
    "rar",
    "cabextract",
    "dpkg-deb",
    "unsquashfs",
    "lha",
    "bsdcpio",
    "patch",
    "uudecode",
];
/// Those of them that read the archive.
const READ_ARCHIVES: &[&str] = &["cpio", "bsdcpio", "pax", "patch", "uudecode"];
/// Verbs of git that make files of what they are given.
const GIT_WRITES: &[&str] = &[
    "fast-import",
    "hash-object",
    "update-index",
    "checkout-index",
    "mktree",
    "unpack-objects",
];
/// What code says that writes, copies or renames files.
const WRITES: &[&str] = &[
    "shutil", "copy", "link", "rename", "replace", "write", "\"w", "'w", "\">", "'>", ">\"", "\"a",
    "'a",
];

impl Shell<'_> {
    /// Files of names that are not known are written below a directory; an empty one is where the command runs.
    fn strews(&mut self, directory: &str) {
        self.remembers(directory.to_owned(), Written::Below);
    }

    /// Files are written somewhere.
    pub(super) fn strews_somewhere(&mut self) {
        self.strews(SOMEWHERE);
    }

    /// What may be at a path, where files of unknown names were written there.
    pub(super) fn strewn(&self, path: &str) -> Option<Written> {
        let below = |(directory, written): &(String, Written)| {
            *written == Written::Below && self.lies_below(directory, path)
        };
        self.written.iter().any(below).then_some(Written::Unknown)
    }

    fn lies_below(&self, directory: &str, path: &str) -> bool {
        if directory == SOMEWHERE {
            let system = ["/bin/", "/sbin/", "/usr/"];
            return !system.iter().any(|known| path.starts_with(known));
        }
        if directory == ANYWHERE || path.contains("/../") || directory.contains(UNKNOWN) {
            return true;
        }
        let own = !path.starts_with('/');
        let directory = directory.trim_end_matches('/');
        if directory.starts_with('/') {
            let chosen = path.starts_with(UNKNOWN) && !path.starts_with(HOST);
            let inside = path.strip_prefix(directory);
            return inside.is_some_and(|rest| rest.starts_with('/'))
                || chosen
                || own && self.variables.moved;
        }
        own
    }

    /// What a program writes that takes its files from options and operands.
    pub(super) fn writes_files(&mut self, base: &str, args: &[String], input: &Input) {
        match base {
            "tar" | "gtar" | "bsdtar" => self.tar(base, args, input),
            "scp" => {
                let given = Given::read(args, SCP_VALUES, usize::MAX);
                self.copies_from(&given.operands);
            }
            "curl" | "wget" => self.downloads(base, args),
            "strip" | "objcopy" => {
                let given = Given::read(args, "oOIBFGjKLNRsSwWx", usize::MAX);
                match given.values('o').first() {
                    Some(to) => self.remembers(to.clone(), Written::Like(given.operands)),
                    None if given.operands.len() > 1 => self.copies(&given.operands),
                    None => {}
                }
            }
            "openssl" | "gpg" | "gpg2" | "age" | "zstd" | "xxd" | "base64" => {
                for to in long_values(args, &["-out", "--output", "-o"]) {
                    self.wrote(to, None);
                }
                if base == "xxd" && args.iter().any(|arg| arg.starts_with("-r")) {
                    self.wrote(args.last().cloned().unwrap_or_default(), None);
                }
            }
            "gunzip" | "bunzip2" | "unxz" | "unzstd" | "unlz4" | "uncompress" | "gzip" | "xz"
            | "bzip2" => {
                for arg in args.iter().filter(|arg| !arg.starts_with('-')) {
                    if let (Some(_), Some((plain, _))) = (self.found(arg), arg.rsplit_once('.')) {
                        self.wrote(plain.to_owned(), None);
                    }
                }
            }
            "find" | "gfind" => {
                for to in long_values(args, &["-fprintf", "-fprint", "-fprint0", "-fls"]) {
                    self.wrote(to, None);
                }
            }
            "shuf" | "iconv" | "strace" | "ltrace" | "time" => {
                for to in long_values(args, &["-o", "--output"]) {
                    self.wrote(to, None);
                }
                let joined = args.iter().filter_map(|arg| arg.strip_prefix("-o"));
                let joined: Vec<String> = joined.map(str::to_owned).collect();
                joined.into_iter().for_each(|to| self.wrote(to, None));
            }
            "uniq" => {
                let given = Given::read(args, "fsw", usize::MAX);
                if let Some(to) = given.operands.get(1) {
                    self.wrote(to.clone(), None);
                }
            }
            "script" => {
                let given = Given::read(args, "cEBIOTmo", usize::MAX);
                let mut files = given.operands;
                files.extend(["B", "I", "O", "T"].iter().flat_map(|letter| {
                    long_values(
                        args,
                        &[&format!("-{letter}"), "--log-io", "--log-out", "--log-in"],
                    )
                }));
                files.into_iter().for_each(|to| self.wrote(to, None));
            }
            "perl" | "ruby" => {
                // In place.
                let edits = |arg: &String| {
                    let letters = arg.strip_prefix('-').unwrap_or_default();
                    let plain = |c: char| "pnlaw0123456789i".contains(c);
                    letters.contains('i')
                        && letters
                            .split('.')
                            .next()
                            .is_some_and(|it| it.trim_end_matches('e').chars().all(plain))
                };
                if args.iter().any(edits) {
                    for file in args.iter().filter(|arg| !arg.starts_with('-')) {
                        self.edited(file);
                    }
                }
            }
            "git" if args.iter().any(|arg| GIT_WRITES.contains(&arg.as_str())) => self.strews(""),
            "git" if !long_values(args, &["--output"]).is_empty() => {
                for to in long_values(args, &["--output"]) {
                    self.wrote(to, None);
                }
            }
            "git" if args.iter().any(|arg| arg == "apply" || arg == "am") => {
                let options = args.iter().filter(|arg| arg.starts_with('-')).count();
                self.unpacks(args, input, args.len() == 1 + options, "");
            }
            base if UNPACKERS.contains(&base) => {
                let into = long_values(args, &["-d", "--directory", "-C", "-D"]);
                let attached = args.iter().find_map(|arg| arg.strip_prefix("-o"));
                let into = into.first().map(String::as_str).or(attached);
                let copies = args.iter().any(|arg| arg.starts_with("-p"));
                let reads = READ_ARCHIVES.contains(&base) && !(base.ends_with("cpio") && copies);
                self.unpacks(args, input, reads, into.unwrap_or_default());
            }
            _ => {}
        }
    }

    /// An archive whose content the text, or the client, may have made.
    fn unpacks(&mut self, args: &[String], input: &Input, reads: bool, directory: &str) {
        let mut files = args.iter().filter(|arg| !arg.starts_with('-'));
        let made = files.any(|file| is_stdin(file) || self.found(file).is_some());
        if made || reads && !matches!(input, Input::File(_)) {
            self.strews(directory);
        }
    }

    /// Code that may write files.
    pub(super) fn code_writes(&mut self, code: &str) {
        if WRITES.iter().any(|word| code.contains(word)) {
            self.strews_somewhere();
        }
    }

    /// Copies of files of this host, and of others.
    pub(super) fn copies_from(&mut self, operands: &[String]) {
        let Some((to, sources)) = operands.split_last() else {
            return;
        };
        if sources.iter().any(|source| is_remote(source)) {
            self.wrote(to.clone(), None);
            return self.strews(if to == "." { "" } else { to });
        }
        if !is_remote(to) {
            self.copies(operands);
        }
    }

    fn downloads(&mut self, base: &str, args: &[String]) {
        let short = if base == "curl" { "-o" } else { "-O" };
        let mut named = long_values(args, &["--output", "--output-document"]);
        let values = match base {
            "curl" => "AbCcdDeEFHhKmoPQrTtuUwxXyYz",
            _ => "aABDeiIlOoPQtTUwX",
        };
        let given = Given::read(args, values, usize::MAX);
        named.extend(given.values(short.chars().nth(1).unwrap_or('o')));
        let own_name = base == "wget" && named.is_empty()
            || base == "curl" && (given.has('O') || given.has_long("remote-name"));
        if own_name {
            let last = |url: &String| {
                let path = url.split(['?', '#']).next().unwrap_or_default();
                path.rsplit('/').next().unwrap_or_default().to_owned()
            };
            let urls = given.operands.iter().map(last);
            named.extend(urls.filter(|name| !name.is_empty()));
        }
        self.fetches = true;
        for name in named {
            if name != "-" {
                self.wrote(name, None);
            }
        }
    }

    fn tar(&mut self, base: &str, args: &[String], input: &Input) {
        // The first word may be letters without a dash; then their values follow in their order.
        let mut own = args.to_vec();
        if let Some(first) = args.first().filter(|first| !first.starts_with('-')) {
            let letters: Vec<char> = first.chars().collect();
            let (mut words, mut rest) = (Vec::new(), args.iter().skip(1));
            for letter in letters {
                words.push(format!("-{letter}"));
                if TAR_VALUES.contains(letter) {
                    words.extend(rest.next().cloned());
                }
            }
            words.extend(rest.cloned());
            own = words;
        }
        let values = match base {
            "bsdtar" => format!("{TAR_VALUES}s"),
            _ => TAR_VALUES.to_owned(),
        };
        let given = Given::read(&own, &values, usize::MAX);
        for letter in ['I', 'F'] {
            given.values(letter).iter().for_each(|text| self.code(text));
        }
        let renames = base == "bsdtar" && given.has('s')
            || given.has_long("transform")
            || given.has_long("xform");
        let mut files = long_values(&own, &["--file"]);
        files.extend(given.values('f'));
        if ['c', 'r', 'u', 'A'].iter().any(|letter| given.has(*letter))
            || given.has_long("create")
            || given.has_long("append")
        {
            for file in files {
                self.wrote(file, None);
            }
            return;
        }
        if !given.has('x') && !given.has_long("extract") && !given.has_long("get") {
            return;
        }
        let made = match files.first().map(String::as_str) {
            Some(file) if file != "-" && !is_stdin(file) => {
                is_remote(file) || self.found(file).is_some()
            }
            _ => !matches!(input, Input::File(_)),
        };
        if made || renames {
            let mut into = long_values(&own, &["--directory", "--cd"]);
            into.extend(given.values('C'));
            let absolute = given.has('P') || given.has_long("absolute-names");
            for directory in into
                .iter()
                .map(String::as_str)
                .chain(absolute.then_some(ANYWHERE))
            {
                self.strews(directory);
            }
            if into.is_empty() {
                self.strews("");
            }
        }
    }
}
