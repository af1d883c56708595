//! The store's own time: by it evidence grows old.
//!
//! A wall clock jumps: a year ahead, and back. Whoever deletes by it deletes early, or never. So the store
//! counts the time that passes, and takes from the wall clock only what it could not count itself: how long
//! nobody ran it.
//!
//! Invariants
//! - It never goes back.
//! - While the process runs, it is never more than [`APART`] ahead of the time that passed, however often the
//!   wall clock is set; a start adds [`AWAY`] at most.
//! - Clocks that are apart are found once, and stay so until they agree again, or until the wall clock was
//!   steady for [`STEADY`]. From then on the difference is how both are told apart, and nothing grew older by it.
//!
//! It refuses to guess which clock is right: where it is not known whether time passed, it did not.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use weir_audit::Timestamp;

const SECOND: i64 = 1_000_000;
const DAY_US: i64 = 24 * 3600 * SECOND;
/// As far as this from the time that passed, the wall clock is believed.
const APART: Duration = Duration::from_secs(3600);
/// As long as this a store may have been closed, by the wall clock's word.
const AWAY: Duration = Duration::from_secs(7 * 24 * 3600);
/// A wall clock that was not set for so long is believed again.
const STEADY: Duration = Duration::from_secs(24 * 3600);
/// Clocks that are apart are found this often at most.
const AGAIN: Duration = Duration::from_secs(3600);

/// What the machine's clocks say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// The wall clock.
    pub(crate) wall: Timestamp,
    /// Since some moment before the process began; it cannot be set, and goes on while the machine sleeps.
    pub(crate) passed: Duration,
}

/// Reads the machine's clocks.
pub(crate) trait Clocks: Send {
    /// What they say now.
    fn read(&self) -> Reading;
}

/// The real ones.
#[derive(Debug)]
pub(crate) struct Machine;

impl Clocks for Machine {
    fn read(&self) -> Reading {
        let passed = clock_gettime(ClockId::Boottime);
        Reading {
            wall: SystemTime::now().into(),
            passed: Duration::new(
                u64::try_from(passed.tv_sec).unwrap_or_default(),
                u32::try_from(passed.tv_nsec).unwrap_or_default(),
            ),
        }
    }
}

/// One moment, by both times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// By the wall clock: what evidence says.
    pub(crate) wall: Timestamp,
    /// By the store's own time, in microseconds: what it grows old by.
    pub(crate) own: i64,
    /// What the wall clock would say by the store's own time.
    pub(crate) meant: Timestamp,
}

impl Now {
    /// So long before, by the store's own time.
    pub(crate) fn before(self, age: Duration) -> i64 {
        self.own.saturating_sub(micros(age))
    }

    /// The later of what the wall clock says and what it is meant to say.
    pub(crate) fn latest(self) -> Timestamp {
        self.wall.max(self.meant)
    }
}

/// The day of a time of the store's own.
pub(crate) fn own_day(own: i64) -> i64 {
    own.div_euclid(DAY_US)
}

/// What a look at the clocks showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The wall clock is so many seconds ahead of the store's time, or behind it.
    Apart(i64),
    /// They agree again.
    Agreed,
    /// The wall clock was steady: it is believed again.
    Believed,
}

/// What a store keeps of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The newest time of its own.
    pub(crate) newest: i64,
    /// What its own time is ahead of the wall clock, in microseconds.
    pub(crate) ahead: i64,
}

/// The store's clock.
pub(crate) struct Clock {
    clocks: Box<dyn Clocks>,
    /// The store's time, and the time that had passed, from where it is counted.
    from: (i64, Duration),
    last: i64,
    ahead: i64,
    apart: Option<Apart>,
    told: Option<Duration>,
}

struct Apart {
    by: i64,
    since: Duration,
}

impl Clock {
    /// A clock that goes on from what was kept, or from the wall clock if nothing was.
    pub(crate) fn new(clocks: Box<dyn Clocks>, kept: Option<Kept>) -> Self {
        let Reading { wall, passed } = clocks.read();
        let Kept { newest, ahead } = kept.unwrap_or(Kept {
            newest: signed(wall),
            ahead: 0,
        });
        let wall = signed(wall).saturating_add(ahead);
        let believed = -micros(APART)..=micros(AWAY);
        let begin = if believed.contains(&wall.saturating_sub(newest)) {
            wall
        } else {
            newest
        };
        Self {
            clocks,
            from: (begin, passed),
            last: begin.max(newest),
            ahead,
            apart: None,
            told: None,
        }
    }

    /// What the store is to keep of it.
    pub(crate) fn kept(&mut self) -> Kept {
        Kept {
            newest: self.now().own,
            ahead: self.ahead,
        }
    }

    /// The time now.
    pub(crate) fn now(&mut self) -> Now {
        let reading = self.clocks.read();
        let by = self.apart_by(reading);
        let own = if by.abs() <= micros(APART) {
            self.counted(reading).saturating_add(by)
        } else {
            self.counted(reading)
        };
        self.last = self.last.max(own);
        let meant = self.last.saturating_sub(self.ahead).max(0);
        Now {
            wall: reading.wall,
            own: self.last,
            meant: Timestamp::from_micros(meant.unsigned_abs()),
        }
    }

    /// How many seconds the wall clock is ahead of the store's time, or behind it; 0 while they agree.
    pub(crate) fn offset(&self) -> i64 {
        self.apart.as_ref().map_or(0, |apart| apart.by / SECOND)
    }

    /// Compares the clocks. Look every minute or so; each thing that is new is said once.
    pub(crate) fn look(&mut self) -> Option<News> {
        let reading = self.clocks.read();
        let by = self.apart_by(reading);
        if by.abs() <= micros(APART) {
            self.told = None;
            return self.apart.take().map(|_| News::Agreed);
        }
        let since = match &self.apart {
            Some(apart) if apart.by.saturating_sub(by).abs() <= micros(APART) => apart.since,
            _ => reading.passed,
        };
        let was = self.apart.replace(Apart { by, since });
        if reading.passed.saturating_sub(since) >= STEADY {
            self.ahead = self.ahead.saturating_sub(by);
            (self.apart, self.told) = (None, None);
            return Some(News::Believed);
        }
        let new = was.is_none_or(|_| since == reading.passed);
        let lately = |told: Duration| reading.passed.saturating_sub(told) < AGAIN;
        if !new || self.told.is_some_and(lately) {
            return None;
        }
        self.told = Some(reading.passed);
        Some(News::Apart(by / SECOND))
    }

    /// How far the wall clock is ahead of the time that passed.
    fn apart_by(&self, reading: Reading) -> i64 {
        let wall = signed(reading.wall).saturating_add(self.ahead);
        wall.saturating_sub(self.counted(reading))
    }

    fn counted(&self, reading: Reading) -> i64 {
        let (begin, passed) = self.from;
        begin.saturating_add(micros(reading.passed.saturating_sub(passed)))
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// Far from the ends, so that differences stay in range.
fn signed(time: Timestamp) -> i64 {
    i64::try_from(time.as_micros()).map_or(i64::MAX / 4, |time| time.min(i64::MAX / 4))
}

#[cfg(test)]
pub(crate) mod tests;
