//! Commands that are one end of a file transfer.

use super::given::Given;

/// A file transfer, by the command of its far end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// `scp -f`: files go to the client.
    ScpSource {
        /// The files that were asked for.
        paths: Vec<String>,
        /// Directories too.
        recursive: bool,
    },
    /// `scp -t`: files come from the client.
    ScpSink {
        /// Where they go.
        path: String,
        /// Directories too.
        recursive: bool,
    },
    /// `rsync --server --sender`: files go to the client.
    RsyncSender {
        /// The files that were asked for; none where the command does not say.
        paths: Vec<String>,
    },
    /// `rsync --server`: files come from the client.
    RsyncReceiver {
        /// Where they go; none where the command does not say.
        paths: Vec<String>,
    },
    /// `rsync --server --daemon`: files go either way, and the client says which.
    RsyncDaemon,
    /// `git-upload-pack`: objects go to the client.
    GitUploadPack {
        /// The repository.
        path: String,
    },
    /// `git-receive-pack`: objects come from the client.
    GitReceivePack {
        /// The repository.
        path: String,
    },
    /// `git-upload-archive`: an archive goes to the client.
    GitUploadArchive {
        /// The repository.
        path: String,
    },
    /// `scp` or `rsync` between files of the host, or between it and another one.
    Copy {
        /// The host's files that are read.
        reads: Vec<String>,
        /// The one that is written, if it is the host's.
        writes: Option<String>,
    },
    /// `sftp-server`: the SFTP subsystem by another name.
    SftpServer,
}

/// What a plain command transfers, if it does.
pub(super) fn recognise(argv: &[String]) -> Option<Recognised> {
    let (name, args) = argv.split_first()?;
    match name.rsplit('/').next()? {
        "scp" => scp(args),
        "rsync" => rsync(args),
        "sftp-server" => Some(Recognised::SftpServer),
        "git" => {
            let (verb, rest) = args.split_first()?;
            git(verb, rest)
        }
        name => git(name.strip_prefix("git-")?, args),
    }
}

/// Whether these are the words of scp.
pub(super) fn is_scp(argv: &[String]) -> bool {
    let name = argv.first().and_then(|name| name.rsplit('/').next());
    name == Some("scp")
}

/// Options of scp's that a word follows.
pub(super) const SCP_VALUES: &str = "cDFiJloPSX";
/// Options of rsync's that a word follows, in one word with them or not.
const RSYNC_VALUES: &str = "eBMTf@";
/// The same, of a rsync that is no far end.
pub(super) const RSYNC_LOCAL_VALUES: &str = "BeTfM@";

/// The letters of an option word that are options: those behind one with a value are the value. And
/// whether the value is the next word.
fn letters<'a>(word: &'a str, values: &str) -> (&'a str, bool) {
    match word.find(|letter| values.contains(letter)) {
        Some(at) => (word.get(..=at).unwrap_or(word), at + 1 == word.len()),
        None => (word, false),
    }
}

fn scp(args: &[String]) -> Option<Recognised> {
    let (mut source, mut sink, mut recursive) = (false, false, false);
    let mut paths = Vec::new();
    let (mut options, mut value) = (true, false);
    for arg in args {
        if std::mem::take(&mut value) {
            continue;
        }
        match arg
            .strip_prefix('-')
            .filter(|letters| options && !letters.is_empty())
        {
            Some("-") => options = false,
            Some(word) => {
                let (letters, next) = letters(word, SCP_VALUES);
                value = next;
                source |= letters.contains('f');
                sink |= letters.contains('t');
                recursive |= letters.contains('r');
            }
            None => paths.push(arg.clone()),
        }
    }
    // Of both, it sends.
    match (source, sink) {
        (true, _) => Some(Recognised::ScpSource { paths, recursive }),
        (false, true) => Some(Recognised::ScpSink {
            path: paths.into_iter().next()?,
            recursive,
        }),
        (false, false) => copy(paths),
    }
}

/// A copy of these files to the last of them.
fn copy(mut paths: Vec<String>) -> Option<Recognised> {
    let to = paths.pop()?;
    let copies = !paths.is_empty();
    paths.retain(|path| !is_remote(path));
    let writes = Some(to).filter(|to| !is_remote(to));
    copies.then_some(Recognised::Copy {
        reads: paths,
        writes,
    })
}

/// Whether a file is another host's: a colon stands before any slash.
pub(super) fn is_remote(file: &str) -> bool {
    let before = file.split('/').next().unwrap_or_default();
    before.contains(':')
}

fn rsync(args: &[String]) -> Option<Recognised> {
    // Behind `--` everything is a path.
    let end = args.iter().position(|arg| arg == "--");
    let (options, rest) = args.split_at(end.unwrap_or(args.len()));
    let has = |long: &str| options.iter().any(|arg| arg == long);
    if !has("--server") {
        let given = Given::read(args, RSYNC_LOCAL_VALUES, usize::MAX);
        return copy(given.operands);
    }
    if has("--daemon") {
        return Some(Recognised::RsyncDaemon);
    }
    // With `-s` the paths come from the client later on.
    let secluded = has("--protect-args")
        || has("--secluded-args")
        || args.iter().any(|arg| {
            let word = arg.strip_prefix('-').filter(|word| !word.starts_with('-'));
            word.is_some_and(|word| letters(word, RSYNC_VALUES).0.contains('s'))
        });
    // Behind the options stands the directory where it begins, `.`, then the paths.
    let words = options.iter().filter(|arg| !arg.starts_with('-'));
    let mut paths: Vec<String> = words.chain(rest.iter().skip(1)).cloned().collect();
    if paths.first().is_some_and(|first| first == ".") {
        paths.remove(0);
    }
    if secluded {
        paths.clear();
    }
    Some(if has("--sender") {
        Recognised::RsyncSender { paths }
    } else {
        Recognised::RsyncReceiver { paths }
    })
}

fn git(verb: &str, args: &[String]) -> Option<Recognised> {
    let end = args.iter().position(|arg| arg == "--");
    let (options, rest) = args.split_at(end.unwrap_or(args.len()));
    let words = options.iter().filter(|arg| !arg.starts_with('-'));
    let mut words = words.chain(rest.iter().skip(1));
    let path = words.next()?.clone();
    // One of several may be what an option takes: any path.
    let path = words.next().map_or(path, |_| "*".to_owned());
    match verb {
        "upload-pack" => Some(Recognised::GitUploadPack { path }),
        "receive-pack" => Some(Recognised::GitReceivePack { path }),
        "upload-archive" => Some(Recognised::GitUploadArchive { path }),
        _ => None,
    }
}
