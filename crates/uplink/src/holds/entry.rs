//! One request that waits, and everybody who waits for it. Pure but for the clock of its beginning.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use weir_api::kinds::{AccessRequestPhase, AccessRequestStatus, ApproverDecision, RequestDecision};
use weir_audit::{AccessRequestDecided, Binding, Names, Record, Ruling, Session, Timestamp, Value};

use super::grants::{Grant, Key};
use super::spec::{binding_of, decision_of, via_name};
use super::{Answer, Approving, DecideError, Decision, HoldView, NewHold, Sender};
use crate::control::{Ending, RequestRuling, RequestView};

/// What waits for the same request has all of this in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Likeness {
    who: Arc<str>,
    pod: Option<Arc<str>>,
    target: Option<Arc<str>>,
    database: Option<Arc<str>>,
    login: Option<Arc<str>>,
    rules: Names,
    groups: Names,
    users: Names,
    approvals: u32,
    max_minutes: Option<u32>,
    /// The shape, or the whole statement where it has none.
    text: Arc<str>,
    apart: Arc<str>,
}

impl Likeness {
    pub(super) fn of(hold: &NewHold) -> Self {
        let (session, request) = (&hold.session, &hold.request);
        Self {
            who: Arc::clone(&session.identity.name),
            pod: session.identity.uid.clone(),
            target: session.target.clone(),
            database: session.database.clone(),
            login: session.user.clone(),
            rules: request.rules.clone(),
            groups: request.groups.clone(),
            users: request.users.clone(),
            approvals: request.approvals,
            max_minutes: request.max_minutes,
            text: Arc::clone(hold.shape.as_ref().unwrap_or(&request.statement)),
            apart: Arc::clone(&hold.apart),
        }
    }
}

/// Who waits, and for which statement exactly.
pub(super) struct Waiter {
    statement: Arc<str>,
    parameters: Vec<Value>,
    detail: Option<Arc<str>>,
    answer: Sender,
}

impl Waiter {
    pub(super) fn new(hold: &NewHold) -> (Self, oneshot::Receiver<Answer>) {
        let (answer, waiting) = oneshot::channel();
        let waiter = Self {
            statement: Arc::clone(&hold.request.statement),
            parameters: hold.request.parameters.clone(),
            detail: hold.request.detail.clone(),
            answer,
        };
        (waiter, waiting)
    }
}

/// What a request that is being raised came to.
type Raised = Option<Result<Arc<str>, Arc<str>>>;

pub(super) struct Entry {
    pub(super) key: Likeness,
    pub(super) view: HoldView,
    pub(super) waiters: BTreeMap<u64, Waiter>,
    next: u64,
    /// Whose statement people are shown.
    shown: Option<u64>,
    shape: Option<Arc<str>>,
    pub(super) raised: watch::Sender<Raised>,
    pub(super) since: Instant,
    pub(super) until: Instant,
}

impl Entry {
    pub(super) fn new(hold: &NewHold, key: Likeness, uid: Arc<str>, now: Timestamp) -> Self {
        let since = Instant::now();
        Self {
            key,
            view: HoldView {
                uid,
                session: Arc::clone(&hold.session),
                request: hold.request.clone(),
                created: now,
                phase: AccessRequestPhase::Pending,
                decisions: Vec::new(),
                repeats: 0,
            },
            waiters: BTreeMap::new(),
            next: 0,
            shown: None,
            shape: hold.shape.clone(),
            raised: watch::Sender::new(None),
            since,
            until: since + hold.patience,
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.view.request.name
    }

    pub(super) fn is_raised(&self) -> bool {
        matches!(&*self.raised.borrow(), Some(Ok(_)))
    }

    pub(super) fn is(&self, name: &str) -> bool {
        &**self.name() == name && self.is_raised()
    }

    /// The one that the request is about.
    pub(super) fn lead(&mut self, waiter: Waiter) -> u64 {
        let number = self.insert(waiter);
        self.shown = Some(number);
        number
    }

    /// One more.
    pub(super) fn join(&mut self, waiter: Waiter) -> u64 {
        self.view.repeats = self.view.repeats.saturating_add(1);
        self.insert(waiter)
    }

    fn insert(&mut self, waiter: Waiter) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiters.insert(number, waiter);
        number
    }

    /// The decision as evidence.
    pub(super) fn decided(&self, by: Approving<'_>, decision: &Decision, at: Timestamp) -> Record {
        let before = u32::try_from(self.view.approvers().count()).unwrap_or(u32::MAX);
        let approves = matches!(decision.ruling, Ruling::Approve { .. });
        let decided = AccessRequestDecided {
            name: Arc::clone(self.name()),
            approver: by.name.into(),
            ruling: decision.ruling.clone(),
            approvals: before.saturating_add(u32::from(approves)),
            needed: self.view.request.approvals,
            binding: decision.binding,
            minutes: decision.minutes,
            via: Some(by.via),
            comment: decision.comment.clone(),
        };
        Record::session(at, Arc::clone(&self.view.session), decided)
    }

    /// Takes a decision over; the shape that is approved from now on, if that is what it came to.
    pub(super) fn take(
        &mut self,
        by: Approving<'_>,
        decision: &Decision,
        at: Timestamp,
    ) -> Option<(Key, Grant)> {
        let mut taken = decision_of(decision, by.name, at);
        taken.via = Some(via_name(by.via));
        self.view.decisions.push(taken);
        match self.ending()? {
            Answer::Approved { .. } => self.grant(&self.view.decisions, at),
            _ => None,
        }
    }

    /// How the request ends, if its decisions are enough.
    pub(super) fn ending(&self) -> Option<Answer> {
        let decisions = &self.view.decisions;
        let denial = decisions
            .iter()
            .find(|decision| decision.decision == RequestDecision::Deny);
        if let Some(denial) = denial {
            return Some(Answer::Denied {
                approver: denial.approver.as_str().into(),
                reason: denial.reason.as_deref().unwrap_or_default().into(),
            });
        }
        let needed = usize::try_from(self.view.request.approvals).unwrap_or(usize::MAX);
        let rows = decisions.iter().filter_map(|decision| decision.rows).min();
        (decisions.len() >= needed).then_some(Answer::Approved { rows })
    }

    /// The shape that decisions of the controller approve.
    pub(super) fn shape_of(&self, ruling: &RequestRuling) -> Option<(Key, Grant)> {
        let Ending::Approved { .. } = ruling.ending else {
            return None;
        };
        let times = ruling.decisions.iter();
        let at = times
            .filter_map(|one| one.at.parse::<Timestamp>().ok())
            .max();
        self.grant(&ruling.decisions, at?)
    }

    /// All approvals are of the shape: the shortest time holds.
    fn grant(&self, decisions: &[ApproverDecision], at: Timestamp) -> Option<(Key, Grant)> {
        if binding_of(decisions) != Binding::Shape {
            return None;
        }
        let shape = self.shape.as_ref()?;
        let most = self.view.request.max_minutes?;
        let minutes = decisions.iter().filter_map(|one| one.minutes).min()?;
        let grant = Grant {
            request: self.name().to_string(),
            rows: decisions.iter().filter_map(|one| one.rows).min(),
            granted: at,
            minutes: minutes.min(most),
        };
        Some((
            Key::of(
                &self.view.session,
                &self.view.request,
                shape,
                &self.key.apart,
            ),
            grant,
        ))
    }

    /// Answers everybody who waits. What was approved for one statement is for one: the one that people
    /// were shown, or, if whoever asked for it has left, the first that equals it in everything.
    pub(super) fn answer(&mut self, answer: &Answer) {
        let exact = matches!(answer, Answer::Approved { .. })
            && binding_of(&self.view.decisions) == Binding::Exact;
        let request = &self.view.request;
        let equals = |waiter: &Waiter| {
            waiter.statement == request.statement
                && waiter.parameters == request.parameters
                && waiter.detail == request.detail
        };
        let shown = self.shown.filter(|shown| self.waiters.contains_key(shown));
        let mut equal = self.waiters.iter().filter(|(_, waiter)| equals(waiter));
        let served = shown.or_else(|| equal.next().map(|(number, _)| *number));
        for (number, waiter) in std::mem::take(&mut self.waiters) {
            let other = exact && Some(number) != served;
            let answer = if other { Answer::Other } else { answer.clone() };
            let _ = waiter.answer.send(answer);
        }
    }

    /// The decisions behind the controller's ruling, as evidence.
    pub(super) fn rulings(&self, ruling: &RequestRuling) -> Vec<Record> {
        let mut approvals = 0_u32;
        let decided = ruling.decisions.iter().map(|decision| {
            let ruling = match decision.decision {
                RequestDecision::Approve => {
                    approvals = approvals.saturating_add(1);
                    Ruling::Approve {
                        rows: decision.rows,
                    }
                }
                RequestDecision::Deny => Ruling::Deny {
                    reason: decision.reason.as_deref().unwrap_or_default().into(),
                },
            };
            let approves = decision.decision == RequestDecision::Approve;
            let comment = decision.reason.as_deref().filter(|_| approves);
            let event = AccessRequestDecided {
                name: Arc::clone(self.name()),
                approver: decision.approver.as_str().into(),
                ruling,
                approvals,
                needed: self.view.request.approvals,
                binding: binding_of(std::slice::from_ref(decision)),
                minutes: decision.minutes,
                via: decision.via.map(super::spec::via_of),
                comment: comment.map(Arc::from),
            };
            let at = decision.at.parse();
            let at = at.unwrap_or_else(|_| std::time::SystemTime::now().into());
            Record::session(at, Arc::clone(&self.view.session), event)
        });
        decided.collect()
    }
}

impl HoldView {
    /// Whether a decision on it would count, about the request with this UID if that is given.
    ///
    /// # Errors
    /// Why not.
    pub fn check(
        &self,
        uid: Option<&str>,
        by: Approving<'_>,
        decision: &Decision,
    ) -> Result<(), DecideError> {
        let approver = by.name;
        let request = &self.request;
        if uid.is_some_and(|uid| uid != &*self.uid) {
            return Err(DecideError::OtherRequest(request.name.to_string()));
        }
        if is_requester(&self.session, approver) {
            return Err(DecideError::Requester(approver.to_owned()));
        }
        if let Some(groups) = by.groups {
            let anybody = request.groups.is_empty() && request.users.is_empty();
            let in_group = groups.iter().any(|group| request.groups.contains(group));
            if !anybody && !in_group && !request.users.contains(approver) {
                return Err(DecideError::Group(approver.to_owned()));
            }
        }
        if matches!(decision.ruling, Ruling::Approve { .. }) {
            let mut approvers = self.approvers();
            if approvers.any(|have| have.eq_ignore_ascii_case(approver)) {
                return Err(DecideError::Again(approver.to_owned()));
            }
            terms(self, decision).map_err(DecideError::Terms)?;
        }
        Ok(())
    }

    /// The request as people see it; whether they may decide is for others to say.
    #[must_use]
    pub fn view(&self) -> RequestView {
        RequestView {
            namespace: String::new(),
            name: self.request.name.to_string(),
            uid: self.uid.to_string(),
            created: self.created.to_string(),
            spec: super::spec(&self.session, &self.request),
            status: Some(AccessRequestStatus {
                phase: self.phase,
                decisions: self.decisions.clone(),
                observed_generation: None,
                conditions: Vec::new(),
                notified: Vec::new(),
                repeats: self.repeats,
            }),
            may_decide: false,
            why_not: None,
        }
    }
}

/// Whether somebody is who asks, or answers for it.
fn is_requester(session: &Session, person: &str) -> bool {
    let identity = &session.identity;
    let own = [
        Some(&identity.name),
        identity.subject.as_ref(),
        identity.email.as_ref(),
        identity.owner.as_ref(),
    ];
    let mut own = own.into_iter().flatten();
    own.any(|name| name.eq_ignore_ascii_case(person))
}

/// Whether the policy lets anybody approve as much.
fn terms(view: &HoldView, decision: &Decision) -> Result<(), String> {
    let request = &view.request;
    match (decision.binding, decision.minutes) {
        (Binding::Exact, None) => Ok(()),
        (Binding::Exact, Some(_)) => {
            Err("minutes belong to an approval of a shape; this one is of the statement".to_owned())
        }
        (Binding::Shape, minutes) => {
            let most = request.max_minutes;
            let most = most.filter(|_| request.binding == Binding::Shape);
            let Some(most) = most else {
                return Err(format!(
                    "only this very statement can be approved: {} lets no shape be approved, or the \
                     statement has none",
                    request.rules.iter().next().unwrap_or("the rule")
                ));
            };
            match minutes {
                Some(minutes) if (1..=most).contains(&minutes) => Ok(()),
                Some(minutes) => Err(format!(
                    "the policy lets a shape be approved for 1 to {most} minutes, not {minutes}"
                )),
                None => Err("an approval of a shape says for how many minutes".to_owned()),
            }
        }
    }
}
