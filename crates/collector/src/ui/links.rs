//! One-time links: whoever opens one is the operating system's user who asked for it.
//!
//! Invariants: a link logs in once, within [`LIFE`]; only its mark is kept; there are few at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::secret::{self, Mark};

/// How long a link can be opened.
pub const LIFE: Duration = Duration::from_secs(600);
const MOST: usize = 32;

/// The links that nobody has opened.
#[derive(Default)]
pub(super) struct Links {
    waiting: Mutex<VecDeque<Link>>,
}

struct Link {
    mark: Mark,
    user: Arc<str>,
    until: Instant,
}

impl Links {
    /// A new key for somebody. None without randomness.
    pub(super) fn make(&self, user: &str) -> Option<String> {
        let key = secret::fresh()?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST {
            waiting.pop_front();
        }
        waiting.push_back(Link {
            mark: secret::mark(&key),
            user: user.into(),
            until: Instant::now() + LIFE,
        });
        Some(key)
    }

    /// Whose key it is; it stays good.
    pub(super) fn whose(&self, key: &str) -> Option<Arc<str>> {
        let mark = secret::mark(key);
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let link = waiting.iter().find(|link| link.mark == mark)?;
        (Instant::now() < link.until).then(|| Arc::clone(&link.user))
    }

    /// Whose key it is; it is good no more.
    pub(super) fn take(&self, key: &str) -> Option<Arc<str>> {
        let mark = secret::mark(key);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let place = waiting.iter().position(|link| link.mark == mark)?;
        let link = waiting.remove(place)?;
        (Instant::now() < link.until).then_some(link.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_link_logs_in_once_and_not_late() {
        let links = Links::default();
        let key = links.make("jane").unwrap();
        assert_eq!(links.whose(&key).as_deref(), Some("jane"));
        assert_eq!(links.take(&key).as_deref(), Some("jane"));
        assert_eq!(links.take(&key), None, "used");
        assert_eq!(links.whose(&key), None);
        let key = links.make("jane").unwrap();
        tokio::time::advance(LIFE).await;
        assert_eq!(links.take(&key), None, "late");
        assert_eq!(links.take(""), None);
    }

    #[tokio::test]
    async fn the_oldest_link_makes_room() {
        let links = Links::default();
        let first = links.make("jane").unwrap();
        for _ in 0..MOST {
            links.make("tom").unwrap();
        }
        assert_eq!(links.take(&first), None);
    }
}
