//! Commands that are one end of a file transfer.

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
        /// The files that were asked for.
        paths: Vec<String>,
    },
    /// `rsync --server`: files come from the client.
    RsyncReceiver {
        /// Where they go.
        paths: Vec<String>,
    },
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

/// Whether these are the words of scp's far end.
pub(super) fn is_scp(argv: &[String]) -> bool {
    let name = argv.first().and_then(|name| name.rsplit('/').next());
    name == Some("scp")
}

fn scp(args: &[String]) -> Option<Recognised> {
    let (mut source, mut sink, mut recursive) = (false, false, false);
    let mut paths = Vec::new();
    let mut options = true;
    for arg in args {
        match arg
            .strip_prefix('-')
            .filter(|letters| options && !letters.is_empty())
        {
            Some("-") => options = false,
            Some(letters) => {
                source |= letters.contains('f');
                sink |= letters.contains('t');
                recursive |= letters.contains('r');
            }
            None => paths.push(arg.clone()),
        }
    }
    match (source, sink) {
        (true, false) => Some(Recognised::ScpSource { paths, recursive }),
        (false, true) => Some(Recognised::ScpSink {
            path: paths.into_iter().next()?,
            recursive,
        }),
        _ => None,
    }
}

fn rsync(args: &[String]) -> Option<Recognised> {
    if !args.iter().any(|arg| arg == "--server") {
        return None;
    }
    let sender = args.iter().any(|arg| arg == "--sender");
    // Behind the options stands `.`, then the paths.
    let operands = args.iter().filter(|arg| !arg.starts_with('-'));
    let paths = operands.skip(1).cloned().collect();
    Some(if sender {
        Recognised::RsyncSender { paths }
    } else {
        Recognised::RsyncReceiver { paths }
    })
}

fn git(verb: &str, args: &[String]) -> Option<Recognised> {
    let path = args.iter().rev().find(|arg| !arg.starts_with('-'))?.clone();
    match verb {
        "upload-pack" => Some(Recognised::GitUploadPack { path }),
        "receive-pack" => Some(Recognised::GitReceivePack { path }),
        "upload-archive" => Some(Recognised::GitUploadArchive { path }),
        _ => None,
    }
}
