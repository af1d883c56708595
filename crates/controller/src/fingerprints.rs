//! Fingerprints of values, for the collector, which has not the key: who steals its store and its disk can
//! search neither for a value.
//!
//! Invariant: a value is neither kept nor logged. Refuses: more than one a second after the first
//! [`BURST`], so that whoever speaks for the collector cannot try all values of a short kind.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;
use weir_audit::FingerprintKey;
use weir_uplink::control::{FingerprintsAsked, FingerprintsMade};

use crate::bundles::Current;
use crate::server::http::Refusal;

/// Values at once.
const BURST: u32 = 100;
/// One more in this time.
const EACH: Duration = Duration::from_secs(1);
/// Labels of one question.
const LABELS: usize = 1024;

/// Makes them.
#[derive(Debug, Default)]
pub(crate) struct Fingerprints(Mutex<Option<(u32, Instant)>>);

impl Fingerprints {
    /// Those of a value.
    ///
    /// # Errors
    /// There are too many questions, or there is no key yet.
    pub(crate) fn make(
        &self,
        current: &Current,
        asked: &FingerprintsAsked,
    ) -> Result<FingerprintsMade, Refusal> {
        if asked.labels.len() > LABELS {
            return Err(Refusal::bad("too many labels"));
        }
        if !self.take(Instant::now()) {
            let why = "too many values are asked for; one more can be in a second";
            return Err(Refusal::too_many(why));
        }
        let inputs = current.borrow().clone();
        let key = inputs.map(|inputs| STANDARD.decode(&inputs.content.settings.token_key));
        let Some(Ok(key)) = key else {
            return Err(Refusal::unavailable("the key is not known yet"));
        };
        let key = FingerprintKey::new(&key);
        let of = |label: &String| key.of_label(label).fingerprint(&asked.value);
        Ok(FingerprintsMade {
            fingerprints: asked.labels.iter().map(of).collect(),
        })
    }

    fn take(&self, now: Instant) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, at) = kept.unwrap_or((BURST, now));
        let since = now.saturating_duration_since(at);
        let new = u32::try_from(since.as_millis() / EACH.as_millis()).unwrap_or(u32::MAX);
        let filled = left.saturating_add(new);
        let at = if filled >= BURST {
            now
        } else {
            at + EACH * new
        };
        let filled = filled.min(BURST);
        *kept = Some((filled.saturating_sub(1), at));
        filled > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_a_hundred_there_is_one_a_second() {
        let asked = Fingerprints::default();
        let now = Instant::now();
        assert!((0..BURST).all(|_| asked.take(now)));
        assert!(!asked.take(now));
        assert!(!asked.take(now + Duration::from_millis(900)));
        assert!(asked.take(now + EACH));
        assert!(!asked.take(now + EACH));
        let later = now + Duration::from_secs(3600);
        assert!((0..BURST).all(|_| asked.take(later)));
        assert!(!asked.take(later));
    }
}
