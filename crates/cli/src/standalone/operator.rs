//! What operators may do to the running engine.

use std::sync::Arc;
use std::time::SystemTime;

use weir_audit::{BudgetsReset, QuarantineChanged, Record};
use weir_collector::api::{
    Approver, Operator, OperatorError, OperatorFuture, QuarantineView, SpoolView, StatusView,
};
use weir_gateway::ports::Policies as _;
use weir_sidecar::budgets::StoredBudgets;
use weir_sidecar::metrics::EngineMetrics;
use weir_uplink::{AuditHandle, IdentitySource};

use super::policies::LoadedPolicies;
use super::quarantine::{QuarantineError, Quarantines};

/// The engine as its operators reach it.
pub(crate) struct StandaloneOperator {
    pub(crate) audit: AuditHandle,
    pub(crate) budgets: Arc<StoredBudgets>,
    pub(crate) policies: Arc<LoadedPolicies>,
    pub(crate) identity: Arc<IdentitySource>,
    pub(crate) metrics: Arc<EngineMetrics>,
    pub(crate) quarantines: Arc<Quarantines>,
}

impl StandaloneOperator {
    /// Changes quarantines, puts them in force, and keeps who ordered it: it is evidence whether it hits anybody or not.
    fn change(
        &self,
        with: impl FnOnce(&Quarantines) -> Result<QuarantineChanged, QuarantineError> + Send + 'static,
    ) -> OperatorFuture<'_, ()> {
        let quarantines = Arc::clone(&self.quarantines);
        let (policies, audit) = (Arc::clone(&self.policies), self.audit.clone());
        let changed = tokio::task::spawn_blocking(move || {
            let changed = with(&quarantines).map_err(refused)?;
            policies.reload_if_changed(&audit);
            let record = Record::engine(SystemTime::now().into(), changed);
            let kept = audit.record(record).map(drop);
            kept.map_err(|error| {
                let text = format!("it is in force, and could not be kept as evidence: {error}");
                OperatorError::Unavailable(text)
            })
        });
        Box::pin(async move {
            let changed = changed.await;
            changed.map_err(|error| OperatorError::Unavailable(error.to_string()))?
        })
    }
}

fn refused(error: QuarantineError) -> OperatorError {
    let text = error.to_string();
    match error {
        QuarantineError::Unknown(_) => OperatorError::NotFound(text),
        QuarantineError::Over(_) => OperatorError::Conflict(text),
        QuarantineError::Invalid(_) => OperatorError::Invalid(text),
        QuarantineError::Unreadable(_) | QuarantineError::Write { .. } => {
            OperatorError::Unavailable(text)
        }
    }
}

impl Operator for StandaloneOperator {
    fn quarantines(&self) -> Result<Vec<QuarantineView>, OperatorError> {
        self.quarantines.list().map_err(refused)
    }

    fn quarantine<'a>(
        &'a self,
        asked: QuarantineView,
        approver: &'a Approver,
    ) -> OperatorFuture<'a, ()> {
        let by = Arc::clone(&approver.name);
        self.change(move |quarantines| quarantines.order(&asked.name, &by, asked.spec))
    }

    fn lift<'a>(
        &'a self,
        name: &'a str,
        reason: &'a str,
        approver: &'a Approver,
    ) -> OperatorFuture<'a, ()> {
        let (name, reason) = (name.to_owned(), reason.to_owned());
        let by = Arc::clone(&approver.name);
        self.change(move |quarantines| quarantines.lift(&name, &by, &reason))
    }

    fn status(&self) -> StatusView {
        let bundle = self.policies.current();
        let spool = self.audit.status();
        StatusView {
            engine: spool.engine.as_str().to_owned(),
            epoch: spool.epoch,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: bundle.revision(),
            digest: bundle.digest().to_owned(),
            refused: self.policies.refused(),
            identity: match self.identity.current() {
                Ok(identity) => identity.name.to_string(),
                Err(error) => error.to_string(),
            },
            sessions: self.metrics.open_connections(),
            spool: SpoolView {
                last_seq: spool.last_seq,
                durable_seq: spool.durable_seq,
                acknowledged_seq: spool.acknowledged_seq,
                disk_bytes: spool.disk_bytes,
                lost: spool.lost,
                problem: spool.problem.map(|problem| problem.to_string()),
            },
        }
    }

    fn reset_budgets<'a>(&'a self, approver: &'a Approver) -> OperatorFuture<'a, ()> {
        Box::pin(async move {
            let unavailable = |error: String| OperatorError::Unavailable(error);
            let event = BudgetsReset {
                operator: Arc::clone(&approver.name),
            };
            let record = Record::engine(SystemTime::now().into(), event);
            self.audit
                .append_durable(record)
                .await
                .map_err(|error| unavailable(error.to_string()))?;
            self.budgets
                .reset()
                .map_err(|error| unavailable(error.to_string()))
        })
    }
}
