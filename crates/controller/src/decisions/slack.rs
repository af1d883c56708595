//! Decisions that are made in Slack.
//!
//! Who presses a button is who Slack signed, and who that is here says the configuration; what may be
//! decided is judged as for everybody else: RBAC of that user and those groups, the rule's own groups, never
//! whoever may act as the requester, the request with that UID and no other.

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::UserInfo;
use weir_api::kinds::{AccessRequestPhase, DecisionVia, RequestDecision};
use weir_notify::{Decider, Deciding, Standing, Verdict};
use weir_uplink::control::{DecisionAsked, Person};

use super::people::People;
use super::proof::authenticated;

/// People, as Slack's buttons reach them.
pub(crate) struct SlackDecisions(pub(crate) Arc<People>);

impl Decider for SlackDecisions {
    fn decide(&self, verdict: Verdict) -> Deciding<'_> {
        Box::pin(async move {
            let user = UserInfo {
                username: Some(verdict.user.clone()),
                groups: Some(authenticated(verdict.groups.clone())),
                ..UserInfo::default()
            };
            let taken = self
                .0
                .decide_for(&user, DecisionVia::Slack, asked(verdict))
                .await;
            let request = taken.map_err(|error| error.to_string())?.request;
            let status = request.status.as_ref();
            let decisions = status.map_or(&[][..], |status| &status.decisions);
            let mut approvals = 0;
            let mut denied = false;
            for decision in decisions {
                match decision.decision {
                    RequestDecision::Approve => approvals += 1,
                    RequestDecision::Deny => denied = true,
                }
            }
            let needed = request.spec.count;
            // The phase follows from the decisions, a moment later.
            let phase = match denied {
                true => AccessRequestPhase::Denied,
                false if approvals >= needed => AccessRequestPhase::Approved,
                false => AccessRequestPhase::Pending,
            };
            Ok(Standing {
                phase,
                approvals,
                needed,
            })
        })
    }
}

fn asked(verdict: Verdict) -> DecisionAsked {
    let (decision, reason) = match verdict.ruling {
        Ok(()) => (RequestDecision::Approve, None),
        Err(reason) => (RequestDecision::Deny, Some(reason)),
    };
    DecisionAsked {
        person: Person::default(),
        namespace: verdict.namespace.unwrap_or_default(),
        name: verdict.name,
        uid: verdict.uid,
        decision,
        reason,
        rows: None,
        binding: None,
        minutes: None,
    }
}
