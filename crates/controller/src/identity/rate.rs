//! How often a pod may enrol.
//!
//! A pod enrols once an hour and when it starts anew. One that does it all the time, with a good token,
//! would cost the API server two requests each time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Enrolments at once.
const BURST: u32 = 10;
/// One more in this time.
const EACH: Duration = Duration::from_secs(6);
/// Pods that are remembered; what has its burst again is forgotten first.
const PODS: usize = 16_384;

/// Enrolments of pods, by UID.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<String, Bucket>);

#[derive(Debug)]
struct Bucket {
    left: u32,
    /// When `left` was right; what came in since is added from here.
    at: Instant,
}

impl Rates {
    /// Whether a pod may enrol now.
    pub(super) fn take(&mut self, uid: &str, now: Instant) -> bool {
        if self.0.len() >= PODS && !self.0.contains_key(uid) {
            self.0.retain(|_, bucket| !bucket.is_full(now));
        }
        let bucket = self.0.entry(uid.to_owned()).or_insert(Bucket {
            left: BURST,
            at: now,
        });
        bucket.take(now)
    }

    /// Forgets a pod that is gone.
    pub(super) fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }

    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at);
        let new = u32::try_from(since.as_nanos() / EACH.as_nanos()).unwrap_or(u32::MAX);
        if new >= BURST - self.left.min(BURST) {
            (self.left, self.at) = (BURST, now);
        } else {
            self.left += new;
            self.at += EACH * new;
        }
    }

    fn is_full(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) >= EACH * (BURST - self.left.min(BURST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_may_enrol_a_few_times_at_once_and_then_slowly() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let granted =
            |rates: &mut Rates, now, tries| (0..tries).filter(|_| rates.take("1", now)).count();
        assert_eq!(granted(&mut rates, start, 100), 10);
        assert!(rates.take("2", start));
        assert_eq!(granted(&mut rates, start + EACH / 2, 5), 0);
        assert_eq!(granted(&mut rates, start + EACH, 5), 1);
        assert_eq!(granted(&mut rates, start + EACH * 3, 5), 2);
        assert_eq!(granted(&mut rates, start + EACH * 1000, 100), 10);
    }

    #[test]
    fn one_that_is_gone_is_forgotten_and_one_that_is_not_keeps_its_count_among_many() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        while rates.take("1", start) {}
        rates.forget("1");
        assert!(rates.take("1", start));
        while rates.take("1", start) {}
        let mut later = start;
        for n in 0..3 * PODS {
            later = start + Duration::from_millis(1) * u32::try_from(n).unwrap();
            rates.take(&format!("x{n}"), later);
        }
        assert!(rates.0.len() <= 2 * PODS);
        assert!(later - start < EACH * BURST);
        assert_eq!((0..20).filter(|_| rates.take("1", start)).count(), 0);
    }
}
