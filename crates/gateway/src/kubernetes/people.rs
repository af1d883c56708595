//! People who are asked: what they are told, what the client is told, and what their ruling comes to.

use std::sync::Arc;
use std::time::Duration;

use weir_audit::{LabelledColumns, Names};
use weir_policy::{HoldSpec, Release};

use super::memory::Asked;
use super::refusal::Refusal;
use super::statement::Active;
use crate::engine::Shared;
use crate::judge;
use crate::ports::{Held, HoldRequest, Ruled};

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
    /// What people are shown beside it: in whose name, and its object.
    pub(super) detail: Option<Arc<str>>,
    pub(super) patience: Option<Duration>,
    /// What it does, beside reading or changing its object.
    pub(super) effects: Names,
    /// The fields behind its labels.
    pub(super) columns: Vec<LabelledColumns>,
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
        let mut held = self.open(active, spec).await?;
        let wait = self.patience;
        let wait = wait.map_or(Duration::MAX, |patience| patience.saturating_sub(ANSWER));
        let ruled = match tokio::time::timeout(wait, held.ruled()).await {
            Ok(ruled) => ruled,
            Err(_) => {
                let why = "nobody approved it within the client's timeout";
                let name = Some(&*held.name);
                return Err(denied(spec, name, why).too_many().again_after(AGAIN));
            }
        };
        drop(held.guard);
        active.record.request = Some(Arc::clone(&ruled.name));
        said(spec, ruled)
    }

    /// The client is answered at once, and comes again. The request stays open meanwhile.
    async fn ask_again(
        &self,
        active: &mut Active,
        spec: &HoldSpec,
        exact: &str,
    ) -> Result<Release, Refusal> {
        let exact = format!("{} {exact}", spec.rule);
        let later = |name: Option<&str>| {
            denied(spec, name, "not decided yet")
                .too_many()
                .again_after(AGAIN)
        };
        let memory = &self.shared.kubernetes;
        match memory.ask(self.whose, &exact) {
            Asked::Ruled(ruled) => {
                active.record.request = Some(Arc::clone(&ruled.name));
                return said(spec, ruled);
            }
            Asked::Waits(name) => {
                active.record.request.clone_from(&name);
                return Err(later(name.as_deref()));
            }
            Asked::Full => return Err(Refusal::unjudged("too many requests wait for people")),
            Asked::First => {}
        }
        let asking = Asking {
            shared: self.shared,
            whose: self.whose,
            exact: &exact,
            waits: false,
        };
        let mut held = self.open(active, spec).await?;
        let name = Arc::clone(&held.name);
        asking.waits(&name);
        let (shared, whose) = (Arc::clone(self.shared), self.whose.to_owned());
        tokio::spawn(async move {
            let ruled = held.ruled().await;
            drop(held.guard);
            shared.kubernetes.ruled(&whose, &exact, ruled);
        });
        Err(later(Some(&name)))
    }

    async fn open(&self, active: &mut Active, spec: &HoldSpec) -> Result<Held, Refusal> {
        let Some(session) = active.session() else {
            return Err(Refusal::unjudged("the session is over"));
        };
        let request = HoldRequest {
            session,
            number: active.record.number,
            statement: Arc::clone(self.sentence),
            detail: self.detail.clone(),
            apart: self.exact.unwrap_or_default().into(),
            parameters: Vec::new(),
            fingerprint: None,
            rules: vec![spec.rule.clone()],
            reason: spec.reason.clone(),
            labels: active.record.labels.iter().map(Arc::from).collect(),
            effects: self.effects.clone(),
            tables: active.record.tables.clone(),
            columns: self.columns.clone(),
            shape: None,
            estimate: None,
            rows: active.rows,
            bytes: active.bytes,
            approval: spec.approval.clone(),
        };
        let held = self.shared.holds.open(request).await;
        let held =
            held.map_err(|reason| Refusal::unjudged(&format!("it cannot be held: {reason}")))?;
        active.record.request = Some(Arc::clone(&held.name));
        Ok(held)
    }
}

/// The first to ask: unless a request waits in the end, the next one is the first again.
struct Asking<'a> {
    shared: &'a Arc<Shared>,
    whose: &'a str,
    exact: &'a str,
    waits: bool,
}

impl Asking<'_> {
    fn waits(mut self, name: &Arc<str>) {
        self.shared.kubernetes.waits(self.whose, self.exact, name);
        self.waits = true;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.waits {
            self.shared.kubernetes.not_asked(self.whose, self.exact);
        }
    }
}

fn denied(spec: &HoldSpec, name: Option<&str>, why: &str) -> Refusal {
    let reason = format!("{} ({why})", spec.reason);
    let hint = name.map(|name| format!("access request {name}"));
    Refusal::forbidden(judge::Refusal::denied(&spec.rule, &reason, hint.as_deref()))
}

fn said(spec: &HoldSpec, ruled: Ruled) -> Result<Release, Refusal> {
    let Ruled { name, ruling } = ruled;
    ruling
        .release()
        .map_err(|why| denied(spec, Some(&name), &why))
}
