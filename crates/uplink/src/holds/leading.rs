//! Whoever is the first to wait raises the request, for itself and all that come after it.

use std::sync::Arc;
use std::time::SystemTime;

use weir_audit::{Record, Timestamp};

use super::entry::Waiter;
use super::{HoldTicket, Holds, NewHold, OpenError};

/// Must raise the request that it and others wait for; dropped, all of them are refused.
pub struct Leading {
    pub(super) holds: Holds,
    pub(super) id: u64,
    pub(super) hold: Option<NewHold>,
}

impl Leading {
    /// A name that no request here has.
    #[must_use]
    pub fn free_name(&self) -> Arc<str> {
        let session = self.hold.as_ref().map(|hold| hold.session.id);
        self.holds.free_name(session.unwrap_or_default())
    }

    /// The request under this name. It is on disk, and can be decided, when this returns.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub async fn raise(mut self, name: Arc<str>) -> Result<HoldTicket, OpenError> {
        let Some(hold) = self.hold.as_ref() else {
            return Err(OpenError::NotRaised("it was raised before".into()));
        };
        let now = Timestamp::from(SystemTime::now());
        let mut request = hold.request.clone();
        request.approvals = request.approvals.max(1);
        request.deadline = now.plus(hold.patience);
        request.name = Arc::clone(&name);
        let record = Record::session(now, Arc::clone(&hold.session), request.clone());
        let recorded = self.holds.inner.audit.append_durable(record).await;
        if let Err(error) = recorded {
            self.fail(&error.to_string());
            return Err(error.into());
        }
        let (waiter, answer) = Waiter::new(hold);
        let mut state = self.holds.state();
        let Some(entry) = state.entries.get_mut(&self.id) else {
            return Err(OpenError::NotRaised("it was not raised".into()));
        };
        entry.view.request = request;
        entry.view.created = now;
        let number = entry.lead(waiter);
        entry.raised.send_replace(Some(Ok(Arc::clone(&name))));
        let until = entry.until;
        drop(state);
        self.hold = None;
        self.holds.changed();
        let ticket = HoldTicket::new(self.holds.clone(), self.id, number, answer, until);
        Ok(ticket.named(name))
    }

    /// There will be no request, for this reason.
    pub fn fail(&mut self, reason: &str) {
        if self.hold.take().is_none() {
            return;
        }
        let entry = self.holds.state().entries.remove(&self.id);
        if let Some(entry) = entry {
            entry.raised.send_replace(Some(Err(reason.into())));
        }
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.fail("whoever asked first went away");
    }
}
