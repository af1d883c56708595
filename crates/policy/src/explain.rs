//! Why a decision came out as it did: every rule of the scope, and what kept it from applying.

use std::sync::Arc;

use crate::ledger::Timestamp;
use crate::matching::{Facts, Field};
use crate::operation::Operation;
use crate::rule::{Action, Mode, RuleName};
use crate::scope::Scope;

/// One rule of the scope against one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTrace {
    /// The rule.
    pub rule: RuleName,
    /// Whether its policy binds.
    pub mode: Mode,
    /// What it does; none for a rule that only limits.
    pub action: Option<Action>,
    /// How it came out.
    pub outcome: Outcome,
    /// The exception that keeps it from binding, if one does.
    pub exception: Option<Arc<str>>,
}

/// How a rule came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It applies.
    Matched,
    /// It does not; this field of its match is the first that does not hold.
    NotMatched(Field),
}

impl Scope {
    /// Every rule of every policy in the scope, in the order of names and of the files.
    pub fn explain(&self, operation: &Operation<'_>, now: Timestamp) -> Vec<RuleTrace> {
        let facts = Facts::of(operation, &self.foreign);
        let policies = self.policies.iter();
        policies
            .flat_map(|policy| policy.rules.iter().map(move |rule| (policy.mode, rule)))
            .map(|(mode, rule)| {
                let allow = rule.rule.action == Some(Action::Allow);
                let held = if allow {
                    rule.allows(&facts)
                } else {
                    rule.restricts(&facts)
                };
                RuleTrace {
                    rule: rule.name.clone(),
                    mode,
                    action: rule.rule.action,
                    outcome: held.map_or_else(Outcome::NotMatched, |()| Outcome::Matched),
                    exception: rule.lifted(now).cloned(),
                }
            })
            .collect()
    }
}
