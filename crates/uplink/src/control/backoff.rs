//! How long to wait before trying again.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Doubles from try to try, up to a bound; a random half of it, so that many do not come back at
/// the same moment.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// From `first` on, up to `most`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// It worked: the next failure waits shortly again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait now.
    pub fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (self.next * 2).min(self.most);
        let random = RandomState::new().hash_one(0_u8) & 0xffff;
        let half = whole / 2;
        half + half.mul_f64(f64::from(u32::try_from(random).unwrap_or(0)) / 65535.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_bound_and_start_over() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 4 * second);
        for whole in [1, 2, 4, 4] {
            let pause = backoff.pause();
            let whole = Duration::from_secs(whole);
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= second);
    }
}
