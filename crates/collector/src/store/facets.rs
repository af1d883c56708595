//! What each event of a block is about, so that only frames with an answer are decoded.
//!
//! A block has two lists, its sessions (who, to what) and its *shapes* (kind, decision, tables, labels,
//! approver), and for each event one number of each. Everything is a number of the table `keys`.
//!
//! Stored form, before compression: varints. Frames: their number, then the events of each. Sessions:
//! their number, then each with id (8 bytes), identity, namespace, target. Shapes: their number, then
//! each with kind, decision, approver, tables and labels (each list with its length first). Then for
//! each event the number of its session and of its shape, from 1, 0 for no session. A key is 0 for none.
//!
//! Invariants
//! - What cannot be read leaves nothing out: the block is decoded whole.
//! - The keys and sessions that a block is found by are those that its facets mention: whoever deletes the block
//!   takes them from here, and no index leads from blocks to keys.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;
use weir_audit::{Body, Decision, Event, Names, Session};

use super::fast::FastMap;
use super::keys::{Keys, Kind};
use super::{CollectorError, pack};

const LEVEL: i32 = 3;
/// More than any block has.
const MAX_UNPACKED: usize = 256 << 20;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Shape {
    kind: &'static str,
    decision: Option<Decision>,
    approver: Option<Arc<str>>,
    tables: Names,
    labels: Names,
}

/// The facets of the block that is being filled.
#[derive(Default)]
pub(super) struct Facets {
    frames: Vec<usize>,
    sessions: Vec<Arc<Session>>,
    session_places: HashMap<u64, u64>,
    shapes: Vec<Shape>,
    shape_places: HashMap<Shape, u64>,
    events: Vec<(u64, u64)>,
}

/// A shape as one frame writes it: texts and lists are told apart by address.
type Written = (usize, Option<Decision>, usize, usize, usize);

impl Facets {
    /// Adds the events of one frame.
    pub(super) fn add(&mut self, events: &[Event]) {
        self.frames.push(events.len());
        let mut sessions: FastMap<usize, u64> = FastMap::default();
        let mut shapes: FastMap<Written, u64> = FastMap::default();
        for event in events {
            let session = match &event.session {
                None => 0,
                Some(session) => {
                    let address = Arc::as_ptr(session).addr();
                    *sessions
                        .entry(address)
                        .or_insert_with(|| self.session(session))
                }
            };
            let about = About::of(&event.body);
            let shape = *shapes
                .entry(about.written(event.body.kind()))
                .or_insert_with(|| self.shape(event.body.kind(), &about));
            self.events.push((session, shape));
        }
    }

    fn session(&mut self, session: &Arc<Session>) -> u64 {
        let sessions = &mut self.sessions;
        let place = self.session_places.entry(session.id.as_u64());
        *place.or_insert_with(|| {
            sessions.push(Arc::clone(session));
            sessions.len() as u64
        })
    }

    fn shape(&mut self, kind: &'static str, about: &About<'_>) -> u64 {
        let list = |names: Option<&Names>| names.cloned().unwrap_or_default();
        let shape = Shape {
            kind,
            decision: about.decision,
            approver: about.approver.cloned(),
            tables: list(about.tables),
            labels: list(about.labels),
        };
        let shapes = &mut self.shapes;
        *self.shape_places.entry(shape).or_insert_with_key(|shape| {
            shapes.push(shape.clone());
            shapes.len() as u64
        })
    }

    /// The stored form, and what is mentioned in it.
    pub(super) fn pack(
        &self,
        store: &Connection,
        keys: &mut Keys<'_>,
    ) -> Result<(Vec<u8>, Mentioned), CollectorError> {
        let (mut mentioned, mut sessions) = (Vec::new(), Vec::new());
        let mut mention = |out: &mut Vec<u8>, number: i64| {
            mentioned.push(number.unsigned_abs());
            put(out, number.unsigned_abs());
        };
        let mut out = Vec::with_capacity(4 * self.events.len() + 1024);
        put(&mut out, self.frames.len() as u64);
        for events in &self.frames {
            put(&mut out, *events as u64);
        }
        put(&mut out, self.sessions.len() as u64);
        for session in &self.sessions {
            let identity = &session.identity;
            sessions.push(session.id.as_u64());
            out.extend_from_slice(&session.id.as_u64().to_le_bytes());
            for (kind, name) in [
                (Kind::Identity, Some(&identity.name)),
                (Kind::Namespace, identity.namespace.as_ref()),
                (Kind::Target, session.target.as_ref()),
            ] {
                mention(&mut out, keys.number_or_none(store, kind, name)?);
            }
        }
        put(&mut out, self.shapes.len() as u64);
        for shape in &self.shapes {
            mention(&mut out, keys.number_of(store, Kind::Body, shape.kind)?);
            let decision = shape.decision.map_or(Ok(0), |decision| {
                keys.number_of(store, Kind::Decision, decision.as_str())
            });
            mention(&mut out, decision?);
            let approver = shape.approver.as_ref();
            mention(
                &mut out,
                keys.number_or_none(store, Kind::Approver, approver)?,
            );
            for (kind, names) in [(Kind::Table, &shape.tables), (Kind::Label, &shape.labels)] {
                put(&mut out, names.len() as u64);
                for name in names.as_slice() {
                    mention(&mut out, keys.number(store, kind, name)?);
                }
            }
        }
        // A column is more alike than rows are.
        self.events
            .iter()
            .for_each(|(session, _)| put(&mut out, *session));
        self.events
            .iter()
            .for_each(|(_, shape)| put(&mut out, *shape));
        let mut packed = (out.len() as u64).to_le_bytes().to_vec();
        packed.extend(pack::compress(&out, LEVEL)?);
        Ok((packed, Mentioned::new(mentioned, sessions)))
    }
}

/// What an event says about itself.
struct About<'a> {
    decision: Option<Decision>,
    approver: Option<&'a Arc<str>>,
    tables: Option<&'a Names>,
    labels: Option<&'a Names>,
}

impl<'a> About<'a> {
    fn of(body: &'a Body) -> Self {
        let statement = match body {
            Body::StatementStarted(started) => Some(&started.statement),
            Body::StatementFinished(finished) => Some(&finished.statement),
            _ => None,
        };
        Self {
            decision: statement.map(|statement| statement.decision),
            approver: match body {
                Body::AccessRequestDecided(decided) => Some(&decided.approver),
                _ => None,
            },
            tables: statement.map(|statement| &statement.tables),
            labels: match body {
                Body::AccessRequestCreated(request) => Some(&request.labels),
                _ => statement.map(|statement| &statement.labels),
            },
        }
    }

    fn written(&self, kind: &'static str) -> Written {
        let names = |names: Option<&Names>| match names {
            Some(names) if !names.is_empty() => names.as_slice().as_ptr().addr(),
            _ => 0,
        };
        let approver = self.approver.map_or(0, |name| name.as_ptr().addr());
        (
            kind.as_ptr().addr(),
            self.decision,
            approver,
            names(self.tables),
            names(self.labels),
        )
    }
}

/// What events must be about: each list holds the keys of which one must fit.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) session: Option<u64>,
    pub(super) identity: Option<Vec<u64>>,
    pub(super) namespace: Option<Vec<u64>>,
    pub(super) target: Option<Vec<u64>>,
    pub(super) kinds: Vec<Vec<u64>>,
    pub(super) decision: Option<Vec<u64>>,
    pub(super) approver: Option<Vec<u64>>,
    pub(super) table: Option<Vec<u64>>,
    pub(super) label: Option<Vec<u64>>,
}

/// What a block is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mentioned {
    /// Numbers of keys, each once, in order.
    pub(super) keys: Vec<u64>,
    /// Sessions, each once, in order.
    pub(super) sessions: Vec<u64>,
}

impl Mentioned {
    /// From numbers and sessions as they are mentioned; 0 is no key.
    fn new(mut keys: Vec<u64>, mut sessions: Vec<u64>) -> Self {
        for all in [&mut keys, &mut sessions] {
            all.sort_unstable();
            all.dedup();
        }
        if keys.first() == Some(&0) {
            keys.remove(0);
        }
        Self { keys, sessions }
    }
}

/// Everything that a block is about; `None` if that cannot be told.
pub(super) fn mentioned(packed: &[u8]) -> Option<Mentioned> {
    let bytes = unpacked(packed)?;
    let mut rest = bytes.as_slice();
    let (mut keys, mut sessions) = (Vec::new(), Vec::new());
    list(&mut rest, varint)?;
    list(&mut rest, |rest| {
        let (id, behind) = rest.split_first_chunk::<8>()?;
        *rest = behind;
        sessions.push(u64::from_le_bytes(*id));
        for _ in 0..3 {
            keys.push(varint(rest)?);
        }
        Some(())
    })?;
    list(&mut rest, |rest| {
        for _ in 0..3 {
            keys.push(varint(rest)?);
        }
        for _ in 0..2 {
            keys.extend(list(rest, varint)?);
        }
        Some(())
    })?;
    Some(Mentioned::new(keys, sessions))
}

fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let (size, data) = packed.split_first_chunk::<8>()?;
    let size = usize::try_from(u64::from_le_bytes(*size)).ok()?;
    pack::decompress(data, size.min(MAX_UNPACKED)).ok()
}

/// Which frames of a block can have an answer, in their order; `None` if that cannot be told.
pub(super) fn frames(packed: &[u8], wanted: &Wanted) -> Option<Vec<bool>> {
    let bytes = unpacked(packed)?;
    let mut rest = bytes.as_slice();
    let counts = list(&mut rest, varint)?;
    let sessions = list(&mut rest, |rest| wanted.takes_session(rest))?;
    let shapes = list(&mut rest, |rest| wanted.takes_shape(rest))?;
    let everywhere = wanted.takes_no_session();
    if !(everywhere || sessions.contains(&true)) || !shapes.contains(&true) {
        return Some(vec![false; counts.len()]);
    }
    let all: u64 = counts.iter().sum();
    let fits = |place: u64, list: &[bool]| {
        let at = usize::try_from(place).ok()?.checked_sub(1)?;
        list.get(at).copied()
    };
    let mut of_session = Vec::with_capacity(usize::try_from(all).ok()?.min(1 << 20));
    for _ in 0..all {
        let place = varint(&mut rest)?;
        of_session.push(match place {
            0 => everywhere,
            place => fits(place, &sessions)?,
        });
    }
    let mut of_session = of_session.into_iter();
    let mut frames = Vec::with_capacity(counts.len());
    for count in counts {
        let mut hit = false;
        for _ in 0..count {
            let shape = fits(varint(&mut rest)?, &shapes)?;
            hit |= of_session.next()? && shape;
        }
        frames.push(hit);
    }
    Some(frames)
}

impl Wanted {
    /// Whether every event fits.
    pub(super) fn is_nothing(&self) -> bool {
        self.takes_no_session()
            && self.kinds.is_empty()
            && self.decision.is_none()
            && self.approver.is_none()
            && self.table.is_none()
            && self.label.is_none()
    }

    /// Narrows by keys of a kind, of which one must fit.
    pub(super) fn add(&mut self, kind: Kind, keys: Vec<u64>) {
        match kind {
            Kind::Identity => self.identity = Some(keys),
            Kind::Namespace => self.namespace = Some(keys),
            Kind::Target => self.target = Some(keys),
            Kind::Table => self.table = Some(keys),
            Kind::Label => self.label = Some(keys),
            Kind::Decision => self.decision = Some(keys),
            Kind::Approver => self.approver = Some(keys),
            Kind::Body => self.kinds.push(keys),
            // Nothing in the facets.
            Kind::Engine | Kind::Rule => {}
        }
    }

    /// Whether events outside of sessions can fit.
    fn takes_no_session(&self) -> bool {
        self.session.is_none()
            && self.identity.is_none()
            && self.namespace.is_none()
            && self.target.is_none()
    }

    fn takes_session(&self, rest: &mut &[u8]) -> Option<bool> {
        let (id, behind) = rest.split_first_chunk::<8>()?;
        *rest = behind;
        let mut fits = self
            .session
            .is_none_or(|session| session == u64::from_le_bytes(*id));
        for wanted in [&self.identity, &self.namespace, &self.target] {
            let key = varint(rest)?;
            fits &= wanted.as_ref().is_none_or(|keys| keys.contains(&key));
        }
        Some(fits)
    }

    fn takes_shape(&self, rest: &mut &[u8]) -> Option<bool> {
        let kind = varint(rest)?;
        let mut fits = self.kinds.iter().all(|keys| keys.contains(&kind));
        for wanted in [&self.decision, &self.approver] {
            let key = varint(rest)?;
            fits &= wanted.as_ref().is_none_or(|keys| keys.contains(&key));
        }
        for wanted in [&self.table, &self.label] {
            let names = list(rest, varint)?;
            fits &= wanted
                .as_ref()
                .is_none_or(|keys| names.iter().any(|name| keys.contains(name)));
        }
        Some(fits)
    }
}

fn list<T>(rest: &mut &[u8], mut take: impl FnMut(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = usize::try_from(varint(rest)?).ok()?;
    // Each takes at least a byte.
    if count > rest.len() {
        return None;
    }
    (0..count).map(|_| take(rest)).collect()
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
