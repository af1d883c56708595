//! People who are asked: what they are told, what the client is told, and what their ruling comes to.

use std::sync::Arc;
use std::time::Duration;

use weir_policy::{HoldSpec, Release};

use super::memory::Asked;
use super::refusal::Refusal;
use super::statement::Active;
use crate::engine::Shared;
use crate::judge;
use crate::ports::{Held, HoldRequest, Ruling};

/// What the client has left once it is told that nobody has decided yet.
const ANSWER: Duration = Duration::from_secs(1);
/// When a client that cannot wait longer is asked to come again.
const AGAIN: Duration = Duration::from_secs(5);

/// What is asked, of whom, and how long its client waits.
pub(super) struct Question<'a> {
    pub(super) shared: &'a Arc<Shared>,
    /// Whose request it is.
    pub(super) whose: &'a str,
    /// The request in words.
    pub(super) sentence: &'a Arc<str>,
    /// What tells it from every other, its object included; none in the middle of an answer, where nobody
    /// can come again.
    pub(super) exact: Option<&'a str>,
    pub(super) patience: Option<Duration>,
}

impl Question<'_> {
    /// Asks people about a request or its answer, and waits for what they say, no longer than the client
    /// does. A client that leaves drops this, which closes the request.
    ///
    /// # Errors
    /// They say no, or nothing in time.
    pub(super) async fn ask(
        &self,
        active: &mut Active,
        spec: &HoldSpec,
    ) -> Result<Release, Refusal> {
        match self.exact.filter(|_| spec.approval.retry) {
            Some(exact) => self.ask_again(active, spec, exact).await,
            None => self.ask_now(active, spec).await,
        }
    }

    async fn ask_now(&self, active: &mut Active, spec: &HoldSpec) -> Result<Release, Refusal> {
        let held = self.open(active, spec).await?;
        let wait = self.patience;
        let wait = wait.map_or(Duration::MAX, |patience| patience.saturating_sub(ANSWER));
        let ruling = match tokio::time::timeout(wait, held.ruling).await {
            Ok(ruling) => ruling.unwrap_or(Ruling::Stopped),
            Err(_) => {
                let why = "nobody approved it within the client's timeout";
                return Err(denied(spec, &held.name, why).too_many().again_after(AGAIN));
            }
        };
        drop(held.guard);
        said(spec, &held.name, ruling)
    }

    /// The client is answered at once, and comes again. The request stays open meanwhile.
    async fn ask_again(
        &self,
        active: &mut Active,
        spec: &HoldSpec,
        exact: &str,
    ) -> Result<Release, Refusal> {
        let exact = format!("{} {exact}", spec.rule);
        let later = |name: &str| {
            denied(spec, name, "not decided yet")
                .too_many()
                .again_after(AGAIN)
        };
        let memory = &self.shared.kubernetes;
        match memory.asked(self.whose, &exact) {
            Some(Asked::Ruled(name, ruling)) => {
                active.record.request = Some(Arc::clone(&name));
                return said(spec, &name, ruling);
            }
            Some(Asked::Waits(name)) => {
                active.record.request = Some(Arc::clone(&name));
                return Err(later(&name));
            }
            None => {}
        }
        let held = self.open(active, spec).await?;
        let name = Arc::clone(&held.name);
        if !memory.ask(self.whose, &exact, &name) {
            return Err(Refusal::unjudged("too many requests wait for people"));
        }
        let (shared, whose) = (Arc::clone(self.shared), self.whose.to_owned());
        tokio::spawn(async move {
            let ruling = held.ruling.await.unwrap_or(Ruling::Stopped);
            drop(held.guard);
            shared.kubernetes.ruled(&whose, &exact, ruling);
        });
        Err(later(&name))
    }

    async fn open(&self, active: &mut Active, spec: &HoldSpec) -> Result<Held, Refusal> {
        let Some(session) = active.session() else {
            return Err(Refusal::unjudged("the session is over"));
        };
        let request = HoldRequest {
            session,
            number: active.record.number,
            statement: Arc::clone(self.sentence),
            parameters: Vec::new(),
            fingerprint: None,
            rules: vec![spec.rule.clone()],
            reason: spec.reason.clone(),
            labels: active.record.labels.iter().map(Arc::from).collect(),
            rows: active.rows,
            approval: spec.approval.clone(),
        };
        let held = self.shared.holds.open(request).await;
        let held =
            held.map_err(|reason| Refusal::unjudged(&format!("it cannot be held: {reason}")))?;
        active.record.request = Some(Arc::clone(&held.name));
        Ok(held)
    }
}

fn denied(spec: &HoldSpec, name: &str, why: &str) -> Refusal {
    let reason = format!("{} ({why})", spec.reason);
    let hint = format!("access request {name}");
    Refusal::forbidden(judge::Refusal::denied(&spec.rule, &reason, Some(&hint)))
}

fn said(spec: &HoldSpec, name: &str, ruling: Ruling) -> Result<Release, Refusal> {
    match ruling {
        Ruling::Approved(None) => Ok(Release::ToEnd),
        Ruling::Approved(Some(rows)) => Ok(Release::Rows(rows)),
        Ruling::Denied(reason) => Err(denied(spec, name, &format!("not approved: {reason}"))),
        Ruling::Expired => Err(denied(spec, name, "nobody approved it in time")),
        Ruling::Stopped => Err(denied(spec, name, "weir is stopping")),
    }
}
