//! What of a judgement is SSH's own.

use std::sync::Arc;

use weir_audit::Statement;
use weir_policy::{Decision, Limit, LimitScope, Meter, RecordLevel};
use weir_wire_ssh::command::Recognised;

use super::asked::Asked;
pub(super) use crate::judge::{Judge, Refusal, durable, exhausted, full, is_implicit, names};
use crate::masking::Masking;
use crate::values::Scanner;

impl Judge {
    /// Decides; nothing has been charged. None: the budgets could not be read.
    pub(super) fn decide(&self, asked: &Asked) -> Option<Decision> {
        self.decide_with(|scope, counters, now| {
            asked.judge(|operation| scope.decide(operation, counters, now))
        })
    }

    /// What counts one file of a channel: the limits of its own decision, and those that its command sets
    /// for `each`. What the whole channel counts already is not counted twice; the operation itself
    /// counts in every window.
    pub(super) fn meter_of_file(
        &self,
        decision: &Decision,
        channel: Option<&Meter>,
        each: &[Arc<Limit>],
    ) -> Option<Meter> {
        let counted = channel.map_or(&[][..], Meter::limits);
        let is_counted = |limit: &Arc<Limit>| {
            matches!(limit.scope, LimitScope::Window(_))
                && counted.iter().any(|it| it.scope == limit.scope)
        };
        let limits = decision.obligations.limits.iter().map(Arc::clone);
        let (known, mut own): (Vec<_>, Vec<_>) = limits.partition(is_counted);
        for limit in each {
            if !own.contains(limit) {
                own.push(Arc::clone(limit));
            }
        }
        drop(self.meter_of(&known));
        self.meter_of(&own)
    }

    /// What masks what a command or shell shows, where a rule asks for it. The streams of programs that
    /// move files are theirs: a change would break them.
    pub(super) fn masking(&self, asked: &Asked, decision: &Decision) -> Option<Box<Masking>> {
        let is_text = match asked {
            Asked::Exec(command) => {
                matches!(command.recognised, None | Some(Recognised::Copy { .. }))
            }
            Asked::Shell => true,
            _ => false,
        };
        let values = &decision.obligations.values;
        if !is_text || values.is_empty() {
            return None;
        }
        let name = |label| self.scope().label(label);
        let scanner = Scanner::new(values, name, &self.shared.token_key)?;
        Some(Box::new(Masking::new(scanner)))
    }

    /// The record of something that was decided.
    pub(super) fn record(&self, asked: &Asked, number: u64, decision: &Decision) -> Statement {
        let told = decision.obligations.record != RecordLevel::Metadata;
        Statement {
            text: told.then(|| asked.text().into()),
            command: Some(asked.command().into()),
            ..self.recorded(number, decision)
        }
    }
}
