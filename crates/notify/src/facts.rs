//! What a hold is, in the words that every receiver shows.
//!
//! Invariants: a text is whole, or says how much of it is hidden; nothing in it hides or turns text.

use weir_api::kinds::{
    AccessRequestPhase, AccessRequestSpec, ApproverDecision, Binding, RequestDecision, Requester,
};

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
        let mut facts = vec![("Requester", brief(&spec.requester.name, FACT))];
        let mut add = |name, value: String| {
            if !value.is_empty() {
                facts.push((name, value));
            }
        };
        add("Pod", pod(&spec.requester));
        let places = [&spec.database, &spec.login];
        let place = places.into_iter().flatten().map(String::as_str);
        let place: Vec<&str> = std::iter::once(spec.target.as_str()).chain(place).collect();
        add("Target, database, login", brief(&place.join(", "), FACT));
        add(
            "Held by",
            brief(&format!("{}/{}", spec.policy, spec.rule), FACT),
        );
        add("Effects", list(&spec.effects));
        add("Tables", list(&spec.tables));
        add("Labels", labels(spec));
        add("So far and expected", amounts(spec));
        add("An approval is for", binding(spec));
        add("Approvers", approvers(spec));
        add("Waits until", brief(&spec.deadline, FACT));
        facts
    }

    /// What people approve: the statement, its parameters and what decides beside them, in full.
    pub(crate) fn statement(&self) -> String {
        let mut text = shown(&self.spec.statement);
        if !self.spec.parameters.is_empty() {
            text.push_str("\n\n");
        }
        for (at, parameter) in self.spec.parameters.iter().enumerate() {
            let value = match parameter {
                Some(value) => format!("'{}'", shown(value).replace('\'', "''")),
                None => "NULL".to_owned(),
            };
            text.push_str(&format!("${} = {value}\n", at + 1));
        }
        if let Some(detail) = &self.spec.detail {
            text.push_str(&format!("\n\n{}", shown(detail)));
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
                    AccessRequestPhase::Superseded => "It is over without a decision.",
                    AccessRequestPhase::Denied | AccessRequestPhase::Pending => "It was refused.",
                };
                let decisions = decisions.iter().map(decided);
                std::iter::once(first.to_owned()).chain(decisions).collect()
            }
        }
    }
}

fn list(names: &[String]) -> String {
    brief(&names.join(", "), FACT)
}

fn pod(requester: &Requester) -> String {
    let Some(pod) = &requester.pod else {
        return String::new();
    };
    let namespace = requester.namespace.as_deref().unwrap_or_default();
    let workload = requester.workload.iter();
    let workload: String = workload.map(|one| format!(" of {one}")).collect();
    brief(&format!("{namespace}/{pod}{workload}"), FACT)
}

/// Labels, each with the columns behind it.
fn labels(spec: &AccessRequestSpec) -> String {
    let named = spec.labels.iter().map(|label| {
        let columns = spec.columns.iter().filter(|one| one.label == *label);
        let columns: Vec<&str> = columns
            .flat_map(|one| one.columns.iter().map(String::as_str))
            .collect();
        match columns.is_empty() {
            true => label.clone(),
            false => format!("{label} ({})", columns.join(", ")),
        }
    });
    list(&named.collect::<Vec<_>>())
}

fn amounts(spec: &AccessRequestSpec) -> String {
    let of = |count: Option<u64>, what: &str| Some(format!("{} {what}", number(count?)));
    let amounts = [
        of(spec.delivered_rows, "rows delivered"),
        of(
            spec.delivered_bytes.filter(|bytes| *bytes > 0),
            "bytes delivered",
        ),
        of(spec.estimated_rows, "rows expected in all"),
    ];
    amounts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn binding(spec: &AccessRequestSpec) -> String {
    match (spec.binding, spec.max_minutes) {
        (Binding::Exact, _) | (_, None) => "this statement, once".to_owned(),
        (Binding::Shape, Some(minutes)) => format!(
            "this statement, once; its shape for up to {minutes} minutes where that is asked for"
        ),
    }
}

fn approvers(spec: &AccessRequestSpec) -> String {
    let all: Vec<String> = spec.groups.iter().chain(&spec.users).cloned().collect();
    match spec.count {
        1 => list(&all),
        count => format!("{count} people of {}", list(&all)),
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
        AccessRequestPhase::Superseded => "Superseded",
    }
}

fn who(requester: &Requester) -> String {
    match (&requester.namespace, &requester.service_account) {
        (Some(namespace), Some(account)) => format!("{namespace}/{account}"),
        _ => requester.name.clone(),
    }
}
