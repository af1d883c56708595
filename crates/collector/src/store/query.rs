//! Finding events again.
//!
//! Blocks that can hold an answer are chosen by what is known of them, newest first; of those, the
//! frames that can. Only these are decoded and filtered. Text is searched in the sealed bytes before
//! anything is decoded.

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};
use serde::{Deserialize, Serialize};
use weir_audit::{
    Body, Digest, EngineId, Event, EventId, Frame, FrameReader, Hash, SessionId, Timestamp,
};

use super::backlog;
use super::facets::{self, Wanted};
use super::index::text_of;
use super::ingest::signed;
use super::keys::Kind;
use super::schema::unpack;
use super::texts;
use super::{Collector, CollectorError};

pub(crate) const DEFAULT_LIMIT: usize = 100;
pub(crate) const MAX_LIMIT: usize = 10_000;
/// A page ends with the event that makes it longer than so many bytes.
const PAGE_BYTES: usize = 32 << 20;

/// Which events to find; every given condition must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Name of the identity.
    pub identity: Option<String>,
    /// The identity's namespace; events outside of sessions have none.
    pub namespace: Option<String>,
    /// Name of the target.
    pub target: Option<String>,
    /// A relation that the statement reads or writes, as recorded (`schema.name`).
    pub table: Option<String>,
    /// A data label; `pii.*` matches all below `pii`.
    pub label: Option<String>,
    /// `permit`, `deny` or `hold`.
    pub decision: Option<String>,
    /// Who approved or denied: their decisions on access requests.
    pub approver: Option<String>,
    /// Kind of event, such as `statement_finished`.
    pub kind: Option<String>,
    /// Text in the statement, the path of a file or a finding's message, ASCII case ignored.
    pub text: Option<String>,
    /// A file with these bytes, or a piece of one, that went through a session.
    pub sha256: Option<Digest>,
    /// The session.
    pub session: Option<SessionId>,
    /// At most so many (100 when absent, 10,000 at most).
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// A page of events, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Filter {
    /// Whether an event fits; limit and cursor play no part.
    #[must_use]
    pub fn keeps(&self, event: &Event) -> bool {
        let text = self.text.as_deref().map(Needle::new);
        self.matches(event, text.as_ref())
    }

    fn matches(&self, event: &Event, text: Option<&Needle>) -> bool {
        let session = event.session.as_deref();
        let statement = match &event.body {
            Body::StatementStarted(started) => Some(&started.statement),
            Body::StatementFinished(finished) => Some(&finished.statement),
            _ => None,
        };
        let labels = match &event.body {
            Body::AccessRequestCreated(request) => Some(&request.labels),
            _ => statement.map(|statement| &statement.labels),
        };
        let is = |wanted: &Option<String>, have: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| have == Some(wanted))
        };
        self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time < until)
            && is(&self.kind, Some(event.body.kind()))
            && is(
                &self.identity,
                session.map(|session| &*session.identity.name),
            )
            && is(
                &self.namespace,
                session.and_then(|session| session.identity.namespace.as_deref()),
            )
            && is(
                &self.target,
                session.and_then(|session| session.target.as_deref()),
            )
            && is(
                &self.decision,
                statement.map(|statement| statement.decision.as_str()),
            )
            && self.approver.as_deref().is_none_or(|approver| {
                matches!(&event.body, Body::AccessRequestDecided(decided)
                    if &*decided.approver == approver)
            })
            && self
                .session
                .is_none_or(|id| session.is_some_and(|session| session.id == id))
            && self.table.as_deref().is_none_or(|table| {
                statement.is_some_and(|statement| statement.tables.contains(table))
            })
            && self.label.as_deref().is_none_or(|label| {
                labels.is_some_and(|labels| labels.iter().any(|have| label_fits(label, have)))
            })
            && self.sha256.is_none_or(|wanted| {
                matches!(&event.body, Body::FileTransferred(file) if file.sha256 == Some(wanted))
            })
            && text.is_none_or(|text| {
                text_of(&event.body).is_some_and(|within| text.is_in(within.as_bytes()))
            })
    }
}

/// Whether a label is the one that is wanted, or begins with it up to a `*`.
pub(super) fn label_fits(wanted: &str, have: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => have.starts_with(start),
        None => have == wanted,
    }
}

/// A text that is searched, ASCII case ignored.
struct Needle {
    lower: Vec<u8>,
    /// The place of its byte that is least common in evidence.
    rare: usize,
}

impl Needle {
    fn new(text: &str) -> Self {
        let lower = text.to_ascii_lowercase().into_bytes();
        let places = 0..lower.len();
        let rare = places.min_by_key(|at| lower.get(*at).map_or(0, |byte| commonness(*byte)));
        Self {
            rare: rare.unwrap_or_default(),
            lower,
        }
    }

    fn is_in(&self, hay: &[u8]) -> bool {
        let Some(rare) = self.lower.get(self.rare) else {
            return true;
        };
        let upper = rare.to_ascii_uppercase();
        let mut from = self.rare;
        while let Some(at) = hay
            .get(from..)
            .and_then(|hay| memchr::memchr2(*rare, upper, hay))
            .map(|at| at + from)
        {
            let begin = at - self.rare;
            if hay
                .get(begin..begin + self.lower.len())
                .is_some_and(|got| got.eq_ignore_ascii_case(&self.lower))
            {
                return true;
            }
            from = at + 1;
        }
        false
    }
}

/// How common a byte is in statements, roughly.
fn commonness(byte: u8) -> u8 {
    match byte {
        b' ' | b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 4,
        b'0'..=b'9' | b'l' | b'd' | b'c' | b'u' | b'm' => 3,
        b'_' | b',' | b'=' | b'.' | b'\'' | 0 => 2,
        b'a'..=b'z' => 1,
        _ => 0,
    }
}

/// The order of events: time, then identity.
pub(crate) type Place = (Timestamp, EventId);

fn place(event: &Event) -> Place {
    (event.time, event.id.clone())
}

/// Puts events in order, the newest first; says how many make a page.
fn whole_page(events: &mut [Event]) -> usize {
    events.sort_by_cached_key(|event| std::cmp::Reverse(place(event)));
    let mut bytes = 0;
    let fits = events.iter().take_while(|event| {
        let fits = bytes < PAGE_BYTES;
        bytes += event.weight();
        fits
    });
    fits.count().max(1)
}

/// The place that a cursor names.
pub(crate) fn parse_cursor(text: &str) -> Result<Place, CollectorError> {
    let (time, id) = text.split_once('.').ok_or(CollectorError::Cursor)?;
    let time = time.parse().map_err(|_| CollectorError::Cursor)?;
    Ok((
        Timestamp::from_micros(time),
        id.parse().map_err(|_| CollectorError::Cursor)?,
    ))
}

impl Collector {
    /// Events that match, newest first.
    ///
    /// # Errors
    /// When the store failed or the cursor is not valid.
    pub fn query(&self, filter: &Filter) -> Result<EventPage, CollectorError> {
        if let Some(far) = self.far() {
            return far.query(filter);
        }
        let mut reader = self.reader()?;
        // One snapshot: blocks are merged meanwhile.
        let reader = reader.transaction()?;
        let mut limit = filter.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let cursor = filter.cursor.as_deref().map(parse_cursor).transpose()?;
        let text = filter.text.as_deref().map(Needle::new);
        let Some(Candidates {
            sql,
            values,
            wanted,
        }) = candidates(&reader, filter, cursor.as_ref())?
        else {
            return Ok(EventPage {
                events: Vec::new(),
                next: None,
            });
        };
        let mut select = reader.prepare(&sql)?;
        let mut rows = select.query(params_from_iter(values))?;
        let mut best: BTreeSet<Place> = BTreeSet::new();
        let (mut events, mut bytes): (Vec<Event>, usize) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let last_time = Timestamp::from_micros(row.get(1)?);
            if best.len() > limit && best.first().is_some_and(|(time, _)| *time > last_time) {
                break;
            }
            let id = row.get(0)?;
            let Some(frames) = Frames::of(&reader, id, &wanted, text.as_ref())? else {
                continue;
            };
            let block = StoredBlock::read(&reader, id)?;
            block.events(&frames, text.as_ref(), &mut |event| {
                let before = cursor.as_ref().is_none_or(|cursor| place(&event) < *cursor);
                if before && filter.matches(&event, text.as_ref()) {
                    best.insert(place(&event));
                    bytes += event.weight();
                    events.push(event);
                    if best.len() > limit + 1 {
                        best.pop_first();
                    }
                }
            })?;
            // Memory stays bounded: drop what cannot be on the page any more.
            if events.len() > 4 * (limit + 1)
                && let Some(oldest) = best.first()
            {
                events.retain(|event| place(event) >= *oldest);
                bytes = events.iter().map(Event::weight).sum();
            }
            if bytes > 2 * PAGE_BYTES {
                limit = limit.min(whole_page(&mut events));
                events.truncate(limit + 1);
                best = events.iter().map(place).collect();
                bytes = events.iter().map(Event::weight).sum();
            }
        }
        limit = limit.min(whole_page(&mut events));
        let more = events.len() > limit;
        events.truncate(limit);
        let next = events.last().filter(|_| more);
        let next = next.map(|event| format!("{}.{}", event.time.as_micros(), event.id));
        Ok(EventPage { events, next })
    }

    /// Every event of a session in order, handed to `take` until it returns false. With a
    /// `namespace`, sessions of others do not exist.
    ///
    /// # Errors
    /// When there is no such session or the store failed.
    pub fn replay(
        &self,
        session: SessionId,
        namespace: Option<&str>,
        take: &mut dyn FnMut(Event) -> bool,
    ) -> Result<(), CollectorError> {
        if let Some(far) = self.far() {
            return far.replay(session, namespace, take);
        }
        let mut reader = self.reader()?;
        let reader = reader.transaction()?;
        let id = signed(session.as_u64());
        let known: Option<i64> = reader
            .query_row(
                "SELECT 1 FROM sessions s LEFT JOIN keys n ON n.id = s.namespace
                 WHERE s.id = ?1 AND (?2 IS NULL OR n.text = ?2)",
                params![id, namespace],
                |row| row.get(0),
            )
            .optional()?;
        if known.is_none() {
            return Err(CollectorError::NoSession(session.to_string()));
        }
        let wanted = Wanted {
            session: Some(session.as_u64()),
            ..Wanted::default()
        };
        let mut select = reader.prepare(
            "SELECT b.id FROM blocks b WHERE b.id IN (SELECT block FROM block_sessions WHERE session = ?1
               UNION ALL SELECT id FROM blocks WHERE id > ?2)
             AND +b.engine = (SELECT engine FROM sessions WHERE id = ?1)
             ORDER BY b.epoch, b.first_seq",
        )?;
        let mut rows = select.query([id, backlog::mark(&reader)?])?;
        let mut on = true;
        while let Some(row) = rows.next()? {
            let block = row.get(0)?;
            let Some(frames) = Frames::of(&reader, block, &wanted, None)? else {
                continue;
            };
            StoredBlock::read(&reader, block)?.events(&frames, None, &mut |event| {
                let own = event.session.as_ref().is_some_and(|have| {
                    have.id == session
                        && namespace.is_none_or(|n| have.identity.namespace.as_deref() == Some(n))
                });
                if on && own {
                    on = take(event);
                }
            })?;
            if !on {
                break;
            }
        }
        Ok(())
    }
}

/// Which frames of a block can have an answer.
enum Frames {
    All,
    Some(Vec<bool>),
}

impl Frames {
    /// `None` if no frame can.
    fn of(
        reader: &Connection,
        block: i64,
        wanted: &Wanted,
        text: Option<&Needle>,
    ) -> Result<Option<Self>, CollectorError> {
        let mut select =
            reader.prepare_cached("SELECT facets, texts FROM block_index WHERE block = ?1")?;
        let mut rows = select.query([block])?;
        // A damaged index leaves nothing out.
        let Some(row) = rows.next()? else {
            return Ok(Some(Self::All));
        };
        if let Some(text) = text
            && let Some(filter) = row.get_ref(1)?.as_blob_or_null().ok().flatten()
            && !texts::admits(filter, &text.lower)
        {
            return Ok(None);
        }
        if wanted.is_nothing() {
            return Ok(Some(Self::All));
        }
        let packed = row.get_ref(0)?.as_blob_or_null().ok().flatten();
        Ok(match facets::frames(packed.unwrap_or_default(), wanted) {
            None => Some(Self::All),
            Some(frames) if frames.contains(&true) => Some(Self::Some(frames)),
            Some(_) => None,
        })
    }

    fn has(&self, at: usize) -> bool {
        match self {
            Self::All => true,
            Self::Some(frames) => frames.get(at).copied().unwrap_or(true),
        }
    }
}

struct StoredBlock {
    id: i64,
    engine: EngineId,
    previous: Hash,
    bytes: Vec<u8>,
}

impl StoredBlock {
    fn read(reader: &Connection, id: i64) -> Result<Self, CollectorError> {
        let mut select = reader.prepare_cached(
            "SELECT k.text, b.previous, b.raw, b.data FROM blocks b JOIN keys k ON k.id = b.engine
             WHERE b.id = ?1",
        )?;
        select.query_row([id], |row| {
            let engine: String = row.get(0)?;
            let data = row.get_ref(3)?.as_blob().unwrap_or_default();
            Ok(unpack(id, row.get(2)?, data).and_then(|bytes| {
                Ok(Self {
                    id,
                    engine: engine.parse().map_err(|_| CollectorError::Damaged(id))?,
                    previous: Hash(row.get(1)?),
                    bytes,
                })
            }))
        })?
    }

    /// Hands over the events of frames that can have an answer. Each of them continues the link
    /// that the one before claims; whether those claims are true is for [`Collector::verify`].
    fn events(
        &self,
        frames: &Frames,
        text: Option<&Needle>,
        take: &mut dyn FnMut(Event),
    ) -> Result<(), CollectorError> {
        if text.is_some_and(|text| !text.is_in(&self.bytes)) {
            return Ok(());
        }
        let damaged = || CollectorError::Damaged(self.id);
        let (mut rest, mut previous, mut at) = (self.bytes.as_slice(), self.previous, 0);
        while !rest.is_empty() {
            let (hash, payload, behind) = stored(rest).ok_or_else(damaged)?;
            if frames.has(at) && text.is_none_or(|text| text.is_in(payload)) {
                let frame = Frame::verify(previous, hash, payload.to_vec());
                let frame = frame.map_err(|_| damaged())?;
                frame.events(&self.engine)?.into_iter().for_each(&mut *take);
            }
            (rest, previous, at) = (behind, hash, at + 1);
        }
        Ok(())
    }
}

/// The first stored frame: its link, its payload, and what is behind it.
fn stored(bytes: &[u8]) -> Option<(Hash, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (hash, rest) = rest.split_first_chunk::<32>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (payload, behind) = rest.split_at_checked(length)?;
    Some((Hash(*hash), payload, behind))
}

/// The events of unpacked frames of a block, frame by frame; each link is verified.
pub(crate) fn events(
    block: i64,
    engine: &EngineId,
    previous: Hash,
    bytes: &[u8],
) -> Result<Vec<Vec<Event>>, CollectorError> {
    let mut reader = FrameReader::new(bytes, previous);
    let mut events = Vec::new();
    while let Some(frame) = reader
        .next_frame()
        .map_err(|_| CollectorError::Damaged(block))?
    {
        events.push(frame.events(engine)?);
    }
    Ok(events)
}

/// Blocks that can have an answer, and what their events must be about.
struct Candidates {
    sql: String,
    values: Vec<Value>,
    wanted: Wanted,
}

/// `None` if no block can match.
fn candidates(
    reader: &Connection,
    filter: &Filter,
    cursor: Option<&Place>,
) -> Result<Option<Candidates>, CollectorError> {
    let mut sql = "SELECT b.id, b.last_time FROM blocks b WHERE 1".to_owned();
    let mut values: Vec<Value> = Vec::new();
    let time =
        |time: Timestamp| Value::Integer(i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
    if let Some(since) = filter.since {
        sql.push_str(" AND b.last_time >= ?");
        values.push(time(since));
    }
    for until in filter
        .until
        .into_iter()
        .chain(cursor.map(|(time, _)| *time))
    {
        sql.push_str(" AND b.first_time <= ?");
        values.push(time(until));
    }
    let mark = backlog::mark(reader)?;
    let newest = format!("UNION ALL SELECT id FROM blocks WHERE id > {mark}");
    if let Some(session) = filter.session {
        sql.push_str(&format!(
            " AND b.id IN (SELECT block FROM block_sessions WHERE session = ? {newest})"
        ));
        values.push(Value::Integer(signed(session.as_u64())));
    }
    let mut wanted = Wanted {
        session: filter.session.map(SessionId::as_u64),
        ..Wanted::default()
    };
    let files = filter.sha256.map(|_| "file_transferred");
    for (kind, text) in [
        (Kind::Identity, filter.identity.as_deref()),
        (Kind::Namespace, filter.namespace.as_deref()),
        (Kind::Target, filter.target.as_deref()),
        (Kind::Table, filter.table.as_deref()),
        (Kind::Label, filter.label.as_deref()),
        (Kind::Decision, filter.decision.as_deref()),
        (Kind::Approver, filter.approver.as_deref()),
        (Kind::Body, filter.kind.as_deref()),
        (Kind::Body, files),
    ] {
        let Some(text) = text else { continue };
        let numbers = key_numbers(reader, kind, text)?;
        if numbers.is_empty() {
            return Ok(None);
        }
        let marks = vec!["?"; numbers.len()].join(",");
        sql.push_str(&format!(
            " AND b.id IN (SELECT block FROM block_keys WHERE key IN ({marks}) {newest})"
        ));
        wanted.add(
            kind,
            numbers.iter().map(|number| number.unsigned_abs()).collect(),
        );
        values.extend(numbers.into_iter().map(Value::Integer));
    }
    sql.push_str(" ORDER BY b.last_time DESC");
    Ok(Some(Candidates {
        sql,
        values,
        wanted,
    }))
}

fn key_numbers(reader: &Connection, kind: Kind, text: &str) -> Result<Vec<i64>, CollectorError> {
    let number = |row: &rusqlite::Row<'_>| row.get(0);
    let numbers = match text.strip_suffix('*').filter(|_| kind == Kind::Label) {
        None => reader
            .prepare("SELECT id FROM keys WHERE kind = ?1 AND text = ?2")?
            .query_map(params![kind as u8, text], number)?
            .collect::<Result<_, _>>()?,
        Some(start) => reader
            .prepare("SELECT id FROM keys WHERE kind = ?1 AND substr(text, 1, length(?2)) = ?2 LIMIT 1000")?
            .query_map(params![kind as u8, start], number)?
            .collect::<Result<_, _>>()?,
    };
    Ok(numbers)
}
