//! Statements that wait for a person: the engine's port over the registry of `uplink`.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weir_audit::{AccessRequestCreated, Binding, LabelledColumns, Names};
use weir_gateway::ports::{Held, HoldRequest, Holds, Pending, Ruled, Ruling};
use weir_policy::Approval;
use weir_uplink::{Answer, HoldTicket, NewHold, Opened};

/// Holds wait in the operator's registry.
pub struct OperatorHolds(pub weir_uplink::Holds);

impl Holds for OperatorHolds {
    fn open(&self, request: HoldRequest) -> Pending<'_, Result<Held, String>> {
        let asks = Local(self.0.clone());
        Box::pin(async move { wait(asks, asked(request)).await })
    }
}

/// Ends what waits because of a rule that no longer asks people, or asks others, or more of them, or lets
/// them approve something else; whoever waits is told to ask again.
pub fn supersede(holds: &weir_uplink::Holds, bundle: &weir_policy::Bundle) {
    let asks = |name: &str, request: &AccessRequestCreated| {
        bundle.policies().iter().any(|policy| {
            let mut rules = policy.rules.iter();
            rules.any(|rule| {
                format!("{}/{}", policy.name, rule.name) == name
                    && rule
                        .approval
                        .as_ref()
                        .is_some_and(|now| is_asked(request, now))
            })
        })
    };
    holds.supersede(
        "the policy no longer holds it like this: ask again",
        |view| {
            let mut rules = view.request.rules.iter();
            !rules.all(|name| asks(name, &view.request))
        },
    );
}

/// Whether a request asks whom a rule asks now, and for no more.
fn is_asked(request: &AccessRequestCreated, now: &Approval) -> bool {
    let same = |have: &Names, want: &[String]| have.iter().eq(want.iter().map(String::as_str));
    let shapes = request.max_minutes;
    same(&request.groups, &now.groups)
        && same(&request.users, &now.users)
        && request.approvals.max(1) == now.count.max(1)
        && (shapes.is_none() || shapes == now.shape_minutes)
}

/// Whoever raises requests.
pub(crate) trait Asks: Clone + Send + Sync + 'static {
    /// Raises a hold, or has it join another. Never [`Opened::Leads`].
    fn ask(&self, hold: NewHold) -> impl Future<Output = Result<Opened, String>> + Send;
}

#[derive(Clone)]
struct Local(weir_uplink::Holds);

impl Asks for Local {
    async fn ask(&self, hold: NewHold) -> Result<Opened, String> {
        // Whoever asks may go away, and others may wait for the same by then.
        let holds = self.0.clone();
        let opened = tokio::spawn(async move { holds.create(hold).await }).await;
        let opened = opened.map_err(|error| error.to_string())?;
        opened.map_err(|error| error.to_string())
    }
}

/// Most names of a list that people are shown; the last one says how many more there are.
const NAMED: usize = 64;
/// Most characters of one of them.
const NAME: usize = 512;

/// What the registry is asked to keep.
pub(crate) fn asked(request: HoldRequest) -> NewHold {
    let rule = |rule: &weir_policy::RuleName| -> Arc<str> {
        format!("{}/{}", rule.policy, rule.rule).into()
    };
    let HoldRequest {
        session, approval, ..
    } = request;
    let names = |names: &[String]| names.iter().map(|name| Arc::from(name.as_str())).collect();
    // A shape can be approved where the policy says for how long, and the statement has one.
    let most = approval.shape_minutes.filter(|_| request.shape.is_some());
    let offered = request.shape.as_ref().filter(|_| most.is_some());
    let mut asked = AccessRequestCreated {
        number: request.number,
        statement: request.statement,
        detail: request.detail,
        parameters: request.parameters,
        fingerprint: request.fingerprint,
        rules: request.rules.iter().map(rule).collect(),
        reason: request.reason.into(),
        labels: bounded(request.labels, NAMED).into(),
        effects: request.effects,
        tables: bounded(request.tables.as_slice().to_vec(), NAMED).into(),
        columns: request
            .columns
            .into_iter()
            .take(NAMED)
            .map(|found| LabelledColumns {
                columns: bounded(found.columns.as_slice().to_vec(), NAMED).into(),
                label: found.label,
            })
            .collect(),
        rows: request.rows,
        bytes: request.bytes,
        estimate: request.estimate,
        binding: match most {
            Some(_) => Binding::Shape,
            None => Binding::Exact,
        },
        max_minutes: most,
        shape: offered.map(|shape| Arc::clone(&shape.shown)),
        free_literals: offered.map_or_else(Vec::new, |shape| bounded(shape.free.to_vec(), NAMED)),
        groups: names(&approval.groups),
        users: names(&approval.users),
        approvals: approval.count,
        ..AccessRequestCreated::default()
    };
    let lines = weir_uplink::spec(&session, &asked).summary;
    asked.summary = lines.into_iter().map(Arc::from).collect();
    NewHold {
        session,
        request: asked,
        shape: request.shape.map(|shape| shape.key),
        apart: request.apart,
        patience: approval.deadline,
    }
}

/// At most so many names; what is left out is counted by the last.
fn bounded(mut names: Vec<Arc<str>>, most: usize) -> Vec<Arc<str>> {
    for name in &mut names {
        *name = shortened(name, NAME);
    }
    if names.len() > most {
        let hidden = names.len() - (most - 1);
        names.truncate(most - 1);
        names.push(format!("… and {hidden} more").into());
    }
    names
}

/// At most so many characters; what is hidden is counted.
fn shortened(text: &Arc<str>, most: usize) -> Arc<str> {
    let total = text.chars().count();
    if total <= most {
        return Arc::clone(text);
    }
    let keep = most.saturating_sub(24);
    let kept: String = text.chars().take(keep).collect();
    format!("{kept}… (+{})", total - keep).into()
}

/// Asks, and waits for the answer while the engine holds on. A request that was decided for another
/// statement is followed by one for this.
pub(crate) async fn wait(asks: impl Asks, hold: NewHold) -> Result<Held, String> {
    let (tell, ruling) = oneshot::channel();
    let opened = asks.ask(hold.clone()).await?;
    let name = match &opened {
        Opened::Granted { name, .. } => Arc::clone(name),
        Opened::Waits(ticket) => Arc::clone(ticket.name()),
        Opened::Leads(_) => return Err("no request was raised".to_owned()),
    };
    let waiting = tokio::spawn(async move {
        drop(tell.send(ruled(&asks, hold, opened).await));
    });
    Ok(Held {
        name,
        ruling,
        guard: Box::new(AbortOnDrop(waiting)),
    })
}

async fn ruled(asks: &impl Asks, hold: NewHold, mut opened: Opened) -> Ruled {
    loop {
        let mut ticket: HoldTicket = match opened {
            Opened::Granted { name, rows } => {
                let ruling = Ruling::Approved(rows);
                return Ruled { name, ruling };
            }
            Opened::Waits(ticket) => ticket,
            Opened::Leads(leading) => {
                let name = leading.free_name();
                let ruling = Ruling::Superseded("no request was raised".to_owned());
                return Ruled { name, ruling };
            }
        };
        let name = Arc::clone(ticket.name());
        let ruling = match ticket.answer().await {
            Answer::Approved { rows } => Ruling::Approved(rows),
            Answer::Denied { approver, reason } => Ruling::Denied(format!("{reason} ({approver})")),
            Answer::Expired => Ruling::Expired,
            Answer::Superseded { reason } => Ruling::Superseded(reason.to_string()),
            Answer::Other => match asks.ask(hold.clone()).await {
                Ok(next) => {
                    opened = next;
                    continue;
                }
                Err(reason) => Ruling::Superseded(format!("it cannot be held again: {reason}")),
            },
        };
        return Ruled { name, ruling };
    }
}

/// Ends a task with what it guards.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_waits_on_only_for_those_whom_the_rule_asks_now() {
        let asked = |users: &[&str], count, minutes| Approval {
            users: users.iter().map(|user| (*user).to_owned()).collect(),
            count,
            deadline: Duration::from_secs(60),
            shape_minutes: minutes,
            ..Approval::default()
        };
        let request = AccessRequestCreated {
            users: ["root"].into_iter().collect(),
            approvals: 1,
            max_minutes: Some(30),
            ..AccessRequestCreated::default()
        };
        assert!(is_asked(&request, &asked(&["root"], 1, Some(30))));
        let others = [
            asked(&["alice", "bob"], 1, Some(30)),
            asked(&["root"], 2, Some(30)),
            asked(&["root"], 1, Some(5)),
            asked(&["root"], 1, None),
        ];
        assert!(others.iter().all(|now| !is_asked(&request, now)));
        // What has no shape does not depend on how long one may be approved.
        let exact = AccessRequestCreated {
            max_minutes: None,
            ..request
        };
        assert!(is_asked(&exact, &asked(&["root"], 1, Some(5))));
    }
}
