//! Views of packets, and the ones that Weir writes itself.

use std::ops::Range;

use super::path::straight;
use crate::ProtocolError;

/// Bytes of a DATA packet before those of the file: its length, type, number, and how many follow.
pub const HEADER: usize = 13;

/// A packet of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The first packet.
    Init {
        /// The highest version that the client speaks.
        version: u32,
    },
    /// Opens a file.
    Open {
        /// Its name.
        path: &'a [u8],
        /// `SSH_FXF_…`
        flags: u32,
    },
    /// Closes a file or directory.
    Close {
        /// Which.
        handle: &'a [u8],
    },
    /// Asks for bytes of a file.
    Read {
        /// Which.
        handle: &'a [u8],
        /// From where.
        offset: u64,
        /// How many at most.
        length: u32,
    },
    /// Gives bytes to a file.
    Write {
        /// Which.
        handle: &'a [u8],
        /// Where to.
        offset: u64,
        /// Where in the packet they are.
        data: Range<usize>,
    },
    /// `STAT` and `LSTAT`.
    Stat {
        /// Of what.
        path: &'a [u8],
    },
    /// `SETSTAT`, and `lsetstat@openssh.com`.
    SetStat {
        /// Of what.
        path: &'a [u8],
        /// Its size is among what changes.
        size: bool,
    },
    /// Attributes of an open file are changed.
    FSetStat {
        /// Of which.
        handle: &'a [u8],
        /// Its size is among what changes.
        size: bool,
    },
    /// Opens a directory.
    OpenDirectory {
        /// Its name.
        path: &'a [u8],
    },
    /// Removes a file.
    Remove {
        /// Its name.
        path: &'a [u8],
    },
    /// Makes a directory.
    MakeDirectory {
        /// Its name.
        path: &'a [u8],
    },
    /// Removes a directory.
    RemoveDirectory {
        /// Its name.
        path: &'a [u8],
    },
    /// Asks for the canonical form of a path; `expand-path@openssh.com` and `home-directory` too.
    RealPath {
        /// Of which; empty for a user's home.
        path: &'a [u8],
    },
    /// `RENAME` and `posix-rename@openssh.com`.
    Rename {
        /// The old name.
        from: &'a [u8],
        /// The new name.
        to: &'a [u8],
    },
    /// Reads a symbolic link.
    ReadLink {
        /// Its name.
        path: &'a [u8],
    },
    /// Makes a symbolic link.
    Symlink {
        /// What it says.
        target: &'a [u8],
        /// Its name.
        link: &'a [u8],
    },
    /// `hardlink@openssh.com`.
    HardLink {
        /// The file.
        from: &'a [u8],
        /// Its other name.
        to: &'a [u8],
    },
    /// `statvfs@openssh.com`.
    Statfs {
        /// Where.
        path: &'a [u8],
    },
    /// `copy-data`: bytes go from one open file to another.
    CopyData {
        /// From which.
        from: &'a [u8],
        /// To which.
        to: &'a [u8],
    },
    /// Of an open file, or of the server: nothing else is touched.
    Harmless,
    /// Any other extension.
    Extended {
        /// Its name.
        name: &'a [u8],
    },
}

/// A packet of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// The first packet.
    Version {
        /// The version that is spoken.
        version: u32,
    },
    /// How a request ended.
    Status {
        /// See [`code`](super::code).
        code: u32,
    },
    /// A file or directory is open.
    Handle {
        /// Its handle.
        handle: &'a [u8],
    },
    /// Bytes of a file.
    Data {
        /// Where in the packet they are.
        data: Range<usize>,
    },
    /// Names; the first of them.
    Name {
        /// The first, if any.
        first: Option<&'a [u8]>,
    },
    /// Attributes.
    Attributes(Attributes),
    /// The answer of an extension.
    Extended,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Its mode.
    pub mode: Option<u32>,
}

/// Reads fields of a packet. `at` counts from the packet's first byte.
struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader behind the length and the type.
    fn new(packet: &'a [u8]) -> Result<(u8, Reader<'a>), ProtocolError> {
        let kind = packet.get(4).copied().ok_or(ProtocolError::Truncated)?;
        Ok((kind, Reader { packet, at: 5 }))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let rest = self.packet.get(self.at..).unwrap_or_default();
        let (field, _) = rest
            .split_first_chunk::<N>()
            .ok_or(ProtocolError::Truncated)?;
        self.at += N;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, ProtocolError> {
        self.array().map(u64::from_be_bytes)
    }

    fn range(&mut self) -> Result<Range<usize>, ProtocolError> {
        let length = self.u32()? as usize;
        let end = self
            .at
            .checked_add(length)
            .ok_or(ProtocolError::Truncated)?;
        if end > self.packet.len() {
            return Err(ProtocolError::Truncated);
        }
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn string(&mut self) -> Result<&'a [u8], ProtocolError> {
        let range = self.range()?;
        self.packet.get(range).ok_or(ProtocolError::Truncated)
    }
}

impl<'a> Request<'a> {
    /// Reads a whole packet. The number is none for the first packet.
    ///
    /// # Errors
    /// Where a field does not fit or the type is none of a client.
    pub fn parse(packet: &'a [u8]) -> Result<(Option<u32>, Request<'a>), ProtocolError> {
        let (kind, mut r) = Reader::new(packet)?;
        if kind == 1 {
            return Ok((None, Request::Init { version: r.u32()? }));
        }
        if !matches!(kind, 3..=20 | 200) {
            return Err(ProtocolError::Unexpected(kind));
        }
        let id = r.u32()?;
        let request = match kind {
            3 => Request::Open {
                path: r.string()?,
                flags: r.u32()?,
            },
            4 => Request::Close {
                handle: r.string()?,
            },
            5 => Request::Read {
                handle: r.string()?,
                offset: r.u64()?,
                length: r.u32()?,
            },
            6 => Request::Write {
                handle: r.string()?,
                offset: r.u64()?,
                data: r.range()?,
            },
            7 | 17 => Request::Stat { path: r.string()? },
            8 | 12 => {
                r.string()?;
                Request::Harmless
            }
            9 => set_stat(&mut r)?,
            10 => Request::FSetStat {
                handle: r.string()?,
                size: r.u32()? & 1 != 0,
            },
            11 => Request::OpenDirectory { path: r.string()? },
            13 => Request::Remove { path: r.string()? },
            14 => Request::MakeDirectory { path: r.string()? },
            15 => Request::RemoveDirectory { path: r.string()? },
            16 => Request::RealPath { path: r.string()? },
            18 => Request::Rename {
                from: r.string()?,
                to: r.string()?,
            },
            19 => Request::ReadLink { path: r.string()? },
            // OpenSSH has the two the other way round than the draft, and so have its clients.
            20 => Request::Symlink {
                target: r.string()?,
                link: r.string()?,
            },
            _ => extended(&mut r)?,
        };
        Ok((Some(id), request))
    }
}

fn set_stat<'a>(r: &mut Reader<'a>) -> Result<Request<'a>, ProtocolError> {
    Ok(Request::SetStat {
        path: r.string()?,
        size: r.u32()? & 1 != 0,
    })
}

fn extended<'a>(r: &mut Reader<'a>) -> Result<Request<'a>, ProtocolError> {
    let name = r.string()?;
    Ok(match name {
        b"posix-rename@openssh.com" => Request::Rename {
            from: r.string()?,
            to: r.string()?,
        },
        b"hardlink@openssh.com" => Request::HardLink {
            from: r.string()?,
            to: r.string()?,
        },
        b"statvfs@openssh.com" => Request::Statfs { path: r.string()? },
        b"lsetstat@openssh.com" => set_stat(r)?,
        b"expand-path@openssh.com" => Request::RealPath { path: r.string()? },
        b"home-directory" => Request::RealPath { path: b"" },
        b"copy-data" => {
            let from = r.string()?;
            r.u64()?;
            r.u64()?;
            Request::CopyData {
                from,
                to: r.string()?,
            }
        }
        b"fstatvfs@openssh.com"
        | b"fsync@openssh.com"
        | b"limits@openssh.com"
        | b"users-groups-by-id@openssh.com" => Request::Harmless,
        name => Request::Extended { name },
    })
}

impl<'a> Response<'a> {
    /// Reads a whole packet. The number is none for the first packet.
    ///
    /// # Errors
    /// Where a field does not fit or the type is none of a server.
    pub fn parse(packet: &'a [u8]) -> Result<(Option<u32>, Response<'a>), ProtocolError> {
        let (kind, mut r) = Reader::new(packet)?;
        if kind == 2 {
            return Ok((None, Response::Version { version: r.u32()? }));
        }
        if !matches!(kind, 101..=105 | 201) {
            return Err(ProtocolError::Unexpected(kind));
        }
        let id = r.u32()?;
        let response = match kind {
            101 => Response::Status { code: r.u32()? },
            102 => Response::Handle {
                handle: r.string()?,
            },
            103 => Response::Data { data: r.range()? },
            104 => {
                let count = r.u32()?;
                Response::Name {
                    first: if count > 0 { Some(r.string()?) } else { None },
                }
            }
            105 => Response::Attributes(attributes(&mut r)?),
            _ => Response::Extended,
        };
        Ok((Some(id), response))
    }
}

fn attributes(r: &mut Reader<'_>) -> Result<Attributes, ProtocolError> {
    let flags = r.u32()?;
    let mut attributes = Attributes::default();
    if flags & 1 != 0 {
        attributes.size = Some(r.u64()?);
    }
    if flags & 2 != 0 {
        r.u64()?;
    }
    if flags & 4 != 0 {
        attributes.mode = Some(r.u32()?);
    }
    Ok(attributes)
}

/// A STATUS packet with its length field. The text is cut at 4096 bytes.
pub fn status(id: u32, code: u32, text: &str) -> Vec<u8> {
    let mut end = text.len().min(4096);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default();
    let mut body = vec![101];
    body.extend_from_slice(&id.to_be_bytes());
    body.extend_from_slice(&code.to_be_bytes());
    for field in [text, "en"] {
        body.extend_from_slice(&(field.len() as u32).to_be_bytes());
        body.extend_from_slice(field.as_bytes());
    }
    let mut packet = (body.len() as u32).to_be_bytes().to_vec();
    packet.extend_from_slice(&body);
    packet
}

/// A request whose paths lead up by `..` behind names, with these paths by their text alone. None where
/// it has none.
pub(super) fn straightened(packet: &[u8]) -> Result<Option<Vec<u8>>, ProtocolError> {
    let (kind, mut r) = Reader::new(packet)?;
    r.u32()?;
    let paths = match kind {
        3 | 7 | 9 | 11 | 13 | 14 | 15 | 17 | 19 => 1,
        18 => 2,
        20 => {
            // What a link says is not looked up here.
            r.string()?;
            1
        }
        200 => match r.string()? {
            b"posix-rename@openssh.com" | b"hardlink@openssh.com" => 2,
            b"statvfs@openssh.com" | b"lsetstat@openssh.com" => 1,
            _ => 0,
        },
        _ => 0,
    };
    let mut changed = packet.get(4..r.at).unwrap_or_default().to_vec();
    let mut changes = false;
    for _ in 0..paths {
        let path = r.string()?;
        let straight = straight(path);
        changes |= straight.is_some();
        let path = straight.as_deref().unwrap_or(path);
        changed.extend_from_slice(&(path.len() as u32).to_be_bytes());
        changed.extend_from_slice(path);
    }
    changed.extend_from_slice(packet.get(r.at..).unwrap_or_default());
    let length = (changed.len() as u32).to_be_bytes();
    Ok(changes.then(|| [&length, changed.as_slice()].concat()))
}

/// A request for the attributes of an open file.
pub(super) fn fstat(id: u32, handle: &[u8]) -> Vec<u8> {
    about(8, id, handle)
}

/// A request for what a link says.
pub(super) fn readlink(id: u32, path: &[u8]) -> Vec<u8> {
    about(19, id, path)
}

/// A request with one field.
fn about(kind: u8, id: u32, field: &[u8]) -> Vec<u8> {
    let mut packet = (9 + field.len() as u32).to_be_bytes().to_vec();
    packet.push(kind);
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&(field.len() as u32).to_be_bytes());
    packet.extend_from_slice(field);
    packet
}

/// The answer to a request that was refused: permission denied, and why.
pub fn denied(id: u32, why: &str) -> Vec<u8> {
    status(id, super::code::PERMISSION_DENIED, why)
}
