//! One reading of the clocks, for all that needs to know when a statement came and when it ended: reading a clock takes
//! as long as judging a statement that is known.

use std::time::Duration;

use tokio::time::Instant;

use crate::wall_clock;

/// A moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    steady: Instant,
    wall: weir_audit::Timestamp,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            steady: Instant::now(),
            wall: wall_clock(),
        }
    }

    /// By the clock that never jumps.
    pub(crate) const fn steady(&self) -> Instant {
        self.steady
    }

    /// By the wall clock, for evidence.
    pub(crate) const fn wall(&self) -> weir_audit::Timestamp {
        self.wall
    }

    /// By the wall clock, for budgets.
    pub(crate) const fn millis(&self) -> weir_policy::Timestamp {
        weir_policy::Timestamp(self.wall.as_micros() / 1000)
    }

    /// How long ago it was.
    pub(crate) fn elapsed(&self) -> Duration {
        self.steady.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_reading_serves_evidence_and_budgets() {
        let moment = Moment::now();
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(moment.elapsed(), Duration::from_millis(1500));
        assert_eq!(moment.millis().0, moment.wall().as_micros() / 1000);
    }
}
