//! Statements that wait for a person.
//!
//! Invariants
//! - Every request ends exactly once (approved, denied, expired, superseded, client gone, stopped),
//!   and its creation, each repetition, each decision and the end are evidence.
//! - Whoever asks cannot decide: the approver is compared with the identity's name, subject, e-mail
//!   and owner. A database user is an attribute and plays no part.
//! - Several approvals come from different people; one denial is enough to deny.
//! - A hold that cannot be recorded is not raised, and a decision that cannot be recorded does not
//!   count. A shape that was approved is on disk before anything goes on because of it.
//! - What waits for the same (identity, login, Target, terms of the rule, shape, and what else tells it
//!   apart) waits for one request. An approval of the very statement lets one statement go on, the one
//!   that people were shown; whatever else waited asks anew.

mod entry;
mod error;
mod grants;
mod leading;
mod spec;
mod ticket;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use weir_api::kinds::{AccessRequestPhase, ApproverDecision};
use weir_audit::{
    AccessRequestClosed, AccessRequestCreated, AccessRequestRepeated, Binding, Closing, Names,
    Record, Ruling, Session, SessionId, Timestamp, Via,
};

use self::entry::{Entry, Likeness, Waiter};
pub use self::error::{DecideError, OpenError};
pub use self::grants::{GrantError, Grants};
pub use self::leading::Leading;
pub use self::spec::{decision, spec};
pub use self::ticket::HoldTicket;
use crate::control::{Ending, RequestRuling};
use crate::spool::AuditHandle;

/// Who denies where the controller names nobody.
const CONTROLLER: &str = "controller";
/// Requests that are over and still shown.
const CLOSED: usize = 256;
/// How many may wait for one request.
const WAITERS: usize = 1024;

/// What a new hold asks for. The request's `deadline` is filled in.
#[derive(Clone, Debug)]
pub struct NewHold {
    /// In which session.
    pub session: Arc<Session>,
    /// What is asked, by which rules, who may decide, how many must approve.
    pub request: AccessRequestCreated,
    /// The statement without its literals, if it has a shape: what tells it from others that wait.
    pub shape: Option<Arc<str>>,
    /// What tells it from others that read the same: they neither wait together nor share a shape.
    pub apart: Arc<str>,
    /// How long somebody may take to decide.
    pub patience: Duration,
}

/// What became of a new hold.
pub enum Opened {
    /// A shape that was approved before lets it go on.
    Granted {
        /// The request that was approved.
        name: Arc<str>,
        /// For so many rows.
        rows: Option<u64>,
    },
    /// It waits for people, for a request that was raised before or just now.
    Waits(HoldTicket),
    /// A request must be raised for it.
    Leads(Box<Leading>),
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
    /// The request is over without a decision: stop.
    Superseded {
        /// Why.
        reason: Arc<str>,
    },
    /// The request was approved, for one statement, which was another: ask anew.
    Other,
}

/// Who decides, and how that is known.
#[derive(Clone, Copy, Debug)]
pub struct Approving<'a> {
    /// Their name.
    pub name: &'a str,
    /// Their groups, or `None` where groups play no part.
    pub groups: Option<&'a Names>,
    /// How they were proved.
    pub via: Via,
}

/// What they decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub ruling: Ruling,
    /// What a yes is good for.
    pub binding: Binding,
    /// For how many minutes, if it is for a shape.
    pub minutes: Option<u32>,
    /// Why yes, in their words.
    pub comment: Option<Arc<str>>,
}

impl From<Ruling> for Decision {
    fn from(ruling: Ruling) -> Self {
        Self {
            ruling,
            binding: Binding::Exact,
            minutes: None,
            comment: None,
        }
    }
}

/// A request, as operators see it.
#[derive(Clone, Debug)]
pub struct HoldView {
    /// What tells it from every other request.
    pub uid: Arc<str>,
    /// In which session.
    pub session: Arc<Session>,
    /// What is asked.
    pub request: AccessRequestCreated,
    /// When it was raised.
    pub created: Timestamp,
    /// Where it stands.
    pub phase: AccessRequestPhase,
    /// What people decided so far.
    pub decisions: Vec<ApproverDecision>,
    /// How often the same was asked again while it waited.
    pub repeats: u32,
}

impl HoldView {
    /// Who approved so far.
    pub fn approvers(&self) -> impl Iterator<Item = &str> {
        use weir_api::kinds::RequestDecision::Approve;
        let approvals = self.decisions.iter().filter(|one| one.decision == Approve);
        approvals.map(|decision| decision.approver.as_str())
    }
}

/// Told of requests that ended here and not by a decision, by name.
type Hook = Box<dyn Fn(&str, Closing) + Send + Sync>;

/// The registry; cheap to clone.
#[derive(Clone)]
pub struct Holds {
    inner: Arc<Inner>,
}

struct Inner {
    audit: AuditHandle,
    grants: Grants,
    random: RandomState,
    state: Mutex<State>,
    /// Held from looking whether a decision counts until it does: only what counts is evidence.
    deciding: tokio::sync::Mutex<()>,
    hook: OnceLock<Hook>,
    /// Grows with everything that changes what [`Holds::list`] says.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    next: u64,
    entries: BTreeMap<u64, Entry>,
    closed: VecDeque<HoldView>,
}

impl State {
    fn named(&self, name: &str) -> Option<u64> {
        let found = self.entries.iter().find(|(_, entry)| entry.is(name));
        found.map(|(id, _)| *id)
    }

    fn get(&self, name: &str) -> Result<&Entry, DecideError> {
        match self.entries.values().find(|entry| entry.is(name)) {
            Some(entry) => Ok(entry),
            None => Err(self.missing(name)),
        }
    }

    /// Why there is no such request among those that wait.
    fn missing(&self, name: &str) -> DecideError {
        let closed = self.closed.iter().rev();
        let mut closed = closed.filter(|view| &*view.request.name == name);
        match closed.next() {
            Some(view) => DecideError::Over {
                name: name.to_owned(),
                phase: word(view.phase),
            },
            None => DecideError::Unknown(name.to_owned()),
        }
    }
}

const fn word(phase: AccessRequestPhase) -> &'static str {
    match phase {
        AccessRequestPhase::Pending => "waiting",
        AccessRequestPhase::Approved => "approved",
        AccessRequestPhase::Denied => "denied",
        AccessRequestPhase::Expired => "expired",
        AccessRequestPhase::Withdrawn => "withdrawn",
        AccessRequestPhase::Superseded => "superseded",
    }
}

impl Holds {
    /// An empty registry that records through `audit` and keeps approved shapes in `grants`.
    #[must_use]
    pub fn new(audit: AuditHandle, grants: Grants) -> Self {
        Self {
            inner: Arc::new(Inner {
                audit,
                grants,
                random: RandomState::new(),
                state: Mutex::default(),
                deciding: tokio::sync::Mutex::default(),
                hook: OnceLock::new(),
                changes: watch::Sender::new(0),
            }),
        }
    }

    /// Has `hook` told of requests that end here without a decision: nobody waits any more, or they
    /// are superseded. Only the first hook counts.
    pub fn on_end(&self, hook: impl Fn(&str, Closing) + Send + Sync + 'static) {
        let _ = self.inner.hook.set(Box::new(hook));
    }

    /// Grows with every change of what waits and what was decided.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// The shapes that were approved.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.inner.grants
    }

    /// Raises a hold where people are asked here. It is on disk, and can be decided, when this returns
    /// a ticket.
    ///
    /// # Errors
    /// When it cannot be raised; the statement must be refused then.
    pub async fn create(&self, hold: NewHold) -> Result<Opened, OpenError> {
        match self.open(hold).await? {
            Opened::Leads(leading) => {
                let name = leading.free_name();
                leading.raise(name).await.map(Opened::Waits)
            }
            opened => Ok(opened),
        }
    }

    /// Lets a hold go on by a shape that was approved, has it wait for a request that waits already,
    /// or asks for one to be raised.
    ///
    /// # Errors
    /// When the request that it would wait for cannot be raised, or it cannot be recorded; the
    /// statement must be refused then.
    pub async fn open(&self, hold: NewHold) -> Result<Opened, OpenError> {
        let now = Timestamp::from(SystemTime::now());
        let key = Likeness::of(&hold);
        if let Some((name, rows)) = self.granted(&hold, now) {
            return Ok(Opened::Granted { name, rows });
        }
        let (joined, id) = {
            let mut state = self.state();
            let found = state.entries.iter_mut().find(|(_, entry)| entry.key == key);
            match found {
                Some((id, entry)) => {
                    if entry.waiters.len() >= WAITERS {
                        return Err(OpenError::TooMany(Arc::clone(entry.name())));
                    }
                    let (waiter, answer) = Waiter::new(&hold);
                    let number = entry.join(waiter);
                    let raised = entry.raised.subscribe();
                    let until = entry.until;
                    let ticket = HoldTicket::new(self.clone(), *id, number, answer, until);
                    (Some((ticket, raised)), *id)
                }
                None => {
                    let id = state.next;
                    state.next += 1;
                    let uid = self.uid(hold.session.id, id);
                    state.entries.insert(id, Entry::new(&hold, key, uid, now));
                    (None, id)
                }
            }
        };
        let Some((ticket, mut raised)) = joined else {
            return Ok(Opened::Leads(Box::new(Leading {
                holds: self.clone(),
                id,
                hold: Some(hold),
            })));
        };
        let outcome = raised.wait_for(Option::is_some).await;
        let outcome = outcome.map(|outcome| outcome.clone());
        let name = match outcome.ok().flatten() {
            Some(Ok(name)) => name,
            Some(Err(reason)) => return Err(OpenError::NotRaised(reason)),
            None => return Err(OpenError::NotRaised("it was not raised".into())),
        };
        let count = self
            .state()
            .entries
            .get(&id)
            .map(|entry| entry.view.repeats);
        let repeated = AccessRequestRepeated {
            name: Arc::clone(&name),
            number: hold.request.number,
            count: count.unwrap_or_default().saturating_add(1),
        };
        let record = Record::session(now, hold.session, repeated);
        self.inner.audit.append_durable(record).await?;
        self.changed();
        Ok(Opened::Waits(ticket.named(name)))
    }

    fn granted(&self, hold: &NewHold, now: Timestamp) -> Option<(Arc<str>, Option<u64>)> {
        let shape = hold.shape.as_ref()?;
        let most = hold.request.max_minutes?;
        if hold.request.binding != Binding::Shape {
            return None;
        }
        let key = grants::Key::of(&hold.session, &hold.request, shape, &hold.apart);
        self.inner.grants.find(&key, most, now)
    }

    /// What waits, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<HoldView> {
        let state = self.state();
        let raised = state.entries.values().filter(|entry| entry.is_raised());
        let mut views: Vec<_> = raised.map(|entry| entry.view.clone()).collect();
        drop(state);
        views.sort_by_key(|view| view.created);
        views
    }

    /// The last requests that are over, in the order in which they ended.
    #[must_use]
    pub fn closed(&self) -> Vec<HoldView> {
        self.state().closed.iter().cloned().collect()
    }

    /// Decides a request, `uid` of it if that is known. Returns the request as it is afterwards.
    ///
    /// # Errors
    /// When the decision does not count.
    pub async fn decide(
        &self,
        name: &str,
        uid: Option<&str>,
        by: Approving<'_>,
        decision: &Decision,
    ) -> Result<HoldView, DecideError> {
        let at = Timestamp::from(SystemTime::now());
        let turn = self.inner.deciding.lock().await;
        let record = {
            let state = self.state();
            let entry = state.get(name)?;
            entry.view.check(uid, by, decision)?;
            entry.decided(by, decision, at)
        };
        // A decision counts only once it is on disk.
        self.inner.audit.append_durable(record).await?;
        let mut state = self.state();
        let id = state.named(name).ok_or_else(|| state.missing(name))?;
        let entry = state
            .entries
            .get_mut(&id)
            .ok_or_else(|| DecideError::Unknown(name.to_owned()))?;
        entry.view.check(uid, by, decision)?;
        let shape = entry.take(by, decision, at);
        let Some(ending) = entry.ending() else {
            let view = entry.view.clone();
            drop(state);
            self.changed();
            return Ok(view);
        };
        if let Some((key, grant)) = shape {
            // Whoever waits goes on because of it, so it has to be on disk.
            if let Err(error) = self.inner.grants.add(key, grant) {
                entry.view.decisions.pop();
                return Err(error.into());
            }
        }
        let view = self.end(&mut state, id, &ending, &Closing::from_answer(&ending));
        drop((state, turn));
        self.changed();
        view.ok_or_else(|| DecideError::Unknown(name.to_owned()))
    }

    /// Whether a request of that name waits.
    #[must_use]
    pub fn waits(&self, name: &str) -> bool {
        self.state().named(name).is_some()
    }

    /// Ends a request as the controller says. Who may decide was checked there; what was decided is
    /// evidence here as well.
    ///
    /// # Errors
    /// The request does not wait, or the decision could not be recorded or kept.
    pub async fn conclude(&self, ruling: &RequestRuling) -> Result<(), DecideError> {
        let name = ruling.name.as_str();
        let (records, shape) = {
            let state = self.state();
            let entry = state.get(name)?;
            (entry.rulings(ruling), entry.shape_of(ruling))
        };
        for record in records {
            self.inner.audit.append_durable(record).await?;
        }
        if let Some((key, grant)) = shape {
            self.inner.grants.add(key, grant)?;
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
        let mut state = self.state();
        let id = state.named(name).ok_or_else(|| state.missing(name))?;
        if let Some(entry) = state.entries.get_mut(&id) {
            entry.view.decisions.clone_from(&ruling.decisions);
        }
        self.end(&mut state, id, &answer, &Closing::from_answer(&answer));
        drop(state);
        self.changed();
        Ok(())
    }

    /// Ends requests that nobody has to decide any more, for this reason.
    pub fn supersede(&self, reason: &str, which: impl Fn(&HoldView) -> bool) {
        let mut state = self.state();
        let found = state.entries.iter().filter(|(_, entry)| which(&entry.view));
        let found: Vec<u64> = found.map(|(id, _)| *id).collect();
        let answer = Answer::Superseded {
            reason: reason.into(),
        };
        let mut names = Vec::new();
        for id in &found {
            let ended = self.end(&mut state, *id, &answer, &Closing::Superseded);
            names.extend(ended.map(|view| view.request.name));
        }
        drop(state);
        for name in names {
            self.tell(&name, Closing::Superseded);
        }
        self.changed();
    }

    /// The deadline of a request is over.
    fn expire(&self, id: u64) {
        let mut state = self.state();
        self.end(&mut state, id, &Answer::Expired, &Closing::Expired);
        drop(state);
        self.changed();
    }

    /// Somebody waits no longer; the last one closes the request.
    fn leave(&self, id: u64, waiter: u64, closing: Closing) {
        let mut state = self.state();
        let Some(entry) = state.entries.get_mut(&id) else {
            return;
        };
        entry.waiters.remove(&waiter);
        if !entry.waiters.is_empty() || !entry.is_raised() {
            return;
        }
        let ended = self.end(&mut state, id, &Answer::Expired, &closing);
        drop(state);
        if let Some(view) = ended {
            self.tell(&view.request.name, closing);
        }
        self.changed();
    }

    /// Answers whoever waits, and keeps what became of the request.
    fn end(
        &self,
        state: &mut State,
        id: u64,
        answer: &Answer,
        closing: &Closing,
    ) -> Option<HoldView> {
        let mut entry = state.entries.remove(&id)?;
        entry.view.phase = phase_of(*closing);
        entry.answer(answer);
        let held = entry.since.elapsed().as_millis();
        let closed = AccessRequestClosed {
            name: Arc::clone(entry.name()),
            closing: *closing,
            held_ms: u64::try_from(held).unwrap_or(u64::MAX),
        };
        let session = Arc::clone(&entry.view.session);
        let record = Record::session(SystemTime::now().into(), session, closed);
        if let Err(error) = self.inner.audit.record(record) {
            let request = entry.name();
            tracing::error!(%error, %request, "the end of a request was not recorded");
        }
        if state.closed.len() >= CLOSED {
            state.closed.pop_front();
        }
        state.closed.push_back(entry.view.clone());
        Some(entry.view)
    }

    fn tell(&self, name: &str, closing: Closing) {
        if let Some(hook) = self.inner.hook.get() {
            hook(name, closing);
        }
    }

    fn changed(&self) {
        self.inner.changes.send_modify(|changes| *changes += 1);
    }

    fn free_name(&self, session: SessionId) -> Arc<str> {
        let state = self.state();
        let mut salt = state.next;
        loop {
            let drawn = self.inner.random.hash_one((session, salt, Instant::now()));
            let text = SessionId::new(drawn).to_string();
            let name: Arc<str> = format!("weir-{}", text.get(7..).unwrap_or(&text)).into();
            let taken = state.closed.iter().any(|view| view.request.name == name);
            if state.named(&name).is_none() && !taken {
                return name;
            }
            salt = salt.wrapping_add(1);
        }
    }

    fn uid(&self, session: SessionId, id: u64) -> Arc<str> {
        let drawn = |salt: u8| {
            let now = SystemTime::now();
            self.inner.random.hash_one((session, id, now, salt))
        };
        format!("{:016x}{:016x}", drawn(0), drawn(1)).into()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

const fn phase_of(closing: Closing) -> AccessRequestPhase {
    match closing {
        Closing::Approved => AccessRequestPhase::Approved,
        Closing::Denied => AccessRequestPhase::Denied,
        Closing::Expired => AccessRequestPhase::Expired,
        Closing::ClientGone | Closing::Stopped => AccessRequestPhase::Withdrawn,
        Closing::Superseded => AccessRequestPhase::Superseded,
    }
}

/// How a request ends by an answer.
trait FromAnswer {
    fn from_answer(answer: &Answer) -> Self;
}

impl FromAnswer for Closing {
    fn from_answer(answer: &Answer) -> Self {
        match answer {
            Answer::Approved { .. } | Answer::Other => Self::Approved,
            Answer::Denied { .. } => Self::Denied,
            Answer::Expired => Self::Expired,
            Answer::Superseded { .. } => Self::Superseded,
        }
    }
}

/// Whoever waits, waits here.
type Sender = oneshot::Sender<Answer>;

#[cfg(test)]
mod tests;
