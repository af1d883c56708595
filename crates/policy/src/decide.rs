//! The decision itself.
//!
//! Each policy is judged alone, by the same function whatever its mode; then the answers are
//! composed. An `Enforce` policy's answer binds, an `Observe` policy's refusals become
//! `would_deny`. What cannot be understood is refused by each policy that has something to lose,
//! unless *that* policy allows it by name: no policy lifts what another one protects.

mod kubernetes;
mod ssh;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decision::{Decision, Denial, Hold, HoldSpec, Obligations, Permit, ValueMask, Verdict};
use crate::effect::{Effect, EffectSet};
use crate::exception::Lifted;
use crate::label::{LabelId, Mask};
use crate::ledger::{Amount, Counters, Timestamp, Usage, Wanted};
use crate::limit::{Limit, LimitScope, OnExceed};
use crate::matching::{Facts, is_setting};
use crate::operation::{Operation, Output, Use};
use crate::rule::{Action, DefaultAction, Match, Mode, RuleName, WhereTest};
use crate::scope::{Scope, ScopedLimit, ScopedPolicy, ScopedRule};

/// What to do instead, where nothing proves what a result carries.
pub const UNPROVEN_HINT: &str =
    "select the column itself, without an expression around it; it is then masked";

/// What to do instead, where labelled values would be left behind.
const KEPT_HINT: &str = "leave the labelled columns out; what stores or shows them anew is made by an administrator, \
     whom this policy does not bind";

/// What one or more policies say.
#[derive(Default)]
struct Tally {
    denials: Vec<Denial>,
    holds: Vec<HoldSpec>,
    masks: BTreeMap<usize, Mask>,
    values: BTreeMap<LabelId, Mask>,
    limits: Vec<Arc<Limit>>,
    why: Vec<RuleName>,
    exceptions: Vec<Lifted>,
    exhausted: Vec<Wanted>,
    takes: Vec<Usage>,
    /// Whether a counter was read.
    counted: bool,
}

impl Tally {
    fn lift(&mut self, exception: &Arc<str>, rule: &ScopedRule) {
        self.exceptions.push(Lifted {
            exception: Arc::clone(exception),
            rule: rule.name.clone(),
        });
    }
}

impl Scope {
    /// Decides one operation. Deterministic; does not change the counters.
    pub fn decide(
        &self,
        operation: &Operation<'_>,
        counters: &dyn Counters,
        now: Timestamp,
    ) -> Decision {
        let facts = Facts::of(operation, &self.foreign);
        let mut binding = Tally::default();
        let (mut would_deny, mut counted) = (Vec::new(), false);
        for policy in &self.policies {
            match policy.mode {
                Mode::Enforce => self.judge(policy, &facts, counters, now, &mut binding),
                Mode::Observe => {
                    let mut idle = Tally::default();
                    self.judge(policy, &facts, counters, now, &mut idle);
                    would_deny.extend(idle.denials.into_iter().map(|denial| denial.rule));
                    would_deny.extend(idle.holds.into_iter().map(|hold| hold.rule));
                    binding.exceptions.extend(idle.exceptions);
                    binding.exhausted.extend(idle.exhausted);
                    counted |= idle.counted;
                }
            }
        }
        self.refuse_unnamed_stream(&facts, &mut binding);
        ssh::refuse_unnamed(&self.policies, &facts, &mut binding);
        kubernetes::refuse_unnamed(&self.policies, &facts, &mut binding);
        binding.counted |= counted;
        self.compose(binding, would_deny, facts.sql.collects)
    }

    /// A stream that bypasses SQL needs some enforcing policy that names it.
    fn refuse_unnamed_stream(&self, facts: &Facts<'_>, tally: &mut Tally) {
        let Some(effect) = facts.stream else { return };
        let mut enforcing = self
            .policies
            .iter()
            .filter(|p| p.mode == Mode::Enforce)
            .peekable();
        let Some(first) = enforcing.peek() else {
            return;
        };
        let rule = first.implicit(stream_rule(effect));
        if !enforcing.any(|policy| policy.allows_stream(effect)) {
            tally.denials.push(stream_denial(rule, effect));
        }
    }

    fn compose(
        &self,
        mut tally: Tally,
        mut would_deny: Vec<RuleName>,
        collected: bool,
    ) -> Decision {
        tally.denials.sort();
        tally.holds.sort();
        tally.holds.dedup();
        tally.limits.sort_by(|a, b| a.rule.cmp(&b.rule));
        let mut why = tally.why;
        why.extend(tally.denials.iter().map(|denial| denial.rule.clone()));
        why.sort();
        why.dedup();
        would_deny.sort();
        would_deny.dedup();
        tally.exceptions.sort();
        tally.exceptions.dedup();
        // Explicit rules say more than implicit refusals, whose names begin with a parenthesis.
        let explicit = |denial: &Denial| !denial.rule.rule.starts_with('(');
        let position = tally.denials.iter().position(explicit).unwrap_or(0);
        let verdict = if tally.denials.is_empty() {
            if tally.holds.is_empty() {
                Verdict::Permit(Permit::new(self.revision))
            } else {
                Verdict::Hold(Hold::new(tally.holds, self.revision))
            }
        } else {
            Verdict::Deny(tally.denials.swap_remove(position))
        };
        let value = |(label, mask)| {
            let detectors = Arc::clone(self.detectors(label)?);
            Some(ValueMask {
                label,
                detectors,
                mask,
            })
        };
        let obligations = Obligations {
            masks: tally.masks.into_iter().collect(),
            values: tally.values.into_iter().filter_map(value).collect(),
            limits: tally.limits,
            collected,
            record: self.record(),
            delivery: self.delivery(),
        };
        Decision {
            verdict,
            obligations,
            why,
            would_deny,
            exceptions: tally.exceptions,
            exhausted: tally.exhausted,
            takes: tally.takes,
            counted: tally.counted,
        }
    }

    fn judge(
        &self,
        policy: &ScopedPolicy,
        facts: &Facts<'_>,
        counters: &dyn Counters,
        now: Timestamp,
        tally: &mut Tally,
    ) {
        let mut allowed = false;
        let mut proven_enough: Vec<&ScopedRule> = Vec::new();
        for rule in &policy.rules {
            if rule.rule.action == Some(Action::Allow) {
                if rule.allows(facts).is_ok() {
                    tally.why.push(rule.name.clone());
                    if rule.rule.matches.unproven {
                        proven_enough.push(rule);
                    } else {
                        allowed = true;
                    }
                    match rule.lifted(now) {
                        Some(exception) if !rule.limits.is_empty() => tally.lift(exception, rule),
                        _ => self.limit(rule, facts, counters, now, tally),
                    }
                }
            } else if rule.restricts(facts).is_ok() {
                match rule.lifted(now) {
                    Some(exception) => tally.lift(exception, rule),
                    None => {
                        self.restrict(rule, facts, tally);
                        self.limit(rule, facts, counters, now, tally);
                    }
                }
            }
        }
        self.mask(policy, facts, &proven_enough, now, tally);
        kubernetes::refuse_oracles(self, policy, facts, now, tally);
        self.implicit(policy, facts, allowed, now, tally);
    }

    /// Deny and RequireApproval; masks need every rule to be seen first.
    fn restrict(&self, rule: &ScopedRule, facts: &Facts<'_>, tally: &mut Tally) {
        match rule.rule.action {
            Some(Action::Deny) => tally.denials.push(Denial {
                rule: rule.name.clone(),
                reason: self.reason(rule, facts),
                hint: rule.rule.hint.clone(),
            }),
            Some(Action::RequireApproval) => {
                tally.why.push(rule.name.clone());
                match &rule.rule.approval {
                    Some(approval) => tally.holds.push(HoldSpec {
                        rule: rule.name.clone(),
                        reason: self.reason(rule, facts),
                        approval: approval.clone(),
                    }),
                    None => tally.denials.push(Denial {
                        rule: rule.name.clone(),
                        reason: "it requires approval and names nobody who may give it".to_owned(),
                        hint: None,
                    }),
                }
            }
            Some(Action::Mask | Action::Allow) | None => {}
        }
    }

    fn mask(
        &self,
        policy: &ScopedPolicy,
        facts: &Facts<'_>,
        proven_enough: &[&ScopedRule],
        now: Timestamp,
        tally: &mut Tally,
    ) {
        let masking = policy.rules.iter().filter(|rule| rule.masks());
        for rule in masking.clone().filter(|rule| rule.masks_values(facts)) {
            for id in self.detected().filter(|id| rule.covers(*id)) {
                if let Some(exception) = rule.lifted(now) {
                    tally.lift(exception, rule);
                    continue;
                }
                tally.why.push(rule.name.clone());
                let mask = self.mask_by(rule, id);
                let known = tally.values.entry(id).or_insert_with(|| mask.clone());
                *known = known.strictest(&mask);
            }
        }
        let binding = masking.filter(|rule| rule.lifted(now).is_none());
        for rule in binding.filter(|rule| rule.restricts(facts).is_ok()) {
            let mut applied = false;
            for (column, output) in facts.sql.outputs.iter().enumerate() {
                let (Output::Labelled(ids) | Output::Unproven(ids) | Output::Kept(ids)) = output
                else {
                    continue;
                };
                let covered = ids.iter().copied().filter(|id| rule.covers(*id));
                if !matches!(output, Output::Labelled(_)) {
                    let lifted = |id: &LabelId| proven_enough.iter().any(|r| r.covers(*id));
                    if let Some(id) = covered.filter(|id| !lifted(id)).min() {
                        let before = facts.sql.outputs.iter().take(column);
                        let column = before.filter(|one| !matches!(one, Output::Kept(_))).count();
                        let is_kept = matches!(output, Output::Kept(_));
                        let column = (!is_kept).then_some(column);
                        tally.denials.push(self.unproven(rule, column, id));
                    }
                    continue;
                }
                for id in covered {
                    applied = true;
                    let mask = self.mask_by(rule, id);
                    let known = tally.masks.entry(column).or_insert_with(|| mask.clone());
                    *known = known.strictest(&mask);
                }
            }
            if applied {
                tally.why.push(rule.name.clone());
            }
        }
    }

    /// How a rule masks a label: as the label says, or stricter.
    fn mask_by(&self, rule: &ScopedRule, id: LabelId) -> Mask {
        let mask = self.label_mask(id);
        match &rule.rule.mask {
            Some(stricter) => mask.strictest(stricter),
            None => mask.clone(),
        }
    }

    /// What cannot be masked: a column of the result, or what is left behind.
    fn unproven(&self, rule: &ScopedRule, column: Option<usize>, id: LabelId) -> Denial {
        let label = self.label_name(id);
        let (reason, hint) = match column {
            Some(column) => (
                format!(
                    "where the value of result column {} comes from cannot be proven, and it may \
                     carry {label}",
                    column + 1
                ),
                UNPROVEN_HINT,
            ),
            None => (
                format!("what it would store or define may carry {label}, where nothing masks it"),
                KEPT_HINT,
            ),
        };
        let hint = rule.rule.hint.as_deref().unwrap_or(hint).to_owned();
        Denial {
            rule: rule.name.clone(),
            reason,
            hint: Some(hint),
        }
    }

    fn limit(
        &self,
        rule: &ScopedRule,
        facts: &Facts<'_>,
        counters: &dyn Counters,
        now: Timestamp,
        tally: &mut Tally,
    ) {
        let uses = rule.rule.matches.uses;
        // A rule about comparing counts each value that is compared with.
        let statements = if uses.contains(Use::EqualsConstant) {
            facts.sql.comparisons.max(1)
        } else {
            1
        };
        for scoped in &rule.limits {
            match scoped {
                ScopedLimit::One(limit) => {
                    self.bind(limit, statements, facts, counters, now, tally);
                }
                ScopedLimit::PerLabel(by_label) => {
                    let mut ids: Vec<LabelId> = facts
                        .touched()
                        .filter(|(_, how)| uses.is_empty() || uses.contains(*how))
                        .map(|(id, _)| id)
                        .collect();
                    ids.sort_unstable();
                    ids.dedup();
                    for limit in ids.iter().filter_map(|id| by_label.get(id)) {
                        self.bind(limit, statements, facts, counters, now, tally);
                    }
                }
            }
        }
    }

    /// Makes a limit an obligation. What the meter will not see is judged at once: a budget of
    /// statements, and records that are stored in one row, to be read as one.
    fn bind(
        &self,
        limit: &Arc<Limit>,
        statements: u64,
        facts: &Facts<'_>,
        counters: &dyn Counters,
        now: Timestamp,
        tally: &mut Tally,
    ) {
        tally.why.push(limit.rule.clone());
        tally.limits.push(Arc::clone(limit));
        if facts.sql.stores_collected && limit.rows.is_some() {
            exceed(limit, limit.describe_uncounted(), tally);
        }
        let (Some(most), LimitScope::Window(key)) = (limit.statements, &limit.scope) else {
            return;
        };
        tally.counted = true;
        let need = Amount {
            statements,
            ..Amount::default()
        };
        // Rules that count the same share a budget, and each statement takes of it once.
        match tally.takes.iter_mut().find(|taken| taken.key == *key) {
            Some(taken) => taken.amount = taken.amount.most(need),
            None => tally.takes.push(Usage {
                key: key.clone(),
                amount: need,
            }),
        }
        let amount = limit.amount();
        if counters.left(key, amount, now).covers(need) {
            return;
        }
        tally.exhausted.push(Wanted {
            key: key.clone(),
            limit: Amount {
                statements: most,
                rows: u64::MAX,
                bytes: u64::MAX,
            },
            need,
        });
        let reason = if counters.is_withheld(key, amount, now) {
            limit.describe_withheld()
        } else if statements > 1 {
            limit.describe_comparisons(statements)
        } else {
            limit.describe()
        };
        match &limit.on_exceed {
            // A budget that is used up does not slow statements down.
            OnExceed::Throttle { .. } => tally.denials.push(Denial {
                rule: limit.rule.clone(),
                reason,
                hint: None,
            }),
            OnExceed::Deny | OnExceed::RequireApproval(_) => exceed(limit, reason, tally),
        }
    }

    fn implicit(
        &self,
        policy: &ScopedPolicy,
        facts: &Facts<'_>,
        allowed: bool,
        now: Timestamp,
        tally: &mut Tally,
    ) {
        let accompanies = ssh::accompanies(policy, facts) || kubernetes::accompanies(facts);
        if policy.default == DefaultAction::Deny && !allowed && !accompanies {
            tally.denials.push(Denial {
                rule: policy.implicit("(default)"),
                reason: "no rule of the policy allows all of what it does".to_owned(),
                hint: None,
            });
        }
        if facts.ssh.is_some() {
            ssh::refuse_unknown(policy, facts, now, tally);
        } else if facts.sql.opaque.is_some() || facts.stream.is_some() {
            refuse_unknown(policy, facts, now, tally);
        }
        if facts.sql.masked_value_written
            && let Some(rule) = policy.masking(now)
        {
            tally.denials.push(Denial {
                rule: rule.clone(),
                reason: "a masked value would be written back over the real one".to_owned(),
                hint: None,
            });
        }
    }

    /// The rule's own words, or what of the match was met: names from the policy, never data.
    fn reason(&self, rule: &ScopedRule, facts: &Facts<'_>) -> String {
        match &rule.rule.reason {
            Some(reason) => reason.clone(),
            None => self.describe(rule, &rule.rule.matches, facts),
        }
    }

    fn describe(&self, rule: &ScopedRule, matches: &Match, facts: &Facts<'_>) -> String {
        let met = matches.effects.intersection(facts.sql.effects);
        let effects = |set: EffectSet| {
            set.iter()
                .map(|e| e.name().to_uppercase())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let mut parts = Vec::new();
        if !met.is_empty() {
            parts.push(effects(met));
        }
        match matches.where_clause {
            Some(WhereTest::Missing) => parts.push("without a WHERE clause".to_owned()),
            Some(WhereTest::Ineffective) => {
                parts.push("with a WHERE clause that holds for every row".to_owned());
            }
            Some(WhereTest::MissingOrIneffective) => {
                parts.push("without an effective WHERE clause".to_owned());
            }
            None => {}
        }
        if !matches.tables.is_empty() {
            let names: Vec<String> = facts
                .sql
                .relations
                .iter()
                .filter_map(|r| {
                    let may_be = |p: &&crate::name::TablePattern| {
                        p.table.matches(r.name)
                            && (r.schema.is_empty() || p.schema.matches(r.schema))
                    };
                    matches.tables.iter().find(may_be).map(ToString::to_string)
                })
                .collect();
            parts.push(format!("on {}", unique(names)));
        }
        if !matches.functions.is_empty() {
            let called = |name: &str| matches.functions.iter().any(|p| p.name.matches(name));
            let names = facts.sql.functions.iter().filter(|f| called(f.name));
            parts.push(format!(
                "calling {}",
                unique(names.map(|f| f.name.to_owned()).collect())
            ));
        }
        if !matches.settings.is_empty() {
            let set = |name: &&&str| **name == "*" || is_setting(&matches.settings, name);
            let names = facts
                .sql
                .settings
                .iter()
                .filter(set)
                .map(|s| (*s).to_owned())
                .collect();
            parts.push(format!("changing {}", unique(names)));
        }
        if rule.labels.is_some() || rule.columns.is_some() || !matches.uses.is_empty() {
            let uses = matches.uses;
            let names = facts
                .touched()
                .filter(|(id, how)| rule.covers(*id) && (uses.is_empty() || uses.contains(*how)))
                .map(|(id, how)| format!("{} ({})", self.label_name(id), how.name()))
                .collect();
            parts.push(format!("using {}", unique(names)));
        }
        if let (Some(ssh), Some(request)) = (&matches.ssh, &facts.ssh) {
            parts.push(ssh::describe(ssh, request, facts));
        }
        if let (Some(matches), Some(operation)) = (&matches.kubernetes, facts.kubernetes) {
            parts.push(kubernetes::describe(matches, operation));
        }
        if matches.opaque {
            parts.push(
                facts
                    .sql
                    .opaque
                    .unwrap_or("what cannot be understood")
                    .to_owned(),
            );
        }
        if matches.unproven {
            parts.push("with a result column whose origin is not proven".to_owned());
        }
        if parts.is_empty() {
            return "everything is refused".to_owned();
        }
        format!("{} is not allowed", parts.join(" "))
    }
}

/// A limit counts as reached before the statement runs.
fn exceed(limit: &Limit, reason: String, tally: &mut Tally) {
    match &limit.on_exceed {
        OnExceed::RequireApproval(approval) => tally.holds.push(HoldSpec {
            rule: limit.rule.clone(),
            reason,
            approval: approval.clone(),
        }),
        OnExceed::Deny => tally.denials.push(Denial {
            rule: limit.rule.clone(),
            reason,
            hint: None,
        }),
        OnExceed::Throttle { .. } => {}
    }
}

/// What cannot be understood is refused by a policy with something to lose.
fn refuse_unknown(policy: &ScopedPolicy, facts: &Facts<'_>, now: Timestamp, tally: &mut Tally) {
    let Some(because) = policy.governing(now) else {
        for rule in policy.rules.iter().filter(|rule| rule.governs()) {
            if let Some(exception) = rule.lifted(now) {
                tally.lift(exception, rule);
            }
        }
        return;
    };
    if let Some(reason) = facts.sql.opaque.filter(|_| !policy.allows_opaque()) {
        let rule = &because.rule;
        tally.denials.push(Denial {
            rule: policy.implicit("(opaque)"),
            reason: format!("{reason}, so that rule \"{rule}\" cannot be judged"),
            hint: None,
        });
    }
    if let Some(effect) = facts.stream.filter(|effect| !policy.allows_stream(*effect)) {
        tally
            .denials
            .push(stream_denial(policy.implicit(stream_rule(effect)), effect));
    }
}

fn unique(mut names: Vec<String>) -> String {
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

const fn stream_rule(effect: Effect) -> &'static str {
    match effect {
        Effect::FunctionCall => "(function-call)",
        Effect::Replication => "(replication)",
        _ => "(copy-both)",
    }
}

fn stream_denial(rule: RuleName, effect: Effect) -> Denial {
    let what = match effect {
        Effect::FunctionCall => "a function-call message bypasses SQL",
        Effect::Replication => "replication bypasses SQL",
        _ => "a stream in both directions bypasses SQL",
    };
    Denial {
        rule,
        reason: format!("{what} and is refused unless a policy allows it by name"),
        hint: Some(format!(
            "an Allow rule with `effects: [{}]` would lift this",
            effect.name()
        )),
    }
}
