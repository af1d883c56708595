//! One client's place at a request.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;
use weir_audit::Closing;

use super::{Answer, Holds};

/// Waits for an answer. Dropping it before one leaves the request; the last to leave closes it.
pub struct HoldTicket {
    holds: Holds,
    entry: u64,
    waiter: u64,
    name: Arc<str>,
    answer: oneshot::Receiver<Answer>,
    until: Instant,
    leaving: Option<Closing>,
}

impl HoldTicket {
    pub(super) fn new(
        holds: Holds,
        entry: u64,
        waiter: u64,
        answer: oneshot::Receiver<Answer>,
        until: Instant,
    ) -> Self {
        Self {
            holds,
            entry,
            waiter,
            name: "".into(),
            answer,
            until,
            leaving: Some(Closing::ClientGone),
        }
    }

    pub(super) fn named(mut self, name: Arc<str>) -> Self {
        self.name = name;
        self
    }

    /// The request's name, for the notice to the client.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Waits for the answer or the deadline. Cancel safe: it may be called again.
    pub async fn answer(&mut self) -> Answer {
        let answer = match tokio::time::timeout_at(self.until, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Answer::Expired,
            Err(_) => {
                self.holds.expire(self.entry);
                Answer::Expired
            }
        };
        self.leaving = None;
        answer
    }

    /// Leaves because the engine stops.
    pub fn stop(mut self) {
        self.leaving = self.leaving.take().map(|_| Closing::Stopped);
    }
}

impl Drop for HoldTicket {
    fn drop(&mut self) {
        if let Some(closing) = self.leaving.take() {
            self.holds.leave(self.entry, self.waiter, closing);
        }
    }
}
