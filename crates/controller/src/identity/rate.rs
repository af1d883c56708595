//! How often a pod may enrol.
//!
//! A pod enrols once an hour and when it starts anew. One that does it all the time, with a good token,
//! would cost the API server two requests each time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use weir_serve::{Pace, Paced};

/// Enrolments of one pod.
const PACE: Pace = Pace {
    burst: 10,
    each: Duration::from_secs(6),
};
/// Pods that are remembered; what has its burst again is forgotten first.
const PODS: usize = 16_384;

/// Enrolments of pods, by UID.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<String, Paced>);

impl Rates {
    /// Whether a pod may enrol now.
    pub(super) fn take(&mut self, uid: &str, now: Instant) -> bool {
        if self.0.len() >= PODS && !self.0.contains_key(uid) {
            self.0.retain(|_, paced| !paced.is_full(now));
        }
        let paced = self.0.entry(uid.to_owned());
        paced.or_insert_with(|| Paced::new(PACE, now)).take(now)
    }

    /// Forgets a pod that is gone.
    pub(super) fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_gone_is_forgotten_and_one_that_is_not_keeps_its_count_among_many() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        while rates.take("1", start) {}
        assert!(rates.take("2", start));
        rates.forget("1");
        assert!(rates.take("1", start));
        while rates.take("1", start) {}
        let mut later = start;
        for n in 0..3 * PODS {
            later = start + Duration::from_millis(1) * u32::try_from(n).unwrap();
            rates.take(&format!("x{n}"), later);
        }
        assert!(rates.0.len() <= 2 * PODS);
        assert!(later - start < PACE.each * PACE.burst);
        assert_eq!((0..20).filter(|_| rates.take("1", start)).count(), 0);
    }
}
