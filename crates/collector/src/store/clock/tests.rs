use std::sync::{Arc, Mutex};

use super::*;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;
const T0: u64 = 1_800_000_000;

/// Clocks that a test sets, in seconds.
#[derive(Clone)]
pub(crate) struct Hands(Arc<Mutex<(u64, u64)>>);

impl Hands {
    pub(crate) fn at(wall: u64) -> Self {
        Self(Arc::new(Mutex::new((wall, 1000))))
    }

    pub(crate) fn pass(&self, seconds: u64) {
        let mut hands = self.0.lock().unwrap();
        hands.0 += seconds;
        hands.1 += seconds;
    }

    pub(crate) fn set(&self, wall: u64) {
        self.0.lock().unwrap().0 = wall;
    }
}

impl Clocks for Hands {
    fn read(&self) -> Reading {
        let (wall, passed) = *self.0.lock().unwrap();
        Reading {
            wall: Timestamp::from_micros(wall * 1_000_000),
            passed: Duration::from_secs(passed),
        }
    }
}

fn open(hands: &Hands, newest: Option<u64>) -> Clock {
    let kept = newest.map(|seconds| Kept {
        newest: i64::try_from(seconds).unwrap() * SECOND,
        ahead: 0,
    });
    Clock::new(Box::new(hands.clone()), kept)
}

fn own(clock: &mut Clock) -> u64 {
    u64::try_from(clock.now().own / SECOND).unwrap()
}

#[test]
fn a_wall_clock_that_jumps_moves_the_stores_time_by_nothing() {
    for jump in [YEAR, 2 * HOUR] {
        for (there, back) in [(T0 + jump, T0), (T0 - jump, T0)] {
            let hands = Hands::at(T0);
            let mut clock = open(&hands, None);
            hands.pass(60);
            assert_eq!((own(&mut clock), clock.look()), (T0 + 60, None));
            hands.set(there);
            let by = there.cast_signed() - (T0 + 60).cast_signed();
            assert_eq!(clock.look(), Some(News::Apart(by)));
            assert_eq!(clock.offset(), by);
            assert_eq!(clock.now().wall, Timestamp::from_micros(there * 1_000_000));
            hands.pass(100);
            assert_eq!((own(&mut clock), clock.look()), (T0 + 160, None));
            hands.set(back + 200);
            assert_eq!(clock.look(), Some(News::Agreed));
            assert_eq!((own(&mut clock), clock.offset()), (T0 + 200, 0));
        }
    }
}

#[test]
fn the_stores_time_never_goes_back() {
    let hands = Hands::at(T0);
    let mut clock = open(&hands, None);
    let mut last = own(&mut clock);
    for wall in [T0 + 1800, T0, T0 + YEAR, 5, T0 - 1800, T0 + 3500, T0 + 7300] {
        hands.set(wall);
        let now = own(&mut clock);
        assert!(now >= last, "{wall}");
        last = now;
        clock.look();
    }
}

#[test]
fn a_clock_that_creeps_gets_no_further_than_an_hour() {
    let hands = Hands::at(T0);
    let mut clock = open(&hands, None);
    for step in 1..1000 {
        hands.set(T0 + step * 1800);
        own(&mut clock);
        clock.look();
    }
    assert_eq!(own(&mut clock), T0 + HOUR);
}

#[test]
fn a_start_adds_a_week_at_most() {
    for (away, added) in [
        (0, 0),
        (DAY, DAY),
        (7 * DAY, 7 * DAY),
        (7 * DAY + 1, 0),
        (YEAR, 0),
    ] {
        let hands = Hands::at(T0 + away);
        let mut clock = open(&hands, Some(T0));
        assert_eq!(own(&mut clock), T0 + added, "{away}");
        assert_eq!(clock.look().is_some(), added != away, "{away}");
    }
    let hands = Hands::at(T0 - YEAR);
    let mut clock = open(&hands, Some(T0));
    hands.pass(50);
    assert_eq!(own(&mut clock), T0 + 50);
    assert!(matches!(clock.look(), Some(News::Apart(by)) if by < 0));
}

#[test]
fn a_clock_that_is_steady_for_a_day_is_believed_and_nothing_grows_older_by_it() {
    for there in [T0 + YEAR, 5] {
        let hands = Hands::at(there);
        let mut clock = open(&hands, Some(T0));
        assert!(matches!(clock.look(), Some(News::Apart(_))));
        for _ in 0..23 {
            hands.pass(HOUR);
            assert_eq!(clock.look(), None);
        }
        hands.pass(HOUR);
        assert_eq!(clock.look(), Some(News::Believed));
        assert_eq!((clock.look(), clock.offset()), (None, 0));
        assert_eq!(own(&mut clock), T0 + DAY);
        assert_eq!(clock.now().meant, clock.now().wall);
        // It is remembered.
        let kept = clock.kept();
        hands.pass(2 * HOUR);
        let mut again = Clock::new(Box::new(hands.clone()), Some(kept));
        assert_eq!((again.look(), own(&mut again)), (None, T0 + DAY + 2 * HOUR));
    }
}

#[test]
fn a_clock_that_is_set_again_waits_anew_and_is_found_once_an_hour() {
    let hands = Hands::at(T0);
    let mut clock = open(&hands, None);
    let mut found = 0;
    for minute in 1..=(48 * 60) {
        hands.pass(60);
        hands.set(T0 + YEAR + minute * DAY);
        match clock.look() {
            None => {}
            Some(News::Apart(_)) => found += 1,
            Some(other) => panic!("{other:?}"),
        }
    }
    assert!((40..=49).contains(&found), "{found}");
}

#[test]
fn clocks_at_the_ends_of_time_do_no_harm() {
    for wall in [0, u64::MAX / 1_000_000] {
        let hands = Hands::at(wall);
        let mut clock = open(&hands, Some(T0));
        clock.look();
        assert_eq!(own(&mut clock), T0);
        assert!(clock.now().before(Duration::MAX) < 0);
    }
}
