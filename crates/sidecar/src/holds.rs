//! Statements that wait for a person: the engine's port over the registry of `uplink`.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weir_audit::AccessRequestCreated;
use weir_gateway::ports::{Held, HoldRequest, Holds, Pending, Ruling};
use weir_uplink::{Answer, HoldTicket, NewHold};

/// Holds wait in the operator's registry.
pub struct OperatorHolds(pub weir_uplink::Holds);

impl Holds for OperatorHolds {
    fn open(&self, request: HoldRequest) -> Pending<'_, Result<Held, String>> {
        Box::pin(async move {
            let ticket = self.0.create(asked(request)).await;
            let ticket = ticket.map_err(|error| error.to_string())?;
            Ok(held(ticket, |_| {}))
        })
    }
}

/// What the registry is asked to keep.
pub(crate) fn asked(request: HoldRequest) -> NewHold {
    let rule = |rule: &weir_policy::RuleName| -> Arc<str> {
        format!("{}/{}", rule.policy, rule.rule).into()
    };
    let groups = request.approval.groups.iter();
    let asked = AccessRequestCreated {
        name: Arc::from(""),
        number: request.number,
        statement: request.statement,
        parameters: request.parameters,
        fingerprint: request.fingerprint,
        rules: request.rules.iter().map(rule).collect(),
        reason: request.reason.into(),
        labels: request.labels.into_iter().collect(),
        rows: request.rows,
        estimate: None,
        groups: groups.map(|name| Arc::from(name.as_str())).collect(),
        approvals: request.approval.count,
        deadline: weir_audit::Timestamp::default(),
    };
    NewHold {
        session: request.session,
        request: asked,
        patience: request.approval.deadline,
    }
}

/// Waits for the answer while the engine holds on. `ended` is told whether there was one, or the
/// engine let go.
pub(crate) fn held(
    mut ticket: HoldTicket,
    ended: impl FnOnce(bool) + Send + Sync + 'static,
) -> Held {
    let name = Arc::clone(ticket.name());
    let (tell, ruling) = oneshot::channel();
    let end = OnEnd {
        answered: false,
        ended: Some(ended),
    };
    let waiting = tokio::spawn(async move {
        // Whole, or only its flag would move in and the end would be told at once.
        let mut end = end;
        let ruling = match ticket.answer().await {
            Answer::Approved { rows } => Ruling::Approved(rows),
            Answer::Denied { approver, reason } => Ruling::Denied(format!("{reason} ({approver})")),
            Answer::Expired => Ruling::Expired,
        };
        end.answered = true;
        drop(tell.send(ruling));
    });
    Held {
        name,
        ruling,
        guard: Box::new(AbortOnDrop(waiting)),
    }
}

/// Ends a task with what it guards.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Says how a hold ended, whichever way its task ends.
struct OnEnd<F: FnOnce(bool)> {
    answered: bool,
    ended: Option<F>,
}

impl<F: FnOnce(bool)> Drop for OnEnd<F> {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            ended(self.answered);
        }
    }
}
