//! What a hold is, in the words that every receiver shows.
//!
//! Invariants: a text is whole, or says how much of it is hidden; nothing in it hides or turns text.

use weir_api::kinds::{AccessRequestPhase, ApproverDecision, Binding, RequestDecision, Requester};

use crate::message::{Event, HoldNews};
use crate::text::{brief, number, shown};

/// Characters of one fact.
const FACT: usize = 300;
/// Characters of a title.
const TITLE: usize = 100;

/// A name, and what is known under it.
pub(crate) type Fact = (&'static str, String);

impl HoldNews {
    /// What happened, in one line.
    pub(crate) fn title(&self) -> String {
        let asks = self.asks();
        match &self.event {
            Event::Created => format!("Approval needed: {asks}"),
            Event::Decided { decision, .. } => format!("{}: {asks}", verdict(decision)),
            Event::Closed { phase, .. } => format!("{}: {asks}", ending(*phase)),
        }
    }

    /// Who asks for what.
    pub(crate) fn asks(&self) -> String {
        let spec = &self.spec;
        let (who, target) = (who(&spec.requester), brief(&spec.target, TITLE));
        format!("{} on {target}", brief(&who, TITLE))
    }

    /// The requester's own summary; what a newer version knows nothing of is made here.
    pub(crate) fn summary(&self) -> Vec<String> {
        let made = if self.spec.summary.is_empty() {
            weir_api::summary(&self.spec)
        } else {
            self.spec.summary.clone()
        };
        made.iter().map(|line| brief(line, FACT)).collect()
    }

    /// Everything but the statement.
    pub(crate) fn facts(&self) -> Vec<Fact> {
        let spec = &self.spec;
        let list = |names: &[String]| brief(&names.join(", "), FACT);
        let mut facts = vec![("Requester", brief(&spec.requester.name, FACT))];
        if let Some(pod) = &spec.requester.pod {
            let namespace = spec.requester.namespace.as_deref().unwrap_or_default();
            facts.push(("Pod", brief(&format!("{namespace}/{pod}"), FACT)));
        }
        facts.push(("Target", brief(&spec.target, FACT)));
        let rule = format!("{}/{}", spec.policy, spec.rule);
        facts.push(("Held by", brief(&rule, FACT)));
        if !spec.labels.is_empty() {
            facts.push(("Labels", list(&spec.labels)));
        }
        if spec.estimated_rows.is_some() || spec.delivered_rows.is_some() {
            let expected = spec
                .estimated_rows
                .map(|rows| format!("about {} expected", number(rows)));
            let delivered = spec
                .delivered_rows
                .map(|rows| format!("{} delivered so far", number(rows)));
            let rows: Vec<String> = expected.into_iter().chain(delivered).collect();
            facts.push(("Rows", rows.join(", ")));
        }
        let binding = match spec.binding {
            Binding::Exact => "this statement, once",
            Binding::Shape => "statements of this shape",
        };
        facts.push(("An approval is for", binding.to_owned()));
        let people = if spec.count == 1 {
            String::new()
        } else {
            format!("{} people of ", spec.count)
        };
        facts.push(("Approvers", format!("{people}{}", list(&spec.groups))));
        facts.push(("Waits until", brief(&spec.deadline, FACT)));
        facts
    }

    /// What people approve: the statement and its parameters, in full.
    pub(crate) fn statement(&self) -> String {
        let mut text = shown(&self.spec.statement);
        if self.spec.parameters.is_empty() {
            return text;
        }
        text.push_str("\n\n");
        for (at, parameter) in self.spec.parameters.iter().enumerate() {
            let value = match parameter {
                Some(value) => format!("'{}'", shown(value).replace('\'', "''")),
                None => "NULL".to_owned(),
            };
            text.push_str(&format!("${} = {value}\n", at + 1));
        }
        text
    }

    /// What was decided, one line each.
    pub(crate) fn outcome(&self) -> Vec<String> {
        match &self.event {
            Event::Created => Vec::new(),
            Event::Decided {
                decision,
                approvals,
            } => {
                let mut lines = vec![decided(decision)];
                if decision.decision == RequestDecision::Approve && self.spec.count > 1 {
                    lines.push(format!("{approvals} of {} approvals", self.spec.count));
                }
                lines
            }
            Event::Closed { phase, decisions } => {
                let first = match phase {
                    AccessRequestPhase::Approved => "The statement went on.",
                    AccessRequestPhase::Expired => "Nobody decided in time; it was refused.",
                    AccessRequestPhase::Withdrawn => "Whoever asked went away.",
                    AccessRequestPhase::Denied | AccessRequestPhase::Pending => "It was refused.",
                };
                let decisions = decisions.iter().map(decided);
                std::iter::once(first.to_owned()).chain(decisions).collect()
            }
        }
    }
}

/// A person's decision in one line.
fn decided(decision: &ApproverDecision) -> String {
    let mut line = format!(
        "{} by {}",
        verdict(decision),
        brief(&decision.approver, FACT)
    );
    if let Some(rows) = decision.rows {
        line.push_str(&format!(", for {} rows", number(rows)));
    }
    if let Some(reason) = &decision.reason {
        line.push_str(&format!(": {}", brief(reason, FACT)));
    }
    line
}

fn verdict(decision: &ApproverDecision) -> &'static str {
    match decision.decision {
        RequestDecision::Approve => "Approved",
        RequestDecision::Deny => "Denied",
    }
}

/// A phase as people say it.
pub(crate) fn ending(phase: AccessRequestPhase) -> &'static str {
    match phase {
        AccessRequestPhase::Pending => "Still waiting",
        AccessRequestPhase::Approved => "Approved",
        AccessRequestPhase::Denied => "Denied",
        AccessRequestPhase::Expired => "Expired",
        AccessRequestPhase::Withdrawn => "Withdrawn",
    }
}

fn who(requester: &Requester) -> String {
    match (&requester.namespace, &requester.service_account) {
        (Some(namespace), Some(account)) => format!("{namespace}/{account}"),
        _ => requester.name.clone(),
    }
}
