//! What ends a connection from outside of it: the process stops, or the identity is cut off.

use std::sync::Arc;

use tokio::sync::watch;
use weir_transport::listen::Tracked;

/// Why a connection must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pulled {
    /// The process stops.
    Stopping,
    /// Its identity is quarantined, by the quarantine of this name.
    Quarantined(Arc<str>),
}

impl Pulled {
    /// What evidence says.
    pub(crate) fn recorded(&self) -> String {
        match self {
            Self::Stopping => "drained".to_owned(),
            Self::Quarantined(name) => quarantined(name),
        }
    }

    /// What the client is told.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Stopping => "weir is stopping".to_owned(),
            Self::Quarantined(name) => quarantined(name),
        }
    }
}

/// What clients of a cut-off identity are told. Why is not for them.
pub(crate) fn quarantined(name: &str) -> String {
    format!("this identity is quarantined ({name})")
}

/// Which quarantine cuts the identity off, if any.
pub(crate) struct CutOff(watch::Sender<Option<Arc<str>>>);

impl CutOff {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// What was so before, if it is another: connections that began under a quarantine are told of it in
    /// their own protocol, and an order that only came again must not cut them short of that.
    pub(crate) fn change(&self, name: Option<&Arc<str>>) -> Option<Option<Arc<str>>> {
        let mut before = None;
        self.0.send_if_modified(|current| {
            if current.as_ref() == name {
                return false;
            }
            before = Some(std::mem::replace(current, name.cloned()));
            true
        });
        before
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.0.subscribe()
    }
}

/// Held by each connection.
pub(crate) struct Leash {
    tracked: Tracked,
    quarantine: watch::Receiver<Option<Arc<str>>>,
}

impl Leash {
    pub(crate) fn new(tracked: Tracked, quarantine: watch::Receiver<Option<Arc<str>>>) -> Self {
        Self {
            tracked,
            quarantine,
        }
    }

    /// For a connection inside this one, which ends with it.
    pub(crate) fn inside(&self) -> Self {
        Self {
            tracked: self.tracked.inside(),
            quarantine: self.quarantine.clone(),
        }
    }

    /// Resolves when the connection must end. One that begins while its identity is cut off is refused in
    /// its own protocol instead.
    pub(crate) async fn pulled(&self) -> Pulled {
        tokio::select! {
            () = self.tracked.cancelled() => Pulled::Stopping,
            name = ordered(self.quarantine.clone()) => Pulled::Quarantined(name),
        }
    }

    /// Resolves when the process stops. Nothing has passed yet where this is enough: a cut-off identity is
    /// refused at the next step, in words.
    pub(crate) async fn stopping(&self) -> Pulled {
        self.tracked.cancelled().await;
        Pulled::Stopping
    }

    /// Resolves when a drain has begun: an idle session may end by itself.
    pub(crate) async fn draining(&self) {
        self.tracked.draining().await;
    }
}

/// Resolves with the next quarantine from when this receiver was made.
async fn ordered(mut quarantine: watch::Receiver<Option<Arc<str>>>) -> Arc<str> {
    while quarantine.changed().await.is_ok() {
        if let Some(name) = &*quarantine.borrow_and_update() {
            return Arc::clone(name);
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_an_order_that_is_new_to_a_connection_ends_it() {
        let (sender, receiver) = watch::channel(Some(Arc::<str>::from("before")));
        let old = tokio::spawn(ordered(receiver));
        sender.send_replace(None);
        tokio::task::yield_now().await;
        assert!(!old.is_finished());
        sender.send_replace(Some("now".into()));
        assert_eq!(&*old.await.unwrap(), "now");
    }

    #[tokio::test]
    async fn the_same_order_again_ends_nothing_that_began_under_it() {
        let order = CutOff::new();
        let first = Arc::<str>::from("first");
        let running = tokio::spawn(ordered(order.subscribe()));
        assert_eq!(order.change(Some(&first)), Some(None));
        assert_eq!(running.await.unwrap(), first);
        let began = tokio::spawn(ordered(order.subscribe()));
        assert_eq!(order.change(Some(&first)), None);
        tokio::task::yield_now().await;
        assert!(!began.is_finished());
        let second = Arc::<str>::from("second");
        assert_eq!(order.change(Some(&second)), Some(Some(first)));
        assert_eq!(began.await.unwrap(), second);
        assert_eq!(order.change(None), Some(Some(second)));
    }

    #[test]
    fn evidence_and_clients_learn_which_quarantine_it_is() {
        let pulled = Pulled::Quarantined("billing-reporter".into());
        assert_eq!(pulled.recorded(), pulled.told());
        assert!(pulled.told().contains("billing-reporter"));
        assert_eq!(Pulled::Stopping.recorded(), "drained");
    }
}
