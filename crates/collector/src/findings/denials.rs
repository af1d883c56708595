//! Identities that are refused again and again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use weir_audit::{Event, Finding, FindingCode, Timestamp};

use super::finding;

/// Identities that are watched.
const IDENTITIES: usize = 16_384;
/// One identity is a finding this often at most.
const AGAIN: Duration = Duration::from_secs(3600);

pub(super) struct Denials {
    most: usize,
    window: Duration,
    identities: HashMap<Arc<str>, Refused>,
}

#[derive(Default)]
struct Refused {
    /// The last refusals, at most as many as make a finding.
    times: VecDeque<Timestamp>,
    told: Option<Timestamp>,
}

impl Denials {
    pub(super) fn new(most: u32, window: Duration) -> Self {
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX).max(1),
            window,
            identities: HashMap::new(),
        }
    }

    /// Takes a refusal.
    pub(super) fn see(&mut self, event: &Event, now: Timestamp) -> Option<Finding> {
        let session = event.session.as_ref()?;
        let name = &session.identity.name;
        if self.identities.len() >= IDENTITIES && !self.identities.contains_key(name) {
            let oldest = now.minus(self.window);
            self.identities
                .retain(|_, refused| refused.times.back().is_some_and(|last| *last >= oldest));
            if self.identities.len() >= IDENTITIES {
                self.identities.clear();
            }
        }
        let refused = self.identities.entry(Arc::clone(name)).or_default();
        refused.times.push_back(event.time);
        while refused.times.len() > self.most {
            refused.times.pop_front();
        }
        let first = *refused.times.front()?;
        let recent = event.time.minus(self.window) <= first;
        if refused.times.len() < self.most || !recent {
            return None;
        }
        if refused.told.is_some_and(|told| now.minus(AGAIN) < told) {
            return None;
        }
        refused.told = Some(now);
        let target = session
            .target
            .as_deref()
            .unwrap_or("a place that no Target names");
        let said = format!(
            "{name} was refused {} times within {} s, lastly on {target}",
            self.most,
            self.window.as_secs()
        );
        Some(finding(event, FindingCode::RepeatedDenials, said))
    }
}
