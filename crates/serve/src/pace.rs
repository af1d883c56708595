//! How often something may happen: so many at once, and one more in a time.
//!
//! Nothing here reads a clock.

use std::time::Duration;

use tokio::time::Instant;

/// So many at once, and one more in each such time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// At once.
    pub burst: u32,
    /// One more in this time.
    pub each: Duration,
}

/// What is left of a [`Pace`].
#[derive(Debug)]
pub struct Paced {
    pace: Pace,
    left: u32,
    /// When `left` was right; what came in since is added from here.
    at: Instant,
}

impl Paced {
    /// With the whole burst left.
    #[must_use]
    pub const fn new(pace: Pace, now: Instant) -> Self {
        Self {
            pace,
            left: pace.burst,
            at: now,
        }
    }

    /// Takes one, if one is left.
    pub fn take(&mut self, now: Instant) -> bool {
        let Pace { burst, each } = self.pace;
        let since = now.saturating_duration_since(self.at);
        let new = u32::try_from(since.as_nanos() / each.as_nanos().max(1)).unwrap_or(u32::MAX);
        if new >= burst - self.left.min(burst) {
            (self.left, self.at) = (burst, now);
        } else {
            self.left += new;
            self.at += each * new;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }

    /// Whether nothing that was taken is still missing: then it need not be remembered.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        let Pace { burst, each } = self.pace;
        now.saturating_duration_since(self.at) >= each * (burst - self.left.min(burst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_then_one_in_each_time() {
        let each = Duration::from_secs(6);
        let start = Instant::now();
        let mut paced = Paced::new(Pace { burst: 10, each }, start);
        let mut granted = |now, tries| (0..tries).filter(|_| paced.take(now)).count();
        assert_eq!(granted(start, 100), 10);
        assert_eq!(granted(start + each / 2, 5), 0);
        assert_eq!(granted(start + each, 5), 1);
        assert_eq!(granted(start + each * 3, 5), 2);
        assert_eq!(granted(start + each * 1000, 100), 10);
        assert!(!paced.is_full(start + each * 1009));
        assert!(paced.is_full(start + each * 1010));
    }
}
