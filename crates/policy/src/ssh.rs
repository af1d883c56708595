//! What is asked for over SSH, in the terms that rules use.
//!
//! The caller over-approximates: every program that a command may run is in here, and what cannot be
//! told is `opaque`. Words that are not known before the command runs are patterns: `*` stands for
//! any text and `?` for one character.

use serde::{Deserialize, Serialize};

use crate::name::Glob;

/// One thing that a client wants over an SSH connection.
#[derive(Clone, Copy, Debug)]
pub struct SshOperation<'a> {
    /// What is asked for.
    pub request: SshRequest<'a>,
}

/// A channel, a request inside one, or a file operation of the SFTP subsystem.
#[derive(Clone, Copy, Debug)]
pub enum SshRequest<'a> {
    /// A session channel.
    Session,
    /// A command.
    Exec {
        /// What it runs.
        command: &'a SshCommand<'a>,
    },
    /// The login shell, with or without a terminal.
    Shell,
    /// A terminal for what runs.
    Pty,
    /// An environment variable for what runs.
    Env {
        /// Its name.
        name: &'a str,
        /// Nothing that runs takes code from it, and nothing is found by it.
        harmless: bool,
    },
    /// A subsystem.
    Subsystem {
        /// Its name.
        name: &'a str,
    },
    /// A file operation.
    Sftp {
        /// What is done.
        operation: SftpOperation,
        /// One or two paths, lexically normalised; a relative one counts as lying anywhere.
        paths: &'a [&'a [u8]],
    },
    /// A connection that is led through this one.
    Forward {
        /// How.
        kind: ForwardKind,
        /// `host:port` or a path; none where the request names none.
        destination: Option<&'a str>,
    },
    /// A channel or request of a type that is not known.
    Unknown {
        /// Its type.
        name: &'a str,
    },
}

/// What a command string does, as far as it can be told without running it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SshCommand<'a> {
    /// The command as sent (what is not UTF-8 is replaced).
    pub text: &'a str,
    /// Every program that may run, as written and as its base name, what wrappers run included.
    pub programs: &'a [&'a str],
    /// Every simple command in it: its words joined by one space, the program as its base name.
    pub commands: &'a [&'a str],
    /// Words of it that a program of which nothing is known may start.
    pub mentions: &'a [&'a str],
    /// The words, if it is one simple command without any feature of the shell.
    pub argv: Option<&'a [&'a str]>,
    /// Why it cannot be told what runs, if so.
    pub opaque: Option<&'a str>,
    /// It starts a shell that reads commands from the client: restricting rules about `shell` are
    /// about it too.
    pub shell: bool,
}

/// A list of names that policies write.
macro_rules! vocabulary {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum $name { $($(#[$doc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every one, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The name as policies write it.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// The one with this name, exactly as written.
            pub fn parse(name: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|one| one.name() == name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use vocabulary;

vocabulary! {
    /// What happens to files over SFTP.
    SftpOperation {
        /// Opens a file for reading.
        Read = "read",
        /// Opens a file for writing, creates or truncates it.
        Write = "write",
        /// Opens a file for appending.
        Append = "append",
        /// Lists a directory.
        List = "list",
        /// Asks for the attributes of a file.
        Stat = "stat",
        /// Removes a file.
        Remove = "remove",
        /// Renames a file.
        Rename = "rename",
        /// Makes a directory.
        MakeDirectory = "mkdir",
        /// Removes a directory.
        RemoveDirectory = "rmdir",
        /// Changes attributes: mode, owner, times, size.
        SetStat = "setstat",
        /// Makes a symbolic link.
        Symlink = "symlink",
        /// Makes a hard link.
        HardLink = "hardlink",
        /// Reads a symbolic link.
        ReadLink = "readlink",
        /// Asks for the canonical form of a path.
        RealPath = "realpath",
        /// Asks for the state of a file system.
        Statfs = "statfs",
        /// Any other extension.
        Extended = "extended",
    }
}

vocabulary! {
    /// Ways to lead another connection through an SSH connection.
    ForwardKind {
        /// The client asks the server to dial an address (`-L`, `-D`, `-W`, `-J`).
        DirectTcpip = "direct-tcpip",
        /// The client asks the server to listen (`-R`).
        TcpipForward = "tcpip-forward",
        /// The server leads a connection to the client.
        ForwardedTcpip = "forwarded-tcpip",
        /// The client asks the server to dial a Unix socket.
        DirectStreamlocal = "direct-streamlocal",
        /// The client asks the server to listen on a Unix socket.
        StreamlocalForward = "streamlocal-forward",
        /// The server leads a connection from a Unix socket to the client.
        ForwardedStreamlocal = "forwarded-streamlocal",
        /// Windows of programs (`-X`).
        X11 = "x11",
        /// The client's keys (`-A`).
        Agent = "agent",
        /// Packets (`-w`).
        Tun = "tun",
    }
}

vocabulary! {
    /// Channels and requests, as rules name them.
    SshChannel {
        /// A session channel.
        Session = "session",
        /// A command.
        Exec = "exec",
        /// The login shell.
        Shell = "shell",
        /// A terminal.
        Pty = "pty",
        /// An environment variable.
        Env = "env",
        /// A subsystem.
        Subsystem = "subsystem",
        /// A file operation over SFTP.
        Sftp = "sftp",
        /// The client asks the server to dial an address.
        DirectTcpip = "direct-tcpip",
        /// The client asks the server to listen.
        TcpipForward = "tcpip-forward",
        /// The server leads a connection to the client.
        ForwardedTcpip = "forwarded-tcpip",
        /// The client asks the server to dial a Unix socket.
        DirectStreamlocal = "direct-streamlocal",
        /// The client asks the server to listen on a Unix socket.
        StreamlocalForward = "streamlocal-forward",
        /// The server leads a connection from a Unix socket to the client.
        ForwardedStreamlocal = "forwarded-streamlocal",
        /// Windows of programs.
        X11 = "x11",
        /// The client's keys.
        Agent = "agent",
        /// Packets.
        Tun = "tun",
        /// Anything that is not known.
        Unknown = "unknown",
    }
}

impl SshRequest<'_> {
    /// The name that rules have for it.
    pub const fn channel(&self) -> SshChannel {
        match self {
            SshRequest::Session => SshChannel::Session,
            SshRequest::Exec { .. } => SshChannel::Exec,
            SshRequest::Shell => SshChannel::Shell,
            SshRequest::Pty => SshChannel::Pty,
            SshRequest::Env { .. } => SshChannel::Env,
            SshRequest::Subsystem { .. } => SshChannel::Subsystem,
            SshRequest::Sftp { .. } => SshChannel::Sftp,
            SshRequest::Forward { kind, .. } => kind.channel(),
            SshRequest::Unknown { .. } => SshChannel::Unknown,
        }
    }
}

impl ForwardKind {
    const fn channel(self) -> SshChannel {
        match self {
            ForwardKind::DirectTcpip => SshChannel::DirectTcpip,
            ForwardKind::TcpipForward => SshChannel::TcpipForward,
            ForwardKind::ForwardedTcpip => SshChannel::ForwardedTcpip,
            ForwardKind::DirectStreamlocal => SshChannel::DirectStreamlocal,
            ForwardKind::StreamlocalForward => SshChannel::StreamlocalForward,
            ForwardKind::ForwardedStreamlocal => SshChannel::ForwardedStreamlocal,
            ForwardKind::X11 => SshChannel::X11,
            ForwardKind::Agent => SshChannel::Agent,
            ForwardKind::Tun => SshChannel::Tun,
        }
    }
}

/// What happens over SSH: all given fields must hold. Empty lists are not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshMatch {
    /// Channels and requests.
    pub channels: Vec<SshChannel>,
    /// Commands and programs.
    pub commands: Vec<Glob>,
    /// Commands word for word.
    pub argv: Vec<Vec<Glob>>,
    /// Subsystems.
    pub subsystems: Vec<Glob>,
    /// All subsystems but these.
    pub except_subsystems: Vec<Glob>,
    /// Forwarding of any kind.
    pub forwarding: bool,
    /// Where forwarded connections go: `host:port`, or the path of a socket.
    pub destinations: Vec<Glob>,
    /// Environment variables.
    pub env: Vec<Glob>,
    /// File operations.
    pub sftp: Option<SftpMatch>,
}

/// What happens over SFTP: all given fields must hold. Empty lists are not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SftpMatch {
    /// Operations.
    pub operations: Vec<SftpOperation>,
    /// Paths.
    pub paths: Vec<Glob>,
}
