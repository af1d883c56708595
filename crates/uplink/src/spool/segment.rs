//! One segment file: a head that lets it stand alone, then frames.
//!
//! Head: magic, length, body, checksum of the body. The body states the engine, the link that the
//! first frame continues, and the sessions that were open when it began, so that earlier segments
//! can be deleted.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use weir_audit::{EngineId, Hash, link};

const MAGIC: &[u8; 8] = b"WEIRSPL1";
const MAX_HEAD: usize = 16 << 20;

/// A segment as others may see it.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) id: u64,
    pub(crate) path: PathBuf,
    /// Where its frames begin.
    pub(crate) start: u64,
    /// The link that its first frame continues.
    pub(crate) previous: Hash,
    /// How far it is on disk.
    pub(crate) durable_len: u64,
    /// Epoch and number of its last durable event.
    pub(crate) last: (u32, u64),
    /// Whether it grows no more.
    pub(crate) sealed: bool,
}

pub(super) struct Head {
    pub(super) engine: EngineId,
    pub(super) previous: Hash,
    pub(super) last: (u32, u64),
    pub(super) open: Vec<u64>,
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut body = vec![u8::try_from(self.engine.as_str().len()).unwrap_or(u8::MAX)];
        body.extend_from_slice(self.engine.as_str().as_bytes());
        body.extend_from_slice(&self.previous.0);
        body.extend_from_slice(&self.last.0.to_le_bytes());
        body.extend_from_slice(&self.last.1.to_le_bytes());
        self.open
            .iter()
            .for_each(|id| body.extend_from_slice(&id.to_le_bytes()));
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&body);
        out.extend_from_slice(&link(&Hash([0; 32]), &body).0);
        out
    }

    /// The head and where it ends; `None` if it is damaged.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if magic != MAGIC || length > MAX_HEAD {
            return None;
        }
        let (body, rest) = rest.split_at_checked(length)?;
        let (sum, _) = rest.split_first_chunk::<32>()?;
        if link(&Hash([0; 32]), body).0 != *sum {
            return None;
        }
        let (name, rest) = body.split_first()?;
        let (engine, rest) = rest.split_at_checked(usize::from(*name))?;
        let engine = std::str::from_utf8(engine).ok()?.parse().ok()?;
        let (previous, rest) = rest.split_first_chunk::<32>()?;
        let (epoch, rest) = rest.split_first_chunk::<4>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let open = rest
            .as_chunks::<8>()
            .0
            .iter()
            .map(|id| u64::from_le_bytes(*id))
            .collect();
        let last = (u32::from_le_bytes(*epoch), u64::from_le_bytes(*seq));
        Some((
            Self {
                engine,
                previous: Hash(*previous),
                last,
                open,
            },
            8 + 4 + length + 32,
        ))
    }
}

pub(super) fn path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:012}.seg"))
}

/// Creates the file with its head, synced, and makes its name durable.
pub(super) fn create(dir: &Path, id: u64, head: &Head) -> io::Result<(File, Segment)> {
    let path = path(dir, id);
    let bytes = head.encode();
    let written = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()?;
            File::open(dir)?.sync_all()?;
            Ok(file)
        });
    let file = written.inspect_err(|_| {
        let _ = std::fs::remove_file(&path);
    })?;
    let start = bytes.len() as u64;
    let segment = Segment {
        id,
        path,
        start,
        previous: head.previous,
        durable_len: start,
        last: head.last,
        sealed: false,
    };
    Ok((file, segment))
}

/// Segment files of a directory, in order.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "seg")
            && let Some(id) = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok())
        {
            found.push((id, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}
