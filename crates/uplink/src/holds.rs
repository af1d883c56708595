//! Statements that wait for a person.
//!
//! Invariants
//! - Every hold ends exactly once (approved, denied, expired, client gone, stopped), and creation,
//!   each decision and the end are evidence.
//! - Whoever asks cannot decide: the approver is compared with the identity's name, subject, e-mail
//!   and owner. A database user is an attribute and plays no part.
//! - Several approvals come from different people; one denial is enough to deny.
//! - A hold that cannot be recorded is not raised.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;
use weir_audit::{
    AccessRequestClosed, AccessRequestCreated, AccessRequestDecided, Closing, Names, Record,
    Ruling, Session, SessionId, Timestamp,
};

use crate::control::{Ending, RequestRuling};
use crate::spool::{AuditHandle, SpoolError};

/// Who denies where the controller names nobody.
const CONTROLLER: &str = "controller";

/// What a new hold asks for. The request's `deadline` is filled in, and its `name` if it is empty.
#[derive(Clone, Debug)]
pub struct NewHold {
    /// In which session.
    pub session: Arc<Session>,
    /// What is asked, by which rules, who may decide, how many must approve.
    pub request: AccessRequestCreated,
    /// How long somebody may take to decide.
    pub patience: Duration,
}

/// How a hold was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on, for so many rows if a number was given.
    Approved {
        /// The smallest row limit of the approvals.
        rows: Option<u64>,
    },
    /// Stop.
    Denied {
        /// Who denied.
        approver: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// Nobody decided in time: stop.
    Expired,
}

/// Why a decision does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// No request of that name waits.
    #[error("no request {0} waits for a decision")]
    Unknown(String),
    /// Who asks cannot decide.
    #[error("{0} is the requester and cannot decide its own request")]
    Requester(String),
    /// The same person approved before.
    #[error("{0} has approved already; another person must")]
    Again(String),
    /// The approver is in none of the rule's groups.
    #[error("{0} is in none of the groups that may decide")]
    Group(String),
    /// The decision could not be recorded, so it does not count.
    #[error(transparent)]
    Unrecorded(#[from] SpoolError),
}

/// A request, as operators see it.
#[derive(Clone, Debug)]
pub struct HoldView {
    /// In which session.
    pub session: Arc<Session>,
    /// What is asked.
    pub request: AccessRequestCreated,
    /// When it was raised.
    pub created: Timestamp,
    /// Who approved so far.
    pub approvers: Vec<Arc<str>>,
}

/// The registry; cheap to clone.
#[derive(Clone)]
pub struct Holds {
    inner: Arc<Inner>,
}

struct Inner {
    audit: AuditHandle,
    random: RandomState,
    waiting: Mutex<BTreeMap<Arc<str>, Entry>>,
}

struct Entry {
    view: HoldView,
    rows: Option<u64>,
    answer: oneshot::Sender<Answer>,
}

/// One raised hold; dropping it before an answer closes it as *client gone*.
pub struct HoldTicket {
    holds: Holds,
    name: Arc<str>,
    session: Arc<Session>,
    answer: oneshot::Receiver<Answer>,
    since: Instant,
    until: Instant,
    closing: Option<Closing>,
}

impl Holds {
    /// An empty registry that records through `audit`.
    #[must_use]
    pub fn new(audit: AuditHandle) -> Self {
        Self {
            inner: Arc::new(Inner {
                audit,
                random: RandomState::new(),
                waiting: Mutex::default(),
            }),
        }
    }

    /// Raises a hold. It is on disk, and can be decided, when this returns.
    ///
    /// # Errors
    /// When it cannot be recorded; the statement must be refused then.
    pub async fn create(&self, hold: NewHold) -> Result<HoldTicket, SpoolError> {
        let NewHold {
            session,
            mut request,
            patience,
        } = hold;
        let now = Timestamp::from(SystemTime::now());
        let since = Instant::now();
        request.approvals = request.approvals.max(1);
        request.deadline = now.plus(patience);
        if request.name.is_empty() {
            request.name = self.free_name(session.id);
        }
        let name = Arc::clone(&request.name);
        let record = Record::session(now, Arc::clone(&session), request.clone());
        self.inner.audit.append_durable(record).await?;
        let (sender, answer) = oneshot::channel();
        let approvers = Vec::new();
        let view = HoldView {
            session: Arc::clone(&session),
            request,
            created: now,
            approvers,
        };
        let entry = Entry {
            view,
            rows: None,
            answer: sender,
        };
        self.waiting().insert(Arc::clone(&name), entry);
        let holds = self.clone();
        let until = since + patience;
        Ok(HoldTicket {
            holds,
            name,
            session,
            answer,
            since,
            until,
            closing: None,
        })
    }

    /// What waits, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<HoldView> {
        let mut views: Vec<_> = self
            .waiting()
            .values()
            .map(|entry| entry.view.clone())
            .collect();
        views.sort_by_key(|view| view.created);
        views
    }

    /// Decides a request. `groups` are the approver's, or `None` for an operator whose authority
    /// is the socket itself. Returns the request as it is afterwards.
    ///
    /// # Errors
    /// When the decision does not count.
    pub async fn decide(
        &self,
        name: &str,
        approver: &str,
        groups: Option<&Names>,
        ruling: Ruling,
    ) -> Result<HoldView, DecideError> {
        let (record, needed) = {
            let waiting = self.waiting();
            let entry = waiting
                .get(name)
                .ok_or_else(|| DecideError::Unknown(name.to_owned()))?;
            entry.check(approver, groups, &ruling)?;
            entry.record(approver, &ruling)
        };
        // A decision counts only once it is on disk.
        self.inner.audit.append_durable(record).await?;
        let mut waiting = self.waiting();
        let entry = waiting
            .get_mut(name)
            .ok_or_else(|| DecideError::Unknown(name.to_owned()))?;
        entry.check(approver, groups, &ruling)?;
        let answer = match ruling {
            Ruling::Deny { reason } => Some(Answer::Denied {
                approver: approver.into(),
                reason,
            }),
            Ruling::Approve { rows } => {
                entry.view.approvers.push(approver.into());
                entry.rows = entry.rows.into_iter().chain(rows).min();
                let enough = entry.view.approvers.len() >= needed;
                enough.then_some(Answer::Approved { rows: entry.rows })
            }
        };
        let view = entry.view.clone();
        if let Some(answer) = answer
            && let Some(entry) = waiting.remove(name)
            && entry.answer.send(answer).is_err()
        {
            return Err(DecideError::Unknown(name.to_owned()));
        }
        Ok(view)
    }

    /// Whether a request of that name waits.
    #[must_use]
    pub fn waits(&self, name: &str) -> bool {
        self.waiting().contains_key(name)
    }

    /// Ends a request as the controller says. Who may decide was checked there; what was decided is
    /// evidence here as well.
    ///
    /// # Errors
    /// The request does not wait, or the decision could not be recorded.
    pub async fn conclude(&self, ruling: &RequestRuling) -> Result<(), DecideError> {
        let unknown = || DecideError::Unknown(ruling.name.clone());
        let records = {
            let waiting = self.waiting();
            let entry = waiting.get(ruling.name.as_str()).ok_or_else(unknown)?;
            entry.rulings(ruling)
        };
        for record in records {
            self.inner.audit.append_durable(record).await?;
        }
        let answer = match &ruling.ending {
            Ending::Approved { rows } => Answer::Approved { rows: *rows },
            Ending::Denied { reason } => Answer::Denied {
                approver: ruling
                    .approvers
                    .last()
                    .map_or(CONTROLLER, |name| name)
                    .into(),
                reason: reason.as_str().into(),
            },
            Ending::Expired => Answer::Expired,
        };
        let entry = self.waiting().remove(ruling.name.as_str());
        let sent = entry.ok_or_else(unknown)?.answer.send(answer);
        sent.map_err(|_| unknown())
    }

    fn free_name(&self, session: SessionId) -> Arc<str> {
        let waiting = self.waiting();
        let mut salt = waiting.len() as u64;
        loop {
            let drawn = self.inner.random.hash_one((session, salt, Instant::now()));
            let text = SessionId::new(drawn).to_string();
            let name: Arc<str> = format!("weir-{}", text.get(7..).unwrap_or(&text)).into();
            if !waiting.contains_key(&name) {
                return name;
            }
            salt = salt.wrapping_add(1);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Entry>> {
        self.inner
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn check(
        &self,
        approver: &str,
        groups: Option<&Names>,
        ruling: &Ruling,
    ) -> Result<(), DecideError> {
        let identity = &self.view.session.identity;
        let own = [
            Some(&identity.name),
            identity.subject.as_ref(),
            identity.email.as_ref(),
            identity.owner.as_ref(),
        ];
        if own
            .into_iter()
            .flatten()
            .any(|name| name.eq_ignore_ascii_case(approver))
        {
            return Err(DecideError::Requester(approver.to_owned()));
        }
        let allowed = &self.view.request.groups;
        if let Some(groups) = groups
            && !allowed.is_empty()
            && !groups.iter().any(|group| allowed.contains(group))
        {
            return Err(DecideError::Group(approver.to_owned()));
        }
        let again = self
            .view
            .approvers
            .iter()
            .any(|have| have.eq_ignore_ascii_case(approver));
        if again && matches!(ruling, Ruling::Approve { .. }) {
            return Err(DecideError::Again(approver.to_owned()));
        }
        Ok(())
    }

    /// The decisions behind the controller's ruling, one for each approver.
    fn rulings(&self, ruling: &RequestRuling) -> Vec<Record> {
        let decided = match &ruling.ending {
            Ending::Approved { rows } => Ruling::Approve { rows: *rows },
            Ending::Denied { reason } => Ruling::Deny {
                reason: reason.as_str().into(),
            },
            Ending::Expired => return Vec::new(),
        };
        let approves = matches!(decided, Ruling::Approve { .. });
        let decision = |(n, approver): (usize, &String)| {
            let approvals = if approves { n.saturating_add(1) } else { 0 };
            let event = AccessRequestDecided {
                name: Arc::clone(&self.view.request.name),
                approver: approver.as_str().into(),
                ruling: decided.clone(),
                approvals: u32::try_from(approvals).unwrap_or(u32::MAX),
                needed: self.view.request.approvals,
            };
            Record::session(
                SystemTime::now().into(),
                Arc::clone(&self.view.session),
                event,
            )
        };
        ruling.approvers.iter().enumerate().map(decision).collect()
    }

    fn record(&self, approver: &str, ruling: &Ruling) -> (Record, usize) {
        let before = u32::try_from(self.view.approvers.len()).unwrap_or(u32::MAX);
        let needed = self.view.request.approvals;
        let approves = u32::from(matches!(ruling, Ruling::Approve { .. }));
        let decided = AccessRequestDecided {
            name: Arc::clone(&self.view.request.name),
            approver: approver.into(),
            ruling: ruling.clone(),
            approvals: before.saturating_add(approves),
            needed,
        };
        let session = Arc::clone(&self.view.session);
        let record = Record::session(SystemTime::now().into(), session, decided);
        (record, usize::try_from(needed).unwrap_or(usize::MAX))
    }
}

impl HoldTicket {
    /// The request's name, for the notice to the client.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Waits for the answer or the deadline. Cancel safe: it may be called again.
    pub async fn answer(&mut self) -> Answer {
        let answer = match tokio::time::timeout_at(self.until, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Answer::Expired,
        };
        self.closing = Some(match &answer {
            Answer::Approved { .. } => Closing::Approved,
            Answer::Denied { .. } => Closing::Denied,
            Answer::Expired => Closing::Expired,
        });
        answer
    }

    /// Closes the hold because the engine stops.
    pub fn stop(mut self) {
        self.closing.get_or_insert(Closing::Stopped);
    }
}

impl Drop for HoldTicket {
    fn drop(&mut self) {
        self.holds.waiting().remove(&self.name);
        let held = self.since.elapsed().as_millis();
        let closed = AccessRequestClosed {
            name: Arc::clone(&self.name),
            closing: self.closing.unwrap_or(Closing::ClientGone),
            held_ms: u64::try_from(held).unwrap_or(u64::MAX),
        };
        let session = Arc::clone(&self.session);
        let record = Record::session(SystemTime::now().into(), session, closed);
        if let Err(error) = self.holds.inner.audit.record(record) {
            tracing::error!(%error, request = %self.name, "the end of a request was not recorded");
        }
    }
}

#[cfg(test)]
mod tests;
