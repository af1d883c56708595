//! People who are asked: what they are told, what the client is told, and what their ruling comes to.

use std::sync::Arc;
use std::time::Duration;

use weir_policy::{HoldSpec, Release};

use super::refusal::Refusal;
use super::statement::Active;
use crate::judge;
use crate::ports::{HoldRequest, Holds, Ruling};

/// What the client has left once it is told that nobody has decided yet.
const ANSWER: Duration = Duration::from_secs(1);
/// When a client that cannot wait longer is asked to come again.
const AGAIN: Duration = Duration::from_secs(5);

/// Asks people about a request or its answer, and waits for what they say, no longer than the client
/// does. A client that leaves drops this, which closes the request.
///
/// # Errors
/// They say no, or nothing in time.
pub(super) async fn ask(
    holds: &dyn Holds,
    active: &mut Active,
    spec: &HoldSpec,
    sentence: &Arc<str>,
    patience: Option<Duration>,
) -> Result<Release, Refusal> {
    let Some(session) = active.session() else {
        return Err(Refusal::unjudged("the session is over"));
    };
    let request = HoldRequest {
        session,
        number: active.record.number,
        statement: Arc::clone(sentence),
        parameters: Vec::new(),
        fingerprint: None,
        rules: vec![spec.rule.clone()],
        reason: spec.reason.clone(),
        labels: active.record.labels.iter().map(Arc::from).collect(),
        rows: active.rows,
        approval: spec.approval.clone(),
    };
    let held = holds.open(request).await.map_err(|reason| {
        Refusal::unjudged(&format!("it cannot be held: {reason}"))
    })?;
    active.record.request = Some(Arc::clone(&held.name));
    let denied = |reason: &str| {
        let reason = format!("{} ({reason})", spec.reason);
        let hint = format!("access request {}", held.name);
        let refusal = judge::Refusal::denied(&spec.rule, &reason, Some(&hint));
        Err(Refusal::forbidden(refusal))
    };
    let wait = patience.map_or(Duration::MAX, |patience| patience.saturating_sub(ANSWER));
    let ruling = match tokio::time::timeout(wait, held.ruling).await {
        Ok(ruling) => ruling.unwrap_or(Ruling::Stopped),
        Err(_) => {
            let refusal = denied("nobody approved it within the client's timeout");
            return refusal.map_err(|refusal| refusal.too_many().again_after(AGAIN));
        }
    };
    drop(held.guard);
    match ruling {
        Ruling::Approved(None) => Ok(Release::ToEnd),
        Ruling::Approved(Some(rows)) => Ok(Release::Rows(rows)),
        Ruling::Denied(reason) => denied(&format!("not approved: {reason}")),
        Ruling::Expired => denied("nobody approved it in time"),
        Ruling::Stopped => denied("weir is stopping"),
    }
}
