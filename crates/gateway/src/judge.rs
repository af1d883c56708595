//! From a request to a verdict, whatever it is spoken in: the policy in force, the counters, and what
//! the client is told.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weir_audit::{Names, Statement};
use weir_policy::{
    Counters, Decision, Delivery, Lifted, Limit, Meter, RecordLevel, RuleName, Scope, Step, Wanted,
};

use crate::engine::Shared;
use crate::millis;

/// How long a session goes on without its identity being proven again.
const IDENTITY_AGE: Duration = Duration::from_secs(5);

/// What applies to one session.
pub(crate) struct Judge {
    pub(crate) shared: Arc<Shared>,
    scope: Arc<Scope>,
    target: String,
    revision: u64,
    identified: Instant,
}

/// A refusal in words.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) text: String,
    pub(crate) rules: Vec<RuleName>,
}

impl Refusal {
    /// Refused by a rule.
    pub(crate) fn denied(rule: &RuleName, reason: &str, hint: Option<&str>) -> Self {
        let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        Self {
            text: format!(
                "denied by policy \"{}\" rule \"{}\": {reason}{hint}",
                rule.policy, rule.rule
            ),
            rules: vec![rule.clone()],
        }
    }

    /// Refused because something that is needed to judge is missing.
    pub(crate) fn unjudged(reason: &str) -> Self {
        Self {
            text: format!("denied by policy: {reason}"),
            rules: Vec::new(),
        }
    }
}

impl Judge {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        scope: Arc<Scope>,
        target: &str,
        revision: u64,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            scope,
            target: target.to_owned(),
            revision,
            identified: Instant::now(),
        }
    }

    pub(crate) fn policies(&self) -> Names {
        self.scope.policy_names().map(Arc::from).collect()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes over a policy that has changed since the last decision, or an exception that is over.
    ///
    /// # Errors
    /// Nothing may happen at all: the identity, the policy or the evidence is missing.
    pub(crate) fn refresh(&mut self) -> Result<(), Refusal> {
        let unjudged = |reason: &str| Refusal::unjudged(reason);
        self.shared
            .sink
            .healthy()
            .map_err(|reason| Refusal::unjudged(&format!("evidence cannot be kept: {reason}")))?;
        let bundle = self.shared.policies.current();
        let now = millis();
        let unchanged = bundle.revision() == self.revision && self.scope.is_current(now);
        if unchanged && self.identified.elapsed() < IDENTITY_AGE {
            return Ok(());
        }
        let identity = self.shared.identities.current();
        let (subject, _) = identity.map_err(|reason| unjudged(&reason))?;
        self.identified = Instant::now();
        if unchanged {
            return Ok(());
        }
        let scope = bundle
            .target_named(&self.target)
            .and_then(|(target, _)| self.shared.scopes.find(&bundle, &subject, target, now));
        let Some(scope) = scope else {
            let barred = self.shared.barred();
            let reason = barred.as_deref();
            return Err(unjudged(
                reason.unwrap_or("no policy permits this target any more"),
            ));
        };
        self.revision = bundle.revision();
        self.scope = scope;
        Ok(())
    }

    /// What applies now.
    pub(crate) fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// Decides; nothing has been charged. None: the budgets could not be read.
    pub(crate) fn decide_with(
        &self,
        decide: impl Fn(&Scope, &dyn Counters, weir_policy::Timestamp) -> Decision,
    ) -> Option<Decision> {
        let mut decision = None;
        self.shared.budgets.read(&mut |counters| {
            decision = Some(decide(&self.scope, counters, millis()));
        });
        decision
    }

    /// What counts the result of something that may run; it is charged as one that has.
    pub(crate) fn meter(&self, decision: &Decision) -> Option<Meter> {
        self.meter_of(&decision.obligations.limits)
    }

    /// What counts against these limits.
    pub(crate) fn meter_of(&self, limits: &[Arc<Limit>]) -> Option<Meter> {
        if limits.is_empty() {
            return None;
        }
        let mut meter = None;
        let now = millis();
        self.shared
            .budgets
            .read(&mut |counters| meter = Some(Meter::new(limits, counters, now)));
        let mut meter = meter?;
        self.charge(&mut meter);
        Some(meter)
    }

    /// Announces something of so many bytes to a meter. Where others count towards the same windows, it is
    /// compared with what all of them have taken, and taken, before it goes on.
    pub(crate) fn count(&self, meter: &mut Meter, bytes: u64) -> Step {
        self.counting(meter, |meter| meter.row(bytes))
    }

    /// The same where it may go on at once; else nothing was counted.
    pub(crate) fn passes(&self, meter: &mut Meter, bytes: u64) -> bool {
        self.counting(meter, |meter| meter.rows(1, bytes))
    }

    /// The same for so many rows together.
    pub(crate) fn passes_some(&self, meter: &mut Meter, rows: u64, bytes: u64) -> bool {
        self.counting(meter, |meter| meter.rows(rows, bytes))
    }

    /// Whether so many rows together might go on at once now. None is counted.
    pub(crate) fn would_pass(&self, meter: &mut Meter, rows: u64, bytes: u64) -> bool {
        self.counting(meter, |meter| meter.fits(rows, bytes))
    }

    fn counting<T>(&self, meter: &mut Meter, count: impl FnOnce(&mut Meter) -> T) -> T {
        if !meter.shares() {
            return count(meter);
        }
        let counting = self.shared.counting.lock();
        let one_at_a_time = counting.unwrap_or_else(PoisonError::into_inner);
        let now = millis();
        let budgets = &self.shared.budgets;
        budgets.read(&mut |counters| meter.refresh(counters, now));
        let counted = count(meter);
        let usage = meter.take_usage();
        if !usage.is_empty() {
            budgets.charge(now, &usage);
        }
        drop(one_at_a_time);
        counted
    }

    /// Charges what was counted since the last time.
    pub(crate) fn charge(&self, meter: &mut Meter) {
        if !meter.shares() {
            return;
        }
        let usage = meter.take_usage();
        if usage.is_empty() {
            return;
        }
        let now = millis();
        self.shared.budgets.charge(now, &usage);
        self.shared
            .budgets
            .read(&mut |counters| meter.refresh(counters, now));
    }

    /// What the record of something says of how it was decided.
    pub(crate) fn recorded(&self, number: u64, decision: &Decision) -> Statement {
        Statement {
            number,
            rules: names(&decision.why),
            would_deny: names(&decision.would_deny),
            exceptions: lifted(&decision.exceptions),
            revision: self.revision,
            ..Statement::default()
        }
    }
}

/// Whether a start must be kept before anything runs; and whether by the collector too.
pub(crate) fn durable(decision: &Decision) -> Option<bool> {
    match decision.obligations.delivery {
        Delivery::Batch => None,
        Delivery::Blocking => Some(false),
        Delivery::BlockingStrict => Some(true),
    }
}

/// Whether what is recorded includes content.
pub(crate) fn full(decision: &Decision) -> bool {
    decision.obligations.record == RecordLevel::Full
}

/// Whether it is no rule that somebody has written: nothing allows what was asked.
pub(crate) fn is_implicit(rule: &RuleName) -> bool {
    rule.rule.starts_with('(')
}

/// The windows that must be asked for before a decision is final.
pub(crate) fn exhausted(decision: &Decision) -> Vec<Wanted> {
    decision.exhausted.clone()
}

/// Rule names as the record holds them.
pub(crate) fn names(rules: &[RuleName]) -> Names {
    let name = |rule: &RuleName| Arc::from(format!("{}/{}", rule.policy, rule.rule));
    rules.iter().map(name).collect()
}

fn lifted(exceptions: &[Lifted]) -> Names {
    let texts = exceptions.iter().map(ToString::to_string);
    texts.map(Arc::from).collect()
}
