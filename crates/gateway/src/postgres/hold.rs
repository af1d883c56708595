//! Waiting for a person: before a statement runs, or in the middle of its result.
//!
//! While a result is held its server is not read, so it is paused by back-pressure and memory stays
//! flat; the crossing row waits undelivered. The client is still read: one that goes away closes
//! the request, and a CancelRequest ends the hold. Before a statement runs the server owes nothing
//! and is read too: where it ends the session, the request closes and the client hears why.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use weir_audit::{LabelledColumns, Outcome};
use weir_policy::{Approval, Hold, Limit, LimitScope, Meter, OnExceed, Release, RuleName, Wanted};
use weir_wire_postgres::message::{self, Report};

use super::refusal::Refusal;
use super::session::{BACKLOG, Session, SessionEnd};
use super::statement::Active;
use crate::millis;
use crate::ports::{Held, HoldRequest, Ruled};

/// What reading rows ran into.
#[derive(Debug, Clone, Copy)]
pub(super) enum Crossing {
    /// The limit with this number, before the row at the front.
    Limit(usize),
    /// A window has too little left here for the row of so many bytes at the front.
    Window(u64),
    /// A rate: wait so long.
    Pause(Duration),
}

/// The answer to a hold before a statement.
pub(super) enum Answer {
    /// It may run.
    Granted,
    /// It may not.
    Refused(Refusal, Outcome),
}

enum Wait {
    Ruled(Ruled),
    Cancelled,
    Gone,
    Lost,
}

/// Why a statement waits.
struct Why<'a> {
    rule: &'a RuleName,
    reason: &'a str,
    approval: &'a Approval,
}

impl Session {
    /// Holds a statement that has not run.
    pub(super) async fn hold_statement(
        &mut self,
        active: &mut Box<Active>,
        hold: Hold,
    ) -> Result<Answer, SessionEnd> {
        let mut hold = hold;
        self.drain().await?;
        self.learn_context(active).await?;
        while let Some(spec) = hold.pending().first().cloned() {
            let why = Why {
                rule: &spec.rule,
                reason: &spec.reason,
                approval: &spec.approval,
            };
            match self.ask(active, &why).await? {
                Ok(release) => hold.grant(&spec.rule, release),
                Err((refusal, outcome)) => return Ok(Answer::Refused(refusal, outcome)),
            }
        }
        if !hold.limits().is_empty() {
            let before = active.meter.take();
            let mut meter = None;
            self.shared.budgets.read(&mut |counters| {
                let now = millis();
                let fresh = || Meter::new(&[], counters, now);
                let before = before.clone().unwrap_or_else(fresh);
                meter = Some(before.also(hold.limits(), counters, now));
            });
            if meter.is_none() {
                let refusal = Refusal::unjudged("budgets could not be read");
                return Ok(Answer::Refused(refusal, Outcome::Denied));
            }
            active.meter = meter;
        }
        match hold.into_permit() {
            Ok(_permit) => Ok(Answer::Granted),
            Err(_) => {
                let refusal = Refusal::unjudged("an approval is missing");
                Ok(Answer::Refused(refusal, Outcome::Denied))
            }
        }
    }

    /// Holds a statement of which the server expects more rows than a limit allows, where the limit asks
    /// people and wants the server to be asked first.
    pub(super) async fn hold_expected(
        &mut self,
        active: &mut Box<Active>,
    ) -> Result<Answer, SessionEnd> {
        let approves_shapes = |limit: &Arc<Limit>| match &limit.on_exceed {
            OnExceed::RequireApproval(approval) => approval.shape_minutes.is_some(),
            _ => false,
        };
        let meter = active.meter.as_ref();
        // In the middle of its result the server cannot be asked.
        if meter.is_some_and(|meter| meter.limits().iter().any(approves_shapes))
            && active.shape().is_some()
        {
            self.drain().await?;
            self.learn_context(active).await?;
        }
        let asks = |limit: &Arc<Limit>| match &limit.on_exceed {
            OnExceed::RequireApproval(approval) => limit.rows.is_some() && approval.estimate,
            _ => false,
        };
        let meter = active.meter.as_ref();
        if !meter.is_some_and(|meter| meter.limits().iter().any(asks)) {
            return Ok(Answer::Granted);
        }
        self.drain().await?;
        let Some(rows) = self.expected(active).await? else {
            return Ok(Answer::Granted);
        };
        loop {
            let passed = active.meter.as_ref().and_then(|meter| {
                let index = meter.expects(rows)?;
                Some((index, meter.limits().get(index)?.clone()))
            });
            let Some((index, limit)) = passed.filter(|(_, limit)| asks(limit)) else {
                return Ok(Answer::Granted);
            };
            let OnExceed::RequireApproval(approval) = &limit.on_exceed else {
                return Ok(Answer::Granted);
            };
            active.record_mut().decision = weir_audit::Decision::Hold;
            let why = Why {
                rule: &limit.rule,
                reason: &limit.describe_expected(rows),
                approval,
            };
            match self.ask(active, &why).await? {
                Ok(release) => {
                    if let Some(meter) = &mut active.meter {
                        meter.release(index, release);
                    }
                }
                Err((refusal, outcome)) => return Ok(Answer::Refused(refusal, outcome)),
            }
        }
    }

    /// How many rows the server expects, asked once.
    async fn expected(&mut self, active: &mut Box<Active>) -> Result<Option<u64>, SessionEnd> {
        if let Some(known) = active.estimate() {
            return Ok(known);
        }
        let rows = self.estimate(active).await?;
        active.set_estimate(rows);
        Ok(rows)
    }

    /// What people are told.
    fn told(&self, active: &Active, why: &Why<'_>) -> HoldRequest {
        let judged = active.judged();
        let mut columns: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        for (label, name) in judged.columns() {
            if let Some(label) = self.scope.label(label) {
                columns.entry(label).or_default().push(name.into());
            }
        }
        let columns = columns.into_iter();
        let columns = columns.map(|(label, columns)| LabelledColumns {
            label,
            columns: columns.into(),
        });
        let record = active.record();
        let detail = self.detail(active);
        HoldRequest {
            session: Arc::clone(&self.evidence.session),
            number: active.number,
            statement: active.whole_text(),
            detail: Some(detail.words),
            apart: detail.apart,
            parameters: active.parameters().to_vec(),
            fingerprint: record.fingerprint,
            rules: vec![why.rule.clone()],
            reason: why.reason.to_owned(),
            labels: record.labels.as_slice().to_vec(),
            effects: judged.effects().collect(),
            tables: record.tables.clone(),
            columns: columns.collect(),
            shape: active.shape().filter(|_| detail.has_shape),
            estimate: active.estimate().flatten(),
            rows: active.rows(),
            bytes: active.bytes(),
            approval: why.approval.clone(),
        }
    }

    /// Deals with a limit that the result at the front has crossed.
    pub(super) async fn hold_result(&mut self, crossing: Crossing) -> Result<(), SessionEnd> {
        let index = match crossing {
            Crossing::Limit(index) => index,
            Crossing::Window(bytes) => return self.replenish_result(bytes).await,
            Crossing::Pause(time) => return self.beside(tokio::time::sleep(time)).await,
        };
        let Some(mut active) = self.take_front_active() else {
            return Ok(());
        };
        let limit = active
            .meter
            .as_ref()
            .and_then(|meter| meter.limits().get(index).cloned());
        let Some(limit) = limit else {
            self.put_front_active(active);
            return Ok(());
        };
        let reason = self.describe(&limit);
        let ended = match &limit.on_exceed {
            OnExceed::RequireApproval(approval) => {
                active.record_mut().decision = weir_audit::Decision::Hold;
                let why = Why {
                    rule: &limit.rule,
                    reason: &reason,
                    approval,
                };
                match self.ask(&mut active, &why).await? {
                    Ok(release) => {
                        if let Some(meter) = &mut active.meter {
                            meter.release(index, release);
                        }
                        None
                    }
                    Err((refusal, _)) => Some(refusal),
                }
            }
            _ => Some(Refusal::denied(&limit.rule, &reason, None)),
        };
        if let Some(refusal) = ended {
            let refusal = self.sign(refusal, active.number);
            active.record_mut().reason = Some(refusal.message.as_str().into());
            active.stopped = Some(refusal);
            active.discarding = true;
            self.put_front_active(active);
            self.connection.cancel_upstream().await;
        } else {
            self.put_front_active(active);
        }
        Ok(())
    }

    /// Why a limit holds.
    fn describe(&self, limit: &Limit) -> String {
        let mut withheld = false;
        if let LimitScope::Window(key) = &limit.scope {
            let (amount, now) = (limit.amount(), millis());
            self.shared
                .budgets
                .read(&mut |counters| withheld = counters.is_withheld(key, amount, now));
        }
        if withheld {
            limit.describe_withheld()
        } else {
            limit.describe()
        }
    }

    /// Asks for more of the windows that the result at the front lacks, and measures it again.
    async fn replenish_result(&mut self, bytes: u64) -> Result<(), SessionEnd> {
        let Some(mut active) = self.take_front_active() else {
            return Ok(());
        };
        if let Some(meter) = &mut active.meter {
            let more = self.replenish(&meter.wanted(bytes)).await?;
            let now = millis();
            self.shared
                .budgets
                .read(&mut |counters| meter.refresh(counters, now));
            if !more {
                meter.asked_in_vain();
            }
        }
        self.put_front_active(active);
        Ok(())
    }

    /// Asks for more of windows that have too little left here. True: look again.
    pub(super) async fn replenish(&mut self, wanted: &[Wanted]) -> Result<bool, SessionEnd> {
        let shared = Arc::clone(&self.shared);
        let asked = shared.budgets.replenish(wanted);
        self.beside(asked).await
    }

    /// Waits for something while what is on its way goes on; nothing is read.
    pub(super) async fn beside<T>(
        &mut self,
        what: impl Future<Output = T>,
    ) -> Result<T, SessionEnd> {
        let mut what = pin!(what);
        poll_fn(|cx| {
            loop {
                match self.poll_io(cx, false, false) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            what.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// Asks people, tells the client, and waits.
    async fn ask(
        &mut self,
        active: &mut Box<Active>,
        why: &Why<'_>,
    ) -> Result<Result<Release, (Refusal, Outcome)>, SessionEnd> {
        if active.parameters_are_cut() {
            let reason = "it cannot be held: a parameter is too long to be reviewed";
            return Ok(Err((Refusal::unjudged(reason), Outcome::Denied)));
        }
        if why.approval.estimate && active.rows() == 0 {
            self.expected(active).await?;
        }
        let request = self.told(active, why);
        let holds = Arc::clone(&self.shared.holds);
        let mut held = match holds.open(request).await {
            Ok(held) => held,
            Err(reason) => {
                let refusal = Refusal::unjudged(&format!("it cannot be held: {reason}"));
                return Ok(Err((refusal, Outcome::Denied)));
            }
        };
        active.record_mut().request = Some(Arc::clone(&held.name));
        let text = format!(
            "weir: awaiting approval {} (policy \"{}\" rule \"{}\": {})",
            held.name, why.rule.policy, why.rule.rule, why.reason
        );
        let hint = format!("to release it: weir approve {}", held.name);
        self.tell_client(|out| {
            let report = Report {
                sqlstate: "00000",
                message: &text,
                detail: None,
                hint: Some(&hint),
            };
            message::notice(out, &report);
        });
        let ended = self.wait(&mut held).await?;
        Ok(match ended {
            Wait::Ruled(Ruled { name, ruling }) => {
                let hint = Some(format!("access request {name}"));
                active.record_mut().request = Some(name);
                ruling.release().map_err(|reason| {
                    let reason = format!("{} ({reason})", why.reason);
                    (Refusal::denied(why.rule, &reason, hint), Outcome::Denied)
                })
            }
            Wait::Cancelled => Err((Refusal::cancelled(), Outcome::Cancelled)),
            Wait::Gone => {
                return Err(SessionEnd::Ended(
                    "the client went away while held".to_owned(),
                ));
            }
            Wait::Lost => {
                self.take_server()?;
                self.close_client().await;
                return Err(SessionEnd::Ended(
                    "the server ended the session while a statement was held".to_owned(),
                ));
            }
        })
    }

    async fn wait(&mut self, held: &mut Held) -> Result<Wait, SessionEnd> {
        let mut ruled = pin!(held.ruled());
        let cancel = Arc::clone(&self.connection.cancelled);
        let mut cancelled = pin!(cancel.notified());
        // What is held lies in the inbox and may fill it; a client that goes away is seen all the same.
        let most = self.client.inbox.len() + BACKLOG;
        let is_idle = self.pending.is_empty();
        poll_fn(|cx| {
            if let Poll::Ready(ruled) = ruled.as_mut().poll(cx) {
                return Poll::Ready(Ok(Wait::Ruled(ruled)));
            }
            if cancelled.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Wait::Cancelled));
            }
            loop {
                let room = self.client.inbox.len() < most;
                let idle = is_idle && self.server.inbox.len() < BACKLOG;
                match self.poll_io(cx, room, idle) {
                    Poll::Ready(Ok(())) if self.client.eof => return Poll::Ready(Ok(Wait::Gone)),
                    Poll::Ready(Ok(())) if self.server.eof => return Poll::Ready(Ok(Wait::Lost)),
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Waits until the server owes nothing.
    pub(super) async fn drain(&mut self) -> Result<(), SessionEnd> {
        self.ask_for_answers();
        while !self.pending.is_empty() && !self.server.eof {
            self.pump(false).await?;
            self.take_server()?;
            self.write_durable_now().await?;
            while let Some(crossing) = self.crossing.take() {
                Box::pin(self.hold_result(crossing)).await?;
                self.take_server()?;
                self.write_durable_now().await?;
            }
        }
        Ok(())
    }
}
