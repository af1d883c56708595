//! What stands between an answer, or a stream, and the client: limits, and a policy that changes.

use std::sync::Arc;
use std::time::Duration;

use weir_audit::{LabelledColumns, Outcome};
use weir_policy::{
    Amount, LabelId, LimitScope, Mask, Meter, Obligations, OnExceed, Scope, Step, ValueMask,
    Verdict,
};

use super::asked::Asked;
use super::people;
use super::refusal::Refusal;
use super::serve::Session;
use super::statement::Active;
use crate::judge;

/// How long evidence may lag behind what it is about, and how often that is looked at.
const KEEPING: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// Decides about each piece of what goes to the client.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) session: Arc<Session>,
    pub(super) asked: Arc<Asked>,
    /// The request in words.
    pub(super) sentence: Arc<str>,
    /// How long the client waits.
    pub(super) patience: Option<Duration>,
    revision: u64,
    bound: Bound,
    columns: Vec<LabelledColumns>,
}

/// What an answer was begun under.
#[derive(Clone, PartialEq)]
struct Bound {
    masks: Vec<(usize, Mask)>,
    labels: Vec<LabelId>,
    values: Vec<ValueMask>,
    limits: Vec<Arc<weir_policy::Limit>>,
}

impl Bound {
    fn of(obligations: &Obligations, asked: &Asked) -> Self {
        Self {
            masks: obligations.masks.clone(),
            labels: asked.labels.iter().map(|(_, id)| *id).collect(),
            values: obligations.values.clone(),
            limits: obligations.limits.clone(),
        }
    }
}

impl Gate {
    pub(super) fn new(
        session: &Arc<Session>,
        asked: &Arc<Asked>,
        sentence: &Arc<str>,
        obligations: &Obligations,
        scope: &Scope,
        revision: u64,
    ) -> Self {
        Self {
            columns: asked.labelled(scope),
            session: Arc::clone(session),
            asked: Arc::clone(asked),
            sentence: Arc::clone(sentence),
            patience: asked.request.timeout,
            revision,
            bound: Bound::of(obligations, asked),
        }
    }

    /// Whether the answer may go on under the policy in force. Where evidence is kept more slowly than there
    /// is something to keep, it waits for that first.
    pub(super) async fn still_holds(&mut self, active: &mut Active) -> Result<(), Refusal> {
        let slow = tokio::time::Instant::now() + KEEPING;
        while self.session.shared.sink.healthy().is_err() && tokio::time::Instant::now() < slow {
            tokio::time::sleep(LOOK).await;
        }
        self.is_unchanged(active)
    }

    fn is_unchanged(&mut self, active: &mut Active) -> Result<(), Refusal> {
        let judged = self.session.with_judge(|judge| {
            judge.refresh()?;
            if judge.revision() == self.revision {
                return Ok(None);
            }
            let decide = judge.decide_with(|scope, counters, now| {
                self.asked
                    .judge(|operation| scope.decide(operation, counters, now))
            });
            let decision =
                decide.ok_or_else(|| judge::Refusal::unjudged("budgets could not be read"))?;
            Ok(Some((decision, judge.revision())))
        });
        let judged = judged.and_then(|judged| judged.map_err(Refusal::forbidden));
        let changed = match judged {
            Ok(None) => return Ok(()),
            Ok(Some((decision, revision))) => {
                let same = Bound::of(&decision.obligations, &self.asked) == self.bound;
                // What people have let begin goes on.
                let refused = matches!(decision.verdict, Verdict::Deny(_));
                if same && !refused {
                    self.revision = revision;
                    return Ok(());
                }
                Refusal::unjudged("the policy has changed; ask again")
            }
            Err(refusal) => refusal,
        };
        active.outcome = Some(Outcome::Denied);
        Err(changed)
    }

    /// Whether so many objects and bytes may pass at once; else none was counted.
    pub(super) fn passes(
        &self,
        active: &mut Active,
        rows: u64,
        bytes: usize,
    ) -> Result<bool, Refusal> {
        self.metered(active, |judge, meter| {
            judge.passes_some(meter, rows, bytes as u64)
        })
    }

    /// Whether so many objects and bytes might pass at once now. None is counted.
    pub(super) fn would_pass(
        &self,
        active: &mut Active,
        rows: u64,
        bytes: usize,
    ) -> Result<bool, Refusal> {
        self.metered(active, |judge, meter| {
            judge.would_pass(meter, rows, bytes as u64)
        })
    }

    /// What the judge says of a meter; where there is none, all passes.
    fn metered(
        &self,
        active: &mut Active,
        ask: impl FnOnce(&mut judge::Judge, &mut Meter) -> bool,
    ) -> Result<bool, Refusal> {
        match active.meter.as_mut() {
            Some(meter) => self.session.with_judge(|judge| ask(judge, meter)),
            None => Ok(true),
        }
    }

    /// Lets so many objects and bytes pass: at once, at a rate, when people have said so, or not.
    /// What people have let pass is judged once more: meanwhile the policy may have changed.
    pub(super) async fn pass(
        &mut self,
        active: &mut Active,
        rows: u64,
        bytes: usize,
    ) -> Result<(), Refusal> {
        let bytes = bytes as u64;
        loop {
            let Some(meter) = active.meter.as_mut() else {
                return Ok(());
            };
            let counted = self.session.with_judge(|judge| {
                if judge.passes_some(meter, rows, bytes) {
                    return Step::Continue;
                }
                judge.count(meter, bytes)
            });
            match counted? {
                Step::Continue => return Ok(()),
                Step::Throttle { rows_per_second } => {
                    let rest =
                        Duration::from_secs(1) / u32::try_from(rows_per_second).unwrap_or(1).max(1);
                    tokio::time::sleep(rest).await;
                    return Ok(());
                }
                Step::Replenish => {
                    let wanted = meter.wanted(bytes);
                    if !self.session.shared.budgets.replenish(&wanted).await {
                        meter.asked_in_vain();
                    }
                }
                Step::Exceeded(index) => {
                    Box::pin(self.exceeded(active, index)).await?;
                    self.is_unchanged(active)?;
                }
            }
        }
    }

    async fn exceeded(&self, active: &mut Active, index: usize) -> Result<(), Refusal> {
        let limit = active
            .meter
            .as_ref()
            .and_then(|meter| meter.limits().get(index));
        let Some(limit) = limit.map(Arc::clone) else {
            return Err(Refusal::unjudged("a limit is reached"));
        };
        if let OnExceed::RequireApproval(approval) = &limit.on_exceed {
            let spec = weir_policy::HoldSpec {
                rule: limit.rule.clone(),
                reason: limit.describe(),
                approval: approval.clone(),
            };
            let question = people::Question {
                shared: &self.session.shared,
                whose: &self.session.whose,
                sentence: &self.sentence,
                exact: None,
                detail: None,
                patience: self.patience,
                effects: self.asked.effect_names(),
                columns: self.columns.clone(),
            };
            let asked = question.ask(active, &spec).await;
            let release = asked.inspect_err(|_| active.outcome = Some(Outcome::Denied))?;
            if let Some(meter) = active.meter.as_mut() {
                meter.release(index, release);
            }
            return Ok(());
        }
        active.outcome = Some(Outcome::LimitExceeded);
        let refusal = judge::Refusal::denied(&limit.rule, &limit.describe(), None);
        Err(Refusal::forbidden(refusal))
    }

    /// A list goes on with a token, after so much of this page.
    pub(super) fn list_goes_on(&self, token: &str, page: Amount) {
        let limited = |limit: &Arc<weir_policy::Limit>| limit.scope == LimitScope::Statement;
        if !self.bound.limits.iter().any(limited) {
            return;
        }
        let before = self.before().unwrap_or_default();
        let delivered = Amount {
            rows: before.rows + page.rows,
            bytes: before.bytes + page.bytes,
            statements: 0,
        };
        let memory = &self.session.shared.kubernetes;
        memory.list_goes_on(&self.session.whose, token, delivered);
    }

    /// How much of the list was delivered before this page.
    fn before(&self) -> Option<Amount> {
        let token = self.asked.request.continue_token.as_deref()?;
        let memory = &self.session.shared.kubernetes;
        memory.delivered_before(&self.session.whose, token)
    }
}
