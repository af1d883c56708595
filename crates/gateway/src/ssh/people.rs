//! People who are asked: what they are told, what the client is told meanwhile, and what their ruling
//! comes to. A request and a result that passes a limit are held by the same words.

use std::sync::Arc;

use weir_audit::Names;
use weir_policy::HoldSpec;

use super::judge::Refusal;
use super::relay::{Relay, Subject};
use super::requests::Answer;
use crate::ports::{HoldRequest, Holds, Ruled};

/// Opens a request for approval, says its name, and waits for the ruling.
pub(super) async fn ask(
    holds: &dyn Holds,
    request: HoldRequest,
    answer: Box<dyn Fn(Answer) + Send + Sync>,
) {
    let ruled = match holds.open(request).await {
        Ok(mut held) => {
            answer(Answer::Waiting(Arc::clone(&held.name)));
            let ruled = held.ruled().await;
            drop(held.guard);
            Ok(ruled)
        }
        Err(reason) => Err(reason),
    };
    answer(Answer::Ruled(ruled));
}

impl Relay {
    /// What reviewers are told.
    pub(super) fn hold_request(
        &self,
        record: &weir_audit::Statement,
        sentence: String,
        spec: &HoldSpec,
        rows: u64,
    ) -> HoldRequest {
        HoldRequest {
            session: Arc::clone(&self.evidence.session),
            number: record.number,
            statement: sentence.into(),
            detail: None,
            apart: "".into(),
            parameters: Vec::new(),
            fingerprint: None,
            rules: vec![spec.rule.clone()],
            reason: spec.reason.clone(),
            labels: Vec::new(),
            effects: Names::empty(),
            tables: Names::empty(),
            columns: Vec::new(),
            shape: None,
            estimate: None,
            rows,
            bytes: 0,
            approval: spec.approval.clone(),
        }
    }

    /// Says the name of the request that waits to whoever is at the channel.
    pub(super) fn tell_waiting(&mut self, subject: Subject, name: &Arc<str>) {
        let Some(parked) = self.lane(subject).and_then(|lane| lane.parked.as_mut()) else {
            return;
        };
        let opens = parked
            .request
            .as_ref()
            .is_some_and(|request| request.opens.is_some());
        if let Some((_, record)) = parked.decided.as_mut() {
            record.request = Some(Arc::clone(name));
        }
        let spec = parked.hold.as_ref().and_then(|hold| hold.pending().first());
        let Some(spec) = spec.cloned() else {
            return;
        };
        if let Subject::Channel(key) | Subject::File(key) | Subject::Copy(key) = subject
            && !opens
        {
            self.say(key, &waiting_text(&spec, name));
        }
    }
}

/// What a client is told while people are asked.
pub(super) fn waiting_text(spec: &HoldSpec, name: &str) -> String {
    format!(
        "awaiting approval {name} (policy \"{}\" rule \"{}\": {}); to release it: weir approve {name}",
        spec.rule.policy, spec.rule.rule, spec.reason
    )
}

/// How far people let it go on.
///
/// # Errors
/// They do not.
pub(super) fn ruling(
    spec: &HoldSpec,
    ruled: Result<Ruled, String>,
) -> Result<weir_policy::Release, Refusal> {
    let unheld = |reason: String| Refusal::unjudged(&format!("it cannot be held: {reason}"));
    let Ruled { name, ruling } = ruled.map_err(unheld)?;
    let hint = format!("access request {name}");
    ruling.release().map_err(|why| {
        let reason = format!("{} ({why})", spec.reason);
        Refusal::denied(&spec.rule, &reason, Some(&hint))
    })
}
