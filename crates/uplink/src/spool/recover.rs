//! What an earlier process left: verify it, cut a torn tail, and say what is missing.
//!
//! Invariant: nothing that was whole and chained is dropped; a damaged tail is cut only from the
//! newest segment, and always becomes a finding.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_audit::{
    Body, EngineId, Finding, FindingCode, FrameReader, Hash, Previous, SessionId, genesis,
};

use super::segment::{self, Head, Segment};
use super::{SpoolConfig, SpoolError};

/// Where the new epoch goes on.
pub(super) struct Recovered {
    pub(super) engine: EngineId,
    pub(super) epoch: u32,
    pub(super) hash: Hash,
    pub(super) last: (u32, u64),
    pub(super) previous: Option<Previous>,
    pub(super) findings: Vec<Finding>,
    pub(super) segments: Vec<Segment>,
    pub(super) next_segment: u64,
    pub(super) session_base: u64,
    /// Keeps other processes out for as long as it lives.
    pub(super) lock: File,
}

pub(super) fn recover(config: &SpoolConfig) -> Result<Recovered, SpoolError> {
    let dir = &config.dir;
    let failed = |error: io::Error| SpoolError::open(dir, &error);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed)?;
    let lock = lock(dir)?;
    let engine = engine(config)?;
    let mut walk = Walk::new(&engine);
    let files = segment::list(dir).map_err(failed)?;
    let newest = files.last().map(|(id, _)| *id);
    for (id, path) in files {
        let bytes = segment::read(&path).map_err(failed)?;
        walk.segment(id, path, &bytes, Some(id) == newest)
            .map_err(failed)?;
    }
    let epoch = walk.last.0.saturating_add(1);
    let previous = (walk.last.0 > 0).then_some(Previous {
        epoch: walk.last.0,
        last_seq: walk.last.1,
        clean: walk.clean,
    });
    walk.conclude();
    Ok(Recovered {
        session_base: RandomState::new().hash_one((engine.as_str(), epoch)),
        engine,
        epoch,
        hash: walk.hash,
        last: walk.last,
        previous,
        findings: walk.findings,
        next_segment: newest.unwrap_or_default() + 1,
        segments: walk.segments,
        lock,
    })
}

fn lock(dir: &Path) -> Result<File, SpoolError> {
    let path = dir.join("lock");
    let failed = |error: io::Error| SpoolError::open(&path, &error);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    file.try_lock().map_err(|_| SpoolError::Open {
        path: path.clone(),
        reason: "another process uses it".into(),
    })?;
    Ok(file)
}

fn engine(config: &SpoolConfig) -> Result<EngineId, SpoolError> {
    let path = config.dir.join("engine");
    let failed = |error: io::Error| SpoolError::open(&path, &error);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let kept: EngineId = text.trim().parse().map_err(|_| SpoolError::Open {
                path: path.clone(),
                reason: "it does not hold an engine id".into(),
            })?;
            match &config.engine {
                Some(wanted) if *wanted != kept => Err(SpoolError::Open {
                    path: path.clone(),
                    reason: format!("it belongs to engine {kept}").into(),
                }),
                _ => Ok(kept),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let drawn = SessionId::new(RandomState::new().hash_one(std::process::id()));
            let drawn = drawn.to_string();
            let engine = match &config.engine {
                Some(engine) => engine.clone(),
                None => drawn
                    .get(3..)
                    .unwrap_or(&drawn)
                    .parse()
                    .map_err(|_| SpoolError::Closed)?,
            };
            std::fs::write(&path, engine.as_str()).map_err(failed)?;
            Ok(engine)
        }
        Err(error) => Err(failed(error)),
    }
}

struct Walk {
    engine: EngineId,
    hash: Hash,
    last: (u32, u64),
    clean: bool,
    open: HashSet<u64>,
    findings: Vec<Finding>,
    segments: Vec<Segment>,
}

impl Walk {
    fn new(engine: &EngineId) -> Self {
        Self {
            engine: engine.clone(),
            hash: genesis(engine),
            last: (0, 0),
            clean: true,
            open: HashSet::new(),
            findings: Vec::new(),
            segments: Vec::new(),
        }
    }

    fn segment(&mut self, id: u64, path: PathBuf, bytes: &[u8], newest: bool) -> io::Result<()> {
        let Some((head, start)) = Head::decode(bytes) else {
            self.find(
                FindingCode::TornTail,
                "a spool segment has no valid head and was set aside",
            );
            return std::fs::rename(&path, path.with_extension("bad"));
        };
        if head.engine != self.engine {
            self.find(
                FindingCode::ChainBroken,
                "a spool segment belongs to another engine",
            );
            return std::fs::rename(&path, path.with_extension("bad"));
        }
        if self.segments.is_empty() {
            (self.hash, self.last) = (head.previous, head.last);
            self.open = head.open.into_iter().collect();
        } else if self.hash != head.previous {
            self.find(
                FindingCode::ChainBroken,
                "a spool segment does not continue the one before",
            );
            self.hash = head.previous;
        }
        let frames = bytes.get(start..).unwrap_or_default();
        let mut reader = FrameReader::new(frames, self.hash);
        let damage = loop {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    let events = frame.events(&self.engine).unwrap_or_default();
                    events
                        .iter()
                        .for_each(|event| self.note(&event.body, event.session.as_deref()));
                    self.last = (frame.epoch(), frame.last_seq());
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        self.hash = reader.previous();
        let length = start + reader.offset();
        if let Some(error) = damage {
            let cut = bytes.len() - length;
            let after = self.last.1;
            let what = format!("{error}: {cut} bytes after event {after} were cut off");
            let code = if newest {
                FindingCode::TornTail
            } else {
                FindingCode::ChainBroken
            };
            self.find(code, what);
            self.clean = false;
            std::fs::copy(&path, path.with_extension("torn"))?;
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(length as u64)?;
            file.sync_all()?;
        }
        self.segments.push(Segment {
            id,
            path,
            start: start as u64,
            previous: head.previous,
            durable_len: length as u64,
            last: self.last,
            sealed: true,
        });
        Ok(())
    }

    fn note(&mut self, body: &Body, session: Option<&weir_audit::Session>) {
        self.clean = matches!(body, Body::EngineStopped(_));
        match (body, session) {
            (Body::EngineStarted(_), _) => self.open.clear(),
            (Body::ConnectionOpened(_), Some(session)) => {
                self.open.insert(session.id.as_u64());
            }
            (Body::ConnectionClosed(_), Some(session)) => {
                self.open.remove(&session.id.as_u64());
            }
            _ => {}
        }
    }

    fn conclude(&mut self) {
        if self.last.0 > 0 && !self.clean {
            let (epoch, seq) = self.last;
            let what = format!(
                "the engine ended without saying so in epoch {epoch}; events after {seq} that were \
                 not yet on disk are lost"
            );
            self.find(FindingCode::UncleanShutdown, what);
        }
        let mut open: Vec<u64> = std::mem::take(&mut self.open).into_iter().collect();
        open.sort_unstable();
        for id in open {
            let id = SessionId::new(id);
            self.findings.push(Finding {
                code: FindingCode::UnclosedSession,
                message: format!("session {id} began and its end was never recorded").into(),
                subject: Some(id),
                engine: None,
            });
        }
    }

    fn find(&mut self, code: FindingCode, message: impl Into<Arc<str>>) {
        self.findings.push(Finding {
            code,
            message: message.into(),
            subject: None,
            engine: None,
        });
    }
}
