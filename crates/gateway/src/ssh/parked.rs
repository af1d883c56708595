//! Requests that wait: for people, for budgets, for evidence; and what goes on when it has come.

use std::sync::Arc;

use weir_audit::Decision as Recorded;
use weir_policy::{Decision, Hold};
use weir_wire_ssh::command::MAX_TEXT;

use super::channel::{Parked, Request};
use super::judge::Refusal;
use super::people::{self, ruling};
use super::relay::{End, Relay, Subject};
use super::requests::Answer;
use crate::ports::Ruled;

impl Relay {
    /// Asks people.
    pub(super) fn hold(
        &mut self,
        subject: Subject,
        request: Request,
        mut decision: Decision,
        record: weir_audit::Statement,
        hold: Hold,
    ) -> Result<(), End> {
        let Some(spec) = hold.pending().first().cloned() else {
            let limits = hold.limits().iter().cloned();
            decision.obligations.limits.extend(limits);
            return match hold.into_permit() {
                Ok(_) => self.start(subject, request, decision, record),
                Err(_) => {
                    let refusal = Refusal::unjudged("an approval is missing");
                    self.refuse(subject, request, record, refusal)
                }
            };
        };
        let sentence = request.asked.sentence();
        if sentence.len() >= MAX_TEXT {
            let refusal = Refusal::unjudged("it is too long to be shown whole to people");
            return self.refuse(subject, request, record, refusal);
        }
        let ask = self.hold_request(&record, sentence, &spec, 0);
        let shared = Arc::clone(&self.judge.shared);
        let decided = Some((decision, record));
        self.park(subject, request, decided, Some(hold), |answer| async move {
            people::ask(&*shared.holds, ask, answer).await;
        })
    }

    /// Keeps a request back until something has come.
    pub(super) fn park<F, W>(
        &mut self,
        subject: Subject,
        request: Request,
        decided: Option<(Decision, weir_audit::Statement)>,
        hold: Option<Hold>,
        wait: F,
    ) -> Result<(), End>
    where
        F: FnOnce(Box<dyn Fn(Answer) + Send + Sync>) -> W,
        W: Future<Output = ()> + Send + 'static,
    {
        self.last_ticket += 1;
        let (ticket, inbox) = (self.last_ticket, self.inbox.clone());
        let answer = Box::new(move |answer| inbox.answer(subject, ticket, answer));
        let task = tokio::spawn(wait(answer)).abort_handle();
        if let Some(lane) = self.lane(subject) {
            lane.parked = Some(Parked {
                ticket,
                request: Some(request),
                decided,
                hold,
                task,
            });
        }
        Ok(())
    }

    /// Something that was waited for has come.
    pub(super) fn answered(
        &mut self,
        subject: Subject,
        ticket: u64,
        answer: Answer,
    ) -> Result<(), End> {
        if let Subject::Channel(key) = subject
            && self.is_stopped_for(key, ticket)
        {
            self.result_answered(key, answer);
            return Ok(());
        }
        let Some(lane) = self.lane(subject) else {
            return Ok(());
        };
        if lane.parked.as_ref().is_none_or(|it| it.ticket != ticket) {
            return Ok(());
        }
        if let Answer::Waiting(name) = answer {
            self.tell_waiting(subject, &name);
            return Ok(());
        }
        let Some(mut parked) = lane.parked.take() else {
            return Ok(());
        };
        let Some(request) = parked.request.take() else {
            return Ok(());
        };
        match (answer, parked.decided.take(), parked.hold.take()) {
            (Answer::Replenished(more), ..) => self.consider(subject, request, more)?,
            (Answer::Kept(Ok(())), Some((decision, record)), _) => {
                self.go(subject, request, &decision, record)?;
            }
            (Answer::Kept(Err(reason)), Some((_, record)), _) => {
                let reason = format!("evidence cannot be kept: {reason}");
                self.refuse(subject, request, record, Refusal::unjudged(&reason))?;
            }
            (Answer::Ruled(ruled), Some((decision, record)), Some(hold)) => {
                self.ruled(subject, request, (decision, record), hold, ruled)?;
            }
            _ => {}
        }
        self.resume_lane(subject)
    }

    fn ruled(
        &mut self,
        subject: Subject,
        request: Request,
        (decision, mut record): (Decision, weir_audit::Statement),
        mut hold: Hold,
        ruled: Result<Ruled, String>,
    ) -> Result<(), End> {
        let Some(spec) = hold.pending().first().cloned() else {
            return Ok(());
        };
        if let Ok(ruled) = &ruled {
            record.request = Some(Arc::clone(&ruled.name));
        }
        match ruling(&spec, ruled) {
            Ok(release) => {
                hold.grant(&spec.rule, release);
                // What the policy says now counts, not what it said when people were asked.
                if let Err(refusal) = self.judge.refresh() {
                    return self.refuse(subject, request, record, refusal);
                }
                if hold.pending().is_empty() && record.revision != self.judge.revision() {
                    let refusal = Refusal::unjudged("the policy has changed while it was held");
                    return self.refuse(subject, request, record, refusal);
                }
                self.hold(subject, request, decision, record, hold)
            }
            Err(refusal) => {
                record.decision = Recorded::Hold;
                self.refuse(subject, request, record, refusal)
            }
        }
    }

    /// Goes on with what waited behind a request.
    pub(super) fn resume_lane(&mut self, subject: Subject) -> Result<(), End> {
        let subject = match subject {
            Subject::File(key) => return self.sftp_requests(key),
            Subject::Copy(key) => {
                self.scp_resume(key)?;
                Subject::Channel(key)
            }
            subject => subject,
        };
        loop {
            if let Subject::Channel(key) = subject
                && let Some(channel) = self.channels.get(&key)
                && channel.holds_requests()
            {
                return Ok(());
            }
            let Some(lane) = self.lane(subject) else {
                return Ok(());
            };
            if lane.parked.is_some() {
                return Ok(());
            }
            let Some(message) = lane.waiting.pop_front() else {
                return Ok(());
            };
            match subject {
                Subject::Connection => self.global_of_client(message)?,
                Subject::Channel(key) | Subject::File(key) | Subject::Copy(key) => {
                    self.pass_up(key, message)?;
                }
            }
        }
    }
}
