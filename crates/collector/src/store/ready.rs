//! What is made of frames before the writer is waited for: they are decoded, checked, counted and packed, so that
//! whoever writes only writes. What turns out to be known already was worked on in vain.

use weir_audit::{Body, EngineId, Event, Frame, Hash};

use super::chain;
use super::holds::HoldNotes;
use super::index::{BlockIndex, SessionDeltas};
use super::ingest::{LARGE, PASSING, SETTLED};
use super::rollup::Counts;
use super::seen::SeenNotes;
use super::{CollectorError, pack};
use crate::log::Run;

/// How hard zstd tries with a block that is never merged.
const LEVEL: i32 = 3;
/// As much as comes at once is one block, a frame more than a batch asks for included.
const BLOCK_BYTES: usize = 512 << 10;

/// Says why an event may not be kept.
pub(super) type Check<'a> = dyn FnMut(&Event) -> Result<(), String> + 'a;

/// How frames of an engine are made ready.
pub(super) struct Maker<'a> {
    engine: &'a EngineId,
    check: &'a mut Check<'a>,
    /// Whether somebody wants the events.
    pub(super) keep: bool,
}

/// Frames of which each continues the one before, and what their events say.
pub(super) struct Ready<'f> {
    pub(super) frames: &'f [Frame],
    /// Whether they may be stored.
    pub(super) allowed: Result<(), CollectorError>,
    pub(super) blocks: Vec<Block>,
    pub(super) sessions: SessionDeltas,
    pub(super) holds: HoldNotes,
    pub(super) seen: SeenNotes,
    pub(super) counts: Counts,
    /// Of each frame, the last event that says that the engine stopped.
    pub(super) stops: Vec<Option<u64>>,
    pub(super) runs: Vec<Run>,
    /// The events, if they are wanted.
    pub(super) events: Vec<Event>,
}

/// Frames that are kept together.
pub(super) struct Block {
    pub(super) epoch: u32,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) previous: Hash,
    pub(super) hash: Hash,
    /// 0 if it is merged with others, once there are many.
    pub(super) level: i64,
    /// Its size before it was packed.
    pub(super) raw: usize,
    pub(super) data: Vec<u8>,
    pub(super) index: BlockIndex,
}

impl<'a> Maker<'a> {
    pub(super) fn new(engine: &'a EngineId, keep: bool, check: &'a mut Check<'a>) -> Self {
        Self {
            engine,
            check,
            keep,
        }
    }

    /// All frames of a batch, in runs.
    pub(super) fn all<'f>(&mut self, frames: &'f [Frame]) -> Vec<Ready<'f>> {
        let runs = frames.chunk_by(chain::continues);
        runs.map(|run| self.run(run)).collect()
    }

    /// One run of frames, each of which [`chain::continues`] the one before.
    pub(super) fn run<'f>(&mut self, frames: &'f [Frame]) -> Ready<'f> {
        let mut ready = Ready {
            frames,
            allowed: Ok(()),
            blocks: Vec::new(),
            sessions: SessionDeltas::default(),
            holds: HoldNotes::default(),
            seen: SeenNotes::default(),
            counts: Counts::default(),
            stops: Vec::with_capacity(frames.len()),
            runs: Vec::new(),
            events: Vec::new(),
        };
        ready.allowed = self.fill(&mut ready);
        ready
    }

    fn fill(&mut self, ready: &mut Ready<'_>) -> Result<(), CollectorError> {
        let (mut begin, mut bytes) = (0, 0);
        let mut index = BlockIndex::default();
        for (at, frame) in ready.frames.iter().enumerate() {
            let events = frame.events(self.engine)?;
            for event in &events {
                (self.check)(event).map_err(CollectorError::Refused)?;
            }
            if bytes + frame.stored_len() > BLOCK_BYTES && bytes > 0 {
                let full = ready.frames.get(begin..at).unwrap_or_default();
                let block = Block::pack(full, std::mem::take(&mut index))?;
                ready.blocks.extend(block);
                (begin, bytes) = (at, 0);
            }
            bytes += frame.stored_len();
            index.add(&events);
            ready.sessions.add(&events);
            ready.counts.add(&events);
            ready.holds.add(&events);
            ready.seen.add(&events);
            ready.stops.push(stop(&events));
            let times = events.iter().map(|event| event.time);
            let times = (times.clone().min(), times.max());
            Run::add(
                &mut ready.runs,
                frame,
                (times.0.unwrap_or_default(), times.1.unwrap_or_default()),
            );
            if self.keep {
                ready.events.extend(events);
            }
        }
        let last = ready.frames.get(begin..).unwrap_or_default();
        ready.blocks.extend(Block::pack(last, index)?);
        Ok(())
    }
}

impl Block {
    /// `None` without a frame.
    fn pack(frames: &[Frame], index: BlockIndex) -> Result<Option<Self>, CollectorError> {
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(frames.iter().map(Frame::stored_len).sum());
        frames.iter().for_each(|frame| frame.write_to(&mut bytes));
        let (level, effort) = if bytes.len() < LARGE {
            (0, PASSING)
        } else {
            (SETTLED, LEVEL)
        };
        Ok(Some(Self {
            epoch: first.epoch(),
            first_seq: first.first_seq(),
            last_seq: last.last_seq(),
            previous: first.previous(),
            hash: last.hash(),
            level,
            raw: bytes.len(),
            data: pack::compress(&bytes, effort)?,
            index,
        }))
    }
}

/// The last event that says that the engine stopped.
pub(super) fn stop(events: &[Event]) -> Option<u64> {
    events
        .iter()
        .rfind(|event| matches!(event.body, Body::EngineStopped(_)))
        .map(|event| event.id.seq)
}
