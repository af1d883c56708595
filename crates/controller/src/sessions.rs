//! The watches that are open on this replica, by pod.
//!
//! Invariants: a pod has few; one that does not take its notes ends, so that none is lost in
//! silence: whoever connects again is told of everything that still counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use weir_telemetry::{IntGauge, Registry};
use weir_uplink::control::RequestRuling;

/// Watches of one pod; the oldest makes way.
const PER_POD: usize = 4;
/// Notes that wait for one watch.
const WAITING: usize = 64;

/// The registry. Clones are one.
#[derive(Clone)]
pub(crate) struct Sessions {
    open: Arc<Mutex<Open>>,
    gauge: IntGauge,
}

#[derive(Default)]
struct Open {
    next: u64,
    pods: HashMap<String, Vec<(u64, mpsc::Sender<RequestRuling>)>>,
}

/// Keeps a watch registered.
pub(crate) struct Session {
    sessions: Sessions,
    uid: String,
    id: u64,
    rulings: mpsc::Receiver<RequestRuling>,
}

impl Sessions {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            open: Arc::default(),
            gauge: registry.gauge("weir_controller_watches", "Watches that are open.")?,
        })
    }

    /// Registers a watch of a pod.
    pub(crate) fn open(&self, uid: &str) -> Session {
        let (sender, rulings) = mpsc::channel(WAITING);
        let mut open = self.lock();
        open.next += 1;
        let id = open.next;
        let pod = open.pods.entry(uid.to_owned()).or_default();
        if pod.len() >= PER_POD {
            pod.remove(0);
        }
        pod.push((id, sender));
        self.gauge.inc();
        Session {
            sessions: self.clone(),
            uid: uid.to_owned(),
            id,
            rulings,
        }
    }

    /// Tells a pod of a ruling; whether a watch of it is here.
    pub(crate) fn tell(&self, uid: &str, ruling: &RequestRuling) -> bool {
        let mut open = self.lock();
        open.pods.get_mut(uid).is_some_and(|pod| {
            pod.retain(|(_, watch)| watch.try_send(ruling.clone()).is_ok());
            !pod.is_empty()
        })
    }

    /// Whether a pod watches here.
    pub(crate) fn is_open(&self, uid: &str) -> bool {
        self.lock().pods.contains_key(uid)
    }

    /// Ends the watches of a pod.
    pub(crate) fn end(&self, uid: &str) {
        self.lock().pods.remove(uid);
    }

    /// Ends all watches.
    pub(crate) fn end_all(&self) {
        self.lock().pods.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// The next ruling; none when the watch must end.
    pub(crate) async fn next(&mut self) -> Option<RequestRuling> {
        self.rulings.recv().await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.gauge.dec();
        let mut open = self.sessions.lock();
        if let Some(pod) = open.pods.get_mut(&self.uid) {
            pod.retain(|(id, _)| *id != self.id);
            if pod.is_empty() {
                open.pods.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_uplink::control::Ending;

    use super::*;

    fn ruling(name: &str) -> RequestRuling {
        RequestRuling {
            name: name.to_owned(),
            ending: Ending::Expired,
            approvers: Vec::new(),
            decisions: Vec::new(),
        }
    }

    fn sessions() -> Sessions {
        Sessions::new(&Registry::default()).unwrap()
    }

    #[tokio::test]
    async fn a_ruling_reaches_every_watch_of_its_pod_and_no_other() {
        let sessions = sessions();
        let (mut one, mut two) = (sessions.open("1"), sessions.open("1"));
        let mut other = sessions.open("2");
        sessions.tell("1", &ruling("a"));
        assert_eq!(one.next().await, Some(ruling("a")));
        assert_eq!(two.next().await, Some(ruling("a")));
        sessions.end("2");
        assert_eq!(other.next().await, None);
    }

    #[tokio::test]
    async fn a_watch_that_takes_nothing_ends_and_the_oldest_of_too_many_makes_way() {
        let sessions = sessions();
        let mut slow = sessions.open("1");
        for _ in 0..=WAITING {
            sessions.tell("1", &ruling("a"));
        }
        for _ in 0..WAITING {
            assert!(slow.next().await.is_some());
        }
        assert_eq!(slow.next().await, None);
        let mut first = sessions.open("1");
        let _more: Vec<_> = (0..PER_POD).map(|_| sessions.open("1")).collect();
        assert_eq!(first.next().await, None);
    }

    #[test]
    fn nothing_is_left_of_closed_watches() {
        let sessions = sessions();
        drop((sessions.open("1"), sessions.open("1")));
        assert!(sessions.lock().pods.is_empty());
        assert_eq!(sessions.gauge.get(), 0);
    }
}
