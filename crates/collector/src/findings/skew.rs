//! Clocks that do not agree.
//!
//! Evidence may come late, for as long as the collector was away, but never before it was made; and the
//! clock of one engine goes forward. So an event from the future shows a clock that is ahead (or this one
//! behind), one from before its predecessor a clock that was set back, and an engine of which *nothing* comes
//! less late than the limit, for ten minutes on end, a clock that is behind, or a way that is too slow.

use std::collections::HashMap;
use std::time::Duration;

use weir_audit::{Body, EngineId, Event, Finding, FindingCode, Timestamp};

use super::finding;

/// Engines that are watched.
const ENGINES: usize = 8192;
/// How long everything must come late.
const LATE: Duration = Duration::from_secs(600);
/// One engine is a finding this often at most.
const AGAIN: Duration = Duration::from_secs(3600);

pub(super) struct Skew {
    limit: Duration,
    engines: HashMap<EngineId, Clock>,
}

struct Clock {
    epoch: u32,
    newest: Timestamp,
    /// Since when everything came late.
    late: Option<Timestamp>,
    /// The least late of it.
    least: Duration,
    told: Option<Timestamp>,
}

impl Skew {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            engines: HashMap::new(),
        }
    }

    pub(super) fn see(&mut self, event: &Event, now: Timestamp) -> Option<Finding> {
        let engine = &event.id.engine;
        if !self.engines.contains_key(engine) {
            if self.engines.len() >= ENGINES {
                self.engines.clear();
            }
            let clock = Clock {
                epoch: event.id.epoch,
                newest: event.time,
                late: None,
                least: Duration::MAX,
                told: None,
            };
            self.engines.insert(engine.clone(), clock);
        }
        let limit = self.limit;
        let clock = self.engines.get_mut(engine)?;
        let said = clock.look(event, now, limit)?;
        if clock.told.is_some_and(|told| since(told, now) < AGAIN) {
            return None;
        }
        clock.told = Some(now);
        Some(finding(event, FindingCode::ClockSkew, said))
    }
}

impl Clock {
    fn look(&mut self, event: &Event, now: Timestamp, limit: Duration) -> Option<String> {
        let engine = &event.id.engine;
        let ahead = since(now, event.time);
        let back = since(event.time, self.newest);
        let same = self.epoch == event.id.epoch;
        // What was spooled by another life of the engine may be of any time.
        self.epoch = event.id.epoch;
        self.newest = if same {
            self.newest.max(event.time)
        } else {
            event.time
        };
        if ahead > limit {
            return Some(format!(
                "the clock of {engine} is {} ahead of the collector's",
                seconds(ahead)
            ));
        }
        // A session's end carries the time at which it ended, and is written a little later.
        if same && back > limit && !matches!(event.body, Body::Finding(_)) {
            self.newest = event.time;
            return Some(format!(
                "the clock of {engine} was set back by {}",
                seconds(back)
            ));
        }
        let late = since(event.time, now);
        if late <= limit {
            (self.late, self.least) = (None, Duration::MAX);
            return None;
        }
        self.least = self.least.min(late);
        let begun = *self.late.get_or_insert(now);
        (since(begun, now) >= LATE).then(|| {
            format!(
                "everything of {engine} comes at least {} late: its clock is behind, or evidence \
                 takes too long",
                seconds(self.least)
            )
        })
    }
}

/// From the first to the second; none where that is before.
fn since(first: Timestamp, second: Timestamp) -> Duration {
    Duration::from_micros(second.as_micros().saturating_sub(first.as_micros()))
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}
