//! What a client asks for, owned: it outlives the message that asked while people decide.

use std::sync::Arc;

use weir_audit::{Direction, TransferProtocol};
use weir_policy::{ForwardKind, Operation, SftpOperation, SshOperation, SshRequest};
use weir_wire_ssh::command::{self, Command, Recognised};
use weir_wire_ssh::scp;

use super::packet::Fields;

/// Something that is judged before it goes on.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// A session, for what comes in it.
    Session,
    /// A command.
    Exec(Arc<Command>),
    /// The login shell.
    Shell,
    /// A terminal.
    Pty,
    /// An environment variable, and its value.
    Env(Box<str>, Box<str>),
    /// A subsystem.
    Subsystem(Box<str>),
    /// An operation on files.
    Sftp(SftpOperation, Vec<Vec<u8>>),
    /// A file that scp reads or writes, by the names that it may have.
    Scp(SftpOperation, Vec<Vec<u8>>),
    /// A connection to be led through this one.
    Forward(ForwardKind, Option<Box<str>>),
    /// Something that nobody knows.
    Unknown(Box<str>),
}

fn lossy(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

impl Asked {
    /// What a request about a channel asks for; none where there is nothing to judge. `sent` are the
    /// variables that the client has set there.
    pub(super) fn request(name: &[u8], rest: &[u8], sent: &[(String, String)]) -> Option<Self> {
        let mut fields = Fields(rest);
        Some(match name {
            b"exec" => {
                let sent: Vec<_> = sent
                    .iter()
                    .map(|(name, value)| (&**name, &**value))
                    .collect();
                let text = fields.string().unwrap_or_default();
                Self::Exec(Arc::new(command::analyze(text, &sent)))
            }
            b"shell" => Self::Shell,
            b"subsystem" => Self::Subsystem(lossy(fields.string().unwrap_or_default())),
            b"pty-req" => Self::Pty,
            b"env" => {
                let mut field = || lossy(fields.string().unwrap_or_default());
                Self::Env(field(), field())
            }
            b"x11-req" => Self::Forward(ForwardKind::X11, None),
            b"auth-agent-req@openssh.com" | b"auth-agent-req" => {
                Self::Forward(ForwardKind::Agent, None)
            }
            b"window-change"
            | b"signal"
            | b"break"
            | b"xon-xoff"
            | b"eow@openssh.com"
            | b"keepalive@openssh.com"
            | b"exit-status"
            | b"exit-signal" => return None,
            other => Self::Unknown(lossy(other)),
        })
    }

    /// What a channel that is asked for would be.
    pub(super) fn open(kind: &[u8], rest: &[u8]) -> Self {
        let forward = match kind {
            b"session" => return Self::Session,
            b"direct-tcpip" => ForwardKind::DirectTcpip,
            b"forwarded-tcpip" => ForwardKind::ForwardedTcpip,
            b"direct-streamlocal@openssh.com" => ForwardKind::DirectStreamlocal,
            b"forwarded-streamlocal@openssh.com" => ForwardKind::ForwardedStreamlocal,
            b"x11" => ForwardKind::X11,
            b"auth-agent@openssh.com" | b"auth-agent" => ForwardKind::Agent,
            b"tun@openssh.com" => ForwardKind::Tun,
            other => return Self::Unknown(lossy(other)),
        };
        Self::Forward(forward, destination(forward, rest))
    }

    /// What a request about the connection asks for; none where there is nothing to judge.
    pub(super) fn global(name: &[u8], rest: &[u8]) -> Option<Self> {
        let kind = match name {
            b"tcpip-forward" => ForwardKind::TcpipForward,
            b"streamlocal-forward@openssh.com" => ForwardKind::StreamlocalForward,
            b"cancel-tcpip-forward"
            | b"cancel-streamlocal-forward@openssh.com"
            | b"no-more-sessions@openssh.com"
            | b"keepalive@openssh.com" => return None,
            other => return Some(Self::Unknown(lossy(other))),
        };
        Some(Self::Forward(kind, destination(kind, rest)))
    }

    /// Whether it starts what a session is for.
    pub(super) const fn is_program(&self) -> bool {
        matches!(self, Self::Exec(_) | Self::Shell | Self::Subsystem(_))
    }

    /// Whether it begins an SFTP connection, as the subsystem or as the program behind it.
    pub(super) fn is_sftp(&self) -> bool {
        match self {
            Self::Subsystem(name) => &**name == "sftp",
            Self::Exec(command) => command.recognised == Some(Recognised::SftpServer),
            _ => false,
        }
    }

    /// Whether what it moves is known file by file.
    pub(super) fn moves_files(&self) -> bool {
        self.is_sftp() || self.scp().is_some()
    }

    /// The files that scp is asked to move, and whether the server sends them.
    pub(super) fn scp(&self) -> Option<(bool, Vec<String>)> {
        let Self::Exec(command) = self else {
            return None;
        };
        match command.recognised.as_ref()? {
            Recognised::ScpSource { paths, .. } => Some((true, paths.clone())),
            Recognised::ScpSink { path, .. } => Some((false, vec![path.clone()])),
            _ => None,
        }
    }

    /// What a command moves as a whole: how, which way, and which paths.
    pub(super) fn stream(&self) -> Option<(TransferProtocol, Direction, Vec<String>)> {
        let Self::Exec(command) = self else {
            return None;
        };
        let (rsync, git) = (TransferProtocol::Rsync, TransferProtocol::Git);
        let (download, upload) = (Direction::Download, Direction::Upload);
        Some(match command.recognised.as_ref()? {
            Recognised::RsyncSender { paths } => (rsync, download, paths.clone()),
            Recognised::RsyncReceiver { paths } => (rsync, upload, paths.clone()),
            Recognised::RsyncDaemon => (rsync, download, Vec::new()),
            Recognised::GitUploadPack { path } | Recognised::GitUploadArchive { path } => {
                (git, download, vec![path.clone()])
            }
            Recognised::GitReceivePack { path } => (git, upload, vec![path.clone()]),
            _ => return None,
        })
    }

    /// The operations on files that a command comes to, where it is one.
    pub(super) fn implied(&self) -> Vec<Self> {
        if let Self::Exec(command) = self
            && let Some(Recognised::Copy { reads, writes }) = &command.recognised
        {
            let all =
                |paths: &mut dyn Iterator<Item = &String>| paths.map(|path| copied(path)).collect();
            let ways: [(_, Vec<_>); 2] = [
                (SftpOperation::Read, all(&mut reads.iter())),
                (SftpOperation::Write, all(&mut writes.iter())),
            ];
            let ways = ways.into_iter().filter(|(_, paths)| !paths.is_empty());
            return ways
                .map(|(operation, paths)| Self::Scp(operation, paths))
                .collect();
        }
        let Some((protocol, direction, paths)) = self.stream() else {
            return Vec::new();
        };
        let mut paths: Vec<_> = paths.iter().map(|path| scp::path(path)).collect();
        if protocol == TransferProtocol::Git {
            paths = paths.iter().flat_map(|path| repositories(path)).collect();
        }
        if paths.is_empty() {
            // The client says later what it means.
            paths.push(b"*".to_vec());
        }
        let both = matches!(self, Self::Exec(command)
            if command.recognised == Some(Recognised::RsyncDaemon));
        let operations: &[SftpOperation] = match direction {
            _ if both => &[SftpOperation::Read, SftpOperation::Write],
            Direction::Download => &[SftpOperation::Read],
            Direction::Upload => &[SftpOperation::Write],
        };
        let operations = operations.iter();
        operations
            .map(|operation| Self::Scp(*operation, paths.clone()))
            .collect()
    }

    /// Whether it is one of those that count as statements and leave a record of their own.
    pub(super) fn is_statement(&self) -> bool {
        !matches!(self, Self::Session | Self::Pty | Self::Env(..))
    }

    /// Its name in the record.
    pub(super) fn command(&self) -> String {
        match self {
            Self::Session => "session".to_owned(),
            Self::Exec(_) => "exec".to_owned(),
            Self::Shell => "shell".to_owned(),
            Self::Pty => "pty".to_owned(),
            Self::Env(..) => "env".to_owned(),
            Self::Subsystem(_) => "subsystem".to_owned(),
            Self::Sftp(operation, _) => format!("sftp {operation}"),
            Self::Scp(operation, _) => format!("scp {operation}"),
            Self::Forward(kind, _) => kind.name().to_owned(),
            Self::Unknown(_) => "unknown".to_owned(),
        }
    }

    /// Its text: a command, a name, a destination, paths.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Session | Self::Shell | Self::Pty => String::new(),
            Self::Exec(command) => command.text.clone(),
            Self::Env(text, _) | Self::Subsystem(text) | Self::Unknown(text) => text.to_string(),
            Self::Sftp(_, paths) | Self::Scp(_, paths) => {
                let paths: Vec<_> = paths
                    .iter()
                    .map(|path| String::from_utf8_lossy(path))
                    .collect();
                paths.join(" ")
            }
            Self::Forward(_, destination) => destination.as_deref().unwrap_or_default().to_owned(),
        }
    }

    /// What a person is asked about.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Exec(command) => command.text.clone(),
            _ => {
                let (command, text) = (self.command(), self.text());
                format!("{command} {text}").trim_end().to_owned()
            }
        }
    }

    /// Calls `with` on it as the policy sees it.
    pub(super) fn judge<T>(&self, with: impl FnOnce(&Operation<'_>) -> T) -> T {
        match self {
            Self::Exec(command) => {
                crate::command::stated(command, |command| ask(SshRequest::Exec { command }, with))
            }
            Self::Session => ask(SshRequest::Session, with),
            Self::Shell => ask(SshRequest::Shell, with),
            Self::Pty => ask(SshRequest::Pty, with),
            Self::Env(name, _) => {
                let harmless = command::is_harmless(name);
                ask(SshRequest::Env { name, harmless }, with)
            }
            Self::Subsystem(name) => ask(SshRequest::Subsystem { name }, with),
            Self::Sftp(operation, paths) | Self::Scp(operation, paths) => {
                let paths: Vec<&[u8]> = paths.iter().map(Vec::as_slice).collect();
                let request = SshRequest::Sftp {
                    operation: *operation,
                    paths: &paths,
                };
                ask(request, with)
            }
            Self::Forward(kind, destination) => {
                let request = SshRequest::Forward {
                    kind: *kind,
                    destination: destination.as_deref(),
                };
                ask(request, with)
            }
            Self::Unknown(name) => ask(SshRequest::Unknown { name }, with),
        }
    }
}

/// A file that a command names: any, where the shell says which.
fn copied(path: &str) -> Vec<u8> {
    match path.contains('*') {
        true => b"*".to_vec(),
        false => scp::path(path),
    }
}

/// Where git looks for a repository of this name.
fn repositories(path: &[u8]) -> Vec<Vec<u8>> {
    let mut found = vec![path.to_vec()];
    for suffix in [&b".git"[..], b"/.git", b".git/.git"] {
        found.push([path, suffix].concat());
    }
    found.extend(path.strip_suffix(b"/.git").map(<[u8]>::to_vec));
    found
}

fn ask<T>(request: SshRequest<'_>, with: impl FnOnce(&Operation<'_>) -> T) -> T {
    let operation = SshOperation { request };
    with(&Operation::Ssh(&operation))
}

/// Where a forwarded connection leads.
fn destination(kind: ForwardKind, rest: &[u8]) -> Option<Box<str>> {
    let mut fields = Fields(rest);
    let text = lossy(fields.string()?);
    match kind {
        ForwardKind::DirectTcpip | ForwardKind::ForwardedTcpip | ForwardKind::TcpipForward => {
            let port = fields.u32()?;
            let host = if text.contains(':') {
                format!("[{text}]")
            } else {
                text.into()
            };
            Some(format!("{host}:{port}").into())
        }
        ForwardKind::DirectStreamlocal
        | ForwardKind::StreamlocalForward
        | ForwardKind::ForwardedStreamlocal => Some(text),
        ForwardKind::X11 | ForwardKind::Agent | ForwardKind::Tun => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::packet::Build;

    fn fields(text: &[u8], port: u32) -> Vec<u8> {
        let built = Build::new(0).string(text).u32(port).done();
        built.get(1..).unwrap().to_vec()
    }

    #[test]
    fn a_forwards_destination_is_host_and_port_or_a_path() {
        let to = |kind: &[u8], text: &[u8]| {
            let asked = Asked::open(kind, &fields(text, 5432));
            (asked.command(), asked.text())
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(to(b"direct-tcpip", b"db"), pair("direct-tcpip", "db:5432"));
        assert_eq!(
            to(b"direct-tcpip", b"::1"),
            pair("direct-tcpip", "[::1]:5432")
        );
        assert_eq!(
            to(b"direct-streamlocal@openssh.com", b"/run/x"),
            pair("direct-streamlocal", "/run/x")
        );
        assert_eq!(to(b"tun@openssh.com", b""), pair("tun", ""));
        assert_eq!(to(b"new@example", b""), pair("unknown", "new@example"));
        assert!(matches!(Asked::open(b"session", b""), Asked::Session));
    }

    #[test]
    fn a_command_that_moves_files_comes_to_all_that_it_may_move() {
        let of = |text: &str| -> Vec<String> {
            let exec = Build::new(0).string(text.as_bytes()).done();
            let asked = Asked::request(b"exec", exec.get(1..).unwrap(), &[]).unwrap();
            let implied = asked.implied();
            let said = implied.iter();
            said.map(|one| format!("{} {}", one.command(), one.text()))
                .collect()
        };
        assert_eq!(
            of("rsync --server --sender -e.Lsf . /a b"),
            ["scp read /a b"]
        );
        assert_eq!(of("rsync --server -e.Lsf . up"), ["scp write up"]);
        assert_eq!(of("rsync --server --sender -se.Lsf"), ["scp read *"]);
        assert_eq!(
            of("rsync --server --daemon ."),
            ["scp read *", "scp write *"]
        );
        assert_eq!(
            of("git-upload-pack '/srv/a'"),
            ["scp read /srv/a /srv/a.git /srv/a/.git /srv/a.git/.git"]
        );
        assert!(of("git-receive-pack /srv/a/.git")[0].ends_with(" /srv/a"));
        assert_eq!(
            of("scp -r /srv/a h:b /srv/c"),
            ["scp read /srv/a", "scp write /srv/c"]
        );
        assert_eq!(of("scp /srv/* h:b"), ["scp read *"]);
        assert_eq!(of("rsync -a h:b c"), ["scp write c"]);
        assert!(of("cat a").is_empty() && of("scp -f a").is_empty());
    }

    #[test]
    fn what_is_not_known_is_judged_and_not_let_through() {
        for name in [b"hack".as_slice(), b"exec\0", b"EXEC", b""] {
            let asked = Asked::request(name, b"", &[]);
            assert!(matches!(asked, Some(Asked::Unknown(_))), "{name:?}");
        }
        assert!(matches!(
            Asked::global(b"hostkeys-prove-00@openssh.com", b""),
            Some(Asked::Unknown(_))
        ));
        assert!(Asked::request(b"window-change", b"", &[]).is_none());
    }
}
