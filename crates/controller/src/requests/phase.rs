//! Decisions to a phase. Pure.
//!
//! Invariants: the first denial denies; so many *different* people must approve; what was decided
//! after the deadline does not count; a phase that the decisions do not bear out is not believed.

use std::collections::BTreeSet;

use jiff::Timestamp;
use weir_api::kinds::{
    AccessRequestPhase, AccessRequestSpec, AccessRequestStatus, ApproverDecision, RequestDecision,
};
use weir_uplink::control::Ending;

/// As many decisions as a status can hold.
const MAX_COUNT: u32 = 32;

/// When a request is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) deadline: Timestamp,
    /// How many must approve.
    pub(crate) count: u32,
}

impl Terms {
    /// The terms of a request that is to be made.
    pub(crate) fn of(spec: &AccessRequestSpec) -> Result<Self, String> {
        let deadline = spec.deadline.parse();
        let deadline = deadline.map_err(|_| "its deadline is not an RFC 3339 time".to_owned())?;
        if !(1..=MAX_COUNT).contains(&spec.count) {
            return Err(format!("its count is not 1 to {MAX_COUNT}"));
        }
        Ok(Self {
            deadline,
            count: spec.count,
        })
    }
}

/// How a request ended, and the decisions that ended it; none while it waits or when nobody waits for
/// it.
pub(crate) fn ruling(
    terms: Terms,
    status: Option<&AccessRequestStatus>,
) -> Option<(Ending, Vec<ApproverDecision>)> {
    let status = status?;
    match status.phase {
        AccessRequestPhase::Expired => Some((Ending::Expired, Vec::new())),
        AccessRequestPhase::Withdrawn | AccessRequestPhase::Superseded => None,
        AccessRequestPhase::Pending | AccessRequestPhase::Approved | AccessRequestPhase::Denied => {
            decided(terms, status)
        }
    }
}

/// The phase that a request is in now.
pub(crate) fn phase(
    terms: Terms,
    status: Option<&AccessRequestStatus>,
    now: Timestamp,
) -> AccessRequestPhase {
    if let Some(over) = status.map(|status| status.phase).filter(|phase| {
        matches!(
            phase,
            AccessRequestPhase::Withdrawn
                | AccessRequestPhase::Expired
                | AccessRequestPhase::Superseded
        )
    }) {
        return over;
    }
    match status.and_then(|status| decided(terms, status)) {
        Some((Ending::Approved { .. }, _)) => AccessRequestPhase::Approved,
        Some((Ending::Denied { .. }, _)) => AccessRequestPhase::Denied,
        Some((Ending::Expired, _)) => AccessRequestPhase::Expired,
        None if now > terms.deadline => AccessRequestPhase::Expired,
        None => AccessRequestPhase::Pending,
    }
}

fn decided(terms: Terms, status: &AccessRequestStatus) -> Option<(Ending, Vec<ApproverDecision>)> {
    let mut approvers = BTreeSet::new();
    let mut counted = Vec::new();
    let mut rows: Option<u64> = None;
    for decision in &status.decisions {
        let at: Result<Timestamp, _> = decision.at.parse();
        if !at.is_ok_and(|at| at <= terms.deadline) {
            continue;
        }
        match decision.decision {
            RequestDecision::Deny => {
                let reason = decision.reason.clone().unwrap_or_default();
                return Some((Ending::Denied { reason }, vec![decision.clone()]));
            }
            RequestDecision::Approve => {
                // A name is one however its letters are written.
                if approvers.insert(decision.approver.to_ascii_lowercase()) {
                    counted.push(decision.clone());
                }
                rows = rows.into_iter().chain(decision.rows).min();
            }
        }
        let count = u32::try_from(approvers.len()).unwrap_or(u32::MAX);
        if count >= terms.count.max(1) {
            return Some((Ending::Approved { rows }, counted));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use weir_api::kinds::ApproverDecision;

    use super::*;

    const DEADLINE: &str = "2026-11-27T12:00:00Z";

    fn terms(count: u32) -> Terms {
        Terms {
            deadline: DEADLINE.parse().unwrap(),
            count,
        }
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn decision(approver: &str, decision: RequestDecision, rows: Option<u64>) -> ApproverDecision {
        ApproverDecision {
            approver: approver.to_owned(),
            decision,
            at: "2026-11-27T11:00:00Z".to_owned(),
            reason: Some("because".to_owned()),
            rows,
            binding: None,
            minutes: None,
            via: None,
        }
    }

    fn status(phase: AccessRequestPhase, decisions: Vec<ApproverDecision>) -> AccessRequestStatus {
        AccessRequestStatus {
            phase,
            decisions,
            observed_generation: None,
            conditions: Vec::new(),
            notified: Vec::new(),
            repeats: 0,
        }
    }

    /// A ruling, and who made it.
    fn ruled(terms: Terms, status: &AccessRequestStatus) -> Option<(Ending, Vec<String>)> {
        let (ending, decisions) = ruling(terms, Some(status))?;
        let approvers = decisions.into_iter().map(|one| one.approver).collect();
        Some((ending, approvers))
    }

    use AccessRequestPhase::{Approved, Denied, Expired, Pending, Superseded, Withdrawn};
    use RequestDecision::{Approve, Deny};

    #[test]
    fn so_many_different_people_must_approve_and_the_smallest_number_of_rows_holds() {
        let now = at("2026-11-27T11:30:00Z");
        let one = decision("jane", Approve, Some(100));
        for again in ["jane", "Jane"] {
            let twice = vec![one.clone(), decision(again, Approve, None)];
            let twice = status(Pending, twice);
            assert_eq!(phase(terms(2), Some(&twice), now), Pending);
            assert_eq!(ruled(terms(2), &twice), None);
        }
        let both = vec![
            one,
            decision("joe", Approve, Some(10)),
            decision("jim", Approve, None),
        ];
        let both = status(Pending, both);
        assert_eq!(phase(terms(2), Some(&both), now), Approved);
        let approvers = vec!["jane".to_owned(), "joe".to_owned()];
        let expected = (Ending::Approved { rows: Some(10) }, approvers);
        assert_eq!(ruled(terms(2), &both), Some(expected));
    }

    #[test]
    fn the_first_denial_denies() {
        let decisions = vec![
            decision("jane", Approve, None),
            decision("joe", Deny, None),
            decision("jim", Approve, None),
        ];
        let status = status(Pending, decisions);
        assert_eq!(phase(terms(2), Some(&status), at(DEADLINE)), Denied);
        let ending = Ending::Denied {
            reason: "because".to_owned(),
        };
        assert_eq!(
            ruled(terms(2), &status),
            Some((ending, vec!["joe".to_owned()]))
        );
    }

    #[test]
    fn an_approval_that_was_complete_is_final() {
        let decisions = vec![decision("jane", Approve, None), decision("joe", Deny, None)];
        let status = status(Approved, decisions);
        assert_eq!(phase(terms(1), Some(&status), at(DEADLINE)), Approved);
    }

    #[test]
    fn undecided_requests_expire_and_late_decisions_do_not_count() {
        let late = at("2026-11-27T12:00:01Z");
        assert_eq!(phase(terms(1), None, at(DEADLINE)), Pending);
        assert_eq!(phase(terms(1), None, late), Expired);
        let mut after = decision("jane", Approve, None);
        after.at = "2026-11-27T12:00:01Z".to_owned();
        let after = status(Pending, vec![after]);
        assert_eq!(phase(terms(1), Some(&after), late), Expired);
        assert_eq!(ruled(terms(1), &after), None);
    }

    #[test]
    fn a_phase_without_its_decisions_is_not_believed() {
        let forged = status(Approved, Vec::new());
        assert_eq!(ruled(terms(1), &forged), None);
        assert_eq!(
            phase(terms(1), Some(&forged), at("2026-11-27T11:00:00Z")),
            Pending
        );
    }

    #[test]
    fn what_is_withdrawn_or_expired_stays_so() {
        let now = at("2026-11-27T11:30:00Z");
        let approved = vec![decision("jane", Approve, None)];
        for over in [Withdrawn, Superseded, Expired] {
            let status = status(over, approved.clone());
            assert_eq!(phase(terms(1), Some(&status), now), over);
        }
        let withdrawn = status(Withdrawn, approved.clone());
        assert_eq!(ruled(terms(1), &withdrawn), None);
        let expired = ruled(terms(1), &status(Expired, approved));
        assert_eq!(expired, Some((Ending::Expired, Vec::new())));
    }
}
