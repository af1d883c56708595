//! An account of one SFTP connection: which requests are under way, which files are open, what each
//! answer carries.
//!
//! Invariant: at most [`MAX_OUTSTANDING`] requests and [`MAX_OPEN`] files are kept; what goes beyond,
//! and what does not fit the account, is an error and ends the channel.

use std::collections::HashMap;
use std::ops::Range;

use super::packet::{HEADER, Request, Response, fstat, straightened};
use super::path::normalised;
use super::{Attributes, code};
use crate::ProtocolError;

mod links;

pub use links::Link;

/// Requests under way, at most.
pub const MAX_OUTSTANDING: usize = 4096;
/// Open files and directories, at most.
pub const MAX_OPEN: usize = 1024;
/// Length of a handle, at most; the draft's own limit.
const MAX_HANDLE: usize = 256;
/// Length of a path, at most: Linux takes 4096.
const MAX_PATH: usize = 16 * 1024;

const READ: u32 = 1;
const WRITE: u32 = 2;
const APPEND: u32 = 4;
const CREATE_OR_TRUNCATE: u32 = 8 | 16;

/// What a rule may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Opens a file for reading.
    Read,
    /// Opens a file for writing, creates or truncates it.
    Write,
    /// Opens a file for appending.
    Append,
    /// Lists a directory.
    List,
    /// Asks for attributes.
    Stat,
    /// Removes a file.
    Remove,
    /// Renames.
    Rename,
    /// Makes a directory.
    MakeDirectory,
    /// Removes a directory.
    RemoveDirectory,
    /// Changes attributes.
    SetStat,
    /// Makes a symbolic link.
    Symlink,
    /// Makes a hard link.
    HardLink,
    /// Reads a symbolic link.
    ReadLink,
    /// Asks for the canonical form of a path.
    RealPath,
    /// Asks for the state of a file system.
    Statfs,
    /// Any other extension.
    Extended,
}

/// An open file or directory, for as long as the connection lives; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u64);

/// An open file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path, normalised.
    pub path: Vec<u8>,
    /// It can be read.
    pub reads: bool,
    /// It can be written.
    pub writes: bool,
    /// It was opened for changing what is in it, and not only for appending.
    pub rewrites: bool,
    /// It is a directory.
    pub directory: bool,
}

/// What the client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The number of the request; none for the first packet.
    pub id: Option<u32>,
    /// What it is.
    pub what: What,
    /// What goes to the server in the place of the packet, so that it finds what was judged: paths are
    /// judged by their text, and the server follows links before it goes up by `..`.
    pub instead: Option<Vec<u8>>,
}

/// One request, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The first packet. Send [`INIT`](super::INIT) in its place.
    Init {
        /// The highest version that the client speaks.
        version: u32,
    },
    /// Something that rules are about.
    Operation {
        /// All of these.
        operations: Vec<Operation>,
        /// Paths, normalised: one, or two where two are named.
        paths: Vec<Vec<u8>>,
        /// The open file whose content goes elsewhere.
        copies: Option<FileId>,
        /// The file, by the name that the server knows, that gets a name in another directory. Where it is
        /// a link, it may lead elsewhere from there.
        moves: Option<Vec<u8>>,
    },
    /// Bytes of an open file are wanted.
    Read {
        /// Which.
        file: FileId,
        /// From where.
        offset: u64,
        /// How many at most.
        length: u32,
    },
    /// Bytes for an open file.
    Write {
        /// Which.
        file: FileId,
        /// Where to.
        offset: u64,
        /// Where in the packet they are.
        data: Range<usize>,
    },
    /// A file is closed.
    Close {
        /// Which.
        file: FileId,
    },
    /// Nothing that a rule is about.
    Harmless,
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The first packet.
    Version,
    /// A file or directory is open.
    Opened {
        /// Whose answer it is.
        id: u32,
        /// How it is called from now on.
        file: FileId,
    },
    /// Bytes of a file.
    Data {
        /// Which.
        file: FileId,
        /// From where.
        offset: u64,
        /// Where in the packet they are.
        data: Range<usize>,
    },
    /// The end of a file.
    End {
        /// Which.
        file: FileId,
    },
    /// Bytes were written, or not.
    Written {
        /// Which.
        file: FileId,
        /// Where to.
        offset: u64,
        /// How many.
        length: u64,
        /// Whether they were.
        done: bool,
    },
    /// A file is closed.
    Closed {
        /// Which; it is no longer known.
        id: FileId,
        /// What it was.
        file: File,
    },
    /// What Weir itself has asked: how large an open file is.
    Size {
        /// Which.
        file: FileId,
        /// In bytes; none where the server does not say.
        size: Option<u64>,
    },
    /// What Weir itself has asked: where a file leads.
    Link(Link),
    /// An operation has ended otherwise.
    Done {
        /// Whose answer it is.
        id: u32,
        /// Whether it was done.
        done: bool,
        /// What the answer says of a file.
        attributes: Option<Attributes>,
    },
}

/// A DATA packet, of which the header is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whose answer it is.
    pub id: u32,
    /// Which file.
    pub file: FileId,
    /// From where.
    pub offset: u64,
    /// How many bytes follow the header. They end the packet.
    pub length: usize,
}

#[derive(Clone, Debug)]
enum Pending {
    Open(File),
    Read {
        file: FileId,
        offset: u64,
        length: u32,
    },
    Write {
        file: FileId,
        offset: u64,
        length: u64,
    },
    Close {
        handle: Vec<u8>,
    },
    /// Asked by Weir, as is the next.
    Size(FileId),
    Link,
    /// The client asks where it is.
    Home,
    Other,
}

/// The account.
#[derive(Debug, Default)]
pub struct Tracker {
    pending: HashMap<u32, Pending>,
    handles: HashMap<Vec<u8>, FileId>,
    files: HashMap<FileId, File>,
    home: Option<Vec<u8>>,
    opened: u64,
    begun: bool,
    versioned: bool,
}

impl Tracker {
    /// An account of a connection that begins.
    pub fn new() -> Tracker {
        Tracker::default()
    }

    /// An open file.
    pub fn file(&self, id: FileId) -> Option<&File> {
        self.files.get(&id)
    }

    /// Everything that is open.
    pub fn files(&self) -> impl Iterator<Item = (FileId, &File)> {
        self.files.iter().map(|(id, file)| (*id, file))
    }

    /// Where relative paths begin, once the server has said so.
    pub fn home(&self) -> Option<&[u8]> {
        self.home.as_deref()
    }

    /// Requests under way.
    pub fn outstanding(&self) -> usize {
        self.pending.len()
    }

    /// The file that the request under way with this number reads, and from where.
    pub fn reads(&self, id: u32) -> Option<(FileId, u64)> {
        match self.pending.get(&id) {
            Some(Pending::Read { file, offset, .. }) => Some((*file, *offset)),
            _ => None,
        }
    }

    /// A request of Weir's own for the size of an open file; the server's answer is
    /// [`Answer::Size`]. None: the file is not open, or too many requests are under way.
    pub fn ask_size(&mut self, file: FileId) -> Option<Vec<u8>> {
        if self.pending.len() >= MAX_OUTSTANDING {
            return None;
        }
        let (handle, _) = self.handles.iter().find(|(_, id)| **id == file)?;
        // Clients count from the other end.
        let id = (0..=u32::MAX)
            .rev()
            .find(|id| !self.pending.contains_key(id))?;
        let packet = fstat(id, handle);
        self.pending.insert(id, Pending::Size(file));
        Some(packet)
    }

    /// What the packet of the server that begins with these bytes delivers, if it is a DATA packet that
    /// answers a request under way. None says nothing about it: its whole may still do so.
    pub fn delivery(&self, front: &[u8]) -> Option<Delivery> {
        let (whole, rest) = front.split_first_chunk::<4>()?;
        let (103, rest) = rest.split_first()? else {
            return None;
        };
        let (id, rest) = rest.split_first_chunk::<4>()?;
        let (length, _) = rest.split_first_chunk::<4>()?;
        let whole = u32::from_be_bytes(*whole) as usize;
        let (id, length) = (u32::from_be_bytes(*id), u32::from_be_bytes(*length));
        let Some(Pending::Read {
            file,
            offset,
            length: most,
        }) = self.pending.get(&id)
        else {
            return None;
        };
        let fits = length <= *most && whole <= super::MAX_PACKET;
        let length = length as usize;
        (fits && whole.checked_sub(HEADER - 4) == Some(length)).then_some(Delivery {
            id,
            file: *file,
            offset: *offset,
            length,
        })
    }

    /// A [`Delivery`] goes on.
    pub fn delivered(&mut self, id: u32) {
        self.pending.remove(&id);
    }

    /// A whole packet of the client. The request counts as sent to the server, unless
    /// [`refused`](Tracker::refused) says otherwise.
    ///
    /// # Errors
    /// Where it is no request, names no open file, or goes beyond the bounds.
    pub fn request(&mut self, packet: &[u8]) -> Result<Asked, ProtocolError> {
        let (id, request) = Request::parse(packet)?;
        let Some(id) = id else {
            let Request::Init { version } = request else {
                return Err(ProtocolError::Unexpected(0));
            };
            if std::mem::replace(&mut self.begun, true) {
                return Err(ProtocolError::Unexpected(1));
            }
            if version < 3 {
                return Err(ProtocolError::Version(version));
            }
            let what = What::Init { version };
            return Ok(Asked {
                id: None,
                what,
                instead: None,
            });
        };
        if !self.begun {
            return Err(ProtocolError::Unexpected(
                packet.get(4).copied().unwrap_or(0),
            ));
        }
        if self.pending.contains_key(&id) {
            return Err(ProtocolError::DuplicateRequest(id));
        }
        if self.pending.len() >= MAX_OUTSTANDING {
            return Err(ProtocolError::TooMany(MAX_OUTSTANDING, "requests"));
        }
        let (pending, what) = self.meaning(&request)?;
        let instead = match what {
            What::Operation { .. } => straightened(packet)?,
            _ => None,
        };
        self.pending.insert(id, pending);
        Ok(Asked {
            id: Some(id),
            what,
            instead,
        })
    }

    /// A request was answered by Weir and does not reach the server.
    pub fn refused(&mut self, id: u32) {
        self.pending.remove(&id);
    }

    /// A whole packet of the server.
    ///
    /// # Errors
    /// Where it is no answer, or not one to a request under way.
    pub fn response(&mut self, packet: &[u8]) -> Result<Answer, ProtocolError> {
        let (id, response) = Response::parse(packet)?;
        let kind = packet.get(4).copied().unwrap_or(0);
        let Some(id) = id else {
            let Response::Version { version } = response else {
                return Err(ProtocolError::Unexpected(kind));
            };
            if std::mem::replace(&mut self.versioned, true) {
                return Err(ProtocolError::Unexpected(kind));
            }
            return if version == 3 {
                Ok(Answer::Version)
            } else {
                Err(ProtocolError::Version(version))
            };
        };
        let pending = self
            .pending
            .remove(&id)
            .ok_or(ProtocolError::UnknownRequest(id))?;
        match (pending, response) {
            (Pending::Open(file), Response::Handle { handle }) => self.open(id, file, handle),
            (
                Pending::Read {
                    file,
                    offset,
                    length,
                },
                Response::Data { data },
            ) => {
                if data.len() > length as usize {
                    return Err(ProtocolError::Length(data.len()));
                }
                Ok(Answer::Data { file, offset, data })
            }
            (Pending::Read { file, .. }, Response::Status { code: code::EOF }) => {
                Ok(Answer::End { file })
            }
            (
                Pending::Write {
                    file,
                    offset,
                    length,
                },
                Response::Status { code },
            ) => Ok(Answer::Written {
                file,
                offset,
                length,
                done: code == code::OK,
            }),
            (Pending::Close { handle }, Response::Status { code }) => {
                let file = self
                    .handles
                    .remove(&handle)
                    .and_then(|id| Some((id, self.files.remove(&id)?)));
                match file {
                    Some((id, file)) => Ok(Answer::Closed { id, file }),
                    // It was closed twice.
                    None => Ok(done(id, code == code::OK)),
                }
            }
            (Pending::Size(file), Response::Attributes(attributes)) => {
                let size = attributes.size;
                Ok(Answer::Size { file, size })
            }
            (Pending::Size(file), Response::Status { .. }) => Ok(Answer::Size { file, size: None }),
            (Pending::Link, response) => links::answer(&response, kind).map(Answer::Link),
            (Pending::Size(_), _) => Err(ProtocolError::Unexpected(kind)),
            (Pending::Home, Response::Name { first }) => {
                self.home = first
                    .filter(|path| path.starts_with(b"/"))
                    .map(<[u8]>::to_vec);
                Ok(done(id, true))
            }
            (_, Response::Status { code }) => Ok(done(id, code == code::OK)),
            // Only what was asked for can be answered so.
            (_, Response::Handle { .. } | Response::Data { .. } | Response::Version { .. }) => {
                Err(ProtocolError::Unexpected(kind))
            }
            (_, Response::Attributes(attributes)) => Ok(Answer::Done {
                id,
                done: true,
                attributes: Some(attributes),
            }),
            (_, Response::Name { .. } | Response::Extended) => Ok(done(id, true)),
        }
    }

    fn open(&mut self, id: u32, file: File, handle: &[u8]) -> Result<Answer, ProtocolError> {
        if handle.len() > MAX_HANDLE {
            return Err(ProtocolError::Length(handle.len()));
        }
        if self.files.len() >= MAX_OPEN {
            return Err(ProtocolError::TooMany(MAX_OPEN, "open files"));
        }
        let own = FileId(self.opened);
        if self.handles.contains_key(handle) {
            // Two files by one name could not be told apart.
            return Err(ProtocolError::UnknownHandle);
        }
        self.opened += 1;
        self.handles.insert(handle.to_vec(), own);
        self.files.insert(own, file);
        Ok(Answer::Opened { id, file: own })
    }

    fn named(&self, handle: &[u8]) -> Result<FileId, ProtocolError> {
        self.handles
            .get(handle)
            .copied()
            .ok_or(ProtocolError::UnknownHandle)
    }

    fn path_of(&self, handle: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        let id = self.named(handle)?;
        let file = self.files.get(&id).ok_or(ProtocolError::UnknownHandle)?;
        Ok(file.path.clone())
    }

    fn meaning(&self, request: &Request<'_>) -> Result<(Pending, What), ProtocolError> {
        let path = |path: &[u8]| {
            if path.len() > MAX_PATH {
                return Err(ProtocolError::Length(path.len()));
            }
            if path.contains(&0) {
                return Err(ProtocolError::ZeroByte);
            }
            Ok(normalised(path, self.home.as_deref()))
        };
        let asks = |operations: &[Operation], paths: Vec<Vec<u8>>| {
            let operations = operations.to_vec();
            let what = What::Operation {
                operations,
                paths,
                copies: None,
                moves: None,
            };
            Ok((Pending::Other, what))
        };
        match request {
            Request::Init { .. } => Err(ProtocolError::Unexpected(1)),
            Request::Open { path: name, flags } => {
                let mut operations = Vec::new();
                // What is not opened for writing is opened for reading, whatever else is said.
                let reads = flags & READ != 0 || flags & WRITE == 0;
                if reads {
                    operations.push(Operation::Read);
                }
                if flags & APPEND != 0 {
                    operations.push(Operation::Append);
                }
                // Creating and truncating change the file, whatever else was asked for.
                if flags & CREATE_OR_TRUNCATE != 0 || (flags & WRITE != 0 && flags & APPEND == 0) {
                    operations.push(Operation::Write);
                }
                let path = path(name)?;
                let file = File {
                    path: path.clone(),
                    reads,
                    writes: flags & (WRITE | APPEND | CREATE_OR_TRUNCATE) != 0,
                    rewrites: operations.contains(&Operation::Write),
                    directory: false,
                };
                let what = What::Operation {
                    operations,
                    paths: vec![path],
                    copies: None,
                    moves: None,
                };
                Ok((Pending::Open(file), what))
            }
            Request::OpenDirectory { path: name } => {
                let path = path(name)?;
                let file = File {
                    path: path.clone(),
                    reads: true,
                    writes: false,
                    rewrites: false,
                    directory: true,
                };
                let operations = vec![Operation::List];
                let what = What::Operation {
                    operations,
                    paths: vec![path],
                    copies: None,
                    moves: None,
                };
                Ok((Pending::Open(file), what))
            }
            Request::Close { handle } => {
                let file = self.named(handle)?;
                let handle = handle.to_vec();
                Ok((Pending::Close { handle }, What::Close { file }))
            }
            Request::Read {
                handle,
                offset,
                length,
            } => {
                let (file, offset, length) = (self.named(handle)?, *offset, *length);
                Ok((
                    Pending::Read {
                        file,
                        offset,
                        length,
                    },
                    What::Read {
                        file,
                        offset,
                        length,
                    },
                ))
            }
            Request::Write {
                handle,
                offset,
                data,
            } => {
                let (file, offset, length) = (self.named(handle)?, *offset, data.len() as u64);
                let data = data.clone();
                Ok((
                    Pending::Write {
                        file,
                        offset,
                        length,
                    },
                    What::Write { file, offset, data },
                ))
            }
            Request::Stat { path: name } => asks(&[Operation::Stat], vec![path(name)?]),
            // Another size is another content.
            Request::SetStat { path: name, size } => asks(changes(*size), vec![path(name)?]),
            Request::FSetStat { handle, size } => {
                let file = self.files.get(&self.named(handle)?);
                let rewrites = file.is_some_and(|file| file.rewrites);
                asks(changes(*size && !rewrites), vec![self.path_of(handle)?])
            }
            Request::Remove { path: name } => asks(&[Operation::Remove], vec![path(name)?]),
            Request::MakeDirectory { path: name } => {
                asks(&[Operation::MakeDirectory], vec![path(name)?])
            }
            Request::RemoveDirectory { path: name } => {
                asks(&[Operation::RemoveDirectory], vec![path(name)?])
            }
            Request::RealPath { path: name } => {
                let (_, what) = asks(&[Operation::RealPath], vec![path(name)?])?;
                let home = matches!(*name, b"." | b"./");
                Ok((if home { Pending::Home } else { Pending::Other }, what))
            }
            Request::Rename { from, to } => {
                let paths = [path(from)?, path(to)?];
                Ok((Pending::Other, links::moved(Operation::Rename, from, paths)))
            }
            Request::ReadLink { path: name } => asks(&[Operation::ReadLink], vec![path(name)?]),
            Request::Symlink { target, link } => {
                let link = path(link)?;
                path(target)?;
                let target = self.leads(target, &link)?;
                asks(&[Operation::Symlink], vec![target, link])
            }
            Request::HardLink { from, to } => {
                let paths = [path(from)?, path(to)?];
                Ok((
                    Pending::Other,
                    links::moved(Operation::HardLink, from, paths),
                ))
            }
            Request::Statfs { path: name } => asks(&[Operation::Statfs], vec![path(name)?]),
            Request::CopyData { from, to } => {
                let what = What::Operation {
                    operations: vec![Operation::Read, Operation::Write],
                    paths: vec![self.path_of(from)?, self.path_of(to)?],
                    copies: Some(self.named(from)?),
                    moves: None,
                };
                Ok((Pending::Other, what))
            }
            Request::Harmless => Ok((Pending::Other, What::Harmless)),
            Request::Extended { .. } => asks(&[Operation::Extended], Vec::new()),
        }
    }
}

/// What a change of attributes is; of the size, too.
const fn changes(size: bool) -> &'static [Operation] {
    match size {
        true => &[Operation::SetStat, Operation::Write],
        false => &[Operation::SetStat],
    }
}

const fn done(id: u32, done: bool) -> Answer {
    Answer::Done {
        id,
        done,
        attributes: None,
    }
}
